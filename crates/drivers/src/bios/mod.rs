//! Implementations of the BIOS interface.

pub mod fake;
pub mod none;
