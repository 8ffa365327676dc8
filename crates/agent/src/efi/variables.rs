//! Boot entries in the firmware's variables, through efivarfs files.
//!
//! Specification: UEFI 2.10, sections 3.1.3 (load options), 3.3 (BootOrder, Boot####), 10.3.5 (media device paths).
//!
//! Must never remove an entry that it did not make or that does not point at the same partition and loader.

use std::path::{Path, PathBuf};

/// EFI_GLOBAL_VARIABLE.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, boot service access, runtime access.
const ATTRIBUTES: u32 = 7;
const LOAD_OPTION_ACTIVE: u32 = 1;
/// Variables are small; firmware refuses larger ones.
const MAX_VARIABLE: usize = 64 * 1024;

/// Where a loader is on a GPT disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTarget {
    /// From 1.
    pub partition: u32,
    /// In logical sectors.
    pub start_lba: u64,
    /// In logical sectors.
    pub sectors: u64,
    /// Unique GUID of the partition, as on disk.
    pub guid: [u8; 16],
    /// With backslashes.
    pub path: String,
}

/// Why the firmware's variables could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    #[error(
        "the firmware's variables are not there ({0}): the machine did not start by UEFI, or efivarfs is missing"
    )]
    Absent(PathBuf),
    #[error("the firmware variable {name} cannot be {action}: {source}")]
    Io {
        name: String,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("all 65,536 boot entries are in use")]
    Full,
}

/// A boot entry as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LoadOption {
    description: String,
    /// Partition and path when it is a file on a GPT partition.
    file: Option<([u8; 16], String)>,
}

/// The variables of one machine.
pub struct Variables {
    directory: PathBuf,
}

impl Variables {
    /// `directory` is where efivarfs is mounted.
    pub fn open(directory: &Path) -> Result<Self, VariableError> {
        // an unmounted mount point is an empty directory
        let mounted = std::fs::read_dir(directory).is_ok_and(|mut d| d.next().is_some());
        if !mounted {
            return Err(VariableError::Absent(directory.to_owned()));
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{GLOBAL}"))
    }

    /// Data without the attributes.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VariableError> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(
                bytes
                    .get(4..)
                    .filter(|data| data.len() <= MAX_VARIABLE)
                    .unwrap_or_default()
                    .to_vec(),
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VariableError::Io {
                name: name.to_owned(),
                action: "read",
                source,
            }),
        }
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<(), VariableError> {
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        bytes.extend_from_slice(data);
        // efivarfs wants everything in one write
        std::fs::write(self.path(name), &bytes).map_err(|source| VariableError::Io {
            name: name.to_owned(),
            action: "written",
            source,
        })
    }

    fn remove(&self, name: &str) -> Result<(), VariableError> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(VariableError::Io {
                name: name.to_owned(),
                action: "removed",
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Numbers of all boot entries there are.
    fn entries(&self) -> Result<Vec<u16>, VariableError> {
        let listing = std::fs::read_dir(&self.directory).map_err(|source| VariableError::Io {
            name: "Boot####".to_owned(),
            action: "listed",
            source,
        })?;
        let mut numbers: Vec<u16> = listing
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let digits = name
                    .strip_prefix("Boot")?
                    .strip_suffix(&format!("-{GLOBAL}"))?;
                (digits.len() == 4)
                    .then(|| u16::from_str_radix(digits, 16).ok())
                    .flatten()
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn boot_order(&self) -> Result<Vec<u16>, VariableError> {
        let bytes = self.read("BootOrder")?.unwrap_or_default();
        Ok(bytes
            .chunks_exact(2)
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .collect())
    }

    /// Makes the machine start `target` first. Entries of the same name, or for the same loader, are replaced. Gives a
    /// sentence that tells what was done.
    pub fn boot_first(&self, label: &str, target: &BootTarget) -> Result<String, VariableError> {
        let mut order = self.boot_order()?;
        let mut used = Vec::new();
        let mut removed = Vec::new();
        for number in self.entries()? {
            let name = format!("Boot{number:04X}");
            let option = self.read(&name)?.and_then(|data| parse_load_option(&data));
            let duplicate = option.is_some_and(|option| match option.file {
                Some((guid, path)) => {
                    option.description == label
                        || (guid == target.guid && path.eq_ignore_ascii_case(&target.path))
                }
                None => false,
            });
            if duplicate {
                self.remove(&name)?;
                order.retain(|n| *n != number);
                removed.push(name);
            } else {
                used.push(number);
            }
        }
        let number = (0..=u16::MAX)
            .find(|n| used.binary_search(n).is_err())
            .ok_or(VariableError::Full)?;
        let name = format!("Boot{number:04X}");
        self.write(&name, &encode_load_option(label, target))?;
        order.retain(|n| *n != number);
        order.insert(0, number);
        let bytes: Vec<u8> = order.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.write("BootOrder", &bytes)?;
        let replaced = if removed.is_empty() {
            String::new()
        } else {
            format!(", in place of {}", removed.join(", "))
        };
        Ok(format!(
            "boot entry {name} {label:?} starts {} on partition {}, first in the boot order{replaced}",
            target.path, target.partition
        ))
    }
}

fn utf16z(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain(std::iter::once(0))
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn encode_load_option(label: &str, target: &BootTarget) -> Vec<u8> {
    let mut paths = vec![4, 1, 42, 0];
    paths.extend(target.partition.to_le_bytes());
    paths.extend(target.start_lba.to_le_bytes());
    paths.extend(target.sectors.to_le_bytes());
    paths.extend(target.guid);
    // GPT, signature is a GUID
    paths.extend([2, 2]);
    let file = utf16z(&target.path);
    let length = u16::try_from(file.len().saturating_add(4)).unwrap_or(u16::MAX);
    paths.extend([4, 4]);
    paths.extend(length.to_le_bytes());
    paths.extend(file);
    paths.extend([0x7f, 0xff, 4, 0]);
    let mut option = LOAD_OPTION_ACTIVE.to_le_bytes().to_vec();
    option.extend(u16::try_from(paths.len()).unwrap_or(u16::MAX).to_le_bytes());
    option.extend(utf16z(label));
    option.extend(paths);
    option
}

fn text_until_zero(bytes: &[u8]) -> (String, usize) {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    (
        String::from_utf16_lossy(&units),
        units.len().saturating_mul(2).saturating_add(2),
    )
}

fn parse_load_option(data: &[u8]) -> Option<LoadOption> {
    let length = usize::from(u16::from_le_bytes(data.get(4..6)?.try_into().ok()?));
    let (description, used) = text_until_zero(data.get(6..)?);
    let start = used.checked_add(6)?;
    let mut paths = data.get(start..start.checked_add(length)?)?;
    let mut guid: Option<[u8; 16]> = None;
    let mut file: Option<String> = None;
    while let (Some(kind), Some(sub)) = (paths.first(), paths.get(1)) {
        let node = usize::from(u16::from_le_bytes(paths.get(2..4)?.try_into().ok()?));
        let body = paths.get(4..node)?;
        match (kind, sub) {
            (4, 1)
                // only GPT partitions have a GUID there
                if body.get(36..38) == Some(&[2, 2]) => {
                    guid = body.get(20..36).and_then(|g| g.try_into().ok());
                }
            (4, 4) => file = Some(text_until_zero(body).0),
            (0x7f, 0xff) => break,
            _ => {}
        }
        paths = paths.get(node..)?;
    }
    Some(LoadOption {
        description,
        file: guid.zip(file),
    })
}

/// Fuzz target: a boot entry as the firmware keeps it.
pub fn fuzz_load_option(data: &[u8]) {
    let _ = parse_load_option(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn target(guid: u8, path: &str) -> BootTarget {
        BootTarget {
            partition: 2,
            start_lba: 4096,
            sectors: 65536,
            guid: [guid; 16],
            path: path.to_owned(),
        }
    }

    #[test]
    fn first_in_order_and_no_duplicates() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            Variables::open(directory.path()),
            Err(VariableError::Absent(_))
        ));
        let put = |name: &str, data: &[u8]| {
            let mut bytes = vec![7, 0, 0, 0];
            bytes.extend_from_slice(data);
            std::fs::write(directory.path().join(format!("{name}-{GLOBAL}")), bytes).unwrap();
        };
        // a network entry (no file), an entry of the same loader, somebody else's disk entry
        put(
            "Boot0000",
            &[1, 0, 0, 0, 4, 0, 0x55, 0, 0, 0, 0x7f, 0xff, 4, 0],
        );
        put(
            "Boot0001",
            &encode_load_option("old", &target(9, "\\EFI\\BOOT\\bootx64.efi")),
        );
        put(
            "Boot0003",
            &encode_load_option("other", &target(1, "\\EFI\\x\\y.efi")),
        );
        put("BootOrder", &[3, 0, 1, 0, 0, 0]);
        let variables = Variables::open(directory.path()).unwrap();
        let wanted = target(9, "\\EFI\\BOOT\\BOOTX64.EFI");
        let sentence = variables.boot_first("bessemer", &wanted).unwrap();
        assert!(
            sentence.contains("Boot0001") && sentence.contains("first"),
            "{sentence}"
        );
        assert_eq!(variables.entries().unwrap(), [0, 1, 3]);
        assert_eq!(variables.boot_order().unwrap(), [1, 3, 0]);
        let option = parse_load_option(&variables.read("Boot0001").unwrap().unwrap()).unwrap();
        assert_eq!(option.description, "bessemer");
        assert_eq!(option.file, Some((wanted.guid, wanted.path.clone())));
        // again: the same state
        variables.boot_first("bessemer", &wanted).unwrap();
        assert_eq!(variables.boot_order().unwrap(), [1, 3, 0]);
    }

    #[test]
    fn mutated_entries_do_no_harm() {
        let sample = encode_load_option("bessemer", &target(9, "\\EFI\\BOOT\\BOOTX64.EFI"));
        let mut random: u32 = 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            usize::try_from(random).unwrap()
        };
        for _ in 0..5000 {
            let mut data = sample.clone();
            for _ in 0..=next() % 4 {
                let at = next() % data.len();
                data[at] = u8::try_from(next() & 0xff).unwrap();
            }
            data.truncate(next() % (data.len() + 1));
            fuzz_load_option(&data);
        }
    }
}
