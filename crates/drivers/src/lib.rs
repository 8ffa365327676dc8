//! Hardware types and interfaces: what ties the protocol crates to nodes.
//!
//! One file per implementation of one interface (`power/ipmitool.rs`), one constant per hardware type
//! (`hw/ipmi.rs`), one visible table of them (`catalog.rs`). To add a BMC driver: `hw/acme.rs` and a row of
//! `catalog.rs`.
//!
//! This crate never touches the store: it reads the node it is given, talks to devices, and answers with
//! values that the conductor saves.

pub mod bios;
pub mod bmc;
pub mod boot;
pub mod catalog;
pub mod console;
pub mod deploy;
pub mod firmware;
pub mod hw;
pub mod inspect;
pub mod interface;
pub mod management;
pub mod network;
pub mod power;
pub mod raid;
pub mod redfish;
pub mod rescue;
pub mod storage;
pub mod vendor;

pub use bmc::Bmcs;
pub use catalog::{Catalogue, Drivers, HardwareTypeEntry};
pub use interface::{
    BiosInterface, BootInterface, BootParams, BootPlan, ConsoleInterface, CoreStep,
    DeployInterface, DriverStep, Effects, Environment, FirmwareInterface, Hardware, Indicator,
    Indicators, InspectInterface, Inspection, Interface, ManagementInterface, MediaPlan, Network,
    NetworkInterface, Persistence, PortChange, PowerInterface, Property, RaidInterface,
    RamdiskKind, RescueInterface, StepCall, StepResult, StepRun, StorageInterface, VendorInterface,
    VendorMethod, VendorReply,
};
pub use redfish::{RedfishBmcs, RedfishSettings};
