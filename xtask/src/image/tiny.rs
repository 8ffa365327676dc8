//! The tiny image of the tests: a whole disk that boots on BIOS, UEFI and with Secure Boot, and proves that it booted by itself and
//! read its config drive.
//!
//! Debian's cloud kernel and a busybox ramdisk in one FAT partition. On the serial console it prints
//! `LOCAL-BOOT host=<hostname> uuid=<uuid>` with the values of `openstack/latest/meta_data.json` of the partition (or disc) whose
//! ISO 9660 volume is labelled `config-2`; `host=none` when there is none.

use std::path::Path;

use anyhow::Result;

use super::grub::{self, CORE_SECTOR, ESP_SECTOR, SECTOR};
use super::{Image, busybox, finish};
use crate::cache::{Cache, Key};
use crate::process::{command, output};

/// What the image prints when it runs.
pub const LOCAL_BOOT: &str = "LOCAL-BOOT";

const SCRIPT: &str = r#"
value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" /mnt/openstack/latest/meta_data.json | head -n 1; }
find_drive() {
    for path in /sys/class/block/*; do
        device=/dev/${path##*/}
        [ "$(dd if="$device" bs=1 skip=32808 count=8 2>/dev/null)" = config-2 ] || continue
        mount -t iso9660 -o ro "$device" /mnt 2>/dev/null && return 0
    done
    return 1
}
host=none uuid=none tries=0
until find_drive || [ $tries -ge 20 ]; do tries=$((tries+1)); usleep 100000; done
if [ -e /mnt/openstack/latest/meta_data.json ]; then
    host=$(value hostname)
    uuid=$(value uuid)
fi
echo "LOCAL-BOOT host=$host uuid=$uuid uptime=$(cat /proc/uptime)"
[ -e /mnt/openstack/latest/user_data ] && sed 's/^/USER-DATA /' /mnt/openstack/latest/user_data
while :; do sleep 3600; done
"#;

fn grub_config() -> String {
    "serial --unit=0 --speed=115200\n\
     terminal_output serial console\n\
     set timeout=0\n\
     search --no-floppy --label ESP --set=root\n\
     echo GRUB-FROM-DISK\n\
     linux /vmlinuz console=ttyS0 panic=-1 quiet\n\
     initrd /initrd\n\
     boot\n"
        .to_owned()
}

/// The tiny image, from the cache or built in some seconds. Needs no privileges.
pub fn build(cache: &Cache) -> Result<Image> {
    let kernel = busybox::kernel(cache)?;
    let key = Key::default()
        .with("layout", "4")
        .with("script", SCRIPT)
        .with("grub", grub_config())
        .with(
            "kernel",
            format!("{} {}", kernel.version, kernel.package_version),
        );
    let directory = cache.artifact("tiny-image", key, |directory| {
        let ramdisk = directory.join("initrd");
        std::fs::write(
            &ramdisk,
            busybox::ramdisk(&kernel, &busybox::MODULES, SCRIPT)?,
        )?;
        assemble(&directory.join("tiny.raw"), &kernel.image, &ramdisk)?;
        std::fs::remove_file(ramdisk)?;
        finish(directory, "tiny", "zlib")
    })?;
    Ok(Image::at(directory, "tiny"))
}

fn assemble(disk: &Path, kernel: &Path, ramdisk: &Path) -> Result<()> {
    // kernel, ramdisk, shim and GRUB (about 3.6 MiB), and FAT's own tables
    let bytes = kernel.metadata()?.len() + ramdisk.metadata()?.len() + (5 << 20);
    let esp_mib = bytes.div_ceil(1 << 20);
    let file = std::fs::File::create(disk)?;
    file.set_len((esp_mib + 3) << 20)?;
    let mut sgdisk = command("sgdisk");
    sgdisk.args([
        "-a",
        "2048",
        "-n",
        &format!("1:{CORE_SECTOR}:{}", ESP_SECTOR - 1),
        "-t",
        "1:ef02",
    ]);
    sgdisk
        .args([
            "-n",
            &format!("2:{ESP_SECTOR}:+{esp_mib}M"),
            "-t",
            "2:ef00",
            "-c",
            "2:esp",
        ])
        .arg(disk);
    output(&mut sgdisk)?;
    let scratch = tempfile::tempdir()?;
    let esp = scratch.path().join("esp");
    grub::make_esp(
        &esp,
        esp_mib,
        &grub_config(),
        &[(kernel, "vmlinuz"), (ramdisk, "initrd")],
    )?;
    grub::install_bios(disk, "configfile (hd0,gpt2)/EFI/debian/grub.cfg\n", "fat")?;
    grub::copy_at(disk, ESP_SECTOR * SECTOR, &esp)
}
