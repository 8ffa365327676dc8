//! Power over IPMI 2.0, natively; keeps upstream's name because nodes carry it.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node, PowerState};

use crate::bmc::IPMI_PROPERTIES;
use crate::interface::{Environment, Interface, PowerInterface, Property};

pub struct IpmitoolPower;

impl Interface for IpmitoolPower {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Power
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

#[async_trait]
impl PowerInterface for IpmitoolPower {
    async fn get_power_state(&self, env: &Environment, node: &Node) -> Result<PowerState, Fault> {
        let on = env
            .bmcs
            .with(node, |bmc| async move { bmc.power_status().await })
            .await?;
        Ok(if on { PowerState::On } else { PowerState::Off })
    }

    async fn power_on(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs
            .with(node, |bmc| async move { bmc.power_on().await })
            .await
    }

    async fn power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs
            .with(node, |bmc| async move { bmc.power_off().await })
            .await
    }

    fn can_reset(&self) -> bool {
        true
    }

    async fn reset(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs
            .with(node, |bmc| async move { bmc.power_reset().await })
            .await
    }

    async fn soft_power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs
            .with(node, |bmc| async move { bmc.power_soft().await })
            .await
    }
}
