//! Deployment of a node that is not there: one step that takes `[fake] deploy_delay`.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{DeployInterface, DriverStep, Environment, StepRun, step};

pub struct FakeDeploy;

#[async_trait]
impl DeployInterface for FakeDeploy {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![step("deploy", "deploy", 100, StepRun::OutOfBand)]
    }

    async fn run_step(&self, env: &Environment, _node: &Node, _step: &str) -> Result<(), Fault> {
        tokio::time::sleep((env.fake_delay)(InterfaceKind::Deploy)).await;
        Ok(())
    }
}
