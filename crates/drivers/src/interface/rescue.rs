//! A rescue environment beside the instance.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use super::{Environment, Interface, unsupported};

#[async_trait]
pub trait RescueInterface: Interface {
    /// The rescue ramdisk is booted and its agent sets the password: then the flow does the work and the calls
    /// below are not made.
    fn uses_agent(&self) -> bool {
        false
    }

    async fn rescue(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, InterfaceKind::Rescue.as_str()))
    }

    async fn unrescue(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, InterfaceKind::Rescue.as_str()))
    }
}
