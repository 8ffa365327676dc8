//! Allocations in a whole controller: matched, left behind by a death, and gone with their instance.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bessemer_store::{Point, WriteProbe};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{Api, Controller, PATIENCE, Site, until};

/// Holds whoever has stored an allocation, before the conductor hears of it.
#[derive(Default)]
struct Stuck {
    reached: Notify,
}

struct Probe(Arc<Stuck>);

impl WriteProbe for Probe {
    fn at(&self, command: &'static str, point: Point) -> BoxFuture<'static, ()> {
        let stuck = Arc::clone(&self.0);
        Box::pin(async move {
            if command == "create_allocation" && point == Point::AfterCommit {
                stuck.reached.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

async fn matched(api: &Api, ident: &str) -> Value {
    until("the allocation is looked at", PATIENCE, async || {
        let seen = api.get(&format!("/v1/allocations/{ident}")).await.ok();
        (seen["state"] != "allocating").then_some(seen)
    })
    .await
}

async fn available(api: &Api, name: &str) {
    api.post(
        "/v1/nodes",
        &json!({"name": name, "driver": "fake-hardware", "resource_class": "rc"}),
    )
    .await
    .ok();
    api.provision(name, json!({"target": "manage"})).await;
    api.wait_for(name, "manageable").await;
    api.provision(name, json!({"target": "provide"})).await;
    api.wait_for(name, "available").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_request_to_the_end_of_the_instance() {
    let site = Site::new().await;
    let mut config = site.config();
    config.conductor.automated_clean = false;
    config.conductor.node_locked_retry_interval = Duration::from_millis(20);
    let controller = Controller::start(config.clone(), None).await;
    let api = Api::new(site.url(1));
    for name in ["a", "b", "c"] {
        available(&api, name).await;
    }

    // five want one of three
    let asked = (0..5).map(async |n| {
        let name = format!("w{n}");
        let body = json!({"name": name, "resource_class": "rc"});
        api.post("/v1/allocations", &body).await.ok();
        matched(&api, &name).await
    });
    let all = futures_util::future::join_all(asked).await;
    let given: HashSet<&str> = all.iter().filter_map(|a| a["node_uuid"].as_str()).collect();
    assert_eq!(given.len(), 3, "{all:?}");
    let failed = all.iter().filter(|a| a["state"] == "error").count();
    assert_eq!(failed, 2, "{all:?}");

    // the instance ends: its allocation goes with it, and only then
    let path = "/v1/nodes/a/allocation";
    let first = api.get(path).await.ok();
    api.provision("a", json!({"target": "active"})).await;
    api.wait_for("a", "active").await;
    let refused = api.call(reqwest::Method::DELETE, path, None).await.unwrap();
    assert_eq!(refused.status, 409, "{refused:?}");
    api.provision("a", json!({"target": "deleted"})).await;
    api.wait_for("a", "available").await;
    assert_eq!(api.get(path).await.status, 404);
    let gone = format!("/v1/allocations/{}", first["uuid"].as_str().unwrap());
    assert_eq!(api.get(&gone).await.status, 404);
    assert_eq!(api.node("a").await["instance_uuid"], Value::Null);
    controller.stop().await;

    // the controller dies between the stored request and its matching
    let stuck = Arc::new(Stuck::default());
    let probe: Arc<dyn WriteProbe> = Arc::new(Probe(Arc::clone(&stuck)));
    let controller = Controller::start(config.clone(), Some(probe)).await;
    let left = tokio::spawn({
        let api = api.clone();
        async move {
            let body = json!({"name": "left", "resource_class": "rc"});
            let _ = api
                .call(reqwest::Method::POST, "/v1/allocations", Some(&body))
                .await;
        }
    });
    stuck.reached.notified().await;
    controller.crash().await;
    left.abort();
    let controller = Controller::start(config, None).await;
    let seen = matched(&api, "left").await;
    assert_eq!(seen["state"], "active", "{seen}");
    assert_eq!(api.node("a").await["allocation_uuid"], seen["uuid"]);
    controller.stop().await;
}
