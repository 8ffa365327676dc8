//! Inspection over Redfish: the inventory in the agent's form, as upstream's inspection gives it.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, MacAddress, Node, Object};
use bessemer_redfish::{Client, Error, Resource, Storage, System};
use serde_json::{Map, Value, json};

use crate::interface::{Environment, InspectInterface, Inspection, Interface, Property};
use crate::redfish::REDFISH_PROPERTIES;

pub struct RedfishInspect {
    /// Dell's boards know the service tag as SKU.
    idrac: bool,
}

impl RedfishInspect {
    /// `redfish`
    pub const PLAIN: Self = Self { idrac: false };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self { idrac: true };
}

const GIB: f64 = 1_073_741_824.0;

/// Processor architectures as Linux names them.
const ARCHITECTURES: [(&str, &str); 7] = [
    ("ARM-A32", "arm"),
    ("ARM-A64", "aarch64"),
    ("IA-64", "ia64"),
    ("MIPS32", "mips"),
    ("MIPS64", "mips64"),
    ("x86", "i686"),
    ("x86-64", "x86_64"),
];

/// A part that the board cannot tell of is left out rather than failing the whole.
fn optional<T: Default>(what: &str, result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Err(error @ (Error::Refused { .. } | Error::Missing { .. } | Error::Malformed { .. })) => {
            tracing::debug!("{what} are left out of the inventory: {error}");
            Ok(T::default())
        }
        other => other,
    }
}

async fn cpu(client: &Client, system: &System) -> Result<Value, Error> {
    let mut cpu = json!({"count": 0, "architecture": ""});
    let processors = optional(
        "processors",
        client.members_of(&system.0, &["Processors"]).await,
    )?;
    let threads: i64 = processors
        .iter()
        .filter_map(|p| p.integer(&["TotalThreads"]))
        .sum();
    let told = system
        .0
        .integer(&["ProcessorSummary", "LogicalProcessorCount"]);
    if let Some(first) = processors.first() {
        cpu["count"] = json!(if threads > 0 {
            threads
        } else {
            told.unwrap_or_default()
        });
        if let Some(model) = first.text(&["Model"]) {
            cpu["model_name"] = json!(model);
        }
        if let Some(speed) = first.integer(&["MaxSpeedMHz"]) {
            cpu["frequency"] = json!(speed);
        }
        let set = first.text(&["InstructionSet"]);
        cpu["architecture"] = json!(
            ARCHITECTURES
                .iter()
                .find(|(theirs, _)| Some(*theirs) == set)
                .map_or("", |(_, ours)| *ours)
        );
    }
    Ok(cpu)
}

/// The first size of at least 4 GiB, in the list's order of size; 0 when there is none.
fn first_large(sizes: impl Iterator<Item = Option<f64>>) -> f64 {
    let mut sizes: Vec<f64> = sizes.flatten().filter(|s| *s >= 4.0 * GIB).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.first().copied().unwrap_or(0.0)
}

/// `local_gb`: the smallest disk that an instance fits on, less one GiB as upstream has it.
fn local_gb(simple: f64, volumes: f64, drives: f64) -> i64 {
    let storage = if volumes > 0.0 { volumes } else { drives };
    let size = if simple > 0.0 && storage > 0.0 {
        simple.min(storage)
    } else {
        simple.max(storage)
    };
    ((size / GIB - 1.0).trunc() as i64).max(0)
}

fn status(of: &Value) -> Value {
    let mut found = Map::new();
    for (name, theirs) in [
        ("health", "Health"),
        ("state", "State"),
        ("health_rollup", "HealthRollup"),
    ] {
        if let Some(value) = of.get("Status").and_then(|s| s.get(theirs))
            && !value.is_null()
        {
            found.insert(name.to_owned(), value.clone());
        }
    }
    if found.is_empty() {
        Value::Null
    } else {
        Value::Object(found)
    }
}

fn member(of: &Value, name: &str) -> Value {
    of.get(name).cloned().unwrap_or(Value::Null)
}

fn controller(storage: &Storage) -> Value {
    let inner: Vec<Value> = storage
        .resource
        .list(&["StorageControllers"])
        .iter()
        .map(|c| {
            let texts = |name: &str| match c.get(name) {
                Some(list @ Value::Array(_)) => list.clone(),
                _ => json!([]),
            };
            let mut shown = json!({
                "member_id": member(c, "MemberId"),
                "name": member(c, "Name"),
                "raid_types": texts("SupportedRAIDTypes"),
                "speed_gbps": member(c, "SpeedGbps"),
                "controller_protocols": texts("SupportedControllerProtocols"),
                "device_protocols": texts("SupportedDeviceProtocols"),
            });
            if c.get("Status").is_some() {
                shown["status"] = status(c);
            }
            shown
        })
        .collect();
    let drives: Vec<Value> = storage
        .drives
        .iter()
        .map(|d| {
            let d = d.body();
            let mut shown = json!({
                "name": member(d, "Name"),
                "size": member(d, "CapacityBytes"),
                "id": member(d, "Id"),
                "media_type": member(d, "MediaType"),
                "serial_number": member(d, "SerialNumber"),
                "manufacturer": member(d, "Manufacturer"),
                "model": member(d, "Model"),
                "revision": member(d, "Revision"),
            });
            if let Some(protocol) = d.get("Protocol").filter(|p| !p.is_null()) {
                shown["protocol"] = protocol.clone();
            }
            if d.get("Status").is_some() {
                shown["status"] = status(d);
            }
            shown
        })
        .collect();
    json!({
        "id": storage.resource.id(),
        "name": member(storage.resource.body(), "Name"),
        "storage_controllers": inner,
        "drives": drives,
    })
}

fn disks(storage: &[Storage], simple: &[Resource], has_storage: bool) -> Vec<Value> {
    if has_storage {
        return storage
            .iter()
            .flat_map(|s| &s.drives)
            .map(|d| {
                let mut disk = json!({
                    "name": member(d.body(), "Name"),
                    "size": member(d.body(), "CapacityBytes"),
                    "vendor": member(d.body(), "Manufacturer"),
                    "model": member(d.body(), "Model"),
                    "serial": member(d.body(), "SerialNumber"),
                });
                if let Some(media) = d.text(&["MediaType"]) {
                    disk["rotational"] = json!(media == "HDD");
                }
                disk
            })
            .collect();
    }
    simple
        .iter()
        .flat_map(|s| s.list(&["Devices"]))
        .map(|d| json!({"name": member(d, "Name"), "size": member(d, "CapacityBytes")}))
        .collect()
}

fn interfaces(cards: &[Resource]) -> (Vec<Value>, Vec<MacAddress>) {
    let mut shown = Vec::new();
    let mut macs = Vec::new();
    for card in cards {
        let Some(mac) = card
            .text(&["MACAddress"])
            .and_then(|m| m.parse::<MacAddress>().ok())
        else {
            continue;
        };
        let mut one = json!({"mac_address": mac, "name": card.id()});
        if let Some(speed) = card.integer(&["SpeedMbps"]) {
            one["speed_mbps"] = json!(speed);
        }
        shown.push(one);
        macs.push(mac);
    }
    (shown, macs)
}

async fn pci(client: &Client, system: &System) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for device in client.linked(&system.0, &["PCIeDevices"]).await? {
        let mut functions = client.members_of(&device, &["PCIeFunctions"]).await?;
        if functions.is_empty() {
            functions = client.linked(&device, &["Links", "PCIeFunctions"]).await?;
        }
        for function in functions {
            let shown: Map<String, Value> = [
                ("class", "DeviceClass"),
                ("product_id", "DeviceId"),
                ("vendor_id", "VendorId"),
                ("subsystem_id", "SubsystemId"),
                ("subsystem_vendor_id", "SubsystemVendorId"),
                ("revision", "RevisionId"),
            ]
            .into_iter()
            .filter_map(|(name, theirs)| {
                let value = function.body().get(theirs).filter(|v| !v.is_null())?;
                Some((name.to_owned(), value.clone()))
            })
            .collect();
            if !shown.is_empty() {
                found.push(Value::Object(shown));
            }
        }
    }
    Ok(found)
}

/// What switches told of the ports, by port (schema Port).
async fn lldp(client: &Client, system: &System) -> Result<Map<String, Value>, Error> {
    let mut found = Map::new();
    for chassis in client.chassis(system).await? {
        for adapter in client.members_of(&chassis, &["NetworkAdapters"]).await? {
            for port in client.members_of(&adapter, &["Ports"]).await? {
                let told: Map<String, Value> = [
                    ("switch_chassis_id", "ChassisId"),
                    ("switch_port_id", "PortId"),
                    ("switch_system_name", "SystemName"),
                    ("switch_system_description", "SystemDescription"),
                    ("switch_vlan_id", "ManagementVlanId"),
                ]
                .into_iter()
                .filter_map(|(name, theirs)| {
                    let value = port.at(&["Ethernet", "LLDPReceive", theirs]);
                    let empty = value.is_null() || value == "" || *value == json!(0);
                    (!empty).then(|| (name.to_owned(), value.clone()))
                })
                .collect();
                if !told.is_empty() {
                    found.insert(port.id().to_owned(), Value::Object(told));
                }
            }
        }
    }
    Ok(found)
}

/// `capabilities` with one more; what the operator has set stays.
fn with_boot_mode(node: &Node, mode: &str) -> Option<String> {
    if node.capability("boot_mode").is_some() {
        return None;
    }
    let have = node
        .properties
        .get("capabilities")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut parts: Vec<&str> = have.split(',').filter(|p| !p.is_empty()).collect();
    let mine = format!("boot_mode:{mode}");
    parts.push(&mine);
    Some(parts.join(","))
}

impl RedfishInspect {
    async fn read(
        &self,
        client: &Client,
        system: &System,
        node: &Node,
    ) -> Result<Inspection, Error> {
        let mut properties = Object::new();
        let mut inventory = Map::new();
        let memory = system
            .0
            .number(&["MemorySummary", "TotalSystemMemoryGiB"])
            .filter(|gib| *gib > 0.0);
        if let Some(gib) = memory {
            let mb = json!((gib * 1024.0) as i64);
            properties.insert("memory_mb".into(), mb.clone());
            inventory.insert("memory".into(), json!({"physical_mb": mb}));
        }
        inventory.insert("cpu".into(), cpu(client, system).await?);

        let storage = optional("storage", client.storage(system).await)?;
        let simple = optional(
            "simple storage",
            client.members_of(&system.0, &["SimpleStorage"]).await,
        )?;
        let mut volumes = Vec::new();
        for one in &storage {
            volumes.extend(optional("volumes", client.volumes(one).await)?);
        }
        let size = |r: &Resource| r.number(&["CapacityBytes"]);
        let gb = local_gb(
            first_large(
                simple
                    .iter()
                    .flat_map(|s| s.list(&["Devices"]))
                    .map(|d| d.get("CapacityBytes").and_then(Value::as_f64)),
            ),
            first_large(volumes.iter().map(|v| size(&v.0))),
            first_large(storage.iter().flat_map(|s| &s.drives).map(size)),
        );
        properties.insert("local_gb".into(), json!(gb));
        let has_storage = system.0.link(&["Storage"]).is_some() && !storage.is_empty();
        let disks = disks(&storage, &simple, has_storage);
        if !disks.is_empty() {
            inventory.insert("disks".into(), json!(disks));
        }
        let controllers: Vec<Value> = storage.iter().map(controller).collect();
        if !controllers.is_empty() {
            inventory.insert("storage_controllers".into(), json!(controllers));
        }

        let cards = optional(
            "network cards",
            client.members_of(&system.0, &["EthernetInterfaces"]).await,
        )?;
        let (shown, macs) = interfaces(&cards);
        inventory.insert("interfaces".into(), json!(shown));
        let devices = optional("PCI devices", pci(client, system).await)?;
        if !devices.is_empty() {
            inventory.insert("pci_devices".into(), json!(devices));
        }

        let serial = if self.idrac { "SKU" } else { "SerialNumber" };
        let vendor: Map<String, Value> = [
            ("product_name", "Model"),
            ("serial_number", serial),
            ("manufacturer", "Manufacturer"),
            ("system_uuid", "UUID"),
        ]
        .into_iter()
        .filter_map(|(name, theirs)| Some((name.to_owned(), json!(system.0.text(&[theirs])?))))
        .collect();
        if !vendor.is_empty() {
            inventory.insert("system_vendor".into(), Value::Object(vendor));
        }
        let mode = match system.boot().mode.as_deref() {
            Some("UEFI") => Some("uefi"),
            Some("Legacy") => Some("bios"),
            _ => None,
        };
        if let Some(mode) = mode {
            if let Some(capabilities) = with_boot_mode(node, mode) {
                properties.insert("capabilities".into(), json!(capabilities));
            }
            inventory.insert("boot".into(), json!({"current_boot_mode": mode}));
        }
        let mut plugin_data = Object::new();
        let told = optional("switches", lldp(client, system).await)?;
        if !told.is_empty() {
            plugin_data.insert("parsed_lldp".into(), Value::Object(told));
        }
        // upstream's default hook `architecture`
        if let Some(arch) = inventory
            .get("cpu")
            .and_then(|c| c.get("architecture"))
            .and_then(Value::as_str)
            .filter(|a| !a.is_empty())
        {
            properties.insert("cpu_arch".into(), json!(arch));
        }
        Ok(Inspection {
            inventory: Some(Value::Object(inventory)),
            plugin_data,
            properties,
            macs,
        })
    }
}

impl Interface for RedfishInspect {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Inspect
    }

    fn name(&self) -> &'static str {
        if self.idrac {
            "idrac-redfish"
        } else {
            "redfish"
        }
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }
}

#[async_trait]
impl InspectInterface for RedfishInspect {
    async fn inspect(&self, env: &Environment, node: &Node) -> Result<Inspection, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                self.read(&client, &system, node).await
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_that_counts() {
        let gib = |n: f64| n * GIB;
        for (simple, volumes, drives, want) in [
            (0.0, 0.0, 0.0, 0),
            (gib(40.0), 0.0, 0.0, 39),
            (gib(40.0), 0.0, gib(100.0), 39),
            (gib(400.0), gib(200.0), gib(100.0), 199),
            (0.0, gib(100.5), gib(10.0), 99),
        ] {
            assert_eq!(local_gb(simple, volumes, drives), want);
        }
        let sizes = [None, Some(1.0), Some(gib(9.0)), Some(gib(5.0))];
        assert_eq!(first_large(sizes.into_iter()), gib(5.0));
    }
}
