//! Runs write commands: SQLite's one writer, PostgreSQL's serializable transactions.
//!
//! A command is a function over a transaction that may run several times; only the last run counts. It is
//! acknowledged after the commit is durable. Nothing but SQL is awaited inside one: on SQLite therefore nothing at all, and the
//! writer is a thread of its own that runs one command after the other without ever giving the processor back in between.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bessemer_model::{Ahead, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::db::close_sqlite;
use crate::failure::Failure;
use crate::secrets::Keys;
use crate::sql::{Connection, Inner};

/// How many commands share one commit at most.
const BATCH: usize = 64;

/// A command without its result, which the closure keeps.
type Run =
    Box<dyn for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync>;

/// How a command ended.
enum Answer {
    Committed,
    Failed(Failure),
    /// The command panicked; the panic goes on in the caller, whose function it was.
    Panicked(Box<dyn Any + Send>),
}

struct Job {
    run: Run,
    /// The caller's clock, by which the command tells the time.
    clock: Ahead,
    give_up: Instant,
    answer: oneshot::Sender<Answer>,
    /// Raised after the commit.
    committed: Box<dyn FnOnce() + Send + Sync>,
}

impl Job {
    fn end(self, answer: Answer) {
        if matches!(answer, Answer::Committed) {
            (self.committed)();
        }
        // A caller that went away does not want to know.
        let _ = self.answer.send(answer);
    }
}

enum Message {
    Job(Job),
    Close,
}

/// A handle on the writer's thread, which ends when the handle is dropped or closed, after the commands that are waiting.
pub(crate) struct SqliteWriter {
    jobs: mpsc::Sender<Message>,
    busy_timeout: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn closed() -> Failure {
    Failure::Ended(StoreError::Unavailable("the store is closed".into()))
}

fn too_long() -> Failure {
    Failure::Ended(StoreError::Unavailable(
        "a write waited too long for its turn".into(),
    ))
}

impl SqliteWriter {
    pub(crate) fn start(
        connection: Connection,
        busy_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(4 * BATCH);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_until_closed(connection, waiting))
            .map_err(|error| {
                StoreError::Unavailable(format!("a thread for writing cannot start: {error}"))
            })?;
        Ok(Self {
            jobs,
            busy_timeout,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands a command in and waits for its commit. `committed` is called by the writer, so also when the
    /// caller has gone away in between.
    pub(crate) async fn write<T, F>(
        &self,
        command: F,
        committed: impl FnOnce() + Send + Sync + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>>
            + Send
            + Sync
            + 'static,
    {
        let result = Arc::new(Mutex::new(None::<T>));
        let kept = Arc::clone(&result);
        let command = Arc::new(command);
        let run: Run = Box::new(move |connection| {
            let kept = Arc::clone(&kept);
            let command = Arc::clone(&command);
            Box::pin(async move {
                let value = command(connection).await?;
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                Ok(())
            })
        });
        let (answer, answered) = oneshot::channel();
        let job = Message::Job(Job {
            run,
            clock: Timestamp::ahead_here(),
            give_up: Instant::now() + self.busy_timeout,
            answer,
            committed: Box::new(committed),
        });
        self.jobs
            .send_timeout(job, self.busy_timeout)
            .await
            .map_err(|error| match error {
                mpsc::error::SendTimeoutError::Timeout(_) => too_long(),
                mpsc::error::SendTimeoutError::Closed(_) => closed(),
            })?;
        match answered.await.map_err(|_| closed())? {
            Answer::Committed => result
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| {
                    Failure::Store(StoreError::Internal("a command left no result".into()))
                }),
            Answer::Failed(failure) => Err(failure),
            Answer::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Ends the thread after the commands that are waiting.
    pub(crate) async fn close(&self) {
        let _ = self.jobs.send(Message::Close).await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn write_until_closed(mut connection: Connection, mut waiting: mpsc::Receiver<Message>) {
    let mut open = true;
    while open {
        let mut batch = Vec::new();
        match waiting.blocking_recv() {
            Some(Message::Job(job)) => batch.push(job),
            Some(Message::Close) | None => break,
        }
        while batch.len() < BATCH {
            match waiting.try_recv() {
                Ok(Message::Job(job)) => batch.push(job),
                Ok(Message::Close) => {
                    open = false;
                    break;
                }
                Err(_) => break,
            }
        }
        let now = Instant::now();
        let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|job| job.give_up >= now);
        for job in late {
            job.end(Answer::Failed(too_long()));
        }
        run_batch(&mut connection, batch);
    }
    waiting.close();
    while let Some(message) = waiting.blocking_recv() {
        if let Message::Job(job) = message {
            job.end(Answer::Failed(closed()));
        }
    }
    if let Err(error) = close_sqlite(connection) {
        tracing::warn!(%error, "the database was not closed cleanly");
    }
}

/// Runs a batch in one transaction. When the transaction is lost, every command runs again in one of its
/// own, so that each gets its own error.
fn run_batch(connection: &mut Connection, batch: Vec<Job>) {
    let mut left = batch;
    // A caller that went away before its turn does not want the write any more.
    left.retain(|job| !job.answer.is_closed());
    match left.len() {
        0 => return,
        1 => {}
        _ => match try_batch(connection, &left) {
            Ok(answers) => {
                for (job, answer) in left.into_iter().zip(answers) {
                    job.end(answer);
                }
                return;
            }
            Err(failure) => {
                tracing::debug!(
                    ?failure,
                    "a batch of writes failed, running them one by one"
                );
            }
        },
    }
    for job in left {
        if job.give_up < Instant::now() {
            job.end(Answer::Failed(too_long()));
            continue;
        }
        let answer = match try_batch(connection, std::slice::from_ref(&job)) {
            Ok(mut answers) => answers.pop().unwrap_or_else(|| Answer::Failed(closed())),
            Err(failure) => Answer::Failed(failure),
        };
        job.end(answer);
    }
}

/// A statement of the transaction itself.
fn run_plain(connection: &mut Connection, sql: &'static str) -> Result<(), Failure> {
    at_once(connection.execute(sql, Vec::new())).map(drop)
}

/// What a command or a statement comes to. On SQLite's writer it has nothing to wait for.
fn at_once<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    future.now_or_never().unwrap_or_else(|| {
        Err(
            StoreError::Internal("a write waited for something else than the database".into())
                .into(),
        )
    })
}

/// The answers of all commands after a durable commit, or the failure that ended them together.
fn try_batch(connection: &mut Connection, batch: &[Job]) -> Result<Vec<Answer>, Failure> {
    run_plain(connection, "BEGIN IMMEDIATE")?;
    let outcome = match run_inside(connection, batch) {
        Ok(answers) => {
            let kept = answers
                .iter()
                .any(|answer| matches!(answer, Answer::Committed));
            run_plain(connection, if kept { "COMMIT" } else { "ROLLBACK" }).map(|()| answers)
        }
        Err(failure) => Err(failure),
    };
    if outcome.is_err() {
        // Fails when the engine has rolled back by itself, which is as good.
        let _ = run_plain(connection, "ROLLBACK");
    }
    outcome
}

fn run_inside(connection: &mut Connection, batch: &[Job]) -> Result<Vec<Answer>, Failure> {
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        // what a command alone has done before it failed is undone with the transaction
        let alone = batch.len() == 1;
        if !alone {
            run_plain(connection, "SAVEPOINT command")?;
        }
        job.clock.take_over();
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| at_once((job.run)(connection))));
        let answer = match ran {
            Ok(Ok(())) => Answer::Committed,
            Ok(Err(failure @ (Failure::Ended(_) | Failure::Again(_)))) => return Err(failure),
            Ok(Err(failure)) => Answer::Failed(failure),
            Err(panic) => Answer::Panicked(panic),
        };
        let failed = !matches!(answer, Answer::Committed);
        if failed && !alone {
            run_plain(connection, "ROLLBACK TO command")?;
        }
        if !alone {
            run_plain(connection, "RELEASE command")?;
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Runs a command on PostgreSQL, again and again while the engine prefers another transaction, with
/// growing pauses until `give_up_after`.
pub(crate) async fn write_postgres<T, F>(
    pool: &PgPool,
    statements: &Arc<AtomicU64>,
    keys: &Arc<Keys>,
    give_up_after: Duration,
    notify: bool,
    command: F,
) -> Result<T, Failure>
where
    F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let failure = match try_once(pool, statements, keys, notify, &command).await {
            Err(failure @ Failure::Again(_)) => failure,
            other => return other,
        };
        if started.elapsed() >= give_up_after {
            return Err(failure);
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = (pause * 2).min(Duration::from_millis(64));
    }
}

async fn try_once<T, F>(
    pool: &PgPool,
    statements: &Arc<AtomicU64>,
    keys: &Arc<Keys>,
    notify: bool,
    command: &F,
) -> Result<T, Failure>
where
    F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>>,
{
    let transaction = pool
        .begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE")
        .await?;
    let mut connection = Connection {
        inner: Inner::Postgres(transaction),
        statements: Arc::clone(statements),
        keys: Arc::clone(keys),
        telling: None,
    };
    // Dropping the connection on the way out, also by an error, rolls back.
    let value = command(&mut connection).await?;
    if notify {
        connection
            .execute("SELECT pg_notify('bessemer', '')", Vec::new())
            .await?;
    }
    if let Inner::Postgres(transaction) = connection.inner {
        transaction.commit().await?;
    }
    Ok(value)
}
