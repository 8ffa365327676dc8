//! Collecting the step list and running it, one step after the other.
//!
//! An in-band step is *started* here and runs on the agent; the phase finds it again in the agent's list of
//! commands by operation and index, so that a conductor that was killed in between neither starts it
//! twice nor loses it. A destructive step is started only after the intention is stored together with
//! the agent's start time: "absent, same agent" then means not done, "the agent was restarted" means unknown.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::{CoreStep, DriverStep, Hardware, StepCall, StepResult, StepRun};
use bessemer_model::{Class, Fault, Object, PowerState, Timestamp};
use bessemer_store::{Page, PortFilter, SignalKind, TimelineSource};
use bessemer_wire::{CommandResult, CommandStatus, StepDefinition};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{child_steps, core_steps, hardware_tables, in_band, reserved};
use crate::agent_client::AgentClient;
use crate::context::Context;
use crate::outcome::{Look, OnUnknown, Outcome, Phase, Wait};
use crate::settings::Settings;
use crate::steps::{self, PlannedStep, StepKind};

pub const RUN: &str = "run-steps";

pub fn kind(cx: &Context) -> StepKind {
    match cx.operation.flow.as_str() {
        "deploy" => StepKind::Deploy,
        "service" => StepKind::Service,
        _ => StepKind::Clean,
    }
}

pub fn agent(cx: &Context) -> Result<AgentClient, Fault> {
    let settings = &cx.shared.settings;
    AgentClient::new(
        &cx.node,
        settings.agent_command_timeout,
        settings.agent_verify_ca,
    )
}

/// How long an agent may be silent while it works for this flow.
pub fn agent_timeout(settings: &Settings, flow: &str) -> Duration {
    match flow {
        "deploy" => settings.deploy_callback_timeout,
        "service" => settings.service_callback_timeout,
        "rescue" => settings.rescue_callback_timeout,
        "inspect" => settings.inspect_wait_timeout,
        _ => settings.clean_callback_timeout,
    }
}

pub fn callback_timeout(cx: &Context) -> Duration {
    agent_timeout(&cx.shared.settings, &cx.operation.flow)
}

/// Steps of this kind that the node's interfaces themselves offer.
pub fn driver_steps(hardware: &Hardware, kind: StepKind) -> Vec<DriverStep> {
    match kind {
        StepKind::Deploy => hardware.deploy_steps(),
        StepKind::Clean => hardware.clean_steps(),
        StepKind::Service => hardware.service_steps(),
    }
}

/// Reply of `clean.get_clean_steps` and its like.
#[derive(Deserialize)]
struct Offered {
    #[serde(
        default,
        alias = "clean_steps",
        alias = "deploy_steps",
        alias = "service_steps"
    )]
    steps: std::collections::BTreeMap<String, Vec<StepDefinition>>,
    #[serde(default)]
    hardware_manager_version: Map<String, Value>,
}

/// Ports of the node as the agent's steps get them.
pub async fn ports(cx: &Context) -> Result<Value, Fault> {
    let filter = PortFilter {
        node: Some(cx.node.id),
        ..PortFilter::default()
    };
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let ports = cx
        .shared
        .store
        .list_ports(&filter, &page)
        .await
        .map_err(|e| crate::error_text::store(&e))?;
    Ok(ports
        .iter()
        .map(|p| {
            json!({"uuid": p.id, "address": p.address, "name": p.name, "pxe_enabled": p.pxe_enabled, "extra": p.extra,
                   "local_link_connection": p.local_link_connection, "physical_network": p.physical_network})
        })
        .collect())
}

pub fn failed(cx: &Context, what: &str, command: &CommandResult) -> Fault {
    let why = command
        .command_error
        .as_ref()
        .map_or("no reason given", |e| {
            if e.details.is_empty() {
                e.message.as_str()
            } else {
                e.details.as_str()
            }
        });
    Fault::hardware(
        Class::Never,
        format!(
            "{what} failed on node {}: {}",
            cx.node.label(),
            why.trim_end_matches(['\n', ' '])
        ),
    )
}

/// Asks the agent for its steps and makes the list.
pub struct CollectSteps;

#[async_trait]
impl Phase for CollectSteps {
    fn name(&self) -> &'static str {
        "collect-steps"
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        Ok(if cx.data.steps.is_some() {
            Look::Done
        } else {
            Look::NotDone
        })
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let kind = kind(cx);
        let hardware = cx.hardware()?;
        let mut offered = std::collections::BTreeMap::new();
        if hardware.deploy.uses_agent() && cx.data.ramdisk {
            let mut params = Object::new();
            params.insert("node".into(), steps::node_for_agent(&cx.node));
            params.insert("ports".into(), ports(cx).await?);
            let name = format!("{0}.get_{0}_steps", kind.as_str());
            let reply = agent(cx)?.command(&name, params, true).await?;
            if reply.command_status != CommandStatus::Succeeded {
                return Err(failed(cx, &name, &reply));
            }
            let list: Offered = serde_json::from_value(reply.command_result.unwrap_or_default())
                .map_err(|e| {
                    Fault::hardware(
                        Class::Never,
                        format!(
                            "The agent's list of {} steps cannot be read: {e}",
                            kind.as_str()
                        ),
                    )
                })?;
            offered = list.steps;
            cx.internal(
                "hardware_manager_version",
                Some(Value::Object(list.hardware_manager_version)),
            );
        }
        let args = &cx.operation.args;
        let wanted = |key: &str| args.get(key).filter(|v| !v.is_null());
        let driver = driver_steps(&hardware, kind);
        let list = match kind {
            StepKind::Deploy => {
                let templates = crate::verbs::templates(&cx.shared, &cx.node).await?;
                let asked = steps::with_templates(wanted("deploy_steps"), &templates)?;
                steps::deploy(&asked, &driver, &offered)?
            }
            StepKind::Clean | StepKind::Service => match wanted(kind.list_key()).or(cx
                .data
                .cleaning_runbook
                .as_ref()
                .map(|book| &book.steps))
            {
                Some(given) => {
                    let list = steps::manual(kind, given, &driver, &offered)?;
                    if args.get("disable_ramdisk") == Some(&true.into()) {
                        steps::without_ramdisk(kind, &list)?;
                    }
                    list
                }
                None => steps::automated_clean(&cx.shared.settings, &driver, &offered),
            },
        };
        let shown: Vec<Value> = list.iter().map(|s| Value::Object(s.shown())).collect();
        cx.internal(kind.list_key(), Some(Value::Array(shown)));
        let names: Vec<String> = list.iter().map(PlannedStep::label).collect();
        cx.note(
            TimelineSource::Engine,
            if names.is_empty() {
                format!("no {} steps to run", kind.as_str())
            } else {
                format!("{} steps: {}", kind.as_str(), names.join(", "))
            },
        );
        cx.leave_wait()?;
        cx.data.steps = Some(list);
        cx.data.step = 0;
        Ok(Outcome::Done)
    }
}

/// Runs the list; comes back to itself after every step.
pub struct RunSteps;

#[async_trait]
impl Phase for RunSteps {
    fn name(&self) -> &'static str {
        RUN
    }

    fn on_unknown(&self) -> OnUnknown {
        OnUnknown::Fail
    }

    fn abortable(&self, cx: &Context) -> bool {
        present(cx).is_none_or(|s| s.abortable)
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let Some(step) = present(cx).cloned() else {
            return Ok(Look::Done);
        };
        if cx.data.reboot.is_some() {
            return reserved::look_reboot(cx, &step).await;
        }
        if step.children.is_some() {
            return child_steps::look(cx, &step).await;
        }
        if let Some(which) = step.reserved {
            return reserved::look(cx, &step, which).await;
        }
        match step.run {
            StepRun::InBand | StepRun::Core(CoreStep::WriteImage) => {
                if reserved::agent_is_missing(cx) {
                    return Ok(Look::NotDone);
                }
                in_band::look_in_band(cx, &step).await
            }
            StepRun::Core(CoreStep::TearDownAgent) => core_steps::look_tear_down(cx, &step).await,
            StepRun::Core(CoreStep::BootInstance) if cx.data.reset_instead => Ok(Look::NotDone),
            StepRun::Core(CoreStep::BootInstance) => {
                if cx.read_power().await? == PowerState::On {
                    return advance(cx, &step);
                }
                Ok(Look::NotDone)
            }
            StepRun::OutOfBand if cx.data.step_waits => look_agent_called(cx, &step),
            StepRun::Core(_) | StepRun::OutOfBand => Ok(Look::NotDone),
        }
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let Some(step) = present(cx).cloned() else {
            return Ok(Outcome::Done);
        };
        announce(cx, &step);
        if cx.data.reboot.is_some() {
            return reserved::act_reboot(cx).await;
        }
        if step.children.is_some() {
            return child_steps::act(cx, &step).await;
        }
        if let Some(which) = step.reserved {
            return reserved::act(cx, &step, which).await;
        }
        match step.run {
            StepRun::InBand | StepRun::Core(CoreStep::WriteImage) => {
                if reserved::agent_is_missing(cx) {
                    cx.enter_wait()?;
                    return Ok(Outcome::Wait(reserved::agent_wait(cx)));
                }
                in_band::start_in_band(cx, &step).await
            }
            StepRun::Core(CoreStep::PrepareInstanceBoot) => {
                core_steps::prepare_instance_boot(cx, &step).await
            }
            StepRun::Core(CoreStep::TearDownAgent) => core_steps::tear_down_agent(cx).await,
            StepRun::Core(CoreStep::BootInstance) => core_steps::boot_instance(cx).await,
            // The network interface is `noop`: the ports stay where they are.
            StepRun::Core(CoreStep::SwitchToTenantNetwork | CoreStep::Deploy) => {
                finished(cx, &step)
            }
            StepRun::OutOfBand => run_out_of_band(cx, &step).await,
        }
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        let step = present(cx).map_or_else(
            || "the last step".to_owned(),
            |s| format!("step {}", s.label()),
        );
        Fault::hardware(
            Class::Never,
            format!(
                "Timeout: {step} on node {} did not end in time, and nothing was heard of it since; see the node's console and timeline.",
                cx.node.label()
            ),
        )
    }
}

/// A step of the driver: called again with what it said last, until it says that it is done.
async fn run_out_of_band(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    let hardware = cx.hardware()?;
    let env = cx.shared.environment.clone();
    cx.guard()?;
    let call = StepCall {
        step: &step.step,
        args: &step.args,
        state: cx.data.step_state.as_ref(),
    };
    let result = hardware
        .run_step(&env, &cx.node, &step.interface, call)
        .await?;
    match result {
        StepResult::Done(effects) => {
            hardware_tables::save(cx, &effects).await?;
            cx.set(move |node| effects.apply(node));
            finished(cx, step)
        }
        StepResult::Wait { what, after, state } => {
            cx.data.step_state = Some(state);
            let deadline = cx.deadline(callback_timeout(cx));
            Ok(Outcome::Wait(
                Wait::new(what).look_again(after).until(deadline),
            ))
        }
        StepResult::Reboot { what, state } => {
            cx.note(
                TimelineSource::Engine,
                format!(
                    "step {} asks for a restart of the node: {what}",
                    step.label()
                ),
            );
            cx.data.step_state = Some(state);
            cx.data.step_goes_on = true;
            cx.data.reboot = Some(reserved::Reboot::Off);
            cx.data.power_sent_at = None;
            Ok(Outcome::Next(RUN))
        }
        StepResult::WaitForAgent { what } => {
            cx.data.step_waits = true;
            cx.enter_wait()?;
            let deadline = cx.deadline(callback_timeout(cx));
            Ok(Outcome::Wait(
                Wait::new(format!("the agent's call that ends {what}")).until(deadline),
            ))
        }
    }
}

fn look_agent_called(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    if cx.has_signal(SignalKind::Heartbeat) {
        return advance(cx, step);
    }
    let deadline = cx.deadline(callback_timeout(cx));
    Ok(Look::Running(
        Wait::new(format!("the agent's call that ends step {}", step.label())).until(deadline),
    ))
}

fn present(cx: &Context) -> Option<&PlannedStep> {
    cx.data.steps.as_ref()?.get(cx.data.step)
}

/// Shows the step on the node.
fn announce(cx: &mut Context, step: &PlannedStep) {
    let shown = step.shown();
    let index = cx.data.step;
    let kind = kind(cx);
    if *kind.shown_on(&mut cx.node) == shown {
        return;
    }
    cx.set(move |node| {
        *kind.shown_on(node) = shown.clone();
        node.driver_internal_info
            .insert(kind.index_key().to_owned(), json!(index));
    });
    cx.note(
        TimelineSource::Engine,
        format!("{} step {} begins", kind.as_str(), step.label()),
    );
}

/// On to the next step.
fn next(cx: &mut Context, step: &PlannedStep) -> Result<(), Fault> {
    let more = cx
        .data
        .steps
        .as_ref()
        .is_some_and(|all| cx.data.step + 1 < all.len());
    // A restart that nothing follows would only delay the end.
    if step.reboot && more && cx.data.reboot.is_none() && !cx.data.rebooted {
        cx.note(
            TimelineSource::Engine,
            format!("step {} asks for a restart of the node", step.label()),
        );
        cx.leave_wait()?;
        cx.data.reboot = Some(reserved::Reboot::Off);
        cx.data.power_sent_at = None;
        return Ok(());
    }
    cx.note(
        TimelineSource::Engine,
        format!("{} step {} is done", kind(cx).as_str(), step.label()),
    );
    cx.leave_wait()?;
    cx.data.step += 1;
    cx.data.step_attempt = 0;
    cx.data.step_agent = None;
    cx.data.step_state = None;
    cx.data.step_goes_on = false;
    cx.data.step_waits = false;
    cx.data.power_sent_at = None;
    cx.data.agent_off_at = None;
    cx.data.progress_told = 0;
    cx.data.progress = None;
    cx.data.reboot = None;
    cx.data.rebooted = false;
    cx.data.phase_since = Timestamp::now().0;
    Ok(())
}

pub fn advance(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    next(cx, step)?;
    Ok(Look::Next(RUN))
}

pub fn finished(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    next(cx, step)?;
    Ok(Outcome::Next(RUN))
}
