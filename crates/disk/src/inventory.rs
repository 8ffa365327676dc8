//! The disks of this machine, from sysfs: no udev, no subprocess.
//!
//! Names and values are those that the agent's inventory shows (`lsblk` and udev's property names are the model).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, vpd};

/// Kernel name prefixes of block devices that are no disks.
const NOT_DISKS: &[&str] = &[
    "loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "mtdblock", "zd",
];
/// Hardware partitions of an eMMC that never hold an operating system.
const NOT_DISKS_SUFFIX: &[&str] = &["boot0", "boot1", "rpmb"];

/// A disk as the inventory shows it. Values that the hardware does not have are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/sda`.
    pub name: String,
    pub model: Option<String>,
    /// Bytes.
    pub size: u64,
    pub rotational: bool,
    /// `0x` and 16 digits, or an NVMe name like `eui.0025385b71b09c1e`.
    pub wwn: Option<String>,
    pub wwn_with_extension: Option<String>,
    pub wwn_vendor_extension: Option<String>,
    pub serial: Option<String>,
    pub vendor: Option<String>,
    /// SCSI address, `host:channel:target:lun`.
    pub hctl: Option<String>,
    /// The name that udev would link in `/dev/disk/by-path`, in full.
    pub by_path: Option<String>,
    /// sata, sas, nvme, usb, virtio, fc, iscsi, mmc.
    pub tran: Option<String>,
    pub read_only: bool,
    pub removable: bool,
    /// Bytes of a logical sector.
    pub logical_sector_size: u32,
    /// Bytes of a physical sector.
    pub physical_sector_size: u32,
}

/// All disks below `sysfs_root` (normally `/sys`), sorted by name. Empty drives (card readers) and hidden paths of a
/// multipath NVMe namespace are left out, as are loop, RAM, optical, floppy, md and device-mapper devices.
///
/// Errors: [`Error::Io`] when the list itself cannot be read; a disk that vanishes meanwhile is just not there.
pub fn list_block_devices(sysfs_root: &Path) -> Result<Vec<Disk>, Error> {
    let block = sysfs_root.join("block");
    let what = || format!("listing block devices in {}", block.display());
    let entries = match fs::read_dir(&block) {
        Ok(entries) => entries,
        // a kernel without a single block device
        Err(e) if e.kind() == io::ErrorKind::NotFound && sysfs_root.is_dir() => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Error::io(what(), e)),
    };
    let mut disks = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(what(), e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_disk_name(&name) {
            disks.extend(read_disk(&name, &entry.path()));
        }
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

fn is_disk_name(name: &str) -> bool {
    let digits_follow = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) || rest.is_empty())
    };
    !NOT_DISKS.iter().any(|prefix| digits_follow(prefix))
        && !NOT_DISKS_SUFFIX.iter().any(|s| name.ends_with(s))
}

fn read_disk(name: &str, dir: &Path) -> Option<Disk> {
    let sectors: u64 = number(&dir.join("size"))?;
    if sectors == 0 || number(&dir.join("hidden")) == Some(1u8) {
        return None;
    }
    let device = dir.join("device");
    // where the disk hangs: /sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda
    let place = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let hctl = fs::canonicalize(&device)
        .ok()
        .and_then(|path| hctl_of(&path));
    let tran = transport(name, &place);
    let page = |page: &str| fs::read(device.join(page)).unwrap_or_default();
    let full_model = if tran == Some("sata") {
        vpd::ata_model(&page("vpd_pg89"))
    } else {
        None
    };
    let serial = text(&dir.join("serial"))
        .or_else(|| vpd::unit_serial(&page("vpd_pg80")))
        .or_else(|| text(&device.join("serial")));
    let names = world_wide_names(
        text(&dir.join("wwid"))
            .or_else(|| text(&device.join("wwid")))
            .as_deref(),
        vpd::naa(&page("vpd_pg83")),
    );
    let logical: u32 = number(&dir.join("queue/logical_block_size")).unwrap_or(512);
    Some(Disk {
        name: format!("/dev/{}", name.replace('!', "/")),
        model: full_model
            .or_else(|| text(&device.join("model")))
            .or_else(|| text(&device.join("name"))),
        size: sectors.saturating_mul(512),
        rotational: number(&dir.join("queue/rotational")) == Some(1u8),
        wwn: names.wwn,
        wwn_with_extension: names.with_extension,
        wwn_vendor_extension: names.vendor_extension,
        serial,
        vendor: text(&device.join("vendor")),
        by_path: by_path(name, &place, hctl.as_deref()),
        hctl,
        tran: tran.map(str::to_owned),
        read_only: number(&dir.join("ro")) == Some(1u8),
        removable: number(&dir.join("removable")) == Some(1u8),
        logical_sector_size: logical,
        physical_sector_size: number(&dir.join("queue/physical_block_size")).unwrap_or(logical),
    })
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn text(path: &Path) -> Option<String> {
    vpd::text(&fs::read(path).ok()?)
}

#[derive(Default)]
struct Names {
    wwn: Option<String>,
    with_extension: Option<String>,
    vendor_extension: Option<String>,
}

/// udev's three forms of a name: the first 16 digits, the rest, both together.
fn world_wide_names(wwid: Option<&str>, naa_of_page: Option<String>) -> Names {
    let digits = wwid
        .and_then(|id| id.strip_prefix("naa."))
        .map(str::to_owned)
        .or(naa_of_page);
    if let Some(digits) =
        digits.filter(|d| d.len() >= 16 && d.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        let (name, extension) = digits.split_at(16);
        return Names {
            wwn: Some(format!("0x{name}")),
            with_extension: Some(format!("0x{digits}")),
            vendor_extension: (!extension.is_empty()).then(|| format!("0x{extension}")),
        };
    }
    // NVMe: eui.…, uuid.… or nvme.… are complete names
    let own = wwid.filter(|id| {
        ["eui.", "uuid.", "nvme."]
            .iter()
            .any(|kind| id.starts_with(kind))
    });
    Names {
        wwn: own.map(str::to_owned),
        with_extension: own.map(str::to_owned),
        vendor_extension: None,
    }
}

fn hctl_of(device: &Path) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    let is_address = name.split(':').count() == 4 && name.split(':').all(is_number);
    is_address.then(|| name.to_owned())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn components(place: &Path) -> Vec<&str> {
    place.iter().filter_map(|part| part.to_str()).collect()
}

fn numbered(part: &str, prefix: &str) -> bool {
    part.strip_prefix(prefix).is_some_and(is_number)
}

fn transport(name: &str, place: &Path) -> Option<&'static str> {
    let parts = components(place);
    let any = |test: fn(&str) -> bool| parts.iter().any(|part| test(part));
    if name.starts_with("nvme") {
        Some("nvme")
    } else if name.starts_with("mmcblk") {
        Some("mmc")
    } else if name.starts_with("vd") {
        Some("virtio")
    } else if any(|p| numbered(p, "usb")) {
        Some("usb")
    } else if any(|p| numbered(p, "ata")) {
        Some("sata")
    } else if any(|p| p.starts_with("end_device-")) {
        Some("sas")
    } else if any(|p| p.starts_with("rport-")) {
        Some("fc")
    } else if any(|p| numbered(p, "session")) {
        Some("iscsi")
    } else {
        None
    }
}

/// udev's persistent path for PCI disks: the last PCI function, then what hangs on it. None where udev's rule needs
/// knowledge that sysfs alone does not give (SAS expanders, Fibre Channel, iSCSI).
fn by_path(name: &str, place: &Path, hctl: Option<&str>) -> Option<String> {
    let parts = components(place);
    let at = parts.iter().rposition(|part| is_pci_function(part))?;
    let function = parts.get(at)?;
    let below = parts.get(at.checked_add(1)?..)?;
    let tail = if name.starts_with("vd") {
        String::new()
    } else if name.starts_with("nvme") {
        format!("-nvme-{}", number::<u32>(&place.join("nsid"))?)
    } else if let Some(ata) = below.iter().find(|part| numbered(part, "ata")) {
        // the port number within the controller, which the global number of the port is not
        let port: PathBuf = place.iter().take(at + 2).collect();
        let port = number::<u32>(&port.join("ata_port").join(ata).join("port_no"));
        let target = hctl.and_then(|h| h.split(':').nth(2)).unwrap_or("0");
        match port {
            Some(port) if target == "0" => format!("-ata-{port}"),
            Some(port) => format!("-ata-{port}.{target}"),
            None => return None,
        }
    } else if below
        .iter()
        .any(|p| p.starts_with("end_device-") || p.starts_with("rport-") || numbered(p, "session"))
    {
        return None;
    } else {
        let (_, address) = hctl?.split_once(':')?;
        let host = below.iter().position(|part| numbered(part, "host"))?;
        let parent: PathBuf = place.iter().take(at + 1 + host).collect();
        let usb = below
            .iter()
            .rev()
            .find_map(|part| usb_port(part))
            .map(|port| format!("-usb-0:{port}"));
        format!(
            "{}-scsi-{}:{address}",
            usb.unwrap_or_default(),
            host_of_parent(&parent, below.get(host)?)?
        )
    };
    Some(format!("/dev/disk/by-path/pci-{function}{tail}"))
}

/// `0000:00:1f.2`.
fn is_pci_function(part: &str) -> bool {
    let hex =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    match part.split(':').collect::<Vec<_>>().as_slice() {
        [domain, bus, rest] => {
            let (device, function) = rest.split_once('.').unwrap_or(("", ""));
            hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1)
        }
        _ => false,
    }
}

/// `1-2:1.0` (bus, port, interface) without its bus.
fn usb_port(part: &str) -> Option<&str> {
    let (bus, port) = part.split_once('-')?;
    (is_number(bus) && port.contains(':') && port.starts_with(|c: char| c.is_ascii_digit()))
        .then_some(port)
}

/// Host numbers depend on the order of discovery; udev counts from the lowest below the same parent.
fn host_of_parent(parent: &Path, host: &str) -> Option<u32> {
    let own: u32 = host.strip_prefix("host")?.parse().ok()?;
    let names = fs::read_dir(parent)
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok());
    let lowest = names
        .filter_map(|n| n.strip_prefix("host")?.parse::<u32>().ok())
        .min()
        .unwrap_or(own);
    own.checked_sub(lowest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    /// A sysfs in miniature.
    struct Sysfs(tempfile::TempDir);

    impl Sysfs {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("block")).unwrap();
            Sysfs(dir)
        }

        /// `place` below `devices`, `device` relative to it, then files relative to it.
        fn add(&self, place: &str, device: Option<&str>, files: &[(&str, &[u8])]) {
            let dir = self.0.path().join("devices").join(place);
            fs::create_dir_all(&dir).unwrap();
            if let Some(device) = device {
                fs::create_dir_all(dir.join(device)).unwrap();
                symlink(device, dir.join("device")).unwrap();
            }
            for (name, content) in files {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let name = dir.file_name().unwrap();
            symlink(
                Path::new("../devices").join(place),
                self.0.path().join("block").join(name),
            )
            .unwrap();
        }

        fn list(&self) -> Vec<Disk> {
            list_block_devices(self.0.path()).unwrap()
        }
    }

    fn owned(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn five_kinds_of_disks() {
        let sysfs = Sysfs::new();
        sysfs.add(
            "pci0000:00/0000:00:04.0/virtio1/block/vda",
            Some("../.."),
            &[
                ("size", b"20971520\n"),
                ("serial", b"disk-serial"),
                ("ro", b"0\n"),
                ("queue/rotational", b"1\n"),
                ("queue/logical_block_size", b"512\n"),
                ("queue/physical_block_size", b"4096\n"),
                ("../../vendor", b"0x1af4\n"),
            ],
        );
        let mut identify = vec![0; 60 + 512];
        identify[1] = 0x89;
        for (i, pair) in b"A full model name of forty characters   "
            .chunks(2)
            .enumerate()
        {
            identify[60 + 54 + 2 * i] = pair[1];
            identify[60 + 54 + 2 * i + 1] = pair[0];
        }
        sysfs.add(
            "pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda",
            Some("../.."),
            &[
                ("size", b"1000\n"),
                ("../../vendor", b"ATA     \n"),
                ("../../model", b"A full model nam\n"),
                ("../../wwid", b"naa.5000c500a1b2c3d4\n"),
                ("../../vpd_pg80", b"\0\x80\0\x08  Z1F0AB"),
                ("../../vpd_pg89", &identify),
                ("../../../../../ata_port/ata3/port_no", b"1\n"),
                ("queue/rotational", b"1\n"),
            ],
        );
        sysfs.add(
            "pci0000:00/0000:00:03.0/0000:01:00.0/nvme/nvme0/nvme0n1",
            Some(".."),
            &[
                ("size", b"2000\n"),
                ("wwid", b"eui.0025385b71b09c1e\n"),
                ("nsid", b"1\n"),
                ("../model", b"Fast Disk 1TB                           \n"),
                ("../serial", b"S4EWNX0R\n"),
                ("queue/rotational", b"0\n"),
                ("queue/logical_block_size", b"4096\n"),
            ],
        );
        sysfs.add(
            "pci0000:00/0000:00:05.0/virtio2/host5/target5:0:1/5:0:1:0/block/sdb",
            Some("../.."),
            &[
                ("size", b"3000\n"),
                ("removable", b"1\n"),
                ("ro", b"1\n"),
                ("../../vendor", b"QEMU\n"),
                ("../../model", b"QEMU HARDDISK\n"),
                ("../../vpd_pg83", b"\0\x83\0\x14\x01\x03\0\x10\x60\x01\x40\x5f\0\0\0\x01\x12\x34\x56\x78\x9a\xbc\xde\xf0"),
            ],
        );
        sysfs.add(
            "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdc",
            Some("../.."),
            &[("size", b"4000\n"), ("removable", b"1\n")],
        );
        let disks = sysfs.list();
        let names: Vec<&str> = disks.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "/dev/nvme0n1",
                "/dev/sda",
                "/dev/sdb",
                "/dev/sdc",
                "/dev/vda"
            ]
        );
        let expected = Disk {
            name: "/dev/vda".into(),
            size: 10 << 30,
            rotational: true,
            serial: owned("disk-serial"),
            vendor: owned("0x1af4"),
            by_path: owned("/dev/disk/by-path/pci-0000:00:04.0"),
            tran: owned("virtio"),
            logical_sector_size: 512,
            physical_sector_size: 4096,
            ..Disk::default()
        };
        assert_eq!(disks[4], expected);
        let expected = Disk {
            name: "/dev/sda".into(),
            size: 512_000,
            rotational: true,
            model: owned("A full model name of forty characters"),
            vendor: owned("ATA"),
            serial: owned("Z1F0AB"),
            wwn: owned("0x5000c500a1b2c3d4"),
            wwn_with_extension: owned("0x5000c500a1b2c3d4"),
            hctl: owned("2:0:0:0"),
            by_path: owned("/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
            tran: owned("sata"),
            logical_sector_size: 512,
            physical_sector_size: 512,
            ..Disk::default()
        };
        assert_eq!(disks[1], expected);
        let nvme = &disks[0];
        assert_eq!(
            (nvme.model.as_deref(), nvme.serial.as_deref()),
            (Some("Fast Disk 1TB"), Some("S4EWNX0R"))
        );
        assert_eq!(nvme.wwn, owned("eui.0025385b71b09c1e"));
        assert_eq!(
            nvme.by_path,
            owned("/dev/disk/by-path/pci-0000:01:00.0-nvme-1")
        );
        assert_eq!(
            (nvme.logical_sector_size, nvme.physical_sector_size),
            (4096, 4096)
        );
        let scsi = &disks[2];
        assert!(scsi.read_only && scsi.removable);
        assert_eq!(scsi.hctl, owned("5:0:1:0"));
        assert_eq!(
            scsi.by_path,
            owned("/dev/disk/by-path/pci-0000:00:05.0-scsi-0:0:1:0")
        );
        assert_eq!(scsi.wwn, owned("0x6001405f00000001"));
        assert_eq!(scsi.wwn_vendor_extension, owned("0x123456789abcdef0"));
        assert_eq!(
            scsi.wwn_with_extension,
            owned("0x6001405f00000001123456789abcdef0")
        );
        assert_eq!(
            disks[3].by_path,
            owned("/dev/disk/by-path/pci-0000:00:14.0-usb-0:2:1.0-scsi-0:0:0:0")
        );
        assert_eq!(disks[3].tran, owned("usb"));
    }

    #[test]
    fn what_is_no_disk_is_not_listed() {
        let sysfs = Sysfs::new();
        for name in [
            "loop0",
            "ram1",
            "zram0",
            "sr0",
            "fd0",
            "md127",
            "dm-0",
            "mmcblk0boot0",
            "nbd3",
        ] {
            sysfs.add(&format!("virtual/block/{name}"), None, &[("size", b"1000")]);
        }
        sysfs.add("virtual/block/sdempty", None, &[("size", b"0")]);
        sysfs.add(
            "virtual/block/nvme0c0n1",
            None,
            &[("size", b"1000"), ("hidden", b"1\n")],
        );
        sysfs.add("virtual/block/sdnosize", None, &[]);
        assert_eq!(sysfs.list(), []);
        sysfs.add("virtual/block/mmcblk0", None, &[("size", b"1000")]);
        assert_eq!(sysfs.list().len(), 1);
        assert!(list_block_devices(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn this_machine_can_be_listed() {
        for disk in list_block_devices(Path::new("/sys")).unwrap() {
            assert!(disk.name.starts_with("/dev/") && disk.size > 0, "{disk:?}");
        }
    }
}
