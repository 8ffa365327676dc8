//! Boot rows: what a node boots next, written by drivers, served by netboot.

use std::sync::Arc;

use bessemer_model::NodeId;

use crate::failure::Failure;
use crate::node::not_found;
use crate::sql::args;
use crate::store::{Store, Wakes};
use crate::{BootRow, StoreError};

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn set_boot(&self, row: &BootRow) -> Result<(), StoreError> {
        let node = row.node;
        let row = Arc::new(row.clone());
        let result = self
            .write("set_boot", Wakes::Nobody, move |tx| {
                let row = Arc::clone(&row);
                Box::pin(async move {
                    tx.execute(
                        "INSERT INTO boot (node, kind, kernel, ramdisk, kernel_params, updated_at) \
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node) DO UPDATE SET \
                         kind = excluded.kind, kernel = excluded.kernel, ramdisk = excluded.ramdisk, \
                         kernel_params = excluded.kernel_params, updated_at = excluded.updated_at",
                        args![
                            row.node,
                            row.kind,
                            row.kernel,
                            row.ramdisk,
                            row.kernel_params,
                            row.updated_at
                        ],
                    )
                    .await
                })
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(Failure::Foreign(_)) => Err(not_found(node)),
            Err(other) => Err(other.into()),
        }
    }

    pub async fn get_boot(&self, node: NodeId) -> Result<Option<BootRow>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(
                "SELECT node, kind, kernel, ramdisk, kernel_params, updated_at FROM boot WHERE node = $1",
                args![node],
                |row| {
                    let mut cursor = row.cursor();
                    Ok(BootRow {
                        node: cursor.take()?,
                        kind: cursor.take()?,
                        kernel: cursor.take()?,
                        ramdisk: cursor.take()?,
                        kernel_params: cursor.take()?,
                        updated_at: cursor.take()?,
                    })
                },
            )
            .await?)
    }

    /// No row is as good.
    pub async fn clear_boot(&self, node: NodeId) -> Result<(), StoreError> {
        self.write("clear_boot", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM boot WHERE node = $1", args![node])
                    .await
            })
        })
        .await?;
        Ok(())
    }
}
