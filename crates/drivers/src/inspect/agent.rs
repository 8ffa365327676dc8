//! `agent`: the ramdisk is booted and its agent sends the inventory.

use bessemer_model::InterfaceKind;

use crate::interface::{InspectInterface, Interface};

pub struct AgentInspect;

impl Interface for AgentInspect {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Inspect
    }

    fn name(&self) -> &'static str {
        "agent"
    }
}

impl InspectInterface for AgentInspect {
    fn uses_agent(&self) -> bool {
        true
    }
}
