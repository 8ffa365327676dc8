//! Power control.

use async_trait::async_trait;
use bessemer_model::{Fault, Node, PowerState, PowerTarget};

use super::{Environment, Interface};

/// Reads and switches the power of a node.
///
/// A reboot is never one call: flows switch off, see that it is off, and switch on, so that a killed
/// conductor can look at where it was.
#[async_trait]
pub trait PowerInterface: Interface {
    /// Targets that a client may ask for.
    fn supported(&self) -> &'static [PowerTarget] {
        &PowerTarget::ALL
    }

    /// The power state as the hardware says; for software-only drivers, what the node's row says.
    async fn get_power_state(&self, env: &Environment, node: &Node) -> Result<PowerState, Fault>;

    /// Sends the command and returns when the device accepted it; the caller watches the state.
    async fn power_on(&self, env: &Environment, node: &Node) -> Result<(), Fault>;
    async fn power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault>;
    /// Asks the operating system to shut down.
    async fn soft_power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault>;

    /// Whether [`PowerInterface::reset`] is there.
    fn can_reset(&self) -> bool {
        false
    }

    /// Restarts a node that is on without switching it off: only for nodes with `disable_power_off`, since afterwards it
    /// cannot be seen whether it was done. Returns when the device accepted it.
    async fn reset(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        Err(super::unsupported(node, "reboot without power off"))
    }

    /// True when the device's state is only what we stored: then `get_power_state` cannot be asked and the
    /// flows take a sent command for done.
    fn is_simulated(&self) -> bool {
        false
    }
}
