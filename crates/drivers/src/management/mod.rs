//! Implementations of the management interface.

pub mod fake;
mod ipmi_sensors;
pub mod ipmitool;
pub mod noop;
pub mod redfish;
mod redfish_sensors;
mod redfish_steps;
