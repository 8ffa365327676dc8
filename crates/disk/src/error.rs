//! What can go wrong with a disk, by what the caller can do about it.

use std::io;

/// When a caller may try the same thing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same call may work at once.
    RetryNow,
    /// Something else has to change first: another holder of the disk, a cable.
    RetryLater,
    /// The request, the hints or the disk's content has to change.
    Never,
}

/// An error of this crate. The cause is in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device or the system said no.
    #[error("{what} failed")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// Somebody holds the device: a mount, an assembled array, another program.
    #[error("{path} is in use")]
    Busy { path: String },
    /// A root device hint that cannot mean anything.
    #[error("root device hint is malformed: {what}")]
    BadHint { what: String },
    /// No disk fits; the sentence names the hints and every candidate.
    #[error("no disk matches the root device hints {hints}; disks found: {candidates}")]
    NoDevice { hints: String, candidates: String },
    #[error("no partition table on the disk")]
    NoTable,
    #[error("partition table is malformed: {what}")]
    Malformed { what: String },
    #[error("no room on the disk: {what}")]
    NoRoom { what: String },
    #[error("not supported: {what}")]
    Unsupported { what: String },
    /// After wiping, something was still to be found.
    #[error("the disk still carries {what} at byte {offset} after it was wiped")]
    Remains { what: &'static str, offset: u64 },
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn class(&self) -> Class {
        match self {
            Error::Busy { .. } => Class::RetryNow,
            Error::Io { .. } => Class::RetryLater,
            Error::BadHint { .. }
            | Error::NoDevice { .. }
            | Error::NoTable
            | Error::Malformed { .. }
            | Error::NoRoom { .. }
            | Error::Unsupported { .. }
            | Error::Remains { .. } => Class::Never,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Error::Io {
            what: what.into(),
            source,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Error::Malformed { what: what.into() }
    }

    pub(crate) fn hint(what: impl Into<String>) -> Self {
        Error::BadHint { what: what.into() }
    }
}
