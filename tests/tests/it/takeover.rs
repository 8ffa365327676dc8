//! Two controllers on one PostgreSQL: the second takes over while the first is stopped, and the first writes nothing
//! when it goes on.

use std::time::{Duration, Instant};

use bessemer_lab::{Fault, WriteEnd};
use bessemer_store::testing;
use bessemer_store::{OperationStatus, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Api, Life, PATIENCE, Program, Site, Step, assert_clean_life, until};

/// `[conductor] heartbeat_timeout` of both.
const TIMEOUT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_controller_is_replaced_and_writes_nothing_afterwards() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(1);
    // six seconds
    settings.write_seconds = bessemer_lab::Span::millis(60_000, 60_000);
    let mut lab = site.lab(&settings);
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let timeout = format!("heartbeat_timeout = {}", TIMEOUT.as_secs());
    // the second has the boot service, and agents call it
    let callback = format!("external_callback_url = \"{}\"", site.url(1));
    let common = [
        ("database", connection.as_str()),
        ("conductor", timeout.as_str()),
        ("deploy", callback.as_str()),
    ];
    let first_file = site.settings_file(
        "first",
        3,
        &[&common[..], &[("netboot", "enabled = false")]].concat(),
    );
    let second_file = site.settings_file("second", 1, &common);
    let (first_api, second_api) = (Api::new(site.url(3)), Api::new(site.url(1)));
    let second = Program::start(&second_file, &site.url(1)).await;
    let mut first = Program::start(&first_file, &site.url(3)).await;
    let store = Store::open(&database.settings).await.unwrap();

    let mut life = Life::new(
        second_api.clone(),
        lab.hosts[0].clone(),
        image.clone(),
        &lab.log_path,
    );
    life.whole(&[Step::Manage, Step::Provide]).await;
    let node = store.find_node("h0").await.unwrap().unwrap().id;
    // on, so that what the first reads from the BMC makes it want to switch off
    let on = second_api
        .put("/v1/nodes/h0/states/power", &json!({"target": "power on"}))
        .await;
    assert_eq!(on.status, 202);
    until("the node is on", PATIENCE, async || {
        (second_api.node("h0").await["target_power_state"].is_null()).then_some(())
    })
    .await;

    // The first is in the middle of a phase, and nobody else was there to take it.
    second.signal(Signal::STOP);
    lab.set_fault("h0", Fault::BmcSlow, true, Some(6.0))
        .unwrap();
    let info = json!([{"op": "add", "path": "/instance_info", "value": image.instance_info()}]);
    first_api.patch("/v1/nodes/h0", &info).await.ok();
    first_api
        .provision(
            "h0",
            json!({"target": "active", "configdrive": {"meta_data": {"a": 1}}}),
        )
        .await;
    let held = until("the first controller asks the BMC", PATIENCE, async || {
        let operation = store.get_open_operation(node).await.unwrap()?;
        (operation.phase == "power-off" && operation.status == OperationStatus::Running)
            .then_some(operation)
    })
    .await;
    assert_eq!(first_api.node("h0").await["reservation"], "first");
    first.signal(Signal::STOP);
    second.signal(Signal::CONT);
    let stopped = Instant::now();
    lab.set_fault("h0", Fault::BmcSlow, false, None).unwrap();

    until(
        "the second controller has the operation",
        PATIENCE,
        async || {
            let operation = store.get_open_operation(node).await.unwrap()?;
            (operation.fence > held.fence).then_some(())
        },
    )
    .await;
    let taken = stopped.elapsed();
    // never before the session was over: a conductor that is alive keeps what it has
    let conductors = store.list_conductors().await.unwrap();
    let over = conductors
        .iter()
        .find(|c| c.hostname == "first")
        .unwrap()
        .expires_at;
    assert!(
        over <= bessemer_model::Timestamp::now(),
        "taken from a session that is alive"
    );
    println!(
        "take-over after {:.2} s (heartbeat_timeout {} s)",
        taken.as_secs_f64(),
        TIMEOUT.as_secs()
    );
    lab.seen(PATIENCE, |log| {
        log.last("h0", "disk_write_started").cloned()
    })
    .await
    .unwrap();

    // In the middle of the write the first goes on with what it read before: the node is on.
    let resumed = lab.log().unwrap().entries.len();
    first.signal(Signal::CONT);
    until(
        "the first controller sees that it has nothing any more",
        PATIENCE,
        async || {
            let said = first.said();
            (said.contains("session is over")
                || said.contains("another conductor has this operation"))
            .then_some(())
        },
    )
    .await;
    let running = store.get_open_operation(node).await.unwrap().unwrap();
    assert_eq!(running.id, held.id);
    assert_eq!(
        second_api.wait_for("h0", "active").await["last_error"],
        Value::Null
    );
    assert!(first.is_running(), "{}", first.said());
    let log = lab.log().unwrap();
    let writes = log.image_writes("h0");
    assert_eq!(writes.len(), 1, "{writes:#?}");
    assert_eq!(writes[0].end, WriteEnd::Complete);
    assert_eq!(
        writes[0].reference.as_ref().unwrap().operation,
        held.id.to_string()
    );
    let finished = log.last("h0", "disk_write_finished").unwrap().n;
    let touched: Vec<_> = log.entries[resumed..]
        .iter()
        .filter(|e| {
            e.n < finished
                && [
                    "power_on",
                    "power_off",
                    "reset",
                    "boot_device_set",
                    "command_received",
                ]
                .contains(&e.event.as_str())
        })
        .collect();
    assert!(
        touched.is_empty(),
        "somebody touched the node during the write: {touched:#?}"
    );
    assert!(log.violations().is_empty(), "{:#?}", log.violations());
    assert!(taken < TIMEOUT + Duration::from_secs(12), "{taken:?}");

    // The first has a new session, and does the work alone when the second leaves.
    until(
        "the first controller is registered again",
        PATIENCE,
        async || {
            let conductors = second_api.get("/v1/conductors").await.ok();
            conductors["conductors"]
                .as_array()?
                .iter()
                .any(|c| c["hostname"] == "first" && c["alive"] == true)
                .then_some(())
        },
    )
    .await;
    first_api
        .set("h0", &[("automated_clean", json!(false))])
        .await;
    second.stop().await;
    first_api
        .provision("h0", json!({"target": "deleted"}))
        .await;
    let node = first_api.wait_for("h0", "available").await;
    assert_eq!(node["power_state"], "power off");
    assert_clean_life(
        lab.log().unwrap(),
        "h0",
        &image,
        &[Step::Manage, Step::Provide, Step::Deploy],
    );
    store.close().await;
    first.stop().await;
}

/// How long work lies still when its controller dies, with the settings that operators have. The figures are judged by
/// `make kill-test` alone, which has the computer for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_until_work_goes_on() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let file = |name: &str, last: u8| {
        let lines = [
            ("database", connection.as_str()),
            ("conductor", "heartbeat_interval = 2"),
            ("netboot", "enabled = false"),
            // a phase that is still running whenever it is looked at
            ("fake", "power_delay = 60"),
        ];
        site.settings_file(name, last, &lines)
    };
    let (first_file, second_file) = (file("first", 1), file("second", 3));
    let first = Program::start(&first_file, &site.url(1)).await;
    let store = Store::open(&database.settings).await.unwrap();
    let api = Api::new(site.url(1));
    let enrolled = api
        .post(
            "/v1/nodes",
            &json!({"name": "n0", "driver": "fake-hardware"}),
        )
        .await;
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    api.provision("n0", json!({"target": "manage"})).await;
    let node = store.find_node("n0").await.unwrap().unwrap().id;
    let fence_above = async |fence: i64| {
        until("the operation is claimed", PATIENCE, async || {
            let operation = store.get_open_operation(node).await.unwrap()?;
            (operation.fence > fence && operation.status == OperationStatus::Running)
                .then_some(operation.fence)
        })
        .await
    };
    let held = fence_above(0).await;
    let second = Program::start(&second_file, &site.url(3)).await;
    until("both are there", PATIENCE, async || {
        let now = bessemer_model::Timestamp::now();
        let rows = store.list_conductors().await.unwrap();
        (rows.iter().filter(|c| c.expires_at > now).count() == 2).then_some(())
    })
    .await;

    let killed = Instant::now();
    first.kill();
    let held = fence_above(held).await;
    let takeover = killed.elapsed();
    // the same name again, with nobody else there
    let killed = Instant::now();
    second.kill();
    let second = Program::spawn_serve(&second_file);
    let started = Instant::now();
    fence_above(held).await;
    let (since_kill, restart) = (killed.elapsed(), started.elapsed());
    println!(
        "work of a killed controller is taken over after {:.2} s; a restart under the same name goes on after {:.2} s ({:.2} s after the kill)",
        takeover.as_secs_f64(),
        restart.as_secs_f64(),
        since_kill.as_secs_f64()
    );
    if std::env::var_os("BESSEMER_CHECK_TIMES").is_some() {
        assert!(takeover < Duration::from_secs(10), "{takeover:?}");
        assert!(restart < Duration::from_secs(1), "{restart:?}");
    }
    store.close().await;
    drop(second);
}
