//! `POST /v1/nodes`.

use bessemer_model::{
    ChassisId, InterfaceKind, Node, NodeField, NodeId, Object, ProvisionState, Timestamp,
};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::auth::Ownership;
use crate::body;
use crate::call::{Call, Outcome};
use crate::fault::ApiFault;
use crate::nodes;
use crate::schema::{
    Convert, Schema, Type, flag, is_host_name, is_logical_name, needed, object, short, text, uuid,
};
use crate::told;
use crate::versions::NODE_FIELDS;

/// Members of a new node.
pub const SCHEMA: Schema = Schema {
    members: &[
        flag("automated_clean"),
        text("bios_interface"),
        text("boot_interface"),
        text("boot_mode"),
        uuid("chassis_uuid"),
        text("conductor_group"),
        flag("console_enabled"),
        text("console_interface"),
        text("deploy_interface"),
        short("description", 4096),
        flag("disable_power_off"),
        needed("driver"),
        object("driver_info"),
        object("extra"),
        text("firmware_interface"),
        text("inspect_interface"),
        object("instance_info"),
        short("instance_name", 255).at_least(1),
        uuid("instance_uuid"),
        text("lessee"),
        text("management_interface"),
        flag("maintenance"),
        text("name"),
        object("network_data").and(Convert::NetworkData),
        text("network_interface"),
        text("owner"),
        short("parent_node", 36),
        text("power_interface"),
        object("properties"),
        text("raid_interface"),
        text("rescue_interface"),
        short("resource_class", 80),
        flag("retired"),
        text("retired_reason"),
        flag("secure_boot").only(&[Type::String, Type::Boolean, Type::Null]),
        text("shard"),
        text("storage_interface"),
        uuid("uuid"),
        text("vendor_interface"),
    ],
    required: &["driver"],
};

/// Words that cannot be names, since they are paths.
const RESERVED: [&str; 6] = [
    "maintenance",
    "management",
    "states",
    "vendor_passthru",
    "detail",
    "validate",
];

pub async fn create(call: Call) -> Outcome {
    let mut map = SCHEMA.check("node", body::json(&call.body)?)?;
    own_project(&call, &mut map)?;
    fields_of_version(&call, &map)?;
    if let Some(name) = map.get("name").and_then(Value::as_str) {
        acceptable_name(&call, name, |name| {
            format!("Cannot create node with invalid name '{name}'")
        })?;
    }
    let given = map.clone();
    let node = build(&call, map).await?;
    let event = call.event(format!("created with driver {}", node.driver));
    told::created(&call, &node, &given, call.store().create_node(&node, event)).await?;
    let location = call.url(&format!("nodes/{}", node.id));
    Ok(nodes::shown_whole(&call, node.id).await?.created(location))
}

/// Who may create nodes at all, and for whom: administrators of a project only for their own.
fn own_project(call: &Call, map: &mut Map<String, Value>) -> Result<(), ApiFault> {
    let own = call.config().api.project_admin_can_manage_own_nodes
        && call.may("baremetal:node:create:self_owned_node");
    if !own {
        return call.authorize("baremetal:node:create");
    }
    if !call.of_project() {
        return Ok(());
    }
    let project = call.caller.project_id.as_deref();
    match map.get("owner").and_then(Value::as_str) {
        Some(owner) if !owner.is_empty() && Some(owner) != project => Err(ApiFault::invalid(
            "Cannot create a node as a project scoped admin with an owner other than your own project.",
        )),
        _ => {
            map.insert("owner".into(), project.into());
            Ok(())
        }
    }
}

/// Fields that are newer than the request are refused when they say something.
fn fields_of_version(call: &Call, map: &Map<String, Value>) -> Result<(), ApiFault> {
    for (field, since) in NODE_FIELDS {
        if call.at_least(*since) {
            continue;
        }
        let says_nothing = match map.get(field.name()) {
            None | Some(Value::Null) => true,
            Some(value) => *field == NodeField::ConductorGroup && value == "",
        };
        if !says_nothing {
            return Err(ApiFault::not_acceptable());
        }
    }
    Ok(())
}

/// Checks a name by the rules of the version.
///
/// # Errors
/// 406 before 1.5, 400 for what cannot be a name or is a path of its own.
pub fn acceptable_name(
    call: &Call,
    name: &str,
    refusal: impl Fn(&str) -> String,
) -> Result<(), ApiFault> {
    if !call.at_least(5) {
        return Err(ApiFault::not_acceptable());
    }
    let well_formed = if call.at_least(10) {
        is_logical_name(name)
    } else {
        is_host_name(name)
    };
    if !well_formed || name.parse::<NodeId>().is_ok() {
        return Err(ApiFault::invalid(refusal(name)));
    }
    if RESERVED.contains(&name) {
        return Err(ApiFault::invalid(format!(
            "The word \"{name}\" is reserved and can not be used as a node name. Reserved words are: {}.",
            RESERVED.join(", ")
        )));
    }
    Ok(())
}

async fn build(call: &Call, mut map: Map<String, Value>) -> Result<Node, ApiFault> {
    let text = |map: &mut Map<String, Value>, key: &str| match map.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let id = match text(&mut map, "uuid") {
        Some(id) => id
            .parse()
            .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {id}")))?,
        None => NodeId::random(),
    };
    let driver = text(&mut map, "driver").unwrap_or_default();
    let mut node = Node::new(id, driver, Timestamp::now());
    let defaults = &call.config().default;
    node.provision_state = if call.at_least(11) {
        ProvisionState::Enroll
    } else {
        ProvisionState::Available
    };
    let group = text(&mut map, "conductor_group")
        .filter(|g| !g.is_empty())
        .unwrap_or_else(|| defaults.default_conductor_group.clone());
    node.conductor_group = group.to_lowercase();
    node.resource_class = text(&mut map, "resource_class")
        .filter(|c| !c.is_empty())
        .or_else(|| defaults.default_resource_class.clone());
    if let Some(chassis) = text(&mut map, "chassis_uuid") {
        node.chassis = Some(existing_chassis(call, &chassis).await?);
    }
    let owner = map.get("owner").and_then(Value::as_str).map(str::to_owned);
    if let Some(parent) = text(&mut map, "parent_node") {
        node.parent_node = Some(parent_of(call, owner.as_deref(), id, &parent).await?);
    }
    let explicit: Vec<InterfaceKind> = InterfaceKind::ALL
        .into_iter()
        .filter(|kind| map.get(kind.field()).is_some_and(|v| !v.is_null()))
        .collect();
    for (key, value) in map {
        assign(&mut node, &key, value);
    }
    call.conductor().check_driver(&mut node, &explicit).await?;
    if !group.is_empty() {
        served(call, &node.driver, &group).await?;
    }
    Ok(node)
}

/// Refuses a conductor group in which no conductor knows the node's driver.
///
/// # Errors
/// 400
pub async fn served(call: &Call, driver: &str, group: &str) -> Result<(), ApiFault> {
    let now = Timestamp::now();
    let able = call.store().conductors().await?.iter().any(|c| {
        c.expires_at > now
            && c.conductor_group.eq_ignore_ascii_case(group)
            && c.catalogue.get(driver).is_some()
    });
    if able {
        return Ok(());
    }
    Err(ApiFault::invalid(format!(
        "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor group \"{group}\". Ensure the driver is valid and enabled."
    )))
}

/// Sets a member that needs nothing but its value; the schema has seen to its type.
pub fn assign(node: &mut Node, key: &str, value: Value) {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    let map = |value: Value| match value {
        Value::Object(map) => map,
        _ => Object::new(),
    };
    match key {
        "automated_clean" => node.automated_clean = value.as_bool(),
        "boot_mode" => node.boot_mode = text(value),
        "conductor_group" => {
            node.conductor_group = text(value).unwrap_or_default().to_lowercase();
        }
        "console_enabled" => node.console_enabled = value.as_bool().unwrap_or(false),
        "description" => node.description = text(value),
        "disable_power_off" => node.disable_power_off = value.as_bool().unwrap_or(false),
        "driver" => node.driver = text(value).unwrap_or_default(),
        "driver_info" => node.driver_info = map(value),
        "extra" => node.extra = map(value),
        "instance_info" => node.instance_info = map(value),
        "instance_name" => node.instance_name = text(value),
        "instance_uuid" => node.instance_uuid = text(value),
        "lessee" => node.lessee = text(value),
        "maintenance" => node.maintenance = value.as_bool().unwrap_or(false),
        "name" => node.name = text(value),
        "network_data" => node.network_data = map(value),
        "owner" => node.owner = text(value),
        "properties" => node.properties = map(value),
        "protected" => node.protected = value.as_bool().unwrap_or(false),
        "protected_reason" => node.protected_reason = text(value),
        "resource_class" => node.resource_class = text(value),
        "retired" => node.retired = value.as_bool().unwrap_or(false),
        "retired_reason" => node.retired_reason = text(value),
        "secure_boot" => node.secure_boot = value.as_bool(),
        "shard" => node.shard = text(value),
        other => {
            if let Some(kind) = InterfaceKind::ALL.into_iter().find(|k| k.field() == other) {
                node.interfaces.set(kind, text(value));
            }
        }
    }
}

/// # Errors
/// 400 when there is no such chassis.
pub async fn existing_chassis(call: &Call, text: &str) -> Result<ChassisId, ApiFault> {
    let missing = || ApiFault::invalid(format!("Chassis {text} could not be found."));
    let id: ChassisId = text.parse().map_err(|_| missing())?;
    call.store().get_chassis(id).await?.ok_or_else(missing)?;
    Ok(id)
}

/// The node that is to be the parent of another.
///
/// # Errors
/// 400, deliberately without the reason: who may not see a node shall not learn of it.
pub async fn parent_of(
    call: &Call,
    owner: Option<&str>,
    child: NodeId,
    ident: &str,
) -> Result<NodeId, ApiFault> {
    let refused = || {
        ApiFault::invalid(format!(
            "Unable to apply the requested parent_node '{ident}'. Requested value was invalid."
        ))
    };
    let parent = call
        .node_by_ident(ident)
        .await
        .map_err(|fault| match fault.status {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => refused(),
            _ => fault,
        })?;
    call.see_node(ident, &Ownership::of(&parent))
        .map_err(|_| refused())?;
    if parent.id == child || parent.owner.as_deref() != owner {
        return Err(refused());
    }
    Ok(parent.id)
}
