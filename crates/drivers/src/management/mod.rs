//! Implementations of the management interface.

pub mod fake;
pub mod ipmitool;
pub mod noop;
