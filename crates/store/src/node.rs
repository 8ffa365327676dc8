//! Nodes: the columns, the document beside them, and the one way in which a node changes.

use std::sync::Arc;

use bessemer_model::{InterfaceKind, Interfaces, MacAddress, Node, NodeId, Object, Timestamp};

use crate::failure::Failure;
use crate::list::page_rows;
use crate::node_list::{LISTED, conditions};
use crate::secrets::{self, Keys};
use crate::sql::{Connection, Cursor, Row, ToValue, Value, args, placeholders};
use crate::store::{Store, Wakes};
use crate::{
    NodeChange, NodeFilter, Page, ShardCount, StoreError, TimelineEvent, TimelineSource, document,
};
use crate::{outbox, timeline};

/// Where a column shows, which decides what a change of it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// In the document, which is then rewritten.
    Document,
    /// Spliced in at output.
    Volatile,
    /// Kept by the store itself.
    Own,
}

macro_rules! node_columns {
    ($($group:ident $field:ident $column:literal),* $(,)?) => {
        /// Every column, in the order in which [`read_node`] takes them.
        pub(crate) const COLUMNS: &str = concat!(
            $($column, ", ",)*
            "bios_interface, boot_interface, console_interface, deploy_interface, ",
            "firmware_interface, inspect_interface, management_interface, network_interface, ",
            "power_interface, raid_interface, rescue_interface, storage_interface, vendor_interface"
        );

        fn read_columns(cursor: &mut Cursor<'_>) -> Result<Node, Failure> {
            Ok(Node {
                $($field: cursor.take()?,)*
                interfaces: read_interfaces(cursor)?,
                notices: Vec::new(),
            })
        }

        /// The columns in which a node differs from what it was; all of them for a new one.
        fn changed_columns(before: Option<&Node>, node: &Node) -> Vec<(Group, &'static str, Value)> {
            let mut out = Vec::new();
            $(if before.is_none_or(|before| before.$field != node.$field) {
                out.push((Group::$group, $column, node.$field.to_value()));
            })*
            for kind in InterfaceKind::ALL {
                let name = node.interfaces.get(kind);
                if before.is_none_or(|before| before.interfaces.get(kind) != name) {
                    out.push((Group::Document, kind.field(), name.to_value()));
                }
            }
            out
        }
    };
}

node_columns! {
    Document id "uuid",
    Own revision "revision",
    Document name "name",
    Document driver "driver",
    Document chassis "chassis_uuid",
    Document driver_info "driver_info",
    Document properties "properties",
    Document extra "extra",
    Document instance_info "instance_info",
    Volatile driver_internal_info "driver_internal_info",
    Document network_data "network_data",
    Document raid_config "raid_config",
    Document target_raid_config "target_raid_config",
    Volatile clean_step "clean_step",
    Volatile deploy_step "deploy_step",
    Volatile service_step "service_step",
    Document traits "traits",
    Volatile power_state "power_state",
    Volatile target_power_state "target_power_state",
    Volatile provision_state "provision_state",
    Volatile target_provision_state "target_provision_state",
    Volatile provision_updated_at "provision_updated_at",
    Volatile last_error "last_error",
    Own reservation "reservation",
    Volatile conductor "conductor",
    Volatile maintenance "maintenance",
    Volatile maintenance_reason "maintenance_reason",
    Volatile fault "fault",
    Document protected "protected",
    Document protected_reason "protected_reason",
    Document retired "retired",
    Document retired_reason "retired_reason",
    Document automated_clean "automated_clean",
    Document disable_power_off "disable_power_off",
    Volatile console_enabled "console_enabled",
    Document instance_uuid "instance_uuid",
    Document instance_name "instance_name",
    Document resource_class "resource_class",
    Document conductor_group "conductor_group",
    Document owner "owner",
    Document lessee "lessee",
    Document shard "shard",
    Document parent_node "parent_node",
    Volatile allocation_uuid "allocation_uuid",
    Document description "description",
    Volatile boot_mode "boot_mode",
    Volatile secure_boot "secure_boot",
    Volatile health "health",
    Volatile inspection_started_at "inspection_started_at",
    Volatile inspection_finished_at "inspection_finished_at",
    Document created_at "created_at",
    Own updated_at "updated_at",
}

fn read_interfaces(cursor: &mut Cursor<'_>) -> Result<Interfaces, Failure> {
    let mut interfaces = Interfaces::default();
    for kind in InterfaceKind::ALL {
        interfaces.set(kind, cursor.take()?);
    }
    Ok(interfaces)
}

/// A node as its columns say, its secrets opened.
///
/// # Errors
/// [`StoreError::Sealed`] when a secret does not open.
pub(crate) fn read_node(row: &Row, keys: &Keys) -> Result<Node, Failure> {
    let mut node = read_columns(&mut row.cursor())?;
    let id = node.id.to_string();
    for (column, object) in secret_columns(&mut node) {
        keys.open(&id, column, object)?;
    }
    Ok(node)
}

/// See [`secrets::COLUMNS`].
pub(crate) fn secret_columns(node: &mut Node) -> [(&'static str, &mut Object); 3] {
    let [driver, instance, internal] = secrets::COLUMNS;
    [
        (driver, &mut node.driver_info),
        (instance, &mut node.instance_info),
        (internal, &mut node.driver_internal_info),
    ]
}

/// Seals what is about to be written.
fn seal(
    keys: &Keys,
    node: &mut Node,
    columns: &mut [(Group, &'static str, Value)],
) -> Result<(), StoreError> {
    let id = node.id.to_string();
    for (column, object) in secret_columns(node) {
        if let Some((.., value)) = columns.iter_mut().find(|(_, name, _)| *name == column) {
            *value = keys.seal(&id, column, object)?.to_value();
        }
    }
    Ok(())
}

fn select(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM node WHERE {condition}")
}

pub(crate) fn not_found(id: impl ToString) -> StoreError {
    StoreError::NotFound {
        what: "Node",
        id: id.to_string(),
    }
}

pub(crate) async fn load(connection: &mut Connection, id: NodeId) -> Result<Option<Node>, Failure> {
    let keys = Arc::clone(&connection.keys);
    connection
        .row(select("uuid = $1"), args![id], |row| read_node(row, &keys))
        .await
}

/// Loads a node that has to be there.
pub(crate) async fn require(connection: &mut Connection, id: NodeId) -> Result<Node, Failure> {
    Ok(load(connection, id).await?.ok_or_else(|| not_found(id))?)
}

/// The nodes of these ids, in no particular order; of those whose secrets do not open, why not.
pub(crate) async fn load_many(
    connection: &mut Connection,
    ids: &[NodeId],
) -> Result<Vec<Result<Node, StoreError>>, Failure> {
    let keys = Arc::clone(&connection.keys);
    connection
        .rows(
            select(&format!("uuid IN ({})", placeholders(1, ids.len()))),
            ids.iter().map(ToValue::to_value).collect(),
            |row| readable(read_node(row, &keys)),
        )
        .await
}

/// Sets a node apart whose secrets do not open, so that it does not keep the others from being read.
fn readable(read: Result<Node, Failure>) -> Result<Result<Node, StoreError>, Failure> {
    match read {
        Ok(node) => Ok(Ok(node)),
        Err(Failure::Store(error @ StoreError::Sealed { .. })) => Ok(Err(error)),
        Err(other) => Err(other),
    }
}

/// By UUID, else by name: what looks like a UUID is never looked up as a name.
pub(crate) fn by_ident(ident: &str) -> (&'static str, Value) {
    match ident.parse::<NodeId>() {
        Ok(id) => ("node.uuid = $1", id.to_value()),
        Err(_) => ("node.name = $1", ident.to_value()),
    }
}

fn duplicate(failure: Failure, node: &Node) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let (field, value) = match index.as_str() {
        "node_uuid_key" => ("uuid", node.id.to_string()),
        "node_name_key" => ("name", node.name.clone().unwrap_or_default()),
        "node_instance_uuid_key" => (
            "instance_uuid",
            node.instance_uuid.clone().unwrap_or_default(),
        ),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: "node",
        field,
        value,
    }
    .into()
}

/// A reference that a foreign key guards, with the sentence that names it.
async fn check_chassis(connection: &mut Connection, node: &Node) -> Result<(), Failure> {
    if let Some(chassis) = node.chassis
        && crate::chassis::load(connection, chassis).await?.is_none()
    {
        return Err(crate::chassis::not_found(chassis).into());
    }
    Ok(())
}

async fn insert(connection: &mut Connection, node: &Node) -> Result<(), Failure> {
    check_chassis(connection, node).await?;
    let mut columns = changed_columns(None, node);
    seal(&connection.keys, &mut node.clone(), &mut columns)?;
    let (names, values): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(_, name, value)| (name, value))
        .unzip();
    let sql = format!(
        "INSERT INTO node ({}) VALUES ({}) RETURNING id",
        names.join(", "),
        placeholders(1, names.len())
    );
    let id: Option<i64> = connection
        .row(sql, values, |row| row.get(0))
        .await
        .map_err(|failure| duplicate(failure, node))?;
    let id = id.ok_or_else(|| StoreError::Internal("a new node got no row id".into()))?;
    connection
        .execute(
            "INSERT INTO node_document (id, document) VALUES ($1, $2)",
            args![id, document::encode(node)],
        )
        .await?;
    Ok(())
}

/// Applies a change to a node as it is now and writes the columns that differ. The store itself keeps the
/// id, revision, times and reservation; a new provision state goes to the timeline, after `events`.
pub(crate) async fn apply(
    connection: &mut Connection,
    before: Node,
    reservation: Option<Option<String>>,
    change: &NodeChange,
    events: &[TimelineEvent],
) -> Result<Node, Failure> {
    let mut after = before.clone();
    change(&mut after).map_err(Failure::from)?;
    let now = Timestamp::now();
    after.id = before.id;
    after.revision = before.revision;
    after.created_at = before.created_at;
    after.updated_at = before.updated_at;
    after.reservation = before.reservation.clone();
    // an allocation lasts as long as the instance that it stands for
    let freed = before
        .allocation_uuid
        .filter(|_| before.instance_uuid.is_some() && after.instance_uuid.is_none());
    if freed.is_some() {
        after.allocation_uuid = None;
    }
    let mut state_event = None;
    if after.provision_state != before.provision_state {
        after.provision_updated_at = Some(now);
        let target = after
            .target_provision_state
            .map(|target| format!(" (target {target})"))
            .unwrap_or_default();
        state_event = Some(TimelineEvent {
            at: now,
            source: TimelineSource::State,
            text: format!(
                "\"{}\" -> \"{}\"{target}",
                before.provision_state, after.provision_state
            ),
            data: None,
        });
    }
    let notices = std::mem::take(&mut after.notices);
    let mut columns = changed_columns(Some(&before), &after);
    if !columns.is_empty() {
        // A lease alone, which is only a view, raises neither.
        after.revision = before.revision.saturating_add(1);
        after.updated_at = Some(now);
        columns.push((Group::Own, "revision", after.revision.to_value()));
        columns.push((Group::Own, "updated_at", after.updated_at.to_value()));
    }
    if let Some(reservation) = reservation
        && reservation != before.reservation
    {
        columns.push((Group::Own, "reservation", reservation.to_value()));
        after.reservation = reservation;
    }
    if after.chassis != before.chassis {
        check_chassis(connection, &after).await?;
    }
    if !columns.is_empty() {
        seal(&connection.keys, &mut after, &mut columns)?;
        let mut sql = String::from("UPDATE node SET ");
        let mut values = Vec::with_capacity(columns.len() + 1);
        let mut document_changed = false;
        for (group, name, value) in columns {
            document_changed |= group == Group::Document;
            if !values.is_empty() {
                sql.push_str(", ");
            }
            values.push(value);
            sql.push_str(&format!("{name} = ${}", values.len()));
        }
        values.push(after.id.to_value());
        sql.push_str(&format!(" WHERE uuid = ${}", values.len()));
        connection
            .execute(sql, values)
            .await
            .map_err(|failure| duplicate(failure, &after))?;
        if document_changed {
            connection
                .execute(
                    "UPDATE node_document SET document = $1 WHERE id = (SELECT id FROM node WHERE uuid = $2)",
                    args![document::encode(&after), after.id],
                )
                .await?;
        }
    }
    if let Some(allocation) = freed {
        crate::allocation::forget(connection, allocation).await?;
    }
    timeline::insert(connection, after.id, events).await?;
    if let Some(event) = state_event {
        timeline::insert(connection, after.id, &[event]).await?;
    }
    outbox::node_changed(connection, &after, &notices).await?;
    Ok(after)
}

/// The host that holds the lease of the node's running operation, if any does.
pub(crate) async fn lease_holder(
    connection: &mut Connection,
    node: NodeId,
) -> Result<Option<String>, Failure> {
    let clock = connection.clock().await?;
    connection
        .row(
            "SELECT session.hostname FROM operation JOIN session ON session.uuid = operation.owner \
             WHERE operation.node = $1 AND operation.status = 'running' \
             AND session.ended = $2 AND session.expires_at > $3",
            args![node, false, clock],
            |row| row.get(0),
        )
        .await
}

/// Refuses while a conductor holds the lease of the node's operation.
pub(crate) async fn refuse_locked(
    connection: &mut Connection,
    node: NodeId,
) -> Result<(), Failure> {
    match lease_holder(connection, node).await? {
        None => Ok(()),
        Some(holder) => Err(StoreError::Locked {
            node: node.to_string(),
            holder,
        }
        .into()),
    }
}

/// Refuses when the node has an open operation: `Locked` while a lease is held, else `OperationOpen`.
pub(crate) async fn refuse_open(connection: &mut Connection, node: NodeId) -> Result<(), Failure> {
    refuse_locked(connection, node).await?;
    let open: Option<String> = connection
        .row(
            "SELECT flow FROM operation WHERE node = $1 AND status IN ('ready', 'running', 'waiting')",
            args![node],
            |row| row.get(0),
        )
        .await?;
    match open {
        None => Ok(()),
        Some(flow) => Err(StoreError::OperationOpen { node, flow }.into()),
    }
}

impl Store {
    /// Stores a new node (revision 1).
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for uuid, name or instance_uuid; [`StoreError::NotFound`] for its chassis.
    pub async fn create_node(
        &self,
        node: &Node,
        timeline: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        let node = Arc::new(Node {
            revision: 1,
            reservation: None,
            ..node.clone()
        });
        let events: Arc<[TimelineEvent]> = timeline.into();
        self.write("create_node", Wakes::Nobody, move |tx| {
            let (node, events) = (Arc::clone(&node), Arc::clone(&events));
            Box::pin(async move {
                insert(tx, &node).await?;
                outbox::node_changed(tx, &node, &[]).await?;
                timeline::insert(tx, node.id, &events).await
            })
        })
        .await?;
        Ok(())
    }

    pub async fn get_node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        Ok(load(&mut self.reader().await?, id).await?)
    }

    /// By UUID or name.
    pub async fn find_node(&self, ident: &str) -> Result<Option<Node>, StoreError> {
        let (condition, value) = by_ident(ident);
        let mut connection = self.reader().await?;
        let keys = Arc::clone(&connection.keys);
        Ok(connection
            .row(select(condition), vec![value], |row| read_node(row, &keys))
            .await?)
    }

    /// By any of the MAC addresses of its ports; `None` when none or more than one node matches.
    pub async fn find_node_by_macs(&self, macs: &[MacAddress]) -> Result<Option<Node>, StoreError> {
        let mut nodes = self.find_nodes_by_macs(macs).await?;
        Ok(if nodes.len() == 1 { nodes.pop() } else { None })
    }

    /// The nodes that have a port with any of these MAC addresses, two at most.
    pub async fn find_nodes_by_macs(&self, macs: &[MacAddress]) -> Result<Vec<Node>, StoreError> {
        if macs.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.reader().await?;
        let keys = Arc::clone(&connection.keys);
        Ok(connection
            .rows(
                format!(
                    "{} LIMIT 2",
                    select(&format!(
                        "uuid IN (SELECT node FROM port WHERE address IN ({}))",
                        placeholders(1, macs.len())
                    ))
                ),
                macs.iter().map(ToValue::to_value).collect(),
                |row| read_node(row, &keys),
            )
            .await?)
    }

    /// As [`Store::list_node_rows`], with everything. A node whose secrets cannot be read is left out, and logged.
    ///
    /// # Errors
    /// As [`Store::list_node_rows`].
    pub async fn list_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Vec<Node>, StoreError> {
        let mut connection = self.reader().await?;
        let keys = Arc::clone(&connection.keys);
        let rows = page_rows(
            &mut connection,
            &LISTED,
            conditions(filter),
            page,
            &format!("SELECT {COLUMNS} FROM node"),
            |row| readable(read_node(row, &keys)),
        )
        .await?;
        let mut nodes = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Ok(node) => nodes.push(node),
                Err(error) => tracing::error!("a node is passed over: {error}"),
            }
        }
        Ok(nodes)
    }

    /// The API's write: refused with `Locked` while a lease is held (unless `ignore_lease`), with `Changed` when `revision` is given and differs.
    pub async fn update_node(
        &self,
        id: NodeId,
        revision: Option<i64>,
        ignore_lease: bool,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        let events: Arc<[TimelineEvent]> = timeline.into();
        Ok(self
            .write("update_node", Wakes::Nobody, move |tx| {
                let (change, events) = (Arc::clone(&change), Arc::clone(&events));
                Box::pin(async move {
                    let node = require(tx, id).await?;
                    if !ignore_lease {
                        refuse_locked(tx, id).await?;
                    }
                    if revision.is_some_and(|revision| revision != node.revision) {
                        return Err(StoreError::Changed { node: id }.into());
                    }
                    apply(tx, node, None, &change, &events).await
                })
            })
            .await?)
    }

    /// Deletes the node with its ports, boot row, leases, history, timeline and closed operations. Locked / OperationOpen as above.
    pub async fn delete_node(&self, id: NodeId) -> Result<(), StoreError> {
        self.write("delete_node", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                refuse_open(tx, id).await?;
                tx.execute(
                    "DELETE FROM dhcp_lease WHERE mac IN (SELECT address FROM port WHERE node = $1)",
                    args![id],
                )
                .await?;
                // The rest goes by its foreign keys.
                let gone = tx
                    .execute("DELETE FROM node WHERE uuid = $1", args![id])
                    .await?;
                if gone == 0 {
                    return Err(not_found(id).into());
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    /// The shards with the number of their nodes, the largest first.
    pub async fn list_shards(&self) -> Result<Vec<ShardCount>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                "SELECT shard, COUNT(*) FROM node GROUP BY shard \
                 ORDER BY COUNT(*) DESC, shard ASC NULLS FIRST",
                Vec::new(),
                |row| {
                    let nodes: i64 = row.get(1)?;
                    Ok(ShardCount {
                        shard: row.get(0)?,
                        nodes: u64::try_from(nodes).unwrap_or(0),
                    })
                },
            )
            .await?)
    }

    pub async fn count_nodes(&self) -> Result<u64, StoreError> {
        let mut connection = self.reader().await?;
        let count: Option<i64> = connection
            .row("SELECT COUNT(*) FROM node", Vec::new(), |row| row.get(0))
            .await?;
        Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{FieldSource, NodeField};

    /// The groups of the columns are those of the model's field table.
    #[test]
    fn groups_agree_with_the_fields() {
        let node = Node::new(NodeId::random(), "d", Timestamp(0));
        for (group, column, _) in changed_columns(None, &node) {
            let want = NodeField::parse(column).map(NodeField::source);
            match group {
                Group::Document => assert_eq!(want, Some(FieldSource::Document), "{column}"),
                Group::Volatile => assert_eq!(want, Some(FieldSource::Volatile), "{column}"),
                Group::Own => assert_ne!(want, Some(FieldSource::Document), "{column}"),
            }
        }
    }
}
