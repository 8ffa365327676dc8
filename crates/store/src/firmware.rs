//! Firmware versions as they were last read from the hardware.

use std::collections::HashMap;
use std::sync::Arc;

use bessemer_model::{FirmwareComponent, NodeId, Timestamp};

use crate::failure::Failure;
use crate::sql::{Connection, Row, args};
use crate::store::{Store, Wakes};
use crate::{FirmwareRow, StoreError, Synced, node};

const COLUMNS: &str = "component, current_version, last_version_flashed, vendor, model, serial_number, \
                       initial_version, created_at, updated_at";

fn read(row: &Row) -> Result<FirmwareRow, Failure> {
    let mut cursor = row.cursor();
    Ok(FirmwareRow {
        component: FirmwareComponent {
            component: cursor.take()?,
            current_version: cursor.take()?,
            last_version_flashed: cursor.take()?,
            vendor: cursor.take()?,
            model: cursor.take()?,
            serial_number: cursor.take()?,
        },
        initial_version: cursor.take()?,
        created_at: cursor.take()?,
        updated_at: cursor.take()?,
    })
}

/// In the order of their names.
async fn of_node(connection: &mut Connection, node: NodeId) -> Result<Vec<FirmwareRow>, Failure> {
    connection
        .rows(
            format!("SELECT {COLUMNS} FROM firmware_component WHERE node = $1 ORDER BY component"),
            args![node],
            read,
        )
        .await
}

impl Store {
    /// Stores what was read of the node's components. The version of a new one is its initial version; where
    /// `last_version_flashed` is not given, the stored one stays. Components that are not given stay: a BMC
    /// does not always show all of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn sync_firmware_components(
        &self,
        node: NodeId,
        components: Vec<FirmwareComponent>,
    ) -> Result<Synced, StoreError> {
        let components: Arc<[FirmwareComponent]> = components.into();
        Ok(self
            .write("sync_firmware_components", Wakes::Nobody, move |tx| {
                let components = Arc::clone(&components);
                Box::pin(async move {
                    node::require(tx, node).await?;
                    let mut known: HashMap<String, FirmwareComponent> = of_node(tx, node)
                        .await?
                        .into_iter()
                        .map(|row| (row.component.component.clone(), row.component))
                        .collect();
                    let now = Timestamp::now();
                    let mut synced = Synced::default();
                    for given in components.iter() {
                        let mut new = given.clone();
                        match known.get(&given.component) {
                            Some(old) => {
                                if new.last_version_flashed.is_none() {
                                    new.last_version_flashed.clone_from(&old.last_version_flashed);
                                }
                                if *old == new {
                                    continue;
                                }
                                tx.execute(
                                    "UPDATE firmware_component SET current_version = $1, last_version_flashed = $2, \
                                     vendor = $3, model = $4, serial_number = $5, updated_at = $6 \
                                     WHERE node = $7 AND component = $8",
                                    args![
                                        new.current_version,
                                        new.last_version_flashed,
                                        new.vendor,
                                        new.model,
                                        new.serial_number,
                                        now,
                                        node,
                                        new.component
                                    ],
                                )
                                .await?;
                                synced.updated.push(new.component.clone());
                            }
                            None => {
                                tx.execute(
                                    format!(
                                        "INSERT INTO firmware_component (node, {COLUMNS}) \
                                         VALUES ($1, $2, $3, $4, $5, $6, $7, $3, $8, NULL)"
                                    ),
                                    args![
                                        node,
                                        new.component,
                                        new.current_version,
                                        new.last_version_flashed,
                                        new.vendor,
                                        new.model,
                                        new.serial_number,
                                        now
                                    ],
                                )
                                .await?;
                                synced.created.push(new.component.clone());
                            }
                        }
                        known.insert(new.component.clone(), new);
                    }
                    Ok(synced)
                })
            })
            .await?)
    }

    /// In the order of their names.
    pub async fn list_firmware_components(
        &self,
        node: NodeId,
    ) -> Result<Vec<FirmwareRow>, StoreError> {
        Ok(of_node(&mut self.reader().await?, node).await?)
    }
}
