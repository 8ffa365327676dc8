//! `POST /v1/portgroups`, `PATCH` and `DELETE /v1/portgroups/{portgroup}`.

use bessemer_model::{
    Fault, MacAddress, Node, Object, Port, Portgroup, PortgroupId, ProvisionState, Timestamp,
    network,
};
use bessemer_store::{Page, PortFilter};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::auth::Ownership;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch::{self, Operation};
use crate::portgroups::{find, one};
use crate::ports_write::unlocked;
use crate::schema::{Convert, Schema, flag, is_logical_name, needed, object, short, text, uuid};
use crate::told;

const SCHEMA: Schema = Schema {
    members: &[
        text("address").and(Convert::Mac),
        short("category", 80),
        object("extra"),
        text("mode"),
        text("name"),
        needed("node_uuid").and(Convert::Uuid),
        short("physical_network", 64),
        object("properties"),
        flag("standalone_ports_supported"),
        uuid("uuid"),
    ],
    required: &["node_uuid"],
};

/// Root attributes that may be patched, in the order in which the refusal lists them.
const ALLOWED: [&str; 9] = [
    "address",
    "extra",
    "mode",
    "name",
    "node_uuid",
    "properties",
    "standalone_ports_supported",
    "physical_network",
    "category",
];

pub async fn create(call: Call) -> Outcome {
    let map = SCHEMA.check("portgroup", body::json(&call.body)?)?;
    let ident = map
        .get("node_uuid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = call.node_by_ident(ident).await;
    // asked before it is said whether there is such a node
    let whose = found.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_on_node("baremetal:portgroup:create", &whose)?;
    let node = found.map_err(|fault| match fault.status {
        // an error of the body, not of the path
        StatusCode::NOT_FOUND => fault.with_status(StatusCode::BAD_REQUEST),
        _ => fault,
    })?;
    let given = |name: &str| match map.get(name) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        _ => false,
    };
    if !call.at_least(26) && (given("mode") || given("properties")) {
        return Err(ApiFault::not_acceptable());
    }
    if let Some(name) = map.get("name").and_then(Value::as_str)
        && !name.is_empty()
        && !is_logical_name(name)
    {
        return Err(ApiFault::invalid(format!(
            "Cannot create portgroup with invalid name '{name}'"
        )));
    }
    standalone(&map)?;
    let id = match map.get("uuid").and_then(Value::as_str) {
        Some(text) => text
            .parse()
            .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))?,
        None => PortgroupId::random(),
    };
    let mut group = Portgroup {
        id,
        node: node.id,
        address: None,
        name: None,
        extra: Object::new(),
        internal_info: Object::new(),
        standalone_ports_supported: true,
        mode: call.config().default.default_portgroup_mode.clone(),
        properties: Object::new(),
        physical_network: None,
        category: None,
        dynamic_portgroup: false,
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut group, &map);
    told::created(&call, &group, &map, call.store().create_portgroup(&group)).await?;
    call.store()
        .add_timeline(node.id, call.event(format!("port group {id} added")))
        .await?;
    let location = call.url(&format!("portgroups/{id}"));
    Ok(Answer::json(&one(&call, &group, None)).created(location))
}

/// Null is no answer to whether ports work alone.
fn standalone(map: &Map<String, Value>) -> Result<(), ApiFault> {
    match map.get("standalone_ports_supported") {
        Some(Value::Null) => Err(ApiFault::invalid(
            "Schema error for portgroup: standalone_ports_supported must be true or false, not null",
        )),
        _ => Ok(()),
    }
}

/// Sets what the checked members say.
fn assign(group: &mut Portgroup, map: &Map<String, Value>) {
    for (key, value) in map {
        let text = || value.as_str().map(str::to_owned);
        let object = || value.as_object().cloned().unwrap_or_default();
        match key.as_str() {
            "address" => {
                group.address = value.as_str().and_then(|a| a.parse::<MacAddress>().ok());
            }
            "category" => group.category = text(),
            "extra" => group.extra = object(),
            "mode" => {
                if let Some(mode) = text().filter(|m| !m.is_empty()) {
                    group.mode = mode;
                }
            }
            "name" => group.name = text(),
            "physical_network" => group.physical_network = text(),
            "properties" => group.properties = object(),
            "standalone_ports_supported" => {
                group.standalone_ports_supported = value.as_bool().unwrap_or(true);
            }
            _ => {}
        }
    }
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let patch = json_patch::read(&call)?;
    let before = find(&call).await?;
    let touched = |path: &str| json_patch::touches(&patch, path);
    if !call.at_least(26) && (touched("/mode") || touched("/properties")) {
        return Err(ApiFault::not_acceptable());
    }
    json_patch::only(&patch, &ALLOWED)?;
    for name in json_patch::values(&patch, "/name") {
        let valid = match name {
            Value::Null => true,
            Value::String(name) => name.is_empty() || is_logical_name(name),
            _ => false,
        };
        if !valid {
            return Err(ApiFault::invalid(format!(
                "Portgroup {}: Cannot change name to invalid name '{}'",
                call.param("portgroup"),
                crate::schema::py_str(name)
            )));
        }
    }
    let old = call.node_by_ident(&before.node.to_string()).await?;
    let (node, group) = patched(&call, &old, &before, &patch).await?;
    rules(&call, &node, &before, &group).await?;
    told::updated(
        &call,
        &before,
        &group,
        call.store().update_portgroup(&group),
    )
    .await?;
    call.note(node.id, format!("port group {} patched", group.id))
        .await?;
    let after = call.store().get_portgroup(group.id).await?.unwrap_or(group);
    Ok(Answer::json(&one(&call, &after, None)))
}

async fn patched(
    call: &Call,
    old: &Node,
    before: &Portgroup,
    patch: &[Operation],
) -> Result<(Node, Portgroup), ApiFault> {
    let node = match json_patch::values(patch, "/node_uuid").first() {
        Some(value) => call.moved_to(old, &crate::schema::py_str(value)).await?,
        None => old.clone(),
    };
    let mut document = view_whole(before);
    json_patch::apply(&mut document, patch)?;
    document.insert("node_uuid".into(), node.id.to_string().into());
    if !document.contains_key("mode") {
        return Err(ApiFault::invalid(
            "'mode' is a mandatory attribute and can not be removed",
        ));
    }
    let document = SCHEMA.check("patch", Value::Object(document))?;
    standalone(&document)?;
    let mut group = before.clone();
    group.node = node.id;
    // what the patch has removed falls back to its default
    group.address = None;
    group.name = None;
    group.extra = Object::new();
    group.properties = Object::new();
    group.physical_network = None;
    group.category = None;
    group.standalone_ports_supported = true;
    assign(&mut group, &document);
    group.updated_at = Some(Timestamp::now());
    Ok((node, group))
}

/// The members that a patch may touch.
fn view_whole(group: &Portgroup) -> Map<String, Value> {
    let map = json!({
        "address": group.address,
        "extra": group.extra,
        "mode": group.mode,
        "name": group.name,
        "node_uuid": group.node,
        "properties": group.properties,
        "standalone_ports_supported": group.standalone_ports_supported,
        "physical_network": group.physical_network,
        "category": group.category,
    });
    match map {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

async fn rules(
    call: &Call,
    node: &Node,
    before: &Portgroup,
    group: &Portgroup,
) -> Result<(), ApiFault> {
    let state = node.provision_state;
    if state == ProvisionState::Inspecting && call.at_least(39) {
        return Err(ApiFault::conflict(format!(
            "Cannot update portgroup \"{}\" on node \"{}\" while it is in state \"{state}\".",
            group.id, node.id
        )));
    }
    unlocked(node)?;
    let changeable = matches!(
        state,
        ProvisionState::Enroll
            | ProvisionState::Inspecting
            | ProvisionState::InspectWait
            | ProvisionState::Manageable
    );
    if before.node != group.node && !changeable && !node.maintenance {
        return Err(ApiFault::conflict(format!(
            "Portgroup {} can not be associated to node {} unless the node is in a enroll, inspecting, inspect wait, manageable state or in maintenance mode. Current state is '{state}'.",
            group.id, node.id
        )));
    }
    if before.standalone_ports_supported
        && !group.standalone_ports_supported
        && network::keeps_vifs(node)
    {
        for port in ports_of(call, group).await? {
            if let Some(why) = network::stands_alone(&port, "is", "this") {
                return Err(Fault::conflict(format!(
                    "standalone_ports_supported can not be set to False, because the port group {} contains port with {why}",
                    group.id
                ))
                .into());
            }
        }
    }
    Ok(())
}

async fn ports_of(call: &Call, group: &Portgroup) -> Result<Vec<Port>, ApiFault> {
    let filter = PortFilter {
        portgroup: Some(group.id),
        ..PortFilter::default()
    };
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    Ok(call.store().list_ports(&filter, &page).await?)
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let group = find(&call).await?;
    let node = call.node_by_ident(&group.node.to_string()).await?;
    unlocked(&node)?;
    told::deleted(&call, &group, call.store().delete_portgroup(group.id)).await?;
    call.store()
        .add_timeline(
            node.id,
            call.event(format!("port group {} removed", group.id)),
        )
        .await?;
    Ok(Answer::no_content())
}
