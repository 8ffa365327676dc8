//! The real program, killed while it deploys many hosts: a seeded sample of instants.
//!
//! In the test run ten hosts and a few kills; `make kill-test` sets `BESSEMER_KILL_HOSTS`, `BESSEMER_KILLS` and
//! `BESSEMER_KILL_SEED` for the long form. The checker reads only the hosts' log: who was destroyed what, and when.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{Api, Life, Program, Site, Step, assert_clean_life};

const STEPS: [Step; 3] = [Step::Manage, Step::Provide, Step::Deploy];

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_many_deploys_lose_nothing() {
    let hosts = usize::try_from(number("BESSEMER_KILL_HOSTS", 10)).unwrap();
    let kills = number("BESSEMER_KILLS", 6);
    let seed = number("BESSEMER_KILL_SEED", 20_250_101);
    let long = hosts > 50;
    let site = if long {
        Site::wide().await
    } else {
        Site::new().await
    };
    let image = site.images.small();
    let mut settings = site.lab_settings(hosts);
    // see the crash test
    settings.loss = 1e-12;
    settings.write_seconds = bessemer_lab::Span::millis(5_000, 40_000);
    let mut lab = site.lab(&settings);
    let file = site.settings_file(
        "one",
        1,
        &[
            ("conductor", "max_concurrent_clean = 1000"),
            ("conductor", "max_concurrent_deploy = 1000"),
            ("conductor", "boot_sign_timeout = 60"),
        ],
    );
    let url = site.url(1);
    let api = Api::new(&url);
    let mut program = Program::start(&file, &url).await;
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        life.patient = true;
        if long {
            life.patience = Duration::from_secs(3600);
            life.poll = Duration::from_millis(500);
        }
        lives.spawn(async move {
            life.whole(&STEPS).await;
        });
    }
    let mut random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut while_busy = 0;
    for kill in 0..kills {
        // from the first requests to the middle of the writes
        let longest = if long { 4000 } else { 1500 };
        let instant = Duration::from_millis(random.random_range(100..longest));
        tokio::time::sleep(instant).await;
        program.kill();
        while lives.try_join_next().is_some_and(|ended| {
            ended.unwrap();
            true
        }) {}
        while_busy += u64::from(!lives.is_empty());
        if long && kill % 10 == 9 {
            println!(
                "{} kills, {} hosts left, {:.0} s",
                kill + 1,
                lives.len(),
                began.elapsed().as_secs_f64()
            );
        }
        program = Program::start(&file, &url).await;
    }
    lives.join_all().await;
    println!(
        "seed {seed}: {hosts} hosts deployed through {kills} kills ({while_busy} while work was going on) in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert!(while_busy >= kills / 2, "most kills came when all was done");
    let all = lab.hosts.clone();
    let log = lab.log().unwrap();
    for host in &all {
        assert_clean_life(log, &host.name, &image, &STEPS);
        assert!(log.powered(&host.name), "{} is off", host.name);
    }
    let active = api
        .get("/v1/nodes?provision_state=active&limit=1000")
        .await
        .ok();
    assert_eq!(active["nodes"].as_array().map(Vec::len), Some(hosts));
    // and it works on as if nothing had been
    api.provision("h3", json!({"target": "deleted"})).await;
    api.wait_for("h3", "available").await;
    program.stop().await;
}
