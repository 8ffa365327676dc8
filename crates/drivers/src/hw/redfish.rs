//! `redfish`: any board whose BMC speaks Redfish; `idrac`: Dell's.

use bessemer_model::InterfaceKind as K;

use super::{HardwareType, common};

pub const REDFISH: HardwareType = HardwareType {
    name: "redfish",
    description: "Servers whose BMC speaks Redfish",
    interfaces: &[
        (K::Bios, &["redfish", "no-bios"]),
        (K::Boot, &["ipxe", "pxe", "redfish-virtual-media"]),
        (K::Console, common::CONSOLE),
        (K::Deploy, common::DEPLOY),
        (K::Firmware, &["redfish", "no-firmware"]),
        (K::Inspect, &["redfish", "agent", "no-inspect"]),
        (K::Management, &["redfish", "noop"]),
        (K::Network, common::NETWORK),
        (K::Power, &["redfish"]),
        (K::Raid, &["redfish", "no-raid", "agent"]),
        (K::Rescue, common::RESCUE),
        (K::Storage, common::STORAGE),
        (K::Vendor, &["redfish", "no-vendor"]),
    ],
    any: false,
};

pub const IDRAC: HardwareType = HardwareType {
    name: "idrac",
    description: "Dell's servers with an iDRAC",
    interfaces: &[
        (K::Bios, &["idrac-redfish", "redfish", "no-bios"]),
        (K::Boot, common::BOOT),
        (K::Console, common::CONSOLE),
        (K::Deploy, common::DEPLOY),
        (K::Firmware, &["redfish", "no-firmware"]),
        (K::Inspect, &["idrac-redfish", "agent", "no-inspect"]),
        (K::Management, &["idrac-redfish"]),
        (K::Network, common::NETWORK),
        (K::Power, &["idrac-redfish", "redfish"]),
        (K::Raid, &["idrac-redfish", "no-raid", "agent"]),
        (K::Rescue, common::RESCUE),
        (K::Storage, common::STORAGE),
        (K::Vendor, &["idrac-redfish", "redfish", "no-vendor"]),
    ],
    any: false,
};
