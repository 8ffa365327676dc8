//! Two records of the same scripts, compared member by member.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::allowed;
use super::seen::{Record, Step};

/// Where the two services answered otherwise.
#[derive(Debug, Clone)]
pub struct Difference {
    pub suite: String,
    pub version: String,
    pub name: String,
    pub request: String,
    /// Path of the member in what was seen.
    pub at: String,
    pub theirs: String,
    pub ours: String,
    /// The row that allows it.
    pub allowed: Option<usize>,
}

/// How a command did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub steps: usize,
    pub same: usize,
    pub allowed: usize,
    pub different: usize,
}

/// Counts per suite and command; adds to `differences`.
///
/// # Errors
/// When the two records are not of the same scripts.
pub fn compare(
    theirs: &Record,
    ours: &Record,
    differences: &mut Vec<Difference>,
) -> Result<BTreeMap<(String, String), Tally>> {
    if theirs.steps.len() != ours.steps.len() {
        bail!(
            "the scripts ran {} steps against upstream and {} against ours",
            theirs.steps.len(),
            ours.steps.len()
        );
    }
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    for (number, (t, o)) in theirs.steps.iter().zip(&ours.steps).enumerate() {
        if (&t.suite, &t.name) != (&o.suite, &o.name) {
            bail!(
                "step {number} is {} against upstream and {} against ours",
                t.name,
                o.name
            );
        }
        let found = step(t, &theirs.url, o, &ours.url);
        let tally = tallies
            .entry((t.suite.clone(), t.name.clone()))
            .or_default();
        tally.steps += 1;
        if found.is_empty() {
            tally.same += 1;
        } else if found.iter().all(|d| d.allowed.is_some()) {
            tally.allowed += 1;
        } else {
            tally.different += 1;
        }
        differences.extend(found);
    }
    Ok(tallies)
}

fn step(theirs: &Step, their_url: &str, ours: &Step, our_url: &str) -> Vec<Difference> {
    let want = normal("", theirs.seen.clone(), their_url);
    let have = normal("", ours.seen.clone(), our_url);
    let mut at = Vec::new();
    members("", &want, &have, &mut at);
    at.into_iter()
        .map(|(at, want, have)| {
            let mut difference = Difference {
                suite: theirs.suite.clone(),
                version: theirs.version.clone(),
                name: theirs.name.clone(),
                request: theirs.request.replace(their_url, "BASE"),
                at,
                theirs: want,
                ours: have,
                allowed: None,
            };
            difference.allowed = allowed::row_of(&difference);
            difference
        })
        .collect()
}

const ABSENT: &str = "(absent)";

fn members(at: &str, want: &Value, have: &Value, found: &mut Vec<(String, String, String)>) {
    match (want, have) {
        (Value::Object(w), Value::Object(h)) => {
            let keys = w.keys().chain(h.keys().filter(|key| !w.contains_key(*key)));
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned();
                match (of(w), of(h)) {
                    (Some(w), Some(h)) => members(&format!("{at}/{key}"), &w, &h, found),
                    (w, h) => {
                        let text = |v: Option<Value>| v.map_or(ABSENT.into(), |v| v.to_string());
                        found.push((format!("{at}/{key}"), text(w), text(h)));
                    }
                }
            }
        }
        (Value::Array(w), Value::Array(h)) if w.len() == h.len() => {
            for (number, (w, h)) in w.iter().zip(h).enumerate() {
                members(&format!("{at}/{number}"), w, h, found);
            }
        }
        _ if want == have => {}
        _ => found.push((at.to_owned(), want.to_string(), have.to_string())),
    }
}

/// Members whose lists upstream makes from sets or tables without an order.
fn unordered(key: &str) -> bool {
    key.starts_with("enabled_")
        || key.ends_with(" Interfaces")
        || matches!(
            key,
            "hosts"
                | "drivers"
                | "Drivers"
                | "supported_boot_devices"
                | "Active host(s)"
                | "traits"
        )
}

/// A value without what differs from run to run.
fn normal(key: &str, value: Value, url: &str) -> Value {
    match value {
        Value::Object(map) => {
            let mut sorted: Vec<(String, Value)> = map
                .into_iter()
                .map(|(key, value)| {
                    let value = match (key.as_str(), value) {
                        // a string of JSON
                        ("error_message", Value::String(inner)) => {
                            serde_json::from_str(&inner).unwrap_or(Value::String(inner))
                        }
                        (_, value) => value,
                    };
                    let value = normal(&key, value, url);
                    (key, value)
                })
                .collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(|v| normal("", v, url)).collect();
            if unordered(key) {
                items.sort_by_key(ToString::to_string);
            }
            Value::Array(items)
        }
        Value::String(text) if unordered(key) && text.contains(", ") => {
            let mut parts: Vec<&str> = text.split(", ").collect();
            parts.sort_unstable();
            Value::String(anonymous(&parts.join(", "), url))
        }
        Value::String(text) => Value::String(anonymous(&text, url)),
        other => other,
    }
}

/// Without times, the service's address, and UUIDs that the scripts did not choose.
fn anonymous(text: &str, url: &str) -> String {
    let text = text.replace(url, "BASE");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        if let Some(head) = rest.get(..36)
            && is_uuid(head)
        {
            out.push_str(if head.starts_with("0000000a-") {
                head
            } else {
                "UUID"
            });
            rest = rest.get(36..).unwrap_or_default();
        } else if let Some(length) = time_length(rest) {
            out.push_str("TIME");
            rest = rest.get(length..).unwrap_or_default();
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// How long the time is that `text` begins with: `2026-11-25T03:04:05`, with fraction and zone when they follow.
fn time_length(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let head = bytes.get(..SHAPE.len())?;
    let fits = head.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        shape => byte == shape,
    });
    if !fits {
        return None;
    }
    let mut length = SHAPE.len();
    if bytes.get(length) == Some(&b'.') {
        length += 1;
        while bytes.get(length).is_some_and(u8::is_ascii_digit) {
            length += 1;
        }
    }
    if text
        .get(length..)
        .is_some_and(|rest| rest.starts_with("+00:00"))
    {
        length += 6;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn record(url: &str, seen: Value) -> Record {
        Record {
            url: url.into(),
            steps: vec![Step {
                suite: "raw".into(),
                version: "1.1".into(),
                name: "GET /none".into(),
                request: "GET /none".into(),
                seen,
            }],
            broken: Vec::new(),
        }
    }

    fn differing(theirs: Value, ours: Value) -> Vec<String> {
        let mut found = Vec::new();
        compare(
            &record("http://a:1", theirs),
            &record("http://b:2", ours),
            &mut found,
        )
        .unwrap();
        found.into_iter().map(|d| d.at).collect()
    }

    #[test]
    fn what_varies_is_the_same() {
        let found = differing(
            json!({"answer": {"uuid": "c0ffee00-0000-4000-8000-000000000001", "href": "http://a:1/v1/x",
                "created_at": "2026-11-25T03:04:05.123456+00:00", "enabled_x": ["a", "b"],
                "error_message": "{\"a\": 1, \"b\": 2}"}}),
            json!({"answer": {"uuid": "c0ffee00-0000-4000-8000-000000000002", "href": "http://b:2/v1/x",
                "created_at": "2026-11-25T03:04:06+00:00", "enabled_x": ["b", "a"],
                "error_message": "{\"b\": 2, \"a\": 1}"}}),
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_does_not_is_found() {
        for (theirs, ours, at) in [
            (json!({"a": 1}), json!({"a": 2}), "/a"),
            (json!({"a": 1}), json!({}), "/a"),
            (json!({}), json!({"a": null}), "/a"),
            (json!({"a": [1]}), json!({"a": [1, 2]}), "/a"),
            (
                json!({"a": [{"b": "x"}]}),
                json!({"a": [{"b": "y"}]}),
                "/a/0/b",
            ),
            (
                json!({"a": "0000000a-0000-4000-8000-000000000001"}),
                json!({"a": "0000000a-0000-4000-8000-000000000002"}),
                "/a",
            ),
            (
                json!({"links": ["b", "a"]}),
                json!({"links": ["a", "b"]}),
                "/links/0",
            ),
        ] {
            let found = differing(theirs, ours);
            assert_eq!(found.first().map(String::as_str), Some(at));
        }
    }

    #[test]
    fn records_of_other_scripts_are_refused() {
        let mut other = record("http://b:2", json!({}));
        other.steps[0].name = "GET /other".into();
        let mine = record("http://a:1", json!({}));
        assert!(compare(&mine, &other, &mut Vec::new()).is_err());
        other.steps.clear();
        assert!(compare(&mine, &other, &mut Vec::new()).is_err());
    }
}
