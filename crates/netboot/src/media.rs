//! Images for virtual media, made while they are sent: the ISO's own bytes in memory, kernel, ramdisk and EFI partition out of
//! their files. None is ever a file itself, so none is left behind.
//!
//! What boots: a BIOS starts ISOLINUX, UEFI firmware the loader in the EFI partition, which reads `boot/grub/grub.cfg` or
//! `EFI/BOOT/grub.cfg`. The volume's name is the one that upstream's agent looks for.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use bessemer_iso::{Builder, Layout, Source};

use crate::directory::MediaBoot;
use crate::files::local_path;
use crate::settings::LoaderSettings;

/// Volume names: with a configuration of the network inside, and without (upstream's agent copies from either).
const PLAIN: &str = "VMEDIA_BOOT_ISO";
const WITH_CONFIGURATION: &str = "config-2";
const ISOLINUX: &str = "isolinux/isolinux.bin";
const ESP: &str = "boot/grub/efiboot.img";
/// A loader for a BIOS is never larger.
const MAX_LOADER: u64 = 4 << 20;

/// An image: its parts, and the files that they are of.
#[derive(Debug)]
pub(crate) struct Media {
    layout: Layout,
    files: Vec<File>,
    tag: String,
}

impl Media {
    pub(crate) fn len(&self) -> u64 {
        self.layout.len()
    }

    /// The entity tag: the same parts of the same files have the same.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// At most so many bytes from an offset on; none only behind the end, or where a file became shorter.
    pub(crate) fn read_at(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let pieces = self.layout.pieces();
        let behind = pieces.partition_point(|piece| piece.offset <= offset);
        let Some(piece) = behind.checked_sub(1).and_then(|at| pieces.get(at)) else {
            return Ok(Vec::new());
        };
        let within = offset.saturating_sub(piece.offset);
        let left = usize::try_from(piece.len.saturating_sub(within)).unwrap_or(size);
        let size = size.min(left);
        match &piece.source {
            Source::Bytes(bytes) => {
                let at = usize::try_from(within).unwrap_or(usize::MAX);
                let part = bytes.get(at..).unwrap_or_default();
                Ok(part.get(..size).unwrap_or(part).to_vec())
            }
            Source::Outside(number) => {
                let file = self.files.get(*number).ok_or(io::ErrorKind::NotFound)?;
                let mut buffer = vec![0; size];
                let count = file.read_at(&mut buffer, within)?;
                buffer.truncate(count);
                Ok(buffer)
            }
        }
    }
}

/// A file of a URL, with what is said when there is none.
fn open(what: &str, url: Option<&str>) -> Result<(File, u64), String> {
    let url = url.ok_or_else(|| format!("the boot row names no {what}"))?;
    let path =
        local_path(url).ok_or_else(|| format!("the {what} is not a file of this server: {url}"))?;
    open_path(what, &path)
}

fn open_path(what: &str, path: &Path) -> Result<(File, u64), String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("the {what} {shown} cannot be read: {}", error.kind());
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(format!("the {what} {shown} is no file"))
    }
}

/// The bytes of a small file; `None` when it is not there.
fn small(what: &str, path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > MAX_LOADER => {
            return Err(format!("the {what} {} is too large", path.display()));
        }
        _ => {}
    }
    std::fs::read(path).map(Some).map_err(|error| {
        format!(
            "the {what} {} cannot be read: {}",
            path.display(),
            error.kind()
        )
    })
}

/// Makes a node's image.
///
/// # Errors
/// A sentence: which file is not there or cannot be used.
pub(crate) fn make(boot: &MediaBoot, loaders: &LoaderSettings) -> Result<Media, String> {
    let label = if boot.network_data.is_some() {
        WITH_CONFIGURATION
    } else {
        PLAIN
    };
    let (kernel, kernel_len) = open("kernel", boot.kernel.as_deref())?;
    let (ramdisk, ramdisk_len) = open("ramdisk", boot.ramdisk.as_deref())?;
    let bios = small("BIOS loader", &loaders.isolinux)?;
    let esp = match boot.bootloader.as_deref() {
        Some(url) => Some(open("bootloader", Some(url))?),
        None => None,
    };
    if bios.is_none() && esp.is_none() {
        return Err(format!(
            "there is no boot loader for virtual media: neither {} for a BIOS nor a bootloader (an EFI system partition) for UEFI",
            loaders.isolinux.display()
        ));
    }
    let make = || -> Result<Layout, bessemer_iso::Error> {
        let mut builder = Builder::new(label)?.publisher(&boot.publisher);
        builder.add_outside("vmlinuz", kernel_len)?;
        builder.add_outside("initrd", ramdisk_len)?;
        // what Debian's signed GRUB for CDs looks for
        builder.add_file(".disk/info", "Bessemer\n")?;
        let line = format!("{} ir_pub_id={}", boot.kernel_params, boot.publisher);
        let grub = grub_config(label, &line);
        for path in ["boot/grub/grub.cfg", "EFI/BOOT/grub.cfg"] {
            builder.add_file(path, grub.clone())?;
        }
        if let Some(data) = &boot.network_data {
            builder.add_file("openstack/latest/network_data.json", data.clone())?;
        }
        if let Some((_, len)) = &esp {
            builder.add_outside(ESP, *len)?;
            builder = builder.boot_efi(ESP);
        }
        if let Some(loader) = bios {
            builder.add_file(ISOLINUX, loader)?;
            builder.add_file("isolinux/isolinux.cfg", isolinux_config(&line))?;
            if let Ok(Some(library)) = small("library of the BIOS loader", &loaders.ldlinux) {
                builder.add_file("isolinux/ldlinux.c32", library)?;
            }
            builder = builder.boot_bios(ISOLINUX);
        }
        builder.layout()
    };
    let layout = make().map_err(|error| format!("the image cannot be made: {error}"))?;
    let mut files = vec![kernel, ramdisk];
    files.extend(esp.map(|(file, _)| file));
    let tag = tag(&layout, &files);
    Ok(Media { layout, files, tag })
}

fn tag(layout: &Layout, files: &[File]) -> String {
    let mut hasher = DefaultHasher::new();
    for piece in layout.pieces() {
        piece.len.hash(&mut hasher);
        if let Source::Bytes(bytes) = &piece.source {
            bytes.hash(&mut hasher);
        }
    }
    for file in files {
        if let Ok(metadata) = file.metadata() {
            (metadata.ino(), metadata.len()).hash(&mut hasher);
            (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        }
    }
    format!("\"{:016x}\"", hasher.finish())
}

/// A menu of one entry that is started at once. Words of the kernel line keep the meaning that they have for the kernel: double
/// quotes group for GRUB, too, and what else GRUB would understand is escaped.
fn grub_config(label: &str, line: &str) -> String {
    let mut words = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '\\' | '$' => words.push('\\'),
            '\'' | ';' | '{' | '}' | '<' | '>' | '|' | '&' | '#' | '*' | '?' if !quoted => {
                words.push('\\');
            }
            _ => {}
        }
        words.push(c);
    }
    format!(
        "set default=0\nset timeout=0\nsearch --no-floppy --set=root --label {label}\nmenuentry \"Bessemer\" {{\n  linux /vmlinuz {words}\n  initrd /initrd\n}}\n"
    )
}

fn isolinux_config(line: &str) -> String {
    format!(
        "DEFAULT bessemer\nPROMPT 0\nTIMEOUT 1\nLABEL bessemer\n  KERNEL /vmlinuz\n  APPEND initrd=/initrd {line}\n"
    )
}

/// Bytes that are sent: of a file, or of an image that is made meanwhile.
#[derive(Clone)]
pub(crate) enum Stored {
    File(Arc<File>),
    Media(Arc<Media>),
}

impl Stored {
    pub(crate) fn read_at(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Media(media) => media.read_at(offset, size),
            Self::File(file) => {
                let mut buffer = vec![0u8; size];
                let count = file.read_at(&mut buffer, offset)?;
                buffer.truncate(count);
                Ok(buffer)
            }
        }
    }

    /// Length and entity tag.
    pub(crate) fn facts(&self) -> io::Result<(u64, String)> {
        match self {
            Self::Media(media) => Ok((media.len(), media.tag().to_owned())),
            Self::File(file) => {
                let metadata = file.metadata()?;
                let tag = format!(
                    "\"{:x}-{:x}-{:x}.{:09}\"",
                    metadata.ino(),
                    metadata.len(),
                    metadata.mtime(),
                    metadata.mtime_nsec()
                );
                Ok((metadata.len(), tag))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn boot(directory: &Path) -> MediaBoot {
        let file = |name: &str, byte: u8, len: usize| {
            let path = directory.join(name);
            std::fs::write(&path, vec![byte; len]).unwrap();
            Some(format!("file://{}", path.display()))
        };
        MediaBoot {
            node: bessemer_model::NodeId::random(),
            kernel: file("k", 1, 700_000),
            ramdisk: file("r", 2, 5001),
            bootloader: file("esp.img", 3, 4096),
            kernel_params: "a=1 b=\"c d\" e=$f;g ipa-agent-token=t".into(),
            publisher: "p".into(),
            network_data: None,
        }
    }

    fn loaders(directory: &Path) -> LoaderSettings {
        LoaderSettings {
            isolinux: directory.join("isolinux.bin"),
            ldlinux: directory.join("ldlinux.c32"),
            ..LoaderSettings::default()
        }
    }

    /// However it is cut, it is the same image; and the same again.
    #[test]
    fn any_part_of_an_image() {
        let directory = tempfile::tempdir().unwrap();
        let boot = boot(directory.path());
        let loaders = loaders(directory.path());
        std::fs::write(&loaders.isolinux, vec![9; 3000]).unwrap();
        let media = make(&boot, &loaders).unwrap();
        let read = |size: usize| {
            let mut all = Vec::new();
            loop {
                let part = media.read_at(all.len() as u64, size).unwrap();
                if part.is_empty() {
                    return all;
                }
                all.extend(part);
            }
        };
        let whole = read(1 << 30);
        assert_eq!(whole.len() as u64, media.len());
        assert_eq!(whole.len() % 2048, 0);
        assert!(whole == read(10_007));
        let again = make(&boot, &loaders).unwrap();
        assert_eq!(again.tag(), media.tag());
        let counted = |byte: u8| whole.iter().filter(|b| **b == byte).count();
        assert!(counted(1) >= 700_000 && counted(2) >= 5001 && counted(3) >= 4096);
        let has = |text: &str| whole.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(has(
            "  linux /vmlinuz a=1 b=\"c d\" e=\\$f\\;g ipa-agent-token=t ir_pub_id=p\n"
        ));
        assert!(has(
            "  APPEND initrd=/initrd a=1 b=\"c d\" e=$f;g ipa-agent-token=t ir_pub_id=p\n"
        ));
        assert!(has(PLAIN) && has("EL TORITO SPECIFICATION"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let loaders = loaders(directory.path());
        let check = |change: fn(&mut MediaBoot), expected: &str| {
            let mut boot = boot(directory.path());
            change(&mut boot);
            let why = make(&boot, &loaders).err().unwrap_or_default();
            assert!(why.contains(expected), "{why}");
        };
        check(|_| {}, "");
        check(|b| b.kernel = None, "the boot row names no kernel");
        check(
            |b| b.kernel = Some("http://x/k".into()),
            "not a file of this server",
        );
        check(
            |b| b.ramdisk = Some("file:///no/such".into()),
            "ramdisk /no/such cannot be read",
        );
        check(|b| b.bootloader = Some("file:///".into()), "is no file");
        check(
            |b| b.bootloader = None,
            "there is no boot loader for virtual media",
        );
    }
}
