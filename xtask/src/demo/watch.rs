//! Shows what happens to a node: its states as the API tells them, and its timeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::API;
use super::report::Story;
use crate::testbed::rest;

const MICROVERSION: &str = "1.95";
const INTERVAL: Duration = Duration::from_millis(400);

/// The node as the API shows it.
pub fn node(name: &str) -> Result<Value> {
    rest::get(API, &format!("/v1/nodes/{name}"), MICROVERSION)
}

/// The node's timeline, oldest first.
pub fn timeline(name: &str) -> Result<Vec<Value>> {
    let document = rest::get(API, &format!("/v1/nodes/{name}/timeline"), MICROVERSION)?;
    let list = document
        .get("timeline")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(list)
}

/// A field as text; empty when it is absent or null.
pub fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Prints changes until told to stop.
pub fn watch(story: &Story, name: &str, stop: &AtomicBool) {
    let mut states = String::new();
    let mut error = String::new();
    let mut seen = 0;
    loop {
        let last_round = stop.load(Ordering::SeqCst);
        if let Ok(node) = node(name) {
            let now = describe(&node);
            if now != states {
                story.say(name, now.clone());
                states = now;
            }
            let now = text(&node, "last_error");
            if now != error && !now.is_empty() {
                story.say(name, format!("last_error: {now}"));
            }
            error = now;
        }
        if let Ok(events) = timeline(name) {
            for event in events.iter().skip(seen) {
                story.say(
                    name,
                    format!("  {}: {}", text(event, "source"), text(event, "text")),
                );
            }
            seen = seen.max(events.len());
        }
        if last_round {
            return;
        }
        std::thread::sleep(INTERVAL);
    }
}

fn describe(node: &Value) -> String {
    let mut line = text(node, "provision_state");
    let target = text(node, "target_provision_state");
    if !target.is_empty() {
        line += &format!(" -> {target}");
    }
    line += &format!(", {}", text(node, "power_state"));
    let target = text(node, "target_power_state");
    if !target.is_empty() {
        line += &format!(" -> {target}");
    }
    for field in ["clean_step", "deploy_step"] {
        let step = node
            .get(field)
            .map(|step| text(step, "step"))
            .unwrap_or_default();
        if !step.is_empty() {
            line += &format!(", step {step}");
        }
    }
    line
}
