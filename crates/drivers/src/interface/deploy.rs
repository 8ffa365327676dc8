//! How a node is deployed and cleaned: which steps there are besides the agent's own.

use async_trait::async_trait;
use bessemer_model::{Fault, Node};
use bessemer_wire::StepDefinition;

use super::{Environment, Property};

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
    /// The interface's [`DeployInterface::run_step`].
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

#[async_trait]
pub trait DeployInterface: Send + Sync {
    fn name(&self) -> &'static str;

    fn properties(&self) -> &'static [Property] {
        &[]
    }

    /// Checks `instance_info` and settings without asking the network.
    fn validate(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether cleaning and deploying boot the ramdisk.
    fn uses_agent(&self) -> bool {
        false
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        Vec::new()
    }

    /// Runs an out-of-band step to its end.
    async fn run_step(&self, _env: &Environment, node: &Node, step: &str) -> Result<(), Fault> {
        Err(Fault::unsupported(format!(
            "Deploy interface {} has no step {step} (node {}).",
            self.name(),
            node.label()
        )))
    }
}

/// A step as the tables below write it.
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
