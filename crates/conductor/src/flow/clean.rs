//! Cleaning, automated (after `provide` and `deleted`) and manual (`clean`).

use async_trait::async_trait;
use bessemer_model::{Event, Fault, Node, NodeHealthFault, ProvisionState};
use bessemer_store::TimelineSource;

use super::ramdisk::{AbandonRamdisk, PowerOff, PowerOn, PrepareRamdisk, WaitAgent, end_boot};
use super::run_steps::{CollectSteps, RunSteps};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};
use crate::settings::Settings;

pub const CLEAN: Flow = Flow {
    name: "clean",
    version: 1,
    title: "cleaning",
    history_type: "cleaning",
    phases: &[
        &Plan,
        &PowerOff("power-off"),
        &PrepareRamdisk,
        &PowerOn("power-on"),
        &WaitAgent,
        &CollectSteps,
        &RunSteps,
        &AfterCleaning(&PowerOff("power-off-after")),
        &Done,
    ],
    abandon: &AbandonRamdisk,
    on_failure: OnFailure::FailWith(NodeHealthFault::CleanFailure),
};

/// Node before settings, as upstream.
#[must_use]
pub fn is_automated_clean_wanted(settings: &Settings, node: &Node) -> bool {
    node.automated_clean.unwrap_or(settings.automated_clean)
}

/// Is there anything to do, and does it need the ramdisk?
struct Plan;

#[async_trait]
impl Phase for Plan {
    fn name(&self) -> &'static str {
        "plan"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        cx.set(|node| {
            node.driver_internal_info.remove("clean_steps");
            node.driver_internal_info.remove("clean_step_index");
            node.last_error = None;
        });
        let manual = cx
            .operation
            .args
            .get("clean_steps")
            .is_some_and(|v| !v.is_null());
        if !manual && !is_automated_clean_wanted(&cx.shared.settings, &cx.node) {
            cx.note(
                TimelineSource::Engine,
                "automated cleaning is switched off; nothing was erased",
            );
            return Ok(Outcome::Next("done"));
        }
        if !manual {
            super::cleaning_runbook::choose(cx).await?;
        }
        let hardware = cx.hardware()?;
        let runbook = cx.data.cleaning_runbook.as_ref();
        let without = cx.operation.args.get("disable_ramdisk") == Some(&true.into())
            || runbook.is_some_and(|runbook| runbook.disable_ramdisk);
        if without || !hardware.deploy.uses_agent() {
            return Ok(Outcome::Next("collect-steps"));
        }
        let env = cx.shared.environment.clone();
        hardware.power.validate(&env, &cx.node)?;
        hardware.management.validate(&env, &cx.node)?;
        hardware.boot.validate(&env, &cx.node)?;
        Ok(super::ramdisk::boot_unless_there(cx))
    }
}

/// Off, unless the agent is to be gone on with or the node may not be switched off. A node whose ramdisk was not booted keeps
/// the power that it had.
struct AfterCleaning(&'static dyn Phase);

#[async_trait]
impl Phase for AfterCleaning {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let kept = !cx.data.ramdisk || cx.shared.settings.fast_track.is_some();
        if kept || cx.node.disable_power_off {
            return Ok(Look::Done);
        }
        self.0.look(cx).await
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        self.0.act(cx).await
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

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        end_boot(cx).await?;
        cx.set(|node| {
            node.clean_step.clear();
            node.last_error = None;
            node.driver_internal_info.remove("clean_steps");
            node.driver_internal_info.remove("clean_step_index");
        });
        cx.leave_wait()?;
        let manageable =
            cx.node.target_provision_state == Some(ProvisionState::Manageable) || cx.node.retired;
        cx.event(if manageable {
            Event::Manage
        } else {
            Event::Done
        })?;
        Ok(Outcome::Finish)
    }
}
