//! `/v1/volume/connectors`, `/v1/volume/connectors/{connector}` and the connectors of a node.

use bessemer_model::{NodeId, Object, Timestamp, VolumeConnector, VolumeConnectorId};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::paging;
use crate::schema::{Convert, Schema, needed, object, uuid};
use crate::told;
use crate::volume::{self, Kind, cut};

const KIND: Kind = Kind {
    name: "connectors",
    resource: "Volume connector",
    fields: &[
        "connector_id",
        "created_at",
        "extra",
        "links",
        "node_uuid",
        "type",
        "updated_at",
        "uuid",
    ],
    listed: &["uuid", "node_uuid", "type", "connector_id"],
    unsortable: &["extra"],
};

const SCHEMA: Schema = Schema {
    members: &[
        needed("connector_id").at_most(255),
        object("extra"),
        needed("node_uuid").and(Convert::Uuid),
        needed("type").at_most(32),
        uuid("uuid"),
    ],
    required: &["connector_id", "node_uuid", "type"],
};

const ALLOWED: [&str; 4] = ["connector_id", "extra", "node_uuid", "type"];

pub async fn list(call: Call) -> Outcome {
    collection(&call, None).await
}

pub async fn list_of_node(call: Call) -> Outcome {
    let node = call.node().await?.id;
    collection(&call, Some(node)).await
}

async fn collection(call: &Call, of_node: Option<NodeId>) -> Outcome {
    let wanted = KIND.wanted(call, of_node).await?;
    let rows = call
        .store()
        .list_volume_connectors(&wanted.filter, &wanted.paging.page())
        .await
        .map_err(|error| paging::list_fault(KIND.resource, error))?;
    let items = rows
        .iter()
        .map(|row| view(call, row, wanted.fields.as_deref()))
        .collect();
    let last = rows.last().map(|row| row.id.to_string());
    Ok(KIND.answer(call, &wanted, items, last))
}

pub async fn get(call: Call) -> Outcome {
    let id = volume::id(&call, "connector", "connector_uuid")?;
    let fields = KIND.fields_of_one(&call)?;
    let row = found(&call, id).await?;
    Ok(Answer::json(&view(&call, &row, fields.as_deref())))
}

fn missing(id: VolumeConnectorId) -> ApiFault {
    ApiFault::not_found(format!("Volume connector {id} could not be found."))
}

async fn found(call: &Call, id: VolumeConnectorId) -> Result<VolumeConnector, ApiFault> {
    call.store()
        .get_volume_connector(id)
        .await?
        .ok_or_else(|| missing(id))
}

/// Asks for the policy of the connector that the path names, as a part of its node.
///
/// # Errors
/// 400, 404, 403 that names the policy.
pub async fn guard(call: &Call, policy: &str) -> Result<(), ApiFault> {
    let id = volume::id(call, "connector", "connector_uuid")?;
    let row = found(call, id).await?;
    volume::authorize(call, policy, row.node, missing(id)).await
}

pub async fn create(call: Call) -> Outcome {
    let map = SCHEMA.check("connector", body::json(&call.body)?)?;
    let node = volume::node_of_body(&call, &map).await?;
    let mut row = VolumeConnector {
        id: match map.get("uuid").and_then(Value::as_str) {
            Some(text) => text
                .parse()
                .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))?,
            None => VolumeConnectorId::random(),
        },
        node: node.id,
        kind: String::new(),
        connector_id: String::new(),
        extra: Object::new(),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut row, &map);
    told::created(
        &call,
        &row,
        &map,
        call.store().create_volume_connector(&row),
    )
    .await?;
    call.store()
        .add_timeline(
            node.id,
            call.event(format!("volume connector {} added", row.id)),
        )
        .await?;
    let location = call.url(&format!("volume/connectors/{}", row.id));
    Ok(Answer::json(&view(&call, &row, None)).created(location))
}

/// Sets what the checked members say.
fn assign(row: &mut VolumeConnector, map: &Map<String, Value>) {
    let text = |name: &str| {
        map.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    row.kind = text("type");
    row.connector_id = text("connector_id");
    row.extra = map
        .get("extra")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = volume::id(&call, "connector", "connector_uuid")?;
    let patch = json_patch::read(&call)?;
    let mut row = found(&call, id).await?;
    let before = row.clone();
    json_patch::only(&patch, &ALLOWED)?;
    let node = volume::patched_node(&call, row.node, &patch).await?;
    let mut document = Map::new();
    document.insert("connector_id".into(), row.connector_id.clone().into());
    document.insert("extra".into(), Value::Object(row.extra.clone()));
    document.insert("node_uuid".into(), Value::Null);
    document.insert("type".into(), row.kind.clone().into());
    json_patch::apply(&mut document, &patch)?;
    document.insert("node_uuid".into(), node.id.to_string().into());
    let document = SCHEMA.check("patch", Value::Object(document))?;
    assign(&mut row, &document);
    row.node = node.id;
    row.updated_at = Some(Timestamp::now());
    told::updated(&call, &before, &row, async {
        volume::powered_off(&node, "volume connector update")?;
        Ok::<(), ApiFault>(call.store().update_volume_connector(&row).await?)
    })
    .await?;
    call.note(node.id, format!("volume connector {} patched", row.id))
        .await?;
    Ok(Answer::json(&view(&call, &row, None)))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = volume::id(&call, "connector", "connector_uuid")?;
    let row = found(&call, id).await?;
    let node = call.node_by_ident(&row.node.to_string()).await?;
    told::deleted(&call, &row, async {
        volume::removable(&node, "volume connector deletion")?;
        Ok::<(), ApiFault>(call.store().delete_volume_connector(id).await?)
    })
    .await?;
    call.store()
        .add_timeline(
            node.id,
            call.event(format!("volume connector {id} removed")),
        )
        .await?;
    Ok(Answer::no_content())
}

fn view(call: &Call, row: &VolumeConnector, fields: Option<&[String]>) -> Value {
    let whole = json!({
        "uuid": row.id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "connector_id": row.connector_id,
        "extra": row.extra,
        "type": row.kind,
        "node_uuid": row.node,
        "links": call.links(&format!("volume/connectors/{}", row.id)),
    });
    let Value::Object(mut map) = whole else {
        return Value::Null;
    };
    cut(&mut map, fields);
    Value::Object(map)
}
