//! BIOS settings. They are changed by steps (`apply_configuration`, `factory_reset`).

use async_trait::async_trait;
use bessemer_model::{BiosSetting, Fault, Node};

use super::{Environment, Interface};

#[async_trait]
pub trait BiosInterface: Interface {
    /// All settings as the BMC has them now; `None` when nothing can be read, and what is stored stays.
    async fn read_settings(
        &self,
        _env: &Environment,
        _node: &Node,
    ) -> Result<Option<Vec<BiosSetting>>, Fault> {
        Ok(None)
    }
}
