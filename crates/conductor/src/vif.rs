//! VIFs: which of the tenants' virtual interfaces a node's ports carry, as the node's network interface wants it.
//!
//! `noop` accepts every VIF and forgets it; the others keep them with ports and port groups, by the rules of
//! [`bessemer_model::network`].

use std::sync::Arc;

use bessemer_model::network::{self, Attachable, VifRequest};
use bessemer_model::{Fault, HistoryId, Node, NodeId, Timestamp};
use bessemer_store::{HistoryRow, Network, StoreError, TimelineEvent, TimelineSource};

use crate::engine::Shared;
use crate::error_text;

async fn loaded(shared: &Shared, id: NodeId) -> Result<Network, Fault> {
    shared
        .store
        .get_network(id)
        .await
        .map_err(|e| error_text::store(&e))?
        .ok_or_else(|| Fault::not_found(format!("Node {id} could not be found.")))
}

/// # Errors
/// When the node does not exist.
pub async fn list(shared: &Shared, id: NodeId) -> Result<Vec<String>, Fault> {
    let found = loaded(shared, id).await?;
    if !network::keeps_vifs(&found.node) {
        return Ok(Vec::new());
    }
    Ok(network::attached(&found.ports, &found.portgroups))
}

fn note(text: String) -> Vec<TimelineEvent> {
    vec![TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Api,
        text,
        data: None,
    }]
}

fn unlocked(node: &Node) -> Result<(), Fault> {
    match &node.reservation {
        None => Ok(()),
        Some(holder) => Err(error_text::store(&StoreError::Locked {
            node: node.id.to_string(),
            holder: holder.clone(),
        })),
    }
}

/// # Errors
/// 409 while the node is locked or when the VIF is attached already, 400 without a free port. What is refused
/// stands in the node's history, as upstream's operators look for it there.
pub async fn attach(shared: &Shared, id: NodeId, vif: VifRequest) -> Result<(), Fault> {
    let found = loaded(shared, id).await?;
    unlocked(&found.node)?;
    if !network::keeps_vifs(&found.node) {
        return Ok(());
    }
    let name = vif.id.clone();
    let change = move |network: &mut Network| {
        network::attach(
            &network.node,
            &mut network.ports,
            &mut network.portgroups,
            &vif,
        )
        .map(|_at: Attachable| ())
    };
    let result = shared
        .store
        .change_network(id, Arc::new(change), note(format!("VIF {name} attached")))
        .await;
    told(
        shared,
        &found.node,
        result,
        format!("Failed to attach VIF {name} to node {id}. Error: "),
    )
    .await
}

/// # Errors
/// 409 while the node is locked, 400 when the VIF is not attached.
pub async fn detach(shared: &Shared, id: NodeId, vif: &str) -> Result<(), Fault> {
    let found = loaded(shared, id).await?;
    unlocked(&found.node)?;
    if !network::keeps_vifs(&found.node) {
        return Ok(());
    }
    let name = vif.to_owned();
    let change = move |network: &mut Network| {
        network::detach(
            &network.node,
            &mut network.ports,
            &mut network.portgroups,
            &name,
        )
    };
    let result = shared
        .store
        .change_network(id, Arc::new(change), note(format!("VIF {vif} detached")))
        .await;
    told(
        shared,
        &found.node,
        result,
        format!("Failed to detach VIF {vif} from node {id}, Error: "),
    )
    .await
}

/// Passes a refusal on, after a line in the node's history.
async fn told(
    shared: &Shared,
    node: &Node,
    result: Result<Network, StoreError>,
    what: String,
) -> Result<(), Fault> {
    let fault = match result {
        Ok(_) => return Ok(()),
        Err(StoreError::Refused(fault)) => fault,
        Err(error) => return Err(error_text::store(&error)),
    };
    if shared.settings.node_history {
        let row = HistoryRow {
            id: HistoryId::random(),
            node: node.id,
            conductor: Some(shared.settings.host.clone()),
            created_at: Timestamp::now(),
            severity: "ERROR".into(),
            event_type: node.provision_state.as_str().to_owned(),
            event: format!("{what}{fault}"),
            user: None,
            project: None,
            state: Some(node.provision_state.as_str().to_owned()),
            target_provision_state: node
                .target_provision_state
                .map(|state| state.as_str().to_owned()),
            duration_seconds: node
                .provision_updated_at
                .map(|since| Timestamp::now().0.saturating_sub(since.0) / 1_000_000),
        };
        shared
            .store
            .add_history(vec![row])
            .await
            .map_err(|e| error_text::store(&e))?;
    }
    Err(fault)
}
