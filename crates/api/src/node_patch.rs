//! `PATCH /v1/nodes/{ident}`.
//!
//! The patch is applied to the unmasked fields. Clients read, change and write whole dictionaries, and what
//! they read has its secrets masked: a member that comes back as the mask keeps its secret. The write is
//! guarded by the row's revision; when someone else was faster, the patch is applied anew.

use std::sync::Arc;

use bessemer_model::{Fault, InterfaceKind, MASK, Node, ProvisionState, is_secret_key};
use bessemer_store::{NodeChange, StoreError};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::args::{self, Args};
use crate::auth::Ownership;
use crate::call::{Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch::{self, Op, Operation};
use crate::node_create::{
    SCHEMA as CREATE, acceptable_name, assign, existing_chassis, parent_of, served,
};
use crate::nodes;
use crate::schema::{Member, Schema, flag, network_data, py_repr, py_str, text};
use crate::told;
use crate::versions::NODE_FIELDS;

/// Root attributes that may be patched, in the order in which the refusal lists them.
const ALLOWED: [&str; 37] = [
    "automated_clean",
    "bios_interface",
    "boot_interface",
    "chassis_uuid",
    "conductor_group",
    "console_interface",
    "deploy_interface",
    "description",
    "disable_power_off",
    "driver",
    "driver_info",
    "extra",
    "inspect_interface",
    "instance_info",
    "instance_name",
    "instance_uuid",
    "lessee",
    "maintenance",
    "management_interface",
    "name",
    "network_data",
    "network_interface",
    "owner",
    "power_interface",
    "properties",
    "protected",
    "protected_reason",
    "raid_interface",
    "rescue_interface",
    "resource_class",
    "retired",
    "retired_reason",
    "shard",
    "storage_interface",
    "vendor_interface",
    "parent_node",
    "firmware_interface",
];

/// What the patched node is checked by: a new node's members and the two that only exist later.
const MEMBERS: [Member; CREATE.members.len() + 2] = {
    let mut all = [text("protected_reason"); CREATE.members.len() + 2];
    let mut at = 0;
    while at < CREATE.members.len() {
        all[at] = CREATE.members[at];
        at += 1;
    }
    all[at] = flag("protected");
    all
};
const SCHEMA: Schema = Schema {
    members: &MEMBERS,
    required: &["driver"],
};

/// States in which interfaces and resource class may change, as the refusal lists them.
const CHANGEABLE: &str = "enroll, inspecting, inspect wait, manageable, available";

/// How often a patch is applied anew when someone else was faster.
const TRIES: usize = 5;

pub async fn patch(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["reset_interfaces"])?;
    let reset = args.boolean("reset_interfaces")?;
    if reset.is_some() && !call.at_least(45) {
        return Err(ApiFault::not_acceptable());
    }
    let patch = json_patch::read(&call)?;
    check_patch(&call, &patch, reset == Some(true))?;
    for attempt in 1..=TRIES {
        match attempt_patch(&call, &patch, reset == Some(true)).await {
            Err(Failed::Changed) if attempt < TRIES => {}
            Err(Failed::Changed) => {
                return Err(ApiFault::conflict(format!(
                    "Node {} is being changed by others all the time; please retry.",
                    call.param("ident")
                )));
            }
            Err(Failed::Fault(fault)) => return Err(fault),
            Ok(id) => return nodes::shown_whole(&call, id).await,
        }
    }
    Err(ApiFault::conflict("The node is being changed by others."))
}

/// What can be said without the node.
fn check_patch(call: &Call, patch: &[Operation], reset: bool) -> Result<(), ApiFault> {
    json_patch::only(patch, &ALLOWED)?;
    for (field, since) in NODE_FIELDS {
        let path = format!("/{}", field.name());
        if !call.at_least(*since) && !json_patch::values(patch, &path).is_empty() {
            return Err(ApiFault::not_acceptable());
        }
    }
    let driver = !json_patch::values(patch, "/driver").is_empty();
    if reset && !driver {
        return Err(ApiFault::invalid(
            "The reset_interfaces parameter can only be used when changing the node's driver.",
        ));
    }
    let too_long = |value: &&Value| value.as_str().is_some_and(|d| d.chars().count() > 4096);
    if json_patch::values(patch, "/description")
        .iter()
        .any(too_long)
    {
        return Err(ApiFault::invalid(
            "Cannot update node with description exceeding 4096 characters",
        ));
    }
    for value in json_patch::values(patch, "/network_data") {
        if !value.is_object() {
            return Err(ApiFault::invalid(format!(
                "Invalid network_data: {} is not of type 'object' ",
                py_repr(value)
            )));
        }
        // an empty one is fine for a new node only
        if value.as_object().is_some_and(Map::is_empty) {
            return Err(ApiFault::invalid(
                "Invalid network_data: 'links' is a required property ",
            ));
        }
        network_data(value)
            .map_err(|why| ApiFault::invalid(format!("Invalid network_data: {why} ")))?;
    }
    Ok(())
}

enum Failed {
    /// The node changed under our hands.
    Changed,
    Fault(ApiFault),
}

impl From<ApiFault> for Failed {
    fn from(fault: ApiFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Changed { .. } => Self::Changed,
            other => Self::Fault(other.into()),
        }
    }
}

async fn attempt_patch(
    call: &Call,
    patch: &[Operation],
    reset: bool,
) -> Result<bessemer_model::NodeId, Failed> {
    let before = call.node().await?;
    authorized(call, &before, patch)?;
    updatable(call, &before, patch)?;
    owner_changeable(call, &before, patch)?;
    for name in json_patch::values(patch, "/name") {
        let ident = call.param("ident");
        let Some(name) = name.as_str() else {
            return Err(ApiFault::invalid(format!(
                "Node {ident}: Cannot change name to invalid name '{}'",
                py_str(name)
            ))
            .into());
        };
        acceptable_name(call, name, |name| {
            format!("Node {ident}: Cannot change name to invalid name '{name}'")
        })?;
    }
    if json_patch::values(patch, "/parent_node")
        .iter()
        .any(|v| v.is_null())
    {
        return Err(ApiFault::invalid(
            "Unable to apply the requested parent_node 'None'. Requested value was invalid.",
        )
        .into());
    }
    let mut document = document(&before);
    json_patch::apply(&mut document, patch)?;
    let mut document = SCHEMA.check("patch", Value::Object(document))?;
    for (key, old) in [
        ("driver_info", &before.driver_info),
        ("instance_info", &before.instance_info),
        ("extra", &before.extra),
        ("properties", &before.properties),
    ] {
        if let Some(Value::Object(new)) = document.get_mut(key) {
            keep_secrets(new, old, key == "instance_info");
        }
    }
    let after = patched(call, &before, document).await?;
    let mut roots: Vec<String> = patch.iter().map(Operation::root).collect();
    roots.dedup();
    let event = call.event(format!("{} patched", roots.join(", ")));
    let write = async {
        let wanted = finish(call, &before, after.clone(), reset).await?;
        let change: NodeChange = Arc::new(move |node: &mut Node| {
            copy_patchable(node, &wanted);
            Ok::<(), Fault>(())
        });
        let written = call
            .store()
            .update_node(before.id, Some(before.revision), false, change, event)
            .await;
        match written {
            Ok(_) => Ok(true),
            // begun anew, so nothing is told of it
            Err(StoreError::Changed { .. }) => Ok(false),
            Err(StoreError::Duplicate {
                field: "instance_uuid",
                value,
                ..
            }) => Err(ApiFault::conflict(format!(
                "Instance {value} is already associated with a node, it cannot be associated with this other node {}",
                before.id
            ))),
            Err(other) => Err(other.into()),
        }
    };
    if !told::updated(call, &before, &after, write).await? {
        return Err(Failed::Changed);
    }
    Ok(before.id)
}

/// Policies of single fields; a path that begins with the first asks for the second.
const POLICIES: [(&str, &str); 17] = [
    ("/instance_info", "baremetal:node:update_instance_info"),
    ("/extra", "baremetal:node:update_extra"),
    ("/driver_info", "baremetal:node:update:driver_info"),
    ("/properties", "baremetal:node:update:properties"),
    ("/chassis_uuid", "baremetal:node:update:chassis_uuid"),
    ("/instance_uuid", "baremetal:node:update:instance_uuid"),
    ("/instance_name", "baremetal:node:update_instance_info"),
    ("/lessee", "baremetal:node:update:lessee"),
    ("/owner", "baremetal:node:update:owner"),
    ("/driver", "baremetal:node:update:driver_interfaces"),
    ("/network_data", "baremetal:node:update:network_data"),
    ("/conductor_group", "baremetal:node:update:conductor_group"),
    ("/name", "baremetal:node:update:name"),
    ("/retired", "baremetal:node:update:retired"),
    ("/shard", "baremetal:node:update:shard"),
    ("/parent_node", "baremetal:node:update:parent_node"),
    (
        "/disable_power_off",
        "baremetal:node:update:disable_power_off",
    ),
];

/// The policy of one change.
fn policy_of(change: &Operation) -> &'static str {
    let path = change.path.as_str();
    if let Some((_, policy)) = POLICIES.iter().find(|(prefix, _)| path.starts_with(prefix)) {
        return policy;
    }
    let interface = InterfaceKind::ALL
        .into_iter()
        .any(|kind| path.strip_prefix('/') == Some(kind.field()));
    if interface {
        return "baremetal:node:update:driver_interfaces";
    }
    let off = change
        .value
        .as_ref()
        .is_some_and(|value| args::boolean("automated_clean", value).is_ok_and(|on| !on));
    if path.starts_with("/automated_clean") && off {
        return "baremetal:node:disable_cleaning";
    }
    "baremetal:node:update"
}

/// Whether the policy lets the caller make these changes.
fn authorized(call: &Call, node: &Node, patch: &[Operation]) -> Result<(), ApiFault> {
    let whose = Ownership::of(node);
    call.see_node(call.param("ident"), &whose)?;
    if patch.is_empty() {
        return call.authorize_on_node("baremetal:node:update", &whose);
    }
    patch
        .iter()
        .try_for_each(|change| call.authorize_on_node(policy_of(change), &whose))
}

/// A node that is in use changes hands only by who may do that.
fn owner_changeable(call: &Call, node: &Node, patch: &[Operation]) -> Result<(), ApiFault> {
    if node.provision_state != ProvisionState::Active
        || json_patch::values(patch, "/owner").is_empty()
    {
        return Ok(());
    }
    call.authorize_on_node(
        "baremetal:node:update_owner_provisioned",
        &Ownership::of(node),
    )
    .map_err(|_| {
        ApiFault::conflict(format!(
            "Cannot update owner of node \"{}\" while it is in state \"{}\".",
            node.id, node.provision_state
        ))
    })
}

/// Whether the node's state lets it be patched.
fn updatable(call: &Call, node: &Node, patch: &[Operation]) -> Result<(), ApiFault> {
    let frees_instance = node.maintenance
        && matches!(patch, [only] if only.op == Op::Remove && only.path == "/instance_uuid");
    if frees_instance {
        return Ok(());
    }
    if node.target_provision_state.is_some() && !node.provision_state.allows_update_with_target() {
        return Err(ApiFault::conflict(format!(
            "Node {} can not be updated while a state transition is in progress.",
            call.param("ident")
        )));
    }
    if node.provision_state == ProvisionState::Inspecting && call.at_least(39) {
        return Err(ApiFault::conflict(format!(
            "Cannot update node \"{}\" while it is in state \"{}\".",
            node.id, node.provision_state
        )));
    }
    Ok(())
}

/// The patchable fields, unmasked.
fn document(node: &Node) -> Map<String, Value> {
    let mut map = Map::new();
    let object = |o: &bessemer_model::Object| Value::Object(o.clone());
    for key in ALLOWED {
        let value = match key {
            "automated_clean" => node.automated_clean.into(),
            "chassis_uuid" => node.chassis.map(|c| c.to_string()).into(),
            "conductor_group" => node.conductor_group.clone().into(),
            "description" => node.description.clone().into(),
            "disable_power_off" => node.disable_power_off.into(),
            "driver" => node.driver.clone().into(),
            "driver_info" => object(&node.driver_info),
            "extra" => object(&node.extra),
            "instance_info" => object(&node.instance_info),
            "instance_name" => node.instance_name.clone().into(),
            "instance_uuid" => node.instance_uuid.clone().into(),
            "lessee" => node.lessee.clone().into(),
            "maintenance" => node.maintenance.into(),
            "name" => node.name.clone().into(),
            "network_data" => object(&node.network_data),
            "owner" => node.owner.clone().into(),
            "properties" => object(&node.properties),
            "protected" => node.protected.into(),
            "protected_reason" => node.protected_reason.clone().into(),
            "resource_class" => node.resource_class.clone().into(),
            "retired" => node.retired.into(),
            "retired_reason" => node.retired_reason.clone().into(),
            "shard" => node.shard.clone().into(),
            "parent_node" => node.parent_node.map(|p| p.to_string()).into(),
            interface => InterfaceKind::ALL
                .into_iter()
                .find(|k| k.field() == interface)
                .and_then(|k| node.interfaces.get(k).map(str::to_owned))
                .into(),
        };
        map.insert(key.to_owned(), value);
    }
    map
}

/// Puts secrets back where the client sent the mask that it had read.
pub fn keep_secrets(new: &mut Map<String, Value>, old: &Map<String, Value>, instance_info: bool) {
    for (key, value) in new.iter_mut() {
        let Some(before) = old.get(key) else { continue };
        let hidden = is_secret_key(key) || (instance_info && key == "image_url");
        if hidden && value.as_str() == Some(MASK) {
            *value = before.clone();
            continue;
        }
        keep_inner(value, before);
    }
}

fn keep_inner(value: &mut Value, before: &Value) {
    match (value, before) {
        (Value::Object(new), Value::Object(old)) => keep_secrets(new, old, false),
        (Value::Array(new), Value::Array(old)) => {
            for (new, old) in new.iter_mut().zip(old) {
                keep_inner(new, old);
            }
        }
        _ => {}
    }
}

/// The node with the patched document applied.
async fn patched(
    call: &Call,
    before: &Node,
    mut document: Map<String, Value>,
) -> Result<Node, ApiFault> {
    let mut node = before.clone();
    // what the patch has removed is unset
    for key in ALLOWED {
        document.entry(key).or_insert(Value::Null);
    }
    let chassis = document.remove("chassis_uuid");
    node.chassis = match chassis.as_ref().and_then(Value::as_str) {
        None => None,
        Some(text) if before.chassis.map(|c| c.to_string()).as_deref() == Some(text) => {
            before.chassis
        }
        Some(text) => Some(existing_chassis(call, text).await?),
    };
    if before.chassis.is_some() && node.chassis.is_none() && !call.at_least(25) {
        return Err(ApiFault::not_acceptable());
    }
    let parent = document.remove("parent_node");
    for (key, value) in document {
        assign(&mut node, &key, value);
    }
    node.parent_node = match parent.as_ref().and_then(Value::as_str) {
        None => None,
        Some(text) if before.parent_node.map(|p| p.to_string()).as_deref() == Some(text) => {
            before.parent_node
        }
        Some(text) => Some(parent_of(call, node.owner.as_deref(), node.id, text).await?),
    };
    Ok(node)
}

/// The rules between fields and states, and what follows from a change.
async fn finish(call: &Call, before: &Node, mut node: Node, reset: bool) -> Result<Node, ApiFault> {
    let id = node.id;
    let state = node.provision_state;
    if before.maintenance && !node.maintenance {
        node.maintenance_reason = None;
        node.fault = None;
    }
    if before.protected != node.protected {
        if !node.protected {
            node.protected_reason = None;
        } else if !matches!(state, ProvisionState::Active | ProvisionState::Rescue) {
            return Err(ApiFault::conflict(format!(
                "Node {id} can only be made protected in provision states 'active' or 'rescue', the current state is '{state}'"
            )));
        }
    }
    if before.protected_reason != node.protected_reason
        && node.protected_reason.is_some()
        && !node.protected
    {
        return Err(ApiFault::invalid(
            "The protected_reason field can only be set when protected is True",
        ));
    }
    if before.retired != node.retired {
        if !node.retired {
            node.retired_reason = None;
        } else if state == ProvisionState::Available {
            return Err(ApiFault::conflict(format!(
                "Node {id} can not have 'retired' set in provision state 'available', the current state is '{state}'"
            )));
        }
    }
    if before.retired_reason != node.retired_reason
        && node.retired_reason.is_some()
        && !node.retired
    {
        return Err(ApiFault::invalid(
            "The retired_reason field can only be set when retired is True",
        ));
    }
    if let (Some(old), Some(new)) = (&before.instance_uuid, &node.instance_uuid)
        && old != new
    {
        return Err(ApiFault::conflict(format!(
            "Node {id} is associated with instance {old}."
        )));
    }
    if before.allocation_uuid.is_some()
        && before.instance_uuid.is_some()
        && node.instance_uuid.is_none()
        && !(before.maintenance || state.allows_interface_change())
    {
        return Err(ApiFault::conflict(format!(
            "Node {id} with an allocation can not have instance_uuid removed unless it is in one of allowed ({CHANGEABLE}) states or in maintenance mode. Current state is '{state}'."
        )));
    }
    if before.owner != node.owner
        && let Some(allocation) = before.allocation_uuid
        && let Some(allocation) = call
            .store()
            .get_allocation(bessemer_model::AllocationId(allocation))
            .await?
        && allocation.owner.is_some()
    {
        return Err(ApiFault::conflict(format!(
            "Cannot update owner of node \"{id}\" while it is allocated to an allocation with an  owner."
        )));
    }
    if before.resource_class != node.resource_class
        && before.resource_class.is_some()
        && !state.allows_interface_change()
    {
        return Err(ApiFault::conflict(format!(
            "Node {id} can not have resource_class updated unless it is in one of allowed ({CHANGEABLE}) states. Current state is '{state}'."
        )));
    }
    if before.instance_info != node.instance_info
        && node.instance_name.is_none()
        && let Some(Value::String(name)) = node.instance_info.get("display_name")
        && !name.is_empty()
    {
        node.instance_name = Some(name.clone());
    }
    driver_and_interfaces(call, before, &mut node, reset).await?;
    if before.conductor_group != node.conductor_group {
        served(call, &node.driver, &node.conductor_group).await?;
    }
    Ok(node)
}

async fn driver_and_interfaces(
    call: &Call,
    before: &Node,
    node: &mut Node,
    reset: bool,
) -> Result<(), ApiFault> {
    let changed: Vec<InterfaceKind> = InterfaceKind::ALL
        .into_iter()
        .filter(|k| before.interfaces.get(*k) != node.interfaces.get(*k))
        .collect();
    let driver_changed = before.driver != node.driver;
    if driver_changed && before.console_enabled {
        return Err(ApiFault::new(
            StatusCode::CONFLICT,
            format!(
                "Node {} can not update the driver while the console is enabled. Please stop the console first.",
                call.param("ident")
            ),
        ));
    }
    if let Some(kind) = changed.first()
        && !(node.provision_state.allows_interface_change() || node.maintenance)
    {
        return Err(ApiFault::conflict(format!(
            "Node {} can not have {} updated unless it is in one of allowed ({CHANGEABLE}) states or in maintenance mode. Current state is '{}'.",
            node.id,
            kind.field(),
            node.provision_state
        )));
    }
    if driver_changed && reset {
        for kind in InterfaceKind::ALL {
            if !changed.contains(&kind) {
                node.interfaces.set(kind, None);
            }
        }
    }
    if driver_changed || !changed.is_empty() {
        let explicit: Vec<InterfaceKind> = changed
            .into_iter()
            .filter(|k| node.interfaces.get(*k).is_some())
            .collect();
        call.conductor().check_driver(node, &explicit).await?;
    }
    Ok(())
}

/// Copies what a patch can have changed.
fn copy_patchable(node: &mut Node, wanted: &Node) {
    let w = wanted.clone();
    node.automated_clean = w.automated_clean;
    node.interfaces = w.interfaces;
    node.chassis = w.chassis;
    node.conductor_group = w.conductor_group;
    node.description = w.description;
    node.disable_power_off = w.disable_power_off;
    node.driver = w.driver;
    node.driver_info = w.driver_info;
    node.extra = w.extra;
    node.instance_info = w.instance_info;
    node.instance_name = w.instance_name;
    node.instance_uuid = w.instance_uuid;
    node.lessee = w.lessee;
    node.maintenance = w.maintenance;
    node.maintenance_reason = w.maintenance_reason;
    node.fault = w.fault;
    node.name = w.name;
    node.network_data = w.network_data;
    node.owner = w.owner;
    node.properties = w.properties;
    node.protected = w.protected;
    node.protected_reason = w.protected_reason;
    node.resource_class = w.resource_class;
    node.retired = w.retired;
    node.retired_reason = w.retired_reason;
    node.shard = w.shard;
    node.parent_node = w.parent_node;
}
