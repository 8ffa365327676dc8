//! Whole lives of hosts whose BMC speaks Redfish.

use std::time::Duration;

use bessemer_lab::BmcKind;
use bessemer_store::testing;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{
    Api, Controller, Life, Program, Site, Step, assert_clean_life, assert_no_violations,
};
use crate::life::on;

/// A BMC over TLS with a pinned certificate, and one over plain HTTP that is busy or forgets sessions now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_lives_over_redfish() {
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(2);
    settings.bmc = vec![BmcKind::Redfish, BmcKind::RedfishHttp];
    settings.bmc_faults = 0.02;
    let mut lab = site.lab(&settings);
    let database = testing::sqlite();
    let controller = Controller::start(on(&site, &database), None).await;
    let api = Api::new(site.url(1));
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        lives.spawn(async move { life.whole(&Step::LIFE).await });
    }
    for node in lives.join_all().await {
        assert_eq!(node["driver"], "redfish");
        assert_eq!(node["power_interface"], "redfish");
        assert_eq!(node["provision_state"], "available");
        assert_eq!(node["power_state"], "power off");
        assert_eq!(node["reservation"], Value::Null);
    }
    let log = lab.log().unwrap();
    for name in ["h0", "h1"] {
        assert_clean_life(log, name, &image, &Step::LIFE);
    }
    controller.stop().await;
}

/// The real program, killed at instants of a seed between enrolment and the instance's first boot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_over_redfish() {
    const STEPS: [Step; 4] = [Step::Manage, Step::Provide, Step::Deploy, Step::Undeploy];
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(3);
    settings.bmc = vec![BmcKind::Redfish];
    let mut lab = site.lab(&settings);
    let file = site.settings_file("one", 1, &[("conductor", "boot_sign_timeout = 60")]);
    let mut program = Program::start(&file, &site.url(1)).await;
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(Api::new(site.url(1)), host, image.clone(), &lab.log_path);
        life.patient = true;
        lives.spawn(async move {
            life.whole(&STEPS).await;
        });
    }
    let mut random = StdRng::seed_from_u64(20_251_125);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..2500))).await;
        assert!(!lives.is_empty());
        program.kill();
        program = Program::start(&file, &site.url(1)).await;
    }
    lives.join_all().await;
    let log = lab.log().unwrap();
    for host in ["h0", "h1", "h2"] {
        assert_clean_life(log, host, &image, &STEPS);
    }
    assert_no_violations(&mut lab);
    let api = Api::new(site.url(1));
    for host in ["h0", "h1", "h2"] {
        let node = api.get(&format!("/v1/nodes/{host}")).await.ok();
        assert_eq!(node["provision_state"], json!("available"));
    }
    program.stop().await;
}
