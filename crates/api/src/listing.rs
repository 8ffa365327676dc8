//! What the lists and single answers of newer resources have in common.

use serde_json::{Map, Value};

use crate::args::Args;
use crate::call::{Answer, Call};
use crate::fault::ApiFault;
use crate::paging::{Paging, shown};
use crate::schema::is_logical_name;
use crate::versions::NODE_FIELDS;

/// The segment of the path that names a resource by UUID or name; `shown` is what messages call it.
///
/// # Errors
/// 400 for what can be neither.
pub fn ident<'c>(call: &'c Call, segment: &str, shown: &str) -> Result<&'c str, ApiFault> {
    let ident = call.param(segment);
    if uuid::Uuid::parse_str(ident).is_ok() || is_logical_name(ident) {
        Ok(ident)
    } else {
        Err(ApiFault::invalid(format!(
            "Expected UUID or name for {shown}: {ident}"
        )))
    }
}

/// The arguments of a query as the schema sees them: numbers, lists and booleans read.
///
/// # Errors
/// 400 for what cannot be read.
pub fn query(args: &Args, names: &[&str]) -> Result<Value, ApiFault> {
    let mut map = Map::new();
    for name in names {
        let value = match *name {
            "limit" => args.integer(name)?.map(Value::from),
            "fields" => args.list(name)?.map(Value::from),
            "detail" | "project" => args.boolean(name)?.map(Value::from),
            _ => args.string(name)?.map(Value::from),
        };
        if let Some(value) = value {
            map.insert((*name).to_owned(), value);
        }
    }
    Ok(Value::Object(map))
}

/// Refuses fields that the resource does not have.
///
/// # Errors
/// 400
pub fn known_fields(fields: Option<&[String]>, known: &[&str]) -> Result<(), ApiFault> {
    let unknown: Vec<&str> = fields
        .unwrap_or_default()
        .iter()
        .map(String::as_str)
        .filter(|f| !known.contains(f))
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

/// Refuses names that are those of node fields newer than the request: upstream has one list for every
/// resource.
///
/// # Errors
/// 406
pub fn allowed_fields<'n>(
    call: &Call,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<(), ApiFault> {
    let newer = |name: &str| {
        NODE_FIELDS
            .iter()
            .any(|(field, since)| field.name() == name && !call.at_least(*since))
    };
    if names.into_iter().any(newer) {
        Err(ApiFault::not_acceptable())
    } else {
        Ok(())
    }
}

/// The representation cut down to the fields that are wanted, and links.
pub fn cut(mut map: Map<String, Value>, fields: Option<&[String]>) -> Map<String, Value> {
    if let Some(fields) = fields {
        map.retain(|key, _| key == "links" || fields.contains(key));
    }
    map
}

/// A page of a list: its items below `name`, and the link to the next one.
pub fn page(
    call: &Call,
    name: &str,
    paging: &Paging,
    items: Vec<Map<String, Value>>,
    last: Option<String>,
    detail: Option<bool>,
    fields: Option<&[String]>,
) -> Answer {
    let count = items.len();
    let mut body = Map::new();
    body.insert(
        name.to_owned(),
        items.into_iter().map(Value::Object).collect(),
    );
    let mut kept: Vec<(&str, String)> = Vec::new();
    if let Some(flag) = detail {
        kept.push(("detail", shown(flag)));
    }
    if let Some(fields) = fields {
        kept.push(("fields", fields.join(",")));
    }
    if let Some(next) = paging.next(call, name, count, last.as_deref(), &kept) {
        body.insert("next".into(), next.into());
    }
    Answer::json(&Value::Object(body))
}

/// A number, or a text of digits, as the schema has let through.
///
/// # Errors
/// 400 for one that no column can hold.
pub fn count(name: &str, value: Option<&Value>) -> Result<i64, ApiFault> {
    let number = match value {
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(value) => crate::json_schema::whole(value),
        None => Some(0),
    };
    number.filter(|n| *n <= i64::from(i32::MAX)).ok_or_else(|| {
        ApiFault::invalid(format!("The {name} of a step can be {} at most.", i32::MAX))
    })
}

/// The text at a key; null and absence are the same.
pub fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The object at a key; empty for null and absence.
pub fn object(map: &Map<String, Value>, key: &str) -> Map<String, Value> {
    map.get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// The items of the list at a key, none for null and absence.
pub fn items<'m>(map: &'m Map<String, Value>, key: &str) -> &'m [Value] {
    map.get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of the list at a key.
pub fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    items(map, key)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The id that the client gave, or a fresh one.
///
/// # Errors
/// 400 for what is no UUID.
pub fn new_id(map: &Map<String, Value>) -> Result<uuid::Uuid, ApiFault> {
    match map.get("uuid") {
        None | Some(Value::Null) => Ok(uuid::Uuid::new_v4()),
        // upstream takes an empty text for none
        Some(Value::String(text)) if text.is_empty() => Ok(uuid::Uuid::new_v4()),
        Some(value) => {
            let text = crate::args::uuid("uuid", value)?;
            uuid::Uuid::parse_str(&text)
                .map_err(|_| ApiFault::invalid(format!("Expected UUID for uuid: {text}")))
        }
    }
}

/// Refuses two steps with the same interface and name.
///
/// # Errors
/// 400 that names them.
pub fn no_duplicate_steps(steps: &[Value]) -> Result<(), ApiFault> {
    let key = |step: &Value| {
        let part = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        format!("interface: {}, step: {}", part("interface"), part("step"))
    };
    let mut seen: Vec<String> = Vec::new();
    let mut twice: Vec<String> = Vec::new();
    for step in steps.iter().map(key) {
        if !seen.contains(&step) {
            seen.push(step);
        } else if !twice.contains(&step) {
            twice.push(step);
        }
    }
    if twice.is_empty() {
        return Ok(());
    }
    Err(ApiFault::invalid(format!(
        "Deploy template invalid: Duplicate deploy steps. A template cannot have multiple deploy steps with the same interface and step. Duplicates: {}.",
        twice.join("; ")
    )))
}

/// Puts the secrets of steps' arguments back where the client sent the mask that it had read.
pub fn keep_step_secrets(new: &mut [Value], old: &[Value]) {
    let same = |a: &Value, b: &Value| {
        ["interface", "step"]
            .iter()
            .all(|key| a.get(*key) == b.get(*key))
    };
    for step in new {
        let before = old.iter().find(|before| same(before, step));
        if let (Some(Value::Object(before)), Some(Value::Object(args))) =
            (before.and_then(|b| b.get("args")), step.get_mut("args"))
        {
            crate::node_patch::keep_secrets(args, before, false);
        }
    }
}
