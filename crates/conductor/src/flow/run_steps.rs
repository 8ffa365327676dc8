//! Collecting the step list and running it, one step after the other.
//!
//! An in-band step is *started* here and runs on the agent; the phase finds it again in the agent's list of
//! commands by operation and index, so that a conductor that was killed in between neither starts it
//! twice nor loses it. A destructive step is started only after the intention is stored together with
//! the agent's start time: "absent, same agent" then means not done, "the agent was restarted" means unknown.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::interface::boot_mode;
use bessemer_drivers::{CoreStep, Persistence, StepCall, StepResult, StepRun};
use bessemer_model::{Class, Fault, Object, PowerState, Timestamp};
use bessemer_store::{BootKind, BootRow, Page, PortFilter, SignalKind, TimelineSource};
use bessemer_wire::{
    CleanSteps, CommandResult, CommandStatus, DeploySteps, ImageProgress, StepRef,
};
use serde_json::{Value, json};

use super::ramdisk::{set_boot, set_boot_device};
use crate::agent_client::AgentClient;
use crate::context::Context;
use crate::outcome::{Look, OnUnknown, Outcome, Phase, Wait};
use crate::steps::{self, PlannedStep, StepKind};

const RUN: &str = "run-steps";
/// Between looks at a running command; its end also forces a heartbeat, which wakes the engine.
const LOOK: Duration = Duration::from_secs(2);

fn kind(cx: &Context) -> StepKind {
    if cx.operation.flow == "deploy" {
        StepKind::Deploy
    } else {
        StepKind::Clean
    }
}

fn agent(cx: &Context) -> Result<AgentClient, Fault> {
    let settings = &cx.shared.settings;
    AgentClient::new(
        &cx.node,
        settings.agent_command_timeout,
        settings.agent_verify_ca,
    )
}

fn callback_timeout(cx: &Context) -> Duration {
    match kind(cx) {
        StepKind::Deploy => cx.shared.settings.deploy_callback_timeout,
        StepKind::Clean => cx.shared.settings.clean_callback_timeout,
    }
}

/// Ports of the node as the agent's steps get them.
async fn ports(cx: &Context) -> Result<Value, Fault> {
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

fn failed(cx: &Context, what: &str, command: &CommandResult) -> Fault {
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
        if hardware.deploy.uses_agent() {
            let mut params = Object::new();
            params.insert("node".into(), steps::node_for_agent(&cx.node));
            params.insert("ports".into(), ports(cx).await?);
            let name = format!("{0}.get_{0}_steps", kind.as_str());
            let reply = agent(cx)?.command(&name, params, true).await?;
            if reply.command_status != CommandStatus::Succeeded {
                return Err(failed(cx, &name, &reply));
            }
            let result = reply.command_result.unwrap_or_default();
            let unreadable = |e: serde_json::Error| {
                Fault::hardware(
                    Class::Never,
                    format!(
                        "The agent's list of {} steps cannot be read: {e}",
                        kind.as_str()
                    ),
                )
            };
            let versions = match kind {
                StepKind::Clean => {
                    let list: CleanSteps = serde_json::from_value(result).map_err(unreadable)?;
                    offered = list.clean_steps;
                    list.hardware_manager_version
                }
                StepKind::Deploy => {
                    let list: DeploySteps = serde_json::from_value(result).map_err(unreadable)?;
                    offered = list.deploy_steps;
                    list.hardware_manager_version
                }
            };
            cx.internal("hardware_manager_version", Some(Value::Object(versions)));
        }
        let args = &cx.operation.args;
        let wanted = |key: &str| args.get(key).filter(|v| !v.is_null());
        let list = match kind {
            StepKind::Deploy => {
                steps::deploy(wanted("deploy_steps"), &hardware.deploy_steps(), &offered)?
            }
            StepKind::Clean => match wanted("clean_steps") {
                Some(given) => steps::manual_clean(given, &hardware.clean_steps(), &offered)?,
                None => {
                    steps::automated_clean(&cx.shared.settings, &hardware.clean_steps(), &offered)
                }
            },
        };
        let shown: Vec<Value> = list.iter().map(|s| Value::Object(s.shown())).collect();
        cx.internal(
            if kind == StepKind::Deploy {
                "deploy_steps"
            } else {
                "clean_steps"
            },
            Some(Value::Array(shown)),
        );
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
        match step.run {
            StepRun::InBand | StepRun::Core(CoreStep::WriteImage) => look_in_band(cx, &step).await,
            StepRun::Core(CoreStep::TearDownAgent) => look_tear_down(cx, &step).await,
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
        match step.run {
            StepRun::InBand | StepRun::Core(CoreStep::WriteImage) => start_in_band(cx, &step).await,
            StepRun::Core(CoreStep::PrepareInstanceBoot) => prepare_instance_boot(cx, &step).await,
            StepRun::Core(CoreStep::TearDownAgent) => tear_down_agent(cx).await,
            StepRun::Core(CoreStep::BootInstance) => boot_instance(cx).await,
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
    let current = if kind == StepKind::Deploy {
        &cx.node.deploy_step
    } else {
        &cx.node.clean_step
    };
    if *current == shown {
        return;
    }
    cx.set(move |node| {
        if kind == StepKind::Deploy {
            node.deploy_step = shown.clone();
        } else {
            node.clean_step = shown.clone();
        }
        node.driver_internal_info
            .insert(format!("{}_step_index", kind.as_str()), json!(index));
    });
    cx.note(
        TimelineSource::Engine,
        format!("{} step {} begins", kind.as_str(), step.label()),
    );
}

/// On to the next step.
fn next(cx: &mut Context, step: &PlannedStep) -> Result<(), Fault> {
    cx.note(
        TimelineSource::Engine,
        format!("{} step {} is done", kind(cx).as_str(), step.label()),
    );
    cx.leave_wait()?;
    cx.data.step += 1;
    cx.data.step_attempt = 0;
    cx.data.step_agent = None;
    cx.data.step_state = None;
    cx.data.step_waits = false;
    cx.data.power_sent_at = None;
    cx.data.agent_off_at = None;
    cx.data.progress_told = 0;
    cx.data.phase_since = Timestamp::now().0;
    Ok(())
}

fn advance(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    next(cx, step)?;
    Ok(Look::Next(RUN))
}

fn finished(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    next(cx, step)?;
    Ok(Outcome::Next(RUN))
}

#[track_caller]
fn in_band_wait(cx: &Context, step: &PlannedStep, progress: Option<&ImageProgress>) -> Wait {
    let what = match progress {
        Some(p) if p.total_bytes > 0 => format!(
            "step {} on the agent ({}: {} of {} bytes, {} %)",
            step.label(),
            p.stage,
            p.done_bytes,
            p.total_bytes,
            percent(p)
        ),
        _ => format!("step {} on the agent", step.label()),
    };
    // The agent answered just now: the wait begins anew with every look.
    Wait::new(what)
        .look_again(LOOK)
        .until(Timestamp::now().after(callback_timeout(cx)))
}

fn percent(progress: &ImageProgress) -> u8 {
    let percent = progress.done_bytes.saturating_mul(100) / progress.total_bytes.max(1);
    u8::try_from(percent.min(100)).unwrap_or(100)
}

async fn look_in_band(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    let client = agent(cx)?;
    let commands = client.commands().await?;
    let index = u32::try_from(cx.data.step).unwrap_or(u32::MAX);
    let operation = cx.operation.id.to_string();
    let mut found = steps::find_command(&commands, &operation, index).map(|(command, _)| command);
    if found.is_none()
        && let Some(known) = &cx.data.step_agent
        && let Some(last) = steps::unlabelled(&commands, kind(cx))
            .get(cx.data.step_seen..)
            .and_then(|later| later.last())
        && *known == client.started_at().await?
    {
        found = Some(*last);
    }
    if let Some(command) = found {
        return match command.command_status {
            CommandStatus::Succeeded => {
                told(cx, step, command);
                advance(cx, step)
            }
            CommandStatus::Running => {
                show_progress(cx, command.progress.as_ref());
                Ok(Look::Running(in_band_wait(
                    cx,
                    step,
                    command.progress.as_ref(),
                )))
            }
            CommandStatus::Failed => {
                let what = format!(
                    "{} step {}",
                    if kind(cx) == StepKind::Deploy {
                        "Deploy"
                    } else {
                        "Clean"
                    },
                    step.label()
                );
                let mut fault = failed(cx, &what, command);
                if step.is_destructive()
                    && let Some(image) = crate::image_check::name(&cx.node)
                {
                    fault.text.push_str(&format!("; the image is {image}"));
                }
                Err(fault)
            }
            CommandStatus::CleanVersionMismatch => Err(Fault::hardware(
                Class::Never,
                format!(
                    "The agent of node {} reports other hardware manager versions than when the steps were collected; clean again.",
                    cx.node.label()
                ),
            )),
        };
    }
    match &cx.data.step_agent {
        None => Ok(Look::NotDone),
        Some(known) if *known == client.started_at().await? => Ok(Look::NotDone),
        Some(_) => Ok(Look::Unknown(format!(
            "The agent of node {} was restarted while step {} ran, so it is not known how far it came; the node may have rebooted (see its console). Try again.",
            cx.node.label(),
            step.label()
        ))),
    }
}

/// What the agent says about a step that it ended.
fn told(cx: &mut Context, step: &PlannedStep, command: &CommandResult) {
    let result = command.command_result.as_ref();
    let text = result
        .and_then(|r| {
            r.get("result")
                .or_else(|| r.get("deploy_result"))
                .or_else(|| r.get("clean_result"))
        })
        .and_then(Value::as_str);
    if let Some(text) = text {
        let short: String = text.chars().take(500).collect();
        cx.note(TimelineSource::Agent, format!("{}: {short}", step.label()));
    }
}

/// Bytes, percent and rate: every ten percent a line of the timeline.
fn show_progress(cx: &mut Context, progress: Option<&ImageProgress>) {
    let Some(progress) = progress else { return };
    let now = percent(progress);
    if progress.total_bytes > 0 && now >= cx.data.progress_told.saturating_add(10) {
        cx.data.progress_told = now - now % 10;
        cx.note_data(
            TimelineSource::Image,
            format!(
                "{}: {} of {} bytes ({now} %), {} bytes/s",
                progress.stage, progress.done_bytes, progress.total_bytes, progress.rate
            ),
            serde_json::to_value(progress).ok(),
        );
    }
}

async fn start_in_band(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    let client = agent(cx)?;
    if cx.data.step_agent.is_none() {
        cx.data.step_agent = Some(client.started_at().await?);
        cx.data.step_seen = steps::unlabelled(&client.commands().await?, kind(cx)).len();
        if step.is_destructive() {
            // Store the intention first; the next look decides by it.
            return Ok(Outcome::Next(RUN));
        }
    }
    cx.data.step_attempt += 1;
    let reference = StepRef {
        operation: cx.operation.id.to_string(),
        index: u32::try_from(cx.data.step).unwrap_or(u32::MAX),
        attempt: cx.data.step_attempt,
    };
    let mut args = step.args.clone();
    if step.run == StepRun::Core(CoreStep::WriteImage) {
        let image = crate::image_check::image_info(&cx.shared, &cx.node)?;
        args.insert(
            "image_info".into(),
            serde_json::to_value(image).map_err(|e| Fault::internal(e.to_string()))?,
        );
        let drive = crate::config_drive::for_agent(&cx.node)?;
        args.insert(
            "configdrive".into(),
            drive.map_or(Value::Null, Value::String),
        );
    }
    let kind = kind(cx);
    let params = steps::command_params(kind, step, &reference, args, &cx.node, ports(cx).await?);
    cx.guard()?;
    if !cx
        .shared
        .store
        .holds_lease(cx.lease.session, cx.operation.id, cx.lease.fence)
        .await
        .map_err(|e| crate::error_text::store(&e))?
    {
        return Err(Fault::new(
            bessemer_model::FaultKind::Internal,
            Class::RetryNow,
            format!("operation {} is with another conductor", cx.operation.id),
        ));
    }
    let command = client
        .command(
            &format!("{0}.execute_{0}_step", kind.as_str()),
            params,
            false,
        )
        .await?;
    if command.command_status == CommandStatus::Failed {
        return Err(failed(cx, &format!("Step {}", step.label()), &command));
    }
    cx.enter_wait()?;
    Ok(Outcome::Wait(in_band_wait(cx, step, None)))
}

/// Boot loader entry (UEFI), boot device, and nothing more over the network.
async fn prepare_instance_boot(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
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
    set_boot_device(cx, "disk", Persistence::Persistent).await?;
    let row = BootRow {
        node: cx.node.id,
        kind: BootKind::Local,
        kernel: None,
        ramdisk: None,
        kernel_params: String::new(),
        updated_at: Timestamp::now(),
    };
    set_boot(cx, row).await?;
    finished(cx, step)
}

async fn look_tear_down(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
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
async fn tear_down_agent(cx: &mut Context) -> Result<Outcome, Fault> {
    if cx.data.agent_off_at.is_none() {
        let client = agent(cx)?;
        cx.guard()?;
        let asked = match client.command("standby.sync", Object::new(), true).await {
            Ok(_) => client
                .command("standby.power_off", Object::new(), false)
                .await
                .map(|_| ()),
            Err(fault) => Err(fault),
        };
        cx.data.agent_off_at = Some(Timestamp::now().0);
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

async fn boot_instance(cx: &mut Context) -> Result<Outcome, Fault> {
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
