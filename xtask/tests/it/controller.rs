//! The server as a process that can be killed and started again over the same state, and its API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_xtask::demo;
use bessemer_xtask::process::{Daemon, wait_for};
use bessemer_xtask::testbed::{Console, Node, Run, bmc, rest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::parts::Parts;

const MICROVERSION: &str = "1.95";
/// For what takes seconds; machines differ, and other tests run at the same time.
pub const SOON: Duration = Duration::from_secs(60);
/// For what a machine does between two of its states, 20 to 40 s when nothing else runs.
pub const LONG: Duration = Duration::from_secs(300);

/// `bessemer serve` on SQLite.
pub struct Controller {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    daemon: Daemon,
    begun: Instant,
}

impl Controller {
    pub fn start(run: &Run, parts: &Parts) -> Result<Controller> {
        let state = run.work().join("bessemer");
        std::fs::create_dir_all(&state)?;
        let config = run.logs().join("bessemer.toml");
        std::fs::write(&config, demo::settings(&state, &parts.ramdisk))?;
        let log = run.logs().join("bessemer.log");
        let daemon = launch(&parts.server, &config, &log)?;
        Ok(Controller {
            program: parts.server.clone(),
            config,
            log,
            daemon,
            begun: Instant::now(),
        })
    }

    /// Kills the process, looks at what must hold while it is dead, and starts it again.
    pub fn kill(&mut self, when: &str, look: impl FnOnce() -> Result<()>) -> Result<()> {
        self.say(&format!("SIGKILL to the server {when}"));
        self.daemon.check()?;
        self.daemon.signal(Signal::KILL)?;
        wait_for("the server to be dead", SOON, || {
            Ok(self.daemon.check().is_err().then_some(()))
        })?;
        let seen = look();
        self.daemon = launch(&self.program, &self.config, &self.log)?;
        self.say("the server answers again");
        seen
    }

    /// Asks the process to end, which it must do well.
    pub fn stop(self) -> Result<()> {
        let status = self.daemon.stop(SOON)?;
        ensure!(status.success(), "the server did not end well: {status}");
        Ok(())
    }

    pub fn say(&self, line: &str) {
        println!("{:6.1} s  {line}", self.begun.elapsed().as_secs_f32());
    }

    /// What the server said last, apart from the requests of this test.
    pub fn last_words(&self) -> String {
        let lines = Console::open(&self.log).last(2000);
        let lines: Vec<&str> = lines
            .iter()
            .filter(|line| !line.contains("api method=GET"))
            .map(String::as_str)
            .collect();
        let first = lines.len().saturating_sub(40);
        lines.get(first..).unwrap_or_default().join("\n  ")
    }
}

fn launch(program: &Path, config: &Path, log: &Path) -> Result<Daemon> {
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(config);
    let mut daemon = Daemon::start("bessemer serve", &mut command, log)?;
    wait_for("the API to answer", SOON, || {
        daemon.check()?;
        Ok(rest::get(demo::API, "/", "1.1").ok())
    })?;
    Ok(daemon)
}

/// A request that must be accepted.
fn change(method: &str, path: &str, document: &Value) -> Result<Value> {
    let (status, body) = rest::send(demo::API, method, path, MICROVERSION, Some(document))?;
    ensure!(
        (200..300).contains(&status),
        "{method} {path} answered {status}: {body}"
    );
    Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// A member as text; empty when it is absent or null.
pub fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Enrolls a machine with its port.
pub fn enroll(node: &Node, boot_interface: &str) -> Result<()> {
    let created = change(
        "POST",
        "/v1/nodes",
        &json!({
            "name": node.name,
            "driver": "ipmi",
            "boot_interface": boot_interface,
            "driver_info": {
                "ipmi_address": node.bmc_address,
                "ipmi_username": bmc::USER,
                "ipmi_password": bmc::PASSWORD,
            },
            "properties": {"capabilities": format!("boot_mode:{}", node.firmware.boot_mode())},
            "resource_class": "baremetal",
        }),
    )?;
    let port = json!({"node_uuid": text(&created, "uuid"), "address": node.mac});
    change("POST", "/v1/ports", &port)?;
    Ok(())
}

/// Changes fields of a node.
pub fn replace(node: &Node, fields: &[(&str, Value)]) -> Result<()> {
    let patch: Vec<Value> = fields
        .iter()
        .map(|(path, value)| json!({"op": "add", "path": path, "value": value}))
        .collect();
    change("PATCH", &format!("/v1/nodes/{}", node.name), &json!(patch))?;
    Ok(())
}

/// Asks for a provision verb.
pub fn provision(node: &Node, verb: &str) -> Result<()> {
    provision_with(node, json!({"target": verb}))
}

/// The same with more members.
pub fn provision_with(node: &Node, document: Value) -> Result<()> {
    let path = format!("/v1/nodes/{}/states/provision", node.name);
    change("PUT", &path, &document)?;
    Ok(())
}

/// The node as the API shows it.
pub fn show(node: &Node) -> Result<Value> {
    rest::get(demo::API, &format!("/v1/nodes/{}", node.name), MICROVERSION)
}

/// Waits for a provision state; a failed one on the way ends the wait.
pub fn reach(node: &Node, state: &str, limit: Duration) -> Result<Value> {
    let mut last = String::new();
    wait_for(&format!("{} to be {state}", node.name), limit, || {
        let shown = show(node)?;
        let now = text(&shown, "provision_state");
        if now == state {
            return Ok(Some(shown));
        }
        let error = text(&shown, "last_error");
        if now.ends_with("failed") || now == "error" || !error.is_empty() {
            bail!("{} is {now}: {error}", node.name);
        }
        last = now;
        Ok(None)
    })
    .with_context(|| format!("{} was last {last:?}", node.name))
}

/// The node's timeline as `source text`, oldest first.
pub fn timeline(node: &Node) -> Result<Vec<String>> {
    let path = format!("/v1/nodes/{}/timeline?limit=1000", node.name);
    let document = rest::get(demo::API, &path, MICROVERSION)?;
    let events = document.get("timeline").and_then(Value::as_array);
    Ok(events
        .context("the answer has no timeline")?
        .iter()
        .map(|event| format!("{} {}", text(event, "source"), text(event, "text")))
        .collect())
}

/// Waits for an event after the first `known` ones.
pub fn event(node: &Node, known: usize, part: &str, limit: Duration) -> Result<String> {
    wait_for(
        &format!("{part:?} in the timeline of {}", node.name),
        limit,
        || {
            let shown = show(node)?;
            let error = text(&shown, "last_error");
            ensure!(error.is_empty(), "{}: {error}", node.name);
            let events = timeline(node)?;
            let mut events = events.into_iter().skip(known);
            Ok(events.find(|event| event.contains(part)))
        },
    )
}
