//! `fake-hardware`: nodes without hardware, for development and load. They may mix in real implementations.

use bessemer_model::InterfaceKind as K;

use super::HardwareType;

pub const FAKE_HARDWARE: HardwareType = HardwareType {
    name: "fake-hardware",
    description: "Nodes without hardware",
    interfaces: &[
        (K::Bios, &["fake", "no-bios"]),
        (K::Boot, &["fake", "ipxe", "pxe"]),
        (K::Console, &["fake", "no-console"]),
        (K::Deploy, &["fake", "direct"]),
        (K::Firmware, &["fake", "no-firmware"]),
        (K::Inspect, &["fake", "agent", "no-inspect"]),
        (K::Management, &["fake"]),
        (K::Network, &["noop"]),
        (K::Power, &["fake"]),
        (K::Raid, &["fake", "no-raid", "agent"]),
        (K::Rescue, &["fake", "no-rescue", "agent"]),
        // upstream's default of the option default_storage_interface comes first
        (K::Storage, &["noop", "fake"]),
        (K::Vendor, &["fake", "no-vendor"]),
    ],
    any: true,
};
