//! Power over Redfish (schema ComputerSystem, action Reset).

use async_trait::async_trait;
use bessemer_model::{Class, Fault, InterfaceKind, Node, PowerState};
use bessemer_redfish::{Client, Error, System};

use crate::interface::{Environment, Interface, PowerInterface, Property};
use crate::management::redfish::restore_boot_device;
use crate::redfish::{REDFISH_PROPERTIES, Trouble, fault};

pub struct RedfishPower {
    name: &'static str,
}

impl RedfishPower {
    /// `redfish`
    pub const PLAIN: Self = Self { name: "redfish" };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self {
        name: "idrac-redfish",
    };
}

impl Interface for RedfishPower {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Power
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }
}

/// On and off as the BMC says it; a board on its way counts as there.
pub(crate) fn power_state(system: &System) -> Option<PowerState> {
    match system.power_state()? {
        "On" | "PoweringOn" => Some(PowerState::On),
        "Off" | "PoweringOff" => Some(PowerState::Off),
        _ => None,
    }
}

/// Sends a reset. A refusal by a board that is in the wanted state already is a success, as upstream takes it.
pub(crate) async fn reset(
    client: &Client,
    system: &System,
    kind: &str,
    wanted: PowerState,
) -> Result<(), Error> {
    let error = match client.reset(system, kind).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if !matches!(error.status(), Some(400 | 409)) {
        return Err(error);
    }
    let now = client.system().await.ok().as_ref().and_then(power_state);
    if now == Some(wanted) {
        return Ok(());
    }
    if now.is_none() {
        let text = error.to_string().to_ascii_lowercase();
        let word = if wanted == PowerState::On {
            "on"
        } else {
            "off"
        };
        if [
            format!("host is powered {word}"),
            format!("already powered {word}"),
        ]
        .iter()
        .any(|sentence| text.contains(sentence))
        {
            return Ok(());
        }
    }
    Err(error)
}

#[async_trait]
impl PowerInterface for RedfishPower {
    async fn get_power_state(&self, env: &Environment, node: &Node) -> Result<PowerState, Fault> {
        let state = env
            .redfish
            .on_system(node, |_, system| async move {
                Ok::<_, Error>((
                    power_state(&system),
                    system.power_state().map(str::to_owned),
                ))
            })
            .await?;
        match state {
            (Some(state), _) => Ok(state),
            (None, told) => Err(Fault::hardware(
                Class::RetryLater,
                format!(
                    "The BMC of node {} does not say whether the power is on: its power state is {}.",
                    node.label(),
                    told.as_deref().unwrap_or("absent")
                ),
            )),
        }
    }

    async fn power_on(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        let internal = node.driver_internal_info.clone();
        env.redfish
            .on_system(node, |client, system| async move {
                restore_boot_device(&client, &system, &internal).await;
                match reset(&client, &system, "On", PowerState::On).await {
                    // Some boards refuse the power-on for a moment after a power-off; the engine comes again.
                    Err(error)
                        if error.status() == Some(409)
                            && error.says("ActionParameterValueConflict") =>
                    {
                        Err(Trouble::Fault(Fault {
                            class: Class::RetryLater,
                            ..fault(&error)
                        }))
                    }
                    other => Ok(other?),
                }
            })
            .await
    }

    async fn power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                reset(&client, &system, "ForceOff", PowerState::Off).await
            })
            .await
    }

    fn can_reset(&self) -> bool {
        true
    }

    async fn reset(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                client.reset(&system, "ForceRestart").await.map(drop)
            })
            .await
    }

    async fn soft_power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                reset(&client, &system, "GracefulShutdown", PowerState::Off).await
            })
            .await
    }
}
