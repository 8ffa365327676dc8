//! What a node boots: the ramdisk for work, its own disk afterwards.

use bessemer_model::{Fault, Node};

use super::{Environment, Interface};

/// Which ramdisk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RamdiskKind {
    /// For deploying, cleaning, inspecting, service.
    #[default]
    Deploy,
    Rescue,
}

impl RamdiskKind {
    /// Names of kernel and ramdisk in `driver_info` and `[conductor]`.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Deploy => ("deploy_kernel", "deploy_ramdisk"),
            Self::Rescue => ("rescue_kernel", "rescue_ramdisk"),
        }
    }

    /// Name of an image of both in `driver_info`.
    #[must_use]
    pub fn iso(self) -> &'static str {
        match self {
            Self::Deploy => "deploy_iso",
            Self::Rescue => "rescue_iso",
        }
    }
}

/// What the flow wants the ramdisk to know.
#[derive(Debug, Clone, Default)]
pub struct BootParams {
    pub ramdisk: RamdiskKind,
    /// Base URL of the Bare Metal API as the node reaches it (`[deploy] external_callback_url`).
    pub api_url: String,
    /// More `key=value` for the kernel line.
    pub extra: Vec<(String, String)>,
}

/// What netboot shall serve to the node, and which boot device it needs. The conductor stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPlan {
    pub kernel: String,
    pub ramdisk: String,
    pub kernel_params: String,
    /// Boot device to set at the BMC.
    pub boot_device: &'static str,
    /// For virtual media: nothing is served over the network but an image.
    pub media: Option<MediaPlan>,
}

/// The image for a BMC's virtual CD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPlan {
    /// Made of kernel, ramdisk and parameters of the plan.
    Made {
        /// Where BMCs reach the HTTP boot service, without a slash at the end.
        base_url: String,
        /// An EFI system partition with the boot loader, `file:///path`.
        bootloader: Option<String>,
    },
    /// One that somebody made and published.
    Ready { url: String },
}

/// Prepares boots. Pure: the device calls that follow from the plan are the management interface's.
pub trait BootInterface: Interface {
    /// The deploy ramdisk; `None` when the implementation boots nothing (fake).
    fn ramdisk(
        &self,
        _env: &Environment,
        _node: &Node,
        _params: &BootParams,
    ) -> Result<Option<BootPlan>, Fault> {
        Ok(None)
    }
}
