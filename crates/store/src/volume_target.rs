//! Volume targets.

use std::sync::Arc;

use bessemer_model::{VolumeTarget, VolumeTargetId};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::port::check_node;
use crate::sql::{Kind, args, insert_into, update_by_uuid, whole_rows};
use crate::store::{Store, Wakes};
use crate::{Page, StoreError, VolumeFilter};

whole_rows! {
    VolumeTarget {
        id "uuid",
        node "node",
        volume_type "volume_type",
        properties "properties",
        boot_index "boot_index",
        volume_id "volume_id",
        extra "extra",
        created_at "created_at",
        updated_at "updated_at",
    }
}

const LISTED: Listed = Listed {
    table: "volume_target",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("node_uuid", "node", Kind::Text),
        ("node_id", "node", Kind::Text),
        ("volume_type", "volume_type", Kind::Text),
        ("boot_index", "boot_index", Kind::Int),
        ("volume_id", "volume_id", Kind::Text),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

fn not_found(id: VolumeTargetId) -> StoreError {
    StoreError::NotFound {
        what: "Volume target",
        id: id.to_string(),
    }
}

fn duplicate(failure: Failure, row: &VolumeTarget) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let (field, value) = match index.as_str() {
        "volume_target_uuid_key" => ("uuid", row.id.to_string()),
        "volume_target_node_boot_index_key" => (
            "boot index",
            format!("'{}' for the same node", row.boot_index),
        ),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: "volume target",
        field,
        value,
    }
    .into()
}

impl Store {
    /// # Errors
    /// [`StoreError::Duplicate`] for its uuid, or for its boot index within the node; [`StoreError::NotFound`] for
    /// its node.
    pub async fn create_volume_target(&self, row: &VolumeTarget) -> Result<(), StoreError> {
        let row = Arc::new(row.clone());
        self.write("create_volume_target", Wakes::Nobody, move |tx| {
            let row = Arc::clone(&row);
            Box::pin(async move {
                check_node(tx, row.node).await?;
                tx.execute(insert_into("volume_target", COLUMNS), values(&row))
                    .await
                    .map_err(|failure| duplicate(failure, &row))?;
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    pub async fn get_volume_target(
        &self,
        id: VolumeTargetId,
    ) -> Result<Option<VolumeTarget>, StoreError> {
        let mut connection = self.reader().await?;
        let sql = format!(
            "SELECT {} FROM volume_target WHERE uuid = $1",
            COLUMNS.join(", ")
        );
        Ok(connection.row(sql, args![id], read).await?)
    }

    /// # Errors
    /// As [`Store::list_node_rows`].
    pub async fn list_volume_targets(
        &self,
        filter: &VolumeFilter,
        page: &Page,
    ) -> Result<Vec<VolumeTarget>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("volume_target.node", filter.node);
        conditions.on_node("volume_target.node", None, None, filter.project.as_deref());
        let mut connection = self.reader().await?;
        let select = format!("SELECT {} FROM volume_target", COLUMNS.join(", "));
        Ok(page_rows(&mut connection, &LISTED, conditions, page, &select, read).await?)
    }

    /// Writes all columns of an existing row, `updated_at` as the caller set it.
    ///
    /// # Errors
    /// As [`Store::create_volume_target`]; [`StoreError::NotFound`] when it is gone.
    pub async fn update_volume_target(&self, row: &VolumeTarget) -> Result<(), StoreError> {
        let row = Arc::new(row.clone());
        self.write("update_volume_target", Wakes::Nobody, move |tx| {
            let row = Arc::clone(&row);
            Box::pin(async move {
                check_node(tx, row.node).await?;
                let changed = tx
                    .execute(update_by_uuid("volume_target", COLUMNS), values(&row))
                    .await
                    .map_err(|failure| duplicate(failure, &row))?;
                if changed == 0 {
                    return Err(not_found(row.id).into());
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_volume_target(&self, id: VolumeTargetId) -> Result<(), StoreError> {
        self.write("delete_volume_target", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let gone = tx
                    .execute("DELETE FROM volume_target WHERE uuid = $1", args![id])
                    .await?;
                if gone == 0 {
                    return Err(not_found(id).into());
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }
}
