//! Operations: the durable row of a verb's run, its claim, its fence and its signals.
//!
//! What never may happen: two sessions with one lease, a write of a session whose lease is lost, a signal
//! that is forgotten before an outcome has consumed it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{Node, NodeId, OperationId, SessionId, Timestamp};
use serde_json::Value;

use crate::failure::Failure;
use crate::list::Conditions;
use crate::node::{self, apply, refuse_open, require};
use crate::requester::{self, Requester};
use crate::secrets::random_text;
use crate::sql::{Connection, Row, ToValue, args, placeholders};
use crate::store::{Store, Wakes};
use crate::{
    Able, Claimed, HistoryRow, NewOperation, NodeChange, Operation, OperationStatus,
    OperationUpdate, Signal, SignalKind, StoreError, TimelineEvent, TimelineSource, session,
    timeline,
};

const COLUMNS: &str = "uuid, node, flow, flow_version, phase, attempt, status, args, data, wake_at, \
                       deadline_at, reason, owner, fence, panics, created_at, updated_at, restored_at";

const OPEN: &str = "status IN ('ready', 'running', 'waiting')";

/// The column that holds what tokens of agents are made from.
pub(crate) const AGENT_SEED: &str = "agent_seed";

/// Closed operations of a node that are kept.
const CLOSED_KEPT: i64 = 50;

/// Unconsumed heartbeats of an operation that are kept: while no conductor runs, agents go on.
const HEARTBEATS_KEPT: i64 = 16;

fn read_operation(row: &Row) -> Result<Operation, Failure> {
    let mut cursor = row.cursor();
    Ok(Operation {
        id: cursor.take()?,
        node: cursor.take()?,
        flow: cursor.take()?,
        flow_version: cursor.take()?,
        phase: cursor.take()?,
        attempt: cursor.take()?,
        status: cursor.take()?,
        args: cursor.take()?,
        data: cursor.take()?,
        wake_at: cursor.take()?,
        deadline_at: cursor.take()?,
        reason: cursor.take()?,
        owner: cursor.take()?,
        fence: cursor.take()?,
        panics: cursor.take()?,
        created_at: cursor.take()?,
        updated_at: cursor.take()?,
        restored_at: cursor.take()?,
    })
}

async fn load(
    connection: &mut Connection,
    condition: &str,
    value: crate::sql::Value,
) -> Result<Option<Operation>, Failure> {
    connection
        .row(
            format!("SELECT {COLUMNS} FROM operation WHERE {condition}"),
            vec![value],
            read_operation,
        )
        .await
}

fn lost(operation: impl ToString, fence: i64) -> StoreError {
    StoreError::LeaseLost {
        operation: operation.to_string(),
        fence,
    }
}

/// The operation, when this session still holds its lease under this fence.
async fn guard(
    connection: &mut Connection,
    session: SessionId,
    operation: OperationId,
    fence: i64,
) -> Result<Operation, Failure> {
    let (host, _) = session::alive(connection, session).await?;
    let row = load(connection, "uuid = $1", operation.to_value()).await?;
    match row {
        Some(row)
            if host.is_some()
                && row.status == OperationStatus::Running
                && row.owner == Some(session)
                && row.fence == fence =>
        {
            Ok(row)
        }
        _ => Err(lost(operation, fence).into()),
    }
}

fn ids_in(first: usize, count: usize) -> String {
    format!("IN ({})", placeholders(first, count))
}

/// Marks operations as run by this session and reads them back.
async fn take(
    connection: &mut Connection,
    session: SessionId,
    host: &str,
    ids: &[OperationId],
) -> Result<Vec<Operation>, Failure> {
    let list = |first| ids_in(first, ids.len());
    let ids = || ids.iter().map(ToValue::to_value);
    let mut values = args![session, Timestamp::now()];
    values.extend(ids());
    connection
        .execute(
            format!(
                "UPDATE operation SET status = 'running', owner = $1, fence = fence + 1, \
                 attempt = attempt + 1, updated_at = $2 WHERE uuid {}",
                list(3)
            ),
            values,
        )
        .await?;
    let mut values = args![host];
    values.extend(ids());
    connection
        .execute(
            format!(
                "UPDATE node SET reservation = $1 \
                 WHERE uuid IN (SELECT node FROM operation WHERE uuid {})",
                list(2)
            ),
            values,
        )
        .await?;
    connection
        .rows(
            format!(
                "SELECT {COLUMNS} FROM operation WHERE uuid {} ORDER BY id",
                list(1)
            ),
            ids().collect(),
            read_operation,
        )
        .await
}

async fn signals_of(
    connection: &mut Connection,
    ids: &[OperationId],
) -> Result<HashMap<OperationId, Vec<Signal>>, Failure> {
    let rows = connection
        .rows(
            format!(
                "SELECT operation, id, kind, payload, at FROM signal WHERE operation {} ORDER BY id",
                ids_in(1, ids.len())
            ),
            ids.iter().map(ToValue::to_value).collect(),
            |row| {
                let mut cursor = row.cursor();
                Ok((
                    cursor.take::<OperationId>()?,
                    Signal {
                        id: cursor.take()?,
                        kind: cursor.take()?,
                        payload: cursor.take()?,
                        at: cursor.take()?,
                    },
                ))
            },
        )
        .await?;
    let mut out: HashMap<_, Vec<_>> = HashMap::new();
    for (operation, signal) in rows {
        out.entry(operation).or_default().push(signal);
    }
    Ok(out)
}

/// When an operation whose conductors died may be claimed again: at once after the first deaths, then later and later,
/// so that what kills a process does not keep all processes from working.
fn after_deaths(table: &str) -> String {
    format!(
        "{table}updated_at + CASE WHEN {table}attempt < 3 THEN 0 WHEN {table}attempt < 10 THEN 200000 \
         ELSE 1000000 END"
    )
}

/// The ids of what is due, each kind by an index of its own: this is asked for after every phase, and most of what is open
/// waits for a time that has not come.
fn due(now: &str, clock: &str, ended: &str) -> String {
    format!(
        "SELECT id FROM operation WHERE status = 'ready' \
         UNION ALL SELECT id FROM operation WHERE status = 'waiting' AND wake_at <= {now} \
         UNION ALL SELECT id FROM operation WHERE status = 'waiting' AND deadline_at <= {now} \
         UNION ALL SELECT w.id FROM signal g CROSS JOIN operation w WHERE w.uuid = g.operation AND w.status = 'waiting' \
         UNION ALL SELECT r.id FROM operation r WHERE r.status = 'running' AND NOT EXISTS (SELECT 1 FROM session s \
         WHERE s.uuid = r.owner AND s.ended <> {ended} AND s.expires_at > {clock}) AND {} <= {now}",
        after_deaths("r.")
    )
}

/// The earliest time at which something of the last kinds is due.
fn next_due() -> String {
    format!(
        "SELECT MIN(due) FROM (SELECT MIN(wake_at) AS due FROM operation WHERE status = 'waiting' AND wake_at IS NOT NULL \
         UNION ALL SELECT MIN(deadline_at) AS due FROM operation WHERE status = 'waiting' AND deadline_at IS NOT NULL \
         UNION ALL SELECT MIN({}) AS due FROM operation WHERE status = 'running' AND attempt >= 3 \
         AND NOT EXISTS (SELECT 1 FROM session s WHERE s.uuid = operation.owner AND s.ended = $1)) dues",
        after_deaths("")
    )
}

/// How long an operation waits whose node cannot be read.
const PUT_OFF: Duration = Duration::from_secs(60);

/// Lets go of operations that were taken but cannot be worked on.
async fn put_off(
    connection: &mut Connection,
    ids: Vec<OperationId>,
    why: &str,
) -> Result<(), Failure> {
    for id in ids {
        connection
            .execute(
                "UPDATE node SET reservation = NULL WHERE uuid = (SELECT node FROM operation WHERE uuid = $1)",
                args![id],
            )
            .await?;
        connection
            .execute(
                "UPDATE operation SET status = 'waiting', owner = NULL, attempt = 0, wake_at = $1, reason = $2 \
                 WHERE uuid = $3",
                args![Timestamp::now().after(PUT_OFF), why, id],
            )
            .await?;
    }
    Ok(())
}

async fn claim_due(
    connection: &mut Connection,
    session: SessionId,
    able: &Able,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Claimed>, Failure> {
    let (host, clock) = session::alive(connection, session).await?;
    let Some(host) = host else {
        return Ok(Vec::new());
    };
    let mut all = Conditions::default();
    let known: Vec<_> = able
        .flows
        .iter()
        .map(|(flow, version)| {
            let (flow, version) = (all.arg(*flow), all.arg(*version));
            format!("(o.flow = {flow} AND o.flow_version = {version})")
        })
        .collect();
    let (now, clock, ended) = (all.arg(now), all.arg(clock), all.arg(true));
    let of_nodes = able.nodes.as_ref().map(|(group, others)| {
        let group = all.arg(group.as_str());
        let others: Vec<_> = others.iter().map(|d| all.arg(d.as_str())).collect();
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" AND n.driver NOT IN ({})", others.join(", "))
        };
        format!(
            " AND EXISTS (SELECT 1 FROM node n WHERE n.uuid = o.node AND n.conductor_group = {group}{others})"
        )
    });
    let of_nodes = of_nodes.unwrap_or_default();
    let limit = all.arg(limit);
    // What another claims at this moment is passed over; where it is missed, the serializable isolation
    // level refuses one of the two.
    let lock = if connection.is_postgres() {
        " FOR UPDATE OF o SKIP LOCKED"
    } else {
        ""
    };
    let sql = format!(
        "SELECT o.uuid FROM operation o WHERE o.id IN ({due}) AND ({}){of_nodes} \
         ORDER BY o.attempt, o.id LIMIT {limit}{lock}",
        known.join(" OR "),
        due = due(&now, &clock, &ended),
    );
    let ids: Vec<OperationId> = connection.rows(sql, all.args, |row| row.get(0)).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let operations = take(connection, session, &host, &ids).await?;
    let nodes: Vec<_> = operations.iter().map(|operation| operation.node).collect();
    let mut readable: HashMap<NodeId, Node> = HashMap::new();
    let mut refused = None;
    for node in node::load_many(connection, &nodes).await? {
        match node {
            Ok(node) => {
                readable.insert(node.id, node);
            }
            Err(error) => {
                tracing::error!("an operation has to wait: {error}");
                refused = Some(error);
            }
        }
    }
    if let Some(error) = refused {
        let left = operations
            .iter()
            .filter(|operation| !readable.contains_key(&operation.node))
            .map(|operation| operation.id);
        put_off(connection, left.collect(), &error.to_string()).await?;
    }
    let mut nodes = readable;
    let mut signals = signals_of(connection, &ids).await?;
    Ok(operations
        .into_iter()
        .filter_map(|operation| {
            Some(Claimed {
                // always there: a foreign key says so
                node: nodes.remove(&operation.node)?,
                signals: signals.remove(&operation.id).unwrap_or_default(),
                operation,
            })
        })
        .collect())
}

/// Writes what one run of a phase leaves behind; the row as it is then. With `claims` it is claimed anew for its owner in the
/// same moment.
async fn store_outcome(
    connection: &mut Connection,
    before: Operation,
    update: &OperationUpdate,
    claims: bool,
) -> Result<Operation, Failure> {
    let running = claims || update.status == OperationStatus::Running;
    let (attempt, panics) = if update.keep_attempts {
        (before.attempt, before.panics)
    } else {
        (0, 0)
    };
    let after = Operation {
        status: if claims {
            OperationStatus::Running
        } else {
            update.status
        },
        flow: update.flow.clone(),
        flow_version: update.flow_version,
        phase: update.phase.clone(),
        data: update.data.clone(),
        wake_at: update.wake_at,
        deadline_at: update.deadline_at,
        reason: update.reason.clone(),
        attempt: attempt + i32::from(claims),
        fence: before.fence + i64::from(claims),
        panics,
        owner: before.owner.filter(|_| running),
        updated_at: Timestamp::now(),
        restored_at: before.restored_at.filter(|_| update.still_restored),
        ..before
    };
    connection
        .execute(
            "UPDATE operation SET status = $1, flow = $2, flow_version = $3, phase = $4, data = $5, \
             wake_at = $6, deadline_at = $7, reason = $8, attempt = $9, panics = $10, owner = $11, \
             updated_at = $12, restored_at = $13, agent_seed = CASE WHEN $14 THEN agent_seed ELSE NULL END, fence = $15 \
             WHERE uuid = $16",
            args![
                after.status,
                after.flow,
                after.flow_version,
                after.phase,
                after.data,
                after.wake_at,
                after.deadline_at,
                after.reason,
                after.attempt,
                after.panics,
                after.owner,
                after.updated_at,
                after.restored_at,
                update.status.is_open(),
                after.fence,
                after.id
            ],
        )
        .await?;
    if !update.status.is_open() {
        connection
            .execute("DELETE FROM signal WHERE operation = $1", args![after.id])
            .await?;
        connection
            .execute(
                format!(
                    "DELETE FROM operation WHERE node = $1 AND NOT ({OPEN}) AND id <= (SELECT id FROM operation \
                     WHERE node = $1 AND NOT ({OPEN}) ORDER BY id DESC LIMIT 1 OFFSET $2)"
                ),
                args![after.node, CLOSED_KEPT],
            )
            .await?;
    } else if !update.consumed.is_empty() {
        let mut values = args![after.id];
        values.extend(update.consumed.iter().map(ToValue::to_value));
        connection
            .execute(
                format!(
                    "DELETE FROM signal WHERE operation = $1 AND id {}",
                    ids_in(2, update.consumed.len())
                ),
                values,
            )
            .await?;
    }
    Ok(after)
}

impl Store {
    /// Opens an operation and applies the node change (which makes the state transition) in one transaction. `Locked`/`OperationOpen` when one is open.
    pub async fn submit(
        &self,
        node: NodeId,
        operation: NewOperation,
        change: NodeChange,
        mut timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        let operation = Arc::new(operation);
        // Reserved from the start: clients take a free node for the end of the operation.
        let host = self.host().map(Some);
        let requester = Requester::present();
        if let Some(requester) = &requester {
            for event in &mut timeline {
                if event.source == TimelineSource::Api {
                    event.text.push_str(&requester.phrase);
                }
            }
        }
        let events: Arc<[TimelineEvent]> = timeline.into();
        let requester = Arc::new(requester);
        let seed: Arc<str> = random_text()?.into();
        Ok(self
            .write("submit", Wakes::Engine, move |tx| {
                let seed = Arc::clone(&seed);
                let (new, change) = (Arc::clone(&operation), Arc::clone(&change));
                let (events, requester) = (Arc::clone(&events), Arc::clone(&requester));
                let host = host.clone();
                Box::pin(async move {
                    let before = require(tx, node).await?;
                    refuse_open(tx, node).await?;
                    let after = apply(tx, before, host, &change, &events).await?;
                    let now = Timestamp::now();
                    let seed = tx
                        .keys
                        .seal_text(&new.id.to_string(), AGENT_SEED, &seed)?;
                    tx.execute(
                        "INSERT INTO operation (uuid, node, flow, flow_version, phase, attempt, status, args, \
                         data, fence, panics, created_at, updated_at, user_id, project, agent_seed) \
                         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, 0, 0, $9, $9, $10, $11, $12)",
                        args![
                            new.id,
                            node,
                            new.flow,
                            new.flow_version,
                            new.phase,
                            OperationStatus::Ready,
                            new.args,
                            new.data,
                            now,
                            requester
                                .as_ref()
                                .as_ref()
                                .and_then(|r| r.user_id.clone()),
                            requester
                                .as_ref()
                                .as_ref()
                                .and_then(|r| r.project_id.clone()),
                            seed
                        ],
                    )
                    .await
                    .map_err(|failure| match failure {
                        // Opened by another in this moment: the next run sees it and names it.
                        Failure::Unique(index) if index == "operation_node_key" => {
                            Failure::Again("an operation was opened at the same time".into())
                        }
                        Failure::Unique(_) => StoreError::Duplicate {
                            what: "operation",
                            field: "uuid",
                            value: new.id.to_string(),
                        }
                        .into(),
                        other => other,
                    })?;
                    Ok(after)
                })
            })
            .await?)
    }

    /// What the token of the agents of the node's open operation is made from: stored when the operation was opened, so
    /// that a backup of any later moment knows the token. `None` without an open operation, and of one that an older
    /// version opened.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when it cannot be decrypted.
    pub async fn get_agent_seed(&self, node: NodeId) -> Result<Option<String>, StoreError> {
        let mut connection = self.reader().await?;
        let found: Option<(String, Option<String>)> = connection
            .row(
                format!("SELECT uuid, agent_seed FROM operation WHERE node = $1 AND {OPEN}"),
                args![node],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .await?;
        match found {
            Some((id, Some(seed))) => Ok(Some(connection.keys.open_whole(&id, AGENT_SEED, seed)?)),
            _ => Ok(None),
        }
    }

    pub async fn get_open_operation(&self, node: NodeId) -> Result<Option<Operation>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(load(
            &mut connection,
            &format!("node = $1 AND {OPEN}"),
            node.to_value(),
        )
        .await?)
    }

    pub async fn get_operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Ok(load(&mut self.reader().await?, "uuid = $1", id.to_value()).await?)
    }

    /// Stores a signal to the open operation of the node together with a node change (heartbeat columns). False when none is open (the change is made all the same).
    pub async fn signal(
        &self,
        node: NodeId,
        kind: SignalKind,
        payload: Value,
        change: Option<NodeChange>,
        timeline: Vec<TimelineEvent>,
    ) -> Result<bool, StoreError> {
        let payload = Arc::new(payload);
        let events: Arc<[TimelineEvent]> = timeline.into();
        Ok(self
            .write("signal", Wakes::Engine, move |tx| {
                let (payload, change) = (Arc::clone(&payload), change.clone());
                let events = Arc::clone(&events);
                Box::pin(async move {
                    let before = require(tx, node).await?;
                    match change {
                        Some(change) => {
                            apply(tx, before, None, &change, &events).await?;
                        }
                        None => timeline::insert(tx, node, &events).await?,
                    }
                    let open: Option<OperationId> = tx
                        .row(
                            format!("SELECT uuid FROM operation WHERE node = $1 AND {OPEN}"),
                            args![node],
                            |row| row.get(0),
                        )
                        .await?;
                    let Some(operation) = open else {
                        return Ok(false);
                    };
                    tx.execute(
                        "INSERT INTO signal (operation, kind, payload, at) VALUES ($1, $2, $3, $4)",
                        args![operation, kind, *payload, Timestamp::now()],
                    )
                    .await?;
                    if kind == SignalKind::Heartbeat {
                        tx.execute(
                            "DELETE FROM signal WHERE operation = $1 AND kind = $2 AND id <= (SELECT id FROM signal \
                             WHERE operation = $1 AND kind = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)",
                            args![operation, kind, HEARTBEATS_KEPT],
                        )
                        .await?;
                    }
                    Ok(true)
                })
            })
            .await?)
    }

    /// Claims up to `limit` due operations of known flows: ready; waiting with wake_at <= now, deadline_at <= now, or an unconsumed signal; running under a session that has expired, after repeated deaths only some time later. Raises fence and attempt, sets owner, status running and the node's reservation. Refused (empty) when the session has expired.
    pub async fn claim(
        &self,
        session: SessionId,
        able: impl Into<Able>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let able = Arc::new(able.into());
        if able.flows.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        Ok(self
            .write("claim", Wakes::Nobody, move |tx| {
                let able = Arc::clone(&able);
                Box::pin(async move { claim_due(tx, session, &able, now, limit).await })
            })
            .await?)
    }

    /// Earliest wake_at/deadline_at of open operations that are not running, and of those whose conductors died again and again, for the engine's sleep.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.reader().await?;
        let due: Option<Option<Timestamp>> = connection
            .row(next_due(), args![false], |row| row.get(0))
            .await?;
        Ok(due.flatten())
    }

    /// Saves an outcome: guarded by session and fence (`LeaseLost`). Applies the change, stores timeline and history, releases the lease unless status is Running, and the reservation unless the next phase follows at once; consumes signals.
    #[allow(clippy::too_many_arguments)] // everything that has to be in one transaction
    pub async fn save_outcome(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        update: OperationUpdate,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
        history: Vec<HistoryRow>,
    ) -> Result<Node, StoreError> {
        self.save(
            session, operation, fence, update, change, timeline, history, false,
        )
        .await
        .map(|(node, _)| node)
    }

    /// As [`Self::save_outcome`]; where the next phase follows at once and `go_on` is set, it is claimed by the same
    /// transaction as [`Self::claim`] would claim it, and given back.
    ///
    /// # Errors
    /// As of [`Self::save_outcome`].
    #[allow(clippy::too_many_arguments)] // everything that has to be in one transaction
    pub async fn save_outcome_and_claim(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        update: OperationUpdate,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
        history: Vec<HistoryRow>,
        go_on: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        self.save(
            session, operation, fence, update, change, timeline, history, go_on,
        )
        .await
        .map(|(_, claimed)| claimed)
    }

    #[allow(clippy::too_many_arguments)] // everything that has to be in one transaction
    async fn save(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        update: OperationUpdate,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
        history: Vec<HistoryRow>,
        go_on: bool,
    ) -> Result<(Node, Option<Claimed>), StoreError> {
        let given = Arc::new((update, timeline, history));
        Ok(self
            .write("save_outcome", Wakes::Engine, move |tx| {
                let (given, change) = (Arc::clone(&given), Arc::clone(&change));
                Box::pin(async move {
                    let (update, events, history) = &*given;
                    let row = guard(tx, session, operation, fence).await?;
                    let before = require(tx, row.node).await?;
                    // Between two phases the node stays reserved: clients take a free one for the end of the operation.
                    let goes_on = match update.status {
                        OperationStatus::Running => true,
                        OperationStatus::Ready => update.wake_at.is_none(),
                        _ => false,
                    };
                    let reservation = (!goes_on).then_some(None::<String>);
                    let after = apply(tx, before, reservation, &change, events).await?;
                    let claims = go_on
                        && update.status == OperationStatus::Ready
                        && update.wake_at.is_none();
                    let row = store_outcome(tx, row, update, claims).await?;
                    let history = requester::attributed(tx, operation, history).await?;
                    timeline::insert_history(tx, &history).await?;
                    if !claims {
                        return Ok((after, None));
                    }
                    let mut signals = signals_of(tx, &[operation]).await?;
                    let claimed = Claimed {
                        operation: row,
                        node: after.clone(),
                        signals: signals.remove(&operation).unwrap_or_default(),
                    };
                    Ok((after, Some(claimed)))
                })
            })
            .await?)
    }

    /// Guarded write in the middle of a phase (progress, power state seen): changes the node and the timeline, keeps the lease.
    pub async fn save_progress(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        let events: Arc<[TimelineEvent]> = timeline.into();
        self.write("save_progress", Wakes::Nobody, move |tx| {
            let (change, events) = (Arc::clone(&change), Arc::clone(&events));
            Box::pin(async move {
                let row = guard(tx, session, operation, fence).await?;
                let before = require(tx, row.node).await?;
                apply(tx, before, None, &change, &events).await
            })
        })
        .await?;
        Ok(())
    }

    /// Still ours? Checked before a destructive device call.
    pub async fn holds_lease(
        &self,
        session: SessionId,
        operation: OperationId,
        fence: i64,
    ) -> Result<bool, StoreError> {
        let mut connection = self.reader().await?;
        match guard(&mut connection, session, operation, fence).await {
            Ok(_) => Ok(true),
            Err(Failure::Store(StoreError::LeaseLost { .. })) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// A panic record: names the operation, so that its third death by panic fails it. Returns the count.
    pub async fn record_panic(
        &self,
        operation: OperationId,
        text: &str,
    ) -> Result<i32, StoreError> {
        let text: Arc<str> = text.into();
        Ok(self
            .write("record_panic", Wakes::Nobody, move |tx| {
                let text = Arc::clone(&text);
                Box::pin(async move {
                    let found = tx
                        .row(
                            "UPDATE operation SET panics = panics + 1 WHERE uuid = $1 RETURNING panics, node",
                            args![operation],
                            |row| Ok((row.get::<i32>(0)?, row.get::<NodeId>(1)?)),
                        )
                        .await?;
                    let Some((panics, node)) = found else {
                        return Err(StoreError::NotFound {
                            what: "Operation",
                            id: operation.to_string(),
                        }
                        .into());
                    };
                    let event = TimelineEvent {
                        at: Timestamp::now(),
                        source: TimelineSource::Engine,
                        text: format!("the conductor crashed while it worked on this node: {text}"),
                        data: None,
                    };
                    timeline::insert(tx, node, &[event]).await?;
                    Ok(panics)
                })
            })
            .await?)
    }

    /// A conductor's write to a node without an operation (power sync): refused with `Locked` while an operation is open.
    pub async fn update_idle_node(
        &self,
        session: SessionId,
        node: NodeId,
        change: NodeChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Node, StoreError> {
        let events: Arc<[TimelineEvent]> = timeline.into();
        Ok(self
            .write("update_idle_node", Wakes::Nobody, move |tx| {
                let (change, events) = (Arc::clone(&change), Arc::clone(&events));
                Box::pin(async move {
                    let (host, _) = session::alive(tx, session).await?;
                    let Some(host) = host else {
                        return Err(lost(format!("on node {node}"), 0).into());
                    };
                    let before = require(tx, node).await?;
                    match refuse_open(tx, node).await {
                        // Nobody holds a lease, but the node is the operation's all the same.
                        Err(Failure::Store(StoreError::OperationOpen { .. })) => {
                            return Err(StoreError::Locked {
                                node: node.to_string(),
                                holder: before.reservation.unwrap_or(host),
                            }
                            .into());
                        }
                        other => other?,
                    }
                    apply(tx, before, None, &change, &events).await
                })
            })
            .await?)
    }

    /// Open operations of these flows; of the nodes of one conductor group when it is given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_open_operations(
        &self,
        flows: &[&str],
        group: Option<&str>,
    ) -> Result<u64, StoreError> {
        let mut connection = self.reader().await?;
        let mut all = Conditions::default();
        let flows: Vec<_> = flows.iter().map(|flow| all.arg(*flow)).collect();
        let of_group = group.map(|group| {
            let group = all.arg(group.to_lowercase());
            format!(
                " AND EXISTS (SELECT 1 FROM node n WHERE n.uuid = operation.node AND n.conductor_group = {group})"
            )
        });
        let sql = format!(
            "SELECT COUNT(*) FROM operation WHERE flow IN ({}) AND {OPEN}{}",
            flows.join(", "),
            of_group.unwrap_or_default()
        );
        let count: Option<i64> = connection.row(sql, all.args, |row| row.get(0)).await?;
        Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What waits is not read when it is asked what is due, however much of it there is.
    #[tokio::test]
    async fn what_is_due_is_found_by_indexes() {
        let database = crate::testing::sqlite();
        let store = Store::open(&database.settings).await.unwrap();
        let mut connection = store.reader().await.unwrap();
        for (sql, arguments, indexes) in [
            (
                due("$1", "$2", "$3"),
                args![Timestamp::now(), Timestamp::now(), true],
                [
                    "USING COVERING INDEX operation_ready",
                    "operation_wake (wake_at<?)",
                    "operation_deadline (deadline_at<?)",
                    "operation_uuid_key (uuid=?)",
                    "operation_running",
                ]
                .as_slice(),
            ),
            (
                next_due(),
                args![false],
                &[
                    "operation_wake (wake_at>?)",
                    "operation_deadline (deadline_at>?)",
                    "operation_running",
                ],
            ),
        ] {
            let plan: Vec<String> = connection
                .rows(format!("EXPLAIN QUERY PLAN {sql}"), arguments, |row| {
                    row.get(3)
                })
                .await
                .unwrap();
            let plan = plan.join("\n");
            for index in indexes {
                assert!(plan.contains(index), "{index}:\n{plan}");
            }
            // of these there is what runs at once, and what is to be claimed now
            let scans: Vec<_> = plan
                .lines()
                .filter(|line| {
                    line.contains("SCAN")
                        && !line.contains("operation_running")
                        && !line.contains("operation_ready")
                })
                .filter(|line| !line.contains("SCAN g") && !line.contains("subquery"))
                .filter(|line| !line.contains("CONSTANT ROW") && !line.contains("SCAN dues"))
                .collect();
            assert!(scans.is_empty(), "{scans:?}\n{plan}");
        }
        store.close().await;
    }
}
