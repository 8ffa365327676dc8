//! `/v1/nodes/{ident}/bios`: the BIOS settings as they were last read.

use bessemer_store::BiosRow;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::query;
use crate::schema::py_repr;

const LIST: [&str; 2] = ["name", "value"];
const DETAIL: [&str; 11] = [
    "name",
    "value",
    "attribute_type",
    "allowable_values",
    "lower_bound",
    "max_length",
    "min_length",
    "read_only",
    "reset_required",
    "unique",
    "upper_bound",
];
/// As the refusal of an unknown one lists them.
const FIELDS: [&str; 14] = [
    "allowable_values",
    "attribute_type",
    "created_at",
    "lower_bound",
    "links",
    "max_length",
    "min_length",
    "name",
    "node_uuid",
    "read_only",
    "reset_required",
    "unique",
    "updated_at",
    "value",
];
/// The registry came in.
const REGISTRY: u16 = 74;

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["detail", "fields"])?;
    let fields = args.list("fields")?;
    let detail = args.boolean("detail")?;
    if !call.at_least(REGISTRY) {
        without_query(&call)?;
    }
    // upstream has forgotten upper_bound in its list
    for name in fields.iter().flatten().filter(|f| *f != "upper_bound") {
        query::one_of(name, &FIELDS)?;
    }
    let node = call.node().await?;
    if fields.is_some() && detail == Some(true) {
        return Err(ApiFault::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        ));
    }
    let names: Vec<&str> = match (&fields, detail) {
        (_, Some(true)) => DETAIL.to_vec(),
        (Some(fields), _) => fields.iter().map(String::as_str).collect(),
        (None, _) => LIST.to_vec(),
    };
    let ident = call.param("ident").to_owned();
    let settings: Vec<Value> = call
        .store()
        .list_bios_settings(node.id)
        .await?
        .iter()
        .map(|row| {
            let mut shown = view(&call, row, &ident, &names);
            if names.contains(&"node_uuid") {
                shown["node_uuid"] = node.id.to_string().into();
            }
            shown
        })
        .collect();
    Ok(Answer::json(&json!({"bios": settings})))
}

/// Refuses what the query has, in the words of upstream's schema.
fn without_query(call: &Call) -> Result<(), ApiFault> {
    let unknown: Vec<String> = call
        .query
        .iter()
        .map(|(name, _)| py_repr(&name.as_str().into()))
        .collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(query::wrong(format!(
            "Additional properties are not allowed ({one} was unexpected)"
        ))),
        many => Err(query::wrong(format!(
            "Additional properties are not allowed ({} were unexpected)",
            many.join(", ")
        ))),
    }
}

pub async fn get(call: Call) -> Outcome {
    without_query(&call)?;
    let name = call.param("setting").to_owned();
    if name.chars().count() > 255 {
        return Err(query::wrong(format!(
            "{} is too long",
            py_repr(&name.into())
        )));
    }
    let node = call.node().await?;
    let row = call
        .store()
        .get_bios_setting(node.id, &name)
        .await?
        .ok_or_else(|| {
            ApiFault::new(
                StatusCode::NOT_FOUND,
                format!("Node {} doesn't have a BIOS setting '{name}'", node.id),
            )
        })?;
    let names: &[&str] = if call.at_least(REGISTRY) {
        &DETAIL
    } else {
        &LIST
    };
    let shown = view(&call, &row, &node.id.to_string(), names);
    Ok(Answer::json(&json!({name: shown})))
}

fn view(call: &Call, row: &BiosRow, node: &str, names: &[&str]) -> Value {
    let s = &row.setting;
    let mut map = Map::new();
    map.insert("created_at".into(), json!(row.created_at));
    map.insert("updated_at".into(), json!(row.updated_at));
    for name in names {
        let value = match *name {
            "name" => json!(s.name),
            "value" => json!(s.value),
            "attribute_type" => json!(s.attribute_type),
            "allowable_values" => json!(s.allowable_values.as_deref().unwrap_or_default()),
            "lower_bound" => json!(s.lower_bound),
            "max_length" => json!(s.max_length),
            "min_length" => json!(s.min_length),
            "read_only" => json!(s.read_only),
            "reset_required" => json!(s.reset_required),
            "unique" => json!(s.unique),
            "upper_bound" => json!(s.upper_bound),
            _ => continue,
        };
        map.insert((*name).into(), value);
    }
    map.insert(
        "links".into(),
        call.links(&format!("nodes/{node}/bios/{}", s.name)),
    );
    Value::Object(map)
}
