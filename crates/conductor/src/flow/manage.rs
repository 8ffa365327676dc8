//! `manage`: is the hardware there, and do the credentials work?

use async_trait::async_trait;
use bessemer_model::{Event, Fault};
use bessemer_store::TimelineSource;

use super::ramdisk::Abandon;
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const MANAGE: Flow = Flow {
    name: "manage",
    version: 1,
    title: "verification",
    history_type: "verify",
    phases: &[&VerifyPower],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

struct VerifyPower;

#[async_trait]
impl Phase for VerifyPower {
    fn name(&self) -> &'static str {
        "verify-power"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let state = cx.read_power().await.map_err(|fault| Fault {
            text: format!(
                "Failed to get power state for node {}. Error: {}",
                cx.node.id, fault.text
            ),
            ..fault
        })?;
        cx.note(TimelineSource::Bmc, format!("the BMC answers: {state}"));
        cx.event(Event::Done)?;
        cx.set(|node| node.last_error = None);
        Ok(Outcome::Finish)
    }
}
