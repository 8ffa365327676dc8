//! `POST /v1/events`: what other services tell of their ports. Checked and noted; nothing waits for them.

use bessemer_model::MacAddress;
use serde_json::Value;

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::query::{one_of, wrong};
use crate::schema::py_repr;

const KINDS: [&str; 3] = [
    "network.bind_port",
    "network.unbind_port",
    "network.delete_port",
];

/// Members of an event with what they hold; a question mark: may be null.
const MEMBERS: [(&str, &str); 7] = [
    ("event", "kind"),
    ("port_id", "uuid"),
    ("mac_address", "mac-address"),
    ("status", "text"),
    ("device_id", "uuid?"),
    ("binding:host_id", "uuid?"),
    ("binding:vnic_type", "text?"),
];

const REQUIRED: [&str; 4] = ["event", "port_id", "mac_address", "status"];

pub async fn post(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let body = body::json(&call.body)?;
    for event in events(&body)? {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        tracing::info!(
            event = text("event"),
            port = text("port_id"),
            status = text("status"),
            "external event"
        );
    }
    Ok(Answer::no_content())
}

fn events(body: &Value) -> Result<&Vec<Value>, ApiFault> {
    let Value::Object(map) = body else {
        return Err(wrong(format!("{} is not of type 'object'", py_repr(body))));
    };
    if let Some(Value::Array(events)) = map.get("events") {
        for event in events {
            check(event)?;
        }
        if events.is_empty() {
            return Err(wrong("[] should be non-empty"));
        }
    } else if let Some(other) = map.get("events") {
        return Err(wrong(format!("{} is not of type 'array'", py_repr(other))));
    }
    let Some(Value::Array(events)) = map.get("events") else {
        return Err(wrong("'events' is a required property"));
    };
    unexpected(map.keys().filter(|k| *k != "events"))?;
    Ok(events)
}

fn unexpected<'k>(keys: impl Iterator<Item = &'k String>) -> Result<(), ApiFault> {
    let keys: Vec<String> = keys.map(|k| py_repr(&k.as_str().into())).collect();
    match keys.as_slice() {
        [] => Ok(()),
        [one] => Err(wrong(format!(
            "Additional properties are not allowed ({one} was unexpected)"
        ))),
        many => Err(wrong(format!(
            "Additional properties are not allowed ({} were unexpected)",
            many.join(", ")
        ))),
    }
}

fn check(event: &Value) -> Result<(), ApiFault> {
    let Value::Object(map) = event else {
        return Err(wrong(format!("{} is not of type 'object'", py_repr(event))));
    };
    for (name, holds) in MEMBERS {
        let Some(value) = map.get(name) else {
            continue;
        };
        let (holds, nullable) = match holds.strip_suffix('?') {
            Some(holds) => (holds, true),
            None => (holds, false),
        };
        let text = match value {
            Value::Null if nullable => continue,
            Value::String(text) => text,
            other if nullable => {
                return Err(wrong(format!(
                    "{} is not of type 'string', 'null'",
                    py_repr(other)
                )));
            }
            other => return Err(wrong(format!("{} is not of type 'string'", py_repr(other)))),
        };
        let fits = match holds {
            "kind" => {
                one_of(text, &KINDS)?;
                true
            }
            "uuid" => uuid::Uuid::parse_str(text).is_ok(),
            "mac-address" => text.parse::<MacAddress>().is_ok(),
            _ => true,
        };
        if !fits {
            return Err(wrong(format!("{} is not a '{holds}'", py_repr(value))));
        }
    }
    if let Some(missing) = REQUIRED.iter().find(|name| !map.contains_key(**name)) {
        return Err(wrong(format!("'{missing}' is a required property")));
    }
    unexpected(
        map.keys()
            .filter(|k| !MEMBERS.iter().any(|(name, _)| name == k)),
    )
}

/// Reads arbitrary bytes as events.
pub fn fuzz_events(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let _ = events(&value);
    }
}
