//! `no-bios`: for boards whose BIOS settings cannot be reached.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{BiosInterface, Environment, Interface, unsupported};

pub struct NoBios;

impl Interface for NoBios {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Bios
    }

    fn name(&self) -> &'static str {
        "no-bios"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl BiosInterface for NoBios {}
