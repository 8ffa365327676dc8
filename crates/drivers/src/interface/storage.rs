//! Remote volumes of a node.

use async_trait::async_trait;
use bessemer_model::{Fault, Node};

use super::{Environment, Interface};

/// The defaults are those of a node without remote volumes.
#[async_trait]
pub trait StorageInterface: Interface {
    async fn attach_volumes(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        Ok(())
    }

    async fn detach_volumes(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether the image goes to a disk of the node rather than being on a volume already.
    fn should_write_image(&self, _node: &Node) -> bool {
        true
    }
}
