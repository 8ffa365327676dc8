//! Partition tables: GPT with its two copies, and MBR with logical partitions.
//!
//! Read from outside bytes, so nothing in a table is believed before it was checked against itself and, where something
//! is to be written, against the disk. Specification: UEFI 2.10, chapter 5.

mod add;
mod gpt;
mod guid;
mod mbr;

pub use add::{NewPartition, add_partition_at_end};
pub use gpt::fix_backup_gpt;
pub use guid::Guid;

use crate::{Error, Storage};
use gpt::Copies;
use mbr::Mbr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    Gpt,
    Mbr,
}

/// Where a GPT's second copy was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupCopy {
    /// In the last sector, as it should be.
    AtEnd,
    /// Valid, but not at the end: the disk is bigger than the image that it was written from.
    Misplaced,
    /// Nowhere, or damaged.
    Missing,
}

/// What the table says a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    Gpt {
        type_guid: Guid,
        guid: Guid,
        name: String,
    },
    Mbr {
        id: u8,
        active: bool,
    },
}

/// A partition; positions in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As in `/dev/sda1`; logical partitions of an MBR begin at 5.
    pub number: u32,
    pub start: u64,
    pub size: u64,
    pub kind: PartitionKind,
}

impl Partition {
    /// The container of logical partitions, not one that holds data.
    pub fn is_extended(&self) -> bool {
        matches!(self.kind, PartitionKind::Mbr { id, .. } if mbr::is_extended(id))
    }

    /// The MBR entry that keeps old tools off a GPT disk, and covers all of it.
    fn is_protective(&self) -> bool {
        matches!(
            self.kind,
            PartitionKind::Mbr {
                id: mbr::PROTECTIVE,
                ..
            }
        )
    }

    /// The byte after the last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// A partition table as it lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    pub kind: TableKind,
    pub partitions: Vec<Partition>,
    /// False when a GPT could only be read from its second copy.
    pub primary: bool,
    /// None for an MBR.
    pub backup: Option<BackupCopy>,
}

impl PartitionTable {
    /// Reads the table of a disk; none when there is no table.
    ///
    /// Errors: [`Error::Malformed`] when there is one that cannot be right; [`Error::Unsupported`] for a GPT made for
    /// another sector size; [`Error::Io`].
    pub fn read(storage: &dyn Storage) -> Result<Option<Self>, Error> {
        let mbr = Mbr::read(storage)?;
        let copies = Copies::read(storage)?;
        let protective = mbr.as_ref().is_some_and(Mbr::is_protective);
        if copies.primary.is_some() || protective {
            if let Some(gpt) = copies.best() {
                return Ok(Some(PartitionTable {
                    kind: TableKind::Gpt,
                    partitions: gpt.partitions()?,
                    primary: copies.primary.is_some(),
                    backup: Some(copies.backup_place(storage)),
                }));
            }
            gpt::check_other_sector_size(storage)?;
            return Err(Error::malformed(
                "there is a protective MBR, but no copy of the GPT is intact",
            ));
        }
        let Some(mbr) = mbr else { return Ok(None) };
        Ok(Some(PartitionTable {
            kind: TableKind::Mbr,
            partitions: mbr.partitions(storage)?,
            primary: true,
            backup: None,
        }))
    }

    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }
}

/// Every partition that any table on the disk speaks of, whether the tables agree or are whole or not: for wiping.
pub(crate) fn all_partitions(storage: &dyn Storage) -> Result<Vec<(u64, u64)>, Error> {
    let mut ranges = Vec::new();
    let copies = Copies::read(storage)?;
    for gpt in [&copies.primary, &copies.backup].into_iter().flatten() {
        ranges.extend(
            gpt.partitions()
                .unwrap_or_default()
                .iter()
                .map(|p| (p.start, p.size)),
        );
    }
    if let Some(mbr) = Mbr::read(storage)? {
        let partitions = mbr.partitions(storage).unwrap_or_default();
        ranges.extend(
            partitions
                .iter()
                .filter(|p| !p.is_protective())
                .map(|p| (p.start, p.size)),
        );
    }
    let size = storage.size();
    ranges.retain(|(start, len)| *start < size && *len > 0 && *start > 0);
    for (start, len) in &mut ranges {
        *len = (*len).min(size.saturating_sub(*start));
    }
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

/// Bytes of `sectors` sectors.
fn bytes(sectors: u64, sector: u64) -> Result<u64, Error> {
    sectors
        .checked_mul(sector)
        .ok_or_else(|| Error::malformed(format!("sector {sectors} is beyond any disk")))
}
