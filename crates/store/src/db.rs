//! Opens a database of either engine: connections, pools, migrations.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool, SqlSafeStr};

use crate::failure::Failure;
use crate::reader::Readers;
use crate::secrets::Keys;
use crate::sql::{Connection, Inner};
use crate::writer::SqliteWriter;
use crate::{Settings, StoreError};

/// The migrations of each engine: version, description, text. Never change one that was released.
pub(crate) const SQLITE_MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "first",
        include_str!("../migrations/sqlite/0001_first.sql"),
    ),
    (
        2,
        "allocations",
        include_str!("../migrations/sqlite/0002_allocations.sql"),
    ),
    (
        3,
        "networks and settings",
        include_str!("../migrations/sqlite/0003_networks_and_settings.sql"),
    ),
    (
        5,
        "requesters",
        include_str!("../migrations/sqlite/0005_requesters.sql"),
    ),
    (
        6,
        "orders",
        include_str!("../migrations/sqlite/0006_orders.sql"),
    ),
    (
        10,
        "secrets and restores",
        include_str!("../migrations/sqlite/0010_secrets_and_restores.sql"),
    ),
    (
        15,
        "conductors",
        include_str!("../migrations/sqlite/0015_conductors.sql"),
    ),
    (
        16,
        "strangers",
        include_str!("../migrations/sqlite/0016_strangers.sql"),
    ),
    (
        17,
        "outbox",
        include_str!("../migrations/sqlite/0017_outbox.sql"),
    ),
    (18, "due", include_str!("../migrations/sqlite/0018_due.sql")),
];
pub(crate) const POSTGRES_MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "first",
        include_str!("../migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "allocations",
        include_str!("../migrations/postgres/0002_allocations.sql"),
    ),
    (
        3,
        "networks and settings",
        include_str!("../migrations/postgres/0003_networks_and_settings.sql"),
    ),
    (
        5,
        "requesters",
        include_str!("../migrations/postgres/0005_requesters.sql"),
    ),
    (
        6,
        "orders",
        include_str!("../migrations/postgres/0006_orders.sql"),
    ),
    (
        10,
        "secrets and restores",
        include_str!("../migrations/postgres/0010_secrets_and_restores.sql"),
    ),
    (
        15,
        "conductors",
        include_str!("../migrations/postgres/0015_conductors.sql"),
    ),
    (
        16,
        "strangers",
        include_str!("../migrations/postgres/0016_strangers.sql"),
    ),
    (
        17,
        "outbox",
        include_str!("../migrations/postgres/0017_outbox.sql"),
    ),
    (
        18,
        "due",
        include_str!("../migrations/postgres/0018_due.sql"),
    ),
];

/// Statements that a connection keeps compiled that may write.
const STATEMENTS: usize = 256;

/// An open database.
pub(crate) struct Db {
    pub(crate) engine: Engine,
    pub(crate) statements: Arc<AtomicU64>,
    pub(crate) keys: Arc<Keys>,
}

pub(crate) enum Engine {
    Sqlite {
        readers: Arc<Readers>,
        writer: SqliteWriter,
    },
    Postgres {
        pool: PgPool,
    },
}

/// One of the rows above as sqlx knows it, with its checksum.
pub(crate) fn migration(row: &(i64, &'static str, &'static str)) -> Migration {
    let (version, description, sql) = *row;
    Migration::new(
        version,
        description.into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    )
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    Migrator::with_migrations(migrations.iter().map(migration).collect())
}

/// What is done about a schema that is not this version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Brought to this version's.
    Upgrade,
    /// Refused.
    AsItIs,
}

fn migration_failed(error: sqlx::migrate::MigrateError) -> StoreError {
    match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            Failure::from(error).into_error()
        }
        sqlx::migrate::MigrateError::VersionMissing(version) => newer(version),
        sqlx::migrate::MigrateError::VersionMismatch(version) => another_line(version),
        error => StoreError::Internal(format!(
            "the schema cannot be brought to this version's: {error}"
        )),
    }
}

/// The sentence about a schema that this program does not know.
pub(crate) fn newer(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "the database has schema version {version}, which this program does not know: it was used by a newer \
         version; run that one, or restore a backup that was made before the upgrade"
    ))
}

/// The sentence about a migration that has another text here.
pub(crate) fn another_line(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "migration {version} of the database is not the one that this program knows by that number: the database was \
         used by a program of another line; run that one, or restore a backup that this one can read"
    ))
}

/// Refuses a schema that is older or newer than this version's.
pub(crate) async fn require_present(connection: &mut Connection) -> Result<(), Failure> {
    let applied = crate::admin::schema::applied(connection).await?;
    let known = crate::admin::schema::migrations(connection.is_postgres());
    crate::admin::schema::refuse_newer(&applied, known)?;
    if let Some(missing) = known.iter().find(|k| !applied.contains(&k.0)) {
        return Err(StoreError::Schema(format!(
            "the database has schema version {}, and this program's is {}: run `bessemer db upgrade` first (after \
             `bessemer db backup`)",
            applied.last().copied().unwrap_or(0),
            known.last().map_or(missing.0, |k| k.0),
        ))
        .into());
    }
    Ok(())
}

/// The file behind `sqlite:///path`; SQLAlchemy's four slashes mean the same.
pub(crate) fn sqlite_path(connection: &str) -> Option<PathBuf> {
    let rest = connection.strip_prefix("sqlite://")?;
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    (path.len() > 1).then(|| PathBuf::from(path))
}

impl Db {
    pub(crate) async fn open(settings: &Settings, schema: Schema) -> Result<Self, StoreError> {
        let statements = Arc::new(AtomicU64::new(0));
        let engine = match place(settings)? {
            Place::Sqlite(path) => open_sqlite(&path, settings, &statements, schema).await?,
            Place::Postgres => {
                let pool = postgres_pool(settings).await?;
                if schema == Schema::Upgrade {
                    migrator(POSTGRES_MIGRATIONS)
                        .run(&pool)
                        .await
                        .map_err(migration_failed)?;
                }
                Engine::Postgres { pool }
            }
        };
        let db = Self {
            engine,
            statements,
            keys: Arc::clone(&settings.secrets),
        };
        if schema == Schema::AsItIs {
            require_present(&mut db.reader().await?).await?;
        }
        Ok(db)
    }

    /// A connection for reading.
    pub(crate) async fn reader(&self) -> Result<Connection, Failure> {
        let inner = match &self.engine {
            Engine::Sqlite { readers, .. } => Inner::SqliteReader(Arc::clone(readers)),
            Engine::Postgres { pool } => Inner::PostgresReader(pool.acquire().await?),
        };
        Ok(Connection {
            inner,
            statements: Arc::clone(&self.statements),
            keys: Arc::clone(&self.keys),
            telling: None,
        })
    }

    pub(crate) async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { readers, writer } => {
                // The last connection that closes moves the log into the database: the writer's.
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres { pool } => pool.close().await,
        }
    }
}

/// Where a database is.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres,
}

/// What the connection names.
///
/// # Errors
/// [`StoreError::Unavailable`] when it is neither.
pub(crate) fn place(settings: &Settings) -> Result<Place, StoreError> {
    if settings.connection.starts_with("sqlite:") {
        sqlite_path(&settings.connection)
            .map(Place::Sqlite)
            .ok_or_else(|| {
                StoreError::Unavailable(
                    "the connection must be sqlite:///absolute/path or postgresql://…".into(),
                )
            })
    } else {
        Ok(Place::Postgres)
    }
}

/// Creates the file readable by its owner only: it holds the passwords of BMCs. SQLite gives its log the
/// same mode.
pub(crate) fn create_private(path: &Path) -> Result<(), StoreError> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::Storage(format!("{}: {error}", path.display())))
}

/// A connection that may write.
///
/// # Errors
/// [`StoreError::Storage`] when the file cannot be opened or is none of SQLite's.
pub(crate) fn connect_sqlite(
    path: &Path,
    settings: &Settings,
    foreign_keys: bool,
) -> Result<rusqlite::Connection, StoreError> {
    let connect = || {
        let connection = rusqlite::Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(settings.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        crate::reader::stable_plans(&connection)?;
        connection.pragma_update(None, "foreign_keys", foreign_keys)?;
        // answers with the mode that it has set
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    connect().map_err(|error: rusqlite::Error| Failure::from(error).into_error())
}

/// Closes a connection that may write, and says so when that failed.
///
/// # Errors
/// [`StoreError::Storage`] when the log cannot be moved into the database.
pub(crate) fn close_sqlite(connection: Connection) -> Result<(), StoreError> {
    if let Inner::Sqlite(connection) = connection.inner {
        connection
            .close()
            .map_err(|(_, error)| Failure::from(error).into_error())?;
    }
    Ok(())
}

async fn open_sqlite(
    path: &Path,
    settings: &Settings,
    statements: &Arc<AtomicU64>,
    schema: Schema,
) -> Result<Engine, StoreError> {
    if schema == Schema::Upgrade {
        create_private(path)?;
    }
    let mut connection = Connection {
        inner: Inner::Sqlite(connect_sqlite(path, settings, true)?),
        statements: Arc::clone(statements),
        keys: Arc::clone(&settings.secrets),
        telling: None,
    };
    if schema == Schema::Upgrade {
        crate::admin::schema::upgrade_sqlite(&mut connection).await?;
    }
    let readers = Arc::new(Readers::start(
        path.to_owned(),
        settings.readers,
        settings.busy_timeout,
    )?);
    let writer = SqliteWriter::start(connection, settings.busy_timeout)?;
    Ok(Engine::Sqlite { readers, writer })
}

/// Connections to PostgreSQL, as many as the settings allow.
pub(crate) async fn postgres_pool(settings: &Settings) -> Result<PgPool, StoreError> {
    // SQLAlchemy names its driver in the scheme: postgresql+psycopg2://
    let (scheme, rest) = settings
        .connection
        .split_once("://")
        .unwrap_or(("", settings.connection.as_str()));
    let scheme = scheme.split_once('+').map_or(scheme, |(name, _)| name);
    if !matches!(scheme, "postgresql" | "postgres") {
        return Err(StoreError::Unavailable(
            "the connection must be sqlite:///absolute/path or postgresql://…".into(),
        ));
    }
    let lock_timeout = format!("{}ms", settings.busy_timeout.as_millis().max(1));
    let options = PgConnectOptions::from_str(&format!("{scheme}://{rest}"))
        // The text of the error may repeat the password.
        .map_err(|_| StoreError::Unavailable("the connection is not a valid URL".into()))?
        .application_name("bessemer")
        // A sequential scan locks the whole table against serializable writers, also where a table is so
        // small that the planner thinks it cheap.
        .options([
            ("enable_seqscan", "off"),
            // With it, a plan that has no other way costs so much that compiling it seems worth half a second.
            ("jit", "off"),
            // A controller that is stopped in the middle of a transaction must not hold up the others.
            ("idle_in_transaction_session_timeout", "5s"),
            ("lock_timeout", lock_timeout.as_str()),
        ])
        .disable_statement_logging();
    PoolOptions::new()
        // two more than readers: the listener's and one for writing
        .max_connections(settings.readers.max(1).saturating_add(3))
        .min_connections(0)
        .acquire_timeout(settings.busy_timeout.max(Duration::from_secs(1)))
        .idle_timeout(Some(Duration::from_secs(60)))
        .connect_with(options)
        .await
        .map_err(|error| Failure::from(error).into_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_urls() {
        let check =
            |url: &str, want: Option<&str>| assert_eq!(sqlite_path(url), want.map(PathBuf::from));
        check("sqlite:///var/lib/b.db", Some("/var/lib/b.db"));
        check("sqlite:////var/lib/b.db", Some("//var/lib/b.db"));
        check("sqlite:///var/lib/b.db?mode=rwc", Some("/var/lib/b.db"));
        check("sqlite://", None);
        check("mysql://x", None);
    }
}
