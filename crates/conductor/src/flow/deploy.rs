//! `active` and `rebuild`: an image onto the disk, and the node into it.

use async_trait::async_trait;
use bessemer_model::{Event, Fault};
use bessemer_store::TimelineSource;

use super::ramdisk::{AbandonRamdisk, PowerOff, PowerOn, PrepareRamdisk, WaitAgent};
use super::run_steps::{CollectSteps, RunSteps};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Phase};

pub const DEPLOY: Flow = Flow {
    name: "deploy",
    version: 1,
    title: "deploy",
    history_type: "deployment",
    phases: &[
        &CheckImage,
        &PowerOff("power-off"),
        &PrepareRamdisk,
        &PowerOn("power-on"),
        &WaitAgent,
        &CollectSteps,
        &RunSteps,
        &Done,
    ],
    abandon: &AbandonRamdisk,
    on_failure: OnFailure::Fail,
};

/// Looks at the image before anything is switched: an address that does not answer, or an image that
/// must not be used, costs seconds here and minutes later.
struct CheckImage;

#[async_trait]
impl Phase for CheckImage {
    fn name(&self) -> &'static str {
        "check-image"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        cx.set(|node| {
            node.driver_internal_info.remove("deploy_steps");
            node.driver_internal_info.remove("deploy_step_index");
            node.last_error = None;
        });
        let hardware = cx.hardware()?;
        if !hardware.deploy.uses_agent() {
            return Ok(Outcome::Next("collect-steps"));
        }
        let seen = crate::image_check::check(&cx.shared, &cx.node).await?;
        cx.note(TimelineSource::Image, seen.sentence);
        let format = seen.format;
        if let Some(format) = format {
            cx.internal("image_disk_format", Some(format.into()));
        }
        cx.set(|node| {
            let shown =
                serde_json::json!({"interface": "deploy", "step": "deploy", "priority": 100});
            if let serde_json::Value::Object(step) = shown {
                node.deploy_step = step;
            }
        });
        Ok(super::ramdisk::boot_unless_there(cx))
    }
}

struct Done;

#[async_trait]
impl Phase for Done {
    fn name(&self) -> &'static str {
        "done"
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        cx.set(|node| {
            node.deploy_step.clear();
            node.last_error = None;
            for key in ["deploy_steps", "deploy_step_index", "image_disk_format"] {
                node.driver_internal_info.remove(key);
            }
        });
        cx.leave_wait()?;
        cx.event(Event::Done)?;
        Ok(Outcome::Finish)
    }
}
