//! What hardware this is, from /sys and /proc, in the form of upstream's inventory.
//!
//! Never fails: what cannot be read is left out. Must never change anything.

use std::net::IpAddr;
use std::path::Path;

use bessemer_wire::{
    Inventory, InventoryBoot, InventoryCpu, InventoryDisk, InventoryInterface, InventoryMemory,
    SystemVendor,
};
use serde_json::json;

use crate::net;
use crate::settings::Settings;

/// Reads everything.
#[must_use]
pub fn collect(settings: &Settings) -> Inventory {
    let sys = &settings.roots.sys;
    let proc = &settings.roots.proc;
    Inventory {
        interfaces: interfaces(sys),
        cpu: cpu(&read(&proc.join("cpuinfo")).unwrap_or_default()),
        disks: disks(settings),
        memory: memory(sys, &read(&proc.join("meminfo")).unwrap_or_default()),
        bmc_address: None,
        bmc_v6address: None,
        bmc_mac: None,
        system_vendor: system_vendor(&sys.join("class/dmi/id")),
        boot: InventoryBoot {
            current_boot_mode: if sys.join("firmware/efi").exists() {
                "uefi"
            } else {
                "bios"
            }
            .to_owned(),
            pxe_interface: settings.boot_mac.clone(),
        },
        hostname: rustix::system::uname()
            .nodename()
            .to_str()
            .ok()
            .map(str::to_owned),
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn non_empty(path: &Path) -> Option<String> {
    read(path).filter(|t| !t.is_empty())
}

fn interfaces(sys: &Path) -> Vec<InventoryInterface> {
    let addresses = net::netlink::Netlink::open()
        .and_then(|mut n| n.addresses())
        .unwrap_or_default();
    net::interfaces(sys)
        .into_iter()
        .map(|interface| {
            let directory = sys.join("class/net").join(&interface.name);
            let device = directory.join("device");
            let link_name = |name: &str| {
                std::fs::canonicalize(device.join(name))
                    .ok()
                    .and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
            };
            let address = |want_v4: bool| {
                addresses
                    .iter()
                    .filter(|a| a.interface == interface.index && a.ip.is_ipv4() == want_v4)
                    .map(|a| a.ip)
                    .find(|ip| !is_link_local(ip))
                    .map(|ip| ip.to_string())
            };
            InventoryInterface {
                ipv4_address: address(true),
                ipv6_address: address(false),
                has_carrier: interface.carrier,
                vendor: non_empty(&device.join("vendor")),
                product: non_empty(&device.join("device")),
                speed_mbps: read(&directory.join("speed")).and_then(|t| t.parse().ok()),
                pci_address: std::fs::canonicalize(&device)
                    .ok()
                    .and_then(|p| pci_address(&p)),
                driver: link_name("driver"),
                name: interface.name,
                mac_address: interface.mac,
                ..InventoryInterface::default()
            }
        })
        .collect()
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0) == 0xfe80,
    }
}

/// The last part of a device's path that is `0000:00:03.0`.
fn pci_address(path: &Path) -> Option<String> {
    path.iter()
        .rev()
        .map(|part| part.to_string_lossy().into_owned())
        .find(|part| {
            let fields: Vec<&str> = part.split([':', '.']).collect();
            fields.len() == 4 && part.len() == 12 && part.matches(':').count() == 2
        })
}

fn disks(settings: &Settings) -> Vec<InventoryDisk> {
    crate::disks::list(settings)
        .unwrap_or_default()
        .into_iter()
        .map(|disk| InventoryDisk {
            logical_sectors: Some(u64::from(disk.logical_sector_size)),
            physical_sectors: Some(u64::from(disk.physical_sector_size)),
            name: disk.name,
            model: disk.model,
            size: disk.size,
            rotational: disk.rotational,
            wwn: disk.wwn,
            serial: disk.serial,
            vendor: disk.vendor,
            wwn_with_extension: disk.wwn_with_extension,
            wwn_vendor_extension: disk.wwn_vendor_extension,
            hctl: disk.hctl,
            by_path: disk.by_path,
            tran: disk.tran,
        })
        .collect()
}

/// `/proc/cpuinfo`.
fn cpu(text: &str) -> InventoryCpu {
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
            .filter(|v| !v.is_empty())
    };
    let count = text
        .lines()
        .filter(|line| {
            line.split_once(':')
                .is_some_and(|(key, _)| key.trim() == "processor")
        })
        .count();
    let mut sockets: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == "physical id")
        .map(|(_, id)| id.trim())
        .collect();
    sockets.sort_unstable();
    sockets.dedup();
    InventoryCpu {
        model_name: value("model name"),
        frequency: value("cpu MHz"),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        architecture: std::env::consts::ARCH.to_owned(),
        flags: value("flags")
            .or_else(|| value("Features"))
            .map(|f| f.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        socket_count: u32::try_from(sockets.len()).ok().filter(|n| *n > 0),
    }
}

fn memory(sys: &Path, meminfo: &str) -> InventoryMemory {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024);
    InventoryMemory {
        total,
        physical_mb: installed_mib(&sys.join("firmware/dmi/entries"))
            .unwrap_or_else(|| total.div_ceil(1 << 20)),
    }
}

/// Sum of all memory devices in the DMI table (SMBIOS 3.6 section 7.18, type 17), in MiB.
fn installed_mib(entries: &Path) -> Option<u64> {
    let mut sum: u64 = 0;
    for entry in std::fs::read_dir(entries).ok()?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("17-") {
            continue;
        }
        let Ok(raw) = std::fs::read(entry.path().join("raw")) else {
            continue;
        };
        sum = sum.saturating_add(memory_device_mib(&raw).unwrap_or(0));
    }
    (sum > 0).then_some(sum)
}

fn memory_device_mib(raw: &[u8]) -> Option<u64> {
    let size = u16::from_le_bytes(raw.get(12..14)?.try_into().ok()?);
    Some(match size {
        0 | 0xffff => 0,
        0x7fff => u64::from(u32::from_le_bytes(raw.get(28..32)?.try_into().ok()?) & 0x7fff_ffff),
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff) / 1024,
        mib => u64::from(mib),
    })
}

fn system_vendor(dmi: &Path) -> SystemVendor {
    let value = |name: &str| read(&dmi.join(name)).unwrap_or_default();
    SystemVendor {
        product_name: value("product_name"),
        serial_number: value("product_serial"),
        manufacturer: value("sys_vendor"),
        firmware: json!({
            "vendor": value("bios_vendor"),
            "version": value("bios_version"),
            "build_date": value("bios_date"),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn processors() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: 2500.000\nphysical id\t: 0\nflags\t\t: fpu vme\n\n\
                    processor\t: 1\nmodel name\t: Some CPU\nphysical id\t: 1\nflags\t\t: fpu vme\n";
        let found = cpu(text);
        assert_eq!(found.model_name.as_deref(), Some("Some CPU"));
        assert_eq!(found.frequency.as_deref(), Some("2500.000"));
        assert_eq!((found.count, found.socket_count), (2, Some(2)));
        assert_eq!(found.flags, ["fpu", "vme"]);
        assert_eq!(cpu("").count, 0);
    }

    #[test]
    fn memory_devices() {
        let raw = |size: u16, extended: u32| {
            let mut raw = vec![0; 40];
            raw[12..14].copy_from_slice(&size.to_le_bytes());
            raw[28..32].copy_from_slice(&extended.to_le_bytes());
            raw
        };
        for (bytes, expected) in [
            (raw(1024, 0), Some(1024)),
            (raw(0, 0), Some(0)),
            (raw(0xffff, 0), Some(0)),
            (raw(0x7fff, 65536), Some(65536)),
            (raw(0x8400, 0), Some(1)),
            (vec![0; 13], None),
        ] {
            assert_eq!(memory_device_mib(&bytes), expected);
        }
    }

    #[test]
    fn pci_addresses() {
        for (path, expected) in [
            (
                "/sys/devices/pci0000:00/0000:00:03.0/virtio0",
                Some("0000:00:03.0"),
            ),
            ("/sys/devices/virtual", None),
        ] {
            assert_eq!(pci_address(Path::new(path)).as_deref(), expected);
        }
    }
}
