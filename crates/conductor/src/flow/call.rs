//! Calls of a driver that are answered before they are done: boot mode, secure boot, console, virtual media, vendor
//! methods.

use async_trait::async_trait;
use bessemer_drivers::VendorReply;
use bessemer_model::notification::{Notice, Status};
use bessemer_model::{Class, Fault, Object};
use bessemer_store::TimelineSource;
use serde::{Deserialize, Serialize};

use super::ramdisk::Abandon;
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, OnUnknown, Outcome, Phase};

pub const CALL: Flow = Flow {
    name: "call",
    version: 1,
    title: "call of the driver",
    history_type: "driver",
    phases: &[&Prepare, &Call],
    abandon: &Abandon,
    on_failure: OnFailure::LastError,
};

/// What is asked of the driver: the operation's arguments. A stored format.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum DriverCall {
    BootMode {
        mode: String,
    },
    SecureBoot {
        enabled: bool,
    },
    Console {
        enabled: bool,
    },
    AttachMedia {
        device: String,
        image_url: String,
    },
    DetachMedia {
        devices: Vec<String>,
    },
    Vendor {
        method: String,
        http_method: String,
        args: Object,
    },
}

impl DriverCall {
    /// For the timeline; without anything that may be secret.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::BootMode { mode } => format!("boot mode {mode}"),
            Self::SecureBoot { enabled } => {
                format!("secure boot {}", if *enabled { "on" } else { "off" })
            }
            Self::Console { enabled } => {
                format!("console {}", if *enabled { "on" } else { "off" })
            }
            Self::AttachMedia { device, .. } => format!("virtual media: attach {device}"),
            Self::DetachMedia { devices } if devices.is_empty() => {
                "virtual media: detach all".to_owned()
            }
            Self::DetachMedia { devices } => {
                format!("virtual media: detach {}", devices.join(", "))
            }
            Self::Vendor { method, .. } => format!("vendor method {method}"),
        }
    }

    /// A second call after an unseen end could do harm.
    fn once(&self) -> bool {
        matches!(self, Self::Vendor { .. })
    }
}

/// Action of the notifications of a console that is switched on or off.
pub(crate) const CONSOLE_SET: &str = "console_set";

/// Others are told of a console's failure.
pub(super) fn tell_failure(cx: &mut Context) {
    if cx.operation.flow == CALL.name && matches!(wanted(cx), Ok(DriverCall::Console { .. })) {
        cx.tell(Notice::Console {
            action: CONSOLE_SET,
            status: Status::Error,
        });
    }
}

fn wanted(cx: &Context) -> Result<DriverCall, Fault> {
    serde_json::from_value(cx.operation.args.clone()).map_err(|e| {
        Fault::internal(format!(
            "the arguments of a driver call cannot be read: {e}"
        ))
    })
}

/// Nothing to do when it is so already. Its end is the stored intention that [`Call`] begins with.
struct Prepare;

#[async_trait]
impl Phase for Prepare {
    fn name(&self) -> &'static str {
        "prepare"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let hardware = cx.hardware()?;
        let env = cx.shared.environment.clone();
        // A BMC that does not say (or cannot) is told.
        let already = match wanted(cx)? {
            DriverCall::BootMode { mode } => hardware
                .management
                .get_boot_mode(&env, &cx.node)
                .await
                .is_ok_and(|now| now == Some(mode)),
            DriverCall::SecureBoot { enabled } => hardware
                .management
                .get_secure_boot(&env, &cx.node)
                .await
                .is_ok_and(|now| now == Some(enabled)),
            DriverCall::Console { enabled } => cx.node.console_enabled == enabled,
            _ => false,
        };
        if already {
            cx.note(TimelineSource::Bmc, "it is so already");
            return Ok(Outcome::Finish);
        }
        Ok(Outcome::Done)
    }
}

struct Call;

#[async_trait]
impl Phase for Call {
    fn name(&self) -> &'static str {
        "call"
    }

    fn on_unknown(&self) -> OnUnknown {
        OnUnknown::Fail
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let call = wanted(cx)?;
        // The first claim of this phase counts one; more mean that a run of it ended unseen.
        if call.once() && cx.operation.attempt > 1 {
            return Ok(Look::Unknown(format!(
                "The conductor ended while {} ran on node {}, so it is not known whether it was carried out; it is not repeated.",
                call.label(),
                cx.node.label()
            )));
        }
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let call = wanted(cx)?;
        let hardware = cx.hardware()?;
        let env = cx.shared.environment.clone();
        cx.guard()?;
        let node = cx.node.clone();
        let mut end = None;
        match &call {
            DriverCall::BootMode { mode } => {
                hardware.management.set_boot_mode(&env, &node, mode).await?;
                let mode = mode.clone();
                cx.set(move |node| node.boot_mode = Some(mode.clone()));
            }
            DriverCall::SecureBoot { enabled } => {
                let enabled = *enabled;
                hardware
                    .management
                    .set_secure_boot(&env, &node, enabled)
                    .await?;
                cx.set(move |node| node.secure_boot = Some(enabled));
            }
            DriverCall::Console { enabled } => {
                let enabled = *enabled;
                let effects = if enabled {
                    hardware.console.start(&env, &node).await?
                } else {
                    hardware.console.stop(&env, &node).await?
                };
                cx.set(move |node| {
                    effects.apply(node);
                    node.console_enabled = enabled;
                });
                end = Some(Notice::Console {
                    action: CONSOLE_SET,
                    status: Status::End,
                });
            }
            DriverCall::AttachMedia { device, image_url } => {
                hardware
                    .management
                    .attach_virtual_media(&env, &node, device, image_url)
                    .await?;
            }
            DriverCall::DetachMedia { devices } => {
                hardware
                    .management
                    .detach_virtual_media(&env, &node, devices)
                    .await?;
            }
            DriverCall::Vendor {
                method,
                http_method,
                args,
            } => {
                // Nobody waits for the answer of an asynchronous method; a failure is never tried again.
                let _answer: VendorReply = hardware
                    .vendor
                    .call(&env, &node, method, http_method, args)
                    .await
                    .map_err(|fault| Fault {
                        class: Class::Never,
                        ..fault
                    })?;
            }
        }
        cx.note(TimelineSource::Bmc, format!("{}: done", call.label()));
        cx.set(|node| node.last_error = None);
        if let Some(notice) = end {
            cx.tell(notice);
        }
        Ok(Outcome::Finish)
    }
}
