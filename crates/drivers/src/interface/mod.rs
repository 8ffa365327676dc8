//! The traits of the interfaces: [`Interface`] is what all have, each family's own trait comes on top. Every method
//! has a default ("unsupported", or nothing to do), so that an implementation writes only what its hardware can do.

mod base;
mod bios;
mod boot;
mod console;
mod deploy;
mod firmware;
mod inspect;
mod management;
mod network;
mod power;
mod raid;
mod rescue;
mod storage;
mod vendor;

use std::sync::Arc;
use std::time::Duration;

pub use base::{
    CoreStep, DriverStep, Effects, Interface, StepCall, StepResult, StepRun, step, unsupported,
    unsupported_by,
};
pub use bios::BiosInterface;
pub use boot::{BootInterface, BootParams, BootPlan, MediaPlan, RamdiskKind};
pub use console::ConsoleInterface;
pub use deploy::DeployInterface;
pub use firmware::FirmwareInterface;
pub use inspect::{InspectInterface, Inspection};
pub use management::{Indicator, Indicators, ManagementInterface, Persistence, VMEDIA_DEVICES};
pub use network::{Network, NetworkInterface, PortChange};
pub use power::PowerInterface;
pub use raid::RaidInterface;
pub use rescue::RescueInterface;
pub use storage::StorageInterface;
pub use vendor::{VendorInterface, VendorMethod, VendorReply};

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::{Bmcs, RedfishBmcs};

/// Kernel and ramdisk of an architecture.
pub type DeployImages = Arc<dyn Fn(&str) -> (Option<String>, Option<String>) + Send + Sync>;

/// EFI system partition of an architecture's images for virtual media.
pub type Bootloader = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What every interface implementation may use; one per process.
#[derive(Clone)]
pub struct Environment {
    /// Sessions to BMCs, shared by all interfaces.
    pub bmcs: Bmcs,
    /// The same over Redfish.
    pub redfish: RedfishBmcs,
    /// `[fake]` delays by interface kind: upstream's option `N` or `min,max` seconds.
    pub fake_delay: Arc<dyn Fn(InterfaceKind) -> Duration + Send + Sync>,
    /// `[deploy] default_boot_mode`: `uefi` or `bios`.
    pub default_boot_mode: String,
    /// `[ipmi] disable_boot_timeout`.
    pub ipmi_disable_boot_timeout: bool,
    /// `[conductor] deploy_kernel` and `deploy_ramdisk` for an architecture, used when `driver_info` has none.
    pub deploy_images: DeployImages,
    /// The same of `[conductor] rescue_kernel` and `rescue_ramdisk`.
    pub rescue_images: DeployImages,
    /// `[conductor] bootloader` for an architecture: the EFI system partition of images for virtual media.
    pub bootloader: Bootloader,
    /// `[deploy] external_http_url` or its default: where BMCs fetch images for virtual media.
    pub media_url: String,
    /// `[conductor] file_url_allowed_paths`: where `file://` URLs of `driver_info` may point.
    pub file_url_allowed_paths: Vec<String>,
    /// `[pxe] kernel_append_params`.
    pub kernel_append_params: String,
}

impl Environment {
    /// What a fake interface pretends to need for one call.
    pub(crate) async fn pretend(&self, kind: InterfaceKind) {
        let time = (self.fake_delay)(kind);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }
}

/// A property that a driver reads from `driver_info`: `GET /v1/drivers/{name}/properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    pub name: &'static str,
    pub required: bool,
    pub description: &'static str,
}

/// The interfaces chosen for one node.
#[derive(Clone)]
pub struct Hardware {
    pub bios: Arc<dyn BiosInterface>,
    pub boot: Arc<dyn BootInterface>,
    pub console: Arc<dyn ConsoleInterface>,
    pub deploy: Arc<dyn DeployInterface>,
    pub firmware: Arc<dyn FirmwareInterface>,
    pub inspect: Arc<dyn InspectInterface>,
    pub management: Arc<dyn ManagementInterface>,
    pub network: Arc<dyn NetworkInterface>,
    pub power: Arc<dyn PowerInterface>,
    pub raid: Arc<dyn RaidInterface>,
    pub rescue: Arc<dyn RescueInterface>,
    pub storage: Arc<dyn StorageInterface>,
    pub vendor: Arc<dyn VendorInterface>,
}

impl Hardware {
    #[must_use]
    pub fn interface(&self, kind: InterfaceKind) -> &dyn Interface {
        match kind {
            InterfaceKind::Bios => &*self.bios,
            InterfaceKind::Boot => &*self.boot,
            InterfaceKind::Console => &*self.console,
            InterfaceKind::Deploy => &*self.deploy,
            InterfaceKind::Firmware => &*self.firmware,
            InterfaceKind::Inspect => &*self.inspect,
            InterfaceKind::Management => &*self.management,
            InterfaceKind::Network => &*self.network,
            InterfaceKind::Power => &*self.power,
            InterfaceKind::Raid => &*self.raid,
            InterfaceKind::Rescue => &*self.rescue,
            InterfaceKind::Storage => &*self.storage,
            InterfaceKind::Vendor => &*self.vendor,
        }
    }

    fn steps(&self, of: impl Fn(&dyn Interface) -> Vec<DriverStep>) -> Vec<DriverStep> {
        InterfaceKind::ALL
            .into_iter()
            .flat_map(|kind| of(self.interface(kind)))
            .collect()
    }

    /// Clean steps of all interfaces.
    #[must_use]
    pub fn clean_steps(&self) -> Vec<DriverStep> {
        self.steps(|i| i.clean_steps())
    }

    #[must_use]
    pub fn deploy_steps(&self) -> Vec<DriverStep> {
        self.steps(|i| i.deploy_steps())
    }

    #[must_use]
    pub fn service_steps(&self) -> Vec<DriverStep> {
        self.steps(|i| i.service_steps())
    }

    #[must_use]
    pub fn verify_steps(&self) -> Vec<DriverStep> {
        self.steps(|i| i.verify_steps())
    }

    /// Whether the node can be inspected; where an agent does it, its ramdisk has to boot.
    ///
    /// # Errors
    /// As [`Interface::validate`].
    pub fn validate_inspection(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        self.inspect.validate(env, node)?;
        if !self.inspect.uses_agent() {
            return Ok(());
        }
        self.boot.validate(env, node).map_err(|fault| Fault {
            text: format!(
                "Insufficient information provided for managed inspection: {}",
                fault.text
            ),
            ..fault
        })
    }

    /// Runs an out-of-band step; `interface` is the family that has it.
    ///
    /// # Errors
    /// As [`Interface::run_step`]; a family that does not exist.
    pub async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        interface: &str,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let kind = InterfaceKind::parse(interface).ok_or_else(|| {
            Fault::internal(format!(
                "Step {interface}.{} of node {} names a family of interfaces that does not exist.",
                call.step,
                node.label()
            ))
        })?;
        self.interface(kind).run_step(env, node, call).await
    }
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
