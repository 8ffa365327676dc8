//! The `newc` cpio format, written and read: the form of an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst
//! of the Linux kernel).
//!
//! The writer is deterministic: entries sorted by path, inode numbers counted, every time stamp 0, owner 0:0. It must never
//! follow the build machine's file attributes.

use std::collections::BTreeMap;

use crate::Error;

const MAGIC: &[u8; 6] = b"070701";
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFMT: u32 = 0o170_000;

/// What one path of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory with its permission bits.
    Directory { mode: u32 },
    /// A regular file with its permission bits and content.
    File { mode: u32, data: Vec<u8> },
    /// A symbolic link.
    Symlink { target: String },
    /// A character device.
    Character { mode: u32, major: u32, minor: u32 },
}

/// A tree that becomes an initramfs. Paths are relative, without a leading slash.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds or replaces an entry; missing parent directories are added with mode 0755.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        let mut at = 0;
        while let Some(next) = path.get(at..).and_then(|rest| rest.find('/')) {
            at += next;
            if let Some(parent) = path.get(..at) {
                self.entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Directory { mode: 0o755 });
            }
            at += 1;
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        let data = data.into();
        self.insert(path, Entry::File { mode, data });
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, Entry::Directory { mode });
    }

    /// The entries in archive order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// One entry by path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The archive's bytes, uncompressed, padded to 512.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut inode = 0;
        for (path, entry) in &self.entries {
            inode += 1;
            let (mode, links, device, data): (u32, u32, (u32, u32), &[u8]) = match entry {
                Entry::Directory { mode } => (S_IFDIR | mode, 2, (0, 0), &[]),
                Entry::File { mode, data } => (S_IFREG | mode, 1, (0, 0), data),
                Entry::Symlink { target } => (S_IFLNK | 0o777, 1, (0, 0), target.as_bytes()),
                Entry::Character { mode, major, minor } => {
                    (S_IFCHR | mode, 1, (*major, *minor), &[])
                }
            };
            record(&mut out, path, inode, mode, links, device, data);
        }
        record(&mut out, TRAILER, 0, 0, 1, (0, 0), &[]);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    /// Reads an uncompressed archive.
    pub fn from_bytes(data: &[u8]) -> Result<Archive, Error> {
        let mut archive = Archive::default();
        let mut at = 0usize;
        loop {
            let bad = |why| Error::Archive { offset: at, why };
            let header = data
                .get(at..at.saturating_add(HEADER))
                .ok_or_else(|| bad("it ends inside a header"))?;
            if header.get(..6) != Some(MAGIC) {
                return Err(bad("no newc magic"));
            }
            let field = |index: usize| -> Result<u32, Error> {
                let start = 6 + index * 8;
                header
                    .get(start..start + 8)
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| bad("a header field is not hexadecimal"))
            };
            let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
            let (major, minor) = (field(9)?, field(10)?);
            let name_at = at + HEADER;
            let name_end = name_at
                .checked_add(name_size)
                .ok_or_else(|| bad("the name is too long"))?;
            let name = data
                .get(name_at..name_end.saturating_sub(1))
                .and_then(|name| std::str::from_utf8(name).ok())
                .ok_or_else(|| bad("the name is not text or is cut off"))?;
            if name == TRAILER {
                return Ok(archive);
            }
            let body_at = name_end.next_multiple_of(4);
            let body_end = body_at
                .checked_add(size)
                .ok_or_else(|| bad("the file is too long"))?;
            let body = data
                .get(body_at..body_end)
                .ok_or_else(|| bad("the file is cut off"))?;
            let permissions = mode & 0o7777;
            let entry = match mode & S_IFMT {
                S_IFDIR => Entry::Directory { mode: permissions },
                S_IFREG => Entry::File {
                    mode: permissions,
                    data: body.to_vec(),
                },
                S_IFLNK => Entry::Symlink {
                    target: String::from_utf8(body.to_vec())
                        .map_err(|_| bad("a link's target is not text"))?,
                },
                S_IFCHR => Entry::Character {
                    mode: permissions,
                    major,
                    minor,
                },
                _ => return Err(bad("an entry of a kind that this reader does not know")),
            };
            archive.entries.insert(name.to_owned(), entry);
            at = body_end.next_multiple_of(4);
        }
    }
}

fn record(
    out: &mut Vec<u8>,
    path: &str,
    inode: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
    data: &[u8],
) {
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [
        inode,
        mode,
        0,
        0,
        links,
        0,
        data.len() as u32,
        0,
        0,
        device.0,
        device.1,
        path.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(MAGIC);
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    pub(crate) fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"program".to_vec());
        archive.file("etc/a/b", 0o644, vec![7; 1001]);
        archive.directory("proc", 0o555);
        archive.insert(
            "dev/console",
            Entry::Character {
                mode: 0o600,
                major: 5,
                minor: 1,
            },
        );
        archive.insert(
            "bin",
            Entry::Symlink {
                target: "usr/bin".into(),
            },
        );
        archive
    }

    #[test]
    fn what_is_written_is_read_back() {
        let archive = sample();
        assert_eq!(Archive::from_bytes(&archive.to_bytes()).unwrap(), archive);
        assert_eq!(
            archive.get("etc/a"),
            Some(&Entry::Directory { mode: 0o755 })
        );
        assert_eq!(archive.to_bytes().len() % 512, 0);
    }

    #[test]
    fn order_of_insertion_does_not_matter() {
        let mut other = Archive::default();
        let archive = sample();
        for (path, entry) in archive.entries().collect::<Vec<_>>().into_iter().rev() {
            other.insert(path, entry.clone());
        }
        assert_eq!(other.to_bytes(), archive.to_bytes());
    }

    #[test]
    fn damage_is_refused() {
        let bytes = sample().to_bytes();
        let check = |data: &[u8], expected: &str| {
            let error = Archive::from_bytes(data).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&bytes[..50], "ends inside a header");
        check(b"", "ends inside a header");
        let mut magic = bytes.clone();
        magic[0] = b'9';
        check(&magic, "no newc magic");
        let mut field = bytes.clone();
        field[14] = b'x';
        check(&field, "not hexadecimal");
        let last_header = bytes.windows(6).rposition(|w| w == MAGIC).unwrap();
        check(&bytes[..last_header], "ends inside a header");
    }
}
