//! The protocol: look-up, heartbeats, and the agent's own API.

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;

use crate::deploy::{image_info, named};
use crate::servers::Served;
use crate::world::{MIB, NODE, Options, TOKEN, World};

#[tokio::test(flavor = "multi_thread")]
async fn lookup_and_heartbeat() {
    let world = World::new(Options::default()).await;
    *world.api.next.lock().unwrap() = vec![404, 500];
    let mut settings = world.settings();
    // the first URL does not answer
    let dead: url::Url = "http://127.0.0.1:9".parse().unwrap();
    settings.api_urls.insert(0, dead);
    let agent = world.agent_with(settings).await;
    let calls = world.api.calls();
    let lookups: Vec<_> = calls.iter().filter(|c| c.path == "/v1/lookup").collect();
    assert_eq!(lookups.len(), 3);
    assert_eq!(lookups[0].query, "addresses=52%3A54%3A00%3Aab%3Acd%3A01");
    assert_eq!(lookups[0].version.as_deref(), Some("1.62"));
    let heartbeat = world.api.wait_for_heartbeats(1).await.remove(0);
    assert_eq!(heartbeat.path, format!("/v1/heartbeat/{NODE}"));
    assert_eq!(heartbeat.version.as_deref(), Some("1.68"));
    assert_eq!(heartbeat.body["agent_token"], TOKEN);
    assert!(
        heartbeat.body["agent_version"]
            .as_str()
            .unwrap()
            .starts_with("13."),
        "{heartbeat:?}"
    );
    assert!(
        heartbeat.body["callback_url"]
            .as_str()
            .unwrap()
            .starts_with("https://127.0.0.1:")
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_refusals() {
    let world = World::new(named("/dev/vda")).await;
    world.disk("vda", 64 * MIB);
    let agent = world.agent().await;
    for (path, status, pointer, expected) in [
        ("/", 200, "/versions/0/id", json!("v1")),
        ("/v1", 200, "/id", json!("v1")),
        ("/v1/", 200, "/commands/0/rel", json!("self")),
        (
            "/v1/status",
            200,
            "/version",
            json!(bessemer_agent::VERSION),
        ),
        ("/status/", 200, "/version", json!(bessemer_agent::VERSION)),
        (
            "/v1/commands",
            401,
            "/faultstring",
            json!("401 Unauthorized: Token invalid."),
        ),
        (
            "/commands/?agent_token=",
            401,
            "/faultcode",
            json!("Client"),
        ),
        (
            "/v1/commands/x?agent_token=wrong",
            401,
            "/faultcode",
            json!("Client"),
        ),
        ("/v2/commands", 404, "/faultcode", json!("Client")),
        ("/v1/other", 404, "/faultcode", json!("Client")),
    ] {
        let (found, body) = agent.get(path).await;
        assert_eq!(
            (found, body.pointer(pointer)),
            (status, Some(&expected)),
            "{path} {body}"
        );
    }
    let with_token = |path: &str| format!("{path}?agent_token={TOKEN}");
    let (status, body) = agent.get(&with_token("/commands/")).await;
    assert_eq!((status, body), (200, json!({"commands": []})));
    let (status, body) = agent.get(&with_token("/v1/commands/abc")).await;
    assert_eq!(status, 404);
    assert!(
        body["faultstring"].as_str().unwrap().contains("abc"),
        "{body}"
    );
    for (name, params, status, words) in [
        ("nodot", json!({}), 400, "<extension>.<name>"),
        (
            "nothing.here",
            json!({}),
            404,
            "Extension with id nothing not found",
        ),
        ("standby.dance", json!({}), 400, "Unknown command: dance"),
        (
            "standby.prepare_image",
            json!({}),
            400,
            "missing field `image_info`",
        ),
        (
            "standby.prepare_image",
            json!({"image_info": {"id": "", "urls": ["x"]}}),
            400,
            "'id'",
        ),
        (
            "standby.prepare_image",
            json!({"image_info": {"id": "a", "urls": ["x"], "image_type": "partition"}}),
            400,
            "whole-disk",
        ),
        (
            "deploy.execute_deploy_step",
            json!({"step": {"step": "dance"}}),
            400,
            "no deploy step",
        ),
    ] {
        let (found, body) = agent.post(name, params, true).await;
        assert_eq!(found, status, "{name} {body}");
        assert!(
            body["faultstring"].as_str().unwrap().contains(words),
            "{body}"
        );
    }
    for body in [
        "{",
        "[]",
        "{\"name\": \"standby.sync\"}",
        "{\"name\": \"standby.sync\", \"params\": 1}",
    ] {
        let url = format!("{}/v1/commands/?agent_token={TOKEN}", agent.url);
        let response = agent.client.post(url).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
    }
    let url = format!("{}/v1/commands/?agent_token=nope", agent.url);
    let response = agent.client.post(url).body("{").send().await.unwrap();
    assert_eq!(response.status(), 401, "before the body is looked at");
    let url = format!("{}{}", agent.url, with_token("/v1/commands/"));
    let response = agent.client.delete(url).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD, POST");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_while_an_image_is_written() {
    let world = World::new(named("/dev/vda")).await;
    world.disk("vda", 64 * MIB);
    let gate = Arc::new(Notify::new());
    let url = world.images.put(
        "/slow",
        Served {
            bytes: Bytes::from_static(b"x"),
            gate: Some(gate.clone()),
            ..Served::default()
        },
    );
    let agent = world.agent().await;
    let info = image_info(&url, "raw", &"0".repeat(64));
    let (status, body) = agent
        .post("standby.prepare_image", json!({"image_info": info}), false)
        .await;
    assert_eq!(
        (status, &body["command_status"]),
        (200, &json!("RUNNING")),
        "{body}"
    );
    assert_eq!(body["command_name"], "prepare_image");
    assert!(body["command_error"].is_null());
    let id = body["id"].as_str().unwrap().to_owned();
    let (status, body) = agent.post("standby.sync", json!({}), true).await;
    assert_eq!(status, 409);
    assert_eq!(
        body["faultstring"],
        "Agent is busy: executing command prepare_image"
    );
    let path = format!("/v1/commands/{id}?agent_token={TOKEN}");
    let (_, body) = agent.get(&path).await;
    assert_eq!(body["command_status"], "RUNNING");
    gate.notify_waiters();
    // the server may not be waiting yet
    gate.notify_one();
    let (_, body) = agent.get(&format!("{path}&wait=true")).await;
    assert_eq!(body["command_status"], "FAILED", "{body}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inventory_logs_flow_and_lockdown() {
    let world = World::new(named("/dev/vda")).await;
    world.disk("vda", 64 * MIB);
    let agent = world.agent().await;
    let inventory = agent.succeed("poll.get_hardware_info", json!({})).await;
    assert_eq!(
        inventory["interfaces"][0]["mac_address"],
        "52:54:00:ab:cd:01"
    );
    assert_eq!(inventory["disks"][0]["name"], "/dev/vda");
    assert_eq!(inventory["disks"][0]["size"], 64 * MIB);
    assert_eq!(inventory["boot"]["current_boot_mode"], "bios");
    let logs = agent.succeed("log.collect_system_logs", json!({})).await;
    let archive = base64::engine::general_purpose::STANDARD
        .decode(logs["system_logs"].as_str().unwrap())
        .unwrap();
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(archive.as_slice())
        .read_to_end(&mut tar)
        .unwrap();
    assert!(tar.starts_with(b"agent.log\0"));
    let result = agent
        .succeed(
            "flow.start_flow",
            json!({"flow": [{"standby.sync": {}}, {"poll.get_hardware_info": {}}]}),
        )
        .await;
    assert_eq!(result[1]["command_name"], "poll.get_hardware_info");
    agent.succeed("system.lockdown", json!({})).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while agent.client.get(&agent.url).send().await.is_ok() {
        assert!(
            std::time::Instant::now() < deadline,
            "the API still answers"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(agent.stop().await, None);
}
