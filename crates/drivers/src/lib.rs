//! Hardware types and interfaces: what ties the protocol crates to nodes.
//!
//! One file per implementation of one interface (`power/ipmitool.rs`), one constant per hardware type
//! (`hw/ipmi.rs`), one visible table of them (`catalog.rs`). To add a BMC driver: `hw/acme.rs` and a row of
//! `catalog.rs`.
//!
//! This crate never touches the store: it reads the node it is given, talks to devices, and answers with
//! values that the conductor saves.

pub mod bmc;
pub mod boot;
pub mod catalog;
pub mod deploy;
pub mod hw;
pub mod interface;
pub mod management;
pub mod power;

pub use bmc::Bmcs;
pub use catalog::{Catalogue, Drivers, HardwareTypeEntry};
pub use interface::{
    BootInterface, BootParams, BootPlan, CoreStep, DeployInterface, DriverStep, Environment,
    Hardware, ManagementInterface, Persistence, PowerInterface, Property, StepRun,
};
