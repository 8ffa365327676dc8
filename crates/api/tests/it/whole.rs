//! What the recorded stories cannot show: secrets, leases, races, the timeline, the agent's calls.

use std::sync::Arc;

use bessemer_model::{Fault, Node, NodeId, ProvisionState};
use bessemer_store::testing::on_both;
use http::StatusCode;
use serde_json::{Value, json};

use crate::service::Service;

const ID: &str = "0000000a-0000-4000-8000-000000000001";

fn id() -> NodeId {
    ID.parse().unwrap()
}

async fn node(service: &Service, body: Value) {
    let mut whole = json!({"uuid": ID, "name": "n", "driver": "fake-hardware"});
    for (key, value) in body.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let reply = service.ask("POST", "/v1/nodes", Some(whole)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
}

async fn change(service: &Service, change: impl Fn(&mut Node) + Send + Sync + 'static) {
    let change = Arc::new(move |node: &mut Node| {
        change(node);
        Ok::<(), Fault>(())
    });
    service
        .store
        .update_node(id(), None, true, change, Vec::new())
        .await
        .unwrap();
}

/// What a client read masked and writes back must not become the secret.
#[tokio::test]
async fn a_mask_that_comes_back_keeps_the_secret() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(
            &service,
            json!({"driver_info": {"ipmi_address": "a", "ipmi_password": "secret", "inner": [{"token": "t"}]}}),
        )
        .await;
        let shown = service.ask("GET", "/v1/nodes/n", None).await.json();
        let mut info = shown["driver_info"].clone();
        assert_eq!(info["ipmi_password"], "******");
        assert!(!shown.to_string().contains("secret"));
        info["ipmi_address"] = json!("b");
        let patch = json!([{"op": "replace", "path": "/driver_info", "value": info}]);
        let reply = service.ask("PATCH", "/v1/nodes/n", Some(patch)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        assert!(!reply.text.contains("secret"));
        let stored = service.store.get_node(id()).await.unwrap().unwrap();
        assert_eq!(
            Value::Object(stored.driver_info),
            json!({"ipmi_address": "b", "ipmi_password": "secret", "inner": [{"token": "t"}]})
        );
        // a new secret is a new secret, and a removed one is gone
        let patch = json!([
            {"op": "replace", "path": "/driver_info/ipmi_password", "value": "new"},
            {"op": "remove", "path": "/driver_info/inner"}
        ]);
        service.ask("PATCH", "/v1/nodes/n", Some(patch)).await;
        let stored = service.store.get_node(id()).await.unwrap().unwrap();
        assert_eq!(
            Value::Object(stored.driver_info),
            json!({"ipmi_address": "b", "ipmi_password": "new"})
        );
        // the URL of an image is masked too
        let patch = json!([{"op": "add", "path": "/instance_info/image_url", "value": "http://x?sig=secret"}]);
        let reply = service.ask("PATCH", "/v1/nodes/n", Some(patch)).await;
        let info = reply.json()["instance_info"].clone();
        assert_eq!(info, json!({"image_url": "******"}));
        let patch = json!([{"op": "replace", "path": "/instance_info", "value": info}]);
        service.ask("PATCH", "/v1/nodes/n", Some(patch)).await;
        let stored = service.store.get_node(id()).await.unwrap().unwrap();
        assert_eq!(stored.instance_info["image_url"], "http://x?sig=secret");
    })
    .await;
}

#[tokio::test]
async fn states_decide_what_may_change() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, json!({"resource_class": "a"})).await;
        let patch = async |path: &str, value: Value| {
            let body = json!([{"op": "add", "path": path, "value": value}]);
            let reply = service.ask("PATCH", "/v1/nodes/n", Some(body)).await;
            (
                reply.status.as_u16(),
                if reply.status.is_success() {
                    String::new()
                } else {
                    reply.fault()
                },
            )
        };
        change(&service, |n| {
            n.provision_state = ProvisionState::Deploying;
            n.target_provision_state = Some(ProvisionState::Active);
        })
        .await;
        let (status, text) = patch("/extra/a", json!(1)).await;
        assert_eq!(
            (status, text.as_str()),
            (
                409,
                "Node n can not be updated while a state transition is in progress."
            )
        );

        change(&service, |n| {
            n.provision_state = ProvisionState::DeployFailed
        })
        .await;
        assert_eq!(patch("/extra/a", json!(1)).await.0, 200);
        let (status, text) = patch("/boot_interface", json!("pxe")).await;
        assert_eq!(status, 409);
        assert!(
            text.contains("can not have boot_interface updated unless"),
            "{text}"
        );
        let (status, text) = patch("/resource_class", json!("b")).await;
        assert_eq!(status, 409);
        assert!(text.contains("resource_class"), "{text}");
        assert_eq!(patch("/maintenance", json!(true)).await.0, 200);
        assert_eq!(patch("/boot_interface", json!("pxe")).await.0, 200);

        // in maintenance exactly the removal of the instance is always allowed
        change(&service, |n| {
            n.provision_state = ProvisionState::Deploying;
            n.instance_uuid = Some("0000000a-0000-4000-8000-0000000000ff".into());
        })
        .await;
        let remove = json!([{"op": "remove", "path": "/instance_uuid"}]);
        assert_eq!(
            service
                .ask("PATCH", "/v1/nodes/n", Some(remove))
                .await
                .status,
            StatusCode::OK
        );

        change(&service, |n| {
            n.provision_state = ProvisionState::Active;
            n.target_provision_state = None;
            n.maintenance = false;
        })
        .await;
        assert_eq!(patch("/protected", json!(true)).await.0, 200);
        assert_eq!(
            service.ask("DELETE", "/v1/nodes/n", None).await.status,
            StatusCode::FORBIDDEN
        );
        assert_eq!(patch("/protected", json!(false)).await.0, 200);
        let reply = service.ask("DELETE", "/v1/nodes/n", None).await;
        assert_eq!(reply.status, StatusCode::CONFLICT);
        assert!(
            reply
                .fault()
                .contains("Valid provision states to perform deletion"),
            "{}",
            reply.text
        );

        // old clients know fewer states
        for (state, version, want) in [
            (ProvisionState::Available, "1.1", json!(null)),
            (ProvisionState::Available, "1.2", json!("available")),
            (ProvisionState::InspectWait, "1.38", json!("inspecting")),
            (ProvisionState::InspectWait, "1.39", json!("inspect wait")),
        ] {
            change(&service, move |n| n.provision_state = state).await;
            let path = format!("/v1/nodes/{ID}");
            assert_eq!(
                service.call("GET", &path, version, None).await.json()["provision_state"],
                want
            );
            let path = format!("/v1/nodes/{ID}/states");
            assert_eq!(
                service.call("GET", &path, version, None).await.json()["provision_state"],
                want
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_worked_on_is_locked() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, json!({})).await;
        change(&service, |n| n.provision_state = ProvisionState::Manageable).await;
        let operation = bessemer_store::NewOperation {
            id: bessemer_model::OperationId::random(),
            flow: "clean".into(),
            flow_version: 1,
            phase: "start".into(),
            args: json!({}),
            data: json!({}),
        };
        let nothing: bessemer_store::NodeChange = Arc::new(|_| Ok(()));
        service.store.submit(id(), operation, nothing, Vec::new()).await.unwrap();
        let session = service
            .store
            .register_conductor("worker", "", &crate::conductor::catalogue(), std::time::Duration::from_secs(600))
            .await
            .unwrap();
        let now = bessemer_model::Timestamp::now();
        assert_eq!(service.store.claim(session, &[("clean", 1)], now, 1).await.unwrap().len(), 1);

        let locked = format!("Node {ID} is locked by host worker, please retry after the current operation is completed.");
        let check = async |method: &str, path: &str, body: Option<Value>| {
            let reply = service.ask(method, path, body).await;
            assert_eq!((reply.status.as_u16(), reply.fault()), (409, locked.clone()), "{method} {path}");
        };
        check("PATCH", "/v1/nodes/n", Some(json!([{"op": "add", "path": "/extra/a", "value": 1}]))).await;
        check("PUT", "/v1/nodes/n/maintenance", None).await;
        check("PUT", "/v1/nodes/n/traits/CUSTOM_A", None).await;
        check("PUT", "/v1/nodes/n/states/provision", Some(json!({"target": "rebuild"}))).await;
        check("POST", "/v1/ports", Some(json!({"node_uuid": ID, "address": "52:54:00:00:00:01"}))).await;
        assert_eq!(service.ask("DELETE", "/v1/nodes/n", None).await.status, StatusCode::CONFLICT);
        let shown = service.ask("GET", "/v1/nodes/n?fields=reservation", None).await.json();
        assert_eq!(shown["reservation"], "worker");
    })
    .await;
}

/// Many patches at once: each is applied, none overwrites another.
#[tokio::test]
async fn patches_at_once_are_all_kept() {
    on_both(async |settings| {
        let service = Arc::new(Service::start(&settings).await);
        node(&service, json!({})).await;
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let body = json!([{"op": "add", "path": format!("/extra/k{n}"), "value": n}]);
                    service.ask("PATCH", "/v1/nodes/n", Some(body)).await.status
                })
            })
            .collect();
        let mut kept = 0;
        for task in tasks {
            match task.await.unwrap() {
                StatusCode::OK => kept += 1,
                other => assert_eq!(other, StatusCode::CONFLICT),
            }
        }
        let stored = service.store.get_node(id()).await.unwrap().unwrap();
        assert_eq!(stored.extra.len(), kept);
        assert!(kept >= 1);
    })
    .await;
}

#[tokio::test]
async fn the_timeline_tells_what_was_done() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, json!({})).await;
        service
            .ask(
                "PUT",
                "/v1/nodes/n/maintenance",
                Some(json!({"reason": "why"})),
            )
            .await;
        let all = service
            .call("GET", &format!("/v1/nodes/{ID}/timeline"), "1.1", None)
            .await
            .json();
        let texts: Vec<&str> = all["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["text"].as_str().unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "created with driver fake-hardware",
                "put into maintenance (why)"
            ]
        );
        assert_eq!(all["timeline"][0]["source"], "api");
        let after = all["timeline"][0]["id"].as_i64().unwrap();
        let rest = service
            .ask(
                "GET",
                &format!("/v1/nodes/n/timeline?after={after}&limit=5"),
                None,
            )
            .await
            .json();
        assert_eq!(rest["timeline"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_agent_looks_up_and_heartbeats() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, json!({"instance_info": {"configdrive": "secret"}, "properties": {"cpu_arch": "x86_64"}})).await;
        let port = json!({"node_uuid": ID, "address": "52:54:00:00:00:01"});
        assert_eq!(service.ask("POST", "/v1/ports", Some(port)).await.status, StatusCode::CREATED);
        let lookup = "/v1/lookup?addresses=52:54:00:00:00:01,junk,aa:bb:cc:dd:ee:ff";
        let reply = service.ask("GET", lookup, None).await;
        assert_eq!((reply.status.as_u16(), reply.fault().as_str()), (404, "Resource could not be found."));
        change(&service, |n| n.provision_state = ProvisionState::CleanWait).await;
        let reply = service.ask("GET", lookup, None).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        let found: bessemer_wire::LookupReply = serde_json::from_str(&reply.text).unwrap();
        assert_eq!(found.node.uuid.to_string(), ID);
        assert_eq!(found.config.agent_token.as_deref(), Some("token-for-the-agent"));
        assert_eq!(found.config.heartbeat_timeout, 300);
        assert!(!reply.text.contains("secret"));

        let beat = json!({"callback_url": "https://192.0.2.1:9999", "agent_token": "t", "agent_version": "1",
                          "agent_verify_ca": "pem", "agent_status": "start"});
        let reply = service.ask("POST", &format!("/v1/heartbeat/{ID}"), Some(beat)).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (202, ""));
        let got = service.conductor.heartbeats.lock().unwrap().pop().unwrap();
        assert_eq!((got.callback_url.as_str(), got.agent_token.as_deref()), ("https://192.0.2.1:9999", Some("t")));
    })
    .await;
}

#[tokio::test]
async fn a_provision_request_arrives_whole() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, json!({})).await;
        change(&service, |n| n.provision_state = ProvisionState::Available).await;
        let body = json!({
            "target": "active", "configdrive": {"meta_data": {"a": 1}, "user_data": "x"},
            "deploy_steps": [{"interface": "deploy", "step": "s", "args": {}, "priority": 5}]
        });
        let reply = service
            .ask("PUT", "/v1/nodes/n/states/provision", Some(body.clone()))
            .await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
        assert!(
            reply.headers["location"]
                .to_str()
                .unwrap()
                .ends_with("/v1/nodes/n/states")
        );
        let got = service.conductor.requests.lock().unwrap().pop().unwrap();
        assert_eq!(got.target, "active");
        assert_eq!(got.configdrive.unwrap(), body["configdrive"]);
        assert_eq!(got.deploy_steps.unwrap(), body["deploy_steps"]);

        let check = async |version: &str, body: Value, status: u16, text: &str| {
            let path = format!("/v1/nodes/{ID}/states/provision");
            let reply = service
                .call("PUT", &path, version, Some(body.clone()))
                .await;
            assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.text);
            assert!(reply.text.contains(text), "{body}: {}", reply.text);
        };
        check(
            "1.55",
            json!({"target": "active", "configdrive": {}}),
            202,
            "",
        )
        .await;
        check(
            "1.55",
            json!({"target": "active", "configdrive": {"meta_data": {}}}),
            400,
            "starting with API version 1.56",
        )
        .await;
        check(
            "1.58",
            json!({"target": "active", "configdrive": {"vendor_data": {}}}),
            400,
            "starting with API version 1.59",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "configdrive": {"nosuch": {}}}),
            400,
            "'nosuch' was unexpected",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "configdrive": "http://x"}),
            202,
            "",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "configdrive": "aGVsbG8="}),
            202,
            "",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "configdrive": "{}"}),
            400,
            "neither a JSON",
        )
        .await;
        check(
            "1.115",
            json!({"target": "deploy", "configdrive": "aGVsbG8="}),
            400,
            "only supported when",
        )
        .await;
        check(
            "1.68",
            json!({"target": "active", "deploy_steps": [{}]}),
            406,
            "should be 1.69",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "deploy_steps": [{"interface": "deploy", "step": "x"}]}),
            400,
            "'args' is a required property",
        )
        .await;
        check(
            "1.115",
            json!({"target": "active", "runbook": "x"}),
            404,
            "Runbook x could not be found.",
        )
        .await;
        change(&service, |n| n.provision_state = ProvisionState::DeployWait).await;
        check(
            "1.109",
            json!({"target": "abort"}),
            406,
            "Request not acceptable.",
        )
        .await;
        check("1.110", json!({"target": "abort"}), 202, "").await;
    })
    .await;
}

/// Over a real socket: served until cancelled.
#[tokio::test]
async fn served_until_cancelled() {
    let database = bessemer_store::testing::sqlite();
    let service = Service::start(&database.settings).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(bessemer_api::serve(
        listener,
        service.router.clone(),
        bessemer_api::Listening::new(&bessemer_config::Config::dev()).unwrap(),
        stop.clone(),
    ));
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        write!(
            socket,
            "GET /v1/nodes/ HTTP/1.1\r\nHost: here:1\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    })
    .await
    .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("{\"nodes\":[]}"), "{answer}");
    stop.cancel();
    task.await.unwrap();
}
