//! The engine's crash test: the controller is dropped before and after every stored write of a node's whole life.
//!
//! A point is a write command, where the node's operation stood when it came (flow, phase, step), and whether the write is
//! to come or is committed. The controller is dropped at the first occurrence of every point and started again on the
//! same database and the same addresses, over and over in one life; that life must reach the same end as an undisturbed
//! one, and the hosts' log must show nothing destructive twice. So the test needs no list of writes: a new phase, step or
//! command is covered when it exists, and the phases of all flows are checked against the list at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bessemer_store::testing::{self, Database};
use bessemer_store::{Point, Store, WriteProbe};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::harness::{Api, Controller, Life, PATIENCE, Site, Step, assert_clean_life};
use crate::life::on;

/// Stops the world at every point that is new.
struct Crashes {
    /// Looks at the operation, from the test's own runtime.
    store: Store,
    runtime: Handle,
    wanted: fn(&str) -> bool,
    state: Mutex<State>,
    crashed: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct State {
    done: BTreeSet<String>,
    /// Where the operation stood when the command began, for the point after it.
    began: HashMap<&'static str, String>,
    /// Between a crash and the next start nothing is written any more.
    over: bool,
}

impl Crashes {
    /// Where the node's operation stands; without one, where the node does.
    async fn stands(&self, command: &str) -> String {
        if command == "register_conductor" {
            // the first write of every start: once is enough
            return "any".into();
        }
        let store = self.store.clone();
        let look = async move {
            let node = store.find_node("h0").await.ok()??;
            let Some(operation) = store.get_open_operation(node.id).await.ok()? else {
                let power = node
                    .power_state
                    .map_or("power unknown".to_owned(), |p| p.to_string());
                return Some(format!("{}, {power}", node.provision_state));
            };
            let step = match (operation.phase.as_str(), operation.data.get("step")) {
                ("run-steps", Some(step)) => format!("/{step}"),
                _ => String::new(),
            };
            Some(format!("{}/{}{step}", operation.flow, operation.phase))
        };
        self.runtime
            .spawn(look)
            .await
            .ok()
            .flatten()
            .unwrap_or_else(|| "no node".into())
    }

    async fn at(&self, command: &'static str, point: Point) {
        let stands = match point {
            Point::BeforeWrite => {
                let stands = self.stands(command).await;
                self.state
                    .lock()
                    .unwrap()
                    .began
                    .insert(command, stands.clone());
                stands
            }
            Point::AfterCommit => self
                .state
                .lock()
                .unwrap()
                .began
                .get(command)
                .cloned()
                .unwrap_or_default(),
        };
        let name = match point {
            Point::BeforeWrite => "before",
            Point::AfterCommit => "after",
        };
        let key = format!("{name} {command} in {stands}");
        let stops = {
            let mut state = self.state.lock().unwrap();
            // what is held here because another point was first is dropped at this one all the same
            if (self.wanted)(&key) && state.done.insert(key.clone()) && !state.over {
                state.over = true;
                // the test waits for it as long as it lives
                let _ = self.crashed.send(key);
            }
            state.over
        };
        if stops {
            std::future::pending::<()>().await;
        }
    }
}

/// The probe that the store gets.
struct Probe(Arc<Crashes>);

impl WriteProbe for Probe {
    fn at(&self, command: &'static str, point: Point) -> BoxFuture<'static, ()> {
        let crashes = Arc::clone(&self.0);
        Box::pin(async move { crashes.at(command, point).await })
    }
}

/// A node without what differs from run to run.
fn comparable(mut node: Value) -> Value {
    let members = node.as_object_mut().unwrap();
    for volatile in [
        "uuid",
        "driver_info",
        "created_at",
        "updated_at",
        "provision_updated_at",
        "inspection_started_at",
        "inspection_finished_at",
        "links",
        "ports",
        "portgroups",
        "states",
        "traits",
        "volume",
        "bios",
        "firmware",
    ] {
        members.remove(volatile);
    }
    node
}

/// Lives a life while the controller is dropped at every point that is `wanted`; the points, and the node at the end.
async fn live(
    site: &Site,
    database: &Database,
    steps: &'static [Step],
    wanted: fn(&str) -> bool,
) -> (BTreeSet<String>, Value) {
    let image = site.images.small();
    let mut settings = site.lab_settings(1);
    settings.log = site.path(&format!("hosts-{}.jsonl", uuid::Uuid::new_v4()));
    // nothing is lost, but what is not answered is asked again, as everywhere with a chance of loss
    settings.loss = 1e-12;
    let mut lab = site.lab(&settings);
    let mut config = on(site, database);
    // what is left of a session that was dropped ends at once: the same host registers again
    config.conductor.heartbeat_interval = std::time::Duration::from_secs(2);
    let (crashed, mut crashes) = mpsc::unbounded_channel();
    let mut settings = database.settings.clone();
    settings.probe = None;
    let probe = Arc::new(Crashes {
        store: Store::open(&settings).await.unwrap(),
        runtime: Handle::current(),
        wanted,
        state: Mutex::default(),
        crashed,
    });
    let start = async || {
        let probe: Arc<dyn WriteProbe> = Arc::new(Probe(Arc::clone(&probe)));
        Controller::start(config.clone(), Some(probe)).await
    };
    let mut controller = start().await;
    let mut life = Life::new(
        Api::new(site.url(1)),
        lab.hosts[0].clone(),
        image.clone(),
        &lab.log_path,
    );
    life.patient = true;
    let mut life = tokio::spawn(async move { life.whole(steps).await });
    let began = Instant::now();
    let mut last = String::new();
    let node = loop {
        tokio::select! {
            ended = &mut life => match ended {
                Ok(node) => break node,
                Err(_) => panic!("the life broke off; the last crash was {last}"),
            },
            point = crashes.recv() => {
                last = point.unwrap();
                controller.crash().await;
                probe.state.lock().unwrap().over = false;
                controller = start().await;
            }
            () = tokio::time::sleep(PATIENCE * 2) => panic!("nothing happens any more since {last}"),
        }
    };
    // it may be held at a point just now
    controller.crash().await;
    Controller::start(config.clone(), None).await.stop().await;
    probe.store.close().await;
    let points = std::mem::take(&mut probe.state.lock().unwrap().done);
    println!(
        "{} crashes on {} in {:.1} s",
        points.len(),
        database.name,
        began.elapsed().as_secs_f64()
    );
    assert_clean_life(lab.log().unwrap(), "h0", &image, steps);
    (points, comparable(node))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_and_after_every_write_on_sqlite() {
    let site = Site::new().await;
    let (none, undisturbed) = live(&site, &testing::sqlite(), &Step::LIFE, |_| false).await;
    assert!(none.is_empty());
    let (points, end) = live(&site, &testing::sqlite(), &Step::LIFE, |_| true).await;
    for point in &points {
        println!("{point}");
    }
    assert_eq!(end, undisturbed);
    // no driver of this host has verify steps, and it has no parent; calls of its driver are no part of a life
    let elsewhere =
        |flow: &str, phase: &str| ["child-step", "call"].contains(&flow) || phase == "verify-steps";
    for flow in bessemer_conductor::FLOWS {
        for phase in flow.phases {
            if elsewhere(flow.name, phase.name()) {
                continue;
            }
            for write in [
                "before claim",
                "after claim",
                "before save_outcome",
                "after save_outcome",
            ] {
                let point = format!("{write} in {}/{}", flow.name, phase.name());
                assert!(
                    points.iter().any(|p| p.starts_with(&point)),
                    "no crash {point}"
                );
            }
        }
    }
}

/// The engine's own writes of the flows that are longest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_and_after_the_engines_writes_on_postgresql() {
    const STEPS: [Step; 3] = [Step::Manage, Step::Provide, Step::Deploy];
    let wanted = |point: &str| {
        ["submit", "claim", "save_outcome", "signal"]
            .iter()
            .any(|command| point.contains(&format!(" {command} ")))
    };
    let site = Site::new().await;
    let (points, end) = live(&site, &testing::postgres().await, &STEPS, wanted).await;
    assert_eq!(end["provision_state"], "active");
    assert_eq!(end["last_error"], Value::Null);
    assert!(
        points.contains("after save_outcome in deploy/run-steps/0"),
        "{points:#?}"
    );
}
