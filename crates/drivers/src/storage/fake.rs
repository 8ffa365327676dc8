//! Remote volumes of a node that is not there: attaching takes `[fake] storage_delay`.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, Interface, StorageInterface};

pub struct FakeStorage;

impl Interface for FakeStorage {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Storage
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

#[async_trait]
impl StorageInterface for FakeStorage {
    async fn attach_volumes(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Storage).await;
        Ok(())
    }

    async fn detach_volumes(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        env.pretend(InterfaceKind::Storage).await;
        Ok(())
    }
}
