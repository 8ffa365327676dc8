//! For boards whose boot device cannot be set: accepts what the flows ask for and leaves the order that
//! the firmware has (upstream's `noop`).

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Effects, Environment, Interface, ManagementInterface, Persistence};

pub struct NoopManagement;

impl Interface for NoopManagement {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Management
    }

    fn name(&self) -> &'static str {
        "noop"
    }
}

#[async_trait]
impl ManagementInterface for NoopManagement {
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe", "disk"]
    }

    async fn set_boot_device(
        &self,
        _env: &Environment,
        _node: &Node,
        device: &str,
        _persistence: Persistence,
    ) -> Result<Effects, Fault> {
        if matches!(device, "pxe" | "disk") {
            return Ok(Effects::default());
        }
        Err(Fault::invalid(format!(
            "Invalid boot device {device} specified, supported are pxe, disk."
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
