//! Why a policy cannot be used.

use std::path::PathBuf;

/// Sentences for the operator, with the place in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "the policy file {path} cannot be read: {why}; check [oslo_policy] policy_file and its permissions"
    )]
    Unreadable { path: PathBuf, why: String },
    #[error("{path}:{line}: {why}")]
    Malformed {
        path: PathBuf,
        line: usize,
        why: String,
    },
    #[error("{path}:{line}: the policy rule \"{rule}\" cannot be used: {why}")]
    Rule {
        path: PathBuf,
        line: usize,
        rule: String,
        why: String,
    },
    /// A bug: the built-in table is wrong.
    #[error("the built-in policy \"{rule}\" cannot be used: {why}")]
    BuiltIn { rule: String, why: String },
}
