//! A port group: ports of one node that work together as one link.

use crate::{MacAddress, NodeId, Object, PortgroupId, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub struct Portgroup {
    pub id: PortgroupId,
    pub node: NodeId,
    pub address: Option<MacAddress>,
    pub name: Option<String>,
    pub extra: Object,
    pub internal_info: Object,
    /// Its ports may also be used alone: boot by PXE, carry a VIF of their own.
    pub standalone_ports_supported: bool,
    /// A mode of Linux' bonding driver, by name or number.
    pub mode: String,
    /// Further settings of the bond.
    pub properties: Object,
    pub physical_network: Option<String>,
    pub category: Option<String>,
    /// Made for one VIF, and gone with it.
    pub dynamic_portgroup: bool,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
