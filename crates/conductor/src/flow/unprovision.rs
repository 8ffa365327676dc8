//! `deleted`: the instance goes, the node is cleaned and becomes available.

use async_trait::async_trait;
use bessemer_model::{Event, Fault};

use super::ramdisk::{Abandon, PowerOff, end_boot};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const UNPROVISION: Flow = Flow {
    name: "unprovision",
    version: 1,
    title: "tear down",
    history_type: "unprovision",
    phases: &[&InstanceOff(&PowerOff("power-off")), &TearDown],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

/// Off, where the deploy interface is one that switches the node at all (`fake` and `noop` do not).
struct InstanceOff(&'static dyn Phase);

#[async_trait]
impl Phase for InstanceOff {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        if !cx.hardware()?.deploy.uses_agent() {
            return Ok(Look::Done);
        }
        self.0.look(cx).await
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        self.0.act(cx).await
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        self.0.expired(cx).await
    }
}

/// Forgets the instance and goes on as cleaning.
struct TearDown;

#[async_trait]
impl Phase for TearDown {
    fn name(&self) -> &'static str {
        "tear-down"
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        end_boot(cx).await?;
        cx.set(|node| {
            node.instance_info.clear();
            node.instance_uuid = None;
            node.instance_name = None;
            let automatic = node
                .driver_internal_info
                .remove(crate::verbs::AUTOMATIC_LESSEE);
            if automatic.is_some() {
                node.lessee = None;
            }
            node.deploy_step.clear();
            node.last_error = None;
            for key in [
                "deploy_steps",
                "deploy_step_index",
                "root_uuid_or_disk_id",
                "is_whole_disk_image",
                "user_deploy_steps",
            ] {
                node.driver_internal_info.remove(key);
            }
        });
        cx.event(Event::Clean)?;
        Ok(Outcome::Become("clean"))
    }
}
