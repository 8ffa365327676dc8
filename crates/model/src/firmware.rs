//! Firmware of one component of a node, as the BMC lists it.

use serde::{Deserialize, Serialize};

/// `component` is `bios`, `bmc` or `nic:<identity>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FirmwareComponent {
    pub component: String,
    pub current_version: Option<String>,
    /// What an update by the service wrote last.
    pub last_version_flashed: Option<String>,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
}
