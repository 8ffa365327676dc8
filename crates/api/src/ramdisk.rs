//! `GET /v1/lookup` and `POST /v1/heartbeat/{ident}`: what the agent calls, without authentication.
//!
//! Shape and version are checked here; token, callback URL and state are the conductor's.

use bessemer_model::{NodeField, NodeId, Timestamp};
use bessemer_store::document;
use bessemer_wire::HeartbeatBody;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::conductor::LookupAnswer;
use crate::fault::ApiFault;

/// What the agent is shown of its node.
const LOOKUP_FIELDS: [NodeField; 4] = [
    NodeField::Uuid,
    NodeField::DriverInternalInfo,
    NodeField::InstanceInfo,
    NodeField::Properties,
];

const STATUSES: [&str; 3] = ["start", "end", "error"];

pub fn enabled(call: &Call, path: &str) -> Result<(), ApiFault> {
    if call.config().api.enable_ramdisk_endpoints {
        return Ok(());
    }
    Err(ApiFault::new(
        StatusCode::FORBIDDEN,
        format!("Access was denied to the following resource: {path}"),
    ))
}

pub async fn lookup(call: Call) -> Outcome {
    enabled(&call, "/v1/lookup")?;
    let args = Args::of_query(&call, &["addresses", "node_uuid"])?;
    let node_uuid = args.uuid("node_uuid")?;
    let addresses: Vec<String> = args
        .list("addresses")?
        .unwrap_or_default()
        .iter()
        .filter_map(|text| text.parse::<bessemer_model::MacAddress>().ok())
        .map(|mac| mac.to_string())
        .collect();
    if addresses.is_empty() && node_uuid.is_none() {
        return Err(ApiFault::invalid(
            "At least one of 'addresses' and 'node_uuid' parameters is required",
        ));
    }
    let id: Option<NodeId> = node_uuid.as_deref().and_then(|t| t.parse().ok());
    let found = call
        .conductor()
        .lookup(addresses, id)
        .await
        .map_err(|fault| match fault.kind {
            // the same words whether there is no such node or it waits for nobody
            bessemer_model::FaultKind::NotFound => {
                ApiFault::not_found("Resource could not be found.")
            }
            _ => fault.into(),
        })?;
    Ok(Answer::json(&lookup_answer(&call, &found)))
}

/// What the ramdisk is told of its node.
pub fn lookup_answer(call: &Call, found: &LookupAnswer) -> Value {
    let mut node = Map::new();
    for field in LOOKUP_FIELDS {
        if !call.at_least(crate::versions::node_field_since(field)) {
            continue;
        }
        let value = document::member(&found.node, field)
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or(Value::Null);
        node.insert(field.name().into(), value);
    }
    node.insert(
        "links".into(),
        call.links(&format!("nodes/{}", found.node.id)),
    );
    json!({
        "node": node,
        "config": config(call, &found.agent_token),
    })
}

/// Settings for the agent. Metrics are named because upstream's agent sets its own by them; there are none.
fn config(call: &Call, token: &str) -> Value {
    let config = call.config();
    json!({
        "metrics": {
            "backend": "noop",
            "prepend_host": false,
            "prepend_uuid": false,
            "prepend_host_reverse": true,
            "global_prefix": null,
        },
        "metrics_statsd": {"statsd_host": "localhost", "statsd_port": 8125},
        "heartbeat_timeout": config.api.ramdisk_heartbeat_timeout.as_secs(),
        "agent_token": token,
        "agent_token_required": true,
        "agent_md5_checksum_enable": config.agent.allow_md5_checksum,
        "disable_deep_image_inspection": config.conductor.disable_deep_image_inspection,
        "permitted_image_formats": config.conductor.permitted_image_formats,
        "agent_skip_bmc_detect": false,
    })
}

pub async fn heartbeat(call: Call) -> Outcome {
    let ident = call.param("ident").to_owned();
    enabled(&call, &format!("/v1/heartbeat/{ident}"))?;
    let args = Args::of_body(
        &call,
        &[
            "callback_url",
            "agent_version",
            "agent_token",
            "agent_verify_ca",
            "agent_status",
            "agent_status_message",
        ],
    )?;
    args.require("callback_url")?;
    let body = HeartbeatBody {
        callback_url: args.string("callback_url")?.unwrap_or_default(),
        agent_version: args.string("agent_version")?,
        agent_token: args.string("agent_token")?,
        agent_verify_ca: args.string("agent_verify_ca")?,
        agent_status: args.string("agent_status")?,
        agent_status_message: args.string("agent_status_message")?,
    };
    let newer = |given: bool, since: u16, text: &str| {
        if given && !call.at_least(since) {
            Err(ApiFault::invalid(text))
        } else {
            Ok(())
        }
    };
    newer(
        body.agent_version.as_ref().is_some_and(|v| !v.is_empty()),
        36,
        "Field \"agent_version\" not recognised",
    )?;
    newer(
        body.agent_status.is_some() || body.agent_status_message.is_some(),
        72,
        "Fields \"agent_status\" and \"agent_status_message\" not recognised.",
    )?;
    newer(
        body.agent_verify_ca.is_some(),
        68,
        "Field \"agent_verify_ca\" not recognised in this version",
    )?;
    let node = call.node().await?;
    let usable = url::Url::parse(&body.callback_url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    // an empty URL is a heartbeat that nobody can answer: upstream's anaconda
    if !usable && !body.callback_url.is_empty() {
        return Err(ApiFault::invalid(
            "An issue with the supplied \"callback_url\" has been detected.",
        ));
    }
    if body.agent_token.is_none() {
        return Err(ApiFault::invalid(
            "Agent token is required for heartbeat processing.",
        ));
    }
    if let Some(status) = &body.agent_status
        && !STATUSES.contains(&status.as_str())
    {
        return Err(ApiFault::invalid(format!(
            "Agent status is invalid. Valid states are {}.",
            STATUSES.join(",")
        )));
    }
    call.conductor()
        .heartbeat(node.id, body, Timestamp::now())
        .await?;
    Ok(Answer::accepted())
}
