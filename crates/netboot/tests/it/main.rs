//! The whole service over loopback, over the store, and in a network namespace against busybox's DHCP client.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dhcp;
mod http;
mod namespace;
mod support;
mod tftp;
