//! What operators see while things happen and afterwards: the stream of a node's timeline, how far a step has come, why a
//! boot failed, and the figures for Prometheus.

use std::process::Command;
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::bad_input::{World, assert_says};
use crate::harness::{Binary, PATIENCE, Step, assert_clean_life, program};

/// The events of a stream, as they come.
struct Stream {
    response: Response,
    rest: String,
}

impl Stream {
    async fn open(url: &str, last: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http
            .get(url)
            .header("X-OpenStack-Ironic-API-Version", "latest")
            .header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            rest: String::new(),
        }
    }

    /// Id, name, data of the next event; `None` when the service has ended the stream.
    async fn next(&mut self) -> Option<(Option<String>, String, Value)> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .map(str::to_owned)
                };
                let event = field("event").map(|event| {
                    let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                    (field("id"), event, data)
                });
                self.rest = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            let bytes = chunk.await.expect("nothing comes").unwrap()?;
            self.rest.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

/// What `bessemer node timeline` prints.
async fn printed(url: String, node: &'static str) -> String {
    let out = tokio::task::spawn_blocking(move || {
        Command::new(program(Binary::Server))
            .args(["node", "timeline", node, "--os-endpoint", &url])
            .env_remove("OS_TOKEN")
            .env_remove("OS_USERNAME")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_is_followed_and_a_boot_that_never_came_is_explained() {
    let mut world = World::new(|config| {
        config.conductor.deploy_callback_timeout = Duration::from_secs(4);
        config.conductor.boot_sign_timeout = Duration::ZERO;
        config.metrics.enabled = true;
        config.metrics.host_ip = config.default.my_ip;
    })
    .await;
    world.available().await;
    let path = "/v1/nodes/h0/timeline";
    let url = format!("{}{path}/stream", world.site.url(1));

    // while it happens: events in order, and how far it has come
    let mut stream = Stream::open(&url, None).await;
    let (mut ids, mut progress, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let deploying = async {
        world.life.step(Step::Deploy).await;
    };
    let following = async {
        let mut began = false;
        loop {
            let (id, name, data) = stream.next().await.unwrap();
            match name.as_str() {
                "timeline" => ids.push(id.unwrap().parse::<i64>().unwrap()),
                "operation" if data.is_null() && began => return,
                "operation" if data.is_null() => {}
                "operation" => {
                    began |= data["flow"] == "deploy";
                    steps.push(data["steps"].clone());
                    if data["progress"].is_object() {
                        progress.push(data["progress"].clone());
                    }
                }
                other => panic!("an event {other}: {data}"),
            }
        }
    };
    tokio::join!(deploying, following);
    assert!(ids.is_sorted() && ids.len() > 10, "{ids:?}");
    let of = |index: usize| &steps[index];
    let last = (0..steps.len()).rev().map(of).find(|s| s.is_object());
    assert!(
        last.is_some_and(|s| s["total"].as_u64() >= Some(4)),
        "{steps:?}"
    );
    for seen in &progress {
        assert!(
            seen["done_bytes"].as_u64() <= seen["total_bytes"].as_u64(),
            "{seen}"
        );
    }
    // again from the middle: nothing twice, nothing left out
    let middle = ids[ids.len() / 2];
    let mut again = Stream::open(&url, Some(&middle.to_string())).await;
    for expected in &ids[ids.len() / 2 + 1..] {
        let (id, ..) = again.next().await.unwrap();
        assert_eq!(id.unwrap().parse::<i64>().unwrap(), *expected);
    }
    let refused = world.api.get(&format!("{path}/stream")).await;
    assert_eq!(refused.status, 406, "{refused:?}");

    // a port with a typing error: its node is heard of, but as a stranger
    world.life.step(Step::Undeploy).await;
    let ports = world.api.get("/v1/nodes/h0/ports").await.ok();
    let port = &ports["ports"][0];
    let right = port["address"].as_str().unwrap().to_owned();
    let wrong = json!([{"op": "replace", "path": "/address", "value": "52:54:00:ff:ff:ff"}]);
    let port = format!("/v1/ports/{}", port["uuid"].as_str().unwrap());
    world.api.patch(&port, &wrong).await.ok();
    let info =
        json!([{"op": "add", "path": "/instance_info", "value": world.image.instance_info()}]);
    world.api.patch("/v1/nodes/h0", &info).await.ok();
    world.api.provision("h0", json!({"target": "active"})).await;
    world.api.failed("h0", "deploy failed").await;
    let answer = world.api.get(path).await.ok();
    assert!(answer["operation"].is_null(), "{answer}");
    let explanation = answer["explanation"].as_str().unwrap();
    assert_says(
        explanation,
        &[
            &format!("asked for DHCP on {right}, which is not a port of this node"),
            "its ports are 52:54:00:ff:ff:ff",
            "no request for the ramdisk in",
            "correct the address",
        ],
    );
    let text = printed(world.site.url(1), "h0").await;
    let last = text.lines().last().unwrap();
    assert_eq!(last, format!("The last failure: {explanation}"));
    assert!(text.lines().count() > 20, "{text}");

    // the figures know of all that, and of nothing that is secret
    let port = bessemer_config::Config::dev().metrics.port;
    let metrics = format!("http://{}:{port}/metrics", world.site.address(1));
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    for line in [
        "bessemer_operations_total{flow=\"deploy\",outcome=\"finished\"} 1",
        "bessemer_operations_total{flow=\"deploy\",outcome=\"failed\"} 1",
        "bessemer_nodes{provision_state=\"deploy failed\",maintenance=\"false\"} 1",
        "bessemer_lease_losses_total 0",
        "bessemer_operations_due 0",
        "bessemer_conductor_alive{conductor=\"one\",conductor_group=\"\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    for family in [
        "bessemer_node_state_seconds_count{state=\"deploying\"}",
        "bessemer_bmc_request_seconds_count{protocol=\"ipmi\",class=\"ok\"}",
        "bessemer_operation_seconds_count{flow=\"deploy\"}",
    ] {
        assert!(metrics.contains(family), "{family} is not in:\n{metrics}");
    }
    let host = &world.life.host;
    for secret in [
        host.bmc_password.clone(),
        host.bmc_address.to_string() + ":",
        host.name.clone(),
    ] {
        assert!(
            !metrics.contains(secret.as_str()),
            "{secret} is in the metrics"
        );
    }
    // streams that are open do not keep the service from ending
    let World { controller, .. } = world;
    controller.stop().await;
    while stream.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fast_track_deploys_without_a_restart() {
    let mut world = World::new(|config| config.deploy.fast_track = true).await;
    world.life.whole(&[Step::Manage, Step::Provide]).await;
    assert_eq!(world.api.node("h0").await["power_state"], "power on");
    let boots = |log: &bessemer_lab::Log| log.events("h0", "power_on").count();
    let before = boots(world.lab.log().unwrap());
    let steps = [Step::Manage, Step::Provide, Step::Deploy];
    world.life.step(Step::Deploy).await;
    let log = world.lab.log().unwrap();
    // into the instance, and not into the ramdisk once more
    assert_eq!(boots(log), before + 1);
    assert_clean_life(log, "h0", &world.image, &steps);
    world.controller.stop().await;
}
