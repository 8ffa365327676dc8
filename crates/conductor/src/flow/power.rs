//! Power on, off, reboot and their soft forms. A reboot is off, confirmed, on.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_model::notification::{Notice, Status};
use bessemer_model::{Fault, PowerState, PowerTarget, Timestamp};
use bessemer_store::TimelineSource;

use super::ramdisk::{Abandon, PowerOff, PowerOn};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase, Wait};

pub const POWER: Flow = Flow {
    name: super::POWER_FLOW,
    version: 1,
    title: "power change",
    history_type: "power",
    phases: &[
        &Start,
        &SoftPowerOff,
        &ForRequest(&PowerOff("power-off")),
        &ForRequest(&PowerOn("power-on")),
        &Done,
    ],
    abandon: &Abandon,
    on_failure: OnFailure::Power,
};

pub(super) fn target(cx: &Context) -> Result<PowerTarget, Fault> {
    cx.operation
        .args
        .get("target")
        .and_then(|v| v.as_str())
        .and_then(PowerTarget::parse)
        .ok_or_else(|| Fault::internal("a power operation without a target"))
}

/// Chooses where the request begins.
struct Start;

#[async_trait]
impl Phase for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        Ok(Outcome::Next(match target(cx)? {
            PowerTarget::On => "power-on",
            PowerTarget::Off | PowerTarget::Reboot => "power-off",
            PowerTarget::SoftOff | PowerTarget::SoftReboot => "soft-power-off",
        }))
    }
}

/// Asks the operating system, and waits for it.
struct SoftPowerOff;

#[async_trait]
impl Phase for SoftPowerOff {
    fn name(&self) -> &'static str {
        "soft-power-off"
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        if cx.read_power().await? == PowerState::Off {
            return Ok(Look::Next(after_off(cx)?));
        }
        Ok(if cx.data.power_sent_at.is_some() {
            Look::Running(soft_wait(cx))
        } else {
            Look::NotDone
        })
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let hardware = cx.hardware()?;
        cx.guard()?;
        let env = cx.shared.environment.clone();
        hardware.power.soft_power_off(&env, &cx.node).await?;
        cx.data.power_sent_at = Some(Timestamp::now().0);
        cx.note(TimelineSource::Bmc, "soft power off sent");
        if hardware.power.is_simulated() {
            cx.set(|node| node.power_state = Some(PowerState::Off));
        }
        Ok(Outcome::Wait(soft_wait(cx)))
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        Fault::hardware(
            bessemer_model::Class::Never,
            format!(
                "Node {} did not shut down within {} s after a soft power off; its operating system may not handle the power button. Use a hard power off.",
                cx.node.label(),
                soft_timeout(cx).as_secs()
            ),
        )
    }
}

#[track_caller]
fn soft_wait(cx: &Context) -> Wait {
    Wait::new("the operating system to shut down")
        .look_again(Duration::from_secs(1))
        .until(cx.deadline(soft_timeout(cx)))
}

fn soft_timeout(cx: &Context) -> Duration {
    cx.operation
        .args
        .get("timeout")
        .and_then(serde_json::Value::as_u64)
        .map_or(
            cx.shared.settings.soft_power_off_timeout,
            Duration::from_secs,
        )
}

fn after_off(cx: &Context) -> Result<&'static str, Fault> {
    Ok(match target(cx)? {
        PowerTarget::Reboot | PowerTarget::SoftReboot => "power-on",
        _ => "done",
    })
}

/// A shared power phase whose follower depends on the request.
struct ForRequest(&'static dyn Phase);

impl ForRequest {
    fn follower(&self, cx: &Context) -> Result<&'static str, Fault> {
        if self.0.name() == "power-off" {
            after_off(cx)
        } else {
            Ok("done")
        }
    }
}

#[async_trait]
impl Phase for ForRequest {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        Ok(match self.0.look(cx).await? {
            Look::Done => Look::Next(self.follower(cx)?),
            other => other,
        })
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        Ok(match self.0.act(cx).await? {
            Outcome::Done => Outcome::Next(self.follower(cx)?),
            other => other,
        })
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        self.0.expired(cx).await
    }
}

struct Done;

#[async_trait]
impl Phase for Done {
    fn name(&self) -> &'static str {
        "done"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let to = target(cx)?;
        let state = to.ends_in();
        cx.set(move |node| {
            node.power_state = Some(state);
            node.target_power_state = None;
            node.last_error = None;
            node.notice(Notice::PowerSet {
                status: Status::End,
                to,
            });
        });
        cx.note(TimelineSource::State, format!("power state is {state}"));
        Ok(Outcome::Finish)
    }
}
