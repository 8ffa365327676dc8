//! Which network a node's ports are in, and the virtual interfaces (VIFs) of its instance.

use async_trait::async_trait;
use bessemer_model::{Fault, Node, Object, Port, PortId};

use super::{Environment, Interface};

/// Networks that flows move a node into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    Provisioning,
    Cleaning,
    Rescuing,
    Inspection,
    Servicing,
    Tenant,
}

/// What changes on a port; the conductor saves it.
#[derive(Debug, Clone, PartialEq)]
pub struct PortChange {
    pub port: PortId,
    /// Merged into `internal_info`; null removes a member.
    pub internal_info: Object,
}

/// The defaults are those of a network that never changes (`noop`): nothing is done and nothing is remembered.
#[async_trait]
pub trait NetworkInterface: Interface {
    /// Moves the ports into a network; nothing when they are there already.
    async fn join(
        &self,
        _env: &Environment,
        _node: &Node,
        _ports: &[Port],
        _network: Network,
    ) -> Result<Vec<PortChange>, Fault> {
        Ok(Vec::new())
    }

    /// Takes the ports out of a network.
    async fn leave(
        &self,
        _env: &Environment,
        _node: &Node,
        _ports: &[Port],
        _network: Network,
    ) -> Result<Vec<PortChange>, Fault> {
        Ok(Vec::new())
    }

    /// Gives a VIF to one of the ports. `vif` has an `id` and whatever else the client sent.
    async fn vif_attach(
        &self,
        _env: &Environment,
        _node: &Node,
        _ports: &[Port],
        _vif: &Object,
    ) -> Result<Vec<PortChange>, Fault> {
        Ok(Vec::new())
    }

    async fn vif_detach(
        &self,
        _env: &Environment,
        _node: &Node,
        _ports: &[Port],
        _vif: &str,
    ) -> Result<Vec<PortChange>, Fault> {
        Ok(Vec::new())
    }

    /// Ids of the VIFs that ports have.
    fn vif_list(&self, _node: &Node, _ports: &[Port]) -> Vec<String> {
        Vec::new()
    }

    /// Network data (OpenStack's `network_data.json`) for a ramdisk without DHCP.
    fn network_data(&self, node: &Node) -> Object {
        node.network_data.clone()
    }
}
