//! The visible table of hardware types and implementations, and what follows from it: which interfaces a
//! node may have, the defaults, the catalogue that conductors publish for the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bessemer_model::{Fault, InterfaceKind, Node};
use serde::{Deserialize, Serialize};

use crate::hw::{self, HardwareType};
use crate::interface::{
    BiosInterface, BootInterface, ConsoleInterface, DeployInterface, FirmwareInterface, Hardware,
    InspectInterface, Interface, ManagementInterface, NetworkInterface, PowerInterface,
    RaidInterface, RescueInterface, StorageInterface, VendorInterface,
};
use crate::{
    bios, boot, console, deploy, firmware, inspect, management, network, power, raid, rescue,
    storage, vendor,
};

/// Every hardware type. A new one is a row here and its file.
pub const HARDWARE_TYPES: &[&HardwareType] = &[
    &hw::ipmi::IPMI,
    &hw::ipmi::INTEL_IPMI,
    &hw::fake::FAKE_HARDWARE,
    &hw::manual::MANUAL_MANAGEMENT,
    &hw::redfish::REDFISH,
    &hw::redfish::IDRAC,
];

/// Implementations that are the default only of sites that enable them by name: they need more than a BMC.
const NOT_BY_ITSELF: &[(InterfaceKind, &str)] = &[(InterfaceKind::Inspect, "agent")];

/// Implementations of each family, by the name that nodes carry. A new one is a row here and its file.
macro_rules! implementations {
    ($($kind:ident $function:ident $interface:ident { $($name:literal => $value:expr,)* })*) => {
        $(fn $function(name: &str) -> Option<Arc<dyn $interface>> {
            Some(match name {
                $($name => Arc::new($value),)*
                _ => return None,
            })
        })*

        fn implementation(kind: InterfaceKind, name: &str) -> Option<Arc<dyn Interface>> {
            match kind {
                $(InterfaceKind::$kind => $function(name).map(|i| i as Arc<dyn Interface>),)*
            }
        }
    };
}

implementations! {
    Bios bios_interface BiosInterface {
        "fake" => bios::fake::FakeBios,
        "no-bios" => bios::none::NoBios,
        "idrac-redfish" => bios::redfish::RedfishBios::IDRAC,
        "redfish" => bios::redfish::RedfishBios::PLAIN,
    }
    Boot boot_interface BootInterface {
        "fake" => boot::fake::FakeBoot,
        "ipxe" => boot::ipxe::IpxeBoot,
        "pxe" => boot::pxe::PxeBoot,
        "redfish-virtual-media" => boot::redfish_virtual_media::RedfishVirtualMedia,
    }
    Console console_interface ConsoleInterface {
        "fake" => console::fake::FakeConsole,
        "no-console" => console::none::NoConsole,
    }
    Deploy deploy_interface DeployInterface {
        "direct" => deploy::direct::DirectDeploy,
        "fake" => deploy::fake::FakeDeploy,
        "noop" => deploy::noop::NoopDeploy,
    }
    Firmware firmware_interface FirmwareInterface {
        "fake" => firmware::fake::FakeFirmware,
        "no-firmware" => firmware::none::NoFirmware,
        "redfish" => firmware::redfish::RedfishFirmware,
    }
    Inspect inspect_interface InspectInterface {
        "agent" => inspect::agent::AgentInspect,
        "fake" => inspect::fake::FakeInspect,
        "no-inspect" => inspect::none::NoInspect,
        "idrac-redfish" => inspect::redfish::RedfishInspect::IDRAC,
        "redfish" => inspect::redfish::RedfishInspect::PLAIN,
    }
    Management management_interface ManagementInterface {
        "fake" => management::fake::FakeManagement,
        "intel-ipmitool" => management::ipmitool::IpmitoolManagement::INTEL,
        "ipmitool" => management::ipmitool::IpmitoolManagement::PLAIN,
        "noop" => management::noop::NoopManagement,
        "idrac-redfish" => management::redfish::RedfishManagement::IDRAC,
        "redfish" => management::redfish::RedfishManagement::PLAIN,
    }
    Network network_interface NetworkInterface {
        "noop" => network::noop::NoopNetwork,
    }
    Power power_interface PowerInterface {
        "fake" => power::fake::FakePower,
        "ipmitool" => power::ipmitool::IpmitoolPower,
        "idrac-redfish" => power::redfish::RedfishPower::IDRAC,
        "redfish" => power::redfish::RedfishPower::PLAIN,
    }
    Raid raid_interface RaidInterface {
        "agent" => raid::agent::AgentRaid,
        "fake" => raid::fake::FakeRaid,
        "no-raid" => raid::none::NoRaid,
        "idrac-redfish" => raid::redfish::RedfishRaid::IDRAC,
        "redfish" => raid::redfish::RedfishRaid::PLAIN,
    }
    Rescue rescue_interface RescueInterface {
        "agent" => rescue::agent::AgentRescue,
        "fake" => rescue::fake::FakeRescue,
        "no-rescue" => rescue::none::NoRescue,
    }
    Storage storage_interface StorageInterface {
        "fake" => storage::fake::FakeStorage,
        "noop" => storage::noop::NoopStorage,
    }
    Vendor vendor_interface VendorInterface {
        "fake" => vendor::fake::FakeVendor,
        "ipmitool" => vendor::ipmitool::IpmitoolVendor,
        "no-vendor" => vendor::none::NoVendor,
        "idrac-redfish" => vendor::redfish::RedfishVendor::IDRAC,
        "redfish" => vendor::redfish::RedfishVendor::PLAIN,
    }
}

/// Names of a family over all hardware types.
fn known(kind: InterfaceKind) -> BTreeSet<&'static str> {
    HARDWARE_TYPES
        .iter()
        .flat_map(|t| t.supported(kind))
        .copied()
        .collect()
}

/// One hardware type as published: per family the enabled implementations and the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareTypeEntry {
    pub enabled: BTreeMap<InterfaceKind, Vec<String>>,
    pub defaults: BTreeMap<InterfaceKind, Option<String>>,
    /// `driver_info` members of the default implementations with their descriptions.
    pub properties: BTreeMap<String, String>,
}

/// What a conductor offers: hardware type name to entry.
pub type Catalogue = BTreeMap<String, HardwareTypeEntry>;

/// The drivers that the settings enable.
#[derive(Debug, Clone)]
pub struct Drivers {
    catalogue: Catalogue,
    /// What nodes may use beyond `enabled`, for the types that may use anything.
    beyond: BTreeMap<String, BTreeMap<InterfaceKind, Vec<String>>>,
}

impl Drivers {
    /// `enabled` gives the enabled implementations of a family (`[DEFAULT] enabled_<kind>_interfaces`), `None` =
    /// every implementation; `default` gives `[DEFAULT] default_<kind>_interface`.
    ///
    /// # Errors
    /// A sentence that names the option when a type or implementation does not exist.
    pub fn new(
        types: &[String],
        enabled: impl Fn(InterfaceKind) -> Option<Vec<String>>,
        default: impl Fn(InterfaceKind) -> Option<String>,
    ) -> Result<Self, Fault> {
        for kind in InterfaceKind::ALL {
            let known = known(kind);
            for name in enabled(kind)
                .unwrap_or_default()
                .iter()
                .chain(default(kind).iter())
            {
                if !known.contains(name.as_str()) {
                    return Err(Fault::invalid(format!(
                        "enabled_{kind}_interfaces or default_{kind}_interface names {name}, which this version does not have; it has {}.",
                        known.into_iter().collect::<Vec<_>>().join(", ")
                    )));
                }
            }
        }
        let mut beyond = BTreeMap::new();
        let mut catalogue = Catalogue::new();
        for name in types {
            let hardware = HARDWARE_TYPES.iter().find(|t| t.name == name).ok_or_else(|| {
                Fault::invalid(format!(
                    "enabled_hardware_types names {name}, which this version does not have; it has {}.",
                    HARDWARE_TYPES.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
                ))
            })?;
            let mut entry = HardwareTypeEntry {
                enabled: BTreeMap::new(),
                defaults: BTreeMap::new(),
                properties: BTreeMap::new(),
            };
            for kind in InterfaceKind::ALL {
                let allowed = enabled(kind);
                let names: Vec<String> = hardware
                    .supported(kind)
                    .iter()
                    .filter(|n| allowed.as_ref().is_none_or(|a| a.iter().any(|x| x == *n)))
                    .map(|n| (*n).to_owned())
                    .collect();
                let by_itself = |name: &&String| {
                    allowed.is_some() || !NOT_BY_ITSELF.contains(&(kind, name.as_str()))
                };
                let wanted = default(kind).filter(|d| names.contains(d));
                let chosen = wanted
                    .or_else(|| names.iter().find(by_itself).cloned())
                    .or_else(|| names.first().cloned());
                let properties = chosen
                    .as_deref()
                    .and_then(|name| implementation(kind, name))
                    .map_or(&[][..], |i| i.properties());
                for property in properties {
                    entry
                        .properties
                        .insert(property.name.to_owned(), property.description.to_owned());
                }
                entry.defaults.insert(kind, chosen);
                entry.enabled.insert(kind, names);
            }
            if hardware.any {
                let all = InterfaceKind::ALL.map(|kind| {
                    let everything = || known(kind).into_iter().map(str::to_owned).collect();
                    (kind, enabled(kind).unwrap_or_else(everything))
                });
                beyond.insert(name.clone(), BTreeMap::from(all));
            }
            catalogue.insert(name.clone(), entry);
        }
        Ok(Self { catalogue, beyond })
    }

    /// Implementations of a family that nodes of this driver may use.
    fn usable(&self, driver: &str, kind: InterfaceKind) -> &[String] {
        self.beyond
            .get(driver)
            .and_then(|kinds| kinds.get(&kind))
            .or_else(|| self.catalogue.get(driver)?.enabled.get(&kind))
            .map_or(&[], Vec::as_slice)
    }

    /// Implementations of a family that some type may use, quoted, in the order of their names.
    fn of_any_type(&self, kind: InterfaceKind) -> Vec<String> {
        let all: BTreeSet<&String> = self
            .catalogue
            .keys()
            .flat_map(|driver| self.usable(driver, kind))
            .collect();
        all.into_iter().map(|name| format!("'{name}'")).collect()
    }

    /// The default implementation of a family, for calls that concern a driver rather than a node.
    fn default_of(&self, driver: &str, kind: InterfaceKind) -> Result<&str, Fault> {
        let entry = self.catalogue.get(driver).ok_or_else(|| unknown(driver))?;
        entry
            .defaults
            .get(&kind)
            .and_then(Option::as_deref)
            .ok_or_else(|| {
                Fault::invalid(format!(
                    "For driver '{driver}', no default {kind} interface found: none of the type's implementations is enabled."
                ))
            })
    }

    /// The vendor interface of a hardware type.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not enabled; no default.
    pub fn vendor(&self, driver: &str) -> Result<Arc<dyn VendorInterface>, Fault> {
        let name = self.default_of(driver, InterfaceKind::Vendor)?;
        vendor_interface(name).ok_or_else(|| unknown(driver))
    }

    /// The RAID interface of a hardware type.
    ///
    /// # Errors
    /// As [`Drivers::vendor`].
    pub fn raid(&self, driver: &str) -> Result<Arc<dyn RaidInterface>, Fault> {
        let name = self.default_of(driver, InterfaceKind::Raid)?;
        raid_interface(name).ok_or_else(|| unknown(driver))
    }

    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn entry(&self, driver: &str) -> Result<&HardwareTypeEntry, Fault> {
        self.catalogue.get(driver).ok_or_else(|| {
            Fault::invalid(format!(
                "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor group \"\". Ensure the driver is valid and enabled."
            ))
        })
    }

    /// `GET /v1/drivers/{name}/properties`.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not enabled.
    pub fn properties(&self, driver: &str) -> Result<BTreeMap<String, String>, Fault> {
        self.catalogue
            .get(driver)
            .map(|e| e.properties.clone())
            .ok_or_else(|| unknown(driver))
    }

    /// Fills in the default of every family that the node has no implementation for, and checks the ones
    /// it has. Those in `explicit` were named by the client: they are refused rather than replaced.
    ///
    /// # Errors
    /// Unknown driver, interface not enabled or not compatible, no valid default.
    pub fn complete(&self, node: &mut Node, explicit: &[InterfaceKind]) -> Result<(), Fault> {
        let entry = self.entry(&node.driver)?;
        for kind in InterfaceKind::ALL {
            let names = self.usable(&node.driver, kind);
            match node.interfaces.get(kind) {
                Some(name) if names.iter().any(|n| n == name) => {}
                Some(name) if explicit.contains(&kind) || !name.is_empty() => {
                    let name = name.to_owned();
                    let anywhere = known(kind).contains(name.as_str());
                    return Err(Fault::invalid(if anywhere {
                        format!(
                            "{kind} interface implementation '{name}' is not supported by hardware type {} or not enabled; it has {}.",
                            node.driver,
                            names.join(", ")
                        )
                    } else {
                        format!(
                            "Could not find the following interface in the 'ironic.hardware.interfaces.{kind}' entrypoint: {name}. Valid interfaces are [{}].",
                            self.of_any_type(kind).join(", ")
                        )
                    }));
                }
                _ => {
                    let default = entry.defaults.get(&kind).cloned().flatten().ok_or_else(|| {
                        Fault::invalid(format!(
                            "For node {} with driver '{}', no default {kind} interface found: none of the type's implementations is enabled.",
                            node.label(),
                            node.driver
                        ))
                    })?;
                    node.interfaces.set(kind, Some(default));
                }
            }
        }
        Ok(())
    }

    /// The interface objects of a node.
    ///
    /// # Errors
    /// When its driver or one of its interfaces is not enabled (any more).
    pub fn hardware(&self, node: &Node) -> Result<Hardware, Fault> {
        let entry = self.entry(&node.driver)?;
        let name = |kind: InterfaceKind| {
            let name = node
                .interfaces
                .get(kind)
                .or_else(|| entry.defaults.get(&kind).and_then(Option::as_deref))
                .unwrap_or_default();
            if self.usable(&node.driver, kind).iter().any(|n| n == name) {
                Ok(name)
            } else {
                Err(gone(node, kind, name))
            }
        };
        use InterfaceKind as K;
        let missing =
            |kind: K| move || gone(node, kind, node.interfaces.get(kind).unwrap_or_default());
        Ok(Hardware {
            bios: bios_interface(name(K::Bios)?).ok_or_else(missing(K::Bios))?,
            boot: boot_interface(name(K::Boot)?).ok_or_else(missing(K::Boot))?,
            console: console_interface(name(K::Console)?).ok_or_else(missing(K::Console))?,
            deploy: deploy_interface(name(K::Deploy)?).ok_or_else(missing(K::Deploy))?,
            firmware: firmware_interface(name(K::Firmware)?).ok_or_else(missing(K::Firmware))?,
            inspect: inspect_interface(name(K::Inspect)?).ok_or_else(missing(K::Inspect))?,
            management: management_interface(name(K::Management)?)
                .ok_or_else(missing(K::Management))?,
            network: network_interface(name(K::Network)?).ok_or_else(missing(K::Network))?,
            power: power_interface(name(K::Power)?).ok_or_else(missing(K::Power))?,
            raid: raid_interface(name(K::Raid)?).ok_or_else(missing(K::Raid))?,
            rescue: rescue_interface(name(K::Rescue)?).ok_or_else(missing(K::Rescue))?,
            storage: storage_interface(name(K::Storage)?).ok_or_else(missing(K::Storage))?,
            vendor: vendor_interface(name(K::Vendor)?).ok_or_else(missing(K::Vendor))?,
        })
    }
}

fn unknown(driver: &str) -> Fault {
    Fault::not_found(format!("The driver '{driver}' is unknown."))
}

fn gone(node: &Node, kind: InterfaceKind, name: &str) -> Fault {
    Fault::invalid(format!(
        "Node {} uses {kind} interface {name}, which is not enabled for driver {}; enable it in [DEFAULT] enabled_{kind}_interfaces or change the node's {kind}_interface.",
        node.label(),
        node.driver
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Timestamp};

    fn drivers() -> Drivers {
        Drivers::new(&["ipmi".into(), "fake-hardware".into()], |_| None, |_| None).unwrap()
    }

    /// Every name in a hardware type that flows call has an object behind it: no row without code.
    #[test]
    fn every_row_has_its_implementation() {
        for hardware in HARDWARE_TYPES {
            for kind in InterfaceKind::ALL {
                assert!(
                    !hardware.supported(kind).is_empty(),
                    "{} {kind}",
                    hardware.name
                );
            }
        }
        for kind in InterfaceKind::ALL {
            for name in known(kind) {
                let found = implementation(kind, name).unwrap();
                assert_eq!((found.kind(), found.name()), (kind, name));
            }
        }
    }

    #[test]
    fn defaults_are_filled_in_and_wrong_names_refused() {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        drivers().complete(&mut node, &[]).unwrap();
        assert_eq!(node.interfaces.get(InterfaceKind::Boot), Some("ipxe"));
        assert_eq!(node.interfaces.get(InterfaceKind::Power), Some("ipmitool"));
        node.interfaces
            .set(InterfaceKind::Deploy, Some("fake".into()));
        let text = drivers()
            .complete(&mut node, &[InterfaceKind::Deploy])
            .unwrap_err()
            .text;
        assert!(
            text.contains("'fake' is not supported by hardware type ipmi"),
            "{text}"
        );
        node.driver = "acme".into();
        assert!(
            drivers()
                .complete(&mut node, &[])
                .unwrap_err()
                .text
                .contains("acme")
        );
    }

    #[test]
    fn options_that_name_nothing_are_refused() {
        let text = Drivers::new(
            &["ipmi".into()],
            |k| (k == InterfaceKind::Boot).then(|| vec!["pixie".into()]),
            |_| None,
        )
        .unwrap_err()
        .text;
        assert!(
            text.contains("enabled_boot_interfaces")
                && text.contains("pixie")
                && text.contains("ipxe"),
            "{text}"
        );
    }
}
