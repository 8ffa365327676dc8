//! The task that empties the outbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_store::{Message, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{Receiver, Undelivered, backoff};

/// Messages of one round.
const BATCH: u32 = 100;
/// How long this process stays the sender to a receiver without saying so again.
const HOLD: Duration = Duration::from_secs(60);
/// Between two looks when nothing was heard: another process may have written.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks at what is too old or too much.
const PRUNE: Duration = Duration::from_secs(60);

/// How much that is undelivered is kept, for each receiver.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub messages: u32,
    pub time: Duration,
}

/// See the module.
pub struct Sender {
    store: Store,
    receivers: Vec<Arc<dyn Receiver>>,
    limits: Limits,
    /// Name of this process among all that may send; the same after a restart, which then goes on at once.
    holder: String,
}

/// What a round left.
enum Round {
    /// There may be more at once.
    More,
    /// Nothing waits, or another process sends.
    Idle,
    /// The receiver did not take the first message; how often in a row.
    Failed,
}

impl Sender {
    #[must_use]
    pub fn new(
        store: Store,
        receivers: Vec<Arc<dyn Receiver>>,
        limits: Limits,
        holder: impl Into<String>,
    ) -> Self {
        Self {
            store,
            receivers,
            limits,
            holder: holder.into(),
        }
    }

    /// Sends until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut tasks = tokio::task::JoinSet::new();
        for receiver in &this.receivers {
            let (this, receiver, stop) = (Arc::clone(&this), Arc::clone(receiver), stop.clone());
            tasks.spawn(async move { this.serve(receiver.as_ref(), &stop).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a sender of notifications ended badly");
            }
        }
    }

    async fn serve(&self, receiver: &dyn Receiver, stop: &CancellationToken) {
        let mut failures = 0u32;
        let mut pruned: Option<Instant> = None;
        loop {
            let written = self.store.outbox_written();
            tokio::pin!(written);
            // from here on no wake is missed
            written.as_mut().enable();
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
                pruned = Some(Instant::now());
                self.prune(receiver).await;
            }
            let wait = match self.round(receiver, &mut failures).await {
                Ok(Round::More) => Duration::ZERO,
                Ok(Round::Idle) => POLL,
                Ok(Round::Failed) => backoff::after(failures),
                Err(error) => {
                    tracing::warn!(receiver = receiver.name(), %error, "the outbox cannot be read");
                    backoff::after(failures.max(1))
                }
            };
            if stop.is_cancelled() {
                break;
            }
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                () = &mut written, if failures == 0 => {}
            }
        }
        if let Err(error) = self
            .store
            .release_receiver(receiver.name(), &self.holder)
            .await
        {
            tracing::debug!(%error, "the receiver is let go when its time is over");
        }
    }

    async fn round(
        &self,
        receiver: &dyn Receiver,
        failures: &mut u32,
    ) -> Result<Round, StoreError> {
        let name = receiver.name();
        // looked at first: an idle outbox costs one read
        if self.store.waiting_messages(name, 1).await?.is_empty() {
            *failures = 0;
            return Ok(Round::Idle);
        }
        if !self.store.hold_receiver(name, &self.holder, HOLD).await? {
            *failures = 0;
            return Ok(Round::Idle);
        }
        // and read again: what the holder before has delivered is not
        let messages = self.store.waiting_messages(name, BATCH).await?;
        let Some(first) = messages.first() else {
            return Ok(Round::Idle);
        };
        // ends before another may think that this one is gone
        let (done, why) = receiver.deliver(&messages).await;
        let ids: Vec<i64> = messages.iter().take(done).map(|m| m.id).collect();
        self.store.messages_delivered(&ids).await?;
        let Some(why) = why else {
            *failures = 0;
            return Ok(Round::More);
        };
        let stuck = messages.get(done).unwrap_or(first);
        if done > 0 {
            *failures = 0;
        }
        *failures = failures.saturating_add(1);
        self.failed(receiver, stuck, &why, *failures).await
    }

    /// Remembers why a message was not delivered, and gives it up after enough refusals.
    async fn failed(
        &self,
        receiver: &dyn Receiver,
        message: &Message,
        why: &Undelivered,
        failures: u32,
    ) -> Result<Round, StoreError> {
        let attempts = u32::try_from(message.attempts)
            .unwrap_or(0)
            .saturating_add(1);
        let given_up = matches!(why, Undelivered::Refused(_)) && attempts >= receiver.attempts();
        self.store
            .message_failed(message.id, &why.to_string(), given_up)
            .await?;
        let (name, event, id) = (receiver.name(), &message.event_type, message.id);
        if given_up {
            tracing::warn!(
                receiver = name,
                event,
                id,
                attempts,
                "a notification is a dead letter: {why}; see `bessemer notifications dead-letters`"
            );
            return Ok(Round::More);
        }
        // the first of a row, and then now and then
        if failures == 1 || failures.is_multiple_of(30) {
            tracing::warn!(
                receiver = name,
                event,
                id,
                attempts,
                "a notification is not delivered: {why}"
            );
        }
        Ok(Round::Failed)
    }

    async fn prune(&self, receiver: &dyn Receiver) {
        let name = receiver.name();
        match self
            .store
            .prune_messages(name, self.limits.messages, self.limits.time)
            .await
        {
            Ok(0) => {}
            Ok(dropped) => tracing::error!(
                receiver = name,
                dropped,
                "notifications were dropped undelivered: more than [notifications] keep_messages waited, or longer than keep_for"
            ),
            Err(error) => {
                tracing::warn!(receiver = name, %error, "what is too old or too much is not dropped");
            }
        }
    }
}
