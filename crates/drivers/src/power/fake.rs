//! Power of a node that is not there: the state is what the node's row says.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node, PowerState};

use crate::interface::{Environment, Interface, PowerInterface};

pub struct FakePower;

impl Interface for FakePower {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Power
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

#[async_trait]
impl PowerInterface for FakePower {
    async fn get_power_state(&self, env: &Environment, node: &Node) -> Result<PowerState, Fault> {
        env.pretend(InterfaceKind::Power).await;
        Ok(node.power_state.unwrap_or(PowerState::Off))
    }

    async fn power_on(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Power).await;
        Ok(())
    }

    async fn power_off(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Power).await;
        Ok(())
    }

    async fn soft_power_off(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Power).await;
        Ok(())
    }

    fn can_reset(&self) -> bool {
        true
    }

    async fn reset(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Power).await;
        Ok(())
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
