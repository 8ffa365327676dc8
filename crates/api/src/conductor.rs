//! What the API asks the conductor for: calls that must answer at once (design, decision 7).
//!
//! The API depends on neither drivers nor the conductor crate. The server gives it an implementation: in
//! process when both roles run together, over the internal HTTP interface otherwise.

use async_trait::async_trait;
use bessemer_model::network::VifRequest;
use bessemer_model::{
    AllocationId, Fault, InterfaceKind, Node, NodeId, Object, PowerTarget, Timestamp,
};
use bessemer_wire::HeartbeatBody;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Body of `PUT /v1/nodes/{ident}/states/provision` after the API has checked shape and version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// The verb as the client wrote it.
    pub target: String,
    /// String (base64 or URL) or object.
    pub configdrive: Option<Value>,
    pub clean_steps: Option<Value>,
    pub deploy_steps: Option<Value>,
    pub service_steps: Option<Value>,
    pub rescue_password: Option<String>,
    pub disable_ramdisk: Option<bool>,
    pub runbook: Option<String>,
}

/// Answer of `GET /v1/nodes/{ident}/management/boot_device`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootDeviceAnswer {
    pub boot_device: Option<String>,
    pub persistent: Option<bool>,
}

/// One line of `GET /v1/nodes/{ident}/validate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InterfaceValidation {
    pub interface: InterfaceKind,
    /// `None`: the interface is not there (shown as null).
    pub result: Option<bool>,
    pub reason: Option<String>,
}

/// What the agent gets from lookup besides the node.
#[derive(Clone)]
pub struct LookupAnswer {
    pub node: Node,
    /// The token when the agent may still have it, `******` otherwise.
    pub agent_token: String,
}

/// A lamp of a component of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndicatorAnswer {
    pub component: String,
    pub name: String,
    pub readonly: bool,
    pub states: Vec<String>,
}

/// A call of a vendor method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VendorRequest {
    pub method: String,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub http_method: String,
    pub args: Map<String, Value>,
}

/// Answer of a vendor method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum VendorAnswer {
    /// It runs: 202.
    Accepted,
    /// The body is the result.
    Json(Value),
    /// The body is this file.
    File(Vec<u8>),
}

/// Calls from the API to the owning conductor.
#[async_trait]
pub trait Conductor: Send + Sync {
    /// Checks that need no device run before the answer (400, 409, 503); then the intent is stored and
    /// the node already shows its transient state.
    async fn set_provision_state(
        &self,
        node: NodeId,
        request: ProvisionRequest,
    ) -> Result<(), Fault>;

    /// An allocation was stored: a node is looked for soon, not before this answers.
    async fn allocate(&self, allocation: AllocationId) -> Result<(), Fault>;

    async fn set_power_state(
        &self,
        node: NodeId,
        target: PowerTarget,
        timeout: Option<u64>,
    ) -> Result<(), Fault>;

    async fn validate(&self, node: NodeId) -> Result<Vec<InterfaceValidation>, Fault>;

    async fn get_boot_device(&self, node: NodeId) -> Result<BootDeviceAnswer, Fault>;

    async fn set_boot_device(
        &self,
        node: NodeId,
        device: String,
        persistent: bool,
    ) -> Result<(), Fault>;

    async fn supported_boot_devices(&self, node: NodeId) -> Result<Vec<String>, Fault>;

    async fn inject_nmi(&self, node: NodeId) -> Result<(), Fault>;

    /// Fills in and checks driver and interfaces of a node that is created or patched: unknown driver,
    /// interface not enabled or not compatible, no valid default. `set_by_client` names the interfaces
    /// that the client gave explicitly.
    async fn check_driver(
        &self,
        node: &mut Node,
        set_by_client: &[InterfaceKind],
    ) -> Result<(), Fault>;

    /// `GET /v1/drivers/{name}/properties`: property name to description.
    async fn driver_properties(&self, driver: &str) -> Result<Map<String, Value>, Fault>;

    /// Finds the node of an agent by its MACs or by uuid; NotFound (with no detail) otherwise.
    async fn lookup(
        &self,
        addresses: Vec<String>,
        node_uuid: Option<NodeId>,
    ) -> Result<LookupAnswer, Fault>;

    /// `body` is checked for shape by the API; token, URL and state are checked here.
    async fn heartbeat(
        &self,
        node: NodeId,
        body: HeartbeatBody,
        at: Timestamp,
    ) -> Result<(), Fault>;

    /// `config` is empty or complete; refused with `Unsupported` by drivers without RAID.
    async fn set_target_raid_config(
        &self,
        node: NodeId,
        config: Map<String, Value>,
    ) -> Result<(), Fault>;

    /// Member of a logical disk to its meaning; `NotFound` for a driver that is not enabled.
    async fn raid_logical_disk_properties(&self, driver: &str)
    -> Result<Map<String, Value>, Fault>;

    /// `uefi` or `bios`; returns when the intent is stored.
    async fn set_boot_mode(&self, node: NodeId, mode: String) -> Result<(), Fault>;

    async fn set_secure_boot(&self, node: NodeId, enabled: bool) -> Result<(), Fault>;

    /// How a client reaches the console; `None` when it is off.
    async fn get_console(&self, node: NodeId) -> Result<Option<Value>, Fault>;

    async fn set_console(&self, node: NodeId, enabled: bool) -> Result<(), Fault>;

    async fn indicators(&self, node: NodeId) -> Result<Vec<IndicatorAnswer>, Fault>;

    async fn get_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
    ) -> Result<String, Fault>;

    async fn set_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
        state: String,
    ) -> Result<(), Fault>;

    async fn get_virtual_media(&self, node: NodeId) -> Result<Vec<Map<String, Value>>, Fault>;

    /// `device` is `disk`, `cdrom` or `floppy`; returns when the intent is stored.
    async fn attach_virtual_media(
        &self,
        node: NodeId,
        device: String,
        image_url: String,
    ) -> Result<(), Fault>;

    /// All devices when `devices` is empty.
    async fn detach_virtual_media(&self, node: NodeId, devices: Vec<String>) -> Result<(), Fault>;

    /// Method name to its description.
    async fn vendor_methods(&self, node: NodeId) -> Result<Map<String, Value>, Fault>;

    async fn vendor_call(
        &self,
        node: NodeId,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault>;

    /// `NotFound` for a driver that is not enabled.
    async fn driver_vendor_methods(&self, driver: &str) -> Result<Map<String, Value>, Fault>;

    async fn driver_vendor_call(
        &self,
        driver: &str,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault>;
    /// The ids of the VIFs that are attached to the node.
    async fn vif_list(&self, node: NodeId) -> Result<Vec<String>, Fault>;

    /// Attaches a VIF as the node's network interface does it: 409 when it is attached already or the node is
    /// locked, 400 without a free port.
    async fn vif_attach(&self, node: NodeId, vif: VifRequest) -> Result<(), Fault>;

    /// 400 when the VIF is not attached.
    async fn vif_detach(&self, node: NodeId, vif: &str) -> Result<(), Fault>;

    /// Hands a ramdisk's report to the node's inspection; NotFound (with no detail) when the node does not
    /// wait for one.
    async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    ) -> Result<(), Fault>;
}
