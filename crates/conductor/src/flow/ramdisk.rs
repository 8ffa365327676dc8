//! Phases that several flows share: power, booting the ramdisk, waiting for its agent, giving up.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::{BootParams, Persistence};
use bessemer_model::provision::StateKind;
use bessemer_model::{Event, Fault, FaultKind, PowerState, Timestamp};
use bessemer_store::{BootKind, BootRow, TimelineSource};

use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase, Wait};

/// How long a power command is given before it is sent again.
const RESEND: Duration = Duration::from_secs(10);
/// Between looks at the power state.
const LOOK: Duration = Duration::from_millis(500);

/// What the shared power phases bring about.
async fn look_power(cx: &mut Context, wanted: PowerState) -> Result<Look, Fault> {
    if cx.read_power().await? == wanted {
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
fn power_wait(cx: &Context, wanted: PowerState) -> Wait {
    Wait::new(format!("the BMC to report {wanted}"))
        .look_again(LOOK)
        .until(cx.deadline(cx.shared.settings.power_state_change_timeout))
}

/// Sends the command; `true` when the state is there already.
async fn send_power(cx: &mut Context, wanted: PowerState) -> Result<bool, Fault> {
    let hardware = cx.hardware()?;
    cx.guard()?;
    let env = cx.shared.environment.clone();
    match wanted {
        PowerState::On => hardware.power.power_on(&env, &cx.node).await?,
        _ => hardware.power.power_off(&env, &cx.node).await?,
    }
    cx.data.power_sent_at = Some(Timestamp::now().0);
    cx.note(TimelineSource::Bmc, format!("{wanted} sent"));
    if hardware.power.is_simulated() {
        cx.set(move |node| node.power_state = Some(wanted));
        return Ok(true);
    }
    // Most boards are there within a moment; a short look saves a round through the store.
    for _ in 0..4 {
        if cx.read_power().await? == wanted {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(false)
}

fn power_expired(cx: &Context, wanted: PowerState) -> Fault {
    Fault::new(
        FaultKind::Hardware,
        bessemer_model::Class::Never,
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
        let look = look_power(cx, PowerState::Off).await?;
        if matches!(look, Look::Done) {
            cx.forget_agent();
        }
        Ok(look)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
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
        look_power(cx, PowerState::On).await
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
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
        let params = BootParams {
            api_url: cx.shared.settings.api_url.clone(),
            extra: Vec::new(),
        };
        let env = cx.shared.environment.clone();
        let Some(plan) = hardware.boot.ramdisk(&env, &cx.node, &params)? else {
            return Ok(Outcome::Done);
        };
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
    hardware
        .management
        .set_boot_device(&env, &cx.node, device, persistence)
        .await?;
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
        cx.enter_wait()?;
        let settings = &cx.shared.settings;
        let timeout = if cx.operation.flow == "deploy" {
            settings.deploy_callback_timeout
        } else {
            settings.clean_callback_timeout
        };
        Ok(Outcome::Wait(
            Wait::new("the agent's first heartbeat").until(cx.deadline(timeout)),
        ))
    }
}

/// After a failure or an abort: the ramdisk is switched off, nothing boots it again, and the node enters
/// the failed state. A BMC that does not answer does not keep the node from it.
pub struct AbandonRamdisk;

/// The BMC gets this long in the clean-up.
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
        if let Err(error) = cx.shared.store.clear_boot(cx.node.id).await {
            return Err(crate::error_text::store(&error));
        }
        let settings = &cx.shared.settings;
        let off = if cx.operation.flow == "deploy" {
            settings.power_off_after_deploy_failure
        } else {
            settings.poweroff_in_cleanfail
        };
        let aborted = cx.data.abandoned.as_ref().is_some_and(|a| a.aborted);
        if off || aborted {
            match tokio::time::timeout(ABANDON_POWER, send_power(cx, PowerState::Off)).await {
                Ok(Ok(_)) => {}
                Ok(Err(fault)) => cx.note(
                    TimelineSource::Bmc,
                    format!("the node could not be switched off after the failure: {fault}"),
                ),
                Err(_) => cx.note(
                    TimelineSource::Bmc,
                    "the node could not be switched off after the failure: its BMC did not answer",
                ),
            }
        }
        cx.forget_agent();
        let flow = crate::flow::by_name(&cx.operation.flow)
            .ok_or_else(|| Fault::internal(format!("there is no flow {}", cx.operation.flow)))?;
        if cx
            .data
            .abandoned
            .as_ref()
            .is_some_and(|a| a.then.as_deref() == Some("unprovision"))
        {
            if cx.node.provision_state.kind() == StateKind::Transient {
                cx.event(Event::Fail)?;
            }
            cx.event(Event::Delete)?;
            cx.set(|node| node.last_error = None);
            return Ok(Outcome::Become("unprovision"));
        }
        flow.mark_failed(cx)?;
        Ok(Outcome::GiveUp)
    }
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
