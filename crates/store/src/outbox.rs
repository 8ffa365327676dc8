//! The outbox: what others are told, written in the transaction of the change that it tells of.
//!
//! Nothing is written unless a receiver is configured. Each receiver has rows of its own, so that one that is away holds up
//! no other. The order is that of the rows' numbers; changes of one object are told in the order in which they were made,
//! because each of them waits for the one before.
//!
//! The sender's own statements are not serializable transactions: they must never make an operation's write begin anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bessemer_model::notification::{
    Level, Noticed, Payload, Status, Told, event_type, maintenance,
};
use bessemer_model::{Node, Timestamp};
use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use crate::StoreError;
use crate::failure::Failure;
use crate::sql::{Connection, Row, ToValue, Value, args, placeholders};
use crate::store::{Store, Wakes};

/// What is told, and to whom.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// Notifications below it are not written; `None` = no notifications, only samples.
    pub level: Option<Level>,
    /// Name of this host, as receivers see it.
    pub host: String,
    pub receivers: Vec<String>,
}

/// What a message is about, which decides its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A versioned notification.
    Versioned,
    /// What sensors said; unversioned.
    Sample,
}

impl MessageKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Versioned => "versioned",
            Self::Sample => "sample",
        }
    }

    fn parse(text: &str) -> Self {
        if text == Self::Sample.as_str() {
            Self::Sample
        } else {
            Self::Versioned
        }
    }
}

/// A message that waits for its receiver, or was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: i64,
    pub receiver: String,
    /// A UUID; the same in every attempt, so that receivers can drop duplicates.
    pub message_id: String,
    pub at: Timestamp,
    pub level: Level,
    pub event_type: String,
    pub publisher_id: String,
    pub kind: MessageKind,
    /// JSON.
    pub payload: String,
    pub attempts: i32,
    pub error: Option<String>,
    pub dead_at: Option<Timestamp>,
}

/// How a receiver stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverRow {
    pub receiver: String,
    pub waiting: i64,
    pub oldest: Option<Timestamp>,
    pub dead: i64,
    pub dropped: i64,
}

const COLUMNS: &str = "id, receiver, message_id, at, level, event_type, publisher_id, kind, payload, attempts, error, dead_at";

fn read(row: &Row) -> Result<Message, Failure> {
    let mut cursor = row.cursor();
    Ok(Message {
        id: cursor.take()?,
        receiver: cursor.take()?,
        message_id: cursor.take()?,
        at: cursor.take()?,
        level: Level::parse(&cursor.take::<String>()?).unwrap_or(Level::Info),
        event_type: cursor.take()?,
        publisher_id: cursor.take()?,
        kind: MessageKind::parse(&cursor.take::<String>()?),
        payload: cursor.take()?,
        attempts: cursor.take()?,
        error: cursor.take()?,
        dead_at: cursor.take()?,
    })
}

// ---- what a request announces -----------------------------------------------------------------------

tokio::task_local! {
    static ANNOUNCED: Arc<Announcement>;
}

/// That a request creates, changes or deletes an object: its start and end are told with the change, a failure is told alone.
///
/// Bound to the task, as a requester is: the first write of the future tells it.
#[derive(Debug)]
pub struct Announcement {
    object: &'static str,
    action: &'static str,
    start: Payload,
    /// What is told at the end, once it is known; else what was told at the start.
    end: Mutex<Option<Payload>>,
    done: AtomicBool,
}

impl Announcement {
    #[must_use]
    pub fn new(object: &'static str, action: &'static str, start: Payload) -> Self {
        Self {
            object,
            action,
            start,
            end: Mutex::new(None),
            done: AtomicBool::new(false),
        }
    }

    /// With what is told at the end.
    #[must_use]
    pub fn ending(self, end: Payload) -> Self {
        self.ends_with(end);
        self
    }

    fn ends_with(&self, end: Payload) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    fn end(&self) -> Payload {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or_else(|| self.start.clone())
    }

    /// Runs what was announced.
    ///
    /// # Errors
    /// The future's own; that nothing was changed is told first.
    pub async fn around<T, E, F>(self, store: &Store, future: F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let this = Arc::new(self);
        let result = ANNOUNCED.scope(Arc::clone(&this), future).await;
        if result.is_err() && !this.done.load(Ordering::Acquire) {
            let told = Arc::clone(&this);
            let written = store
                .write("announce_failure", Wakes::Nobody, move |tx| {
                    let told = Arc::clone(&told);
                    Box::pin(async move {
                        tell(
                            tx,
                            told.object,
                            told.action,
                            Status::Start,
                            &told.start,
                            Publisher::Api,
                        )
                        .await?;
                        tell(
                            tx,
                            told.object,
                            told.action,
                            Status::Error,
                            &told.start,
                            Publisher::Api,
                        )
                        .await
                    })
                })
                .await;
            if let Err(error) = written.map_err(StoreError::from) {
                tracing::warn!(
                    "that {} of a {} failed could not be told: {error}",
                    this.action,
                    this.object
                );
            }
        }
        result
    }
}

/// What a write command tells, apart from what it changes.
#[derive(Clone)]
pub(crate) struct Telling {
    settings: Arc<OutboxSettings>,
    announced: Option<Arc<Announcement>>,
    pub(crate) wrote: Arc<AtomicBool>,
}

impl Telling {
    /// Of the command that this task is about to run.
    pub(crate) fn present(settings: &Arc<OutboxSettings>) -> Self {
        let announced = ANNOUNCED
            .try_with(Arc::clone)
            .ok()
            .filter(|announced| !announced.done.load(Ordering::Acquire));
        Self {
            settings: Arc::clone(settings),
            announced,
            wrote: Arc::default(),
        }
    }

    /// Its commit is durable.
    pub(crate) fn committed(&self) {
        if let Some(announced) = &self.announced {
            announced.done.store(true, Ordering::Release);
        }
    }
}

/// A command that also tells what its request has announced.
pub(crate) fn telling<T, F>(
    telling: Option<Telling>,
    command: F,
) -> impl for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync + 'static
where
    T: Send + 'static,
    F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync + 'static,
{
    let command = Arc::new(command);
    move |tx| {
        let announced = telling
            .as_ref()
            .and_then(|telling| telling.announced.clone());
        tx.telling = telling.clone();
        let Some(announced) = announced else {
            return command(tx);
        };
        let command = Arc::clone(&command);
        Box::pin(async move {
            let value = command(tx).await?;
            let (object, action) = (announced.object, announced.action);
            tell(
                tx,
                object,
                action,
                Status::Start,
                &announced.start,
                Publisher::Api,
            )
            .await?;
            tell(
                tx,
                object,
                action,
                Status::End,
                &announced.end(),
                Publisher::Api,
            )
            .await?;
            Ok(value)
        })
    }
}

#[derive(Clone, Copy)]
enum Publisher {
    Api,
    Conductor,
}

async fn tell(
    tx: &mut Connection,
    object: &str,
    action: &str,
    status: Status,
    payload: &Payload,
    publisher: Publisher,
) -> Result<(), Failure> {
    let Some(telling) = tx.telling.clone() else {
        return Ok(());
    };
    if telling
        .settings
        .level
        .is_none_or(|least| status.level() < least)
    {
        return Ok(());
    }
    let service = match publisher {
        Publisher::Api => "ironic-api",
        Publisher::Conductor => "ironic-conductor",
    };
    insert(
        tx,
        &telling,
        MessageKind::Versioned,
        status.level(),
        &event_type(object, action, status),
        &format!("{service}.{}", telling.settings.host),
        &payload.wire(),
    )
    .await
}

async fn insert(
    tx: &mut Connection,
    telling: &Telling,
    kind: MessageKind,
    level: Level,
    event_type: &str,
    publisher: &str,
    payload: &Json,
) -> Result<(), Failure> {
    let (now, id) = (Timestamp::now(), uuid::Uuid::new_v4());
    for receiver in &telling.settings.receivers {
        tx.execute(
            "INSERT INTO outbox (receiver, message_id, at, level, event_type, publisher_id, kind, payload, attempts) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
            args![
                receiver,
                id,
                now,
                level.as_str(),
                event_type,
                publisher,
                kind.as_str(),
                *payload
            ],
        )
        .await?;
    }
    telling.wrote.store(true, Ordering::Release);
    Ok(())
}

/// A node was changed: tells what the change noted, and remembers the node for the end of what was announced.
pub(crate) async fn node_changed(
    tx: &mut Connection,
    node: &Node,
    notices: &[Noticed],
) -> Result<(), Failure> {
    let Some(telling) = &tx.telling else {
        return Ok(());
    };
    if let Some(announced) = &telling.announced
        && announced.object == Node::OBJECT
    {
        announced.ends_with(match announced.action {
            "maintenance_set" => maintenance(node),
            _ => node.payload(),
        });
    }
    for noticed in notices {
        let (action, status) = (noticed.action(), noticed.status());
        tell(
            tx,
            Node::OBJECT,
            action,
            status,
            &noticed.payload(node),
            Publisher::Conductor,
        )
        .await?;
    }
    Ok(())
}

/// Another object was written: what is told at the end of what was announced.
pub(crate) fn stored<T: Told>(tx: &Connection, object: &T) {
    if let Some(announced) = tx
        .telling
        .as_ref()
        .and_then(|telling| telling.announced.as_ref())
        && announced.object == T::OBJECT
    {
        announced.ends_with(object.payload());
    }
}

// ---- the sender's side --------------------------------------------------------------------------------

impl Store {
    /// Whether notifications of this level are written.
    #[must_use]
    pub fn tells(&self, level: Level) -> bool {
        self.outbox()
            .and_then(|settings| settings.level)
            .is_some_and(|least| level >= least)
    }

    /// Wakes when a message was written through this handle; may be missed, so that a sender polls as well.
    pub fn outbox_written(&self) -> tokio::sync::futures::Notified<'_> {
        self.outbox_wake().notified()
    }

    /// Single statements outside of a serializable transaction.
    async fn plainly<T, F>(&self, name: &'static str, command: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Connection) -> BoxFuture<'a, Result<T, Failure>>
            + Send
            + Sync
            + 'static,
    {
        let mut connection = self.reader().await?;
        if connection.is_postgres() {
            return Ok(command(&mut connection).await?);
        }
        drop(connection);
        Ok(self.write(name, Wakes::Nobody, command).await?)
    }

    /// Stores what sensors said.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_sample(&self, event_type: &str, payload: Json) -> Result<(), StoreError> {
        let given: Arc<(String, Json)> = Arc::new((event_type.to_owned(), payload));
        self.write("add_sample", Wakes::Nobody, move |tx| {
            let given = Arc::clone(&given);
            Box::pin(async move {
                let Some(telling) = tx.telling.clone() else {
                    return Ok(());
                };
                let (event_type, payload) = &*given;
                // Upstream's publisher of samples has no service's name.
                let publisher = format!("None.{}", telling.settings.host);
                insert(
                    tx,
                    &telling,
                    MessageKind::Sample,
                    Level::Info,
                    event_type,
                    &publisher,
                    payload,
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// Becomes, or stays, the only sender to a receiver for this time; `false` when another is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hold_receiver(
        &self,
        receiver: &str,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let given: Arc<(String, String)> = Arc::new((receiver.to_owned(), holder.to_owned()));
        self.plainly("hold_receiver", move |tx| {
            let given = Arc::clone(&given);
            Box::pin(async move {
                let (receiver, holder) = &*given;
                let now = tx.clock().await?;
                let until = now.after(time);
                let mine = tx
                    .execute(
                        "INSERT INTO outbox_receiver (receiver, holder, held_until, dropped) VALUES ($1, $2, $3, 0) \
                         ON CONFLICT (receiver) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until \
                         WHERE outbox_receiver.holder IS NULL OR outbox_receiver.holder = excluded.holder \
                         OR outbox_receiver.held_until <= $4",
                        args![receiver, holder, until, now],
                    )
                    .await?;
                Ok(mine > 0)
            })
        })
        .await
    }

    /// Lets another send.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release_receiver(&self, receiver: &str, holder: &str) -> Result<(), StoreError> {
        let given: Arc<(String, String)> = Arc::new((receiver.to_owned(), holder.to_owned()));
        self.plainly("release_receiver", move |tx| {
            let given = Arc::clone(&given);
            Box::pin(async move {
                tx.execute(
                    "UPDATE outbox_receiver SET holder = NULL WHERE receiver = $1 AND holder = $2",
                    args![given.0, given.1],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// The messages that wait for a receiver, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting_messages(
        &self,
        receiver: &str,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                format!(
                    "SELECT {COLUMNS} FROM outbox WHERE receiver = $1 AND dead_at IS NULL ORDER BY id LIMIT $2"
                ),
                args![receiver, limit],
                read,
            )
            .await?)
    }

    /// The receiver has them: they are forgotten.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn messages_delivered(&self, ids: &[i64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.forget("messages_delivered", "", ids).await.map(drop)
    }

    async fn forget(
        &self,
        name: &'static str,
        condition: &'static str,
        ids: &[i64],
    ) -> Result<u64, StoreError> {
        let ids: Arc<[i64]> = ids.into();
        self.plainly(name, move |tx| {
            let ids = Arc::clone(&ids);
            Box::pin(async move {
                let list = placeholders(1, ids.len());
                tx.execute(
                    format!("DELETE FROM outbox WHERE id IN ({list}){condition}"),
                    ids.iter().map(ToValue::to_value).collect(),
                )
                .await
            })
        })
        .await
    }

    /// An attempt failed. `given_up`: it becomes a dead letter.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn message_failed(
        &self,
        id: i64,
        error: &str,
        given_up: bool,
    ) -> Result<(), StoreError> {
        let error: Arc<str> = error.into();
        self.plainly("message_failed", move |tx| {
            let error = Arc::clone(&error);
            Box::pin(async move {
                let dead = given_up.then(Timestamp::now);
                tx.execute(
                    "UPDATE outbox SET attempts = attempts + 1, error = $1, dead_at = $2 WHERE id = $3",
                    args![&*error, dead, id],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// Dead letters, the oldest first: of one receiver or all, after the one with number `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn dead_letters(
        &self,
        receiver: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let mut connection = self.reader().await?;
        let mut values = args![after, limit];
        let of = receiver.map_or("", |receiver| {
            values.push(receiver.to_value());
            " AND receiver = $3"
        });
        Ok(connection
            .rows(
                format!(
                    "SELECT {COLUMNS} FROM outbox WHERE dead_at IS NOT NULL AND id > $1{of} ORDER BY id LIMIT $2"
                ),
                values,
                read,
            )
            .await?)
    }

    /// A message by its number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn get_message(&self, id: i64) -> Result<Option<Message>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(
                format!("SELECT {COLUMNS} FROM outbox WHERE id = $1"),
                args![id],
                read,
            )
            .await?)
    }

    /// Dead letters wait again, with all their attempts before them; how many. No ids = all of the receiver, or all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay_dead_letters(
        &self,
        ids: &[i64],
        receiver: Option<&str>,
    ) -> Result<u64, StoreError> {
        let (condition, values) = chosen(ids, receiver);
        let values: Arc<[Value]> = values.into();
        let count = self
            .plainly("replay_dead_letters", move |tx| {
                let (condition, values) = (condition.clone(), Arc::clone(&values));
                Box::pin(async move {
                    tx.execute(
                        format!(
                            "UPDATE outbox SET dead_at = NULL, attempts = 0 WHERE dead_at IS NOT NULL{condition}"
                        ),
                        values.to_vec(),
                    )
                    .await
                })
            })
            .await?;
        self.outbox_wake().notify_waiters();
        Ok(count)
    }

    /// Dead letters are forgotten; how many. No ids = all of the receiver, or all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn discard_dead_letters(
        &self,
        ids: &[i64],
        receiver: Option<&str>,
    ) -> Result<u64, StoreError> {
        let (condition, values) = chosen(ids, receiver);
        let values: Arc<[Value]> = values.into();
        self.plainly("discard_dead_letters", move |tx| {
            let (condition, values) = (condition.clone(), Arc::clone(&values));
            Box::pin(async move {
                tx.execute(
                    format!("DELETE FROM outbox WHERE dead_at IS NOT NULL{condition}"),
                    values.to_vec(),
                )
                .await
            })
        })
        .await
    }

    /// Drops what waits too long or is too much, the oldest first, dead letters among them; how many. What is dropped is counted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_messages(
        &self,
        receiver: &str,
        keep: u32,
        older_than: Duration,
    ) -> Result<u64, StoreError> {
        let receiver: Arc<str> = receiver.into();
        self.plainly("prune_messages", move |tx| {
            let receiver = Arc::clone(&receiver);
            Box::pin(async move {
                let least = Timestamp::now().before(older_than);
                // ids grow with time, and the primary key finds the last of those that are too old
                let dropped = tx
                    .execute(
                        "DELETE FROM outbox WHERE receiver = $1 AND (at < $2 OR id <= (SELECT id FROM outbox \
                         WHERE receiver = $1 ORDER BY id DESC LIMIT 1 OFFSET $3))",
                        args![&*receiver, least, keep],
                    )
                    .await?;
                if dropped > 0 {
                    let count = i64::try_from(dropped).unwrap_or(i64::MAX);
                    tx.execute(
                        "UPDATE outbox_receiver SET dropped = dropped + $1 WHERE receiver = $2",
                        args![count, &*receiver],
                    )
                    .await?;
                }
                Ok(dropped)
            })
        })
        .await
    }

    /// Every receiver that has, or had, messages.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn receivers(&self) -> Result<Vec<ReceiverRow>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                "SELECT n.receiver, SUM(n.waiting), MIN(n.oldest), SUM(n.dead), \
                 CAST(SUM(n.dropped) AS BIGINT) FROM (SELECT receiver, \
                 CASE WHEN dead_at IS NULL THEN 1 ELSE 0 END AS waiting, \
                 CASE WHEN dead_at IS NULL THEN at END AS oldest, \
                 CASE WHEN dead_at IS NULL THEN 0 ELSE 1 END AS dead, CAST(0 AS BIGINT) AS dropped FROM outbox \
                 UNION ALL SELECT receiver, 0, NULL, 0, dropped FROM outbox_receiver) n \
                 GROUP BY n.receiver ORDER BY n.receiver",
                Vec::new(),
                |row| {
                    let mut cursor = row.cursor();
                    Ok(ReceiverRow {
                        receiver: cursor.take()?,
                        waiting: cursor.take()?,
                        oldest: cursor.take()?,
                        dead: cursor.take()?,
                        dropped: cursor.take()?,
                    })
                },
            )
            .await?)
    }
}

fn chosen(ids: &[i64], receiver: Option<&str>) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = ids.iter().map(ToValue::to_value).collect();
    let mut condition = String::new();
    if !ids.is_empty() {
        condition = format!(" AND id IN ({})", placeholders(1, ids.len()));
    }
    if let Some(receiver) = receiver {
        values.push(receiver.to_value());
        condition.push_str(&format!(" AND receiver = ${}", values.len()));
    }
    (condition, values)
}
