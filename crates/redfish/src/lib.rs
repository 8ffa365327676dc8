//! A Redfish client (DMTF DSP0266) for BMCs as they are: lenient in what it reads, exact in what it sends.
//!
//! The parts: [`Target`] says which BMC and how it is trusted, [`Client`] speaks HTTP to it (sessions, ETags, collections in
//! pages, tasks, errors as sentences), [`Resource`] reads its documents with every member optional, and the modules `system`,
//! `media`, `bios`, `storage` and `tasks` add typed calls. What boards do differently stands as rows in [`quirks`].
//!
//! It knows nothing of nodes, and never shows a password or a session's token.

mod bios;
mod client;
mod error;
#[cfg(test)]
mod fuzz;
mod media;
mod message;
pub mod quirks;
mod resource;
mod session;
mod storage;
mod system;
mod target;
mod tasks;
mod tls;

pub use bios::{Attribute, Bios, SecureBoot};
pub use client::{Answer, Client, MAX_BODY, Timing};
pub use error::{Class, Error};
pub use media::{MediaKind, Slot};
pub use message::{Messages, messages};
pub use resource::{Action, Resource};
pub use storage::{Storage, Volume};
pub use system::{BootOverride, System};
pub use target::{Address, AuthType, Target};
pub use tasks::TaskState;
pub use tls::{CIPHER_SUITES, TlsPolicy, TlsVersion, Transports, Trust};
