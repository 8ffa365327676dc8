//! Implementations of the network interface.

pub mod noop;
