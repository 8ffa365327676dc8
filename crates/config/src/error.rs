//! What is wrong with the settings, and where.

/// A refused setting. Every text says where it stands and what would be right; never a secret value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {why}")]
    Unreadable { path: String, why: String },
    /// Not TOML, an unknown section or option, a value of the wrong type. `place` is `file:line`, the
    /// name of an environment variable, or the flag.
    #[error("{place}: {why}")]
    Refused { place: String, why: String },
    /// Well-formed, but a server cannot start with it.
    #[error("{0}")]
    Missing(String),
}
