//! A block device, held exclusively; or a plain file that stands for one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::{Error, Storage, ioctl};

/// One zeroing call covers at most this much, so that a slow device is not stuck in one system call for hours.
const ZERO_STEP: u64 = 1 << 30;
/// Ranges for the device's own zeroing begin and end at pages, which keeps it apart from half-written cached pages.
const PAGE: u64 = 4096;

static ZEROES: [u8; 256 * 1024] = [0; 256 * 1024];

/// An open disk. Positional access only, so a shared reference can be used from one blocking thread at a time.
#[derive(Debug)]
pub struct BlockDevice {
    path: PathBuf,
    file: File,
    size: u64,
    sector_size: u32,
    is_block: bool,
    /// Cleared when the device turns out to have no zeroing command.
    can_zero: bool,
}

impl BlockDevice {
    /// Opens for reading and writing. A block device is opened exclusively (O_EXCL): it fails with [`Error::Busy`] while
    /// it is mounted, part of an array, or held by somebody else the same way.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, true)
    }

    /// Opens for reading, not exclusively.
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, false)
    }

    fn open_as(path: &Path, write: bool) -> Result<Self, Error> {
        let what = || format!("opening {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        if write {
            // without O_CREAT the flag has a meaning for block devices only
            options.custom_flags(i32::try_from(OFlags::EXCL.bits()).unwrap_or(0));
        }
        let file = options.open(path).map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => Error::Busy {
                path: path.display().to_string(),
            },
            _ => Error::io(what(), e),
        })?;
        let metadata = file.metadata().map_err(|e| Error::io(what(), e))?;
        let is_block = metadata.file_type().is_block_device();
        if !is_block && !metadata.is_file() {
            return Err(Error::Unsupported {
                what: format!("{} is neither a block device nor a file", path.display()),
            });
        }
        let (size, sector_size) = if is_block {
            let size = ioctl::size(&file)
                .map_err(|e| Error::io(format!("asking {} for its size", path.display()), e))?;
            let sector = ioctl::logical_sector_size(&file).map_err(|e| {
                Error::io(format!("asking {} for its sector size", path.display()), e)
            })?;
            (size, sector)
        } else {
            (metadata.len(), 512)
        };
        Ok(BlockDevice {
            path: path.to_owned(),
            file,
            size,
            sector_size,
            is_block,
            can_zero: true,
        })
    }

    /// Gives a plain file another sector size; a real device knows its own.
    #[must_use]
    pub fn with_sector_size(mut self, sector_size: u32) -> Self {
        if !self.is_block {
            self.sector_size = sector_size;
        }
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle to the same open device, for reading (for example a spooled image) while this one writes.
    pub fn try_clone_file(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|e| {
            Error::io(
                format!("duplicating the handle of {}", self.path.display()),
                e,
            )
        })
    }

    /// Lets the kernel read the partition table again. Does nothing on a plain file.
    ///
    /// Errors: [`Error::Busy`] while one of the partitions is in use.
    pub fn reread_partition_table(&self) -> Result<(), Error> {
        if !self.is_block {
            return Ok(());
        }
        ioctl::reread_partition_table(&self.file).map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => Error::Busy {
                path: self.path.display().to_string(),
            },
            _ => Error::io(
                format!(
                    "reading the partition table of {} again",
                    self.path.display()
                ),
                e,
            ),
        })
    }

    /// Writes back and forgets cached pages, so that the next read comes from the device.
    pub fn drop_caches(&self) -> Result<(), Error> {
        self.file
            .sync_all()
            .map_err(|e| Error::io(format!("flushing {}", self.path.display()), e))?;
        if self.is_block {
            ioctl::flush_buffers(&self.file).map_err(|e| {
                Error::io(format!("dropping the cache of {}", self.path.display()), e)
            })?;
        }
        Ok(())
    }

    /// Tells the device that a range is not needed any more. Advice only: what the range reads as is undefined, and false
    /// means that the device does not know such advice.
    pub fn discard(&self, offset: u64, len: u64) -> Result<bool, Error> {
        let step = u64::from(self.sector_size.max(512));
        let (start, end) = (
            offset.next_multiple_of(step),
            offset.saturating_add(len) / step * step,
        );
        if start >= end {
            return Ok(true);
        }
        let result = if self.is_block {
            ioctl::discard(&self.file, start, end - start)
        } else {
            punch(&self.file, start, end - start)
        };
        match result {
            Ok(()) => Ok(true),
            Err(e) if is_unsupported(&e) => Ok(false),
            Err(e) => Err(Error::io(
                format!(
                    "discarding {len} bytes at byte {offset} of {}",
                    self.path.display()
                ),
                e,
            )),
        }
    }

    fn write_zeroes(&self, mut offset: u64, end: u64) -> io::Result<()> {
        while offset < end {
            let len = usize::try_from(end - offset)
                .unwrap_or(usize::MAX)
                .min(ZEROES.len());
            self.file
                .write_all_at(ZEROES.get(..len).unwrap_or(&ZEROES), offset)?;
            offset += len as u64;
        }
        Ok(())
    }
}

impl Storage for BlockDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        // a plain file would grow where a device says ENOSPC
        check_range(self.size, offset, data.len() as u64)?;
        self.file.write_all_at(data, offset)
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size, offset, len)?;
        let end = offset.saturating_add(len);
        let (from, to) = (offset.next_multiple_of(PAGE), end / PAGE * PAGE);
        if from >= to || !self.can_zero {
            return self.write_zeroes(offset, end);
        }
        self.write_zeroes(offset, from)?;
        self.write_zeroes(to, end)?;
        let mut at = from;
        while at < to {
            let step = (to - at).min(ZERO_STEP);
            let result = if self.is_block {
                ioctl::zero_out(&self.file, at, step)
            } else {
                punch(&self.file, at, step)
            };
            match result {
                Ok(()) => at += step,
                Err(e) if is_unsupported(&e) => {
                    self.can_zero = false;
                    return self.write_zeroes(at, to);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        len,
    )?)
}

fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [
        rustix::io::Errno::OPNOTSUPP,
        rustix::io::Errno::INVAL,
        rustix::io::Errno::NOTTY,
        rustix::io::Errno::NOSYS,
    ]
    .iter()
    .any(|errno| code == Some(errno.raw_os_error()))
}

fn check_range(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "beyond the end of the disk",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn zeroing_leaves_the_neighbours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        for (offset, len) in [
            (0u64, 100_000u64),
            (1, 1),
            (5000, 3),
            (4095, 4098),
            (100, 99_900),
            (0, 0),
        ] {
            std::fs::write(&path, vec![0xa5; 100_000]).unwrap();
            let mut device = BlockDevice::open(&path).unwrap();
            device.zero(offset, len).unwrap();
            device.flush().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 100_000);
            for (i, byte) in bytes.iter().enumerate() {
                let inside = (offset..offset + len).contains(&(i as u64));
                assert_eq!(*byte == 0, inside, "{offset}+{len}: byte {i}");
            }
        }
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, [1; 1000]).unwrap();
        let mut device = BlockDevice::open(&path).unwrap();
        assert!(device.write_at(999, &[1, 2]).is_err());
        assert!(device.zero(0, 1001).is_err());
        assert!(device.zero(u64::MAX, 2).is_err());
        device.write_at(998, &[1, 2]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
        assert!(device.discard(0, 1000).unwrap());
        device.drop_caches().unwrap();
        device.reread_partition_table().unwrap();
    }
}
