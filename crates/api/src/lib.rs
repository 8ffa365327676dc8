//! The Bare Metal API over HTTP.

pub mod conductor;
