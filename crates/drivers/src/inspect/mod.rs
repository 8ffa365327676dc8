//! Implementations of the inspect interface.

pub mod agent;
pub mod fake;
pub mod none;
pub mod redfish;
