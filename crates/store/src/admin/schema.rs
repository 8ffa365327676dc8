//! Which migrations a database has, and which tables with which columns.

use std::borrow::Cow;

use sqlx::AssertSqlSafe;
use sqlx::migrate::Migration;

use crate::StoreError;
use crate::db::{POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS, another_line, migration, newer};
use crate::failure::Failure;
use crate::sql::{Connection, Inner, Kind, args};

/// A migration: version, description, text.
pub(crate) type Row = (i64, &'static str, &'static str);

pub(crate) fn migrations(postgres: bool) -> &'static [Row] {
    if postgres {
        POSTGRES_MIGRATIONS
    } else {
        SQLITE_MIGRATIONS
    }
}

/// A table with its columns in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// The first is the primary key.
    pub(crate) columns: Vec<(String, Kind)>,
}

/// Versions that were applied, in order; none when there is no schema at all.
pub(crate) async fn applied(connection: &mut Connection) -> Result<Vec<i64>, Failure> {
    let there = if connection.is_postgres() {
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() \
         AND table_name = '_sqlx_migrations'"
    } else {
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'"
    };
    let count: Option<i64> = connection.row(there, Vec::new(), |row| row.get(0)).await?;
    if count.unwrap_or(0) == 0 {
        return Ok(Vec::new());
    }
    connection
        .rows(
            "SELECT version FROM _sqlx_migrations ORDER BY version",
            Vec::new(),
            |row| row.get(0),
        )
        .await
}

/// Names of the tables in the order in which migrations create them, so that what is referred to comes first.
pub(crate) fn creation_order(migrations: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for line in migrations.iter().flat_map(|(_, _, sql)| sql.lines()) {
        let words: Vec<&'static str> = line
            .split([' ', '(', ';'])
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, ..]
            | ["CREATE", "TABLE", name, ..]
                if !names.contains(name) =>
            {
                names.push(name);
            }
            ["DROP", "TABLE", name, ..] => names.retain(|known| known != name),
            ["ALTER", "TABLE", from, "RENAME", "TO", to, ..] => {
                for name in names.iter_mut().filter(|name| *name == from) {
                    *name = to;
                }
            }
            _ => {}
        }
    }
    names
}

fn kind(declared: &str) -> Option<Kind> {
    Some(match declared.to_ascii_lowercase().as_str() {
        "integer" | "bigint" => Kind::Int,
        "boolean" => Kind::Bool,
        "text" => Kind::Text,
        "blob" | "bytea" => Kind::Bytes,
        _ => return None,
    })
}

/// The tables of ours that are there, in the order of their creation.
pub(crate) async fn tables(connection: &mut Connection) -> Result<Vec<Table>, Failure> {
    let postgres = connection.is_postgres();
    let sql = if postgres {
        "SELECT column_name::text, data_type::text FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
    } else {
        "SELECT name, type FROM pragma_table_info($1) ORDER BY cid"
    };
    let mut tables = Vec::new();
    for name in creation_order(migrations(postgres)) {
        let columns: Vec<(String, String)> = connection
            .rows(sql, args![name], |row| Ok((row.get(0)?, row.get(1)?)))
            .await?;
        if columns.is_empty() {
            continue;
        }
        let columns = columns
            .into_iter()
            .map(|(column, declared)| match kind(&declared) {
                Some(kind) => Ok((column, kind)),
                None => Err(StoreError::Internal(format!(
                    "column {name}.{column} is of a type that is not known here: {declared}"
                ))),
            })
            .collect::<Result<_, _>>()?;
        tables.push(Table {
            name: name.to_owned(),
            columns,
        });
    }
    Ok(tables)
}

/// Runs a text of several statements.
pub(crate) async fn run(
    connection: &mut Connection,
    sql: impl Into<Cow<'static, str>>,
) -> Result<(), Failure> {
    let sql = sql.into();
    match &mut connection.inner {
        Inner::Sqlite(c) => c.execute_batch(&sql)?,
        Inner::Postgres(c) => {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **c).await?;
        }
        Inner::SqliteReader(_) | Inner::PostgresReader(_) => {
            return Err(StoreError::Internal("a reader was asked to write".into()).into());
        }
    }
    Ok(())
}

/// The migrator's own table, as sqlx makes it. It may be there and empty, of a program that was killed before its first migration.
pub(crate) fn migrations_table(postgres: bool) -> String {
    let (time, bytes) = if postgres {
        ("TIMESTAMPTZ NOT NULL DEFAULT now()", "BYTEA")
    } else {
        ("TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP", "BLOB")
    };
    format!(
        "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
         installed_on {time}, success BOOLEAN NOT NULL, checksum {bytes} NOT NULL, \
         execution_time BIGINT NOT NULL)"
    )
}

/// Brings SQLite's schema to this program's version, whole or not at all.
///
/// # Errors
/// [`StoreError::Schema`] when it was made by a newer program, or a migration that it has is not the one known here.
pub(crate) async fn upgrade_sqlite(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute("BEGIN IMMEDIATE", Vec::new()).await?;
    match apply_missing(connection).await {
        Ok(()) => {
            connection.execute("COMMIT", Vec::new()).await?;
            Ok(())
        }
        Err(failure) => {
            // Fails when the engine has rolled back by itself, which is as good.
            let _ = connection.execute("ROLLBACK", Vec::new()).await;
            Err(failure.into_error())
        }
    }
}

/// Refuses a schema with migrations that this program does not know.
pub(crate) fn refuse_newer(applied: &[i64], known: &[Row]) -> Result<(), StoreError> {
    match applied.iter().find(|v| known.iter().all(|k| k.0 != **v)) {
        Some(unknown) => Err(newer(*unknown)),
        None => Ok(()),
    }
}

async fn apply_missing(connection: &mut Connection) -> Result<(), Failure> {
    let applied = applied(connection).await?;
    refuse_newer(&applied, SQLITE_MIGRATIONS)?;
    if applied.is_empty() {
        run(connection, migrations_table(false)).await?;
    }
    for row in SQLITE_MIGRATIONS {
        if !applied.contains(&row.0) {
            migrate(connection, row).await?;
            continue;
        }
        let recorded: Option<Vec<u8>> = connection
            .row(
                "SELECT checksum FROM _sqlx_migrations WHERE version = $1",
                args![row.0],
                |row| row.get(0),
            )
            .await?;
        if recorded.as_deref() != Some(&*migration(row).checksum) {
            return Err(another_line(row.0).into());
        }
    }
    Ok(())
}

/// Runs one migration within the transaction that is open, and records it.
pub(crate) async fn migrate(connection: &mut Connection, row: &Row) -> Result<(), Failure> {
    let Migration {
        version,
        description,
        checksum,
        ..
    } = migration(row);
    run(connection, row.2).await?;
    connection
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ($1, $2, $3, $4, 0)",
            args![version, description.as_ref(), true, checksum.into_owned()],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_after_what_they_refer_to() {
        for postgres in [false, true] {
            let order = creation_order(migrations(postgres));
            let at = |name| order.iter().position(|known| *known == name);
            assert!(at("chassis") < at("node") && at("node") < at("node_document"));
            assert!(at("operation") < at("signal") && at("node") < at("portgroup"));
            assert!(at("node_document_by_row_id").is_none());
            assert!(order.len() > 20, "{order:?}");
        }
    }
}
