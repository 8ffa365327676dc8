//! Boot device and NMI over IPMI 2.0 (IPMI specification sections 28.12 and 28.13).

use async_trait::async_trait;
use bessemer_ipmi::BootDevice;
use bessemer_model::{Fault, InterfaceKind, Node, Object};
use serde_json::Value;

use crate::bmc::IPMI_PROPERTIES;
use crate::interface::{
    DriverStep, Effects, Environment, Interface, ManagementInterface, Persistence, Property,
    StepCall, StepResult, StepRun, boot_mode, info_bool, step,
};
use crate::vendor::ipmitool::send;

pub struct IpmitoolManagement {
    /// Intel's boards have one step more.
    intel: bool,
}

impl IpmitoolManagement {
    /// `ipmitool`
    pub const PLAIN: Self = Self { intel: false };
    /// `intel-ipmitool`
    pub const INTEL: Self = Self { intel: true };
}

const DEVICES: &[(&str, BootDevice)] = &[
    ("pxe", BootDevice::Pxe),
    ("disk", BootDevice::Disk),
    ("cdrom", BootDevice::Cdrom),
    ("bios", BootDevice::Bios),
    ("safe", BootDevice::Safe),
];

/// Step that chooses the configuration of Intel's Speed Select Technology.
const SPEED_SELECT: &str = "configure_intel_speedselect";
/// Its configurations.
const SPEED_SELECT_CONFIGS: [(&str, u8); 3] = [("0x00", 0), ("0x01", 1), ("0x02", 2)];
/// More CPUs no board has.
const MAX_SOCKETS: u64 = 16;

/// Configuration and number of CPU sockets of a call of [`SPEED_SELECT`].
fn speed_select(args: &Object) -> Result<(u8, u8), Fault> {
    let given = args.get("intel_speedselect_config");
    let (_, config) = SPEED_SELECT_CONFIGS
        .iter()
        .find(|(name, _)| given.and_then(Value::as_str) == Some(name))
        .ok_or_else(|| {
            Fault::invalid(format!(
                "intel_speedselect_config is one of the texts 0x00, 0x01 and 0x02, not {}.",
                given.unwrap_or(&Value::Null)
            ))
        })?;
    let sockets = match args.get("socket_count") {
        None => Some(1),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_u64(),
    };
    let sockets = sockets
        .filter(|n| (1..=MAX_SOCKETS).contains(n))
        .and_then(|n| u8::try_from(n).ok())
        .ok_or_else(|| {
            Fault::invalid(format!(
                "socket_count is a number of CPU sockets from 1 to {MAX_SOCKETS}."
            ))
        })?;
    Ok((*config, sockets))
}

#[async_trait]
impl Interface for IpmitoolManagement {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Management
    }

    fn name(&self) -> &'static str {
        if self.intel {
            "intel-ipmitool"
        } else {
            "ipmitool"
        }
    }

    fn properties(&self) -> &'static [Property] {
        IPMI_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs.validate(node)
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        if !self.intel {
            return Vec::new();
        }
        // Upstream's has priority 200, by which it runs in every deploy, without the argument that it needs.
        vec![
            step(SPEED_SELECT, "management", 0, StepRun::OutOfBand)
                .arg(
                    "intel_speedselect_config",
                    true,
                    "Configuration of Speed Select: 0x00, 0x01 or 0x02.",
                )
                .arg(
                    "socket_count",
                    false,
                    "Number of CPU sockets; 1 when absent.",
                ),
        ]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        if !self.intel || call.step != SPEED_SELECT {
            return Err(Fault::unsupported(format!(
                "management interface {} has no step {} (node {}).",
                self.name(),
                call.step,
                node.label()
            )));
        }
        let (config, sockets) = speed_select(call.args)?;
        for socket in 0..sockets {
            send(env, node, 0x2c, 0x41, vec![0x04, 0x00, socket, config]).await?;
        }
        Ok(StepResult::done())
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
    ) -> Result<Effects, Fault> {
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
            .await?;
        Ok(Effects::default())
    }

    async fn sensors(&self, env: &Environment, node: &Node) -> Result<Value, Fault> {
        let sensors = env
            .bmcs
            .with(node, |bmc| async move { bmc.sensors().await })
            .await?;
        Ok(super::ipmi_sensors::shown(&sensors))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::speed_select;
    use serde_json::{Value, json};

    #[test]
    fn arguments_of_speed_select() {
        let check = |args: Value, want: Result<(u8, u8), &str>| {
            let got = speed_select(args.as_object().unwrap());
            match want {
                Ok(want) => assert_eq!(got.unwrap(), want, "{args}"),
                Err(part) => assert!(got.unwrap_err().text.contains(part), "{args}"),
            }
        };
        check(json!({"intel_speedselect_config": "0x02"}), Ok((2, 1)));
        check(
            json!({"intel_speedselect_config": "0x00", "socket_count": "4"}),
            Ok((0, 4)),
        );
        check(json!({}), Err("0x00, 0x01 and 0x02"));
        check(json!({"intel_speedselect_config": 1}), Err("not 1"));
        for sockets in [json!(0), json!(-1), json!(17), json!("x"), json!(1.5)] {
            check(
                json!({"intel_speedselect_config": "0x00", "socket_count": sockets}),
                Err("from 1 to 16"),
            );
        }
    }
}
