//! What the recorder has put into upstream's database by hand, put into our store.

use std::sync::Arc;

use bessemer_model::{
    BiosSetting, FirmwareComponent, Inventory, Node, NodeId, PowerState, ProvisionState, Timestamp,
};
use bessemer_store::{HistoryRow, Store};
use serde_json::Value;

/// A SEED step: `path` is `/<kind>/<node>`.
pub async fn seed(store: &Store, path: &str, body: &Value) {
    let (kind, node) = path.trim_start_matches('/').split_once('/').unwrap();
    let node: NodeId = node.parse().unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let object = |name: &str| body[name].as_object().unwrap().clone();
    match kind {
        "node" => {
            let given = body.clone();
            let change = move |node: &mut Node| {
                if let Some(state) = given["provision_state"].as_str() {
                    node.provision_state = ProvisionState::parse(state).unwrap();
                }
                if let Some(state) = given["target_provision_state"].as_str() {
                    node.target_provision_state = ProvisionState::parse(state);
                }
                if let Some(state) = given["power_state"].as_str() {
                    node.power_state = PowerState::parse(state);
                }
                Ok(())
            };
            store
                .update_node(node, None, true, Arc::new(change), Vec::new())
                .await
                .unwrap();
        }
        "inventory" => {
            let row = Inventory {
                inventory: object("inventory"),
                plugin_data: object("plugin_data"),
                at: Timestamp::now(),
            };
            store.set_inventory(node, row).await.unwrap();
        }
        "bios" => {
            let rows = body.as_array().unwrap().iter().map(|row| BiosSetting {
                name: text(row, "name").unwrap(),
                value: text(row, "value"),
                attribute_type: text(row, "attribute_type"),
                allowable_values: row["allowable_values"]
                    .as_array()
                    .map(|all| all.iter().map(|v| v.as_str().unwrap().to_owned()).collect()),
                lower_bound: row["lower_bound"].as_i64(),
                max_length: row["max_length"].as_i64(),
                min_length: row["min_length"].as_i64(),
                read_only: row["read_only"].as_bool(),
                reset_required: row["reset_required"].as_bool(),
                unique: row["unique"].as_bool(),
                upper_bound: row["upper_bound"].as_i64(),
            });
            store
                .sync_bios_settings(node, rows.collect())
                .await
                .unwrap();
        }
        "firmware" => {
            // seen first at its initial version, then as it is now
            for version in ["initial_version", "current_version"] {
                let rows = body
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| FirmwareComponent {
                        component: text(row, "component").unwrap(),
                        current_version: text(row, version),
                        last_version_flashed: text(row, "last_version_flashed"),
                        vendor: text(row, "vendor"),
                        model: text(row, "model"),
                        serial_number: text(row, "serial_number"),
                    });
                store
                    .sync_firmware_components(node, rows.collect())
                    .await
                    .unwrap();
            }
        }
        "history" => {
            let rows = body.as_array().unwrap().iter().map(|row| HistoryRow {
                id: row["uuid"].as_str().unwrap().parse().unwrap(),
                node,
                conductor: text(row, "conductor"),
                created_at: Timestamp::now(),
                severity: text(row, "severity").unwrap(),
                event_type: text(row, "event_type").unwrap(),
                event: text(row, "event").unwrap(),
                user: text(row, "user"),
                project: text(row, "project"),
                state: text(row, "state"),
                target_provision_state: text(row, "target_provision_state"),
                duration_seconds: row["duration_seconds"].as_i64(),
            });
            store.add_history(rows.collect()).await.unwrap();
        }
        other => panic!("no such seed: {other}"),
    }
}
