//! Stories recorded from upstream's service (`record.py`), told again to ours on both engines.

use axum::body::Body;
use bessemer_store::testing::on_both;
use http::Request;
use serde_json::{Map, Value, json};

use crate::service::{HOST, Reply, Service};

/// Response headers that must be the same; `Allow` differs on purpose, since ours tells the truth.
const HEADERS: [&str; 5] = [
    "x-openstack-ironic-api-minimum-version",
    "x-openstack-ironic-api-maximum-version",
    "x-openstack-ironic-api-version",
    "location",
    "content-type",
];

async fn tell(story: &str) {
    let path = format!("{}/tests/goldens/{story}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let base = golden["base"].as_str().unwrap().to_owned();
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        let mut wrong = Vec::new();
        for (number, step) in golden["steps"].as_array().unwrap().iter().enumerate() {
            let reply = replay(&service, step).await;
            for difference in differences(step, &reply, &base) {
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
    })
    .await;
}

async fn replay(service: &Service, step: &Value) -> Reply {
    let mut request = Request::builder()
        .method(step["method"].as_str().unwrap())
        .uri(step["path"].as_str().unwrap())
        .header("host", HOST);
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
    service.send(request.body(Body::from(body)).unwrap()).await
}

fn differences(step: &Value, reply: &Reply, base: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let ours = step.get("ours");
    if let Some(status) = ours.and_then(|o| o.get("status")) {
        if *status != json!(reply.status.as_u16()) {
            wrong.push(format!(
                "status {} instead of our {status}: {}",
                reply.status, reply.text
            ));
        }
        return wrong;
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
    if let (Some(without), Some(map)) = (
        ours.and_then(|o| o.get("without"))
            .and_then(Value::as_array),
        want.as_object_mut(),
    ) {
        for name in without {
            map.remove(name.as_str().unwrap());
        }
    }
    // upstream's answer to a patch shows the lock of that very patch
    if step["method"] == "PATCH" && want.get("reservation").is_some() {
        want["reservation"] = Value::Null;
    }
    let (want, have) = (normal(want, base), normal(reply.json(), base));
    compare("", &want, &have, &mut wrong);
    wrong
}

/// Names the members in which two values differ.
fn compare(at: &str, want: &Value, have: &Value, wrong: &mut Vec<String>) {
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
fn normal(value: Value, base: &str) -> Value {
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
    let text = text.replace(base, "BASE");
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

#[tokio::test]
async fn root() {
    tell("root").await;
}

#[tokio::test]
async fn nodes() {
    tell("nodes").await;
}

#[tokio::test]
async fn query() {
    tell("query").await;
}

#[tokio::test]
async fn rules() {
    tell("rules").await;
}

#[tokio::test]
async fn patches() {
    tell("patches").await;
}

#[tokio::test]
async fn states() {
    tell("states").await;
}

#[tokio::test]
async fn ports() {
    tell("ports").await;
}

#[tokio::test]
async fn chassis() {
    tell("chassis").await;
}

#[tokio::test]
async fn drivers() {
    tell("drivers").await;
}

#[tokio::test]
async fn ramdisk() {
    tell("ramdisk").await;
}

/// The keys of a node stand in upstream's order.
#[tokio::test]
async fn order_of_keys() {
    let path = format!("{}/tests/goldens/nodes.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let database = bessemer_store::testing::sqlite();
    let service = Service::start(&database.settings).await;
    let mut seen = 0;
    for step in golden["steps"].as_array().unwrap() {
        let reply = replay(&service, step).await;
        let path = step["path"].as_str().unwrap();
        if step["method"] == "GET"
            && step["status"] == 200
            && path.starts_with("/v1/nodes/0")
            && !path.contains('?')
        {
            let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(
                keys(&reply.json()),
                keys(&step["answer"]),
                "{path} {}",
                step["version"]
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
