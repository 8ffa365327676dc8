//! The store on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod allocations;
mod durability;
mod leases;
mod lists;
mod networks;
mod nodes;
mod operations;
mod others;
mod outbox;
mod schema;
mod settings;
mod support;
mod volumes;
