//! How a node's inventory is found out.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, MacAddress, Node, Object};
use serde_json::Value;

use super::{Environment, Interface, unsupported};

/// What an out-of-band inspection found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    /// The inventory in the agent's form; `None` when there is none to store.
    pub inventory: Option<Value>,
    /// What is stored beside it.
    pub plugin_data: Object,
    /// Merged into the node's `properties`.
    pub properties: Object,
    /// Network cards; ports are made of those that have none.
    pub macs: Vec<MacAddress>,
}

#[async_trait]
pub trait InspectInterface: Interface {
    /// The ramdisk is booted and its agent sends the inventory: then the flow does the work and
    /// [`InspectInterface::inspect`] is not called.
    fn uses_agent(&self) -> bool {
        false
    }

    /// Asks the BMC.
    async fn inspect(&self, _env: &Environment, node: &Node) -> Result<Inspection, Fault> {
        Err(unsupported(node, InterfaceKind::Inspect.as_str()))
    }
}
