//! Small ramdisks of Debian's static busybox and a script: the system inside the tiny image, and a control for the testbed.

use std::path::Path;

use anyhow::{Context, Result};
use bessemer_ramdisk::cpio::{Archive, Entry};
use bessemer_ramdisk::{Flavour, Kernel, ModuleTree};

use crate::cache::Cache;
use crate::process::find_program;

const APPLETS: [&str; 24] = [
    "sh", "mount", "insmod", "cat", "sed", "dd", "sleep", "poweroff", "reboot", "ip", "udhcpc",
    "wget", "gunzip", "sync", "ls", "grep", "tr", "echo", "printf", "uname", "head", "true",
    "usleep", "umount",
];

/// Mounts what a system needs and loads the modules that are listed in `/modules`.
const PROLOGUE: &str = r#"#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do insmod "$module"; done </modules
"#;

/// The newest cloud kernel, from the cache or from Debian.
pub fn kernel(cache: &Cache) -> Result<Kernel> {
    bessemer_ramdisk::fetch_kernel(cache.root(), Flavour::Cloud, None)
        .context("getting Debian's cloud kernel")
}

/// The modules of a machine with virtio devices and a config drive.
pub const MODULES: [&str; 7] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "virtio-rng",
    "isofs",
];

/// Builds a ramdisk that runs `script` as PID 1 after the mounts and modules.
pub fn ramdisk(kernel: &Kernel, modules: &[&str], script: &str) -> Result<Vec<u8>> {
    let busybox = find_program("busybox")
        .context("busybox is not installed: install Debian's package busybox-static")?;
    let busybox =
        std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    if let Err(why) = bessemer_ramdisk::check_static(&busybox) {
        anyhow::bail!(
            "busybox cannot be used in a ramdisk: {why}; install Debian's package busybox-static"
        );
    }
    let mut archive = Archive::default();
    for name in ["proc", "sys", "dev", "run", "tmp", "mnt", "etc"] {
        archive.directory(name, 0o755);
    }
    archive.insert(
        "dev/console",
        Entry::Character {
            mode: 0o600,
            major: 5,
            minor: 1,
        },
    );
    archive.file("bin/busybox", 0o755, busybox);
    for applet in APPLETS {
        archive.insert(
            &format!("bin/{applet}"),
            Entry::Symlink {
                target: "busybox".into(),
            },
        );
    }
    let tree = ModuleTree::open(&kernel.modules, &kernel.version)?;
    let mut list = String::new();
    for module in tree.resolve(modules.iter().copied())? {
        let path = format!("lib/modules/{}.ko", module.name);
        list += &format!("/{path}\n");
        archive.file(&path, 0o644, module.data);
    }
    archive.file("modules", 0o644, list);
    archive.file("init", 0o755, format!("{PROLOGUE}{script}"));
    let plain = archive.to_bytes();
    let mut packed = Vec::new();
    compress(&plain, &mut packed)?;
    Ok(packed)
}

fn compress(plain: &[u8], packed: &mut Vec<u8>) -> Result<()> {
    // through the program: the image's own content must not depend on how this crate was compiled
    let mut child = crate::process::command("gzip")
        .args(["-9n"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start gzip")?;
    let mut input = child.stdin.take().context("no pipe to gzip")?;
    let mut output = child.stdout.take().context("no pipe from gzip")?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || std::io::Write::write_all(&mut input, plain));
        std::io::Read::read_to_end(&mut output, packed)?;
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer to gzip panicked"))??;
        anyhow::Ok(())
    })?;
    anyhow::ensure!(child.wait()?.success(), "gzip failed");
    Ok(())
}

/// Brings the network up and says so; scripts of the testbed's control begin with it.
const NETWORK: &str = r#"
echo "CONTROL-INIT $(cat /proc/uptime)"
printf '#!/bin/sh\n[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface" && echo "CONTROL-BOUND $ip"\n' >/dhcp
busybox chmod +x /dhcp
for path in /sys/class/net/*; do
    [ -e "$path/device" ] || continue
    card=${path##*/}
    ip link set "$card" up
    udhcpc -i "$card" -q -n -t 8 -T 1 -s /dhcp
done
"#;

/// Writes kernel and a control ramdisk for the testbed: it prints markers and the address that it got, then runs `script`.
pub fn write_control(cache: &Cache, directory: &Path, script: &str) -> Result<()> {
    let kernel = kernel(cache)?;
    std::fs::copy(&kernel.image, directory.join("vmlinuz"))?;
    std::fs::write(
        directory.join("control.initramfs"),
        ramdisk(
            &kernel,
            &["virtio_pci", "virtio_net", "virtio_blk"],
            &format!("{NETWORK}{script}"),
        )?,
    )?;
    Ok(())
}
