//! For boards whose boot device cannot be set: accepts what the flows ask for and leaves the order that
//! the firmware has (upstream's `noop`).

use async_trait::async_trait;
use bessemer_model::{Fault, Node};

use crate::interface::{Environment, ManagementInterface, Persistence};

pub struct NoopManagement;

#[async_trait]
impl ManagementInterface for NoopManagement {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe", "disk"]
    }

    async fn set_boot_device(
        &self,
        _env: &Environment,
        node: &Node,
        device: &str,
        _persistence: Persistence,
    ) -> Result<(), Fault> {
        if matches!(device, "pxe" | "disk") {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "Invalid boot device {device} specified; node {} has pxe, disk.",
            node.label()
        )))
    }

    async fn get_boot_device(
        &self,
        _env: &Environment,
        _node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        Ok((Some("pxe".into()), Some(true)))
    }
}
