//! Commands to the agent: `POST /v1/commands/?wait=…&agent_token=…` and `GET /v1/commands/{id}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// TCP port of the agent's API unless `ipa-listen-port` says otherwise.
pub const AGENT_PORT: u16 = 9999;
/// The token travels as a query argument, as upstream's agent wants it.
pub const AGENT_TOKEN_QUERY: &str = "agent_token";

/// Body of `POST /v1/commands/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRequest {
    /// `extension.command`, e.g. `deploy.execute_deploy_step`.
    pub name: String,
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// State of a command on the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    #[serde(rename = "RUNNING")]
    Running,
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    #[serde(rename = "FAILED")]
    Failed,
    #[serde(rename = "CLEAN_VERSION_MISMATCH")]
    CleanVersionMismatch,
}

/// Error member of a failed command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct CommandError {
    /// Class name, e.g. `ImageChecksumError`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub details: String,
}

/// One command as the agent reports it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandResult {
    pub id: String,
    pub command_name: String,
    /// Echo of the parameters. The conductor finds its own commands again by `step.bessemer` in here.
    #[serde(default)]
    pub command_params: Map<String, Value>,
    pub command_status: CommandStatus,
    #[serde(default)]
    pub command_error: Option<CommandError>,
    #[serde(default)]
    pub command_result: Option<Value>,
    /// Progress of a running image write; ours only, upstream's agent never sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<super::ImageProgress>,
}

/// Reply of `GET /v1/commands/`.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Commands {
    #[serde(default)]
    pub commands: Vec<CommandResult>,
}

/// Result of `standby.get_partition_uuids`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq, Eq)]
pub struct PartitionUuids {
    #[serde(rename = "root uuid", default)]
    pub root_uuid: Option<String>,
    #[serde(rename = "efi system partition uuid", default)]
    pub efi_system_partition_uuid: Option<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
