//! `service`: steps on a node whose instance stays, and the instance's return.

use async_trait::async_trait;
use bessemer_model::{Event, Fault, NodeHealthFault};
use bessemer_store::TimelineSource;

use super::ramdisk::{
    Abandon, AbandonRamdisk, PowerOff, PowerOn, PrepareRamdisk, WaitAgent, set_local_boot,
};
use super::run_steps::{CollectSteps, RunSteps, driver_steps};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};
use crate::steps::{self, StepKind};

pub const SERVICE: Flow = Flow {
    name: "service",
    version: 1,
    title: "service",
    history_type: "servicing",
    phases: &[
        &Plan,
        &PowerOff("power-off"),
        &PrepareRamdisk,
        &PowerOn("power-on"),
        &WaitAgent,
        &CollectSteps,
        &RunSteps,
        &Done,
    ],
    abandon: &AbandonRamdisk,
    on_failure: OnFailure::FailWith(NodeHealthFault::ServiceFailure),
};

/// The way back to the instance; the node is `active` already, or becomes it at the end.
pub const UNSERVICE: Flow = Flow {
    name: "unservice",
    version: 1,
    title: "return from service",
    history_type: "servicing",
    phases: &[
        &PowerOff("power-off"),
        &RestoreBoot,
        &PowerOn("power-on"),
        &Returned,
    ],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

/// Member of `driver_internal_info`: the service that failed left the instance running.
pub const WITHOUT_RAMDISK: &str = "service_disable_ramdisk";

/// Is the ramdisk needed?
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
        let hardware = cx.hardware()?;
        let list = cx
            .operation
            .args
            .get(StepKind::Service.list_key())
            .cloned()
            .unwrap_or_default();
        let without = cx.operation.args.get("disable_ramdisk") == Some(&true.into());
        let driver = driver_steps(&hardware, StepKind::Service);
        if without || !hardware.deploy.uses_agent() || !steps::needs_ramdisk(&list, &driver)? {
            cx.note(
                TimelineSource::Engine,
                "no step needs the ramdisk; the instance is left running",
            );
            cx.internal(WITHOUT_RAMDISK, Some(true.into()));
            return Ok(Outcome::Next("collect-steps"));
        }
        cx.internal(WITHOUT_RAMDISK, None);
        let env = cx.shared.environment.clone();
        hardware.management.validate(&env, &cx.node)?;
        hardware.boot.validate(&env, &cx.node)?;
        Ok(Outcome::Done)
    }
}

/// After the last step: straight to `active`, or the way back from the ramdisk first.
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
        cx.leave_wait()?;
        let ramdisk = cx.data.ramdisk;
        cx.set(|node| {
            node.service_step.clear();
            node.last_error = None;
            for key in [
                StepKind::Service.list_key(),
                StepKind::Service.index_key(),
                WITHOUT_RAMDISK,
            ] {
                node.driver_internal_info.remove(key);
            }
        });
        if ramdisk {
            return Ok(Outcome::Become("unservice"));
        }
        cx.event(Event::Done)?;
        Ok(Outcome::Finish)
    }
}

struct RestoreBoot;

#[async_trait]
impl Phase for RestoreBoot {
    fn name(&self) -> &'static str {
        "restore-boot"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        set_local_boot(cx).await?;
        Ok(Outcome::Done)
    }
}

struct Returned;

#[async_trait]
impl Phase for Returned {
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
        // After an abort the node is active already, and last_error tells of the abort.
        if cx.node.provision_state == bessemer_model::ProvisionState::Servicing {
            cx.event(Event::Done)?;
        }
        cx.note(TimelineSource::Engine, "the instance was started again");
        Ok(Outcome::Finish)
    }
}
