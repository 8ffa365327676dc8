//! An allocation: a request for a node, and the node that it got.

use serde::{Deserialize, Serialize};

use crate::{AllocationId, NodeId, Object, Timestamp};

/// How far an allocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocationState {
    /// A node is being looked for.
    Allocating,
    /// It has its node.
    Active,
    /// There was no node for it; `last_error` says why.
    Error,
}

impl AllocationState {
    pub const ALL: [Self; 3] = [Self::Allocating, Self::Active, Self::Error];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocating => "allocating",
            Self::Active => "active",
            Self::Error => "error",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A request for a node. Its id becomes the node's `instance_uuid`.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    pub id: AllocationId,
    pub name: Option<String>,
    pub node: Option<NodeId>,
    pub state: AllocationState,
    /// Project; only nodes whose owner or lessee it is may be taken.
    pub owner: Option<String>,
    pub last_error: Option<String>,
    pub resource_class: Option<String>,
    /// All of them must be among the node's.
    pub traits: Vec<String>,
    /// UUIDs of the nodes that may be taken; empty: any.
    pub candidate_nodes: Vec<String>,
    pub extra: Object,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
