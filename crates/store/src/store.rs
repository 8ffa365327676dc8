//! The handle on the database, and how its methods read and write.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::db::{Db, Engine, Schema};
use crate::failure::Failure;
use crate::outbox::{OutboxSettings, Telling, telling};
use crate::session::KeptConductors;
use crate::sql::Connection;
use crate::writer::write_postgres;
use crate::{Point, Settings, StoreError, WriteProbe};

/// A handle on the database; cheap to clone. The methods stand in the file of what they are about:
/// `node.rs`, `port.rs`, `operation.rs` and so on.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    busy_timeout: Duration,
    probe: Option<Arc<dyn WriteProbe>>,
    outbox: Option<Arc<OutboxSettings>>,
    outbox_wake: Notify,
    changes: watch::Sender<u64>,
    listening: Mutex<Option<Listening>>,
    conductors: KeptConductors,
    /// The conductor of this process, once it has registered.
    host: OnceLock<String>,
}

/// The task that hears other controllers; ends when this is dropped.
struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Whether a command can give the engine something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakes {
    Engine,
    Nobody,
}

impl Store {
    /// Opens the database, creates it where it is a file, and brings its schema to this version's.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached or the connection is not understood,
    /// [`StoreError::Storage`] when its file cannot be written.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::open_with(settings, Schema::Upgrade).await?;
        if let Err(error) = store.register_keys().await {
            store.close().await;
            return Err(error);
        }
        Ok(store)
    }

    /// Opens a database without touching it, for commands that look at it or mend it: secrets need not be readable.
    ///
    /// # Errors
    /// As [`Self::open`]; [`StoreError::Schema`] when the schema is not this version's.
    pub async fn open_as_is(settings: &Settings) -> Result<Self, StoreError> {
        Self::open_with(settings, Schema::AsItIs).await
    }

    async fn open_with(settings: &Settings, schema: Schema) -> Result<Self, StoreError> {
        let db = Db::open(settings, schema).await?;
        let (changes, _) = watch::channel(0);
        let mut listening = None;
        if let Engine::Postgres { pool } = &db.engine {
            let listener = PgListener::connect_with(pool)
                .await
                .map_err(|error| Failure::from(error).into_error())?;
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(listen(listener, changes.clone(), stopped));
            listening = Some(Listening { stop, task });
        }
        Ok(Self {
            shared: Arc::new(Shared {
                db,
                busy_timeout: settings.busy_timeout,
                probe: settings.probe.clone(),
                outbox: settings.outbox.clone(),
                outbox_wake: Notify::new(),
                changes,
                listening: Mutex::new(listening),
                conductors: KeptConductors::default(),
                host: OnceLock::new(),
            }),
        })
    }

    /// One statement that reads: the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.reader().await?;
        connection
            .rows("SELECT id FROM node LIMIT 1", Vec::new(), |_| Ok(()))
            .await?;
        Ok(())
    }

    /// Ends the writer after the commands that are waiting, and closes every connection. Other handles
    /// answer [`StoreError::Unavailable`] from then on.
    pub async fn close(&self) {
        let listening = self
            .shared
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Listening { stop, task }) = listening {
            drop(stop);
            let _ = task.await;
        }
        self.shared.db.close().await;
    }

    /// Changes with every commit that can give the engine something to do: a submitted operation, a
    /// signal, an outcome. On PostgreSQL other controllers' commits show here too, but may be missed while
    /// the connection is down: the engine polls as well.
    #[must_use]
    pub fn subscribe_changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// How many statements this store has run, for tests and metrics.
    #[must_use]
    pub fn statements_run(&self) -> u64 {
        self.shared.db.statements.load(Ordering::Relaxed)
    }

    pub(crate) fn keys(&self) -> &Arc<crate::Keys> {
        &self.shared.db.keys
    }

    /// The conductor of this process: who a new operation is reserved for until one has claimed it.
    pub(crate) fn host(&self) -> Option<String> {
        self.shared.host.get().cloned()
    }

    /// A conductor has registered through this handle.
    pub(crate) fn is_host(&self, hostname: &str) {
        self.shared.host.get_or_init(|| hostname.to_owned());
    }

    pub(crate) fn outbox(&self) -> Option<&OutboxSettings> {
        self.shared.outbox.as_deref()
    }

    pub(crate) fn outbox_wake(&self) -> &Notify {
        &self.shared.outbox_wake
    }

    pub(crate) fn kept_conductors(&self) -> &KeptConductors {
        &self.shared.conductors
    }

    pub(crate) async fn reader(&self) -> Result<Connection, StoreError> {
        Ok(self.shared.db.reader().await?)
    }

    /// Runs a write command to its durable commit.
    pub(crate) async fn write<T, F>(
        &self,
        name: &'static str,
        wakes: Wakes,
        command: F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>>
            + Send
            + Sync
            + 'static,
    {
        let shared = &self.shared;
        if let Some(probe) = &shared.probe {
            probe.at(name, Point::BeforeWrite).await;
        }
        let told = shared.outbox.as_ref().map(Telling::present);
        let command = telling(told.clone(), command);
        let value = match &shared.db.engine {
            Engine::Sqlite { writer, .. } => {
                let changes = shared.changes.clone();
                writer
                    .write(command, move || {
                        if wakes == Wakes::Engine {
                            wake(&changes);
                        }
                    })
                    .await?
            }
            Engine::Postgres { pool } => {
                let value = write_postgres(
                    pool,
                    &shared.db.statements,
                    &shared.db.keys,
                    shared.busy_timeout,
                    wakes == Wakes::Engine,
                    command,
                )
                .await?;
                if wakes == Wakes::Engine {
                    wake(&shared.changes);
                }
                value
            }
        };
        if let Some(told) = &told {
            told.committed();
            if told.wrote.load(Ordering::Acquire) {
                shared.outbox_wake.notify_waiters();
            }
        }
        if let Some(probe) = &shared.probe {
            probe.at(name, Point::AfterCommit).await;
        }
        Ok(value)
    }
}

fn wake(changes: &watch::Sender<u64>) {
    changes.send_modify(|count| *count = count.wrapping_add(1));
}

/// Passes other controllers' notifications on until the store is dropped.
async fn listen(
    mut listener: PgListener,
    changes: watch::Sender<u64>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut subscribed = false;
    loop {
        let heard = async {
            if !subscribed {
                listener.listen("bessemer").await?;
                subscribed = true;
            }
            listener.recv().await
        };
        let heard = tokio::select! {
            _ = &mut stopped => return,
            heard = heard => heard,
        };
        match heard {
            Ok(_) => wake(&changes),
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::warn!(%error, "notifications from the database are interrupted");
                tokio::select! {
                    _ = &mut stopped => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}
