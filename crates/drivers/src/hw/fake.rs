//! `fake-hardware`: nodes without hardware, for development and load.

use bessemer_model::InterfaceKind as K;

use super::HardwareType;

pub const FAKE_HARDWARE: HardwareType = HardwareType {
    name: "fake-hardware",
    description: "Nodes without hardware",
    interfaces: &[
        (K::Bios, &["no-bios"]),
        (K::Boot, &["fake", "ipxe", "pxe"]),
        (K::Console, &["no-console"]),
        (K::Deploy, &["fake", "direct"]),
        (K::Firmware, &["no-firmware"]),
        (K::Inspect, &["no-inspect"]),
        (K::Management, &["fake", "ipmitool", "noop"]),
        (K::Network, &["noop"]),
        (K::Power, &["fake", "ipmitool"]),
        (K::Raid, &["no-raid"]),
        (K::Rescue, &["no-rescue"]),
        (K::Storage, &["noop"]),
        (K::Vendor, &["no-vendor"]),
    ],
};
