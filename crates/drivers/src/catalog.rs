//! The visible table of hardware types and implementations, and what follows from it: which interfaces a
//! node may have, the defaults, the catalogue that conductors publish for the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessemer_model::{Fault, InterfaceKind, Node};
use serde::{Deserialize, Serialize};

use crate::hw::HardwareType;
use crate::interface::{
    BootInterface, DeployInterface, Hardware, ManagementInterface, PowerInterface, Property,
};
use crate::{boot, deploy, hw, management, power};

/// Every hardware type. A new one is a row here and its file.
pub const HARDWARE_TYPES: &[&HardwareType] = &[&hw::ipmi::IPMI, &hw::fake::FAKE_HARDWARE];

fn power_interface(name: &str) -> Option<Arc<dyn PowerInterface>> {
    Some(match name {
        "ipmitool" => Arc::new(power::ipmitool::IpmitoolPower),
        "fake" => Arc::new(power::fake::FakePower),
        _ => return None,
    })
}

fn management_interface(name: &str) -> Option<Arc<dyn ManagementInterface>> {
    Some(match name {
        "ipmitool" => Arc::new(management::ipmitool::IpmitoolManagement),
        "noop" => Arc::new(management::noop::NoopManagement),
        "fake" => Arc::new(management::fake::FakeManagement),
        _ => return None,
    })
}

fn boot_interface(name: &str) -> Option<Arc<dyn BootInterface>> {
    Some(match name {
        "ipxe" => Arc::new(boot::ipxe::IpxeBoot),
        "pxe" => Arc::new(boot::pxe::PxeBoot),
        "fake" => Arc::new(boot::fake::FakeBoot),
        _ => return None,
    })
}

fn deploy_interface(name: &str) -> Option<Arc<dyn DeployInterface>> {
    Some(match name {
        "direct" => Arc::new(deploy::direct::DirectDeploy),
        "fake" => Arc::new(deploy::fake::FakeDeploy),
        _ => return None,
    })
}

/// One hardware type as published: per family the enabled implementations and the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareTypeEntry {
    pub enabled: BTreeMap<InterfaceKind, Vec<String>>,
    pub defaults: BTreeMap<InterfaceKind, Option<String>>,
    /// `driver_info` members with their descriptions.
    pub properties: BTreeMap<String, String>,
}

/// What a conductor offers: hardware type name to entry.
pub type Catalogue = BTreeMap<String, HardwareTypeEntry>;

/// The drivers that the settings enable.
#[derive(Debug, Clone)]
pub struct Drivers {
    catalogue: Catalogue,
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
            let known = |name: &str| {
                HARDWARE_TYPES
                    .iter()
                    .any(|t| t.supported(kind).contains(&name))
            };
            for name in enabled(kind)
                .unwrap_or_default()
                .iter()
                .chain(default(kind).iter())
            {
                if !known(name) {
                    let all: std::collections::BTreeSet<_> = HARDWARE_TYPES
                        .iter()
                        .flat_map(|t| t.supported(kind))
                        .copied()
                        .collect();
                    return Err(Fault::invalid(format!(
                        "enabled_{kind}_interfaces or default_{kind}_interface names {name}, which this version does not have; it has {}.",
                        all.into_iter().collect::<Vec<_>>().join(", ")
                    )));
                }
            }
        }
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
                let wanted = default(kind).filter(|d| names.contains(d));
                entry
                    .defaults
                    .insert(kind, wanted.or_else(|| names.first().cloned()));
                for property in names.iter().flat_map(|n| properties_of(kind, n)) {
                    entry
                        .properties
                        .insert(property.name.to_owned(), property.description.to_owned());
                }
                entry.enabled.insert(kind, names);
            }
            catalogue.insert(name.clone(), entry);
        }
        Ok(Self { catalogue })
    }

    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn entry(&self, driver: &str) -> Result<&HardwareTypeEntry, Fault> {
        self.catalogue.get(driver).ok_or_else(|| {
            Fault::invalid(format!(
                "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor group \"\"."
            ))
        })
    }

    /// `GET /v1/drivers/{name}/properties`.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not enabled.
    pub fn properties(&self, driver: &str) -> Result<BTreeMap<String, String>, Fault> {
        self.catalogue.get(driver).map(|e| e.properties.clone()).ok_or_else(|| {
            Fault::not_found(format!("The driver '{driver}' is unknown or not enabled; see [DEFAULT] enabled_hardware_types."))
        })
    }

    /// Fills in the default of every family that the node has no implementation for, and checks the ones
    /// it has. Those in `explicit` were named by the client: they are refused rather than replaced.
    ///
    /// # Errors
    /// Unknown driver, interface not enabled or not compatible, no valid default.
    pub fn complete(&self, node: &mut Node, explicit: &[InterfaceKind]) -> Result<(), Fault> {
        let entry = self.entry(&node.driver)?;
        for kind in InterfaceKind::ALL {
            let names = entry.enabled.get(&kind).map_or(&[][..], Vec::as_slice);
            match node.interfaces.get(kind) {
                Some(name) if names.iter().any(|n| n == name) => {}
                Some(name) if explicit.contains(&kind) || !name.is_empty() => {
                    let name = name.to_owned();
                    let anywhere = HARDWARE_TYPES
                        .iter()
                        .any(|t| t.supported(kind).contains(&name.as_str()));
                    return Err(Fault::invalid(if anywhere {
                        format!(
                            "{kind} interface implementation '{name}' is not supported by hardware type {} or not enabled; it has {}.",
                            node.driver,
                            names.join(", ")
                        )
                    } else {
                        format!(
                            "Could not find the following interface in the 'ironic.hardware.interfaces.{kind}' entrypoint: {name}. Valid interfaces are {}.",
                            names.join(", ")
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
            let enabled = entry
                .enabled
                .get(&kind)
                .is_some_and(|names| names.iter().any(|n| n == name));
            if enabled {
                Ok(name)
            } else {
                Err(gone(node, kind, name))
            }
        };
        use InterfaceKind as K;
        let missing =
            |kind: K| move || gone(node, kind, node.interfaces.get(kind).unwrap_or_default());
        Ok(Hardware {
            power: power_interface(name(K::Power)?).ok_or_else(missing(K::Power))?,
            management: management_interface(name(K::Management)?)
                .ok_or_else(missing(K::Management))?,
            boot: boot_interface(name(K::Boot)?).ok_or_else(missing(K::Boot))?,
            deploy: deploy_interface(name(K::Deploy)?).ok_or_else(missing(K::Deploy))?,
        })
    }
}

fn gone(node: &Node, kind: InterfaceKind, name: &str) -> Fault {
    Fault::invalid(format!(
        "Node {} uses {kind} interface {name}, which is not enabled for driver {}; enable it in [DEFAULT] enabled_{kind}_interfaces or change the node's {kind}_interface.",
        node.label(),
        node.driver
    ))
}

fn properties_of(kind: InterfaceKind, name: &str) -> &'static [Property] {
    match kind {
        InterfaceKind::Power => power_interface(name).map_or(&[], |i| i.properties()),
        InterfaceKind::Management => management_interface(name).map_or(&[], |i| i.properties()),
        InterfaceKind::Boot => boot_interface(name).map_or(&[], |i| i.properties()),
        InterfaceKind::Deploy => deploy_interface(name).map_or(&[], |i| i.properties()),
        _ => &[],
    }
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
            for n in hardware.supported(InterfaceKind::Power) {
                assert_eq!(power_interface(n).unwrap().name(), *n);
            }
            for n in hardware.supported(InterfaceKind::Management) {
                assert_eq!(management_interface(n).unwrap().name(), *n);
            }
            for n in hardware.supported(InterfaceKind::Boot) {
                assert_eq!(boot_interface(n).unwrap().name(), *n);
            }
            for n in hardware.supported(InterfaceKind::Deploy) {
                assert_eq!(deploy_interface(n).unwrap().name(), *n);
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
