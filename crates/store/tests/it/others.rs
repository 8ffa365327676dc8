//! Ports, chassis, conductors, boot rows, timeline and history.

use std::time::Duration;

use bessemer_model::{Chassis, ChassisId, HistoryId, NodeId, PortId, Timestamp};
use bessemer_store::testing::on_both;
use bessemer_store::{
    BootKind, BootRow, HistoryRow, Page, PortFilter, Store, StoreError, TimelineEvent,
    TimelineSource,
};
use serde_json::json;

use crate::support::*;

fn all() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

#[tokio::test]
async fn ports() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let mut one = port(node.id, mac(1));
        one.name = Some("p1".into());
        one.extra.insert("a".into(), json!([1, {"b": null}]));
        let group = portgroup(node.id);
        store.create_portgroup(&group).await.unwrap();
        one.portgroup = Some(group.id);
        one.physical_network = Some("phys".into());
        one.vendor = Some("v".into());
        one.category = Some("c".into());
        one.description = Some("d".into());
        store.create_port(&one).await.unwrap();
        assert_eq!(store.get_port(one.id).await.unwrap().as_ref(), Some(&one));
        for ident in ["p1".to_owned(), one.id.to_string()] {
            assert_eq!(store.find_port(&ident).await.unwrap().as_ref(), Some(&one));
        }
        assert_eq!(
            store.find_port_by_mac(mac(1)).await.unwrap().as_ref(),
            Some(&one)
        );
        assert_eq!(store.find_port_by_mac(mac(2)).await.unwrap(), None);

        // the same address, two at once
        let (a, b) = (port(node.id, mac(2)), port(node.id, mac(2)));
        let (a, b) = tokio::join!(store.create_port(&a), store.create_port(&b));
        let refused = match (a, b) {
            (Ok(()), Err(e)) | (Err(e), Ok(())) => e,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused.to_string(),
            format!("A port with address {} already exists.", mac(2))
        );
        let mut same_name = port(node.id, mac(3));
        same_name.name = Some("p1".into());
        assert!(matches!(
            store.create_port(&same_name).await,
            Err(StoreError::Duplicate { field: "name", .. })
        ));
        assert!(matches!(
            store.create_port(&port(NodeId::random(), mac(4))).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));

        one.address = mac(2);
        assert!(matches!(
            store.update_port(&one).await,
            Err(StoreError::Duplicate {
                field: "address",
                ..
            })
        ));
        one.address = mac(5);
        one.pxe_enabled = false;
        one.updated_at = Some(Timestamp(9));
        store.update_port(&one).await.unwrap();
        assert_eq!(store.get_port(one.id).await.unwrap().as_ref(), Some(&one));

        let listed = async |filter: PortFilter| {
            let rows = store.list_ports(&filter, &all()).await.unwrap();
            rows.iter().map(|p| p.address).collect::<Vec<_>>()
        };
        assert_eq!(listed(PortFilter::default()).await, [mac(5), mac(2)]);
        let by_address = PortFilter {
            address: Some(mac(2)),
            ..PortFilter::default()
        };
        assert_eq!(listed(by_address).await, [mac(2)]);
        let by_group = PortFilter {
            portgroup: one.portgroup,
            node: Some(node.id),
            ..PortFilter::default()
        };
        assert_eq!(listed(by_group).await, [mac(5)]);

        store.delete_port(one.id).await.unwrap();
        for gone in [
            store.delete_port(one.id).await,
            store.update_port(&one).await,
            store.delete_port(PortId::random()).await,
        ] {
            assert!(matches!(
                gone,
                Err(StoreError::NotFound { what: "Port", .. })
            ));
        }
        store.delete_node(node.id).await.unwrap();
        assert!(listed(PortFilter::default()).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn chassis() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let mut one = Chassis {
            id: ChassisId::random(),
            description: Some("d".into()),
            extra: Default::default(),
            created_at: Timestamp(1),
            updated_at: None,
        };
        store.create_chassis(&one).await.unwrap();
        assert!(matches!(
            store.create_chassis(&one).await,
            Err(StoreError::Duplicate { field: "uuid", .. })
        ));
        one.extra.insert("k".into(), json!("v"));
        one.updated_at = Some(Timestamp(2));
        store.update_chassis(&one).await.unwrap();
        assert_eq!(
            store.get_chassis(one.id).await.unwrap().as_ref(),
            Some(&one)
        );
        assert_eq!(store.list_chassis(&all()).await.unwrap(), [one.clone()]);
        let mut node = node("n");
        node.chassis = Some(one.id);
        store.create_node(&node, Vec::new()).await.unwrap();
        assert!(matches!(
            store.delete_chassis(one.id).await,
            Err(StoreError::Refused(_))
        ));
        store.delete_node(node.id).await.unwrap();
        store.delete_chassis(one.id).await.unwrap();
        assert!(matches!(
            store.delete_chassis(one.id).await,
            Err(StoreError::NotFound {
                what: "Chassis",
                ..
            })
        ));
        assert!(store.update_chassis(&one).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn boot_rows() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let mut row = BootRow {
            node: node.id,
            kind: BootKind::Ramdisk,
            kernel: Some("file:///k".into()),
            ramdisk: Some("file:///r".into()),
            kernel_params: "a=b".into(),
            updated_at: Timestamp(1),
        };
        assert_eq!(store.get_boot(node.id).await.unwrap(), None);
        store.set_boot(&row).await.unwrap();
        assert_eq!(store.get_boot(node.id).await.unwrap().as_ref(), Some(&row));
        row.kind = BootKind::Local;
        row.kernel = None;
        row.updated_at = Timestamp(2);
        store.set_boot(&row).await.unwrap();
        assert_eq!(store.get_boot(node.id).await.unwrap().as_ref(), Some(&row));
        store.clear_boot(node.id).await.unwrap();
        store.clear_boot(node.id).await.unwrap();
        assert_eq!(store.get_boot(node.id).await.unwrap(), None);
        row.node = NodeId::random();
        assert!(matches!(
            store.set_boot(&row).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn conductors() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let first = session(&store, "b").await;
        let other = store
            .register_conductor("a", "g", &json!({"ipmi": {}}), TTL)
            .await
            .unwrap();
        let rows = store.list_conductors().await.unwrap();
        let shown: Vec<_> = rows
            .iter()
            .map(|c| (c.hostname.as_str(), c.conductor_group.as_str(), c.session))
            .collect();
        assert_eq!(shown, [("a", "g", other), ("b", "", first)]);
        assert_eq!(rows[0].catalogue, json!({"ipmi": {}}));
        assert!(rows[0].expires_at > Timestamp::now());
        assert!(store.renew_session(first, TTL).await.unwrap());
        // a new process of the same host
        let second = session(&store, "b").await;
        assert!(!store.renew_session(first, TTL).await.unwrap());
        assert!(store.renew_session(second, TTL).await.unwrap());
        let rows = store.list_conductors().await.unwrap();
        assert_eq!((rows.len(), rows[1].session), (2, second));
        assert!(rows[1].updated_at.is_some());
        // a clean stop
        store.close_session(second).await.unwrap();
        assert!(!store.renew_session(second, TTL).await.unwrap());
        let rows = store.list_conductors().await.unwrap();
        assert!(rows[1].expires_at <= Timestamp::now().after(Duration::from_secs(1)));
        // an expired one is not raised from the dead
        let third = store
            .register_conductor("b", "", &json!({}), Duration::ZERO)
            .await
            .unwrap();
        assert!(!store.renew_session(third, TTL).await.unwrap());
        // those that are away for long are forgotten, so many at once
        for name in ["x", "y"] {
            store
                .register_conductor(name, "", &json!({}), Duration::ZERO)
                .await
                .unwrap();
        }
        let forget = async |batch| {
            store
                .forget_conductors(Duration::ZERO, batch)
                .await
                .unwrap()
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(
            (forget(2).await, forget(50).await, forget(50).await),
            (2, 1, 0)
        );
        let rows = store.list_conductors().await.unwrap();
        assert_eq!(
            rows.iter().map(|c| c.hostname.as_str()).collect::<Vec<_>>(),
            ["a"]
        );
    })
    .await;
}

#[tokio::test]
async fn timeline() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let other = stored(&store, "other").await;
        for source in TimelineSource::ALL {
            let event = TimelineEvent {
                at: Timestamp(7),
                source,
                text: source.as_str().to_owned(),
                data: Some(json!({"bytes": 5})),
            };
            store.add_timeline(node.id, vec![event]).await.unwrap();
        }
        let lines = store.list_timeline(node.id, None, 3).await.unwrap();
        let texts: Vec<_> = lines.iter().map(|(_, e)| e.text.as_str()).collect();
        assert_eq!(texts, ["bmc", "agent", "image"]);
        assert_eq!(lines[0].1.data, Some(json!({"bytes": 5})));
        let after = store
            .list_timeline(node.id, Some(lines[1].0), 10)
            .await
            .unwrap();
        assert_eq!(after.len(), 1);
        store
            .add_timeline(other.id, vec![event("theirs")])
            .await
            .unwrap();
        let many: Vec<_> = (0..2600).map(|n| event(&n.to_string())).collect();
        store.add_timeline(node.id, many).await.unwrap();
        let lines = store.list_timeline(node.id, None, 10_000).await.unwrap();
        assert_eq!(lines.len(), 2000);
        assert_eq!(lines.last().unwrap().1.text, "2599");
        assert_eq!(
            store.list_timeline(other.id, None, 10).await.unwrap().len(),
            1
        );
        let gone = store.add_timeline(NodeId::random(), vec![event("x")]).await;
        assert!(matches!(
            gone,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn history() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let rows: Vec<_> = (0..320)
            .map(|n| HistoryRow {
                id: HistoryId::random(),
                node: node.id,
                conductor: Some("c".into()),
                created_at: Timestamp(n),
                severity: "ERROR".into(),
                event_type: "deploy".into(),
                event: format!("event {n}"),
                user: None,
                project: Some("p".into()),
                state: Some("deploying".into()),
                target_provision_state: None,
                duration_seconds: Some(7),
            })
            .collect();
        store.add_history(rows.clone()).await.unwrap();
        let last = store.get_history(rows[319].id).await.unwrap().unwrap();
        assert_eq!(
            (last.project.as_deref(), last.state.as_deref()),
            (Some("p"), Some("deploying"))
        );
        assert_eq!(last.duration_seconds, Some(7));
        // purged in batches, the oldest first, and nothing that is too young
        let purge = async |before, batch| {
            let purged = store.purge_history(300, Timestamp(before), batch);
            purged.await.unwrap()
        };
        assert_eq!(purge(0, 1000).await, 0);
        assert_eq!(purge(5, 1000).await, 5);
        assert_eq!(purge(320, 10).await, 10);
        assert_eq!(purge(320, 10).await, 5);
        assert_eq!(purge(320, 10).await, 0);
        let kept = store.list_history(node.id, &all()).await.unwrap();
        assert_eq!((kept.len(), kept[0].event.as_str()), (300, "event 20"));
        let page = Page {
            limit: 2,
            marker: Some(kept[1].id.to_string()),
            sort_key: Some("created_at".into()),
            ..Page::default()
        };
        let next = store.list_history(node.id, &page).await.unwrap();
        assert_eq!(
            next.iter().map(|h| h.id).collect::<Vec<_>>(),
            [kept[2].id, kept[3].id]
        );
        let mut lost = rows[0].clone();
        lost.node = NodeId::random();
        lost.id = HistoryId::random();
        assert!(matches!(
            store.add_history(vec![lost]).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}
