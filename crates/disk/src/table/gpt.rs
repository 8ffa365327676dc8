//! The GUID partition table (UEFI 2.10, 5.3).

use super::{BackupCopy, Guid, Partition, PartitionKind, bytes, mbr};
use crate::storage::{self, array, le16, le32, le64, put};
use crate::{Error, Storage};

const SIGNATURE: &[u8] = b"EFI PART";
/// A table of more bytes than this is not one that anybody made (the usual one has 16 KiB).
const MAX_TABLE: u64 = 1024 * 1024;
const MIN_HEADER: usize = 92;
/// UTF-16 units of a partition's name.
pub(super) const NAME_UNITS: usize = 36;

/// One valid copy of a table.
#[derive(Clone, Debug)]
pub(super) struct Gpt {
    sector: u64,
    /// The header as it was read, without what follows it in its sector.
    header: Vec<u8>,
    pub my_lba: u64,
    alternate_lba: u64,
    pub first_usable: u64,
    pub last_usable: u64,
    entries_lba: u64,
    entry_len: usize,
    /// The whole array.
    entries: Vec<u8>,
}

/// Both copies, each if it is valid.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    pub primary: Option<Gpt>,
    pub backup: Option<Gpt>,
}

impl Copies {
    /// The primary copy in sector 1; the backup in the last sector or where the primary says.
    pub fn read(storage: &dyn Storage) -> Result<Self, Error> {
        let primary = Gpt::read(storage, 1)?;
        let mut backup = match last_lba(storage) {
            Some(last) if last > 1 => Gpt::read(storage, last)?,
            _ => None,
        };
        if let (None, Some(primary)) = (&backup, &primary) {
            backup =
                Gpt::read(storage, primary.alternate_lba)?.filter(|_| primary.alternate_lba > 1);
        }
        Ok(Copies { primary, backup })
    }

    pub fn best(&self) -> Option<&Gpt> {
        self.primary.as_ref().or(self.backup.as_ref())
    }

    pub fn backup_place(&self, storage: &dyn Storage) -> BackupCopy {
        match &self.backup {
            Some(backup) if Some(backup.my_lba) == last_lba(storage) => BackupCopy::AtEnd,
            Some(_) => BackupCopy::Misplaced,
            None => BackupCopy::Missing,
        }
    }
}

fn last_lba(storage: &dyn Storage) -> Option<u64> {
    storage
        .size()
        .checked_div(u64::from(storage.sector_size()))?
        .checked_sub(1)
}

impl Gpt {
    /// The copy whose header is in sector `lba`; none when it is not valid.
    fn read(storage: &dyn Storage, lba: u64) -> Result<Option<Self>, Error> {
        let sector = u64::from(storage.sector_size());
        let within = |lba: u64, len: u64| {
            lba.checked_mul(sector)
                .and_then(|at| at.checked_add(len))
                .is_some_and(|end| end <= storage.size())
        };
        if sector < 512 || !within(lba, sector) {
            return Ok(None);
        }
        let block = storage::read(
            storage,
            lba * sector,
            usize::try_from(sector).unwrap_or(512),
        )?;
        let Some(mut gpt) = Gpt::parse_header(&block, sector).filter(|gpt| gpt.my_lba == lba)
        else {
            return Ok(None);
        };
        let Some(len) = gpt.table_len().filter(|len| within(gpt.entries_lba, *len)) else {
            return Ok(None);
        };
        let entries = storage::read(
            storage,
            gpt.entries_lba * sector,
            usize::try_from(len).unwrap_or(0),
        )?;
        if Some(crc32fast::hash(&entries)) != le32(&gpt.header, 88) {
            return Ok(None);
        }
        gpt.entries = entries;
        Ok(Some(gpt))
    }

    fn parse_header(block: &[u8], sector: u64) -> Option<Self> {
        if !block.starts_with(SIGNATURE) {
            return None;
        }
        let len = usize::try_from(le32(block, 12)?)
            .ok()
            .filter(|len| *len >= MIN_HEADER)?;
        let header = block.get(..len)?.to_vec();
        if header_crc(&header) != le32(&header, 16)? {
            return None;
        }
        let entry_len = usize::try_from(le32(&header, 84)?).ok()?;
        if entry_len < 128 || !entry_len.is_power_of_two() {
            return None;
        }
        Some(Gpt {
            sector,
            my_lba: le64(&header, 24)?,
            alternate_lba: le64(&header, 32)?,
            first_usable: le64(&header, 40)?,
            last_usable: le64(&header, 48)?,
            entries_lba: le64(&header, 72)?,
            entry_len,
            entries: Vec::new(),
            header,
        })
    }

    fn table_len(&self) -> Option<u64> {
        let len = u64::from(le32(&self.header, 80)?).checked_mul(self.entry_len as u64)?;
        (len <= MAX_TABLE).then_some(len)
    }

    /// Sectors of the array of entries.
    fn table_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.sector)
    }

    pub fn partitions(&self) -> Result<Vec<Partition>, Error> {
        let mut partitions = Vec::new();
        for (number, entry) in (1u32..).zip(self.entries.chunks_exact(self.entry_len)) {
            let guid = |offset| {
                array(entry, offset)
                    .map(Guid::from_disk)
                    .unwrap_or_default()
            };
            if guid(0).is_zero() {
                continue;
            }
            let (first, last) = (le64(entry, 32).unwrap_or(0), le64(entry, 40).unwrap_or(0));
            let sectors = last.checked_sub(first).and_then(|n| n.checked_add(1));
            let sectors = sectors.ok_or_else(|| {
                Error::malformed(format!("partition {number} ends before it begins"))
            })?;
            let name: Vec<u16> = (0..NAME_UNITS)
                .filter_map(|i| le16(entry, 56 + 2 * i))
                .take_while(|unit| *unit != 0)
                .collect();
            partitions.push(Partition {
                number,
                start: bytes(first, self.sector)?,
                size: bytes(sectors, self.sector)?,
                kind: PartitionKind::Gpt {
                    type_guid: guid(0),
                    guid: guid(16),
                    name: String::from_utf16_lossy(&name),
                },
            });
        }
        Ok(partitions)
    }

    /// The first unused entry: its number and its bytes.
    pub fn free_entry(&mut self) -> Option<(u32, &mut [u8])> {
        (1u32..)
            .zip(self.entries.chunks_exact_mut(self.entry_len))
            .find(|(_, entry)| {
                entry
                    .get(..16)
                    .is_some_and(|kind| kind.iter().all(|b| *b == 0))
            })
    }

    /// Makes the table span a disk whose last sector is `last`.
    fn stretch(&mut self, last: u64) -> Result<(), Error> {
        let tail = self.table_sectors().saturating_add(1);
        let usable = last
            .checked_sub(tail)
            .filter(|usable| *usable >= self.first_usable);
        let usable = usable.ok_or_else(|| Error::NoRoom {
            what: "the disk is too small for its own GPT".into(),
        })?;
        let limit = bytes(usable, self.sector)?.saturating_add(self.sector);
        if let Some(partition) = self
            .partitions()?
            .iter()
            .find(|partition| partition.end() > limit)
        {
            return Err(Error::NoRoom {
                what: format!(
                    "partition {} ends at byte {}, the disk at byte {limit}",
                    partition.number,
                    partition.end()
                ),
            });
        }
        self.last_usable = usable;
        Ok(())
    }

    /// Writes both copies for a disk whose last sector is `last`: the backup first and flushed, so that one copy is whole
    /// at any moment.
    pub fn write(&self, storage: &mut dyn Storage, last: u64) -> Result<(), Error> {
        let malformed = || Error::malformed("no room for the GPT's entries");
        let table_sectors = self.table_sectors();
        let backup_entries = last.checked_sub(table_sectors).ok_or_else(malformed)?;
        // a primary copy made from a backup puts its entries where everybody puts them
        let primary_entries = if self.my_lba == 1 {
            self.entries_lba
        } else {
            2
        };
        if primary_entries
            .checked_add(table_sectors)
            .is_none_or(|end| end > self.first_usable || primary_entries < 2)
        {
            return Err(malformed());
        }
        for (my_lba, alternate, entries) in [(last, 1, backup_entries), (1, last, primary_entries)]
        {
            let mut array = self.entries.clone();
            array.resize(
                array
                    .len()
                    .next_multiple_of(usize::try_from(self.sector).unwrap_or(512)),
                0,
            );
            storage::write(storage, bytes(entries, self.sector)?, &array)?;
            let mut block = self.header.clone();
            for (offset, value) in [
                (24, my_lba),
                (32, alternate),
                (40, self.first_usable),
                (48, self.last_usable),
                (72, entries),
            ] {
                put(&mut block, offset, &value.to_le_bytes());
            }
            put(
                &mut block,
                88,
                &crc32fast::hash(&self.entries).to_le_bytes(),
            );
            let crc = header_crc(&block);
            put(&mut block, 16, &crc.to_le_bytes());
            block.resize(usize::try_from(self.sector).unwrap_or(512), 0);
            storage::write(storage, bytes(my_lba, self.sector)?, &block)?;
            storage::flush(storage)?;
        }
        Ok(())
    }
}

fn header_crc(header: &[u8]) -> u32 {
    let mut header = header.to_vec();
    put(&mut header, 16, &[0; 4]);
    crc32fast::hash(&header)
}

/// Tells a GPT that was made for another sector size from a damaged one.
pub(super) fn check_other_sector_size(storage: &dyn Storage) -> Result<(), Error> {
    for other in [512u64, 4096] {
        if other == u64::from(storage.sector_size()) || storage.size() < other * 2 {
            continue;
        }
        if storage::read(storage, other, SIGNATURE.len())? == SIGNATURE {
            return Err(Error::Unsupported {
                what: format!(
                    "the GPT was made for sectors of {other} bytes, this disk has {}; the image needs another build",
                    storage.sector_size()
                ),
            });
        }
    }
    Ok(())
}

/// A GPT that spans the whole disk with both copies in place, ready to be changed and written.
pub(super) struct Whole {
    pub gpt: Gpt,
    pub last: u64,
    /// Whether anything had to be moved or repaired for it.
    pub changed: bool,
    /// A backup copy that is now in the middle of the disk.
    stale: Option<u64>,
}

impl Whole {
    /// Errors: [`Error::NoTable`], [`Error::Malformed`], [`Error::NoRoom`] when a partition lies beyond the disk's end.
    pub fn read(storage: &dyn Storage) -> Result<Self, Error> {
        let copies = Copies::read(storage)?;
        let Some(mut gpt) = copies.best().cloned() else {
            check_other_sector_size(storage)?;
            return Err(Error::NoTable);
        };
        let last = last_lba(storage).ok_or(Error::NoTable)?;
        let agree = match (&copies.primary, &copies.backup) {
            (Some(primary), Some(backup)) => {
                primary.alternate_lba == last
                    && backup.my_lba == last
                    && backup.entries == primary.entries
                    && backup.last_usable == primary.last_usable
            }
            _ => false,
        };
        let stale = copies
            .backup
            .as_ref()
            .map(|backup| backup.my_lba)
            .filter(|lba| *lba != last);
        if !agree {
            gpt.stretch(last)?;
        }
        Ok(Whole {
            gpt,
            last,
            changed: !agree,
            stale,
        })
    }

    /// Writes both copies and the protective MBR, and removes a backup left in the middle.
    pub fn write(&self, storage: &mut dyn Storage) -> Result<(), Error> {
        self.gpt.write(storage, self.last)?;
        mbr::stretch_protective(storage, self.last)?;
        // a primary found beyond the disk's new end cannot be; what is zeroed held a valid header a moment ago
        if let Some(lba) = self
            .stale
            .filter(|lba| *lba < self.last && *lba > self.gpt.first_usable)
        {
            storage::zero(storage, bytes(lba, self.gpt.sector)?, self.gpt.sector)?;
        }
        storage::flush(storage)
    }
}

/// Moves the backup copy to the end of a disk that is bigger than the image written to it, and lets the table use all of
/// it; a damaged copy is rebuilt from the other. True when something was written.
///
/// Errors: [`Error::NoTable`] when there is no valid copy; [`Error::NoRoom`] when a partition ends beyond the disk;
/// [`Error::Malformed`]; [`Error::Unsupported`] for another sector size; [`Error::Io`].
pub fn fix_backup_gpt(storage: &mut dyn Storage) -> Result<bool, Error> {
    let whole = Whole::read(storage)?;
    if whole.changed {
        whole.write(storage)?;
    }
    Ok(whole.changed)
}
