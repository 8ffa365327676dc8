//! `noop`: the operator deploys by other means; the deployment succeeds at once.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{
    DeployInterface, DriverStep, Environment, Interface, StepCall, StepResult, StepRun, step,
};

pub struct NoopDeploy;

#[async_trait]
impl Interface for NoopDeploy {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Deploy
    }

    fn name(&self) -> &'static str {
        "noop"
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![step("deploy", "deploy", 100, StepRun::OutOfBand)]
    }

    async fn run_step(
        &self,
        _env: &Environment,
        _node: &Node,
        _call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        Ok(StepResult::done())
    }
}

impl DeployInterface for NoopDeploy {}
