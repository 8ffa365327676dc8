//! Boot from a virtual CD: the BMC reads parts of the image as firmware and boot loader ask for them.
//!
//! What is looked at is what real firmware needs: El Torito's record and catalogue (El Torito 1.0; UEFI 13.3.2.1), a loader
//! where the catalogue points, and the loader's configuration, GRUB's or ISOLINUX's, in the ISO 9660 tree (ECMA-119).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use url::Url;

use super::fetch::Fetcher;
use super::ipxe::kernel_parameters;
use crate::host::{Firmware, Host, Stage};

const SECTOR: u64 = 2048;
/// Descriptors begin there, and there are never more than this.
const DESCRIPTORS: (u64, usize) = (16, 16);
/// A folder, or a loader's configuration, is never larger.
const MAX_PART: u32 = 1 << 20;

/// Where something lies: first sector and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sector: u32,
    bytes: u32,
    folder: bool,
}

/// What a loader starts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kernel: String,
    initrd: String,
    arguments: String,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

/// The root folder and the sector of the boot catalogue, out of the volume's descriptors.
fn descriptors(bytes: &[u8]) -> Result<(Place, u32), &'static str> {
    let mut root = None;
    let mut catalogue = None;
    for descriptor in bytes.chunks(2048) {
        if descriptor.get(1..6) != Some(&b"CD001"[..]) {
            return Err("this is no ISO 9660 image");
        }
        match descriptor.first() {
            Some(0) if descriptor.get(7..30) == Some(&b"EL TORITO SPECIFICATION"[..]) => {
                catalogue = word(descriptor, 0x47);
            }
            Some(1) => root = record(descriptor.get(156..190).unwrap_or_default()).map(|(_, p)| p),
            Some(255) => break,
            _ => {}
        }
    }
    let root = root.ok_or("the image has no root folder")?;
    Ok((root, catalogue.ok_or("the image is not bootable")?))
}

/// The first sector of what this firmware starts.
fn catalogue(bytes: &[u8], firmware: Firmware) -> Result<u32, &'static str> {
    let validation = bytes.get(..32).ok_or("the boot catalogue is too short")?;
    let sum = validation
        .chunks_exact(2)
        .filter_map(|pair| number(pair, 0).map(u16::from_le_bytes))
        .fold(0u16, u16::wrapping_add);
    let [platform, ..] = number::<1>(validation, 1).ok_or("the boot catalogue is too short")?;
    if validation.first() != Some(&1) || sum != 0 || validation.get(30..) != Some(&[0x55, 0xaa][..])
    {
        return Err("the boot catalogue is damaged");
    }
    let wanted = match firmware {
        Firmware::Bios => 0,
        Firmware::Uefi => 0xef,
    };
    let mut platform = platform;
    for entry in bytes.get(32..).unwrap_or_default().chunks_exact(32) {
        match entry {
            [0x90 | 0x91, of, ..] => platform = *of,
            [0x88, 0, ..] if platform == wanted => {
                return word(entry, 8).ok_or("the boot catalogue is too short");
            }
            [0, ..] => break,
            _ => {}
        }
    }
    Err("the image has nothing for this kind of firmware")
}

/// A directory record: the name (Rock Ridge's where there is one) and what it is of.
fn record(bytes: &[u8]) -> Option<(String, Place)> {
    let place = Place {
        sector: word(bytes, 2)?,
        bytes: word(bytes, 10)?,
        folder: bytes.get(25)? & 2 != 0,
    };
    let length = usize::from(*bytes.get(32)?);
    let identifier = bytes.get(33..33 + length)?;
    let mut name = String::from_utf8_lossy(identifier).into_owned();
    if let Some((plain, _)) = name.split_once(';') {
        name = plain.trim_end_matches('.').to_owned();
    }
    // fields of system use follow, at an even place
    let mut rest = bytes.get(33 + length + usize::from(length.is_multiple_of(2))..)?;
    while let Some([a, b]) = number::<2>(rest, 0) {
        let Some(length) = rest.get(2).map(|l| usize::from(*l)).filter(|l| *l >= 4) else {
            break;
        };
        if (a, b) == (b'N', b'M')
            && let Some(text) = rest.get(5..length)
        {
            name = String::from_utf8_lossy(text).into_owned();
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Some((name, place))
}

/// What is in a folder.
fn records(bytes: &[u8]) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    for sector in bytes.chunks(2048) {
        let mut rest = sector;
        while let Some(length) = rest.first().map(|l| usize::from(*l)).filter(|l| *l > 33) {
            found.extend(rest.get(..length).and_then(record));
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    found
}

/// The first entry of GRUB's menu.
fn grub(text: &str) -> Option<Entry> {
    let of = |word: &str| {
        text.lines().find_map(|line| {
            let rest = line.trim_start().strip_prefix(word)?;
            rest.starts_with(' ').then(|| rest.trim().to_owned())
        })
    };
    let line = of("linux").or_else(|| of("linuxefi"))?;
    let (kernel, arguments) = line.split_once(' ').unwrap_or((&line, ""));
    // what is escaped for GRUB is meant for the kernel
    let mut plain = String::new();
    let mut escaped = false;
    for c in arguments.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(c);
    }
    Some(Entry {
        kernel: kernel.to_owned(),
        initrd: of("initrd").or_else(|| of("initrdefi"))?,
        arguments: plain,
    })
}

/// The entry that ISOLINUX starts.
fn isolinux(text: &str) -> Option<Entry> {
    let of = |word: &str| {
        text.lines().find_map(|line| {
            let (first, rest) = line.trim().split_once(' ')?;
            first
                .eq_ignore_ascii_case(word)
                .then(|| rest.trim().to_owned())
        })
    };
    let append = of("append")?;
    let (initrd, arguments): (Vec<&str>, Vec<&str>) = append
        .split(' ')
        .partition(|word| word.starts_with("initrd="));
    Some(Entry {
        kernel: of("kernel")?,
        initrd: initrd.first()?.strip_prefix("initrd=")?.to_owned(),
        arguments: arguments.join(" "),
    })
}

struct Disc<'a> {
    host: &'a Host,
    fetcher: &'a Fetcher,
    url: &'a Url,
}

impl Disc<'_> {
    async fn read(&self, sector: u32, bytes: usize) -> Result<Vec<u8>, String> {
        let first = u64::from(sector) * SECTOR;
        self.fetcher
            .part(self.host, self.url, first, bytes)
            .await
            .map_err(|error| error.to_string())
    }

    async fn whole(&self, place: Place) -> Result<Vec<u8>, String> {
        let size = place.bytes.min(MAX_PART);
        self.read(place.sector, usize::try_from(size).unwrap_or(0))
            .await
    }

    /// The file at a path; names are compared as ISOLINUX does, without their case.
    async fn find(&self, root: Place, path: &str) -> Result<Option<Place>, String> {
        let mut at = root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !at.folder {
                return Ok(None);
            }
            let inside = records(&self.whole(at).await?);
            let found = inside
                .into_iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            match found {
                Some((_, place)) => at = place,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    async fn text(&self, root: Place, paths: &[&str]) -> Result<String, String> {
        for path in paths {
            if let Some(place) = self.find(root, path).await? {
                let bytes = self.whole(place).await?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Err(format!("the image has none of {}", paths.join(", ")))
    }
}

/// Starts what is on the disc: the kernel's parameters.
///
/// # Errors
/// A sentence: why it does not boot.
pub async fn boot(
    host: &Arc<Host>,
    boot: u64,
    fetcher: &Fetcher,
    url: &Url,
) -> Result<BTreeMap<String, String>, String> {
    let disc = Disc { host, fetcher, url };
    let (first, count) = DESCRIPTORS;
    let sectors = count * 2048;
    let bytes = disc
        .read(u32::try_from(first).unwrap_or(0), sectors)
        .await?;
    let (root, place) = descriptors(&bytes)?;
    let loader = catalogue(&disc.read(place, 2048).await?, host.facts.firmware)?;
    let loader = disc.read(loader, 512).await?;
    let entry = match host.facts.firmware {
        Firmware::Uefi => {
            if loader.get(510..512) != Some(&[0x55, 0xaa][..]) {
                return Err("what the catalogue names for UEFI is no EFI partition".to_owned());
            }
            let paths = ["boot/grub/grub.cfg", "EFI/BOOT/grub.cfg"];
            grub(&disc.text(root, &paths).await?)
        }
        Firmware::Bios => {
            // where the loader finds itself
            if word(&loader, 8) != Some(16) {
                return Err("the BIOS loader has no boot information table".to_owned());
            }
            isolinux(&disc.text(root, &["isolinux/isolinux.cfg"]).await?)
        }
    };
    let entry = entry.ok_or("the loader's configuration starts nothing")?;
    for path in [&entry.kernel, &entry.initrd] {
        let file = disc.find(root, path).await?;
        let file = file.ok_or_else(|| format!("the image has no {path}"))?;
        let end = u64::from(file.sector) * SECTOR + u64::from(file.bytes);
        fetcher
            .count(host, url, u64::from(file.sector) * SECTOR, end)
            .await
            .map_err(|error| error.to_string())?;
    }
    host.live(boot, |state| {
        state.stage = Stage::Ramdisk;
        host.log(
            "kernel_started",
            json!({"kernel": entry.kernel, "initrds": [entry.initrd], "from": "cd"}),
        );
    });
    Ok(kernel_parameters(&entry.arguments))
}

/// Fuzz target: everything that is read of a disc.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = descriptors(data);
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let _ = catalogue(data, firmware);
    }
    let _ = records(data);
    let text = String::from_utf8_lossy(data);
    let _ = (grub(&text), isolinux(&text));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn loaders_configurations() {
        let entry = |arguments: &str| {
            Some(Entry {
                kernel: "/vmlinuz".into(),
                initrd: "/initrd".into(),
                arguments: arguments.into(),
            })
        };
        let text =
            "set timeout=0\nmenuentry \"x\" {\n  linux /vmlinuz a=1 b=\\$c\n  initrd /initrd\n}\n";
        assert_eq!(grub(text), entry("a=1 b=$c"));
        assert_eq!(grub("linux /vmlinuz"), None);
        let text = "DEFAULT x\nLABEL x\n  KERNEL /vmlinuz\n  APPEND initrd=/initrd a=1 b\n";
        assert_eq!(isolinux(text), entry("a=1 b"));
        assert_eq!(isolinux("LABEL x"), None);
    }

    #[test]
    fn damaged_discs() {
        assert_eq!(descriptors(&[0; 4096]), Err("this is no ISO 9660 image"));
        assert_eq!(
            catalogue(&[0; 2048], Firmware::Uefi),
            Err("the boot catalogue is damaged")
        );
        assert!(records(&[255; 2048]).len() < 9);
    }
}
