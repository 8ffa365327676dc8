//! Databases as earlier versions left them: made once per schema version and kept as text.

use std::path::Path;
use std::process::Command;

use crate::admin::file::{Line, Reader};
use crate::admin::schema::{self, Row};
use crate::admin::{Outside, backup};
use crate::sql::{ToValue, Value, placeholders};
use crate::{Settings, Store, StoreError};

/// Writes `sqlite-<version>.sql` and `postgres-<version>.sql` for these versions into a directory: the migrations up to
/// each, with the rows of a populated database as far as their tables and columns are there.
///
/// # Errors
/// The store's, or what `sqlite3` and `pg_dump` say.
pub async fn write_fixtures(directory: &Path, versions: &[i64]) -> Result<(), StoreError> {
    let populated = super::sqlite();
    let store = Store::open(&populated.settings).await?;
    super::populate(&store).await?;
    store.close().await;
    let file = directory.join("populated.backup");
    backup(&populated.settings, &file, true).await?;
    for version in versions {
        for database in super::databases().await {
            fill(&database.settings, &file, *version).await?;
            let engine = if database.name == "sqlite" {
                "sqlite"
            } else {
                "postgres"
            };
            let text = dump(&database.settings)?;
            let path = directory.join(format!("{engine}-{version:04}.sql"));
            std::fs::write(&path, text)
                .map_err(|error| StoreError::Backup(format!("{}: {error}", path.display())))?;
        }
    }
    std::fs::remove_file(&file).map_err(|error| StoreError::Backup(error.to_string()))
}

async fn fill(settings: &Settings, file: &Path, version: i64) -> Result<(), StoreError> {
    let mut outside = Outside::open(settings, false).await?;
    let connection = &mut outside.connection;
    let postgres = connection.is_postgres();
    schema::run(connection, schema::migrations_table(postgres)).await?;
    let known: Vec<&Row> = schema::migrations(postgres)
        .iter()
        .filter(|row| row.0 <= version)
        .collect();
    for row in known {
        schema::migrate(connection, row).await?;
    }
    let there = schema::tables(connection).await?;
    let mut reader = Reader::open(file)?;
    let mut insert: Option<(String, Vec<usize>)> = None;
    loop {
        match reader.next()? {
            Line::End => break,
            Line::Table(table) => {
                insert = there.iter().find(|t| t.name == table.name).map(|known| {
                    let kept: Vec<usize> = table
                        .columns
                        .iter()
                        .enumerate()
                        .filter(|(_, column)| known.columns.contains(column))
                        .map(|(index, _)| index)
                        .collect();
                    let names: Vec<&str> = kept
                        .iter()
                        .filter_map(|index| table.columns.get(*index))
                        .map(|(name, _)| name.as_str())
                        .collect();
                    let sql = format!(
                        "INSERT INTO {} ({}) VALUES ({})",
                        table.name,
                        names.join(", "),
                        placeholders(1, names.len())
                    );
                    (sql, kept)
                });
            }
            Line::Row(values) => {
                if let Some((sql, kept)) = &insert {
                    let values: Vec<Value> = kept
                        .iter()
                        .filter_map(|index| values.get(*index).cloned())
                        .collect();
                    connection.execute(sql.clone(), values).await?;
                }
            }
        }
    }
    if !there.iter().any(|table| table.name == "portgroup") {
        connection
            .execute("UPDATE port SET portgroup = NULL", Vec::new())
            .await?;
    }
    if postgres {
        for table in &there {
            if table.columns.iter().any(|(name, _)| name == "id") {
                let sql = format!(
                    "SELECT setval(pg_get_serial_sequence('{0}', 'id'), COALESCE(MAX(id), 0) + 1, false) FROM {0}",
                    table.name
                );
                schema::run(connection, sql).await?;
            }
        }
    } else {
        // a moment that does not depend on when the fixture was made
        connection
            .execute(
                "UPDATE _sqlx_migrations SET installed_on = $1",
                vec!["2026-11-25 00:00:00".to_value()],
            )
            .await?;
    }
    outside.commit().await
}

fn dump(settings: &Settings) -> Result<String, StoreError> {
    let mut command = match settings.connection.strip_prefix("sqlite://") {
        Some(path) => {
            let mut command = Command::new("sqlite3");
            command.args([path, ".dump"]);
            command
        }
        None => {
            let mut command = Command::new("pg_dump");
            command.args([
                "--inserts",
                "--no-owner",
                "--no-privileges",
                "--no-comments",
            ]);
            command.arg(format!("--dbname={}", settings.connection));
            command
        }
    };
    let output = command
        .output()
        .map_err(|error| StoreError::Backup(format!("{command:?}: {error}")))?;
    if !output.status.success() {
        return Err(StoreError::Backup(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Session settings and psql's own commands differ between versions of the server and say nothing of the data.
    let kept = text.lines().filter(|line| {
        !(line.starts_with("SET ")
            || line.starts_with('\\')
            || line.starts_with("SELECT pg_catalog.set_config")
            || line.starts_with("--")
            || line.is_empty())
    });
    let mut out = String::new();
    for line in kept {
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}
