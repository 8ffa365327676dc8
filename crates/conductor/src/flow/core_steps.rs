//! The steps of a deploy that join several interfaces: boot loader and boot device, the agent's end, the instance's start.

use std::time::Duration;

use bessemer_drivers::interface::boot_mode;
use bessemer_model::{Fault, Object, PowerState, Timestamp};
use bessemer_store::TimelineSource;
use bessemer_wire::CommandStatus;
use serde_json::{Value, json};

use super::in_band::in_band_wait;
use super::ramdisk::{left_on, reset, set_local_boot};
use super::run_steps::{RUN, advance, agent, failed, finished};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Wait};
use crate::steps::PlannedStep;

/// Boot loader entry (UEFI), boot device, and nothing more over the network.
pub async fn prepare_instance_boot(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    if boot_mode(&cx.node, &cx.shared.environment.default_boot_mode) == "uefi" {
        const INSTALL: &str = "image.install_bootloader";
        let client = agent(cx)?;
        let commands = client.commands().await?;
        // One agent life installs once; a repeated install has the same effect. The list shows a command without its
        // extension's name, as upstream's agent does.
        let shown = INSTALL.rsplit('.').next();
        match commands
            .iter()
            .rev()
            .find(|c| Some(c.command_name.as_str()) == shown)
        {
            Some(c) if c.command_status == CommandStatus::Succeeded => {}
            Some(c) if c.command_status == CommandStatus::Running => {
                return Ok(Outcome::Wait(in_band_wait(cx, step, None)));
            }
            Some(c) => return Err(failed(cx, "Installing the boot loader", c)),
            None => {
                let mut params = Object::new();
                params.insert("root_uuid".into(), Value::Null);
                params.insert("efi_system_part_uuid".into(), Value::Null);
                params.insert("prep_boot_part_uuid".into(), Value::Null);
                params.insert("target_boot_mode".into(), json!("uefi"));
                cx.guard()?;
                client.command(INSTALL, params, false).await?;
                return Ok(Outcome::Wait(
                    in_band_wait(cx, step, None).look_again(Duration::from_millis(500)),
                ));
            }
        }
    }
    set_local_boot(cx).await?;
    finished(cx, step)
}

pub async fn look_tear_down(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    if cx.data.agent_off_at.is_some() && left_on(cx).await? {
        return advance(cx, step);
    }
    if cx.read_power().await? == PowerState::Off {
        cx.forget_agent();
        return advance(cx, step);
    }
    let patience = cx.shared.settings.agent_power_off_patience;
    match cx.data.agent_off_at {
        Some(at) if Timestamp::now().since(Timestamp(at)) < patience => {
            Ok(Look::Running(off_wait(cx)))
        }
        _ => Ok(Look::NotDone),
    }
}

#[track_caller]
fn off_wait(cx: &Context) -> Wait {
    let limit =
        cx.shared.settings.agent_power_off_patience + cx.shared.settings.power_state_change_timeout;
    Wait::new("the node to switch off")
        .look_again(Duration::from_millis(500))
        .until(cx.deadline(limit))
}

/// The agent flushes and switches off; a hard off when it does not.
pub async fn tear_down_agent(cx: &mut Context) -> Result<Outcome, Fault> {
    if cx.data.agent_off_at.is_none() {
        let client = agent(cx)?;
        cx.guard()?;
        // A node that may not be switched off is restarted into its instance; until then nothing more runs on it.
        let last = if cx.node.disable_power_off {
            "system.lockdown"
        } else {
            "standby.power_off"
        };
        let asked = match client.command("standby.sync", Object::new(), true).await {
            Ok(_) => client.command(last, Object::new(), false).await.map(|_| ()),
            Err(fault) => Err(fault),
        };
        cx.data.agent_off_at = Some(Timestamp::now().0);
        if cx.node.disable_power_off {
            if let Err(fault) = asked {
                cx.note(
                    TimelineSource::Agent,
                    format!("the agent could not end its work: {fault}; the restart will"),
                );
            }
            return Ok(Outcome::Next(RUN));
        }
        match asked {
            Ok(()) => return Ok(Outcome::Wait(off_wait(cx))),
            Err(fault) => cx.note(
                TimelineSource::Agent,
                format!("the agent could not switch the node off: {fault}; its BMC will"),
            ),
        }
    }
    let hardware = cx.hardware()?;
    let env = cx.shared.environment.clone();
    cx.guard()?;
    hardware.power.power_off(&env, &cx.node).await?;
    cx.note(TimelineSource::Bmc, "power off sent");
    Ok(Outcome::Wait(
        off_wait(cx).look_again(Duration::from_secs(1)),
    ))
}

pub async fn boot_instance(cx: &mut Context) -> Result<Outcome, Fault> {
    if cx.data.reset_instead {
        reset(cx).await?;
        return Ok(Outcome::Next(RUN));
    }
    let hardware = cx.hardware()?;
    let env = cx.shared.environment.clone();
    cx.guard()?;
    hardware.power.power_on(&env, &cx.node).await?;
    cx.note(TimelineSource::Bmc, "power on sent");
    let limit = cx.deadline(cx.shared.settings.power_state_change_timeout);
    Ok(Outcome::Wait(
        Wait::new("the BMC to report power on")
            .look_again(Duration::from_millis(300))
            .until(limit),
    ))
}
