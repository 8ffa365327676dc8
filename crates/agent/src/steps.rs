//! Clean, deploy and service steps: what is offered, and running one.
//!
//! The tables below are the whole offer; adding a step is a row and an arm in [`Request::run_step`]. Only steps that are
//! carried out completely stand here.

pub mod erase;

use std::collections::BTreeMap;
use std::sync::Arc;

use bessemer_wire::{StepArgument, StepDefinition};
use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::command::PrepareImage;
use crate::error::Failure;
use crate::registry::Progress;
use crate::write;

/// Name under which the steps are offered.
const MANAGER: &str = "BessemerHardwareManager";
/// Key of the version.
const MANAGER_KEY: &str = "bessemer_hardware_manager";
/// Raised when a step changes its meaning.
const MANAGER_VERSION: &str = "1.0";

/// Which list a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Clean,
    Deploy,
    Service,
}

impl Kind {
    /// As it stands in names of commands and members.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }

    fn failure(self, text: String) -> Failure {
        match self {
            Self::Clean => Failure::Cleaning(text),
            Self::Deploy => Failure::Deployment(text),
            Self::Service => Failure::Servicing(text),
        }
    }
}

/// A row of the offer.
struct Row {
    kind: Kind,
    step: &'static str,
    priority: i64,
    abortable: bool,
    arguments: &'static [(&'static str, &'static str, bool)],
}

const IMAGE_ARGUMENTS: &[(&str, &str, bool)] = &[
    (
        "image_info",
        "The image: id, urls, disk_format, checksum and the credentials of its server.",
        true,
    ),
    (
        "configdrive",
        "Config drive: base64 of an ISO 9660 image, gzipped or not, or its URL.",
        false,
    ),
];

const OFFER: &[Row] = &[
    Row {
        kind: Kind::Clean,
        step: "erase_devices_metadata",
        priority: 99,
        abortable: true,
        arguments: &[],
    },
    Row {
        kind: Kind::Clean,
        step: "erase_devices",
        priority: 10,
        abortable: true,
        arguments: &[],
    },
    Row {
        kind: Kind::Deploy,
        step: "erase_devices_metadata",
        priority: 0,
        abortable: false,
        arguments: &[],
    },
    Row {
        kind: Kind::Deploy,
        step: "write_image",
        priority: 0,
        abortable: false,
        arguments: IMAGE_ARGUMENTS,
    },
    Row {
        kind: Kind::Service,
        step: "write_image",
        priority: 0,
        abortable: false,
        arguments: IMAGE_ARGUMENTS,
    },
];

/// Answer of `get_…_steps`.
#[must_use]
pub fn list(kind: Kind) -> Value {
    let steps: Vec<StepDefinition> = OFFER
        .iter()
        .filter(|row| row.kind == kind)
        .map(|row| StepDefinition {
            step: row.step.to_owned(),
            priority: row.priority,
            interface: "deploy".to_owned(),
            abortable: row.abortable,
            reboot_requested: false,
            requires_ramdisk: true,
            argsinfo: (!row.arguments.is_empty()).then(|| {
                row.arguments
                    .iter()
                    .map(|(name, description, required)| {
                        (
                            (*name).to_owned(),
                            StepArgument {
                                description: (*description).to_owned(),
                                required: *required,
                            },
                        )
                    })
                    .collect::<BTreeMap<_, _>>()
            }),
        })
        .collect();
    let name = kind.name();
    json!({
        (format!("{name}_steps")): { (MANAGER): steps },
        "hardware_manager_version": { (MANAGER_KEY): MANAGER_VERSION },
    })
}

/// A checked `execute_…_step`.
pub struct Request {
    kind: Kind,
    /// As it came, for the answer; the config drive's contents taken out.
    step: Map<String, Value>,
    name: String,
    node: Map<String, Value>,
    version: Option<Value>,
    prepare: Option<PrepareImage>,
}

impl Request {
    /// Checks the parameters.
    pub fn parse(kind: Kind, params: &Map<String, Value>) -> Result<Self, Failure> {
        let step = params
            .get("step")
            .and_then(Value::as_object)
            .ok_or_else(|| Failure::InvalidParams("'step' must be an object".to_owned()))?;
        let name = step
            .get("step")
            .and_then(Value::as_str)
            .ok_or_else(|| {
                Failure::InvalidParams(format!("Malformed {}_step, no \"step\" key", kind.name()))
            })?
            .to_owned();
        let known = OFFER.iter().any(|row| row.kind == kind && row.step == name);
        let interface = step
            .get("interface")
            .and_then(Value::as_str)
            .unwrap_or("deploy");
        if !known || interface != "deploy" {
            return Err(Failure::InvalidParams(format!(
                "this agent has no {} step {interface}.{name}",
                kind.name()
            )));
        }
        let no_arguments = Map::new();
        let arguments = step
            .get("args")
            .and_then(Value::as_object)
            .unwrap_or(&no_arguments);
        let prepare = if name == "write_image" {
            Some(PrepareImage::from_arguments(arguments)?)
        } else {
            None
        };
        Ok(Self {
            kind,
            step: crate::registry::echo(step),
            name,
            node: params
                .get("node")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            version: params
                .get(&format!("{}_version", kind.name()))
                .filter(|v| !v.is_null())
                .cloned(),
            prepare,
        })
    }

    #[must_use]
    pub fn step_name(&self) -> &str {
        &self.name
    }

    /// Runs it; the result is in upstream's form.
    pub async fn run(
        mut self,
        agent: Arc<Agent>,
        progress: Arc<Progress>,
    ) -> Result<Value, Failure> {
        let current = json!({ (MANAGER_KEY): MANAGER_VERSION });
        if let Some(version) = self.version.take().filter(|v| *v != current) {
            return Err(Failure::VersionMismatch(format!(
                "Current versions: {current}, versions used by ironic: {version}"
            )));
        }
        agent.update_node(&std::mem::take(&mut self.node));
        let prepare = self.prepare.take();
        let result = self.run_step(&agent, progress, prepare).await?;
        let kind = self.kind.name();
        Ok(json!({
            (format!("{kind}_result")): result,
            (format!("{kind}_step")): self.step,
        }))
    }

    async fn run_step(
        &self,
        agent: &Arc<Agent>,
        progress: Arc<Progress>,
        prepare: Option<PrepareImage>,
    ) -> Result<Value, Failure> {
        match (self.name.as_str(), prepare) {
            ("erase_devices_metadata", _) => erase::metadata(agent).await,
            ("erase_devices", _) => erase::everything(agent, progress).await,
            ("write_image", Some(prepare)) => write::prepare_image(agent, progress, prepare).await,
            (name, _) => Err(self.kind.failure(format!("no step {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn offers() {
        for (kind, expected) in [
            (
                Kind::Clean,
                vec![("erase_devices_metadata", 99), ("erase_devices", 10)],
            ),
            (
                Kind::Deploy,
                vec![("erase_devices_metadata", 0), ("write_image", 0)],
            ),
            (Kind::Service, vec![("write_image", 0)]),
        ] {
            let answer = list(kind);
            let steps: Vec<StepDefinition> =
                serde_json::from_value(answer[format!("{}_steps", kind.name())][MANAGER].clone())
                    .unwrap();
            let found: Vec<(&str, i64)> = steps
                .iter()
                .map(|s| (s.step.as_str(), s.priority))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn requests() {
        for (kind, params, expected) in [
            (Kind::Clean, json!({"step": {"step": "erase_devices"}}), ""),
            (Kind::Clean, json!({}), "'step' must be an object"),
            (Kind::Clean, json!({"step": {}}), "Malformed clean_step"),
            (
                Kind::Clean,
                json!({"step": {"step": "write_image"}}),
                "no clean step deploy.write_image",
            ),
            (
                Kind::Deploy,
                json!({"step": {"step": "write_image"}}),
                "missing field `image_info`",
            ),
            (
                Kind::Deploy,
                json!({"step": {"step": "write_image", "args": {"image_info": {"id": "x", "urls": []}}}}),
                "'urls' must be",
            ),
        ] {
            let outcome = Request::parse(kind, params.as_object().unwrap());
            match outcome {
                Ok(_) => assert_eq!(expected, "", "{params}"),
                Err(failure) => {
                    assert_eq!(failure.code(), 400);
                    let text = failure.to_string();
                    assert!(!expected.is_empty() && text.contains(expected), "{text}");
                }
            }
        }
    }
}
