//! Power sync: what the hardware says against what the nodes' rows say.
//!
//! Each conductor looks at its own share of the nodes, by rendezvous hashing over the conductors that are
//! alive. A wrong share does no harm: every write is refused while an operation is open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_model::{
    Fault, Node, NodeHealthFault, NodeId, PowerState, ProvisionState, SessionId, Timestamp,
    placement,
};
use bessemer_store::{NodeFilter, Page, StoreError, TimelineEvent, TimelineSource};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::engine::Shared;
use crate::verbs;

/// Failures in a row, in memory: a restart begins to count anew, which only delays maintenance.
type Failures = Mutex<HashMap<NodeId, u32>>;

/// Runs until cancelled.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let interval = shared.settings.sync_power_state_interval;
    if interval.is_zero() {
        return;
    }
    let failures = Failures::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = round(&shared, &failures).await {
            tracing::warn!(%error, "power states could not be compared");
        }
        shared.environment.bmcs.close_idle(false).await;
        shared.environment.redfish.close_idle(false).await;
    }
}

/// One look at every node of this conductor's share.
async fn round(shared: &Arc<Shared>, failures: &Failures) -> Result<(), StoreError> {
    let Some(session) = *shared
        .session
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
    else {
        return Ok(());
    };
    let now = Timestamp::now();
    let mut alive = shared.store.list_conductors().await?;
    alive.retain(|c| c.expires_at > now);
    let serves = |node: &Node| {
        let able = alive
            .iter()
            .filter(|c| {
                c.conductor_group
                    .eq_ignore_ascii_case(&node.conductor_group)
                    && c.catalogue.get(&node.driver).is_some()
            })
            .map(|c| c.hostname.as_str());
        placement::owner(node.id, able) == Some(shared.settings.host.as_str())
    };
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
        stream::iter(nodes.iter().filter(|n| wanted(n) && serves(n)))
            .for_each_concurrent(shared.settings.sync_power_state_workers.max(1), |node| {
                sync(shared, failures, session, node)
            })
            .await;
    }
}

fn wanted(node: &Node) -> bool {
    let recovering = node.maintenance && node.fault == Some(NodeHealthFault::PowerFailure);
    (!node.maintenance || recovering)
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
            node.power_state = Some(state);
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
            if shared.settings.force_power_state_during_sync
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
                node.power_state = Some(state);
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
        node.power_state = None;
        node.maintenance = true;
        node.maintenance_reason = Some(reason.clone());
        node.last_error = Some(reason.clone());
        node.fault = Some(NodeHealthFault::PowerFailure);
        Ok(())
    });
    shared
        .store
        .update_idle_node(session, node.id, change, event(text))
        .await
        .map(|_| ())
}
