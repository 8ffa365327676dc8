//! Volume connectors and volume targets.

use bessemer_model::{
    NodeId, Timestamp, VolumeConnector, VolumeConnectorId, VolumeTarget, VolumeTargetId,
};
use bessemer_store::testing::on_both;
use bessemer_store::{Page, Store, StoreError, VolumeFilter};
use serde_json::json;

use crate::support::*;

fn all() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

fn of(node: NodeId) -> VolumeFilter {
    VolumeFilter {
        node: Some(node),
        ..VolumeFilter::default()
    }
}

#[tokio::test]
async fn connectors() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let (node, other) = (stored(&store, "n").await, stored(&store, "m").await);
        let new = |node, id: &str| VolumeConnector {
            id: VolumeConnectorId::random(),
            node,
            kind: "iqn".into(),
            connector_id: id.into(),
            extra: Default::default(),
            created_at: Timestamp(1),
            updated_at: None,
        };
        let mut one = new(node.id, "a");
        store.create_volume_connector(&one).await.unwrap();
        let error = store
            .create_volume_connector(&new(other.id, "a"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "A volume connector with type iqn and connector ID a already exists."
        );
        assert!(matches!(
            store.create_volume_connector(&one).await,
            Err(StoreError::Duplicate { .. })
        ));
        assert!(
            store
                .create_volume_connector(&new(NodeId::random(), "b"))
                .await
                .is_err()
        );
        one.extra.insert("k".into(), json!(1));
        one.connector_id = "c".into();
        one.updated_at = Some(Timestamp(2));
        store.update_volume_connector(&one).await.unwrap();
        assert_eq!(
            store.get_volume_connector(one.id).await.unwrap().as_ref(),
            Some(&one)
        );
        store
            .create_volume_connector(&new(other.id, "a"))
            .await
            .unwrap();
        let listed = async |filter| {
            let rows = store.list_volume_connectors(&filter, &all()).await.unwrap();
            rows.into_iter().map(|r| r.connector_id).collect::<Vec<_>>()
        };
        assert_eq!(listed(VolumeFilter::default()).await, ["c", "a"]);
        assert_eq!(listed(of(other.id)).await, ["a"]);
        store.delete_volume_connector(one.id).await.unwrap();
        assert!(store.delete_volume_connector(one.id).await.is_err());
        assert!(store.update_volume_connector(&one).await.is_err());
        store.delete_node(other.id).await.unwrap();
        assert!(listed(VolumeFilter::default()).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn targets() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let (node, other) = (stored(&store, "n").await, stored(&store, "m").await);
        let new = |node, boot_index| VolumeTarget {
            id: VolumeTargetId::random(),
            node,
            volume_type: "iscsi".into(),
            properties: Default::default(),
            boot_index,
            volume_id: "v".into(),
            extra: Default::default(),
            created_at: Timestamp(1),
            updated_at: None,
        };
        let mut one = new(node.id, 0);
        store.create_volume_target(&one).await.unwrap();
        store.create_volume_target(&new(node.id, -1)).await.unwrap();
        store.create_volume_target(&new(other.id, 0)).await.unwrap();
        let error = store
            .create_volume_target(&new(node.id, 0))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "A volume target with boot index '0' for the same node already exists."
        );
        one.properties.insert("auth_password".into(), json!("x"));
        one.boot_index = 7;
        store.update_volume_target(&one).await.unwrap();
        assert_eq!(
            store.get_volume_target(one.id).await.unwrap().as_ref(),
            Some(&one)
        );
        let page = Page {
            sort_key: Some("boot_index".into()),
            ..all()
        };
        let rows = store
            .list_volume_targets(&of(node.id), &page)
            .await
            .unwrap();
        assert_eq!(
            rows.iter().map(|r| r.boot_index).collect::<Vec<_>>(),
            [-1, 7]
        );
        store.delete_volume_target(one.id).await.unwrap();
        assert!(matches!(
            store.delete_volume_target(one.id).await,
            Err(StoreError::NotFound {
                what: "Volume target",
                ..
            })
        ));
    })
    .await;
}
