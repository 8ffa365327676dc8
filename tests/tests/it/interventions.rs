//! Somebody or something interferes with a running operation: the operator, a bug, a death that repeats, the hardware.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bessemer_lab::{Fault, PowerChange, WriteEnd};
use bessemer_store::{Point, WriteProbe};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bad_input::{World, assert_says};
use crate::harness::{Api, Controller, Life, PATIENCE, Site, Step, until};

async fn hanging_in(state: &str, verb: &str) -> World {
    let mut world = World::new(|_| {}).await;
    world.life.enrol().await;
    world.life.step(Step::Manage).await;
    if verb == "active" {
        world
            .api
            .set("h0", &[("automated_clean", json!(false))])
            .await;
        world.life.step(Step::Provide).await;
    }
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, true, None)
        .unwrap();
    match verb {
        "active" => world.deploy(&world.image).await,
        _ => world.api.provision("h0", json!({"target": verb})).await,
    }
    world.api.wait_for("h0", state).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_while_cleaning_waits_for_the_agent() {
    let mut world = hanging_in("clean wait", "provide").await;
    world.api.provision("h0", json!({"target": "abort"})).await;
    let error = world.api.failed("h0", "clean failed").await;
    assert_says(&error, &["cleaning of node h0", "aborted by the operator"]);
    let node = world.api.node("h0").await;
    assert_eq!(
        (&node["maintenance"], &node["power_state"]),
        (&json!(false), &json!("power off"))
    );
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, false, None)
        .unwrap();
    world.api.provision("h0", json!({"target": "manage"})).await;
    world.api.wait_for("h0", "manageable").await;
    world.life.step(Step::Provide).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undeploy_while_a_deploy_waits_for_the_agent() {
    let world = hanging_in("wait call-back", "active").await;
    // another verb is refused, and says by what
    let refused = world
        .api
        .put("/v1/nodes/h0/states/power", &json!({"target": "power off"}))
        .await;
    assert_eq!(refused.status, 409, "{refused:?}");
    world
        .api
        .provision("h0", json!({"target": "deleted"}))
        .await;
    let node = world.api.wait_for("h0", "available").await;
    assert_eq!(node["instance_info"], json!({}));
    assert_eq!(node["last_error"], Value::Null);
    assert_eq!(node["power_state"], "power off");
    world.end().await;
}

/// An available host whose writes take seconds, and a deploy of it that writes now.
async fn writing() -> World {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    world
        .lab
        .set_fault("h0", Fault::SlowWrite, true, Some(30.0))
        .unwrap();
    world.deploy(&world.image).await;
    world
        .lab
        .seen(PATIENCE, |log| {
            log.last("h0", "disk_write_started").cloned()
        })
        .await
        .unwrap();
    world
        .lab
        .set_fault("h0", Fault::SlowWrite, false, None)
        .unwrap();
    // where it waits, not where it had waited for the agent
    until("the write is waited for", PATIENCE, async || {
        let node = world.api.node("h0").await;
        (node["provision_state"] == "wait call-back"
            && node["deploy_step"]["step"] == "write_image")
            .then_some(())
    })
    .await;
    world
}

/// Nothing else than the one power cut that was asked for.
async fn end_with_one_cut(mut world: World) {
    let violations = world.lab.log().unwrap().violations();
    let kinds: Vec<&str> = violations.iter().map(|v| v.kind.as_str()).collect();
    assert_eq!(kinds, ["power_cut_during_write"], "{violations:#?}");
    world.controller.stop().await;
}

/// The write is never cut: half an image would be left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_while_an_image_is_written() {
    let mut world = writing().await;
    world.api.provision("h0", json!({"target": "abort"})).await;
    assert_eq!(
        world.api.node("h0").await["provision_state"],
        "wait call-back"
    );
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(&error, &["deploy of node h0", "aborted by the operator"]);
    let writes = world.lab.log().unwrap().image_writes("h0");
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].end, WriteEnd::Complete);
    assert_eq!(world.api.node("h0").await["power_state"], "power off");
    world.deploy_again().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undeploy_while_an_image_is_written() {
    let mut world = writing().await;
    world
        .api
        .provision("h0", json!({"target": "deleted"}))
        .await;
    let node = world.api.wait_for("h0", "available").await;
    assert_eq!(node["last_error"], Value::Null);
    assert_eq!(node["instance_info"], json!({}));
    let writes = world.lab.log().unwrap().image_writes("h0");
    assert_eq!(writes[0].end, WriteEnd::Complete);
    world.deploy_again().await;
    world.end().await;
}

/// Firmware that hung at the first try boots at the second, without an operator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_of_which_nothing_is_seen_is_tried_again() {
    let mut world = World::new(|config| {
        config.conductor.boot_sign_timeout = Duration::from_secs(1);
    })
    .await;
    world.life.enrol().await;
    world.life.step(Step::Manage).await;
    world
        .lab
        .set_fault("h0", Fault::NeverBoots, true, None)
        .unwrap();
    world
        .api
        .provision("h0", json!({"target": "provide"}))
        .await;
    world
        .lab
        .seen(PATIENCE, |log| log.last("h0", "stuck").cloned())
        .await
        .unwrap();
    world
        .lab
        .set_fault("h0", Fault::NeverBoots, false, None)
        .unwrap();
    let node = world.api.wait_for("h0", "available").await;
    assert_eq!(node["last_error"], Value::Null);
    let timeline = world.api.timeline("h0").await;
    assert!(timeline.contains("off and on once more"), "{timeline}");
    world.end().await;
}

/// Power is lost for a moment in the middle of a write: nobody knows what is on the disk, so nobody goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_while_an_image_is_written() {
    let mut world = writing().await;
    world.lab.power("h0", PowerChange::Reset).unwrap();
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(&error, &["deploy of node h0", "agent", "console"]);
    let writes = world.lab.log().unwrap().image_writes("h0");
    assert_eq!(writes.len(), 1, "{writes:#?}");
    world.deploy_again().await;
    end_with_one_cut(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_dies_while_it_writes() {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    world
        .lab
        .set_fault("h0", Fault::AgentDiesInWrite, true, None)
        .unwrap();
    world.deploy(&world.image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(
        &error,
        &["deploy of node h0", "agent", "did not answer", "console"],
    );
    world
        .lab
        .set_fault("h0", Fault::AgentDiesInWrite, false, None)
        .unwrap();
    world.deploy_again().await;
    world.end().await;
}

/// Does something before writes of one kind.
struct Before<F>(&'static str, F);

impl<F> WriteProbe for Before<F>
where
    F: Fn() -> BoxFuture<'static, ()> + Send + Sync,
{
    fn at(&self, command: &'static str, point: Point) -> BoxFuture<'static, ()> {
        if command == self.0 && point == Point::BeforeWrite {
            (self.1)()
        } else {
            Box::pin(std::future::ready(()))
        }
    }
}

/// A bug that panics harms one node's operation only, and that one for three tries only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phase_that_panics() {
    let site = Site::new().await;
    let image = site.images.small();
    let lab = site.lab(&site.lab_settings(1));
    let panics = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&panics);
    let probe = Before("set_boot", move || -> BoxFuture<'static, ()> {
        let count = Arc::clone(&count);
        Box::pin(async move {
            // what a device's answer could do
            assert!(
                count.fetch_add(1, Ordering::SeqCst) >= 3,
                "this is the test's"
            );
        })
    });
    let controller = Controller::start(site.config(), Some(Arc::new(probe))).await;
    let api = Api::new(site.url(1));
    let mut life = Life::new(api.clone(), lab.hosts[0].clone(), image, &lab.log_path);
    life.enrol().await;
    life.step(Step::Manage).await;
    api.provision("h0", json!({"target": "provide"})).await;
    let error = api.failed("h0", "clean failed").await;
    assert_says(
        &error,
        &[
            "cleaning of node h0",
            "prepare-ramdisk",
            "3 times",
            "bug",
            "log",
        ],
    );
    assert_eq!(panics.load(Ordering::SeqCst), 3);
    assert!(api.timeline("h0").await.contains("this is the test's"));
    api.provision("h0", json!({"target": "manage"})).await;
    api.wait_for("h0", "manageable").await;
    life.step(Step::Provide).await;
    controller.stop().await;
}

/// An operation whose phase ends the whole process again and again without a word is given up in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phase_that_kills_the_controller() {
    const DEATHS: u32 = 25;
    let site = Site::new().await;
    let mut config = site.config();
    config.netboot.enabled = false;
    let died = Arc::new(Notify::new());
    let left = Arc::new(AtomicU32::new(DEATHS));
    let start = async || {
        let (died, left) = (Arc::clone(&died), Arc::clone(&left));
        let probe = Before("save_outcome", move || -> BoxFuture<'static, ()> {
            let (died, left) = (Arc::clone(&died), Arc::clone(&left));
            Box::pin(async move {
                if left.load(Ordering::SeqCst) > 0 {
                    died.notify_one();
                    std::future::pending::<()>().await;
                }
            })
        });
        Controller::start(config.clone(), Some(Arc::new(probe))).await
    };
    let mut controller = start().await;
    let api = Api::new(site.url(1));
    let node = json!({"name": "deadly", "driver": "fake-hardware"});
    assert_eq!(api.post("/v1/nodes", &node).await.status, 201);
    api.provision("deadly", json!({"target": "manage"})).await;
    for _ in 0..DEATHS {
        tokio::time::timeout(PATIENCE, died.notified())
            .await
            .unwrap();
        controller.crash().await;
        left.fetch_sub(1, Ordering::SeqCst);
        controller = start().await;
    }
    let error = api.failed("deadly", "enroll").await;
    assert_says(
        &error,
        &[
            "verification of node deadly",
            "verify-power",
            "25 times",
            "bug",
            "log",
        ],
    );
    api.provision("deadly", json!({"target": "manage"})).await;
    api.wait_for("deadly", "manageable").await;
    controller.stop().await;
}

/// What happens to a node without an operation: its button is pressed, its BMC goes away and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_sync() {
    let mut world = World::new(|config| {
        config.conductor.sync_power_state_interval = Duration::from_millis(300);
        config.conductor.power_failure_recovery_interval = Duration::from_millis(300);
        config.conductor.power_state_sync_max_retries = 1;
        config.ipmi.command_retry_timeout = Duration::from_secs(1);
    })
    .await;
    world.available().await;
    world.life.step(Step::Deploy).await;
    let ons = world.lab.log().unwrap().events("h0", "power_on").count();
    world.lab.power("h0", PowerChange::Off).unwrap();
    world
        .lab
        .seen(PATIENCE, |log| {
            (log.events("h0", "power_on").count() > ons).then_some(())
        })
        .await
        .expect("the node is switched on again");
    let steady = async |api: &Api| {
        until("the correction has ended", PATIENCE, async || {
            let node = api.node("h0").await;
            (node["target_power_state"].is_null() && node["power_state"] == "power on")
                .then_some(node)
        })
        .await
    };
    assert_eq!(steady(&world.api).await["last_error"], Value::Null);

    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, true, None)
        .unwrap();
    let node = until("the node is in maintenance", PATIENCE, async || {
        let node = world.api.node("h0").await;
        (node["maintenance"] == true).then_some(node)
    })
    .await;
    assert_eq!(node["fault"], "power failure");
    assert_says(
        node["maintenance_reason"].as_str().unwrap(),
        &["sync_power_state", "node h0", "did not answer"],
    );
    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, false, None)
        .unwrap();
    let node = until("the node is out of maintenance", PATIENCE, async || {
        let node = world.api.node("h0").await;
        (node["maintenance"] == false).then_some(node)
    })
    .await;
    assert_eq!(
        (&node["fault"], &node["last_error"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(node["provision_state"], "active");
    steady(&world.api).await;
    world.end().await;
}
