//! Volume connectors.

use std::sync::Arc;

use bessemer_model::{VolumeConnector, VolumeConnectorId};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::port::check_node;
use crate::sql::{Kind, args, insert_into, update_by_uuid, whole_rows};
use crate::store::{Store, Wakes};
use crate::{Page, StoreError, VolumeFilter};

whole_rows! {
    VolumeConnector {
        id "uuid",
        node "node",
        kind "type",
        connector_id "connector_id",
        extra "extra",
        created_at "created_at",
        updated_at "updated_at",
    }
}

const LISTED: Listed = Listed {
    table: "volume_connector",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("node_uuid", "node", Kind::Text),
        ("node_id", "node", Kind::Text),
        ("type", "type", Kind::Text),
        ("connector_id", "connector_id", Kind::Text),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

fn not_found(id: VolumeConnectorId) -> StoreError {
    StoreError::NotFound {
        what: "Volume connector",
        id: id.to_string(),
    }
}

fn duplicate(failure: Failure, row: &VolumeConnector) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let (field, value) = match index.as_str() {
        "volume_connector_uuid_key" => ("uuid", row.id.to_string()),
        "volume_connector_type_connector_id_key" => (
            "type",
            format!("{} and connector ID {}", row.kind, row.connector_id),
        ),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: "volume connector",
        field,
        value,
    }
    .into()
}

impl Store {
    /// # Errors
    /// [`StoreError::Duplicate`] for its uuid, or for its type and connector id together; [`StoreError::NotFound`] for
    /// its node.
    pub async fn create_volume_connector(&self, row: &VolumeConnector) -> Result<(), StoreError> {
        let row = Arc::new(row.clone());
        self.write("create_volume_connector", Wakes::Nobody, move |tx| {
            let row = Arc::clone(&row);
            Box::pin(async move {
                check_node(tx, row.node).await?;
                tx.execute(insert_into("volume_connector", COLUMNS), values(&row))
                    .await
                    .map_err(|failure| duplicate(failure, &row))?;
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    pub async fn get_volume_connector(
        &self,
        id: VolumeConnectorId,
    ) -> Result<Option<VolumeConnector>, StoreError> {
        let mut connection = self.reader().await?;
        let sql = format!(
            "SELECT {} FROM volume_connector WHERE uuid = $1",
            COLUMNS.join(", ")
        );
        Ok(connection.row(sql, args![id], read).await?)
    }

    /// # Errors
    /// As [`Store::list_node_rows`].
    pub async fn list_volume_connectors(
        &self,
        filter: &VolumeFilter,
        page: &Page,
    ) -> Result<Vec<VolumeConnector>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("volume_connector.node", filter.node);
        conditions.on_node(
            "volume_connector.node",
            None,
            None,
            filter.project.as_deref(),
        );
        let mut connection = self.reader().await?;
        let select = format!("SELECT {} FROM volume_connector", COLUMNS.join(", "));
        Ok(page_rows(&mut connection, &LISTED, conditions, page, &select, read).await?)
    }

    /// Writes all columns of an existing row, `updated_at` as the caller set it.
    ///
    /// # Errors
    /// As [`Store::create_volume_connector`]; [`StoreError::NotFound`] when it is gone.
    pub async fn update_volume_connector(&self, row: &VolumeConnector) -> Result<(), StoreError> {
        let row = Arc::new(row.clone());
        self.write("update_volume_connector", Wakes::Nobody, move |tx| {
            let row = Arc::clone(&row);
            Box::pin(async move {
                check_node(tx, row.node).await?;
                let changed = tx
                    .execute(update_by_uuid("volume_connector", COLUMNS), values(&row))
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
    pub async fn delete_volume_connector(&self, id: VolumeConnectorId) -> Result<(), StoreError> {
        self.write("delete_volume_connector", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let gone = tx
                    .execute("DELETE FROM volume_connector WHERE uuid = $1", args![id])
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
