//! `make demo`: two empty machines become servers and go back, before one's eyes.
//!
//! One machine has a BIOS, the other UEFI; both boot from the network, have an IPMI BMC that is not ours, and a disk with old data.
//! The upstream client takes them through enroll, manage, provide, deploy and undeploy; the proof of each step is looked for where
//! an operator would see it: on the disk, on the serial console.

mod client;
mod life;
mod report;
mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bessemer_ramdisk::Flavour;

use crate::cache::Cache;
use crate::image::{self, Image};
use crate::process::{Daemon, wait_for};
use crate::setup::{Purpose, setup};
use crate::testbed::http::FileServer;
use crate::testbed::{Bmc, Firmware, Node, NodeSpec, Run, network, rest};
use crate::{build, testbed};

pub use client::Client;

/// Label of the demo's namespaces.
pub const LABEL: &str = "demo";

/// Host and port of the API on the demo's network.
pub const API: &str = "10.77.0.1:6385";
const IMAGES: &str = "10.77.0.1:8090";

/// What is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Payload {
    /// Debian with cloud-init.
    Debian,
    /// The image of the tests: boots in seconds.
    Tiny,
}

/// Choices of the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What is deployed.
    #[arg(long, value_enum, default_value = "debian")]
    pub image: Payload,
    /// QEMU's accelerator. Emulation works everywhere; name another only if you know that it boots a Debian kernel.
    #[arg(long, default_value = "tcg")]
    pub accel: String,
    /// Whose agent is in the deploy ramdisk.
    #[arg(long, value_enum, default_value = "bessemer")]
    pub agent: Agent,
    /// Measure first what firmware, a plain write of the tests' image and a restart take on the same machines without Bessemer.
    #[arg(long)]
    pub beside_chain: bool,
}

/// Whose agent deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Agent {
    /// Ours.
    Bessemer,
    /// ironic-python-agent: shows that it works under our conductor.
    Upstream,
}

/// What the demo is made of, built or found in the cache.
struct Parts {
    server: std::path::PathBuf,
    ramdisk: build::Ramdisk,
    image: Image,
    client: Client,
}

impl Parts {
    fn get(cache: &Cache, options: &Options) -> Result<Parts> {
        let server = build::server(cache)?;
        let ramdisk = match options.agent {
            Agent::Bessemer => {
                build::ramdisk(cache, Flavour::Cloud, &build::agent(cache)?, Some(&server))?
            }
            Agent::Upstream => image::upstream_agent::build(cache)?,
        };
        Ok(Parts {
            ramdisk,
            image: match options.image {
                Payload::Debian => image::debian::build(cache)?,
                Payload::Tiny => image::tiny::build(cache)?,
            },
            client: Client::get(cache)?,
            server,
        })
    }
}

/// What needs the outside world: packages, builds, images. Everything after it is done inside the namespaces, which have no way out.
pub fn prepare(options: &Options) -> Result<()> {
    let start = Instant::now();
    setup(Purpose::Demo)?;
    let cache = Cache::open()?;
    println!(
        "building what is not in the cache {}",
        cache.root().display()
    );
    let parts = Parts::get(&cache, options)?;
    if options.beside_chain {
        image::tiny::build(&cache)?;
    }
    let size = |path: &Path| path.metadata().map(|data| data.len()).unwrap_or_default();
    println!(
        "ready after {:.1} s: deploy kernel {} bytes, initramfs {} bytes, image {} bytes",
        start.elapsed().as_secs_f32(),
        size(&parts.ramdisk.kernel),
        size(&parts.ramdisk.initramfs),
        size(&parts.image.qcow2)
    );
    Ok(())
}

/// The demo itself, inside the namespaces.
pub fn run(run: &Run, xtask: &Path, options: &Options) -> Result<()> {
    let start = Instant::now();
    let cache = Cache::open()?;
    let parts = Parts::get(&cache, options)?;
    let story = report::Story::begin(start);
    network::up(2)?;
    println!(
        "network: bridge br0 10.77.0.1/24, BMCs 10.77.1.10 and 10.77.1.11, in namespaces of their own"
    );

    let chains = if options.beside_chain {
        testbed::chain::measure(run, xtask, &cache, &options.accel)?
    } else {
        Vec::new()
    };
    let mut nodes = Vec::new();
    let mut bmcs = Vec::new();
    for (index, firmware) in (0u8..).zip([Firmware::Bios, Firmware::Uefi]) {
        let name = format!("node-{}", firmware.boot_mode());
        let (memory_mib, disk_mib) = match (options.agent, options.image) {
            (Agent::Upstream, _) => (2048, 6144),
            (Agent::Bessemer, Payload::Debian) => (1024, 4096),
            (Agent::Bessemer, Payload::Tiny) => (512, 4096),
        };
        let spec = NodeSpec {
            memory_mib,
            disk_mib,
            accelerator: options.accel.clone(),
            ..NodeSpec::new(&name, index, firmware)
        };
        let node = Node::create(run, &spec)?;
        // upstream's agent assembles the array, and then leaves the disk below it alone
        let md_superblock = options.agent == Agent::Bessemer;
        let old = testbed::disk::OldData {
            md_superblock,
            ..testbed::disk::OldData::ALL
        };
        testbed::disk::fill_with(&node, old)?;
        let found = testbed::disk::look_for_old_data(&node)?;
        anyhow::ensure!(found == old, "the disk was not prepared: {found}");
        println!(
            "{name}: {}, MAC {}, BMC {}, disk of {disk_mib} MiB with old data: {found}",
            firmware.boot_mode(),
            node.mac,
            node.bmc_address
        );
        bmcs.push(Bmc::start(&node, xtask)?);
        nodes.push(node);
    }

    let images = FileServer::start(
        IMAGES,
        &parts.image.directory,
        &run.logs().join("images.log"),
        true,
    )?;
    let mut server = start_server(run, &parts, options.agent)?;
    let image_file = parts
        .image
        .qcow2
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let task = life::Task {
        client: &parts.client,
        image_url: images.url(&image_file),
        image_sha256: parts.image.qcow2_sha256()?,
        payload: options.image,
        agent: options.agent,
        story: &story,
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| task.live(node)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of a node panicked")))
            })
            .collect()
    });

    let mut failed = false;
    for (node, result) in nodes.iter().zip(results) {
        if let Err(error) = result {
            failed = true;
            report::failure(run, node, &error);
        }
    }
    if let Err(error) = server.check() {
        failed = true;
        println!("\nbessemer serve is gone: {error:#}");
    }
    report::table(&story, &nodes);
    report::beside(&story, &nodes, &chains);
    println!("logs: {}", run.logs().display());
    if failed {
        bail!("the demo failed");
    }
    let status = server.stop(Duration::from_secs(20))?;
    anyhow::ensure!(
        status.success(),
        "bessemer serve did not end well: {status}"
    );
    println!(
        "both machines went from an old disk to a login prompt and back, in {:.0} s",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

fn start_server(run: &Run, parts: &Parts, agent: Agent) -> Result<Daemon> {
    let state = run.work().join("bessemer");
    std::fs::create_dir_all(&state)?;
    let config = run.logs().join("bessemer.toml");
    let mut text = settings(&state, &parts.ramdisk);
    if agent == Agent::Upstream {
        // upstream's agent overwrites the whole disk four times, which takes an emulated machine too long
        text += "\n[deploy]\nerase_devices_priority = 0\n";
    }
    std::fs::write(&config, text)?;
    let mut command = std::process::Command::new(&parts.server);
    command.arg("serve").arg("--config").arg(&config);
    let log = run.logs().join("bessemer.log");
    let start = Instant::now();
    let mut server = Daemon::start("bessemer serve", &mut command, &log)?;
    wait_for("the API to answer", Duration::from_secs(30), || {
        server.check()?;
        Ok(rest::get(API, "/", "1.1").ok())
    })
    .with_context(|| format!("see {}", log.display()))?;
    println!(
        "bessemer serve: first answer after {} ms, http://{API}",
        start.elapsed().as_millis()
    );
    Ok(server)
}

/// The settings file of the demo.
pub fn settings(state: &Path, ramdisk: &build::Ramdisk) -> String {
    format!(
        r#"[DEFAULT]
host = "demo"
my_ip = "10.77.0.1"
state_path = "{state}"
auth_strategy = "noauth"

[api]
host_ip = "10.77.0.1"

[conductor]
deploy_kernel = "file://{kernel}"
deploy_ramdisk = "file://{initramfs}"
deploy_callback_timeout = 300
clean_callback_timeout = 300

[ipmi]
cipher_suite_versions = ["3"]

[pxe]
kernel_append_params = "console=ttyS0 quiet"

[netboot]
enabled = true
interface = "br0"
listen_address = "10.77.0.1"
ra = true

[[dhcp.network]]
cidr = "10.77.0.0/24"
range_start = "10.77.0.100"
range_end = "10.77.0.200"
"#,
        state = state.display(),
        kernel = ramdisk.kernel.display(),
        initramfs = ramdisk.initramfs.display(),
    )
}
