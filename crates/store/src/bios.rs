//! BIOS settings as they were last read from the hardware.

use std::collections::HashMap;
use std::sync::Arc;

use bessemer_model::{BiosSetting, NodeId, Timestamp};

use crate::failure::Failure;
use crate::sql::{Connection, Row, ToValue, Value, args, insert_into};
use crate::store::{Store, Wakes};
use crate::{BiosRow, StoreError, Synced, node};

const COLUMNS: [&str; 14] = [
    "node",
    "name",
    "value",
    "attribute_type",
    "allowable_values",
    "lower_bound",
    "max_length",
    "min_length",
    "read_only",
    "reset_required",
    "is_unique",
    "upper_bound",
    "created_at",
    "updated_at",
];

fn values(node: NodeId, row: &BiosRow) -> Vec<Value> {
    let s = &row.setting;
    args![
        node,
        s.name,
        s.value,
        s.attribute_type,
        s.allowable_values,
        s.lower_bound,
        s.max_length,
        s.min_length,
        s.read_only,
        s.reset_required,
        s.unique,
        s.upper_bound,
        row.created_at,
        row.updated_at
    ]
}

fn read(row: &Row) -> Result<BiosRow, Failure> {
    let mut cursor = row.cursor();
    let _node: NodeId = cursor.take()?;
    Ok(BiosRow {
        setting: BiosSetting {
            name: cursor.take()?,
            value: cursor.take()?,
            attribute_type: cursor.take()?,
            allowable_values: cursor.take()?,
            lower_bound: cursor.take()?,
            max_length: cursor.take()?,
            min_length: cursor.take()?,
            read_only: cursor.take()?,
            reset_required: cursor.take()?,
            unique: cursor.take()?,
            upper_bound: cursor.take()?,
        },
        created_at: cursor.take()?,
        updated_at: cursor.take()?,
    })
}

async fn of_node(connection: &mut Connection, node: NodeId) -> Result<Vec<BiosRow>, Failure> {
    connection
        .rows(
            format!(
                "SELECT {} FROM bios_setting WHERE node = $1 ORDER BY name",
                COLUMNS.join(", ")
            ),
            args![node],
            read,
        )
        .await
}

impl Store {
    /// Stores all settings of a node: those that are not given are removed, those that are the same stay as
    /// they are. Of two with one name the last counts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the node is gone.
    pub async fn sync_bios_settings(
        &self,
        node: NodeId,
        settings: Vec<BiosSetting>,
    ) -> Result<Synced, StoreError> {
        let settings: Arc<[BiosSetting]> = settings.into();
        Ok(self
            .write("sync_bios_settings", Wakes::Nobody, move |tx| {
                let settings = Arc::clone(&settings);
                Box::pin(async move {
                    node::require(tx, node).await?;
                    let mut before: HashMap<String, BiosRow> = of_node(tx, node)
                        .await?
                        .into_iter()
                        .map(|row| (row.setting.name.clone(), row))
                        .collect();
                    let last: HashMap<&str, usize> = settings
                        .iter()
                        .enumerate()
                        .map(|(index, s)| (s.name.as_str(), index))
                        .collect();
                    let now = Timestamp::now();
                    let mut synced = Synced::default();
                    for (index, setting) in settings.iter().enumerate() {
                        if last.get(setting.name.as_str()) != Some(&index) {
                            continue;
                        }
                        let old = before.remove(&setting.name);
                        if old.as_ref().is_some_and(|old| old.setting == *setting) {
                            continue;
                        }
                        let names = match &old {
                            Some(_) => &mut synced.updated,
                            None => &mut synced.created,
                        };
                        names.push(setting.name.clone());
                        let row = BiosRow {
                            setting: setting.clone(),
                            updated_at: old.is_some().then_some(now),
                            created_at: old.map_or(now, |old| old.created_at),
                        };
                        let set: Vec<String> = COLUMNS
                            .iter()
                            .skip(2)
                            .map(|c| format!("{c} = excluded.{c}"))
                            .collect();
                        tx.execute(
                            format!(
                                "{} ON CONFLICT (node, name) DO UPDATE SET {}",
                                insert_into("bios_setting", &COLUMNS),
                                set.join(", ")
                            ),
                            values(node, &row),
                        )
                        .await?;
                    }
                    synced.removed = before.into_keys().collect();
                    synced.removed.sort_unstable();
                    for name in &synced.removed {
                        tx.execute(
                            "DELETE FROM bios_setting WHERE node = $1 AND name = $2",
                            vec![node.to_value(), name.to_value()],
                        )
                        .await?;
                    }
                    Ok(synced)
                })
            })
            .await?)
    }

    /// In the order of their names.
    pub async fn list_bios_settings(&self, node: NodeId) -> Result<Vec<BiosRow>, StoreError> {
        Ok(of_node(&mut self.reader().await?, node).await?)
    }

    pub async fn get_bios_setting(
        &self,
        node: NodeId,
        name: &str,
    ) -> Result<Option<BiosRow>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(
                format!(
                    "SELECT {} FROM bios_setting WHERE node = $1 AND name = $2",
                    COLUMNS.join(", ")
                ),
                vec![node.to_value(), name.to_value()],
                read,
            )
            .await?)
    }
}
