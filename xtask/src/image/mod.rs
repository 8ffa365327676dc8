//! Disk images that boot by themselves on BIOS and UEFI, made of Debian's packages.

pub mod busybox;
pub mod config_drive;
pub mod debian;
mod grub;
pub mod tiny;
pub mod upstream_agent;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::sha256_file;
use crate::process::{command, output};

/// A built image: the same disk in two formats.
#[derive(Debug, Clone)]
pub struct Image {
    /// Directory in the cache; also holds `SHA256SUMS`.
    pub directory: PathBuf,
    /// Uncompressed disk.
    pub raw: PathBuf,
    /// The disk as qcow2 with compressed clusters.
    pub qcow2: PathBuf,
}

impl Image {
    fn at(directory: PathBuf, name: &str) -> Image {
        Image {
            raw: directory.join(format!("{name}.raw")),
            qcow2: directory.join(format!("{name}.qcow2")),
            directory,
        }
    }

    /// SHA-256 of the qcow2 file, in hexadecimal.
    pub fn qcow2_sha256(&self) -> Result<String> {
        self.sum(&self.qcow2)
    }

    /// SHA-256 of the raw file, in hexadecimal.
    pub fn raw_sha256(&self) -> Result<String> {
        self.sum(&self.raw)
    }

    fn sum(&self, file: &Path) -> Result<String> {
        let sums = self.directory.join("SHA256SUMS");
        let text = std::fs::read_to_string(&sums)
            .with_context(|| format!("cannot read {}", sums.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        text.lines()
            .filter_map(|line| line.split_once("  "))
            .find(|(_, listed)| *listed == name)
            .map(|(sum, _)| sum.to_owned())
            .with_context(|| format!("{} does not name {name}", sums.display()))
    }
}

/// Makes the compressed qcow2 beside a raw image, and `SHA256SUMS` of both. `compression` is qemu-img's word: `zlib` is what every
/// reader knows, `zstd` unpacks several times faster.
fn finish(directory: &Path, name: &str, compression: &str) -> Result<()> {
    let image = Image::at(directory.to_owned(), name);
    output(
        command("qemu-img")
            .args([
                "convert",
                "-c",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "-o",
                &format!("compression_type={compression}"),
            ])
            .arg(&image.raw)
            .arg(&image.qcow2),
    )?;
    let mut sums = String::new();
    for file in [&image.raw, &image.qcow2] {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        sums += &format!("{}  {name}\n", sha256_file(file)?);
    }
    std::fs::write(directory.join("SHA256SUMS"), sums)?;
    Ok(())
}
