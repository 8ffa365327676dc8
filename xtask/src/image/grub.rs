//! GRUB in a disk image without `grub-install`: no mounts, no loop devices, no privileges.
//!
//! BIOS: GRUB's `boot.img` in the MBR, its core image in a partition of type ef02, both joined by sector numbers at the places that
//! GRUB's own boot code defines (`boot.S`: kernel sector at 0x5c, drive check at 0x66; `diskboot.S`: first entry of the block list at
//! 0x1f4). UEFI: the shim and GRUB signed by Debian, at the default path of the EFI system partition.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{command, output};

pub const SECTOR: u64 = 512;
/// First sector of the partition that holds GRUB's core image.
pub const CORE_SECTOR: u64 = 2048;
/// First sector of the EFI system partition.
pub const ESP_SECTOR: u64 = 4096;

const BOOT_IMAGE: &str = "/usr/lib/grub/i386-pc/boot.img";
const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const SIGNED_GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";

/// Makes the core image for BIOS and writes it and the MBR's boot code.
///
/// `early` is the configuration inside the core image; `filesystem` GRUB's module that reads the partition it points to.
pub fn install_bios(disk: &Path, early: &str, filesystem: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (config, core) = (
        scratch.path().join("early.cfg"),
        scratch.path().join("core.img"),
    );
    std::fs::write(&config, early)?;
    let mut mkimage = command("grub-mkimage");
    mkimage
        .args(["-O", "i386-pc", "-p", "(hd0,gpt2)/EFI/debian", "-o"])
        .arg(&core)
        .arg("-c")
        .arg(&config);
    mkimage.args([
        "biosdisk",
        "part_gpt",
        filesystem,
        "linux",
        "normal",
        "configfile",
        "echo",
        "serial",
        "search",
    ]);
    mkimage.args(["search_label", "terminal", "test"]);
    output(&mut mkimage)?;

    let mut core = std::fs::read(core)?;
    let room = (ESP_SECTOR - CORE_SECTOR) * SECTOR;
    if core.len() as u64 > room {
        bail!(
            "GRUB's core image has {} bytes and its partition {room}",
            core.len()
        );
    }
    let entry = core
        .get_mut(0x1f4..0x1fc)
        .context("GRUB's core image is too short")?;
    entry.copy_from_slice(&(CORE_SECTOR + 1).to_le_bytes());
    let mut boot =
        std::fs::read(BOOT_IMAGE).with_context(|| format!("cannot read {BOOT_IMAGE}"))?;
    boot.truncate(440);
    boot.get_mut(0x5c..0x64)
        .context("GRUB's boot image is too short")?
        .copy_from_slice(&CORE_SECTOR.to_le_bytes());
    // boot.img doubts the drive number that the firmware gives, for old BIOSes; an installer turns that off for hard disks
    boot.get_mut(0x66..0x68)
        .context("GRUB's boot image is too short")?
        .copy_from_slice(&[0x90, 0x90]);
    write_at(disk, 0, &boot)?;
    write_at(disk, CORE_SECTOR * SECTOR, &core)
}

/// Makes an EFI system partition with shim and signed GRUB, its configuration, and further files (source, path inside).
pub fn make_esp(path: &Path, mebibytes: u64, config: &str, files: &[(&Path, &str)]) -> Result<()> {
    File::create(path)?.set_len(mebibytes << 20)?;
    output(command("mkfs.vfat").args(["-n", "ESP"]).arg(path))?;
    let mtools = |program: &str| {
        let mut tool = command(program);
        tool.arg("-i").arg(path);
        tool
    };
    output(mtools("mmd").args(["::EFI", "::EFI/BOOT", "::EFI/debian"]))?;
    let scratch = tempfile::NamedTempFile::new()?;
    std::fs::write(scratch.path(), config)?;
    let own = [
        (Path::new(SHIM), "EFI/BOOT/BOOTX64.EFI"),
        (Path::new(SIGNED_GRUB), "EFI/BOOT/grubx64.efi"),
        (scratch.path(), "EFI/debian/grub.cfg"),
    ];
    for (source, target) in own.iter().chain(files) {
        output(mtools("mcopy").arg(source).arg(format!("::{target}")))?;
    }
    Ok(())
}

/// Copies a file into a disk image at a byte offset, leaving holes where it has zeroes.
pub fn copy_at(disk: &Path, offset: u64, source: &Path) -> Result<()> {
    let mut input =
        File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
    let mut out = File::options().write(true).open(disk)?;
    let mut at = offset;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = input.read(&mut buffer)?;
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else {
            return Ok(());
        };
        for block in part.chunks(4096) {
            if block.iter().any(|byte| *byte != 0) {
                out.seek(SeekFrom::Start(at))?;
                out.write_all(block)?;
            }
            at += block.len() as u64;
        }
    }
}

fn write_at(disk: &Path, offset: u64, data: &[u8]) -> Result<()> {
    let mut file = File::options().write(true).open(disk)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(data)?;
    Ok(())
}
