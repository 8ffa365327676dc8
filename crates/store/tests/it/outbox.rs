//! What others are told: with the change, or not at all; and what a sender does with it.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::notification::{Level, Notice, Told, maintenance};
use bessemer_model::{Event, Fault, Node, ProvisionState};
use bessemer_store::testing::on_both;
use bessemer_store::{
    Announcement, Message, MessageKind, NodeChange, OutboxSettings, Settings, Store, StoreError,
};
use serde_json::{Value, json};

use crate::support::*;

const ONE: &str = "one";
const TWO: &str = "two";

fn telling(settings: Settings, level: Level) -> Settings {
    Settings {
        outbox: Some(Arc::new(OutboxSettings {
            level: Some(level),
            host: "here".into(),
            receivers: vec![ONE.into(), TWO.into()],
        })),
        ..settings
    }
}

async fn waiting(store: &Store, receiver: &str) -> Vec<Message> {
    store.waiting_messages(receiver, 1000).await.unwrap()
}

async fn types(store: &Store) -> Vec<String> {
    let rows = waiting(store, ONE).await;
    rows.into_iter().map(|row| row.event_type).collect()
}

fn data(message: &Message) -> Value {
    let payload: Value = serde_json::from_str(&message.payload).unwrap();
    payload["ironic_object.data"].clone()
}

fn moved(to: ProvisionState) -> NodeChange {
    Arc::new(move |node: &mut Node| {
        let from = node.provision_state;
        node.provision_state = to;
        node.notice(Notice::ProvisionSet {
            event: Event::Manage,
            from,
            from_target: None,
        });
        Ok(())
    })
}

#[tokio::test]
async fn nothing_is_written_where_nobody_is_told() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "a").await;
        store
            .update_node(
                node.id,
                None,
                false,
                moved(ProvisionState::Verifying),
                Vec::new(),
            )
            .await
            .unwrap();
        store
            .add_sample("hardware.ipmi.metrics", json!({}))
            .await
            .unwrap();
        assert!(!store.tells(Level::Critical));
        assert!(waiting(&store, ONE).await.is_empty());
        store.close().await;
    })
    .await;
}

/// Start and end of a request are there exactly when its change is; a refusal is told alone.
#[tokio::test]
async fn told_with_the_change() {
    on_both(async |settings| {
        let store = Store::open(&telling(settings, Level::Info)).await.unwrap();
        let node = node("a");
        Announcement::new(
            "node",
            "create",
            node.payload().given(|name| name == "uuid"),
        )
        .around(&store, store.create_node(&node, Vec::new()))
        .await
        .unwrap();
        let rows = waiting(&store, ONE).await;
        let events: Vec<&str> = rows.iter().map(|r| r.event_type.as_str()).collect();
        assert_eq!(
            events,
            ["baremetal.node.create.start", "baremetal.node.create.end"]
        );
        assert_eq!(
            (
                data(&rows[0])["name"].clone(),
                data(&rows[1])["name"].clone()
            ),
            (Value::Null, "a".into())
        );
        assert_eq!(
            (rows[0].kind, rows[0].publisher_id.as_str()),
            (MessageKind::Versioned, "ironic-api.here")
        );
        assert_eq!(waiting(&store, TWO).await.len(), 2);

        let again = Announcement::new("node", "create", node.payload())
            .around(&store, store.create_node(&node, Vec::new()))
            .await;
        assert!(
            matches!(again, Err(StoreError::Duplicate { .. })),
            "{again:?}"
        );
        let rows = waiting(&store, ONE).await;
        assert_eq!(rows[3].event_type, "baremetal.node.create.error");
        assert_eq!(rows[3].level, Level::Error);

        // the second write of a request is not told again, nor is its failure
        let twice = Announcement::new("node", "maintenance_set", maintenance(&node))
            .around(&store, async {
                let change: NodeChange = Arc::new(|node: &mut Node| {
                    node.maintenance = true;
                    Ok(())
                });
                store
                    .update_node(node.id, None, false, change, Vec::new())
                    .await?;
                store.add_timeline(node.id, Vec::new()).await?;
                Err::<(), StoreError>(StoreError::Internal("later".into()))
            })
            .await;
        assert!(twice.is_err());
        let rows = waiting(&store, ONE).await;
        let events: Vec<&str> = rows.iter().skip(4).map(|r| r.event_type.as_str()).collect();
        assert_eq!(
            events,
            [
                "baremetal.node.maintenance_set.start",
                "baremetal.node.maintenance_set.end"
            ]
        );
        assert_eq!(data(&rows[5])["maintenance"], true);
        store.close().await;
    })
    .await;
}

/// What a change notes is told with it and in its order; a refused change tells nothing.
#[tokio::test]
async fn notices_of_a_change() {
    on_both(async |settings| {
        let store = Store::open(&telling(settings, Level::Info)).await.unwrap();
        let node = stored(&store, "a").await;
        let both: NodeChange = Arc::new(|node: &mut Node| {
            moved(ProvisionState::Verifying)(node)?;
            moved(ProvisionState::Manageable)(node)
        });
        let after = store
            .update_node(node.id, None, false, both, Vec::new())
            .await
            .unwrap();
        assert!(after.notices.is_empty(), "not told twice");
        let refused: NodeChange = Arc::new(|node: &mut Node| {
            moved(ProvisionState::Cleaning)(node)?;
            Err(Fault::conflict("no"))
        });
        store
            .update_node(node.id, None, false, refused, Vec::new())
            .await
            .unwrap_err();
        let rows = waiting(&store, ONE).await;
        let seen: Vec<(String, Value, Value)> = rows
            .iter()
            .map(|r| {
                (
                    r.event_type.clone(),
                    data(r)["previous_provision_state"].clone(),
                    data(r)["provision_state"].clone(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "baremetal.node.provision_set.start".into(),
                    "enroll".into(),
                    "verifying".into()
                ),
                (
                    "baremetal.node.provision_set.end".into(),
                    "verifying".into(),
                    "manageable".into()
                ),
            ]
        );
        assert_eq!(rows[0].publisher_id, "ironic-conductor.here");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn only_what_is_important_enough() {
    on_both(async |settings| {
        let store = Store::open(&telling(settings, Level::Error)).await.unwrap();
        let node = node("a");
        for _ in 0..2 {
            let _ = Announcement::new("node", "create", node.payload())
                .around(&store, store.create_node(&node, Vec::new()))
                .await;
        }
        assert_eq!(types(&store).await, ["baremetal.node.create.error"]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_sender_and_its_dead_letters() {
    on_both(async |settings| {
        let store = Store::open(&telling(settings, Level::Info)).await.unwrap();
        for n in 0..4 {
            store
                .add_sample("hardware.ipmi.metrics", json!({"n": n}))
                .await
                .unwrap();
        }
        let time = Duration::from_secs(60);
        assert!(store.hold_receiver(ONE, "a", time).await.unwrap());
        assert!(store.hold_receiver(ONE, "a", time).await.unwrap());
        assert!(!store.hold_receiver(ONE, "b", time).await.unwrap());
        assert!(store.hold_receiver(TWO, "b", Duration::ZERO).await.unwrap());
        assert!(
            store.hold_receiver(TWO, "a", time).await.unwrap(),
            "its time was over"
        );
        store.release_receiver(ONE, "a").await.unwrap();
        assert!(store.hold_receiver(ONE, "b", time).await.unwrap());

        let rows = waiting(&store, ONE).await;
        store.messages_delivered(&[rows[0].id]).await.unwrap();
        store
            .message_failed(rows[1].id, "no route", false)
            .await
            .unwrap();
        store
            .message_failed(rows[2].id, "answered 400", true)
            .await
            .unwrap();
        let now = waiting(&store, ONE).await;
        assert_eq!(
            now.iter().map(|r| (r.id, r.attempts)).collect::<Vec<_>>(),
            [(rows[1].id, 1), (rows[3].id, 0)]
        );
        let dead = store.dead_letters(None, 0, 10).await.unwrap();
        assert_eq!(
            (dead.len(), dead[0].id, dead[0].error.as_deref()),
            (1, rows[2].id, Some("answered 400"))
        );
        assert!(
            store
                .dead_letters(Some(TWO), 0, 10)
                .await
                .unwrap()
                .is_empty()
        );
        let stand = store.receivers().await.unwrap();
        assert_eq!(
            (stand[0].waiting, stand[0].dead, stand[1].waiting),
            (2, 1, 4)
        );

        assert_eq!(
            store
                .replay_dead_letters(&[rows[2].id], Some(TWO))
                .await
                .unwrap(),
            0
        );
        assert_eq!(store.replay_dead_letters(&[], Some(ONE)).await.unwrap(), 1);
        let now = waiting(&store, ONE).await;
        assert_eq!(
            now.iter().map(|r| r.id).collect::<Vec<_>>(),
            [rows[1].id, rows[2].id, rows[3].id]
        );
        store
            .message_failed(rows[3].id, "answered 400", true)
            .await
            .unwrap();
        assert_eq!(
            store
                .discard_dead_letters(&[rows[1].id], None)
                .await
                .unwrap(),
            0,
            "it is alive"
        );
        assert_eq!(store.discard_dead_letters(&[], None).await.unwrap(), 1);

        assert_eq!(store.prune_messages(TWO, 3, time).await.unwrap(), 1);
        assert_eq!(store.prune_messages(TWO, 3, time).await.unwrap(), 0);
        assert_eq!(waiting(&store, TWO).await.len(), 3);
        assert_eq!(
            store.prune_messages(TWO, 3, Duration::ZERO).await.unwrap(),
            3
        );
        assert_eq!(store.receivers().await.unwrap()[1].dropped, 4);
        store.close().await;
    })
    .await;
}
