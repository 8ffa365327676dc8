//! `adopt`: a node whose instance is there already becomes `active`; nothing is switched and nothing written.

use async_trait::async_trait;
use bessemer_model::{Event, Fault};
use bessemer_store::TimelineSource;

use super::ramdisk::{Abandon, set_local_boot};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const ADOPT: Flow = Flow {
    name: "adopt",
    version: 1,
    title: "adoption",
    history_type: "adoption",
    phases: &[&Adopt],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

struct Adopt;

#[async_trait]
impl Phase for Adopt {
    fn name(&self) -> &'static str {
        "adopt"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let hardware = cx.hardware()?;
        let env = cx.shared.environment.clone();
        hardware.power.validate(&env, &cx.node)?;
        hardware.deploy.validate(&env, &cx.node)?;
        let state = cx.read_power().await?;
        if hardware.deploy.uses_agent() {
            hardware.boot.validate(&env, &cx.node)?;
            set_local_boot(cx).await?;
        }
        cx.note(
            TimelineSource::Engine,
            format!("the instance of the node is taken over as it is: {state}"),
        );
        cx.event(Event::Done)?;
        cx.set(|node| node.last_error = None);
        Ok(Outcome::Finish)
    }
}
