//! Operations, sessions, signals.

use std::collections::HashSet;
use std::time::Duration;

use bessemer_model::{
    HistoryId, Node, OperationId, PowerState, ProvisionState, SessionId, Timestamp,
};
use bessemer_store::testing::on_both;
use bessemer_store::{
    HistoryRow, OperationStatus, OperationUpdate, Page, Requester, SignalKind, Store, StoreError,
};
use serde_json::json;

use crate::support::*;

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

/// A node with an operation that `session` has claimed; the operation's id.
async fn claimed(store: &Store, session: SessionId, name: &str) -> (Node, OperationId) {
    let node = stored(store, name).await;
    store
        .submit(node.id, deploy(), nothing(), Vec::new())
        .await
        .unwrap();
    let mut claimed = store
        .claim(session, FLOWS, Timestamp::now(), 1)
        .await
        .unwrap();
    let claimed = claimed.pop().unwrap();
    assert_eq!(claimed.node.id, node.id);
    (claimed.node, claimed.operation.id)
}

#[tokio::test]
async fn submitted_two_at_once() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let other = Store::open(&settings).await.unwrap();
        for n in 0..5 {
            let node = stored(&store, &format!("n{n}")).await;
            let set = |text: &'static str| change(move |n| n.description = Some(text.into()));
            let (a, b) = tokio::join!(
                store.submit(node.id, deploy(), set("a"), Vec::new()),
                other.submit(node.id, deploy(), set("b"), Vec::new())
            );
            let (won, refused) = match (a, b) {
                (Ok(n), Err(e)) | (Err(e), Ok(n)) => (n, e),
                other => panic!("{other:?}"),
            };
            assert!(
                matches!(&refused, StoreError::OperationOpen { flow, .. } if flow == "deploy"),
                "{refused:?}"
            );
            // nothing of the loser's change
            let read = store.get_node(node.id).await.unwrap().unwrap();
            assert_eq!((read.description, read.revision), (won.description, 2));
            assert!(matches!(
                store.delete_node(node.id).await,
                Err(StoreError::OperationOpen { .. })
            ));
        }
        let node = stored(&store, "refused").await;
        let refused = store
            .submit(node.id, deploy(), refuse("not in this state"), Vec::new())
            .await;
        assert!(matches!(refused, Err(StoreError::Refused(_))));
        assert!(store.get_open_operation(node.id).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn claimed_once_by_many_at_once() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let other = Store::open(&settings).await.unwrap();
        let mut want = HashSet::new();
        for n in 0..30 {
            let node = stored(&store, &format!("n{n}")).await;
            let new = deploy();
            want.insert(new.id);
            store
                .submit(node.id, new, nothing(), Vec::new())
                .await
                .unwrap();
        }
        assert_eq!(
            store
                .count_open_operations(&["clean", "deploy"], None)
                .await
                .unwrap(),
            30
        );
        let (a, b) = (session(&store, "a").await, session(&other, "b").await);
        let claimers = (0..6).map(|n| {
            let (store, session) = if n % 2 == 0 { (&store, a) } else { (&other, b) };
            async move {
                let mut mine = Vec::new();
                loop {
                    let some = store
                        .claim(session, FLOWS, Timestamp::now(), 3)
                        .await
                        .unwrap();
                    if some.is_empty() {
                        return mine;
                    }
                    assert!(some.len() <= 3);
                    mine.extend(some.into_iter().map(|c| (c, session)));
                }
            }
        });
        let all: Vec<_> = futures_util::future::join_all(claimers)
            .await
            .into_iter()
            .flatten()
            .collect();
        let ids: HashSet<_> = all.iter().map(|(c, _)| c.operation.id).collect();
        assert_eq!((all.len(), ids), (30, want));
        for (claimed, session) in &all {
            assert_eq!(claimed.operation.fence, 1);
            assert_eq!(claimed.operation.owner, Some(*session));
            let stored = store
                .get_operation(claimed.operation.id)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(stored.owner, Some(*session));
        }
    })
    .await;
}

#[tokio::test]
async fn taken_over_from_the_dead() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let old = session(&store, "a").await;
        let (node, operation) = claimed(&store, old, "n").await;
        // a session that never lived claims nothing
        let stillborn = store
            .register_conductor("b", "", &json!({}), Duration::ZERO)
            .await
            .unwrap();
        let alive = session(&store, "c").await;
        let claim = async |session| {
            store
                .claim(session, FLOWS, Timestamp::now(), 5)
                .await
                .unwrap()
        };
        assert!(claim(stillborn).await.is_empty());
        // while its owner lives, nobody takes it
        assert!(claim(alive).await.is_empty());
        // the owner's host starts anew: the lease is nobody's
        session(&store, "a").await;
        let read = store.get_node(node.id).await.unwrap().unwrap();
        assert_eq!((read.reservation, read.revision), (None, node.revision));
        assert!(!store.holds_lease(old, operation, 1).await.unwrap());
        let save = async |session, fence| {
            store
                .save_outcome(
                    session,
                    operation,
                    fence,
                    update(OperationStatus::Finished),
                    change(|n| n.description = Some("written".into())),
                    vec![event("written")],
                    Vec::new(),
                )
                .await
        };
        // lost already before another has it
        assert!(matches!(
            save(old, 1).await,
            Err(StoreError::LeaseLost { .. })
        ));
        let taken = claim(alive).await;
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].operation.fence, taken[0].operation.attempt),
            (2, 2)
        );
        assert_eq!(taken[0].node.reservation.as_deref(), Some("c"));
        for (session, fence) in [(old, 1), (old, 2), (alive, 1)] {
            let refused = save(session, fence).await;
            assert!(
                matches!(&refused, Err(StoreError::LeaseLost { .. })),
                "{refused:?}"
            );
            let refused = store
                .save_progress(session, operation, fence, nothing(), vec![event("no")])
                .await;
            assert!(matches!(refused, Err(StoreError::LeaseLost { .. })));
        }
        assert!(
            store
                .list_timeline(node.id, None, 5)
                .await
                .unwrap()
                .is_empty()
        );
        save(alive, 2).await.unwrap();
        assert!(matches!(
            save(alive, 2).await,
            Err(StoreError::LeaseLost { .. })
        ));
        assert_eq!(
            store
                .get_operation(operation)
                .await
                .unwrap()
                .unwrap()
                .status,
            OperationStatus::Finished
        );
    })
    .await;
}

#[tokio::test]
async fn a_closed_session_gives_its_work_back() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let (a, b) = (session(&store, "a").await, session(&store, "b").await);
        let (node, operation) = claimed(&store, a, "n").await;
        // a dead lease does not lock the API out
        store.close_session(a).await.unwrap();
        store
            .update_node(
                node.id,
                Some(node.revision),
                false,
                change(|n| n.description = Some("x".into())),
                Vec::new(),
            )
            .await
            .unwrap();
        let taken = store.claim(b, FLOWS, Timestamp::now(), 5).await.unwrap();
        assert_eq!(taken[0].operation.id, operation);
        // but a living one does, except for who may
        let locked = store.delete_node(node.id).await.unwrap_err();
        assert_eq!(
            locked.to_string(),
            format!(
                "Node {} is locked by host b, please retry after the current operation is completed.",
                node.id
            )
        );
        store
            .update_node(
                node.id,
                None,
                true,
                change(|n| n.maintenance = true),
                Vec::new(),
            )
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn due_at_their_time_only() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let session = session(&store, "a").await;
        let start = Timestamp::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        let due = async |now| {
            let claimed = store.claim(session, FLOWS, now, 9).await.unwrap();
            claimed.into_iter().next().map(|c| c.operation)
        };
        let (_, operation) = claimed(&store, session, "n").await;
        let wait = async |fence, wake_at, deadline_at, keep_attempts| {
            let update = OperationUpdate {
                wake_at,
                deadline_at,
                keep_attempts,
                ..update(OperationStatus::Waiting)
            };
            store
                .save_outcome(
                    session,
                    operation,
                    fence,
                    update,
                    nothing(),
                    Vec::new(),
                    Vec::new(),
                )
                .await
                .unwrap();
        };
        wait(1, Some(at(10)), Some(at(20)), true).await;
        assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
        assert!(due(at(9)).await.is_none());
        let row = due(at(10)).await.unwrap();
        assert_eq!(
            (row.fence, row.attempt, row.phase.as_str()),
            (2, 2, "second")
        );
        assert_eq!(row.data, json!({"step": 2}));
        assert_eq!(row.reason.as_deref(), Some("waiting for the agent"));
        assert_eq!(row.args, json!({"a": 1}));
        wait(2, None, Some(at(20)), false).await;
        assert_eq!(store.next_due().await.unwrap(), Some(at(20)));
        assert!(due(at(19)).await.is_none());
        assert_eq!(due(at(20)).await.unwrap().attempt, 1);
        wait(3, None, None, false).await;
        assert_eq!(store.next_due().await.unwrap(), None);
        assert!(due(at(1_000_000)).await.is_none());
        // versions that this conductor does not know are left alone
        store
            .signal(
                store.get_operation(operation).await.unwrap().unwrap().node,
                SignalKind::Wake,
                json!(null),
                None,
                Vec::new(),
            )
            .await
            .unwrap();
        for flows in [&[("deploy", 2)][..], &[("clean", 1)], &[]] {
            assert!(
                store
                    .claim(session, flows, at(0), 9)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
        assert_eq!(due(at(0)).await.unwrap().fence, 4);
    })
    .await;
}

#[tokio::test]
async fn signals_are_kept_until_consumed() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let session = session(&store, "a").await;
        let idle = stored(&store, "idle").await;
        let heard = store
            .signal(
                idle.id,
                SignalKind::Heartbeat,
                json!({}),
                Some(change(|n| n.description = Some("heard".into()))),
                vec![event("heartbeat")],
            )
            .await
            .unwrap();
        assert!(!heard);
        let read = store.get_node(idle.id).await.unwrap().unwrap();
        assert_eq!(read.description.as_deref(), Some("heard"));

        let (node, operation) = claimed(&store, session, "n").await;
        let send = async |kind, n: i32| {
            assert!(
                store
                    .signal(node.id, kind, json!(n), None, Vec::new())
                    .await
                    .unwrap()
            );
        };
        let claim = async || {
            store
                .claim(session, FLOWS, Timestamp::now(), 1)
                .await
                .unwrap()
                .pop()
        };
        let save = async |fence, consumed| {
            let update = OperationUpdate {
                consumed,
                ..update(OperationStatus::Waiting)
            };
            store
                .save_outcome(
                    session,
                    operation,
                    fence,
                    update,
                    nothing(),
                    Vec::new(),
                    Vec::new(),
                )
                .await
                .unwrap();
        };
        // comes while the phase runs: the wait that follows ends at once
        send(SignalKind::Heartbeat, 1).await;
        send(SignalKind::Abort, 2).await;
        assert!(claim().await.is_none());
        save(1, Vec::new()).await;
        let c = claim().await.unwrap();
        let seen: Vec<_> = c
            .signals
            .iter()
            .map(|s| (s.kind, s.payload.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (SignalKind::Heartbeat, json!(1)),
                (SignalKind::Abort, json!(2))
            ]
        );
        // one consumed, one comes meanwhile
        send(SignalKind::Unhold, 3).await;
        save(2, vec![c.signals[0].id, c.signals[1].id]).await;
        let c = claim().await.unwrap();
        assert_eq!(c.signals.len(), 1);
        assert_eq!(c.signals[0].kind, SignalKind::Unhold);
        save(3, vec![c.signals[0].id]).await;
        assert!(claim().await.is_none());
        // an agent that goes on while nobody listens fills nothing
        for n in 0..40 {
            send(SignalKind::Heartbeat, n).await;
        }
        send(SignalKind::Abort, 99).await;
        let c = claim().await.unwrap();
        assert_eq!(c.signals.len(), 17);
        assert_eq!(c.signals[15].payload, json!(39));
    })
    .await;
}

#[tokio::test]
async fn progress_keeps_the_lease() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let session = session(&store, "a").await;
        let (node, operation) = claimed(&store, session, "n").await;
        store
            .save_progress(
                session,
                operation,
                1,
                change(|n| n.power_state = Some(PowerState::On)),
                vec![event("on")],
            )
            .await
            .unwrap();
        let read = store.get_node(node.id).await.unwrap().unwrap();
        assert_eq!(read.power_state, Some(PowerState::On));
        assert_eq!(read.reservation.as_deref(), Some("a"));
        assert_eq!(read.revision, node.revision + 1);
        // an outcome that goes on keeps it too
        let after = store
            .save_outcome(
                session,
                operation,
                1,
                update(OperationStatus::Running),
                nothing(),
                Vec::new(),
                vec![HistoryRow {
                    id: HistoryId::random(),
                    node: node.id,
                    conductor: None,
                    created_at: Timestamp::now(),
                    severity: "INFO".into(),
                    event_type: "deploy".into(),
                    event: "x".into(),
                    user: Some("u".into()),
                    project: Some("p".into()),
                    state: Some("deploying".into()),
                    target_provision_state: None,
                    duration_seconds: Some(7),
                }],
            )
            .await
            .unwrap();
        assert_eq!(after.reservation.as_deref(), Some("a"));
        assert!(store.holds_lease(session, operation, 1).await.unwrap());
        let page = Page {
            limit: 10,
            ..Page::default()
        };
        let history = store.list_history(node.id, &page).await.unwrap();
        assert_eq!(history[0].user.as_deref(), Some("u"));
        // panics are counted until an outcome
        assert_eq!(store.record_panic(operation, "index").await.unwrap(), 1);
        assert_eq!(store.record_panic(operation, "index").await.unwrap(), 2);
        let keep = OperationUpdate {
            keep_attempts: true,
            ..update(OperationStatus::Running)
        };
        for (outcome, want) in [(keep, 2), (update(OperationStatus::Running), 0)] {
            store
                .save_outcome(
                    session,
                    operation,
                    1,
                    outcome,
                    nothing(),
                    Vec::new(),
                    Vec::new(),
                )
                .await
                .unwrap();
            let row = store.get_operation(operation).await.unwrap().unwrap();
            assert_eq!(row.panics, want);
        }
    })
    .await;
}

#[tokio::test]
async fn idle_nodes_only() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let a = session(&store, "a").await;
        let node = stored(&store, "n").await;
        let sync = async |session| {
            store
                .update_idle_node(
                    session,
                    node.id,
                    change(|n| n.power_state = Some(PowerState::Off)),
                    Vec::new(),
                )
                .await
        };
        assert_eq!(sync(a).await.unwrap().power_state, Some(PowerState::Off));
        assert!(matches!(
            sync(SessionId::random()).await,
            Err(StoreError::LeaseLost { .. })
        ));
        store
            .submit(node.id, deploy(), nothing(), Vec::new())
            .await
            .unwrap();
        assert!(matches!(sync(a).await, Err(StoreError::Locked { .. })));
        let claimed = store.claim(a, FLOWS, Timestamp::now(), 1).await.unwrap();
        assert!(matches!(sync(a).await, Err(StoreError::Locked { holder, .. }) if holder == "a"));
        store
            .save_outcome(
                a,
                claimed[0].operation.id,
                1,
                update(OperationStatus::Failed),
                nothing(),
                Vec::new(),
                Vec::new(),
            )
            .await
            .unwrap();
        sync(a).await.unwrap();
    })
    .await;
}

/// Another controller's commit wakes this one's engine, where they share a database.
#[tokio::test]
async fn changes_are_heard_from_other_controllers() {
    let database = bessemer_store::testing::postgres().await;
    let store = Store::open(&database.settings).await.unwrap();
    let other = Store::open(&database.settings).await.unwrap();
    let node = stored(&other, "n").await;
    let mut changes = store.subscribe_changes();
    let heard = async {
        // the first ones may be before this store listens
        loop {
            other
                .signal(node.id, SignalKind::Wake, json!({}), None, Vec::new())
                .await
                .unwrap();
            let soon = tokio::time::timeout(Duration::from_millis(200), changes.changed());
            if let Ok(changed) = soon.await {
                return changed.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard)
        .await
        .unwrap();
    store.close().await;
    other.close().await;
}

/// Who asks for an operation stands in the timeline, and in the history of what it does.
#[tokio::test]
async fn requesters_are_remembered() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let session = session(&store, "a").await;
        let page = Page {
            limit: 10,
            ..Page::default()
        };
        for (name, asked) in [("n1", true), ("n2", false)] {
            let node = stored(&store, name).await;
            let submitting = store.submit(node.id, deploy(), nothing(), vec![event("asked")]);
            if asked {
                let requester = Requester {
                    user_id: Some("u-1".into()),
                    project_id: Some("p-1".into()),
                    phrase: " by jo from 192.0.2.7".into(),
                };
                requester.asks(submitting).await.unwrap();
            } else {
                submitting.await.unwrap();
            }
            let claimed = store
                .claim(session, FLOWS, Timestamp::now(), 1)
                .await
                .unwrap();
            let operation = claimed[0].operation.id;
            let entry = HistoryRow {
                id: HistoryId::random(),
                node: node.id,
                conductor: None,
                created_at: Timestamp::now(),
                severity: "ERROR".into(),
                event_type: "deploy".into(),
                event: "x".into(),
                user: None,
                project: None,
                state: None,
                target_provision_state: None,
                duration_seconds: None,
            };
            store
                .save_outcome(
                    session,
                    operation,
                    1,
                    update(OperationStatus::Failed),
                    nothing(),
                    Vec::new(),
                    vec![entry],
                )
                .await
                .unwrap();
            let history = store.list_history(node.id, &page).await.unwrap();
            assert_eq!(history[0].user.as_deref(), asked.then_some("u-1"));
            assert_eq!(history[0].project.as_deref(), asked.then_some("p-1"));
            let timeline = store.list_timeline(node.id, None, 10).await.unwrap();
            let said = timeline
                .iter()
                .any(|(_, line)| line.text == "asked by jo from 192.0.2.7");
            assert_eq!(said, asked, "{timeline:?}");
        }
    })
    .await;
}

/// A conductor takes work on nodes of its group only, and leaves drivers that others have to them.
#[tokio::test]
async fn work_is_taken_by_group_and_driver() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n1").await;
        let host = session(&store, "c1").await;
        let moved = change(|n| n.conductor_group = "rack1".into());
        store
            .submit(node.id, deploy(), moved, Vec::new())
            .await
            .unwrap();
        let able = |group: &str, others: &[&str]| bessemer_store::Able {
            nodes: Some((
                group.to_owned(),
                others.iter().map(|d| (*d).to_owned()).collect(),
            )),
            ..bessemer_store::Able::from(FLOWS)
        };
        let driver = node.driver.as_str();
        for (able, want) in [
            (able("", &[]), 0),
            (able("rack1", &[driver]), 0),
            (able("rack1", &["other", driver]), 0),
            (able("rack1", &["other"]), 1),
        ] {
            let claimed = store.claim(host, able.clone(), Timestamp::now(), 9).await;
            assert_eq!(claimed.unwrap().len(), want, "{able:?}");
        }
    })
    .await;
}

/// What kills its conductors again and again is left alone for a while between them.
#[tokio::test]
async fn repeated_deaths_are_followed_by_a_pause() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n1").await;
        store
            .submit(node.id, deploy(), nothing(), Vec::new())
            .await
            .unwrap();
        // at once as long as it may be chance
        for attempt in 1..=3 {
            let host = session(&store, "c1").await;
            let claimed = store.claim(host, FLOWS, Timestamp::now(), 9).await.unwrap();
            assert_eq!(claimed[0].operation.attempt, attempt);
        }
        let host = session(&store, "c1").await;
        let died = store.claim(host, FLOWS, Timestamp::now(), 9).await.unwrap();
        assert!(died.is_empty(), "claimed at once after three deaths");
        let due = store.next_due().await.unwrap().unwrap();
        assert!(due.since(Timestamp::now()) <= Duration::from_millis(200));
        let later = Timestamp::now().after(Duration::from_secs(1));
        let claimed = store.claim(host, FLOWS, later, 9).await.unwrap();
        assert_eq!(claimed[0].operation.attempt, 4);
    })
    .await;
}
