//! Implementations of the vendor interface.

pub mod fake;
pub mod ipmitool;
pub mod none;
pub mod redfish;
