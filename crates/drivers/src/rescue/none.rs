//! `no-rescue`: for nodes without a rescue environment.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, Interface, RescueInterface, unsupported};

pub struct NoRescue;

impl Interface for NoRescue {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Rescue
    }

    fn name(&self) -> &'static str {
        "no-rescue"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl RescueInterface for NoRescue {}
