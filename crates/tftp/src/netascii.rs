//! The netascii mode of RFC 1350: LF becomes CR LF, CR becomes CR NUL.

use std::io;

use crate::source::TftpFile;

/// A file as netascii. Its length is not known before its end.
pub(crate) struct Netascii {
    file: Box<dyn TftpFile>,
    /// Converted bytes that did not fit yet.
    spare: Vec<u8>,
}

impl Netascii {
    pub(crate) fn new(file: Box<dyn TftpFile>) -> Self {
        Self {
            file,
            spare: Vec::new(),
        }
    }
}

#[async_trait::async_trait]
impl TftpFile for Netascii {
    fn size(&self) -> Option<u64> {
        None
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.spare.is_empty() {
            let mut raw = vec![0; buffer.len().max(1)];
            let read = self.file.read(&mut raw).await?;
            for byte in raw.iter().take(read) {
                match byte {
                    b'\n' => self.spare.extend_from_slice(b"\r\n"),
                    b'\r' => self.spare.extend_from_slice(b"\r\0"),
                    other => self.spare.push(*other),
                }
            }
        }
        let count = self.spare.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.spare.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}
