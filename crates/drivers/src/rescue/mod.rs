//! Implementations of the rescue interface.

pub mod agent;
pub mod fake;
pub mod none;
