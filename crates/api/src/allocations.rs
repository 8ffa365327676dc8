//! `/v1/allocations`, and the allocation of a node.

use std::sync::{Arc, LazyLock};

use bessemer_model::notification::Told;
use bessemer_model::{Allocation, AllocationId, AllocationState, Node, Timestamp};
use bessemer_store::{AllocationFilter, Backfill, Page};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::auth::Ownership;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::json_schema::{self, TRAIT, UUID_OR_NAME};
use crate::listing;
use crate::paging::{self, Paging};
use crate::schema::is_logical_name;
use crate::told;

/// The version in which allocations got an owner.
const OWNER_SINCE: u16 = 60;
/// The version in which nodes that are in use could be entered.
const NODE_SINCE: u16 = 58;

/// What one query of the database can compare with.
const MOST_CANDIDATES: usize = 10_000;

const ALLOWED: [&str; 2] = ["name", "extra"];
const FIELDS: [&str; 13] = [
    "candidate_nodes",
    "created_at",
    "extra",
    "last_error",
    "links",
    "name",
    "node_uuid",
    "resource_class",
    "state",
    "traits",
    "updated_at",
    "uuid",
    "owner",
];
const ARGUMENTS: [&str; 9] = [
    "fields",
    "limit",
    "marker",
    "node",
    "owner",
    "resource_class",
    "sort_dir",
    "sort_key",
    "state",
];
/// Columns that hold JSON.
const UNSORTABLE: [&str; 3] = ["extra", "candidate_nodes", "traits"];

/// The fields that this version shows.
fn known(call: &Call) -> &'static [&'static str] {
    let newer = usize::from(!call.at_least(OWNER_SINCE));
    FIELDS
        .get(..FIELDS.len().saturating_sub(newer))
        .unwrap_or(&FIELDS)
}

fn fields_schema(call: &Call) -> Value {
    json!({"type": "array", "items": {"enum": known(call)}})
}

fn query_schema(call: &Call) -> Value {
    json!({
        "type": "object",
        "properties": {
            "fields": fields_schema(call),
            "marker": {"type": "string", "format": "uuid"},
            "node": &*UUID_OR_NAME,
            "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
        },
    })
}

static BODY: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "candidate_nodes": {"type": ["array", "null"], "items": &*UUID_OR_NAME},
            "extra": {"type": ["object", "null"]},
            "name": {"type": ["string", "null"]},
            "owner": {"type": ["string", "null"]},
            "resource_class": {"type": ["string", "null"], "maxLength": 80},
            "traits": {"type": ["array", "null"], "items": &*TRAIT},
            "uuid": {"type": ["string", "null"]},
        },
        "required": [],
        "additionalProperties": false,
    })
});

static BODY_WITH_NODE: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = BODY.clone();
    if let Some(properties) = schema.get_mut("properties") {
        properties["node"] = json!({"type": ["string", "null"]});
    }
    schema
});

static PATCH: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "op": {"enum": ["add", "replace", "remove"]},
                "path": {"type": "string"},
                "value": {"type": ["string", "object", "null", "integer", "boolean"]},
            },
            "required": ["op", "path"],
            "additionalProperties": false,
        },
    })
});

static PATCHED: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "extra": {"type": ["object", "null"]},
            "name": {"type": ["string", "null"]},
        },
        "additionalProperties": false,
    })
});

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &ARGUMENTS)?;
    json_schema::check(
        "",
        &query_schema(&call),
        &listing::query(&args, &ARGUMENTS)?,
    )?;
    let owner = args.string("owner")?;
    let project = call.list_project("allocation", owner.as_deref())?;
    if owner.is_some() && !call.at_least(OWNER_SINCE) {
        return Err(ApiFault::not_acceptable());
    }
    let marker = args.string("marker")?;
    let paging = Paging::read_with(&call, &args, "id", &UNSORTABLE, marker)?;
    let node = match args.string("node")? {
        None => None,
        Some(ident) => Some(node_of(&call, &ident).await?.id),
    };
    let filter = AllocationFilter {
        node,
        resource_class: args.string("resource_class")?,
        state: args.string("state")?,
        owner: project,
    };
    let rows = call
        .store()
        .list_allocations(&filter, &paging.page())
        .await
        .map_err(|error| paging::list_fault("Allocation", error))?;
    let fields = args.list("fields")?;
    let items = rows
        .iter()
        .map(|row| view(&call, row, fields.as_deref()))
        .collect();
    let last = rows.last().map(|row| row.id.to_string());
    Ok(listing::page(
        &call,
        "allocations",
        &paging,
        items,
        last,
        None,
        fields.as_deref(),
    ))
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    if let Some(fields) = &fields {
        json_schema::check("", &fields_schema(&call), &json!(fields))?;
    }
    let allocation = found(&call, "baremetal:allocation:get").await?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &allocation,
        fields.as_deref(),
    ))))
}

pub async fn create(call: Call) -> Outcome {
    let schema = if call.at_least(NODE_SINCE) {
        &*BODY_WITH_NODE
    } else {
        &*BODY
    };
    let body = body::json(&call.body)?;
    json_schema::check("", schema, &body)?;
    let Value::Object(map) = body else {
        return Err(ApiFault::invalid("An allocation is a JSON object."));
    };
    let mut owner = listing::text(&map, "owner");
    let may = call.authorize("baremetal:allocation:create");
    if map.contains_key("owner") && !call.at_least(OWNER_SINCE) {
        return Err(ApiFault::not_acceptable());
    }
    if let Err(refused) = may {
        let own = call.caller.project_id.as_deref();
        if own.is_some() && owner.is_some() && owner.as_deref() != own {
            return Err(refused);
        }
        call.authorize("baremetal:allocation:create_restricted")?;
        owner = own.map(str::to_owned);
    }
    let name = listing::text(&map, "name");
    if let Some(name) = name.as_deref().filter(|n| !n.is_empty())
        && !is_logical_name(name)
    {
        return Err(ApiFault::invalid(format!(
            "Cannot create allocation with invalid name '{name}'"
        )));
    }
    let restricted = call.of_project() && !call.may("baremetal:allocation:create_restricted");
    if call.of_project() {
        let own = call.caller.project_id.clone();
        match &owner {
            None => owner = own,
            Some(given) if restricted && Some(given) != own.as_ref() => {
                return Err(ApiFault::new(
                    StatusCode::FORBIDDEN,
                    format!(
                        "Cannot create allocation with an owner Project ID value {given} not matching the requester Project ID {}. Policy baremetal:allocation:create_restricted is required for this capability.",
                        own.as_deref().unwrap_or("None")
                    ),
                ));
            }
            Some(_) => {}
        }
    }
    let node = match listing::text(&map, "node").filter(|n| !n.is_empty()) {
        None => None,
        Some(ident) => Some(node_of(&call, &ident).await?),
    };
    let resource_class = match (
        listing::text(&map, "resource_class").filter(|c| !c.is_empty()),
        &node,
    ) {
        (Some(class), _) => Some(class),
        (None, Some(node)) => node.resource_class.clone(),
        (None, None) => {
            return Err(ApiFault::invalid(
                "The resource_class field is mandatory when not backfilling",
            ));
        }
    };
    let candidate_nodes =
        candidates(&call, &listing::texts(&map, "candidate_nodes"), restricted).await?;
    let given = map
        .get("uuid")
        .is_some_and(|u| u.as_str() != Some("") && !u.is_null());
    let of_node = node
        .as_ref()
        .filter(|_| !given)
        .and_then(|node| node.instance_uuid.as_deref())
        .and_then(|uuid| uuid::Uuid::parse_str(uuid).ok());
    let id = match of_node {
        Some(uuid) => uuid,
        None => listing::new_id(&map)?,
    };
    let allocation = Allocation {
        id: AllocationId(id),
        name,
        node: None,
        state: AllocationState::Allocating,
        owner,
        last_error: None,
        resource_class,
        traits: listing::texts(&map, "traits"),
        candidate_nodes,
        extra: listing::object(&map, "extra"),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    let location = call.url(&format!("allocations/{}", allocation.id));
    let shown = match node {
        None => {
            let write = call.store().create_allocation(&allocation);
            told::created(&call, &allocation, &map, write).await?;
            call.conductor().allocate(allocation.id).await?;
            allocation
        }
        Some(node) => {
            let write = async {
                match call
                    .store()
                    .backfill_allocation(&allocation, node.id)
                    .await?
                {
                    Backfill::Active(allocation) => Ok(allocation),
                    Backfill::Failed(_, error) => Err(ApiFault::from(error)),
                }
            };
            told::created(&call, &allocation, &map, write).await?
        }
    };
    Ok(Answer::json(&Value::Object(view(&call, &shown, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    json_schema::check("", &PATCH, &body::json(&call.body)?)?;
    let patch = json_patch::read(&call)?;
    let before = found(&call, "baremetal:allocation:update").await?;
    let id = before.id;
    json_patch::only(&patch, &ALLOWED)?;
    for name in json_patch::values(&patch, "/name") {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty())
            && !is_logical_name(name)
        {
            return Err(ApiFault::invalid(format!(
                "Cannot update allocation with invalid name '{name}'"
            )));
        }
    }
    let mut wanted = before.clone();
    patched(&mut wanted, &patch)?;
    let write = call.store().update_allocation(
        id,
        Arc::new(move |allocation: &mut Allocation| {
            patched(allocation, &patch).map_err(ApiFault::into_fault)
        }),
    );
    let after = told::updated(&call, &before, &wanted, write).await?;
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

fn patched(allocation: &mut Allocation, patch: &[json_patch::Operation]) -> Result<(), ApiFault> {
    let Value::Object(mut document) = json!({
        "name": allocation.name,
        "extra": allocation.extra,
    }) else {
        return Ok(());
    };
    json_patch::apply(&mut document, patch)?;
    let document = Value::Object(document);
    json_schema::check("patch", &PATCHED, &document)?;
    if let Value::Object(document) = document {
        allocation.name = listing::text(&document, "name");
        allocation.extra = listing::object(&document, "extra");
    }
    Ok(())
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let allocation = found(&call, "baremetal:allocation:delete").await?;
    removed(&call, &allocation).await?;
    Ok(Answer::no_content())
}

async fn removed(call: &Call, allocation: &Allocation) -> Result<(), ApiFault> {
    let payload = || {
        allocation
            .payload()
            .with("node_uuid", json!(allocation.node))
    };
    let write = call.store().delete_allocation(allocation.id);
    Ok(told::deleted_as(call, Allocation::OBJECT, payload, write).await?)
}

/// `GET /v1/nodes/{ident}/allocation`
pub async fn get_of_node(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    let ident = call.param("ident");
    let node = node_of(&call, ident).await?;
    let allocation = of_node(&call, &node, "baremetal:allocation:get").await?;
    listing::known_fields(fields.as_deref(), &FIELDS)?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &allocation,
        fields.as_deref(),
    ))))
}

/// `DELETE /v1/nodes/{ident}/allocation`
pub async fn delete_of_node(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let allocation = of_node(&call, &node, "baremetal:allocation:delete").await?;
    let id = allocation.id;
    removed(&call, &allocation).await?;
    call.note(node.id, format!("allocation {id} deleted"))
        .await?;
    Ok(Answer::no_content())
}

async fn of_node(call: &Call, node: &Node, policy: &str) -> Result<Allocation, ApiFault> {
    let filter = AllocationFilter {
        node: Some(node.id),
        ..AllocationFilter::default()
    };
    let page = Page {
        limit: 1,
        ..Page::default()
    };
    let found = call.store().list_allocations(&filter, &page).await?;
    let missing = || {
        ApiFault::not_found(format!(
            "Allocation for node {} was not found",
            call.param("ident")
        ))
    };
    let allocation = found.into_iter().next().ok_or_else(missing)?;
    call.authorize_allocation(policy, allocation.owner.as_deref(), missing)?;
    Ok(allocation)
}

fn not_an_ident(ident: &str) -> ApiFault {
    ApiFault::invalid(format!(
        "Expected a logical name or UUID but received {ident}."
    ))
}

/// A node that the request names beside its path.
///
/// # Errors
/// 400 when there is none.
async fn node_of(call: &Call, ident: &str) -> Result<Node, ApiFault> {
    if uuid::Uuid::parse_str(ident).is_err() && !is_logical_name(ident) {
        return Err(not_an_ident(ident));
    }
    let seen = async {
        let node = call.node_by_ident(ident).await?;
        call.see_node(ident, &Ownership::of(&node))?;
        Ok(node)
    };
    seen.await.map_err(|fault: ApiFault| match fault.status {
        StatusCode::NOT_FOUND => fault.with_status(StatusCode::BAD_REQUEST),
        _ => fault,
    })
}

/// UUIDs of the nodes that the request names by UUID or name, in its order.
///
/// # Errors
/// 400 that names those which do not exist.
async fn candidates(
    call: &Call,
    idents: &[String],
    restricted: bool,
) -> Result<Vec<String>, ApiFault> {
    if idents.len() > MOST_CANDIDATES {
        return Err(ApiFault::invalid(format!(
            "An allocation can name {MOST_CANDIDATES} candidate_nodes at most, not {}.",
            idents.len()
        )));
    }
    let project = call.caller.project_id.as_deref().filter(|_| restricted);
    let known = call.store().node_ids(idents, project).await?;
    let missing: Vec<&str> = idents
        .iter()
        .map(String::as_str)
        .filter(|ident| !known.contains_key(*ident))
        .collect();
    if !missing.is_empty() {
        return Err(ApiFault::invalid(format!(
            "Nodes cannot be found: {}",
            missing.join(", ")
        )));
    }
    Ok(idents
        .iter()
        .filter_map(|ident| known.get(ident).map(ToString::to_string))
        .collect())
}

/// The allocation that the path names, when the policy lets the caller at it.
///
/// # Errors
/// 400 for what can be neither name nor UUID, 404, 403.
async fn found(call: &Call, policy: &str) -> Result<Allocation, ApiFault> {
    let ident = call.param("allocation");
    if uuid::Uuid::parse_str(ident).is_err() && !is_logical_name(ident) {
        return Err(not_an_ident(ident));
    }
    let mut found = call.store().find_allocation(ident).await?;
    if found.is_none() && call.json_suffix {
        let whole = format!("{ident}.json");
        found = call.store().find_allocation(&whole).await?;
    }
    let missing = || ApiFault::not_found(format!("Allocation {ident} could not be found."));
    let allocation = found.ok_or_else(missing)?;
    call.authorize_allocation(policy, allocation.owner.as_deref(), missing)?;
    Ok(allocation)
}

fn view(call: &Call, allocation: &Allocation, fields: Option<&[String]>) -> Map<String, Value> {
    let whole = json!({
        "uuid": allocation.id,
        "created_at": allocation.created_at,
        "updated_at": allocation.updated_at,
        "candidate_nodes": allocation.candidate_nodes,
        "extra": allocation.extra,
        "last_error": allocation.last_error,
        "name": allocation.name,
        "owner": allocation.owner,
        "resource_class": allocation.resource_class,
        "state": allocation.state,
        "traits": allocation.traits,
        "links": call.links(&format!("allocations/{}", allocation.id)),
        "node_uuid": allocation.node,
    });
    let Value::Object(mut map) = whole else {
        return Map::new();
    };
    if !call.at_least(OWNER_SINCE) {
        map.remove("owner");
    }
    listing::cut(map, fields)
}
