//! The one interface through which bytes of an image become writes to a target.

use crate::Error;

/// What a placement did, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Bytes of the image file.
    pub received: u64,
    /// Size of the disk that the image describes.
    pub virtual_size: u64,
    /// Handed to [`crate::BlockSink::write`].
    pub written: u64,
    /// Handed to [`crate::BlockSink::zero`].
    pub zeroed: u64,
}

/// A sequential placement. After an error it takes no more bytes: every later call answers an error too.
pub trait Placer {
    /// The next bytes of the image file, in order, in pieces of any size.
    fn feed(&mut self, chunk: &[u8]) -> Result<(), Error>;

    /// The image is over: checks length and checksum, and flushes the target.
    ///
    /// Errors: [`Error::Length`] when bytes are missing, [`Error::ChecksumMismatch`]. The target's content is then not
    /// to be trusted.
    fn finish(&mut self) -> Result<Placed, Error>;

    /// Bytes taken so far, for progress.
    fn received(&self) -> u64;

    /// Size of the disk that the image describes, as far as it is known now.
    fn virtual_size(&self) -> Option<u64>;
}

/// Where a placement stands; an error is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Fresh,
    Running,
    Over,
}

pub(crate) fn already_over() -> Error {
    Error::malformed("more bytes after the placement had ended")
}
