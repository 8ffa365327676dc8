//! Conductors and their sessions: one row renewed per process, not one per operation.
//!
//! Sessions expire by one clock: the database's on PostgreSQL, the machine's on SQLite.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bessemer_model::{SessionId, Timestamp};
use serde_json::Value;

use crate::failure::Failure;
use crate::sql::{Connection, args};
use crate::store::{Store, Wakes};
use crate::{ConductorRow, RpcAddress, StoreError};

/// Sessions that ended longer ago than this are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The host of a session that is alive, with the clock it was judged by.
pub(crate) async fn alive(
    connection: &mut Connection,
    session: SessionId,
) -> Result<(Option<String>, Timestamp), Failure> {
    let clock = connection.clock().await?;
    let host = connection
        .row(
            "SELECT hostname FROM session WHERE uuid = $1 AND ended = $2 AND expires_at > $3",
            args![session, false, clock],
            |row| row.get(0),
        )
        .await?;
    Ok((host, clock))
}

/// Ends sessions and takes their host's name off the nodes that they were working on.
async fn end(
    connection: &mut Connection,
    condition: &'static str,
    value: crate::sql::Value,
    clock: Timestamp,
) -> Result<(), Failure> {
    connection
        .execute(
            format!(
                "UPDATE node SET reservation = NULL WHERE uuid IN (SELECT operation.node FROM operation \
                 JOIN session ON session.uuid = operation.owner \
                 WHERE operation.status = 'running' AND session.ended = $2 AND session.{condition})"
            ),
            vec![value.clone(), crate::sql::ToValue::to_value(&false)],
        )
        .await?;
    connection
        .execute(
            format!(
                "UPDATE session SET ended = $2, expires_at = CASE WHEN expires_at > $3 THEN $3 ELSE expires_at END \
                 WHERE ended = $4 AND {condition}"
            ),
            vec![
                value,
                crate::sql::ToValue::to_value(&true),
                crate::sql::ToValue::to_value(&clock),
                crate::sql::ToValue::to_value(&false),
            ],
        )
        .await?;
    Ok(())
}

/// How long another controller's change may stay unseen in [`Store::conductors`].
const KEPT_FOR: Duration = Duration::from_secs(1);

/// The list of conductors as last read.
#[derive(Default)]
pub(crate) struct KeptConductors(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Counts what this process has done to sessions, so that a list which was read before is not kept after.
    generation: u64,
    rows: Option<(Instant, Arc<[ConductorRow]>)>,
}

impl KeptConductors {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<Arc<[ConductorRow]>> {
        let kept = self.kept();
        let (at, rows) = kept.rows.as_ref()?;
        (at.elapsed() < KEPT_FOR).then(|| Arc::clone(rows))
    }

    fn generation(&self) -> u64 {
        self.kept().generation
    }

    fn keep(&self, generation: u64, rows: &Arc<[ConductorRow]>) {
        let mut kept = self.kept();
        if kept.generation == generation {
            kept.rows = Some((Instant::now(), Arc::clone(rows)));
        }
    }

    fn forget(&self) {
        let mut kept = self.kept();
        kept.generation = kept.generation.wrapping_add(1);
        kept.rows = None;
    }
}

impl Store {
    /// Opens a session for this process: replaces the conductor's row of the same hostname, whose old session expires at once.
    pub async fn register_conductor(
        &self,
        hostname: &str,
        conductor_group: &str,
        catalogue: &Value,
        ttl: Duration,
    ) -> Result<SessionId, StoreError> {
        self.register_conductor_at(hostname, conductor_group, catalogue, ttl, None)
            .await
    }

    /// The same for a conductor that other processes may call.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn register_conductor_at(
        &self,
        hostname: &str,
        conductor_group: &str,
        catalogue: &Value,
        ttl: Duration,
        rpc: Option<&RpcAddress>,
    ) -> Result<SessionId, StoreError> {
        self.is_host(hostname);
        let given = Arc::new((
            hostname.to_owned(),
            conductor_group.to_owned(),
            catalogue.clone(),
            rpc.map(RpcAddress::stored),
        ));
        let session = self
            .write("register_conductor", Wakes::Engine, move |tx| {
                let given = Arc::clone(&given);
                Box::pin(async move {
                    let (hostname, group, catalogue, rpc) = &*given;
                    let session = SessionId::random();
                    let clock = tx.clock().await?;
                    end(tx, "hostname = $1", crate::sql::ToValue::to_value(hostname), clock).await?;
                    tx.execute(
                        "DELETE FROM session WHERE expires_at < $1 AND NOT EXISTS (SELECT 1 FROM operation \
                         WHERE operation.owner = session.uuid AND operation.status = 'running') \
                         AND NOT EXISTS (SELECT 1 FROM conductor WHERE conductor.session = session.uuid)",
                        args![clock.before(FORGOTTEN_AFTER)],
                    )
                    .await?;
                    tx.execute(
                        "INSERT INTO session (uuid, hostname, ended, expires_at, created_at) \
                         VALUES ($1, $2, $3, $4, $5)",
                        args![session, hostname, false, clock.after(ttl), clock],
                    )
                    .await?;
                    tx.execute(
                        "INSERT INTO conductor (hostname, conductor_group, catalogue, session, created_at, rpc) \
                         VALUES ($1, $2, $3, $4, $5, $6) \
                         ON CONFLICT (hostname) DO UPDATE SET conductor_group = excluded.conductor_group, \
                         catalogue = excluded.catalogue, session = excluded.session, \
                         updated_at = excluded.created_at, rpc = excluded.rpc",
                        args![hostname, group, catalogue, session, clock, rpc],
                    )
                    .await?;
                    Ok(session)
                })
            })
            .await?;
        self.kept_conductors().forget();
        Ok(session)
    }

    /// False when the session has expired or was replaced: the process must stop working and register anew.
    pub async fn renew_session(
        &self,
        session: SessionId,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let renewed = self
            .write("renew_session", Wakes::Nobody, move |tx| {
                Box::pin(async move {
                    let clock = tx.clock().await?;
                    tx.execute(
                        "UPDATE session SET expires_at = $1, renewed_at = $2 \
                         WHERE uuid = $3 AND ended = $4 AND expires_at > $2",
                        args![clock.after(ttl), clock, session, false],
                    )
                    .await
                })
            })
            .await?;
        self.kept_conductors().forget();
        Ok(renewed > 0)
    }

    /// Ends the session at a clean stop; its running operations may be claimed at once.
    pub async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.write("close_session", Wakes::Engine, move |tx| {
            Box::pin(async move {
                let clock = tx.clock().await?;
                end(
                    tx,
                    "uuid = $1",
                    crate::sql::ToValue::to_value(&session),
                    clock,
                )
                .await
            })
        })
        .await?;
        self.kept_conductors().forget();
        Ok(())
    }

    /// Conductors that were not there for so long are no longer listed; how many there were.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forget_conductors(
        &self,
        gone_for: Duration,
        batch: u32,
    ) -> Result<u64, StoreError> {
        let gone = self
            .write("forget_conductors", Wakes::Nobody, move |tx| {
                Box::pin(async move {
                    let clock = tx.clock().await?;
                    tx.execute(
                        "DELETE FROM conductor WHERE hostname IN (SELECT c.hostname FROM conductor c \
                         JOIN session s ON s.uuid = c.session WHERE s.expires_at < $1 \
                         ORDER BY s.expires_at LIMIT $2)",
                        args![clock.before(gone_for), batch],
                    )
                    .await
                })
            })
            .await?;
        self.kept_conductors().forget();
        Ok(gone)
    }

    /// As [`Store::list_conductors`], for what is computed on every request: what this process does to sessions
    /// shows at once, what others do within a second.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn conductors(&self) -> Result<Arc<[ConductorRow]>, StoreError> {
        if let Some(rows) = self.kept_conductors().get() {
            return Ok(rows);
        }
        let generation = self.kept_conductors().generation();
        let rows: Arc<[ConductorRow]> = self.list_conductors().await?.into();
        self.kept_conductors().keep(generation, &rows);
        Ok(rows)
    }

    /// In the order of their host names. `updated_at` is the last renewal, at first the registration.
    pub async fn list_conductors(&self) -> Result<Vec<ConductorRow>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                "SELECT conductor.hostname, conductor.conductor_group, conductor.catalogue, conductor.session, \
                 session.expires_at, conductor.created_at, COALESCE(session.renewed_at, conductor.updated_at, conductor.created_at), conductor.rpc \
                 FROM conductor JOIN session ON session.uuid = conductor.session ORDER BY conductor.hostname",
                Vec::new(),
                |row| {
                    let mut cursor = row.cursor();
                    Ok(ConductorRow {
                        hostname: cursor.take()?,
                        conductor_group: cursor.take()?,
                        catalogue: cursor.take()?,
                        session: cursor.take()?,
                        expires_at: cursor.take()?,
                        created_at: cursor.take()?,
                        updated_at: cursor.take()?,
                        rpc: RpcAddress::read(cursor.take()?),
                    })
                },
            )
            .await?)
    }
}
