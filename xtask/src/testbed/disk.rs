//! A machine's disk seen from outside: filled with old data before its first boot, and looked at while it is off.
//!
//! The old data: a GPT with two partitions, a superblock of Linux' md (version 1.2, with a valid checksum) in the first, and a
//! marker where boot loaders live, in the gap before the first partition. Layout of the superblock: `include/uapi/linux/raid/md_p.h`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::Node;
use crate::process::{command, output};

/// What the marker says.
pub const MARKER: &[u8] = b"OLD-TENANT-DATA: this must not survive cleaning";
const MARKER_OFFSET: u64 = 512 * 64;
const FIRST_PARTITION: u64 = 1 << 20;
const MD_MAGIC: u32 = 0xa92b_4efc;
/// Version 1.2 keeps the superblock 4 KiB after the start of its device.
const MD_OFFSET: u64 = 4096;

/// Which pieces of old data a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldData {
    /// A GPT header at the disk's second sector.
    pub gpt: bool,
    /// A GPT header at the disk's last sector.
    pub backup_gpt: bool,
    /// The superblock that was written into the first partition.
    pub md_superblock: bool,
    pub marker: bool,
}

impl OldData {
    /// All of it.
    pub const ALL: OldData = OldData {
        gpt: true,
        backup_gpt: true,
        md_superblock: true,
        marker: true,
    };
    /// Nothing of it.
    pub const NONE: OldData = OldData {
        gpt: false,
        backup_gpt: false,
        md_superblock: false,
        marker: false,
    };
}

impl std::fmt::Display for OldData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |there| if there { "there" } else { "gone" };
        let (gpt, backup) = (word(self.gpt), word(self.backup_gpt));
        write!(
            f,
            "GPT {gpt}, backup GPT {backup}, md superblock {}, marker {}",
            word(self.md_superblock),
            word(self.marker)
        )
    }
}

/// Fills a machine's disk with all of the old data. The machine must be off.
pub fn fill_with_old_data(node: &Node) -> Result<()> {
    fill_with(node, OldData::ALL)
}

/// Fills a machine's disk with some of the old data; a GPT is two, or none. The machine must be off.
pub fn fill_with(node: &Node, what: OldData) -> Result<()> {
    let size = virtual_size(node)?;
    let raw = node.disk.with_extension("raw");
    let file = File::create(&raw)?;
    file.set_len(size)?;
    if what.gpt || what.backup_gpt {
        let mut sgdisk = command("sgdisk");
        sgdisk.args([
            "-n",
            "1:2048:+64M",
            "-t",
            "1:fd00",
            "-c",
            "1:old-raid",
            "-n",
            "2:0:0",
            "-t",
            "2:8300",
            "-c",
            "2:old-root",
        ]);
        output(sgdisk.arg(&raw))?;
    }
    if what.marker {
        write_at(&raw, MARKER_OFFSET, MARKER)?;
    }
    if what.md_superblock {
        write_at(&raw, FIRST_PARTITION + MD_OFFSET, &md_superblock(64 << 20))?;
    }
    output(
        command("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(&raw)
            .arg(&node.disk),
    )?;
    std::fs::remove_file(raw)?;
    Ok(())
}

/// Looks which pieces are on a machine's disk. The machine must be off.
pub fn look_for_old_data(node: &Node) -> Result<OldData> {
    let size = virtual_size(node)?;
    let raw = node.disk.with_extension("look");
    output(
        command("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .arg(&node.disk)
            .arg(&raw),
    )?;
    let found = (|| {
        anyhow::Ok(OldData {
            gpt: read_at(&raw, 512, 8)? == b"EFI PART",
            backup_gpt: read_at(&raw, size - 512, 8)? == b"EFI PART",
            md_superblock: read_at(&raw, FIRST_PARTITION + MD_OFFSET, 4)? == MD_MAGIC.to_le_bytes(),
            marker: read_at(&raw, MARKER_OFFSET, MARKER.len())? == MARKER,
        })
    })();
    std::fs::remove_file(&raw)?;
    found
}

/// Bytes of the disk as the machine sees it.
pub fn virtual_size(node: &Node) -> Result<u64> {
    let text = output(
        command("qemu-img")
            .args(["info", "--output=json", "-U"])
            .arg(&node.disk),
    )?;
    let info: serde_json::Value = serde_json::from_str(&text)?;
    info.get("virtual-size")
        .and_then(serde_json::Value::as_u64)
        .context("qemu-img tells no virtual-size")
}

fn md_superblock(partition: u64) -> Vec<u8> {
    let mut block = vec![0u8; 258];
    let mut put = |at: usize, data: &[u8]| {
        if let Some(place) = block.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
        }
    };
    let data_offset = 2048u64;
    put(0, &MD_MAGIC.to_le_bytes());
    put(4, &1u32.to_le_bytes()); // major version
    put(16, b"old-array-uuid-1");
    put(32, b"oldhost:0");
    put(72, &1u32.to_le_bytes()); // level: RAID 1
    put(80, &(partition / 512 - data_offset).to_le_bytes()); // size in sectors
    put(92, &1u32.to_le_bytes()); // raid_disks
    put(128, &data_offset.to_le_bytes());
    put(136, &(partition / 512 - data_offset).to_le_bytes()); // data_size
    put(144, &(MD_OFFSET / 512).to_le_bytes()); // super_offset
    put(168, b"old-device-uuid1");
    put(200, &1u64.to_le_bytes()); // events
    put(220, &1u32.to_le_bytes()); // max_dev
    let sum = block.chunks(4).fold(0u64, |sum, word| {
        let mut bytes = [0; 4];
        if let Some(place) = bytes.get_mut(..word.len()) {
            place.copy_from_slice(word);
        }
        sum + u64::from(u32::from_le_bytes(bytes))
    });
    let checksum = (sum & 0xffff_ffff) + (sum >> 32);
    if let Some(place) = block.get_mut(216..220) {
        place.copy_from_slice(&(checksum as u32).to_le_bytes());
    }
    block
}

fn write_at(path: &Path, offset: u64, data: &[u8]) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.write_all(data)?)
}

fn read_at(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut data = vec![0; length];
    file.read_exact(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// libblkid is the independent judge: it knows a partition table and a raid member when it sees one.
    #[test]
    fn others_recognise_the_old_data() {
        let superblock = tempfile::NamedTempFile::new().unwrap();
        superblock.as_file().set_len(64 << 20).unwrap();
        write_at(superblock.path(), MD_OFFSET, &md_superblock(64 << 20)).unwrap();
        let text = output(
            command("blkid")
                .args(["-p", "-o", "export"])
                .arg(superblock.path()),
        )
        .unwrap();
        assert!(
            text.contains("TYPE=linux_raid_member") && text.contains("VERSION=1.2"),
            "{text}"
        );
    }
}
