//! IPMI 2.0 over LAN: sessions, chassis control and boot device, from both ends.
//!
//! [`Client`] asks a BMC over UDP without ever starting a subprocess; [`bmc::BmcServer`] is a BMC
//! good enough for foreign tools, for tests and for fleets of simulated hosts. Everything between
//! the two and the socket is pure: bytes in, bytes out.
//!
//! This crate must never know what a node is, read settings, or let a password reach an error,
//! a log line or `Debug`.
//!
//! Section numbers in the modules are those of the IPMI specification, second generation,
//! v2.0, document revision 1.1 (with errata 7).

pub mod bmc;
mod chassis;
mod client;
mod completion;
mod crypto;
mod error;
pub mod fuzz;
mod message;
mod packet;
mod privilege;
mod rakp;
mod sensor;
mod window;
mod wire;

pub use chassis::{
    BootDevice, BootFlags, BootOptions, ChassisControl, ChassisStatus, DeviceId, Persistence,
};
pub use client::{Client, Target, Timing};
pub use completion::{CompletionCode, SetupStatus};
pub use crypto::CipherSuite;
pub use error::{AuthenticationFailure, Class, Error};
pub use message::Response;
pub use privilege::Privilege;
pub use sensor::{Reading, Sensor, THRESHOLDS};

/// UDP port of IPMI over LAN, the primary RMCP port (section 13.1.2).
pub const PORT: u16 = 623;
/// Longest user name of the protocol, in bytes (section 13.20).
pub const MAX_USERNAME: usize = 16;
/// Longest password, in bytes (section 22.30: 20 for IPMI 2.0).
pub const MAX_PASSWORD: usize = 20;
/// Longest BMC key Kg, in bytes (section 13.31).
pub const MAX_KG: usize = 20;
