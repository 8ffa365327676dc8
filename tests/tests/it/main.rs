//! Scenarios: a whole controller, as this process's tasks or as the real program, in front of simulated hosts that run in
//! a process of their own and judge by a log of their own.
//!
//! Every test has a network of its own on loopback (`harness::Site`), so that all of them run at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod allocations;
mod apart;
mod bad_image;
mod bad_input;
mod crash;
mod driver_api;
mod firmware;
mod flows;
mod harness;
mod interventions;
mod kill;
mod life;
mod many;
mod notifications;
mod redfish_life;
mod restore;
mod takeover;
mod watching;
