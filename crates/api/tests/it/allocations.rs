//! Allocations, deploy templates, runbooks and inspection rules where upstream's answer cannot be recorded.

use std::sync::Arc;

use bessemer_model::{Node, ProvisionState};
use bessemer_store::testing::on_both;
use serde_json::{Value, json};

use crate::service::Service;

const NODE: &str = "0000000a-0000-4000-8000-0000000000a1";
const INSTANCE: &str = "0000000a-0000-4000-8000-0000000000a2";

async fn node(service: &Service, change: impl Fn(&mut Node) + Send + Sync + 'static) {
    let body =
        json!({"uuid": NODE, "name": "n", "driver": "fake-hardware", "resource_class": "rc"});
    let reply = service.ask("POST", "/v1/nodes", Some(body)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let change = Arc::new(move |node: &mut Node| {
        change(node);
        Ok(())
    });
    service
        .store
        .update_node(NODE.parse().unwrap(), None, true, change, Vec::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn nodes_in_use_are_entered() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, |n| {
            n.provision_state = ProvisionState::Active;
            n.instance_uuid = Some(INSTANCE.into());
        })
        .await;
        let path = "/v1/allocations";
        let wrong = json!({"node": "n", "resource_class": "other", "uuid": NODE});
        let reply = service.ask("POST", path, Some(wrong)).await;
        assert_eq!(reply.status, 409, "{}", reply.text);
        assert!(
            reply.fault().contains("Resource class rc does not match"),
            "{}",
            reply.text
        );
        let failed = service
            .ask("GET", &format!("{path}/{NODE}"), None)
            .await
            .json();
        assert_eq!(
            (&failed["state"], &failed["last_error"]),
            (&json!("error"), &json!(reply.fault()))
        );

        let reply = service
            .ask("POST", path, Some(json!({"node": "n", "name": "mine"})))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let seen = reply.json();
        let want =
            json!({"uuid": INSTANCE, "node_uuid": NODE, "state": "active", "resource_class": "rc"});
        for (key, value) in want.as_object().unwrap() {
            assert_eq!(&seen[key], value, "{key}");
        }
        // it cannot be taken off a node that is in use
        for (method, path, body) in [
            ("DELETE", "/v1/allocations/mine".to_owned(), None),
            ("DELETE", "/v1/nodes/n/allocation".to_owned(), None),
            (
                "PATCH",
                "/v1/nodes/n".to_owned(),
                Some(json!([{"op": "remove", "path": "/instance_uuid"}])),
            ),
        ] {
            let reply = service.ask(method, &path, body).await;
            assert_eq!(reply.status, 409, "{method} {path}: {}", reply.text);
        }
        let reply = service
            .ask(
                "POST",
                path,
                Some(json!({"resource_class": "rc", "uuid": "bad"})),
            )
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.fault().as_str()),
            (400, "Expected UUID for uuid: bad")
        );
        let many: Vec<String> = (0..10_001).map(|n| format!("n{n}")).collect();
        let body = json!({"resource_class": "rc", "candidate_nodes": many});
        assert_eq!(service.ask("POST", path, Some(body)).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn a_runbook_becomes_the_steps() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        node(&service, |n| {
            n.provision_state = ProvisionState::Manageable;
            n.traits = vec!["CUSTOM_B".into()];
        })
        .await;
        let steps = json!([
            {"interface": "raid", "step": "second", "args": {"password": "x"}, "order": 2},
            {"interface": "bios", "step": "first", "order": "1"},
        ]);
        let body = json!({"name": "wash", "steps": steps, "disable_ramdisk": true});
        assert_eq!(
            service.ask("POST", "/v1/runbooks", Some(body)).await.status,
            201
        );
        let traits = json!({"traits": ["CUSTOM_A", "CUSTOM_B"]});
        assert_eq!(
            service
                .ask("PUT", "/v1/runbooks/wash/traits", Some(traits))
                .await
                .status,
            204
        );
        let body = json!({"target": "clean", "runbook": "wash"});
        let reply = service
            .ask("PUT", "/v1/nodes/n/states/provision", Some(body))
            .await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        let got = service.conductor.requests.lock().unwrap().pop().unwrap();
        assert_eq!(got.disable_ramdisk, Some(true));
        let want = json!([
            {"interface": "bios", "step": "first", "args": {}, "order": 1},
            {"interface": "raid", "step": "second", "args": {"password": "x"}, "order": 2},
        ]);
        assert_eq!(got.clean_steps, Some(want));
    })
    .await;
}

#[tokio::test]
async fn secrets_of_steps_survive_their_mask() {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        let step = json!({"interface": "bios", "step": "s", "priority": 1,
                          "args": {"password": "hunter2", "deep": [{"token": "hunter2"}]}});
        let body = json!({"name": "CUSTOM_A", "steps": [step]});
        let reply = service
            .ask("POST", "/v1/deploy_templates", Some(body))
            .await;
        assert_eq!(reply.status, 201);
        assert!(!reply.text.contains("hunter2"));
        let mut steps = reply.json()["steps"].clone();
        assert_eq!(steps[0]["args"]["password"], "******");
        steps[0]["priority"] = 7.into();
        let patch = json!([{"op": "replace", "path": "/steps", "value": steps}]);
        let reply = service
            .ask("PATCH", "/v1/deploy_templates/CUSTOM_A", Some(patch))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let stored = service
            .store
            .find_deploy_template("CUSTOM_A")
            .await
            .unwrap()
            .unwrap();
        let want = json!({"password": "hunter2", "deep": [{"token": "hunter2"}]});
        assert_eq!(
            (
                stored.steps[0].priority,
                Value::Object(stored.steps[0].args.clone())
            ),
            (7, want)
        );
    })
    .await;
}

#[tokio::test]
async fn rules_are_refused_by_name() {
    let database = bessemer_store::testing::sqlite();
    let service = Service::start(&database.settings).await;
    let check = async |body: Value, want: &str| {
        let reply = service
            .ask("POST", "/v1/inspection_rules", Some(body))
            .await;
        assert_eq!((reply.status.as_u16(), reply.fault().as_str()), (400, want));
    };
    let log = json!([{"op": "log", "args": {"msg": "x"}}]);
    check(
        json!({"actions": [{"op": "set-attribute", "args": ["/extra/x"]}]}),
        "Invalid parameters for action operator set-attribute: Not enough arguments provided. Missing: value",
    )
    .await;
    check(
        json!({"actions": log, "uuid": "x"}),
        "Expected UUID for uuid: x",
    )
    .await;
    // the list shows the rules of a phase
    let reply = service
        .ask(
            "POST",
            "/v1/inspection_rules",
            Some(json!({"actions": log})),
        )
        .await;
    assert_eq!(reply.status, 201);
    for (phase, want) in [("main", 1), ("other", 0)] {
        let path = format!("/v1/inspection_rules?phase={phase}");
        let seen = service.ask("GET", &path, None).await.json();
        assert_eq!(seen["inspection_rules"].as_array().unwrap().len(), want);
    }
}
