//! ISO 9660 images with Rock Ridge and Joliet, bootable by El Torito where that is asked for: read-only file trees that
//! firmware, Linux and cloud-init read alike. Small ones in memory; of large files the image is a [`Layout`] that says
//! where their bytes go.
//!
//! The same files always give the same bytes; nothing depends on the clock. This crate must never touch the file system
//! and knows nothing of nodes.
//!
//! Specifications: ECMA-119 (volume descriptors, directory records, path tables), the Joliet specification (UCS-2 names in
//! a supplementary descriptor), SUSP 1.10 and RRIP 1.10 (`SP`, `ER`, `PX`, `NM`), El Torito 1.0, UEFI 2.10 section 13.3.2.1
//! (its platform), and ISOLINUX's boot information table.

mod boot;
mod config_drive;
mod record;
mod tree;
mod volume;

pub use config_drive::{CONFIG_DRIVE_LABEL, config_drive};

use tree::{Contents, Tree};
pub use volume::{Layout, Piece, Source};

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
    #[error("{0:?} is to be booted and is no file of the image with its bytes at hand")]
    NothingToBoot(String),
}

/// An image under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    label: String,
    publisher: String,
    time: u32,
    boot: boot::Boot,
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
            publisher: String::new(),
            time: 315_532_800,
            boot: boot::Boot::default(),
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
        self.tree.add(path, Contents::Bytes(bytes.into()))?;
        Ok(self)
    }

    /// Adds a file of so many bytes that are not given: [`Builder::layout`] says where they go. The first such file is
    /// number 0.
    pub fn add_outside(&mut self, path: &str, len: u64) -> Result<&mut Self, Error> {
        self.tree.add(path, Contents::Outside(len))?;
        Ok(self)
    }

    /// Who publishes the image: at most 128 characters of printable ASCII count.
    #[must_use]
    pub fn publisher(mut self, text: &str) -> Self {
        self.publisher = text
            .chars()
            .filter(|c| (' '..='~').contains(c))
            .take(128)
            .collect();
        self
    }

    /// The file that a BIOS starts, without emulation: ISOLINUX or GRUB's El Torito image. It learns from a table within
    /// its first 64 bytes where it lies.
    #[must_use]
    pub fn boot_bios(mut self, path: &str) -> Self {
        self.boot.bios = Some(path.to_owned());
        self
    }

    /// The file that is an EFI system partition, from which UEFI firmware starts its removable media's loader.
    #[must_use]
    pub fn boot_efi(mut self, path: &str) -> Self {
        self.boot.efi = Some(path.to_owned());
        self
    }

    /// The image: a whole number of sectors. Files whose bytes were not given are zeroes.
    pub fn build(self) -> Result<Vec<u8>, Error> {
        let layout = self.layout()?;
        let mut image = Vec::new();
        for piece in layout.pieces() {
            match &piece.source {
                Source::Bytes(bytes) => image.extend(bytes),
                Source::Outside(_) => {
                    let len = usize::try_from(piece.len).map_err(|_| Error::TooLarge)?;
                    image.resize(image.len().saturating_add(len), 0);
                }
            }
        }
        Ok(image)
    }

    /// The image without the bytes of large files.
    pub fn layout(mut self) -> Result<Layout, Error> {
        volume::layout(
            &self.label,
            &self.publisher,
            self.time,
            &self.boot,
            &mut self.tree,
        )
    }
}
