//! A deploy ramdisk with upstream's agent, to see that it works under our conductor.
//!
//! Debian's userland, ironic-python-agent from the Python package index, and a small PID 1 in place of systemd. It needs a machine
//! with 2 GiB of memory and a disk of more than 4 GiB (upstream's default for a root disk). Making it needs the administrator's
//! rights, as everything that `mmdebstrap` makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::busybox;
use crate::build::Ramdisk;
use crate::cache::{Cache, Key};
use crate::demo::Client;
use crate::process::{command, output};
use crate::setup::privileged;

/// The version that is run.
pub const VERSION: &str = "13.0.0";

const PACKAGES: &str = "python3,udev,kmod,iproute2,parted,gdisk,qemu-utils,util-linux,fdisk,lshw,dmidecode,ipmitool,mdadm,\
dosfstools,e2fsprogs,efibootmgr,hdparm,nvme-cli,smartmontools,ethtool,psmisc,pciutils,ca-certificates,busybox-static,genisoimage,\
dmsetup,grub-common,procps,open-iscsi";

/// Process 1: mounts, modules by udev, addresses by DHCP, then the agent.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run /tmp
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t tmpfs tmpfs /run
busybox mount -t tmpfs tmpfs /tmp
exec </dev/console >/dev/console 2>&1
# with a script as process 1 nobody acts on the signal that the usual program sends
printf '#!/bin/sh\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n' >/sbin/poweroff
printf '#!/bin/sh\nsync\necho b >/proc/sysrq-trigger\nsleep 60\n' >/sbin/reboot
chmod +x /sbin/poweroff /sbin/reboot
[ -d /sys/firmware/efi ] && mount -t efivarfs efivarfs /sys/firmware/efi/efivars
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle -t 20
modprobe -a virtio_net virtio_blk isofs vfat 2>/dev/null
ip link set lo up
for path in /sys/class/net/*; do
    [ -e "$path/device" ] || continue
    ip link set "${path##*/}" up
    busybox udhcpc -i "${path##*/}" -q -n -T 1 -t 15 -s /etc/lease
done
echo "UPSTREAM-AGENT-START $(cat /proc/uptime)"
/usr/bin/ironic-python-agent
echo "UPSTREAM-AGENT-END $?"
while :; do sleep 3600; done
"#;

const LEASE: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
for gateway in $router; do ip route add default via "$gateway" && break; done
exit 0
"#;

const LAUNCH: &str = r#"#!/usr/bin/python3
import sys
sys.path.insert(0, "/opt/ipa")
from ironic_python_agent.cmd.agent import run
run()
"#;

/// `$1` directory to work in (holds `init`, `lease`, `launch`, `ipa`), `$2` the archive to make, `$3` its owner, `$4` the kernel's
/// modules.
const ROOT_SCRIPT: &str = r#"
set -eu
work=$1 archive=$2 owner=$3 modules=$4
tree=$work/tree
trap 'rm -rf "$tree"' EXIT
export TMPDIR="$work"
mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --include="$PACKAGES" bookworm "$tree"
mkdir -p "$tree/usr/lib/modules" "$tree/opt"
cp -a "$modules" "$tree/usr/lib/modules/"
chroot "$tree" depmod -a "$(basename "$modules")"
cp -a "$work/ipa" "$tree/opt/ipa"
# a path file: the agent starts helpers of its own packages with an empty environment
echo /opt/ipa >"$tree/usr/lib/python3/dist-packages/ipa.pth"
chown -R 0:0 "$tree/opt/ipa" "$tree/usr/lib/modules"
install -m 755 "$work/init" "$tree/init"
install -m 755 "$work/lease" "$tree/etc/lease"
install -m 755 "$work/launch" "$tree/usr/bin/ironic-python-agent"
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/usr/share/i18n "$tree"/usr/lib/x86_64-linux-gnu/gconv "$tree"/boot/*
find "$tree/opt/ipa" -name tests -type d -prune -exec rm -rf {} +
chroot "$tree" python3 -m compileall -q /opt/ipa >/dev/null 2>&1 || true
(cd "$tree" && find . -xdev | LC_ALL=C sort | cpio -o -H newc --quiet) | zstd -q -T2 -6 >"$archive"
chown "$owner" "$archive"
"#;

/// The ramdisk from the cache, or built in about two minutes.
pub fn build(cache: &Cache) -> Result<Ramdisk> {
    let kernel = busybox::kernel(cache)?;
    let key = Key::default()
        .with("script", format!("{ROOT_SCRIPT}{INIT}{LEASE}{LAUNCH}"))
        .with("packages", PACKAGES)
        .with("version", VERSION)
        .with(
            "kernel",
            format!("{} {}", kernel.version, kernel.package_version),
        );
    let client = Client::get(cache)?;
    let directory = cache.artifact("upstream_agent", key, |directory| {
        std::fs::copy(&kernel.image, directory.join("kernel"))?;
        make(&client, &kernel.modules, &directory.join("initramfs"))
    })?;
    Ok(Ramdisk {
        kernel: directory.join("kernel"),
        initramfs: directory.join("initramfs"),
        directory,
    })
}

fn make(client: &Client, modules: &Path, archive: &Path) -> Result<()> {
    println!("building upstream's deploy ramdisk: about two minutes");
    let work = tempfile::Builder::new()
        .prefix("bessemer-ipa-")
        .tempdir_in(place())?;
    for (name, text) in [("init", INIT), ("lease", LEASE), ("launch", LAUNCH)] {
        std::fs::write(work.path().join(name), text)?;
    }
    let mut pip = command(client.pip().to_string_lossy());
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--target",
    ])
    .arg(work.path().join("ipa"));
    output(pip.arg(format!("ironic-python-agent=={VERSION}")))
        .context("pip cannot install upstream's agent")?;
    let script = work.path().join("build.sh");
    std::fs::write(&script, format!("PACKAGES='{PACKAGES}'\n{ROOT_SCRIPT}"))?;
    let owner = format!(
        "{}:{}",
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    let mut shell =
        privileged("sh").context("mmdebstrap must run as root to make upstream's ramdisk")?;
    shell
        .arg(&script)
        .arg(work.path())
        .arg(archive)
        .arg(owner)
        .arg(modules);
    output(&mut shell)?;
    Ok(())
}

/// Where big trees are unpacked: in memory when there is room, which is twice as fast.
pub(super) fn place() -> PathBuf {
    let free_kib = output(command("df").args(["--output=avail", "/dev/shm"]))
        .ok()
        .and_then(|text| text.lines().nth(1)?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    PathBuf::from(if free_kib > 1_500_000 {
        "/dev/shm"
    } else {
        "/var/tmp"
    })
}
