//! Sentences for the operator.

use bessemer_model::{Class, Fault, FaultKind, Timestamp};
use bessemer_store::{StoreError, TimelineSource};

use crate::context::Context;

/// A store error as a fault of a phase: storage that is full or away may come back.
pub fn store(error: &StoreError) -> Fault {
    match error {
        StoreError::Refused(fault) => fault.clone(),
        StoreError::Unavailable(_) => {
            Fault::new(FaultKind::Busy, Class::RetryLater, error.to_string())
        }
        StoreError::Storage(_) => {
            Fault::new(FaultKind::Internal, Class::RetryLater, error.to_string())
        }
        StoreError::NotFound { .. } => Fault::not_found(error.to_string()),
        StoreError::Locked { .. } | StoreError::OperationOpen { .. } => {
            Fault::new(FaultKind::Locked, Class::Never, error.to_string())
        }
        StoreError::Changed { .. } | StoreError::Duplicate { .. } => {
            Fault::conflict(error.to_string())
        }
        StoreError::LeaseLost { .. } => {
            Fault::new(FaultKind::Internal, Class::RetryNow, error.to_string())
        }
        _ => Fault::internal(error.to_string()),
    }
}

/// Why a wait ended: what it was for, and what was seen last on every way that a node can be seen.
pub async fn expired(cx: &Context, phase: &str) -> Fault {
    let waited = Timestamp::now()
        .since(Timestamp(cx.data.phase_since))
        .as_secs();
    let what = cx
        .operation
        .reason
        .clone()
        .unwrap_or_else(|| format!("phase {phase}"));
    let mut text = format!(
        "Timeout of the {} of node {} after {waited} s, {what}. ",
        crate::flow::by_name(&cx.operation.flow).map_or("operation", |flow| flow.title),
        cx.node.label()
    );
    if phase == "wait-agent" {
        text.push_str(&last_seen(cx).await);
    } else {
        text.push_str("See the node's console and timeline.");
    }
    Fault::hardware(Class::Never, text)
}

/// How far the boot came, by the node's timeline since the phase began.
async fn last_seen(cx: &Context) -> String {
    let events = cx
        .shared
        .store
        .list_timeline(cx.node.id, None, 200)
        .await
        .unwrap_or_default();
    let last = |source: TimelineSource| {
        events
            .iter()
            .rev()
            .map(|(_, e)| e)
            .find(|e| e.source == source && e.at.0 >= cx.data.phase_since - 5_000_000)
            .map(|e| e.text.clone())
    };
    let (dhcp, tftp, http, agent) = (
        last(TimelineSource::Dhcp),
        last(TimelineSource::Tftp),
        last(TimelineSource::Http),
        last(TimelineSource::Agent),
    );
    let advice = if dhcp.is_none() {
        "No DHCP request was seen: check that the node is on, that it boots from the network, its port's MAC address and the cabling."
    } else if http.is_none() && tftp.is_none() {
        "DHCP was answered but nothing was fetched: check the way to the TFTP and HTTP ports of the boot service."
    } else if agent.is_none() {
        "Boot files were fetched but no agent called: see the node's console; check that the node reaches the API."
    } else {
        "The agent called and then went silent: see the node's console."
    };
    let seen: Vec<String> = [
        ("DHCP", dhcp),
        ("TFTP", tftp),
        ("HTTP", http),
        ("agent", agent),
    ]
    .into_iter()
    .map(|(name, text)| format!("{name}: {}", text.unwrap_or_else(|| "nothing".into())))
    .collect();
    format!("{advice} Last seen: {}.", seen.join("; "))
}
