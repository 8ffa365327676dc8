//! Clean, deploy and service steps of the simulated hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessemer_wire::{StepArgument, StepDefinition};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::registry::Command;
use super::{Agent, image};
use crate::fault::Fault;

const MANAGER: &str = "LabHardwareManager";
const MANAGER_KEY: &str = "lab_hardware_manager";
const MANAGER_VERSION: &str = "1.0";

/// Which list a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Clean,
    Deploy,
    Service,
}

impl Kind {
    pub fn of_extension(name: &str) -> Option<Self> {
        match name {
            "clean" => Some(Self::Clean),
            "deploy" => Some(Self::Deploy),
            "service" => Some(Self::Service),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }

    fn failure(self, details: String) -> Failure {
        match self {
            Self::Clean => Failure::cleaning(details),
            Self::Deploy => Failure::deployment(details),
            Self::Service => Failure::servicing(details),
        }
    }
}

/// What is offered: list, step, priority, abortable.
const OFFER: [(Kind, &str, i64, bool); 7] = [
    (Kind::Clean, "erase_devices_metadata", 99, true),
    (Kind::Clean, "erase_devices", 10, true),
    (Kind::Clean, "erase_devices_express", 0, true),
    (Kind::Deploy, "erase_devices_metadata", 0, false),
    (Kind::Deploy, "write_image", 0, false),
    (Kind::Service, "write_image", 0, false),
    (Kind::Service, "erase_devices_metadata", 0, false),
];

/// Answer of `get_…_steps`.
pub fn list(kind: Kind) -> Value {
    let argument = |description: &str, required| StepArgument {
        description: description.to_owned(),
        required,
    };
    let steps: Vec<StepDefinition> = OFFER
        .iter()
        .filter(|(offered, ..)| *offered == kind)
        .map(|(_, step, priority, abortable)| StepDefinition {
            step: (*step).to_owned(),
            priority: *priority,
            interface: "deploy".to_owned(),
            abortable: *abortable,
            reboot_requested: false,
            requires_ramdisk: true,
            argsinfo: (*step == "write_image").then(|| {
                BTreeMap::from([
                    (
                        "image_info".to_owned(),
                        argument("The image and where it is.", true),
                    ),
                    (
                        "configdrive".to_owned(),
                        argument("Config drive, or its URL.", false),
                    ),
                ])
            }),
        })
        .collect();
    let name = kind.name();
    json!({
        format!("{name}_steps"): {MANAGER: steps},
        "hardware_manager_version": {MANAGER_KEY: MANAGER_VERSION},
    })
}

/// A step to carry out.
#[derive(Debug)]
pub struct Request {
    kind: Kind,
    step: Map<String, Value>,
    name: String,
    version: Option<Value>,
    image: Option<Box<image::Order>>,
}

impl Request {
    pub fn parse(kind: Kind, params: &Map<String, Value>) -> Result<Self, Failure> {
        let missing = || Failure::invalid_params("step is missing or has no name");
        let step = params
            .get("step")
            .and_then(Value::as_object)
            .ok_or_else(missing)?;
        let name = step
            .get("step")
            .and_then(Value::as_str)
            .ok_or_else(missing)?;
        let empty = Map::new();
        let arguments = step
            .get("args")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let image = match name {
            "write_image" => Some(Box::new(image::Order::parse(arguments)?)),
            _ => None,
        };
        Ok(Self {
            kind,
            step: step.clone(),
            name: name.to_owned(),
            version: params.get(&format!("{}_version", kind.name())).cloned(),
            image,
        })
    }

    /// All steps that are offered change the disk.
    pub fn destructive(&self) -> bool {
        self.offered()
    }

    fn offered(&self) -> bool {
        OFFER
            .iter()
            .any(|(kind, step, ..)| *kind == self.kind && *step == self.name)
    }

    pub async fn run(mut self, agent: &Arc<Agent>, command: &Command) -> Result<Value, Failure> {
        let expected = json!({MANAGER_KEY: MANAGER_VERSION});
        if let Some(Value::Object(version)) = &self.version
            && !version.is_empty()
            && Value::Object(version.clone()) != expected
        {
            return Err(Failure::version_mismatch(format!(
                "this agent has {expected}"
            )));
        }
        if !self.offered() {
            let text = format!(
                "there is no {} step {} in the deploy interface",
                self.kind.name(),
                self.name
            );
            return Err(self.kind.failure(text));
        }
        let result = match self.image.take() {
            Some(order) => Value::String(image::write(agent, *order, &command.progress).await?),
            None => erase(agent, &self.name).await?,
        };
        let name = self.kind.name();
        if let Some(Value::Object(arguments)) = self.step.get_mut("args")
            && arguments
                .get("configdrive")
                .and_then(Value::as_str)
                .is_some_and(|text| text.len() > 256)
        {
            arguments.insert("configdrive".to_owned(), "<config drive>".into());
        }
        Ok(json!({format!("{name}_result"): result, format!("{name}_step"): self.step}))
    }
}

async fn erase(agent: &Agent, how: &str) -> Result<Value, Failure> {
    let host = &agent.host;
    let all = host.time(&host.chances.write, host.settings.erase_seconds);
    let time = if how == "erase_devices" {
        all
    } else {
        all / 10
    };
    tokio::time::sleep(time).await;
    if host.has(Fault::EraseFails) {
        return Err(Failure::erase("/dev/sda: Input/output error"));
    }
    host.erased(agent.boot, how);
    Ok(Value::Null)
}
