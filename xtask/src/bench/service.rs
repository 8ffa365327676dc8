//! The two services on loopback: how they are started, and where their data is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::UPSTREAM;
use super::client::Client;
use crate::build;
use crate::cache::Cache;
use crate::process::{self, Daemon, command};

const OURS: &str = "bessemer";

/// A started service.
pub struct Service {
    pub name: String,
    pub port: u16,
    pub first_answer: Duration,
    daemon: Daemon,
}

impl Service {
    /// Starts it and waits for its first answer.
    pub fn start(name: &str, port: u16, dir: &Path, program: &mut Command) -> Result<Service> {
        let began = Instant::now();
        let daemon = Daemon::start(name, program, &dir.join("log"))?;
        let mut client = Client::new(port);
        loop {
            if client
                .call("GET", "/v1/", "")
                .is_ok_and(|status| status == 200)
            {
                break;
            }
            anyhow::ensure!(
                began.elapsed() < Duration::from_secs(180),
                "no answer of {name} on port {port} within three minutes; its log is {}",
                dir.join("log").display()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Service {
            name: name.to_owned(),
            port,
            first_answer: began.elapsed(),
            daemon,
        })
    }

    /// Whether it is not upstream's.
    pub fn is_ours(&self) -> bool {
        self.name == OURS
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn stop(self) -> Result<()> {
        self.daemon.stop(Duration::from_secs(60)).map(drop)
    }
}

/// Starts ours on the database in `dir`.
pub fn ours(server: &Path, dir: &Path) -> Result<Service> {
    let port = free_port()?;
    Service::start(OURS, port, dir, &mut start_ours(server, port, dir))
}

/// Starts upstream's on a new database in `dir`, or on the one that is there.
pub fn theirs(venv: &Path, dir: &Path) -> Result<Service> {
    let port = free_port()?;
    let name = format!("ironic {UPSTREAM}");
    Service::start(&name, port, dir, &mut start_upstream(venv, port, dir)?)
}

/// Builds ours as it is released.
pub fn release_server(cache: &Cache) -> Result<PathBuf> {
    process::run(build::cargo(cache).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "bessemer-server",
    ]))?;
    Ok(build::target_directory().join("release/bessemer"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn start_ours(server: &Path, port: u16, dir: &Path) -> Command {
    let mut program = command(server.display().to_string());
    program
        .args([
            "serve",
            "--dev",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--data-dir",
        ])
        .arg(dir);
    program
}

/// A virtual environment with upstream's service.
pub fn upstream(cache: &Cache) -> Result<PathBuf> {
    // SQLAlchemy 2.1 breaks one of upstream's queries
    let service = format!("ironic=={UPSTREAM}");
    let packages = [service.as_str(), "SQLAlchemy<2.1"];
    Ok(bessemer_peers::venv(
        cache.root(),
        &format!("ironic-{UPSTREAM}"),
        &packages,
    )?)
}

fn start_upstream(venv: &Path, port: u16, dir: &Path) -> Result<Command> {
    let families = [
        "bios",
        "boot",
        "console",
        "deploy",
        "firmware",
        "inspect",
        "management",
        "network",
        "power",
        "raid",
        "rescue",
        "storage",
        "vendor",
    ];
    let mut text = String::from(
        "[DEFAULT]\nauth_strategy = noauth\nhost = localhost\nrpc_transport = none\nenabled_hardware_types = fake-hardware\n",
    );
    for family in families {
        let names = match family {
            "network" => "noop",
            "bios" | "console" | "firmware" | "inspect" | "raid" | "rescue" | "vendor" => {
                &format!("fake,no-{family}")
            }
            _ => "fake",
        };
        text.push_str(&format!("enabled_{family}_interfaces = {names}\n"));
    }
    let dir = dir.display();
    text.push_str(&format!(
        "default_network_interface = noop\ndefault_storage_interface = fake\ndefault_deploy_interface = fake\n\
         autodetect_deploy_interfaces = fake\n\
         [api]\nhost_ip = 127.0.0.1\nport = {port}\napi_workers = 1\n[database]\nconnection = sqlite:///{dir}/ironic.sqlite\n\
         [deploy]\nhttp_root = {dir}/http\n[pxe]\ntftp_root = {dir}/tftp\nimages_path = {dir}/images\n\
         instance_master_path = {dir}/master\ntftp_master_path = {dir}/master\n[oslo_concurrency]\nlock_path = {dir}\n"
    ));
    let file = format!("{dir}/ironic.conf");
    std::fs::write(&file, text)?;
    for name in ["http", "tftp", "images", "master"] {
        std::fs::create_dir_all(format!("{dir}/{name}"))?;
    }
    let program = |name: &str| venv.join("bin").join(name).display().to_string();
    if !Path::new(&format!("{dir}/ironic.sqlite")).exists() {
        process::run(
            command(program("ironic-dbsync"))
                .args(["--config-file", &file, "create_schema"])
                .stderr(Stdio::null()),
        )?;
    }
    let mut service = command(program("ironic"));
    service.args(["--config-file", &file]);
    Ok(service)
}
