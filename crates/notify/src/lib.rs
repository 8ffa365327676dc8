//! Sends what the store's outbox holds: to RabbitMQ as oslo.messaging would, and as signed webhooks.
//!
//! At least once, in the order of the outbox for each receiver, by one sender at a time. A receiver that is away holds up its
//! own messages only, and no operation.

mod backoff;
mod envelope;
pub mod rabbit;
mod sender;
pub mod webhook;

use async_trait::async_trait;
use bessemer_store::Message;

pub use envelope::{Topics, body, rabbit_body, topic};
pub use sender::{Limits, Sender};

/// Why a message is not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The receiver is away, or does not want anything now: tried again, as long as messages are kept.
    #[error("{0}")]
    Away(String),
    /// The receiver does not want this message: tried again a few times, then a dead letter.
    #[error("{0}")]
    Refused(String),
}

/// How long one call of [`Receiver::deliver`] may go on with further messages.
pub const BUDGET: std::time::Duration = std::time::Duration::from_secs(10);

/// A receiver of messages.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// As it is named in the outbox; holds no secret.
    fn name(&self) -> &str;

    /// How often a message is tried that is refused; more than that, and it becomes a dead letter.
    fn attempts(&self) -> u32;

    /// Hands messages over, in this order, for about [`BUDGET`]: the rest is given again. Gives back how many of them, from the first, the receiver has confirmed; and why it
    /// has not confirmed the next, unless it has all.
    async fn deliver(&self, messages: &[Message]) -> (usize, Option<Undelivered>);
}
