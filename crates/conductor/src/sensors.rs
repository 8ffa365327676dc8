//! Samples of sensors: asks this conductor's nodes from time to time and stores what they say for the receivers of
//! notifications, as Ceilometer reads it.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{Node, ProvisionState, Timestamp};
use bessemer_store::{NodeFilter, Page, StoreError};
use futures_util::{StreamExt, stream};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::engine::Shared;
use crate::power_sync::Share;

/// `[sensor_data]`
#[derive(Debug, Clone)]
pub struct SensorSettings {
    /// Zero = no samples at all.
    pub interval: Duration,
    /// Nodes that are asked at once.
    pub workers: usize,
    /// How long a round may take.
    pub wait_timeout: Duration,
    /// Kinds of sensors in lower case; `all` for all.
    pub data_types: Vec<String>,
    /// Nodes that are not active too.
    pub undeployed_too: bool,
    pub of_conductor: bool,
    pub of_nodes: bool,
}

impl Default for SensorSettings {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            workers: 4,
            wait_timeout: Duration::from_secs(300),
            data_types: vec!["all".into()],
            undeployed_too: false,
            of_conductor: true,
            of_nodes: true,
        }
    }
}

/// Runs until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let settings = &shared.settings.sensors;
    if settings.interval.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.interval) => {}
            () = stop.cancelled() => return,
        }
        let round = tokio::time::timeout(settings.wait_timeout, round(&shared));
        tokio::select! {
            ended = round => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "samples of sensors could not be stored"),
                Err(_) => tracing::warn!(
                    "a round of sensors did not end within [sensor_data] wait_timeout; what was not asked by then is left out"
                ),
            },
            () = stop.cancelled() => return,
        }
    }
}

async fn round(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let settings = &shared.settings.sensors;
    if settings.of_conductor {
        let payload = kept(own(shared), &settings.data_types);
        if !payload.is_empty() {
            let message = json!({
                "message_id": uuid::Uuid::new_v4(),
                "timestamp": Timestamp::now().without_zone('T'),
                "hostname": shared.settings.host,
                "event_type": "ironic.metrics.update",
                "payload": payload,
            });
            shared.store.add_sample("ironic.metrics", message).await?;
        }
    }
    if !settings.of_nodes {
        return Ok(());
    }
    let share = Share::of(shared).await?;
    let mut marker = None;
    loop {
        let page = Page {
            limit: 500,
            marker,
            ..Page::default()
        };
        let filter = NodeFilter {
            include_children: true,
            ..NodeFilter::default()
        };
        let nodes = shared.store.list_nodes(&filter, &page).await?;
        let Some(last) = nodes.last() else {
            return Ok(());
        };
        marker = Some(last.id.to_string());
        let asked = |node: &&Node| {
            (settings.undeployed_too || node.provision_state == ProvisionState::Active)
                && !node.maintenance
                && share.has(node)
        };
        stream::iter(nodes.iter().filter(asked))
            .for_each_concurrent(settings.workers.max(1), |node| sample(shared, node))
            .await;
    }
}

async fn sample(shared: &Shared, node: &Node) {
    let Ok(hardware) = shared.drivers.hardware(node) else {
        return;
    };
    let env = &shared.environment;
    let said = match hardware.management.validate(env, node) {
        Ok(()) => hardware.management.sensors(env, node).await,
        Err(fault) => Err(fault),
    };
    let said = match said {
        Ok(Value::Object(said)) => said,
        Ok(_) => return,
        Err(fault) if fault.kind == bessemer_model::FaultKind::Unsupported => {
            tracing::debug!(node = %node.id, "no sensors: {fault}");
            return;
        }
        Err(fault) => {
            tracing::warn!(node = %node.id, "the sensors did not answer: {fault}");
            return;
        }
    };
    let payload = kept(said, &shared.settings.sensors.data_types);
    if payload.is_empty() {
        return;
    }
    let event = format!("hardware.{}.metrics", node.driver);
    let message = json!({
        "message_id": uuid::Uuid::new_v4(),
        "instance_uuid": node.instance_uuid,
        "node_uuid": node.id,
        "timestamp": Timestamp::now().without_zone('T'),
        "node_name": node.name,
        "event_type": format!("{event}.update"),
        "payload": payload,
    });
    if let Err(error) = shared.store.add_sample(&event, message).await {
        tracing::warn!(node = %node.id, %error, "a sample of sensors could not be stored");
    }
}

/// The kinds of sensors that are wanted.
fn kept(all: Map<String, Value>, types: &[String]) -> Map<String, Value> {
    if types.iter().any(|kind| kind == "all") {
        return all;
    }
    all.into_iter()
        .filter(|(kind, _)| types.contains(&kind.to_lowercase()))
        .collect()
}

/// What this process has counted, in the shape that upstream gives its own counters.
fn own(shared: &Shared) -> Map<String, Value> {
    let mut registry = Registry::with_prefix("bessemer");
    shared.metrics.register(&mut registry);
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return Map::new();
    }
    counted(&text)
}

/// From OpenMetrics: `name{label="value"}` becomes `name.value`, a histogram a timer with its sum in milliseconds.
fn counted(text: &str) -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, number)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<f64>() else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let values: Vec<&str> = labels
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|value| !value.is_empty())
            .collect();
        let mut put = |name: &str, member: &str, value: f64, kind: &str| {
            let mut key = name.replacen('_', ".", 1);
            for value in &values {
                key.push('.');
                key.push_str(&value.replace(' ', "_"));
            }
            let entry = all.entry(key).or_insert_with(|| json!({"type": kind}));
            if let Value::Object(entry) = entry {
                entry.insert(member.to_owned(), json!(value));
            }
        };
        if name.ends_with("_bucket") {
            continue;
        }
        if let Some(name) = name.strip_suffix("_seconds_sum") {
            put(name, "sum", number * 1000.0, "timer");
        } else if let Some(name) = name.strip_suffix("_seconds_count") {
            put(name, "count", number, "timer");
        } else if let Some(name) = name.strip_suffix("_total") {
            put(name, "count", number, "counter");
        } else {
            put(name, "value", number, "gauge");
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn kinds_of_sensors() {
        let all = json!({"Temperature": {"a": 1}, "Fan": {}});
        let check = |types: &[&str], want: &[&str]| {
            let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
            let kept = kept(all.as_object().unwrap().clone(), &types);
            assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), want);
        };
        check(&["all"], &["Temperature", "Fan"]);
        check(&["fan", "voltage"], &["Fan"]);
        check(&[], &[]);
    }

    #[test]
    fn own_counters() {
        let text = "# HELP bessemer_x y\nbessemer_operations_total{flow=\"deploy\",outcome=\"done\"} 3\n\
                    bessemer_bmc_seconds_sum{class=\"power\"} 0.5\nbessemer_bmc_seconds_count{class=\"power\"} 2\n\
                    bessemer_bmc_seconds_bucket{le=\"1\",class=\"power\"} 2\nbessemer_running 1\n# EOF\n";
        assert_eq!(
            Value::Object(counted(text)),
            json!({
                "bessemer.operations.deploy.done": {"type": "counter", "count": 3.0},
                "bessemer.bmc.power": {"type": "timer", "sum": 500.0, "count": 2.0},
                "bessemer.running": {"type": "gauge", "value": 1.0},
            })
        );
    }
}
