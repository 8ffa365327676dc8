//! A port: one network interface of a node, known by its MAC address.

use crate::{MacAddress, NodeId, Object, PortId, PortgroupId, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    pub id: PortId,
    pub node: NodeId,
    pub address: MacAddress,
    pub name: Option<String>,
    pub description: Option<String>,
    pub extra: Object,
    pub internal_info: Object,
    pub local_link_connection: Object,
    pub pxe_enabled: bool,
    pub portgroup: Option<PortgroupId>,
    pub physical_network: Option<String>,
    pub is_smartnic: bool,
    pub vendor: Option<String>,
    pub category: Option<String>,
    pub available_for_dynamic_portgroup: bool,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
