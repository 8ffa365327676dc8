//! What a file is, by its first bytes. Names and file extensions prove nothing.
//!
//! Only recognises; the one exception is qcow2, whose header is checked here too, so that an image that wants other
//! files opened is refused before anybody could be tempted.

use crate::bytes_at::{has, le32};
use crate::{Error, Qcow2Header};

/// Bytes that [`inspect`] likes to see. ISO 9660 keeps its mark at 32 KiB; fewer bytes are fine when the file has no more.
pub const HEAD_LEN: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// None of the others: a file system, or zeroes.
    Raw,
    /// A whole disk with a classic partition table.
    Mbr,
    /// A whole disk with a GUID partition table.
    Gpt,
    Qcow2,
    /// Also a hybrid that carries a partition table.
    Iso,
    Vmdk,
    Vhd,
    Vhdx,
    Vdi,
    Qed,
    Luks,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Format {
    /// The name that `[conductor]permitted_image_formats` and `disk_format` use; upstream calls both kinds of
    /// partitioned disk `gpt`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Mbr | Format::Gpt => "gpt",
            Format::Qcow2 => "qcow2",
            Format::Iso => "iso",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
            Format::Vdi => "vdi",
            Format::Qed => "qed",
            Format::Luks => "luks",
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Xz => "xz",
            Format::Bzip2 => "bzip2",
        }
    }

    /// A compressed stream: the image is inside.
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Format::Gzip | Format::Zstd | Format::Xz | Format::Bzip2
        )
    }
}

/// Marks at fixed places: offset, bytes, format.
const MAGICS: &[(usize, &[u8], Format)] = &[
    (0, b"KDMV", Format::Vmdk),
    (0, b"COWD", Format::Vmdk),
    (0, b"# Disk DescriptorFile", Format::Vmdk),
    (0, b"conectix", Format::Vhd),
    (0, b"vhdxfile", Format::Vhdx),
    (0x40, b"\x7f\x10\xda\xbe", Format::Vdi),
    (0, b"QED\0", Format::Qed),
    (0, b"LUKS\xba\xbe", Format::Luks),
    (0, b"SKUL\xba\xbe", Format::Luks),
    (0, b"\x1f\x8b\x08", Format::Gzip),
    (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
    (0, b"\xfd7zXZ\0", Format::Xz),
    (0, b"BZh", Format::Bzip2),
    (0x8001, b"CD001", Format::Iso),
];

/// Names the format of a file whose first bytes are `head` ([`HEAD_LEN`] of them, or the whole file when it is shorter).
///
/// Errors: for a qcow2, what [`Qcow2Header::parse`] says ([`Error::Refused`], [`Error::Unsupported`],
/// [`Error::Malformed`]). A fixed-size VHD is recognised only by its end and counts as what its disk is.
pub fn inspect(head: &[u8]) -> Result<Format, Error> {
    if has(head, 0, Qcow2Header::MAGIC) {
        Qcow2Header::parse(head, None)?;
        return Ok(Format::Qcow2);
    }
    if let Some((_, _, format)) = MAGICS
        .iter()
        .find(|(offset, magic, _)| has(head, *offset, magic))
    {
        return Ok(*format);
    }
    Ok(partition_table(head).unwrap_or(Format::Raw))
}

fn partition_table(head: &[u8]) -> Option<Format> {
    if !has(head, 510, &[0x55, 0xaa]) {
        return None;
    }
    // a boot sector of a file system ends in the same two bytes: only a plausible table counts
    let mut used = 0;
    let mut protective = false;
    for entry in head.get(446..510)?.chunks_exact(16) {
        let (&flag, &kind) = (entry.first()?, entry.get(4)?);
        let (start, sectors) = (le32(entry, 8)?, le32(entry, 12)?);
        if kind == 0 {
            continue;
        }
        if !matches!(flag, 0 | 0x80) || sectors == 0 || (start == 0 && kind != 0xee) {
            return None;
        }
        used += 1;
        protective |= kind == 0xee;
    }
    let gpt = has(head, 512, b"EFI PART") || has(head, 4096, b"EFI PART");
    match (gpt && protective, used) {
        (true, _) => Some(Format::Gpt),
        (false, 0) => None,
        (false, _) => Some(Format::Mbr),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn check(name: &str, parts: &[(usize, &[u8])], expected: Format) {
        let len = parts
            .iter()
            .map(|(offset, bytes)| offset + bytes.len())
            .max()
            .unwrap_or(0);
        let mut head = vec![0; len];
        for (offset, bytes) in parts {
            head[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(inspect(&head).unwrap(), expected, "{name}");
    }

    #[test]
    fn formats_by_their_marks() {
        check("empty", &[], Format::Raw);
        check("text", &[(0, b"hello")], Format::Raw);
        check("vmdk", &[(0, b"KDMV\x01\0\0\0")], Format::Vmdk);
        check(
            "vmdk descriptor",
            &[(0, b"# Disk DescriptorFile\nversion=1")],
            Format::Vmdk,
        );
        check("vhd", &[(0, b"conectix")], Format::Vhd);
        check("vhdx", &[(0, b"vhdxfile")], Format::Vhdx);
        check("vdi", &[(0x40, b"\x7f\x10\xda\xbe")], Format::Vdi);
        check("qed", &[(0, b"QED\0")], Format::Qed);
        check("luks", &[(0, b"LUKS\xba\xbe\0\x02")], Format::Luks);
        check("gzip", &[(0, b"\x1f\x8b\x08\0")], Format::Gzip);
        check("zstd", &[(0, b"\x28\xb5\x2f\xfd\0")], Format::Zstd);
        check("xz", &[(0, b"\xfd7zXZ\0\0")], Format::Xz);
        check("iso", &[(0x8001, b"CD001")], Format::Iso);
        let linux = [0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        let protective = [
            0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
        ];
        check("mbr", &[(446, &linux), (510, b"\x55\xaa")], Format::Mbr);
        check(
            "hybrid iso",
            &[(446, &linux), (510, b"\x55\xaa"), (0x8001, b"CD001")],
            Format::Iso,
        );
        check(
            "gpt",
            &[(446, &protective), (510, b"\x55\xaa"), (512, b"EFI PART")],
            Format::Gpt,
        );
        check(
            "gpt, 4 KiB sectors",
            &[(446, &protective), (510, b"\x55\xaa"), (4096, b"EFI PART")],
            Format::Gpt,
        );
        check(
            "boot sector without a table",
            &[(510, b"\x55\xaa")],
            Format::Raw,
        );
        check(
            "boot sector whose code is no table",
            &[(446, &[0x41; 64]), (510, b"\x55\xaa")],
            Format::Raw,
        );
    }

    #[test]
    fn a_qcow2_that_ends_in_its_header_is_malformed() {
        assert!(matches!(
            inspect(b"QFI\xfb\0\0\0\x03"),
            Err(Error::Malformed { .. })
        ));
    }
}
