//! `deleted`: the instance goes, the node is cleaned and becomes available.

use async_trait::async_trait;
use bessemer_model::{Event, Fault};

use super::ramdisk::{Abandon, PowerOff};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const UNPROVISION: Flow = Flow {
    name: "unprovision",
    version: 1,
    title: "tear down",
    history_type: "unprovision",
    phases: &[&PowerOff("power-off"), &TearDown],
    abandon: &Abandon,
    on_failure: OnFailure::Fail,
};

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
        if let Err(error) = cx.shared.store.clear_boot(cx.node.id).await {
            return Err(crate::error_text::store(&error));
        }
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
