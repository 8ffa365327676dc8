//! SQLite's readers: a few threads, each with a connection of its own, that run whole statements.
//!
//! A statement's rows never cross threads one by one. Small answers come back together; a list is handed to
//! its consumer on the reader's thread, where the rows are still the database's own memory. The writer is not
//! here (`writer.rs`): readers see the last commit and never wait for it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::StoreError;
use crate::failure::Failure;
use crate::sql::{Cell, Kind, Value};

/// A row that has left its statement.
pub(crate) type OwnedRow = Vec<rusqlite::types::Value>;

/// Statements that each connection keeps compiled.
const STATEMENTS: usize = 64;

/// Handles on the threads. They end when this is closed or dropped, after what they are running.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    /// How long a read waits for its turn.
    patience: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    busy_timeout: Duration,
    queue: Mutex<Queue>,
    ready: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    open: bool,
}

/// Gets the connection, or why there is none.
type Work = Box<dyn FnOnce(Result<&Connection, Failure>) + Send>;

struct Job {
    give_up: Instant,
    work: Work,
}

fn closed() -> Failure {
    Failure::Ended(StoreError::Unavailable("the store is closed".into()))
}

fn too_long() -> Failure {
    Failure::Ended(StoreError::Unavailable(
        "every reader of the database stayed busy for too long".into(),
    ))
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.queue().open = false;
        self.ready.notify_all();
    }

    /// The next job; `None` once the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if !queue.open {
                return None;
            }
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        stable_plans(&connection)?;
        // kibibytes; a reader needs little more than the page that it is on
        connection.pragma_update(None, "cache_size", -1000)?;
        Ok(connection)
    }

    fn run(&self) {
        let mut connection: Option<Connection> = None;
        while let Some(job) = self.next() {
            if job.give_up < Instant::now() {
                (job.work)(Err(too_long()));
                continue;
            }
            if connection.is_none() {
                match self.connect() {
                    Ok(opened) => connection = Some(opened),
                    Err(failure) => {
                        (job.work)(Err(failure));
                        continue;
                    }
                }
            }
            if let Some(connection) = &connection {
                // A consumer that panics loses its own answer and nobody else's.
                let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    (job.work)(Ok(connection));
                }));
                if ran.is_err() {
                    tracing::error!("BUG: the consumer of a list panicked; its request is refused");
                }
            }
        }
    }
}

impl Readers {
    pub(crate) fn start(
        path: PathBuf,
        count: u32,
        busy_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            path,
            busy_timeout,
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                open: true,
            }),
            ready: Condvar::new(),
        });
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("reader-{number}"))
                .spawn(move || shared.run())
                .map_err(|error| {
                    StoreError::Unavailable(format!("a thread for reading cannot start: {error}"))
                })?;
            threads.push(thread);
        }
        Ok(Self {
            shared,
            patience: busy_timeout.max(Duration::from_secs(1)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs a function on a reader's thread. It is not run at all when the caller has gone away before.
    pub(crate) async fn run<T, F>(&self, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            if !answer.is_closed() {
                // Who went away meanwhile does not want to know.
                let _ = answer.send(connection.and_then(read));
            }
        });
        {
            let mut queue = self.shared.queue();
            if !queue.open {
                return Err(closed());
            }
            queue.jobs.push_back(Job {
                give_up: Instant::now() + self.patience,
                work,
            });
        }
        self.shared.ready.notify_one();
        answered.await.unwrap_or_else(|_| {
            Err(Failure::Store(StoreError::Internal(
                "a read ended without an answer".into(),
            )))
        })
    }

    /// All rows of a small answer.
    pub(crate) async fn rows(
        &self,
        sql: std::borrow::Cow<'static, str>,
        args: Vec<Value>,
    ) -> Result<Vec<OwnedRow>, Failure> {
        self.run(move |connection| {
            let mut out = Vec::new();
            each(connection, &sql, &args, |row| {
                out.push(owned_row(row)?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(out)
        })
        .await
    }

    /// Ends the threads after what is waiting.
    pub(crate) async fn close(&self) {
        self.shared.close();
        let threads: Vec<_> = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect();
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Keeps a statement's plan whatever its parameters are. Without it SQLite compiles a statement anew each time that a
/// parameter is bound which it might have planned by, such as that of a LIMIT.
pub(crate) fn stable_plans(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Calls `row` for each row of an answer until it breaks off.
pub(crate) fn each(
    connection: &Connection,
    sql: &str,
    args: &[Value],
    mut row: impl FnMut(&rusqlite::Row<'_>) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, args)?;
    let mut rows = statement.raw_query();
    while let Some(found) = rows.next()? {
        if row(found)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// `$1` is a name to SQLite, numbered by where it stands first: the number in the name is what counts.
fn bind(statement: &mut CachedStatement<'_>, args: &[Value]) -> Result<(), Failure> {
    for index in 1..=statement.parameter_count() {
        let number = statement
            .parameter_name(index)
            .and_then(|name| name.get(1..))
            .and_then(|number| number.parse::<usize>().ok());
        let value = number
            .and_then(|number| number.checked_sub(1))
            .and_then(|at| args.get(at))
            .ok_or_else(|| {
                StoreError::Internal(format!("parameter {index} of a statement has no argument"))
            })?;
        match value {
            Value::Null(_) => statement.raw_bind_parameter(index, rusqlite::types::Null)?,
            Value::Int(v) => statement.raw_bind_parameter(index, v)?,
            Value::Bool(v) => statement.raw_bind_parameter(index, v)?,
            Value::Text(v) => statement.raw_bind_parameter(index, v)?,
            Value::Bytes(v) => statement.raw_bind_parameter(index, v)?,
        }
    }
    Ok(())
}

/// A copy of a row, which may leave its statement.
pub(crate) fn owned_row(row: &rusqlite::Row<'_>) -> Result<OwnedRow, Failure> {
    let columns = row.as_ref().column_count();
    let mut values = Vec::with_capacity(columns);
    for index in 0..columns {
        values.push(owned(row.get_ref(index)?));
    }
    Ok(values)
}

fn owned(value: ValueRef<'_>) -> rusqlite::types::Value {
    use rusqlite::types::Value as Owned;
    match value {
        ValueRef::Null => Owned::Null,
        ValueRef::Integer(v) => Owned::Integer(v),
        ValueRef::Real(v) => Owned::Real(v),
        // the writer stores nothing but UTF-8
        ValueRef::Text(v) => Owned::Text(String::from_utf8_lossy(v).into_owned()),
        ValueRef::Blob(v) => Owned::Blob(v.to_vec()),
    }
}

fn mistyped(found: rusqlite::types::Type, kind: Kind) -> Failure {
    StoreError::Internal(format!("a column holds {found} instead of {kind:?}")).into()
}

/// A column's value as the kind that the caller knows it to be of.
pub(crate) fn cell_of(value: ValueRef<'_>, kind: Kind) -> Result<Cell<'_>, Failure> {
    Ok(match (kind, value) {
        (_, ValueRef::Null) => Cell::Null,
        (Kind::Int, ValueRef::Integer(v)) => Cell::Int(v),
        (Kind::Bool, ValueRef::Integer(v)) => Cell::Bool(v != 0),
        (Kind::Text, ValueRef::Text(v)) => {
            Cell::Text(std::str::from_utf8(v).map_err(|_| mistyped(value.data_type(), kind))?)
        }
        (Kind::Bytes, ValueRef::Blob(v)) => Cell::Bytes(v),
        (_, other) => return Err(mistyped(other.data_type(), kind)),
    })
}

/// As [`cell_of`], of a row that has left its statement.
pub(crate) fn value_of(value: &rusqlite::types::Value, kind: Kind) -> Result<Value, Failure> {
    Ok(match cell_of(value.into(), kind)? {
        Cell::Null => Value::Null(kind),
        Cell::Int(v) => Value::Int(v),
        Cell::Bool(v) => Value::Bool(v),
        Cell::Text(v) => Value::Text(v.to_owned()),
        Cell::Bytes(v) => Value::Bytes(v.to_owned()),
    })
}
