//! `ipmi`: any board whose BMC speaks IPMI 2.0.

use bessemer_model::InterfaceKind as K;

use super::HardwareType;

pub const IPMI: HardwareType = HardwareType {
    name: "ipmi",
    description: "Servers whose BMC speaks IPMI 2.0",
    interfaces: &[
        (K::Bios, &["no-bios"]),
        (K::Boot, &["ipxe", "pxe"]),
        (K::Console, &["no-console"]),
        (K::Deploy, &["direct"]),
        (K::Firmware, &["no-firmware"]),
        (K::Inspect, &["no-inspect"]),
        (K::Management, &["ipmitool", "noop"]),
        (K::Network, &["noop"]),
        (K::Power, &["ipmitool"]),
        (K::Raid, &["no-raid"]),
        (K::Rescue, &["no-rescue"]),
        (K::Storage, &["noop"]),
        (K::Vendor, &["no-vendor"]),
    ],
};
