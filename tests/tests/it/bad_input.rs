//! What operators and hardware do wrong: every case ends in the proper failed state with a sentence that says what
//! failed, on what, and what to check; and the node can be tried again.

use std::process::{Command, Stdio};
use std::time::Duration;

use bessemer_config::Config;
use bessemer_lab::{Fault, LabProcess};
use serde_json::{Value, json};

use crate::harness::{
    Api, Binary, Controller, Image, Life, PATIENCE, Program, Site, Step, assert_no_violations,
    program, until,
};

/// One host and a controller.
pub struct World {
    pub site: Site,
    pub lab: LabProcess,
    pub controller: Controller,
    pub api: Api,
    pub image: Image,
    pub life: Life,
}

impl World {
    pub async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let site = Site::new().await;
        let image = site.images.small();
        let lab = site.lab(&site.lab_settings(1));
        let mut config = site.config();
        config.ipmi.command_retry_timeout = Duration::from_secs(3);
        change(&mut config);
        let controller = Controller::start(config, None).await;
        let api = Api::new(site.url(1));
        let life = Life::new(
            api.clone(),
            lab.hosts[0].clone(),
            image.clone(),
            &lab.log_path,
        );
        Self {
            site,
            lab,
            controller,
            api,
            image,
            life,
        }
    }

    /// Enrolled and available without cleaning.
    pub async fn available(&mut self) {
        self.life.enrol().await;
        self.api
            .set("h0", &[("automated_clean", json!(false))])
            .await;
        self.life.step(Step::Manage).await;
        self.life.step(Step::Provide).await;
    }

    pub async fn deploy(&self, image: &Image) {
        self.api
            .set("h0", &[("instance_info", image.instance_info())])
            .await;
        self.api.provision("h0", json!({"target": "active"})).await;
    }

    /// The node is tried again with a good image, from the failed state.
    pub async fn deploy_again(&self) {
        self.deploy(&self.image).await;
        let node = self.api.wait_for("h0", "active").await;
        assert_eq!(node["last_error"], Value::Null);
    }

    pub async fn end(mut self) {
        assert_no_violations(&mut self.lab);
        self.controller.stop().await;
    }
}

/// The sentence has all of these in it.
#[track_caller]
pub fn assert_says(sentence: &str, parts: &[&str]) {
    println!("{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
    assert!(sentence.len() > 40 && sentence.len() < 1200, "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bmc_password() {
    let mut world = World::new(|_| {}).await;
    let right = world.life.host.bmc_password.clone();
    let bmc = format!(
        "{}:{}",
        world.life.host.bmc_address, world.life.host.bmc_port
    );
    world.life.host.bmc_password = "not-the-password".into();
    world.life.enrol().await;
    world.api.provision("h0", json!({"target": "manage"})).await;
    let error = world.api.failed("h0", "enroll").await;
    assert_says(&error, &["power state", "node", &bmc, "password"]);
    assert!(!error.contains("not-the-password"));
    world
        .api
        .set("h0", &[("driver_info/ipmi_password", json!(right))])
        .await;
    world.life.step(Step::Manage).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_bmc() {
    let mut world = World::new(|_| {}).await;
    let bmc = format!(
        "{}:{}",
        world.life.host.bmc_address, world.life.host.bmc_port
    );
    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, true, None)
        .unwrap();
    world.life.enrol().await;
    world.api.provision("h0", json!({"target": "manage"})).await;
    let error = world.api.failed("h0", "enroll").await;
    assert_says(&error, &["power state", "node", &bmc, "check"]);
    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, false, None)
        .unwrap();
    world.life.step(Step::Manage).await;

    // and in the middle of a deploy: nothing is left half done
    world
        .api
        .set("h0", &[("automated_clean", json!(false))])
        .await;
    world.life.step(Step::Provide).await;
    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, true, None)
        .unwrap();
    world.deploy(&world.image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(&error, &["deploy of node h0", &bmc, "check"]);
    world
        .lab
        .set_fault("h0", Fault::BmcUnreachable, false, None)
        .unwrap();
    world.deploy_again().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_that_is_not_there() {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    let image = Image {
        url: world.site.images.url("no-such-image.raw"),
        ..world.image.clone()
    };
    world.deploy(&image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(
        &error,
        &[
            "Deploy of node h0",
            "no-such-image.raw",
            "404",
            "check image_source",
        ],
    );
    // nothing was switched for it
    let log = world.lab.log().unwrap();
    assert_eq!(log.events("h0", "power_on").count(), 0);
    world.deploy_again().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_server_that_is_away() {
    let mut world = World::new(|_| {}).await;
    world.available().await;
    let image = Image {
        url: format!("http://{}:9/away.raw", world.site.address(2)),
        ..world.image.clone()
    };
    world.deploy(&image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(
        &error,
        &[
            "Deploy of node h0",
            "away.raw",
            "cannot be reached",
            "check image_source",
        ],
    );
    world.deploy_again().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mac_that_never_shows_up() {
    let mut world = World::new(|config| {
        config.conductor.clean_callback_timeout = Duration::from_secs(3);
        config.conductor.deploy_callback_timeout = Duration::from_secs(3);
    })
    .await;
    world.life.enrol().await;
    world.life.step(Step::Manage).await;
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, true, None)
        .unwrap();
    world
        .api
        .provision("h0", json!({"target": "provide"}))
        .await;
    let error = world.api.failed("h0", "clean failed").await;
    assert_says(
        &error,
        &[
            "Timeout of the cleaning of node h0",
            "heartbeat",
            "No DHCP request was seen",
            "check",
            "MAC",
        ],
    );
    let node = world.api.node("h0").await;
    assert_eq!(node["maintenance"], false, "nothing was erased yet");
    world.api.provision("h0", json!({"target": "manage"})).await;
    world.api.wait_for("h0", "manageable").await;
    world
        .api
        .set("h0", &[("automated_clean", json!(false))])
        .await;
    world.life.step(Step::Provide).await;
    world.deploy(&world.image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(
        &error,
        &[
            "Timeout of the deploy of node h0",
            "heartbeat",
            "No DHCP request was seen",
            "check",
            "MAC",
        ],
    );
    world
        .lab
        .set_fault("h0", Fault::NoNetwork, false, None)
        .unwrap();
    world.deploy_again().await;
    world.end().await;
}

/// The disk of the agent reports errors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_fail() {
    let mut world = World::new(|_| {}).await;
    world.life.enrol().await;
    world.life.step(Step::Manage).await;
    world
        .lab
        .set_fault("h0", Fault::EraseFails, true, None)
        .unwrap();
    world
        .api
        .provision("h0", json!({"target": "provide"}))
        .await;
    let error = world.api.failed("h0", "clean failed").await;
    assert_says(
        &error,
        &["Clean step deploy.erase_devices", "node h0", "/dev/sda"],
    );
    let node = world.api.node("h0").await;
    assert_eq!(
        (&node["maintenance"], &node["fault"]),
        (&json!(true), &json!("clean failure"))
    );
    world
        .lab
        .set_fault("h0", Fault::EraseFails, false, None)
        .unwrap();
    let maintenance = world
        .api
        .call(reqwest::Method::DELETE, "/v1/nodes/h0/maintenance", None)
        .await
        .unwrap();
    assert_eq!(maintenance.status, 202);
    world.api.provision("h0", json!({"target": "manage"})).await;
    world.api.wait_for("h0", "manageable").await;
    world.life.step(Step::Provide).await;

    world
        .lab
        .set_fault("h0", Fault::WriteFails, true, None)
        .unwrap();
    world.deploy(&world.image).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(&error, &["Deploy step deploy.write_image", "node h0"]);
    world
        .lab
        .set_fault("h0", Fault::WriteFails, false, None)
        .unwrap();
    world.deploy_again().await;
    world.end().await;
}

/// A program in namespaces of its own with a file system of a few MiB; told on standard input to fill and to free it.
const SMALL_DISK: &str = r#"
mount -t tmpfs -o size=6m tmpfs "$1" || exit 9
shift
"$@" <&- &
server=$!
trap 'kill -KILL $server' EXIT
while read -r order; do
    case "$order" in
        fill) dd if=/dev/zero of="$DISK/filler" bs=4096 2>/dev/null; echo filled ;;
        free) rm "$DISK/filler"; echo freed ;;
        ended) kill -0 $server 2>/dev/null && echo runs || echo gone ;;
    esac
done
"#;

/// Whether an ordinary user may make namespaces here; root may in any case.
fn namespaces() -> Vec<&'static str> {
    let user = ["-U", "-r", "-m", "--"];
    let allowed = Command::new("unshare")
        .args(user)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if allowed
        .expect("this test needs unshare (util-linux)")
        .success()
    {
        user.to_vec()
    } else {
        vec!["-m", "--"]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_of_the_controller() {
    use std::io::{BufRead, BufReader, Write};
    let site = Site::new().await;
    let disk = site.path("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let state = format!("state_path = \"{}\"", disk.display());
    let file = site.settings_file(
        "one",
        1,
        &[
            ("DEFAULT", state.as_str()),
            ("netboot", "enabled = false"),
            ("fake", "deploy_delay = 2"),
        ],
    );
    let log = std::fs::File::create(site.path("one.log")).unwrap();
    let mut shell = Command::new("unshare")
        .args(namespaces())
        .args(["sh", "-c", SMALL_DISK, "sh"])
        .arg(&disk)
        .arg(program(Binary::Server))
        .args(["serve", "--config"])
        .arg(&file)
        .env("DISK", &disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut orders = shell.stdin.take().unwrap();
    let mut answers = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut order = |text: &str| {
        writeln!(orders, "{text}").unwrap();
        loop {
            let answer = answers.next().expect("the shell ended").unwrap();
            if ["filled", "freed", "runs", "gone"].contains(&answer.as_str()) {
                return answer;
            }
        }
    };
    let api = Api::new(site.url(1));
    until("the API answers", PATIENCE, async || {
        api.call(reqwest::Method::GET, "/v1", None).await.ok()
    })
    .await;
    let create = async |name: &str| {
        api.post(
            "/v1/nodes",
            &json!({"name": name, "driver": "fake-hardware"}),
        )
        .await
    };
    assert_eq!(create("busy").await.status, 201);
    api.set("busy", &[("automated_clean", json!(false))]).await;
    for (target, state) in [("manage", "manageable"), ("provide", "available")] {
        api.provision("busy", json!({"target": target})).await;
        api.wait_for("busy", state).await;
    }
    // a deploy is running while the disk fills
    api.provision("busy", json!({"target": "active"})).await;
    assert_eq!(order("fill"), "filled");
    let refused = until("a write is refused", PATIENCE, async || {
        let reply = create(&format!("n-{}", uuid::Uuid::new_v4())).await;
        (reply.status != 201).then_some(reply)
    })
    .await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_says(
        &refused.body.to_string(),
        &["database cannot be written", "check free space"],
    );
    // it reads on, and nothing that was acknowledged is lost
    assert_eq!(api.node("busy").await["provision_state"], "deploying");
    // for longer than the step takes, so that its outcome cannot be saved
    let refusals = std::time::Instant::now();
    while refusals.elapsed() < Duration::from_secs(3) {
        assert_eq!(create("later").await.status, 503);
        assert_eq!(order("ended"), "runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(api.node("busy").await["provision_state"], "deploying");
    assert_eq!(order("free"), "freed");
    until("a write is accepted again", PATIENCE, async || {
        (create("later").await.status == 201).then_some(())
    })
    .await;
    let node = api.wait_for("busy", "active").await;
    assert_eq!(node["last_error"], Value::Null);
    drop(orders);
    shell.wait().unwrap();
}

/// Addresses in use, directories that cannot be made: said in a sentence that names the option.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_controller_at_the_same_address() {
    let site = Site::new().await;
    let file = site.settings_file("one", 1, &[("netboot", "enabled = false")]);
    let running = Program::start(&file, &site.url(1)).await;
    let second = Command::new(program(Binary::Server))
        .arg("serve")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_says(&said, &["API cannot listen on", "[api] host_ip and port"]);
    running.stop().await;
}
