//! What can go wrong with a BMC, sorted by what the caller can do about it.
//!
//! The sentences are shown to operators as they are; they name the BMC, the operation and what to
//! check, and never hold a secret.

use std::io;
use std::time::Duration;

use crate::completion::{CompletionCode, SetupStatus};
use crate::crypto::CipherSuite;

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

/// Which part of the login the BMC or we refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthenticationFailure {
    /// The BMC does not know the user name.
    UserName,
    /// The BMC's proof was not made with our password.
    Password,
    /// User and password are right, the BMC key Kg is not.
    BmcKey,
    /// The BMC answered until the user name came, then fell silent.
    Silence,
    /// The user exists, but may not have the privilege level asked for.
    Privilege,
}

impl AuthenticationFailure {
    fn sentence(self) -> &'static str {
        match self {
            Self::UserName => {
                "user name or password is wrong (the BMC does not know the user); check both, and that the user may use IPMI over LAN"
            }
            Self::Password => {
                "user name or password is wrong; check both, and that the user may use IPMI over LAN"
            }
            Self::BmcKey => {
                "user name and password are right, but the BMC key (Kg) is wrong or missing; check it"
            }
            Self::Silence => {
                "it stopped answering when the user name came, as some BMCs do with a user that they do not know; check user name and password, and that the user may use IPMI over LAN"
            }
            Self::Privilege => {
                "the user may not have the privilege level asked for; check the user's limit on the BMC and the level asked for"
            }
        }
    }
}

/// Every failure of a call to a BMC. `address` is host and port as the caller gave them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "BMC {address} cannot be reached; check the address and that IPMI over LAN is switched on there"
    )]
    Unreachable { address: String, source: io::Error },
    #[error(
        "BMC {address} did not answer within {:.1} s when asked to {operation}; check the address, the network path to its UDP port and that IPMI over LAN is switched on",
        after.as_secs_f64()
    )]
    TimedOut {
        operation: &'static str,
        address: String,
        after: Duration,
    },
    #[error("BMC {address} did not let user '{user}' in: {}", why.sentence())]
    AuthenticationFailed {
        address: String,
        user: String,
        why: AuthenticationFailure,
    },
    #[error(
        "BMC {address} does not offer cipher suite {}; check which suites its IPMI 2.0 settings allow",
        suites(tried)
    )]
    UnsupportedSuite {
        address: String,
        tried: Vec<CipherSuite>,
    },
    #[error(
        "BMC {address} does not speak IPMI 2.0 over LAN, which is needed; update its firmware or use another protocol"
    )]
    UnsupportedVersion { address: String },
    #[error(
        "BMC {address} refused to open a session: {status}; check for sessions that were left open"
    )]
    SessionRefused {
        address: String,
        status: SetupStatus,
    },
    #[error("BMC {address} refused to {operation}: completion code {code}")]
    Refused {
        operation: &'static str,
        address: String,
        code: CompletionCode,
    },
    #[error(
        "BMC {address} gave an answer that cannot be understood when asked to {operation}: {what}"
    )]
    Malformed {
        operation: &'static str,
        address: String,
        what: &'static str,
    },
    #[error("the settings for BMC {address} cannot be used: {what}")]
    InvalidTarget { address: String, what: &'static str },
}

fn suites(tried: &[CipherSuite]) -> String {
    tried
        .iter()
        .map(|suite| suite.id().to_string())
        .collect::<Vec<_>>()
        .join(" or ")
}

impl Error {
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => Class::RetryLater,
            Self::AuthenticationFailed {
                why: AuthenticationFailure::Silence,
                ..
            } => Class::RetryLater,
            Self::Refused { code, .. } => code.class(),
            Self::SessionRefused { status, .. } => match status.0 {
                // no free session, or one that the BMC dropped while it was being set up
                0x01 | 0x02 | 0x08 | 0x0b => Class::RetryLater,
                _ => Class::Never,
            },
            Self::Malformed { .. } => Class::RetryLater,
            Self::AuthenticationFailed { .. }
            | Self::UnsupportedSuite { .. }
            | Self::UnsupportedVersion { .. }
            | Self::InvalidTarget { .. } => Class::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_classes() {
        fn check(error: Error, class: Class, sentence: &str) {
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.class(), class);
        }
        let address = || "10.0.0.5:623".to_owned();
        check(
            Error::TimedOut {
                operation: "read the power state",
                address: address(),
                after: Duration::from_millis(12_340),
            },
            Class::RetryLater,
            "BMC 10.0.0.5:623 did not answer within 12.3 s when asked to read the power state; check the address, the network path to its UDP port and that IPMI over LAN is switched on",
        );
        check(
            Error::AuthenticationFailed {
                address: address(),
                user: "admin".into(),
                why: AuthenticationFailure::Password,
            },
            Class::Never,
            "BMC 10.0.0.5:623 did not let user 'admin' in: user name or password is wrong; check both, and that the user may use IPMI over LAN",
        );
        check(
            Error::UnsupportedSuite {
                address: address(),
                tried: vec![CipherSuite::Suite17, CipherSuite::Suite3],
            },
            Class::Never,
            "BMC 10.0.0.5:623 does not offer cipher suite 17 or 3; check which suites its IPMI 2.0 settings allow",
        );
        check(
            Error::Refused {
                operation: "switch the power on",
                address: address(),
                code: CompletionCode(0xd4),
            },
            Class::Never,
            "BMC 10.0.0.5:623 refused to switch the power on: completion code 0xd4, the user's privilege level does not allow it",
        );
        check(
            Error::SessionRefused {
                address: address(),
                status: SetupStatus(1),
            },
            Class::RetryLater,
            "BMC 10.0.0.5:623 refused to open a session: status 0x01, the BMC has no free session; check for sessions that were left open",
        );
    }
}
