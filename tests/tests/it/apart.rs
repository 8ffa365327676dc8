//! Several processes on one PostgreSQL: the API apart from conductors of two groups, a conductor that is asked to end, and one
//! that is older than an operation.

use std::process::Command;
use std::time::{Duration, Instant};

use bessemer_model::{OperationId, SessionId, Timestamp};
use bessemer_store::testing::{self, Database};
use bessemer_store::{Able, NewOperation, Operation, OperationStatus, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bad_input::assert_says;
use crate::harness::{Api, Binary, Life, PATIENCE, Program, Site, Step, program, until};

async fn fake(api: &Api, name: &str, more: Value) {
    let mut node = json!({"name": name, "driver": "fake-hardware"});
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    let reply = api.post("/v1/nodes", &node).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

async fn alive(api: &Api, name: &str) {
    until("the conductor is there", PATIENCE, async || {
        let all = api
            .call(reqwest::Method::GET, "/v1/conductors", None)
            .await
            .ok()?
            .body;
        all["conductors"]
            .as_array()?
            .iter()
            .any(|c| c["hostname"] == name && c["alive"] == true)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_alone_hands_its_calls_to_conductors() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let image = site.images.small();
    let lab = site.lab(&site.lab_settings(1));
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let callback = format!("external_callback_url = \"{}\"", site.url(3));
    let common = [
        ("database", connection.as_str()),
        ("deploy", callback.as_str()),
    ];
    let work = site.settings_file("work", 1, &common);
    let off = [("netboot", "enabled = false")];
    let front = site.settings_file("front", 3, &[&common[..], &off].concat());
    let west = [
        ("conductor", "conductor_group = \"west\""),
        ("DEFAULT", "enabled_hardware_types = [\"fake-hardware\"]"),
    ];
    let west = site.settings_file("west", 4, &[&common[..], &off, &west].concat());
    let api_process = Program::spawn_roles(&front, &["api"])
        .answers(&site.url(3))
        .await;
    let api = Api::new(site.url(3));
    // nobody is there to ask
    let reply = api
        .post("/v1/nodes", &json!({"driver": "fake-hardware"}))
        .await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_says(
        reply.body["error_message"].as_str().unwrap(),
        &["No valid host was found", "fake-hardware"],
    );
    let worker = Program::spawn_roles(&work, &["conductor", "netboot"]);
    let other = Program::spawn_roles(&west, &["conductor"]);
    alive(&api, "work").await;
    alive(&api, "west").await;

    // a whole life with an agent, all of whose calls come in here
    let mut life = Life::new(api.clone(), lab.hosts[0].clone(), image, &lab.log_path);
    life.whole(&[Step::Manage, Step::Provide, Step::Deploy, Step::Undeploy])
        .await;
    assert_eq!(api.node("h0").await["conductor"], "work");

    // by group and driver
    fake(&api, "w0", json!({"conductor_group": "west"})).await;
    api.provision("w0", json!({"target": "manage"})).await;
    let node = api.wait_for("w0", "manageable").await;
    assert_eq!(node["conductor"], "west");
    let refused = api
        .post(
            "/v1/nodes",
            &json!({"driver": "ipmi", "conductor_group": "west"}),
        )
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let valid = api.get("/v1/nodes/w0/validate").await.ok();
    assert_eq!(valid["power"]["result"], true, "{valid}");
    let properties = api.get("/v1/drivers/ipmi/properties").await.ok();
    assert!(properties.get("ipmi_address").is_some(), "{properties}");
    let devices = api
        .get("/v1/nodes/w0/management/boot_device/supported")
        .await
        .ok();
    assert_eq!(devices["supported_boot_devices"], json!(["pxe"]));
    let vendor = api
        .post(
            "/v1/nodes/w0/vendor_passthru/second_method",
            &json!({"bar": "kazoo"}),
        )
        .await;
    assert!(vendor.status < 300, "{vendor:?}");
    // a refusal comes back as the conductor said it
    let refused = until("the refusal", PATIENCE, async || {
        let reply = api
            .put(
                "/v1/nodes/w0/states/provision",
                &json!({"target": "active"}),
            )
            .await;
        // the vendor's method goes on for a moment after its answer
        (reply.status != 409).then_some(reply)
    })
    .await;
    assert_eq!(refused.status, 400, "{refused:?}");

    // only with the secret, and never without TLS
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let url = format!("https://{}:8089/call", site.address(4));
    let answer = http.post(&url).bearer_auth("x").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let plain = http.post(url.replace("https", "http")).send().await;
    assert!(plain.is_err(), "{plain:?}");

    // killed, and not yet known to be: nothing was done, and that is what is said
    other.kill();
    let power = json!({"target": "power on"});
    let reply = api.put("/v1/nodes/w0/states/power", &power).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_says(
        reply.body["error_message"].as_str().unwrap(),
        &["west cannot be reached", "nothing was done"],
    );
    // started again it has another certificate and another secret
    let other = Program::spawn_roles(&west, &["conductor"]);
    until("the call is accepted", PATIENCE, async || {
        let reply = api.put("/v1/nodes/w0/states/power", &power).await;
        // what the vendor's method left behind may still hold the node
        assert!([202, 409, 503].contains(&reply.status), "{reply:?}");
        (reply.status == 202).then_some(())
    })
    .await;
    until("it is on", PATIENCE, async || {
        (api.node("w0").await["power_state"] == "power on").then_some(())
    })
    .await;
    worker.stop().await;
    other.stop().await;
    api_process.stop().await;
}

/// What must be told at the start.
#[test]
fn roles_that_cannot_work_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |settings: &str, roles: &str| {
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, settings).unwrap();
        let out = Command::new(program(Binary::Server))
            .args(["serve", "--role", roles, "--config"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let base = format!(
        "[DEFAULT]\nauth_strategy = \"noauth\"\nstate_path = \"{}\"\n",
        directory.path().display()
    );
    for roles in ["api", "conductor"] {
        assert_says(
            &refused(&base, roles),
            &["SQLite is for one process", "PostgreSQL"],
        );
    }
    let shared = format!("{base}[database]\nconnection = \"postgresql:///nowhere\"\n");
    assert_says(
        &refused(&shared, "conductor,netboot"),
        &["[deploy] external_callback_url"],
    );
}

/// A controller whose phases that switch power take so long, and the operation in one.
async fn in_a_phase(
    database: &Database,
    site: &Site,
    lines: &[(&str, &str)],
) -> (Program, Store, Operation) {
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let mut all = vec![
        ("database", connection.as_str()),
        ("netboot", "enabled = false"),
        // shorter than the phase: the lease must be renewed while the service ends
        ("conductor", "heartbeat_interval = 0.5"),
        ("conductor", "heartbeat_timeout = 2"),
    ];
    all.extend_from_slice(lines);
    let file = site.settings_file("one", 1, &all);
    let program = Program::start(&file, &site.url(1)).await;
    let api = Api::new(site.url(1));
    fake(&api, "n0", json!({})).await;
    let power = json!({"target": "power on"});
    let reply = api.put("/v1/nodes/n0/states/power", &power).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let store = Store::open(&database.settings).await.unwrap();
    let node = store.find_node("n0").await.unwrap().unwrap().id;
    let operation = until("the phase runs", PATIENCE, async || {
        let operation = store.get_open_operation(node).await.unwrap()?;
        (operation.status == OperationStatus::Running && operation.phase == "power-on")
            .then_some(operation)
    })
    .await;
    (program, store, operation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_to_end_ends_its_phases_and_begins_no_more() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let lines = [
        ("fake", "power_delay = 4"),
        ("conductor", "graceful_shutdown_timeout = 30"),
    ];
    let (program, store, running) = in_a_phase(&database, &site, &lines).await;
    program.stop().await;
    let left = store.get_operation(running.id).await.unwrap().unwrap();
    assert_eq!(
        (left.status, left.phase.as_str(), left.fence),
        (OperationStatus::Ready, "done", running.fence),
        "the phase was not saved, or another one was begun"
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_handed_over() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let lines = [
        ("fake", "power_delay = 60"),
        ("DEFAULT", "drain_shutdown_timeout = 1"),
    ];
    let (program, store, running) = in_a_phase(&database, &site, &lines).await;
    let asked = Instant::now();
    program.stop_by(Signal::USR2).await;
    // nobody waits for the session to expire: it is closed
    let session = store
        .register_conductor(
            "two",
            "",
            &json!({"fake-hardware": {}}),
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    let taken = claim(&store, session, &[("power", 1)]).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].id, running.id);
    assert_eq!(taken[0].fence, running.fence + 1);
    println!("drained in {:.1} s", asked.elapsed().as_secs_f64());
    store.close().await;
}

async fn claim(store: &Store, session: SessionId, flows: &[(&'static str, i32)]) -> Vec<Operation> {
    let able = Able {
        flows: flows.to_vec(),
        nodes: None,
    };
    let claimed = store.claim(session, able, Timestamp::now(), 10).await;
    claimed.unwrap().into_iter().map(|c| c.operation).collect()
}

/// An upgrade in the middle: the new release has stored an operation of a flow that the old one does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_conductor_leaves_newer_flows_alone() {
    let database = testing::postgres().await;
    let site = Site::new().await;
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let lines = [
        ("database", connection.as_str()),
        ("netboot", "enabled = false"),
    ];
    let file = site.settings_file("old", 1, &lines);
    let old = Program::start(&file, &site.url(1)).await;
    let api = Api::new(site.url(1));
    fake(&api, "n0", json!({})).await;
    fake(&api, "n1", json!({})).await;
    let store = Store::open(&database.settings).await.unwrap();
    let node = store.find_node("n0").await.unwrap().unwrap().id;
    let newer = NewOperation {
        id: OperationId::random(),
        flow: "manage".into(),
        flow_version: 2,
        phase: "a-phase-of-tomorrow".into(),
        args: json!({}),
        data: json!({}),
    };
    let id = newer.id;
    let unchanged = std::sync::Arc::new(|_: &mut bessemer_model::Node| Ok(()));
    store
        .submit(node, newer, unchanged, Vec::new())
        .await
        .unwrap();
    // what it knows it does meanwhile
    api.provision("n1", json!({"target": "manage"})).await;
    api.wait_for("n1", "manageable").await;
    let left = store.get_operation(id).await.unwrap().unwrap();
    assert_eq!((left.status, left.fence), (OperationStatus::Ready, 0));
    assert!(
        !old.said().contains("a-phase-of-tomorrow"),
        "{}",
        old.said()
    );
    // the node is not up for anything else, and says why
    let busy = api
        .put("/v1/nodes/n0/states/power", &json!({"target": "power on"}))
        .await;
    assert_eq!(busy.status, 409, "{busy:?}");
    // the new one does it
    let session = store
        .register_conductor(
            "new",
            "",
            &json!({"fake-hardware": {}}),
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    assert!(claim(&store, session, &[("manage", 1)]).await.is_empty());
    let taken = claim(&store, session, &[("manage", 1), ("manage", 2)]).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].id, id);
    store.close().await;
    old.stop().await;
}
