//! Making a written whole-disk image boot under UEFI: which loader its EFI system partition holds, and a boot entry for it.
//!
//! Everything is done by hand (a small FAT reader, efivarfs files), so that the ramdisk needs neither file system
//! modules nor efibootmgr. Specification: UEFI 2.10, sections 3.1 (boot manager), 3.5 (removable media paths).

pub mod fat;
pub mod variables;

use fat::{Entry, Fat, FatError, ReadAt};

/// A loader found on an EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// With backslashes, from the root of the partition.
    pub path: String,
    /// Description of the boot entry.
    pub label: String,
}

/// Description of entries whose loader has no name of its own.
const DEFAULT_LABEL: &str = "bessemer";
/// CSV files are a line; anything longer is not one.
const MAX_CSV: usize = 4096;

/// The suffix in `BOOT….EFI` for this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "aa64",
        "riscv64" => "riscv64",
        _ => "x64",
    }
}

/// The loader that should start: what a distribution's CSV file names, else the removable-media loader, else a vendor's.
pub fn find_loader<R: ReadAt>(fat: &Fat<R>) -> Result<Option<Loader>, FatError> {
    let Some(efi) = fat
        .root()?
        .into_iter()
        .find(|e| e.directory && e.name.eq_ignore_ascii_case("EFI"))
    else {
        return Ok(None);
    };
    let mut vendors: Vec<(String, Vec<Entry>)> = Vec::new();
    for vendor in fat.list(&efi)?.into_iter().filter(|e| e.directory) {
        let files = fat.list(&vendor)?;
        vendors.push((format!("\\{}\\{}", efi.name, vendor.name), files));
    }
    let arch = architecture();
    let csv_names = [format!("boot{arch}.csv"), "boot.csv".to_owned()];
    for (directory, files) in &vendors {
        for csv in files
            .iter()
            .filter(|f| csv_names.iter().any(|n| f.name.eq_ignore_ascii_case(n)))
        {
            let Some((file, label)) = parse_csv(&fat.read(csv, MAX_CSV)?) else {
                continue;
            };
            if let Some(loader) = files.iter().find(|f| f.name.eq_ignore_ascii_case(&file)) {
                return Ok(Some(Loader {
                    path: format!("{directory}\\{}", loader.name),
                    label: if label.is_empty() {
                        DEFAULT_LABEL.to_owned()
                    } else {
                        label
                    },
                }));
            }
        }
    }
    let wanted = [
        format!("boot{arch}.efi"),
        format!("shim{arch}.efi"),
        format!("grub{arch}.efi"),
        "bootmgfw.efi".to_owned(),
        "winload.efi".to_owned(),
    ];
    for name in &wanted {
        for (directory, files) in &vendors {
            if let Some(file) = files
                .iter()
                .find(|f| !f.directory && f.name.eq_ignore_ascii_case(name))
            {
                let vendor = directory.rsplit('\\').next().unwrap_or_default();
                let label = if vendor.eq_ignore_ascii_case("BOOT") {
                    DEFAULT_LABEL
                } else {
                    vendor
                };
                return Ok(Some(Loader {
                    path: format!("{directory}\\{}", file.name),
                    label: label.to_owned(),
                }));
            }
        }
    }
    Ok(None)
}

/// `file,label,arguments,comment` in UTF-16 (shim's fallback format); gives file and label.
fn parse_csv(bytes: &[u8]) -> Option<(String, String)> {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .skip_while(|unit| *unit == 0xfeff)
        .collect();
    let text = String::from_utf16(&units).ok()?;
    let mut fields = text.lines().next()?.split(',');
    let file = fields.next()?.trim().to_owned();
    let label: String = fields
        .next()?
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(60)
        .collect();
    (!file.is_empty() && !file.contains(['\\', '/'])).then_some((file, label))
}

/// Fuzz target: an EFI system partition.
pub fn fuzz_esp(data: &[u8]) {
    if let Ok(fat) = Fat::open(data.to_vec()) {
        let _ = find_loader(&fat);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn csv() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        for (bytes, expected) in [
            (
                utf16("\u{feff}shimx64.efi,debian,,This is the boot entry\n"),
                Some(("shimx64.efi", "debian")),
            ),
            (utf16("a.efi,b"), Some(("a.efi", "b"))),
            (utf16("..\\a.efi,b"), None),
            (utf16("only"), None),
            (vec![0xff], None),
            (vec![0x00, 0xd8, 0x2c, 0x00], None),
        ] {
            let found = parse_csv(&bytes);
            assert_eq!(
                found.as_ref().map(|(a, b)| (a.as_str(), b.as_str())),
                expected
            );
        }
    }
}
