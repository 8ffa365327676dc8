//! A thin layer over rusqlite and sqlx, so that one SQL text with `$1` placeholders serves both engines.
//!
//! Values are typed also when they are null, because PostgreSQL wants to know. Nothing here knows a table.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bessemer_model::provision::ProvisionState;
use bessemer_model::{
    AllocationId, AllocationState, ChassisId, DeployTemplateId, HistoryId, InspectionRuleId,
    MacAddress, NodeHealthFault, NodeId, Object, OperationId, PortId, PortgroupId, PowerState,
    RunbookId, RunbookStep, SessionId, TemplateStep, Timestamp, VolumeConnectorId, VolumeTargetId,
};
use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _, Transaction};

use crate::failure::Failure;
use crate::outbox::Telling;
use crate::reader::{self, OwnedRow, Readers};
use crate::secrets::Keys;
use crate::{BootKind, OperationStatus, SignalKind, StoreError, TimelineSource};

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Bool,
    Text,
    Bytes,
}

/// A value on its way in or out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null(Kind),
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// Can be an argument of a statement.
pub(crate) trait ToValue {
    const KIND: Kind;
    fn to_value(&self) -> Value;
}

/// Can be read from a column; `None` when the column holds something else.
pub(crate) trait FromValue: ToValue + Sized {
    fn from_value(value: Value) -> Option<Self>;
}

impl<T: ToValue + ?Sized> ToValue for &T {
    const KIND: Kind = T::KIND;
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    const KIND: Kind = T::KIND;
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null(T::KIND), T::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null(_) => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl ToValue for str {
    const KIND: Kind = Kind::Text;
    /// PostgreSQL cannot store U+0000 in text; both engines store the replacement character instead,
    /// so that a device's odd answer never loses an outcome.
    fn to_value(&self) -> Value {
        Value::Text(if self.contains('\0') {
            self.replace('\0', "\u{fffd}")
        } else {
            self.to_owned()
        })
    }
}

impl ToValue for String {
    const KIND: Kind = Kind::Text;
    fn to_value(&self) -> Value {
        self.as_str().to_value()
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! columns {
    ($($type:ty, $kind:ident, |$this:ident| $to:expr, |$inner:ident| $from:expr;)*) => {$(
        impl ToValue for $type {
            const KIND: Kind = Kind::$kind;
            fn to_value(&self) -> Value {
                let $this = self;
                Value::$kind($to)
            }
        }
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$kind($inner) => $from,
                    _ => None,
                }
            }
        }
    )*};
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Serialising maps with string keys cannot fail.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

columns! {
    i64, Int, |v| *v, |v| Some(v);
    i32, Int, |v| i64::from(*v), |v| i32::try_from(v).ok();
    u32, Int, |v| i64::from(*v), |v| u32::try_from(v).ok();
    bool, Bool, |v| *v, |v| Some(v);
    Vec<u8>, Bytes, |v| v.clone(), |v| Some(v);
    Timestamp, Int, |v| v.0, |v| Some(Self(v));
    NodeId, Text, |v| v.to_string(), |v| v.parse().ok();
    PortId, Text, |v| v.to_string(), |v| v.parse().ok();
    ChassisId, Text, |v| v.to_string(), |v| v.parse().ok();
    OperationId, Text, |v| v.to_string(), |v| v.parse().ok();
    SessionId, Text, |v| v.to_string(), |v| v.parse().ok();
    PortgroupId, Text, |v| v.to_string(), |v| v.parse().ok();
    VolumeConnectorId, Text, |v| v.to_string(), |v| v.parse().ok();
    VolumeTargetId, Text, |v| v.to_string(), |v| v.parse().ok();
    HistoryId, Text, |v| v.to_string(), |v| v.parse().ok();
    AllocationId, Text, |v| v.to_string(), |v| v.parse().ok();
    DeployTemplateId, Text, |v| v.to_string(), |v| v.parse().ok();
    RunbookId, Text, |v| v.to_string(), |v| v.parse().ok();
    InspectionRuleId, Text, |v| v.to_string(), |v| v.parse().ok();
    uuid::Uuid, Text, |v| v.to_string(), |v| v.parse().ok();
    MacAddress, Text, |v| v.to_string(), |v| v.parse().ok();
    Object, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    serde_json::Value, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    Vec<String>, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    Vec<serde_json::Value>, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    Vec<TemplateStep>, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    Vec<RunbookStep>, Text, |v| json(v), |v| serde_json::from_str(&v).ok();
    AllocationState, Text, |v| v.as_str().to_owned(), |v| Self::parse(&v);
    PowerState, Text, |v| v.as_str().to_owned(), |v| Self::parse(&v);
    ProvisionState, Text, |v| v.as_str().to_owned(), |v| Self::parse(&v);
    NodeHealthFault, Text, |v| v.as_str().to_owned(), |v| Self::parse(&v);
    OperationStatus, Text, |v| v.as_str().to_owned(), |v| Self::ALL.into_iter().find(|s| s.as_str() == v);
    SignalKind, Text, |v| v.as_str().to_owned(), |v| Self::ALL.into_iter().find(|s| s.as_str() == v);
    TimelineSource, Text, |v| v.as_str().to_owned(), |v| Self::ALL.into_iter().find(|s| s.as_str() == v);
    BootKind, Text, |v| v.as_str().to_owned(), |v| [Self::Ramdisk, Self::VirtualMedia, Self::Local].into_iter().find(|s| s.as_str() == v);
    std::net::Ipv4Addr, Int, |v| i64::from(u32::from(*v)), |v| u32::try_from(v).ok().map(Self::from);
}

/// Arguments of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::ToValue::to_value(&$value)),*] };
}
pub(crate) use args;

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(OwnedRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of column `index`, which the caller knows to be of this kind.
    pub(crate) fn value(&self, index: usize, kind: Kind) -> Result<Value, Failure> {
        macro_rules! get {
            ($type:ty, $variant:ident) => {
                match self {
                    Self::Sqlite(row) => {
                        return row.get(index).map_or_else(
                            || {
                                Err(StoreError::Internal(format!(
                                    "an answer has no column {index}"
                                ))
                                .into())
                            },
                            |value| reader::value_of(value, kind),
                        );
                    }
                    Self::Postgres(row) => row.try_get::<Option<$type>, _>(index),
                }
                .map(|v| v.map_or(Value::Null(kind), Value::$variant))
            };
        }
        Ok(match kind {
            Kind::Int => get!(i64, Int),
            Kind::Bool => get!(bool, Bool),
            Kind::Text => get!(String, Text),
            Kind::Bytes => get!(Vec<u8>, Bytes),
        }?)
    }

    pub(crate) fn get<T: FromValue>(&self, index: usize) -> Result<T, Failure> {
        T::from_value(self.value(index, T::KIND)?).ok_or_else(|| {
            Failure::Store(StoreError::Internal(format!(
                "column {index} of an answer does not hold a {}",
                std::any::type_name::<T>()
            )))
        })
    }

    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { row: self, next: 0 }
    }
}

/// Reads the columns of a row from left to right.
pub(crate) struct Cursor<'r> {
    row: &'r Row,
    next: usize,
}

impl Cursor<'_> {
    pub(crate) fn take<T: FromValue>(&mut self) -> Result<T, Failure> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }
}

/// A value that is still the database's own memory, or the driver's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Int(i64),
    Bool(bool),
    Text(&'r str),
    Bytes(&'r [u8]),
}

/// One row of an answer while its statement runs.
pub(crate) enum RowRef<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r PgRow),
}

impl<'r> RowRef<'r> {
    /// The value of column `index`, which the caller knows to be of this kind.
    pub(crate) fn cell(&self, index: usize, kind: Kind) -> Result<Cell<'r>, Failure> {
        match self {
            Self::Sqlite(row) => reader::cell_of(row.get_ref(index)?, kind),
            Self::Postgres(row) => Ok(match kind {
                Kind::Int => row.try_get::<Option<i64>, _>(index)?.map(Cell::Int),
                Kind::Bool => row.try_get::<Option<bool>, _>(index)?.map(Cell::Bool),
                Kind::Text => row.try_get::<Option<&str>, _>(index)?.map(Cell::Text),
                Kind::Bytes => row.try_get::<Option<&[u8]>, _>(index)?.map(Cell::Bytes),
            }
            .unwrap_or(Cell::Null)),
        }
    }
}

/// A connection for reading, or one with a write transaction open on it.
pub(crate) struct Connection {
    pub(crate) inner: Inner,
    /// Statements run so far by the whole store.
    pub(crate) statements: Arc<AtomicU64>,
    /// What secrets of nodes are read and written with.
    pub(crate) keys: Arc<Keys>,
    /// What the command that runs on it tells others.
    pub(crate) telling: Option<Telling>,
}

pub(crate) enum Inner {
    /// The writer's, and those of commands: their statements run where they are called, and nothing is waited for.
    Sqlite(rusqlite::Connection),
    SqliteReader(Arc<Readers>),
    Postgres(Transaction<'static, Postgres>),
    PostgresReader(PoolConnection<Postgres>),
}

enum Engine<'c> {
    Sqlite(&'c rusqlite::Connection),
    SqliteReader(&'c Readers),
    Postgres(&'c mut PgConnection),
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<Postgres>(AssertSqlSafe($sql));
        for value in $args {
            query = match value {
                Value::Null(Kind::Int) => query.bind(None::<i64>),
                Value::Null(Kind::Bool) => query.bind(None::<bool>),
                Value::Null(Kind::Text) => query.bind(None::<String>),
                Value::Null(Kind::Bytes) => query.bind(None::<Vec<u8>>),
                Value::Int(v) => query.bind(v),
                Value::Bool(v) => query.bind(v),
                Value::Text(v) => query.bind(v),
                Value::Bytes(v) => query.bind(v),
            };
        }
        query
    }};
}

impl Connection {
    fn engine(&mut self) -> Engine<'_> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        match &mut self.inner {
            Inner::Sqlite(c) => Engine::Sqlite(c),
            Inner::SqliteReader(readers) => Engine::SqliteReader(readers),
            Inner::Postgres(c) => Engine::Postgres(c),
            Inner::PostgresReader(c) => Engine::Postgres(c),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.inner, Inner::Postgres(_) | Inner::PostgresReader(_))
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
    ) -> Result<u64, Failure> {
        let sql: Cow<'static, str> = sql.into();
        Ok(match self.engine() {
            Engine::Sqlite(c) => {
                reader::each(c, &sql, &args, |_| Ok(ControlFlow::Continue(())))?;
                c.changes()
            }
            Engine::SqliteReader(_) => {
                return Err(StoreError::Internal("a reader was asked to write".into()).into());
            }
            Engine::Postgres(c) => bound!(sql, args).execute(c).await?.rows_affected(),
        })
    }

    /// The rows of an answer, each read as it comes.
    pub(crate) async fn rows<T>(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
        mut read: impl FnMut(&Row) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let sql: Cow<'static, str> = sql.into();
        let mut out = Vec::new();
        match self.engine() {
            Engine::Sqlite(c) => {
                reader::each(c, &sql, &args, |row| {
                    out.push(read(&Row::Sqlite(reader::owned_row(row)?))?);
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Engine::SqliteReader(readers) => {
                for row in readers.rows(sql, args).await? {
                    out.push(read(&Row::Sqlite(row))?);
                }
            }
            Engine::Postgres(c) => {
                let mut rows = bound!(sql, args).fetch(c);
                while let Some(row) = rows.try_next().await? {
                    out.push(read(&Row::Postgres(row))?);
                }
            }
        }
        Ok(out)
    }

    /// Hands every row of an answer to `row` while the statement runs, until it breaks off: on SQLite on a
    /// reader's thread. Gives back the state that `row` has worked on, and how many rows it has had.
    pub(crate) async fn each<S, F>(
        &mut self,
        sql: String,
        args: Vec<Value>,
        mut state: S,
        mut row: F,
    ) -> Result<(S, u32), Failure>
    where
        S: Send + 'static,
        F: FnMut(&mut S, RowRef<'_>) -> Result<ControlFlow<()>, Failure> + Send + 'static,
    {
        match self.engine() {
            Engine::SqliteReader(readers) => {
                readers
                    .run(move |connection| {
                        let mut count = 0u32;
                        reader::each(connection, &sql, &args, |found| {
                            count = count.saturating_add(1);
                            row(&mut state, RowRef::Sqlite(found))
                        })?;
                        Ok((state, count))
                    })
                    .await
            }
            Engine::Postgres(c) => {
                let mut count = 0u32;
                let mut rows = bound!(sql, args).fetch(c);
                while let Some(found) = rows.try_next().await? {
                    count = count.saturating_add(1);
                    if row(&mut state, RowRef::Postgres(&found))?.is_break() {
                        break;
                    }
                }
                drop(rows);
                Ok((state, count))
            }
            Engine::Sqlite(_) => {
                Err(StoreError::Internal("a list was read inside of a command".into()).into())
            }
        }
    }

    /// The first row of an answer that has at most one.
    pub(crate) async fn row<T>(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
        read: impl FnMut(&Row) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        Ok(self.rows(sql, args, read).await?.into_iter().next())
    }

    /// The one clock that sessions expire by: the database's, where several controllers share it.
    pub(crate) async fn clock(&mut self) -> Result<Timestamp, Failure> {
        if !self.is_postgres() {
            return Ok(Timestamp::now());
        }
        let now = self
            .row(
                "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
                Vec::new(),
                |row| row.get(0),
            )
            .await?;
        Ok(now.unwrap_or_else(Timestamp::now))
    }
}

/// `$1, $2, …` for `count` values, the first of them numbered `first`.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let mut out = String::new();
    for n in first..first + count {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push('$');
        out.push_str(&n.to_string());
    }
    out
}

/// `INSERT INTO table (…) VALUES (…)` of all `columns`.
pub(crate) fn insert_into(table: &str, columns: &[&str]) -> String {
    format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        columns.join(", "),
        placeholders(1, columns.len())
    )
}

/// Writes all `columns`, the first of which is `uuid`, of the row that has that uuid.
pub(crate) fn update_by_uuid(table: &str, columns: &[&str]) -> String {
    let set: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{column} = ${}", index + 1))
        .collect();
    format!("UPDATE {table} SET {} WHERE uuid = $1", set.join(", "))
}

/// The columns of a table whose rows are read and written whole: names, how a row is read, its values.
macro_rules! whole_rows {
    ($type:ident { $($field:ident $column:literal),* $(,)? }) => {
        const COLUMNS: &[&str] = &[$($column),*];

        fn read(row: &$crate::sql::Row) -> Result<$type, $crate::failure::Failure> {
            let mut cursor = row.cursor();
            Ok($type { $($field: cursor.take()?),* })
        }

        fn values(row: &$type) -> Vec<$crate::sql::Value> {
            vec![$($crate::sql::ToValue::to_value(&row.$field)),*]
        }
    };
}
pub(crate) use whole_rows;
