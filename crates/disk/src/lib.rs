//! Disks of a node: which there are, which one is the root device, their partition tables and what lies on them.
//!
//! Runs in the agent's ramdisk against real block devices and, in tests, against plain files. [`Hints`] is pure, so that
//! root device hints can be validated where no disk is. This crate must never choose a disk on its own beyond the rule of
//! [`choose_root_device`], and never follows anything that it finds on a disk. It is one of the two homes of `unsafe`
//! ([`mod@ioctl`] only).
//!
//! Specifications: UEFI 2.10 chapter 5 (GPT), SPC-5 (vital product data), the kernel's block sysfs ABI and `linux/fs.h`;
//! hints as the Bare Metal service documents its root device hints.

mod device;
mod error;
pub mod fuzz;
mod hints;
mod inventory;
mod ioctl;
mod signature;
mod storage;
mod table;
mod vpd;
mod wipe;

pub use device::BlockDevice;
pub use error::{Class, Error};
pub use hints::{Hints, MIN_ROOT_DEVICE_SIZE, choose_root_device, find_devices};
pub use inventory::{Disk, list_block_devices};
pub use signature::{Found, signatures, signatures_in, volume_label};
pub use storage::Storage;
pub use table::{
    BackupCopy, Guid, NewPartition, Partition, PartitionKind, PartitionTable, TableKind,
    add_partition_at_end, fix_backup_gpt,
};
pub use wipe::{Wiped, wipe_metadata, wipe_range_ends};
