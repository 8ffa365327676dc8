//! The OpenAPI document: complete, closed, and true of the answers that were recorded from upstream's own service.

use std::collections::BTreeMap;

use bessemer_api::openapi;
use bessemer_api::versions::ROUTES;
use http::Request;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::service::{HOST, Service};

/// Requests that upstream accepts although its own rules refuse them, or that the golden's step is there to show.
fn lax(path: &str) -> bool {
    // vendors' methods and the agent's data are not ours to describe
    path.contains("/vendor_passthru/")
        // upstream passes over members of conditions and actions that it does not know
        || path.starts_with("/v1/inspection_rules")
}

#[test]
fn every_route_and_method_is_described() {
    let document = openapi::document();
    for route in ROUTES {
        for endpoint in route.endpoints {
            let (path, method) = (route.path, endpoint.method.as_str());
            assert!(
                openapi::is_described(path, endpoint.method),
                "{method} {path} has no row in crates/api/src/openapi/operations.rs"
            );
            let operation = &document["paths"][path][method.to_lowercase()];
            let answers = operation["responses"].as_object().unwrap();
            assert!(
                answers.keys().any(|status| status.starts_with('2')),
                "{method} {path} has no answer"
            );
            let takes = matches!(method, "POST" | "PUT" | "PATCH");
            assert_eq!(
                operation["requestBody"].is_object(),
                takes,
                "{method} {path}"
            );
            for parameter in path.split('/').filter(|s| s.starts_with('{')) {
                let name = parameter.trim_matches(['{', '}']);
                assert!(
                    operation["parameters"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|p| p["name"] == name),
                    "{method} {path}: {name}"
                );
            }
        }
    }
    let mut names = BTreeMap::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            *names
                .entry(operation["operationId"].to_string())
                .or_insert(0) += 1;
        }
    }
    assert!(names.values().all(|n| *n == 1), "{names:?}");
}

/// Every schema says what type it is and every object of ours says which members it has.
#[test]
fn no_schema_is_open() {
    fn walk(at: &str, schema: &Value, document: &Value) {
        let map = schema
            .as_object()
            .unwrap_or_else(|| panic!("{at} is {schema}"));
        if let Some(reference) = map.get("$ref") {
            let pointer = reference.as_str().unwrap().trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{at}: {pointer}");
            return;
        }
        if let Some(several) = map.get("anyOf") {
            for one in several.as_array().unwrap() {
                walk(at, one, document);
            }
            return;
        }
        let types = match &map["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().map(|t| t.as_str().unwrap()).collect(),
            other => panic!("{at} has the type {other}"),
        };
        // any JSON
        if types.len() == 6 {
            return;
        }
        if types.contains(&"object") {
            let more = map
                .get("additionalProperties")
                .unwrap_or_else(|| panic!("{at} is open"));
            let members = map.get("properties").and_then(Value::as_object);
            match more {
                Value::Bool(true) => {
                    // a dictionary of the users' own
                    assert!(members.is_none() || at == "VifRequest", "{at} is open");
                }
                Value::Bool(false) => assert!(members.is_some(), "{at} has no members"),
                schema => walk(&format!("{at}/*"), schema, document),
            }
            for (name, member) in members.into_iter().flatten() {
                walk(&format!("{at}/{name}"), member, document);
            }
        }
        if types.contains(&"array") {
            walk(&format!("{at}[]"), &map["items"], document);
        }
    }
    let document = openapi::document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        walk(name, schema, &document);
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                for content in answer["content"].as_object().into_iter().flatten() {
                    walk(
                        &format!("{method} {path} {status}"),
                        &content.1["schema"],
                        &document,
                    );
                }
            }
            for content in operation["requestBody"]["content"]
                .as_object()
                .into_iter()
                .flatten()
            {
                walk(&format!("{method} {path}"), &content.1["schema"], &document);
            }
        }
    }
}

/// The schemas of the document, compiled as they are needed.
struct Schemas {
    document: Value,
    compiled: BTreeMap<String, Validator>,
}

impl Schemas {
    fn complaints(&mut self, schema: &Value, value: &Value) -> Vec<String> {
        let validator = self.compiled.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = json!({"components": self.document["components"], "allOf": [schema]});
            whole["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
            jsonschema::options()
                .should_validate_formats(true)
                .build(&whole)
                .unwrap()
        });
        validator
            .iter_errors(value)
            .map(|e| format!("{} {e}", e.instance_path()))
            .collect()
    }

    /// The described path that a request's path is an instance of; literal segments win.
    fn path_of(&self, path: &str) -> Option<String> {
        let path = path.split('?').next().unwrap().trim_end_matches('/');
        let path = if path.is_empty() { "/" } else { path };
        let parts: Vec<&str> = path.split('/').collect();
        self.document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|known| {
                let known: Vec<&str> = known.split('/').collect();
                known.len() == parts.len()
                    && known
                        .iter()
                        .zip(&parts)
                        .all(|(k, p)| k == p || k.starts_with('{'))
            })
            .min_by_key(|known| known.matches('{').count())
            .cloned()
    }
}

#[test]
fn recorded_answers_are_as_described() {
    let document = openapi::document();
    let mut schemas = Schemas {
        document,
        compiled: BTreeMap::new(),
    };
    let goldens = format!("{}/tests/goldens", env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut answers, mut requests) = (Vec::new(), 0, 0);
    for file in std::fs::read_dir(goldens).unwrap() {
        let golden: Value =
            serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        // `SEED` is no request, and of the personas only a part of each answer is recorded
        let steps = golden["steps"].as_array().unwrap();
        for step in steps
            .iter()
            .filter(|step| step["method"] != "SEED" && step.get("answer").is_some())
        {
            let (method, path) = (
                step["method"].as_str().unwrap(),
                step["path"].as_str().unwrap(),
            );
            let what = format!("{method} {path} {}", step["version"]);
            let status = step["status"].as_u64().unwrap();
            if status >= 400 && step["answer"].is_object() {
                let error = json!({"$ref": "#/components/schemas/Error"});
                for text in schemas.complaints(&error, &step["answer"]) {
                    wrong.push(format!("{what} {status}: {text}"));
                }
                continue;
            }
            let Some(known) = schemas.path_of(path) else {
                continue;
            };
            let operation = schemas.document["paths"][&known][method.to_lowercase()].clone();
            if status >= 300 || operation.is_null() {
                continue;
            }
            let Some(answer) = operation["responses"].get(status.to_string()) else {
                wrong.push(format!("{what}: status {status} is not described"));
                continue;
            };
            let schema = &answer["content"]["application/json"]["schema"];
            if schema.is_null() {
                if !step["answer"].is_null() && step["answer"] != json!("") {
                    wrong.push(format!("{what}: an answer where none is described"));
                }
            } else {
                answers += 1;
                for text in schemas.complaints(schema, &step["answer"]) {
                    wrong.push(format!("{what}: {text}"));
                }
            }
            let body = &step["body"];
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() && !schema.is_null() && !lax(path) {
                requests += 1;
                for text in schemas.complaints(schema, body) {
                    wrong.push(format!("{what}: request {body}: {text}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        answers > 250 && requests > 60,
        "{answers} answers, {requests} requests"
    );
}

/// The judge itself: what is not described is seen.
#[test]
fn the_schemas_refuse_what_is_not_described() {
    let mut schemas = Schemas {
        document: openapi::document(),
        compiled: BTreeMap::new(),
    };
    let node = json!({"$ref": "#/components/schemas/Node"});
    assert!(
        schemas
            .complaints(
                &node,
                &json!({"uuid": "0000000a-0000-4000-8000-000000000001"})
            )
            .is_empty()
    );
    for bad in [
        json!({"nosuch": 1}),
        json!({"uuid": "x"}),
        json!({"maintenance": "true"}),
        json!({"extra": []}),
        json!({"created_at": "yesterday"}),
        json!({"links": [{"href": 1}]}),
        json!([]),
    ] {
        assert!(!schemas.complaints(&node, &bad).is_empty(), "{bad}");
    }
}

#[tokio::test]
async fn it_is_served_at_every_version() {
    let database = bessemer_store::testing::sqlite();
    let service = Service::start(&database.settings).await;
    let want = openapi::document();
    for version in [None, Some("1.1"), Some("1.34"), Some("1.90"), Some("1.115")] {
        for path in [openapi::PATH, "/openapi.json"] {
            let mut request = Request::get(path).header("host", HOST);
            if let Some(version) = version {
                request = request.header("x-openstack-ironic-api-version", version);
            }
            let reply = service
                .send(request.body(axum::body::Body::empty()).unwrap())
                .await;
            assert_eq!(reply.status, 200, "{path} {version:?} {}", reply.text);
            assert!(reply.json() == want, "{path} {version:?}");
        }
    }
}
