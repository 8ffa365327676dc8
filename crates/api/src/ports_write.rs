//! `POST /v1/ports`, `PATCH` and `DELETE /v1/ports/{port}`.

use bessemer_model::{
    MacAddress, Node, Object, Port, PortId, Portgroup, ProvisionState, Timestamp, network,
};
use bessemer_store::StoreError;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::{self, Args};
use crate::auth::Ownership;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch::{self, Operation};
use crate::ports::{find, view};
use crate::schema::{Convert, Schema, Type, flag, needed, object, py_repr, short, text, uuid};
use crate::told;

const SCHEMA: Schema = Schema {
    members: &[
        needed("address").and(Convert::Mac),
        object("extra"),
        flag("is_smartnic"),
        object("local_link_connection").and(Convert::LocalLink),
        needed("node_ident"),
        needed("node_uuid").and(Convert::Uuid),
        short("physical_network", 64),
        uuid("portgroup_uuid"),
        flag("pxe_enabled"),
        uuid("uuid"),
        text("name"),
        short("description", 255),
        short("vendor", 32),
        short("category", 80),
        flag("available_for_dynamic_portgroup").only(&[Type::Boolean]),
    ],
    required: &["address"],
};

/// Root attributes that may be patched, in the order in which the refusal lists them.
const ALLOWED: [&str; 14] = [
    "address",
    "extra",
    "is_smartnic",
    "local_link_connection",
    "node_ident",
    "node_uuid",
    "physical_network",
    "portgroup_uuid",
    "pxe_enabled",
    "name",
    "description",
    "vendor",
    "category",
    "available_for_dynamic_portgroup",
];

/// Members that older versions refuse in a new port. `internal_info` cannot be given.
const GATED: &[(&str, u16)] = &[
    ("pxe_enabled", 19),
    ("local_link_connection", 19),
    ("portgroup_uuid", 24),
    ("physical_network", 34),
    ("is_smartnic", 53),
    ("name", 88),
    ("description", 97),
    ("vendor", 100),
    ("category", 101),
    ("available_for_dynamic_portgroup", 111),
];

pub async fn create(call: Call) -> Outcome {
    let map = SCHEMA.check("port", body::json(&call.body)?)?;
    let (by_ident, by_uuid) = (
        map.contains_key("node_ident"),
        map.contains_key("node_uuid"),
    );
    let shown = || py_repr(&Value::Object(map.clone()));
    match (by_ident, by_uuid) {
        (false, false) => {
            return Err(ApiFault::invalid(format!(
                "Schema error for port: {} is not valid under any of the given schemas. Possible root cause: 'node_ident' is a required property",
                shown()
            )));
        }
        (true, true) => {
            return Err(ApiFault::invalid(format!(
                "Schema error for port: {} is valid under each of {{'required': ['node_uuid']}}, {{'required': ['node_ident']}}",
                shown()
            )));
        }
        _ => {}
    }
    if by_ident && !call.at_least(94) {
        return Err(ApiFault::not_acceptable());
    }
    let ident = map
        .get("node_ident")
        .or_else(|| map.get("node_uuid"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = call.node_by_ident(ident).await;
    // asked before it is said whether there is such a node
    let whose = found.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_on_node("baremetal:port:create", &whose)?;
    let node = found.map_err(|fault| match fault.status {
        // an error of the body, not of the path
        StatusCode::NOT_FOUND => ApiFault::invalid(fault.text),
        _ => fault,
    })?;
    version_of_members(&call, &map)?;
    let group = portgroup(&call, &map).await?;
    if group.as_ref().is_some_and(|g| g.node != node.id) {
        return Err(ApiFault::invalid(
            "Port can not be added to a portgroup belonging to a different node.",
        ));
    }
    smart_nic(&map)?;
    network_name(map.get("physical_network"))?;
    if let Some(group) = &group
        && !group.standalone_ports_supported
        && map.get("pxe_enabled").and_then(Value::as_bool) == Some(true)
    {
        return Err(ApiFault::conflict(format!(
            "Port group {} doesn't support standalone ports. This port cannot be created as a member of that portgroup as the port's 'pxe_enabled' field was set to True.",
            group.id
        )));
    }
    unlocked(&node)?;
    let id = match map.get("uuid").and_then(Value::as_str) {
        Some(text) => text
            .parse()
            .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))?,
        None => PortId::random(),
    };
    let address = address_of(&map)?;
    let mut port = Port {
        id,
        node: node.id,
        address,
        name: None,
        description: None,
        extra: Object::new(),
        internal_info: Object::new(),
        local_link_connection: Object::new(),
        pxe_enabled: true,
        portgroup: group.map(|g| g.id),
        physical_network: None,
        is_smartnic: false,
        vendor: None,
        category: None,
        available_for_dynamic_portgroup: true,
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut port, &map);
    told::created(&call, &port, &map, call.store().create_port(&port))
        .await
        .map_err(of_the_body)?;
    call.store()
        .add_timeline(node.id, call.event(format!("port {address} added")))
        .await?;
    let location = call.url(&format!("ports/{id}"));
    Ok(Answer::json(&Value::Object(view(&call, &port, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let patch = json_patch::read(&call)?;
    json_patch::only(&patch, &ALLOWED)?;
    for (name, since) in [
        ("pxe_enabled", 19),
        ("local_link_connection", 19),
        ("portgroup_uuid", 24),
        ("physical_network", 34),
        ("is_smartnic", 53),
        ("local_link_connection/network_type", 64),
    ] {
        let path = format!("/{name}");
        let touched =
            !json_patch::values(&patch, &path).is_empty() || json_patch::removes(&patch, &path);
        if touched && !call.at_least(since) {
            return Err(ApiFault::not_acceptable());
        }
    }
    let before = find(&call).await?;
    let (node, port, group) = patched(&call, &before, &patch).await?;
    rules(&call, &node, &before, &port, &patch)?;
    if let Some(group) = &group {
        membership(&call, &node, &before, &port, group, &patch)?;
    }
    told::updated(&call, &before, &port, call.store().update_port(&port))
        .await
        .map_err(of_the_body)?;
    call.note(node.id, format!("port {} patched", port.address))
        .await?;
    let after = call.store().get_port(port.id).await?.unwrap_or(port);
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

async fn patched(
    call: &Call,
    before: &Port,
    patch: &[Operation],
) -> Result<(Node, Port, Option<Portgroup>), ApiFault> {
    let mut document = view_whole(before);
    json_patch::apply(&mut document, patch)?;
    let old = call.node_by_ident(&before.node.to_string()).await?;
    let node = match document.get("node_uuid").and_then(Value::as_str) {
        Some(text) if text != before.node.to_string() => call.moved_to(&old, text).await?,
        _ => old,
    };
    document.insert("node_uuid".into(), node.id.to_string().into());
    // before the members are checked: what is no UUID is no port group either
    let group = portgroup(call, &document).await?;
    let document = SCHEMA.check("patch", Value::Object(document))?;
    let mut port = before.clone();
    port.node = node.id;
    port.portgroup = group.as_ref().map(|g| g.id);
    port.address = address_of(&document)?;
    // what the patch has removed falls back to its default
    port.name = None;
    port.description = None;
    port.extra = Object::new();
    port.local_link_connection = Object::new();
    port.physical_network = None;
    port.vendor = None;
    port.category = None;
    assign(&mut port, &document);
    port.updated_at = Some(Timestamp::now());
    Ok((node, port, group))
}

/// The port group that the members name.
///
/// # Errors
/// 400 for one that does not exist: an error of the body, not of the path.
async fn portgroup(call: &Call, map: &Map<String, Value>) -> Result<Option<Portgroup>, ApiFault> {
    match map.get("portgroup_uuid").and_then(Value::as_str) {
        None | Some("") => Ok(None),
        Some(ident) => crate::portgroups::by_ident(call, ident)
            .await
            .map(Some)
            .map_err(|fault| fault.with_status(StatusCode::BAD_REQUEST)),
    }
}

/// What is gone in the meantime is an error of the body too.
fn of_the_body(error: StoreError) -> ApiFault {
    match error {
        StoreError::NotFound {
            what: "Portgroup" | "Node",
            ..
        } => ApiFault::invalid(error.to_string()),
        other => other.into(),
    }
}

/// What a port group asks of the ports in it.
fn membership(
    call: &Call,
    node: &Node,
    before: &Port,
    port: &Port,
    group: &Portgroup,
    patch: &[Operation],
) -> Result<(), ApiFault> {
    if call.at_least(102) && json_patch::touches(patch, "/physical_network") {
        return Err(ApiFault::invalid(
            "physical_network cannot be changed while the port belongs to a portgroup.",
        ));
    }
    let joins = before.pxe_enabled != port.pxe_enabled || before.portgroup != port.portgroup;
    if group.standalone_ports_supported
        || !network::keeps_vifs(node)
        || !(joins || network::tenant_vif(&port.internal_info).is_some())
    {
        return Ok(());
    }
    match network::stands_alone(port, "was", "the") {
        None => Ok(()),
        Some(why) => Err(ApiFault::conflict(format!(
            "Port group {} doesn't support standalone ports. This port {} cannot be  a member of that port group because of: {why}",
            group.id, port.id
        ))),
    }
}

/// The members that a patch may touch.
fn view_whole(port: &Port) -> Map<String, Value> {
    let map = json!({
        "address": port.address,
        "extra": port.extra,
        "is_smartnic": port.is_smartnic,
        "local_link_connection": port.local_link_connection,
        "node_uuid": port.node,
        "physical_network": port.physical_network,
        "portgroup_uuid": port.portgroup,
        "pxe_enabled": port.pxe_enabled,
        "name": port.name,
        "description": port.description,
        "vendor": port.vendor,
        "category": port.category,
        "available_for_dynamic_portgroup": port.available_for_dynamic_portgroup,
    });
    match map {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn rules(
    call: &Call,
    node: &Node,
    before: &Port,
    port: &Port,
    patch: &[Operation],
) -> Result<(), ApiFault> {
    let state = node.provision_state;
    if state == ProvisionState::Inspecting && call.at_least(39) {
        return Err(ApiFault::conflict(format!(
            "Cannot update port \"{}\" on \"{}\" while it is in state \"{state}\".",
            port.id, node.id
        )));
    }
    if json_patch::touches(patch, "/physical_network")
        && port.physical_network.as_deref() == Some("")
    {
        return Err(ApiFault::invalid(
            "A non-empty value is required when setting physical_network",
        ));
    }
    unlocked(node)?;
    if before.address != port.address
        && (state == ProvisionState::Active || node.instance_uuid.is_some())
        && !node.maintenance
    {
        return Err(ApiFault::conflict(format!(
            "Cannot update hardware address for port {} as node {} is active or has instance UUID assigned",
            port.id, node.id
        )));
    }
    let connectivity = before.pxe_enabled != port.pxe_enabled
        || before.portgroup != port.portgroup
        || before.local_link_connection != port.local_link_connection
        || before.physical_network != port.physical_network;
    let changeable = matches!(
        state,
        ProvisionState::Enroll
            | ProvisionState::Inspecting
            | ProvisionState::InspectWait
            | ProvisionState::Manageable
    );
    if connectivity && !changeable && !node.maintenance {
        return Err(ApiFault::conflict(format!(
            "Port {} can not have any connectivity attributes (portgroup_id, pxe_enabled, local_link_connection, physical_network) updated unless node {} is in a enroll, inspecting, inspect wait, manageable state or in maintenance mode. The current state is {state}.",
            port.id, node.id
        )));
    }
    Ok(())
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = call.param("port");
    let text = args::uuid("port_uuid", &Value::from(ident))?;
    let missing = || ApiFault::not_found(format!("Port {ident} could not be found."));
    let id: PortId = text.parse().map_err(|_| missing())?;
    let port = call.store().get_port(id).await?.ok_or_else(missing)?;
    let node = call.node_by_ident(&port.node.to_string()).await?;
    told::deleted(&call, &port, removed(&call, &node, &port)).await?;
    call.store()
        .add_timeline(
            node.id,
            call.event(format!("port {} removed", port.address)),
        )
        .await?;
    Ok(Answer::no_content())
}

async fn removed(call: &Call, node: &Node, port: &Port) -> Result<(), ApiFault> {
    unlocked(node)?;
    if network::keeps_vifs(node)
        && !node.maintenance
        && let Some(vif) = network::current_vif(&port.internal_info)
    {
        return Err(ApiFault::conflict(format!(
            "Cannot delete the port {} as it is bound to VIF {vif} for use.",
            port.id
        )));
    }
    Ok(call.store().delete_port(port.id).await?)
}

/// Ports, port groups and volumes of a node that is being worked on do not change.
pub fn unlocked(node: &Node) -> Result<(), ApiFault> {
    match &node.reservation {
        None => Ok(()),
        Some(holder) => Err(ApiFault::conflict(format!(
            "Node {} is locked by host {holder}, please retry after the current operation is completed.",
            node.id
        ))),
    }
}

fn version_of_members(call: &Call, map: &Map<String, Value>) -> Result<(), ApiFault> {
    let too_new = GATED
        .iter()
        .any(|(name, since)| map.contains_key(*name) && !call.at_least(*since));
    let network_type = map
        .get("local_link_connection")
        .is_some_and(|l| l.get("network_type").is_some());
    if too_new || (network_type && !call.at_least(64)) {
        return Err(ApiFault::not_acceptable());
    }
    Ok(())
}

fn network_name(value: Option<&Value>) -> Result<(), ApiFault> {
    if value.and_then(Value::as_str) == Some("") {
        return Err(ApiFault::invalid(
            "A non-empty value is required when setting physical_network",
        ));
    }
    Ok(())
}

fn smart_nic(map: &Map<String, Value>) -> Result<(), ApiFault> {
    if map.get("is_smartnic").and_then(Value::as_bool) != Some(true) {
        return Ok(());
    }
    match map.get("local_link_connection") {
        Some(Value::Object(link))
            if !(link.contains_key("port_id") && link.contains_key("hostname")) =>
        {
            Err(ApiFault::invalid(
                "Smart NIC port must have port_id and hostname in local_link_connection",
            ))
        }
        _ => Ok(()),
    }
}

fn address_of(map: &Map<String, Value>) -> Result<MacAddress, ApiFault> {
    args::mac("address", map.get("address").unwrap_or(&Value::Null))
}

/// Sets what the checked members say.
fn assign(port: &mut Port, map: &Map<String, Value>) {
    for (key, value) in map {
        let text = || value.as_str().map(str::to_owned);
        let object = || value.as_object().cloned().unwrap_or_default();
        match key.as_str() {
            "extra" => port.extra = object(),
            "local_link_connection" => port.local_link_connection = object(),
            "is_smartnic" => port.is_smartnic = value.as_bool().unwrap_or(false),
            "pxe_enabled" => port.pxe_enabled = value.as_bool().unwrap_or(true),
            "available_for_dynamic_portgroup" => {
                port.available_for_dynamic_portgroup = value.as_bool().unwrap_or(true);
            }
            "physical_network" => port.physical_network = text(),
            "name" => port.name = text(),
            "description" => port.description = text(),
            "vendor" => port.vendor = text(),
            "category" => port.category = text(),
            _ => {}
        }
    }
}

/// Checks where a port is plugged in, and brings the switch's id into its normal form.
///
/// # Errors
/// 400 for unknown, missing or malformed members.
pub fn check_local_link(value: &mut Value) -> Result<(), ApiFault> {
    let shown = py_repr(value);
    let wrong = |cause: String| {
        ApiFault::invalid(format!(
            "Schema error for local_link_connection: {shown} is not valid under any of the given schemas. Possible root cause: {cause}"
        ))
    };
    let Value::Object(map) = value else {
        return Ok(());
    };
    if map.is_empty() {
        return Ok(());
    }
    const KNOWN: [&str; 7] = [
        "switch_id",
        "port_id",
        "switch_info",
        "network_type",
        "hostname",
        "vtep-logical-switch",
        "vtep-physical-switch",
    ];
    if let Some(extra) = map.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(wrong(format!(
            "Additional properties are not allowed ('{extra}' was unexpected)"
        )));
    }
    if let Some(other) = map.values().find(|v| !v.is_string()) {
        return Err(wrong(format!("{} is not of type 'string'", py_repr(other))));
    }
    let network_type = map.get("network_type").and_then(Value::as_str);
    if let Some(kind) = network_type
        && !["managed", "unmanaged"].contains(&kind)
    {
        return Err(wrong(format!(
            "'{kind}' is not one of ['managed', 'unmanaged']"
        )));
    }
    let has = |keys: &[&str]| keys.iter().all(|k| map.contains_key(*k));
    let complete = has(&["port_id", "switch_id"])
        || has(&["port_id", "hostname"])
        || has(&["port_id", "vtep-logical-switch", "vtep-physical-switch"])
        || network_type == Some("unmanaged");
    if !complete {
        let missing = if map.contains_key("port_id") {
            "switch_id"
        } else {
            "port_id"
        };
        return Err(wrong(format!("'{missing}' is a required property")));
    }
    if let Some(Value::String(id)) = map.get_mut("switch_id") {
        let normal = match id.parse::<MacAddress>() {
            Ok(mac) => Some(mac.to_string()),
            Err(_) => datapath_id(id),
        };
        *id = normal.ok_or_else(|| {
            ApiFault::invalid(format!(
                "Expected a MAC address or OpenFlow datapath ID but received {id}."
            ))
        })?;
    }
    Ok(())
}

/// Sixteen hexadecimal digits, plain or in pairs with colons.
fn datapath_id(text: &str) -> Option<String> {
    let digits = text.replace(':', "");
    let paired = !text.contains(':') || text.split(':').all(|pair| pair.len() == 2);
    (digits.len() == 16 && paired && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}
