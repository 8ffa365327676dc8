//! `GET /v1/lookup`, `POST /v1/heartbeat/{uuid}` and the inventory.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Reply of `GET /v1/lookup?addresses=…&node_uuid=…`.
#[derive(Clone, Serialize, Deserialize)]
pub struct LookupReply {
    pub node: LookupNode,
    pub config: LookupConfig,
}

/// The part of a node that the agent is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupNode {
    pub uuid: uuid::Uuid,
    #[serde(default)]
    pub properties: Map<String, Value>,
    #[serde(default)]
    pub instance_info: Map<String, Value>,
    #[serde(default)]
    pub driver_internal_info: Map<String, Value>,
    #[serde(default)]
    pub links: Vec<Value>,
}

/// Settings for the agent. `Debug` hides the token.
#[derive(Clone, Serialize, Deserialize)]
pub struct LookupConfig {
    /// Seconds.
    pub heartbeat_timeout: u64,
    /// Null or `******` when the agent already has it.
    #[serde(default)]
    pub agent_token: Option<String>,
    #[serde(default)]
    pub agent_token_required: bool,
    #[serde(default)]
    pub agent_md5_checksum_enable: bool,
    #[serde(default)]
    pub disable_deep_image_inspection: bool,
    #[serde(default)]
    pub permitted_image_formats: Vec<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Debug for LookupConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupConfig")
            .field("heartbeat_timeout", &self.heartbeat_timeout)
            .field("agent_token", &self.agent_token.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Body of `POST /v1/heartbeat/{uuid}`. `Debug` hides the token.
#[derive(Clone, Serialize, Deserialize, Default)]
pub struct HeartbeatBody {
    #[serde(default)]
    pub callback_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// PEM of the agent's own certificate: exactly this one is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_verify_ca: Option<String>,
    /// `start`, `end` or `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_status_message: Option<String>,
}

impl std::fmt::Debug for HeartbeatBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeartbeatBody")
            .field("callback_url", &self.callback_url)
            .field("agent_version", &self.agent_version)
            .finish_non_exhaustive()
    }
}

/// Hardware as the agent sees it (upstream's inventory JSON).
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Inventory {
    #[serde(default)]
    pub interfaces: Vec<InventoryInterface>,
    #[serde(default)]
    pub cpu: InventoryCpu,
    #[serde(default)]
    pub disks: Vec<InventoryDisk>,
    #[serde(default)]
    pub memory: InventoryMemory,
    #[serde(default)]
    pub bmc_address: Option<String>,
    #[serde(default)]
    pub bmc_v6address: Option<String>,
    #[serde(default)]
    pub bmc_mac: Option<String>,
    #[serde(default)]
    pub system_vendor: SystemVendor,
    #[serde(default)]
    pub boot: InventoryBoot,
    #[serde(default)]
    pub hostname: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct InventoryInterface {
    pub name: String,
    pub mac_address: String,
    #[serde(default)]
    pub ipv4_address: Option<String>,
    #[serde(default)]
    pub ipv6_address: Option<String>,
    #[serde(default)]
    pub has_carrier: bool,
    #[serde(default)]
    pub lldp: Option<Value>,
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub product: Option<String>,
    #[serde(default)]
    pub client_id: Option<String>,
    #[serde(default)]
    pub biosdevname: Option<String>,
    #[serde(default)]
    pub speed_mbps: Option<u64>,
    #[serde(default)]
    pub pci_address: Option<String>,
    #[serde(default)]
    pub driver: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct InventoryCpu {
    #[serde(default)]
    pub model_name: Option<String>,
    /// MHz, as text, as upstream.
    #[serde(default)]
    pub frequency: Option<String>,
    #[serde(default)]
    pub count: u32,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub socket_count: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct InventoryDisk {
    pub name: String,
    #[serde(default)]
    pub model: Option<String>,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    pub rotational: bool,
    #[serde(default)]
    pub wwn: Option<String>,
    #[serde(default)]
    pub serial: Option<String>,
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub wwn_with_extension: Option<String>,
    #[serde(default)]
    pub wwn_vendor_extension: Option<String>,
    #[serde(default)]
    pub hctl: Option<String>,
    #[serde(default)]
    pub by_path: Option<String>,
    #[serde(default)]
    pub logical_sectors: Option<u64>,
    #[serde(default)]
    pub physical_sectors: Option<u64>,
    #[serde(default)]
    pub tran: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct InventoryMemory {
    /// Bytes usable.
    #[serde(default)]
    pub total: u64,
    /// MiB installed.
    #[serde(default)]
    pub physical_mb: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct SystemVendor {
    #[serde(default)]
    pub product_name: String,
    #[serde(default)]
    pub serial_number: String,
    #[serde(default)]
    pub manufacturer: String,
    #[serde(default)]
    pub firmware: Value,
}

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct InventoryBoot {
    /// `bios` or `uefi`.
    #[serde(default)]
    pub current_boot_mode: String,
    #[serde(default)]
    pub pxe_interface: Option<String>,
}
