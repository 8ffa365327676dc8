//! Phases that several flows share: power, booting the ramdisk, waiting for its agent, giving up.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::{BootParams, BootPlan, MediaPlan, Persistence, RamdiskKind};
use bessemer_model::notification::Status;
use bessemer_model::provision::StateKind;
use bessemer_model::{Class, Event, Fault, FaultKind, NodeHealthFault, PowerState, Timestamp};
use bessemer_store::{BootKind, BootRow, MEDIA_BOOTLOADER, TimelineSource};
use serde_json::Value;

use super::child_steps::{children_power, parent_power};
use super::run_steps::agent_timeout;
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase, Wait};

/// How long a power command is given before it is sent again.
const RESEND: Duration = Duration::from_secs(10);
/// Between looks at the power state.
const LOOK: Duration = Duration::from_millis(500);

/// What the shared power phases bring about.
pub async fn look_power(cx: &mut Context, wanted: PowerState) -> Result<Look, Fault> {
    if cx.read_power().await? == wanted {
        if cx.data.power_told == Some(wanted) {
            cx.tell_power(Status::End, wanted);
        }
        return Ok(Look::Done);
    }
    match cx.data.power_sent_at {
        Some(at) if Timestamp::now().since(Timestamp(at)) < RESEND => {
            Ok(Look::Running(power_wait(cx, wanted)))
        }
        _ => Ok(Look::NotDone),
    }
}

#[track_caller]
pub fn power_wait(cx: &Context, wanted: PowerState) -> Wait {
    Wait::new(format!("the BMC to report {wanted}"))
        .look_again(LOOK)
        .until(cx.deadline(cx.shared.settings.power_state_change_timeout))
}

/// Sends the command; `true` when the state is there already.
pub async fn send_power(cx: &mut Context, wanted: PowerState) -> Result<bool, Fault> {
    if wanted == PowerState::Off && cx.node.disable_power_off {
        return Err(Fault::conflict(format!(
            "Node {} has disable_power_off set, and this would switch it off; unset it, or switch the node off by hand first.",
            cx.node.label()
        )));
    }
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    cx.tell_power(Status::Start, wanted);
    match wanted {
        PowerState::On => hardware.power.power_on(&env, &cx.node).await?,
        _ => hardware.power.power_off(&env, &cx.node).await?,
    }
    cx.data.power_sent_at = Some(Timestamp::now().0);
    cx.note(TimelineSource::Bmc, format!("{wanted} sent"));
    if hardware.power.is_simulated() {
        cx.set(move |node| node.power_state = Some(wanted));
        cx.tell_power(Status::End, wanted);
        return Ok(true);
    }
    // Most boards are there within a moment; a short look saves a round through the store.
    for _ in 0..4 {
        if cx.read_power().await? == wanted {
            cx.tell_power(Status::End, wanted);
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(false)
}

/// A node that may not be switched off (`disable_power_off`) is left on, and restarted where the flow would switch it
/// on. True when it is so.
///
/// # Errors
/// The driver's; of one that cannot restart a node without switching it off.
pub async fn left_on(cx: &mut Context) -> Result<bool, Fault> {
    if !cx.node.disable_power_off {
        return Ok(false);
    }
    if cx.read_power().await? == PowerState::Off {
        return Ok(false);
    }
    if !cx.hardware()?.power.can_reset() {
        return Err(Fault::conflict(format!(
            "Node {} has disable_power_off set, and its driver cannot restart it without switching it off; unset it, or switch the node off by hand first.",
            cx.node.label()
        )));
    }
    if !cx.data.reset_instead {
        cx.note(
            TimelineSource::Engine,
            "disable_power_off is set: the node is left on",
        );
    }
    cx.data.reset_instead = true;
    cx.forget_agent();
    Ok(true)
}

/// The restart of a node that was left on. Once more is harmless: what it boots is set before.
///
/// # Errors
/// The driver's.
pub async fn reset(cx: &mut Context) -> Result<(), Fault> {
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    hardware.power.reset(&env, &cx.node).await?;
    cx.data.reset_instead = false;
    // one that called between is gone now
    cx.forget_agent();
    cx.data.power_sent_at = Some(Timestamp::now().0);
    cx.note(TimelineSource::Bmc, "reset sent");
    Ok(())
}

fn power_expired(cx: &Context, wanted: PowerState) -> Fault {
    Fault::new(
        FaultKind::Hardware,
        Class::Never,
        format!(
            "Node {} did not reach {wanted} within {} s although its BMC accepted the command; check the node's console and its BMC's event log.",
            cx.node.label(),
            cx.shared.settings.power_state_change_timeout.as_secs()
        ),
    )
}

/// Off, and seen to be off. The name distinguishes the places in a flow.
pub struct PowerOff(pub &'static str);

#[async_trait]
impl Phase for PowerOff {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        if left_on(cx).await? {
            return Ok(Look::Done);
        }
        let look = look_power(cx, PowerState::Off).await?;
        if matches!(look, Look::Done) {
            cx.forget_agent();
        }
        Ok(look)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        if let Some(wait) = children_power(cx).await? {
            return Ok(Outcome::Wait(wait));
        }
        if send_power(cx, PowerState::Off).await? {
            cx.forget_agent();
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Wait(power_wait(cx, PowerState::Off)))
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        power_expired(cx, PowerState::Off)
    }
}

/// On, and seen to be on.
pub struct PowerOn(pub &'static str);

#[async_trait]
impl Phase for PowerOn {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        if cx.data.reset_instead {
            return Ok(Look::NotDone);
        }
        look_power(cx, PowerState::On).await
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        if cx.data.reset_instead {
            if cx.data.ramdisk {
                boot_ramdisk_once(cx).await?;
            }
            reset(cx).await?;
            return Ok(Outcome::Done);
        }
        if let Some(wait) = parent_power(cx).await? {
            return Ok(Outcome::Wait(wait));
        }
        if send_power(cx, PowerState::On).await? {
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Wait(power_wait(cx, PowerState::On)))
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        power_expired(cx, PowerState::On)
    }
}

/// Boot row for netboot, boot device at the BMC. Setting either twice has the same effect as once, so
/// there is nothing to look at.
pub struct PrepareRamdisk;

#[async_trait]
impl Phase for PrepareRamdisk {
    fn name(&self) -> &'static str {
        "prepare-ramdisk"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let hardware = cx.hardware()?;
        let params = boot_params(cx);
        let env = cx.shared.environment.clone();
        cx.data.ramdisk = true;
        let Some(plan) = hardware.boot.ramdisk(&env, &cx.node, &params)? else {
            return Ok(Outcome::Done);
        };
        if let Some(media) = plan.media.clone() {
            return insert_media(cx, plan, media).await;
        }
        set_boot(
            cx,
            BootRow {
                node: cx.node.id,
                kind: BootKind::Ramdisk,
                kernel: Some(plan.kernel),
                ramdisk: Some(plan.ramdisk),
                kernel_params: plan.kernel_params,
                updated_at: Timestamp::now(),
            },
        )
        .await?;
        set_boot_device(cx, plan.boot_device, Persistence::Once).await?;
        Ok(Outcome::Done)
    }
}

/// The virtual CD in place of the network: a row for whoever serves the image, the image inserted, the boot device.
async fn insert_media(
    cx: &mut Context,
    plan: BootPlan,
    media: MediaPlan,
) -> Result<Outcome, Fault> {
    let url = match media {
        MediaPlan::Ready { url } => url,
        MediaPlan::Made {
            base_url,
            bootloader,
        } => {
            // The BMC reads the image as soon as it is inserted, so what belongs in is stored before.
            if cx.internal_text(MEDIA_BOOTLOADER) != bootloader.as_deref() {
                cx.internal(MEDIA_BOOTLOADER, bootloader.map(Value::from));
                return Ok(Outcome::Next(PrepareRamdisk.name()));
            }
            let secret = cx.shared.store.get_media_secret(cx.node.id).await;
            let secret = secret.map_err(|e| crate::error_text::store(&e))?;
            let secret = secret.ok_or_else(|| {
                Fault::internal(format!(
                    "the operation of node {} has no token for its agent",
                    cx.node.label()
                ))
            })?;
            format!("{base_url}/{}", secret.path())
        }
    };
    let made = |value: String| (!value.is_empty()).then_some(value);
    set_boot(
        cx,
        BootRow {
            node: cx.node.id,
            kind: BootKind::VirtualMedia,
            kernel: made(plan.kernel),
            ramdisk: made(plan.ramdisk),
            kernel_params: plan.kernel_params,
            updated_at: Timestamp::now(),
        },
    )
    .await?;
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    hardware
        .management
        .attach_virtual_media(&env, &cx.node, plan.boot_device, &url)
        .await
        // a BMC may say what it was told, and the address is a secret
        .map_err(|fault| Fault {
            text: fault.text.replace(&url, "the image"),
            ..fault
        })?;
    cx.note(TimelineSource::Bmc, "virtual CD inserted");
    set_boot_device(cx, plan.boot_device, Persistence::Once).await?;
    Ok(Outcome::Done)
}

/// Nothing boots the node's ramdisk any more: the virtual CD is ejected, and the boot row is gone. A BMC that does not eject
/// keeps nobody from it: what it holds is an address at which there is nothing any more.
///
/// # Errors
/// The store's.
pub async fn end_boot(cx: &mut Context) -> Result<(), Fault> {
    eject_media(cx).await?;
    let cleared = cx.shared.store.clear_boot(cx.node.id).await;
    cleared.map_err(|e| crate::error_text::store(&e))
}

/// Tries of an ejection beyond the first.
const EJECT_TRIES: u32 = 4;

async fn eject_media(cx: &mut Context) -> Result<(), Fault> {
    let row = cx.shared.store.get_boot(cx.node.id).await;
    let row = row.map_err(|e| crate::error_text::store(&e))?;
    if row.is_none_or(|row| row.kind != BootKind::VirtualMedia) {
        return Ok(());
    }
    cx.internal(MEDIA_BOOTLOADER, None);
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    let device = ["cdrom".to_owned()];
    let node = cx.node.clone();
    let ejected = async {
        let mut tries = 0;
        loop {
            let once = hardware
                .management
                .detach_virtual_media(&env, &node, &device);
            match once.await {
                Err(fault) if fault.class != Class::Never && tries < EJECT_TRIES => {
                    tries += 1;
                    tokio::time::sleep(LOOK).await;
                }
                other => return other,
            }
        }
    };
    let said = match tokio::time::timeout(ABANDON_POWER, ejected).await {
        Ok(Ok(())) => "virtual CD ejected".to_owned(),
        Ok(Err(fault)) => format!("the virtual CD was not ejected: {fault}"),
        Err(_) => "the virtual CD was not ejected: the BMC did not answer".to_owned(),
    };
    cx.note(TimelineSource::Bmc, said);
    Ok(())
}

/// Sets the boot device for one more boot of the ramdisk.
///
/// # Errors
/// The driver's.
pub async fn boot_ramdisk_once(cx: &mut Context) -> Result<(), Fault> {
    let hardware = cx.hardware()?;
    let env = cx.shared.environment.clone();
    let params = boot_params(cx);
    if let Some(plan) = hardware.boot.ramdisk(&env, &cx.node, &params)? {
        set_boot_device(cx, plan.boot_device, Persistence::Once).await?;
    }
    Ok(())
}

/// To the phases that boot the ramdisk, or past them when its agent is there already (fast track).
pub fn boot_unless_there(cx: &mut Context) -> Outcome {
    if !cx.agent_is_there() {
        return Outcome::Done;
    }
    cx.data.ramdisk = true;
    cx.note(
        TimelineSource::Engine,
        "the ramdisk's agent is there already: fast track, without a restart",
    );
    Outcome::Next("wait-agent")
}

/// What the ramdisk of this flow shall know.
pub fn boot_params(cx: &Context) -> BootParams {
    let settings = &cx.shared.settings;
    let mut extra = Vec::new();
    if cx.operation.flow == "inspect" {
        let url = format!(
            "{}/v1/continue_inspection",
            settings.api_url.trim_end_matches('/')
        );
        extra.push(("ipa-inspection-callback-url".to_owned(), url));
        extra.extend(
            settings
                .inspection
                .extra_kernel_params
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
    }
    BootParams {
        ramdisk: if cx.operation.flow == "rescue" {
            RamdiskKind::Rescue
        } else {
            RamdiskKind::Deploy
        },
        api_url: cx.shared.settings.api_url.clone(),
        extra,
    }
}

/// The node's own disk from now on: nothing over the network, and the BMC's boot device.
pub async fn set_local_boot(cx: &mut Context) -> Result<(), Fault> {
    eject_media(cx).await?;
    set_boot_device(cx, "disk", Persistence::Persistent).await?;
    let row = BootRow {
        node: cx.node.id,
        kind: BootKind::Local,
        kernel: None,
        ramdisk: None,
        kernel_params: String::new(),
        updated_at: Timestamp::now(),
    };
    set_boot(cx, row).await
}

/// Stores the boot row when the lease still holds.
pub async fn set_boot(cx: &Context, row: BootRow) -> Result<(), Fault> {
    cx.guard()?;
    cx.shared
        .store
        .set_boot(&row)
        .await
        .map_err(|e| crate::error_text::store(&e))
}

/// Sets the boot device at the BMC.
pub async fn set_boot_device(
    cx: &mut Context,
    device: &'static str,
    persistence: Persistence,
) -> Result<(), Fault> {
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    if !hardware
        .management
        .supported_boot_devices()
        .contains(&device)
    {
        // Simulated nodes know only pxe; there is nothing to boot on them.
        return Ok(());
    }
    let effects = hardware
        .management
        .set_boot_device(&env, &cx.node, device, persistence)
        .await?;
    cx.set(move |node| effects.apply(node));
    let held = if persistence == Persistence::Once {
        "once"
    } else {
        "persistently"
    };
    cx.note(
        TimelineSource::Bmc,
        format!("boot device {device} set {held}"),
    );
    Ok(())
}

/// Until the ramdisk's agent has called.
pub struct WaitAgent;

#[async_trait]
impl Phase for WaitAgent {
    fn name(&self) -> &'static str {
        "wait-agent"
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let called = cx.internal_text("agent_url").is_some()
            && cx
                .node
                .driver_internal_info
                .contains_key("agent_last_heartbeat");
        Ok(if called { Look::Done } else { Look::NotDone })
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        wait_boot(cx, "the agent's first heartbeat").await
    }
}

/// Waits for what the ramdisk does first. When nothing at all is seen of the boot in time, the node is switched off and
/// on once more: the firmware's requests may have come while nobody answered them.
pub async fn wait_boot(cx: &mut Context, what: &str) -> Result<Outcome, Fault> {
    if let Some(limit) = boot_limit(cx)
        && !cx.data.boot_again
        && limit <= Timestamp::now()
        && !boot_was_seen(cx).await?
    {
        let waited = Timestamp::now()
            .since(Timestamp(cx.data.phase_since))
            .as_secs();
        cx.data.boot_again = true;
        cx.note(
            TimelineSource::Engine,
            format!("nothing was seen of the boot for {waited} s; the node is switched off and on once more"),
        );
        return Ok(Outcome::Next("power-off"));
    }
    cx.enter_wait()?;
    let timeout = agent_timeout(&cx.shared.settings, &cx.operation.flow);
    let wait = Wait::new(what).until(cx.deadline(timeout));
    Ok(Outcome::Wait(match boot_limit(cx) {
        Some(limit) if !cx.data.boot_again && limit > Timestamp::now() => {
            wait.look_again(limit.since(Timestamp::now()) + Duration::from_millis(1))
        }
        _ => wait,
    }))
}

/// The service's start within the wait shortens it: requests of the firmware fell into the time when nobody answered.
const AFTER_START: Duration = Duration::from_secs(90);

/// When a boot that nothing is seen of is tried again.
fn boot_limit(cx: &Context) -> Option<Timestamp> {
    let time = cx.shared.settings.boot_sign_timeout?;
    let entered = Timestamp(cx.data.phase_since);
    let started = cx.shared.started;
    Some(if started > entered {
        started.after(time.min(AFTER_START))
    } else {
        entered.after(time)
    })
}

/// Whether DHCP, TFTP, HTTP or the API heard of the node since the phase began.
async fn boot_was_seen(cx: &Context) -> Result<bool, Fault> {
    let events = cx
        .shared
        .store
        .list_timeline(cx.node.id, None, 50)
        .await
        .map_err(|e| crate::error_text::store(&e))?;
    Ok(events.iter().any(|(_, event)| {
        event.at.0 >= cx.data.phase_since
            && matches!(
                event.source,
                TimelineSource::Dhcp
                    | TimelineSource::Tftp
                    | TimelineSource::Http
                    | TimelineSource::Agent
            )
    }))
}

/// After a failure or an abort: the ramdisk is switched off, nothing boots it again, and the node enters
/// the failed state. A BMC that does not answer does not keep the node from it.
pub struct AbandonRamdisk;

/// A BMC gets this long in a clean-up.
const ABANDON_POWER: Duration = Duration::from_secs(20);

#[async_trait]
impl Phase for AbandonRamdisk {
    fn name(&self) -> &'static str {
        "abandon"
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        end_boot(cx).await?;
        let settings = &cx.shared.settings;
        let off = match cx.operation.flow.as_str() {
            "deploy" => settings.power_off_after_deploy_failure,
            "service" => settings.poweroff_in_servicefail,
            "rescue" | "inspect" => true,
            _ => settings.poweroff_in_cleanfail,
        };
        let aborted = cx.data.abandoned.as_ref().is_some_and(|a| a.aborted);
        // Without the ramdisk the instance may be running.
        let ours = cx.data.ramdisk || matches!(cx.operation.flow.as_str(), "deploy" | "clean");
        let mut still_on = None;
        if (off || aborted) && ours && !cx.node.disable_power_off {
            still_on =
                match tokio::time::timeout(ABANDON_POWER, send_power(cx, PowerState::Off)).await {
                    Ok(Ok(_)) => None,
                    Ok(Err(fault)) => Some(fault.text),
                    Err(_) => Some("its BMC did not answer".to_owned()),
                };
            if let Some(why) = &still_on {
                cx.note(
                    TimelineSource::Bmc,
                    format!("the node could not be switched off after the failure: {why}"),
                );
            }
        }
        cx.forget_agent();
        cx.internal(bessemer_model::LOOKUP_ADDRESSES, None);
        let flow = crate::flow::by_name(&cx.operation.flow)
            .ok_or_else(|| Fault::internal(format!("there is no flow {}", cx.operation.flow)))?;
        let then = cx.data.abandoned.as_ref().and_then(|a| a.then.clone());
        if then.as_deref() == Some("unprovision") {
            leave_running(cx)?;
            cx.event(Event::Delete)?;
            clear_steps(cx);
            cx.set(|node| node.last_error = None);
            return Ok(Outcome::Become("unprovision"));
        }
        if flow.name == "service" && aborted {
            // The instance comes back.
            leave_running(cx)?;
            cx.event(Event::Abort)?;
            clear_steps(cx);
            return Ok(if ours {
                Outcome::Become("unservice")
            } else {
                Outcome::GiveUp
            });
        }
        flow.mark_failed(cx)?;
        if let (true, true, Some(why)) = (flow.name == "rescue", aborted, still_on) {
            let reason = format!(
                "The rescue of node {} was aborted, but the node could not be switched off: {why}",
                cx.node.label()
            );
            cx.set(move |node| {
                node.maintenance = true;
                node.maintenance_reason = Some(reason.clone());
                node.fault = Some(NodeHealthFault::RescueAbortFailure);
            });
        }
        Ok(Outcome::GiveUp)
    }
}

/// Out of the transient and hold states, from which there is no verb, into the failed one.
fn leave_running(cx: &mut Context) -> Result<(), Fault> {
    match cx.node.provision_state.kind() {
        StateKind::Transient => cx.event(Event::Fail),
        StateKind::Hold | StateKind::Wait => cx.event(Event::Abort),
        StateKind::Stable | StateKind::Failure => Ok(()),
    }
}

fn clear_steps(cx: &mut Context) {
    cx.set(|node| {
        node.clean_step.clear();
        node.deploy_step.clear();
        node.service_step.clear();
    });
}

/// After a failure of a flow that boots nothing.
pub struct Abandon;

#[async_trait]
impl Phase for Abandon {
    fn name(&self) -> &'static str {
        "abandon"
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let flow = crate::flow::by_name(&cx.operation.flow)
            .ok_or_else(|| Fault::internal(format!("there is no flow {}", cx.operation.flow)))?;
        flow.mark_failed(cx)?;
        Ok(Outcome::GiveUp)
    }
}
