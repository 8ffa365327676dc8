//! The traits of the interfaces. Every method defaults to "unsupported", so that an implementation
//! writes only what its hardware can do.

mod boot;
mod deploy;
mod management;
mod power;

use std::sync::Arc;
use std::time::Duration;

pub use boot::{BootInterface, BootParams, BootPlan};
pub use deploy::{CoreStep, DeployInterface, DriverStep, StepRun, step};
pub use management::{ManagementInterface, Persistence};
pub use power::PowerInterface;

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::Bmcs;

/// Kernel and ramdisk of an architecture.
pub type DeployImages = Arc<dyn Fn(&str) -> (Option<String>, Option<String>) + Send + Sync>;

/// What every interface implementation may use; one per process.
#[derive(Clone)]
pub struct Environment {
    /// Sessions to BMCs, shared by all interfaces.
    pub bmcs: Bmcs,
    /// `[fake]` delays by interface kind: upstream's option `N` or `min,max` seconds.
    pub fake_delay: Arc<dyn Fn(InterfaceKind) -> Duration + Send + Sync>,
    /// `[deploy] default_boot_mode`: `uefi` or `bios`.
    pub default_boot_mode: String,
    /// `[ipmi] disable_boot_timeout`.
    pub ipmi_disable_boot_timeout: bool,
    /// `[conductor] deploy_kernel` and `deploy_ramdisk` for an architecture, used when `driver_info` has none.
    pub deploy_images: DeployImages,
    /// `[conductor] file_url_allowed_paths`: where `file://` URLs of `driver_info` may point.
    pub file_url_allowed_paths: Vec<String>,
    /// `[pxe] kernel_append_params`.
    pub kernel_append_params: String,
}

/// A property that a driver reads from `driver_info`: `GET /v1/drivers/{name}/properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    pub name: &'static str,
    pub required: bool,
    pub description: &'static str,
}

/// The interfaces chosen for one node. Only the families that flows call have objects; the others are
/// names that the catalogue checks.
#[derive(Clone)]
pub struct Hardware {
    pub power: Arc<dyn PowerInterface>,
    pub management: Arc<dyn ManagementInterface>,
    pub boot: Arc<dyn BootInterface>,
    pub deploy: Arc<dyn DeployInterface>,
}

/// Boot mode of a node: instance and node capabilities before the configured default (ironic's order).
#[must_use]
pub fn boot_mode(node: &Node, default: &str) -> String {
    let secure = node.instance_info.get("capabilities").is_some()
        && node
            .capability("secure_boot")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    if secure {
        return "uefi".to_owned();
    }
    node.capability("boot_mode")
        .unwrap_or_else(|| default.to_owned())
}

/// A text member of `driver_info`; numbers and booleans are taken as their text.
#[must_use]
pub fn info_text(node: &Node, key: &str) -> Option<String> {
    match node.driver_info.get(key)? {
        serde_json::Value::String(s) if !s.is_empty() => Some(s.clone()),
        serde_json::Value::Number(n) => Some(n.to_string()),
        serde_json::Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

/// A yes/no member of `driver_info` as upstream reads them (`true`, `1`, `yes`, `on`).
#[must_use]
pub fn info_bool(node: &Node, key: &str) -> Option<bool> {
    let text = info_text(node, key)?.to_ascii_lowercase();
    Some(matches!(
        text.as_str(),
        "true" | "1" | "yes" | "on" | "t" | "y"
    ))
}

/// Refusal that names every absent required property at once.
///
/// # Errors
/// `MissingParameter` with the names.
pub fn require(node: &Node, properties: &[Property]) -> Result<(), Fault> {
    let missing: Vec<&str> = properties
        .iter()
        .filter(|p| p.required && info_text(node, p.name).is_none())
        .map(|p| p.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        bessemer_model::FaultKind::MissingParameter,
        bessemer_model::Class::Never,
        format!(
            "Node {} has no {} in driver_info, which driver {} needs; set it with `openstack baremetal node set --driver-info`.",
            node.label(),
            missing.join(", "),
            node.driver
        ),
    ))
}
