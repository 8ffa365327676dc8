//! Nodes: written, changed, refused, and the document beside them.

use std::sync::Arc;

use bessemer_model::{
    Chassis, ChassisId, FieldSource, InterfaceKind, MASK, Node, NodeField, NodeHealthFault, NodeId,
    PowerState, ProvisionState, Timestamp,
};
use bessemer_store::testing::on_both;
use bessemer_store::{NodeFilter, NodeRow, Page, Store, StoreError, document};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::*;

/// A node with every field set to something.
fn full(name: &str, chassis: ChassisId) -> Node {
    let mut n = node(name);
    n.chassis = Some(chassis);
    for kind in InterfaceKind::ALL {
        n.interfaces.set(kind, Some(format!("{kind}-x")));
    }
    for (object, key) in [
        (&mut n.driver_info, "ipmi_password"),
        (&mut n.properties, "cpus"),
        (&mut n.extra, "e"),
        (&mut n.instance_info, "configdrive"),
        (&mut n.driver_internal_info, "agent_secret_token"),
        (&mut n.network_data, "links"),
        (&mut n.raid_config, "logical_disks"),
        (&mut n.target_raid_config, "logical_disks"),
        (&mut n.clean_step, "step"),
        (&mut n.deploy_step, "step"),
        (&mut n.service_step, "step"),
    ] {
        object.insert(key.into(), json!("hunter2 \"é\""));
    }
    n.traits = vec!["CUSTOM_A".into(), "HW_B".into()];
    n.power_state = Some(PowerState::On);
    n.target_power_state = Some(PowerState::Off);
    n.provision_state = ProvisionState::DeployWait;
    n.target_provision_state = Some(ProvisionState::Active);
    n.provision_updated_at = Some(Timestamp(5));
    n.last_error = Some("it said \"no\"\n".into());
    n.conductor = Some("c1".into());
    n.maintenance = true;
    n.maintenance_reason = Some("m".into());
    n.fault = Some(NodeHealthFault::PowerFailure);
    n.protected = true;
    n.protected_reason = Some("p".into());
    n.retired = true;
    n.retired_reason = Some("r".into());
    n.automated_clean = Some(false);
    n.disable_power_off = true;
    n.console_enabled = true;
    n.instance_uuid = Some(NodeId::random().to_string());
    n.instance_name = Some("i".into());
    n.resource_class = Some("rc".into());
    n.conductor_group = "g".into();
    n.owner = Some("o".into());
    n.lessee = Some("l".into());
    n.shard = Some("s".into());
    n.parent_node = Some(NodeId::random());
    n.allocation_uuid = Some(uuid::Uuid::new_v4());
    n.description = Some("d".into());
    n.boot_mode = Some("uefi".into());
    n.secure_boot = Some(true);
    n.health = Some("OK".into());
    n.inspection_started_at = Some(Timestamp(6));
    n.inspection_finished_at = Some(Timestamp(7));
    n.updated_at = Some(Timestamp(8));
    n
}

/// What is stored for lists is what the node's columns say.
fn assert_row(row: &NodeRow, node: &Node) {
    let stored: Vec<_> = document::members(&row.document)
        .map(|(field, json)| (field, String::from_utf8(json.to_vec()).unwrap()))
        .collect();
    let derived: Vec<_> = NodeField::ALL
        .iter()
        .filter(|field| field.source() == FieldSource::Document)
        .map(|field| (*field, document::member(node, *field).unwrap()))
        .collect();
    assert_eq!(stored, derived);
    for (field, json) in document::members(&row.volatile) {
        assert_eq!(
            Some(String::from_utf8_lossy(json).into_owned()),
            document::member(node, field),
            "{field:?}"
        );
    }
    assert_eq!(row.provision_state, node.provision_state);
}

#[tokio::test]
async fn every_field_is_kept() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let chassis = Chassis {
            id: ChassisId::random(),
            description: None,
            extra: Default::default(),
            created_at: Timestamp(1),
            updated_at: None,
        };
        let node = full("full", chassis.id);
        let missing = store.create_node(&node, Vec::new()).await;
        assert!(
            matches!(
                &missing,
                Err(StoreError::NotFound {
                    what: "Chassis",
                    ..
                })
            ),
            "{missing:?}"
        );
        store.create_chassis(&chassis).await.unwrap();
        store.create_node(&node, Vec::new()).await.unwrap();
        assert!(store.get_node(node.id).await.unwrap().unwrap() == node);
        assert!(store.find_node("full").await.unwrap().unwrap() == node);
        assert!(
            store
                .find_node(&node.id.to_string())
                .await
                .unwrap()
                .unwrap()
                == node
        );
        let row = store.get_node_row("full").await.unwrap().unwrap();
        assert_row(&row, &node);
        let (_, shown) = document::members(&row.volatile)
            .find(|(field, _)| *field == NodeField::DriverInternalInfo)
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(shown),
            format!(r#"{{"agent_secret_token":"{MASK}"}}"#)
        );

        // all the way back to nothing, then to full again
        let bare = Node::new(node.id, "other", node.created_at);
        for want in [&bare, &node] {
            let to = want.clone();
            let after = store
                .update_node(
                    node.id,
                    None,
                    false,
                    change(move |n| *n = to.clone()),
                    Vec::new(),
                )
                .await
                .unwrap();
            let read = store.get_node(node.id).await.unwrap().unwrap();
            assert!(read == after);
            let mut want = want.clone();
            want.revision = read.revision;
            want.updated_at = read.updated_at;
            want.provision_updated_at = read.provision_updated_at;
            assert!(read == want);
            assert_row(
                &store
                    .get_node_row(&node.id.to_string())
                    .await
                    .unwrap()
                    .unwrap(),
                &read,
            );
        }
        assert!(store.find_node("nobody").await.unwrap().is_none());
        assert!(store.get_node_row("nobody").await.unwrap().is_none());
        assert_eq!(store.count_nodes().await.unwrap(), 1);
        store.delete_node(node.id).await.unwrap();
        assert!(store.get_node(node.id).await.unwrap().is_none());
        assert!(matches!(
            store.delete_node(node.id).await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn the_document_follows_every_change() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let mut nodes = Vec::new();
        for n in 0..4 {
            nodes.push(stored(&store, &format!("n{n}")).await.id);
        }
        let mut rng = StdRng::seed_from_u64(11);
        for round in 0..60u64 {
            let id = nodes[rng.random_range(0..nodes.len())];
            let what = rng.random_range(0..9);
            let by_operation = change(move |n| match what {
                0 => n.description = Some(format!("round {round}")),
                1 => {
                    n.driver_info
                        .insert("ipmi_password".into(), json!(format!("pw{round}")));
                }
                2 => n.power_state = Some(PowerState::Off),
                3 => {
                    n.driver_internal_info.insert("round".into(), json!(round));
                }
                4 => n.traits.push(format!("CUSTOM_{round}")),
                5 => n.interfaces.set(InterfaceKind::Deploy, None),
                6 => n.automated_clean = Some(round % 2 == 0),
                7 => n.name = None,
                _ => n.maintenance = !n.maintenance,
            });
            store
                .update_node(id, None, false, by_operation, Vec::new())
                .await
                .unwrap();
        }
        let page = Page {
            limit: 1000,
            ..Page::default()
        };
        let filter = NodeFilter::default();
        let rows = store.list_node_rows(&filter, &page).await.unwrap();
        let all = store.list_nodes(&filter, &page).await.unwrap();
        assert_eq!((rows.len(), all.len()), (4, 4));
        for (row, node) in rows.iter().zip(&all) {
            assert_eq!(row.id, node.id);
            assert_row(row, node);
            assert!(!String::from_utf8_lossy(&row.document).contains("pw"));
        }
    })
    .await;
}

#[tokio::test]
async fn duplicates_two_at_once() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let check = async |one: Node, two: Node, field: &str, value: String| {
            let (a, b) = tokio::join!(
                store.create_node(&one, Vec::new()),
                store.create_node(&two, Vec::new())
            );
            let refused = match (a, b) {
                (Ok(()), Err(e)) | (Err(e), Ok(())) => e,
                other => panic!("one must win: {other:?}"),
            };
            match refused {
                StoreError::Duplicate {
                    what: "node",
                    field: f,
                    value: v,
                } => assert_eq!((f, v), (field, value)),
                other => panic!("{other:?}"),
            }
        };
        check(node("same"), node("same"), "name", "same".into()).await;
        let (one, mut two) = (node("a"), node("b"));
        two.id = one.id;
        let id = one.id.to_string();
        check(one, two, "uuid", id).await;
        let (mut one, mut two) = (node("c"), node("d"));
        let instance = NodeId::random().to_string();
        one.instance_uuid = Some(instance.clone());
        two.instance_uuid = Some(instance.clone());
        check(one, two, "instance_uuid", instance).await;

        // renamed to one that exists; nothing of the change stays
        let node = stored(&store, "e").await;
        let refused = store
            .update_node(
                node.id,
                None,
                false,
                change(|n| {
                    n.description = Some("x".into());
                    n.name = Some("same".into());
                }),
                Vec::new(),
            )
            .await;
        assert!(
            matches!(&refused, Err(StoreError::Duplicate { field: "name", .. })),
            "{refused:?}"
        );
        assert!(store.get_node(node.id).await.unwrap().unwrap() == node);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_guarded_by_the_revision() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let write = async |revision| {
            store
                .update_node(
                    node.id,
                    revision,
                    false,
                    change(|n| {
                        let old = n.extra.get("n").and_then(|v| v.as_i64()).unwrap_or(0);
                        n.extra.insert("n".into(), json!(old + 1));
                    }),
                    Vec::new(),
                )
                .await
        };
        let (a, b) = tokio::join!(write(Some(1)), write(Some(1)));
        assert!(
            matches!(
                (&a, &b),
                (Ok(_), Err(StoreError::Changed { .. })) | (Err(StoreError::Changed { .. }), Ok(_))
            ),
            "{a:?} {b:?}"
        );
        // without a revision nothing is lost either
        let all = futures_util::future::join_all((0..30).map(|_| write(None))).await;
        assert!(all.iter().all(Result::is_ok));
        let after = store.get_node(node.id).await.unwrap().unwrap();
        assert_eq!(after.extra.get("n"), Some(&json!(31)));
        assert_eq!(after.revision, 32);
        // a change that changes nothing raises nothing
        let same = store
            .update_node(node.id, Some(32), false, nothing(), Vec::new())
            .await
            .unwrap();
        assert!(same == after);
        assert!(matches!(
            store
                .update_node(NodeId::random(), None, false, nothing(), Vec::new())
                .await,
            Err(StoreError::NotFound { what: "Node", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn a_refused_command_harms_no_other() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let before = store.statements_run();
        let writes = (0..120).map(|n| {
            let store = store.clone();
            async move {
                match n % 4 {
                    0 => store
                        .create_node(&crate::support::node("n"), Vec::new())
                        .await
                        .map_err(|e| matches!(e, StoreError::Duplicate { .. })),
                    1 => store
                        .update_node(node.id, None, false, refuse("no"), vec![event("never")])
                        .await
                        .map(drop)
                        .map_err(|e| matches!(e, StoreError::Refused(f) if f.text == "no")),
                    _ => store
                        .add_timeline(node.id, vec![event("kept")])
                        .await
                        .map_err(|_| false),
                }
            }
        });
        let answers = futures_util::future::join_all(writes).await;
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.is_ok(), n % 4 > 1, "{n}");
            assert_ne!(answer, Err(false), "{n}");
        }
        if settings.connection.starts_with("sqlite") {
            // alone, each of the sixty lines would be begun and committed for itself: five statements
            let statements = store.statements_run() - before;
            assert!(statements < 120 * 5, "{statements}: were they batched?");
        }
        let lines = store.list_timeline(node.id, None, 1000).await.unwrap();
        assert_eq!(lines.len(), 60);
        assert!(lines.iter().all(|(_, e)| e.text == "kept"));
    })
    .await;
}

#[tokio::test]
async fn a_panic_of_a_change_is_its_callers() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let theirs = store.clone();
        let panics = tokio::spawn(async move {
            theirs
                .update_node(
                    node.id,
                    None,
                    false,
                    Arc::new(|_| panic!("a bug")),
                    Vec::new(),
                )
                .await
        });
        assert!(panics.await.unwrap_err().is_panic());
        store
            .add_timeline(node.id, vec![event("still there")])
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn odd_text_is_stored() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        let after = store
            .update_node(
                node.id,
                None,
                false,
                change(|n| {
                    n.last_error = Some("a\0b'\"$1".into());
                    n.extra.insert("k".into(), json!("a\0b"));
                }),
                Vec::new(),
            )
            .await
            .unwrap();
        let read = store.get_node(node.id).await.unwrap().unwrap();
        assert_eq!(read.last_error.as_deref(), Some("a\u{fffd}b'\"$1"));
        assert_eq!(read.extra, after.extra);
    })
    .await;
}

#[tokio::test]
async fn found_by_macs() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let (a, b) = (stored(&store, "a").await, stored(&store, "b").await);
        for (id, n) in [(a.id, 1), (a.id, 2), (b.id, 3)] {
            store.create_port(&port(id, mac(n))).await.unwrap();
        }
        let check = async |macs: &[u32], want: Option<NodeId>| {
            let macs: Vec<_> = macs.iter().map(|n| mac(*n)).collect();
            let found = store.find_node_by_macs(&macs).await.unwrap();
            assert_eq!(found.map(|n| n.id), want, "{macs:?}");
        };
        check(&[1, 2, 9], Some(a.id)).await;
        check(&[3], Some(b.id)).await;
        check(&[1, 3], None).await;
        check(&[9], None).await;
        check(&[], None).await;
    })
    .await;
}
