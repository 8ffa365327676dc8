//! What a command can end with inside the store, before it becomes a [`StoreError`].
//!
//! The engines' codes are read here and nowhere else: SQLite's result codes
//! (<https://www.sqlite.org/rescode.html>) and PostgreSQL's SQLSTATE (its manual, appendix A).

use bessemer_model::Fault;

use crate::StoreError;

/// How a statement or a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer for the caller; the transaction around it is sound.
    Store(StoreError),
    /// A unique index refused a row; holds the name of the index.
    Unique(String),
    /// A row that this one refers to is missing.
    Foreign(String),
    /// The engine gave up this transaction in favour of another: run the command again.
    Again(String),
    /// The whole transaction is lost, with everything else that was in it.
    Ended(StoreError),
}

impl Failure {
    /// What the caller gets when nobody in between knew better.
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Store(error) | Self::Ended(error) => error,
            Self::Unique(index) => {
                StoreError::Internal(format!("the unique index {index} refused a row"))
            }
            Self::Foreign(text) => {
                StoreError::Internal(format!("a row refers to one that does not exist: {text}"))
            }
            Self::Again(text) => StoreError::Unavailable(format!(
                "too many writers at once, given up after many attempts: {text}"
            )),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Store(StoreError::Refused(fault))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.into_error()
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                    postgres(&code, error.constraint(), error.message())
                } else {
                    sqlite(code.parse().unwrap_or(1), error.message())
                }
            }
            sqlx::Error::Io(error) => Self::Ended(StoreError::Unavailable(error.to_string())),
            sqlx::Error::PoolTimedOut => Self::Ended(StoreError::Unavailable(
                "every connection stayed busy for too long".into(),
            )),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Ended(StoreError::Unavailable("the store is closed".into()))
            }
            error @ (sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                Self::Ended(StoreError::Unavailable(error.to_string()))
            }
            error => Self::Store(StoreError::Internal(error.to_string())),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(code, message) => sqlite(
                i64::from(code.extended_code),
                &message.unwrap_or_else(|| code.to_string()),
            ),
            error => Self::Store(StoreError::Internal(error.to_string())),
        }
    }
}

/// By SQLite's extended result code.
fn sqlite(extended: i64, message: &str) -> Failure {
    match (extended & 0xff, extended) {
        // BUSY, LOCKED, NOMEM, INTERRUPT
        (5 | 6 | 7 | 9, _) => Failure::Ended(StoreError::Unavailable(message.to_owned())),
        // PERM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB
        (3 | 8 | 10 | 11 | 13 | 14 | 26, _) => {
            Failure::Ended(StoreError::Storage(message.to_owned()))
        }
        // CONSTRAINT_UNIQUE, CONSTRAINT_PRIMARYKEY
        (19, 2067 | 1555) => Failure::Unique(index_name(message)),
        // CONSTRAINT_FOREIGNKEY
        (19, 787) => Failure::Foreign(message.to_owned()),
        _ => Failure::Store(StoreError::Internal(message.to_owned())),
    }
}

/// SQLite names the columns (`UNIQUE constraint failed: port.address`), not the index; our indexes are
/// named by their columns.
fn index_name(message: &str) -> String {
    let columns = message.rsplit_once("failed: ").map_or("", |(_, c)| c);
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.').unwrap_or(("", column));
        if name.is_empty() {
            name.push_str(table);
        }
        name.push('_');
        name.push_str(column);
    }
    name.push_str("_key");
    name
}

fn postgres(code: &str, constraint: Option<&str>, message: &str) -> Failure {
    let text = || message.to_owned();
    match code {
        "40001" | "40P01" => Failure::Again(text()),
        "23505" => Failure::Unique(constraint.unwrap_or_default().to_owned()),
        "23503" => Failure::Foreign(text()),
        // out of disk, I/O error, read-only
        "53100" | "58030" | "25006" => Failure::Ended(StoreError::Storage(text())),
        // lock timeout; idle for too long within a transaction
        "55P03" | "25P03" => Failure::Ended(StoreError::Unavailable(text())),
        _ if ["08", "53", "57", "28", "3D"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Failure::Ended(StoreError::Unavailable(text()))
        }
        _ => Failure::Store(StoreError::Internal(text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_found_by_their_columns() {
        let check = |message, want| assert_eq!(index_name(message), want);
        check("UNIQUE constraint failed: port.address", "port_address_key");
        check(
            "UNIQUE constraint failed: dhcp_lease.network, dhcp_lease.mac",
            "dhcp_lease_network_mac_key",
        );
    }

    #[test]
    fn codes_tell_what_a_caller_can_do() {
        let check = |failure: Failure, want: &str| {
            let seen = match failure {
                Failure::Store(_) => "store",
                Failure::Unique(_) => "unique",
                Failure::Foreign(_) => "foreign",
                Failure::Again(_) => "again",
                Failure::Ended(StoreError::Storage(_)) => "storage",
                Failure::Ended(_) => "unavailable",
            };
            assert_eq!(seen, want);
        };
        check(sqlite(13, "database or disk is full"), "storage");
        check(sqlite(778, "disk I/O error"), "storage");
        check(
            sqlite(1032, "attempt to write a readonly database"),
            "storage",
        );
        check(sqlite(5, "database is locked"), "unavailable");
        check(
            sqlite(2067, "UNIQUE constraint failed: node.name"),
            "unique",
        );
        check(sqlite(787, "FOREIGN KEY constraint failed"), "foreign");
        check(sqlite(1, "no such table: x"), "store");
        check(postgres("40001", None, ""), "again");
        check(postgres("40P01", None, ""), "again");
        check(postgres("23505", Some("node_name_key"), ""), "unique");
        check(postgres("53100", None, ""), "storage");
        check(postgres("53300", None, ""), "unavailable");
        check(postgres("57P01", None, ""), "unavailable");
        check(postgres("25P03", None, ""), "unavailable");
        check(postgres("42P01", None, ""), "store");
    }
}
