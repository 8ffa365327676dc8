//! Firmware over Redfish: versions of BIOS, BMC and network cards, and their update (schema UpdateService, action SimpleUpdate).

use std::time::Duration;

use async_trait::async_trait;
use bessemer_model::{Class, Fault, FirmwareComponent, InterfaceKind, Node, Timestamp};
use bessemer_redfish::{Client, Error, System, TaskState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::interface::{
    DriverStep, Effects, Environment, FirmwareInterface, Interface, Property, StepCall, StepResult,
    StepRun, info_text, step,
};
use crate::redfish::{REDFISH_PROPERTIES, Trouble};

pub struct RedfishFirmware;

/// Answers in a row after which a BMC counts as back.
const SUCCESSES: u32 = 3;
/// Between them.
const SETTLE: Duration = Duration::from_secs(30);

/// One update of the step's argument.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Update {
    component: String,
    url: String,
    /// Seconds to leave the BMC alone after the start.
    wait: Option<u64>,
}

impl Update {
    fn list(given: Option<&Value>) -> Result<Vec<Self>, Fault> {
        let bad = |why: &str| Fault::invalid(format!("Firmware settings cannot be used: {why}."));
        let items = given
            .and_then(Value::as_array)
            .filter(|l| !l.is_empty())
            .ok_or_else(|| bad("expected a list of objects with component and url"))?;
        items
            .iter()
            .map(|item| {
                let map = item
                    .as_object()
                    .ok_or_else(|| bad("every item is an object"))?;
                if let Some(key) = map
                    .keys()
                    .find(|k| !["component", "url", "wait"].contains(&k.as_str()))
                {
                    return Err(bad(&format!("{key} is none of component, url and wait")));
                }
                let text = |key: &str| {
                    map.get(key)
                        .and_then(Value::as_str)
                        .filter(|t| !t.is_empty())
                        .ok_or_else(|| bad(&format!("an item has no {key}")))
                };
                let component = text("component")?;
                if !["bios", "bmc"].contains(&component)
                    && component.strip_prefix("nic:").is_none_or(str::is_empty)
                {
                    return Err(bad(&format!(
                        "component {component} is none of bios, bmc and nic:<identity>"
                    )));
                }
                let url = text("url")?;
                if !(url.starts_with("http://") || url.starts_with("https://")) {
                    return Err(bad(&format!(
                        "the url of {component} is neither http:// nor https://, which are the sources that this version passes to BMCs"
                    )));
                }
                let wait = match map.get("wait") {
                    None | Some(Value::Null) => None,
                    Some(value) => Some(
                        value
                            .as_u64()
                            .ok_or_else(|| bad("wait is a number of seconds"))?,
                    ),
                };
                Ok(Self {
                    component: component.to_owned(),
                    url: url.to_owned(),
                    wait,
                })
            })
            .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Not started, or its start was not seen to end.
    #[default]
    Start,
    /// The BMC works on it.
    Task,
    /// The node was restarted for it.
    Restarted,
    /// Until the BMC answers steadily.
    Settle,
}

/// How far the step is. A stored format.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Microseconds since the epoch: when the step began.
    since: i64,
    index: usize,
    phase: Phase,
    task: Option<String>,
    successes: u32,
}

/// Versions as they are now.
async fn components(client: &Client, system: &System) -> Result<Vec<FirmwareComponent>, Error> {
    let mut found = Vec::new();
    let text = |value: Option<&str>| value.map(str::to_owned);
    if let Some(version) = system.0.text(&["BiosVersion"]) {
        found.push(FirmwareComponent {
            component: "bios".into(),
            current_version: Some(version.to_owned()),
            ..FirmwareComponent::default()
        });
    }
    if let Some(manager) = client.managers(system).await?.first()
        && let Some(version) = manager.text(&["FirmwareVersion"])
    {
        found.push(FirmwareComponent {
            component: "bmc".into(),
            current_version: Some(version.to_owned()),
            model: text(manager.text(&["Model"])),
            ..FirmwareComponent::default()
        });
    }
    if let Some(chassis) = client.chassis(system).await?.first() {
        // Some boards tell their network cards only while an operating system runs.
        let adapters = match client.members_of(chassis, &["NetworkAdapters"]).await {
            Ok(adapters) => adapters,
            Err(error @ (Error::Refused { .. } | Error::Malformed { .. })) => {
                tracing::debug!("network cards are left out: {error}");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for adapter in adapters {
            for controller in adapter.list(&["Controllers"]) {
                let Some(version) = controller
                    .get("FirmwarePackageVersion")
                    .and_then(Value::as_str)
                    .filter(|v| !v.is_empty())
                else {
                    continue;
                };
                let serial = adapter.text(&["SerialNumber"]);
                found.push(FirmwareComponent {
                    component: format!("nic:{}", serial.unwrap_or_else(|| adapter.id())),
                    current_version: Some(version.to_owned()),
                    vendor: text(adapter.text(&["Manufacturer"])),
                    model: text(adapter.text(&["Model"])),
                    serial_number: text(serial),
                    ..FirmwareComponent::default()
                });
            }
        }
    }
    Ok(found)
}

/// Starts an update.
async fn start(client: &Client, update: &Update) -> Result<Option<String>, Error> {
    let missing = |what: &str| Error::Missing {
        address: client.address().to_owned(),
        what: what.to_owned(),
    };
    let root = client.root().await?;
    let service = client
        .follow(root, &["UpdateService"])
        .await?
        .ok_or_else(|| missing("an update service"))?;
    let action = service
        .action("#UpdateService.SimpleUpdate")
        .ok_or_else(|| missing("an action that updates firmware from a URL"))?;
    let mut body = json!({"ImageURI": update.url});
    // old boards want the protocol beside the URL
    let protocols = service
        .allowed("#UpdateService.SimpleUpdate", "TransferProtocol")
        .unwrap_or_default();
    let scheme = update.url.split(':').next().unwrap_or_default();
    if protocols.iter().any(|p| p.eq_ignore_ascii_case(scheme)) {
        body["TransferProtocol"] = json!(scheme.to_ascii_uppercase());
    }
    let answer = client.post(&action.target, &body).await?;
    Ok(answer.monitor().map(str::to_owned).or(answer.location))
}

fn wait(what: String, after: Duration, state: &State) -> StepResult {
    StepResult::Wait {
        what,
        after,
        state: serde_json::to_value(state).unwrap_or_default(),
    }
}

async fn go_on(
    client: &Client,
    system: &System,
    node: &Node,
    updates: &[Update],
    mut state: State,
    interval: Duration,
) -> Result<StepResult, Trouble> {
    let Some(update) = updates.get(state.index) else {
        return Ok(StepResult::with(Effects {
            firmware: Some(components(client, system).await?),
            ..Effects::default()
        }));
    };
    let what = format!("the firmware update of {}", update.component);
    match state.phase {
        Phase::Start => {
            state.task = start(client, update).await?;
            state.phase = Phase::Task;
            let patience = update
                .wait
                .or_else(|| {
                    info_text(node, "firmware_update_unresponsive_bmc_wait")?
                        .parse()
                        .ok()
                })
                .map_or(interval.min(SETTLE), Duration::from_secs);
            Ok(wait(what, patience, &state))
        }
        Phase::Task => {
            let task = match &state.task {
                Some(task) => client.task(task).await?,
                None => TaskState::Done,
            };
            match task {
                TaskState::Failed(why) => Err(Fault::hardware(
                    Class::Never,
                    format!(
                        "The firmware update of {} on node {} failed: {why}",
                        update.component,
                        node.label()
                    ),
                )
                .into()),
                // BIOS and cards wait for the restart that they are written with
                TaskState::Running { state: word, .. }
                    if update.component != "bmc"
                        && ["Starting", "New", "Pending"].contains(&word.as_str()) =>
                {
                    state.phase = Phase::Restarted;
                    Ok(reboot(what, &state))
                }
                TaskState::Running { .. } => Ok(wait(what, interval, &state)),
                TaskState::Done | TaskState::Gone if update.component == "bmc" => {
                    state.phase = Phase::Settle;
                    Ok(wait(what, SETTLE, &state))
                }
                TaskState::Done | TaskState::Gone => {
                    state.phase = Phase::Restarted;
                    state.task = None;
                    Ok(reboot(what, &state))
                }
            }
        }
        Phase::Restarted => {
            if let Some(task) = &state.task
                && let TaskState::Running { .. } = client.task(task).await?
            {
                return Ok(wait(what, interval, &state));
            }
            state.phase = Phase::Settle;
            Ok(wait(what, SETTLE, &state))
        }
        Phase::Settle => {
            state.successes += 1;
            if state.successes < SUCCESSES {
                return Ok(wait(
                    format!("{what}: the BMC to be steady"),
                    SETTLE,
                    &state,
                ));
            }
            state = State {
                since: state.since,
                index: state.index + 1,
                ..State::default()
            };
            Ok(wait(what, Duration::from_secs(1), &state))
        }
    }
}

fn reboot(what: String, state: &State) -> StepResult {
    StepResult::Reboot {
        what,
        state: serde_json::to_value(state).unwrap_or_default(),
    }
}

impl RedfishFirmware {
    async fn update(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let updates = Update::list(call.args.get("settings"))?;
        let mut state: State = match call.state {
            None => State {
                since: Timestamp::now().0,
                ..State::default()
            },
            Some(state) => serde_json::from_value(state.clone()).map_err(|e| {
                Fault::internal(format!("the state of a firmware step cannot be read: {e}"))
            })?,
        };
        let limit = env.redfish.settings().firmware_update_overall_timeout;
        if Timestamp::now().since(Timestamp(state.since)) > limit {
            return Err(Fault::hardware(
                Class::Never,
                format!(
                    "The firmware updates of node {} did not end within {} s ([redfish] firmware_update_overall_timeout).",
                    node.label(),
                    limit.as_secs()
                ),
            ));
        }
        let interval = env.redfish.settings().firmware_update_status_interval;
        let begun = state.phase != Phase::Start;
        let now = state.clone();
        let result = env
            .redfish
            .on_system(node, |client, system| async move {
                go_on(&client, &system, node, &updates, now, interval).await
            })
            .await;
        match result {
            // A BMC that updates itself is away for a while.
            Err(fault) if begun && fault.class != Class::Never => {
                state.successes = 0;
                Ok(wait(
                    format!("the BMC to answer again ({})", fault.text),
                    SETTLE,
                    &state,
                ))
            }
            other => other,
        }
    }
}

fn update_step() -> DriverStep {
    step("update", "firmware", 0, StepRun::OutOfBand)
        .not_abortable()
        .arg(
            "settings",
            true,
            "Updates as a list of objects with component (bios, bmc, nic:<identity>) and url, and optionally wait (seconds).",
        )
}

#[async_trait]
impl Interface for RedfishFirmware {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Firmware
    }

    fn name(&self) -> &'static str {
        "redfish"
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        vec![update_step().with_ramdisk()]
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![update_step()]
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        vec![update_step()]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        if call.step != "update" {
            return Err(Fault::unsupported(format!(
                "firmware interface redfish has no step {} (node {}).",
                call.step,
                node.label()
            )));
        }
        self.update(env, node, call).await
    }
}

#[async_trait]
impl FirmwareInterface for RedfishFirmware {
    async fn read_components(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<Option<Vec<FirmwareComponent>>, Fault> {
        let found = env
            .redfish
            .on_system(node, |client, system| async move {
                components(&client, &system).await
            })
            .await?;
        Ok(Some(found).filter(|f| !f.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Update;
    use serde_json::{Value, json};

    #[test]
    fn settings_are_checked() {
        let check = |given: Value, part: &str| {
            let text = Update::list(Some(&given)).unwrap_err().text;
            assert!(text.contains(part), "{text}");
        };
        check(json!([]), "expected a list");
        check(json!([1]), "every item is an object");
        check(json!([{"component": "bios"}]), "no url");
        check(
            json!([{"component": "psu", "url": "http://x"}]),
            "psu is none of",
        );
        check(
            json!([{"component": "nic:", "url": "http://x"}]),
            "none of bios",
        );
        check(
            json!([{"component": "bmc", "url": "file:///etc/shadow"}]),
            "neither http",
        );
        check(
            json!([{"component": "bmc", "url": "http://x", "wait": "long"}]),
            "number of seconds",
        );
        check(
            json!([{"component": "bmc", "url": "http://x", "x": 1}]),
            "x is none of",
        );
        let fine = json!([{"component": "nic:ABC", "url": "https://x/f", "wait": 5}]);
        assert_eq!(Update::list(Some(&fine)).unwrap()[0].wait, Some(5));
    }
}
