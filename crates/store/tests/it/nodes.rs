//! Nodes.
use crate::support::*;
use bessemer_store::testing::on_both;
use bessemer_store::{Store, StoreError};

#[tokio::test]
async fn created_and_read_back() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n1").await;
        assert!(store.get_node(node.id).await.unwrap().unwrap() == node);
        let row = store.get_node_row("n1").await.unwrap().unwrap();
        assert_eq!(row.id, node.id);
        store.close().await;
        assert!(matches!(
            store.ping().await,
            Err(StoreError::Unavailable(_))
        ));
    })
    .await;
}
