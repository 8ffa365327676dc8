//! `no-console`: for nodes without a console.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{ConsoleInterface, Environment, Interface, unsupported};

pub struct NoConsole;

impl Interface for NoConsole {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Console
    }

    fn name(&self) -> &'static str {
        "no-console"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl ConsoleInterface for NoConsole {}
