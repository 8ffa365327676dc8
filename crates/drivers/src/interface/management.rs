//! Boot device and mode, NMI, lamps, virtual media, sensors: what a BMC does besides power.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bessemer_model::{Fault, MacAddress, Node, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Effects, Environment, Interface, unsupported};

/// How long a boot device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Once,
    Persistent,
}

/// A lamp of a component. States are `on`, `off`, `blinking` and `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indicator {
    pub readonly: bool,
    pub states: Vec<String>,
}

/// Component (`chassis`, `system`, `disk`, `power`, `nic`) to lamp name to lamp.
pub type Indicators = BTreeMap<String, BTreeMap<String, Indicator>>;

/// Kinds of virtual media: `disk`, `cdrom`, `floppy`.
pub const VMEDIA_DEVICES: [&str; 3] = ["disk", "cdrom", "floppy"];

/// Everything that is not overridden is refused in upstream's words.
#[async_trait]
pub trait ManagementInterface: Interface {
    /// Names as the API has them: `pxe`, `disk`, `cdrom`, `bios`, `safe`, …
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is to be remembered of it comes back.
    async fn set_boot_device(
        &self,
        _env: &Environment,
        node: &Node,
        _device: &str,
        _persistence: Persistence,
    ) -> Result<Effects, Fault> {
        Err(unsupported(node, "set_boot_device"))
    }

    /// Device and whether it is persistent; `None` = the BMC does not say.
    async fn get_boot_device(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        Err(unsupported(node, "get_boot_device"))
    }

    /// `uefi`, `bios`, or `None` when the BMC does not say.
    async fn get_boot_mode(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<Option<String>, Fault> {
        Err(unsupported(node, "get_boot_mode"))
    }

    async fn set_boot_mode(
        &self,
        _env: &Environment,
        node: &Node,
        _mode: &str,
    ) -> Result<(), Fault> {
        Err(unsupported(node, "set_boot_mode"))
    }

    async fn get_secure_boot(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<Option<bool>, Fault> {
        Err(unsupported(node, "get_secure_boot_state"))
    }

    async fn set_secure_boot(
        &self,
        _env: &Environment,
        node: &Node,
        _enabled: bool,
    ) -> Result<(), Fault> {
        Err(unsupported(node, "set_secure_boot_state"))
    }

    async fn inject_nmi(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, "inject_nmi"))
    }

    async fn indicators(&self, _env: &Environment, node: &Node) -> Result<Indicators, Fault> {
        Err(unsupported(node, "get_supported_indicators"))
    }

    async fn get_indicator(
        &self,
        _env: &Environment,
        node: &Node,
        _component: &str,
        _indicator: &str,
    ) -> Result<String, Fault> {
        Err(unsupported(node, "get_indicator_state"))
    }

    async fn set_indicator(
        &self,
        _env: &Environment,
        node: &Node,
        _component: &str,
        _indicator: &str,
        _state: &str,
    ) -> Result<(), Fault> {
        Err(unsupported(node, "set_indicator_state"))
    }

    /// Slots for virtual media as the BMC describes them: `media_types`, `inserted`, `image`.
    async fn get_virtual_media(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<Vec<Object>, Fault> {
        Err(unsupported(node, "get_virtual_media"))
    }

    /// Inserts; an image of the same kind that is in is ejected first. `device` is of [`VMEDIA_DEVICES`].
    async fn attach_virtual_media(
        &self,
        _env: &Environment,
        node: &Node,
        _device: &str,
        _image_url: &str,
    ) -> Result<(), Fault> {
        Err(unsupported(node, "attach_virtual_media"))
    }

    /// Ejects the named kinds, all when there is none.
    async fn detach_virtual_media(
        &self,
        _env: &Environment,
        node: &Node,
        _devices: &[String],
    ) -> Result<(), Fault> {
        Err(unsupported(node, "detach_virtual_media"))
    }

    /// Vendor as the BMC names it, kept as property `vendor`.
    async fn detect_vendor(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<Option<String>, Fault> {
        Err(unsupported(node, "detect_vendor"))
    }

    /// `OK`, `Warning`, `Critical`, or `None`.
    async fn get_health(&self, _env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
        Err(unsupported(node, "get_node_health"))
    }

    /// MAC addresses of the node's network cards as the BMC knows them.
    async fn mac_addresses(
        &self,
        _env: &Environment,
        node: &Node,
    ) -> Result<Vec<MacAddress>, Fault> {
        Err(unsupported(node, "get_mac_addresses"))
    }

    /// Sensor type to sensor to its fields, as Ceilometer reads them.
    async fn sensors(&self, _env: &Environment, node: &Node) -> Result<Value, Fault> {
        Err(unsupported(node, "get_sensors_data"))
    }
}
