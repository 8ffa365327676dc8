//! What was read from the hardware: inventory, BIOS settings, firmware.

use bessemer_model::{BiosSetting, FirmwareComponent, Inventory, NodeId, Timestamp};
use bessemer_store::testing::on_both;
use bessemer_store::{Store, StoreError};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn inventory() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        assert!(store.get_inventory(node.id).await.unwrap().is_none());
        let mut one = Inventory {
            inventory: json!({"cpu": {"count": 4}, "memory": {"physical_mb": 1024}})
                .as_object()
                .unwrap()
                .clone(),
            plugin_data: Default::default(),
            at: Timestamp(1),
        };
        store.set_inventory(node.id, one.clone()).await.unwrap();
        one.plugin_data
            .insert("lldp".into(), json!([1, null, "\u{0}"]));
        one.at = Timestamp(2);
        store.set_inventory(node.id, one.clone()).await.unwrap();
        assert_eq!(
            store.get_inventory(node.id).await.unwrap(),
            Some(one.clone())
        );
        assert!(matches!(
            store.set_inventory(NodeId::random(), one).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
        store.delete_node(node.id).await.unwrap();
        assert!(store.get_inventory(node.id).await.unwrap().is_none());
    })
    .await;
}

fn setting(name: &str, value: &str) -> BiosSetting {
    BiosSetting {
        name: name.into(),
        value: Some(value.into()),
        ..BiosSetting::default()
    }
}

#[tokio::test]
async fn bios_settings() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let mut full = setting("Turbo", "Enabled");
        full.attribute_type = Some("Enumeration".into());
        full.allowable_values = Some(vec!["Enabled".into(), "Disabled".into()]);
        full.upper_bound = Some(9_000_000_000);
        full.read_only = Some(false);
        full.unique = Some(true);
        let synced = store
            .sync_bios_settings(
                node.id,
                vec![full.clone(), setting("a", "1"), setting("a", "2")],
            )
            .await
            .unwrap();
        assert_eq!(synced.created, ["Turbo", "a"]);
        assert!(synced.updated.is_empty() && synced.removed.is_empty());
        let listed = store.list_bios_settings(node.id).await.unwrap();
        assert_eq!(listed[0].setting, full);
        assert_eq!(listed[1].setting, setting("a", "2"));
        assert!(listed.iter().all(|row| row.updated_at.is_none()));

        let mut changed = full.clone();
        changed.value = None;
        let synced = store
            .sync_bios_settings(node.id, vec![changed.clone(), setting("b", "1")])
            .await
            .unwrap();
        assert_eq!(
            (synced.created, synced.updated, synced.removed),
            (
                vec!["b".to_owned()],
                vec!["Turbo".to_owned()],
                vec!["a".to_owned()]
            )
        );
        let row = store
            .get_bios_setting(node.id, "Turbo")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.setting, changed);
        assert_eq!(row.created_at, listed[0].created_at);
        assert!(row.updated_at.is_some());
        assert!(
            store
                .get_bios_setting(node.id, "a")
                .await
                .unwrap()
                .is_none()
        );
        let synced = store
            .sync_bios_settings(node.id, vec![changed, setting("b", "1")])
            .await
            .unwrap();
        assert_eq!(synced, Default::default());
        assert!(matches!(
            store.sync_bios_settings(NodeId::random(), Vec::new()).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn firmware() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let component = |name: &str, version: &str| FirmwareComponent {
            component: name.into(),
            current_version: Some(version.into()),
            ..FirmwareComponent::default()
        };
        let sync = async |components| {
            store
                .sync_firmware_components(node.id, components)
                .await
                .unwrap()
        };
        let synced = sync(vec![component("bmc", "1"), component("bios", "a")]).await;
        assert_eq!(synced.created, ["bmc", "bios"]);
        let mut flashed = component("bmc", "2");
        flashed.last_version_flashed = Some("2".into());
        flashed.vendor = Some("v".into());
        let synced = sync(vec![flashed]).await;
        assert_eq!(synced.updated, ["bmc"]);
        // read again: what was flashed last is remembered
        let mut read = component("bmc", "2");
        read.vendor = Some("v".into());
        assert_eq!(sync(vec![read]).await, Default::default());
        let rows = store.list_firmware_components(node.id).await.unwrap();
        let names: Vec<_> = rows
            .iter()
            .map(|r| r.component.component.as_str())
            .collect();
        assert_eq!(names, ["bios", "bmc"]);
        assert_eq!(rows[1].initial_version.as_deref(), Some("1"));
        assert_eq!(rows[1].component.current_version.as_deref(), Some("2"));
        assert_eq!(rows[1].component.last_version_flashed.as_deref(), Some("2"));
        assert!(rows[1].updated_at.is_some() && rows[0].updated_at.is_none());
        assert!(matches!(
            store
                .sync_firmware_components(NodeId::random(), Vec::new())
                .await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}
