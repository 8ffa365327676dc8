//! Implementations of the console interface.

pub mod fake;
pub mod none;
