//! Processes, ports and deadlines of the tests.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_ipmi::bmc::{BmcServer, Event, MemoryChassis, Users};
use bessemer_ipmi::{CipherSuite, Client, Target, Timing};
pub use bessemer_peers::eventually;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "secret12";
const PYGHMI: &str = "1.6.19";

/// For peers that may be slow to start or to run on a busy machine.
pub const PATIENT: Timing = Timing {
    first_timeout: Duration::from_millis(500),
    max_attempts: 6,
    total: Duration::from_secs(20),
};

pub fn target(port: u16, suite: Option<CipherSuite>) -> Target {
    Target {
        port,
        suite,
        ..Target::new("127.0.0.1", USER, PASSWORD.into())
    }
}

pub fn client(port: u16, suite: Option<CipherSuite>) -> Client {
    Client::new(target(port, suite), PATIENT)
}

/// A port that nobody has at this moment, for peers that cannot choose one themselves.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A child process that ends with the test.
pub struct Running {
    command: Command,
    child: Child,
    pub port: u16,
    pub dir: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- log of the foreign BMC ---\n{log}");
        }
    }
}

impl Running {
    fn start(mut command: Command, port: u16, dir: TempDir) -> Self {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = spawn(&mut command);
        Self {
            command,
            child,
            port,
            dir,
        }
    }

    /// Kills the process and starts it again on the same port, with the same files.
    pub async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&mut self.command);
        self.answers().await;
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    async fn answers(&self) {
        let ping = Client::new(
            target(self.port, None),
            Timing {
                first_timeout: Duration::from_millis(50),
                max_attempts: 1,
                total: Duration::from_secs(1),
            },
        );
        eventually("the foreign BMC answers", || async {
            ping.ping().await.is_ok()
        })
        .await;
    }
}

fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_owned();
    command.spawn().unwrap_or_else(|error| {
        panic!("{program:?} does not start, is its package installed? {error}")
    })
}

/// Keeps its state in the files `power` and `boot`, and writes every change to `calls`.
const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
action=$1; shift
case $action in
get)
    for key in "$@"; do
        echo "$key:$(cat "$key" 2>/dev/null || { [ "$key" = power ] && echo 0 || echo default; })"
    done ;;
set)
    echo "$@" >> calls
    while [ $# -ge 2 ]; do
        case $1 in
        power) echo "$2" > power ;;
        boot) echo "$2" > boot ;;
        shutdown) echo 0 > power ;;
        esac
        shift 2
    done ;;
*) exit 1 ;;
esac
"#;

/// OpenIPMI's simulator with one BMC: suite 3, user `admin` and a weaker one, `watcher`.
pub async fn ipmi_sim(kg: Option<&str>) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let (port, path) = (free_port(), dir.path().display().to_string());
    let kg = kg.map(|kg| format!("bmc_key \"{kg}\"")).unwrap_or_default();
    let lan = format!(
        r#"name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
    {kg}
  endlan
  chassis_control "{path}/chassis"
  startnow false
  user 1 false "" "x" user 10 none md2 md5 straight
  user 2 true "{USER}" "{PASSWORD}" admin 10 none md2 md5 straight
  user 3 true "watcher" "eyes" user 10 none md2 md5 straight
"#
    );
    write(dir.path(), "lan.conf", &lan);
    write(
        dir.path(),
        "bmc.emu",
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n",
    );
    let chassis = write(dir.path(), "chassis", CHASSIS);
    fs::set_permissions(chassis, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("state/ipmi_sim/bmc")).unwrap();
    let mut command = Command::new("ipmi_sim");
    command.arg("-n").args([
        "-c",
        &format!("{path}/lan.conf"),
        "-f",
        &format!("{path}/bmc.emu"),
        "-s",
        &format!("{path}/state"),
    ]);
    let running = Running::start(command, port, dir);
    running.answers().await;
    running
}

fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// A pyghmi server that speaks only suite 17, from a virtual environment that is made once and kept.
pub async fn pyghmi_bmc() -> Running {
    let python = tokio::task::spawn_blocking(|| {
        bessemer_peers::python(&format!("pyghmi-{PYGHMI}"), &[&format!("pyghmi=={PYGHMI}")])
    })
    .await
    .unwrap()
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pyghmi_bmc.py");
    let mut command = Command::new(python);
    command
        .arg("-u")
        .arg(script)
        .arg(port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let running = Running::start(command, port, dir);
    eventually("the pyghmi server listens", || async {
        running.read("log").starts_with("listening")
    })
    .await;
    running
}

/// Our BMC with a chassis in memory, and everything that it saw.
pub struct OurBmc {
    pub address: SocketAddr,
    pub chassis: Arc<MemoryChassis>,
    pub faults: bessemer_ipmi::bmc::FaultSwitch,
    events: Arc<Mutex<Vec<Event>>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl OurBmc {
    pub async fn start(change: impl FnOnce(BmcServer) -> BmcServer) -> Self {
        let chassis = Arc::new(MemoryChassis::new());
        let events = Arc::new(Mutex::new(Vec::new()));
        let users = Users::administrator(USER, PASSWORD.into());
        let server = BmcServer::bind(([127, 0, 0, 1], 0).into(), users, chassis.clone())
            .await
            .unwrap();
        let seen = events.clone();
        let server = change(server.with_observer(move |event| seen.lock().unwrap().push(event)));
        let (address, faults, stop) = (
            server.local_addr().unwrap(),
            server.fault_switch(),
            CancellationToken::new(),
        );
        let task = Some(tokio::spawn(server.run(stop.clone())));
        Self {
            address,
            chassis,
            faults,
            events,
            stop,
            task,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What happened since the last call.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// Requests for the chassis since the last call: network function 0 as command and data.
    pub fn chassis_requests(&self) -> Vec<(u8, Vec<u8>)> {
        let chassis = |event| match event {
            Event::Command {
                netfn: 0,
                command,
                data,
                ..
            } => Some((command, data)),
            _ => None,
        };
        self.events().into_iter().filter_map(chassis).collect()
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
    }
}

impl Drop for OurBmc {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What `ipmitool` said, and whether it was content.
pub async fn ipmitool(
    port: u16,
    suite: CipherSuite,
    password: &str,
    arguments: &str,
) -> (bool, String) {
    ipmitool_with(
        port,
        &format!("-C {} -U {USER} -P {password} {arguments}", suite.id()),
    )
    .await
}

pub async fn ipmitool_with(port: u16, arguments: &str) -> (bool, String) {
    let output = tokio::process::Command::new("ipmitool")
        .args([
            "-I",
            "lanplus",
            "-H",
            "127.0.0.1",
            "-R",
            "4",
            "-N",
            "2",
            "-p",
            &port.to_string(),
        ])
        .args(arguments.split_whitespace())
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("ipmitool does not start, is its package installed?");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}
