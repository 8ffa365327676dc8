//! The API against answers recorded from upstream's service, and what upstream has no answer for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod allocations;
mod authentication;
mod compare;
mod conductor;
mod fuzz;
mod goldens;
mod guarded;
mod keystone;
mod listening;
mod lists;
mod misuse;
mod openapi;
mod records;
mod seed;
mod service;
mod whole;
