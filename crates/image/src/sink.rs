//! Where an image goes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A target that is written in pieces: a block device, a sparse file.
///
/// Calls come in any order of offsets and never overlap (except that an image is free to write a range once and zero
/// another). Ranges never reach past the image's virtual size. Synchronous on purpose: it runs on a blocking thread.
pub trait BlockSink {
    /// Bytes that fit; a placer refuses a bigger image before it writes anything.
    fn capacity(&self) -> u64;
    /// Puts `data` at `offset` (bytes).
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes `len` bytes from `offset` on read as zero, whatever was there.
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Returns when everything is on stable storage.
    fn flush(&mut self) -> io::Result<()>;
}

impl<S: BlockSink + ?Sized> BlockSink for &mut S {
    fn capacity(&self) -> u64 {
        (**self).capacity()
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write(offset, data)
    }
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).zero(offset, len)
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

impl<S: BlockSink + ?Sized> BlockSink for Box<S> {
    fn capacity(&self) -> u64 {
        (**self).capacity()
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write(offset, data)
    }
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).zero(offset, len)
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// A new file in which zeroes are holes.
pub struct SparseFile {
    file: File,
    size: u64,
}

impl SparseFile {
    /// Creates (or empties) the file and gives it its final size; everything in it is a hole until written.
    pub fn create(path: &Path, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size)?;
        Ok(SparseFile { file, size })
    }
}

impl BlockSink for SparseFile {
    fn capacity(&self) -> u64 {
        self.size
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn zero(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        // `create` made one big hole, and no range is both written and zeroed
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
