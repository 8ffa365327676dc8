//! The commands by name: `extension.command` to what is done, and whether the caller waits for it.
//!
//! Parameters are checked before anything starts; what is wrong with them is a 400, not a failed command. Parameters
//! that are not known are ignored, since conductors of all versions send what they have.

use std::sync::Arc;

use base64::Engine;
use bessemer_wire::{CommandRequest, ImageInfo, LookupReply};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::agent::{Agent, End};
use crate::error::Failure;
use crate::registry::{Command, Mode};
use crate::steps::{self, Kind};
use crate::{inventory, write};

/// Extensions there are; any other is a 404.
const EXTENSIONS: [&str; 9] = [
    "clean", "deploy", "service", "standby", "image", "log", "poll", "system", "flow",
];

/// Starts the command that a request names.
pub fn start(agent: &Arc<Agent>, request: CommandRequest) -> Result<(Mode, Arc<Command>), Failure> {
    let CommandRequest { name, params } = request;
    let (extension, command) = name.split_once('.').ok_or_else(|| {
        Failure::InvalidCommand("Command name must be of the form <extension>.<name>".to_owned())
    })?;
    if !EXTENSIONS.contains(&extension) {
        return Err(Failure::NotFound(format!(
            "Extension with id {extension} not found."
        )));
    }
    let action = Action::parse(extension, command, &params)?;
    let mode = action.mode();
    tracing::info!("command {name}{}", action.subject());
    let runner = agent.clone();
    let started = agent
        .registry
        .start(&name, &params, mode, move |progress| {
            action.run(runner, progress)
        })?;
    Ok((mode, started))
}

/// Parameters of `standby.prepare_image` and of the step `write_image`.
#[derive(Deserialize)]
pub struct PrepareImage {
    pub image_info: ImageInfo,
    #[serde(default)]
    pub configdrive: Option<String>,
}

impl PrepareImage {
    /// Refuses what cannot work before anything is touched.
    fn check(&self) -> Result<(), Failure> {
        let info = &self.image_info;
        let bad = |what: &str| Err(Failure::InvalidParams(format!("image_info: {what}")));
        if info.id.is_empty() {
            return bad("'id' must be a non-empty string");
        }
        if info.urls.is_empty() || info.urls.iter().any(String::is_empty) {
            return bad("'urls' must be a list with at least one non-empty URL");
        }
        if info.image_type.as_deref() == Some("partition") {
            return bad(
                "'image_type' is partition: this agent writes whole-disk images only; deploy a whole-disk image",
            );
        }
        Ok(())
    }

    /// From a step's arguments.
    pub fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, Failure> {
        let parsed: Self = parse(arguments)?;
        parsed.check()?;
        Ok(parsed)
    }
}

#[derive(Deserialize, Default)]
struct InstallBootloader {
    #[serde(default)]
    target_boot_mode: Option<String>,
    #[serde(default)]
    ignore_bootloader_failure: Option<bool>,
}

#[derive(Deserialize)]
struct SetNodeInfo {
    node_info: LookupReply,
}

fn parse<T: DeserializeOwned>(params: &Map<String, Value>) -> Result<T, Failure> {
    // serde's message may quote a value; a parameter may be a secret: only the place is told
    serde_json::from_value(Value::Object(params.clone())).map_err(|error| {
        let text = error.to_string();
        let safe = ["missing field", "invalid type"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        Failure::InvalidParams(if safe && !text.contains("string \"") {
            text
        } else {
            "a parameter has the wrong type".to_owned()
        })
    })
}

enum Action {
    GetSteps(Kind),
    ExecuteStep(Box<steps::Request>),
    PrepareImage(Box<PrepareImage>),
    Sync,
    PartitionUuids,
    EndMachine(End),
    InstallBootloader(InstallBootloader),
    CollectLogs,
    HardwareInfo,
    SetNodeInfo(Box<LookupReply>),
    Lockdown,
    Flow(Vec<(String, Action)>),
}

impl Action {
    fn parse(extension: &str, command: &str, params: &Map<String, Value>) -> Result<Self, Failure> {
        let unknown = || Failure::InvalidCommand(format!("Unknown command: {command}"));
        let kind = match extension {
            "clean" => Some(Kind::Clean),
            "deploy" => Some(Kind::Deploy),
            "service" => Some(Kind::Service),
            _ => None,
        };
        if let Some(kind) = kind {
            return if command == format!("get_{}_steps", kind.name()) {
                Ok(Self::GetSteps(kind))
            } else if command == format!("execute_{}_step", kind.name()) {
                Ok(Self::ExecuteStep(Box::new(steps::Request::parse(
                    kind, params,
                )?)))
            } else {
                Err(unknown())
            };
        }
        match (extension, command) {
            ("standby", "prepare_image") => {
                let prepare: PrepareImage = parse(params)?;
                prepare.check()?;
                Ok(Self::PrepareImage(Box::new(prepare)))
            }
            ("standby", "sync") => Ok(Self::Sync),
            ("standby", "get_partition_uuids") => Ok(Self::PartitionUuids),
            ("standby", "power_off") => Ok(Self::EndMachine(End::PowerOff)),
            ("standby", "run_image") => Ok(Self::EndMachine(End::Reboot)),
            ("image", "install_bootloader") => Ok(Self::InstallBootloader(parse(params)?)),
            ("log", "collect_system_logs") => Ok(Self::CollectLogs),
            ("poll", "get_hardware_info") => Ok(Self::HardwareInfo),
            ("poll", "set_node_info") => {
                let SetNodeInfo { node_info } = parse(params)?;
                Ok(Self::SetNodeInfo(Box::new(node_info)))
            }
            ("system", "lockdown") => Ok(Self::Lockdown),
            ("flow", "start_flow") => Self::parse_flow(params),
            _ => Err(unknown()),
        }
    }

    /// `{"flow": [{"extension.command": params}, …]}`.
    fn parse_flow(params: &Map<String, Value>) -> Result<Self, Failure> {
        let bad = || {
            Failure::InvalidParams(
                "flow must be a list of {\"<extension>.<command>\": {parameters}}".to_owned(),
            )
        };
        let list = params
            .get("flow")
            .and_then(Value::as_array)
            .ok_or_else(bad)?;
        let mut actions = Vec::new();
        for item in list {
            for (name, params) in item.as_object().ok_or_else(bad)? {
                let params = params.as_object().ok_or_else(bad)?;
                let (extension, command) = name.split_once('.').ok_or_else(bad)?;
                if extension == "flow" {
                    return Err(bad());
                }
                actions.push((name.clone(), Self::parse(extension, command, params)?));
            }
        }
        Ok(Self::Flow(actions))
    }

    fn mode(&self) -> Mode {
        match self {
            Self::ExecuteStep(_)
            | Self::PrepareImage(_)
            | Self::EndMachine(_)
            | Self::InstallBootloader(_)
            | Self::Flow(_) => Mode::Async,
            _ => Mode::Sync,
        }
    }

    /// What the log says after the command's name.
    fn subject(&self) -> String {
        match self {
            Self::ExecuteStep(request) => format!(" {}", request.step_name()),
            Self::PrepareImage(prepare) => format!(" {}", prepare.image_info.id),
            _ => String::new(),
        }
    }

    async fn run(
        self,
        agent: Arc<Agent>,
        progress: Arc<crate::registry::Progress>,
    ) -> Result<Value, Failure> {
        match self {
            Self::GetSteps(kind) => Ok(steps::list(kind)),
            Self::ExecuteStep(request) => request.run(agent, progress).await,
            Self::PrepareImage(prepare) => write::prepare_image(&agent, progress, *prepare).await,
            Self::Sync => {
                blocking(|| {
                    rustix::fs::sync();
                    Ok(Value::Null)
                })
                .await
            }
            Self::PartitionUuids => write::partition_uuids(&agent).await,
            Self::EndMachine(end) => {
                blocking(|| {
                    rustix::fs::sync();
                    Ok(Value::Null)
                })
                .await?;
                agent.end_machine_soon(end);
                Ok(Value::Null)
            }
            Self::InstallBootloader(options) => {
                let ignore = options
                    .ignore_bootloader_failure
                    .unwrap_or(agent.settings.ignore_bootloader_failure);
                write::bootloader::install(
                    &agent,
                    options.target_boot_mode.as_deref().unwrap_or("bios"),
                    ignore,
                )
                .await
            }
            Self::CollectLogs => {
                blocking(move || {
                    let archive = crate::log_archive::build(&agent)?;
                    let text = base64::engine::general_purpose::STANDARD.encode(archive);
                    Ok(json!({ "system_logs": text }))
                })
                .await
            }
            Self::HardwareInfo => {
                blocking(move || {
                    serde_json::to_value(inventory::collect(&agent.settings))
                        .map_err(|e| Failure::Execution(e.to_string()))
                })
                .await
            }
            Self::SetNodeInfo(reply) => {
                agent.take_lookup(*reply);
                Ok(Value::Null)
            }
            Self::Lockdown => {
                blocking(|| {
                    rustix::fs::sync();
                    Ok(Value::Null)
                })
                .await?;
                tracing::warn!("locked down: no heartbeats and no API from now on");
                lock_down_soon(agent);
                Ok(Value::Null)
            }
            Self::Flow(actions) => {
                let mut results = Vec::new();
                for (name, action) in actions {
                    let result = Box::pin(action.run(agent.clone(), progress.clone())).await?;
                    results.push(json!({ "command_name": name, "command_result": result }));
                }
                Ok(Value::Array(results))
            }
        }
    }
}

/// Stops API and heartbeats once the answer is out; as process 1 the links go down too.
fn lock_down_soon(agent: Arc<Agent>) {
    // detached on purpose: it has to outlive the request
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        agent.lockdown.cancel();
        if matches!(agent.power, crate::agent::Power::Machine) {
            for interface in crate::net::interfaces(&agent.settings.roots.sys) {
                let outcome = crate::net::netlink::Netlink::open()
                    .and_then(|mut n| n.link_down(interface.index));
                if let Err(error) = outcome {
                    tracing::warn!("{} stays up: {error}", interface.name);
                }
            }
        }
    });
}

/// Runs something that blocks on a thread made for it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Failure::Execution(format!(
            "the agent has a bug, a thread ended by a panic: {error}"
        ))),
    }
}

/// Fuzz target: parameters of every command, checked but not run.
pub fn fuzz_parameters(data: &[u8]) {
    let Ok(CommandRequest { name, params }) = serde_json::from_slice(data) else {
        return;
    };
    if let Some((extension, command)) = name.split_once('.') {
        let _ = Action::parse(extension, command, &params);
    }
}
