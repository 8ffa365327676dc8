//! Implementations of the management interface.

pub mod fake;
pub mod ipmitool;
pub mod noop;
pub mod redfish;
mod redfish_sensors;
mod ipmi_sensors;
mod redfish_steps;
