//! No state is stuck for ever: who works on a node in each state that is not at rest, how that ends, and the verb that
//! leads on from there. A state that is added to the table fails here until somebody says so.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bessemer_model::Event;
use bessemer_model::provision::{ProvisionState as S, StateKind, VERBS, transition};

use crate::flow::{self, OnFailure};

/// The flows whose operations a node in this state belongs to.
fn owners(state: S) -> &'static [&'static str] {
    match state {
        S::Verifying => &["manage"],
        S::Deploying | S::DeployWait | S::DeployHold => &["deploy"],
        S::Deleting => &["unprovision"],
        S::Cleaning | S::CleanWait | S::CleanHold => &["clean"],
        S::Inspecting | S::InspectWait => &["inspect"],
        S::Adopting => &["adopt"],
        S::Rescuing | S::RescueWait => &["rescue"],
        S::Unrescuing => &["unrescue"],
        S::Servicing => &["service", "unservice"],
        S::ServiceWait | S::ServiceHold => &["service"],
        S::Enroll | S::Manageable | S::Available | S::Active | S::Error | S::Rescue => &[],
        S::DeployFailed
        | S::CleanFailed
        | S::InspectFailed
        | S::AdoptFailed
        | S::RescueFailed
        | S::UnrescueFailed
        | S::ServiceFailed => &[],
    }
}

fn verbs(state: S) -> BTreeSet<&'static str> {
    VERBS
        .iter()
        .filter(|v| transition(state, v.event).is_ok())
        .map(|v| v.name)
        .collect()
}

#[test]
fn every_state_has_an_owner_an_end_and_a_verb() {
    for state in S::ALL {
        let at_rest = matches!(state.kind(), StateKind::Stable | StateKind::Failure);
        assert_eq!(
            owners(state).is_empty(),
            at_rest,
            "who works on a node that is {state}?"
        );
        if at_rest || matches!(state.kind(), StateKind::Wait | StateKind::Hold) {
            assert!(!verbs(state).is_empty(), "no verb leads out of {state}");
        }
        if at_rest {
            continue;
        }
        for owner in owners(state) {
            let flow = flow::by_name(owner).unwrap();
            // a failure of the flow changes the state, as `Flow::mark_failed` does
            assert!(
                matches!(flow.on_failure, OnFailure::Fail | OnFailure::FailWith(_)),
                "{owner}"
            );
        }
        let event = if state.kind() == StateKind::Hold {
            Event::Abort
        } else {
            Event::Fail
        };
        let failed = transition(state, event).unwrap().to;
        assert!(
            matches!(failed.kind(), StateKind::Failure | StateKind::Stable),
            "{state} fails into {failed}"
        );
        assert!(!verbs(failed).is_empty(), "no verb leads out of {failed}");
    }
}

/// Waits that an operator can end: by `abort`, and where the API's reference says so by `deleted`.
#[test]
fn waits_are_ended_by_verbs() {
    for state in S::ALL {
        if !matches!(state.kind(), StateKind::Wait | StateKind::Hold) {
            continue;
        }
        assert!(verbs(state).contains("abort"), "{state}");
        if state.kind() == StateKind::Hold {
            assert!(verbs(state).contains("unhold"), "{state}");
        }
    }
}
