//! Firmware of a node that is not there: updates take `[fake] firmware_delay` and change nothing.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{
    DriverStep, Environment, FirmwareInterface, Interface, StepCall, StepResult, StepRun, step,
};

pub struct FakeFirmware;

#[async_trait]
impl Interface for FakeFirmware {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Firmware
    }

    fn name(&self) -> &'static str {
        "fake"
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        vec![
            step("update", "firmware", 0, StepRun::OutOfBand)
                .not_abortable()
                .with_ramdisk()
                .arg(
                    "settings",
                    true,
                    "Updates as a list of objects with component and url.",
                ),
        ]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        if call.step != "update" {
            return Err(Fault::unsupported(format!(
                "firmware interface fake has no step {} (node {}).",
                call.step,
                node.label()
            )));
        }
        env.pretend(InterfaceKind::Firmware).await;
        Ok(StepResult::done())
    }
}

impl FirmwareInterface for FakeFirmware {}
