//! Reads directories and small files of a FAT file system. Never writes.
//!
//! Everything in it comes from an image that a user made: sizes are bounded, chains may loop, names may be anything.
//! Specification: Microsoft's FAT32 File System Specification 1.03.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Entries of one directory, and clusters of one chain, that are followed at most.
const MAX_DIRECTORY_BYTES: usize = 1024 * 1024;
const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;

/// Where the file system is.
pub trait ReadAt {
    /// Fills `buffer` from `offset` bytes on; an error when there is less.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;
}

/// A part of a disk.
pub struct Region {
    pub disk: File,
    /// Bytes.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl ReadAt for Region {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.disk
            .read_exact_at(buffer, self.start.saturating_add(offset))
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

/// Why it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    #[error("cannot read the file system: {0}")]
    Io(#[from] std::io::Error),
    #[error("not a FAT file system: {0}")]
    Malformed(&'static str),
    #[error("{0} is larger than {1} bytes")]
    TooLarge(String, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Long name when there is one.
    pub name: String,
    pub directory: bool,
    first_cluster: u32,
    /// Bytes; 0 for directories.
    pub size: u32,
}

/// An open file system.
pub struct Fat<R> {
    source: R,
    width: Width,
    cluster_bytes: u32,
    fat_start: u64,
    /// Bytes of the root directory of FAT12 and FAT16.
    root_start: u64,
    root_bytes: u32,
    /// Of FAT32.
    root_cluster: u32,
    data_start: u64,
    clusters: u32,
}

fn le16(data: &[u8], at: usize) -> u16 {
    data.get(at..at.saturating_add(2))
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn le32(data: &[u8], at: usize) -> u32 {
    data.get(at..at.saturating_add(4))
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

impl<R: ReadAt> Fat<R> {
    /// Reads the boot sector.
    pub fn open(source: R) -> Result<Self, FatError> {
        let mut boot = [0_u8; 512];
        source.read_exact_at(&mut boot, 0)?;
        if boot.get(510..512) != Some(&[0x55, 0xaa]) {
            return Err(FatError::Malformed("no boot signature"));
        }
        let sector = u32::from(le16(&boot, 11));
        let per_cluster = u32::from(boot.get(13).copied().unwrap_or(0));
        if !matches!(sector, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
            return Err(FatError::Malformed("impossible sector or cluster size"));
        }
        let reserved = u64::from(le16(&boot, 14));
        let copies = u64::from(boot.get(16).copied().unwrap_or(0));
        let root_bytes = u32::from(le16(&boot, 17)).saturating_mul(32);
        let total = match le16(&boot, 19) {
            0 => u64::from(le32(&boot, 32)),
            n => u64::from(n),
        };
        let fat_sectors = match le16(&boot, 22) {
            0 => u64::from(le32(&boot, 36)),
            n => u64::from(n),
        };
        if reserved == 0 || copies == 0 || fat_sectors == 0 {
            return Err(FatError::Malformed("no allocation table"));
        }
        let sector_bytes = u64::from(sector);
        let root_sectors = u64::from(root_bytes.div_ceil(sector));
        let root_sector = reserved.saturating_add(copies.saturating_mul(fat_sectors));
        let data_sector = root_sector.saturating_add(root_sectors);
        let clusters = total
            .checked_sub(data_sector)
            .map(|sectors| sectors / u64::from(per_cluster))
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0 && *n < 0x0fff_fff5)
            .ok_or(FatError::Malformed("impossible number of clusters"))?;
        let width = match clusters {
            0..4085 => Width::Twelve,
            4085..65525 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        Ok(Self {
            width,
            cluster_bytes: sector.saturating_mul(per_cluster),
            fat_start: reserved.saturating_mul(sector_bytes),
            root_start: root_sector.saturating_mul(sector_bytes),
            root_bytes,
            root_cluster: le32(&boot, 44),
            data_start: data_sector.saturating_mul(sector_bytes),
            clusters,
            source,
        })
    }

    /// Entries of the root directory.
    pub fn root(&self) -> Result<Vec<Entry>, FatError> {
        let bytes = if self.width == Width::ThirtyTwo {
            self.chain(self.root_cluster, MAX_DIRECTORY_BYTES, "the root directory")?
        } else {
            let mut bytes = vec![0; usize::try_from(self.root_bytes).unwrap_or(0)];
            self.source.read_exact_at(&mut bytes, self.root_start)?;
            bytes
        };
        Ok(parse_directory(&bytes))
    }

    /// Entries of a directory, without `.` and `..`.
    pub fn list(&self, directory: &Entry) -> Result<Vec<Entry>, FatError> {
        let bytes = self.chain(
            directory.first_cluster,
            MAX_DIRECTORY_BYTES,
            &directory.name,
        )?;
        Ok(parse_directory(&bytes))
    }

    /// Contents of a file of at most `limit` bytes.
    pub fn read(&self, file: &Entry, limit: usize) -> Result<Vec<u8>, FatError> {
        let size = usize::try_from(file.size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(FatError::TooLarge(file.name.clone(), limit));
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        let cluster = usize::try_from(self.cluster_bytes).unwrap_or(usize::MAX);
        let mut bytes = self.chain(file.first_cluster, size.saturating_add(cluster), &file.name)?;
        if bytes.len() < size {
            return Err(FatError::Malformed("a file is shorter than its entry says"));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// All bytes of a cluster chain; stops at `limit` with an error, which also ends loops.
    fn chain(&self, first: u32, limit: usize, name: &str) -> Result<Vec<u8>, FatError> {
        let cluster_bytes = usize::try_from(self.cluster_bytes).unwrap_or(0);
        let mut bytes = Vec::new();
        let mut cluster = first;
        while cluster >= 2 && cluster.saturating_sub(2) < self.clusters {
            let start = bytes.len();
            let end = start.saturating_add(cluster_bytes);
            if end > limit.max(cluster_bytes) {
                return Err(FatError::TooLarge(name.to_owned(), limit));
            }
            bytes.resize(end, 0);
            let offset = self.data_start.saturating_add(
                u64::from(cluster.saturating_sub(2)).saturating_mul(u64::from(self.cluster_bytes)),
            );
            if let Some(part) = bytes.get_mut(start..end) {
                self.source.read_exact_at(part, offset)?;
            }
            cluster = self.next(cluster)?;
        }
        Ok(bytes)
    }

    /// The cluster after `cluster`; something beyond the last one ends the chain.
    fn next(&self, cluster: u32) -> Result<u32, FatError> {
        let mut entry = [0_u8; 4];
        let at = u64::from(cluster);
        Ok(match self.width {
            Width::Twelve => {
                let pair = entry.get_mut(..2).unwrap_or_default();
                self.source
                    .read_exact_at(pair, self.fat_start.saturating_add(at + at / 2))?;
                let value = u32::from(le16(&entry, 0));
                if cluster & 1 == 1 {
                    value >> 4
                } else {
                    value & 0x0fff
                }
            }
            Width::Sixteen => {
                let pair = entry.get_mut(..2).unwrap_or_default();
                self.source
                    .read_exact_at(pair, self.fat_start.saturating_add(at * 2))?;
                u32::from(le16(&entry, 0))
            }
            Width::ThirtyTwo => {
                self.source
                    .read_exact_at(&mut entry, self.fat_start.saturating_add(at * 4))?;
                le32(&entry, 0) & 0x0fff_ffff
            }
        })
    }
}

fn parse_directory(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    // pieces of a long name come last piece first, before the entry they belong to
    let mut long: Vec<u16> = Vec::new();
    for record in bytes.chunks_exact(32) {
        let first = record.first().copied().unwrap_or(0);
        let attributes = record.get(11).copied().unwrap_or(0);
        match first {
            0 => break,
            0xe5 => {
                long.clear();
                continue;
            }
            _ => {}
        }
        if attributes & 0x3f == ATTRIBUTE_LONG_NAME {
            let mut piece: Vec<u16> = [(1_usize, 5_usize), (14, 6), (28, 2)]
                .iter()
                .flat_map(|(start, count)| {
                    (0..*count).map(move |i| le16(record, start.saturating_add(i * 2)))
                })
                .take_while(|unit| *unit != 0)
                .collect();
            piece.append(&mut long);
            long = piece;
            continue;
        }
        let long_name = String::from_utf16_lossy(&std::mem::take(&mut long));
        if attributes & ATTRIBUTE_VOLUME != 0 {
            continue;
        }
        let name = if long_name.is_empty() {
            short_name(record)
        } else {
            long_name
        };
        if name == "." || name == ".." || name.is_empty() {
            continue;
        }
        entries.push(Entry {
            name,
            directory: attributes & ATTRIBUTE_DIRECTORY != 0,
            first_cluster: u32::from(le16(record, 26)) | (u32::from(le16(record, 20)) << 16),
            size: le32(record, 28),
        });
    }
    entries
}

/// 8.3, with the two bits by which Windows NT keeps lower case.
fn short_name(record: &[u8]) -> String {
    const LOWER_BASE: u8 = 0x08;
    const LOWER_EXTENSION: u8 = 0x10;
    let case = record.get(12).copied().unwrap_or(0);
    let text = |range: std::ops::Range<usize>, lower: u8| {
        let bytes = record.get(range).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if case & lower == 0 {
            text
        } else {
            text.to_lowercase()
        }
    };
    let (base, extension) = (text(0..8, LOWER_BASE), text(8..11, LOWER_EXTENSION));
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::{Loader, find_loader, fuzz_esp};
    use super::*;
    use std::process::Command;

    fn run(program: &str, arguments: &[&str]) {
        let status = Command::new(program)
            .args(arguments)
            .status()
            .unwrap_or_else(|e| panic!("this test needs the program {program}: {e}"));
        assert!(status.success(), "{program} {arguments:?}");
    }

    /// A file system of `megabytes`, made by other programs, with these files.
    fn make(kind: &str, megabytes: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("esp");
        let image = image.to_str().unwrap();
        File::create(image)
            .unwrap()
            .set_len(megabytes << 20)
            .unwrap();
        run("mkfs.vfat", &["-F", kind, "-n", "ESP", image]);
        let mut made: Vec<String> = Vec::new();
        for (path, contents) in files {
            let parts: Vec<&str> = path.split('/').collect();
            for depth in 1..parts.len() {
                let parent = parts[..depth].join("/");
                if !made.contains(&parent) {
                    run("mmd", &["-i", image, &format!("::{parent}")]);
                    made.push(parent);
                }
            }
            let source = directory.path().join("file");
            std::fs::write(&source, contents).unwrap();
            run(
                "mcopy",
                &["-i", image, source.to_str().unwrap(), &format!("::{path}")],
            );
        }
        std::fs::read(image).unwrap()
    }

    #[test]
    fn loaders_on_file_systems_of_all_widths() {
        let csv: Vec<u8> = "\u{feff}shimx64.efi,debian,,comment"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let removable: &[(&str, &[u8])] = &[
            ("vmlinuz", &[7; 100_000]),
            ("EFI/BOOT/BOOTX64.EFI", b"MZ"),
            ("EFI/debian/grubx64.efi", b"MZ"),
        ];
        let with_csv: &[(&str, &[u8])] = &[
            ("EFI/BOOT/BOOTX64.EFI", b"MZ"),
            ("EFI/a long vendor name/shimx64.efi", b"MZ"),
            ("EFI/a long vendor name/BOOTX64.CSV", &csv),
        ];
        let vendor: &[(&str, &[u8])] = &[("EFI/debian/grubx64.efi", b"MZ")];
        let mut samples = Vec::new();
        for (kind, megabytes) in [("12", 2), ("16", 20), ("32", 40)] {
            for (files, expected) in [
                (removable, Some(("\\EFI\\BOOT\\BOOTX64.EFI", "bessemer"))),
                (
                    with_csv,
                    Some(("\\EFI\\a long vendor name\\shimx64.efi", "debian")),
                ),
                (vendor, Some(("\\EFI\\debian\\grubx64.efi", "debian"))),
                (&[], None),
            ] {
                let image = make(kind, megabytes, files);
                let fat = Fat::open(image.clone()).unwrap();
                let expected = expected.map(|(path, label)| Loader {
                    path: path.to_owned(),
                    label: label.to_owned(),
                });
                assert_eq!(find_loader(&fat).unwrap(), expected, "FAT{kind}");
                samples.push(image);
            }
        }
        let mut random: u64 = 7;
        let mut next = move || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap()
        };
        // FAT12 only: small enough to be changed and copied many times
        for sample in samples.iter().take(3) {
            for _ in 0..300 {
                let mut data = sample.clone();
                for _ in 0..=next() % 8 {
                    let at = if next() % 2 == 0 {
                        next() % 64
                    } else {
                        next() % 40_000
                    };
                    data[at] = u8::try_from(next() & 0xff).unwrap();
                }
                data.truncate(data.len() - next() % 1_000_000);
                fuzz_esp(&data);
            }
        }
    }
}
