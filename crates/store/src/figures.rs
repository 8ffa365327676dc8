//! Counts for metrics: what the database says at this moment.

use bessemer_model::Timestamp;

use crate::StoreError;
use crate::sql::args;
use crate::store::Store;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Provision state, whether in maintenance, how many nodes.
    pub nodes: Vec<(String, bool, i64)>,
    /// Flow, status, how many open operations.
    pub operations: Vec<(String, String, i64)>,
    /// Operations that could be worked on and are not.
    pub due: i64,
    /// How long the first of them has waited, microseconds.
    pub oldest_due: i64,
}

impl Store {
    /// # Errors
    /// When the database does not answer.
    pub async fn figures(&self) -> Result<Figures, StoreError> {
        let mut connection = self.reader().await?;
        let nodes = connection
            .rows(
                "SELECT provision_state, maintenance, COUNT(*) FROM node GROUP BY provision_state, maintenance \
                 ORDER BY provision_state, maintenance",
                Vec::new(),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .await?;
        let operations = connection
            .rows(
                "SELECT flow, status, COUNT(*) FROM operation WHERE status IN ('ready', 'running', 'waiting') \
                 GROUP BY flow, status ORDER BY flow, status",
                Vec::new(),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .await?;
        let now = Timestamp::now();
        let due: Option<(i64, Option<i64>)> = connection
            .row(
                "SELECT COUNT(*), MIN(since) FROM (SELECT updated_at AS since FROM operation WHERE status = 'ready' \
                 UNION ALL SELECT wake_at AS since FROM operation WHERE status = 'waiting' AND wake_at <= $1) dues",
                args![now],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .await?;
        let (due, since) = due.unwrap_or((0, None));
        Ok(Figures {
            nodes,
            operations,
            due,
            oldest_due: since.map_or(0, |since| now.0.saturating_sub(since).max(0)),
        })
    }
}
