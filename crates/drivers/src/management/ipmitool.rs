//! Boot device and NMI over IPMI 2.0 (IPMI specification sections 28.12 and 28.13).

use async_trait::async_trait;
use bessemer_ipmi::BootDevice;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::bmc::IPMI_PROPERTIES;
use crate::interface::{
    Environment, Interface, ManagementInterface, Persistence, Property, boot_mode, info_bool,
};

pub struct IpmitoolManagement;

const DEVICES: &[(&str, BootDevice)] = &[
    ("pxe", BootDevice::Pxe),
    ("disk", BootDevice::Disk),
    ("cdrom", BootDevice::Cdrom),
    ("bios", BootDevice::Bios),
    ("safe", BootDevice::Safe),
];

impl Interface for IpmitoolManagement {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Management
    }

    fn name(&self) -> &'static str {
        "ipmitool"
    }

    fn properties(&self) -> &'static [Property] {
        IPMI_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs.validate(node)
    }
}

/// Makers of BMCs by their IANA enterprise number, in lower case as nodes carry them.
const VENDORS: &[(u32, &str)] = &[
    (2, "ibm"),
    (9, "cisco systems"),
    (11, "hewlett-packard"),
    (42, "oracle"),
    (107, "bull"),
    (116, "hitachi"),
    (119, "nec"),
    (343, "intel corporation"),
    (674, "dell inc."),
    (2011, "huawei technologies co., ltd."),
    (2623, "asus"),
    (5771, "cisco systems"),
    (6653, "tyan"),
    (7244, "quanta"),
    (10368, "fujitsu siemens"),
    (10876, "supermicro"),
    (15000, "kontron"),
    (15370, "giga-byte"),
    (19046, "lenovo"),
    (20974, "american megatrends"),
    (37945, "inspur"),
    (47196, "hewlett packard enterprise"),
    (49622, "ami"),
    (49871, "openbmc"),
];

fn vendor(manufacturer: u32) -> Option<&'static str> {
    VENDORS
        .iter()
        .find(|(number, _)| *number == manufacturer)
        .map(|(_, name)| *name)
}

#[async_trait]
impl ManagementInterface for IpmitoolManagement {
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe", "disk", "cdrom", "bios", "safe"]
    }

    async fn set_boot_device(
        &self,
        env: &Environment,
        node: &Node,
        device: &str,
        persistence: Persistence,
    ) -> Result<(), Fault> {
        let (_, device) = DEVICES
            .iter()
            .find(|(name, _)| *name == device)
            .copied()
            .ok_or_else(|| Fault::invalid(format!("Invalid boot device {device} specified.")))?;
        let efi = boot_mode(node, &env.default_boot_mode) == "uefi";
        let persistence = match persistence {
            Persistence::Once => bessemer_ipmi::Persistence::Once,
            Persistence::Persistent => bessemer_ipmi::Persistence::Persistent,
        };
        let keep =
            info_bool(node, "ipmi_disable_boot_timeout").unwrap_or(env.ipmi_disable_boot_timeout);
        env.bmcs
            .with(node, |bmc| async move {
                if keep {
                    // Without it a BMC forgets the device when the power command comes later than 60 s.
                    // Boards that do not know the parameter refuse it; the device itself still counts.
                    if let Err(error) = bmc.disable_boot_timer().await
                        && !matches!(error, bessemer_ipmi::Error::Refused { .. })
                    {
                        return Err(error);
                    }
                }
                bmc.set_boot_device(device, persistence, efi).await
            })
            .await
    }

    async fn get_boot_device(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        let options = env
            .bmcs
            .with(node, |bmc| async move { bmc.get_boot_device().await })
            .await?;
        let name = options
            .device
            .and_then(|d| DEVICES.iter().find(|(_, known)| *known == d))
            .map(|(n, _)| (*n).to_owned());
        // Flags that are not in force say nothing about what the node boots.
        Ok(if options.valid {
            (name, Some(options.persistent))
        } else {
            (None, None)
        })
    }

    async fn inject_nmi(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs
            .with(node, |bmc| async move { bmc.power_diag().await })
            .await
    }

    async fn detect_vendor(&self, env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
        let id = env
            .bmcs
            .with(node, |bmc| async move { bmc.device_id().await })
            .await?;
        Ok(vendor(id.manufacturer_id).map(str::to_owned))
    }
}
