//! `/v1/conductors`.

use bessemer_model::Timestamp;
use bessemer_store::ConductorRow;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::paging::{self, Paging, shown};

const LIST: [&str; 3] = ["hostname", "conductor_group", "alive"];
const FIELDS: [&str; 7] = [
    "alive",
    "conductor_group",
    "created_at",
    "drivers",
    "hostname",
    "links",
    "updated_at",
];

pub async fn list(call: Call) -> Outcome {
    let mut arguments = paging::ARGUMENTS.to_vec();
    arguments.extend(["fields", "detail"]);
    let args = Args::of_query(&call, &arguments)?;
    let marker = args.string("marker")?;
    let paging = Paging::read_with(&call, &args, "id", &["alive", "drivers"], marker)?;
    let (names, detail) = paging::wanted_fields(&call, &args, &LIST)?;
    known(names.as_deref())?;
    // few enough to sort and cut here
    let mut rows = call.store().list_conductors().await?;
    match paging.sort_key.as_str() {
        "id" | "created_at" => rows.sort_by_key(|r| r.created_at),
        "updated_at" => rows.sort_by_key(|r| r.updated_at),
        "hostname" => rows.sort_by(|a, b| a.hostname.cmp(&b.hostname)),
        "conductor_group" => rows.sort_by(|a, b| {
            (&a.conductor_group, a.created_at).cmp(&(&b.conductor_group, b.created_at))
        }),
        other => {
            return Err(ApiFault::invalid(format!(
                "The sort_key value \"{other}\" is an invalid field for sorting"
            )));
        }
    }
    if paging.descending {
        rows.reverse();
    }
    if let Some(marker) = &paging.marker {
        let at = rows
            .iter()
            .position(|r| r.hostname == *marker)
            .ok_or_else(|| {
                ApiFault::not_found(format!("Conductor {marker} could not be found."))
            })?;
        rows.drain(..=at);
    }
    rows.truncate(usize::try_from(paging.limit).unwrap_or(usize::MAX));
    let items: Vec<Value> = rows
        .iter()
        .map(|row| Value::Object(view(&call, row, names.as_deref())))
        .collect();
    let mut body = Map::new();
    body.insert("conductors".into(), items.into());
    let mut kept: Vec<(&str, String)> = Vec::new();
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(names) = &names {
        kept.push(("fields", names.join(",")));
    }
    let last = rows.last().map(|r| r.hostname.as_str());
    if let Some(next) = paging.next(&call, "conductors", rows.len(), last, &kept) {
        body.insert("next".into(), next.into());
    }
    Ok(Answer::json(&Value::Object(body)))
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    known(fields.as_deref())?;
    let name = call.param("hostname");
    let rows = call.store().list_conductors().await?;
    let row = rows
        .iter()
        .find(|r| r.hostname == name)
        .ok_or_else(|| ApiFault::not_found(format!("Conductor {name} could not be found.")))?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        row,
        fields.as_deref(),
    ))))
}

fn known(fields: Option<&[String]>) -> Result<(), ApiFault> {
    match fields
        .unwrap_or_default()
        .iter()
        .find(|f| !FIELDS.contains(&f.as_str()))
    {
        None => Ok(()),
        Some(unknown) => Err(ApiFault::invalid(format!(
            "Field(s) \"{unknown}\" are not valid"
        ))),
    }
}

fn view(call: &Call, row: &ConductorRow, fields: Option<&[String]>) -> Map<String, Value> {
    let drivers: Vec<&String> = row
        .catalogue
        .as_object()
        .map(|c| c.keys().collect())
        .unwrap_or_default();
    let whole = json!({
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "hostname": row.hostname,
        "conductor_group": row.conductor_group,
        "drivers": drivers,
        "links": call.links(&format!("conductors/{}", row.hostname)),
        "alive": row.expires_at > Timestamp::now(),
    });
    let Value::Object(mut map) = whole else {
        return Map::new();
    };
    if let Some(fields) = fields {
        map.retain(|key, _| key == "links" || fields.contains(key));
    }
    map
}
