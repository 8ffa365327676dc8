//! The qcow2 header and its checks.

use crate::bytes_at::{be32, be64, has};
use crate::{Error, Refusal};

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Header extension: name of the external data file.
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
/// QEMU's own limit for the active L1 table.
const MAX_L1_BYTES: u64 = 32 * 1024 * 1024;
/// A name longer than this is not a file name.
const MAX_NAME: usize = 1023;

/// How compressed clusters of an image were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate, no zlib header.
    Deflate,
    Zstd,
}

/// A header that was found safe to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Header {
    /// 2 or 3.
    pub version: u32,
    /// Cluster size is `1 << cluster_bits` bytes; 9 to 21.
    pub cluster_bits: u32,
    /// Size of the disk in bytes.
    pub virtual_size: u64,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Byte offset of the active L1 table.
    pub l1_offset: u64,
    pub compression: Compression,
    /// L2 entries carry a bitmap of 32 subclusters.
    pub extended_l2: bool,
    /// Bytes of the header proper, without extensions.
    pub header_len: u32,
}

impl Qcow2Header {
    pub const MAGIC: &[u8] = b"QFI\xfb";

    /// Reads and checks a header. `head` is the beginning of the file; `file_size`, when it is known, lets tables beyond
    /// the end of the file be found.
    ///
    /// Errors: [`Error::Refused`] for what would mean opening another file or guessing (backing file, external data
    /// file, encryption, unknown incompatible features), [`Error::Unsupported`] for other versions and compressions,
    /// [`Error::Malformed`] for sizes that cannot be.
    pub fn parse(head: &[u8], file_size: Option<u64>) -> Result<Self, Error> {
        let short = || Error::malformed("the file ends within the qcow2 header");
        let u32_at = |offset| be32(head, offset).ok_or_else(short);
        let u64_at = |offset| be64(head, offset).ok_or_else(short);
        if !has(head, 0, Self::MAGIC) {
            return Err(Error::malformed("no qcow2 header"));
        }
        let version = u32_at(4)?;
        if !(2..=3).contains(&version) {
            return Err(Error::unsupported(format!("qcow2 version {version}")));
        }
        let (backing_offset, backing_len) = (u64_at(8)?, u32_at(16)?);
        if backing_offset != 0 {
            return Err(Error::Refused(Refusal::BackingFile(name_at(
                head,
                backing_offset,
                backing_len,
            ))));
        }
        let crypt_method = u32_at(32)?;
        if crypt_method != 0 {
            return Err(Error::Refused(Refusal::Encrypted(crypt_method)));
        }
        let (features, header_len) = match version {
            2 => (0, 72),
            _ => (u64_at(72)?, u32_at(100)?),
        };
        check_features(features, head, header_len)?;
        let cluster_bits = u32_at(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(Error::malformed(format!(
                "cluster bits {cluster_bits}, outside 9 to 21"
            )));
        }
        let extended_l2 = features & EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < 14 {
            return Err(Error::malformed(
                "subclusters need clusters of at least 16 KiB",
            ));
        }
        if version == 3 && (header_len < 104 || u64::from(header_len) > 1 << cluster_bits) {
            return Err(Error::malformed(format!("header length {header_len}")));
        }
        let header = Qcow2Header {
            version,
            cluster_bits,
            virtual_size: u64_at(24)?,
            l1_entries: u32_at(36)?,
            l1_offset: u64_at(40)?,
            compression: compression(head, features, header_len)?,
            extended_l2,
            header_len,
        };
        header.check_tables(head, file_size)?;
        Ok(header)
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of one L2 table.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size() / if self.extended_l2 { 16 } else { 8 }
    }

    /// Guest bytes that one L1 entry covers.
    pub fn l2_coverage(&self) -> u64 {
        // at most 2^21 * 2^18
        self.cluster_size() * self.l2_entries()
    }

    /// L1 entries that the virtual size needs.
    pub fn l1_needed(&self) -> u64 {
        self.virtual_size.div_ceil(self.l2_coverage())
    }

    fn check_tables(&self, head: &[u8], file_size: Option<u64>) -> Result<(), Error> {
        if self.virtual_size > i64::MAX as u64 {
            return Err(Error::malformed(format!(
                "virtual size {}",
                self.virtual_size
            )));
        }
        let l1_bytes = u64::from(self.l1_entries) * 8;
        if l1_bytes > MAX_L1_BYTES {
            return Err(Error::malformed(format!(
                "an L1 table of {} entries",
                self.l1_entries
            )));
        }
        if u64::from(self.l1_entries) < self.l1_needed() {
            return Err(Error::malformed(format!(
                "{} L1 entries cannot cover a disk of {} bytes",
                self.l1_entries, self.virtual_size
            )));
        }
        let short = || Error::malformed("the file ends within the qcow2 header");
        let refcount_offset = be64(head, 48).ok_or_else(short)?;
        let refcount_bytes = u64::from(be32(head, 56).ok_or_else(short)?) << self.cluster_bits;
        for (what, offset, len) in [
            ("L1 table", self.l1_offset, l1_bytes),
            ("refcount table", refcount_offset, refcount_bytes),
        ] {
            if len != 0 && (offset == 0 || offset & (self.cluster_size() - 1) != 0) {
                return Err(Error::malformed(format!(
                    "the {what} at byte {offset} is not at a cluster"
                )));
            }
            let end = offset
                .checked_add(len)
                .ok_or_else(|| Error::malformed(format!("{what} at byte {offset}")))?;
            match file_size {
                Some(size) if end > size => {
                    return Err(Error::Length {
                        expected: end,
                        received: size,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_features(features: u64, head: &[u8], header_len: u32) -> Result<(), Error> {
    if features & EXTERNAL_DATA != 0 {
        return Err(Error::Refused(Refusal::ExternalDataFile(data_file_name(
            head, header_len,
        ))));
    }
    let unknown = features & !(DIRTY | CORRUPT | COMPRESSION | EXTENDED_L2);
    if unknown != 0 {
        return Err(Error::Refused(Refusal::UnknownFeatures(unknown)));
    }
    // dirty only says that refcounts may be stale, and those are not used here
    if features & CORRUPT != 0 {
        return Err(Error::Refused(Refusal::MarkedCorrupt));
    }
    Ok(())
}

fn compression(head: &[u8], features: u64, header_len: u32) -> Result<Compression, Error> {
    let kind = match header_len {
        0..=104 => 0,
        _ => *head
            .get(104)
            .ok_or_else(|| Error::malformed("the file ends within the qcow2 header"))?,
    };
    match (kind, features & COMPRESSION != 0) {
        (0, false) => Ok(Compression::Deflate),
        (1, true) => Ok(Compression::Zstd),
        (0, true) | (_, false) => Err(Error::malformed(format!(
            "compression type {kind} against its feature bit"
        ))),
        (_, true) => Err(Error::unsupported(format!("qcow2 compression type {kind}"))),
    }
}

/// A name for a sentence: printable, bounded, never used to open anything.
fn name_at(head: &[u8], offset: u64, len: u32) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_NAME);
    let bytes = start
        .checked_add(len)
        .and_then(|end| head.get(start..end))
        .unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

fn data_file_name(head: &[u8], header_len: u32) -> String {
    let mut at = u64::from(header_len);
    while let Some((kind, len)) = usize::try_from(at)
        .ok()
        .and_then(|at| Some((be32(head, at)?, be32(head, at.checked_add(4)?)?)))
    {
        match kind {
            0 => break,
            EXTENSION_DATA_FILE => return name_at(head, at + 8, len),
            _ => at += 8 + u64::from(len).next_multiple_of(8),
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn valid() -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(Qcow2Header::MAGIC);
        for (offset, value) in [(4, 3u32), (20, 16), (36, 1), (56, 1), (96, 4), (100, 112)] {
            head[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        }
        for (offset, value) in [(24, 1u64 << 20), (40, 0x30000), (48, 0x10000)] {
            head[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
        }
        head
    }

    fn check(what: &str, changes: &[(usize, &[u8])], expected: &str) {
        let mut head = valid();
        for (offset, bytes) in changes {
            head[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let got = match Qcow2Header::parse(&head, Some(0x40000)) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{what}");
    }

    #[test]
    fn each_refusal_says_what_it_found() {
        check("valid", &[], "fine");
        check("dirty", &[(79, &[1])], "fine");
        check(
            "version",
            &[(7, &[1])],
            "image format is not supported: qcow2 version 1",
        );
        check(
            "backing file",
            &[(14, &[1, 0]), (16, &[0, 0, 0, 11]), (256, b"/etc/shadow")],
            "image refused: it is an overlay of the backing file \"/etc/shadow\"; flatten it first (qemu-img convert)",
        );
        check(
            "external data file",
            &[(79, &[4]), (112, b"DATA\0\0\0\x08/dev/sdb\0\0\0\0")],
            "image refused: it keeps its data in the external file \"/dev/sdb\"; convert it to a self-contained image",
        );
        check(
            "luks",
            &[(35, &[2])],
            "image refused: it is encrypted (method 2)",
        );
        check(
            "corrupt",
            &[(79, &[2])],
            "image refused: it is marked corrupt; repair it first (qemu-img check -r)",
        );
        check(
            "unknown feature",
            &[(72, &[0x80])],
            "image refused: it needs features that are not known here (incompatible feature bits 0x8000000000000000)",
        );
        check(
            "cluster bits",
            &[(23, &[22])],
            "image is malformed: cluster bits 22, outside 9 to 21",
        );
        check(
            "cluster bits",
            &[(23, &[8])],
            "image is malformed: cluster bits 8, outside 9 to 21",
        );
        check(
            "header length",
            &[(103, &[96])],
            "image is malformed: header length 96",
        );
        check(
            "L1 too big",
            &[(36, &[0xff; 4])],
            "image is malformed: an L1 table of 4294967295 entries",
        );
        check(
            "L1 misplaced",
            &[(47, &[1])],
            "image is malformed: the L1 table at byte 196609 is not at a cluster",
        );
        check(
            "L1 beyond the file",
            &[(45, &[4])],
            "image is incomplete or changed: 262152 bytes expected, 262144 received",
        );
        check(
            "L1 too small",
            &[(24, &[0, 0, 1, 0])],
            "image is malformed: 1 L1 entries cannot cover a disk of 1099512676352 bytes",
        );
        check(
            "virtual size",
            &[(24, &[0xff; 8])],
            "image is malformed: virtual size 18446744073709551615",
        );
        check(
            "compression",
            &[(79, &[8]), (104, &[9])],
            "image format is not supported: qcow2 compression type 9",
        );
        check(
            "compression without its feature",
            &[(104, &[1])],
            "image is malformed: compression type 1 against its feature bit",
        );
        check(
            "small subclusters",
            &[(79, &[16]), (23, &[13])],
            "image is malformed: subclusters need clusters of at least 16 KiB",
        );
    }

    #[test]
    fn any_prefix_is_an_error_and_no_panic() {
        let head = valid();
        for len in 0..105 {
            assert!(Qcow2Header::parse(&head[..len], None).is_err(), "{len}");
        }
    }
}
