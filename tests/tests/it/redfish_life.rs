//! Whole lives of hosts whose BMC speaks Redfish.

use std::time::Duration;

use bessemer_lab::{BmcKind, Fault};
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

/// Everything from virtual CDs, on BIOS and on UEFI: each boot of a ramdisk is of an image at an address of its own, which is
/// ejected afterwards and answers nobody any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_lives_from_virtual_media() {
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(2);
    settings.bmc = vec![BmcKind::Redfish];
    settings.bmc_faults = 0.02;
    let mut lab = site.lab(&settings);
    lab.set_fault("h1", Fault::StaleMedia, true, None).unwrap();
    let database = testing::sqlite();
    let controller = Controller::start(on(&site, &database), None).await;
    let api = Api::new(site.url(1));
    let mut lives = tokio::task::JoinSet::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        life.boot_interface = Some("redfish-virtual-media");
        lives.spawn(async move { life.whole(&Step::LIFE).await });
    }
    for node in lives.join_all().await {
        assert_eq!(node["provision_state"], "available");
        assert_eq!(node["boot_interface"], "redfish-virtual-media");
        let internal = node["driver_internal_info"].as_object().unwrap();
        assert!(
            !internal.contains_key("virtual_media_bootloader"),
            "{internal:?}"
        );
    }
    let log = lab.log().unwrap();
    for name in ["h0", "h1"] {
        assert_clean_life(log, name, &image, &Step::LIFE);
        let of = |event: &str| log.events(name, event).count();
        let booted = log
            .events(name, "kernel_started")
            .filter(|e| e.text("from") == Some("cd"))
            .count();
        assert_eq!(booted, of("kernel_started"), "{name}");
        assert!(booted >= 6, "{name}: {booted}");
        // a host whose disk was erased asks the network, and is sent back to its disk
        let fetched = log
            .events(name, "http_get")
            .filter(|e| {
                e.text("path")
                    .is_none_or(|path| !path.ends_with("/boot.ipxe"))
            })
            .count();
        assert_eq!(fetched + of("tftp"), 0, "{name} booted from the network");
        assert_eq!(of("media_inserted"), of("media_ejected"), "{name}");
        // the agents had their tokens already
        let lookups: Vec<_> = log.events(name, "lookup").collect();
        assert!(!lookups.is_empty());
    }
    let timeline = api.timeline("h0").await;
    assert!(timeline.contains("virtual CD inserted"), "{timeline}");
    controller.stop().await;
}

/// The image of a node that is being worked on: whoever knows the address gets it, in parts too, the same each time; nobody
/// else, and nobody once the operation has ended. The token is nowhere but in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_virtual_media_are_secret_and_end() {
    let site = Site::new().await;
    let mut settings = site.lab_settings(1);
    settings.bmc = vec![BmcKind::RedfishHttp];
    let mut lab = site.lab(&settings);
    let host = lab.hosts[0].clone();
    // the agent of another world: the operation waits for it
    lab.set_fault("h0", Fault::NeverBoots, true, None).unwrap();
    let database = testing::sqlite();
    let controller = Controller::start(on(&site, &database), None).await;
    let api = Api::new(site.url(1));
    let mut life = Life::new(
        api.clone(),
        host.clone(),
        site.images.small(),
        &lab.log_path,
    );
    life.boot_interface = Some("redfish-virtual-media");
    life.enrol().await;
    life.step(Step::Manage).await;
    api.provision("h0", json!({"target": "provide"})).await;
    api.wait_for("h0", "clean wait").await;

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let slot = format!(
        "{}/redfish/v1/Systems/1/VirtualMedia/Cd",
        host.redfish_url().unwrap()
    );
    let inserted = || async {
        let request = client
            .get(&slot)
            .basic_auth(&host.bmc_user, Some(&host.bmc_password));
        let slot: Value = request.send().await.unwrap().json().await.unwrap();
        slot["Image"].as_str().map(str::to_owned)
    };
    let url = inserted().await.unwrap();
    let fetch = |url: String, range: Option<&'static str>| {
        let mut request = client.get(url);
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        }
    };
    let (status, whole) = fetch(url.clone(), None).await;
    assert_eq!(status, 200);
    assert_eq!(whole.len() % 2048, 0);
    assert_eq!(fetch(url.clone(), None).await.1, whole);
    let (status, part) = fetch(url.clone(), Some("bytes=32768-70000")).await;
    assert_eq!((status, &part[..]), (206, &whole[32768..=70000]));
    let has = |text: &str| whole.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(has("ipa-agent-token=") && has("boot_method=vmedia") && has("ipa-api-url="));

    // another digit, another node, other services
    let (base, secret) = url.trim_end_matches("/boot.iso").rsplit_once('/').unwrap();
    assert_eq!(secret.len(), 64);
    let other = secret.chars().rev().collect::<String>();
    for wrong in [
        format!("{base}/{other}/boot.iso"),
        format!("{base}/{secret}0/boot.iso"),
        format!("{base}/boot.iso"),
        format!("{base}/{secret}/other.iso"),
    ] {
        assert_eq!(fetch(wrong.clone(), None).await.0, 404, "{wrong}");
    }
    let script = format!(
        "http://{}:8080/boot/{}/boot.ipxe",
        site.address(1),
        host.mac.replace(':', "-")
    );
    let script = String::from_utf8(fetch(script, None).await.1.to_vec()).unwrap();
    assert!(!script.contains("ipa-agent-token"), "{script}");
    let timeline = api.timeline("h0").await;
    assert!(!timeline.contains(secret), "{timeline}");
    let lookup = format!("/v1/lookup?addresses={}", host.mac);
    let found = api.get(&lookup).await.ok();
    assert_eq!(found["config"]["agent_token"], "******");

    api.provision("h0", json!({"target": "abort"})).await;
    api.wait_for("h0", "clean failed").await;
    assert_eq!(fetch(url, None).await.0, 404);
    assert_eq!(inserted().await, None);
    controller.stop().await;
}
