//! RAID of a node that is not there: a wanted configuration is checked and kept; like upstream's it has no steps.

use bessemer_model::{Fault, InterfaceKind, Node};
use serde_json::Value;

use super::schema;
use crate::interface::{Environment, Interface, RaidInterface};

pub struct FakeRaid;

impl Interface for FakeRaid {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Raid
    }

    fn name(&self) -> &'static str {
        "fake"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        schema::check_target(node)
    }
}

impl RaidInterface for FakeRaid {
    fn validate_raid_config(
        &self,
        _env: &Environment,
        _node: &Node,
        config: &Value,
    ) -> Result<(), Fault> {
        schema::check(config)
    }
}
