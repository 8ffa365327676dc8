//! The language of inspection rules: conditions, and what is done when all of them hold.
//!
//! Names, arguments and their meaning are upstream's. Two things are stricter: a comparison of values that have no order
//! is an error that names them, and a rule can only set fields of a node that an administrator could set.

use std::time::Duration;

use bessemer_model::Port;
use bessemer_model::{py_repr, py_str};
use serde_json::{Map, Value, json};

use super::edit::{delete_in, extend_in, set_in};
use super::format::{Unfilled, fill};
use super::{Edit, Findings, node_view};

/// Members whose values rules do not see.
const SENSITIVE: [&str; 3] = ["password", "auth_token", "bmc_password"];

/// `[inspection_rules] mask_secrets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskSecrets {
    #[default]
    Always,
    /// Only for rules that are not sensitive themselves.
    Sensitive,
    Never,
}

/// A rule, whoever keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// As messages name it.
    pub id: String,
    pub priority: i64,
    pub sensitive: bool,
    pub conditions: Vec<Value>,
    pub actions: Vec<Value>,
}

/// Runs every rule whose conditions hold, the highest priority first. `http` makes the calls of `api-call`.
///
/// # Errors
/// A sentence that names the rule, for whatever ends the inspection.
pub async fn apply(
    found: &mut Findings,
    rules: &mut [Rule],
    mask: MaskSecrets,
    http: &reqwest::Client,
) -> Result<(), String> {
    rules.sort_by_key(|r| std::cmp::Reverse(r.priority));
    for rule in rules.iter() {
        let masked = match mask {
            MaskSecrets::Always => true,
            MaskSecrets::Sensitive => !rule.sensitive,
            MaskSecrets::Never => false,
        };
        let named = |why: String| format!("inspection rule {}: {why}", rule.id);
        if !holds(found, rule, masked).map_err(named)? {
            continue;
        }
        found
            .notes
            .push(format!("inspection rule {} applies", rule.id));
        for action in &rule.actions {
            act(found, action, masked, http).await.map_err(named)?;
        }
    }
    Ok(())
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| {
                let value = if SENSITIVE.contains(&k.as_str()) {
                    json!("***")
                } else {
                    masked(v)
                };
                (k.clone(), value)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(masked).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// What replacement fields may name.
fn context(found: &Findings, mask: bool) -> Map<String, Value> {
    let shown = |object: &Map<String, Value>| {
        let whole = Value::Object(object.clone());
        if mask { masked(&whole) } else { whole }
    };
    Map::from_iter([
        ("node".to_owned(), node_view(&found.node)),
        ("inventory".to_owned(), shown(&found.inventory)),
        ("plugin_data".to_owned(), shown(&found.plugin_data)),
    ])
}

/// A text whose fields cannot be filled in stays as it is; for `is-empty` what is missing is empty.
fn filled(value: &Value, context: &Map<String, Value>, op: &str) -> Value {
    match value {
        Value::String(text) => match fill(text, context) {
            Ok(text) => text.into(),
            Err(Unfilled::Missing(_)) if op == "is-empty" => Value::Null,
            Err(why) => {
                tracing::warn!("a replacement field of an inspection rule stays as it is: {why}");
                value.clone()
            }
        },
        Value::Array(items) => items
            .iter()
            .map(|v| filled(v, context, op))
            .collect::<Vec<_>>()
            .into(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| {
                let key = fill(k, context).unwrap_or_else(|_| k.clone());
                (key, filled(v, context, op))
            })
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Names of the arguments in the order of their list form, and those whose fields are filled in.
struct Signature {
    op: &'static str,
    names: &'static [&'static str],
    required: usize,
    formatted: &'static [&'static str],
}

const fn takes(
    op: &'static str,
    names: &'static [&'static str],
    required: usize,
    formatted: &'static [&'static str],
) -> Signature {
    Signature {
        op,
        names,
        required,
        formatted,
    }
}

const OPERATORS: [Signature; 11] = [
    takes("eq", &["values", "force_strings"], 1, &["values"]),
    takes("lt", &["values", "force_strings"], 1, &["values"]),
    takes("gt", &["values", "force_strings"], 1, &["values"]),
    takes("is-empty", &["value"], 1, &["value"]),
    takes("in-net", &["address", "subnet"], 2, &["address", "subnet"]),
    takes("matches", &["value", "regex"], 2, &["value"]),
    takes("contains", &["value", "regex"], 2, &["value"]),
    takes("one-of", &["value", "values"], 1, &["value"]),
    takes("is-none", &["value"], 1, &["value"]),
    takes("is-true", &["value"], 1, &["value"]),
    takes("is-false", &["value"], 1, &["value"]),
];

const ACTIONS: [Signature; 16] = [
    takes("fail", &["msg"], 1, &[]),
    takes("log", &["msg", "level"], 1, &["msg"]),
    takes("set-attribute", &["path", "value"], 2, &["value"]),
    takes(
        "extend-attribute",
        &["path", "value", "unique"],
        2,
        &["value"],
    ),
    takes("del-attribute", &["path"], 1, &[]),
    takes("set-capability", &["name", "value"], 2, &["value"]),
    takes("unset-capability", &["name"], 1, &[]),
    takes("add-trait", &["name"], 1, &[]),
    takes("remove-trait", &["name"], 1, &[]),
    takes("set-plugin-data", &["path", "value"], 2, &["value"]),
    takes(
        "extend-plugin-data",
        &["path", "value", "unique"],
        2,
        &["value"],
    ),
    takes("unset-plugin-data", &["path"], 1, &[]),
    takes(
        "set-port-attribute",
        &["port_id", "path", "value"],
        3,
        &["value"],
    ),
    takes(
        "extend-port-attribute",
        &["port_id", "path", "value", "unique"],
        3,
        &["value"],
    ),
    takes("del-port-attribute", &["port_id", "path"], 2, &[]),
    takes(
        "api-call",
        &[
            "url",
            "headers",
            "proxies",
            "timeout",
            "retries",
            "backoff_factor",
        ],
        1,
        &["url"],
    ),
];

/// The arguments by name, with their fields filled in; all of them in a loop.
fn arguments(
    signature: &Signature,
    operation: &Value,
    context: &Map<String, Value>,
    looped: bool,
) -> Result<Map<String, Value>, String> {
    let given = match operation.get("args") {
        Some(Value::Object(map)) => map.clone(),
        Some(Value::Array(items)) => signature
            .names
            .iter()
            .zip(items)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        _ => return Err(format!("{} has no args", signature.op)),
    };
    let needed = signature
        .names
        .get(..signature.required)
        .unwrap_or_default();
    if let Some(missing) = needed.iter().find(|name| !given.contains_key(**name)) {
        return Err(format!("{} has no argument {missing}", signature.op));
    }
    Ok(given
        .into_iter()
        .map(|(name, value)| {
            let value = if looped || signature.formatted.contains(&name.as_str()) {
                filled(&value, context, signature.op)
            } else {
                value
            };
            (name, value)
        })
        .collect())
}

/// Items of a `loop`: those of a list, or one object; `None` without a loop.
fn items(operation: &Value) -> Option<Vec<Value>> {
    match operation.get("loop")? {
        Value::Array(items) if !items.is_empty() => Some(items.clone()),
        Value::Object(map) if !map.is_empty() => Some(vec![Value::Object(map.clone())]),
        _ => None,
    }
}

fn op_of(operation: &Value) -> &str {
    operation
        .get("op")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn holds(found: &Findings, rule: &Rule, mask: bool) -> Result<bool, String> {
    let context = context(found, mask);
    for condition in &rule.conditions {
        if !holds_one(condition, &context)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_one(condition: &Value, context: &Map<String, Value>) -> Result<bool, String> {
    let written = op_of(condition).trim();
    let (op, inverted) = match written.strip_prefix('!') {
        Some(op) => (op.trim(), true),
        None => (written, false),
    };
    let signature = OPERATORS
        .iter()
        .find(|s| s.op == op)
        .ok_or_else(|| format!("there is no operator {op}"))?;
    let check = |context: &Map<String, Value>, looped: bool| {
        let mut args = arguments(signature, condition, context, looped)?;
        if looped && signature.names.contains(&"force_strings") {
            args.insert("force_strings".into(), Value::Bool(true));
        }
        compare(op, &args).map(|result| result != inverted)
    };
    let Some(items) = items(condition) else {
        return check(context, false);
    };
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        let mut inner = context.clone();
        inner.insert("item".into(), item);
        results.push(check(&inner, true)?);
    }
    Ok(match condition.get("multiple").and_then(Value::as_str) {
        Some("all") => results.iter().all(|r| *r),
        Some("last") => results.last().copied().unwrap_or(false),
        // `first` is the first that holds, as upstream
        _ => results.iter().any(|r| *r),
    })
}

/// Equality as Python has it: numbers by value, true is 1.
fn equal(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| match v {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        other => other.as_f64(),
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Order among numbers, among texts and among lists.
fn order(a: &Value, b: &Value) -> Result<std::cmp::Ordering, String> {
    let unordered = || format!("{} and {} have no order", py_repr(a), py_repr(b));
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Array(left), Value::Array(right)) => {
            for (a, b) in left.iter().zip(right) {
                if !equal(a, b) {
                    return order(a, b);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        _ => {
            let number = |v: &Value| match v {
                Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
                other => other.as_f64(),
            };
            match (number(a), number(b)) {
                (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(unordered),
                _ => Err(unordered()),
            }
        }
    }
}

fn regex(args: &Map<String, Value>, whole: bool) -> Result<regex::Regex, String> {
    let pattern = args
        .get("regex")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let full = if whole {
        format!("^(?:{pattern})$")
    } else {
        pattern.to_owned()
    };
    regex::RegexBuilder::new(&full)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| format!("invalid regular expression {pattern:?}: {e}"))
}

fn compare(op: &str, args: &Map<String, Value>) -> Result<bool, String> {
    let value = args.get("value").unwrap_or(&Value::Null);
    let truth = || match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(n) => Some(n.as_f64() != Some(0.0)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Some(true),
            "no" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    };
    match op {
        "eq" | "lt" | "gt" => {
            let Some(Value::Array(values)) = args.get("values") else {
                return Err(format!("values of {op} is not a list"));
            };
            let strings = args.get("force_strings") == Some(&Value::Bool(true));
            let values: Vec<Value> = values
                .iter()
                .map(|v| if strings { py_str(v).into() } else { v.clone() })
                .collect();
            for pair in values.windows(2) {
                let [a, b] = pair else { continue };
                let fits = match op {
                    "eq" => equal(a, b),
                    "lt" => order(a, b)?.is_lt(),
                    _ => order(a, b)?.is_gt(),
                };
                if !fits {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        "is-empty" => Ok(matches!(py_str(value).as_str(), "" | "None" | "[]" | "{}")),
        "is-none" => Ok(value.is_null()),
        "is-true" => Ok(truth() == Some(true)),
        "is-false" => Ok(truth() == Some(false) || value.is_null()),
        "one-of" => Ok(match args.get("values") {
            Some(Value::Array(values)) => values.iter().any(|v| equal(v, value)),
            Some(Value::String(text)) => value.as_str().is_some_and(|v| text.contains(v)),
            _ => false,
        }),
        "in-net" => {
            let text = |key: &str| args.get(key).map(py_str).unwrap_or_default();
            let (address, subnet) = (text("address"), text("subnet"));
            let subnet = subnet
                .parse::<ipnet::IpNet>()
                .or_else(|_| subnet.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
                .map_err(|_| format!("{subnet:?} is not a subnet"))?;
            let address: std::net::IpAddr = address
                .parse()
                .map_err(|_| format!("{address:?} is not an IP address"))?;
            Ok(subnet.contains(&address))
        }
        "matches" => Ok(regex(args, true)?.is_match(&py_str(value))),
        "contains" => Ok(regex(args, false)?.is_match(&py_str(value))),
        _ => Err(format!("there is no operator {op}")),
    }
}

async fn act(
    found: &mut Findings,
    action: &Value,
    mask: bool,
    http: &reqwest::Client,
) -> Result<(), String> {
    let op = op_of(action);
    let signature = ACTIONS
        .iter()
        .find(|s| s.op == op)
        .ok_or_else(|| format!("there is no action {op}"))?;
    let Some(items) = items(action) else {
        let args = arguments(signature, action, &context(found, mask), false)?;
        return act_one(found, op, &args, http).await;
    };
    for item in items {
        // What the round before changed is seen by this one.
        let mut context = context(found, mask);
        context.insert("item".into(), item);
        let args = arguments(signature, action, &context, true)?;
        act_one(found, op, &args, http).await?;
    }
    Ok(())
}

/// `a.b` or `a/b`.
fn parts(args: &Map<String, Value>) -> Result<Vec<String>, String> {
    let path = args.get("path").map(py_str).unwrap_or_default();
    let parts: Vec<String> = path
        .split(['.', '/'])
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect();
    if parts.is_empty() {
        return Err("the path is empty".into());
    }
    Ok(parts)
}

async fn act_one(
    found: &mut Findings,
    op: &str,
    args: &Map<String, Value>,
    http: &reqwest::Client,
) -> Result<(), String> {
    let text = |key: &str| args.get(key).map(py_str).unwrap_or_default();
    let value = || args.get("value").cloned().unwrap_or_default();
    let unique = args.get("unique").is_some_and(|v| v == &Value::Bool(true));
    let failed = |why: String| format!("{op}: {why}");
    match op {
        "fail" => Err(text("msg")),
        "log" => {
            let level = args.get("level").map_or("info".to_owned(), py_str);
            let msg = text("msg");
            match level.to_ascii_lowercase().as_str() {
                "debug" => tracing::debug!(node = %found.node.id, "{msg}"),
                "info" => tracing::info!(node = %found.node.id, "{msg}"),
                "warning" => tracing::warn!(node = %found.node.id, "{msg}"),
                "error" | "critical" => tracing::error!(node = %found.node.id, "{msg}"),
                other => return Err(format!("log: there is no level {other}")),
            }
            found.notes.push(msg);
            Ok(())
        }
        "set-attribute" => found
            .edit(Edit::Set {
                path: parts(args)?,
                value: value(),
            })
            .map_err(failed),
        "extend-attribute" => found
            .edit(Edit::Extend {
                path: parts(args)?,
                value: value(),
                unique,
            })
            .map_err(failed),
        "del-attribute" => found
            .edit(Edit::Delete { path: parts(args)? })
            .map_err(failed),
        "set-capability" => found
            .edit(Edit::Capability {
                name: text("name"),
                value: Some(text("value")),
            })
            .map_err(failed),
        "unset-capability" => found
            .edit(Edit::Capability {
                name: text("name"),
                value: None,
            })
            .map_err(failed),
        "add-trait" => found.edit(Edit::AddTrait(text("name"))).map_err(failed),
        "remove-trait" => found.edit(Edit::RemoveTrait(text("name"))).map_err(failed),
        "set-plugin-data" => set_in(&mut found.plugin_data, &parts(args)?, value()).map_err(failed),
        "extend-plugin-data" => {
            extend_in(&mut found.plugin_data, &parts(args)?, value(), unique).map_err(failed)
        }
        "unset-plugin-data" => {
            let path = parts(args)?;
            if !delete_in(&mut found.plugin_data, &path) {
                found
                    .notes
                    .push(format!("there is no plugin data {}", path.join(".")));
            }
            Ok(())
        }
        "set-port-attribute" | "extend-port-attribute" | "del-port-attribute" => {
            let id = text("port_id");
            let port = found
                .ports
                .iter_mut()
                .find(|p| p.id.to_string() == id)
                .ok_or_else(|| failed(format!("the node has no port {id}")))?;
            let path = parts(args)?;
            match op {
                "set-port-attribute" => set_on_port(port, &path, value()),
                "extend-port-attribute" => match path.as_slice() {
                    [field, inner @ ..] if !inner.is_empty() => {
                        extend_in(port_object(port, field)?, inner, value(), unique)
                    }
                    _ => Err(format!("{} of a port is not a list", path.join("."))),
                },
                _ => match path.as_slice() {
                    [field] => set_on_port(port, std::slice::from_ref(field), Value::Null),
                    [field, inner @ ..] => {
                        if delete_in(port_object(port, field)?, inner) {
                            Ok(())
                        } else {
                            Err(format!("there is no {} to delete", path.join(".")))
                        }
                    }
                    [] => Err("the path is empty".into()),
                },
            }
            .map_err(failed)
        }
        "api-call" => api_call(args, http).await.map_err(failed),
        _ => Err(format!("there is no action {op}")),
    }
}

fn port_object<'a>(port: &'a mut Port, field: &str) -> Result<&'a mut Map<String, Value>, String> {
    match field {
        "extra" => Ok(&mut port.extra),
        "local_link_connection" => Ok(&mut port.local_link_connection),
        _ => Err(format!("a rule cannot change members of {field} of a port")),
    }
}

fn set_on_port(port: &mut Port, path: &[String], value: Value) -> Result<(), String> {
    let (field, inner) = path.split_first().ok_or("the path is empty")?;
    if !inner.is_empty() {
        return set_in(port_object(port, field)?, inner, value);
    }
    let text = || match &value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(format!("{field} of a port is a text")),
    };
    let flag = || match &value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{field} of a port is true or false")),
    };
    match field.as_str() {
        "name" => port.name = text()?,
        "description" => port.description = text()?,
        "physical_network" => port.physical_network = text()?,
        "vendor" => port.vendor = text()?,
        "category" => port.category = text()?,
        "pxe_enabled" => port.pxe_enabled = flag()?,
        "is_smartnic" => port.is_smartnic = flag()?,
        "extra" | "local_link_connection" => {
            let whole = match value {
                Value::Object(map) => map,
                Value::Null => Map::new(),
                _ => return Err(format!("{field} of a port is an object")),
            };
            *port_object(port, field)? = whole;
        }
        _ => return Err(format!("a rule cannot set {field} of a port")),
    }
    Ok(())
}

/// Longest pause between tries, and most tries.
const LONGEST_PAUSE: f64 = 30.0;
const MOST_TRIES: u64 = 10;

async fn api_call(args: &Map<String, Value>, http: &reqwest::Client) -> Result<(), String> {
    let number = |key: &str, default: f64| match args.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => text.parse().map_err(|_| format!("{key} is not a number")),
        Some(other) => other
            .as_f64()
            .ok_or_else(|| format!("{key} is not a number")),
    };
    let timeout = number("timeout", 5.0)?;
    if !(timeout > 0.0 && timeout <= 600.0) {
        return Err("timeout is not a time from 0 to 600 seconds".into());
    }
    let retries = args
        .get("retries")
        .map_or(Some(3), |v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
        .filter(|n| *n <= MOST_TRIES)
        .ok_or("retries is not a number from 0 to 10")?;
    let factor = number("backoff_factor", 0.3)?.clamp(0.0, LONGEST_PAUSE);
    let given = args.get("url").map(py_str).unwrap_or_default();
    let url = url::Url::parse(&given)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https"))
        .ok_or("url is not an http or https URL")?;
    // Without what may be a secret in it.
    let shown = format!("{}{}", url.host_str().unwrap_or_default(), url.path());
    let proxied;
    let client = match args.get("proxies").and_then(Value::as_object) {
        Some(proxies) if !proxies.is_empty() => {
            let proxy = proxies
                .get(url.scheme())
                .and_then(Value::as_str)
                .ok_or("proxies has none for the URL's scheme")?;
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| "the proxy is not a URL")?;
            proxied = reqwest::Client::builder()
                .proxy(proxy)
                .build()
                .map_err(|_| "no HTTP client with this proxy")?;
            &proxied
        }
        _ => http,
    };
    let mut last = String::new();
    for attempt in 0..=retries {
        if attempt > 0 {
            let pause =
                factor * f64::from(1u32 << u32::try_from(attempt - 1).unwrap_or(10).min(10));
            tokio::time::sleep(Duration::from_secs_f64(pause.min(LONGEST_PAUSE))).await;
        }
        let mut request = client
            .get(url.clone())
            .timeout(Duration::from_secs_f64(timeout));
        for (name, value) in args
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            request = request.header(name, py_str(value));
        }
        match request.send().await {
            Ok(reply) if reply.status().is_success() => return Ok(()),
            Ok(reply) => {
                last = format!("status {}", reply.status().as_u16());
                if !matches!(reply.status().as_u16(), 429 | 500 | 502 | 503 | 504) {
                    break;
                }
            }
            Err(error) => last = error.without_url().to_string(),
        }
    }
    Err(format!("the request to {shown} failed: {last}"))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
