//! RAID. Volumes are made and deleted by steps (`create_configuration`, `delete_configuration`, `apply_configuration`).

use bessemer_model::{Fault, InterfaceKind, Node, Object};
use serde_json::Value;

use super::{Environment, Interface, unsupported};
use crate::raid::schema;

pub trait RaidInterface: Interface {
    /// Checks a `target_raid_config` that is not empty.
    ///
    /// # Errors
    /// A sentence that names the member.
    fn validate_raid_config(
        &self,
        _env: &Environment,
        node: &Node,
        _config: &Value,
    ) -> Result<(), Fault> {
        Err(unsupported(node, InterfaceKind::Raid.as_str()))
    }

    /// Members of a logical disk with what they mean.
    fn logical_disk_properties(&self) -> Object {
        schema::logical_disk_properties()
    }
}
