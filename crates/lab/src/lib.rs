//! The hardware simulator: BMCs that speak IPMI or Redfish, and hosts that really ask DHCP, fetch by TFTP and HTTP, run an agent and
//! have a disk that remembers what was written to it. By the thousand in one process, from a seed.
//!
//! It runs in a process of its own with a log of its own ([`log`]); tests judge a controller by that log. It knows nothing
//! of the controller but its public protocols, and must never look into its database.
//!
//! Specifications: IPMI 2.0 (by `bessemer-ipmi`), Redfish (DSP0266), RFC 2131 (by `bessemer-dhcp`), RFC 1350 and its options, iPXE's script
//! language, upstream's agent API.

pub mod disk;
pub mod fuzz;
pub mod log;
pub mod process;

mod agent;
mod bmc;
mod boot;
mod dice;
mod fault;
mod fleet;
mod host;
mod journal;
mod machine;
mod redfish;
mod settings;
mod tls;

pub use disk::{Content, Disk};
pub use fault::Fault;
pub use fleet::{Command, Error, Lab, Standing};
pub use host::{BmcKind, Facts, Firmware, PowerChange, Stage};
pub use log::{Entry, ImageWrite, Log, Reference, Violation, WriteEnd};
pub use process::{LabProcess, binary_path, spawn, spawn_binary};
pub use settings::{FirmwareChoice, Settings, Span};
