//! What lists cost: as many statements for many as for few, and bodies that are sent while they are made.

use std::collections::BTreeMap;

use bessemer_api::versions::{Method, ROUTES};
use bessemer_store::testing::on_both;
use serde_json::{Value, json};

use crate::seed::seed;
use crate::service::Service;

fn node(n: u32) -> String {
    format!("0000000a-0000-4000-8000-{n:012x}")
}

/// The first node has everything below it.
const FIRST: &str = "0000000a-0000-4000-8000-000000000000";
const CHASSIS: &str = "0000000c-0000-4000-8000-000000000000";
const GROUP: &str = "0000000d-0000-4000-8000-000000000000";

/// Creates members of every collection that can be created in.
async fn fill(service: &Service, from: u32, to: u32) {
    let create = async |path: &str, body: Value| {
        let reply = service.ask("POST", path, Some(body)).await;
        assert_eq!(reply.status.as_u16(), 201, "{path}: {}", reply.text);
    };
    if from == 0 {
        create("/v1/chassis", json!({"uuid": CHASSIS})).await;
    }
    for n in from..to {
        let mut body = json!({"uuid": node(n), "name": format!("n{n}"), "driver": "fake-hardware", "chassis_uuid": CHASSIS});
        if n > 0 {
            body["parent_node"] = json!(if n % 2 == 0 {
                Value::Null
            } else {
                json!(FIRST)
            });
        }
        create("/v1/nodes", body).await;
        let address = format!("52:54:00:00:00:{n:02x}");
        if n == 0 {
            create("/v1/portgroups", json!({"uuid": GROUP, "node_uuid": FIRST})).await;
        }
        create(
            "/v1/ports",
            json!({"node_uuid": FIRST, "address": address, "portgroup_uuid": GROUP}),
        )
        .await;
        create("/v1/allocations", json!({"resource_class": "none"})).await;
        let event = json!({"uuid": node(n), "severity": "INFO", "event_type": "t", "event": "e"});
        seed(
            &service.store,
            &format!("/history/{FIRST}"),
            &json!([event]),
        )
        .await;
        let status = service
            .ask("PUT", &format!("/v1/nodes/{FIRST}/traits/CUSTOM_{n}"), None)
            .await
            .status;
        assert_eq!(status.as_u16(), 204);
        for (path, body) in [
            ("/v1/chassis", json!({"description": format!("c{n}")})),
            (
                "/v1/portgroups",
                json!({"node_uuid": FIRST, "address": format!("52:54:00:00:01:{n:02x}")}),
            ),
            (
                "/v1/deploy_templates",
                json!({"name": format!("CUSTOM_D{n}"),
                "steps": [{"interface": "deploy", "step": "s", "args": {}, "priority": 1}]}),
            ),
            (
                "/v1/runbooks",
                json!({"name": format!("CUSTOM_R{n}"),
                "steps": [{"interface": "deploy", "step": "s", "args": {}, "order": 1}]}),
            ),
            (
                "/v1/inspection_rules",
                json!({"actions": [{"op": "set-attribute", "args": {"path": "/extra/a", "value": "b"}}]}),
            ),
            (
                "/v1/volume/connectors",
                json!({"node_uuid": FIRST, "type": "iqn", "connector_id": format!("c{n}")}),
            ),
            (
                "/v1/volume/targets",
                json!({"node_uuid": FIRST, "volume_type": "iscsi", "boot_index": n, "volume_id": "v"}),
            ),
        ] {
            let served = ROUTES.iter().any(|route| {
                route.path == path && route.endpoints.iter().any(|e| e.method == Method::Post)
            });
            if served {
                create(path, body).await;
            }
        }
    }
}

/// Statements of every list, and its length.
async fn costs(service: &Service) -> BTreeMap<String, (u64, usize)> {
    let mut costs = BTreeMap::new();
    for route in ROUTES {
        if !route.endpoints.iter().any(|e| e.method == Method::Get) {
            continue;
        }
        let path = route
            .path
            .replace("{ident}", FIRST)
            .replace("{chassis}", CHASSIS)
            .replace("{portgroup}", GROUP);
        if path.contains('{') {
            continue;
        }
        // behind the first of each list, too
        let first = service.ask("GET", &format!("{path}?limit=1"), None).await;
        let marked = first
            .status
            .is_success()
            .then(|| serde_json::from_str::<Value>(&first.text).ok())
            .flatten()
            .and_then(|answer| {
                let lists = answer.as_object()?.values().filter_map(Value::as_array);
                let marker = lists
                    .flatten()
                    .find_map(|one| one["uuid"].as_str())?
                    .to_owned();
                Some(format!("{path}?marker={marker}&limit=1000"))
            });
        let sorted = matches!(route.path, "/v1/nodes" | "/v1/nodes/detail")
            .then(|| format!("{path}?marker={FIRST}&sort_key=name&limit=1000"));
        for path in [Some(path), marked, sorted].into_iter().flatten() {
            // a second time, since what is kept for a moment must not hide what a row costs
            let mut least = u64::MAX;
            let mut length = 0;
            for _ in 0..2 {
                let before = service.store.statements_run();
                let reply = service.ask("GET", &path, None).await;
                least = least.min(service.store.statements_run() - before);
                if !reply.status.is_success() || !reply.text.starts_with('{') {
                    continue;
                }
                let answer = reply.json();
                let lists = answer
                    .as_object()
                    .unwrap()
                    .values()
                    .filter_map(Value::as_array);
                length = lists.map(Vec::len).max().unwrap_or(0);
            }
            costs.insert(path, (least, length));
        }
    }
    costs
}

#[tokio::test]
async fn a_list_costs_as_many_statements_for_many_as_for_few() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        fill(&service, 0, 3).await;
        let few = costs(&service).await;
        fill(&service, 3, 40).await;
        let many = costs(&service).await;
        let mut grown = 0;
        for (path, (cost, length)) in &many {
            let (before, fewer) = few[path];
            if length > &fewer {
                grown += 1;
                // one more may be a list of conductors that had to be read anew
                assert!(
                    *cost <= before + 1,
                    "{path}: {before} statements for {fewer}, {cost} for {length}"
                );
                assert!(*cost <= 8, "{path}: {cost} statements");
            }
        }
        assert!(grown >= 35, "only {grown} lists have grown: {many:?}");
    })
    .await;
}

/// A body that is larger than a piece comes in pieces and is whole.
#[tokio::test]
async fn long_lists_come_in_pieces() {
    on_both(async |settings| {
        use http_body_util::BodyExt;
        use tower::ServiceExt;

        let service = Service::start(&settings).await;
        for n in 0..40 {
            let body = json!({"uuid": node(n), "driver": "fake-hardware", "extra": {"x": "y".repeat(3000)}});
            service.ask("POST", "/v1/nodes", Some(body)).await;
        }
        let request = http::Request::builder()
            .uri("/v1/nodes/detail?limit=40")
            .header("x-openstack-ironic-api-version", "1.115")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = service.router.clone().oneshot(request).await.unwrap();
        let mut body = response.into_body();
        let (mut pieces, mut whole) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            whole.extend_from_slice(&frame.unwrap().into_data().unwrap());
            pieces += 1;
        }
        assert!(pieces > 2, "{pieces}");
        let answer: Value = serde_json::from_slice(&whole).unwrap();
        let nodes = answer["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 40);
        for (n, shown) in nodes.iter().enumerate() {
            assert_eq!(shown["uuid"], node(u32::try_from(n).unwrap()));
        }
        assert!(answer["next"].as_str().unwrap().ends_with(&format!("marker={}", node(39))));
    })
    .await;
}
