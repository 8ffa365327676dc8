//! Calls from API processes to conductors in other processes (design, decision 7).
//!
//! One `POST` for each call, JSON both ways, over TLS. A conductor makes certificate and secret at its start and puts them
//! into its row of the database, where only processes of the service read them; the caller trusts exactly that
//! certificate. So there is nothing to configure and nothing that outlives a restart.
//!
//! A call is for a node, a driver, or anyone. It goes to the conductor of this process when that one can do it, else
//! to the one that the ring names, and to the next when that one cannot be reached: which conductor answers is never
//! a question of correctness, since leases decide who works.

mod answer;
mod client;
mod listen;

pub use client::Routed;
pub use listen::{Identity, router};

use bessemer_api::conductor::{ProvisionRequest, VendorRequest};
use bessemer_model::network::VifRequest;
use bessemer_model::{AllocationId, Fault, InterfaceKind, NodeId, Object, PowerTarget, Timestamp};
use bessemer_store::Requester;
use bessemer_wire::HeartbeatBody;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where calls are posted to.
const PATH: &str = "/call";

/// What is asked. Names are read by conductors of other versions: members are only added, with defaults.
#[derive(Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
enum Question {
    SetProvisionState {
        node: NodeId,
        request: Box<ProvisionRequest>,
    },
    Allocate {
        allocation: AllocationId,
    },
    SetPowerState {
        node: NodeId,
        target: PowerTarget,
        timeout: Option<u64>,
    },
    Validate {
        node: NodeId,
    },
    GetBootDevice {
        node: NodeId,
    },
    SetBootDevice {
        node: NodeId,
        device: String,
        persistent: bool,
    },
    SupportedBootDevices {
        node: NodeId,
    },
    InjectNmi {
        node: NodeId,
    },
    /// The node may not be stored yet: what matters of it comes along.
    CheckDriver {
        node: NodeId,
        name: Option<String>,
        driver: String,
        interfaces: Vec<(InterfaceKind, String)>,
        explicit: Vec<InterfaceKind>,
    },
    DriverProperties {
        driver: String,
    },
    Lookup {
        addresses: Vec<String>,
        node: Option<NodeId>,
    },
    Heartbeat {
        node: NodeId,
        body: Box<HeartbeatBody>,
        at: Timestamp,
    },
    SetTargetRaidConfig {
        node: NodeId,
        config: Object,
    },
    RaidLogicalDiskProperties {
        driver: String,
    },
    SetBootMode {
        node: NodeId,
        mode: String,
    },
    SetSecureBoot {
        node: NodeId,
        enabled: bool,
    },
    GetConsole {
        node: NodeId,
    },
    SetConsole {
        node: NodeId,
        enabled: bool,
    },
    Indicators {
        node: NodeId,
    },
    GetIndicator {
        node: NodeId,
        component: String,
        indicator: String,
    },
    SetIndicator {
        node: NodeId,
        component: String,
        indicator: String,
        state: String,
    },
    GetVirtualMedia {
        node: NodeId,
    },
    AttachVirtualMedia {
        node: NodeId,
        device: String,
        image_url: String,
    },
    DetachVirtualMedia {
        node: NodeId,
        devices: Vec<String>,
    },
    VendorMethods {
        node: NodeId,
    },
    VendorCall {
        node: NodeId,
        request: VendorRequest,
    },
    DriverVendorMethods {
        driver: String,
    },
    DriverVendorCall {
        driver: String,
        request: VendorRequest,
    },
    VifList {
        node: NodeId,
    },
    VifAttach {
        node: NodeId,
        vif: VifRequest,
    },
    VifDetach {
        node: NodeId,
        vif: String,
    },
    ContinueInspection {
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    },
}

/// Body of a call.
#[derive(Serialize, Deserialize)]
struct Envelope {
    /// On whose behalf, for the history.
    #[serde(default)]
    requester: Option<Requester>,
    question: Question,
}

/// Body of the answer to a call that was understood.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Done(Value),
    Refused(Fault),
}
