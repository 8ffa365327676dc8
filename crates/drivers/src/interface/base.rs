//! What all interfaces have: a name, properties, a check, and steps.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_model::{BiosSetting, Fault, FirmwareComponent, InterfaceKind, Node, Object};
use bessemer_wire::{StepArgument, StepDefinition};
use serde_json::Value;

use super::{Environment, Property};

/// One implementation of one family. Every family's own trait comes on top of it.
#[async_trait]
pub trait Interface: Send + Sync {
    fn kind(&self) -> InterfaceKind;

    /// As nodes carry it.
    fn name(&self) -> &'static str;

    fn properties(&self) -> &'static [Property] {
        &[]
    }

    /// Checks the node without asking a device or the network.
    ///
    /// # Errors
    /// A sentence that names the member and what is wrong with it.
    fn validate(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        Ok(())
    }

    /// Steps for cleaning; priority 0 = only on request.
    fn clean_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    /// Steps that run after the power state was verified (`manage`).
    fn verify_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    /// Runs one of the steps above whose `run` is [`StepRun::OutOfBand`].
    ///
    /// The caller may be killed at any instant and calls again with what was saved last: an implementation that
    /// starts something on the hardware looks for it there before it starts it.
    ///
    /// # Errors
    /// The device's refusal; a step that the implementation does not have.
    async fn run_step(
        &self,
        _env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        Err(Fault::unsupported(format!(
            "{} interface {} has no step {} (node {}).",
            self.kind(),
            self.name(),
            call.step,
            node.label()
        )))
    }
}

/// Steps that the conductor's flows know how to run because they join several interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoreStep {
    /// Boots the ramdisk; runs as the phases before the step list.
    Deploy,
    WriteImage,
    PrepareInstanceBoot,
    TearDownAgent,
    SwitchToTenantNetwork,
    BootInstance,
}

/// Who runs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepRun {
    /// The conductor, by name.
    Core(CoreStep),
    /// The interface's [`Interface::run_step`].
    OutOfBand,
    /// The agent.
    InBand,
}

/// A step that the driver itself offers.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverStep {
    pub definition: StepDefinition,
    pub run: StepRun,
}

/// A step as the interfaces' lists write it.
#[must_use]
pub fn step(name: &str, interface: &str, priority: i64, run: StepRun) -> DriverStep {
    DriverStep {
        definition: StepDefinition {
            step: name.to_owned(),
            priority,
            interface: interface.to_owned(),
            abortable: true,
            reboot_requested: false,
            requires_ramdisk: matches!(run, StepRun::Core(_) | StepRun::InBand),
            argsinfo: None,
        },
        run,
    }
}

impl DriverStep {
    /// With an argument.
    #[must_use]
    pub fn arg(mut self, name: &str, required: bool, description: &str) -> Self {
        self.definition
            .argsinfo
            .get_or_insert_with(BTreeMap::new)
            .insert(
                name.to_owned(),
                StepArgument {
                    description: description.to_owned(),
                    required,
                },
            );
        self
    }

    /// The operator's abort waits until it has ended.
    #[must_use]
    pub fn not_abortable(mut self) -> Self {
        self.definition.abortable = false;
        self
    }

    /// Needs the ramdisk although the driver runs it.
    #[must_use]
    pub fn with_ramdisk(mut self) -> Self {
        self.definition.requires_ramdisk = true;
        self
    }

    #[must_use]
    pub fn without_ramdisk(mut self) -> Self {
        self.definition.requires_ramdisk = false;
        self
    }
}

/// A call of a step.
#[derive(Debug, Clone, Copy)]
pub struct StepCall<'a> {
    pub step: &'a str,
    /// Checked against the step's arguments by the caller.
    pub args: &'a Object,
    /// What the last call answered in [`StepResult::Wait`]; `None` at the start.
    pub state: Option<&'a Value>,
}

/// What came of a call of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// It is done; the effects are saved with that.
    Done(Box<Effects>),
    /// The hardware is at it: the same step is called again with `state`.
    Wait {
        /// For what, in words.
        what: String,
        /// Look again after this.
        after: Duration,
        /// Kept with the operation; no secrets.
        state: Value,
    },
    /// The node is to be restarted, into the ramdisk where the operation works with one; then the same step is called again
    /// with `state`.
    Reboot {
        /// What for, in words.
        what: String,
        /// Kept with the operation; no secrets.
        state: Value,
    },
    /// The agent in the ramdisk ends it by its next call.
    WaitForAgent { what: String },
}

impl StepResult {
    /// Done, with nothing to save.
    #[must_use]
    pub fn done() -> Self {
        Self::Done(Box::default())
    }

    #[must_use]
    pub fn with(effects: Effects) -> Self {
        Self::Done(Box::new(effects))
    }
}

/// What a driver found or brought about, to be saved by the conductor. `None` leaves what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    pub raid_config: Option<Object>,
    pub target_raid_config: Option<Object>,
    /// Merged into `properties`; null removes a member.
    pub properties: Object,
    /// Merged into `driver_internal_info`; null removes a member.
    pub driver_internal_info: Object,
    pub boot_mode: Option<String>,
    pub secure_boot: Option<bool>,
    /// All settings of the node: those that are not in the list are gone.
    pub bios_settings: Option<Vec<BiosSetting>>,
    /// All components of the node.
    pub firmware: Option<Vec<FirmwareComponent>>,
}

impl Effects {
    /// Changes the node. Settings and components have tables of their own and are the caller's.
    pub fn apply(&self, node: &mut Node) {
        if let Some(config) = &self.raid_config {
            node.raid_config.clone_from(config);
        }
        if let Some(config) = &self.target_raid_config {
            node.target_raid_config.clone_from(config);
        }
        if let Some(mode) = &self.boot_mode {
            node.boot_mode = Some(mode.clone());
        }
        if let Some(secure) = self.secure_boot {
            node.secure_boot = Some(secure);
        }
        merge(&mut node.properties, &self.properties);
        merge(&mut node.driver_internal_info, &self.driver_internal_info);
    }
}

fn merge(into: &mut Object, from: &Object) {
    for (key, value) in from {
        if value.is_null() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

/// The refusal of what an interface does not have, in upstream's words, by which clients tell it.
#[must_use]
pub fn unsupported(node: &Node, extension: &str) -> Fault {
    unsupported_by(&node.driver, extension)
}

/// As [`unsupported`], without a node.
#[must_use]
pub fn unsupported_by(driver: &str, extension: &str) -> Fault {
    Fault::unsupported(format!(
        "Driver {driver} does not support {extension} (disabled or not implemented)."
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Timestamp};
    use serde_json::json;

    #[test]
    fn effects_change_only_what_they_name() {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        node.properties.insert("local_gb".into(), json!(10));
        node.properties.insert("cpus".into(), json!(4));
        node.raid_config.insert("logical_disks".into(), json!([]));
        let effects = Effects {
            raid_config: Some(Object::new()),
            properties: json!({"local_gb": null, "memory_mb": 5})
                .as_object()
                .unwrap()
                .clone(),
            secure_boot: Some(false),
            ..Effects::default()
        };
        effects.apply(&mut node);
        assert_eq!(json!(node.properties), json!({"cpus": 4, "memory_mb": 5}));
        assert!(node.raid_config.is_empty());
        assert_eq!((node.secure_boot, node.boot_mode), (Some(false), None));
    }
}
