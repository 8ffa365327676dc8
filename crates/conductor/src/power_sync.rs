//! Power sync: what the hardware says against what the nodes' rows say.
//!
//! Each conductor looks at its own share of the nodes, by rendezvous hashing over the conductors that are
//! alive. A wrong share does no harm: every write is refused while an operation is open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bessemer_model::notification::Notice;
use bessemer_model::{
    Fault, Node, NodeHealthFault, NodeId, PowerState, ProvisionState, SessionId, Timestamp,
    placement,
};
use bessemer_store::{ConductorRow, NodeFilter, Page, StoreError, TimelineEvent, TimelineSource};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::engine::Shared;
use crate::verbs;

/// Failures in a row, in memory: a restart begins to count anew, which only delays maintenance.
type Failures = Mutex<HashMap<NodeId, u32>>;

/// Which nodes a round looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Those whose power should be known.
    Healthy,
    /// Those in maintenance because it could not be read.
    Failed,
}

/// Runs until cancelled.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let failures = Failures::default();
    let settings = &shared.settings;
    tokio::join!(
        rounds(
            &shared,
            &failures,
            settings.sync_power_state_interval,
            Of::Healthy,
            &stop
        ),
        rounds(
            &shared,
            &failures,
            settings.power_failure_recovery_interval,
            Of::Failed,
            &stop
        ),
    );
}

async fn rounds(
    shared: &Arc<Shared>,
    failures: &Failures,
    interval: Duration,
    of: Of,
    stop: &CancellationToken,
) {
    if interval.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = round(shared, failures, of).await {
            tracing::warn!(%error, "power states could not be compared");
        }
        shared.environment.bmcs.close_idle(false).await;
        shared.environment.redfish.close_idle(false).await;
    }
}

/// The nodes that are this conductor's at the moment, by the table of conductors.
pub(crate) struct Share {
    alive: Vec<ConductorRow>,
    host: String,
}

impl Share {
    pub(crate) async fn of(shared: &Shared) -> Result<Self, StoreError> {
        let now = Timestamp::now();
        let mut alive = shared.store.list_conductors().await?;
        alive.retain(|c| c.expires_at > now);
        Ok(Self {
            alive,
            host: shared.settings.host.clone(),
        })
    }

    pub(crate) fn has(&self, node: &Node) -> bool {
        let able = self
            .alive
            .iter()
            .filter(|c| {
                c.conductor_group
                    .eq_ignore_ascii_case(&node.conductor_group)
                    && c.catalogue.get(&node.driver).is_some()
            })
            .map(|c| c.hostname.as_str());
        placement::owner(node.id, able) == Some(self.host.as_str())
    }
}

/// One look at every node of this conductor's share.
async fn round(shared: &Arc<Shared>, failures: &Failures, of: Of) -> Result<(), StoreError> {
    let Some(session) = *shared
        .session
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
    else {
        return Ok(());
    };
    let share = Share::of(shared).await?;
    let mut marker = None;
    loop {
        let page = Page {
            limit: 500,
            marker,
            ..Page::default()
        };
        let filter = NodeFilter {
            include_children: true,
            ..NodeFilter::default()
        };
        let nodes = shared.store.list_nodes(&filter, &page).await?;
        let Some(last) = nodes.last() else {
            return Ok(());
        };
        marker = Some(last.id.to_string());
        stream::iter(nodes.iter().filter(|n| wanted(n, of) && share.has(n)))
            .for_each_concurrent(shared.settings.sync_power_state_workers.max(1), |node| {
                sync(shared, failures, session, node)
            })
            .await;
    }
}

fn wanted(node: &Node, of: Of) -> bool {
    let looked_at = match of {
        Of::Healthy => !node.maintenance,
        Of::Failed => node.maintenance && node.fault == Some(NodeHealthFault::PowerFailure),
    };
    looked_at
        && node.target_power_state.is_none()
        && node.reservation.is_none()
        && !matches!(
            node.provision_state,
            ProvisionState::DeployWait
                | ProvisionState::CleanWait
                | ProvisionState::Enroll
                | ProvisionState::AdoptFailed
        )
}

async fn sync(shared: &Arc<Shared>, failures: &Failures, session: SessionId, node: &Node) {
    let Ok(hardware) = shared.drivers.hardware(node) else {
        return;
    };
    if hardware.power.is_simulated() {
        return;
    }
    let seen = hardware
        .power
        .get_power_state(&shared.environment, node)
        .await;
    let done = match seen {
        Ok(state) => {
            failures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&node.id);
            agree(shared, session, node, state).await
        }
        Err(fault) => failed(shared, failures, session, node, fault).await,
    };
    match done {
        // An operation began meanwhile: it knows better.
        Ok(())
        | Err(
            StoreError::Locked { .. }
            | StoreError::OperationOpen { .. }
            | StoreError::NotFound { .. },
        ) => {}
        Err(error) => {
            tracing::warn!(node = %node.id, %error, "the power state could not be stored")
        }
    }
}

fn event(text: String) -> Vec<TimelineEvent> {
    vec![TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Bmc,
        text,
        data: None,
    }]
}

/// Whether the hardware is set to what is recorded, rather than the record to what the hardware says: the node's own choice
/// (`driver_info/force_power_state_during_sync`), else the settings'.
fn recorded_wins(node: &Node, otherwise: bool) -> bool {
    match node.driver_info.get("force_power_state_during_sync") {
        Some(Value::Bool(own)) => *own,
        Some(Value::String(own)) if own.eq_ignore_ascii_case("true") => true,
        Some(Value::String(own)) if own.eq_ignore_ascii_case("false") => false,
        _ => otherwise,
    }
}

/// The recorded state becomes what was seen, and others are told when it was another.
fn corrected(node: &mut Node, seen: Option<PowerState>) {
    let from = node.power_state;
    node.power_state = seen;
    if from != seen {
        node.notice(Notice::PowerCorrected { from });
    }
}

async fn agree(
    shared: &Arc<Shared>,
    session: SessionId,
    node: &Node,
    state: PowerState,
) -> Result<(), StoreError> {
    if node.fault == Some(NodeHealthFault::PowerFailure) {
        let change = Arc::new(move |node: &mut Node| {
            node.maintenance = false;
            node.maintenance_reason = None;
            node.fault = None;
            corrected(node, Some(state));
            node.last_error = None;
            Ok(())
        });
        return shared
            .store
            .update_idle_node(
                session,
                node.id,
                change,
                event(format!("the BMC answers again: {state}")),
            )
            .await
            .map(|_| ());
    }
    match node.power_state {
        Some(known) if known == state => Ok(()),
        Some(known)
            if recorded_wins(node, shared.settings.force_power_state_during_sync)
                && !(node.disable_power_off && known == PowerState::Off) =>
        {
            tracing::warn!(node = %node.id, "power is {state} but should be {known}; correcting");
            verbs::correct_power(shared, node, known)
                .await
                .or_else(|fault| match fault.kind {
                    bessemer_model::FaultKind::Locked => Ok(()),
                    _ => Err(StoreError::Refused(fault)),
                })
        }
        _ => {
            let change = Arc::new(move |node: &mut Node| {
                corrected(node, Some(state));
                Ok(())
            });
            shared
                .store
                .update_idle_node(
                    session,
                    node.id,
                    change,
                    event(format!("power state is {state}")),
                )
                .await
                .map(|_| ())
        }
    }
}

async fn failed(
    shared: &Arc<Shared>,
    failures: &Failures,
    session: SessionId,
    node: &Node,
    fault: Fault,
) -> Result<(), StoreError> {
    let count = {
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(node.id).or_default();
        *count += 1;
        *count
    };
    tracing::info!(node = %node.id, count, "the power state cannot be read: {fault}");
    if count <= shared.settings.power_state_sync_max_retries || node.fault.is_some() {
        return Ok(());
    }
    let text = format!(
        "During sync_power_state, max retries exceeded for node {}, node state could not be read: {fault}. The node is in maintenance until its BMC answers.",
        node.label()
    );
    let reason = text.clone();
    let change = Arc::new(move |node: &mut Node| {
        node.maintenance = true;
        node.maintenance_reason = Some(reason.clone());
        node.last_error = Some(reason.clone());
        node.fault = Some(NodeHealthFault::PowerFailure);
        corrected(node, None);
        Ok(())
    });
    shared
        .store
        .update_idle_node(session, node.id, change, event(text))
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_may_choose_for_itself() {
        let check = |own: Option<Value>, otherwise: bool, expected: bool| {
            let mut node = Node::new(NodeId::random(), "ipmi", Timestamp::now());
            if let Some(own) = own {
                node.driver_info
                    .insert("force_power_state_during_sync".into(), own);
            }
            assert_eq!(recorded_wins(&node, otherwise), expected);
        };
        for otherwise in [true, false] {
            check(None, otherwise, otherwise);
            check(Some(json!("perhaps")), otherwise, otherwise);
            check(Some(json!(true)), otherwise, true);
            check(Some(json!("False")), otherwise, false);
        }
    }

    #[test]
    fn who_is_looked_at() {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp::now());
        node.provision_state = ProvisionState::Active;
        assert!(wanted(&node, Of::Healthy) && !wanted(&node, Of::Failed));
        node.maintenance = true;
        assert!(!wanted(&node, Of::Healthy) && !wanted(&node, Of::Failed));
        node.fault = Some(NodeHealthFault::PowerFailure);
        assert!(!wanted(&node, Of::Healthy) && wanted(&node, Of::Failed));
        node.reservation = Some("one".into());
        assert!(!wanted(&node, Of::Failed));
    }
}
