//! What no client should send: never a 500, never a panic.

use axum::body::Body;
use bessemer_api::fuzz;
use bessemer_config::Config;
use bessemer_store::testing::sqlite;
use http::{Request, StatusCode};
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::service::{HOST, Reply, Service};

async fn raw(
    service: &Service,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", HOST)
        .header("x-openstack-ironic-api-version", "1.115")
        .header("content-type", content_type)
        .body(Body::from(body.to_vec()))
        .unwrap();
    service.send(request).await
}

#[tokio::test]
async fn bodies_are_guarded() {
    let database = sqlite();
    let mut config = Config::dev();
    config.api.max_json_body_size = 1;
    config.api.max_json_body_size_provision = 4;
    config.api.max_json_body_depth = 5;
    let service = Service::with(&database.settings, config).await;
    let check = async |method: &str,
                       path: &str,
                       content_type: &str,
                       body: &str,
                       status: u16,
                       text: &str| {
        let reply = raw(&service, method, path, content_type, body.as_bytes()).await;
        assert_eq!(reply.status.as_u16(), status, "{body:.50}: {}", reply.text);
        assert!(reply.text.contains(text), "{body:.50}: {}", reply.text);
        reply
    };
    let big = format!("{{\"driver\": \"{}\"}}", "x".repeat(2000));
    let reply = check(
        "POST",
        "/v1/nodes",
        "application/json",
        &big,
        413,
        "too large",
    )
    .await;
    assert!(
        reply.json().get("error_message").is_none(),
        "bare: {}",
        reply.text
    );
    check(
        "PUT",
        "/v1/nodes/x/states/provision",
        "application/json",
        &big,
        400,
        "Unexpected arguments",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "application/json",
        "{\"extra\": [[[[[]]]]]}",
        400,
        "nested too deeply",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "application/json",
        "{\"extra\": \"[[[[[[[\"",
        400,
        "not valid JSON",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "application/json",
        "{",
        400,
        "line 1 column",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "multipart/form-data",
        "x",
        415,
        "application/json",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "multipart/form-data; boundary=a",
        "--a",
        415,
        "application/json",
    )
    .await;
    check(
        "POST",
        "/v1/nodes",
        "text/plain",
        "{}",
        400,
        "'driver' is a required property",
    )
    .await;
}

#[tokio::test]
async fn odd_paths_methods_and_queries() {
    let database = sqlite();
    let service = Service::start(&database.settings).await;
    let id = "0000000a-0000-4000-8000-000000000001";
    service
        .ask(
            "POST",
            "/v1/nodes",
            Some(json!({"uuid": id, "driver": "fake-hardware"})),
        )
        .await;
    let check = async |method: &str, path: &str, status: u16, allow: Option<&str>| {
        let reply = service.ask(method, path, None).await;
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{method} {path}: {}",
            reply.text
        );
        let have = reply.headers.get("allow").map(|v| v.to_str().unwrap());
        assert_eq!(have, allow, "{method} {path}");
    };
    check("DELETE", "/v1/nodes", 405, Some("GET, POST")).await;
    check("HEAD", "/v1/nodes", 405, Some("GET, POST")).await;
    check("HEAD", "/v1", 200, None).await;
    check("OPTIONS", "/v1/nodes/x", 405, Some("DELETE, GET, PATCH")).await;
    check("POST", "/v1/nodes/x", 405, Some("DELETE, GET, PATCH")).await;
    check("BREW", "/v1/nodes", 405, Some("GET, POST")).await;
    check("GET", "/v1//nodes", 404, None).await;
    check("GET", "/v1/nodes/%2e%2e", 404, None).await;
    check("GET", "/v1/nodes/%00", 400, None).await;
    check("GET", "/v1/nodes/%ff", 400, None).await;
    check("GET", "/v1/nodes?limit=99999999999999999999", 400, None).await;
    check("GET", "/v1/nodes?limit=5&limit=6", 400, None).await;
    check("GET", "/v1/nodes?%ff=%fe", 400, None).await;
    check("GET", "/v1/nodes?fields=uuid&fields=name", 200, None).await;
    check("GET", "/v1/nodes?fields=", 200, None).await;
    check(
        "GET",
        &format!("/v1/nodes/{id}/timeline?after=x"),
        400,
        None,
    )
    .await;
    check(
        "GET",
        &format!("/v1/nodes/{id}/timeline?limit=0"),
        400,
        None,
    )
    .await;
    check("GET", &format!("/v1/nodes/{id}/history/x"), 404, None).await;
    check("GET", &format!("/v1/nodes/{id}.json"), 404, None).await;

    // a suffix that old clients add
    let reply = service
        .call("GET", &format!("/v1/nodes/{id}.json"), "1.90", None)
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = service.call("GET", "/v1/nodes.json", "1.90", None).await;
    assert_eq!(reply.status, StatusCode::OK);
}

/// Every route with every method and a few bodies of every shape.
#[tokio::test]
async fn no_request_is_a_server_error() {
    let database = sqlite();
    let service = Service::start(&database.settings).await;
    let id = "0000000a-0000-4000-8000-000000000001";
    let bodies = [
        "",
        "{",
        "null",
        "5",
        "\"x\"",
        "[]",
        "[null]",
        "{}",
        "[{}]",
        "\u{feff}",
        "{\"a\":1e999}",
        r#"{"target": null}"#,
        r#"{"target": ["x"]}"#,
        r#"{"driver": "fake-hardware", "extra": 5}"#,
        r#"{"traits": [null]}"#,
        r#"{"address": null, "node_uuid": null}"#,
        r#"{"boot_device": null}"#,
        r#"[{"op": "add", "path": "/extra/a", "value": {"b": [1]}}]"#,
        r#"[{"op": "remove", "path": "/uuid"}]"#,
        r#"{"callback_url": null, "agent_token": 5}"#,
        r#"{"reason": null, "enabled": "maybe"}"#,
        r#"{"target": "active", "configdrive": {"meta_data": 5}}"#,
        r#"{"target": "clean", "clean_steps": [5]}"#,
    ];
    for version in ["1.1", "1.36", "1.115"] {
        for route in bessemer_api::versions::ROUTES {
            let path = route
                .path
                .replace("{ident}", id)
                .replace("{port}", id)
                .replace("{chassis}", id)
                .replace("{driver}", "x")
                .replace("{hostname}", "x")
                .replace("{trait}", "CUSTOM_X")
                .replace("{event}", id);
            for endpoint in route.endpoints {
                for body in bodies {
                    if service.store.count_nodes().await.unwrap() == 0 {
                        let body = json!({"uuid": id, "driver": "fake-hardware"});
                        service.ask("POST", "/v1/nodes", Some(body)).await;
                    }
                    let request = Request::builder()
                        .method(endpoint.method.as_str())
                        .uri(&path)
                        .header("host", HOST)
                        .header("x-openstack-ironic-api-version", version)
                        .header("content-type", "application/json")
                        .body(Body::from(body))
                        .unwrap();
                    let reply = service.send(request).await;
                    assert!(
                        !reply.status.is_server_error(),
                        "{} {path} {version} {body}: {} {}",
                        endpoint.method.as_str(),
                        reply.status,
                        reply.text
                    );
                    if !reply.status.is_success() && reply.status != StatusCode::PAYLOAD_TOO_LARGE {
                        reply.refusal();
                    }
                }
            }
        }
    }
}

#[test]
fn parsers_survive_anything() {
    type Target = fn(&[u8]);
    let samples: [(Target, &[u8]); 5] = [
        (fuzz::fuzz_microversion, b"baremetal 1.34, compute 2.1"),
        (fuzz::fuzz_events, br#"{"events": [{"event": "network.bind_port", "port_id": "00000000-0000-4000-8000-000000000001", "mac_address": "52:54:00:00:00:01", "status": "ACTIVE", "device_id": null}]}"#),
        (fuzz::fuzz_report, br#"{"inventory": {"bmc_address": "192.0.2.1", "interfaces": [{"mac_address": "52:54:00:00:00:01", "name": null}]}, "x": 1}"#),
        (fuzz::fuzz_json_patch, br#"[{"op": "add", "path": "/extra/a/2/b", "value": {"c": [1]}}, {"op": "remove", "path": "/extra/a/0"}]"#),
        (fuzz::fuzz_node_body, br#"{"driver": "fake-hardware", "extra": {"a": "\u0041"}, "maintenance": "yes", "network_data": {"links": []}}"#),
    ];
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    for (target, valid) in samples {
        target(valid);
        for _ in 0..3000 {
            let mut bytes = valid.to_vec();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"/~0[]{}\"-1"[rng.random_range(0..10)]),
                }
                if bytes.is_empty() {
                    bytes.push(b'x');
                }
            }
            target(&bytes);
        }
    }
}
