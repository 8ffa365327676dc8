//! The timeline and the history of a node.
//!
//! Both are bounded: the newest 2,000 lines and the newest 10,000 entries of each node stay, of which the conductor's
//! purge leaves as many as the settings say. The timeline is pruned by about every thirty-second insert, so that it may
//! be a little longer for a while.

use std::sync::Arc;

use bessemer_model::{HistoryId, NodeId, Timestamp};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::node::not_found;
use crate::sql::{Connection, Kind, args, insert_into, whole_rows};
use crate::store::{Store, Wakes};
use crate::{HistoryRow, Page, StoreError, TimelineEvent};

/// Lines of a timeline that are kept.
pub(crate) const TIMELINE_KEPT: i64 = 2000;
/// Entries of a history that are kept whatever the settings say.
pub(crate) const HISTORY_KEPT: i64 = 10_000;
/// One insert in so many prunes.
const PRUNE_ONE_IN: u32 = 32;

pub(crate) async fn insert(
    connection: &mut Connection,
    node: NodeId,
    events: &[TimelineEvent],
) -> Result<(), Failure> {
    let mut prune = false;
    for event in events {
        connection
            .execute(
                "INSERT INTO timeline (node, at, source, text, data) VALUES ($1, $2, $3, $4, $5)",
                args![node, event.at, event.source, event.text, event.data],
            )
            .await?;
        // By chance and not by row number: nodes that take turns would always meet the same numbers.
        prune |= rand::random_ratio(1, PRUNE_ONE_IN);
    }
    if prune {
        connection
            .execute(
                "DELETE FROM timeline WHERE node = $1 AND id <= (SELECT id FROM timeline \
                 WHERE node = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
                args![node, TIMELINE_KEPT],
            )
            .await?;
    }
    Ok(())
}

pub(crate) async fn insert_history(
    connection: &mut Connection,
    rows: &[HistoryRow],
) -> Result<(), Failure> {
    for row in rows {
        connection
            .execute(insert_into("history", COLUMNS), values(row))
            .await?;
        connection
            .execute(
                "DELETE FROM history WHERE node = $1 AND id <= (SELECT id FROM history \
                 WHERE node = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
                args![row.node, HISTORY_KEPT],
            )
            .await?;
    }
    Ok(())
}

whole_rows! {
    HistoryRow {
        id "uuid",
        node "node",
        conductor "conductor",
        created_at "created_at",
        severity "severity",
        event_type "event_type",
        event "event",
        user "user_id",
        project "project",
        state "state",
        target_provision_state "target_provision_state",
        duration_seconds "duration_seconds",
    }
}

const LISTED: Listed = Listed {
    table: "history",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("created_at", "created_at", Kind::Int),
        ("severity", "severity", Kind::Text),
        ("event_type", "event_type", Kind::Text),
        ("event", "event", Kind::Text),
        ("conductor", "conductor", Kind::Text),
        ("user", "user_id", Kind::Text),
        ("project", "project", Kind::Text),
        ("state", "state", Kind::Text),
        (
            "target_provision_state",
            "target_provision_state",
            Kind::Text,
        ),
        ("duration_seconds", "duration_seconds", Kind::Int),
    ],
};

/// What a missing parent row looks like to the caller.
fn gone(failure: Failure, node: NodeId) -> Failure {
    match failure {
        Failure::Foreign(_) => not_found(node).into(),
        other => other,
    }
}

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn add_timeline(
        &self,
        node: NodeId,
        events: Vec<TimelineEvent>,
    ) -> Result<(), StoreError> {
        let events: Arc<[TimelineEvent]> = events.into();
        let result = self
            .write("add_timeline", Wakes::Nobody, move |tx| {
                let events = Arc::clone(&events);
                Box::pin(async move { insert(tx, node, &events).await })
            })
            .await;
        Ok(result.map_err(|failure| gone(failure, node))?)
    }

    /// Newest last; at most `limit` newest, after row id `after` when given; with row ids.
    pub async fn list_timeline(
        &self,
        node: NodeId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, TimelineEvent)>, StoreError> {
        let mut connection = self.reader().await?;
        let mut rows = connection
            .rows(
                "SELECT id, at, source, text, data FROM timeline WHERE node = $1 AND id > $2 \
                 ORDER BY id DESC LIMIT $3",
                args![node, after.unwrap_or(0), limit],
                |row| {
                    let mut cursor = row.cursor();
                    Ok((
                        cursor.take()?,
                        TimelineEvent {
                            at: cursor.take()?,
                            source: cursor.take()?,
                            text: cursor.take()?,
                            data: cursor.take()?,
                        },
                    ))
                },
            )
            .await?;
        rows.reverse();
        Ok(rows)
    }

    /// # Errors
    /// [`StoreError::NotFound`] when a node is gone; nothing is stored then.
    pub async fn add_history(&self, rows: Vec<HistoryRow>) -> Result<(), StoreError> {
        let Some(node) = rows.first().map(|row| row.node) else {
            return Ok(());
        };
        let rows: Arc<[HistoryRow]> = rows.into();
        let result = self
            .write("add_history", Wakes::Nobody, move |tx| {
                let rows = Arc::clone(&rows);
                Box::pin(async move { insert_history(tx, &rows).await })
            })
            .await;
        Ok(result.map_err(|failure| gone(failure, node))?)
    }

    /// Forgets entries beyond the newest `keep` of each node that are older than `before`, the oldest first and at most
    /// `batch`; how many there were.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn purge_history(
        &self,
        keep: u32,
        before: Timestamp,
        batch: u32,
    ) -> Result<u64, StoreError> {
        Ok(self
            .write("purge_history", Wakes::Nobody, move |tx| {
                Box::pin(async move {
                    tx.execute(
                        "DELETE FROM history WHERE id IN (SELECT id FROM (SELECT id, created_at, \
                         ROW_NUMBER() OVER (PARTITION BY node ORDER BY id DESC) AS place FROM history) ranked \
                         WHERE place > $1 AND created_at < $2 ORDER BY id LIMIT $3)",
                        args![keep, before, batch],
                    )
                    .await
                })
            })
            .await?)
    }

    pub async fn list_history(
        &self,
        node: NodeId,
        page: &Page,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let mut connection = self.reader().await?;
        let mut conditions = Conditions::default();
        conditions.equals("history.node", Some(node));
        let select = format!("SELECT {} FROM history", COLUMNS.join(", "));
        Ok(page_rows(&mut connection, &LISTED, conditions, page, &select, read).await?)
    }

    /// One entry, of whichever node.
    pub async fn get_history(&self, id: HistoryId) -> Result<Option<HistoryRow>, StoreError> {
        let mut connection = self.reader().await?;
        let sql = format!("SELECT {} FROM history WHERE uuid = $1", COLUMNS.join(", "));
        Ok(connection.row(sql, args![id], read).await?)
    }
}
