//! `cargo xtask bench`: start-up time and idle memory, ours and upstream's in one run.
//!
//! Both are started in the same way on loopback with SQLite and fake hardware; the figures are printed with their
//! ratio. Nothing here fails because a machine is slow: figures are for `docs/performance.md`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::process::{self, command};
use crate::{build, setup};

/// Upstream's version that is compared with.
pub const UPSTREAM: &str = "39.0.0";
/// Nodes of the memory figure.
const NODES: usize = 100;
/// Starts of each; the median is printed.
const STARTS: usize = 5;

/// One measured service.
struct Figures {
    first_answer: Duration,
    resident: u64,
}

/// Runs it; `peer` says whether upstream is installed and measured too.
pub fn bench(peer: bool) -> Result<()> {
    let cache = Cache::open()?;
    setup::setup(setup::Purpose::Test)?;
    let server = release_server(&cache)?;
    println!("machine: {}", machine());
    let ours = measure(STARTS, |port, dir| start_ours(&server, port, dir))?;
    show("bessemer (release)", &ours);
    if peer {
        let venv = upstream(&cache)?;
        let theirs = measure(1, |port, dir| start_upstream(&venv, port, dir))?;
        show(&format!("ironic {UPSTREAM}"), &theirs);
        println!(
            "ratio (ours / upstream's): first answer {:.3}, resident memory {:.3}",
            ours.first_answer.as_secs_f64() / theirs.first_answer.as_secs_f64(),
            ours.resident as f64 / theirs.resident as f64
        );
    }
    Ok(())
}

fn show(name: &str, figures: &Figures) {
    println!(
        "{name}: first answer {} ms after its start; {:.1} MiB resident, idle with {NODES} nodes",
        figures.first_answer.as_millis(),
        figures.resident as f64 / 1_048_576.0
    );
}

/// Processor, cores, memory and kernel, for the reader of the figures.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = read("/proc/meminfo");
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{model}, {cores} cores, {} GiB, load {load}",
        kib / 1_048_576
    )
}

fn release_server(cache: &Cache) -> Result<PathBuf> {
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

fn measure(
    starts: usize,
    mut prepare: impl FnMut(u16, &Path) -> Result<Command>,
) -> Result<Figures> {
    let mut times = Vec::new();
    let mut resident = 0;
    for round in 0..starts {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let mut program = prepare(port, dir.path())?;
        program
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let began = Instant::now();
        let mut child = program
            .spawn()
            .with_context(|| format!("cannot start {}", process::describe(&program)))?;
        let measured = (|| {
            loop {
                if let Ok((200, _)) = request(port, "GET", "/v1/", None) {
                    break;
                }
                if began.elapsed() > Duration::from_secs(120) {
                    bail!("no answer on port {port} within two minutes");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            times.push(began.elapsed());
            if round + 1 == starts {
                for index in 0..NODES {
                    let body = format!(r#"{{"driver": "fake-hardware", "name": "bench-{index}"}}"#);
                    let (status, answer) = request(port, "POST", "/v1/nodes", Some(&body))?;
                    if status != 201 {
                        bail!("creating a node answered {status}: {answer}");
                    }
                }
                request(port, "GET", "/v1/nodes/detail", None)?;
                // Idle means idle: allocators give back and caches settle.
                std::thread::sleep(Duration::from_secs(10));
                resident = resident_of(child.id())?;
            }
            Ok(())
        })();
        let _ = process::signal_process(child.id(), rustix::process::Signal::TERM);
        child.wait()?;
        measured?;
    }
    times.sort_unstable();
    Ok(Figures {
        first_answer: times
            .get(times.len() / 2)
            .copied()
            .context("no start was measured")?,
        resident,
    })
}

/// Resident memory of a process and its descendants, in bytes.
fn resident_of(pid: u32) -> Result<u64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("the service has ended")?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .context("no VmRSS")?;
    let mut total = kib * 1024;
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
    {
        total += resident_of(child).unwrap_or(0);
    }
    Ok(total)
}

fn request(port: u16, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.unwrap_or("");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-OpenStack-Ironic-API-Version: 1.80\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .context("no status")?;
    Ok((status, text))
}

fn start_ours(server: &Path, port: u16, dir: &Path) -> Result<Command> {
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
    Ok(program)
}

/// A virtual environment with upstream's service.
fn upstream(cache: &Cache) -> Result<PathBuf> {
    let venv = cache.root().join(format!("venv-ironic-{UPSTREAM}"));
    let _lock = cache.lock("venv-ironic")?;
    if !venv.join("done").exists() {
        process::run(command("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = venv.join("bin/pip").display().to_string();
        // SQLAlchemy 2.1 breaks one of upstream's queries
        process::run(command(pip).args([
            "install",
            "--quiet",
            &format!("ironic=={UPSTREAM}"),
            "SQLAlchemy<2.1",
        ]))?;
        std::fs::write(venv.join("done"), "")?;
    }
    Ok(venv)
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
    process::run(
        command(program("ironic-dbsync"))
            .args(["--config-file", &file, "create_schema"])
            .stderr(Stdio::null()),
    )?;
    let mut service = command(program("ironic"));
    service.args(["--config-file", &file]);
    Ok(service)
}
