//! Allocations: requests for a node, and how they get one.
//!
//! What never may happen: two allocations with one node, a node whose `instance_uuid` is set while its
//! allocation does not say so or the other way round, an allocation that stays in `allocating` for ever. The
//! first two because both sides are written in one transaction that looks at the node as it is then; the
//! last because the row itself is the work to do: any conductor may try any of them at any time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{
    Allocation, AllocationId, AllocationState, Fault, Node, NodeId, ProvisionState, Timestamp,
};
use rand::seq::SliceRandom;
use serde_json::json;

use crate::failure::Failure;
use crate::list::Conditions;
use crate::node::{self, apply, require};
use crate::resource::{self, Change, resource};
use crate::sql::{Connection, args};
use crate::store::{Store, Wakes};
use crate::{NodeChange, Page, StoreError, TimelineEvent, TimelineSource};

resource! {
    Allocation "allocation" "Allocation" "allocation"
    name |allocation| allocation.name.as_deref();
    columns {
        id "uuid",
        name "name",
        node "node",
        state "state",
        owner "owner",
        last_error "last_error",
        resource_class "resource_class",
        traits "traits",
        candidate_nodes "candidate_nodes",
        extra "extra",
        created_at "created_at",
        updated_at "updated_at",
    }
    sortable {
        "uuid" "uuid" Text,
        "name" "name" Text,
        "node_id" "node" Text,
        "state" "state" Text,
        "owner" "owner" Text,
        "last_error" "last_error" Text,
        "resource_class" "resource_class" Text,
        "created_at" "created_at" Int,
        "updated_at" "updated_at" Int,
    }
}

/// Candidates that one transaction looks at.
const AT_ONCE: usize = 64;

/// Filters of `GET /v1/allocations`; all that are given must hold.
#[derive(Debug, Clone, Default)]
pub struct AllocationFilter {
    pub node: Option<NodeId>,
    pub resource_class: Option<String>,
    /// As the client wrote it.
    pub state: Option<String>,
    pub owner: Option<String>,
}

/// What is done when every suitable node is being worked on.
#[derive(Debug, Clone, Copy)]
pub struct AllocationRetry {
    /// How often the nodes are looked at before the allocation fails; at least once.
    pub attempts: u32,
    /// Time between two looks.
    pub interval: Duration,
}

/// What became of an allocation for a node that is in use already.
#[derive(Debug)]
pub enum Backfill {
    Active(Allocation),
    /// It is stored in state `error`; why, as the caller shall be told.
    Failed(Allocation, StoreError),
}

/// The sentence of `last_error`.
fn failed(id: AllocationId, why: &str) -> String {
    format!("Failed to process allocation {id}: {why}.")
}

async fn require_allocation(
    connection: &mut Connection,
    id: AllocationId,
) -> Result<Allocation, Failure> {
    Ok(resource::load(connection, id)
        .await?
        .ok_or_else(|| resource::not_found::<Allocation>(id))?)
}

/// Ends the matching of an allocation that has no node.
async fn store_failure(
    connection: &mut Connection,
    allocation: &mut Allocation,
    text: String,
) -> Result<(), Failure> {
    allocation.state = AllocationState::Error;
    allocation.last_error = Some(text);
    allocation.updated_at = Some(Timestamp::now());
    connection
        .execute(
            "UPDATE allocation SET state = $1, last_error = $2, updated_at = $3, due_at = NULL WHERE uuid = $4",
            args![
                allocation.state,
                allocation.last_error,
                allocation.updated_at,
                allocation.id
            ],
        )
        .await?;
    Ok(())
}

/// Gives a node, which the caller has found fit, to an allocation.
async fn reserve(
    connection: &mut Connection,
    node: Node,
    allocation: &mut Allocation,
) -> Result<(), Failure> {
    let (id, traits) = (allocation.id, allocation.traits.clone());
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        node.instance_uuid = Some(id.to_string());
        node.allocation_uuid = Some(id.0);
        node.instance_info.insert("traits".into(), json!(traits));
        Ok(())
    });
    let event = TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Engine,
        text: match &allocation.name {
            Some(name) => format!("allocated to {name} ({id})"),
            None => format!("allocated to {id}"),
        },
        data: None,
    };
    allocation.node = Some(node.id);
    allocation.state = AllocationState::Active;
    allocation.last_error = None;
    allocation.updated_at = Some(Timestamp::now());
    apply(connection, node, None, &change, &[event]).await?;
    connection
        .execute(
            "UPDATE allocation SET state = $1, node = $2, last_error = NULL, updated_at = $3, due_at = NULL \
             WHERE uuid = $4",
            args![
                allocation.state,
                allocation.node,
                allocation.updated_at,
                allocation.id
            ],
        )
        .await?;
    Ok(())
}

/// Removes the allocation of a node whose instance is gone; called by [`apply`], which has written the node.
pub(crate) async fn forget(
    connection: &mut Connection,
    allocation: uuid::Uuid,
) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM allocation WHERE uuid = $1",
            args![AllocationId(allocation)],
        )
        .await?;
    Ok(())
}

/// What stands between the brackets of an `IN`.
fn or_null(args: &[String]) -> String {
    if args.is_empty() {
        "NULL".to_owned()
    } else {
        args.join(", ")
    }
}

fn has_traits(node: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|name| node.contains(name))
}

fn is_locked(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Store(StoreError::Locked { .. } | StoreError::OperationOpen { .. })
    )
}

/// Nodes that may be taken, in the order in which they are tried: the one of the same name first, else by
/// chance, so that allocations at the same time do not all want the same one. Or why there are none.
async fn candidates(
    connection: &mut Connection,
    allocation: &Allocation,
) -> Result<Result<Vec<NodeId>, String>, Failure> {
    let mut all = Conditions::default();
    all.equals("resource_class", allocation.resource_class.as_ref());
    // written out, so that the partial index serves
    all.and("provision_state = 'available' AND instance_uuid IS NULL");
    all.and("power_state IS NOT NULL AND parent_node IS NULL");
    all.equals("maintenance", Some(false));
    if !allocation.candidate_nodes.is_empty() {
        all.one_of("uuid", &allocation.candidate_nodes);
    }
    if let Some(owner) = &allocation.owner {
        let owner = all.arg(owner);
        all.and(format!("(owner = {owner} OR lessee = {owner})"));
    }
    let sql = format!("SELECT uuid, name, traits FROM node{}", all.text());
    let mut found: Vec<(NodeId, Option<String>, Vec<String>)> = connection
        .rows(sql, all.args, |row| {
            let mut cursor = row.cursor();
            Ok((cursor.take()?, cursor.take()?, cursor.take()?))
        })
        .await?;
    if found.is_empty() {
        let class = allocation.resource_class.as_deref().unwrap_or("None");
        return Ok(Err(if allocation.candidate_nodes.is_empty() {
            format!("no available nodes match the resource class {class}")
        } else {
            format!(
                "none of the requested nodes are available and match the resource class {class}"
            )
        }));
    }
    found.retain(|(_, _, traits)| has_traits(traits, &allocation.traits));
    if found.is_empty() {
        return Ok(Err(format!(
            "no suitable nodes have the requested traits {}",
            allocation.traits.join(", ")
        )));
    }
    found.shuffle(&mut rand::rng());
    if let Some(at) = found
        .iter()
        .position(|(_, name, _)| name.is_some() && *name == allocation.name)
    {
        found.swap(0, at);
    }
    Ok(Ok(found.into_iter().map(|(id, ..)| id).collect()))
}

/// The node, when it is still fit for the allocation.
fn fits(node: &Node, allocation: &Allocation) -> bool {
    !node.maintenance
        && node.instance_uuid.is_none()
        && node.provision_state == ProvisionState::Available
        && node.resource_class == allocation.resource_class
        && has_traits(&node.traits, &allocation.traits)
}

/// Why the allocation's id cannot be this node's instance: another node has it.
async fn associated(
    connection: &mut Connection,
    id: AllocationId,
    node: NodeId,
) -> Result<Option<String>, Failure> {
    let other: Option<NodeId> = connection
        .row(
            "SELECT uuid FROM node WHERE instance_uuid = $1 AND uuid <> $2",
            args![id, node],
            |row| row.get(0),
        )
        .await?;
    Ok(other.map(|_| {
        format!(
            "Instance {id} is already associated with a node, it cannot be associated with this other node {node}"
        )
    }))
}

/// What one look at some candidates has come to.
#[derive(Debug, Default)]
struct Looked {
    allocation: Option<Allocation>,
    locked: usize,
}

async fn try_candidates(
    connection: &mut Connection,
    id: AllocationId,
    candidates: &[NodeId],
) -> Result<Looked, Failure> {
    let mut allocation = require_allocation(connection, id).await?;
    let mut looked = Looked::default();
    if allocation.state != AllocationState::Allocating {
        looked.allocation = Some(allocation);
        return Ok(looked);
    }
    for candidate in candidates {
        let Some(node) = node::load(connection, *candidate).await? else {
            continue;
        };
        if !fits(&node, &allocation) {
            continue;
        }
        match node::refuse_open(connection, node.id).await {
            Err(failure) if is_locked(&failure) => looked.locked += 1,
            Err(failure) => return Err(failure),
            Ok(()) => {
                match associated(connection, id, node.id).await? {
                    None => reserve(connection, node, &mut allocation).await?,
                    Some(text) => {
                        let why = format!("Unexpected exception during allocation: {text}");
                        store_failure(connection, &mut allocation, why).await?;
                    }
                }
                looked.allocation = Some(allocation);
                return Ok(looked);
            }
        }
    }
    Ok(looked)
}

/// Why an allocation may not be taken from its node now.
fn may_be_removed(node: &Node, id: AllocationId) -> Result<(), Fault> {
    if node.maintenance {
        return Ok(());
    }
    if node.target_provision_state.is_some() && !node.provision_state.allows_update_with_target() {
        return Err(Fault::conflict(format!(
            "Cannot remove allocation {id} for node {}, because the node is in state {} where updates are not allowed (and maintenance mode is off)",
            node.id, node.provision_state
        )));
    }
    if node.provision_state == ProvisionState::Active {
        return Err(Fault::conflict(format!(
            "Cannot remove allocation {id} for node {}, because the node is active (and maintenance mode is off)",
            node.id
        )));
    }
    Ok(())
}

/// Whether a node that is in use can be entered as an allocation's.
async fn check_backfill(
    connection: &mut Connection,
    node: &Node,
    allocation: &Allocation,
) -> Result<Result<(), StoreError>, Failure> {
    match node::refuse_open(connection, node.id).await {
        Err(Failure::Store(
            error @ (StoreError::Locked { .. } | StoreError::OperationOpen { .. }),
        )) => {
            return Ok(Err(error));
        }
        other => other?,
    }
    let mut wrong = Vec::new();
    if node.provision_state != ProvisionState::Active {
        wrong.push(format!(
            "Node must be in the \"active\" state, but the current state is \"{}\"",
            node.provision_state
        ));
    }
    if allocation.resource_class.is_some() && node.resource_class != allocation.resource_class {
        wrong.push(format!(
            "Resource class {} does not match the requested resource class {}",
            node.resource_class.as_deref().unwrap_or("None"),
            allocation.resource_class.as_deref().unwrap_or("None")
        ));
    }
    if !has_traits(&node.traits, &allocation.traits) {
        wrong.push(format!(
            "List of traits {} does not match the requested traits {}",
            node.traits.join(", "),
            allocation.traits.join(", ")
        ));
    }
    if !allocation.candidate_nodes.is_empty()
        && !allocation.candidate_nodes.contains(&node.id.to_string())
    {
        wrong.push(format!(
            "Candidate nodes must be empty or contain the target node, but got {}",
            allocation.candidate_nodes.join(", ")
        ));
    }
    if !wrong.is_empty() {
        let why = format!(
            "Cannot backfill an allocation for node {}: {}",
            node.id,
            wrong.join("; ")
        );
        let text = failed(allocation.id, &why);
        return Ok(Err(StoreError::Refused(Fault::conflict(text))));
    }
    let other = node.instance_uuid.as_deref().filter(|uuid| {
        uuid.parse::<AllocationId>()
            .ok()
            .is_none_or(|uuid| uuid != allocation.id)
    });
    if let Some(instance) = other {
        return Ok(Err(StoreError::Refused(Fault::conflict(format!(
            "Node {} is associated with instance {instance}.",
            node.id
        )))));
    }
    Ok(
        match associated(connection, allocation.id, node.id).await? {
            None => Ok(()),
            Some(text) => Err(StoreError::Refused(Fault::conflict(text))),
        },
    )
}

impl Store {
    /// Stores an allocation that wants a node; [`Store::match_allocation`] finds it one.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for uuid or name.
    pub async fn create_allocation(&self, allocation: &Allocation) -> Result<(), StoreError> {
        let allocation = Arc::new(Allocation {
            node: None,
            state: AllocationState::Allocating,
            last_error: None,
            ..allocation.clone()
        });
        self.write("create_allocation", Wakes::Nobody, move |tx| {
            let allocation = Arc::clone(&allocation);
            Box::pin(async move { resource::insert(tx, &*allocation).await })
        })
        .await?;
        Ok(())
    }

    /// Stores an allocation for a node that is in use already and enters it there, in one transaction. Also
    /// one that fails stays, in state `error`.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for uuid or name, [`StoreError::NotFound`] for the node; nothing is stored.
    pub async fn backfill_allocation(
        &self,
        allocation: &Allocation,
        node: NodeId,
    ) -> Result<Backfill, StoreError> {
        let allocation = Arc::new(Allocation {
            node: None,
            state: AllocationState::Allocating,
            last_error: None,
            ..allocation.clone()
        });
        Ok(self
            .write("backfill_allocation", Wakes::Nobody, move |tx| {
                let mut allocation = Allocation::clone(&allocation);
                Box::pin(async move {
                    let node = require(tx, node).await?;
                    resource::insert(tx, &allocation).await?;
                    match check_backfill(tx, &node, &allocation).await? {
                        Ok(()) => {
                            reserve(tx, node, &mut allocation).await?;
                            Ok(Backfill::Active(allocation))
                        }
                        Err(error) => {
                            store_failure(tx, &mut allocation, error.to_string()).await?;
                            Ok(Backfill::Failed(allocation, error))
                        }
                    }
                })
            })
            .await?)
    }

    pub async fn get_allocation(&self, id: AllocationId) -> Result<Option<Allocation>, StoreError> {
        Ok(resource::load(&mut self.reader().await?, id).await?)
    }

    /// By UUID or name.
    pub async fn find_allocation(&self, ident: &str) -> Result<Option<Allocation>, StoreError> {
        Ok(resource::find(&mut self.reader().await?, ident).await?)
    }

    /// # Errors
    /// [`StoreError::NotFound`] of `Marker`, [`StoreError::Refused`] for a sort key that is no column.
    pub async fn list_allocations(
        &self,
        filter: &AllocationFilter,
        page: &Page,
    ) -> Result<Vec<Allocation>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("allocation.node", filter.node);
        conditions.equals("allocation.resource_class", filter.resource_class.as_ref());
        conditions.equals("allocation.state", filter.state.as_ref());
        conditions.equals("allocation.owner", filter.owner.as_ref());
        Ok(resource::page(&mut self.reader().await?, conditions, page).await?)
    }

    /// Changes name and `extra` of the row as it is then; everything else stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Duplicate`] for the name, [`StoreError::Refused`] with what
    /// the change refuses.
    pub async fn update_allocation(
        &self,
        id: AllocationId,
        change: Change<Allocation>,
    ) -> Result<Allocation, StoreError> {
        let change: Change<Allocation> = Arc::new(move |allocation: &mut Allocation| {
            let mut changed = allocation.clone();
            change(&mut changed)?;
            allocation.name = changed.name;
            allocation.extra = changed.extra;
            Ok(())
        });
        Ok(self
            .write("update_allocation", Wakes::Nobody, move |tx| {
                let change = Arc::clone(&change);
                Box::pin(async move { resource::update(tx, id, &change).await })
            })
            .await?)
    }

    /// Removes an allocation and, when it has a node, the instance from that node.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Locked`] while a conductor works on the node;
    /// [`StoreError::Refused`] (409) when the node's state does not let it go.
    pub async fn delete_allocation(&self, id: AllocationId) -> Result<(), StoreError> {
        self.write("delete_allocation", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let allocation = require_allocation(tx, id).await?;
                let Some(node) = allocation.node else {
                    return resource::delete::<Allocation>(tx, id).await;
                };
                let node = require(tx, node).await?;
                node::refuse_locked(tx, node.id).await?;
                may_be_removed(&node, id)?;
                let change: NodeChange = Arc::new(|node: &mut Node| {
                    node.instance_uuid = None;
                    Ok(())
                });
                let event = TimelineEvent {
                    at: Timestamp::now(),
                    source: TimelineSource::Api,
                    text: format!("allocation {id} removed"),
                    data: None,
                };
                // takes the allocation with it
                apply(tx, node, None, &change, &[event]).await?;
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    /// The nodes of these UUIDs and names, by what they were asked for; only those that a project owns or
    /// leases when one is given.
    pub async fn node_ids(
        &self,
        idents: &[String],
        project: Option<&str>,
    ) -> Result<HashMap<String, NodeId>, StoreError> {
        let mut found = HashMap::new();
        let mut connection = self.reader().await?;
        for some in idents.chunks(AT_ONCE) {
            let mut either = Conditions::default();
            let (mut by_id, mut by_name) = (Vec::new(), Vec::new());
            for ident in some {
                match ident.parse::<NodeId>() {
                    Ok(id) => by_id.push((id, ident)),
                    Err(_) => by_name.push(ident),
                }
            }
            let ids: Vec<String> = by_id.iter().map(|(id, _)| either.arg(id)).collect();
            let names: Vec<String> = by_name.iter().map(|name| either.arg(name)).collect();
            let whose = match project {
                None => String::new(),
                Some(project) => {
                    let project = either.arg(project);
                    format!(" AND (owner = {project} OR lessee = {project})")
                }
            };
            let sql = format!(
                "SELECT uuid, name FROM node WHERE (uuid IN ({}) OR name IN ({})){whose}",
                or_null(&ids),
                or_null(&names)
            );
            let rows: Vec<(NodeId, Option<String>)> = connection
                .rows(sql, either.args, |row| Ok((row.get(0)?, row.get(1)?)))
                .await?;
            for (id, name) in rows {
                for (_, ident) in by_id.iter().filter(|(wanted, _)| *wanted == id) {
                    found.insert((*ident).clone(), id);
                }
                if let Some(name) = name.filter(|name| by_name.contains(&name)) {
                    found.insert(name, id);
                }
            }
        }
        Ok(found)
    }

    /// Allocations that want to be looked at now, oldest first.
    pub async fn due_allocations(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<AllocationId>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                "SELECT uuid FROM allocation WHERE state = 'allocating' AND (due_at IS NULL OR due_at <= $1) \
                 ORDER BY id LIMIT $2",
                args![now, limit],
                |row| row.get(0),
            )
            .await?)
    }

    /// When the next allocation wants to be looked at; `None` when none waits.
    pub async fn next_allocation_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.reader().await?;
        let due: Option<Option<Timestamp>> = connection
            .row(
                "SELECT MIN(COALESCE(due_at, 0)) FROM allocation WHERE state = 'allocating'",
                Vec::new(),
                |row| row.get(0),
            )
            .await?;
        Ok(due.flatten())
    }

    /// Looks for a node for an allocation once, and stores what came of it: the node, the failure, or when
    /// to look again because every suitable node is being worked on. May be called by several conductors at
    /// the same time and any number of times.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the allocation is gone; those of the database.
    pub async fn match_allocation(
        &self,
        id: AllocationId,
        retry: AllocationRetry,
    ) -> Result<Allocation, StoreError> {
        let mut connection = self.reader().await?;
        let allocation = require_allocation(&mut connection, id).await?;
        if allocation.state != AllocationState::Allocating {
            return Ok(allocation);
        }
        let attempt: Option<u32> = connection
            .row(
                "SELECT attempt FROM allocation WHERE uuid = $1",
                args![id],
                |row| row.get(0),
            )
            .await?;
        let found = candidates(&mut connection, &allocation).await?;
        drop(connection);
        let found = match found {
            Ok(found) => found,
            Err(why) => return self.fail_allocation(id, why).await,
        };
        let mut locked = 0;
        for some in found.chunks(AT_ONCE) {
            let some: Arc<[NodeId]> = some.into();
            let looked = self
                .write("match_allocation", Wakes::Nobody, move |tx| {
                    let some = Arc::clone(&some);
                    Box::pin(async move { try_candidates(tx, id, &some).await })
                })
                .await?;
            if let Some(allocation) = looked.allocation {
                return Ok(allocation);
            }
            locked += looked.locked;
        }
        if locked == 0 {
            let why = "all nodes were filtered out during reservation".to_owned();
            return self.fail_allocation(id, why).await;
        }
        let attempt = attempt.unwrap_or(0);
        if attempt.saturating_add(1) >= retry.attempts {
            let why = format!("could not reserve any of {locked} suitable nodes");
            return self.fail_allocation(id, why).await;
        }
        self.postpone_allocation(id, attempt, retry.interval).await
    }

    async fn fail_allocation(
        &self,
        id: AllocationId,
        why: String,
    ) -> Result<Allocation, StoreError> {
        Ok(self
            .write("fail_allocation", Wakes::Nobody, move |tx| {
                let text = failed(id, &why);
                Box::pin(async move {
                    let mut allocation = require_allocation(tx, id).await?;
                    if allocation.state == AllocationState::Allocating {
                        store_failure(tx, &mut allocation, text).await?;
                    }
                    Ok(allocation)
                })
            })
            .await?)
    }

    async fn postpone_allocation(
        &self,
        id: AllocationId,
        attempt: u32,
        interval: Duration,
    ) -> Result<Allocation, StoreError> {
        Ok(self
            .write("postpone_allocation", Wakes::Nobody, move |tx| {
                Box::pin(async move {
                    // another conductor that looked at the same time does not count twice
                    tx.execute(
                        "UPDATE allocation SET attempt = $1, due_at = $2 \
                         WHERE uuid = $3 AND state = 'allocating' AND attempt = $4",
                        args![
                            attempt.saturating_add(1),
                            Timestamp::now().after(interval),
                            id,
                            attempt
                        ],
                    )
                    .await?;
                    require_allocation(tx, id).await
                })
            })
            .await?)
    }
}
