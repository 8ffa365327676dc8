//! Shows what happens to a node: its states as the API tells them, and its timeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
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

/// The node's timeline after an event's id, oldest first.
pub fn timeline(name: &str, after: u64) -> Result<Vec<Value>> {
    let path = format!("/v1/nodes/{name}/timeline?after={after}&limit=1000");
    let document = rest::get(API, &path, MICROVERSION)?;
    let list = document.get("timeline").and_then(Value::as_array);
    list.cloned().context("the timeline is not a list")
}

/// The whole timeline of the node.
pub fn whole_timeline(name: &str) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let more = timeline(name, last_id(&all))?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

fn last_id(events: &[Value]) -> u64 {
    events
        .last()
        .and_then(|event| event.get("id")?.as_u64())
        .unwrap_or(0)
}

/// A field as text; empty when it is absent or null.
pub fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Prints changes until told to stop. The timeline tells states with their reasons; without one, the node's own fields must do.
pub fn watch(story: &Story, name: &str, stop: &AtomicBool) {
    let mut states = String::new();
    let mut error = String::new();
    let mut seen = 0u64;
    loop {
        let last_round = stop.load(Ordering::SeqCst);
        let events = timeline(name, seen);
        if let Ok(events) = &events {
            for event in events {
                story.say(
                    name,
                    format!("{:<6} {}", text(event, "source"), text(event, "text")),
                );
            }
            seen = seen.max(last_id(events));
        }
        if let Ok(node) = node(name) {
            let now = describe(&node);
            if now != states && events.is_err() {
                story.say(name, &now);
            }
            states = now;
            let now = text(&node, "last_error");
            if now != error && !now.is_empty() {
                story.say(name, format!("last_error: {now}"));
            }
            error = now;
        }
        if last_round {
            return;
        }
        std::thread::sleep(INTERVAL);
    }
}

fn describe(node: &Value) -> String {
    let target = text(node, "target_provision_state");
    let arrow = if target.is_empty() { "" } else { " -> " };
    format!(
        "{}{arrow}{target}, {}",
        text(node, "provision_state"),
        text(node, "power_state")
    )
}
