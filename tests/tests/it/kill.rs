//! The real program, killed while it deploys ten hosts: a seeded sample of instants.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{Api, Life, Program, Site, Step, assert_clean_life};

const SEED: u64 = 20_250_101;
const KILLS: usize = 6;
const STEPS: [Step; 3] = [Step::Manage, Step::Provide, Step::Deploy];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_ten_deploys_lose_nothing() {
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(10);
    // see the crash test
    settings.loss = 1e-12;
    settings.write_seconds = bessemer_lab::Span::millis(5_000, 40_000);
    let mut lab = site.lab(&settings);
    let file = site.settings_file("one", 1, &[]);
    let url = site.url(1);
    let api = Api::new(&url);
    let mut program = Program::start(&file, &url).await;
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        life.patient = true;
        lives.spawn(async move {
            life.whole(&STEPS).await;
        });
    }
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        // from the first requests to the middle of the writes
        let instant = Duration::from_millis(random.random_range(100..1500));
        tokio::time::sleep(instant).await;
        program.kill();
        program = Program::start(&file, &url).await;
    }
    lives.join_all().await;
    let hosts = lab.hosts.clone();
    let log = lab.log().unwrap();
    for host in &hosts {
        assert_clean_life(log, &host.name, &image, &STEPS);
    }
    let active = api.get("/v1/nodes?provision_state=active").await.ok();
    assert_eq!(active["nodes"].as_array().map(Vec::len), Some(10));
    // and it works on as if nothing had been
    api.provision("h3", json!({"target": "deleted"})).await;
    api.wait_for("h3", "available").await;
    program.stop().await;
}
