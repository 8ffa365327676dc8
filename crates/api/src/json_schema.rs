//! JSON Schema as far as bodies of steps, traits, rules and allocations need it, with the complaints of
//! upstream's validator word for word: clients show them to people.
//!
//! Upstream names one error of many. Bodies that a request's schema checks as a whole: the first in the schema's order.
//! Else: that of the outermost value, of two at the same depth the first in the
//! order of the schema's keywords, and `anyOf` only when nothing else is wrong there. Into `anyOf` it looks
//! when one of the alternatives is clearly nearer than the others.

use std::cmp::Ordering;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::fault::ApiFault;
use crate::schema::py_repr;

/// A name within a trait's rules, of either kind.
pub static TRAIT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "string", "minLength": 1, "maxLength": bessemer_model::traits::LONGEST,
        "anyOf": [
            {"pattern": bessemer_model::traits::CUSTOM_PATTERN},
            {"standardTrait": true},
        ],
    })
});

/// A logical name.
pub static NAME: LazyLock<Value> = LazyLock::new(
    || json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "(?i)^[A-Z0-9-._~]+$"}),
);

/// A UUID or a logical name.
pub static UUID_OR_NAME: LazyLock<Value> =
    LazyLock::new(|| json!({"anyOf": [{"type": "string", "format": "uuid"}, &*NAME]}));

/// A priority or an order: a number, or digits.
pub static COUNT: LazyLock<Value> = LazyLock::new(|| {
    json!({"anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "minLength": 1, "pattern": "^[0-9]+$"},
    ]})
});

/// Interfaces that have steps.
pub const STEP_INTERFACES: [&str; 7] = [
    "vendor",
    "power",
    "management",
    "firmware",
    "deploy",
    "bios",
    "raid",
];

/// One thing that is wrong.
struct Complaint<'s> {
    /// From the value that was checked to the one that is wrong.
    path: Vec<Step>,
    keyword: &'s str,
    message: String,
    /// What is wrong with each alternative.
    context: Vec<Complaint<'s>>,
    matches_type: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

impl Complaint<'_> {
    /// The larger, the more it says.
    fn rank(&self, other: &Self) -> Ordering {
        let strong = |c: &Self| c.keyword != "anyOf";
        other
            .path
            .len()
            .cmp(&self.path.len())
            .then_with(|| self.path.cmp(&other.path))
            .then_with(|| strong(self).cmp(&strong(other)))
            .then_with(|| (!self.matches_type).cmp(&!other.matches_type))
    }
}

/// The first of the highest rank.
fn most<'c, 's>(all: &'c [Complaint<'s>]) -> Option<&'c Complaint<'s>> {
    all.iter().reduce(|best, next| match best.rank(next) {
        Ordering::Less => next,
        _ => best,
    })
}

/// Down into alternatives, as long as one of them stands out.
fn best<'c, 's>(all: &'c [Complaint<'s>]) -> Option<&'c Complaint<'s>> {
    let mut best = most(all)?;
    while !best.context.is_empty() {
        let mut nearest: Vec<&Complaint<'s>> = best.context.iter().collect();
        nearest.sort_by(|a, b| a.rank(b));
        match nearest.as_slice() {
            [first, second, ..] if first.rank(second) == Ordering::Equal => return Some(best),
            [first, ..] => best = first,
            [] => break,
        }
    }
    Some(best)
}

/// What is wrong with a value, in upstream's words.
#[must_use]
pub fn complaint(schema: &Value, value: &Value) -> Option<String> {
    let mut all = Vec::new();
    walk(schema, value, &mut Vec::new(), &mut all);
    best(&all).map(said)
}

/// The complaint with its cause.
fn said(complaint: &Complaint<'_>) -> String {
    let mut text = complaint.message.clone();
    let (mut cause, mut now) = (None, complaint);
    while let Some(deeper) = best(&now.context) {
        cause = Some(&deeper.message);
        now = deeper;
    }
    if let Some(cause) = cause {
        text.push_str(". Possible root cause: ");
        text.push_str(cause);
    }
    text
}

/// Refuses a value that is not as the schema wants it.
///
/// # Errors
/// 400 that names `what`, when it is not empty, and the complaint. Where upstream names no `what`, it says the first thing
/// that is wrong in the schema's order; else that which [`complaint`] chooses.
pub fn check(what: &str, schema: &Value, value: &Value) -> Result<(), ApiFault> {
    if what.is_empty() {
        let mut all = Vec::new();
        walk(schema, value, &mut Vec::new(), &mut all);
        return match all.first() {
            None => Ok(()),
            Some(first) => Err(ApiFault::invalid(format!("Schema error: {}", said(first)))),
        };
    }
    match complaint(schema, value) {
        None => Ok(()),
        Some(why) => Err(ApiFault::invalid(format!("Schema error for {what}: {why}"))),
    }
}

/// Drops the members that the schema does not name.
pub fn prune(schema: &Value, value: &mut Value) {
    if let (Some(known), Value::Object(map)) =
        (schema.get("properties").and_then(Value::as_object), value)
    {
        map.retain(|key, _| known.contains_key(key));
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "integer" => whole(value).is_some(),
        "number" => value.is_number(),
        _ => false,
    }
}

/// The value of a whole number, also of one that is written with a fraction of zero.
#[must_use]
pub fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        // bounded, so that the conversion is exact
        #[allow(clippy::cast_possible_truncation)]
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
            .map(|f| f as i64)
    })
}

fn types(schema: &Value) -> Vec<&str> {
    match schema {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The patterns that the schemas use; Python's `$` apart, which allows a line feed after it.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let all = |fits: fn(u8) -> bool, text: &str| !text.is_empty() && text.bytes().all(fits);
    match pattern {
        bessemer_model::traits::CUSTOM_PATTERN => {
            text.strip_prefix("CUSTOM_").is_some_and(|rest| {
                all(
                    |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_',
                    rest,
                )
            })
        }
        "^[0-9]+$" => all(|b| b.is_ascii_digit(), text),
        "(?i)^[A-Z0-9-._~]+$" | r"^[A-Za-z0-9\-._~]+$" => all(
            |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'),
            text,
        ),
        _ => false,
    }
}

fn walk<'s>(schema: &'s Value, value: &Value, path: &mut Vec<Step>, out: &mut Vec<Complaint<'s>>) {
    let Value::Object(keywords) = schema else {
        return;
    };
    let matches_type = keywords
        .get("type")
        .is_some_and(|t| types(t).iter().any(|name| is_type(name, value)));
    for (keyword, wanted) in keywords {
        let mut context = Vec::new();
        for message in one(keyword, wanted, keywords, value, path, out, &mut context) {
            out.push(Complaint {
                path: path.clone(),
                keyword,
                message,
                context: std::mem::take(&mut context),
                matches_type,
            });
        }
    }
}

/// The complaints of one keyword about the value itself; those about what is inside go to `out`.
#[allow(
    clippy::collapsible_match,
    reason = "an arm for each keyword, whatever it finds"
)]
fn one<'s>(
    keyword: &str,
    wanted: &'s Value,
    keywords: &Map<String, Value>,
    value: &Value,
    path: &mut Vec<Step>,
    out: &mut Vec<Complaint<'s>>,
    context: &mut Vec<Complaint<'s>>,
) -> Vec<String> {
    let shown = || py_repr(value);
    let length = |n: &Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
    let mut say = Vec::new();
    match (keyword, value) {
        ("type", _) => {
            let names = types(wanted);
            if !names.iter().any(|name| is_type(name, value)) {
                let names: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
                say.push(format!("{} is not of type {}", shown(), names.join(", ")));
            }
        }
        ("enum", _) => {
            let listed = wanted.as_array().is_some_and(|all| all.contains(value));
            if !listed {
                say.push(format!("{} is not one of {}", shown(), py_repr(wanted)));
            }
        }
        ("standardTrait", _) => {
            if !value.as_str().is_some_and(bessemer_model::traits::is_trait) {
                say.push(format!("{} is not a standard trait", shown()));
            }
        }
        ("not", _) => {
            if complaint(wanted, value).is_none() {
                say.push(format!(
                    "{} should not be valid under {}",
                    shown(),
                    py_repr(wanted)
                ));
            }
        }
        ("anyOf", _) => {
            let mut all = Vec::new();
            for alternative in wanted.as_array().into_iter().flatten() {
                let before = all.len();
                walk(alternative, value, &mut Vec::new(), &mut all);
                if all.len() == before {
                    return say;
                }
            }
            *context = all;
            say.push(format!(
                "{} is not valid under any of the given schemas",
                shown()
            ));
        }
        ("minimum", Value::Number(_)) => {
            if value.as_f64() < wanted.as_f64() {
                say.push(format!(
                    "{} is less than the minimum of {}",
                    shown(),
                    py_repr(wanted)
                ));
            }
        }
        ("minLength", Value::String(text)) => {
            if length(wanted).is_some_and(|least| text.chars().count() < least) {
                say.push(format!("{} {}", shown(), too_few(wanted)));
            }
        }
        ("maxLength", Value::String(text)) => {
            if length(wanted).is_some_and(|most| text.chars().count() > most) {
                say.push(format!("{} is too long", shown()));
            }
        }
        ("minItems", Value::Array(items)) => {
            if length(wanted).is_some_and(|least| items.len() < least) {
                say.push(format!("{} {}", shown(), too_few(wanted)));
            }
        }
        ("pattern", Value::String(text)) => {
            if !matches_pattern(wanted.as_str().unwrap_or_default(), text) {
                say.push(format!("{} does not match {}", shown(), py_repr(wanted)));
            }
        }
        ("format", Value::String(text)) => {
            if uuid::Uuid::parse_str(text).is_err() {
                say.push(format!("{} is not a {}", shown(), py_repr(wanted)));
            }
        }
        ("items", Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                walk(wanted, item, path, out);
                path.pop();
            }
        }
        ("properties", Value::Object(map)) => {
            for (name, schema) in wanted.as_object().into_iter().flatten() {
                if let Some(member) = map.get(name) {
                    path.push(Step::Key(name.clone()));
                    walk(schema, member, path, out);
                    path.pop();
                }
            }
        }
        ("required", Value::Object(map)) => {
            for name in wanted
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !map.contains_key(name) {
                    say.push(format!("'{name}' is a required property"));
                }
            }
        }
        ("additionalProperties", Value::Object(map)) if wanted == &Value::Bool(false) => {
            let known = keywords.get("properties").and_then(Value::as_object);
            let mut extra: Vec<String> = map
                .keys()
                .filter(|key| !known.is_some_and(|k| k.contains_key(*key)))
                .map(|key| py_repr(&Value::from(key.as_str())))
                .collect();
            extra.sort_unstable();
            if !extra.is_empty() {
                let verb = if extra.len() == 1 { "was" } else { "were" };
                say.push(format!(
                    "Additional properties are not allowed ({} {verb} unexpected)",
                    extra.join(", ")
                ));
            }
        }
        _ => {}
    }
    say
}

fn too_few(least: &Value) -> &'static str {
    if least == 1 {
        "should be non-empty"
    } else {
        "is too short"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints() {
        let step = json!({
            "type": "object",
            "properties": {
                "interface": {"type": "string", "enum": ["deploy", "raid"]},
                "priority": &*COUNT,
            },
            "required": ["interface", "priority"],
            "additionalProperties": false,
        });
        let whole = json!({
            "type": "object",
            "properties": {
                "name": &*TRAIT,
                "steps": {"type": "array", "items": step, "minItems": 1},
            },
            "required": ["steps", "name"],
            "additionalProperties": false,
        });
        let check = |value: Value, want: Option<&str>| {
            assert_eq!(complaint(&whole, &value).as_deref(), want, "{value}");
        };
        let with = |steps: Value| json!({"name": "CUSTOM_A", "steps": steps});
        check(with(json!([{"interface": "raid", "priority": 1}])), None);
        check(with(json!([{"interface": "raid", "priority": "10"}])), None);
        check(json!({}), Some("'steps' is a required property"));
        check(json!([]), Some("[] is not of type 'object'"));
        check(with(json!([])), Some("[] should be non-empty"));
        check(
            json!({"name": "x", "steps": [{"interface": "raid", "priority": 1}]}),
            Some(
                "'x' is not valid under any of the given schemas. Possible root cause: 'x' does not match '^CUSTOM_[A-Z0-9_]+$'",
            ),
        );
        check(
            with(json!([{"interface": "raid", "priority": -1}])),
            Some("-1 is less than the minimum of 0"),
        );
        check(
            with(json!([{"interface": "raid", "priority": "x"}])),
            Some("'x' does not match '^[0-9]+$'"),
        );
        check(
            with(json!([{"interface": "raid", "priority": null}])),
            Some(
                "None is not valid under any of the given schemas. Possible root cause: None is not of type 'integer'",
            ),
        );
        check(
            with(json!([{"interface": "x", "priority": 1, "a": 1, "b": 2}])),
            Some("Additional properties are not allowed ('a', 'b' were unexpected)"),
        );
        check(
            with(json!([{"interface": "x", "priority": 1}])),
            Some("'x' is not one of ['deploy', 'raid']"),
        );
    }
}
