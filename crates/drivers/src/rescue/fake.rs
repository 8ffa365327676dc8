//! Rescue of a node that is not there: takes `[fake] rescue_delay`.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, Interface, RescueInterface};

pub struct FakeRescue;

impl Interface for FakeRescue {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Rescue
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

#[async_trait]
impl RescueInterface for FakeRescue {
    async fn rescue(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Rescue).await;
        Ok(())
    }

    async fn unrescue(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Rescue).await;
        Ok(())
    }
}
