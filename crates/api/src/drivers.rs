//! `/v1/drivers`: the hardware types that living conductors publish.

use std::collections::BTreeMap;

use bessemer_model::{InterfaceKind, Timestamp};
use serde_json::{Map, Value};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

/// A hardware type with the hosts that have it and what it publishes.
struct Driver {
    hosts: Vec<String>,
    entry: Value,
}

async fn all(call: &Call) -> Result<BTreeMap<String, Driver>, ApiFault> {
    let now = Timestamp::now();
    let mut drivers: BTreeMap<String, Driver> = BTreeMap::new();
    for row in call.store().list_conductors().await? {
        if row.expires_at <= now {
            continue;
        }
        let Value::Object(catalogue) = row.catalogue else {
            continue;
        };
        for (name, entry) in catalogue {
            drivers
                .entry(name)
                .or_insert_with(|| Driver {
                    hosts: Vec::new(),
                    entry,
                })
                .hosts
                .push(row.hostname.clone());
        }
    }
    Ok(drivers)
}

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["type", "detail", "fields"])?;
    let kind = args.string("type")?;
    let detail = args.boolean("detail")?;
    let fields = args.list("fields")?;
    if (kind.is_some() || detail.is_some()) && !call.at_least(30) {
        return Err(ApiFault::needs_version(30));
    }
    gate_fields(&call, fields.as_deref())?;
    let classic = match kind.as_deref() {
        None | Some("dynamic") => false,
        Some("classic") => true,
        Some(_) => {
            return Err(ApiFault::invalid(
                "\"type\" filter must be one of \"classic\" or \"dynamic\", if specified.",
            ));
        }
    };
    if detail == Some(true) && fields.is_some() {
        return Err(ApiFault::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        ));
    }
    let mut items: Vec<Value> = Vec::new();
    // classic drivers ended long ago
    if !classic {
        for (name, driver) in all(&call).await? {
            let whole = view(&call, &name, &driver, detail == Some(true));
            items.push(Value::Object(cut(whole, fields.as_deref())?));
        }
    }
    let mut body = Map::new();
    body.insert("drivers".into(), items.into());
    Ok(Answer::json(&Value::Object(body)))
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    gate_fields(&call, fields.as_deref())?;
    let name = call.param("driver");
    let drivers = all(&call).await?;
    let driver = drivers.get(name).ok_or_else(|| {
        ApiFault::not_found(format!(
            "Could not find the following driver(s) or hardware type(s): {name}."
        ))
    })?;
    let whole = view(&call, name, driver, true);
    Ok(Answer::json(&Value::Object(cut(whole, fields.as_deref())?)))
}

pub async fn properties(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let name = call.param("driver");
    if !all(&call).await?.contains_key(name) {
        return Err(ApiFault::not_found(format!(
            "The driver '{name}' is unknown."
        )));
    }
    let properties = call.conductor().driver_properties(name).await?;
    Ok(Answer::json(&Value::Object(properties)))
}

fn gate_fields(call: &Call, fields: Option<&[String]>) -> Result<(), ApiFault> {
    if fields.is_some() && !call.at_least(77) {
        return Err(ApiFault::not_acceptable());
    }
    Ok(())
}

fn cut(
    mut whole: Map<String, Value>,
    fields: Option<&[String]>,
) -> Result<Map<String, Value>, ApiFault> {
    let Some(fields) = fields else {
        return Ok(whole);
    };
    if let Some(unknown) = fields.iter().find(|f| !whole.contains_key(*f)) {
        return Err(ApiFault::invalid(format!(
            "Field(s) \"{unknown}\" are not valid"
        )));
    }
    whole.retain(|key, _| key == "links" || fields.contains(key));
    Ok(whole)
}

/// First version that shows an interface family of a driver.
fn since(kind: InterfaceKind) -> u16 {
    match kind {
        InterfaceKind::Storage => 33,
        InterfaceKind::Rescue => 38,
        InterfaceKind::Bios => 40,
        InterfaceKind::Firmware => 86,
        _ => 30,
    }
}

fn view(call: &Call, name: &str, driver: &Driver, detail: bool) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), name.into());
    map.insert("hosts".into(), driver.hosts.clone().into());
    map.insert("links".into(), call.links(&format!("drivers/{name}")));
    if call.at_least(14) {
        map.insert(
            "properties".into(),
            call.links(&format!("drivers/{name}/properties")),
        );
    }
    if !call.at_least(30) {
        return map;
    }
    map.insert("type".into(), "dynamic".into());
    if detail {
        for kind in InterfaceKind::ALL {
            if !call.at_least(since(kind)) {
                continue;
            }
            let published = |what: &str| {
                driver
                    .entry
                    .get(what)
                    .and_then(|kinds| kinds.get(kind.as_str()))
                    .cloned()
            };
            map.insert(
                format!("default_{kind}_interface"),
                published("defaults").unwrap_or(Value::Null),
            );
            map.insert(
                format!("enabled_{kind}_interfaces"),
                published("enabled").unwrap_or_else(|| Value::Array(Vec::new())),
            );
        }
    }
    map
}
