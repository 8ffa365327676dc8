//! What can go wrong with an image, by what the caller can do about it.

use std::io;

/// When a caller may try the same thing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same call may work at once.
    RetryNow,
    /// Something else has to recover first: the image server, a full file system.
    RetryLater,
    /// The image, its checksum or the target has to change.
    Never,
}

/// Why a qcow2 is refused although it is well formed: reading it would mean following somebody else's wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is an overlay of the backing file {0:?}; flatten it first (qemu-img convert)")]
    BackingFile(String),
    #[error("it keeps its data in the external file {0:?}; convert it to a self-contained image")]
    ExternalDataFile(String),
    #[error("it is encrypted (method {0})")]
    Encrypted(u32),
    #[error("it needs features that are not known here (incompatible feature bits {0:#x})")]
    UnknownFeatures(u64),
    #[error("it is marked corrupt; repair it first (qemu-img check -r)")]
    MarkedCorrupt,
}

/// An error of this crate. Sentences carry no secret and no cause; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A [`crate::RangeSource`] could not deliver; its implementation says in `class` whether a retry makes sense.
    #[error("image cannot be read: {what}")]
    Source {
        what: String,
        class: Class,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Reading or writing a local file failed.
    #[error("{what} failed")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// The target refused bytes.
    #[error("writing the image at byte {offset} of the target failed")]
    Sink {
        offset: u64,
        #[source]
        source: io::Error,
    },
    /// Fewer (or more) bytes than the image consists of.
    #[error("image is incomplete or changed: {expected} bytes expected, {received} received")]
    Length { expected: u64, received: u64 },
    #[error("image checksum does not match: {algorithm} {actual} received, {expected} expected")]
    ChecksumMismatch {
        algorithm: &'static str,
        expected: String,
        actual: String,
    },
    /// The bytes of the sequential pass are not the ones that the tables were read from.
    #[error(
        "image changed while it was read: its table at byte {offset} is no longer the one read first"
    )]
    Changed { offset: u64 },
    #[error("image does not fit: it needs {needed} bytes, the target has {capacity}")]
    TooSmall { needed: u64, capacity: u64 },
    #[error("image refused: {0}")]
    Refused(Refusal),
    /// A format, or an option of it, that cannot be placed on a disk here.
    #[error("image format is not supported: {what}")]
    Unsupported { what: String },
    #[error("image is malformed: {what}")]
    Malformed { what: String },
    /// Not an image's fault: a checksum that is none.
    #[error("checksum is malformed: {what}")]
    BadChecksum { what: String },
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn class(&self) -> Class {
        match self {
            Error::Source { class, .. } => *class,
            Error::Length { .. } | Error::Changed { .. } => Class::RetryNow,
            Error::Io { .. } | Error::Sink { .. } => Class::RetryLater,
            Error::ChecksumMismatch { .. }
            | Error::TooSmall { .. }
            | Error::Refused(_)
            | Error::Unsupported { .. }
            | Error::Malformed { .. }
            | Error::BadChecksum { .. } => Class::Never,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Error::Malformed { what: what.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Error::Unsupported { what: what.into() }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Error::Io {
            what: what.into(),
            source,
        }
    }
}
