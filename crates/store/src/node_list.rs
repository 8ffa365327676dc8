//! Lists of nodes and single rows of them: which columns are read, how they become JSON, filters and order.
//!
//! A row is handed on while the statement runs: the stored document and the columns that change often, as
//! serialised members in one layout (see `document.rs`). When only a few plain fields are asked for, the
//! document is not read at all.

use std::ops::ControlFlow;
use std::sync::Arc;

use bessemer_model::{
    FieldSource, MASK, NodeField, ProvisionState, Timestamp, is_secret_key, masked,
};
use bytes::Bytes;

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_limit, stretches};
use crate::node::by_ident;
use crate::sql::{Cell, Connection, Kind, RowRef, Value};
use crate::store::Store;
use crate::{NodeFilter, NodeRow, NodeRowRef, Page, StoreError, document, secrets};

/// How a column becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Render {
    Text,
    Json,
    Masked,
    Time,
    Bool,
}

/// The members that are spliced in at output, with their columns.
const VOLATILE: &[(NodeField, &str, Render)] = &[
    (NodeField::UpdatedAt, "updated_at", Render::Time),
    (NodeField::BootMode, "boot_mode", Render::Text),
    (NodeField::CleanStep, "clean_step", Render::Json),
    (NodeField::ConsoleEnabled, "console_enabled", Render::Bool),
    (NodeField::DeployStep, "deploy_step", Render::Json),
    (
        NodeField::DriverInternalInfo,
        "driver_internal_info",
        Render::Masked,
    ),
    (NodeField::Fault, "fault", Render::Text),
    (NodeField::Health, "health", Render::Text),
    (
        NodeField::InspectionFinishedAt,
        "inspection_finished_at",
        Render::Time,
    ),
    (
        NodeField::InspectionStartedAt,
        "inspection_started_at",
        Render::Time,
    ),
    (NodeField::LastError, "last_error", Render::Text),
    (NodeField::Maintenance, "maintenance", Render::Bool),
    (
        NodeField::MaintenanceReason,
        "maintenance_reason",
        Render::Text,
    ),
    (NodeField::PowerState, "power_state", Render::Text),
    (NodeField::ProvisionState, "provision_state", Render::Text),
    (
        NodeField::ProvisionUpdatedAt,
        "provision_updated_at",
        Render::Time,
    ),
    (NodeField::Reservation, "reservation", Render::Text),
    (NodeField::SecureBoot, "secure_boot", Render::Bool),
    (NodeField::ServiceStep, "service_step", Render::Json),
    (
        NodeField::TargetPowerState,
        "target_power_state",
        Render::Text,
    ),
    (
        NodeField::TargetProvisionState,
        "target_provision_state",
        Render::Text,
    ),
    (NodeField::Conductor, "conductor", Render::Text),
    (NodeField::AllocationUuid, "allocation_uuid", Render::Text),
];

/// Members of the document that a column renders as well, for lists that show few fields.
const PLAIN: &[(NodeField, &str, Render)] = &[
    (NodeField::Uuid, "uuid", Render::Text),
    (NodeField::CreatedAt, "created_at", Render::Time),
    (NodeField::AutomatedClean, "automated_clean", Render::Bool),
    (NodeField::BiosInterface, "bios_interface", Render::Text),
    (NodeField::BootInterface, "boot_interface", Render::Text),
    (NodeField::ChassisUuid, "chassis_uuid", Render::Text),
    (NodeField::ConductorGroup, "conductor_group", Render::Text),
    (
        NodeField::ConsoleInterface,
        "console_interface",
        Render::Text,
    ),
    (NodeField::DeployInterface, "deploy_interface", Render::Text),
    (NodeField::Description, "description", Render::Text),
    (
        NodeField::DisablePowerOff,
        "disable_power_off",
        Render::Bool,
    ),
    (NodeField::Driver, "driver", Render::Text),
    (NodeField::Extra, "extra", Render::Json),
    (
        NodeField::FirmwareInterface,
        "firmware_interface",
        Render::Text,
    ),
    (
        NodeField::InspectInterface,
        "inspect_interface",
        Render::Text,
    ),
    (NodeField::InstanceName, "instance_name", Render::Text),
    (NodeField::InstanceUuid, "instance_uuid", Render::Text),
    (NodeField::Lessee, "lessee", Render::Text),
    (
        NodeField::ManagementInterface,
        "management_interface",
        Render::Text,
    ),
    (NodeField::Name, "name", Render::Text),
    (
        NodeField::NetworkInterface,
        "network_interface",
        Render::Text,
    ),
    (NodeField::Owner, "owner", Render::Text),
    (NodeField::ParentNode, "parent_node", Render::Text),
    (NodeField::PowerInterface, "power_interface", Render::Text),
    (NodeField::Properties, "properties", Render::Json),
    (NodeField::Protected, "protected", Render::Bool),
    (NodeField::ProtectedReason, "protected_reason", Render::Text),
    (NodeField::RaidInterface, "raid_interface", Render::Text),
    (NodeField::RescueInterface, "rescue_interface", Render::Text),
    (NodeField::ResourceClass, "resource_class", Render::Text),
    (NodeField::Retired, "retired", Render::Bool),
    (NodeField::RetiredReason, "retired_reason", Render::Text),
    (NodeField::Shard, "shard", Render::Text),
    (
        NodeField::StorageInterface,
        "storage_interface",
        Render::Text,
    ),
    (NodeField::VendorInterface, "vendor_interface", Render::Text),
];

/// More columns than this cost more than the document.
const FEW: usize = 12;

impl Render {
    fn kind(self) -> Kind {
        match self {
            Self::Text | Self::Json | Self::Masked => Kind::Text,
            Self::Time => Kind::Int,
            Self::Bool => Kind::Bool,
        }
    }

    fn append(self, cell: Cell<'_>, out: &mut Vec<u8>) {
        match (self, cell) {
            (Self::Json, Cell::Text(text)) => out.extend_from_slice(text.as_bytes()),
            (Self::Masked, Cell::Text(text)) => append_masked(text, out),
            (Self::Text, Cell::Text(text)) => document::append_text(text, out),
            (Self::Time, Cell::Int(at)) => {
                out.push(b'"');
                Timestamp(at).append_to(out);
                out.push(b'"');
            }
            (_, Cell::Bool(flag)) => {
                out.extend_from_slice(if flag { b"true" } else { b"false" });
            }
            _ => out.extend_from_slice(b"null"),
        }
    }
}

/// Masks a stored object, and only reads it when there is a key to hide.
fn append_masked(text: &str, out: &mut Vec<u8>) {
    let sealed = secrets::may_be_sealed(text);
    if !sealed && !is_secret_key(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => {
            let mut shown = masked(&value);
            if sealed {
                secrets::unescaped(&mut shown);
            }
            out.extend_from_slice(shown.to_string().as_bytes());
        }
        Err(_) => document::append_text(MASK, out),
    }
}

/// Which columns a list reads.
struct Projection {
    select: String,
    has_document: bool,
    columns: Vec<(NodeField, Render)>,
}

impl Projection {
    /// What it takes to show these fields.
    fn of(fields: &[NodeField]) -> Self {
        let plain = |field: NodeField| PLAIN.iter().find(|(f, ..)| *f == field);
        let stored = fields
            .iter()
            .filter(|field| field.source() == FieldSource::Document);
        let has_document =
            stored.clone().count() > FEW || !stored.clone().all(|field| plain(*field).is_some());
        let mut select = String::from("SELECT node.uuid, node.provision_state");
        if has_document {
            select.push_str(", node_document.document");
        }
        let mut columns = Vec::new();
        let volatile = VOLATILE.iter().filter(|(f, ..)| fields.contains(f));
        let stored = stored
            .filter(|_| !has_document)
            .filter_map(|field| plain(*field));
        for (field, column, render) in volatile.chain(stored) {
            select.push_str(", node.");
            select.push_str(column);
            columns.push((*field, *render));
        }
        select.push_str(" FROM node");
        if has_document {
            // an outer join, so that no engine starts at the documents
            select.push_str(" LEFT JOIN node_document ON node_document.id = node.id");
        }
        Self {
            select,
            has_document,
            columns,
        }
    }

    /// Reads a row; `scratch` is where the columns become members.
    fn read<'r>(
        &self,
        row: &RowRef<'r>,
        scratch: &'r mut Vec<u8>,
    ) -> Result<NodeRowRef<'r>, Failure> {
        let missing = |what| StoreError::Internal(format!("a row of a node has no {what}"));
        let Cell::Text(id) = row.cell(0, Kind::Text)? else {
            return Err(missing("uuid").into());
        };
        let Cell::Text(state) = row.cell(1, Kind::Text)? else {
            return Err(missing("provision_state").into());
        };
        let provision_state = ProvisionState::parse(state)
            .ok_or_else(|| StoreError::Internal(format!("no provision state is \"{state}\"")))?;
        let mut index = 2;
        let mut document: &[u8] = &[];
        if self.has_document {
            let Cell::Bytes(bytes) = row.cell(index, Kind::Bytes)? else {
                return Err(missing("document").into());
            };
            document = bytes;
            index += 1;
        }
        scratch.clear();
        for (field, render) in &self.columns {
            let cell = row.cell(index, render.kind())?;
            document::append_member(*field, scratch, |out| render.append(cell, out));
            index += 1;
        }
        Ok(NodeRowRef {
            id,
            document,
            volatile: scratch,
            provision_state,
        })
    }
}

pub(crate) const LISTED: Listed = Listed {
    table: "node",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("name", "name", Kind::Text),
        ("driver", "driver", Kind::Text),
        ("chassis_id", "chassis_uuid", Kind::Text),
        ("power_state", "power_state", Kind::Text),
        ("target_power_state", "target_power_state", Kind::Text),
        ("provision_state", "provision_state", Kind::Text),
        (
            "target_provision_state",
            "target_provision_state",
            Kind::Text,
        ),
        ("provision_updated_at", "provision_updated_at", Kind::Int),
        ("last_error", "last_error", Kind::Text),
        ("reservation", "reservation", Kind::Text),
        ("maintenance", "maintenance", Kind::Bool),
        ("maintenance_reason", "maintenance_reason", Kind::Text),
        ("fault", "fault", Kind::Text),
        ("protected", "protected", Kind::Bool),
        ("protected_reason", "protected_reason", Kind::Text),
        ("retired", "retired", Kind::Bool),
        ("retired_reason", "retired_reason", Kind::Text),
        ("automated_clean", "automated_clean", Kind::Bool),
        ("disable_power_off", "disable_power_off", Kind::Bool),
        ("console_enabled", "console_enabled", Kind::Bool),
        ("instance_uuid", "instance_uuid", Kind::Text),
        ("instance_name", "instance_name", Kind::Text),
        ("resource_class", "resource_class", Kind::Text),
        ("conductor_group", "conductor_group", Kind::Text),
        ("owner", "owner", Kind::Text),
        ("lessee", "lessee", Kind::Text),
        ("shard", "shard", Kind::Text),
        ("parent_node", "parent_node", Kind::Text),
        ("allocation_id", "allocation_uuid", Kind::Text),
        ("description", "description", Kind::Text),
        ("boot_mode", "boot_mode", Kind::Text),
        ("secure_boot", "secure_boot", Kind::Bool),
        ("health", "health", Kind::Text),
        ("inspection_started_at", "inspection_started_at", Kind::Int),
        (
            "inspection_finished_at",
            "inspection_finished_at",
            Kind::Int,
        ),
        ("bios_interface", "bios_interface", Kind::Text),
        ("boot_interface", "boot_interface", Kind::Text),
        ("console_interface", "console_interface", Kind::Text),
        ("deploy_interface", "deploy_interface", Kind::Text),
        ("firmware_interface", "firmware_interface", Kind::Text),
        ("inspect_interface", "inspect_interface", Kind::Text),
        ("management_interface", "management_interface", Kind::Text),
        ("network_interface", "network_interface", Kind::Text),
        ("power_interface", "power_interface", Kind::Text),
        ("raid_interface", "raid_interface", Kind::Text),
        ("rescue_interface", "rescue_interface", Kind::Text),
        ("storage_interface", "storage_interface", Kind::Text),
        ("vendor_interface", "vendor_interface", Kind::Text),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

pub(crate) fn conditions(filter: &NodeFilter) -> Conditions {
    let mut all = Conditions::default();
    all.equals("node.chassis_uuid", filter.chassis.as_ref());
    all.equals("node.instance_uuid", filter.instance_uuid.as_ref());
    all.equals("node.instance_name", filter.instance_name.as_ref());
    if let Some(associated) = filter.associated {
        all.is_null("node.instance_uuid", !associated);
    }
    all.equals("node.maintenance", filter.maintenance);
    all.equals("node.retired", filter.retired);
    if let Some(states) = &filter.provision_states {
        all.one_of("node.provision_state", states);
    }
    all.equals("node.driver", filter.driver.as_ref());
    all.equals("node.resource_class", filter.resource_class.as_ref());
    all.equals("node.fault", filter.fault.as_ref());
    all.equals("node.conductor_group", filter.conductor_group.as_ref());
    all.equals("node.owner", filter.owner.as_ref());
    all.equals("node.lessee", filter.lessee.as_ref());
    if let Some(project) = &filter.project {
        let arg = all.arg(project);
        all.and(format!("(node.owner = {arg} OR node.lessee = {arg})"));
    }
    if let Some(text) = &filter.description_contains {
        all.contains("node.description", text);
    }
    if let Some(shards) = &filter.shards {
        all.one_of("node.shard", shards);
    }
    if let Some(sharded) = filter.sharded {
        all.is_null("node.shard", !sharded);
    }
    if filter.parent_node.is_some() {
        all.equals("node.parent_node", filter.parent_node);
    } else if !filter.include_children {
        // the index by parent holds children only, so that it is not chosen here: it has no order
        all.is_null("node.parent_node", true);
    }
    all
}

/// Hands the rows of one statement on; how many there were.
async fn each<S, F>(
    connection: &mut Connection,
    projection: &Arc<Projection>,
    clause: &str,
    args: Vec<Value>,
    state: S,
    row: F,
) -> Result<(S, F, u32), Failure>
where
    S: Send + 'static,
    F: FnMut(&mut S, NodeRowRef<'_>) -> ControlFlow<()> + Send + 'static,
{
    let sql = format!("{}{clause}", projection.select);
    let projection = Arc::clone(projection);
    let mut scratch = Vec::with_capacity(1024);
    // the function travels with the state, since a page may be two statements
    let ((state, row), count) = connection
        .each(sql, args, (state, row), move |(state, row), found| {
            Ok(row(state, projection.read(&found, &mut scratch)?))
        })
        .await?;
    Ok((state, row, count))
}

fn owned(row: NodeRowRef<'_>) -> Option<NodeRow> {
    Some(NodeRow {
        id: row.id.parse().ok()?,
        document: Bytes::copy_from_slice(row.document),
        volatile: Bytes::copy_from_slice(row.volatile),
        provision_state: row.provision_state,
    })
}

/// Keeps rows as they come.
fn keep(rows: &mut Vec<NodeRow>, row: NodeRowRef<'_>) -> ControlFlow<()> {
    rows.extend(owned(row));
    ControlFlow::Continue(())
}

impl Store {
    /// Hands the rows of a page to `row`, one by one while the statement runs, until it breaks off; on SQLite
    /// on a thread of the store's, where it must not wait for anything. Each row has at least the members for
    /// `fields`. Gives `state` back, which `row` has worked on; it may be dropped half-way by an error.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] of `Marker`, [`StoreError::Refused`] for a sort key that is no column.
    pub async fn stream_node_rows<S, F>(
        &self,
        filter: &NodeFilter,
        page: &Page,
        fields: &[NodeField],
        mut state: S,
        mut row: F,
    ) -> Result<S, StoreError>
    where
        S: Send + 'static,
        F: FnMut(&mut S, NodeRowRef<'_>) -> ControlFlow<()> + Send + 'static,
    {
        let projection = Arc::new(Projection::of(fields));
        let mut connection = self.reader().await?;
        let mut left = page_limit(page);
        for stretch in stretches(&mut connection, &LISTED, conditions(filter), page).await? {
            let (clause, args) = stretch.limited(left);
            let count;
            (state, row, count) =
                each(&mut connection, &projection, &clause, args, state, row).await?;
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
        Ok(state)
    }

    /// The rows of a page with every member.
    ///
    /// # Errors
    /// As [`Store::stream_node_rows`].
    pub async fn list_node_rows(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Vec<NodeRow>, StoreError> {
        self.stream_node_rows(filter, page, NodeField::ALL, Vec::new(), keep)
            .await
    }

    /// A node as single answers show it, by UUID or name.
    pub async fn get_node_row(&self, ident: &str) -> Result<Option<NodeRow>, StoreError> {
        let (condition, value) = by_ident(ident);
        let projection = Arc::new(Projection::of(NodeField::ALL));
        let mut connection = self.reader().await?;
        let clause = format!(" WHERE {condition}");
        let (mut rows, ..) = each(
            &mut connection,
            &projection,
            &clause,
            vec![value],
            Vec::new(),
            keep,
        )
        .await?;
        Ok(rows.pop())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_volatile_field_is_spliced_in() {
        let have: BTreeSet<_> = VOLATILE.iter().map(|(field, ..)| *field).collect();
        let want: BTreeSet<_> = NodeField::ALL
            .iter()
            .copied()
            .filter(|field| field.source() == FieldSource::Volatile)
            .collect();
        assert_eq!(have, want);
        assert!(
            PLAIN
                .iter()
                .all(|(field, ..)| field.source() == FieldSource::Document)
        );
    }

    #[test]
    fn stored_objects_are_masked() {
        let check = |text: &str, want: &str| {
            let mut out = Vec::new();
            append_masked(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        };
        check(r#"{"a":1}"#, r#"{"a":1}"#);
        check(
            r#"{"agent_secret_token":"x","a":1}"#,
            r#"{"agent_secret_token":"******","a":1}"#,
        );
        check("token {", "\"******\"");
    }

    /// Sort keys whose pages must cost the same wherever they are.
    const KEYS: [&str; 11] = [
        "id",
        "uuid",
        "name",
        "created_at",
        "updated_at",
        "provision_state",
        "power_state",
        "driver",
        "resource_class",
        "conductor_group",
        "owner",
    ];

    /// How the engine means to run a statement, a line each.
    async fn plan(connection: &mut Connection, sql: &str, args: Vec<Value>) -> String {
        let (explain, column) = if connection.is_postgres() {
            ("EXPLAIN ", 0)
        } else {
            ("EXPLAIN QUERY PLAN ", 3)
        };
        let lines: Vec<String> = connection
            .rows(format!("{explain}{sql}"), args, |row| row.get(column))
            .await
            .unwrap();
        lines.join("\n")
    }

    fn check_plan(postgres: bool, key: &str, marked: bool, sql: &str, plan: &str) {
        let said = format!("{sql}\n{plan}");
        // no row of these columns is null: nothing is read
        let required = ["created_at", "provision_state", "driver", "conductor_group"];
        if sql.contains(&format!("{key} IS NULL")) && required.contains(&key) {
            return;
        }
        // one row at most has this name
        if sql.contains("node.name = ") && plan.contains("node_name_key") {
            return;
        }
        if postgres {
            assert!(!plan.contains("Sort"), "{said}");
            assert!(plan.contains("Index Scan"), "{said}");
            return;
        }
        assert!(!plan.contains("TEMP B-TREE"), "{said}");
        assert!(!plan.contains("MULTI-INDEX"), "{said}");
        assert!(key == "id" || plan.contains("node USING INDEX"), "{said}");
        assert!(!marked || plan.contains("SEARCH node USING"), "{said}");
        // of equal values only those behind the marker are read
        let behind = sql.contains("node.id > ") || sql.contains("node.id < ");
        assert!(!behind || plan.contains("rowid"), "{said}");
    }

    #[tokio::test]
    async fn pages_are_ranges_of_an_index_and_sort_nothing() {
        crate::testing::on_both(async |settings| {
            let store = Store::open(&settings).await.unwrap();
            let mut markers = Vec::new();
            for n in 0..400u32 {
                let id = bessemer_model::NodeId(uuid::Uuid::from_u128(n.into()));
                let mut node = bessemer_model::Node::new(id, "fake-hardware", Timestamp(n.into()));
                if n % 3 == 0 {
                    node.name = Some(format!("n{n}"));
                    node.owner = Some("o".into());
                    node.resource_class = Some("r".into());
                    node.power_state = Some(bessemer_model::PowerState::On);
                    node.updated_at = Some(Timestamp(n.into()));
                }
                store.create_node(&node, Vec::new()).await.unwrap();
                if [200, 201].contains(&n) {
                    markers.push(Some(id.to_string()));
                }
            }
            markers.push(None);
            let mut connection = store.reader().await.unwrap();
            if connection.is_postgres() {
                connection
                    .rows("ANALYZE", Vec::new(), |_| Ok(()))
                    .await
                    .unwrap();
            }
            for key in KEYS {
                for direction in [
                    crate::SortDirection::Ascending,
                    crate::SortDirection::Descending,
                ] {
                    for marker in &markers {
                        for fields in [NodeField::ALL, &[NodeField::Name]] {
                            let page = Page {
                                limit: 10,
                                marker: marker.clone(),
                                sort_key: Some(key.to_owned()),
                                direction,
                            };
                            let all = conditions(&NodeFilter::default());
                            let stretches = stretches(&mut connection, &LISTED, all, &page)
                                .await
                                .unwrap();
                            for stretch in stretches {
                                let (clause, args) = stretch.limited(10);
                                let sql = format!("{}{clause}", Projection::of(fields).select);
                                let plan = plan(&mut connection, &sql, args).await;
                                check_plan(
                                    connection.is_postgres(),
                                    key,
                                    marker.is_some(),
                                    &sql,
                                    &plan,
                                );
                            }
                        }
                    }
                }
            }
        })
        .await;
    }

    /// What a list shows of a node is the same whether columns or the document are read.
    #[tokio::test]
    async fn columns_render_as_the_document() {
        crate::testing::on_both(async |settings| {
            let store = Store::open(&settings).await.unwrap();
            let mut node = bessemer_model::Node::new(
                bessemer_model::NodeId::random(),
                "fake-hardware",
                Timestamp(1_795_563_108_000_012),
            );
            node.name = Some("quoted \"name\" \\ \u{7} é".into());
            node.extra
                .insert("a".into(), serde_json::json!([1, {"b": null}]));
            node.protected = true;
            node.automated_clean = Some(false);
            store.create_node(&node, Vec::new()).await.unwrap();
            let row = store
                .get_node_row(&node.id.to_string())
                .await
                .unwrap()
                .unwrap();
            for (field, ..) in PLAIN {
                let seen: Vec<Vec<u8>> = store
                    .stream_node_rows(
                        &NodeFilter::default(),
                        &Page {
                            limit: 1,
                            ..Page::default()
                        },
                        &[*field],
                        Vec::new(),
                        |seen, row| {
                            assert!(row.document.is_empty());
                            seen.extend(row.members().map(|(_, json)| json.to_vec()));
                            ControlFlow::Continue(())
                        },
                    )
                    .await
                    .unwrap();
                let (_, want) = document::members(&row.document)
                    .find(|(f, _)| f == field)
                    .unwrap();
                assert_eq!(seen, [want.to_vec()], "{field:?}");
            }
        })
        .await;
    }
}
