//! Implementations of the firmware interface.

pub mod fake;
pub mod none;
pub mod redfish;
