//! What makes an image bootable: El Torito's boot record and catalogue, and the table that tells a BIOS loader where it lies.

use crate::record::{Target, pad};
use crate::tree::{Contents, Tree};
use crate::{Error, SECTOR};

/// Platforms of boot entries (El Torito 2.1; UEFI 13.3.2.1).
const BIOS: u8 = 0;
const EFI: u8 = 0xef;
/// "Bootable", and what a section header says of the last section.
const BOOTABLE: u8 = 0x88;
const LAST_SECTION: u8 = 0x91;
/// Sectors of 512 bytes that a BIOS loads of its loader; the rest the loader loads by itself.
const LOADED: u16 = 4;
/// Where a BIOS loader finds the boot information table, and where the bytes begin that its checksum is of.
const TABLE: std::ops::Range<usize> = 8..64;

/// What is booted: paths of files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    pub bios: Option<String>,
    pub efi: Option<String>,
}

/// The descriptor that names the sector of the catalogue (El Torito 2.0, figure 7).
pub(crate) fn record(catalogue: u32) -> Vec<u8> {
    let mut record = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    record.resize(0x47, 0);
    record.extend(catalogue.to_le_bytes());
    pad(&mut record);
    record
}

fn entry(sectors: u16, at: Target) -> Vec<u8> {
    // no emulation, the usual segment, no system type
    let mut entry = vec![BOOTABLE, 0, 0, 0, 0, 0];
    entry.extend(sectors.to_le_bytes());
    entry.extend(at.extent.to_le_bytes());
    entry.resize(32, 0);
    entry
}

/// The first entry: it says for which platform the one behind it is, and that this is a catalogue at all.
fn validation(platform: u8) -> Vec<u8> {
    let mut entry = vec![1, platform, 0, 0];
    entry.extend(b"BESSEMER");
    entry.resize(30, 0);
    entry.extend([0x55, 0xaa]);
    let sum = entry
        .chunks_exact(2)
        .map(|pair| match pair {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        })
        .fold(0u16, u16::wrapping_add);
    let [low, high] = sum.wrapping_neg().to_le_bytes();
    if let Some(place) = entry.get_mut(28..30) {
        place.copy_from_slice(&[low, high]);
    }
    entry
}

impl Boot {
    pub fn is_some(&self) -> bool {
        self.bios.is_some() || self.efi.is_some()
    }

    /// The catalogue, a sector. The BIOS loader's table is filled in on the way.
    pub fn catalogue(&self, tree: &mut Tree, files: &[Target]) -> Result<Vec<u8>, Error> {
        let find = |tree: &Tree, path: &str| {
            let missing = || Error::NothingToBoot(path.to_owned());
            let index = tree.find(path).ok_or_else(missing)?;
            let target = files.get(index).copied().ok_or_else(missing)?;
            Ok((index, target))
        };
        let mut catalogue = Vec::new();
        if let Some(path) = &self.bios {
            let (index, target) = find(tree, path)?;
            match tree.files.get_mut(index) {
                Some(Contents::Bytes(bytes)) if bytes.len() > TABLE.end => {
                    fill_table(bytes, target);
                }
                _ => return Err(Error::NothingToBoot(path.clone())),
            }
            catalogue.extend(validation(BIOS));
            catalogue.extend(entry(LOADED, target));
        }
        if let Some(path) = &self.efi {
            let (_, target) = find(tree, path)?;
            // what does not fit into the number is all that there is
            let sectors = u16::try_from(target.len.div_ceil(512)).unwrap_or(0);
            if catalogue.is_empty() {
                catalogue.extend(validation(EFI));
            } else {
                let mut header = vec![LAST_SECTION, EFI, 1, 0];
                header.resize(32, 0);
                catalogue.extend(header);
            }
            catalogue.extend(entry(sectors, target));
        }
        catalogue.resize(SECTOR, 0);
        Ok(catalogue)
    }
}

/// ISOLINUX's boot information table, which GRUB's image reads too: the volume's descriptor, the file's place, length and
/// checksum.
fn fill_table(bytes: &mut [u8], at: Target) {
    let sum = bytes
        .get(TABLE.end..)
        .unwrap_or_default()
        .chunks(4)
        .map(|word| {
            let mut padded = [0; 4];
            for (to, from) in padded.iter_mut().zip(word) {
                *to = *from;
            }
            u32::from_le_bytes(padded)
        })
        .fold(0u32, u32::wrapping_add);
    let mut table: Vec<u8> = [16, at.extent, at.len, sum]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    table.resize(TABLE.len(), 0);
    if let Some(place) = bytes.get_mut(TABLE) {
        place.copy_from_slice(&table);
    }
}
