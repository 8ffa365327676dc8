//! Many hosts deployed by one controller at the same time: none fails, each is written once, and memory stays bounded.
//!
//! In the test run few; `make bench` sets `BESSEMER_MANY_HOSTS` and a released server for the figure.

use std::time::{Duration, Instant};

use bessemer_lab::Span;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Api, Program, Site, assert_no_violations, number, until};

/// Requests that are on their way at once.
const CLIENTS: usize = 16;

/// One request for each node, some at a time.
async fn each<F: Future<Output = ()> + Send + 'static>(hosts: usize, ask: impl Fn(usize) -> F) {
    let mut asking = JoinSet::new();
    for n in 0..hosts {
        if asking.len() == CLIENTS {
            asking.join_next().await.unwrap().unwrap();
        }
        asking.spawn(ask(n));
    }
    asking.join_all().await;
}

/// Nodes in a state with nothing more wanted of them; one that failed ends the test.
async fn settled(api: &Api, state: &str) -> usize {
    let mut settled = 0;
    let mut path = String::from(
        "/v1/nodes?limit=1000&fields=name,provision_state,target_provision_state,last_error",
    );
    loop {
        let page = api.get(&path).await.ok();
        for node in page["nodes"].as_array().unwrap() {
            let is = node["provision_state"].as_str().unwrap_or("available");
            assert!(!is.ends_with("failed") && is != "error", "{node}");
            settled += usize::from(is == state && node["target_provision_state"].is_null());
        }
        match page["next"]
            .as_str()
            .and_then(|next| next.split_once("/v1/"))
        {
            Some((_, rest)) => path = format!("/v1/{rest}"),
            None => return settled,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_at_once_stay_small() {
    let hosts = usize::try_from(number("BESSEMER_MANY_HOSTS", 8)).unwrap();
    let patience = Duration::from_secs(60 + 2 * hosts as u64);
    let site = Site::of(hosts).await;
    let image = site.images.small();
    let mut settings = site.lab_settings(hosts);
    settings.loss = 0.0;
    // all of them are at it at once, however long the requests take
    let writes = 2_000 + 200 * hosts as u64;
    settings.write_seconds = Span::millis(writes, 2 * writes);
    let mut lab = site.lab(&settings);
    let file = site.settings_file(
        "one",
        1,
        &[
            ("conductor", "automated_clean = false"),
            ("conductor", "max_concurrent_deploy = 100000"),
            ("conductor", "boot_sign_timeout = 600"),
        ],
    );
    let program = Program::start(&file, &site.url(1)).await;
    let url = site.url(1);
    let facts = lab.hosts.clone();
    each(hosts, |n| {
        let (api, host) = (Api::new(&url), facts[n].clone());
        async move {
            let node = json!({
                "name": host.name,
                "driver": "ipmi",
                "driver_info": {
                    "ipmi_address": host.bmc_address,
                    "ipmi_port": host.bmc_port,
                    "ipmi_username": host.bmc_user,
                    "ipmi_password": host.bmc_password,
                },
                "properties": {"cpu_arch": host.cpu_arch},
            });
            let node = api.post("/v1/nodes", &node).await.ok();
            let port = json!({"node_uuid": node["uuid"], "address": host.mac});
            api.post("/v1/ports", &port).await.ok();
        }
    })
    .await;
    let api = Api::new(&url);
    let mut most_at_once = 0;
    for (target, state) in [
        ("manage", "manageable"),
        ("provide", "available"),
        ("active", "active"),
    ] {
        each(hosts, |n| {
            let (api, name, image) = (Api::new(&url), facts[n].name.clone(), image.clone());
            async move {
                if target == "active" {
                    api.set(&name, &[("instance_info", image.instance_info())])
                        .await;
                }
                api.provision(&name, json!({"target": target})).await;
            }
        })
        .await;
        let what = format!("{hosts} nodes in {state}");
        until(&what, patience, async || {
            let settled = settled(&api, state).await;
            if target == "active" {
                most_at_once = most_at_once.max(hosts - settled);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            (settled == hosts).then_some(())
        })
        .await;
    }
    let began = Instant::now();
    let log = lab.log().unwrap();
    for host in &facts {
        assert_eq!(log.image_writes(&host.name).len(), 1, "{}", host.name);
    }
    assert_no_violations(&mut lab);
    assert_eq!(most_at_once, hosts, "they did not deploy at the same time");
    let most = program.memory("VmHWM") / 1024;
    println!(
        "{hosts} deploys of simulated hosts at once on one conductor: {most} MiB resident at most ({:.0} s to read the hosts' log)",
        began.elapsed().as_secs_f64()
    );
    program.stop().await;
}
