//! Entry points for fuzzing: outside bytes in, nothing but a result out. Also run over seeded mutations by the tests.

use std::io;

use crate::{
    Guid, Hints, NewPartition, PartitionTable, Storage, add_partition_at_end, fix_backup_gpt,
    signatures, volume_label, vpd, wipe_metadata,
};

/// Everything that reads a disk's content, then everything that changes it. True when there was a table.
///
/// What succeeds must hold: a table that was fixed or added to can be read again, and a wiped disk carries nothing.
pub fn fuzz_disk(data: &[u8], sector_size: u32) -> bool {
    let mut disk = MemoryDisk {
        bytes: data.to_vec(),
        sector_size,
    };
    let table = PartitionTable::read(&disk);
    drop(signatures(&disk));
    drop(volume_label(&disk, 0, disk.size()));
    if fix_backup_gpt(&mut disk).is_ok() {
        assert!(
            matches!(PartitionTable::read(&disk), Ok(Some(_))),
            "a fixed table can be read"
        );
        assert!(
            matches!(fix_backup_gpt(&mut disk), Ok(false)),
            "and needs no second fix"
        );
    }
    let new = NewPartition {
        size: 1,
        ..NewPartition::config_drive(0, Guid::from_disk([7; 16]))
    };
    if let Ok(added) = add_partition_at_end(&mut disk, &new) {
        let table = PartitionTable::read(&disk);
        let read = table
            .as_ref()
            .ok()
            .and_then(|t| t.as_ref()?.partition(added.number));
        assert_eq!(read, Some(&added), "an added partition can be read");
    }
    if wipe_metadata(&mut disk).is_ok() {
        assert_eq!(
            signatures(&disk).ok(),
            Some(Vec::new()),
            "a wiped disk carries nothing"
        );
    }
    matches!(table, Ok(Some(_)))
}

/// Vital product data pages.
pub fn fuzz_vpd(data: &[u8]) {
    drop(vpd::unit_serial(data));
    drop(vpd::naa(data));
    drop(vpd::ata_model(data));
}

/// Root device hints, given as JSON.
pub fn fuzz_hints(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice(data)
        && let Ok(hints) = Hints::parse(&value)
    {
        hints.matches(&crate::Disk::default());
    }
}

/// A disk in memory, for tests here and of users of this crate.
pub struct MemoryDisk {
    pub bytes: Vec<u8>,
    pub sector_size: u32,
}

impl MemoryDisk {
    fn range(&self, offset: u64, len: u64) -> io::Result<std::ops::Range<usize>> {
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(offset).map_err(|_| outside())?;
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| start.checked_add(len))
            .ok_or_else(outside)?;
        if end > self.bytes.len() {
            Err(outside())
        } else {
            Ok(start..end)
        }
    }

    fn slice(&mut self, offset: u64, len: u64) -> io::Result<&mut [u8]> {
        let range = self.range(offset, len)?;
        self.bytes
            .get_mut(range)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Storage for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn sector_size(&self) -> u32 {
        self.sector_size
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = self.range(offset, buffer.len() as u64)?;
        buffer.copy_from_slice(self.bytes.get(range).unwrap_or_default());
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.slice(offset, data.len() as u64)?.copy_from_slice(data);
        Ok(())
    }
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.slice(offset, len)?.fill(0);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
