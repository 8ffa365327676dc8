//! The user image of the demo: Debian with cloud-init, a whole disk that boots on BIOS and UEFI.
//!
//! The root file system is made by `mmdebstrap`, which needs the administrator's rights; the disk around it does not. Whatever a
//! cloud image does at boot that only costs time is off: waiting for networks, RSA host keys, locales, package timers.

use std::path::Path;

use anyhow::{Context, Result};

use super::grub::{self, CORE_SECTOR, ESP_SECTOR, SECTOR};
use super::{Image, finish};
use crate::cache::{Cache, Key};
use crate::process::{command, is_root, output};
use crate::setup::privileged;

const SUITE: &str = "bookworm";
const ESP_MIB: u64 = 32;
const ROOT_SECTOR: u64 = ESP_SECTOR + ESP_MIB * 2048;

const PACKAGES: &str = "systemd-sysv,udev,linux-image-cloud-amd64,initramfs-tools,zstd,cloud-init,openssh-server,iproute2,\
netbase,dbus,ca-certificates,e2fsprogs";

/// Runs with the administrator's rights: `$1` directory to work in, `$2` the file system image to make, `$3` its owner.
const ROOT_SCRIPT: &str = r#"
set -eu
work=$1 image=$2 owner=$3
tree=$work/tree
trap 'rm -rf "$tree"' EXIT
export TMPDIR="$work"
mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "MODULES=list\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/small"' \
    --essential-hook='printf "virtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\nvirtio_net\next4\n" >"$1/etc/initramfs-tools/modules"' \
    --include="$PACKAGES" "$SUITE" "$tree"
mkdir -p "$tree/boot/grub" "$tree/etc/cloud/cloud.cfg.d"
cat >"$tree/etc/cloud/cloud.cfg.d/90-image.cfg" <<'E'
datasource_list: [ ConfigDrive, None ]
ssh_genkeytypes: [ ed25519 ]
locale: false
growpart: { mode: "off" }
resize_rootfs: false
cloud_init_modules: [ seed_random, bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh ]
cloud_config_modules: [ set-passwords, runcmd ]
cloud_final_modules: [ scripts-user, final-message ]
E
cat >"$tree/etc/fstab" <<'E'
LABEL=root / ext4 errors=remount-ro,noatime 0 0
E
cat >"$tree/boot/grub/grub.cfg" <<'E'
serial --unit=0 --speed=115200
terminal_output serial console
set timeout=0
echo GRUB-FROM-DISK
linux /vmlinuz root=LABEL=root ro console=ttyS0 quiet
initrd /initrd.img
boot
E
echo localhost >"$tree/etc/hostname"
rm -f "$tree"/etc/ssh/ssh_host_* "$tree/etc/machine-id" "$tree/etc/resolv.conf"
: >"$tree/etc/machine-id"
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/*.bin "$tree"/var/cache/apt/archives/*.deb "$tree"/usr/share/i18n
link() { ln -sf "$1" "$tree/etc/systemd/system/$2"; }
mkdir -p "$tree/etc/systemd/system/multi-user.target.wants" "$tree/etc/systemd/system/getty.target.wants"
for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer dpkg-db-backup.timer systemd-update-utmp.service; do
    link /dev/null "$unit"
done
link /lib/systemd/system/systemd-networkd.service multi-user.target.wants/systemd-networkd.service
link /lib/systemd/system/serial-getty@.service getty.target.wants/serial-getty@ttyS0.service
size=$(du -sm --apparent-size "$tree" | cut -f1)
mke2fs -q -t ext4 -L root -O ^has_journal -m 0 -d "$tree" "$image" "$((size + size / 4 + 64))M"
chown "$owner" "$image"
"#;

/// The Debian image, from the cache or built in one to three minutes.
pub fn build(cache: &Cache) -> Result<Image> {
    let key = Key::default()
        .with("layout", "2")
        .with("script", ROOT_SCRIPT)
        .with("packages", PACKAGES)
        .with("suite", SUITE);
    let directory = cache.artifact("debian-image", key, |directory| {
        let root = directory.join("root.ext4");
        make_root(&root)?;
        assemble(&directory.join("debian.raw"), &root)?;
        std::fs::remove_file(root)?;
        finish(directory, "debian", "zstd")
    })?;
    Ok(Image::at(directory, "debian"))
}

fn make_root(image: &Path) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix("bessemer-debian-")
        .tempdir_in(super::upstream_agent::place())?;
    let owner = format!(
        "{}:{}",
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    let script = work.path().join("build.sh");
    std::fs::write(
        &script,
        format!("PACKAGES='{PACKAGES}' SUITE='{SUITE}'\n{ROOT_SCRIPT}"),
    )?;
    println!("building the Debian image: mmdebstrap takes a minute or two");
    let mut shell =
        privileged("sh").context("mmdebstrap must run as root to make the Debian image")?;
    if is_root() {
        shell.current_dir("/");
    }
    shell.arg(&script).arg(work.path()).arg(image).arg(owner);
    output(&mut shell)?;
    Ok(())
}

fn assemble(disk: &Path, root: &Path) -> Result<()> {
    let root_sectors = root.metadata()?.len() / SECTOR;
    std::fs::File::create(disk)?.set_len((ROOT_SECTOR + root_sectors + 2048) * SECTOR)?;
    let mut sgdisk = command("sgdisk");
    sgdisk.args([
        "-a",
        "2048",
        "-n",
        &format!("1:{CORE_SECTOR}:{}", ESP_SECTOR - 1),
        "-t",
        "1:ef02",
    ]);
    sgdisk.args([
        "-n",
        &format!("2:{ESP_SECTOR}:{}", ROOT_SECTOR - 1),
        "-t",
        "2:ef00",
        "-c",
        "2:esp",
    ]);
    sgdisk
        .args([
            "-n",
            &format!("3:{ROOT_SECTOR}:+{root_sectors}"),
            "-t",
            "3:8304",
            "-c",
            "3:root",
        ])
        .arg(disk);
    output(&mut sgdisk)?;
    let early =
        "search --no-floppy --label root --set=root\nconfigfile ($root)/boot/grub/grub.cfg\n";
    let scratch = tempfile::tempdir()?;
    let esp = scratch.path().join("esp");
    grub::make_esp(&esp, ESP_MIB, early, &[])?;
    grub::install_bios(disk, early, "ext2")?;
    grub::copy_at(disk, ESP_SECTOR * SECTOR, &esp)?;
    grub::copy_at(disk, ROOT_SECTOR * SECTOR, root)
}
