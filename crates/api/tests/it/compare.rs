//! Recorded stories: their requests, how they are told again, and how answers are compared with the recorded ones. Shared with
//! the crate `tests`.

use std::path::Path;

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

/// The address by which our service is asked when the story is told to a host of its own.
const HERE: &str = "http://127.0.0.1:16385";

/// Response headers that must be the same; `Allow` differs on purpose, since ours tells the truth.
const HEADERS: [&str; 5] = [
    "x-openstack-ironic-api-minimum-version",
    "x-openstack-ironic-api-maximum-version",
    "x-openstack-ironic-api-version",
    "location",
    "content-type",
];

/// The request of a step.
pub fn request(step: &Value, host: &str) -> Request<Body> {
    let mut request = Request::builder()
        .method(step["method"].as_str().unwrap())
        .uri(step["path"].as_str().unwrap())
        .header("host", host);
    if let Some(version) = step["version"].as_str() {
        request = request.header("x-openstack-ironic-api-version", version);
    }
    if let Some(headers) = step.get("headers").and_then(Value::as_object) {
        for (name, value) in headers {
            request = request.header(name, value.as_str().unwrap());
        }
    }
    let body = match (step.get("raw"), step.get("body")) {
        (Some(raw), _) => raw.as_str().unwrap().to_owned(),
        (None, Some(body)) => body.to_string(),
        (None, None) => String::new(),
    };
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Body::from(body)).unwrap()
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

/// What the router answers.
pub async fn ask(router: &axum::Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Reply {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// Who tells a story again.
pub trait Teller {
    /// Does what a step asks for that is no request; false when the step is a request.
    async fn between(&self, step: &Value) -> bool;

    /// In what the answer to a step differs from the recorded one.
    fn judge(&self, step: &Value, reply: &Reply, base: &str) -> Vec<String> {
        differences(step, reply, base)
    }
}

/// The recorded story of that name.
pub fn golden(story: &str) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let goldens = ["tests/goldens", "../crates/api/tests/goldens"].map(|dir| here.join(dir));
    let goldens = goldens.iter().find(|dir| dir.is_dir()).unwrap();
    let text = std::fs::read_to_string(goldens.join(format!("{story}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Tells a story to a service and panics when an answer differs; how many answers were compared.
pub async fn tell(
    story: &str,
    router: &axum::Router,
    host: Option<&str>,
    teller: &impl Teller,
) -> usize {
    let golden = golden(story);
    let base = golden["base"].as_str().unwrap();
    let host = host.unwrap_or_else(|| base.strip_prefix("http://").unwrap());
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (number, step) in golden["steps"].as_array().unwrap().iter().enumerate() {
        if teller.between(step).await {
            continue;
        }
        compared += 1;
        let reply = ask(router, request(step, host)).await;
        for difference in teller.judge(step, &reply, base) {
            wrong.push(format!(
                "{story} {number}: {} {} {} {}\n    {difference}",
                step["method"].as_str().unwrap(),
                step["path"].as_str().unwrap(),
                step["version"],
                step.get("body").or(step.get("raw")).unwrap_or(&Value::Null),
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    compared
}

/// In what an answer differs from the recorded one. A step may be marked as a deviation (`ours`, see `record.py`): then the
/// answer must be as the mark says, and a mark without a difference is one itself.
pub fn differences(step: &Value, reply: &Reply, base: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let ours = step.get("ours");
    if let Some(status) = ours.and_then(|o| o.get("status")) {
        if *status != json!(reply.status.as_u16()) {
            wrong.push(format!(
                "status {} instead of our {status}: {}",
                reply.status, reply.text
            ));
        } else if unmarked(step, reply, base).is_empty() {
            wrong.push("is marked as a deviation, but the answer is upstream's".into());
        }
        return wrong;
    }
    if ours.is_some_and(|o| o.get("differs").is_some() || o.get("fault").is_some())
        && unmarked(step, reply, base).is_empty()
    {
        wrong.push("is marked as a deviation, but the answer is upstream's".into());
    }
    if step["status"] != json!(reply.status.as_u16()) {
        wrong.push(format!(
            "status {} instead of {}: {} instead of {}",
            reply.status, step["status"], reply.text, step["answer"]
        ));
        return wrong;
    }
    for name in HEADERS {
        let want = step["seen"].get(name).and_then(Value::as_str);
        let have = reply.headers.get(name).map(|v| v.to_str().unwrap());
        let plain = |v: Option<&str>| v.map(|v| anonymous(v, base));
        if plain(want) != plain(have) {
            wrong.push(format!("header {name}: {have:?} instead of {want:?}"));
        }
    }
    let mut want = step["answer"].clone();
    if let Some(sentence) = ours.and_then(|o| o.get("fault")) {
        let inner = want["error_message"].as_str().unwrap();
        let mut inner: Value = serde_json::from_str(inner).unwrap();
        inner["faultstring"] = sentence.clone();
        want["error_message"] = inner.to_string().into();
    }
    if let (Some(without), Some(map)) = (
        ours.and_then(|o| o.get("without"))
            .and_then(Value::as_array),
        want.as_object_mut(),
    ) {
        for name in without {
            let name = name.as_str().unwrap();
            if map.remove(name).is_none() {
                wrong.push(format!(
                    "{name} is marked as missing, but upstream has none"
                ));
            }
        }
    }
    let mut have = reply.json();
    if let (Some(with), Some(map)) = (
        ours.and_then(|o| o.get("with")).and_then(Value::as_array),
        have.as_object_mut(),
    ) {
        for name in with {
            let name = name.as_str().unwrap();
            if map.remove(name).is_none() {
                wrong.push(format!("{name} is missing"));
            }
        }
    }
    if let Some(differs) = ours
        .and_then(|o| o.get("differs"))
        .and_then(Value::as_array)
    {
        drop_members(&mut want, differs);
        drop_members(&mut have, differs);
    }
    if ours.is_some_and(|o| o.get("keys").is_some()) {
        bare(&mut want);
        bare(&mut have);
    }
    if ours.is_some_and(|o| o.get("without_descriptions").is_some()) {
        for value in [&mut want, &mut have] {
            for method in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
                method["description"] = Value::Null;
            }
        }
    }
    // upstream's answer to a patch shows the lock of that very patch
    if step["method"] == "PATCH" && want.get("reservation").is_some() {
        want["reservation"] = Value::Null;
    }
    let (want, have) = (normal(want, base), normal(have, base));
    compare("", &want, &have, &mut wrong);
    wrong
}

/// In what an answer differs, whatever is marked.
fn unmarked(step: &Value, reply: &Reply, base: &str) -> Vec<String> {
    let mut plain = step.clone();
    if let Some(map) = plain.as_object_mut() {
        map.remove("ours");
    }
    differences(&plain, reply, base)
}

/// Takes members out at any depth.
fn drop_members(value: &mut Value, names: &[Value]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !names.iter().any(|name| name == key));
            map.values_mut().for_each(|v| drop_members(v, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| drop_members(v, names)),
        _ => {}
    }
}

/// Keys without their values.
fn bare(value: &mut Value) {
    for value in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
        *value = Value::Null;
    }
}

/// Names the members in which two values differ.
pub fn compare(at: &str, want: &Value, have: &Value, wrong: &mut Vec<String>) {
    match (want, have) {
        (Value::Object(w), Value::Object(h)) => {
            for key in w.keys().chain(h.keys().filter(|k| !w.contains_key(*k))) {
                let of = |map: &Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_else(|| json!("(absent)"))
                };
                compare(&format!("{at}/{key}"), &of(w), &of(h), wrong);
            }
        }
        (Value::Array(w), Value::Array(h)) if w.len() == h.len() => {
            for (number, (w, h)) in w.iter().zip(h).enumerate() {
                compare(&format!("{at}/{number}"), w, h, wrong);
            }
        }
        _ if want == have => {}
        _ => wrong.push(format!("{at}: {have} instead of {want}")),
    }
}

/// A value without what differs from run to run.
pub fn normal(value: Value, base: &str) -> Value {
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
                        // upstream lets it go false after a minute on SQLite
                        ("alive", Value::Bool(_)) => Value::Bool(true),
                        // sets, in no order
                        (key, Value::Array(mut items)) if key.starts_with("enabled_") => {
                            items.sort_by_key(ToString::to_string);
                            Value::Array(items)
                        }
                        (_, value) => value,
                    };
                    (key, normal(value, base))
                })
                .collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(|v| normal(v, base)).collect(),
        Value::String(text) => Value::String(anonymous(&text, base)),
        other => other,
    }
}

/// Times, the service's address, and UUIDs that the story did not choose.
fn anonymous(text: &str, base: &str) -> String {
    if text.len() == 32 && text.ends_with("+00:00") && text.as_bytes()[10] == b'T' {
        return "TIME".into();
    }
    let text = text.replace(base, "BASE").replace(HERE, "BASE");
    let mut out = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        if let Some(head) = rest.get(..36)
            && uuid::Uuid::parse_str(head).is_ok()
            && !head.starts_with("0000000a-")
        {
            out.push_str("UUID");
            rest = &rest[36..];
            continue;
        }
        let c = rest.chars().next().unwrap();
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}
