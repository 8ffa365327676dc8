//! The agent inside the deploy ramdisk: it registers with the conductor and does to the node's hardware what the
//! conductor asks: cleans disks, writes images, makes the result boot.
//!
//! It speaks the protocol of upstream's agent in both directions, so that either conductor may drive it. It knows
//! nothing of provision states or flows: it runs one command at a time and tells what came of it. Specification:
//! upstream's documentation of the agent's API and kernel parameters; types in `bessemer-wire`.
//!
//! Nothing here may log a token, a password or the contents of a config drive, and nothing may be written to a disk
//! that the node's hints do not name.

pub mod agent;
pub mod api;
pub mod command;
pub mod disks;
pub mod efi;
pub mod error;
pub mod fuzz;
pub mod init;
pub mod inventory;
pub mod ironic;
pub mod log;
pub mod log_archive;
pub mod net;
pub mod program;
pub mod registry;
pub mod settings;
pub mod steps;
pub mod tls;
pub mod write;

/// Version that heartbeats and `/v1/status` tell: the level of upstream's agent whose protocol is spoken, then ours.
/// Upstream's conductor compares the first part with versions it knows.
pub const VERSION: &str = concat!("13.0.0+bessemer.", env!("CARGO_PKG_VERSION"));
