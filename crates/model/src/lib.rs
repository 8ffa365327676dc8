//! What exists: nodes, ports, chassis, their states and the pure rules between them.
//!
//! This crate never does I/O, is never async, contains no SQL and no HTTP. Its vocabulary is that of the
//! Bare Metal API reference, so that a reader of that document finds things by name.

mod allocation;
mod bios;
mod chassis;
mod fault;
mod field;
mod firmware;
mod ids;
pub mod inspection_rule;
mod interface;
mod inventory;
mod masking;
pub mod network;
mod node;
pub mod notification;
pub mod placement;
mod port;
mod portgroup;
mod power;
pub mod provision;
mod quote;
mod runbook;
mod timestamp;
pub mod traits;
mod volume;

pub use allocation::{Allocation, AllocationState};
pub use bios::BiosSetting;
pub use chassis::Chassis;
pub use fault::{Class, Fault, FaultKind};
pub use field::{FieldSource, NodeField};
pub use firmware::FirmwareComponent;
pub use ids::{
    AllocationId, ChassisId, ConductorId, DeployTemplateId, HistoryId, InspectionRuleId,
    MacAddress, MacAddressError, NodeId, OperationId, PortId, PortgroupId, RunbookId, SessionId,
    VolumeConnectorId, VolumeTargetId,
};
pub use inspection_rule::InspectionRule;
pub use interface::{InterfaceKind, Interfaces};
pub use inventory::{Inventory, LOOKUP_ADDRESSES};
pub use masking::{MASK, is_secret_key, masked};
pub use node::{Node, NodeHealthFault};
pub use port::Port;
pub use portgroup::Portgroup;
pub use power::{PowerState, PowerTarget};
pub use provision::{Event, ProvisionState, Verb};
pub use quote::{py_repr, py_str};
pub use runbook::{DeployTemplate, Runbook, RunbookStep, TemplateStep};
pub use timestamp::{Ahead, Timestamp};
pub use volume::{VolumeConnector, VolumeTarget};

/// A JSON object as nodes carry it (`properties`, `driver_info`, …). Key order is kept.
pub type Object = serde_json::Map<String, serde_json::Value>;
