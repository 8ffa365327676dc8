//! Images that are not what they should be, against the real agent with a disk that is a file: nothing that boots is left
//! behind, and the next deploy works. The agent's own tests look at every detail; here is each case from end to end.

use std::process::Command;

use bessemer_lab::Fault;
use serde_json::{Value, json};

use crate::bad_input::{World, assert_says};
use crate::harness::{Image, RealAgent, Step};

const MIB: u64 = 1 << 20;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs the program {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A host whose firmware hangs, so that its BMC does what it is told and the agent is a process of ours.
struct Machine {
    world: World,
    agent: RealAgent,
    /// Whole-disk images of 8 MiB.
    raw: Image,
    qcow2: Image,
}

impl Machine {
    async fn new() -> Self {
        let mut world = World::new(|_| {}).await;
        world
            .lab
            .set_fault("h0", Fault::NeverBoots, true, None)
            .unwrap();
        world.available().await;
        world
            .api
            .set(
                "h0",
                &[
                    ("properties/capabilities", json!("boot_mode:bios")),
                    // without a hint an agent takes no disk of less than 4 GiB
                    ("properties/root_device", json!({"serial": "scenario"})),
                ],
            )
            .await;
        let agent = RealAgent::new(
            world.site.path("machine"),
            &world.life.host.mac.clone(),
            &world.site.url(1),
            32 * MIB,
        );
        let raw = world.site.path("disk.raw");
        let qcow2 = world.site.path("disk.qcow2");
        let mut bytes = vec![0u8; usize::try_from(8 * MIB).unwrap()];
        for (index, byte) in bytes.iter_mut().enumerate().skip(2 << 20).take(1 << 20) {
            *byte = u8::try_from(index * 7 % 253).unwrap();
        }
        std::fs::write(&raw, bytes).unwrap();
        run(
            "sgdisk",
            &["-n", "1:2048:+4M", "-c", "1:root", raw.to_str().unwrap()],
        );
        run(
            "qemu-img",
            &[
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                raw.to_str().unwrap(),
                qcow2.to_str().unwrap(),
            ],
        );
        let images = &world.site.images;
        let raw = images.put("disk.raw", "raw", &std::fs::read(raw).unwrap());
        let qcow2 = images.put("disk.qcow2", "qcow2", &std::fs::read(qcow2).unwrap());
        Self {
            world,
            agent,
            raw,
            qcow2,
        }
    }

    /// Deploys until the agent is asked for; the ramdisk boots then.
    async fn begin(&mut self, image: &Image) {
        self.world.deploy(image).await;
        self.world.api.wait_for("h0", "wait call-back").await;
        self.agent.boot();
    }

    async fn fails(&mut self, image: &Image, parts: &[&str]) -> String {
        self.begin(image).await;
        let error = self.world.api.failed("h0", "deploy failed").await;
        self.agent.power_off();
        assert_says(
            &error,
            &[&["Deploy step deploy.write_image", "node h0"], parts].concat(),
        );
        let node = self.world.api.node("h0").await;
        assert_eq!(node["power_state"], "power off");
        error
    }

    /// The same node with a good image, and all of it is on the disk.
    async fn succeeds(&mut self, image: Image) {
        self.begin(&image).await;
        let node = self.world.api.wait_for("h0", "active").await;
        assert_eq!(node["last_error"], Value::Null, "{}", self.agent.said());
        assert_eq!(node["power_state"], "power on");
        let expected = std::fs::read(self.world.site.path("disk.raw")).unwrap();
        // the table's spare copy moves to the end of the disk, and its header with it
        let data = 1 << 20..7 << 20;
        assert!(self.agent.read(0, expected.len())[data.clone()] == expected[data]);
    }

    /// Neither end of the disk has anything that looks like a system.
    fn wiped(&self, size: u64) {
        for offset in [0, size - 64 * 1024] {
            assert!(
                self.agent.read(offset, 64 * 1024).iter().all(|b| *b == 0),
                "something is left at {offset}"
            );
        }
    }

    async fn end(self) {
        drop(self.agent);
        self.world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksum_that_does_not_match() {
    let mut machine = Machine::new().await;
    let wrong = Image {
        sha256: "0".repeat(64),
        ..machine.raw.clone()
    };
    machine.fails(&wrong, &["checksum"]).await;
    machine.wiped(32 * MIB);
    machine.succeeds(machine.raw.clone()).await;
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qcow2_that_is_cut_off() {
    let mut machine = Machine::new().await;
    let bytes = std::fs::read(machine.world.site.path("disk.qcow2")).unwrap();
    let cut = &bytes[..bytes.len() - 700_000];
    let truncated = machine.world.site.images.put("cut.qcow2", "qcow2", cut);
    machine.fails(&truncated, &["cut.qcow2"]).await;
    machine.succeeds(machine.qcow2.clone()).await;
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_that_is_smaller_than_the_image() {
    let mut machine = Machine::new().await;
    for image in [machine.raw.clone(), machine.qcow2.clone()] {
        machine.agent.resize(6 * MIB);
        machine.fails(&image, &["8388608"]).await;
        machine.agent.resize(32 * MIB);
    }
    machine.succeeds(machine.raw.clone()).await;
    machine.end().await;
}

/// Refused before anything is switched: the file could name any path of whoever opens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qcow2_with_a_backing_file() {
    let mut world = World::new(|_| {}).await;
    world.life.enrol().await;
    world
        .api
        .set("h0", &[("automated_clean", json!(false))])
        .await;
    world.life.step(Step::Manage).await;
    world.life.step(Step::Provide).await;
    let path = world.site.path("backed.qcow2");
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            "/etc/passwd",
            "-F",
            "raw",
            path.to_str().unwrap(),
            "8M",
        ],
    );
    let backed = world
        .site
        .images
        .put("backed.qcow2", "qcow2", &std::fs::read(&path).unwrap());
    world.deploy(&backed).await;
    let error = world.api.failed("h0", "deploy failed").await;
    assert_says(
        &error,
        &["Deploy of node h0", "backed.qcow2", "backing file"],
    );
    assert_eq!(world.lab.log().unwrap().events("h0", "power_on").count(), 0);
    world.deploy_again().await;
    world.end().await;
}
