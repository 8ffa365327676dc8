//! Firmware versions. They are changed by the step `update`.

use async_trait::async_trait;
use bessemer_model::{Fault, FirmwareComponent, Node};

use super::{Environment, Interface};

#[async_trait]
pub trait FirmwareInterface: Interface {
    /// All components as the BMC has them now; `None` when nothing can be read, and what is stored stays.
    async fn read_components(
        &self,
        _env: &Environment,
        _node: &Node,
    ) -> Result<Option<Vec<FirmwareComponent>>, Fault> {
        Ok(None)
    }
}
