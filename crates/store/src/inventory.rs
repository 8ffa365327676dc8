//! What inspection has found: one inventory per node, replaced as a whole.

use std::sync::Arc;

use bessemer_model::{Inventory, NodeId};

use crate::StoreError;
use crate::failure::Failure;
use crate::node::not_found;
use crate::sql::args;
use crate::store::{Store, Wakes};

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn set_inventory(
        &self,
        node: NodeId,
        inventory: Inventory,
    ) -> Result<(), StoreError> {
        let row = Arc::new(inventory);
        let result = self
            .write("set_inventory", Wakes::Nobody, move |tx| {
                let row = Arc::clone(&row);
                Box::pin(async move {
                    tx.execute(
                        "INSERT INTO inventory (node, inventory, plugin_data, at) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (node) DO UPDATE SET inventory = excluded.inventory, \
                         plugin_data = excluded.plugin_data, at = excluded.at",
                        args![node, row.inventory, row.plugin_data, row.at],
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

    pub async fn get_inventory(&self, node: NodeId) -> Result<Option<Inventory>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(
                "SELECT inventory, plugin_data, at FROM inventory WHERE node = $1",
                args![node],
                |row| {
                    let mut cursor = row.cursor();
                    Ok(Inventory {
                        inventory: cursor.take()?,
                        plugin_data: cursor.take()?,
                        at: cursor.take()?,
                    })
                },
            )
            .await?)
    }
}
