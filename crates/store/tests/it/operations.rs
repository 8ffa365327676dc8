//! Operations, sessions, signals.
use crate::support::*;
use bessemer_model::{ProvisionState, Timestamp};
use bessemer_store::testing::on_both;
use bessemer_store::{OperationStatus, SignalKind, Store, StoreError};
use serde_json::json;

#[tokio::test]
async fn a_life() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n1").await;
        let mut changes = store.subscribe_changes();
        let session = session(&store, "c1").await;
        changes.borrow_and_update();
        let node = store
            .submit(
                node.id,
                deploy(),
                change(|n| {
                    n.provision_state = ProvisionState::Deploying;
                    n.target_provision_state = Some(ProvisionState::Active);
                }),
                vec![event("deploy asked for")],
            )
            .await
            .unwrap();
        assert!(changes.has_changed().unwrap());
        assert_eq!(node.revision, 2);
        let again = store.submit(node.id, deploy(), nothing(), Vec::new()).await;
        assert!(
            matches!(again, Err(StoreError::OperationOpen { .. })),
            "{again:?}"
        );
        let claimed = store
            .claim(session, FLOWS, Timestamp::now(), 10)
            .await
            .unwrap();
        assert_eq!(claimed.len(), 1);
        let c = &claimed[0];
        assert_eq!(c.node.reservation.as_deref(), Some("c1"));
        assert_eq!((c.operation.fence, c.operation.attempt), (1, 1));
        assert_eq!(c.operation.status, OperationStatus::Running);
        let locked = store
            .update_node(node.id, None, false, nothing(), Vec::new())
            .await;
        assert!(
            matches!(&locked, Err(StoreError::Locked { holder, .. }) if holder == "c1"),
            "{locked:?}"
        );
        assert!(
            store
                .claim(session, FLOWS, Timestamp::now(), 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(store.holds_lease(session, c.operation.id, 1).await.unwrap());
        assert!(!store.holds_lease(session, c.operation.id, 2).await.unwrap());
        let after = store
            .save_outcome(
                session,
                c.operation.id,
                1,
                update(OperationStatus::Waiting),
                nothing(),
                Vec::new(),
                Vec::new(),
            )
            .await
            .unwrap();
        assert_eq!(after.reservation, None);
        assert!(
            store
                .claim(session, FLOWS, Timestamp::now(), 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            store
                .signal(
                    node.id,
                    SignalKind::Heartbeat,
                    json!({"x": 1}),
                    None,
                    Vec::new()
                )
                .await
                .unwrap()
        );
        let claimed = store
            .claim(session, FLOWS, Timestamp::now(), 10)
            .await
            .unwrap();
        let c = &claimed[0];
        assert_eq!(
            (c.operation.fence, c.operation.attempt, c.signals.len()),
            (2, 1, 1)
        );
        let lost = store
            .save_outcome(
                session,
                c.operation.id,
                1,
                update(OperationStatus::Waiting),
                nothing(),
                Vec::new(),
                Vec::new(),
            )
            .await;
        assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
        store
            .save_outcome(
                session,
                c.operation.id,
                2,
                update(OperationStatus::Finished),
                change(|n| {
                    n.provision_state = ProvisionState::Active;
                    n.target_provision_state = None;
                }),
                Vec::new(),
                Vec::new(),
            )
            .await
            .unwrap();
        assert!(store.get_open_operation(node.id).await.unwrap().is_none());
        let lines: Vec<_> = store
            .list_timeline(node.id, None, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, e)| e.text)
            .collect();
        assert_eq!(
            lines,
            [
                "deploy asked for",
                "\"enroll\" -> \"deploying\" (target active)",
                "\"deploying\" -> \"active\""
            ]
        );
        store.delete_node(node.id).await.unwrap();
        store.close().await;
    })
    .await;
}
