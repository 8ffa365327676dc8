//! A database back from a backup, whole or not at all.
//!
//! Everything happens in one transaction: the tables go, the migrations that the backup had make them anew, the rows come,
//! the later migrations run. Then the past is taken out of what the rows say: no session is alive, no operation is held,
//! every fence is raised above all that was ever given, waits get as much time as they had left, and of operations that
//! were open it is stored that nobody knows how far their device has come since (`operation.restored_at`); the conductor
//! looks there before it acts. Recorded power states are forgotten: taken for wishes, they would switch off instances
//! that were deployed since.

use std::path::Path;

use bessemer_model::Timestamp;

use super::file::{Description, Line, Reader};
use super::schema::{self, Table};
use super::{Outside, StoreError};
use crate::Settings;
use crate::failure::Failure;
use crate::sql::{Connection, Value, args, placeholders};

/// Added to every fence: more claims than this between a backup and its restore there are not.
const FENCES: i64 = 1 << 32;

/// Values of one statement; PostgreSQL takes 65,535, SQLite 32,766.
const VALUES: usize = 20_000;

#[derive(Debug, Clone, Copy, Default)]
pub struct RestoreOptions {
    /// Also while conductors seem to be alive, and over the database of a newer version.
    pub force: bool,
    /// Nodes that could be deployed go to maintenance: what they run since the backup is not known.
    pub hold_available: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub backup: Description,
    pub restored_at: Timestamp,
    pub rows: u64,
    pub nodes: u64,
    /// Operations that were open; they go on, after a look.
    pub open_operations: u64,
    /// Nodes that are `available`, and were put into maintenance if that was asked for.
    pub available: u64,
}

/// Replaces what is in the database by the backup. The database is made when it is not there.
///
/// # Errors
/// [`StoreError::Backup`] when the file is no backup, damaged, or of a newer version, or when a conductor is alive; the
/// database's own errors. The database is then as it was.
pub async fn restore(
    settings: &Settings,
    path: &Path,
    options: RestoreOptions,
) -> Result<Restored, StoreError> {
    let mut reader = Reader::open(path)?;
    let mut outside = Outside::open(settings, false).await?;
    let restored = replace(&mut outside.connection, &mut reader, path, options).await;
    match restored {
        Ok(restored) => {
            outside.commit().await?;
            Ok(restored)
        }
        Err(failure) => {
            // what is not committed never was
            let _ = outside.roll_back().await;
            Err(failure.into_error())
        }
    }
}

async fn replace(
    connection: &mut Connection,
    reader: &mut Reader,
    path: &Path,
    options: RestoreOptions,
) -> Result<Restored, Failure> {
    let postgres = connection.is_postgres();
    let known = schema::migrations(postgres);
    let backup = reader.description.clone();
    if let Some(unknown) = backup
        .schema
        .iter()
        .find(|v| known.iter().all(|k| k.0 != **v))
    {
        return Err(StoreError::Backup(format!(
            "{} cannot be restored by this version: it has schema version {unknown} (made by version {}), and this \
             program knows {}; use that version or a newer one",
            path.display(),
            backup.program,
            known.last().map_or(0, |k| k.0)
        ))
        .into());
    }
    refuse_in_use(connection, options.force).await?;
    drop_tables(connection).await?;
    schema::run(connection, schema::migrations_table(postgres)).await?;
    let (had, later): (Vec<_>, Vec<_>) =
        known.iter().partition(|row| backup.schema.contains(&row.0));
    for row in had {
        schema::migrate(connection, row).await?;
    }
    let rows = insert(connection, reader).await?;
    for row in later {
        schema::migrate(connection, row).await?;
    }
    if postgres {
        raise_sequences(connection).await?;
    }
    let now = connection.clock().await?;
    let mut restored = forget_the_past(connection, &backup, now, options).await?;
    restored.rows = rows;
    Ok(restored)
}

/// Refuses a database that somebody works with.
async fn refuse_in_use(connection: &mut Connection, force: bool) -> Result<(), Failure> {
    let applied = schema::applied(connection).await?;
    if applied.is_empty() || force {
        return Ok(());
    }
    let known = schema::migrations(connection.is_postgres());
    if let Some(unknown) = applied.iter().find(|v| known.iter().all(|k| k.0 != **v)) {
        return Err(StoreError::Backup(format!(
            "the database has schema version {unknown} of a newer version, and a restore would replace it; say --force if \
             that is wanted"
        ))
        .into());
    }
    let clock = connection.clock().await?;
    let alive: Vec<(String, Timestamp)> = connection
        .rows(
            "SELECT hostname, expires_at FROM session WHERE ended = $1 AND expires_at > $2 ORDER BY hostname",
            args![false, clock],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await?;
    if alive.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = alive.iter().map(|(host, _)| host.as_str()).collect();
    let last = alive.iter().map(|(_, at)| *at).max().unwrap_or(clock);
    Err(StoreError::Backup(format!(
        "the database is in use: conductor {} is alive. Stop it first (a killed one is over in {} s), or say --force",
        names.join(", "),
        last.since(clock).as_secs() + 1
    ))
    .into())
}

/// Of SQLite all tables, since the file is ours; of PostgreSQL ours.
async fn drop_tables(connection: &mut Connection) -> Result<(), Failure> {
    let postgres = connection.is_postgres();
    let sql = if postgres {
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema() \
         AND table_type = 'BASE TABLE'"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    };
    let mut names: Vec<String> = connection.rows(sql, Vec::new(), |row| row.get(0)).await?;
    if postgres {
        let ours = schema::creation_order(schema::migrations(true));
        names.retain(|name| name == "_sqlx_migrations" || ours.contains(&name.as_str()));
    }
    for name in names {
        let quoted = name.replace('"', "\"\"");
        let cascade = if postgres { " CASCADE" } else { "" };
        schema::run(connection, format!("DROP TABLE \"{quoted}\"{cascade}")).await?;
    }
    Ok(())
}

/// Puts the rows of the backup into tables of the same columns; how many there were.
async fn insert(connection: &mut Connection, reader: &mut Reader) -> Result<u64, Failure> {
    let there = schema::tables(connection).await?;
    let mut table: Option<Table> = None;
    let mut waiting: Vec<Value> = Vec::new();
    let mut rows = 0;
    loop {
        let line = reader.next()?;
        match line {
            Line::Row(values) => {
                rows += 1;
                waiting.extend(values);
                if waiting.len() >= VALUES {
                    flush(connection, table.as_ref(), &mut waiting).await?;
                }
            }
            Line::Table(next) => {
                flush(connection, table.as_ref(), &mut waiting).await?;
                let fits = there.iter().any(|known| {
                    known.name == next.name
                        && known.columns.len() == next.columns.len()
                        && next.columns.iter().all(|c| known.columns.contains(c))
                });
                if !fits {
                    return Err(StoreError::Backup(format!(
                        "the backup cannot be restored: its table {} is not that of its schema version",
                        next.name
                    ))
                    .into());
                }
                table = Some(next);
            }
            Line::End => {
                flush(connection, table.as_ref(), &mut waiting).await?;
                return Ok(rows);
            }
        }
    }
}

async fn flush(
    connection: &mut Connection,
    table: Option<&Table>,
    waiting: &mut Vec<Value>,
) -> Result<(), Failure> {
    let (Some(table), false) = (table, waiting.is_empty()) else {
        return Ok(());
    };
    let width = table.columns.len();
    let names: Vec<_> = table
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let rows: Vec<String> = (0..waiting.len() / width)
        .map(|row| format!("({})", placeholders(1 + row * width, width)))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES {}",
        table.name,
        names.join(", "),
        rows.join(", ")
    );
    connection.execute(sql, std::mem::take(waiting)).await?;
    Ok(())
}

/// New rows get numbers behind the restored ones.
async fn raise_sequences(connection: &mut Connection) -> Result<(), Failure> {
    for table in schema::tables(connection).await? {
        let name = &table.name;
        if table.columns.iter().any(|(column, _)| column == "id") {
            schema::run(
                connection,
                format!(
                    "SELECT setval(pg_get_serial_sequence('{name}', 'id'), COALESCE(MAX(id), 0) + 1, false) FROM {name}"
                ),
            )
            .await?;
        }
    }
    Ok(())
}

const OPEN: &str = "status IN ('ready', 'running', 'waiting')";

/// See the module.
async fn forget_the_past(
    connection: &mut Connection,
    backup: &Description,
    now: Timestamp,
    options: RestoreOptions,
) -> Result<Restored, Failure> {
    let made = backup.created_at;
    let away = now.0.saturating_sub(made.0).max(0);
    connection
        .execute(
            "UPDATE session SET ended = $1, expires_at = CASE WHEN expires_at > $2 THEN $2 ELSE expires_at END",
            args![true, made],
        )
        .await?;
    let open_operations = connection
        .execute(
            format!(
                "UPDATE operation SET status = 'ready', owner = NULL, attempt = 0, panics = 0, \
                 fence = fence + $1, wake_at = NULL, deadline_at = deadline_at + $2, restored_at = $3, \
                 reason = $4 WHERE {OPEN}"
            ),
            args![
                FENCES,
                away,
                now,
                "the database was restored from a backup; the node is looked at before anything is done"
            ],
        )
        .await?;
    connection
        .execute(
            "UPDATE operation SET fence = fence + $1, owner = NULL WHERE restored_at IS NULL",
            args![FENCES],
        )
        .await?;
    connection
        .execute(
            format!(
                "UPDATE node SET reservation = NULL, power_state = CASE WHEN power_interface = 'fake' \
                 OR uuid IN (SELECT node FROM operation WHERE {OPEN}) THEN power_state ELSE NULL END"
            ),
            Vec::new(),
        )
        .await?;
    // The sentence of the timeline, whose parts are the same for every node.
    let text = format!(
        "the database was restored from a backup of {made}, {}: what happened to the node in between is not recorded",
        span(away)
    );
    connection
        .execute(
            "INSERT INTO timeline (node, at, source, text) SELECT uuid, $1, 'engine', $2 FROM node",
            args![now, text],
        )
        .await?;
    connection
        .execute(
            format!(
                "INSERT INTO timeline (node, at, source, text) SELECT node, $1, 'engine', \
                 'the ' || flow || ' goes on at phase ' || phase || ', after a look at the node' \
                 FROM operation WHERE {OPEN}"
            ),
            args![now],
        )
        .await?;
    let idle = format!(
        "provision_state = 'available' AND uuid NOT IN (SELECT node FROM operation WHERE {OPEN})"
    );
    let available = if options.hold_available {
        connection
            .execute(
                format!(
                    "UPDATE node SET maintenance = $1, maintenance_reason = $2, updated_at = $3, \
                     revision = revision + 1 WHERE maintenance = $4 AND {idle}"
                ),
                args![
                    true,
                    format!(
                        "The database was restored from a backup of {made}: check that nothing was deployed to this \
                         node since, then end the maintenance."
                    ),
                    now,
                    false
                ],
            )
            .await?
    } else {
        count(
            connection,
            &format!("SELECT COUNT(*) FROM node WHERE {idle}"),
        )
        .await?
    };
    connection
        .execute(
            "INSERT INTO restore (backed_up_at, restored_at) VALUES ($1, $2)",
            args![made, now],
        )
        .await?;
    Ok(Restored {
        backup: backup.clone(),
        restored_at: now,
        rows: 0,
        nodes: count(connection, "SELECT COUNT(*) FROM node").await?,
        open_operations,
        available,
    })
}

async fn count(connection: &mut Connection, sql: &str) -> Result<u64, Failure> {
    let count: Option<i64> = connection
        .row(sql.to_owned(), Vec::new(), |row| row.get(0))
        .await?;
    Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// Microseconds as a reader counts them.
fn span(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        ..120 => format!("{seconds} seconds before"),
        120..7200 => format!("{} minutes before", seconds / 60),
        7200..172_800 => format!("{} hours before", seconds / 3600),
        _ => format!("{} days before", seconds / 86_400),
    }
}
