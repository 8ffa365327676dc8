//! TFTP: a read-only server and a downloading client.
//!
//! What it is for: firmware and iPXE fetch loaders, kernels and scripts from [`server::Server`]; simulated hosts fetch with
//! [`client::download`]. Both stand on engines without sockets or clock ([`sender::Sender`], [`receiver::Receiver`]).
//!
//! What it must never do: write a file, leave the tree that it was given, send without an answer more often than the
//! configured number of attempts, or answer from another address than the one that was asked.
//!
//! Where it is specified: RFC 1350 (protocol), RFC 2347 (options), RFC 2348 (blksize), RFC 2349 (tsize, timeout), RFC 7440
//! (windowsize). Blocks after number 65535 go on with 0.

pub mod client;
pub mod fuzz;
mod netascii;
pub mod options;
pub mod packet;
pub mod receiver;
pub mod sender;
pub mod server;
pub mod source;
pub mod tree;

use std::net::SocketAddr;

pub use client::{ClientSettings, Downloaded, download};
pub use options::Limits;
pub use packet::{ErrorCode, Packet};
pub use server::{Outcome, Server, ServerSettings, TransferEvent, TransferStage};
pub use source::{BytesFile, FileSource, OpenError, TftpFile};
pub use tree::Tree;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no TFTP packet.
    #[error("malformed TFTP packet: {why}")]
    Malformed {
        /// What is wrong with them.
        why: &'static str,
    },
    /// The peer stopped answering.
    #[error("the TFTP peer did not answer {attempts} times")]
    TimedOut {
        /// How often it was asked.
        attempts: u32,
    },
    /// The peer ended the transfer with an error packet.
    #[error("the TFTP peer ended the transfer: {message} (code {code})")]
    Refused {
        /// The code of RFC 1350's appendix.
        code: u16,
        /// Its text, control characters dropped.
        message: String,
    },
    /// Nobody listens at the peer's address.
    #[error("no TFTP peer at {peer}")]
    Unreachable {
        /// The address.
        peer: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than the caller accepts.
    #[error("the file is longer than {limit} bytes")]
    TooLong {
        /// The caller's limit.
        limit: u64,
    },
    /// A socket or file of our own failed.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again at once.
    RetryNow,
    /// Try again later.
    RetryLater,
    /// The same request will fail again.
    Never,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::TimedOut { .. } | Self::Malformed { .. } => ErrorClass::RetryNow,
            Self::Unreachable { .. } | Self::Io { .. } => ErrorClass::RetryLater,
            Self::Refused { .. } | Self::TooLong { .. } => ErrorClass::Never,
        }
    }
}
