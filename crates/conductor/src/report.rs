//! The inspection ramdisk's report on its way to the inspection that waits for it.
//!
//! The report is stored as a signal ([`SignalKind::Inspection`]) in the transaction that checks the state, so
//! that it is neither lost nor taken by an operation that did not ask.

use std::sync::Arc;

use bessemer_model::{Fault, Node, NodeId, Object, ProvisionState, Timestamp};
use bessemer_store::{SignalKind, StoreError, TimelineEvent, TimelineSource};
use serde_json::json;

use crate::engine::Shared;
use crate::error_text;

/// The caller may be anybody: no detail.
fn nothing() -> Fault {
    Fault::not_found("Resource could not be found.")
}

/// Stores a report and wakes the node's operation.
///
/// # Errors
/// `NotFound` without detail when the node does not wait for a report.
pub async fn accept(
    shared: &Shared,
    id: NodeId,
    inventory: Object,
    plugin_data: Object,
) -> Result<(), Fault> {
    let waits = |node: &mut Node| {
        if node.provision_state == ProvisionState::InspectWait {
            Ok(())
        } else {
            Err(nothing())
        }
    };
    let event = TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Agent,
        text: "the ramdisk sent its inspection report".into(),
        data: None,
    };
    let stored = shared
        .store
        .signal(
            id,
            SignalKind::Inspection,
            json!({"inventory": inventory, "plugin_data": plugin_data}),
            Some(Arc::new(waits)),
            vec![event],
        )
        .await;
    match stored {
        Ok(true) => {
            shared.wake.notify_one();
            Ok(())
        }
        // a node that waits without an operation: nobody would read the report
        Ok(false) | Err(StoreError::NotFound { .. }) => Err(nothing()),
        Err(error) => Err(error_text::store(&error)),
    }
}
