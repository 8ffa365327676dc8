//! Block device ioctls of `linux/fs.h`; the crate's only `unsafe`.
#![allow(unsafe_code)] // rustix leaves it to the caller to vouch that an opcode fits its argument

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl, opcode};

const BLKRRPART: Opcode = opcode::none(0x12, 95);
const BLKFLSBUF: Opcode = opcode::none(0x12, 97);
const BLKDISCARD: Opcode = opcode::none(0x12, 119);
const BLKZEROOUT: Opcode = opcode::none(0x12, 127);
/// Declared as reading a `size_t`, and it always writes 64 bits.
const BLKGETSIZE64: Opcode = opcode::read::<u64>(0x12, 114);

/// Size of the device in bytes.
pub(crate) fn size(fd: impl AsFd) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64 to its argument.
    Ok(unsafe { ioctl(fd, Getter::<BLKGETSIZE64, u64>::new()) }?)
}

/// Bytes of a logical sector.
pub(crate) fn logical_sector_size(fd: impl AsFd) -> io::Result<u32> {
    Ok(rustix::fs::ioctl_blksszget(fd)?)
}

/// Lets the kernel read the partition table again; fails with EBUSY while a partition is in use.
pub(crate) fn reread_partition_table(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    Ok(unsafe { ioctl(fd, NoArg::<BLKRRPART>::new()) }?)
}

/// Writes back and forgets what the page cache holds of the device.
pub(crate) fn flush_buffers(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    Ok(unsafe { ioctl(fd, NoArg::<BLKFLSBUF>::new()) }?)
}

/// Tells the device that a range (bytes, multiples of a sector) is not needed. What it reads as afterwards is undefined.
pub(crate) fn discard(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64, start and length, from its argument.
    Ok(unsafe { ioctl(fd, Setter::<BLKDISCARD, [u64; 2]>::new([offset, len])) }?)
}

/// Makes a range (bytes, multiples of a sector) read as zero, by the device's own command where it has one.
pub(crate) fn zero_out(fd: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: BLKZEROOUT reads two u64, start and length, from its argument.
    Ok(unsafe { ioctl(fd, Setter::<BLKZEROOUT, [u64; 2]>::new([offset, len])) }?)
}
