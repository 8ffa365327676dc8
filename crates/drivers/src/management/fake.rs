//! Management of a node that is not there (upstream's `fake`): knows `pxe` only.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{Environment, ManagementInterface, Persistence};

pub struct FakeManagement;

async fn pause(env: &Environment) {
    tokio::time::sleep((env.fake_delay)(InterfaceKind::Management)).await;
}

#[async_trait]
impl ManagementInterface for FakeManagement {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe"]
    }

    async fn set_boot_device(
        &self,
        env: &Environment,
        _node: &Node,
        device: &str,
        _persistence: Persistence,
    ) -> Result<(), Fault> {
        if device != "pxe" {
            return Err(Fault::invalid(format!(
                "Invalid boot device {device} specified."
            )));
        }
        pause(env).await;
        Ok(())
    }

    async fn get_boot_device(
        &self,
        env: &Environment,
        _node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        pause(env).await;
        Ok((Some("pxe".into()), Some(false)))
    }

    async fn inject_nmi(&self, env: &Environment, _node: &Node) -> Result<(), Fault> {
        pause(env).await;
        Ok(())
    }
}
