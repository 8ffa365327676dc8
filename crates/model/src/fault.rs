//! Failures as sentences: what every layer below the API turns its errors into.

use std::fmt;

/// What the engine may do about a failure. It matches on this, never on text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Lost packet, busy peer: at once again is fine.
    RetryNow,
    /// Peer is away: again after a while.
    RetryLater,
    /// Nothing changes without an operator.
    Never,
}

/// Kind of a refusal, from which the API derives the HTTP status. Named by upstream's exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FaultKind {
    /// 400
    Invalid,
    /// 400, a parameter that the driver needs is absent.
    MissingParameter,
    /// 400, the driver or interface cannot do it.
    Unsupported,
    /// 400, the verb is not allowed in this provision state.
    InvalidState,
    /// 403
    NotPermitted,
    /// 404
    NotFound,
    /// 406
    NotAcceptable,
    /// 409
    Conflict,
    /// 409, a lease is held.
    Locked,
    /// 503, capacity.
    Busy,
    /// 500, the hardware or something else beyond the client failed.
    Hardware,
    /// 500
    Internal,
}

/// A failure in words for the operator. `text` names the operation, the object and the next thing to
/// check; it never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub class: Class,
    pub text: String,
}

impl Fault {
    #[must_use]
    pub fn new(kind: FaultKind, class: Class, text: impl Into<String>) -> Self {
        Self {
            kind,
            class,
            text: text.into(),
        }
    }

    /// A client's mistake: never retried.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, Class::Never, text)
    }

    #[must_use]
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, Class::Never, text)
    }

    #[must_use]
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, Class::Never, text)
    }

    #[must_use]
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Unsupported, Class::Never, text)
    }

    #[must_use]
    pub fn hardware(class: Class, text: impl Into<String>) -> Self {
        Self::new(FaultKind::Hardware, class, text)
    }

    #[must_use]
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, Class::Never, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}
