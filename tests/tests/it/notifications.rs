//! What upstream's own service says on its notification bus (`crates/api/tests/record_notifications.py`), and what ours writes
//! to its outbox in the same story, message by message and member by member.

use std::time::{Duration, Instant};

use bessemer_config::NotificationLevel;
use bessemer_store::Message;
use serde_json::{Value, json};

use crate::driver_api::Service;
use crate::driver_api::golden;

/// Events that ours tells and upstream does not: there a payload fails when a member that may not be null is not given.
const MORE: [(&str, &str); 5] = [
    // fake power that is known from the first look on
    (
        "/states/provision",
        "baremetal.node.power_state_corrected.success",
    ),
    ("/v1/ports", "baremetal.port.create.start"),
    ("/v1/ports", "baremetal.port.create.error"),
    ("/v1/runbooks", "baremetal.runbook.create.start"),
    (
        "/v1/inspection_rules",
        "baremetal.inspectionrule.create.start",
    ),
];

/// Where ours is another on purpose: end of the event type, what the difference holds, why.
const DIFFERS: [(&str, &str, &str); 4] = [
    (
        "create.error",
        "_interface: ",
        "upstream's conductor has completed the very object that its API goes on with",
    ),
    (
        "",
        "/power_state: null upstream",
        "upstream's fake power knows no state before the first change",
    ),
    (
        "",
        "/instance_info/rescue_password: ",
        "ours forgets it as soon as it is not needed",
    ),
    ("", "/instance_info/hashed_rescue_password: ", "the same"),
];

/// Members whose values are each service's own.
const OWN: [&str; 1] = ["driver_internal_info"];

/// Members of upstream's steps of templates and runbooks that are those of its database's rows.
const OF_ROWS: [&str; 8] = [
    "deploy_template",
    "id",
    "created_at",
    "updated_at",
    "version",
    "runbook_id",
    "deploy_template_id",
    "uuid",
];

/// Upstream's payload without what its database alone has.
fn without_rows(payload: &Value) -> Value {
    let mut payload = payload.clone();
    if let Some(Value::Array(steps)) = payload.pointer_mut("/ironic_object.data/steps") {
        for step in steps.iter_mut().filter_map(Value::as_object_mut) {
            step.retain(|name, _| !OF_ROWS.contains(&name.as_str()));
        }
    }
    payload
}

/// Adds where two payloads differ; times are only there or not.
fn differences(at: &str, theirs: &Value, ours: &Value, out: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let at = format!("{at}/{name}");
                match (a.get(name), b.get(name)) {
                    (Some(_), Some(_)) if OWN.contains(&name.as_str()) => {}
                    (Some(a), Some(b)) => differences(&at, a, b, out),
                    (a, b) => out.push(format!("{at}: {a:?} upstream, {b:?} ours")),
                }
            }
        }
        (Value::String(a), Value::String(b)) if is_time(a) && is_time(b) => {}
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{at}: {a} upstream, {b} ours")),
    }
}

fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00Z"
}

fn compared(theirs: &Value, ours: &Message) -> Vec<String> {
    let message = &theirs["message"];
    let mut out = Vec::new();
    for (name, want, have) in [
        (
            "event_type",
            &message["event_type"],
            ours.event_type.clone(),
        ),
        (
            "publisher_id",
            &message["publisher_id"],
            ours.publisher_id.clone(),
        ),
        (
            "priority",
            &message["priority"],
            ours.level.as_str().to_uppercase(),
        ),
    ] {
        if want.as_str() != Some(have.as_str()) {
            out.push(format!("{name}: {want} upstream, {have:?} ours"));
        }
    }
    let payload: Value = serde_json::from_str(&ours.payload).unwrap();
    let head = out.len();
    differences("", &without_rows(&message["payload"]), &payload, &mut out);
    let tail = out.split_off(head);
    let known = |line: &String| {
        DIFFERS
            .iter()
            .any(|(event, holds, _)| ours.event_type.ends_with(event) && line.contains(holds))
    };
    out.extend(tail.into_iter().filter(|line| !known(line)));
    out
}

/// Everything of the story that the outbox has, which is then emptied.
async fn taken(service: &Service) -> Vec<Message> {
    let rows = service
        .store
        .waiting_messages("rabbitmq", 1000)
        .await
        .unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    service.store.messages_delivered(&ids).await.unwrap();
    rows
}

async fn settle(service: &Service, node: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = service.get(&format!("/v1/nodes/{node}")).await.json();
        let open = service
            .store
            .get_open_operation(node.parse().unwrap())
            .await;
        if now["reservation"].is_null() && open.unwrap().is_none() {
            return;
        }
        assert!(Instant::now() < deadline, "{node} does not settle: {now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn upstream_s_notifications() {
    let story = golden("notifications");
    let service = Service::with(bessemer_store::testing::sqlite(), |config| {
        let fake = || Some("fake".to_owned());
        let d = &mut config.default;
        d.enabled_hardware_types = vec!["fake-hardware".into()];
        d.enabled_inspect_interfaces = None;
        d.default_bios_interface = fake();
        d.default_boot_interface = fake();
        d.default_console_interface = fake();
        d.default_deploy_interface = fake();
        d.default_firmware_interface = fake();
        d.default_inspect_interface = fake();
        d.default_management_interface = fake();
        d.default_power_interface = fake();
        d.default_raid_interface = fake();
        d.default_rescue_interface = fake();
        d.default_vendor_interface = fake();
        d.notification_level = Some(NotificationLevel::Debug);
        config.oslo_messaging_notifications.driver =
            vec![bessemer_config::NotificationDriver::Messagingv2];
    })
    .await;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for step in story["steps"].as_array().unwrap() {
        let text = |name: &str| step[name].as_str().unwrap().to_owned();
        let (method, path) = (text("method"), text("path"));
        let body = step["body"].clone();
        let shown = format!("{method} {path} {body}");
        let reply = match body {
            Value::Null => service.request(&method, &path).await,
            body => service.send(&method, &path, body).await,
        };
        if json!(reply.status.as_u16()) != step["status"] {
            wrong.push(format!(
                "{shown}: {} {} instead of {}",
                reply.status, reply.text, step["status"]
            ));
        }
        if let Some(node) = step["settles"].as_str() {
            settle(&service, node).await;
        }
        if method == "POST" && path == "/v1/allocations" {
            service
                .until("the allocation", async || {
                    let all = service.get("/v1/allocations").await.json();
                    all["allocations"][0]["state"] != "allocating"
                })
                .await;
        }
        let mut ours = taken(&service).await;
        let theirs = step["notifications"].as_array().unwrap();
        let told = |event: &str| theirs.iter().any(|m| m["message"]["event_type"] == event);
        ours.retain(|m| {
            let more = MORE
                .iter()
                .any(|(at, event)| path.ends_with(at) && m.event_type == *event);
            !more || told(&m.event_type)
        });
        if theirs.len() != ours.len() {
            let events = |all: &[Value]| -> Vec<Value> {
                all.iter()
                    .map(|m| m["message"]["event_type"].clone())
                    .collect()
            };
            let have: Vec<&str> = ours.iter().map(|m| m.event_type.as_str()).collect();
            wrong.push(format!("{shown}: {have:?} instead of {:?}", events(theirs)));
            continue;
        }
        for (theirs, ours) in theirs.iter().zip(&ours) {
            count += 1;
            for difference in compared(theirs, ours) {
                wrong.push(format!("{shown}\n    {}: {difference}", ours.event_type));
            }
        }
    }
    service.stop().await;
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 100, "only {count} notifications");
}
