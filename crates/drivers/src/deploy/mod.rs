//! Implementations of the deploy interface.

pub mod direct;
pub mod fake;
pub mod noop;
