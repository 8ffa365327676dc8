//! Marks of file systems, arrays, volumes and tables: what makes other programs believe that a disk holds something.
//!
//! Only recognises. Offsets and magics are those of the formats themselves; the set is what a provisioning service meets
//! on old disks, and the wipe of both ends (see `wipe`) covers the rarer ones.

use crate::storage::{self, array, le32};
use crate::{Error, Storage};

/// A mark on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Byte offset of the magic, from the beginning of the disk.
    pub offset: u64,
    /// Bytes of the magic.
    pub len: u64,
    pub what: &'static str,
}

/// Where a magic lies in a region of a given size; none when the region is too small for it.
enum Place {
    At(u64),
    /// Bytes before the end.
    FromEnd(u64),
    Rule(fn(u64) -> Option<u64>),
}
use Place::{At, FromEnd, Rule};

const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
const MD_BIG_ENDIAN: &[u8] = &[0xa9, 0x2b, 0x4e, 0xfc];
const MIB: u64 = 1024 * 1024;

const MAGICS: &[(&str, Place, &[u8])] = &[
    ("md 0.90", Rule(md_090), MD),
    ("md 0.90", Rule(md_090), MD_BIG_ENDIAN),
    ("md 1.0", Rule(md_10), MD),
    ("md 1.1", At(0), MD),
    ("md 1.2", At(4096), MD),
    ("DDF RAID", FromEnd(512), &[0xde, 0x11, 0xde, 0x11]),
    ("DDF RAID", FromEnd(4096), &[0xde, 0x11, 0xde, 0x11]),
    ("DDF RAID", FromEnd(257 * 512), &[0xde, 0x11, 0xde, 0x11]),
    ("Intel RAID", FromEnd(1024), b"Intel Raid ISM Cfg Sig. "),
    ("Intel RAID", FromEnd(8192), b"Intel Raid ISM Cfg Sig. "),
    ("LVM", At(0), b"LABELONE"),
    ("LVM", At(512), b"LABELONE"),
    ("LVM", At(1024), b"LABELONE"),
    ("LVM", At(1536), b"LABELONE"),
    ("LUKS", At(0), b"LUKS\xba\xbe"),
    ("LUKS", At(0x4000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x8000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x10000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x20000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x40000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x80000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x100000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x200000), b"SKUL\xba\xbe"),
    ("LUKS", At(0x400000), b"SKUL\xba\xbe"),
    ("ext2/3/4", At(1080), &[0x53, 0xef]),
    ("XFS", At(0), b"XFSB"),
    ("btrfs", At(0x10040), b"_BHRfS_M"),
    ("btrfs", At(64 * MIB + 0x40), b"_BHRfS_M"),
    ("btrfs", At(256 * 1024 * MIB + 0x40), b"_BHRfS_M"),
    ("f2fs", At(1024), &[0x10, 0x20, 0xf5, 0xf2]),
    ("JFS", At(32768), b"JFS1"),
    ("ReiserFS", At(0x10034), b"ReIsEr"),
    ("GFS2", At(65536), &[0x01, 0x16, 0x19, 0x70]),
    ("OCFS2", At(1024), b"OCFSV2"),
    ("OCFS2", At(2048), b"OCFSV2"),
    ("OCFS2", At(4096), b"OCFSV2"),
    ("OCFS2", At(8192), b"OCFSV2"),
    ("squashfs", At(0), b"hsqs"),
    (
        "bcache",
        At(4120),
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca],
    ),
    ("Stratis", At(516), b"!Stra0tis"),
    ("Ceph BlueStore", At(0), b"bluestore block device"),
    ("VMFS volume", At(MIB), &[0x0d, 0xd0, 0x01, 0xc0]),
    ("VMFS", At(2 * MIB), &[0x5e, 0xf1, 0xab, 0x2f]),
    ("swap", At(4086), b"SWAPSPACE2"),
    ("swap", At(8182), b"SWAPSPACE2"),
    ("swap", At(16374), b"SWAPSPACE2"),
    ("swap", At(32758), b"SWAPSPACE2"),
    ("swap", At(65526), b"SWAPSPACE2"),
    ("swap", At(4086), b"SWAP-SPACE"),
    ("swap with a suspended system", At(4086), b"S1SUSPEND"),
    ("ISO 9660", At(32769), b"CD001"),
    ("UDF", At(32769), b"BEA01"),
    ("FAT", At(54), b"FAT12   "),
    ("FAT", At(54), b"FAT16   "),
    ("FAT", At(54), b"FAT     "),
    ("FAT", At(82), b"FAT32   "),
    ("NTFS", At(3), b"NTFS    "),
    ("exFAT", At(3), b"EXFAT   "),
    ("ReFS", At(3), b"ReFS\0\0\0\0"),
    ("BitLocker", At(3), b"-FVE-FS-"),
    ("HFS+", At(1024), b"H+\0\x04"),
    ("HFS+", At(1024), b"HX\0\x05"),
    ("APFS", At(32), b"NXSB"),
    ("GPT", At(512), b"EFI PART"),
    ("GPT", At(4096), b"EFI PART"),
    ("GPT backup", FromEnd(512), b"EFI PART"),
    ("GPT backup", FromEnd(4096), b"EFI PART"),
];

/// The last 64 KiB block that is whole, and one before it.
fn md_090(size: u64) -> Option<u64> {
    (size & !0xffff).checked_sub(0x10000)
}

/// 8 KiB before the end, at a multiple of 4 KiB.
fn md_10(size: u64) -> Option<u64> {
    Some(((size / 512).checked_sub(16)? & !7) * 512)
}

/// All marks of the disk as a whole, in the order of their offsets.
pub fn signatures(storage: &dyn Storage) -> Result<Vec<Found>, Error> {
    signatures_in(storage, 0, storage.size())
}

/// All marks of a region (a partition), in the order of their offsets on the disk.
pub fn signatures_in(storage: &dyn Storage, start: u64, len: u64) -> Result<Vec<Found>, Error> {
    let len = len.min(storage.size().saturating_sub(start));
    let mut found = Vec::new();
    for (what, place, magic) in MAGICS {
        let at = match place {
            At(at) => Some(*at),
            FromEnd(distance) => len.checked_sub(*distance),
            Rule(rule) => rule(len),
        };
        let magic_len = magic.len() as u64;
        let Some(at) = at.filter(|at| at.checked_add(magic_len).is_some_and(|end| end <= len))
        else {
            continue;
        };
        let offset = start.saturating_add(at);
        if storage::read(storage, offset, magic.len())? == *magic {
            found.push(Found {
                offset,
                len: magic_len,
                what,
            });
        }
    }
    if let Some(offset) = partition_table(storage, start, len)? {
        found.push(Found {
            offset,
            len: 2,
            what: "MBR",
        });
    }
    found.extend(zfs(storage, start, len)?);
    found.sort_unstable_by_key(|f| f.offset);
    found.dedup();
    Ok(found)
}

/// The two bytes that end a boot sector: partition table or not, firmware would start it.
fn partition_table(storage: &dyn Storage, start: u64, len: u64) -> Result<Option<u64>, Error> {
    if len < 512 {
        return Ok(None);
    }
    let offset = start.saturating_add(510);
    Ok((storage::read(storage, offset, 2)? == [0x55, 0xaa]).then_some(offset))
}

/// ZFS keeps four labels of 256 KiB, two at each end; the second half of each is a ring of uberblocks.
fn zfs(storage: &dyn Storage, start: u64, len: u64) -> Result<Vec<Found>, Error> {
    const LABEL: u64 = 256 * 1024;
    const UBERBLOCK: u64 = 0x00ba_b10c;
    let mut found = Vec::new();
    let whole = len / LABEL * LABEL;
    if whole < 4 * LABEL {
        return Ok(found);
    }
    for label in [0, LABEL, whole - 2 * LABEL, whole - LABEL] {
        let ring_at = start.saturating_add(label + LABEL / 2);
        for half in 0..2 {
            let at = ring_at.saturating_add(half * 64 * 1024);
            let ring = storage::read(storage, at, 64 * 1024)?;
            for (i, uberblock) in ring.chunks_exact(1024).enumerate() {
                let magic: Option<[u8; 8]> = array(uberblock, 0);
                if magic.is_some_and(|m| {
                    u64::from_le_bytes(m) == UBERBLOCK || u64::from_be_bytes(m) == UBERBLOCK
                }) {
                    found.push(Found {
                        offset: at.saturating_add(i as u64 * 1024),
                        len: 8,
                        what: "ZFS",
                    });
                }
            }
        }
    }
    Ok(found)
}

/// The label of the volume in a region: ISO 9660, FAT or ext; none when there is none. A config drive has `config-2`.
pub fn volume_label(storage: &dyn Storage, start: u64, len: u64) -> Result<Option<String>, Error> {
    const HEAD: u64 = 34 * 1024;
    let len = len.min(storage.size().saturating_sub(start)).min(HEAD);
    let head = storage::read(storage, start, usize::try_from(len).unwrap_or(0))?;
    let at = |offset: usize, len: usize| {
        head.get(offset..offset.saturating_add(len))
            .unwrap_or_default()
    };
    let bytes = if at(32769, 5) == b"CD001" {
        at(32808, 32)
    } else if at(82, 8) == b"FAT32   " {
        at(71, 11)
    } else if at(54, 3) == b"FAT" {
        at(43, 11)
    } else if le32(&head, 1080).is_some_and(|magic| magic & 0xffff == 0xef53) {
        at(1144, 16)
    } else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
