//! `/v1/volume/targets`, `/v1/volume/targets/{target}` and the targets of a node.
//!
//! `properties` tell how to reach a volume, with names and passwords: shown masked.

use bessemer_model::{NodeId, Object, Timestamp, VolumeTarget, VolumeTargetId, masked};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::paging;
use crate::schema::{Convert, Schema, integer, needed, object, uuid};
use crate::told;
use crate::volume::{self, Kind, cut};

const KIND: Kind = Kind {
    name: "targets",
    resource: "Volume target",
    fields: &[
        "boot_index",
        "created_at",
        "extra",
        "links",
        "node_uuid",
        "properties",
        "updated_at",
        "uuid",
        "volume_id",
        "volume_type",
    ],
    listed: &[
        "uuid",
        "node_uuid",
        "volume_type",
        "boot_index",
        "volume_id",
    ],
    unsortable: &["extra", "properties"],
};

const SCHEMA: Schema = Schema {
    members: &[
        integer("boot_index"),
        object("extra"),
        needed("node_uuid").and(Convert::Uuid),
        object("properties"),
        needed("volume_id").at_most(255),
        needed("volume_type").at_most(64),
        uuid("uuid"),
    ],
    required: &["boot_index", "node_uuid", "volume_id", "volume_type"],
};

const ALLOWED: [&str; 6] = [
    "boot_index",
    "extra",
    "node_uuid",
    "properties",
    "volume_id",
    "volume_type",
];

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
        .list_volume_targets(&wanted.filter, &wanted.paging.page())
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
    let id = volume::id(&call, "target", "target_uuid")?;
    let fields = KIND.fields_of_one(&call)?;
    let row = found(&call, id).await?;
    Ok(Answer::json(&view(&call, &row, fields.as_deref())))
}

fn missing(id: VolumeTargetId) -> ApiFault {
    ApiFault::not_found(format!("Volume target {id} could not be found."))
}

async fn found(call: &Call, id: VolumeTargetId) -> Result<VolumeTarget, ApiFault> {
    call.store()
        .get_volume_target(id)
        .await?
        .ok_or_else(|| missing(id))
}

/// Asks for the policy of the target that the path names, as a part of its node.
///
/// # Errors
/// 400, 404, 403 that names the policy.
pub async fn guard(call: &Call, policy: &str) -> Result<(), ApiFault> {
    let id = volume::id(call, "target", "target_uuid")?;
    let row = found(call, id).await?;
    volume::authorize(call, policy, row.node, missing(id)).await
}

pub async fn create(call: Call) -> Outcome {
    let map = SCHEMA.check("target", body::json(&call.body)?)?;
    let node = volume::node_of_body(&call, &map).await?;
    let mut row = VolumeTarget {
        id: match map.get("uuid").and_then(Value::as_str) {
            Some(text) => text
                .parse()
                .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))?,
            None => VolumeTargetId::random(),
        },
        node: node.id,
        volume_type: String::new(),
        properties: Object::new(),
        boot_index: 0,
        volume_id: String::new(),
        extra: Object::new(),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut row, &map)?;
    told::created(&call, &row, &map, call.store().create_volume_target(&row)).await?;
    call.store()
        .add_timeline(
            node.id,
            call.event(format!("volume target {} added", row.id)),
        )
        .await?;
    let location = call.url(&format!("volume/targets/{}", row.id));
    Ok(Answer::json(&view(&call, &row, None)).created(location))
}

/// Sets what the checked members say.
///
/// # Errors
/// 400 for a boot index that no node can have.
fn assign(row: &mut VolumeTarget, map: &Map<String, Value>) -> Result<(), ApiFault> {
    let text = |name: &str| {
        map.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let object = |name: &str| {
        map.get(name)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    row.boot_index = map.get("boot_index").and_then(boot_index).ok_or_else(|| {
        ApiFault::invalid(format!(
            "boot_index must be between {} and {}.",
            i32::MIN,
            i32::MAX
        ))
    })?;
    row.volume_type = text("volume_type");
    row.volume_id = text("volume_id");
    // what a client read masked it may write back
    let mut properties = object("properties");
    crate::node_patch::keep_secrets(&mut properties, &row.properties, false);
    row.properties = properties;
    row.extra = object("extra");
    Ok(())
}

/// A whole number, which JSON may write as `1.0`.
fn boot_index(value: &Value) -> Option<i32> {
    match value.as_i64() {
        Some(n) => i32::try_from(n).ok(),
        None => value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && *f >= f64::from(i32::MIN) && *f <= f64::from(i32::MAX))
            // in range and without a fraction
            .map(|f| {
                #[allow(clippy::cast_possible_truncation)]
                let whole = f as i32;
                whole
            }),
    }
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = volume::id(&call, "target", "target_uuid")?;
    let patch = json_patch::read(&call)?;
    let mut row = found(&call, id).await?;
    let before = row.clone();
    json_patch::only(&patch, &ALLOWED)?;
    let node = volume::patched_node(&call, row.node, &patch).await?;
    let mut document = Map::new();
    document.insert("boot_index".into(), row.boot_index.into());
    document.insert("extra".into(), Value::Object(row.extra.clone()));
    document.insert("node_uuid".into(), Value::Null);
    document.insert("properties".into(), Value::Object(row.properties.clone()));
    document.insert("volume_id".into(), row.volume_id.clone().into());
    document.insert("volume_type".into(), row.volume_type.clone().into());
    json_patch::apply(&mut document, &patch)?;
    document.insert("node_uuid".into(), node.id.to_string().into());
    let document = SCHEMA.check("patch", Value::Object(document))?;
    assign(&mut row, &document)?;
    row.node = node.id;
    row.updated_at = Some(Timestamp::now());
    told::updated(&call, &before, &row, async {
        volume::powered_off(&node, "volume target update")?;
        Ok::<(), ApiFault>(call.store().update_volume_target(&row).await?)
    })
    .await?;
    call.note(node.id, format!("volume target {} patched", row.id))
        .await?;
    Ok(Answer::json(&view(&call, &row, None)))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = volume::id(&call, "target", "target_uuid")?;
    let row = found(&call, id).await?;
    let node = call.node_by_ident(&row.node.to_string()).await?;
    told::deleted(&call, &row, async {
        volume::removable(&node, "volume target deletion")?;
        Ok::<(), ApiFault>(call.store().delete_volume_target(id).await?)
    })
    .await?;
    call.store()
        .add_timeline(node.id, call.event(format!("volume target {id} removed")))
        .await?;
    Ok(Answer::no_content())
}

/// What stands instead of the properties for who may not see them.
const REDACTED: &str = "** Value redacted: Requires permission baremetal:volume:view_target_properties access. Permission denied. **";

fn view(call: &Call, row: &VolumeTarget, fields: Option<&[String]>) -> Value {
    let properties = if call.may("baremetal:volume:view_target_properties") {
        masked(&Value::Object(row.properties.clone()))
    } else {
        json!({"redacted_contents": REDACTED})
    };
    let whole = json!({
        "uuid": row.id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "boot_index": row.boot_index,
        "extra": row.extra,
        "properties": properties,
        "volume_id": row.volume_id,
        "volume_type": row.volume_type,
        "node_uuid": row.node,
        "links": call.links(&format!("volume/targets/{}", row.id)),
    });
    let Value::Object(mut map) = whole else {
        return Value::Null;
    };
    cut(&mut map, fields);
    Value::Object(map)
}
