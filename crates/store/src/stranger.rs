//! Machines that asked for a boot and are no port of any node.

use std::sync::Arc;

use bessemer_model::{MacAddress, Timestamp};

use crate::StoreError;
use crate::sql::args;
use crate::store::{Store, Wakes};

/// Strangers that are remembered: the latest.
const KEPT: i64 = 500;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub mac: MacAddress,
    /// What it asked, and why it got no answer.
    pub text: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub count: i64,
}

impl Store {
    /// A stranger was seen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_stranger(
        &self,
        mac: MacAddress,
        text: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let text: Arc<str> = text.into();
        self.write("record_stranger", Wakes::Nobody, move |tx| {
            let text = Arc::clone(&text);
            Box::pin(async move {
                tx.execute(
                    "INSERT INTO stranger (mac, text, first_at, last_at, count) VALUES ($1, $2, $3, $3, 1) \
                     ON CONFLICT (mac) DO UPDATE SET text = excluded.text, last_at = excluded.last_at, \
                     count = stranger.count + 1",
                    args![mac, &*text, at],
                )
                .await?;
                tx.execute(
                    "DELETE FROM stranger WHERE last_at < (SELECT last_at FROM stranger ORDER BY last_at DESC LIMIT 1 \
                     OFFSET $1)",
                    args![KEPT],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }

    /// Those that were seen between these times, the latest first, at most twenty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_strangers(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stranger>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .rows(
                "SELECT mac, text, first_at, last_at, count FROM stranger WHERE last_at >= $1 AND first_at <= $2 \
                 ORDER BY last_at DESC LIMIT 20",
                args![from, to],
                |row| {
                    let mut cursor = row.cursor();
                    Ok(Stranger {
                        mac: cursor.take()?,
                        text: cursor.take()?,
                        first_at: cursor.take()?,
                        last_at: cursor.take()?,
                        count: cursor.take()?,
                    })
                },
            )
            .await?)
    }
}
