//! `agent`: software RAID (and what hardware managers of the ramdisk add). The agent itself offers the steps.

use bessemer_model::{Fault, InterfaceKind, Node};
use serde_json::Value;

use super::schema;
use crate::interface::{Environment, Interface, RaidInterface};

pub struct AgentRaid;

impl Interface for AgentRaid {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Raid
    }

    fn name(&self) -> &'static str {
        "agent"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        schema::check_target(node)
    }
}

impl RaidInterface for AgentRaid {
    fn validate_raid_config(
        &self,
        _env: &Environment,
        _node: &Node,
        config: &Value,
    ) -> Result<(), Fault> {
        schema::check(config)
    }
}
