//! The process itself: its database and its log.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::seconds;
use crate::types::LogFormat;

section! {
    /// The database.
    Database = "database" {
        #[reader("server")]
        /// `sqlite:///absolute/path` or `postgresql://user:password@host/name` (a unix socket: `?host=/directory`). Not set: SQLite below state_path.
        connection: Option<SecretString> = None,
        #[reader("server")]
        /// Connections for reading, at most.
        max_pool_size: u32 = 5,
        #[reader("server")]
        /// How long a write waits for its turn.
        sqlite_max_wait_for_retry: Duration = seconds(10),
        #[reader("server")]
        /// File with keys for the secrets of nodes at rest: one a line, 32 bytes as base64 (`bessemer db new-key`). The first encrypts, all decrypt. Not set: secrets are stored as they are. Not in upstream.
        encryption_key_file: Option<PathBuf> = None,
        #[reader("server")]
        /// The same keys themselves, separated by commas, for the environment (`BESSEMER__DATABASE__ENCRYPTION_KEYS`); they come before those of the file. Not in upstream.
        encryption_keys: Option<SecretString> = None,
    }
}

section! {
    /// Log.
    Log = "log" {
        #[reader("server")]
        /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `info,bessemer_ipmi=debug`.
        level: String = "info".into(),
        #[reader("server")]
        /// Lines for people or JSON.
        format: LogFormat = LogFormat::Text,
    }
}
