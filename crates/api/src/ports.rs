//! `GET /v1/ports`, `/v1/ports/detail`, `/v1/ports/{port}`, and the ports of a node.

use bessemer_model::{NodeId, Port, PortgroupId};
use bessemer_store::PortFilter;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::paging::{self, Paging, shown};
use crate::portgroups;
use crate::schema::is_logical_name;
use crate::versions::PORT_FIELDS;

const UNSORTABLE: [&str; 3] = ["extra", "internal_info", "local_link_connection"];
const LIST: [&str; 2] = ["uuid", "address"];
const FILTERS: [&str; 7] = [
    "node",
    "node_uuid",
    "address",
    "portgroup",
    "shard",
    "description_contains",
    "conductor_groups",
];

/// What the path narrows a list to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Everything,
    Node(NodeId),
    Portgroup(PortgroupId),
}

pub async fn list(call: Call) -> Outcome {
    collection(&call, Below::Everything, false).await
}

pub async fn detail(call: Call) -> Outcome {
    collection(&call, Below::Everything, true).await
}

pub async fn list_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    collection(&call, Below::Node(node), false).await
}

pub async fn detail_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    collection(&call, Below::Node(node), true).await
}

pub async fn list_of_portgroup(call: Call) -> Outcome {
    let group = portgroups::seen(&call).await?.id;
    collection(&call, Below::Portgroup(group), false).await
}

pub async fn detail_of_portgroup(call: Call) -> Outcome {
    let group = portgroups::seen(&call).await?.id;
    collection(&call, Below::Portgroup(group), true).await
}

/// `GET /v1/nodes/{ident}/portgroups/{portgroup}/ports`
pub async fn list_of_portgroup_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    let group = portgroups::seen(&call).await?;
    if group.node != node {
        return Err(ApiFault::not_found(format!(
            "Portgroup {} could not be found.",
            call.param("portgroup")
        )));
    }
    collection(&call, Below::Portgroup(group.id), false).await
}

/// `GET /v1/ports/{port}`
pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    let port = find(&call).await?;
    if let Some(fields) = &fields {
        if !call.at_least(8) {
            return Err(ApiFault::not_acceptable());
        }
        fields_of_version(&call, fields)?;
    }
    Ok(Answer::json(&Value::Object(view(
        &call,
        &port,
        fields.as_deref(),
    ))))
}

/// The port that the path names.
///
/// # Errors
/// 400 for what can be neither name nor UUID, 404.
pub async fn find(call: &Call) -> Result<Port, ApiFault> {
    let ident = call.param("port");
    if uuid::Uuid::parse_str(ident).is_err() && !is_logical_name(ident) {
        return Err(ApiFault::invalid(format!(
            "Expected UUID or name for port_ident: {ident}"
        )));
    }
    call.store()
        .find_port(ident)
        .await?
        .ok_or_else(|| ApiFault::not_found(format!("Port {ident} could not be found.")))
}

/// Refuses names of fields that do not exist, or not yet at this version.
fn fields_of_version(call: &Call, fields: &[String]) -> Result<(), ApiFault> {
    let since = |name: &String| {
        PORT_FIELDS
            .iter()
            .find(|(f, _)| f == name)
            .map(|(_, since)| *since)
    };
    // internal_info was never refused
    if fields
        .iter()
        .any(|f| f != "internal_info" && since(f).is_some_and(|s| !call.at_least(s)))
    {
        return Err(ApiFault::not_acceptable());
    }
    let unknown: Vec<&str> = fields
        .iter()
        .filter(|f| since(f).is_none())
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(ApiFault::invalid(format!(
            "Field(s) \"{}\" are not valid",
            unknown.join(", ")
        )))
    }
}

async fn collection(call: &Call, below: Below, whole: bool) -> Outcome {
    let mut known: Vec<&str> = FILTERS.iter().chain(&paging::ARGUMENTS).copied().collect();
    if !whole {
        known.extend(["fields", "detail"]);
    }
    let args = Args::of_query(call, &known)?;
    let project = call.list_project("port", None)?;
    let address = args.mac("address")?;
    let (by_uuid, by_ident) = (args.uuid("node_uuid")?, args.uuid_or_name("node")?);
    let paging = Paging::read(call, &args, "id", &UNSORTABLE)?;
    if let Some(fields) = args.list("fields")? {
        if !call.at_least(8) {
            return Err(ApiFault::not_acceptable());
        }
        fields_of_version(call, &fields)?;
    }
    if PORT_FIELDS
        .iter()
        .any(|(f, since)| *f == paging.sort_key && !call.at_least(*since))
    {
        return Err(ApiFault::not_acceptable());
    }
    let by_group = args.uuid_or_name("portgroup")?;
    if by_group.is_some() && !call.at_least(24) {
        return Err(ApiFault::not_acceptable());
    }
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let (shards, groups) = (args.list("shard")?, args.list("conductor_groups")?);
    if shards.is_some() && !call.at_least(82) {
        return Err(ApiFault::needs_version(82));
    }
    let description_contains = args
        .string("description_contains")?
        .filter(|t| !t.is_empty());
    if let (None, Some(ident)) = (&by_uuid, &by_ident)
        && !call.at_least(5)
        && uuid::Uuid::parse_str(ident).is_err()
    {
        return Err(ApiFault::not_acceptable());
    }
    let (names, detail) = if whole {
        (None, None)
    } else {
        paging::wanted_fields(call, &args, &LIST)?
    };
    let by_node = by_uuid.or(by_ident);
    let (on_node, on_group) = (
        matches!(below, Below::Node(_)) || by_node.is_some(),
        matches!(below, Below::Portgroup(_)) || by_group.is_some(),
    );
    let exclusive = [on_node, on_group, given(&shards)];
    if exclusive.iter().filter(|f| **f).count() > 1 {
        return Err(ApiFault::new(
            StatusCode::FORBIDDEN,
            "Operation not permitted.",
        ));
    }
    if given(&groups) && (on_node || on_group || address.is_some()) {
        return Err(ApiFault::invalid(
            "Filtering by conductor_groups cannot be combined with node_ident, portgroup_ident, or node address filters.",
        ));
    }
    let portgroup = match (below, by_group) {
        (Below::Portgroup(id), _) => Some(id),
        (_, Some(ident)) => Some(portgroups::by_ident(call, &ident).await?.id),
        (_, None) => None,
    };
    let node = match (below, by_node) {
        (Below::Node(id), _) => Some(id),
        (_, Some(ident)) => Some(call.node_by_ident(&ident).await?.id),
        (_, None) => None,
    };
    let filter = PortFilter {
        node,
        address,
        portgroup,
        description_contains,
        shards: shards.filter(|l| !l.is_empty()),
        conductor_groups: groups.filter(|l| !l.is_empty()),
        project,
    };
    let ports = call
        .store()
        .list_ports(&filter, &paging.page())
        .await
        .map_err(|error| paging::list_fault("Port", error))?;
    let items: Vec<Value> = ports
        .iter()
        .map(|port| Value::Object(view(call, port, names.as_deref())))
        .collect();
    let mut body = Map::new();
    body.insert("ports".into(), items.into());
    let mut kept: Vec<(&str, String)> = Vec::new();
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(names) = &names {
        kept.push(("fields", names.join(",")));
    }
    let path = if whole { "ports/detail" } else { "ports" };
    let last = ports.last().map(|p| p.id.to_string());
    if let Some(next) = paging.next(call, path, ports.len(), last.as_deref(), &kept) {
        body.insert("next".into(), next.into());
    }
    Ok(Answer::json(&Value::Object(body)))
}

/// The representation of a port: what the version shows, cut down to `fields` and links.
pub fn view(call: &Call, port: &Port, fields: Option<&[String]>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, since) in PORT_FIELDS {
        let wanted = match fields {
            None => true,
            Some(fields) => *name == "links" || fields.iter().any(|f| f == name),
        };
        if !wanted || !call.at_least(*since) {
            continue;
        }
        let value = match *name {
            "uuid" => port.id.to_string().into(),
            "created_at" => port.created_at.to_string().into(),
            "updated_at" => port.updated_at.map(|t| t.to_string()).into(),
            "address" => port.address.to_string().into(),
            "extra" => json!(port.extra),
            "internal_info" => json!(port.internal_info),
            "is_smartnic" => port.is_smartnic.into(),
            "local_link_connection" => json!(port.local_link_connection),
            "physical_network" => port.physical_network.clone().into(),
            "pxe_enabled" => port.pxe_enabled.into(),
            "node_uuid" => port.node.to_string().into(),
            "name" => port.name.clone().into(),
            "description" => port.description.clone().into(),
            "vendor" => port.vendor.clone().into(),
            "category" => port.category.clone().into(),
            "available_for_dynamic_portgroup" => port.available_for_dynamic_portgroup.into(),
            "links" => call.links(&format!("ports/{}", port.id)),
            _ => port.portgroup.map(|p| p.to_string()).into(),
        };
        map.insert((*name).to_owned(), value);
    }
    map
}
