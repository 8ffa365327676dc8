//! Upstream's service, its clients and the property-based client, installed from PyPI into the cache; and ours, started with
//! the same settings.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::report::Properties;
use crate::bench::UPSTREAM;
use crate::cache::Cache;
use crate::process::{self, Daemon, command};

const CLIENTS: [&str; 3] = [
    "python-ironicclient==6.3.0",
    "python-openstackclient==10.5.0",
    "openstacksdk==4.22.0",
];
const SCHEMATHESIS: &str = "4.32.5";

/// Which hardware types and implementations upstream's service has enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// Those that ours has, in both services: so that lists and defaults compare.
    Common,
    /// Those that most nodes in the field use: for recording answers.
    Usual,
    /// All that it has: for recording what there is.
    Everything,
}

impl Enabled {
    /// Of a family; an empty one stands for hardware types.
    fn names(self, family: &str) -> Result<Vec<String>> {
        let of = |table: &[(&str, &'static [&'static str])]| {
            let rows = table.iter().filter(|(name, _)| *name == family);
            rows.flat_map(|(_, names)| names.iter().copied())
                .collect::<Vec<_>>()
        };
        let (usual, others) = match family {
            "" => (TYPES.to_vec(), OTHER_TYPES.to_vec()),
            _ => (of(INTERFACES), of(OTHER_INTERFACES)),
        };
        let everything = [usual.clone(), others].concat();
        let names = match self {
            Enabled::Common => here(family, &everything)?,
            Enabled::Usual => usual,
            Enabled::Everything => everything,
        };
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

/// What upstream's service has enabled where its answers are recorded.
const TYPES: &[&str] = &["fake-hardware", "ipmi", "redfish"];
const INTERFACES: &[(&str, &[&str])] = &[
    ("bios", &["fake", "no-bios", "redfish"]),
    ("boot", &["fake", "ipxe", "pxe", "redfish-virtual-media"]),
    ("console", &["fake", "no-console"]),
    ("deploy", &["fake", "direct", "ramdisk"]),
    ("firmware", &["fake", "no-firmware", "redfish"]),
    ("inspect", &["fake", "no-inspect", "agent", "redfish"]),
    ("management", &["fake", "ipmitool", "noop", "redfish"]),
    ("network", &["noop"]),
    ("power", &["fake", "ipmitool", "redfish"]),
    ("raid", &["fake", "no-raid", "agent", "redfish"]),
    ("rescue", &["fake", "no-rescue"]),
    ("storage", &["noop", "fake"]),
    ("vendor", &["fake", "no-vendor", "ipmitool", "redfish"]),
];

/// What upstream has besides, enabled where it is asked what there is.
const OTHER_TYPES: &[&str] = &["intel-ipmi", "idrac", "manual-management"];
const OTHER_INTERFACES: &[(&str, &[&str])] = &[
    ("bios", &["idrac-redfish"]),
    (
        "boot",
        &[
            "http",
            "http-ipxe",
            "redfish-https",
            "idrac-redfish-virtual-media",
        ],
    ),
    (
        "console",
        &["fake-graphical", "ipmitool-socat", "redfish-graphical"],
    ),
    (
        "deploy",
        &[
            "autodetect",
            "ansible",
            "anaconda",
            "bootc",
            "custom-agent",
            "noop",
        ],
    ),
    ("inspect", &["idrac-redfish"]),
    ("management", &["intel-ipmitool", "idrac-redfish"]),
    ("network", &["flat", "neutron", "ironic-networking"]),
    ("power", &["idrac-redfish", "agent"]),
    ("raid", &["idrac-redfish"]),
    ("rescue", &["agent"]),
    ("storage", &["external", "cinder"]),
    ("vendor", &["idrac-redfish"]),
];

/// A virtual environment with upstream's service and its clients.
pub fn clients(cache: &Cache) -> Result<PathBuf> {
    let service = format!("ironic=={UPSTREAM}");
    // SQLAlchemy 2.1 breaks one of upstream's queries
    let mut packages = vec![service.as_str(), "sushy", "SQLAlchemy<2.1"];
    packages.extend(CLIENTS);
    Ok(bessemer_peers::venv(
        cache.root(),
        &format!("compat-{UPSTREAM}"),
        &packages,
    )?)
}

/// A virtual environment with the property-based client.
pub fn schemathesis(cache: &Cache) -> Result<PathBuf> {
    let package = format!("schemathesis=={SCHEMATHESIS}");
    Ok(bessemer_peers::venv(
        cache.root(),
        &format!("schemathesis-{SCHEMATHESIS}"),
        &[&package],
    )?)
}

/// What is installed, as `name version`.
fn installed(venv: &Path, names: &[&str]) -> Result<Vec<String>> {
    let list = process::output(
        command(venv.join("bin/pip").display().to_string()).args(["list", "--format=freeze"]),
    )?;
    Ok(list
        .lines()
        .filter_map(|line| line.split_once("=="))
        .filter(|(name, _)| names.contains(&name.to_lowercase().as_str()))
        .map(|(name, version)| format!("{} {version}", name.to_lowercase()))
        .collect())
}

pub fn versions(venv: &Path) -> Result<Vec<String>> {
    installed(
        venv,
        &[
            "ironic",
            "openstacksdk",
            "python-ironicclient",
            "python-openstackclient",
        ],
    )
}

pub fn versions_of_schemathesis(venv: &Path) -> Result<Vec<String>> {
    installed(venv, &["schemathesis"])
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until a service answers; says what it last logged when it does not.
fn ready(daemon: &mut Daemon, port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        daemon.check()?;
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("no answer on port {port}; see {}", daemon.log().display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A running service, stopped when dropped.
pub struct Upstream {
    url: String,
    database: PathBuf,
    _daemon: Daemon,
}

impl Upstream {
    /// Over a fresh database below `dir`.
    pub fn start(venv: &Path, dir: &Path, enabled: Enabled) -> Result<Upstream> {
        let dir = dir.join("theirs");
        for name in ["http", "tftp", "images", "master", "tmp"] {
            std::fs::create_dir_all(dir.join(name))?;
        }
        let port = free_port()?;
        let file = dir.join("ironic.conf");
        std::fs::write(&file, settings(&dir, port, enabled)?)?;
        let program = |name: &str| venv.join("bin").join(name).display().to_string();
        process::run(
            command(program("ironic-dbsync"))
                .arg("--config-file")
                .arg(&file)
                .arg("create_schema")
                .stderr(Stdio::null()),
        )?;
        let mut service = command(program("ironic"));
        service.arg("--config-file").arg(&file);
        let mut daemon = Daemon::start("ironic", &mut service, &dir.join("log"))?;
        ready(&mut daemon, port)?;
        Ok(Upstream {
            url: format!("http://127.0.0.1:{port}"),
            database: dir.join(DATABASE),
            _daemon: daemon,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its SQLite file.
    pub fn database(&self) -> &Path {
        &self.database
    }
}

const DATABASE: &str = "ironic.sqlite";

fn settings(dir: &Path, port: u16, enabled: Enabled) -> Result<String> {
    let types = enabled.names("")?.join(",");
    let mut text = format!(
        "[DEFAULT]\nauth_strategy = noauth\nhost = localhost\nmy_ip = 127.0.0.1\nrpc_transport = none\n\
         default_network_interface = noop\ntempdir = {dir}/tmp\nenabled_hardware_types = {types}\n",
        dir = dir.display()
    );
    for (family, _) in INTERFACES {
        let names = enabled.names(family)?.join(",");
        text.push_str(&format!("enabled_{family}_interfaces = {names}\n"));
    }
    let dir = dir.display();
    text.push_str(&format!(
        "[api]\nhost_ip = 127.0.0.1\nport = {port}\napi_workers = 1\n\
         [conductor]\ndeploy_kernel = file:///dev/null\ndeploy_ramdisk = file:///dev/null\n\
         [database]\nconnection = sqlite:///{dir}/{DATABASE}\n[inventory]\ndata_backend = database\n\
         [service_catalog]\nauth_type = none\nendpoint_override = http://127.0.0.1:{port}\n\
         [deploy]\nhttp_root = {dir}/http\nhttp_url = http://127.0.0.1:8088\n\
         [pxe]\ntftp_root = {dir}/tftp\nimages_path = {dir}/images\ninstance_master_path = {dir}/master\n\
         tftp_master_path = {dir}/master\n[oslo_concurrency]\nlock_path = {dir}/tmp\n"
    ));
    Ok(text)
}

/// Those of the names that ours has, as `docs/compat/drivers.md` tells (a test keeps it true). An empty family stands for
/// hardware types.
fn here(family: &str, names: &[&'static str]) -> Result<Vec<&'static str>> {
    let path = crate::build::workspace().join("docs/compat/drivers.md");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let row = |name: &str| match family {
        "" => format!("| `{name}` | "),
        family => format!("| {family} | `{name}` | "),
    };
    let mut found = Vec::new();
    for name in names {
        let state = text
            .lines()
            .find_map(|line| line.strip_prefix(&row(name)))
            .with_context(|| format!("{} says nothing of {family} {name}", path.display()))?;
        if !state.starts_with("missing") {
            found.push(*name);
        }
    }
    Ok(found)
}

/// Ours, stopped when dropped.
pub struct Ours {
    url: String,
    _daemon: Daemon,
}

impl Ours {
    pub fn start(server: &Path, dir: &Path) -> Result<Ours> {
        let dir = dir.join("ours");
        std::fs::create_dir_all(&dir)?;
        let port = free_port()?;
        let mut service = Command::new(server);
        service
            .args([
                "serve",
                "--dev",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--data-dir",
            ])
            .arg(dir.join("data"));
        let mut set = |option: &str, value: String| {
            service.arg("--set").arg(format!("{option}={value}"));
        };
        set("DEFAULT.host", "localhost".into());
        let types = Enabled::Common.names("")?;
        set("DEFAULT.enabled_hardware_types", format!("{types:?}"));
        for (family, _) in INTERFACES {
            let names = Enabled::Common.names(family)?;
            set(
                &format!("DEFAULT.enabled_{family}_interfaces"),
                format!("{names:?}"),
            );
        }
        let mut daemon = Daemon::start("bessemer", &mut service, &dir.join("log"))?;
        ready(&mut daemon, port)?;
        Ok(Ours {
            url: format!("http://127.0.0.1:{port}"),
            _daemon: daemon,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

/// How long the property-based client tries.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Generated requests of each operation.
    pub examples: u32,
    /// Phases of schemathesis.
    pub phases: &'static str,
}

/// Runs the property-based client against ours.
pub fn attack(venv: &Path, ours: &Ours, dir: &Path, effort: Effort) -> Result<Properties> {
    let script = crate::build::workspace().join("xtask/src/compat/properties.py");
    let out = dir.join("properties.json");
    process::run(
        command(venv.join("bin/python").display().to_string())
            .arg(script)
            .arg(ours.url())
            .arg(&out)
            .arg(effort.examples.to_string())
            .arg(effort.phases)
            .current_dir(dir)
            .stdout(Stdio::null()),
    )?;
    let text = std::fs::read_to_string(&out).context("the property-based client left no result")?;
    serde_json::from_str(&text).context("the result of the property-based client")
}
