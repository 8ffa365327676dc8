//! What a phase is and what it answers.

use std::panic::Location;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_model::{Fault, Timestamp};

use crate::context::Context;

/// What `look` found.
#[derive(Debug)]
pub enum Look {
    /// The effect is there already.
    Done,
    NotDone,
    /// This part is there already, and the named phase is next (a phase that works through a list names itself).
    Next(&'static str),
    /// Somebody (the agent) is at it.
    Running(Wait),
    /// It cannot be told whether it was done; the phase's [`OnUnknown`] decides.
    Unknown(String),
}

/// What an unknown result means for a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Doing it again is harmless.
    Repeat,
    /// Doing it again could destroy something.
    Fail,
}

/// A wait: always with a reason, and with a deadline unless a signal is certain.
#[derive(Debug, Clone)]
pub struct Wait {
    /// For what, in words: `the agent's first heartbeat`.
    pub what: String,
    /// Look again after this, whatever happens.
    pub look_again: Option<Duration>,
    /// Given up then.
    pub deadline: Option<Timestamp>,
    pub origin: &'static Location<'static>,
}

impl Wait {
    #[track_caller]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            look_again: None,
            deadline: None,
            origin: Location::caller(),
        }
    }

    #[must_use]
    pub fn look_again(mut self, after: Duration) -> Self {
        self.look_again = Some(after);
        self
    }

    #[must_use]
    pub fn until(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// What `act` brought about.
#[derive(Debug)]
pub enum Outcome {
    /// The phase is done; on to the next of the flow.
    Done,
    /// Done, and the named phase is next.
    Next(&'static str),
    /// Done, and the operation goes on as another flow, from its first phase.
    Become(&'static str),
    /// Look again later.
    Wait(Wait),
    /// The operation ends here, well.
    Finish,
    /// The operation ends here, failed; the flow's changes of the node are in the context already.
    GiveUp,
}

/// One part of a flow. Its name is a stored format: conductors of two versions work on one database.
#[async_trait]
pub trait Phase: Send + Sync {
    fn name(&self) -> &'static str;

    fn on_unknown(&self) -> OnUnknown {
        OnUnknown::Repeat
    }

    /// Whether the operator's abort may end the operation while it stands before this phase.
    fn abortable(&self, _cx: &Context) -> bool {
        true
    }

    /// Asks the store and the device what is already there. Changes nothing outside.
    ///
    /// # Errors
    /// A fault of class `RetryNow` or `RetryLater` is tried again with back-off for a bounded time.
    async fn look(&self, cx: &mut Context) -> Result<Look, Fault>;

    /// Brings the effect about.
    ///
    /// # Errors
    /// As for `look`; a fault of class `Never` fails the operation.
    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault>;

    /// The deadline of a wait has passed. The fault becomes the operation's error.
    async fn expired(&self, cx: &mut Context) -> Fault {
        crate::error_text::expired(cx, self.name()).await
    }
}
