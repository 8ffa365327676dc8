//! The agent as a whole, in this process: a stand-in for the Bare Metal API, an image server, disks that are files.
//!
//! Judges from outside: qemu-img makes the images, sgdisk, blkid and isoinfo read the disks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod clean;
mod deploy;
mod failures;
mod images;
mod servers;
mod world;
