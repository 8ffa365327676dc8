//! Whole lives, undisturbed: simulated hosts over real sockets, one and many, and nodes without hardware.

use std::time::Instant;

use bessemer_store::testing::{self, Database};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::{Api, Controller, Life, Site, Step, assert_clean_life, assert_no_violations};

/// A site's settings on this database.
pub fn on(site: &Site, database: &Database) -> bessemer_config::Config {
    let mut config = site.config();
    config.database.connection = Some(SecretString::from(database.settings.connection.clone()));
    config
}

async fn one_host(database: Database) {
    let site = Site::new().await;
    let image = site.images.small();
    let mut lab = site.lab(&site.lab_settings(1));
    let controller = Controller::start(on(&site, &database), None).await;
    let api = Api::new(site.url(1));
    let mut life = Life::new(
        api.clone(),
        lab.hosts[0].clone(),
        image.clone(),
        &lab.log_path,
    );
    let began = Instant::now();
    let node = life.whole(&Step::LIFE).await;
    println!(
        "a life on {}: {:.1} s",
        database.name,
        began.elapsed().as_secs_f64()
    );
    assert_clean_life(lab.log().unwrap(), "h0", &image, &Step::LIFE);
    assert_eq!(node["provision_state"], "available");
    assert_eq!(node["instance_info"], json!({}));
    assert_eq!(node["power_state"], "power off");
    for gone in [
        "reservation",
        "target_provision_state",
        "target_power_state",
        "fault",
        "maintenance_reason",
    ] {
        assert_eq!(node[gone], Value::Null, "{gone}");
    }
    let internal = node["driver_internal_info"].as_object().unwrap();
    let agents: Vec<_> = internal.keys().filter(|k| k.starts_with("agent")).collect();
    assert!(agents.is_empty(), "{agents:?} outlive their agent");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_on_sqlite() {
    one_host(testing::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_on_postgresql() {
    one_host(testing::postgres().await).await;
}

/// Every twentieth datagram or request of theirs is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_hosts_at_once_with_losses() {
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(20);
    settings.loss = 0.05;
    let mut lab = site.lab(&settings);
    let controller = Controller::start(site.config(), None).await;
    let api = Api::new(site.url(1));
    let steps = [
        Step::Manage,
        Step::Provide,
        Step::Deploy,
        Step::Reboot,
        Step::Undeploy,
    ];
    let began = Instant::now();
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        lives.spawn(async move { life.whole(&steps).await["provision_state"].clone() });
    }
    for state in lives.join_all().await {
        assert_eq!(state, "available");
    }
    println!("twenty lives: {:.1} s", began.elapsed().as_secs_f64());
    let hosts = lab.hosts.clone();
    let log = lab.log().unwrap();
    for host in &hosts {
        assert_clean_life(log, &host.name, &image, &steps);
    }
    assert_no_violations(&mut lab);
    controller.stop().await;
}

/// No BMC, no network boot, no agent: what `fake-hardware` is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_hardware() {
    let site = Site::new().await;
    let mut config = site.config();
    config.netboot.enabled = false;
    let controller = Controller::start(config, None).await;
    let api = Api::new(site.url(1));
    let lives = (0..10).map(|n| {
        let api = api.clone();
        async move {
            let name = format!("fake-{n}");
            let name = name.as_str();
            let node = json!({"name": name, "driver": "fake-hardware"});
            assert_eq!(api.post("/v1/nodes", &node).await.status, 201);
            for (target, state) in [
                ("manage", "manageable"),
                ("provide", "available"),
                ("active", "active"),
                ("rebuild", "active"),
                ("deleted", "available"),
                ("manage", "manageable"),
            ] {
                api.provision(name, json!({"target": target})).await;
                let node = api.wait_for(name, state).await;
                assert_eq!(node["last_error"], Value::Null, "{target}");
                assert_eq!(node["target_provision_state"], Value::Null, "{target}");
            }
            let clean = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "nonsense"}]});
            api.provision(name, clean).await;
            let error = api.failed(name, "clean failed").await;
            assert!(error.contains("deploy.nonsense"), "{error}");
            api.provision(name, json!({"target": "manage"})).await;
            api.wait_for(name, "manageable").await;
        }
    });
    futures_util::future::join_all(lives).await;
    controller.stop().await;
}
