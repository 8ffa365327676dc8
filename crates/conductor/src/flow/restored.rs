//! Operations that came from a backup: where their devices stand, before anything is done.
//!
//! Between the backup and now the operation may have gone on to its end, and more may have happened since. What can be
//! asked is asked: the agent (which knows its commands by operation and index), the power, and the boot device, which a
//! deploy sets to the disk when the image is written. What cannot be told ends the operation with a sentence, and the
//! node is left as it is: an instance may be running on it.

use std::time::Duration;

use bessemer_drivers::{CoreStep, StepRun};
use bessemer_model::{Fault, Object, PowerState, Timestamp};
use bessemer_store::{SignalKind, TimelineSource};
use serde::{Deserialize, Serialize};

use super::ramdisk::set_local_boot;
use super::run_steps::{RUN, agent};
use super::{Flow, rescue};
use crate::context::Context;
use crate::outcome::{Phase, Wait};
use crate::steps::PlannedStep;

/// What is remembered while an agent's call is waited for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LookSince {
    /// The power was off when the backup was made.
    pub was_off: bool,
    /// An agent of this operation calls until then, if there is one.
    pub until: i64,
}

/// How the operation goes on.
#[derive(Debug)]
pub enum Then {
    /// As recorded.
    GoOn,
    /// The recorded phase is harmless; the one after it is looked at again.
    Later,
    Next(&'static str),
    /// For the call of an agent that may be running.
    Wait(Wait),
    /// It ends, and nothing is touched.
    End(String),
}

/// Between looks at the node while an agent may call.
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
///
/// # Errors
/// The driver's, when the BMC cannot be asked.
pub async fn look(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
) -> Result<Then, Fault> {
    if let Some(abandoned) = &cx.data.abandoned {
        return Ok(Then::End(abandoned.error.clone()));
    }
    let hardware = cx.hardware()?;
    if hardware.power.is_simulated() {
        return Ok(Then::GoOn);
    }
    let at = |name: &str| flow.phases.iter().position(|p| p.name() == name);
    match (flow.name, at("prepare-ramdisk"), at(phase.name())) {
        ("manage" | "adopt", ..) => Ok(Then::GoOn),
        ("power", ..) => power(cx).await,
        ("unprovision", ..) => unprovision(cx).await,
        ("unservice" | "unrescue", ..) => back_to_instance(cx).await,
        // these have begun nothing
        ("clean", _, Some(0)) if !hardware.deploy.uses_agent() => Ok(Then::GoOn),
        (_, Some(prepare), Some(here)) => {
            if !hardware.deploy.uses_agent() || without_ramdisk(cx, here > prepare) {
                return Ok(Then::GoOn);
            }
            if here == 0 {
                // it only asks whether the verb is possible, and what it finds is needed later
                return Ok(Then::Later);
            }
            with_ramdisk(
                cx,
                flow,
                phase,
                here > prepare,
                Some(here) >= at("wait-agent"),
            )
            .await
        }
        _ => Ok(Then::End(ended(
            cx,
            flow.title,
            "whether it was done since is not known; see what it was to do, and ask for it again",
        ))),
    }
}

fn ended(cx: &Context, what: &str, why: &str) -> String {
    format!(
        "The {what} of node {} was open when the backup was made from which the database was restored: {why}. \
         The node was not touched.",
        cx.node.label()
    )
}

/// Steps that run beside the instance.
fn without_ramdisk(cx: &Context, behind_boot: bool) -> bool {
    cx.operation.args.get("disable_ramdisk") == Some(&true.into())
        || (behind_boot && !cx.data.ramdisk)
}

/// The recorded wish is either fulfilled, or somebody asks for it again.
async fn power(cx: &mut Context) -> Result<Then, Fault> {
    let wanted = cx.node.target_power_state;
    let power = cx.read_power().await?;
    if wanted.is_some_and(|wanted| wanted == power) {
        return Ok(Then::Next("done"));
    }
    Ok(Then::End(ended(
        cx,
        "power action",
        &format!("the node reports {power}; ask for the power state that it should have"),
    )))
}

/// An instance that runs may be a later one.
async fn unprovision(cx: &mut Context) -> Result<Then, Fault> {
    if cx.read_power().await? == PowerState::Off {
        return Ok(Then::GoOn);
    }
    Ok(Then::End(ended(
        cx,
        "tear down",
        "the node is on, and whether it runs the old instance or a later one is not known; look at it, then undeploy it again",
    )))
}

async fn back_to_instance(cx: &mut Context) -> Result<Then, Fault> {
    if cx.read_power().await? == PowerState::On && boots_disk(cx).await? {
        return Ok(Then::Next("done"));
    }
    Ok(Then::GoOn)
}

/// Whether the BMC says that the node boots its disk, and goes on doing so.
async fn boots_disk(cx: &Context) -> Result<bool, Fault> {
    let hardware = cx.hardware()?;
    if !hardware
        .management
        .supported_boot_devices()
        .contains(&"disk")
    {
        return Ok(false);
    }
    let (device, persistent) = hardware
        .management
        .get_boot_device(&cx.shared.environment, &cx.node)
        .await?;
    Ok(device.as_deref() == Some("disk") && persistent == Some(true))
}

/// `prepared`: this operation had told the BMC to boot the ramdisk. `waited`: it had come to its agent.
async fn with_ramdisk(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
    prepared: bool,
    waited: bool,
) -> Result<Then, Fault> {
    if cx.has_signal(SignalKind::Inspection) {
        return Ok(Then::Next("wait-report"));
    }
    if cx.internal_text("agent_url").is_some() {
        // The token is still the operation's; everything else is this agent's own.
        match agent(cx)?.commands().await {
            Ok(_) if waited => return Ok(Then::GoOn),
            Ok(_) => {
                cx.data.ramdisk = true;
                return Ok(Then::Next("wait-agent"));
            }
            Err(_) => forget_agent_but_token(cx),
        }
    }
    let was_off = cx.node.power_state == Some(PowerState::Off);
    let since = match cx.data.restored.clone() {
        Some(since) => since,
        None => {
            let patience = cx.shared.settings.ramdisk_heartbeat_timeout;
            let since = LookSince {
                was_off,
                until: Timestamp::now().after(patience).0,
            };
            cx.data.restored = Some(since.clone());
            since
        }
    };
    let power = cx.read_power().await?;
    if power == PowerState::Off {
        return off(cx, flow, phase, prepared).await;
    }
    if Timestamp::now().0 < since.until {
        return Ok(Then::Wait(
            Wait::new("a call of the agent that may be running since the backup")
                .look_again(LOOK)
                .until(Timestamp(since.until).after(Duration::from_secs(60))),
        ));
    }
    let local = boots_disk(cx).await?;
    let gone_on = local && (prepared || since.was_off);
    if flow.name == "deploy" && gone_on {
        cx.note(
            TimelineSource::Engine,
            "no agent calls, the node is on and boots its disk: the image was written since the backup",
        );
        return finish_deploy(cx).await;
    }
    if local && flow.name != "deploy" && (prepared || since.was_off) {
        return Ok(Then::End(ended(
            cx,
            flow.title,
            "since then the node was deployed or came back to its instance: it is on and boots its disk; see what runs on it",
        )));
    }
    if !prepared && (local || since.was_off) {
        return Ok(Then::End(ended(
            cx,
            flow.title,
            "the node is on, and whether it runs what it ran before or something later is not known; look at it, then ask again",
        )));
    }
    if !prepared {
        return Ok(Then::GoOn);
    }
    again(cx, flow)
}

/// Nothing runs on the node.
async fn off(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
    prepared: bool,
) -> Result<Then, Fault> {
    if !prepared {
        // An instance that was written since, and switched off, must not be written or cleaned away.
        if matches!(flow.name, "deploy" | "clean") && boots_disk(cx).await? {
            return Ok(Then::End(ended(
                cx,
                flow.title,
                "the node is off and boots its disk, and whether an instance was written there since is not known; look at it, then ask again",
            )));
        }
        return Ok(Then::GoOn);
    }
    if matches!(phase.name(), "power-off-after" | "done") {
        return Ok(Then::GoOn);
    }
    // also before the ramdisk's power-on: it would wait in vain for an agent, and then boot one over the instance
    if flow.name == "deploy" && boots_disk(cx).await? {
        cx.note(
            TimelineSource::Engine,
            "the node is off and boots its disk: the image was written since the backup",
        );
        return finish_deploy(cx).await;
    }
    if phase.name() == "power-on" {
        return Ok(Then::GoOn);
    }
    again(cx, flow)
}

/// The ramdisk once more, where that is harmless.
fn again(cx: &mut Context, flow: &'static Flow) -> Result<Then, Fault> {
    let asked = cx
        .operation
        .args
        .get("clean_steps")
        .is_some_and(|v| !v.is_null());
    let begun = cx.data.steps.is_some();
    if begun && (flow.name == "service" || asked) {
        return Ok(Then::End(ended(
            cx,
            flow.title,
            "the agent that ran its steps is gone, and which of them are done is not known; ask for those that are missing",
        )));
    }
    if flow.name == "rescue"
        && !rescue::PASSWORD_MEMBERS
            .iter()
            .any(|key| cx.node.instance_info.contains_key(*key))
    {
        return Ok(Then::GoOn);
    }
    cx.note(
        TimelineSource::Engine,
        "no agent of this operation is there any more; the ramdisk is booted again",
    );
    forget_agent_but_token(cx);
    cx.leave_wait()?;
    cx.data.steps = None;
    cx.data.step = 0;
    cx.data.step_attempt = 0;
    cx.data.step_agent = None;
    cx.data.step_state = None;
    cx.data.step_waits = false;
    cx.data.reboot = None;
    cx.data.rebooted = false;
    cx.data.agent_off_at = None;
    Ok(Then::Next("power-off"))
}

/// Only the last step is left.
async fn finish_deploy(cx: &mut Context) -> Result<Then, Fault> {
    // a boot over the network would otherwise get the ramdisk
    set_local_boot(cx).await?;
    cx.forget_agent();
    cx.leave_wait()?;
    let boot = StepRun::Core(CoreStep::BootInstance);
    let steps = cx.data.steps.get_or_insert_with(Vec::new);
    let step = match steps.iter().position(|step| step.run == boot) {
        Some(step) => step,
        None => {
            steps.push(PlannedStep {
                interface: "deploy".into(),
                step: "boot_instance".into(),
                priority: 20,
                args: Object::new(),
                run: boot,
                abortable: false,
                reserved: None,
                children: None,
                reboot: false,
                requires_ramdisk: false,
            });
            steps.len().saturating_sub(1)
        }
    };
    cx.data.step = step;
    cx.data.step_attempt = 0;
    cx.data.step_agent = None;
    cx.data.reboot = None;
    Ok(Then::Next(RUN))
}

/// Whoever calls next with the operation's token is its agent.
fn forget_agent_but_token(cx: &mut Context) {
    cx.set(|node| {
        for key in [
            "agent_url",
            "agent_version",
            "agent_last_heartbeat",
            "agent_verify_ca",
            "agent_token_accepted",
        ] {
            node.driver_internal_info.remove(key);
        }
    });
}
