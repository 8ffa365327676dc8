//! `rescue`: a ramdisk with a password beside the instance; `unrescue`: back to the instance.

use async_trait::async_trait;
use bessemer_model::{Event, Fault, Object};
use bessemer_store::TimelineSource;
use bessemer_wire::CommandStatus;
use serde_json::json;

use super::ramdisk::{
    Abandon, AbandonRamdisk, PowerOff, PowerOn, PrepareRamdisk, WaitAgent, set_local_boot,
};
use super::run_steps::{agent, failed};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const RESCUE: Flow = Flow {
    name: "rescue",
    version: 1,
    title: "rescue",
    history_type: "rescue",
    phases: &[
        &Start,
        &PowerOff("power-off"),
        &PrepareRamdisk,
        &PowerOn("power-on"),
        &WaitAgent,
        &FinalizeRescue,
        &Done(Event::Done),
    ],
    abandon: &AbandonRamdisk,
    on_failure: OnFailure::Fail,
};

pub const UNRESCUE: Flow = Flow {
    name: "unrescue",
    version: 1,
    title: "unrescue",
    history_type: "unrescue",
    phases: &[
        &Start,
        &PowerOff("power-off"),
        &RestoreBoot,
        &PowerOn("power-on"),
        &Done(Event::Done),
    ],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

/// Does the driver do it by itself?
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
        let hardware = cx.hardware()?;
        if hardware.rescue.uses_agent() {
            return Ok(Outcome::Done);
        }
        let env = cx.shared.environment.clone();
        cx.guard()?;
        if cx.operation.flow == "rescue" {
            hardware.rescue.rescue(&env, &cx.node).await?;
        } else {
            hardware.rescue.unrescue(&env, &cx.node).await?;
        }
        Ok(Outcome::Next("done"))
    }
}

/// Gives the ramdisk the password's hash. Once more has the same effect, as long as the agent is there: upstream's
/// ends its API when it has the password.
struct FinalizeRescue;

#[async_trait]
impl Phase for FinalizeRescue {
    fn name(&self) -> &'static str {
        "finalize-rescue"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        const COMMAND: &str = "rescue.finalize_rescue";
        let hash = cx
            .node
            .instance_info
            .get("hashed_rescue_password")
            .cloned()
            .ok_or_else(|| {
                Fault::invalid(format!(
                    "The hash of the rescue password of node {} is gone from instance_info; rescue it again.",
                    cx.node.label()
                ))
            })?;
        let mut params = Object::new();
        params.insert("rescue_password".into(), hash);
        params.insert("hashed".into(), json!(true));
        cx.guard()?;
        let agent = agent(cx)?;
        match agent.command(COMMAND, params, true).await {
            Ok(reply) if reply.command_status == CommandStatus::Succeeded => {
                cx.note(TimelineSource::Agent, "the rescue password is set");
            }
            Ok(reply) => return Err(failed(cx, "Setting the rescue password", &reply)),
            // The first claim of this phase counts one; more mean that a run of it ended unseen.
            Err(_) if cx.operation.attempt > 1 && agent.is_gone().await => {
                cx.note(
                    TimelineSource::Agent,
                    "the agent has ended, as it does when it has the rescue password",
                );
            }
            Err(fault) => return Err(fault),
        }
        cx.leave_wait()?;
        Ok(Outcome::Done)
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

/// Members of `instance_info` that hold the password.
pub const PASSWORD_MEMBERS: [&str; 2] = ["rescue_password", "hashed_rescue_password"];

/// The end of both.
struct Done(Event);

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
        cx.set(|node| {
            node.last_error = None;
            for key in PASSWORD_MEMBERS {
                node.instance_info.remove(key);
            }
        });
        // The agent is done with what it was there for; it heartbeats no more.
        cx.forget_agent();
        cx.event(self.0)?;
        Ok(Outcome::Finish)
    }
}
