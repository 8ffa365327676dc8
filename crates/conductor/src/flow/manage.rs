//! `manage`: is the hardware there, do the credentials work, and what the driver verifies besides.

use async_trait::async_trait;
use bessemer_drivers::{DriverStep, StepCall, StepResult};
use bessemer_model::notification::Notice;
use bessemer_model::{Event, Fault, Object};
use bessemer_store::TimelineSource;

use super::ramdisk::Abandon;
use super::{Flow, OnFailure, hardware_tables};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase, Wait};

pub const MANAGE: Flow = Flow {
    name: "manage",
    version: 1,
    title: "verification",
    history_type: "verify",
    phases: &[&VerifyPower, &VerifySteps],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

struct VerifyPower;

#[async_trait]
impl Phase for VerifyPower {
    fn name(&self) -> &'static str {
        "verify-power"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let before = cx.node.power_state;
        let state = cx.read_power().await.map_err(|fault| Fault {
            text: format!(
                "Failed to get power state for node {}. Error: {}",
                cx.node.id, fault.text
            ),
            ..fault
        })?;
        cx.note(TimelineSource::Bmc, format!("the BMC answers: {state}"));
        hardware_tables::learn(cx).await?;
        let outcome = if steps(cx)?.is_empty() {
            done(cx)?
        } else {
            Outcome::Done
        };
        if before != Some(state) {
            cx.tell(Notice::PowerCorrected { from: before });
        }
        Ok(outcome)
    }
}

/// The driver's, highest priority first; `[conductor] verify_step_priority_override` goes before their own.
fn steps(cx: &Context) -> Result<Vec<DriverStep>, Fault> {
    let overrides = &cx.shared.settings.verify_step_priority_override;
    let mut steps = cx.hardware()?.verify_steps();
    for step in &mut steps {
        let name = format!("{}.{}", step.definition.interface, step.definition.step);
        if let Some(priority) = overrides.get(&name) {
            step.definition.priority = *priority;
        }
    }
    steps.retain(|s| s.definition.priority > 0);
    steps.sort_by_key(|s| std::cmp::Reverse(s.definition.priority));
    Ok(steps)
}

fn done(cx: &mut Context) -> Result<Outcome, Fault> {
    cx.event(Event::Done)?;
    cx.set(|node| node.last_error = None);
    Ok(Outcome::Finish)
}

/// One step a run.
struct VerifySteps;

#[async_trait]
impl Phase for VerifySteps {
    fn name(&self) -> &'static str {
        "verify-steps"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let Some(step) = steps(cx)?.get(cx.data.step).cloned() else {
            return done(cx);
        };
        let hardware = cx.hardware()?;
        let env = cx.shared.environment.clone();
        cx.guard()?;
        let args = Object::new();
        let call = StepCall {
            step: &step.definition.step,
            args: &args,
            state: cx.data.step_state.as_ref(),
        };
        match hardware
            .run_step(&env, &cx.node, &step.definition.interface, call)
            .await?
        {
            StepResult::Done(effects) => {
                hardware_tables::save(cx, &effects).await?;
                cx.set(move |node| effects.apply(node));
                cx.note(
                    TimelineSource::Engine,
                    format!(
                        "verify step {}.{} is done",
                        step.definition.interface, step.definition.step
                    ),
                );
                cx.data.step += 1;
                cx.data.step_state = None;
                Ok(Outcome::Next(self.name()))
            }
            StepResult::Wait { what, after, state } => {
                cx.data.step_state = Some(state);
                let limit = cx.deadline(cx.shared.settings.clean_callback_timeout);
                Ok(Outcome::Wait(
                    Wait::new(what).look_again(after).until(limit),
                ))
            }
            StepResult::Reboot { what, .. } => Err(Fault::unsupported(format!(
                "Verification of node {} cannot restart it ({what}).",
                cx.node.label()
            ))),
            StepResult::WaitForAgent { what } => Err(Fault::unsupported(format!(
                "Verification of node {} cannot wait for an agent ({what}).",
                cx.node.label()
            ))),
        }
    }
}
