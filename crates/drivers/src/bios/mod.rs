//! Implementations of the BIOS interface.

pub mod fake;
pub mod none;
pub mod redfish;
