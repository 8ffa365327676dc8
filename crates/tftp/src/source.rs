//! Where the server's files come from: a trait, so that they can be on disk or made up on the spot.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

/// Why a file is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such file: error code 1.
    NotFound,
    /// It is not for this client, or the path is not allowed: error code 2, with this text.
    Denied(String),
    /// It exists but cannot be read: error code 0, with this text.
    Failed(String),
}

/// A file that is read once, front to back.
#[async_trait::async_trait]
pub trait TftpFile: Send {
    /// Length in bytes, when it is known.
    fn size(&self) -> Option<u64>;

    /// Reads into the buffer; 0 only at the end (or for an empty buffer).
    ///
    /// # Errors
    /// What the operating system says.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A tree of files.
#[async_trait::async_trait]
pub trait FileSource: Send + Sync + 'static {
    /// Opens a file. `path` is clean: relative, `/` as separator, no empty, `.` or `..` component, no control characters.
    ///
    /// # Errors
    /// What the client is told.
    async fn open(&self, path: &str, peer: SocketAddr) -> Result<Box<dyn TftpFile>, OpenError>;
}

/// A file made of bytes.
#[derive(Debug, Clone)]
pub struct BytesFile {
    size: u64,
    rest: Bytes,
}

impl BytesFile {
    /// A file with these contents.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let rest = bytes.into();
        Self {
            size: rest.len() as u64,
            rest,
        }
    }
}

#[async_trait::async_trait]
impl TftpFile for BytesFile {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.rest.split_to(self.rest.len().min(buffer.len()));
        for (to, from) in buffer.iter_mut().zip(part.iter()) {
            *to = *from;
        }
        Ok(part.len())
    }
}
