//! Allocations and their nodes; deploy templates, runbooks and inspection rules.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{
    Allocation, AllocationId, AllocationState, DeployTemplate, DeployTemplateId, InspectionRule,
    InspectionRuleId, Node, PowerState, ProvisionState, Runbook, RunbookId, RunbookStep,
    TemplateStep, Timestamp,
};
use bessemer_store::testing::on_both;
use bessemer_store::{
    AllocationFilter, AllocationRetry, Backfill, OperationStatus, Page, Store, StoreError,
};
use serde_json::json;

use crate::support::*;

const ONCE: AllocationRetry = AllocationRetry {
    attempts: 1,
    interval: Duration::ZERO,
};

fn all() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

fn wanted(name: Option<&str>) -> Allocation {
    Allocation {
        id: AllocationId::random(),
        name: name.map(str::to_owned),
        node: None,
        state: AllocationState::Allocating,
        owner: None,
        last_error: None,
        resource_class: Some("rc".into()),
        traits: Vec::new(),
        candidate_nodes: Vec::new(),
        extra: Default::default(),
        created_at: Timestamp::now(),
        updated_at: None,
    }
}

async fn free(store: &Store, name: &str, f: impl Fn(&mut Node)) -> Node {
    let mut node = node(name);
    node.provision_state = ProvisionState::Available;
    node.power_state = Some(PowerState::Off);
    node.resource_class = Some("rc".into());
    f(&mut node);
    store.create_node(&node, Vec::new()).await.unwrap();
    node
}

async fn matched(store: &Store, allocation: &Allocation) -> Allocation {
    store.create_allocation(allocation).await.unwrap();
    store.match_allocation(allocation.id, ONCE).await.unwrap()
}

async fn alter(store: &Store, node: &Node, f: impl Fn(&mut Node) + Send + Sync + 'static) {
    store
        .update_node(node.id, None, true, change(f), Vec::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_gets_which_node() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let plain = free(&store, "plain", |_| {}).await;
        let owned = free(&store, "owned", |n| {
            n.owner = Some("p1".into());
            n.traits = vec!["CUSTOM_A".into(), "CUSTOM_B".into()];
        })
        .await;
        // none of these may ever be taken
        free(&store, "class", |n| n.resource_class = Some("other".into())).await;
        free(&store, "no-power", |n| n.power_state = None).await;
        free(&store, "maintenance", |n| n.maintenance = true).await;
        free(&store, "busy", |n| n.provision_state = ProvisionState::Active).await;
        free(&store, "instance", |n| n.instance_uuid = Some("x".into())).await;
        free(&store, "child", |n| n.parent_node = Some(plain.id)).await;

        let check = async |allocation: Allocation, want: Result<&Node, &str>| {
            let seen = matched(&store, &allocation).await;
            match want {
                Ok(node) => {
                    assert_eq!(seen.node, Some(node.id), "{:?}", seen.last_error);
                    assert_eq!(seen.state, AllocationState::Active);
                    let node = store.get_node(node.id).await.unwrap().unwrap();
                    assert_eq!(node.instance_uuid, Some(seen.id.to_string()));
                    assert_eq!(node.allocation_uuid, Some(seen.id.0));
                    assert_eq!(node.instance_info["traits"], json!(seen.traits));
                }
                Err(why) => {
                    let text = format!("Failed to process allocation {}: {why}.", seen.id);
                    assert_eq!(seen.last_error, Some(text));
                    assert_eq!((seen.state, seen.node), (AllocationState::Error, None));
                }
            }
            let stored = store.get_allocation(seen.id).await.unwrap();
            assert_eq!(stored.as_ref(), Some(&seen));
            store.delete_allocation(seen.id).await.unwrap();
            assert_eq!(store.get_allocation(seen.id).await.unwrap(), None);
        };
        let with = |f: fn(&mut Allocation)| {
            let mut allocation = wanted(None);
            f(&mut allocation);
            allocation
        };
        check(with(|a| a.traits = vec!["CUSTOM_B".into()]), Ok(&owned)).await;
        check(with(|a| a.owner = Some("p1".into())), Ok(&owned)).await;
        check(
            with(|a| a.owner = Some("p2".into())),
            Err("no available nodes match the resource class rc"),
        )
        .await;
        check(
            with(|a| a.resource_class = Some("none".into())),
            Err("no available nodes match the resource class none"),
        )
        .await;
        check(
            with(|a| a.traits = vec!["CUSTOM_C".into(), "CUSTOM_A".into()]),
            Err("no suitable nodes have the requested traits CUSTOM_C, CUSTOM_A"),
        )
        .await;
        for (node, name) in [(&plain, "plain"), (&owned, "owned")] {
            let mut candidate = wanted(None);
            candidate.candidate_nodes = vec![node.id.to_string()];
            check(candidate, Ok(node)).await;
            for _ in 0..4 {
                check(wanted(Some(name)), Ok(node)).await;
            }
        }
        let mut nobody = wanted(None);
        nobody.candidate_nodes = vec![AllocationId::random().to_string()];
        check(
            nobody,
            Err("none of the requested nodes are available and match the resource class rc"),
        )
        .await;
        // its id is the instance of another node
        let taken = AllocationId::random();
        alter(&store, &plain, move |n| n.instance_uuid = Some(taken.to_string())).await;
        let seen = matched(&store, &Allocation { id: taken, ..wanted(None) }).await;
        assert_eq!(
            seen.last_error.unwrap(),
            format!("Unexpected exception during allocation: Instance {taken} is already associated with a node, it cannot be associated with this other node {}", owned.id)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_share_a_node() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let mut nodes = HashSet::new();
        for n in 0..12 {
            nodes.insert(free(&store, &format!("n{n}"), |_| {}).await.id);
        }
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    let allocation = wanted(None);
                    store.create_allocation(&allocation).await.unwrap();
                    // every second one is looked at by two conductors
                    let one = store.match_allocation(allocation.id, ONCE);
                    if n % 2 == 0 {
                        one.await.unwrap();
                    } else {
                        let (a, b) = tokio::join!(one, store.match_allocation(allocation.id, ONCE));
                        a.unwrap();
                        b.unwrap();
                    }
                    store.get_allocation(allocation.id).await.unwrap().unwrap()
                })
            })
            .collect();
        let mut given = HashSet::new();
        let mut failed = 0;
        for task in tasks {
            let seen = task.await.unwrap();
            match (seen.state, seen.node) {
                (AllocationState::Active, Some(node)) => {
                    assert!(given.insert(node), "{node} was given twice");
                    let node = store.get_node(node).await.unwrap().unwrap();
                    assert_eq!(node.instance_uuid, Some(seen.id.to_string()));
                    assert_eq!(node.allocation_uuid, Some(seen.id.0));
                }
                (AllocationState::Error, None) => failed += 1,
                other => panic!("{other:?}"),
            }
        }
        // nobody was turned away while there was a node for it
        assert_eq!(given, nodes);
        assert_eq!(failed, 12);
    })
    .await;
}

#[tokio::test]
async fn nodes_that_are_worked_on_are_tried_again() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = free(&store, "n", |_| {}).await;
        store
            .submit(node.id, deploy(), nothing(), Vec::new())
            .await
            .unwrap();
        let session = session(&store, "host").await;
        let claimed = store
            .claim(session, FLOWS, Timestamp::now(), 1)
            .await
            .unwrap();
        let retry = AllocationRetry {
            attempts: 3,
            interval: Duration::from_secs(3600),
        };
        let due = async || store.due_allocations(Timestamp::now(), 10).await.unwrap();

        let allocation = wanted(None);
        store.create_allocation(&allocation).await.unwrap();
        assert_eq!(
            store.next_allocation_due().await.unwrap(),
            Some(Timestamp(0))
        );
        assert_eq!(due().await, [allocation.id]);
        let seen = store.match_allocation(allocation.id, retry).await.unwrap();
        assert_eq!(seen.state, AllocationState::Allocating);
        assert!(due().await.is_empty());
        let later = store.next_allocation_due().await.unwrap().unwrap();
        assert!(later > Timestamp::now());
        assert_eq!(
            store.due_allocations(later, 10).await.unwrap(),
            [allocation.id]
        );
        store.match_allocation(allocation.id, retry).await.unwrap();
        let last = store.match_allocation(allocation.id, retry).await.unwrap();
        assert_eq!(
            last.last_error.unwrap(),
            format!(
                "Failed to process allocation {}: could not reserve any of 1 suitable nodes.",
                allocation.id
            )
        );
        assert_eq!(store.next_allocation_due().await.unwrap(), None);

        // the work ends between two looks
        let patient = wanted(None);
        store.create_allocation(&patient).await.unwrap();
        store.match_allocation(patient.id, retry).await.unwrap();
        store
            .save_outcome(
                session,
                claimed[0].operation.id,
                claimed[0].operation.fence,
                update(OperationStatus::Finished),
                nothing(),
                Vec::new(),
                Vec::new(),
            )
            .await
            .unwrap();
        let seen = store.match_allocation(patient.id, retry).await.unwrap();
        assert_eq!(seen.node, Some(node.id));
    })
    .await;
}

#[tokio::test]
async fn an_allocation_lasts_as_long_as_its_instance() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = free(&store, "n", |_| {}).await;
        let again = async || {
            let seen = matched(&store, &wanted(None)).await;
            assert_eq!(seen.node, Some(node.id), "{:?}", seen.last_error);
            seen.id
        };
        let gone = async |id| {
            assert_eq!(store.get_allocation(id).await.unwrap(), None);
            let node = store.get_node(node.id).await.unwrap().unwrap();
            assert_eq!((node.instance_uuid, node.allocation_uuid), (None, None));
        };
        // the instance is taken off the node, as by a tear-down
        let id = again().await;
        alter(&store, &node, |n| n.instance_uuid = None).await;
        gone(id).await;

        // refused while the node is in use
        let id = again().await;
        for (state, target, want) in [
            (ProvisionState::Active, None, "the node is active"),
            (
                ProvisionState::Deploying,
                Some(ProvisionState::Active),
                "the node is in state deploying where updates are not allowed",
            ),
        ] {
            alter(&store, &node, move |n| {
                n.provision_state = state;
                n.target_provision_state = target;
            })
            .await;
            let refused = store.delete_allocation(id).await.unwrap_err();
            assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
            assert!(refused.to_string().contains(want), "{refused}");
        }
        alter(&store, &node, |n| n.maintenance = true).await;
        store.delete_allocation(id).await.unwrap();
        gone(id).await;

        // the node itself goes
        alter(&store, &node, |n| {
            n.maintenance = false;
            n.provision_state = ProvisionState::Available;
            n.target_provision_state = None;
        })
        .await;
        let id = again().await;
        store.delete_node(node.id).await.unwrap();
        assert_eq!(store.get_allocation(id).await.unwrap(), None);
        assert!(matches!(
            store.delete_allocation(id).await,
            Err(StoreError::NotFound {
                what: "Allocation",
                ..
            })
        ));
    })
    .await;
}

#[tokio::test]
async fn nodes_in_use_are_entered() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = free(&store, "n", |n| n.provision_state = ProvisionState::Active).await;
        let mut ours = wanted(Some("mine"));
        let fails = async |allocation: &Allocation, want: &str| {
            match store.backfill_allocation(allocation, node.id).await.unwrap() {
                Backfill::Failed(seen, error) => {
                    assert_eq!(seen.state, AllocationState::Error);
                    assert_eq!(seen.last_error, Some(error.to_string()));
                    assert!(error.to_string().contains(want), "{error}");
                    store.delete_allocation(seen.id).await.unwrap();
                }
                other => panic!("{other:?}"),
            }
        };
        ours.resource_class = Some("other".into());
        ours.traits = vec!["CUSTOM_A".into()];
        ours.candidate_nodes = vec!["x".into()];
        fails(
            &ours,
            "Resource class rc does not match the requested resource class other; List of traits  does not match the requested traits CUSTOM_A; Candidate nodes must be empty or contain the target node, but got x",
        )
        .await;
        let mut ours = wanted(Some("mine"));
        alter(&store, &node, |n| n.instance_uuid = Some("other".into())).await;
        fails(&ours, "is associated with instance other.").await;
        let id = ours.id;
        alter(&store, &node, move |n| {
            n.instance_uuid = Some(id.to_string().to_uppercase());
        })
        .await;
        ours.resource_class = None;
        match store.backfill_allocation(&ours, node.id).await.unwrap() {
            Backfill::Active(seen) => assert_eq!(seen.node, Some(node.id)),
            other => panic!("{other:?}"),
        }
        let refused = store.backfill_allocation(&ours, node.id).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Duplicate { .. }),
            "{refused}"
        );
        let filter = AllocationFilter {
            node: Some(node.id),
            ..AllocationFilter::default()
        };
        let listed = store.list_allocations(&filter, &all()).await.unwrap();
        assert_eq!(listed.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn names_are_found_and_changed() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = free(&store, "n", |_| {}).await;
        let idents = [
            "n".to_owned(),
            node.id.to_string(),
            node.id.to_string().to_uppercase(),
            "x".into(),
        ];
        let found = store.node_ids(&idents, None).await.unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.values().all(|id| *id == node.id));
        assert!(store.node_ids(&[], None).await.unwrap().is_empty());
        let of_others = store.node_ids(&idents, Some("p")).await.unwrap();
        assert!(of_others.is_empty());

        let (a, b) = (wanted(Some("a")), wanted(Some("b")));
        store.create_allocation(&a).await.unwrap();
        store.create_allocation(&b).await.unwrap();
        let rename = |name: &'static str| {
            Arc::new(move |a: &mut Allocation| {
                a.name = Some(name.into());
                a.state = AllocationState::Error;
                Ok(())
            })
        };
        let refused = store
            .update_allocation(a.id, rename("b"))
            .await
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "A allocation with name b already exists."
        );
        let after = store.update_allocation(a.id, rename("c")).await.unwrap();
        assert_eq!(
            (after.name.as_deref(), after.state),
            (Some("c"), AllocationState::Allocating)
        );
        assert!(after.updated_at.is_some());
        assert_eq!(store.find_allocation("c").await.unwrap(), Some(after));
    })
    .await;
}

#[tokio::test]
async fn templates_runbooks_and_rules() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let template = |name: &str| DeployTemplate {
            id: DeployTemplateId::random(),
            name: name.into(),
            extra: Default::default(),
            steps: vec![TemplateStep {
                interface: "deploy".into(),
                step: "s".into(),
                args: Default::default(),
                priority: 10,
            }],
            created_at: Timestamp(1),
            updated_at: None,
        };
        let (a, b) = (template("CUSTOM_A"), template("CUSTOM_B"));
        store.create_deploy_template(&a).await.unwrap();
        store.create_deploy_template(&b).await.unwrap();
        assert!(matches!(
            store.create_deploy_template(&template("CUSTOM_A")).await,
            Err(StoreError::Duplicate { field: "name", .. })
        ));
        let names = ["CUSTOM_X".to_owned(), "CUSTOM_B".into(), "CUSTOM_A".into()];
        let found = store.deploy_templates_by_names(&names).await.unwrap();
        assert_eq!(found, [a.clone(), b.clone()]);
        assert!(
            store
                .deploy_templates_by_names(&[])
                .await
                .unwrap()
                .is_empty()
        );
        // what changes nothing is no change
        let same = store
            .update_deploy_template(a.id, Arc::new(|_| Ok(())))
            .await
            .unwrap();
        assert_eq!(same, a);

        let mut runbook = Runbook {
            id: RunbookId::random(),
            name: "r".into(),
            description: Some("d".into()),
            public: true,
            owner: None,
            disable_ramdisk: true,
            extra: Default::default(),
            steps: vec![RunbookStep {
                interface: "bios".into(),
                step: "s".into(),
                args: Default::default(),
                order: 1,
            }],
            traits: vec!["CUSTOM_A".into()],
            created_at: Timestamp(1),
            updated_at: None,
        };
        store.create_runbook(&runbook).await.unwrap();
        assert_eq!(
            store.find_runbook("r").await.unwrap(),
            Some(runbook.clone())
        );
        store
            .update_runbook_traits(
                runbook.id,
                Arc::new(|r: &mut Runbook| {
                    r.traits.clear();
                    Ok(())
                }),
            )
            .await
            .unwrap();
        runbook.traits.clear();
        assert_eq!(
            store.get_runbook(runbook.id).await.unwrap(),
            Some(runbook.clone())
        );
        let mut private = runbook.clone();
        private.id = RunbookId::random();
        private.name = "p".into();
        private.public = false;
        private.owner = Some("p1".into());
        store.create_runbook(&private).await.unwrap();
        for (project, want) in [(None, 2), (Some("p1"), 2), (Some("p2"), 1)] {
            let seen = store.list_runbooks(project, &all()).await.unwrap();
            assert_eq!(seen.len(), want, "{project:?}");
        }

        for priority in [1, 9, 5] {
            let rule = InspectionRule {
                id: InspectionRuleId::random(),
                priority,
                description: None,
                sensitive: true,
                phase: Some("main".into()),
                conditions: vec![json!({"op": "eq", "args": {"values": [1, 1]}})],
                actions: vec![json!({"op": "log", "args": {"msg": "x"}})],
                created_at: Timestamp(1),
                updated_at: None,
            };
            store.create_inspection_rule(&rule).await.unwrap();
            let stored = store.get_inspection_rule(rule.id).await.unwrap();
            assert_eq!(stored, Some(rule));
        }
        let rules = store.inspection_rules_of_phase("main").await.unwrap();
        let order: Vec<i64> = rules.iter().map(|r| r.priority).collect();
        assert_eq!(order, [9, 5, 1]);
        assert!(
            store
                .inspection_rules_of_phase("x")
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}
