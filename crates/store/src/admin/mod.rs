//! What an operator does with a database as a whole: versions, backup and restore, check, keys.
//!
//! Commands of the command line; a running service uses none of it but [`schema`] and the registration of keys.

mod backup;
mod check;
pub(crate) mod file;
mod keys;
mod restore;
pub(crate) mod schema;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bessemer_model::Timestamp;

use crate::db::{self, Place};
use crate::sql::{Connection, Inner};
use crate::{Settings, StoreError};

pub use backup::{BackedUp, backup};
pub use check::{Finding, Repair};
pub use file::fuzz::fuzz_backup;
pub use file::{Description, describe};
pub use keys::Rotated;
pub use restore::{RestoreOptions, Restored, restore};

/// The schema of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `sqlite` or `postgresql`.
    pub engine: &'static str,
    /// Migrations that the database has, in order. Empty: not a database of ours yet.
    pub applied: Vec<i64>,
    /// Those that this program has.
    pub known: Vec<i64>,
    /// When it was restored last, and from a backup of when.
    pub restored: Option<(Timestamp, Timestamp)>,
}

impl Version {
    /// Migrations that opening the database would run.
    #[must_use]
    pub fn missing(&self) -> Vec<i64> {
        let missing = |v: &&i64| !self.applied.contains(v);
        self.known.iter().filter(missing).copied().collect()
    }

    /// Migrations of a newer version.
    #[must_use]
    pub fn unknown(&self) -> Vec<i64> {
        let unknown = |v: &&i64| !self.known.contains(v);
        self.applied.iter().filter(unknown).copied().collect()
    }
}

/// A connection outside of the store, without migrations: what backup and restore work on. Dropping it rolls back.
pub(crate) struct Outside {
    pub(crate) connection: Connection,
    pool: Option<sqlx::PgPool>,
}

impl Outside {
    /// Opens the database with a transaction: one that reads a single moment, or one that may change everything.
    pub(crate) async fn open(settings: &Settings, reads: bool) -> Result<Self, StoreError> {
        let (inner, pool) = match db::place(settings)? {
            Place::Sqlite(path) => {
                if reads {
                    exists(&path)?;
                } else {
                    db::create_private(&path)?;
                }
                let connection = db::connect_sqlite(&path, settings, false)?;
                (Inner::Sqlite(connection), None)
            }
            Place::Postgres => {
                let pool = db::postgres_pool(settings).await?;
                let begin = if reads {
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                } else {
                    "BEGIN"
                };
                let transaction = pool
                    .begin_with(begin)
                    .await
                    .map_err(|e| crate::failure::Failure::from(e).into_error())?;
                (Inner::Postgres(transaction), Some(pool))
            }
        };
        let mut outside = Self {
            connection: Connection {
                inner,
                statements: Arc::new(AtomicU64::new(0)),
                keys: Arc::clone(&settings.secrets),
                telling: None,
            },
            pool,
        };
        if outside.pool.is_none() {
            let begin = if reads { "BEGIN" } else { "BEGIN IMMEDIATE" };
            outside.connection.execute(begin, Vec::new()).await?;
        }
        Ok(outside)
    }

    pub(crate) fn engine(&self) -> &'static str {
        if self.pool.is_some() {
            "postgresql"
        } else {
            "sqlite"
        }
    }

    /// Ends the transaction, keeping what was done.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    /// Ends the transaction as if it had not been.
    pub(crate) async fn roll_back(self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(self, how: &'static str) -> Result<(), StoreError> {
        let failed = |error| crate::failure::Failure::from(error).into_error();
        let Self {
            mut connection,
            pool,
        } = self;
        match connection.inner {
            Inner::Postgres(transaction) => {
                if how == "COMMIT" {
                    transaction.commit().await.map_err(failed)?;
                } else {
                    transaction.rollback().await.map_err(failed)?;
                }
            }
            Inner::Sqlite(_) => {
                connection.execute(how, Vec::new()).await?;
                db::close_sqlite(connection)?;
            }
            Inner::SqliteReader(_) | Inner::PostgresReader(_) => {}
        }
        if let Some(pool) = pool {
            pool.close().await;
        }
        Ok(())
    }
}

fn exists(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!(
            "{}: {error}; check [database] connection and [DEFAULT] state_path",
            path.display()
        ))),
    }
}

/// The schema's version, without touching the database.
///
/// # Errors
/// When it cannot be reached.
pub async fn version(settings: &Settings) -> Result<Version, StoreError> {
    let mut outside = Outside::open(settings, true).await?;
    let applied = schema::applied(&mut outside.connection).await?;
    let known = schema::migrations(outside.connection.is_postgres());
    let restored = if applied.contains(&10) {
        outside
            .connection
            .row(
                "SELECT restored_at, backed_up_at FROM restore ORDER BY id DESC LIMIT 1",
                Vec::new(),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .await?
    } else {
        None
    };
    let version = Version {
        engine: outside.engine(),
        applied,
        known: known.iter().map(|k| k.0).collect(),
        restored,
    };
    outside.roll_back().await?;
    Ok(version)
}

/// Gives what deleted and overwritten rows leave behind back to the disk, so that no old secret stays in the file. Nothing
/// on PostgreSQL, which does this by itself in time.
///
/// # Errors
/// When the database is not reached, or others hold it for too long.
pub async fn compact(settings: &Settings) -> Result<(), StoreError> {
    let Place::Sqlite(path) = db::place(settings)? else {
        return Ok(());
    };
    exists(&path)?;
    let mut connection = Connection {
        inner: Inner::Sqlite(db::connect_sqlite(&path, settings, true)?),
        statements: Arc::new(AtomicU64::new(0)),
        keys: Arc::clone(&settings.secrets),
        telling: None,
    };
    connection.execute("VACUUM", Vec::new()).await?;
    connection
        .execute("PRAGMA wal_checkpoint(TRUNCATE)", Vec::new())
        .await?;
    db::close_sqlite(connection)
}

/// Brings the schema to this program's version; what it was before.
///
/// # Errors
/// [`StoreError::Schema`] when it is newer.
pub async fn upgrade(settings: &Settings) -> Result<Version, StoreError> {
    let before = match db::place(settings)? {
        Place::Sqlite(path) if !path.exists() => {
            return Err(StoreError::Unavailable(format!(
                "{} does not exist; check [database] connection and [DEFAULT] state_path (`bessemer serve` creates it)",
                path.display()
            )));
        }
        _ => version(settings).await?,
    };
    crate::Store::open(settings).await?.close().await;
    Ok(before)
}
