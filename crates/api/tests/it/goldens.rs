//! Stories recorded from upstream's service (`record.py`), told again to ours on both engines.

use bessemer_store::testing::on_both;
use serde_json::Value;

use crate::compare::{Reply, differences, request};
use crate::seed::seed;
use crate::service::{HOST, Service};

async fn tell(story: &str) {
    let path = format!("{}/tests/goldens/{story}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let base = golden["base"].as_str().unwrap().to_owned();
    on_both(async |settings| {
        let service = Service::start(&settings).await;
        let mut wrong = Vec::new();
        for (number, step) in golden["steps"].as_array().unwrap().iter().enumerate() {
            if step["method"] == "SEED" {
                seed(
                    &service.store,
                    step["path"].as_str().unwrap(),
                    &step["body"],
                )
                .await;
                continue;
            }
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
