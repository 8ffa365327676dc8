//! ISO 9660 images in memory, with Rock Ridge and Joliet: small read-only file trees that firmware, Linux and cloud-init
//! read alike.
//!
//! The same files always give the same bytes; nothing depends on the clock. This crate must never touch the file system
//! and knows nothing of nodes.
//!
//! Specifications: ECMA-119 (volume descriptors, directory records, path tables), the Joliet specification (UCS-2 names in
//! a supplementary descriptor), SUSP 1.10 and RRIP 1.10 (`SP`, `ER`, `PX`, `NM`).

mod config_drive;
mod record;
mod tree;
mod volume;

pub use config_drive::{CONFIG_DRIVE_LABEL, config_drive};

use tree::Tree;

/// Bytes of a logical sector and block.
pub const SECTOR: usize = 2048;

/// What cannot be put into an image. Nothing here changes by trying again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("volume label {0:?} does not fit: 1 to 16 characters of printable ASCII")]
    BadLabel(String),
    #[error(
        "path {0:?} does not fit: names of 1 to 64 characters without control characters and * : ; ? \\, at most 7 folders deep"
    )]
    BadPath(String),
    #[error("path {0:?} is there already")]
    Duplicate(String),
    #[error("image would exceed 4 GiB")]
    TooLarge,
}

/// An image under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    label: String,
    time: u32,
    tree: Tree,
}

impl Builder {
    /// An empty image with a volume label (case is kept, as cloud-init's `config-2` needs).
    pub fn new(label: &str) -> Result<Self, Error> {
        let printable = label.bytes().all(|b| (0x20..0x7f).contains(&b));
        if label.is_empty() || label.len() > 16 || !printable {
            return Err(Error::BadLabel(label.to_owned()));
        }
        // 1980-01-01: the first day that every reader can show
        Ok(Builder {
            label: label.to_owned(),
            time: 315_532_800,
            tree: Tree::default(),
        })
    }

    /// The time that all files and the volume carry, in seconds since 1970 UTC.
    #[must_use]
    pub fn time(mut self, unix_seconds: u32) -> Self {
        self.time = unix_seconds;
        self
    }

    /// Adds a file at a path like `openstack/latest/user_data`; folders come into being on the way.
    pub fn add_file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Result<&mut Self, Error> {
        self.tree.add(path, bytes.into())?;
        Ok(self)
    }

    /// The image: a whole number of sectors.
    pub fn build(self) -> Result<Vec<u8>, Error> {
        volume::build(&self.label, self.time, &self.tree)
    }
}
