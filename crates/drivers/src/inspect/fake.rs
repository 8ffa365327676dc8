//! Inspection of a node that is not there: finds nothing after `[fake] inspect_delay`.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, InspectInterface, Inspection, Interface};

pub struct FakeInspect;

impl Interface for FakeInspect {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Inspect
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

#[async_trait]
impl InspectInterface for FakeInspect {
    async fn inspect(&self, env: &Environment, _node: &Node) -> Result<Inspection, Fault> {
        env.pretend(InterfaceKind::Inspect).await;
        Ok(Inspection::default())
    }
}
