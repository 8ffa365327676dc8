//! Allocations: every one that wants a node is looked at until it has one or has failed.
//!
//! The stored row is the work: a conductor that starts, or one that takes over from another, finds it there.
//! Several conductors may look at the same row; the store's transaction lets one of them win.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::Timestamp;
use bessemer_store::{AllocationRetry, StoreError};
use tokio_util::sync::CancellationToken;

use crate::engine::Shared;

/// Rows that one query brings.
const AT_ONCE: u32 = 100;

/// Time until the next try when the database refused.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Runs until cancelled.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let woken = shared.allocations.notified();
        let pause = match round(&shared).await {
            Ok(due) => {
                let usual = Some(shared.settings.check_allocations_interval)
                    .filter(|interval| !interval.is_zero());
                match (usual, due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "allocations could not be looked at");
                Some(AFTER_TROUBLE)
            }
        };
        let paused = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = woken => {}
            () = paused => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Looks at everything that is due; how long the next row waits.
async fn round(shared: &Arc<Shared>) -> Result<Option<Duration>, StoreError> {
    let retry = AllocationRetry {
        attempts: shared.settings.node_locked_retry_attempts,
        interval: shared.settings.node_locked_retry_interval,
    };
    loop {
        let due = shared
            .store
            .due_allocations(Timestamp::now(), AT_ONCE)
            .await?;
        if due.is_empty() {
            break;
        }
        let mut trouble = None;
        for id in due {
            match shared.store.match_allocation(id, retry).await {
                Ok(allocation) => tracing::info!(
                    allocation = %id, state = allocation.state.as_str(),
                    node = allocation.node.map(|n| n.to_string()),
                    error = allocation.last_error, "allocation looked at"
                ),
                // deleted meanwhile
                Err(StoreError::NotFound { .. }) => {}
                // the others shall not wait for this one
                Err(error) => trouble = Some(error),
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
    }
    let due = shared.store.next_allocation_due().await?;
    Ok(due.map(|at| {
        let micros = at.0.saturating_sub(Timestamp::now().0).max(0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }))
}
