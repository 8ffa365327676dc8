//! Real firmware in QEMU: machines with BIOS or UEFI, real IPMI BMCs, a network of their own.
//!
//! Everything runs inside namespaces (network, mount, process, and user for ordinary users) whose first process takes all others
//! with it, so that nothing outside is touched and nothing remains. Addresses: `br0` is 10.77.0.1/24 and fd77::1/64, the BMC of node
//! *n* is 10.77.1.(10+n), its network card 52:54:00:77:00:*n*.

pub mod bmc;
pub mod chain;
pub mod chassis;
pub mod console;
pub mod control;
pub mod disk;
pub mod http;
pub mod namespace;
pub mod network;
pub mod node;
pub mod rest;

pub use bmc::Bmc;
pub use console::Console;
pub use namespace::{Run, inside};
pub use node::{Firmware, Node, NodeSpec, Rom};

/// Address of the controller on the provisioning network.
pub const CONTROLLER: &str = "10.77.0.1";
