//! `no-inspect`: for nodes whose inventory is entered by hand.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, InspectInterface, Interface, unsupported};

pub struct NoInspect;

impl Interface for NoInspect {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Inspect
    }

    fn name(&self) -> &'static str {
        "no-inspect"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl InspectInterface for NoInspect {}
