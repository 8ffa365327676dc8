//! A backup while the service runs: every table as it was at one moment.
//!
//! All rows are read in one transaction that sees one moment: SQLite's in write-ahead mode, PostgreSQL's REPEATABLE READ.
//! Writers are not held up by it.

use std::path::Path;

use super::file::{Description, Writer};
use super::schema::{self, Table};
use super::{Outside, StoreError};
use crate::Settings;
use crate::failure::Failure;
use crate::sql::{Connection, Value};

/// Rows that are read at once: a row with an inventory may have megabytes.
const AT_ONCE: u32 = 200;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    pub description: Description,
    pub tables: usize,
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes a backup of the database to a file that only its owner may read. Until it is whole it has another name.
///
/// # Errors
/// [`StoreError::Backup`] when the file exists (unless `overwrite`) or cannot be written; the database's own errors.
pub async fn backup(
    settings: &Settings,
    path: &Path,
    overwrite: bool,
) -> Result<BackedUp, StoreError> {
    let mut outside = Outside::open(settings, true).await?;
    let engine = outside.engine();
    let written = write(&mut outside.connection, engine, path, overwrite).await;
    // it was only read
    outside.roll_back().await?;
    written
}

async fn write(
    connection: &mut Connection,
    engine: &str,
    path: &Path,
    overwrite: bool,
) -> Result<BackedUp, StoreError> {
    // the first statement fixes the moment
    let schema = schema::applied(connection).await?;
    let created_at = connection.clock().await?;
    if schema.is_empty() {
        return Err(StoreError::Backup(
            "there is nothing to back up: the database has no schema; check [database] connection and \
             [DEFAULT] state_path"
                .into(),
        ));
    }
    let known = schema::migrations(connection.is_postgres());
    if let Some(unknown) = schema.iter().find(|v| known.iter().all(|k| k.0 != **v)) {
        return Err(crate::db::newer(*unknown));
    }
    let description = Description {
        engine: engine.to_owned(),
        schema,
        created_at,
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut writer = Writer::create(path, overwrite, &description)?;
    let tables = schema::tables(connection).await?;
    for table in &tables {
        writer.table(table)?;
        rows(connection, table, &mut writer).await?;
    }
    let (rows, bytes) = writer.finish()?;
    Ok(BackedUp {
        description,
        tables: tables.len(),
        rows,
        bytes,
    })
}

async fn rows(
    connection: &mut Connection,
    table: &Table,
    writer: &mut Writer,
) -> Result<(), StoreError> {
    let names: Vec<_> = table
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let Some(key) = names.first() else {
        return Ok(());
    };
    let mut last: Option<Value> = None;
    loop {
        let (behind, args) = match last.take() {
            None => (String::new(), Vec::new()),
            Some(value) => (format!(" WHERE {key} > $1"), vec![value]),
        };
        let sql = format!(
            "SELECT {} FROM {}{behind} ORDER BY {key} LIMIT {AT_ONCE}",
            names.join(", "),
            table.name
        );
        let page: Vec<Vec<Value>> = connection
            .rows(sql, args, |row| {
                table
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(index, (_, kind))| row.value(index, *kind))
                    .collect::<Result<Vec<_>, Failure>>()
            })
            .await?;
        let full = page.len() == AT_ONCE as usize;
        for row in &page {
            writer.row(row)?;
        }
        last = page.last().and_then(|row| row.first()).cloned();
        if !full || last.is_none() {
            return Ok(());
        }
    }
}
