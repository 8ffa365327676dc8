//! Deployment of a node that is not there: one step that takes `[fake] deploy_delay`.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{
    DeployInterface, DriverStep, Environment, Interface, StepCall, StepResult, StepRun, step,
};

pub struct FakeDeploy;

#[async_trait]
impl Interface for FakeDeploy {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Deploy
    }

    fn name(&self) -> &'static str {
        "fake"
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![step("deploy", "deploy", 100, StepRun::OutOfBand)]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        if call.step != "deploy" {
            return Err(Fault::unsupported(format!(
                "deploy interface fake has no step {} (node {}).",
                call.step,
                node.label()
            )));
        }
        env.pretend(InterfaceKind::Deploy).await;
        Ok(StepResult::done())
    }
}

impl DeployInterface for FakeDeploy {}
