//! How a node is deployed and cleaned: which steps there are besides the agent's own.

use super::Interface;

pub trait DeployInterface: Interface {
    /// Whether cleaning and deploying boot the ramdisk.
    fn uses_agent(&self) -> bool {
        false
    }
}
