//! The API as an OpenAPI 3.1 document, `GET /v1/openapi.json`: made by walking the table of routes, so that it names exactly
//! what is served. What a route takes and gives stands in [`operations`], the schemas in [`node`] and [`resources`].
//!
//! One document describes all microversions: a member, a parameter or a method that came later than 1.1 says so in
//! `x-openstack`, the notation that OpenStack's own documents use. Members are never required in answers, since clients
//! choose `fields`; no object has members that are not named, except dictionaries that belong to users.

mod node;
mod operations;
mod resources;
mod types;

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::versions::{Endpoint, MAX_MINOR, MIN_MINOR, Method, ROUTES, Route};
use operations::{OPERATIONS, Operation, Query};
use types::{T, object, reference};

/// Where the document is.
pub const PATH: &str = "/v1/openapi.json";

/// `GET /v1/openapi.json`
pub async fn get(call: Call) -> Outcome {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    Args::of_query(&call, &[])?;
    let bytes = BYTES.get_or_init(|| Bytes::from(document().to_string()));
    Ok(Answer::bytes(bytes.clone()))
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let mut item = Map::new();
        for endpoint in route.endpoints {
            if let Some(operation) = find(route.path, endpoint.method) {
                item.insert(
                    endpoint.method.as_str().to_lowercase(),
                    describe(route, endpoint, operation),
                );
            }
        }
        if !item.is_empty() {
            paths.insert(route.path.into(), Value::Object(item));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bare Metal API",
            "version": format!("1.{MAX_MINOR}"),
            "description": format!(
                "OpenStack's Bare Metal API, microversions 1.{MIN_MINOR} to 1.{MAX_MINOR}, as Bessemer serves it. Without \
                 the header X-OpenStack-Ironic-API-Version a request is one of 1.{MIN_MINOR}."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"basic": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "parameters": {"version": {
                "name": "X-OpenStack-Ironic-API-Version", "in": "header",
                "description": "The microversion; `latest` is the newest.",
                "schema": {"type": "string", "pattern": "^(1\\.[1-9][0-9]{0,2}|latest)$"},
            }},
            "responses": {"fault": {
                "description": "Refused; the text says why.",
                "content": {"application/json": {"schema": reference("Error")}},
            }},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    })
}

/// The row of a method, when it has one.
#[must_use]
pub fn is_described(path: &str, method: Method) -> bool {
    path == "/healthcheck" || find(path, method).is_some()
}

fn find(path: &str, method: Method) -> Option<&'static Operation> {
    OPERATIONS
        .iter()
        .chain(HEALTHCHECK)
        .find(|o| o.path == path && o.method == method)
}

/// Its answer is a text, not JSON.
const HEALTHCHECK: &[Operation] = &[Operation {
    path: "/healthcheck",
    method: Method::Get,
    summary: "Whether the service and its database work",
    query: &[],
    request: None,
    answers: &[],
}];

fn describe(route: &Route, endpoint: &Endpoint, operation: &Operation) -> Value {
    let mut described = Map::new();
    described.insert("operationId".into(), name_of(operation).into());
    described.insert("summary".into(), operation.summary.into());
    described.insert("tags".into(), json!([tag(route.path)]));
    if endpoint.since > MIN_MINOR {
        described.insert(
            "x-openstack".into(),
            json!({"min-ver": format!("1.{}", endpoint.since)}),
        );
    }
    if !endpoint.policy.is_empty() {
        described.insert("x-policy".into(), endpoint.policy.into());
    }
    if !endpoint.partial.is_empty() {
        described.insert(
            "description".into(),
            format!("Not served: {}.", endpoint.partial).into(),
        );
    }
    if route.public {
        described.insert("security".into(), json!([{}]));
    }
    let mut parameters: Vec<Value> = segments(route.path).map(path_parameter).collect();
    parameters.extend(operation.query.iter().map(query_parameter));
    parameters.push(json!({"$ref": "#/components/parameters/version"}));
    described.insert("parameters".into(), parameters.into());
    if let Some(request) = operation.request {
        described.insert(
            "requestBody".into(),
            json!({
                "required": !takes_nothing(request),
                "content": {"application/json": {"schema": request.schema()}},
            }),
        );
    }
    described.insert("responses".into(), answers(operation));
    Value::Object(described)
}

/// A body that may be absent.
fn takes_nothing(request: T) -> bool {
    match request {
        T::Ref(name) => matches!(name, "Nothing" | "MaintenanceRequest"),
        T::Dict => true,
        T::Or(several) => several.iter().any(|t| takes_nothing(*t)),
        _ => false,
    }
}

fn answers(operation: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, body) in operation.answers {
        let mut answer = json!({"description": described_status(*status)});
        if let (Some(body), Some(answer)) = (body, answer.as_object_mut()) {
            let content = if operation.path.ends_with("/stream") {
                json!({"text/event-stream": {"schema": body.schema()}})
            } else {
                json!({"application/json": {"schema": body.schema()}})
            };
            answer.insert("content".into(), content);
        }
        answers.insert(status.to_string(), answer);
    }
    if operation.path == "/healthcheck" {
        for status in ["200", "503"] {
            answers.insert(
                status.into(),
                json!({"description": "What is wrong, if anything is.",
                       "content": {"text/plain; charset=UTF-8": {"schema": {"type": "string"}}}}),
            );
        }
    }
    let faults: &[&str] = match operation.path {
        // anyone may ask; the version is looked at all the same
        "/healthcheck" => &["400", "405", "406", "408", "413", "415"],
        _ => &[
            "400", "401", "403", "404", "405", "406", "408", "409", "413", "415", "429", "503",
        ],
    };
    for status in faults {
        answers.insert(
            (*status).into(),
            json!({"$ref": "#/components/responses/fault"}),
        );
    }
    Value::Object(answers)
}

fn described_status(status: u16) -> &'static str {
    match status {
        201 => "Created.",
        202 => "Accepted; the work goes on.",
        204 => "Done.",
        _ => "The answer.",
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Value {
    let what = match name {
        "ident" => "UUID or name of the node.",
        "portgroup" | "allocation" | "template" | "runbook" => "UUID or name.",
        "port" => "UUID, name or MAC address.",
        "chassis" | "connector" | "target" | "rule" | "event" => "UUID.",
        "indicator" => "indicator@component",
        _ => "Name.",
    };
    json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string", "minLength": 1}})
}

fn query_parameter(query: &Query) -> Value {
    let (name, kind, since) = query;
    let mut parameter = json!({"name": name, "in": "query", "schema": kind.schema()});
    if *since > MIN_MINOR
        && let Some(map) = parameter.as_object_mut()
    {
        map.insert(
            "x-openstack".into(),
            json!({"min-ver": format!("1.{since}")}),
        );
    }
    parameter
}

fn tag(path: &str) -> &str {
    match path
        .trim_start_matches("/v1")
        .trim_matches('/')
        .split('/')
        .next()
    {
        None | Some("") => "versions",
        Some(first) => first,
    }
}

fn name_of(operation: &Operation) -> String {
    let path: String = operation
        .path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let joined: Vec<&str> = path.split('_').filter(|part| !part.is_empty()).collect();
    format!(
        "{}_{}",
        operation.method.as_str().to_lowercase(),
        if joined.is_empty() {
            "root".into()
        } else {
            joined.join("_")
        }
    )
}

fn schemas() -> Value {
    let mut all = Map::new();
    all.insert("Links".into(), T::List(&T::Ref("Link")).schema());
    all.insert("Nothing".into(), object(&[], &[]));
    all.insert(
        "Error".into(),
        T::Or(&[
            T::Ref("WrappedFault"),
            T::Ref("Fault"),
            T::Ref("AuthenticationFault"),
        ])
        .schema(),
    );
    all.insert("Node".into(), object(&node::node_members(), &[]));
    all.insert("Port".into(), object(&resources::port_members(), &[]));
    // besides the id, what the network interface makes of it
    all.insert(
        "VifRequest".into(),
        json!({"type": "object", "required": ["id"], "additionalProperties": true,
               "properties": {"id": T::Text.schema(), "port_uuid": T::Text.schema(), "portgroup_uuid": T::Text.schema()}}),
    );
    for one in node::OBJECTS.iter().chain(resources::OBJECTS) {
        all.insert(one.name.into(), one.schema());
    }
    for (name, list, item) in resources::COLLECTIONS {
        let mut schema = object(&[("next", T::Text, MIN_MINOR)], &[]);
        if let Some(map) = schema.as_object_mut() {
            map.insert("required".into(), json!([list]));
            if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
                properties.insert(
                    (*list).into(),
                    json!({"type": "array", "items": reference(item)}),
                );
            }
        }
        all.insert((*name).into(), schema);
    }
    Value::Object(all)
}
