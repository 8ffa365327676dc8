//! DHCPv4 for network boot, and IPv6 router advertisements: packet in, packet out.
//!
//! What it is for: [`engine::answer`] decides what a server says to one request, [`client::Client`] is the other side of
//! the wire for the deploy ramdisk and for simulated hosts, [`packet`] reads and writes the bytes, [`pxe`] knows what boot
//! firmware says about itself and what it wants to hear, [`ra`] builds and reads router advertisements.
//!
//! What it must never do: open a socket, read a clock, know of nodes, or answer a host that nobody told it about.
//!
//! Where it is specified: RFC 2131 (protocol), RFC 2132 (options), RFC 3396 (long options), RFC 3004 (user class), RFC 3046
//! (relay agent information), RFC 3527 (link selection), RFC 4578 (PXE options), RFC 5859 (option 150), RFC 6842 (client
//! identifier in replies), RFC 8357 (relay source port), UEFI 2.10 section 24.7 (HTTP boot), RFC 4861 (neighbor discovery).
//!
//! Why the codec is our own: option 93 is a list and any option may be damaged by the firmware that sends it. A reader
//! that keeps options as bytes until somebody asks for one of them loses nothing after a damaged one. The `dhcproto` crate
//! judges it in the tests.

pub mod client;
pub mod engine;
pub mod fuzz;
mod mac;
pub mod packet;
pub mod pxe;
pub mod ra;

pub use client::{Client, ClientSettings, Lease};
pub use engine::{
    AddressRange, ClientRecord, HostRecord, LeaseChange, Network, Outcome, Reply, Request, answer,
};
pub use mac::{MacAddress, ParseMacError};
pub use packet::{MessageType, Options, Packet};
pub use pxe::{BootService, ClientKind, Firmware};

/// What can go wrong when bytes from outside are read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a DHCP packet or router advertisement.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// What the bytes were read as.
        what: &'static str,
        /// What is wrong with them.
        why: String,
    },
    /// The server refused the address (DHCPNAK); the client has to start again.
    #[error("the DHCP server {server} refused the address: {why}")]
    Refused {
        /// Server identifier of the refusing server.
        server: std::net::Ipv4Addr,
        /// Option 56, or a sentence when the server gave none.
        why: String,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again at once.
    RetryNow,
    /// Try again later.
    RetryLater,
    /// The same bytes will fail again.
    Never,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Malformed { .. } => ErrorClass::Never,
            Self::Refused { .. } => ErrorClass::RetryNow,
        }
    }
}
