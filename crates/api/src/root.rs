//! `GET /` and `GET /v1`: the version documents, from which clients negotiate.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, Outcome};
use crate::versions::{COLLECTIONS, MAX_MINOR, MIN_MINOR, ROUTES};

fn version(call: &Call) -> Value {
    json!({
        "id": "v1",
        "links": [{"href": format!("{}/v1/", call.base), "rel": "self"}],
        "status": "CURRENT",
        "min_version": format!("1.{MIN_MINOR}"),
        "version": format!("1.{MAX_MINOR}"),
    })
}

/// `GET /`
pub async fn versions(call: Call) -> Outcome {
    Ok(Answer::json(&json!({
        "name": "OpenStack Ironic API",
        "description": "Ironic is an OpenStack project which enables the provision and management of baremetal machines.",
        "default_version": version(&call),
        "versions": [version(&call)],
    })))
}

/// `GET /v1`
pub async fn v1(call: Call) -> Outcome {
    let mut document = Map::new();
    document.insert("id".into(), "v1".into());
    document.insert(
        "links".into(),
        json!([
            {"href": format!("{}/v1/", call.base), "rel": "self"},
            {"href": "https://docs.openstack.org//ironic/latest/contributor//webapi.html",
             "rel": "describedby", "type": "text/html"}
        ]),
    );
    document.insert(
        "media_types".into(),
        json!({"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}),
    );
    for name in ["chassis", "nodes", "ports", "drivers"] {
        document.insert(name.into(), call.links(&format!("{name}/")));
    }
    document.insert("version".into(), version(&call));
    for (name, since) in COLLECTIONS {
        let path = format!("/v1/{name}");
        let served = ROUTES.iter().any(|r| {
            r.path
                .strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if served && call.at_least(*since) {
            document.insert((*name).into(), call.links(&format!("{name}/")));
        }
    }
    Ok(Answer::json(&Value::Object(document)))
}
