//! `manual-management`: machines without a BMC; a person presses the buttons.

use bessemer_model::InterfaceKind as K;

use super::{HardwareType, common};

pub const MANUAL_MANAGEMENT: HardwareType = HardwareType {
    name: "manual-management",
    description: "Machines whose power and boot order are changed by hand",
    interfaces: &[
        (K::Bios, common::BIOS),
        (K::Boot, common::BOOT),
        (K::Console, common::CONSOLE),
        (K::Deploy, &["direct", "noop"]),
        (K::Firmware, common::FIRMWARE),
        (K::Inspect, common::INSPECT),
        (K::Management, &["noop", "fake"]),
        (K::Network, common::NETWORK),
        (K::Power, &["fake"]),
        (K::Raid, common::RAID),
        (K::Rescue, common::RESCUE),
        (K::Storage, common::STORAGE),
        (K::Vendor, &["no-vendor"]),
    ],
    any: false,
};
