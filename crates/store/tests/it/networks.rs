//! Port groups, their ports, and changes of both at once.

use std::sync::Arc;

use bessemer_model::{Fault, FaultKind, NodeId, PortgroupId, network};
use bessemer_store::testing::on_both;
use bessemer_store::{Network, Page, PortFilter, PortgroupFilter, ShardCount, Store, StoreError};
use serde_json::json;

use crate::support::*;

fn all() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

fn refused(result: Result<(), StoreError>) -> Fault {
    match result {
        Err(StoreError::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn portgroups() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let mut one = portgroup(node.id);
        one.name = Some("g".into());
        one.address = Some(mac(1));
        one.properties.insert("miimon".into(), json!(100));
        one.category = Some("c".into());
        store.create_portgroup(&one).await.unwrap();
        for ident in ["g".to_owned(), one.id.to_string()] {
            assert_eq!(
                store.find_portgroup(&ident).await.unwrap().as_ref(),
                Some(&one)
            );
        }
        let duplicate = async |field: &str, group| match store.create_portgroup(&group).await {
            Err(StoreError::Duplicate { field: f, .. }) => assert_eq!(f, field),
            other => panic!("{other:?}"),
        };
        duplicate("uuid", {
            let mut g = portgroup(node.id);
            g.id = one.id;
            g
        })
        .await;
        duplicate("address", {
            let mut g = portgroup(node.id);
            g.address = one.address;
            g
        })
        .await;
        duplicate("name", {
            let mut g = portgroup(node.id);
            g.name = one.name.clone();
            g
        })
        .await;
        assert!(matches!(
            store.create_portgroup(&portgroup(NodeId::random())).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));

        // its ports follow its physical network
        let mut port = port(node.id, mac(2));
        port.portgroup = Some(one.id);
        store.create_port(&port).await.unwrap();
        one.physical_network = Some("net".into());
        store.update_portgroup(&one).await.unwrap();
        let moved = store.get_port(port.id).await.unwrap().unwrap();
        assert_eq!(moved.physical_network.as_deref(), Some("net"));
        one.physical_network = None;
        store.update_portgroup(&one).await.unwrap();
        let moved = store.get_port(port.id).await.unwrap().unwrap();
        assert_eq!(moved.physical_network, None);

        // with ports it neither moves nor goes
        let other = stored(&store, "m").await;
        let mut away = one.clone();
        away.node = other.id;
        let fault = refused(store.update_portgroup(&away).await);
        assert_eq!(fault.kind, FaultKind::Invalid);
        let fault = refused(store.delete_portgroup(one.id).await);
        assert_eq!(
            fault.text,
            format!(
                "Cannot complete the requested action because portgroup {} contains ports.",
                one.id
            )
        );
        store.delete_port(port.id).await.unwrap();
        store.update_portgroup(&away).await.unwrap();

        let listed = async |filter: PortgroupFilter| {
            let rows = store.list_portgroups(&filter, &all()).await.unwrap();
            rows.iter().map(|g| g.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(PortgroupFilter::default()).await, [one.id]);
        let of = |node| PortgroupFilter {
            node: Some(node),
            ..PortgroupFilter::default()
        };
        assert!(listed(of(node.id)).await.is_empty());
        assert_eq!(listed(of(other.id)).await, [one.id]);

        store.delete_portgroup(one.id).await.unwrap();
        for gone in [
            store.delete_portgroup(one.id).await,
            store.update_portgroup(&one).await,
        ] {
            assert!(matches!(
                gone,
                Err(StoreError::NotFound {
                    what: "Portgroup",
                    ..
                })
            ));
        }
        let last = portgroup(node.id);
        store.create_portgroup(&last).await.unwrap();
        store.delete_node(node.id).await.unwrap();
        assert!(store.get_portgroup(last.id).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn ports_of_a_group_share_a_network() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let (node, other) = (stored(&store, "n").await, stored(&store, "m").await);
        let group = portgroup(node.id);
        store.create_portgroup(&group).await.unwrap();
        let member = |n, network: Option<&str>| {
            let mut p = port(node.id, mac(n));
            p.portgroup = Some(group.id);
            p.physical_network = network.map(str::to_owned);
            p
        };
        let missing = {
            let mut p = member(1, None);
            p.portgroup = Some(PortgroupId::random());
            p
        };
        assert!(matches!(
            store.create_port(&missing).await,
            Err(StoreError::NotFound {
                what: "Portgroup",
                ..
            })
        ));
        let foreign = {
            let mut p = member(1, None);
            p.node = other.id;
            p
        };
        let fault = refused(store.create_port(&foreign).await);
        assert!(fault.text.contains("different node"), "{fault}");

        // the first gives its network to the group
        let first = member(1, Some("a"));
        store.create_port(&first).await.unwrap();
        let adopted = store.get_portgroup(group.id).await.unwrap().unwrap();
        assert_eq!(adopted.physical_network.as_deref(), Some("a"));
        for wrong in [member(2, Some("b")), member(2, None)] {
            let fault = refused(store.create_port(&wrong).await);
            assert_eq!(fault.kind, FaultKind::Conflict);
            assert!(fault.text.ends_with("in physical network a."), "{fault}");
        }
        let mut second = member(2, Some("a"));
        store.create_port(&second).await.unwrap();
        second.physical_network = Some("b".into());
        let fault = refused(store.update_port(&second).await);
        assert_eq!(fault.kind, FaultKind::Conflict);
        // out of the group it may be anywhere, and back only where the group is
        second.portgroup = None;
        store.update_port(&second).await.unwrap();
        second.portgroup = Some(group.id);
        assert!(store.update_port(&second).await.is_err());
        // alone in the group: the group's own network counts
        store.delete_port(first.id).await.unwrap();
        assert!(store.update_port(&second).await.is_err());
        second.physical_network = Some("a".into());
        store.update_port(&second).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn filters_by_the_node() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let mut ports = Vec::new();
        for (n, shard, group, owner) in [
            (1, Some("s1"), "", Some("o")),
            (2, Some("s2"), "cg", None),
            (3, None, "cg", None),
        ] {
            let mut node = node(&format!("n{n}"));
            node.shard = shard.map(str::to_owned);
            node.conductor_group = group.to_owned();
            node.owner = owner.map(str::to_owned);
            node.lessee = (n == 3).then(|| "o".to_owned());
            store.create_node(&node, Vec::new()).await.unwrap();
            let mut p = port(node.id, mac(n));
            p.description = Some(format!("Port_{n}%"));
            store.create_port(&p).await.unwrap();
            store.create_portgroup(&portgroup(node.id)).await.unwrap();
            ports.push(mac(n));
        }
        let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        let check = async |filter: PortFilter, want: &[usize]| {
            let rows = store.list_ports(&filter, &all()).await.unwrap();
            let have: Vec<_> = rows.iter().map(|p| p.address).collect();
            let want: Vec<_> = want.iter().map(|n| ports[*n]).collect();
            assert_eq!(have, want);
            let groups = PortgroupFilter {
                shards: filter.shards,
                conductor_groups: filter.conductor_groups,
                project: filter.project,
                ..PortgroupFilter::default()
            };
            if filter.description_contains.is_none() {
                let rows = store.list_portgroups(&groups, &all()).await.unwrap();
                assert_eq!(rows.len(), want.len());
            }
        };
        check(PortFilter::default(), &[0, 1, 2]).await;
        let by = |f: fn(&mut PortFilter, Option<Vec<String>>), names: &[&str]| {
            let mut filter = PortFilter::default();
            f(&mut filter, list(names));
            filter
        };
        check(by(|f, l| f.shards = l, &["s1", "x"]), &[0]).await;
        check(by(|f, l| f.conductor_groups = l, &["cg"]), &[1, 2]).await;
        check(
            PortFilter {
                project: Some("o".into()),
                ..PortFilter::default()
            },
            &[0, 2],
        )
        .await;
        for (text, want) in [
            ("port_2", &[1][..]),
            ("%", &[0, 1, 2]),
            ("t2", &[]),
            ("_1", &[0]),
        ] {
            check(
                PortFilter {
                    description_contains: Some(text.into()),
                    ..PortFilter::default()
                },
                want,
            )
            .await;
        }
        let shards = store.list_shards().await.unwrap();
        let count = |shard: Option<&str>| ShardCount {
            shard: shard.map(str::to_owned),
            nodes: 1,
        };
        assert_eq!(shards, [count(None), count(Some("s1")), count(Some("s2"))]);
    })
    .await;
}

#[tokio::test]
async fn several_at_once() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        for n in 1..=4 {
            store.create_port(&port(node.id, mac(n))).await.unwrap();
        }
        // six VIFs for four ports, all at once
        let attach = |vif: String| {
            let store = store.clone();
            async move {
                let request = network::VifRequest {
                    id: vif,
                    ..Default::default()
                };
                let change = move |n: &mut Network| {
                    network::attach(&n.node, &mut n.ports, &mut n.portgroups, &request).map(|_| ())
                };
                store
                    .change_network(node.id, Arc::new(change), vec![event("vif")])
                    .await
            }
        };
        let results = futures_util::future::join_all((0..6).map(|n| attach(format!("v{n}")))).await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 4);
        let now = store.get_network(node.id).await.unwrap().unwrap();
        let mut vifs = network::attached(&now.ports, &now.portgroups);
        vifs.sort();
        vifs.dedup();
        assert_eq!(vifs.len(), 4);
        assert!(now.ports.iter().all(|p| p.updated_at.is_some()));
        // a client's write in between does not take the VIF away
        let mut stale = now.ports[0].clone();
        stale.internal_info = Default::default();
        stale.description = Some("d".into());
        store.update_port(&stale).await.unwrap();
        let kept = store.get_port(stale.id).await.unwrap().unwrap();
        assert_eq!(kept.internal_info, now.ports[0].internal_info);
        assert!(store.get_network(NodeId::random()).await.unwrap().is_none());
        assert_eq!(
            store
                .find_nodes_by_macs(&[mac(1), mac(2)])
                .await
                .unwrap()
                .len(),
            1
        );
    })
    .await;
}
