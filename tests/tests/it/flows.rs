//! The verbs beside deploying and cleaning, and the steps that the conductor itself knows.

use bessemer_lab::Fault;
use serde_json::{Value, json};

use crate::bad_input::{World, assert_says};
use crate::harness::{Api, Controller, PATIENCE, Site, Step, until};

async fn fake(api: &Api, name: &str, more: Value) {
    let mut node = json!({"name": name, "driver": "fake-hardware", "automated_clean": false});
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    let reply = api.post("/v1/nodes", &node).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    api.provision(name, json!({"target": "manage"})).await;
    api.wait_for(name, "manageable").await;
}

async fn verb(api: &Api, name: &str, body: Value, state: &str) -> Value {
    api.provision(name, body).await;
    let node = api.wait_for(name, state).await;
    assert_eq!(node["last_error"], Value::Null, "{state}");
    node
}

/// `manage` out of a failure: what went wrong stays to be read.
async fn manage_again(api: &Api, name: &str) {
    api.provision(name, json!({"target": "manage"})).await;
    let node = api.wait_for(name, "manageable").await;
    assert!(node["last_error"].is_string(), "{node}");
}

async fn world() -> (Site, Controller, Api) {
    let site = Site::new().await;
    let mut config = site.config();
    config.netboot.enabled = false;
    let controller = Controller::start(config, None).await;
    let api = Api::new(site.url(1));
    (site, controller, api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adoption_service_and_holds() {
    let (_site, controller, api) = world().await;
    let n = "n0";
    fake(&api, n, json!({})).await;
    let adopted = verb(&api, n, json!({"target": "adopt"}), "active").await;
    assert_eq!(adopted["target_provision_state"], Value::Null);

    // a service that is held, goes on, and really switches
    let steps = json!([
        {"interface": "power", "step": "power_off"},
        {"interface": "vendor", "step": "hold"},
        {"interface": "deploy", "step": "wait", "args": {"seconds": 1}},
        {"interface": "power", "step": "power_on"},
    ]);
    let service = json!({"target": "service", "service_steps": steps});
    let held = verb(&api, n, service.clone(), "service hold").await;
    assert_eq!(held["power_state"], "power off");
    assert_eq!(held["service_step"]["step"], "hold");
    assert_eq!(held["target_provision_state"], "active");
    let done = verb(&api, n, json!({"target": "unhold"}), "active").await;
    assert_eq!(done["power_state"], "power on");
    assert_eq!(done["service_step"], json!({}));
    // upstream drops such steps: the timeline tells that they ran
    let timeline = api.timeline(n).await;
    assert!(
        timeline.contains("service step deploy.wait is done"),
        "{timeline}"
    );

    // aborted while held: back to active, the error stays to be seen
    verb(&api, n, service, "service hold").await;
    api.provision(n, json!({"target": "abort"})).await;
    let aborted = api.wait_for(n, "active").await;
    assert_says(
        aborted["last_error"].as_str().unwrap(),
        &["service of node n0", "aborted by the operator"],
    );

    // a list that cannot work: failed, and out of it by abort
    let wrong = json!([{"interface": "deploy", "step": "nonsense"}]);
    api.provision(n, json!({"target": "service", "service_steps": wrong}))
        .await;
    let error = api.failed(n, "service failed").await;
    assert_says(&error, &["deploy.nonsense", "service of node n0"]);
    api.provision(n, json!({"target": "abort"})).await;
    let aborted = api.wait_for(n, "active").await;
    assert_says(
        aborted["last_error"].as_str().unwrap(),
        &["service of node n0", "aborted by the operator"],
    );

    // a deploy that is held: aborted, then tried again and gone on with
    verb(&api, n, json!({"target": "deleted"}), "available").await;
    let hold = json!([{"interface": "deploy", "step": "hold", "args": {}, "priority": 150}]);
    let deploy = json!({"target": "active", "deploy_steps": hold});
    verb(&api, n, deploy.clone(), "deploy hold").await;
    api.provision(n, json!({"target": "abort"})).await;
    assert_says(&api.failed(n, "deploy failed").await, &["aborted"]);
    verb(&api, n, deploy, "deploy hold").await;
    verb(&api, n, json!({"target": "unhold"}), "active").await;

    // the same in cleaning
    verb(&api, n, json!({"target": "deleted"}), "available").await;
    verb(&api, n, json!({"target": "manage"}), "manageable").await;
    let steps =
        json!([{"interface": "deploy", "step": "hold"}, {"interface": "power", "step": "reboot"}]);
    let clean = json!({"target": "clean", "clean_steps": steps});
    verb(&api, n, clean.clone(), "clean hold").await;
    api.provision(n, json!({"target": "abort"})).await;
    assert_says(&api.failed(n, "clean failed").await, &["aborted"]);
    assert_eq!(api.node(n).await["maintenance"], false);
    manage_again(&api, n).await;
    verb(&api, n, clean, "clean hold").await;
    let cleaned = verb(&api, n, json!({"target": "unhold"}), "manageable").await;
    // without a ramdisk the power is as the steps left it
    assert_eq!(cleaned["power_state"], "power on");
    let timeline = api.timeline(n).await;
    assert!(
        timeline.contains("clean step power.reboot is done"),
        "{timeline}"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_and_children() {
    let (_site, controller, api) = world().await;
    fake(&api, "parent", json!({})).await;
    let parent = api.node("parent").await["uuid"].clone();
    for child in ["one", "two"] {
        fake(&api, child, json!({"parent_node": parent})).await;
    }
    let two = api.node("two").await["uuid"].clone();
    let power = async |name: &str| api.node(name).await["power_state"].clone();
    let clean = |step: Value| json!({"target": "clean", "clean_steps": [step]});
    let on_all = json!({"interface": "power", "step": "power_on", "execute_on_child_nodes": true});
    verb(&api, "parent", clean(on_all), "manageable").await;
    for name in ["one", "two"] {
        assert_eq!(power(name).await, "power on", "{name}");
    }
    let on_one = json!({"interface": "power", "step": "power_off", "execute_on_child_nodes": true,
                        "limit_child_node_execution": [two]});
    verb(&api, "parent", clean(on_one), "manageable").await;
    assert_eq!(
        (power("one").await, power("two").await),
        (json!("power on"), json!("power off"))
    );

    let stranger = json!({"interface": "power", "step": "power_off", "execute_on_child_nodes": true,
                          "limit_child_node_execution": [parent]});
    api.provision("parent", clean(stranger)).await;
    assert_says(
        &api.failed("parent", "clean failed").await,
        &["is not a child"],
    );
    let impossible =
        json!({"interface": "raid", "step": "nonsense", "execute_on_child_nodes": true});
    api.set("parent", &[("maintenance", json!(false))]).await;
    manage_again(&api, "parent").await;
    api.provision("parent", clean(impossible)).await;
    assert_says(
        &api.failed("parent", "clean failed").await,
        &["2 of its children", "raid.nonsense", "node one"],
    );

    // a parent that goes off takes them with it, and a child that goes on needs its parent
    let switch = async |name: &str, target: &str| {
        let path = format!("/v1/nodes/{name}/states/power");
        let reply = api.put(&path, &json!({"target": target})).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        until("the power is as wanted", PATIENCE, async || {
            let node = api.node(name).await;
            assert_eq!(node["last_error"], Value::Null);
            (node["power_state"] == target && node["target_power_state"].is_null()).then_some(())
        })
        .await;
    };
    manage_again(&api, "parent").await;
    switch("parent", "power on").await;
    switch("parent", "power off").await;
    assert_eq!(power("one").await, "power off");
    switch("two", "power on").await;
    assert_eq!(power("parent").await, "power on");
    controller.stop().await;
}

/// In band: the ramdisk comes and goes, and the instance is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_with_the_ramdisk() {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    world.life.step(Step::Deploy).await;
    let steps = json!([
        {"interface": "deploy", "step": "erase_devices_metadata"},
        {"interface": "power", "step": "reboot"},
        {"interface": "deploy", "step": "erase_devices_metadata"},
    ]);
    let service = json!({"target": "service", "service_steps": steps});
    world.api.provision("h0", service.clone()).await;
    let node = world.api.wait_for("h0", "active").await;
    assert_eq!(node["last_error"], Value::Null);
    assert_eq!(node["power_state"], "power on");
    let log = world.lab.log().unwrap();
    assert_eq!(log.events("h0", "disk_erased").count(), 2);
    // ramdisk, ramdisk after the restart, instance; and the deploy's two before
    assert_eq!(log.events("h0", "power_on").count(), 5);
    // started again, but its disk was erased
    world
        .lab
        .seen(PATIENCE, |log| {
            let last = log.last("h0", "local_boot")?;
            (last.text("result") == Some("no bootable disk")).then_some(())
        })
        .await
        .unwrap();

    // an abort while the ramdisk is waited for: the instance comes back
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, true, None)
        .unwrap();
    world.api.provision("h0", service).await;
    world.api.wait_for("h0", "service wait").await;
    world.api.provision("h0", json!({"target": "abort"})).await;
    let node = world.api.wait_for("h0", "active").await;
    assert_says(
        node["last_error"].as_str().unwrap(),
        &["aborted by the operator"],
    );
    until("the instance is on again", PATIENCE, async || {
        let node = world.api.node("h0").await;
        (node["power_state"] == "power on" && node["reservation"].is_null()).then_some(())
    })
    .await;
    world.end().await;
}

/// The ramdisk reports, hooks and rules work on it, the inventory is kept, and the node is off again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspection_by_the_ramdisk() {
    let mut world = World::new(|_| {}).await;
    world.life.enrol().await;
    world.life.step(Step::Manage).await;
    let api = &world.api;
    api.set(
        "h0",
        &[("properties", json!({"capabilities": "boot_mode:uefi"}))],
    )
    .await;
    let rule = json!({
        "conditions": [{"op": "eq", "args": {"values": ["{inventory[system_vendor][manufacturer]}", "Bessemer"]}}],
        "actions": [
            {"op": "set-attribute", "args": {"path": "extra.serial", "value": "{inventory[system_vendor][serial_number]}"}},
            {"op": "add-trait", "args": {"name": "CUSTOM_LAB"}},
        ],
    });
    let made = api.post("/v1/inspection_rules", &rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    let node = verb(api, "h0", json!({"target": "inspect"}), "manageable").await;
    let host = world.life.host.clone();
    assert_eq!(node["properties"]["cpu_arch"], host.cpu_arch);
    assert_eq!(node["extra"]["serial"], host.serial_number);
    assert_eq!(node["traits"], json!(["CUSTOM_LAB"]));
    assert_eq!(node["power_state"], "power off");
    assert!(node["inspection_finished_at"].is_string());
    let inventory = api.get("/v1/nodes/h0/inventory").await.ok();
    assert_eq!(
        inventory["inventory"]["system_vendor"]["serial_number"],
        host.serial_number
    );
    let ports = api.get("/v1/nodes/h0/ports").await.ok();
    assert_eq!(ports["ports"].as_array().map(Vec::len), Some(1));

    // a rule that refuses the machine fails the inspection and says why
    let refuse = json!({"priority": 100, "actions": [{"op": "fail", "args": {"msg": "not this kind of machine"}}]});
    assert_eq!(api.post("/v1/inspection_rules", &refuse).await.status, 201);
    api.provision("h0", json!({"target": "inspect"})).await;
    let error = api.failed("h0", "inspect failed").await;
    assert_says(
        &error,
        &["inspection of node h0", "not this kind of machine"],
    );

    // aborted while the ramdisk is waited for
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, true, None)
        .unwrap();
    world
        .api
        .provision("h0", json!({"target": "inspect"}))
        .await;
    world.api.wait_for("h0", "inspect wait").await;
    world.api.provision("h0", json!({"target": "abort"})).await;
    let error = world.api.failed("h0", "inspect failed").await;
    assert_says(&error, &["aborted by the operator"]);
    manage_again(&world.api, "h0").await;
    assert_eq!(world.api.node("h0").await["power_state"], "power off");
    world.end().await;
}

/// Rescue and back; the password reaches the ramdisk as a hash and is not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rescue_and_back() {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    world.life.step(Step::Deploy).await;
    let boots = world.lab.log().unwrap().events("h0", "local_boot").count();
    let rescue = json!({"target": "rescue", "rescue_password": "open-sesame"});
    let node = verb(&world.api, "h0", rescue.clone(), "rescue").await;
    assert_eq!(node["power_state"], "power on");
    assert!(node["instance_info"].get("rescue_password").is_none());
    let log = world.lab.log().unwrap();
    let hash = log
        .last("h0", "rescue_password_set")
        .and_then(|e| e.text("hash").map(str::to_owned))
        .unwrap();
    assert!(hash.starts_with("$5$"), "{hash}");
    let text = std::fs::read_to_string(&world.lab.log_path).unwrap();
    assert!(!text.contains("open-sesame"));
    let node = verb(&world.api, "h0", json!({"target": "unrescue"}), "active").await;
    assert_eq!(node["power_state"], "power on");
    world
        .lab
        .seen(PATIENCE, |log| {
            (log.events("h0", "local_boot").count() > boots).then_some(())
        })
        .await
        .unwrap();
    // undeployed in the middle of a rescue that does not get on
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, true, None)
        .unwrap();
    world.api.provision("h0", rescue).await;
    world.api.wait_for("h0", "rescue wait").await;
    verb(&world.api, "h0", json!({"target": "deleted"}), "available").await;
    world.end().await;
}

/// Nodes without hardware are rescued, too; and what a template holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fake_rescue_and_templates() {
    let (_site, controller, api) = world().await;
    let n = "n0";
    let interfaces = json!({"inspect_interface": "fake", "rescue_interface": "fake"});
    fake(&api, n, interfaces).await;
    let node = verb(&api, n, json!({"target": "inspect"}), "manageable").await;
    assert!(node["inspection_finished_at"].is_string());
    verb(&api, n, json!({"target": "adopt"}), "active").await;
    let rescue = json!({"target": "rescue", "rescue_password": "x"});
    let node = verb(&api, n, rescue, "rescue").await;
    assert_eq!(node["instance_info"], json!({}));
    verb(&api, n, json!({"target": "unrescue"}), "active").await;

    // steps of a deploy template whose trait the instance wants
    verb(&api, n, json!({"target": "deleted"}), "available").await;
    let template = json!({"name": "CUSTOM_HELD",
        "steps": [{"interface": "deploy", "step": "hold", "args": {}, "priority": 150}]});
    let made = api.post("/v1/deploy_templates", &template).await;
    assert_eq!(made.status, 201, "{made:?}");
    api.set(n, &[("instance_info", json!({"traits": ["CUSTOM_HELD"]}))])
        .await;
    let refused = api
        .put(
            &format!("/v1/nodes/{n}/states/provision"),
            &json!({"target": "active"}),
        )
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let traits = json!({"traits": ["CUSTOM_HELD"]});
    assert_eq!(
        api.put(&format!("/v1/nodes/{n}/traits"), &traits)
            .await
            .status,
        204
    );
    verb(&api, n, json!({"target": "active"}), "deploy hold").await;
    verb(&api, n, json!({"target": "unhold"}), "active").await;
    controller.stop().await;
}
