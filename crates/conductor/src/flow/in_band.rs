//! Steps that run on the agent: started once, found again by operation and index, watched without a task.

use std::time::Duration;

use bessemer_drivers::{CoreStep, StepRun};
use bessemer_model::{Class, Fault, Timestamp};
use bessemer_store::TimelineSource;
use bessemer_wire::{CommandResult, CommandStatus, ImageProgress, StepRef};
use serde_json::Value;

use super::run_steps::{RUN, advance, agent, callback_timeout, failed, kind, ports};
use crate::context::{Context, StepProgress};
use crate::outcome::{Look, Outcome, Wait};
use crate::steps::{self, PlannedStep, StepKind};

/// Between looks at a running command; its end also forces a heartbeat, which wakes the engine.
const LOOK: Duration = Duration::from_secs(2);

#[track_caller]
pub fn in_band_wait(cx: &Context, step: &PlannedStep, progress: Option<&ImageProgress>) -> Wait {
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

pub async fn look_in_band(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
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
                    match kind(cx) {
                        StepKind::Deploy => "Deploy",
                        StepKind::Service => "Service",
                        StepKind::Clean => "Clean",
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
                .or_else(|| r.get("service_result"))
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
    let at = Timestamp::now();
    let left = progress.total_bytes.saturating_sub(progress.done_bytes);
    let estimated_end = (progress.total_bytes > 0 && progress.rate > 0)
        .then(|| at.after(Duration::from_secs(left.div_ceil(progress.rate))));
    cx.data.progress = Some(StepProgress {
        stage: progress.stage.clone(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        rate: progress.rate,
        at: Some(at),
        estimated_end,
    });
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

pub async fn start_in_band(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
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
