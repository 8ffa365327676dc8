//! `/v1/chassis`.

use bessemer_model::{Chassis, ChassisId, Object, Timestamp};
use bessemer_store::StoreError;
use serde_json::{Map, Value, json};

use crate::args::{self, Args};
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::paging::{self, Paging, shown};
use crate::schema::{Schema, object, short, uuid};
use crate::told;

const SCHEMA: Schema = Schema {
    members: &[uuid("uuid"), object("extra"), short("description", 255)],
    required: &[],
};
const ALLOWED: [&str; 3] = ["uuid", "extra", "description"];
const LIST: [&str; 2] = ["uuid", "description"];
const FIELDS: [&str; 7] = [
    "created_at",
    "description",
    "extra",
    "links",
    "nodes",
    "updated_at",
    "uuid",
];

pub async fn list(call: Call) -> Outcome {
    collection(&call, false).await
}

pub async fn detail(call: Call) -> Outcome {
    collection(&call, true).await
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let id = id(&call)?;
    let fields = args.list("fields")?;
    if fields.is_some() && !call.at_least(8) {
        return Err(ApiFault::not_acceptable());
    }
    known(fields.as_deref())?;
    let chassis = found(&call, id).await?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &chassis,
        fields.as_deref(),
    ))))
}

pub async fn create(call: Call) -> Outcome {
    let map = SCHEMA.check("chassis", body::json(&call.body)?)?;
    let id = match map.get("uuid").and_then(Value::as_str) {
        Some(text) => text
            .parse()
            .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))?,
        None => ChassisId::random(),
    };
    let chassis = Chassis {
        id,
        description: text(&map),
        extra: extra(&map),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    told::created(&call, &chassis, &map, call.store().create_chassis(&chassis)).await?;
    let location = call.url(&format!("chassis/{id}"));
    Ok(Answer::json(&Value::Object(view(&call, &chassis, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let patch = json_patch::read(&call)?;
    json_patch::only(&patch, &ALLOWED)?;
    let id = id(&call)?;
    let mut chassis = found(&call, id).await?;
    let mut document = Map::new();
    document.insert("uuid".into(), id.to_string().into());
    document.insert("extra".into(), Value::Object(chassis.extra.clone()));
    document.insert("description".into(), chassis.description.clone().into());
    json_patch::apply(&mut document, &patch)?;
    let document = SCHEMA.check("patch", Value::Object(document))?;
    if document.get("uuid").and_then(Value::as_str) != Some(id.to_string().as_str()) {
        return Err(ApiFault::invalid(
            "Cannot overwrite UUID for an existing Chassis.",
        ));
    }
    let before = chassis.clone();
    chassis.description = text(&document);
    chassis.extra = extra(&document);
    chassis.updated_at = Some(Timestamp::now());
    told::updated(
        &call,
        &before,
        &chassis,
        call.store().update_chassis(&chassis),
    )
    .await?;
    let after = found(&call, id).await?;
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = id(&call)?;
    let chassis = found(&call, id).await?;
    told::deleted(&call, &chassis, call.store().delete_chassis(id))
        .await
        .map_err(|error| match error {
            // the sentence that clients know
            StoreError::Refused(_) => ApiFault::invalid(format!(
                "Cannot complete the requested action because chassis {id} contains nodes."
            )),
            other => other.into(),
        })?;
    Ok(Answer::no_content())
}

fn text(map: &Map<String, Value>) -> Option<String> {
    map.get("description")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn extra(map: &Map<String, Value>) -> Object {
    map.get("extra")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn id(call: &Call) -> Result<ChassisId, ApiFault> {
    let text = args::uuid("chassis_uuid", &Value::from(call.param("chassis")))?;
    text.parse()
        .map_err(|_| ApiFault::not_found(format!("Chassis {text} could not be found.")))
}

async fn found(call: &Call, id: ChassisId) -> Result<Chassis, ApiFault> {
    call.store()
        .get_chassis(id)
        .await?
        .ok_or_else(|| ApiFault::not_found(format!("Chassis {id} could not be found.")))
}

fn known(fields: Option<&[String]>) -> Result<(), ApiFault> {
    let unknown: Vec<&str> = fields
        .unwrap_or_default()
        .iter()
        .map(String::as_str)
        .filter(|f| !FIELDS.contains(f))
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

async fn collection(call: &Call, whole: bool) -> Outcome {
    let mut arguments = paging::ARGUMENTS.to_vec();
    if !whole {
        arguments.extend(["fields", "detail"]);
    }
    let args = Args::of_query(call, &arguments)?;
    let paging = Paging::read(call, &args, "id", &["extra"])?;
    let (names, detail) = if whole {
        (None, None)
    } else {
        paging::wanted_fields(call, &args, &LIST)?
    };
    known(names.as_deref())?;
    let rows = call
        .store()
        .list_chassis(&paging.page())
        .await
        .map_err(|error| paging::list_fault("Chassis", error))?;
    let items: Vec<Value> = rows
        .iter()
        .map(|chassis| Value::Object(view(call, chassis, names.as_deref())))
        .collect();
    let mut body = Map::new();
    body.insert("chassis".into(), items.into());
    let mut kept: Vec<(&str, String)> = Vec::new();
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(names) = &names {
        kept.push(("fields", names.join(",")));
    }
    let path = if whole { "chassis/detail" } else { "chassis" };
    let last = rows.last().map(|c| c.id.to_string());
    if let Some(next) = paging.next(call, path, rows.len(), last.as_deref(), &kept) {
        body.insert("next".into(), next.into());
    }
    Ok(Answer::json(&Value::Object(body)))
}

fn view(call: &Call, chassis: &Chassis, fields: Option<&[String]>) -> Map<String, Value> {
    let path = format!("chassis/{}", chassis.id);
    let whole = json!({
        "uuid": chassis.id,
        "created_at": chassis.created_at,
        "updated_at": chassis.updated_at,
        "description": chassis.description,
        "extra": chassis.extra,
        "links": call.links(&path),
        // upstream has the list of links inside of a list, and clients know it so
        "nodes": [call.links(&format!("{path}/nodes"))],
    });
    let Value::Object(mut map) = whole else {
        return Map::new();
    };
    if let Some(fields) = fields {
        map.retain(|key, _| key == "links" || fields.contains(key));
    }
    map
}
