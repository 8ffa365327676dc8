//! `GET /v1/nodes/{ident}/firmware`: the firmware versions as they were last read.

use bessemer_store::FirmwareRow;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::query;

const LIST: [&str; 4] = [
    "component",
    "initial_version",
    "current_version",
    "last_version_flashed",
];
const IDENTITY: [&str; 3] = ["vendor", "model", "serial_number"];
/// Version in which the identity came.
const IDENTITY_SINCE: u16 = 114;
/// As the refusal of an unknown one lists them.
const FIELDS: [&str; 9] = [
    "created_at",
    "updated_at",
    "component",
    "initial_version",
    "current_version",
    "last_version_flashed",
    "vendor",
    "model",
    "serial_number",
];

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["detail", "fields"])?;
    let fields = query::fields(&args, &FIELDS)?;
    let detail = args.boolean("detail")?;
    let node = call.node().await?;
    let identity = call.at_least(IDENTITY_SINCE);
    let mut newer: Vec<&str> = fields
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|f| IDENTITY.contains(f) && !identity)
        .collect();
    if !newer.is_empty() {
        newer.sort_unstable();
        return Err(ApiFault::invalid(format!(
            "Fields {} are not allowed in this API version. They require at least API version 1.{IDENTITY_SINCE}.",
            newer.join(", ")
        )));
    }
    if fields.is_some() && detail == Some(true) {
        return Err(ApiFault::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        ));
    }
    let names: Vec<&str> = match &fields {
        Some(fields) => fields.iter().map(String::as_str).collect(),
        None if identity => LIST.iter().chain(&IDENTITY).copied().collect(),
        None => LIST.to_vec(),
    };
    let components: Vec<Value> = call
        .store()
        .list_firmware_components(node.id)
        .await?
        .iter()
        .map(|row| view(row, &names))
        .collect();
    Ok(Answer::json(&json!({"firmware": components})))
}

fn view(row: &FirmwareRow, names: &[&str]) -> Value {
    let c = &row.component;
    let mut map = Map::new();
    map.insert("created_at".into(), json!(row.created_at));
    map.insert("updated_at".into(), json!(row.updated_at));
    for name in names {
        let value = match *name {
            "component" => json!(c.component),
            "initial_version" => json!(row.initial_version),
            "current_version" => json!(c.current_version),
            "last_version_flashed" => json!(c.last_version_flashed),
            "vendor" => json!(c.vendor),
            "model" => json!(c.model),
            "serial_number" => json!(c.serial_number),
            _ => continue,
        };
        map.insert((*name).into(), value);
    }
    Value::Object(map)
}
