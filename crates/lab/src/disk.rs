//! A host's disk, as far as it matters who wrote what to it: no bytes, only what they are.
//!
//! Every change raises the generation, so that two looks can tell whether anything was written between them.

use serde::{Deserialize, Serialize};

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "content", rename_all = "snake_case")]
pub enum Content {
    /// What somebody left there: partition table, superblocks, data, nothing that boots.
    OldData,
    /// No partition table, no superblock.
    Erased,
    /// An image, or the beginning of one.
    Image {
        /// `image_info.id`.
        id: String,
        /// SHA-256 of the bytes that were fetched, hexadecimal; of an incomplete image `None`.
        sha256: Option<String>,
        /// All of it arrived and was found to be what was promised.
        complete: bool,
        /// SHA-256 of the config drive's contents, hexadecimal.
        config_drive: Option<String>,
        /// The operation that wrote it, when the conductor named one.
        operation: Option<String>,
    },
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// How often it was changed.
    pub generation: u64,
    #[serde(flatten)]
    pub content: Content,
}

impl Disk {
    /// A used disk.
    #[must_use]
    pub fn used() -> Self {
        Self {
            generation: 0,
            content: Content::OldData,
        }
    }

    /// Changes what is on it.
    pub fn put(&mut self, content: Content) {
        self.generation = self.generation.saturating_add(1);
        self.content = content;
    }

    /// Whether firmware finds something to boot.
    #[must_use]
    pub fn boots(&self) -> bool {
        matches!(self.content, Content::Image { complete: true, .. })
    }
}
