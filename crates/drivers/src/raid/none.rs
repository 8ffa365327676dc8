//! `no-raid`: for nodes without RAID.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, Interface, RaidInterface, unsupported};

pub struct NoRaid;

impl Interface for NoRaid {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Raid
    }

    fn name(&self) -> &'static str {
        "no-raid"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(unsupported(node, self.kind().as_str()))
    }
}

impl RaidInterface for NoRaid {}
