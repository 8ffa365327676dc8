//! What inspection has found of a node.

use crate::{Object, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// As the agent's hardware manager describes it: `interfaces`, `cpu`, `disks`, `memory`, `bmc_address`, …
    pub inventory: Object,
    /// Everything else that the ramdisk sent, and what the hooks made of it.
    pub plugin_data: Object,
    pub at: Timestamp,
}

/// Member of `driver_internal_info` while a node is inspected: the addresses of its BMC, by which a report may name it.
pub const LOOKUP_ADDRESSES: &str = "lookup_bmc_addresses";
