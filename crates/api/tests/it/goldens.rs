//! Stories recorded from upstream's service (`record.py`), told again to ours on both engines.

use bessemer_store::testing::on_both;
use serde_json::Value;

use crate::compare::{self, Reply, Teller, request};
use crate::seed::seed;
use crate::service::{HOST, Service};

/// Puts into our store what the recorder has put into upstream's database by hand.
struct Seeding<'a>(&'a Service);

impl Teller for Seeding<'_> {
    async fn between(&self, step: &Value) -> bool {
        let seeds = step["method"] == "SEED";
        if seeds {
            let path = step["path"].as_str().unwrap();
            seed(&self.0.store, path, &step["body"]).await;
        }
        seeds
    }
}

async fn tell(story: &str) {
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        compare::tell(story, &service.router, Some(HOST), &Seeding(&service)).await;
    })
    .await;
}

async fn replay(service: &Service, step: &Value) -> Reply {
    service.send(request(step, HOST)).await
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

#[tokio::test]
async fn portgroups() {
    tell("portgroups").await;
}

#[tokio::test]
async fn port_filters() {
    tell("port_filters").await;
}

#[tokio::test]
async fn volumes() {
    tell("volumes").await;
}

#[tokio::test]
async fn vifs() {
    tell("vifs").await;
}

#[tokio::test]
async fn details() {
    tell("details").await;
}

#[tokio::test]
async fn inspection() {
    tell("inspection").await;
}

#[tokio::test]
async fn allocations() {
    tell("allocations").await;
}

#[tokio::test]
async fn deploy_templates() {
    tell("deploy_templates").await;
}

#[tokio::test]
async fn runbooks() {
    tell("runbooks").await;
}

#[tokio::test]
async fn inspection_rules() {
    tell("inspection_rules").await;
}

/// The keys of a node stand in upstream's order.
#[tokio::test]
async fn order_of_keys() {
    let golden = compare::golden("nodes");
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
