//! The steps that the conductor knows on every interface: hold, wait, power and reboot; and the restart that another step
//! asks for.

use std::time::Duration;

use bessemer_model::provision::StateKind;
use bessemer_model::{Event, Fault, PowerState, Timestamp};
use bessemer_store::{SignalKind, TimelineSource};
use serde::{Deserialize, Serialize};

use super::ramdisk::{boot_ramdisk_once, left_on, look_power, power_wait, reset, send_power};
use super::run_steps::{RUN, advance, callback_timeout, finished};
use crate::context::Context;
use crate::outcome::{Look, Outcome, Wait};
use crate::steps::{PlannedStep, Reserved};

/// How far a restart within a step is. A stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reboot {
    Off,
    On,
    /// The ramdisk's agent has not called again yet.
    Agent,
}

/// The ramdisk is in use, and its agent has not called since the node was switched.
pub fn agent_is_missing(cx: &Context) -> bool {
    cx.data.ramdisk && cx.internal_text("agent_url").is_none()
}

#[track_caller]
pub fn agent_wait(cx: &Context) -> Wait {
    Wait::new("the agent's heartbeat after the node was switched on")
        .until(cx.deadline(callback_timeout(cx)))
}

/// `seconds` of a `wait` step.
fn seconds(step: &PlannedStep) -> Option<Duration> {
    step.args
        .get("seconds")
        .and_then(serde_json::Value::as_u64)
        .map(Duration::from_secs)
}

pub async fn look(cx: &mut Context, step: &PlannedStep, which: Reserved) -> Result<Look, Fault> {
    match which {
        Reserved::Hold => {
            if cx.take_signal(SignalKind::Unhold).is_some() {
                // The verb has moved the node into the wait state already, if it was held.
                cx.leave_wait()?;
                return advance(cx, step);
            }
            Ok(if cx.node.provision_state.kind() == StateKind::Hold {
                Look::Running(hold())
            } else {
                Look::NotDone
            })
        }
        Reserved::Wait if cx.data.step_attempt == 0 => Ok(Look::NotDone),
        Reserved::Wait => match seconds(step) {
            Some(time) => {
                let end = Timestamp(cx.data.phase_since).after(time);
                if end <= Timestamp::now() {
                    return advance(cx, step);
                }
                Ok(Look::Running(pause(end)))
            }
            None if cx.has_signal(SignalKind::Heartbeat) => advance(cx, step),
            None => Ok(Look::Running(next_heartbeat(cx))),
        },
        Reserved::PowerOn => match look_power(cx, PowerState::On).await? {
            Look::Done => advance(cx, step),
            other => Ok(other),
        },
        Reserved::PowerOff => match look_power(cx, PowerState::Off).await? {
            Look::Done => {
                cx.forget_agent();
                advance(cx, step)
            }
            other => Ok(other),
        },
        Reserved::Reboot => {
            cx.data.reboot = Some(Reboot::Off);
            Ok(Look::Next(RUN))
        }
    }
}

pub async fn act(cx: &mut Context, step: &PlannedStep, which: Reserved) -> Result<Outcome, Fault> {
    match which {
        Reserved::Hold => {
            cx.event(Event::Hold)?;
            cx.note(
                TimelineSource::Engine,
                "held by a step of the list; `unhold` goes on, `abort` ends",
            );
            Ok(Outcome::Wait(hold()))
        }
        Reserved::Wait => {
            cx.data.step_attempt = 1;
            cx.data.phase_since = Timestamp::now().0;
            cx.enter_wait()?;
            Ok(Outcome::Wait(match seconds(step) {
                Some(time) => pause(Timestamp::now().after(time)),
                None => next_heartbeat(cx),
            }))
        }
        Reserved::PowerOn => {
            if boot_and_send_on(cx).await? {
                return finished(cx, step);
            }
            Ok(Outcome::Wait(power_wait(cx, PowerState::On)))
        }
        Reserved::PowerOff => {
            if send_power(cx, PowerState::Off).await? {
                cx.forget_agent();
                return finished(cx, step);
            }
            Ok(Outcome::Wait(power_wait(cx, PowerState::Off)))
        }
        Reserved::Reboot => Ok(Outcome::Next(RUN)),
    }
}

#[track_caller]
fn hold() -> Wait {
    Wait::new("the operator, who held the node by a step; `unhold` goes on, `abort` ends")
}

/// A wait step that has not ended so long after its time never does.
const PAUSE_OVER: Duration = Duration::from_secs(60);

#[track_caller]
fn pause(end: Timestamp) -> Wait {
    Wait::new("the time that a wait step asks for")
        .look_again(end.since(Timestamp::now()) + Duration::from_millis(1))
        .until(end.after(PAUSE_OVER))
}

#[track_caller]
fn next_heartbeat(cx: &Context) -> Wait {
    Wait::new("the agent's next heartbeat, as a wait step asks for")
        .until(cx.deadline(callback_timeout(cx)))
}

/// Switches on; into the ramdisk, when this operation works with it.
async fn boot_and_send_on(cx: &mut Context) -> Result<bool, Fault> {
    if cx.data.ramdisk {
        boot_ramdisk_once(cx).await?;
    }
    send_power(cx, PowerState::On).await
}

/// Off, seen to be off, on, and the agent's call.
pub async fn look_reboot(cx: &mut Context, step: &PlannedStep) -> Result<Look, Fault> {
    let reboot = cx.data.reboot;
    if reboot == Some(Reboot::Off) && left_on(cx).await? {
        cx.data.reboot = Some(Reboot::On);
        cx.data.power_sent_at = None;
        return Ok(Look::Next(RUN));
    }
    match reboot {
        Some(Reboot::On) if cx.data.reset_instead => Ok(Look::NotDone),
        Some(Reboot::Off) => match look_power(cx, PowerState::Off).await? {
            Look::Done => {
                cx.forget_agent();
                cx.data.reboot = Some(Reboot::On);
                cx.data.power_sent_at = None;
                Ok(Look::Next(RUN))
            }
            other => Ok(other),
        },
        Some(Reboot::On) => match look_power(cx, PowerState::On).await? {
            Look::Done => {
                cx.data.reboot = Some(Reboot::Agent);
                Ok(Look::Next(RUN))
            }
            other => Ok(other),
        },
        Some(Reboot::Agent) if agent_is_missing(cx) => Ok(Look::NotDone),
        Some(Reboot::Agent) | None if cx.data.step_goes_on => {
            cx.leave_wait()?;
            cx.data.step_goes_on = false;
            cx.data.reboot = None;
            cx.data.power_sent_at = None;
            Ok(Look::Next(RUN))
        }
        Some(Reboot::Agent) | None => {
            cx.data.rebooted = true;
            advance(cx, step)
        }
    }
}

pub async fn act_reboot(cx: &mut Context) -> Result<Outcome, Fault> {
    match cx.data.reboot {
        Some(Reboot::Off) => {
            send_power(cx, PowerState::Off).await?;
            Ok(Outcome::Wait(power_wait(cx, PowerState::Off)))
        }
        Some(Reboot::On) if cx.data.reset_instead => {
            if cx.data.ramdisk {
                boot_ramdisk_once(cx).await?;
            }
            reset(cx).await?;
            cx.data.reboot = Some(Reboot::Agent);
            Ok(Outcome::Next(RUN))
        }
        Some(Reboot::On) => {
            boot_and_send_on(cx).await?;
            Ok(Outcome::Wait(power_wait(cx, PowerState::On)))
        }
        Some(Reboot::Agent) | None => {
            cx.enter_wait()?;
            Ok(Outcome::Wait(agent_wait(cx)))
        }
    }
}
