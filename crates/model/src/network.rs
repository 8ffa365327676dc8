//! How VIFs (virtual interfaces of tenants) find their way to a node's ports and port groups: pure rules.
//!
//! Upstream's order, which users rely on: in a physical network of the VIF before elsewhere, port groups
//! before ports, ports that boot by PXE before others.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Class, Fault, FaultKind, InterfaceKind, Node, Object, Port, PortId, Portgroup, PortgroupId,
};

/// Member of `internal_info` that names the attached VIF.
pub const TENANT_VIF: &str = "tenant_vif_port_id";

/// Members of `internal_info` that name a VIF, in the order in which one counts as the current one.
const VIFS: [&str; 6] = [
    "cleaning_vif_port_id",
    "provisioning_vif_port_id",
    "rescuing_vif_port_id",
    "inspection_vif_port_id",
    "servicing_vif_port_id",
    TENANT_VIF,
];

/// What a VIF can be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachable {
    Port(PortId),
    Portgroup(PortgroupId),
}

/// A VIF that wants to be attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VifRequest {
    pub id: String,
    /// To this port and no other.
    pub port: Option<String>,
    /// To this port group and no other.
    pub portgroup: Option<String>,
    /// Networks that the VIF is in; empty where that is not known, and then every port will do.
    pub physical_networks: BTreeSet<String>,
}

/// The VIF that tenants have attached to a port or port group with this `internal_info`.
#[must_use]
pub fn tenant_vif(internal_info: &Object) -> Option<&str> {
    internal_info.get(TENANT_VIF).and_then(Value::as_str)
}

/// The VIF that is in use, which may be the service's own.
#[must_use]
pub fn current_vif(internal_info: &Object) -> Option<&str> {
    VIFS.iter()
        .find_map(|key| internal_info.get(*key))
        .and_then(Value::as_str)
}

/// Whether the node's network interface keeps VIFs with ports and port groups. `noop` does not: it accepts
/// every VIF and forgets it.
#[must_use]
pub fn keeps_vifs(node: &Node) -> bool {
    node.interfaces
        .get(InterfaceKind::Network)
        .is_some_and(|name| name != "noop")
}

/// Whether a port's `local_link_connection` is that of a smart NIC: `port_id` and `hostname`.
#[must_use]
pub fn is_smart_nic_link(link: &Object) -> bool {
    const KNOWN: [&str; 4] = ["port_id", "hostname", "network_type", "switch_info"];
    link.contains_key("port_id")
        && link.contains_key("hostname")
        && link.keys().all(|key| KNOWN.contains(&key.as_str()))
}

/// Whether the port says enough of how it is plugged in.
fn is_usable(node: &Node, port: &Port) -> bool {
    // InfiniBand: the subnet manager knows the topology
    if port
        .extra
        .get("client-id")
        .and_then(Value::as_str)
        .is_some_and(|id| !id.is_empty())
    {
        return true;
    }
    if node.interfaces.get(InterfaceKind::Network) == Some("neutron")
        && port.local_link_connection.is_empty()
    {
        return false;
    }
    port.is_smartnic == is_smart_nic_link(&port.local_link_connection)
}

/// Whether another VIF is attached already.
///
/// # Errors
/// 409 when it is this one.
fn occupied(internal_info: &Object, kind: &str, id: String, vif: &str) -> Result<bool, Fault> {
    match tenant_vif(internal_info) {
        Some(attached) if attached == vif => Err(Fault::conflict(format!(
            "Unable to attach VIF because VIF {vif} is already attached to Ironic {kind} {id}"
        ))),
        attached => Ok(attached.is_some()),
    }
}

/// Where the VIF goes.
///
/// # Errors
/// 409 when it is attached to the node already, 400 when there is no free port.
pub fn place(
    node: &Node,
    ports: &[Port],
    portgroups: &[Portgroup],
    vif: &VifRequest,
) -> Result<Attachable, Fault> {
    let mut free: Vec<(bool, bool, bool, Attachable)> = Vec::new();
    let mut in_groups: Vec<&Port> = Vec::new();
    // groups with a VIF on one of their ports are not used as a whole
    let mut split: BTreeSet<PortgroupId> = BTreeSet::new();
    let matches = |network: &Option<String>| {
        network
            .as_ref()
            .is_some_and(|n| vif.physical_networks.contains(n))
    };
    let alone = |port: &Port| {
        (
            matches(&port.physical_network),
            false,
            port.pxe_enabled,
            Attachable::Port(port.id),
        )
    };
    for port in ports {
        let other = vif
            .port
            .as_ref()
            .is_some_and(|wanted| *wanted != port.id.to_string());
        if other || !is_usable(node, port) {
            continue;
        }
        if occupied(&port.internal_info, "Port", port.id.to_string(), &vif.id)? {
            split.extend(port.portgroup);
            continue;
        }
        if !vif.physical_networks.is_empty()
            && port.physical_network.is_some()
            && !matches(&port.physical_network)
        {
            continue;
        }
        if port.portgroup.is_none() && vif.portgroup.is_none() {
            free.push(alone(port));
        } else {
            in_groups.push(port);
        }
    }
    let groups = if vif.port.is_some() { &[] } else { portgroups };
    for group in groups {
        let other = vif
            .portgroup
            .as_ref()
            .is_some_and(|wanted| *wanted != group.id.to_string());
        if other
            || occupied(
                &group.internal_info,
                "Portgroup",
                group.id.to_string(),
                &vif.id,
            )?
        {
            continue;
        }
        let members = || {
            in_groups
                .iter()
                .filter(|port| port.portgroup == Some(group.id))
        };
        if split.contains(&group.id) {
            if vif.portgroup.is_none() {
                free.extend(members().map(|port| alone(port)));
            }
        } else if let Some(first) = members().next() {
            let network = first.physical_network.clone();
            free.push((
                matches(&network),
                true,
                true,
                Attachable::Portgroup(group.id),
            ));
        }
    }
    // the first of the best: the order of creation decides between equals
    let best = free.iter().map(|(a, b, c, _)| (*a, *b, *c)).max();
    free.into_iter()
        .find(|(a, b, c, _)| Some((*a, *b, *c)) == best)
        .map(|(.., at)| at)
        .ok_or_else(|| {
            Fault::new(
                FaultKind::Invalid,
                Class::Never,
                format!(
                    "Unable to attach VIF {}, not enough free physical ports.",
                    vif.id
                ),
            )
        })
}

/// Attaches a VIF to the port or port group that [`place`] chooses, and says to which.
///
/// # Errors
/// As [`place`].
pub fn attach(
    node: &Node,
    ports: &mut [Port],
    portgroups: &mut [Portgroup],
    vif: &VifRequest,
) -> Result<Attachable, Fault> {
    let at = place(node, ports, portgroups, vif)?;
    let info = match at {
        Attachable::Port(id) => ports
            .iter_mut()
            .find(|p| p.id == id)
            .map(|p| &mut p.internal_info),
        Attachable::Portgroup(id) => portgroups
            .iter_mut()
            .find(|g| g.id == id)
            .map(|g| &mut g.internal_info),
    };
    if let Some(info) = info {
        info.insert(TENANT_VIF.into(), vif.id.as_str().into());
    }
    Ok(at)
}

/// Detaches a VIF.
///
/// # Errors
/// 400 when it is not attached to the node.
pub fn detach(
    node: &Node,
    ports: &mut [Port],
    portgroups: &mut [Portgroup],
    vif: &str,
) -> Result<(), Fault> {
    let groups = portgroups
        .iter_mut()
        .map(|g| (&mut g.internal_info, &mut g.extra));
    let ports = ports
        .iter_mut()
        .map(|p| (&mut p.internal_info, &mut p.extra));
    let (internal_info, extra) = groups
        .chain(ports)
        .find(|(info, _)| tenant_vif(info) == Some(vif))
        .ok_or_else(|| {
            Fault::invalid(format!(
                "Unable to detach VIF {vif} from node {} because it is not attached to it.",
                node.id
            ))
        })?;
    internal_info.shift_remove(TENANT_VIF);
    // where older clients put it
    extra.shift_remove("vif_port_id");
    Ok(())
}

/// The attached VIFs: of ports, then of port groups.
#[must_use]
pub fn attached(ports: &[Port], portgroups: &[Portgroup]) -> Vec<String> {
    let ports = ports.iter().map(|p| &p.internal_info);
    let groups = portgroups.iter().map(|g| &g.internal_info);
    ports
        .chain(groups)
        .filter_map(tenant_vif)
        .map(str::to_owned)
        .collect()
}

/// Why a port may not be in a port group whose ports do not work alone.
#[must_use]
pub fn stands_alone(port: &Port, verb: &str, at: &str) -> Option<String> {
    let mut reasons = Vec::new();
    if port.pxe_enabled {
        reasons.push(format!("'pxe_enabled' {verb} set to True"));
    }
    if let Some(vif) = tenant_vif(&port.internal_info) {
        reasons.push(format!("VIF {vif} is attached to {at} port"));
    }
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{MacAddress, NodeId, Timestamp};
    use serde_json::json;

    fn node(network: &str) -> Node {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        node.interfaces
            .set(InterfaceKind::Network, Some(network.to_owned()));
        node
    }

    fn port(n: u8) -> Port {
        Port {
            id: PortId(uuid::Uuid::from_u128(u128::from(n))),
            node: NodeId::random(),
            address: MacAddress([2, 0, 0, 0, 0, n]),
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
            available_for_dynamic_portgroup: true,
            created_at: Timestamp(0),
            updated_at: None,
        }
    }

    fn group(n: u8) -> Portgroup {
        Portgroup {
            id: PortgroupId(uuid::Uuid::from_u128(u128::from(n))),
            node: NodeId::random(),
            address: None,
            name: None,
            extra: Object::new(),
            internal_info: Object::new(),
            standalone_ports_supported: true,
            mode: "active-backup".into(),
            properties: Object::new(),
            physical_network: None,
            category: None,
            dynamic_portgroup: false,
            created_at: Timestamp(0),
            updated_at: None,
        }
    }

    fn vif(id: &str) -> VifRequest {
        VifRequest {
            id: id.into(),
            ..VifRequest::default()
        }
    }

    #[test]
    fn the_best_port_is_taken() {
        let node = node("flat");
        let check = |ports: &[Port], groups: &[Portgroup], vif: &VifRequest, want: Attachable| {
            assert_eq!(place(&node, ports, groups, vif).unwrap(), want);
        };
        let (mut one, mut two, three) = (port(1), port(2), port(3));
        one.pxe_enabled = false;
        let at = |n: u8| Attachable::Port(port(n).id);
        // PXE first, then the order of creation
        check(
            &[one.clone(), two.clone(), three.clone()],
            &[],
            &vif("v"),
            at(2),
        );
        // a physical network that matches goes before
        one.physical_network = Some("net".into());
        let mut wanted = vif("v");
        wanted.physical_networks.insert("net".into());
        check(
            &[three.clone(), two.clone(), one.clone()],
            &[],
            &wanted,
            at(1),
        );
        // a network that does not match is no candidate
        wanted.physical_networks = ["other".to_owned()].into();
        check(&[one.clone(), two.clone()], &[], &wanted, at(2));
        // a port group goes before its ports and others
        let g = group(9);
        two.portgroup = Some(g.id);
        let ports = [three.clone(), two.clone()];
        check(
            &ports,
            std::slice::from_ref(&g),
            &vif("v"),
            Attachable::Portgroup(g.id),
        );
        // an empty one is nothing
        check(
            std::slice::from_ref(&three),
            std::slice::from_ref(&g),
            &vif("v"),
            at(3),
        );
        // by name
        let mut wanted = vif("v");
        wanted.port = Some(three.id.to_string());
        check(&ports, std::slice::from_ref(&g), &wanted, at(3));
        let mut wanted = vif("v");
        wanted.portgroup = Some(g.id.to_string());
        check(
            &ports,
            std::slice::from_ref(&g),
            &wanted,
            Attachable::Portgroup(g.id),
        );
        // a port of a group cannot be named alone, as upstream
        let mut wanted = vif("v");
        wanted.port = Some(two.id.to_string());
        let refused = place(&node, &ports, std::slice::from_ref(&g), &wanted).unwrap_err();
        assert_eq!(
            refused.text,
            "Unable to attach VIF v, not enough free physical ports."
        );
        // with a VIF on one of its ports a group is its ports
        let mut four = port(4);
        four.portgroup = Some(g.id);
        two.internal_info.insert(TENANT_VIF.into(), json!("w"));
        check(
            &[two.clone(), four],
            std::slice::from_ref(&g),
            &vif("v"),
            at(4),
        );
    }

    #[test]
    fn attach_and_detach() {
        let node = node("flat");
        let mut ports = vec![port(1), port(2)];
        let mut groups = vec![group(9)];
        ports[1].portgroup = Some(groups[0].id);
        attach(&node, &mut ports, &mut groups, &vif("a")).unwrap();
        attach(&node, &mut ports, &mut groups, &vif("b")).unwrap();
        assert_eq!(attached(&ports, &groups), ["b", "a"]);
        let twice = attach(&node, &mut ports, &mut groups, &vif("b")).unwrap_err();
        assert_eq!(twice.kind, FaultKind::Conflict);
        assert!(
            twice.text.contains("already attached to Ironic Port"),
            "{twice}"
        );
        let full = attach(&node, &mut ports, &mut groups, &vif("c")).unwrap_err();
        assert_eq!(full.kind, FaultKind::Invalid);
        detach(&node, &mut ports, &mut groups, "a").unwrap();
        detach(&node, &mut ports, &mut groups, "b").unwrap();
        assert!(attached(&ports, &groups).is_empty());
        assert!(detach(&node, &mut ports, &mut groups, "b").is_err());
    }

    #[test]
    fn neutron_wants_the_switch() {
        let check = |network: &str, link: Value, smart: bool, want: bool| {
            let mut one = port(1);
            one.local_link_connection = link.as_object().unwrap().clone();
            one.is_smartnic = smart;
            let placed = place(&node(network), &[one], &[], &vif("v")).is_ok();
            assert_eq!(placed, want, "{network} {link}");
        };
        let smart = json!({"port_id": "p", "hostname": "h"});
        check("flat", json!({}), false, true);
        check("neutron", json!({}), false, false);
        check(
            "neutron",
            json!({"port_id": "p", "switch_id": "s"}),
            false,
            true,
        );
        check("neutron", smart.clone(), false, false);
        check("neutron", smart, true, true);
        check("flat", json!({}), true, false);
    }

    #[test]
    fn who_stands_alone() {
        let mut one = port(1);
        assert_eq!(
            stands_alone(&one, "is", "this").unwrap(),
            "'pxe_enabled' is set to True"
        );
        one.pxe_enabled = false;
        assert_eq!(stands_alone(&one, "is", "this"), None);
        one.internal_info.insert(TENANT_VIF.into(), json!("v"));
        assert_eq!(
            stands_alone(&one, "was", "the").unwrap(),
            "VIF v is attached to the port"
        );
        assert_eq!(current_vif(&one.internal_info), Some("v"));
        assert!(keeps_vifs(&node("flat")) && !keeps_vifs(&node("noop")));
    }
}
