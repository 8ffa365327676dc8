//! Implementations of the power interface.

pub mod fake;
pub mod ipmitool;
pub mod redfish;
