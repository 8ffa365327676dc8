//! Implementations of the RAID interface.

pub mod agent;
pub mod fake;
pub mod none;
pub mod redfish;
mod redfish_plan;
pub mod schema;
