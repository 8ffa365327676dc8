//! One run of one phase: what is looked at and done, and what the row becomes by it.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{Class, Fault, Timestamp};
use bessemer_store::{
    Claimed, OperationStatus, OperationUpdate, SignalKind, StoreError, TimelineSource,
};

use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::context::{Abandoned, AbortWanted, Context, Data, Lease};
use crate::flow::restored::{self, Then};
use crate::flow::{self, Flow};
use crate::metrics::Stood;
use crate::outcome::{Look, OnUnknown, Outcome, Phase, Wait};

/// A third panic fails the operation.
const MAX_PANICS: i32 = 3;
/// So many claims without an outcome fail it.
const MAX_ATTEMPTS: i32 = 25;
/// At most so long after its start the service holds waits open that ran out while it was down: an agent
/// calls at least every 0.6 × 300 s.
const START_GRACE: Duration = Duration::from_secs(180);
/// Between device tries.
const BACK_OFF: [u64; 5] = [1, 2, 4, 8, 10];

pub(super) fn back_off(attempt: i32) -> Duration {
    let index = usize::try_from(attempt.saturating_sub(1))
        .unwrap_or(0)
        .min(BACK_OFF.len() - 1);
    Duration::from_secs(BACK_OFF.get(index).copied().unwrap_or(10))
}

/// What is saved about the row.
struct Save {
    status: OperationStatus,
    flow: &'static Flow,
    phase: &'static str,
    wake_at: Option<Timestamp>,
    deadline_at: Option<Timestamp>,
    reason: Option<String>,
    keep_attempts: bool,
}

/// Runs the phase at which the operation stands, and saves what came of it. Until the stop the phase that follows
/// at once is claimed by the same write, and given back to be run next.
pub(super) async fn run_phase(
    shared: Arc<Shared>,
    flow: &'static Flow,
    lease: Lease,
    claimed: Claimed,
    stop: CancellationToken,
) -> Option<Claimed> {
    let Claimed {
        operation,
        node,
        signals,
    } = claimed;
    let data: Data = serde_json::from_value(operation.data.clone()).unwrap_or_default();
    let now = Timestamp::now();
    let mut cx = Context {
        shared,
        node,
        operation,
        signals,
        data,
        now,
        lease,
        changes: Vec::new(),
        timeline: Vec::new(),
        history: Vec::new(),
        consumed: Vec::new(),
    };
    let Some(phase) = flow.phase(&cx.operation.phase) else {
        tracing::error!(operation = %cx.operation.id, "flow {} has no phase {}", flow.name, cx.operation.phase);
        return None;
    };
    #[cfg(test)]
    let phase = crate::proving::watched(phase);
    if cx.data.phase_since == 0 {
        cx.data.phase_since = now.0;
    }
    let before = Stood::of(&cx.node);
    let save = decide(&mut cx, flow, phase).await;
    store(cx, before, save, &stop).await
}

/// Runs the phase and turns its answer into what the row becomes.
async fn decide(cx: &mut Context, flow: &'static Flow, phase: &'static dyn Phase) -> Save {
    if cx.operation.panics >= MAX_PANICS || cx.operation.attempt > MAX_ATTEMPTS {
        let times = if cx.operation.panics >= MAX_PANICS {
            cx.operation.panics
        } else {
            // the claim of this run is counted, and it is not over
            cx.operation.attempt.saturating_sub(1)
        };
        let text = format!(
            "The {} of node {} was given up in phase {}: it broke down {times} times without a result. This is a bug of the service; its log has the details.",
            flow.title,
            cx.node.label(),
            phase.name()
        );
        if cx.data.abandoned.is_some() {
            // The clean-up itself does not end: close without it.
            return close_failed(cx, flow, phase, &text);
        }
        return abandon(cx, flow, text, None);
    }
    // Taken at once in any case: a stored signal makes its operation due until it is consumed.
    if let Some(payload) = cx.take_signal(SignalKind::Abort) {
        let then = payload
            .get("then")
            .and_then(|v| v.as_str())
            .map(str::to_owned);
        cx.data.abort_wanted = Some(AbortWanted { then });
    }
    if cx.data.abandoned.is_none()
        && phase.abortable(cx)
        && let Some(wanted) = cx.data.abort_wanted.take()
    {
        let text = format!(
            "The {} of node {} was aborted by the operator in phase {}.",
            flow.title,
            cx.node.label(),
            phase.name()
        );
        return abandon(cx, flow, text, Some(wanted.then));
    }
    if cx.operation.restored_at.is_some()
        && let Some(save) = look_after_restore(cx, flow, phase).await
    {
        return save;
    }
    let expired = cx.operation.deadline_at.is_some_and(|at| at <= cx.now);
    let grace = cx
        .shared
        .started
        .after(cx.shared.settings.deploy_callback_timeout.min(START_GRACE));
    let expired = if expired && cx.now < grace {
        // While the service was down nobody could call: a wait that ran out meanwhile gets time for one more call.
        cx.operation.deadline_at = Some(grace);
        false
    } else {
        expired
    };
    let answer = match phase.look(cx).await {
        Ok(Look::Done) => Ok(Outcome::Done),
        Ok(Look::Next(name)) => Ok(Outcome::Next(name)),
        // A wait that was renewed just now (the agent answered) is not over, whatever the row said.
        Ok(Look::Running(wait)) if !expired || wait.deadline.is_some_and(|at| at > cx.now) => {
            Ok(Outcome::Wait(wait))
        }
        Ok(Look::Running(_) | Look::NotDone) if expired => Err(phase.expired(cx).await),
        Ok(Look::Running(wait)) => Ok(Outcome::Wait(wait)),
        Ok(Look::NotDone) => phase.act(cx).await,
        Ok(Look::Unknown(why)) => match phase.on_unknown() {
            OnUnknown::Repeat => phase.act(cx).await,
            OnUnknown::Fail => Err(Fault::internal(why)),
        },
        Err(fault) => Err(fault),
    };
    // Heartbeats and wake-ups have done their work by waking this run.
    cx.take_signal(SignalKind::Heartbeat);
    cx.take_signal(SignalKind::Wake);
    cx.take_signal(SignalKind::Unhold);
    match answer {
        Ok(outcome) => settle(cx, flow, phase, outcome),
        Err(fault) => fail(cx, flow, phase, fault),
    }
}

/// Of an operation that came from a backup: what is done instead of the phase, if anything.
async fn look_after_restore(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
) -> Option<Save> {
    let then = match restored::look(cx, flow, phase).await {
        Ok(then) => then,
        Err(fault) => {
            let save = fail(cx, flow, phase, fault);
            // given up: the clean-up that would follow switches power
            return Some(match cx.data.abandoned.take() {
                Some(abandoned) => end_untouched(cx, flow, phase, abandoned.error),
                None => save,
            });
        }
    };
    for kind in [SignalKind::Heartbeat, SignalKind::Wake] {
        cx.take_signal(kind);
    }
    Some(match then {
        Then::Wait(wait) => {
            // its deadline is that of the look, not of the phase's own wait
            let deadline = cx.operation.deadline_at;
            let save = settle(cx, flow, phase, Outcome::Wait(wait));
            Save {
                deadline_at: deadline,
                ..save
            }
        }
        Then::End(text) => end_untouched(cx, flow, phase, text),
        Then::Next(name) => {
            cx.operation.restored_at = None;
            cx.data.restored = None;
            settle(cx, flow, phase, Outcome::Next(name))
        }
        Then::Later => return None,
        Then::GoOn => {
            cx.operation.restored_at = None;
            cx.data.restored = None;
            return None;
        }
    })
}

/// The operation ends as failed without the clean-up that a failure usually has.
fn end_untouched(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
    error: String,
) -> Save {
    cx.note(TimelineSource::Engine, error.clone());
    cx.record("ERROR", flow.history_type, error.clone());
    cx.operation.restored_at = None;
    cx.data.restored = None;
    cx.data.abandoned = Some(Abandoned {
        error,
        aborted: false,
        then: None,
        during_step: false,
    });
    close(cx, flow, phase)
}

fn settle(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
    outcome: Outcome,
) -> Save {
    let next = |flow: &'static Flow, phase: &'static str| Save {
        status: OperationStatus::Ready,
        flow,
        phase,
        wake_at: None,
        deadline_at: None,
        reason: None,
        keep_attempts: false,
    };
    let enter = |cx: &mut Context| {
        cx.data.failing_since = None;
        cx.data.phase_since = Timestamp::now().0;
        cx.data.power_sent_at = None;
    };
    let closed = |status| Save {
        status,
        ..next(flow, phase.name())
    };
    match outcome {
        Outcome::Done => match flow.after(phase.name()) {
            Some(following) => {
                enter(cx);
                next(flow, following.name())
            }
            None => closed(OperationStatus::Finished),
        },
        Outcome::Next(name) => {
            if name != phase.name() {
                enter(cx);
            }
            next(flow, name)
        }
        Outcome::Become(name) => match flow::by_name(name) {
            Some(other) => {
                cx.data = Data {
                    phase_since: Timestamp::now().0,
                    ..Data::default()
                };
                next(other, other.first().name())
            }
            None => fail(
                cx,
                flow,
                phase,
                Fault::internal(format!("there is no flow {name}")),
            ),
        },
        Outcome::Wait(wait) => {
            cx.data.failing_since = None;
            waiting(flow, phase, wait, cx.operation.deadline_at)
        }
        Outcome::Finish => closed(OperationStatus::Finished),
        Outcome::GiveUp => closed(OperationStatus::Failed),
    }
}

/// A wait keeps the deadline that the phase set first, however often it is looked at again.
fn waiting(
    flow: &'static Flow,
    phase: &'static dyn Phase,
    wait: Wait,
    deadline: Option<Timestamp>,
) -> Save {
    tracing::debug!(phase = phase.name(), origin = %wait.origin, "waits for {}", wait.what);
    Save {
        status: OperationStatus::Waiting,
        flow,
        phase: phase.name(),
        wake_at: wait.look_again.map(|after| Timestamp::now().after(after)),
        deadline_at: wait.deadline.or(deadline),
        reason: Some(format!("waiting for {}", wait.what)),
        keep_attempts: false,
    }
}

/// Retry within the phase's budget, else give the operation up.
fn fail(cx: &mut Context, flow: &'static Flow, phase: &'static dyn Phase, fault: Fault) -> Save {
    let now = Timestamp::now();
    if cx.guard().is_err() {
        // Too slow to renew its session, not a fault of the node: whoever has the lease next looks again.
        return Save {
            status: OperationStatus::Waiting,
            flow,
            phase: phase.name(),
            wake_at: Some(now.after(Duration::from_millis(200))),
            deadline_at: cx.operation.deadline_at,
            reason: Some(format!("trying again: {}", fault.text)),
            keep_attempts: false,
        };
    }
    let since = *cx.data.failing_since.get_or_insert(now.0);
    let tried = now.since(Timestamp(since));
    let again = match fault.class {
        Class::Never => false,
        Class::RetryNow | Class::RetryLater => tried < cx.shared.settings.device_retry_timeout,
    };
    if again {
        let wait = match fault.class {
            Class::RetryNow => Duration::from_millis(200),
            _ => back_off(i32::try_from(tried.as_secs() / 2).unwrap_or(5) + 1),
        };
        tracing::info!(node = %cx.node.id, phase = phase.name(), "{}; trying again in {:.1} s", fault.text, wait.as_secs_f64());
        if tried.is_zero() {
            cx.note(
                TimelineSource::Engine,
                format!("{}: {}; trying again", phase.name(), fault.text),
            );
        }
        return Save {
            status: OperationStatus::Waiting,
            flow,
            phase: phase.name(),
            wake_at: Some(now.after(wait)),
            deadline_at: cx.operation.deadline_at,
            reason: Some(format!("trying again: {}", fault.text)),
            keep_attempts: false,
        };
    }
    let text = if matches!(fault.class, Class::Never) {
        fault.text
    } else {
        format!("{} (tried for {} s)", fault.text, tried.as_secs())
    };
    if cx.data.abandoned.is_some() {
        return close_failed(cx, flow, phase, &text);
    }
    // What a BMC, an agent or a library says knows nothing of the node, or of what is done with it.
    let without_label = text.replace(&cx.node.label(), "").to_lowercase();
    let named = text.contains(&cx.node.id.to_string())
        && (without_label.contains(flow.name) || flow.name == "manage");
    let text = if named {
        text
    } else {
        format!(
            "The {} of node {} failed: {text}",
            flow.title,
            cx.node.label()
        )
    };
    abandon(cx, flow, text, None)
}

/// Towards the flow's clean-up phase. The error is shown from here on. `abort` is the operator's, with the
/// flow that follows.
fn abandon(
    cx: &mut Context,
    flow: &'static Flow,
    error: String,
    abort: Option<Option<String>>,
) -> Save {
    let during_step = cx
        .data
        .steps
        .as_ref()
        .is_some_and(|s| cx.data.step < s.len());
    // by this an explanation finds the failure, and what the operation stood at
    let failed = serde_json::json!({"failed": {
        "flow": flow.name, "phase": cx.operation.phase, "aborted": abort.is_some(), "since": Timestamp(cx.data.phase_since),
    }});
    cx.note_data(TimelineSource::Engine, error.clone(), Some(failed));
    cx.data.progress = None;
    cx.record("ERROR", flow.history_type, error.clone());
    let shown = error.clone();
    cx.set(move |node| node.last_error = Some(shown.clone()));
    // What the operator asked for while a step could not be interrupted holds for its failure too.
    let wanted = cx.data.abort_wanted.take().and_then(|w| w.then);
    cx.data.abandoned = Some(Abandoned {
        error,
        aborted: abort.is_some(),
        then: abort.flatten().or(wanted),
        during_step,
    });
    cx.data.reboot = None;
    cx.data.failing_since = None;
    cx.data.phase_since = Timestamp::now().0;
    cx.data.power_sent_at = None;
    Save {
        status: OperationStatus::Ready,
        flow,
        phase: flow.abandon.name(),
        wake_at: None,
        deadline_at: None,
        reason: None,
        keep_attempts: false,
    }
}

/// The operation ends, and the node is in the failed state.
fn close(cx: &mut Context, flow: &'static Flow, phase: &'static dyn Phase) -> Save {
    if let Err(fault) = flow.mark_failed(cx) {
        tracing::error!(node = %cx.node.id, "the failed state could not be set: {fault}");
    }
    Save {
        status: OperationStatus::Failed,
        flow,
        phase: phase.name(),
        wake_at: None,
        deadline_at: None,
        reason: None,
        keep_attempts: false,
    }
}

/// The clean-up failed too: say both, and leave the node in the failed state.
fn close_failed(
    cx: &mut Context,
    flow: &'static Flow,
    phase: &'static dyn Phase,
    why: &str,
) -> Save {
    cx.note(
        TimelineSource::Engine,
        format!("cleaning up after the failure did not work either: {why}"),
    );
    close(cx, flow, phase)
}

/// Saves; a lost lease only ends this run, a database that is away is waited for as long as the lease may
/// hold.
async fn store(
    mut cx: Context,
    before: Stood,
    save: Save,
    stop: &CancellationToken,
) -> Option<Claimed> {
    let data = match serde_json::to_value(&cx.data) {
        Ok(data) => data,
        Err(error) => {
            tracing::error!(%error, operation = %cx.operation.id, "the operation's data does not serialise");
            return None;
        }
    };
    let update = OperationUpdate {
        status: save.status,
        flow: save.flow.name.to_owned(),
        flow_version: save.flow.version,
        phase: save.phase.to_owned(),
        data,
        wake_at: save.wake_at,
        deadline_at: save.deadline_at,
        reason: save.reason,
        keep_attempts: save.keep_attempts,
        consumed: std::mem::take(&mut cx.consumed),
        still_restored: cx.operation.restored_at.is_some(),
    };
    let change = cx.combined_change();
    let (id, fence, session) = (cx.operation.id, cx.lease.fence, cx.lease.session);
    let mut wait = Duration::from_millis(100);
    loop {
        let saved = cx
            .shared
            .store
            .save_outcome_and_claim(
                session,
                id,
                fence,
                update.clone(),
                Arc::clone(&change),
                cx.timeline.clone(),
                cx.history.clone(),
                !stop.is_cancelled(),
            )
            .await;
        match saved {
            Ok(next) => {
                cx.shared.metrics.saved(&cx, &before, update.status);
                if !update.status.is_open() && update.flow == "child-step" {
                    flow::tell_parent(&cx).await;
                }
                return next;
            }
            Err(StoreError::LeaseLost { .. }) => {
                cx.shared.metrics.lease_losses.inc();
                tracing::warn!(operation = %id, fence, "another conductor has this operation; what this one did is not saved");
                return None;
            }
            Err(error @ (StoreError::Storage(_) | StoreError::Unavailable(_))) => {
                tracing::error!(%error, operation = %id, "the outcome could not be saved; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            Err(error) => {
                // A change that the row does not allow (any more): let go of the lease and look again; the count
                // of attempts ends it if that never helps.
                tracing::error!(%error, operation = %id, "the outcome was refused; the operation is looked at again");
                let again = OperationUpdate {
                    status: OperationStatus::Waiting,
                    flow: cx.operation.flow.clone(),
                    flow_version: cx.operation.flow_version,
                    phase: cx.operation.phase.clone(),
                    data: cx.operation.data.clone(),
                    wake_at: Some(Timestamp::now().after(back_off(cx.operation.attempt))),
                    deadline_at: cx.operation.deadline_at,
                    reason: Some(format!("looking again: {error}")),
                    keep_attempts: true,
                    consumed: Vec::new(),
                    still_restored: true,
                };
                let unchanged = Arc::new(|_: &mut bessemer_model::Node| Ok(()));
                if let Err(error) = cx
                    .shared
                    .store
                    .save_outcome(session, id, fence, again, unchanged, Vec::new(), Vec::new())
                    .await
                {
                    tracing::error!(%error, operation = %id, "the operation could not be released");
                }
                return None;
            }
        }
    }
}
