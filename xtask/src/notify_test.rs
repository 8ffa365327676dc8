//! Notifications against a real RabbitMQ and a consumer written with oslo.messaging.
//!
//! The service is killed while it works, RabbitMQ is away for a while, and in the end the consumer must have heard everything
//! that happened, each node's in order.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::process::{self, Daemon, command, wait_for};
use crate::setup::{Purpose, setup};

const OSLO_MESSAGING: &str = "18.3.1";
const PATIENCE: Duration = Duration::from_secs(120);
/// Nodes that are taken through their first states.
const NODES: usize = 12;

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A RabbitMQ of our own: loopback, own directories, own Erlang port mapper.
struct Rabbit {
    daemon: Option<Daemon>,
    dir: PathBuf,
    port: u16,
    dist: u16,
    mapper: u16,
}

impl Rabbit {
    fn new(dir: &Path) -> Result<Self> {
        let dir = dir.join("rabbitmq");
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            daemon: None,
            dir,
            port: free_port()?,
            dist: free_port()?,
            mapper: free_port()?,
        })
    }

    fn url(&self) -> String {
        format!("rabbit://guest:guest@127.0.0.1:{}/", self.port)
    }

    fn start(&mut self) -> Result<()> {
        let program = "/usr/lib/rabbitmq/bin/rabbitmq-server";
        ensure!(
            Path::new(program).exists(),
            "{program} is missing: install Debian's package rabbitmq-server"
        );
        let at = |name: &str| self.dir.join(name);
        std::fs::write(at("enabled_plugins"), "[].\n")?;
        let mut rabbit = command(program);
        rabbit
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", "bessemer@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist.to_string())
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", at("none"))
            .env("RABBITMQ_CONF_ENV_FILE", at("none-env"))
            .env("ERL_EPMD_PORT", self.mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        let mut daemon = Daemon::start("rabbitmq", &mut rabbit, &at("output"))?;
        wait_for("RabbitMQ", PATIENCE, || {
            daemon.check()?;
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok())
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop(Duration::from_secs(60))?;
            wait_for("RabbitMQ's port to be free", PATIENCE, || {
                Ok(TcpListener::bind(("127.0.0.1", self.port)).ok())
            })?;
        }
        Ok(())
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        let _ = self.stop();
        // the port mapper outlives its node
        let _ = command("epmd")
            .env("ERL_EPMD_PORT", self.mapper.to_string())
            .arg("-kill")
            .output();
    }
}

/// Ours, with RabbitMQ's feature.
struct Service {
    daemon: Option<Daemon>,
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    transport: String,
}

impl Service {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        let mut all = vec![];
        for (option, value) in [
            ("DEFAULT.host", "localhost".to_owned()),
            ("DEFAULT.notification_level", "info".to_owned()),
            ("DEFAULT.transport_url", self.transport.clone()),
            (
                "oslo_messaging_notifications.driver",
                "messagingv2".to_owned(),
            ),
            (
                "oslo_messaging_rabbit.amqp_durable_queues",
                "true".to_owned(),
            ),
            ("sensor_data.send_sensor_data", "true".to_owned()),
            ("sensor_data.interval", "5".to_owned()),
        ] {
            all.push("--set".to_owned());
            all.push(format!("{option}={value}"));
        }
        all
    }

    fn start(&mut self) -> Result<()> {
        let mut service = command(self.program.display().to_string());
        service
            .args(["serve", "--dev", "--listen"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .args(self.arguments());
        let mut daemon = Daemon::start("bessemer", &mut service, &self.dir.join("bessemer.log"))?;
        wait_for("the service", PATIENCE, || {
            daemon.check()?;
            Ok(self.ask("GET", "/v1/drivers", None).ok().filter(|answer| {
                answer["drivers"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            }))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::KILL)?;
        }
        Ok(())
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let mut curl = command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "60",
            "-X",
            method,
        ])
        .args(["-H", "X-OpenStack-Ironic-API-Version: 1.115"])
        .arg(self.url(path));
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d"])
                .arg(body.to_string());
        }
        let text = process::output(&mut curl)?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn state(&self, node: &str, wanted: &str) -> Result<()> {
        wait_for(&format!("{node} to be {wanted}"), PATIENCE, || {
            let now = self.ask("GET", &format!("/v1/nodes/{node}"), None)?;
            Ok((now["provision_state"] == wanted && now["reservation"].is_null()).then_some(()))
        })
    }

    fn provision(&self, node: &str, target: &str) -> Result<()> {
        let body = json!({"target": target});
        self.ask(
            "PUT",
            &format!("/v1/nodes/{node}/states/provision"),
            Some(body),
        )?;
        Ok(())
    }
}

/// What a node has been through, as its notifications must tell it: event type and provision state.
const LIFE: [(&str, &str); 9] = [
    ("baremetal.node.create.start", "enroll"),
    ("baremetal.node.create.end", "enroll"),
    ("baremetal.node.provision_set.start", "verifying"),
    ("baremetal.node.provision_set.end", "manageable"),
    ("baremetal.node.power_state_corrected.success", "manageable"),
    ("baremetal.node.provision_set.start", "cleaning"),
    ("baremetal.node.provision_set.end", "available"),
    ("baremetal.node.provision_set.start", "deploying"),
    ("baremetal.node.provision_set.end", "active"),
];

struct Heard {
    /// Node to its events in the order of arrival, each message once.
    lives: BTreeMap<String, Vec<(String, String)>>,
    messages: usize,
    twice: usize,
    samples: usize,
}

fn heard(out: &Path) -> Result<Heard> {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    let mut heard = Heard {
        lives: BTreeMap::new(),
        messages: 0,
        twice: 0,
        samples: 0,
    };
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        let one: Value = serde_json::from_str(line).context("the consumer's line")?;
        let id = one["metadata"]["message_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        ensure!(!id.is_empty(), "a message without an id: {line}");
        if !seen.insert(id) {
            heard.twice += 1;
            continue;
        }
        heard.messages += 1;
        let event = one["event_type"].as_str().unwrap_or_default().to_owned();
        let data = &one["payload"]["ironic_object.data"];
        let member = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        if event.starts_with("baremetal.node.") {
            let life = heard.lives.entry(member("uuid")).or_default();
            life.push((event, member("provision_state")));
        } else if !event.starts_with("baremetal.") {
            heard.samples += 1;
        }
    }
    Ok(heard)
}

/// Runs it all and says what was heard.
pub fn run() -> Result<()> {
    setup(Purpose::Notifications)?;
    let cache = Cache::open()?;
    let dir = tempfile::tempdir()?;
    let python = bessemer_peers::venv(
        cache.root(),
        &format!("oslo.messaging-{OSLO_MESSAGING}"),
        &[&format!("oslo.messaging=={OSLO_MESSAGING}")],
    )?
    .join("bin/python");
    let mut build = std::process::Command::new(env!("CARGO"));
    build.current_dir(crate::build::workspace()).args([
        "build",
        "--locked",
        "--quiet",
        "--package",
        "bessemer-server",
        "--features",
        "rabbitmq",
        "--message-format",
        "json",
    ]);
    let program = artifact(&process::output(&mut build)?)?;
    let mut rabbit = Rabbit::new(dir.path())?;
    let mut service = Service {
        daemon: None,
        program,
        dir: dir.path().to_owned(),
        port: free_port()?,
        transport: rabbit.url(),
    };

    // RabbitMQ is away while nodes are created and work
    service.start()?;
    let nodes: Vec<String> = (0..NODES)
        .map(|_| uuid::Uuid::new_v4().to_string())
        .collect();
    for (number, node) in nodes.iter().enumerate() {
        let body = json!({"uuid": node, "name": format!("n{number}"), "driver": "fake-hardware"});
        service.ask("POST", "/v1/nodes", Some(body))?;
        service.provision(node, "manage")?;
    }
    for node in &nodes {
        service.state(node, "manageable")?;
    }
    println!("{NODES} nodes manageable while RabbitMQ is away");
    service.kill()?;
    service.start()?;
    rabbit.start()?;
    let out = dir.path().join("heard");
    let mut consume = command(python.display().to_string());
    consume
        .arg(crate::build::workspace().join("xtask/src/notify_consumer.py"))
        .args([rabbit.url(), "true".to_owned()])
        .arg(&out);
    let mut consumer = Daemon::start("consumer", &mut consume, &dir.path().join("consumer.log"))?;

    // the service is killed while messages are on their way, and RabbitMQ restarts
    for node in &nodes {
        service.provision(node, "provide")?;
    }
    std::thread::sleep(Duration::from_millis(300));
    service.kill()?;
    service.start()?;
    for node in &nodes {
        service.state(node, "available")?;
    }
    rabbit.stop()?;
    for node in &nodes {
        service.provision(node, "active")?;
    }
    for node in &nodes {
        service.state(node, "active")?;
    }
    println!("{NODES} nodes active, the service killed twice, RabbitMQ stopped again");
    rabbit.start()?;
    let begin = Instant::now();
    let wanted: Vec<(String, String)> = LIFE
        .iter()
        .map(|(event, state)| ((*event).to_owned(), (*state).to_owned()))
        .collect();
    let whole = wait_for("the consumer to hear everything", PATIENCE, || {
        consumer.check()?;
        let heard = heard(&out)?;
        let whole = nodes.iter().all(|node| {
            heard
                .lives
                .get(node)
                .is_some_and(|life| life.len() >= wanted.len())
        });
        Ok((whole && heard.samples > 0).then_some(heard))
    });
    let whole = match whole {
        Ok(whole) => whole,
        Err(error) => {
            let heard = heard(&out)?;
            bail!(
                "{error}; heard {} messages: {:#?}",
                heard.messages,
                heard.lives
            );
        }
    };
    for node in &nodes {
        ensure!(
            whole.lives.get(node) == Some(&wanted),
            "node {node} was told as {:#?}",
            whole.lives.get(node)
        );
    }
    println!(
        "oslo.messaging {OSLO_MESSAGING} heard {} messages of {NODES} nodes, each node's in order, {} twice, {} samples; the last {} ms after RabbitMQ came back",
        whole.messages,
        whole.twice,
        whole.samples,
        begin.elapsed().as_millis()
    );
    Ok(())
}

/// The program that cargo says it has built.
fn artifact(messages: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo built no program")
}
