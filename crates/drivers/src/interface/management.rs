//! Boot device, NMI.

use async_trait::async_trait;
use bessemer_model::{Fault, Node};

use super::{Environment, Property};

/// How long a boot device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Once,
    Persistent,
}

#[async_trait]
pub trait ManagementInterface: Send + Sync {
    fn name(&self) -> &'static str;

    fn properties(&self) -> &'static [Property] {
        &[]
    }

    fn validate(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        Ok(())
    }

    /// Names as the API has them: `pxe`, `disk`, `cdrom`, `bios`, `safe`, …
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &[]
    }

    async fn set_boot_device(
        &self,
        _env: &Environment,
        node: &Node,
        _device: &str,
        _persistence: Persistence,
    ) -> Result<(), Fault> {
        Err(unsupported(node, self.name(), "setting the boot device"))
    }

    /// Device and whether it is persistent; `None` = the BMC does not say.
    async fn get_boot_device(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        Err(unsupported(node, self.name(), "reading the boot device"))
    }

    async fn inject_nmi(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.name(), "injecting an NMI"))
    }
}

pub(crate) fn unsupported(node: &Node, interface: &str, what: &str) -> Fault {
    Fault::unsupported(format!(
        "Driver {} does not support {what} on node {} (interface {interface}).",
        node.driver,
        node.label()
    ))
}
