//! Inspection hooks: what is made of an inventory besides keeping it, each by upstream's name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bessemer_model::{MacAddress, Object, Port, PortId, Timestamp};
use serde_json::{Value, json};

use super::{Edit, Findings};

/// `[inspector] add_ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddPorts {
    /// Those that booted; all with an address when the ramdisk does not say which did.
    Pxe,
    All,
    /// Those with an address.
    Active,
    Disabled,
}

/// `[inspector] keep_ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepPorts {
    All,
    /// Those that the inventory has.
    Present,
    /// Those that would be added.
    Added,
}

/// `[inspector]`, as far as hooks read it.
#[derive(Debug, Clone)]
pub struct HookSettings {
    pub hooks: Vec<String>,
    pub add_ports: AddPorts,
    pub keep_ports: KeepPorts,
    pub update_pxe_enabled: bool,
    /// Flag of the processor to capability.
    pub cpu_capabilities: BTreeMap<String, String>,
    /// Network to the name of the physical network.
    pub physical_networks: Vec<(ipnet::IpNet, String)>,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            hooks: [
                "ramdisk-error",
                "validate-interfaces",
                "ports",
                "architecture",
            ]
            .map(str::to_owned)
            .to_vec(),
            add_ports: AddPorts::Pxe,
            keep_ports: KeepPorts::All,
            update_pxe_enabled: true,
            cpu_capabilities: [
                ("vmx", "cpu_vt"),
                ("svm", "cpu_vt"),
                ("aes", "cpu_aes"),
                ("pse", "cpu_hugepages"),
                ("pdpe1gb", "cpu_hugepages_1g"),
                ("smx", "cpu_txt"),
            ]
            .map(|(flag, capability)| (flag.to_owned(), capability.to_owned()))
            .into(),
            physical_networks: Vec::new(),
        }
    }
}

type Step = fn(&mut Findings, &HookSettings) -> Result<(), String>;

struct Hook {
    name: &'static str,
    /// Hooks that must come before it.
    needs: &'static [&'static str],
    preprocess: Step,
    run: Step,
}

fn nothing(_: &mut Findings, _: &HookSettings) -> Result<(), String> {
    Ok(())
}

const fn hook(name: &'static str, run: Step) -> Hook {
    Hook {
        name,
        needs: &[],
        preprocess: nothing,
        run,
    }
}

/// Every hook there is.
const HOOKS: &[Hook] = &[
    Hook {
        name: "ramdisk-error",
        needs: &[],
        preprocess: ramdisk_error,
        run: nothing,
    },
    Hook {
        name: "validate-interfaces",
        needs: &[],
        preprocess: validate_interfaces,
        run: nothing,
    },
    Hook {
        name: "ports",
        needs: &["validate-interfaces"],
        preprocess: nothing,
        run: ports,
    },
    hook("architecture", architecture),
    hook("boot-mode", boot_mode),
    hook("cpu-capabilities", cpu_capabilities),
    hook("cpus", cpus),
    hook("memory", memory),
    Hook {
        name: "physical-network",
        needs: &["validate-interfaces"],
        preprocess: nothing,
        run: physical_network,
    },
];

/// Checks a list of names from the settings.
///
/// # Errors
/// A sentence that names an unknown hook, or one that comes before what it needs.
pub fn check(names: &[String]) -> Result<(), String> {
    for (at, name) in names.iter().enumerate() {
        let hook = HOOKS.iter().find(|h| h.name == name).ok_or_else(|| {
            let all: Vec<&str> = HOOKS.iter().map(|h| h.name).collect();
            format!(
                "[inspector] hooks names {name}, which there is not; there are {}",
                all.join(", ")
            )
        })?;
        let before = names.get(..at).unwrap_or_default();
        if let Some(missing) = hook.needs.iter().find(|n| !before.iter().any(|b| b == *n)) {
            return Err(format!(
                "[inspector] hooks has {name} without {missing} before it"
            ));
        }
    }
    Ok(())
}

/// Runs the hooks: the first parts of all, then the second parts.
///
/// # Errors
/// A sentence that names the hook.
pub fn run(found: &mut Findings, settings: &HookSettings) -> Result<(), String> {
    let chosen: Vec<&Hook> = settings
        .hooks
        .iter()
        .filter_map(|name| HOOKS.iter().find(|h| h.name == name))
        .collect();
    for first in [true, false] {
        for hook in &chosen {
            let step = if first { hook.preprocess } else { hook.run };
            step(found, settings).map_err(|why| format!("hook {}: {why}", hook.name))?;
        }
    }
    Ok(())
}

fn ramdisk_error(found: &mut Findings, _: &HookSettings) -> Result<(), String> {
    match found.plugin_data.get("error") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Ok(()),
        Some(error) => Err(format!(
            "the ramdisk reported an error: {}",
            bessemer_model::py_str(error)
        )),
    }
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object
        .get(key)
        .and_then(Value::as_str)
        .filter(|s| !s.is_empty())
}

/// MAC address of the interface that booted; also in pxelinux's form `01-aa-bb-…`.
fn pxe_mac(inventory: &Object) -> Option<MacAddress> {
    let given = text(inventory.get("boot")?.as_object()?, "pxe_interface")?;
    if given.contains('-') {
        let colons = given.replace('-', ":");
        return colons
            .get(3..)
            .and_then(|mac| mac.parse().ok())
            .or_else(|| colons.parse().ok());
    }
    given.parse().ok()
}

fn address(interface: &Object) -> Option<IpAddr> {
    text(interface, "ipv4_address")
        .or_else(|| text(interface, "ipv6_address"))
        .and_then(|a| a.parse().ok())
}

fn validate_interfaces(found: &mut Findings, settings: &HookSettings) -> Result<(), String> {
    let booted = pxe_mac(&found.inventory);
    let listed = found
        .inventory
        .get("interfaces")
        .and_then(Value::as_array)
        .ok_or("the inventory has no interfaces")?;
    let mut all = Object::new();
    for interface in listed {
        let Some(interface) = interface.as_object() else {
            continue;
        };
        let (Some(name), Some(mac)) = (text(interface, "name"), text(interface, "mac_address"))
        else {
            continue;
        };
        let Ok(mac) = mac.parse::<MacAddress>() else {
            continue;
        };
        let mut kept = interface.clone();
        kept.insert("pxe_enabled".into(), json!(booted == Some(mac)));
        // A scope (`fe80::1%eno1`) is the ramdisk's own.
        let bare = text(interface, "ipv6_address").map(|a| a.split('%').next().unwrap_or(a));
        kept.insert("ipv6_address".into(), json!(bare));
        all.insert(name.to_owned(), Value::Object(kept));
    }
    if all.is_empty() {
        return Err("the inventory has no network interface with a name and a MAC address".into());
    }
    let mut valid = Object::new();
    let mut macs = Vec::new();
    for (name, interface) in &all {
        let Some(interface) = interface.as_object() else {
            continue;
        };
        let address = address(interface);
        let local = name == "lo" || address.is_some_and(|a| a.is_loopback());
        let pxe = interface.get("pxe_enabled") == Some(&Value::Bool(true));
        let wanted = match settings.add_ports {
            AddPorts::Pxe => booted.is_none() || pxe,
            AddPorts::Active => address.is_some(),
            AddPorts::All | AddPorts::Disabled => true,
        };
        if local || !wanted {
            continue;
        }
        macs.push(interface.get("mac_address").cloned().unwrap_or_default());
        valid.insert(name.clone(), Value::Object(interface.clone()));
    }
    if valid.is_empty() {
        return Err("no network interface of the inventory fits [inspector] add_ports".into());
    }
    found
        .plugin_data
        .insert("all_interfaces".into(), Value::Object(all));
    found
        .plugin_data
        .insert("valid_interfaces".into(), Value::Object(valid));
    found.plugin_data.insert("macs".into(), Value::Array(macs));
    Ok(())
}

/// Interfaces of the list that `validate-interfaces` made, by MAC address.
fn interfaces(found: &Findings, key: &str) -> Vec<(MacAddress, Object)> {
    found
        .plugin_data
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(Value::as_object)
        .filter_map(|i| Some((text(i, "mac_address")?.parse().ok()?, i.clone())))
        .collect()
}

/// The port that inspection adds for a MAC address; the same id when it is done again.
#[must_use]
pub fn new_port(node: bessemer_model::NodeId, mac: MacAddress) -> Port {
    Port {
        id: PortId(uuid::Uuid::new_v5(&node.0, mac.to_string().as_bytes())),
        node,
        address: mac,
        name: None,
        description: None,
        extra: Object::new(),
        internal_info: Object::new(),
        local_link_connection: Object::new(),
        pxe_enabled: true,
        portgroup: None,
        physical_network: None,
        is_smartnic: false,
        vendor: None,
        category: None,
        available_for_dynamic_portgroup: false,
        created_at: Timestamp::now(),
        updated_at: None,
    }
}

fn ports(found: &mut Findings, settings: &HookSettings) -> Result<(), String> {
    let all = interfaces(found, "all_interfaces");
    let valid = interfaces(found, "valid_interfaces");
    let is_pxe = |i: &Object| i.get("pxe_enabled") == Some(&Value::Bool(true));
    if settings.add_ports != AddPorts::Disabled {
        for (mac, interface) in &valid {
            if found.ports.iter().any(|p| p.address == *mac) {
                continue;
            }
            let mut port = new_port(found.node.id, *mac);
            port.pxe_enabled = is_pxe(interface);
            found.ports.push(port);
        }
    }
    let expected: Option<Vec<MacAddress>> = match settings.keep_ports {
        KeepPorts::All => None,
        KeepPorts::Present => Some(all.iter().map(|(mac, _)| *mac).collect()),
        KeepPorts::Added => Some(valid.iter().map(|(mac, _)| *mac).collect()),
    };
    if let Some(expected) = expected {
        found.ports.retain(|p| expected.contains(&p.address));
    }
    for port in &mut found.ports {
        let interface = all.iter().find(|(mac, _)| *mac == port.address);
        if settings.update_pxe_enabled {
            port.pxe_enabled = interface.is_some_and(|(_, i)| is_pxe(i));
        }
        if let Some(id) = interface.and_then(|(_, i)| text(i, "client_id")) {
            port.extra.insert("client-id".into(), json!(id));
        }
    }
    Ok(())
}

fn member<'a>(found: &'a Findings, section: &str, key: &str) -> Option<&'a Value> {
    found
        .inventory
        .get(section)?
        .get(key)
        .filter(|v| !v.is_null())
}

fn architecture(found: &mut Findings, _: &HookSettings) -> Result<(), String> {
    let architecture = member(found, "cpu", "architecture")
        .and_then(Value::as_str)
        .ok_or("the inventory does not tell the processor's architecture")?
        .to_owned();
    found.property("cpu_arch", json!(architecture))
}

fn boot_mode(found: &mut Findings, _: &HookSettings) -> Result<(), String> {
    let Some(mode) = member(found, "boot", "current_boot_mode").and_then(Value::as_str) else {
        return Ok(());
    };
    let value = Some(mode.to_owned());
    found.edit(Edit::Capability {
        name: "boot_mode".into(),
        value,
    })
}

fn cpu_capabilities(found: &mut Findings, settings: &HookSettings) -> Result<(), String> {
    let flags: Vec<String> = member(found, "cpu", "flags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    for (flag, capability) in &settings.cpu_capabilities {
        if flags.contains(flag) {
            found.edit(Edit::Capability {
                name: capability.clone(),
                value: Some("true".into()),
            })?;
        }
    }
    Ok(())
}

fn cpus(found: &mut Findings, _: &HookSettings) -> Result<(), String> {
    let count = member(found, "cpu", "count")
        .and_then(Value::as_u64)
        .ok_or("the inventory does not tell the number of processors")?;
    found.property("cpus", json!(count.to_string()))
}

fn memory(found: &mut Findings, _: &HookSettings) -> Result<(), String> {
    let mib = member(found, "memory", "physical_mb")
        .and_then(Value::as_u64)
        .ok_or("the inventory does not tell the size of the memory")?;
    found.property("memory_mb", json!(mib.to_string()))
}

fn physical_network(found: &mut Findings, settings: &HookSettings) -> Result<(), String> {
    let all = interfaces(found, "valid_interfaces");
    for port in &mut found.ports {
        let Some((_, interface)) = all.iter().find(|(mac, _)| *mac == port.address) else {
            continue;
        };
        let Some(address) = address(interface) else {
            continue;
        };
        let network = settings
            .physical_networks
            .iter()
            .find(|(network, _)| network.contains(&address));
        if let (Some((_, name)), None) = (network, &port.physical_network) {
            port.physical_network = Some(name.clone());
        }
    }
    Ok(())
}
