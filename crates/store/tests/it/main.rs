//! The store on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod operations;
mod support;
