//! Steps on child nodes, and power that follows from parent and child.
//!
//! Each child gets an operation of its own (flow `child-step` or `power`), so that it is locked, bounded and shown like
//! every other; the parent looks at them until all are closed. Their ids follow from the parent's operation, so that a
//! repetition finds them again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::{StepCall, StepResult, StepRun};
use bessemer_model::{
    Class, Fault, FaultKind, Node, NodeId, OperationId, PowerState, PowerTarget, Timestamp,
};
use bessemer_store::{
    NewOperation, NodeChange, NodeFilter, OperationStatus, Page, SignalKind, StoreError,
    TimelineEvent, TimelineSource,
};
use serde_json::{Value, json};

use super::ramdisk::{Abandon, look_power, power_wait, send_power};
use super::run_steps::{advance, driver_steps};
use super::{Flow, OnFailure, Reboot};
use crate::context::Context;
use crate::error_text;
use crate::outcome::{Look, Outcome, Phase, Wait};
use crate::steps::{PlannedStep, Reserved, StepKind};

/// Between looks at the children.
const LOOK: Duration = Duration::from_secs(1);

/// One step on a child; the child's provision state is not touched.
pub const CHILD_STEP: Flow = Flow {
    name: "child-step",
    version: 1,
    title: "parent's step",
    history_type: "child step",
    phases: &[&RunChildStep],
    abandon: &Abandon,
    on_failure: OnFailure::Power,
};

/// The children that a step names, or all.
async fn children(cx: &Context, only: &[NodeId]) -> Result<Vec<Node>, Fault> {
    let filter = NodeFilter {
        parent_node: Some(cx.node.id),
        include_children: true,
        ..NodeFilter::default()
    };
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let all = cx
        .shared
        .store
        .list_nodes(&filter, &page)
        .await
        .map_err(|e| error_text::store(&e))?;
    if let Some(stranger) = only.iter().find(|id| !all.iter().any(|n| n.id == **id)) {
        return Err(Fault::invalid(format!(
            "Node {stranger} is not a child of node {}, whose steps name it.",
            cx.node.label()
        )));
    }
    Ok(all
        .into_iter()
        .filter(|n| only.is_empty() || only.contains(&n.id))
        .collect())
}

/// The same for every repetition of this step.
fn operation_id(cx: &Context, purpose: &str, node: NodeId) -> OperationId {
    let name = format!("{purpose}/{}/{node}", cx.data.step);
    OperationId(uuid::Uuid::new_v5(&cx.operation.id.0, name.as_bytes()))
}

/// Where the operations of these nodes stand.
struct Standing {
    missing: Vec<Node>,
    open: usize,
    failed: Vec<Node>,
}

async fn standing(cx: &Context, purpose: &str, nodes: Vec<Node>) -> Result<Standing, Fault> {
    let mut standing = Standing {
        missing: Vec::new(),
        open: 0,
        failed: Vec::new(),
    };
    for node in nodes {
        let row = cx
            .shared
            .store
            .get_operation(operation_id(cx, purpose, node.id))
            .await
            .map_err(|e| error_text::store(&e))?;
        match row.map(|r| r.status) {
            None => standing.missing.push(node),
            Some(OperationStatus::Finished) => {}
            Some(OperationStatus::Failed) => standing.failed.push(node),
            Some(_) => standing.open += 1,
        }
    }
    Ok(standing)
}

fn all_failed(cx: &Context, what: &str, failed: &[Node]) -> Fault {
    let each: Vec<String> = failed
        .iter()
        .map(|n| {
            format!(
                "{}: {}",
                n.label(),
                n.last_error.as_deref().unwrap_or("no reason given")
            )
        })
        .collect();
    Fault::hardware(
        Class::Never,
        format!(
            "{what} of node {} failed on {} of its children: {}",
            cx.node.label(),
            failed.len(),
            each.join("; ")
        ),
    )
}

/// Opens an operation on another node; one that is busy is left for the next look.
async fn open(
    cx: &Context,
    node: &Node,
    flow: &Flow,
    id: OperationId,
    args: Value,
    change: NodeChange,
    text: String,
) -> Result<(), Fault> {
    let operation = NewOperation {
        id,
        flow: flow.name.to_owned(),
        flow_version: flow.version,
        phase: flow.first().name().to_owned(),
        args,
        data: json!({}),
    };
    let event = TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Engine,
        text,
        data: None,
    };
    cx.guard()?;
    let done = cx
        .shared
        .store
        .submit(node.id, operation, change, vec![event])
        .await;
    match done {
        Ok(_) | Err(StoreError::Duplicate { .. }) => {
            cx.shared.wake.notify_one();
            Ok(())
        }
        Err(StoreError::OperationOpen { .. } | StoreError::Locked { .. }) => Ok(()),
        Err(error) => Err(error_text::store(&error)),
    }
}

/// How far a step is on the children.
pub async fn look(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    let nodes = children(cx, step.children.as_deref().unwrap_or_default()).await?;
    let standing = standing(cx, "step", nodes).await?;
    if standing.open > 0 {
        return Ok(Look::Running(wait(cx, step, standing.open)));
    }
    if !standing.missing.is_empty() {
        return Ok(Look::NotDone);
    }
    if !standing.failed.is_empty() {
        return Err(all_failed(
            cx,
            &format!("Step {}", step.label()),
            &standing.failed,
        ));
    }
    advance(cx, step)
}

pub async fn act(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    let nodes = children(cx, step.children.as_deref().unwrap_or_default()).await?;
    if nodes.is_empty() {
        cx.note(
            TimelineSource::Engine,
            format!("step {} has no child node to run on", step.label()),
        );
    }
    let all = nodes.len();
    let standing = standing(cx, "step", nodes).await?;
    let mut on_child = step.clone();
    on_child.children = None;
    let args = json!({"step": on_child, "parent": cx.node.id, "parent_operation": cx.operation.id});
    for node in &standing.missing {
        let id = operation_id(cx, "step", node.id);
        let text = format!("step {} of parent {}", step.label(), cx.node.label());
        let unchanged: NodeChange = Arc::new(|_: &mut Node| Ok(()));
        open(cx, node, &CHILD_STEP, id, args.clone(), unchanged, text).await?;
    }
    Ok(Outcome::Wait(wait(cx, step, all)))
}

#[track_caller]
fn wait(cx: &Context, step: &PlannedStep, open: usize) -> Wait {
    Wait::new(format!(
        "step {} on {open} child node{}",
        step.label(),
        if open == 1 { "" } else { "s" }
    ))
    .look_again(LOOK)
    .until(cx.deadline(super::run_steps::callback_timeout(cx)))
}

/// On the child.
struct RunChildStep;

fn given(cx: &Context) -> Result<PlannedStep, Fault> {
    cx.operation
        .args
        .get("step")
        .cloned()
        .and_then(|v| serde_json::from_value(v).ok())
        .ok_or_else(|| Fault::internal("an operation of a parent's step without a step"))
}

/// Tells the parent that there is something to look at; the engine calls it when the operation is closed.
pub async fn tell_parent(cx: &Context) {
    let parent = cx.operation.args.get("parent").and_then(Value::as_str);
    if let Some(parent) = parent.and_then(|p| p.parse::<NodeId>().ok())
        && let Err(error) = cx
            .shared
            .store
            .signal(parent, SignalKind::Wake, Value::Null, None, Vec::new())
            .await
    {
        // It looks again by itself in a second.
        tracing::debug!(%error, "the parent could not be woken");
    }
}

#[async_trait]
impl Phase for RunChildStep {
    fn name(&self) -> &'static str {
        "run-child-step"
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        let wanted = match (given(cx)?.reserved, cx.data.reboot) {
            (Some(Reserved::PowerOn), _) | (Some(Reserved::Reboot), Some(Reboot::On)) => {
                PowerState::On
            }
            (Some(Reserved::PowerOff | Reserved::Reboot), _) => PowerState::Off,
            _ => return Ok(Look::NotDone),
        };
        match look_power(cx, wanted).await? {
            Look::Done if wanted == PowerState::Off => {
                cx.forget_agent();
                if given(cx)?.reserved == Some(Reserved::Reboot) {
                    cx.data.reboot = Some(Reboot::On);
                    cx.data.power_sent_at = None;
                    return Ok(Look::Next(self.name()));
                }
                Ok(Look::Done)
            }
            other => Ok(other),
        }
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let step = given(cx)?;
        let wanted = match (step.reserved, cx.data.reboot) {
            (Some(Reserved::PowerOn), _) | (Some(Reserved::Reboot), Some(Reboot::On)) => {
                PowerState::On
            }
            (Some(Reserved::PowerOff | Reserved::Reboot), _) => PowerState::Off,
            (Some(Reserved::Hold | Reserved::Wait), _) => {
                return Err(Fault::invalid(format!(
                    "Step {} cannot run on a child node.",
                    step.label()
                )));
            }
            (None, _) => return run_out_of_band(cx, &step).await,
        };
        send_power(cx, wanted).await?;
        Ok(Outcome::Wait(power_wait(cx, wanted)))
    }
}

async fn run_out_of_band(cx: &mut Context, step: &PlannedStep) -> Result<Outcome, Fault> {
    let hardware = cx.hardware()?;
    let known = [StepKind::Clean, StepKind::Deploy, StepKind::Service]
        .into_iter()
        .flat_map(|kind| driver_steps(&hardware, kind))
        .any(|s| {
            s.run == StepRun::OutOfBand
                && s.definition.interface == step.interface
                && s.definition.step == step.step
        });
    if !known {
        return Err(Fault::unsupported(format!(
            "Node {} has no step {} that runs without the ramdisk, which a step on a child node must.",
            cx.node.label(),
            step.label()
        )));
    }
    let env = cx.shared.environment.clone();
    cx.guard()?;
    let call = StepCall {
        step: &step.step,
        args: &step.args,
        state: cx.data.step_state.as_ref(),
    };
    match hardware
        .run_step(&env, &cx.node, &step.interface, call)
        .await?
    {
        StepResult::Done(effects) => {
            super::hardware_tables::save(cx, &effects).await?;
            cx.set(move |node| effects.apply(node));
            cx.note(
                TimelineSource::Engine,
                format!("step {} of the parent is done", step.label()),
            );
            Ok(Outcome::Done)
        }
        StepResult::Wait { what, after, state } => {
            cx.data.step_state = Some(state);
            let limit = cx.deadline(super::run_steps::callback_timeout(cx));
            Ok(Outcome::Wait(
                Wait::new(what).look_again(after).until(limit),
            ))
        }
        StepResult::Reboot { what, .. } => Err(Fault::unsupported(format!(
            "Step {} of node {} was started and asks for a restart ({what}), which a step on a child node cannot do; restart the node.",
            step.label(),
            cx.node.label()
        ))),
        StepResult::WaitForAgent { .. } => Err(Fault::unsupported(format!(
            "Step {} of node {} needs the agent, which a step on a child node has not.",
            step.label(),
            cx.node.label()
        ))),
    }
}

// ---- power of parents and children --------------------------------------------------------------------------

/// A child without a power supply of its own needs its parent's power. The wait for it, if it is not on.
pub async fn parent_power(cx: &mut Context) -> Result<Option<Wait>, Fault> {
    let Some(parent) = cx.node.parent_node else {
        return Ok(None);
    };
    if bessemer_drivers::interface::info_bool(&cx.node, "has_dedicated_power_supply") == Some(true)
    {
        return Ok(None);
    }
    let Some(parent) = cx
        .shared
        .store
        .get_node(parent)
        .await
        .map_err(|e| error_text::store(&e))?
    else {
        return Ok(None);
    };
    if parent.power_state == Some(PowerState::On) && parent.target_power_state.is_none() {
        return Ok(None);
    }
    switch(cx, &parent, PowerTarget::On).await?;
    Ok(Some(related_wait(
        cx,
        format!("parent {} to be switched on", parent.label()),
    )))
}

/// A parent that goes off takes the children without a supply of their own with it: they are switched off first.
pub async fn children_power(cx: &mut Context) -> Result<Option<Wait>, Fault> {
    let on: Vec<Node> = children(cx, &[])
        .await?
        .into_iter()
        .filter(|n| {
            n.power_state == Some(PowerState::On)
                && bessemer_drivers::interface::info_bool(n, "has_dedicated_power_supply")
                    != Some(true)
        })
        .collect();
    if on.is_empty() {
        return Ok(None);
    }
    if let Some(kept) = on.iter().find(|n| n.disable_power_off) {
        return Err(Fault::new(
            FaultKind::Conflict,
            Class::Never,
            format!(
                "Node {} cannot be switched off: its child {} has disable_power_off set.",
                cx.node.label(),
                kept.label()
            ),
        ));
    }
    for child in &on {
        switch(cx, child, PowerTarget::Off).await?;
    }
    Ok(Some(related_wait(
        cx,
        format!("{} child nodes to be switched off", on.len()),
    )))
}

#[track_caller]
fn related_wait(cx: &Context, what: String) -> Wait {
    Wait::new(what)
        .look_again(LOOK)
        .until(cx.deadline(cx.shared.settings.power_state_change_timeout * 2))
}

async fn switch(cx: &Context, node: &Node, target: PowerTarget) -> Result<(), Fault> {
    let purpose = format!("power {} in {}", target.as_str(), cx.operation.phase);
    let id = operation_id(cx, &purpose, node.id);
    let row = cx
        .shared
        .store
        .get_operation(id)
        .await
        .map_err(|e| error_text::store(&e))?;
    match row.map(|r| r.status) {
        Some(OperationStatus::Failed) => {
            return Err(all_failed(
                cx,
                "The power change",
                std::slice::from_ref(node),
            ));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let wanted = target.ends_in();
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        node.target_power_state = Some(wanted);
        node.notice(crate::verbs::power_set(target));
        Ok(())
    });
    let text = format!("{} by node {}", target.as_str(), cx.node.label());
    let args = json!({"target": target.as_str()});
    open(cx, node, &super::power::POWER, id, args, change, text).await
}
