//! What a node needs to boot from remote storage: who it is there, and which volumes it has.

use crate::{NodeId, Object, Timestamp, VolumeConnectorId, VolumeTargetId};

/// The initiator: an identity of the node in a storage network.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeConnector {
    pub id: VolumeConnectorId,
    pub node: NodeId,
    /// `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, `port`, `portgroup`; not checked.
    pub kind: String,
    /// Unique within its kind.
    pub connector_id: String,
    pub extra: Object,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// A remote volume that belongs to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeTarget {
    pub id: VolumeTargetId,
    pub node: NodeId,
    /// `iscsi`, `fibre_channel`, …; not checked.
    pub volume_type: String,
    /// How to reach it. May hold secrets.
    pub properties: Object,
    /// Unique within the node; 0 is the volume that is booted from.
    pub boot_index: i32,
    pub volume_id: String,
    pub extra: Object,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
