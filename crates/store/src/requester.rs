//! Who asks: known where a request comes in, needed where an operation is opened, several calls below.
//!
//! Bound to the task, as a request's context is in upstream: what a handler calls without spawning is asked by
//! the same caller. Nobody is bound in tasks of the service itself.

use crate::HistoryRow;
use crate::failure::Failure;
use crate::sql::{Connection, args};

/// A caller, as history shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Requester {
    pub user_id: Option<String>,
    pub project_id: Option<String>,
    /// How lines of the timeline end: ` by jo from 192.0.2.7`.
    pub phrase: String,
}

tokio::task_local! {
    static REQUESTER: Requester;
}

impl Requester {
    /// Runs a future on behalf of this caller.
    pub async fn asks<F: Future>(self, future: F) -> F::Output {
        REQUESTER.scope(self, future).await
    }

    /// Of this task.
    #[must_use]
    pub fn present() -> Option<Self> {
        REQUESTER.try_with(Self::clone).ok()
    }
}

/// Entries of the history with the user that asked for the operation.
pub(crate) async fn attributed(
    connection: &mut Connection,
    operation: bessemer_model::OperationId,
    rows: &[HistoryRow],
) -> Result<Vec<HistoryRow>, Failure> {
    let mut rows = rows.to_vec();
    if rows.is_empty() {
        return Ok(rows);
    }
    let asked: Option<(Option<String>, Option<String>)> = connection
        .row(
            "SELECT user_id, project FROM operation WHERE uuid = $1",
            args![operation],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await?;
    if let Some((user, project)) = asked {
        for row in &mut rows {
            if row.user.is_none() {
                row.user.clone_from(&user);
                row.project.clone_from(&project);
            }
        }
    }
    Ok(rows)
}
