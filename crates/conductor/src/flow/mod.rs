//! The flows: each verb as a list of phases, in one table.

mod adopt;
mod call;
mod child_steps;
mod clean;
mod cleaning_runbook;
mod core_steps;
mod deploy;
mod hardware_tables;
mod in_band;
mod inspect;
mod manage;
mod power;
mod ramdisk;
mod rescue;
mod reserved;
pub(crate) mod restored;
mod run_steps;
mod service;
mod unprovision;

use bessemer_model::notification::{Notice, Status};
use bessemer_model::provision::StateKind;
use bessemer_model::{Event, Fault, NodeHealthFault};

use crate::context::Context;
use crate::outcome::Phase;

/// Name of the flow of a power change that a client asked for.
pub(crate) const POWER_FLOW: &str = "power";

pub(crate) use call::{CONSOLE_SET, DriverCall};
pub use child_steps::tell_parent;
pub use clean::is_automated_clean_wanted;
pub use reserved::Reboot;
pub use run_steps::driver_steps;
pub use service::WITHOUT_RAMDISK;

/// A verb as phases in order. Names and versions are a stored format: a conductor claims only what it knows.
pub struct Flow {
    pub name: &'static str,
    pub version: i32,
    /// As sentences call it: "The deploy of node …".
    pub title: &'static str,
    /// `event_type` in the node's history.
    pub history_type: &'static str,
    pub phases: &'static [&'static dyn Phase],
    /// Runs after a failure or an abort; ends the operation.
    pub abandon: &'static dyn Phase,
    pub on_failure: OnFailure,
}

/// What a failure does to the node besides `last_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The failed state of the verb.
    Fail,
    /// And maintenance with this fault, when a step was running: the disks may be in any condition.
    FailWith(NodeHealthFault),
    /// The provision state is not touched.
    Power,
    /// Nothing else.
    LastError,
}

/// Every flow.
pub const FLOWS: &[&Flow] = &[
    &manage::MANAGE,
    &clean::CLEAN,
    &deploy::DEPLOY,
    &unprovision::UNPROVISION,
    &power::POWER,
    &call::CALL,
    &service::SERVICE,
    &service::UNSERVICE,
    &inspect::INSPECT,
    &rescue::RESCUE,
    &rescue::UNRESCUE,
    &adopt::ADOPT,
    &child_steps::CHILD_STEP,
];

/// The newest flow of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Flow> {
    FLOWS.iter().find(|f| f.name == name).copied()
}

impl Flow {
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<&'static dyn Phase> {
        if self.abandon.name() == name {
            return Some(self.abandon);
        }
        self.phases.iter().find(|p| p.name() == name).copied()
    }

    /// The phase that follows; `None` at the end.
    #[must_use]
    pub fn after(&self, name: &str) -> Option<&'static dyn Phase> {
        let at = self.phases.iter().position(|p| p.name() == name)?;
        self.phases.get(at + 1).copied()
    }

    /// The phase that an operation begins with.
    #[must_use]
    pub fn first(&self) -> &'static dyn Phase {
        self.phases.first().copied().unwrap_or(self.abandon)
    }

    /// Puts the node into the failed state of this flow.
    ///
    /// # Errors
    /// When the table has no such transition: a bug of the flow.
    pub fn mark_failed(&self, cx: &mut Context) -> Result<(), Fault> {
        let Some(abandoned) = cx.data.abandoned.clone() else {
            return Ok(());
        };
        if let Some(to) = cx.data.power_told {
            cx.tell_power(Status::Error, to);
        }
        cx.set(|node| {
            node.clean_step.clear();
            node.deploy_step.clear();
            node.service_step.clear();
        });
        match self.on_failure {
            OnFailure::Power => {
                cx.set(|node| node.target_power_state = None);
                if let Ok(to) = power::target(cx) {
                    cx.tell(Notice::PowerSet {
                        status: Status::Error,
                        to,
                    });
                }
            }
            OnFailure::LastError => call::tell_failure(cx),
            OnFailure::Fail | OnFailure::FailWith(_) => {
                let kind = cx.node.provision_state.kind();
                // There is no failure of a hold: only the operator ends it.
                let abort =
                    kind == StateKind::Hold || (abandoned.aborted && kind == StateKind::Wait);
                // A node that is where it should be already only keeps the error.
                if kind != StateKind::Stable {
                    cx.event(if abort { Event::Abort } else { Event::Fail })?;
                }
                if self.name == "rescue" {
                    cx.set(|node| {
                        for key in rescue::PASSWORD_MEMBERS {
                            node.instance_info.remove(key);
                        }
                    });
                }
                if self.name == "adopt" {
                    cx.set(|node| node.power_state = None);
                }
            }
        }
        if let OnFailure::FailWith(fault) = self.on_failure
            && abandoned.during_step
            && !abandoned.aborted
        {
            let reason = abandoned.error.clone();
            cx.set(move |node| {
                node.maintenance = true;
                node.maintenance_reason = Some(reason.clone());
                node.fault = Some(fault);
            });
        }
        let error = abandoned.error;
        cx.set(move |node| node.last_error = Some(error.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Names are a stored format: unique within a flow, and this list must only grow.
    #[test]
    fn phase_names_are_unique_and_stable() {
        let mut all = Vec::new();
        for flow in FLOWS {
            let mut seen = HashSet::new();
            for phase in flow.phases.iter().chain([&flow.abandon]) {
                assert!(
                    seen.insert(phase.name()),
                    "{}: {} twice",
                    flow.name,
                    phase.name()
                );
            }
            let names: Vec<&str> = flow.phases.iter().map(|p| p.name()).collect();
            all.push(format!(
                "{} {}: {}",
                flow.name,
                flow.version,
                names.join(" ")
            ));
        }
        assert_eq!(
            all,
            [
                "manage 1: verify-power verify-steps",
                "clean 1: plan power-off prepare-ramdisk power-on wait-agent collect-steps run-steps power-off-after done",
                "deploy 1: check-image power-off prepare-ramdisk power-on wait-agent collect-steps run-steps done",
                "unprovision 1: power-off tear-down",
                "power 1: start soft-power-off power-off power-on done",
                "call 1: prepare call",
                "service 1: plan power-off prepare-ramdisk power-on wait-agent collect-steps run-steps done",
                "unservice 1: power-off restore-boot power-on done",
                "inspect 1: start power-off prepare-ramdisk power-on wait-report power-off-after done",
                "rescue 1: start power-off prepare-ramdisk power-on wait-agent finalize-rescue done",
                "unrescue 1: start power-off restore-boot power-on done",
                "adopt 1: adopt",
                "child-step 1: run-child-step",
            ]
        );
    }
}
