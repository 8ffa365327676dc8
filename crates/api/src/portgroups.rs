//! `GET /v1/portgroups`, `/v1/portgroups/detail`, `/v1/portgroups/{portgroup}`, and the port groups of a node.

use bessemer_model::{NodeId, Portgroup};
use bessemer_store::PortgroupFilter;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::auth::Ownership;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::paging::{self, shown};
use crate::query;
use crate::schema::is_logical_name;
use crate::versions::PORTGROUP_FIELDS;

const UNSORTABLE: [&str; 3] = ["extra", "internal_info", "properties"];
const LIST: [&str; 3] = ["uuid", "address", "name"];
const FILTERS: [&str; 4] = ["node", "address", "shard", "conductor_groups"];
/// As the refusal of an unknown one lists them.
const FIELDS: [&str; 16] = [
    "address",
    "category",
    "created_at",
    "dynamic_portgroup",
    "extra",
    "internal_info",
    "links",
    "mode",
    "name",
    "node_uuid",
    "physical_network",
    "ports",
    "properties",
    "standalone_ports_supported",
    "updated_at",
    "uuid",
];

pub async fn list(call: Call) -> Outcome {
    collection(&call, None, false).await
}

pub async fn detail(call: Call) -> Outcome {
    collection(&call, None, true).await
}

pub async fn list_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    collection(&call, Some(node), false).await
}

pub async fn detail_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    collection(&call, Some(node), true).await
}

/// `GET /v1/portgroups/{portgroup}`
pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = query::fields(&args, &FIELDS)?;
    let group = find(&call).await?;
    of_version(&call, fields.iter().flatten())?;
    Ok(Answer::json(&one(&call, &group, fields.as_deref())))
}

/// The port group that the path names.
///
/// # Errors
/// 400 for what can be neither name nor UUID, 404.
pub async fn find(call: &Call) -> Result<Portgroup, ApiFault> {
    let ident = call.param("portgroup");
    if uuid::Uuid::parse_str(ident).is_err() && !is_logical_name(ident) {
        return Err(ApiFault::unrouted(
            StatusCode::BAD_REQUEST,
            format!("Expected UUID or name for portgroup: {ident}"),
        ));
    }
    by_ident(call, ident).await
}

/// The port group that the path names, when the caller may see it.
///
/// # Errors
/// As [`find`]; 403 that names the policy.
pub async fn seen(call: &Call) -> Result<Portgroup, ApiFault> {
    let group = find(call).await?;
    authorize(call, "baremetal:portgroup:get", &group).await?;
    Ok(group)
}

/// Asks for a policy of a port group, which is a part of its node.
///
/// # Errors
/// 404, 403 that names the policy.
pub async fn authorize(call: &Call, policy: &str, group: &Portgroup) -> Result<(), ApiFault> {
    if !call.policed() {
        return Ok(());
    }
    let node = call.store().get_node(group.node).await?;
    let whose = node.as_ref().map(Ownership::of).unwrap_or_default();
    call.authorize_part(policy, &whose, || {
        ApiFault::not_found(format!(
            "Portgroup {} could not be found.",
            call.param("portgroup")
        ))
    })
}

/// # Errors
/// 404
pub async fn by_ident(call: &Call, ident: &str) -> Result<Portgroup, ApiFault> {
    let mut found = call.store().find_portgroup(ident).await?;
    if found.is_none() && call.json_suffix {
        found = call
            .store()
            .find_portgroup(&format!("{ident}.json"))
            .await?;
    }
    found.ok_or_else(|| ApiFault::not_found(format!("Portgroup {ident} could not be found.")))
}

/// Refuses names of fields that are refused before their version; the others are only hidden, and that only in
/// single answers.
fn of_version<'f>(call: &Call, names: impl Iterator<Item = &'f String>) -> Result<(), ApiFault> {
    for name in names {
        let refused = matches!(name.as_str(), "mode" | "properties" | "dynamic_portgroup");
        let since = PORTGROUP_FIELDS
            .iter()
            .find(|(f, _)| f == name)
            .map_or(1, |(_, since)| *since);
        if refused && !call.at_least(since) {
            return Err(ApiFault::not_acceptable());
        }
    }
    Ok(())
}

async fn collection(call: &Call, of_node: Option<NodeId>, whole: bool) -> Outcome {
    let project = call.list_project("portgroup", None)?;
    let mut known: Vec<&str> = FILTERS.iter().chain(&paging::ARGUMENTS).copied().collect();
    if !whole {
        known.extend(["fields", "detail"]);
    }
    let args = Args::of_query(call, &known)?;
    let (shards, groups) = (args.list("shard")?, args.list("conductor_groups")?);
    args.boolean("detail")?;
    args.integer("limit")?;
    let address = query::mac(&args, "address")?;
    query::fields(&args, &FIELDS)?;
    let by_ident = query::uuid_or_name(&args, "node")?;
    let paging = query::paging(call, &args, &[])?;
    if shards.is_some() && !call.at_least(106) {
        return Err(ApiFault::needs_version(106));
    }
    of_version(call, args.list("fields")?.iter().flatten())?;
    of_version(call, std::iter::once(&paging.sort_key))?;
    let (names, detail) = if whole {
        (None, None)
    } else {
        paging::wanted_fields(call, &args, &LIST)?
    };
    if UNSORTABLE.contains(&paging.sort_key.as_str()) {
        return Err(paging::unsortable_fault(&paging.sort_key));
    }
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let exclusive = [
        of_node.is_some() || by_ident.is_some(),
        address.is_some(),
        given(&shards),
        given(&groups),
    ];
    if exclusive.iter().filter(|f| **f).count() > 1 {
        return Err(ApiFault::invalid(
            "Filtering by node, address, or shard simultaneously is not supported.",
        ));
    }
    let node = match (of_node, by_ident) {
        (Some(id), _) => Some(id),
        (None, Some(ident)) => Some(call.node_by_ident(&ident).await?.id),
        (None, None) => None,
    };
    let filter = PortgroupFilter {
        node,
        address,
        shards: shards.filter(|l| !l.is_empty()),
        conductor_groups: groups.filter(|l| !l.is_empty()),
        project,
    };
    let rows = call
        .store()
        .list_portgroups(&filter, &paging.page())
        .await
        .map_err(|error| paging::list_fault("Portgroup", error))?;
    let items: Vec<Value> = rows
        .iter()
        .map(|group| {
            let mut map = view(call, group);
            cut(&mut map, names.as_deref());
            Value::Object(map)
        })
        .collect();
    let mut body = Map::new();
    body.insert("portgroups".into(), items.into());
    let mut kept: Vec<(&str, String)> = Vec::new();
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(names) = &names {
        kept.push(("fields", names.join(",")));
    }
    let path = if whole {
        "portgroups/detail"
    } else {
        "portgroups"
    };
    let last = rows.last().map(|g| g.id.to_string());
    if let Some(next) = paging.next(call, path, rows.len(), last.as_deref(), &kept) {
        body.insert("next".into(), next.into());
    }
    Ok(Answer::json(&Value::Object(body)))
}

fn cut(map: &mut Map<String, Value>, fields: Option<&[String]>) {
    if let Some(fields) = fields {
        map.retain(|key, _| key == "links" || fields.contains(key));
    }
}

/// One port group: what the version shows, cut down to `fields` and links.
pub fn one(call: &Call, group: &Portgroup, fields: Option<&[String]>) -> Value {
    let mut map = view(call, group);
    for (name, since) in PORTGROUP_FIELDS {
        if !call.at_least(*since) {
            map.shift_remove(*name);
        }
    }
    cut(&mut map, fields);
    Value::Object(map)
}

/// Everything, at every version: lists do not hide newer fields.
fn view(call: &Call, group: &Portgroup) -> Map<String, Value> {
    let path = format!("portgroups/{}", group.id);
    let whole = json!({
        "uuid": group.id,
        "created_at": group.created_at,
        "updated_at": group.updated_at,
        "address": group.address,
        "extra": group.extra,
        "internal_info": group.internal_info,
        "mode": group.mode,
        "name": group.name,
        "properties": group.properties,
        "standalone_ports_supported": group.standalone_ports_supported,
        "node_uuid": group.node,
        "physical_network": group.physical_network,
        "category": group.category,
        "dynamic_portgroup": group.dynamic_portgroup,
        "links": call.links(&path),
        "ports": call.links(&format!("{path}/ports")),
    });
    match whole {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
