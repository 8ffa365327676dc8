//! Clean, deploy and service steps as they cross the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Description of one argument of a step.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct StepArgument {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub required: bool,
}

/// A step that a hardware manager or driver offers.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct StepDefinition {
    pub step: String,
    /// 0: only on request.
    pub priority: i64,
    pub interface: String,
    #[serde(default)]
    pub abortable: bool,
    #[serde(default)]
    pub reboot_requested: bool,
    #[serde(default = "yes")]
    pub requires_ramdisk: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argsinfo: Option<BTreeMap<String, StepArgument>>,
}

fn yes() -> bool {
    true
}

/// Reply of `clean.get_clean_steps`.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct CleanSteps {
    /// Hardware manager name to its steps.
    #[serde(default)]
    pub clean_steps: BTreeMap<String, Vec<StepDefinition>>,
    #[serde(default)]
    pub hardware_manager_version: Map<String, Value>,
}

/// Reply of `deploy.get_deploy_steps`.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct DeploySteps {
    #[serde(default)]
    pub deploy_steps: BTreeMap<String, Vec<StepDefinition>>,
    #[serde(default)]
    pub hardware_manager_version: Map<String, Value>,
}

/// Which attempt of which operation started a step: travels inside `step` as member `bessemer`, which
/// upstream's agent ignores and echoes in `command_params`, so that a conductor that was killed finds its
/// command again instead of starting it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRef {
    pub operation: String,
    pub index: u32,
    pub attempt: u32,
}

/// Result of `execute_*_step`: `{"deploy_result": …, "deploy_step": …}` (`clean_…`, `service_…` alike).
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct ExecutedStep {
    #[serde(alias = "clean_result", alias = "service_result", default)]
    pub deploy_result: Value,
    #[serde(alias = "clean_step", alias = "service_step", default)]
    pub deploy_step: Value,
}
