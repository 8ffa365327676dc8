//! What can go wrong with a BMC, sorted by what the caller can do about it.
//!
//! The sentences are shown to operators as they are; they name the BMC, what was done and what to check, and never hold a
//! secret.

use std::time::Duration;

/// Whether the same call may succeed when it is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A passing condition: at once.
    RetryNow,
    /// After a pause: the BMC is away, full or busy.
    RetryLater,
    /// Not before somebody changes something.
    Never,
}

/// Every failure of a call to a BMC. `address` is scheme, host and port; `operation` is verb and path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "BMC {address} cannot be reached ({why}) to {operation}; check the address, the network path and that its web service is switched on"
    )]
    Unreachable {
        address: String,
        operation: String,
        why: String,
    },
    #[error(
        "BMC {address} did not answer within {:.1} s when asked to {operation}; it may be busy or restarting",
        after.as_secs_f64()
    )]
    TimedOut {
        address: String,
        operation: String,
        after: Duration,
    },
    /// Its certificate, or the TLS handshake.
    #[error(
        "the TLS connection to BMC {address} was not made: {why}; check the certificate that it shows, and which one is trusted for it"
    )]
    Untrusted { address: String, why: String },
    #[error(
        "BMC {address} did not let user '{user}' in; check user name and password, and that the account is neither locked nor without the right to log in"
    )]
    AuthenticationFailed { address: String, user: String },
    /// It let the user in, and ended each new session before its first request.
    #[error(
        "BMC {address} let user '{user}' in and ended the session at once, {times} times in a row; it may be restarting, or have no room for sessions (`redfish_auth_type` \"basic\" works without any)"
    )]
    SessionsEnded {
        address: String,
        user: String,
        times: usize,
    },
    /// The BMC's own refusal. `ids` are the message ids of its answer, without their registry's version.
    #[error("BMC {address} refused to {operation}: HTTP {status}, {why}")]
    Refused {
        address: String,
        operation: String,
        status: u16,
        ids: Vec<String>,
        why: String,
    },
    #[error(
        "BMC {address} gave an answer that cannot be understood when asked to {operation}: {why}"
    )]
    Malformed {
        address: String,
        operation: String,
        why: String,
    },
    /// A resource or a member that this BMC does not have.
    #[error("BMC {address} does not have {what}")]
    Missing { address: String, what: String },
    #[error("BMC {address} accepted to {operation}, but its task failed: {why}")]
    TaskFailed {
        address: String,
        operation: String,
        why: String,
    },
    #[error("the settings for BMC {address} cannot be used: {why}")]
    InvalidTarget { address: String, why: String },
}

impl Error {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::SessionsEnded { .. } => {
                Class::RetryLater
            }
            Self::Refused { status, ids, .. } => match status {
                408 | 425 | 429 | 500 | 502..=599 => Class::RetryLater,
                // A board in its power-on self-test says so and takes the change a moment later.
                _ if ids.iter().any(|id| PASSING.contains(&id.as_str())) => Class::RetryLater,
                _ => Class::Never,
            },
            Self::Malformed { .. } => Class::RetryLater,
            Self::Untrusted { .. }
            | Self::AuthenticationFailed { .. }
            | Self::Missing { .. }
            | Self::TaskFailed { .. }
            | Self::InvalidTarget { .. } => Class::Never,
        }
    }

    /// Status of the BMC's refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the refusal carries this message id (without registry and version), or its text names it.
    #[must_use]
    pub fn says(&self, word: &str) -> bool {
        match self {
            Self::Refused { ids, why, .. } => ids.iter().any(|id| id == word) || why.contains(word),
            _ => false,
        }
    }

    /// The BMC has no such thing: 404, or it names none.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Refused { status: 404, .. }
        )
    }
}

/// Message ids of refusals that pass by themselves.
const PASSING: [&str; 5] = [
    "UnableToModifyDuringSystemPOST",
    "ResourceInUse",
    "ServiceTemporarilyUnavailable",
    "ResourceInStandby",
    "ServiceInUnknownState",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_classes() {
        fn check(error: Error, class: Class, sentence: &str) {
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.class(), class);
        }
        let address = || "https://10.0.0.5".to_owned();
        let operation = || "read /redfish/v1/Systems".to_owned();
        check(
            Error::TimedOut {
                address: address(),
                operation: operation(),
                after: Duration::from_millis(12_340),
            },
            Class::RetryLater,
            "BMC https://10.0.0.5 did not answer within 12.3 s when asked to read /redfish/v1/Systems; it may be busy or restarting",
        );
        check(
            Error::AuthenticationFailed {
                address: address(),
                user: "admin".into(),
            },
            Class::Never,
            "BMC https://10.0.0.5 did not let user 'admin' in; check user name and password, and that the account is neither locked nor without the right to log in",
        );
        let refused = |status, id: &str| Error::Refused {
            address: address(),
            operation: operation(),
            status,
            ids: vec![id.to_owned()],
            why: "no".into(),
        };
        check(
            refused(400, "PropertyNotWritable"),
            Class::Never,
            "BMC https://10.0.0.5 refused to read /redfish/v1/Systems: HTTP 400, no",
        );
        assert_eq!(
            refused(400, "UnableToModifyDuringSystemPOST").class(),
            Class::RetryLater
        );
        assert_eq!(refused(503, "x").class(), Class::RetryLater);
        assert_eq!(refused(501, "x").class(), Class::Never);
    }
}
