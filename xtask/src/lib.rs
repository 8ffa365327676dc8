//! What stands behind the make targets: machine set-up, builds, images, the testbed of real firmware, the demo and the test run.
//!
//! Also a library: scenario tests use [`testbed`] and [`image`]. Must never touch the host's network, and must never leave a
//! process or a device behind when it dies, however it dies.

pub mod bench;
pub mod build;
pub mod cache;
pub mod compat;
pub mod demo;
pub mod image;
pub mod janitor;
pub mod notify_test;
pub mod postgres;
pub mod process;
pub mod setup;
pub mod test_run;
pub mod testbed;
pub mod tidy;
