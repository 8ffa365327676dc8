//! Random access to an image's own bytes, for its tables.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;

/// A file of known size that can be read by ranges: a local file, or HTTP with `Range`.
#[async_trait]
pub trait RangeSource: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Exactly `len` bytes from `offset` on.
    ///
    /// Callers stay within `size()`. Errors: [`Error::Source`] with the class that fits, [`Error::Length`] when the
    /// source ends early.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, Error>;
}

/// A local file, a block device, or a region of either.
#[derive(Clone)]
pub struct FileSource {
    file: Arc<File>,
    start: u64,
    size: u64,
}

impl FileSource {
    /// The whole regular file at `path`. For a block device, whose metadata says 0, use [`FileSource::region`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let what = || format!("opening image {}", path.display());
        let file = File::open(path).map_err(|e| Error::io(what(), e))?;
        let size = file.metadata().map_err(|e| Error::io(what(), e))?.len();
        Ok(FileSource {
            file: Arc::new(file),
            start: 0,
            size,
        })
    }

    /// `size` bytes from `start` on, for an image spooled into a part of something bigger.
    pub fn region(file: Arc<File>, start: u64, size: u64) -> Self {
        FileSource { file, start, size }
    }

    /// Reads as much as the region still has at `offset`, at most `buffer.len()`; 0 at the end. Blocks.
    pub fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..left) else {
            return Ok(0);
        };
        if part.is_empty() {
            return Ok(0);
        }
        self.file.read_at(part, self.start.saturating_add(offset))
    }
}

#[async_trait]
impl RangeSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let end = offset.saturating_add(len as u64);
        if end > self.size {
            return Err(Error::Length {
                expected: end,
                received: self.size,
            });
        }
        let (file, start) = (Arc::clone(&self.file), self.start.saturating_add(offset));
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, start)
                .map(|()| Bytes::from(buffer))
        });
        let result = read
            .await
            .map_err(|e| Error::io("reading an image", io::Error::other(e)))?;
        result.map_err(|e| {
            Error::io(
                format!("reading {len} bytes at byte {offset} of an image"),
                e,
            )
        })
    }
}
