//! What tables and wiping need of a disk.

use std::io;

use crate::Error;

/// A range of bytes of fixed size. Reads and writes are whole or an error.
pub trait Storage {
    /// Bytes.
    fn size(&self) -> u64;
    /// Bytes of a logical sector; partition tables count in it.
    fn sector_size(&self) -> u32;
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes a range read as zero.
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Returns when everything is on stable storage.
    fn flush(&mut self) -> io::Result<()>;
}

/// `len` bytes at `offset`.
pub(crate) fn read(storage: &dyn Storage, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; len];
    storage.read_at(offset, &mut buffer).map_err(|e| {
        Error::io(
            format!("reading {len} bytes at byte {offset} of the disk"),
            e,
        )
    })?;
    Ok(buffer)
}

pub(crate) fn write(storage: &mut dyn Storage, offset: u64, data: &[u8]) -> Result<(), Error> {
    storage.write_at(offset, data).map_err(|e| {
        Error::io(
            format!("writing {} bytes at byte {offset} of the disk", data.len()),
            e,
        )
    })
}

pub(crate) fn zero(storage: &mut dyn Storage, offset: u64, len: u64) -> Result<(), Error> {
    storage.zero(offset, len).map_err(|e| {
        Error::io(
            format!("zeroing {len} bytes at byte {offset} of the disk"),
            e,
        )
    })
}

pub(crate) fn flush(storage: &mut dyn Storage) -> Result<(), Error> {
    storage
        .flush()
        .map_err(|e| Error::io("flushing the disk", e))
}

/// `N` bytes at `offset`, or none when the bytes end before.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    let end = offset.checked_add(N)?;
    bytes.get(offset..end)?.try_into().ok()
}

pub(crate) fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(crate) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(crate) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

/// Overwrites bytes at `offset`; what would reach past the end is left out.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = offset
        .checked_add(value.len())
        .and_then(|end| bytes.get_mut(offset..end))
    {
        place.copy_from_slice(value);
    }
}
