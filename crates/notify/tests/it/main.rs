//! The sender over both engines, with receivers that fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod webhooks;
