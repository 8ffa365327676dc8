//! What is forgotten after a time: conductors that were away for long, and the older part of histories.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::Timestamp;
use bessemer_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::engine::Shared;

/// The first look comes earlier than the interval, which may be longer than the service runs.
const FIRST: Duration = Duration::from_secs(600);
/// Between batches of one clean-up: others want to write, too.
const BREATH: Duration = Duration::from_millis(100);

/// What is cleaned up.
#[derive(Clone, Copy)]
enum Of {
    Conductors,
    History,
}

/// Runs until cancelled.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let settings = &shared.settings;
    tokio::join!(
        every(
            &shared,
            settings.conductor_cleanup_interval,
            Of::Conductors,
            &stop
        ),
        every(
            &shared,
            settings.node_history_cleanup_interval,
            Of::History,
            &stop
        ),
    );
}

/// Forgets one batch; whether there may be more.
async fn conductors(shared: &Shared) -> Result<bool, StoreError> {
    let settings = &shared.settings;
    let batch = settings.conductor_cleanup_batch_size;
    let gone = shared
        .store
        .forget_conductors(settings.conductor_cleanup_timeout, batch)
        .await?;
    if gone > 0 {
        tracing::info!(gone, "conductors that were away for long are forgotten");
    }
    Ok(batch > 0 && gone >= batch.into())
}

/// The same of histories.
async fn history(shared: &Shared) -> Result<bool, StoreError> {
    let settings = &shared.settings;
    let batch = settings.node_history_cleanup_batch_count;
    let before = Timestamp::now().before(settings.node_history_minimum_age);
    let gone = shared
        .store
        .purge_history(settings.node_history_max_entries, before, batch)
        .await?;
    if gone > 0 {
        tracing::info!(gone, "old entries of the nodes' histories are forgotten");
    }
    Ok(batch > 0 && gone >= batch.into())
}

async fn every(shared: &Shared, interval: Duration, of: Of, stop: &CancellationToken) {
    if interval.is_zero() {
        return;
    }
    // not at the start: a service that is restarted again and again has better things to do
    let mut wait = interval.min(FIRST);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        let more = match of {
            Of::Conductors => conductors(shared).await,
            Of::History => history(shared).await,
        };
        wait = match more {
            Ok(true) => BREATH,
            Ok(false) => interval,
            Err(error) => {
                tracing::warn!(%error, "old rows could not be forgotten");
                interval
            }
        };
    }
}
