//! `ipmi`: any board whose BMC speaks IPMI 2.0.

use bessemer_model::InterfaceKind as K;

use super::{HardwareType, common};

pub const IPMI: HardwareType = HardwareType {
    name: "ipmi",
    description: "Servers whose BMC speaks IPMI 2.0",
    interfaces: &[
        (K::Bios, common::BIOS),
        (K::Boot, common::BOOT),
        (K::Console, common::CONSOLE),
        (K::Deploy, common::DEPLOY),
        (K::Firmware, common::FIRMWARE),
        (K::Inspect, common::INSPECT),
        (K::Management, &["ipmitool", "noop"]),
        (K::Network, common::NETWORK),
        (K::Power, &["ipmitool"]),
        (K::Raid, common::RAID),
        (K::Rescue, common::RESCUE),
        (K::Storage, common::STORAGE),
        (K::Vendor, &["ipmitool", "no-vendor"]),
    ],
    any: false,
};

/// `intel-ipmi`: as `ipmi`, with a step for Speed Select.
pub const INTEL_IPMI: HardwareType = HardwareType {
    name: "intel-ipmi",
    description: "Servers with Intel's board management",
    interfaces: &[
        (K::Bios, common::BIOS),
        (K::Boot, common::BOOT),
        (K::Console, common::CONSOLE),
        (K::Deploy, common::DEPLOY),
        (K::Firmware, common::FIRMWARE),
        (K::Inspect, common::INSPECT),
        (K::Management, &["intel-ipmitool"]),
        (K::Network, common::NETWORK),
        (K::Power, &["ipmitool"]),
        (K::Raid, common::RAID),
        (K::Rescue, common::RESCUE),
        (K::Storage, common::STORAGE),
        (K::Vendor, &["ipmitool", "no-vendor"]),
    ],
    any: false,
};
