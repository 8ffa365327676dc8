//! `GET /v1/nodes/{ident}/states`.

use serde_json::{Map, Value};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::node_view::shown_state;

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let mut states = Map::new();
    let mut set = |name: &str, value: Value| {
        states.insert(name.to_owned(), value);
    };
    set("console_enabled", node.console_enabled.into());
    set("last_error", node.last_error.into());
    set("power_state", node.power_state.map(|s| s.as_str()).into());
    set(
        "provision_state",
        shown_state(&call, node.provision_state).into(),
    );
    set(
        "target_power_state",
        node.target_power_state.map(|s| s.as_str()).into(),
    );
    set(
        "target_provision_state",
        node.target_provision_state.map(|s| s.as_str()).into(),
    );
    set(
        "provision_updated_at",
        node.provision_updated_at.map(|t| t.to_string()).into(),
    );
    if call.at_least(12) {
        set("raid_config", Value::Object(node.raid_config));
        set("target_raid_config", Value::Object(node.target_raid_config));
    }
    if call.at_least(75) {
        set("boot_mode", node.boot_mode.into());
        set("secure_boot", node.secure_boot.into());
    }
    Ok(Answer::json(&Value::Object(states)))
}
