//! The provision state machine as one table.
//!
//! Pure: a state and an event to a transition or a typed refusal. Everything that follows from it (the
//! API's 400 and 409, the verbs that a node allows, the diagram in the docs, the property tests) reads
//! [`TRANSITIONS`]; to change the machine, change a row.

use std::fmt;

/// What kind of state it is; decides locking, PATCH and what a restart means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Nothing runs.
    Stable,
    /// An operation works.
    Transient,
    /// An operation waits for the agent.
    Wait,
    /// An operation waits for the operator.
    Hold,
    /// An operation failed; the operator chooses what is next.
    Failure,
}

/// `provision_state` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProvisionState {
    Enroll,
    Verifying,
    Manageable,
    Available,
    Active,
    Error,
    Rescue,
    Deploying,
    DeployWait,
    DeployFailed,
    DeployHold,
    Deleting,
    Cleaning,
    CleanWait,
    CleanFailed,
    CleanHold,
    Inspecting,
    InspectWait,
    InspectFailed,
    Adopting,
    AdoptFailed,
    Rescuing,
    RescueWait,
    RescueFailed,
    Unrescuing,
    UnrescueFailed,
    Servicing,
    ServiceWait,
    ServiceFailed,
    ServiceHold,
}

use ProvisionState as S;

impl ProvisionState {
    pub const ALL: [Self; 30] = [
        Self::Enroll,
        Self::Verifying,
        Self::Manageable,
        Self::Available,
        Self::Active,
        Self::Error,
        Self::Rescue,
        Self::Deploying,
        Self::DeployWait,
        Self::DeployFailed,
        Self::DeployHold,
        Self::Deleting,
        Self::Cleaning,
        Self::CleanWait,
        Self::CleanFailed,
        Self::CleanHold,
        Self::Inspecting,
        Self::InspectWait,
        Self::InspectFailed,
        Self::Adopting,
        Self::AdoptFailed,
        Self::Rescuing,
        Self::RescueWait,
        Self::RescueFailed,
        Self::Unrescuing,
        Self::UnrescueFailed,
        Self::Servicing,
        Self::ServiceWait,
        Self::ServiceFailed,
        Self::ServiceHold,
    ];

    /// As the API and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Verifying => "verifying",
            Self::Manageable => "manageable",
            Self::Available => "available",
            Self::Active => "active",
            Self::Error => "error",
            Self::Rescue => "rescue",
            Self::Deploying => "deploying",
            Self::DeployWait => "wait call-back",
            Self::DeployFailed => "deploy failed",
            Self::DeployHold => "deploy hold",
            Self::Deleting => "deleting",
            Self::Cleaning => "cleaning",
            Self::CleanWait => "clean wait",
            Self::CleanFailed => "clean failed",
            Self::CleanHold => "clean hold",
            Self::Inspecting => "inspecting",
            Self::InspectWait => "inspect wait",
            Self::InspectFailed => "inspect failed",
            Self::Adopting => "adopting",
            Self::AdoptFailed => "adopt failed",
            Self::Rescuing => "rescuing",
            Self::RescueWait => "rescue wait",
            Self::RescueFailed => "rescue failed",
            Self::Unrescuing => "unrescuing",
            Self::UnrescueFailed => "unrescue failed",
            Self::Servicing => "servicing",
            Self::ServiceWait => "service wait",
            Self::ServiceFailed => "service failed",
            Self::ServiceHold => "service hold",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    #[must_use]
    pub fn kind(self) -> StateKind {
        match self {
            Self::Enroll
            | Self::Manageable
            | Self::Available
            | Self::Active
            | Self::Error
            | Self::Rescue => StateKind::Stable,
            Self::Verifying
            | Self::Deploying
            | Self::Deleting
            | Self::Cleaning
            | Self::Inspecting
            | Self::Adopting
            | Self::Rescuing
            | Self::Unrescuing
            | Self::Servicing => StateKind::Transient,
            Self::DeployWait
            | Self::CleanWait
            | Self::InspectWait
            | Self::RescueWait
            | Self::ServiceWait => StateKind::Wait,
            Self::DeployHold | Self::CleanHold | Self::ServiceHold => StateKind::Hold,
            Self::DeployFailed
            | Self::CleanFailed
            | Self::InspectFailed
            | Self::AdoptFailed
            | Self::RescueFailed
            | Self::UnrescueFailed
            | Self::ServiceFailed => StateKind::Failure,
        }
    }

    /// States in which PATCH is allowed although `target_provision_state` is set (upstream's
    /// UPDATE_ALLOWED_STATES). `inspecting` counts only for clients below 1.39.
    #[must_use]
    pub fn allows_update_with_target(self) -> bool {
        matches!(
            self,
            S::Verifying
                | S::Error
                | S::DeployFailed
                | S::CleanFailed
                | S::Inspecting
                | S::InspectWait
                | S::InspectFailed
                | S::AdoptFailed
                | S::RescueFailed
                | S::UnrescueFailed
                | S::ServiceFailed
                | S::ServiceHold
        )
    }

    /// States in which `DELETE /v1/nodes/{ident}` is allowed. `available` besides, when the operator
    /// allows it; maintenance overrides.
    #[must_use]
    pub fn allows_delete(self) -> bool {
        matches!(self, S::Manageable | S::Enroll | S::AdoptFailed)
    }

    /// States in which an agent may look its node up.
    #[must_use]
    pub fn allows_lookup(self) -> bool {
        matches!(
            self,
            S::Deploying
                | S::DeployWait
                | S::Cleaning
                | S::CleanWait
                | S::Inspecting
                | S::InspectWait
                | S::Rescuing
                | S::RescueWait
                | S::ServiceWait
        )
    }

    /// States whose interfaces may be changed (besides maintenance).
    #[must_use]
    pub fn allows_interface_change(self) -> bool {
        matches!(
            self,
            S::Enroll | S::Inspecting | S::InspectWait | S::Manageable | S::Available
        )
    }
}

impl fmt::Display for ProvisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes a node change its state: the verbs of the API, and what operations report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Manage,
    Provide,
    Clean,
    Inspect,
    Adopt,
    Deploy,
    Rebuild,
    Delete,
    Rescue,
    Unrescue,
    Service,
    Abort,
    Unhold,
    Done,
    Fail,
    Wait,
    Resume,
    Hold,
}

impl Event {
    pub const ALL: [Self; 18] = [
        Self::Manage,
        Self::Provide,
        Self::Clean,
        Self::Inspect,
        Self::Adopt,
        Self::Deploy,
        Self::Rebuild,
        Self::Delete,
        Self::Rescue,
        Self::Unrescue,
        Self::Service,
        Self::Abort,
        Self::Unhold,
        Self::Done,
        Self::Fail,
        Self::Wait,
        Self::Resume,
        Self::Hold,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Clean => "clean",
            Self::Inspect => "inspect",
            Self::Adopt => "adopt",
            Self::Deploy => "deploy",
            Self::Rebuild => "rebuild",
            Self::Delete => "delete",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Service => "service",
            Self::Abort => "abort",
            Self::Unhold => "unhold",
            Self::Done => "done",
            Self::Fail => "fail",
            Self::Wait => "wait",
            Self::Resume => "resume",
            Self::Hold => "hold",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

use Event as E;

/// What happens to `target_provision_state` in a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Becomes this state.
    Set(ProvisionState),
    /// Becomes null.
    Clear,
    /// Stays what it was.
    Keep,
}

/// One row of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub from: ProvisionState,
    pub event: Event,
    pub to: ProvisionState,
    pub target: Target,
}

const fn row(from: ProvisionState, event: Event, to: ProvisionState, target: Target) -> Transition {
    Transition {
        from,
        event,
        to,
        target,
    }
}

use Target::{Clear, Keep, Set};

/// The whole machine, grouped by state.
#[rustfmt::skip]
pub const TRANSITIONS: &[Transition] = &[
    row(S::Enroll, E::Manage, S::Verifying, Set(S::Manageable)),
    row(S::Verifying, E::Done, S::Manageable, Clear),
    row(S::Verifying, E::Fail, S::Enroll, Clear),
    row(S::Manageable, E::Provide, S::Cleaning, Set(S::Available)),
    row(S::Manageable, E::Clean, S::Cleaning, Set(S::Manageable)),
    row(S::Manageable, E::Inspect, S::Inspecting, Set(S::Manageable)),
    row(S::Manageable, E::Adopt, S::Adopting, Set(S::Active)),
    row(S::Available, E::Deploy, S::Deploying, Set(S::Active)),
    row(S::Available, E::Manage, S::Manageable, Clear),
    row(S::Deploying, E::Done, S::Active, Clear),
    row(S::Deploying, E::Fail, S::DeployFailed, Keep),
    row(S::Deploying, E::Wait, S::DeployWait, Keep),
    row(S::Deploying, E::Hold, S::DeployHold, Keep),
    row(S::DeployWait, E::Resume, S::Deploying, Keep),
    row(S::DeployWait, E::Fail, S::DeployFailed, Keep),
    row(S::DeployWait, E::Abort, S::DeployFailed, Keep),
    row(S::DeployWait, E::Delete, S::Deleting, Set(S::Available)),
    row(S::DeployWait, E::Hold, S::DeployHold, Keep),
    row(S::DeployHold, E::Unhold, S::DeployWait, Keep),
    row(S::DeployHold, E::Abort, S::DeployFailed, Keep),
    row(S::DeployFailed, E::Deploy, S::Deploying, Set(S::Active)),
    row(S::DeployFailed, E::Rebuild, S::Deploying, Set(S::Active)),
    row(S::DeployFailed, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Active, E::Rebuild, S::Deploying, Set(S::Active)),
    row(S::Active, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Active, E::Rescue, S::Rescuing, Set(S::Rescue)),
    row(S::Active, E::Service, S::Servicing, Set(S::Active)),
    row(S::Deleting, E::Clean, S::Cleaning, Set(S::Available)),
    row(S::Deleting, E::Fail, S::Error, Keep),
    row(S::Error, E::Rebuild, S::Deploying, Set(S::Active)),
    row(S::Error, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Cleaning, E::Done, S::Available, Clear),
    row(S::Cleaning, E::Manage, S::Manageable, Clear),
    row(S::Cleaning, E::Fail, S::CleanFailed, Keep),
    row(S::Cleaning, E::Wait, S::CleanWait, Keep),
    row(S::Cleaning, E::Hold, S::CleanHold, Keep),
    row(S::CleanWait, E::Resume, S::Cleaning, Keep),
    row(S::CleanWait, E::Fail, S::CleanFailed, Keep),
    row(S::CleanWait, E::Abort, S::CleanFailed, Keep),
    row(S::CleanWait, E::Hold, S::CleanHold, Keep),
    row(S::CleanHold, E::Unhold, S::CleanWait, Keep),
    row(S::CleanHold, E::Abort, S::CleanFailed, Keep),
    row(S::CleanFailed, E::Manage, S::Manageable, Clear),
    row(S::Inspecting, E::Done, S::Manageable, Clear),
    row(S::Inspecting, E::Fail, S::InspectFailed, Keep),
    row(S::Inspecting, E::Wait, S::InspectWait, Keep),
    row(S::InspectWait, E::Resume, S::Inspecting, Keep),
    row(S::InspectWait, E::Done, S::Manageable, Clear),
    row(S::InspectWait, E::Fail, S::InspectFailed, Keep),
    row(S::InspectWait, E::Abort, S::InspectFailed, Keep),
    row(S::InspectFailed, E::Manage, S::Manageable, Clear),
    row(S::InspectFailed, E::Inspect, S::Inspecting, Set(S::Manageable)),
    row(S::Adopting, E::Done, S::Active, Clear),
    row(S::Adopting, E::Fail, S::AdoptFailed, Keep),
    row(S::AdoptFailed, E::Adopt, S::Adopting, Set(S::Active)),
    row(S::AdoptFailed, E::Manage, S::Manageable, Clear),
    row(S::Rescuing, E::Done, S::Rescue, Clear),
    row(S::Rescuing, E::Wait, S::RescueWait, Keep),
    row(S::Rescuing, E::Fail, S::RescueFailed, Keep),
    row(S::RescueWait, E::Resume, S::Rescuing, Keep),
    row(S::RescueWait, E::Fail, S::RescueFailed, Keep),
    row(S::RescueWait, E::Abort, S::RescueFailed, Keep),
    row(S::RescueWait, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Rescue, E::Rescue, S::Rescuing, Set(S::Rescue)),
    row(S::Rescue, E::Unrescue, S::Unrescuing, Set(S::Active)),
    row(S::Rescue, E::Delete, S::Deleting, Set(S::Available)),
    row(S::RescueFailed, E::Rescue, S::Rescuing, Set(S::Rescue)),
    row(S::RescueFailed, E::Unrescue, S::Unrescuing, Set(S::Active)),
    row(S::RescueFailed, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Unrescuing, E::Done, S::Active, Clear),
    row(S::Unrescuing, E::Fail, S::UnrescueFailed, Keep),
    row(S::UnrescueFailed, E::Rescue, S::Rescuing, Set(S::Rescue)),
    row(S::UnrescueFailed, E::Unrescue, S::Unrescuing, Set(S::Active)),
    row(S::UnrescueFailed, E::Delete, S::Deleting, Set(S::Available)),
    row(S::Servicing, E::Done, S::Active, Clear),
    row(S::Servicing, E::Fail, S::ServiceFailed, Keep),
    row(S::Servicing, E::Wait, S::ServiceWait, Keep),
    row(S::Servicing, E::Hold, S::ServiceHold, Keep),
    row(S::ServiceWait, E::Resume, S::Servicing, Keep),
    row(S::ServiceWait, E::Fail, S::ServiceFailed, Keep),
    row(S::ServiceWait, E::Abort, S::ServiceFailed, Keep),
    row(S::ServiceWait, E::Hold, S::ServiceHold, Keep),
    row(S::ServiceWait, E::Delete, S::Deleting, Set(S::Available)),
    row(S::ServiceHold, E::Service, S::Servicing, Set(S::Active)),
    row(S::ServiceHold, E::Unhold, S::ServiceWait, Keep),
    row(S::ServiceHold, E::Fail, S::ServiceFailed, Keep),
    row(S::ServiceHold, E::Abort, S::ServiceFailed, Keep),
    row(S::ServiceFailed, E::Service, S::Servicing, Set(S::Active)),
    row(S::ServiceFailed, E::Rescue, S::Rescuing, Set(S::Rescue)),
    row(S::ServiceFailed, E::Abort, S::Active, Clear),
    row(S::ServiceFailed, E::Wait, S::ServiceWait, Keep),
    row(S::ServiceFailed, E::Hold, S::ServiceHold, Keep),
    row(S::ServiceFailed, E::Delete, S::Deleting, Set(S::Available)),
];

/// The event is not allowed in this state. The text is upstream's, which clients show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "The requested action \"{event}\" can not be performed while the node is in state \"{from}\"."
)]
pub struct Refused {
    pub from: ProvisionState,
    pub event: Event,
}

/// Where `event` leads from `from`.
///
/// # Errors
/// [`Refused`] when the table has no such row.
pub fn transition(from: ProvisionState, event: Event) -> Result<&'static Transition, Refused> {
    TRANSITIONS
        .iter()
        .find(|t| t.from == from && t.event == event)
        .ok_or(Refused { from, event })
}

/// A verb of `PUT /v1/nodes/{ident}/states/provision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    /// What the client writes as `target`.
    pub name: &'static str,
    pub event: Event,
    /// First minor version of the API that knows it; 1 = always.
    pub since: u16,
}

/// Every verb with the version it came in.
#[rustfmt::skip]
pub const VERBS: &[Verb] = &[
    Verb { name: "active",   event: E::Deploy,   since: 1 },
    Verb { name: "deploy",   event: E::Deploy,   since: 73 },
    Verb { name: "rebuild",  event: E::Rebuild,  since: 1 },
    Verb { name: "deleted",  event: E::Delete,   since: 1 },
    Verb { name: "undeploy", event: E::Delete,   since: 1 },
    Verb { name: "manage",   event: E::Manage,   since: 4 },
    Verb { name: "provide",  event: E::Provide,  since: 4 },
    Verb { name: "inspect",  event: E::Inspect,  since: 6 },
    Verb { name: "abort",    event: E::Abort,    since: 13 },
    Verb { name: "clean",    event: E::Clean,    since: 15 },
    Verb { name: "adopt",    event: E::Adopt,    since: 17 },
    Verb { name: "rescue",   event: E::Rescue,   since: 38 },
    Verb { name: "unrescue", event: E::Unrescue, since: 38 },
    Verb { name: "unhold",   event: E::Unhold,   since: 85 },
    Verb { name: "service",  event: E::Service,  since: 87 },
];

/// The verb that a client calls `name`.
#[must_use]
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|v| v.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_are_unique() {
        let mut seen = HashSet::new();
        for t in TRANSITIONS {
            assert!(
                seen.insert((t.from, t.event)),
                "{} {} twice",
                t.from,
                t.event
            );
        }
    }

    #[test]
    fn names_read_back_and_fit_the_column() {
        for s in ProvisionState::ALL {
            assert_eq!(ProvisionState::parse(s.as_str()), Some(s));
            assert!(s.as_str().len() <= 15, "{s}");
        }
    }

    /// No state is a trap: from everywhere a path of verbs and operation events leads to a stable state.
    #[test]
    fn every_state_leads_to_a_stable_one() {
        for start in ProvisionState::ALL {
            let mut seen = HashSet::from([start]);
            let mut todo = vec![start];
            let mut stable = start.kind() == StateKind::Stable;
            while let Some(s) = todo.pop() {
                for t in TRANSITIONS.iter().filter(|t| t.from == s) {
                    stable |= t.to.kind() == StateKind::Stable;
                    if seen.insert(t.to) {
                        todo.push(t.to);
                    }
                }
            }
            assert!(stable, "{start} never ends");
        }
    }

    /// Every failure, wait and hold state has a verb that an operator can use to get out.
    #[test]
    fn the_operator_can_always_leave() {
        let verbs: HashSet<Event> = VERBS.iter().map(|v| v.event).collect();
        for s in ProvisionState::ALL {
            if matches!(
                s.kind(),
                StateKind::Failure | StateKind::Hold | StateKind::Wait | StateKind::Stable
            ) {
                assert!(
                    TRANSITIONS
                        .iter()
                        .any(|t| t.from == s && verbs.contains(&t.event)),
                    "{s} has no verb"
                );
            }
        }
    }

    #[test]
    fn transitions() {
        let check = |from, event, want: Option<(S, Target)>| {
            assert_eq!(
                transition(from, event).ok().map(|t| (t.to, t.target)),
                want,
                "{from} {event}"
            );
        };
        check(
            S::Enroll,
            E::Manage,
            Some((S::Verifying, Set(S::Manageable))),
        );
        check(
            S::Manageable,
            E::Provide,
            Some((S::Cleaning, Set(S::Available))),
        );
        check(S::Deploying, E::Wait, Some((S::DeployWait, Keep)));
        check(
            S::Deleting,
            E::Clean,
            Some((S::Cleaning, Set(S::Available))),
        );
        check(S::Available, E::Delete, None);
        let text = transition(S::Available, E::Delete).unwrap_err().to_string();
        assert_eq!(
            text,
            "The requested action \"delete\" can not be performed while the node is in state \"available\"."
        );
    }
}
