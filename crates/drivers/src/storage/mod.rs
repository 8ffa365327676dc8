//! Implementations of the storage interface.

pub mod fake;
pub mod noop;
