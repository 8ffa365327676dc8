//! A further partition at the end of a disk, for the config drive.

use super::gpt::{NAME_UNITS, Whole};
use super::mbr::Mbr;
use super::{Guid, Partition, PartitionKind, PartitionTable, TableKind, bytes};
use crate::storage::put;
use crate::{Error, Storage};

/// Partitions begin at multiples of this.
const ALIGNMENT: u64 = 1024 * 1024;

/// A partition to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Bytes, rounded up to whole MiB.
    pub size: u64,
    /// Name in a GPT, at most 36 UTF-16 units.
    pub name: String,
    /// Type in a GPT.
    pub type_guid: Guid,
    /// Unique GUID in a GPT; from a source of randomness of the caller's.
    pub guid: Guid,
    /// Type in an MBR.
    pub mbr_id: u8,
}

impl NewPartition {
    /// The partition for a config drive: 64 MiB, or more for a bigger one, named `config-2`.
    pub fn config_drive(image_len: u64, guid: Guid) -> Self {
        NewPartition {
            size: image_len.max(64 * 1024 * 1024),
            name: "config-2".into(),
            type_guid: Guid::LINUX_FILESYSTEM,
            guid,
            mbr_id: 0x83,
        }
    }
}

/// Adds a partition as close to the end of the disk as the others let it, at a whole MiB. On a GPT disk the backup copy is
/// moved to the end first, if it is not there. The partition's old content stays.
///
/// Errors: [`Error::NoTable`]; [`Error::NoRoom`] when no gap is big enough, the table has no free entry (MBR: four
/// primary partitions), or the gap is beyond the 2^32 sectors of an MBR; and those of reading the table.
pub fn add_partition_at_end(
    storage: &mut dyn Storage,
    new: &NewPartition,
) -> Result<Partition, Error> {
    let table = PartitionTable::read(storage)?.ok_or(Error::NoTable)?;
    let used: Vec<(u64, u64)> = table
        .partitions
        .iter()
        .map(|p| (p.start, p.end()))
        .collect();
    let size = new
        .size
        .checked_next_multiple_of(ALIGNMENT)
        .filter(|size| *size > 0);
    let size = size.ok_or_else(|| Error::NoRoom {
        what: format!("a partition of {} bytes", new.size),
    })?;
    match table.kind {
        TableKind::Gpt => add_to_gpt(storage, new, size, used),
        TableKind::Mbr => add_to_mbr(storage, new, size, used),
    }
}

fn add_to_gpt(
    storage: &mut dyn Storage,
    new: &NewPartition,
    size: u64,
    used: Vec<(u64, u64)>,
) -> Result<Partition, Error> {
    let name: Vec<u16> = new.name.encode_utf16().collect();
    if name.len() > NAME_UNITS || new.type_guid.is_zero() {
        return Err(Error::Unsupported {
            what: format!("a GPT partition named {:?}", new.name),
        });
    }
    let sector = u64::from(storage.sector_size());
    let mut whole = Whole::read(storage)?;
    let low = bytes(whole.gpt.first_usable, sector)?;
    let high = bytes(whole.gpt.last_usable.saturating_add(1), sector)?;
    let start = last_gap(used, low, high, size)?;
    let (first, last) = (start / sector, (start + size) / sector - 1);
    let (number, entry) = whole.gpt.free_entry().ok_or_else(|| Error::NoRoom {
        what: "every entry of the GPT is taken".into(),
    })?;
    entry.fill(0);
    put(entry, 0, &new.type_guid.to_disk());
    put(entry, 16, &new.guid.to_disk());
    put(entry, 32, &first.to_le_bytes());
    put(entry, 40, &last.to_le_bytes());
    for (i, unit) in name.iter().enumerate() {
        put(entry, 56 + 2 * i, &unit.to_le_bytes());
    }
    whole.write(storage)?;
    let kind = PartitionKind::Gpt {
        type_guid: new.type_guid,
        guid: new.guid,
        name: new.name.clone(),
    };
    Ok(Partition {
        number,
        start,
        size,
        kind,
    })
}

fn add_to_mbr(
    storage: &mut dyn Storage,
    new: &NewPartition,
    size: u64,
    used: Vec<(u64, u64)>,
) -> Result<Partition, Error> {
    let sector = u64::from(storage.sector_size());
    let mut mbr = Mbr::read(storage)?.ok_or(Error::NoTable)?;
    // the table counts sectors in 32 bits
    let high = storage.size().min(bytes(u64::from(u32::MAX), sector)?);
    let start = last_gap(used, ALIGNMENT, high, size)?;
    let too_far = |_| Error::NoRoom {
        what: "an MBR cannot address that far".into(),
    };
    let first = u32::try_from(start / sector).map_err(too_far)?;
    let sectors = u32::try_from(size / sector).map_err(too_far)?;
    let number = mbr.add(storage, new.mbr_id, first, sectors)?;
    Ok(Partition {
        number,
        start,
        size,
        kind: PartitionKind::Mbr {
            id: new.mbr_id,
            active: false,
        },
    })
}

/// The highest aligned start of `size` free bytes between `low` and `high`.
fn last_gap(mut used: Vec<(u64, u64)>, low: u64, high: u64, size: u64) -> Result<u64, Error> {
    used.push((0, low));
    used.sort_unstable();
    // logical partitions lie within their extended one, and a bad table's overlap anyhow
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for (start, end) in used {
        match taken.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => taken.push((start, end)),
        }
    }
    let mut limit = high;
    for (start, end) in taken.into_iter().rev() {
        let candidate = limit.checked_sub(size).map(|at| at / ALIGNMENT * ALIGNMENT);
        if let Some(candidate) = candidate.filter(|at| *at >= end) {
            return Ok(candidate);
        }
        limit = limit.min(start);
    }
    Err(Error::NoRoom {
        what: format!("no gap of {size} bytes between the partitions"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const MIB: u64 = ALIGNMENT;

    fn check(used: &[(u64, u64)], low: u64, high: u64, expected: Option<u64>) {
        let used = used.iter().map(|(a, b)| (a * MIB, b * MIB)).collect();
        assert_eq!(
            last_gap(used, low, high, 10 * MIB).ok(),
            expected.map(|at| at * MIB)
        );
    }

    #[test]
    fn the_last_gap() {
        check(&[], MIB, 100 * MIB, Some(90));
        check(&[], MIB, 100 * MIB - 17 * 1024, Some(89));
        check(&[(1, 50)], MIB, 100 * MIB, Some(90));
        check(&[(1, 50), (60, 100)], MIB, 100 * MIB, Some(50));
        check(&[(60, 100), (1, 50)], MIB, 100 * MIB, Some(50));
        check(&[(20, 95)], MIB, 100 * MIB, Some(10));
        check(&[(5, 95)], MIB, 100 * MIB, None);
        // logical partitions within an extended one
        check(
            &[(1, 30), (30, 95), (31, 40), (50, 60)],
            MIB,
            100 * MIB,
            None,
        );
        check(&[(12, 95), (13, 40), (50, 60)], MIB, 100 * MIB, Some(2));
        check(&[], MIB, 10 * MIB, None);
        // a table that says nonsense
        check(&[(0, u64::MAX / MIB)], MIB, 100 * MIB, None);
    }
}
