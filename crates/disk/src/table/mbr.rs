//! The classic partition table: four entries in sector 0, logical partitions in a chain.

use super::{Partition, PartitionKind, bytes};
use crate::storage::{self, le32, put};
use crate::{Error, Storage};

const TABLE: usize = 446;
const ENTRY: usize = 16;
pub(super) const PROTECTIVE: u8 = 0xee;
/// A chain of logical partitions longer than this is a loop.
const MAX_LOGICAL: u32 = 128;

pub(super) fn is_extended(id: u8) -> bool {
    matches!(id, 0x05 | 0x0f | 0x85)
}

/// One of the four entries, in sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    active: bool,
    pub id: u8,
    pub start: u64,
    pub sectors: u64,
}

impl Entry {
    /// None when the bytes are no entry.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let flag = *bytes.first()?;
        let active = flag == 0x80;
        if !active && flag != 0 {
            return None;
        }
        let (start, sectors) = (le32(bytes, 8)?, le32(bytes, 12)?);
        Some(Entry {
            active,
            id: *bytes.get(4)?,
            start: u64::from(start),
            sectors: u64::from(sectors),
        })
    }

    pub fn is_used(&self) -> bool {
        self.id != 0 && self.sectors != 0
    }
}

/// The table in sector 0.
#[derive(Clone, Debug)]
pub(super) struct Mbr {
    sector: u64,
    pub entries: [Entry; 4],
    pub block: Vec<u8>,
}

impl Mbr {
    /// None when sector 0 holds no plausible table (a boot sector of a file system ends in the same two bytes).
    pub fn read(storage: &dyn Storage) -> Result<Option<Self>, Error> {
        let sector = u64::from(storage.sector_size());
        if storage.size() < 512 {
            return Ok(None);
        }
        let block = storage::read(storage, 0, 512)?;
        let Some(entries) = parse(&block) else {
            return Ok(None);
        };
        let mbr = Mbr {
            sector,
            entries,
            block,
        };
        let plausible = mbr.entries.iter().any(Entry::is_used)
            && mbr
                .entries
                .iter()
                .filter(|e| e.is_used())
                .all(|e| e.start > 0 || e.id == PROTECTIVE);
        Ok(plausible.then_some(mbr))
    }

    pub fn is_protective(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.is_used() && entry.id == PROTECTIVE)
    }

    /// Primary partitions, then the logical ones as far as their chain can be followed on the disk.
    pub fn partitions(&self, storage: &dyn Storage) -> Result<Vec<Partition>, Error> {
        let mut partitions = Vec::new();
        for (number, entry) in (1u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.is_used())
        {
            partitions.push(self.partition(number, entry)?);
        }
        let extended = self
            .entries
            .iter()
            .find(|entry| entry.is_used() && is_extended(entry.id));
        let Some(extended) = extended else {
            return Ok(partitions);
        };
        let mut at = extended.start;
        for number in 5..5 + MAX_LOGICAL {
            let offset = bytes(at, self.sector)?;
            if offset
                .checked_add(512)
                .is_none_or(|end| end > storage.size())
            {
                break;
            }
            let Some([own, next, ..]) = parse(&storage::read(storage, offset, 512)?) else {
                break;
            };
            if own.is_used() {
                let start = own.start.saturating_add(at);
                partitions.push(self.partition(number, &Entry { start, ..own })?);
            }
            if !next.is_used() || !is_extended(next.id) {
                break;
            }
            at = extended.start.saturating_add(next.start);
        }
        Ok(partitions)
    }

    fn partition(&self, number: u32, entry: &Entry) -> Result<Partition, Error> {
        Ok(Partition {
            number,
            start: bytes(entry.start, self.sector)?,
            size: bytes(entry.sectors, self.sector)?,
            kind: PartitionKind::Mbr {
                id: entry.id,
                active: entry.active,
            },
        })
    }

    /// Puts a partition into the first unused of the four entries and writes the sector; answers its number.
    pub fn add(
        &mut self,
        storage: &mut dyn Storage,
        id: u8,
        start: u32,
        sectors: u32,
    ) -> Result<u32, Error> {
        let free = self.entries.iter().position(|entry| !entry.is_used());
        let free = free.ok_or_else(|| Error::NoRoom {
            what: "all four primary partitions are taken".into(),
        })?;
        let mut entry = [0; ENTRY];
        // cylinders, heads and sectors beyond what they can say: every reader uses the numbers behind them
        put(&mut entry, 0, &[0, 0xfe, 0xff, 0xff, id, 0xfe, 0xff, 0xff]);
        put(&mut entry, 8, &start.to_le_bytes());
        put(&mut entry, 12, &sectors.to_le_bytes());
        put(&mut self.block, TABLE + ENTRY * free, &entry);
        storage::write(storage, 0, &self.block)?;
        storage::flush(storage)?;
        Ok(u32::try_from(free).unwrap_or(0).saturating_add(1))
    }
}

fn parse(block: &[u8]) -> Option<[Entry; 4]> {
    if block.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let mut entries = block.get(TABLE..510)?.chunks_exact(ENTRY).map(Entry::parse);
    Some([
        entries.next()??,
        entries.next()??,
        entries.next()??,
        entries.next()??,
    ])
}

/// Lets the protective entry of a GPT disk cover the disk up to sector `last`. A hybrid MBR is left as it is.
pub(super) fn stretch_protective(storage: &mut dyn Storage, last: u64) -> Result<(), Error> {
    let Some(mut mbr) = Mbr::read(storage)? else {
        return Ok(());
    };
    let used: Vec<usize> = (0..4)
        .filter(|i| mbr.entries.get(*i).is_some_and(Entry::is_used))
        .collect();
    let [only] = used.as_slice() else {
        return Ok(());
    };
    if mbr
        .entries
        .get(*only)
        .is_none_or(|entry| entry.id != PROTECTIVE)
    {
        return Ok(());
    }
    let sectors = u32::try_from(last).unwrap_or(u32::MAX);
    let at = TABLE + ENTRY * only;
    put(&mut mbr.block, at + 5, &[0xff, 0xff, 0xff]);
    put(&mut mbr.block, at + 12, &sectors.to_le_bytes());
    storage::write(storage, 0, &mbr.block)
}
