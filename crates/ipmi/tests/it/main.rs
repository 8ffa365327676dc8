//! Against implementations that are not ours: our client at OpenIPMI's `ipmi_sim` and at a pyghmi
//! server, `ipmitool` at our BMC, and only then our client at our BMC over a bad network.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod foreign_bmc;
mod foreign_console;
mod ours;
mod support;
