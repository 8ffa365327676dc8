//! Order, paging, filters, and what a list costs.

use bessemer_model::{Node, NodeId, ProvisionState};
use bessemer_store::testing::on_both;
use bessemer_store::{NodeFilter, Page, PortFilter, SortDirection, Store, StoreError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

fn all() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

/// Every page one after the other.
async fn pages(
    store: &Store,
    key: Option<&str>,
    direction: SortDirection,
    limit: u32,
) -> Vec<NodeId> {
    let mut out = Vec::<NodeId>::new();
    loop {
        let page = Page {
            limit,
            marker: out.last().map(ToString::to_string),
            sort_key: key.map(str::to_owned),
            direction,
        };
        let rows = store
            .list_node_rows(&NodeFilter::default(), &page)
            .await
            .unwrap();
        if rows.is_empty() {
            return out;
        }
        out.extend(rows.iter().map(|r| r.id));
    }
}

#[tokio::test]
async fn pages_with_ties_and_nulls() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let texts = [None, Some("a"), Some("B"), Some("é"), Some("_x"), Some("")];
        let mut nodes: Vec<Node> = Vec::new();
        for n in 0..40 {
            let mut node = node(&format!("n{n}"));
            if n % 4 == 1 {
                node.name = None;
            }
            node.resource_class = texts[rng.random_range(0..texts.len())].map(str::to_owned);
            node.maintenance = rng.random();
            node.secure_boot = [None, Some(true), Some(false)][rng.random_range(0..3)];
            node.inspection_started_at =
                [None, Some(5), Some(7)][rng.random_range(0..3)].map(bessemer_model::Timestamp);
            store.create_node(&node, Vec::new()).await.unwrap();
            nodes.push(node);
        }
        type Compare = fn(&Node, &Node) -> std::cmp::Ordering;
        let keys: [(Option<&str>, Compare); 8] = [
            (None, |_, _| std::cmp::Ordering::Equal),
            (Some("id"), |_, _| std::cmp::Ordering::Equal),
            (Some("resource_class"), |a, b| {
                a.resource_class.cmp(&b.resource_class)
            }),
            (Some("uuid"), |a, b| a.id.to_string().cmp(&b.id.to_string())),
            (Some("name"), |a, b| a.name.cmp(&b.name)),
            (Some("maintenance"), |a, b| {
                a.maintenance.cmp(&b.maintenance)
            }),
            (Some("secure_boot"), |a, b| {
                a.secure_boot.cmp(&b.secure_boot)
            }),
            (Some("inspection_started_at"), |a, b| {
                a.inspection_started_at.cmp(&b.inspection_started_at)
            }),
        ];
        for (key, compare) in keys {
            let mut sorted = nodes.clone();
            sorted.sort_by(compare); // stable: creation breaks ties
            let mut want: Vec<_> = sorted.iter().map(|n| n.id).collect();
            for (direction, limit) in [
                (SortDirection::Ascending, 7),
                (SortDirection::Ascending, 1),
                (SortDirection::Ascending, 1000),
            ] {
                assert_eq!(pages(&store, key, direction, limit).await, want, "{key:?}");
            }
            want.reverse();
            for limit in [7, 1, 1000] {
                assert_eq!(
                    pages(&store, key, SortDirection::Descending, limit).await,
                    want,
                    "{key:?} descending"
                );
            }
        }
        let bad = async |marker: Option<String>, sort_key: Option<String>| {
            let page = Page {
                marker,
                sort_key,
                ..all()
            };
            store
                .list_node_rows(&NodeFilter::default(), &page)
                .await
                .unwrap_err()
        };
        let missing = bad(Some(NodeId::random().to_string()), None).await;
        assert!(matches!(
            missing,
            StoreError::NotFound { what: "Marker", .. }
        ));
        let unknown = bad(None, Some("extra".into())).await;
        assert!(matches!(unknown, StoreError::Refused(_)));
    })
    .await;
}

#[tokio::test]
async fn filters() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let make = async |name: &str, f: &dyn Fn(&mut Node)| {
            let mut n = node(name);
            f(&mut n);
            store.create_node(&n, Vec::new()).await.unwrap();
            n
        };
        let instance = NodeId::random().to_string();
        let a = make("a", &|n| {
            n.instance_uuid = Some(instance.clone());
            n.instance_name = Some("i".into());
            n.owner = Some("p1".into());
            n.description = Some("Rack 100% Full_".into());
            n.provision_state = ProvisionState::Active;
        })
        .await;
        make("b", &|n| {
            n.maintenance = true;
            n.lessee = Some("p1".into());
            n.shard = Some("s1".into());
            n.conductor_group = "g".into();
            n.fault = Some(bessemer_model::NodeHealthFault::CleanFailure);
        })
        .await;
        make("c", &|n| {
            n.retired = true;
            n.driver = "redfish".into();
            n.resource_class = Some("rc".into());
            n.shard = Some("s2".into());
        })
        .await;
        make("child", &|n| n.parent_node = Some(a.id)).await;
        let check = async |filter: NodeFilter, want: &str| {
            let rows = store.list_nodes(&filter, &all()).await.unwrap();
            let names: Vec<_> = rows.iter().filter_map(|n| n.name.as_deref()).collect();
            assert_eq!(names.join(" "), want, "{filter:?}");
            assert_eq!(
                store.list_node_rows(&filter, &all()).await.unwrap().len(),
                rows.len()
            );
        };
        macro_rules! filter {
            ($($field:ident: $value:expr),* $(,)?) => {
                NodeFilter { $($field: $value,)* ..NodeFilter::default() }
            };
        }
        check(filter! {}, "a b c").await;
        check(filter! {include_children: true}, "a b c child").await;
        check(filter! {parent_node: Some(a.id)}, "child").await;
        check(filter! {instance_uuid: Some(instance.clone())}, "a").await;
        check(filter! {instance_name: Some("i".into())}, "a").await;
        check(filter! {associated: Some(true)}, "a").await;
        check(filter! {associated: Some(false)}, "b c").await;
        check(filter! {maintenance: Some(true)}, "b").await;
        check(filter! {maintenance: Some(false)}, "a c").await;
        check(filter! {retired: Some(true)}, "c").await;
        check(
            filter! {provision_states: Some(vec![ProvisionState::Active, ProvisionState::Error])},
            "a",
        )
        .await;
        check(filter! {provision_states: Some(Vec::new())}, "").await;
        check(filter! {driver: Some("redfish".into())}, "c").await;
        check(filter! {resource_class: Some("rc".into())}, "c").await;
        check(filter! {fault: Some("clean failure".into())}, "b").await;
        check(filter! {conductor_group: Some("g".into())}, "b").await;
        check(filter! {conductor_group: Some(String::new())}, "a c").await;
        check(filter! {owner: Some("p1".into())}, "a").await;
        check(filter! {lessee: Some("p1".into())}, "b").await;
        check(filter! {project: Some("p1".into())}, "a b").await;
        check(
            filter! {description_contains: Some("100% full_".into())},
            "a",
        )
        .await;
        check(filter! {description_contains: Some("100_".into())}, "").await;
        check(
            filter! {shards: Some(vec!["s1".into(), "s2".into()])},
            "b c",
        )
        .await;
        check(filter! {sharded: Some(true)}, "b c").await;
        check(filter! {sharded: Some(false)}, "a").await;
        check(filter! {chassis: Some(NodeId::random().to_string())}, "").await;
        check(
            filter! {maintenance: Some(true), driver: Some("redfish".into())},
            "",
        )
        .await;
    })
    .await;
}

/// A list costs as many statements for forty rows as for two.
#[tokio::test]
async fn statements_do_not_grow_with_rows() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let host = session(&store, "c1").await;
        let mut costs = Vec::new();
        for round in 0..2 {
            for n in 0..[2, 38][round] {
                let node = stored(&store, &format!("n{round}-{n}")).await;
                store
                    .create_port(&port(node.id, mac(u32::try_from(round * 100 + n).unwrap())))
                    .await
                    .unwrap();
                store
                    .submit(node.id, deploy(), nothing(), Vec::new())
                    .await
                    .unwrap();
            }
            let first = store
                .list_nodes(&NodeFilter::default(), &all())
                .await
                .unwrap()[0]
                .id;
            let marked = Page {
                marker: Some(first.to_string()),
                ..all()
            };
            let mut cost = Vec::new();
            let mut count = |so_far: &mut u64| {
                cost.push(store.statements_run() - *so_far);
                *so_far = store.statements_run();
            };
            let mut so_far = store.statements_run();
            store
                .list_node_rows(&NodeFilter::default(), &all())
                .await
                .unwrap();
            count(&mut so_far);
            store
                .list_nodes(&NodeFilter::default(), &marked)
                .await
                .unwrap();
            count(&mut so_far);
            store
                .list_ports(&PortFilter::default(), &all())
                .await
                .unwrap();
            count(&mut so_far);
            let due = store
                .claim(host, FLOWS, bessemer_model::Timestamp::now(), 100)
                .await
                .unwrap();
            assert!(due.len() >= 2);
            count(&mut so_far);
            costs.push(cost);
        }
        assert_eq!(costs[0], costs[1]);
        assert_eq!(costs[0][..3], [1, 2, 1]);
    })
    .await;
}
