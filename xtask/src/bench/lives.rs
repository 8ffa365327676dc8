//! Whole lives: enroll, manage, provide, active, deleted, of many nodes with fake hardware at once.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::client::{self, Client};
use super::fill;
use super::meter::{self, Meter};
use super::service::Service;

/// Clients that ask; one more watches.
const CLIENTS: usize = 16;
/// Between two looks at all nodes.
const LOOK: Duration = Duration::from_millis(250);
/// No node may stay longer in one phase.
const PATIENCE: Duration = Duration::from_secs(1800);
/// What is asked for, and where the nodes are then.
const PHASES: [(&str, &str); 4] = [
    ("manage", "manageable"),
    ("provide", "available"),
    ("active", "active"),
    ("deleted", "available"),
];

/// What the lives of some nodes cost a server.
pub struct Lives {
    pub nodes: usize,
    pub cpu: Duration,
    pub wall: Duration,
    /// Most memory resident since the server's start, bytes.
    pub memory: u64,
}

impl Lives {
    /// Lives per second.
    pub fn rate(&self) -> f64 {
        self.nodes as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// CPU milliseconds of a life.
    pub fn each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.nodes.max(1) as f64
    }
}

/// Takes `nodes` nodes through their lives, all of them through one phase after the other. The service has no other nodes.
pub fn run(service: &Service, nodes: usize) -> Result<Lives> {
    let meter = Meter::start(service.pid())?;
    let began = Instant::now();
    fill::create(service.port, CLIENTS, 0, nodes)?;
    for (target, state) in PHASES {
        let body = format!(r#"{{"target": "{target}"}}"#);
        // upstream holds a lock for a moment after the state that was waited for is seen, and says so; and its SQLite may be
        // locked for longer than it waits
        let again =
            |status| status == 409 || status == 503 || (!service.is_ours() && status == 500);
        let outcome = client::run(service.port, CLIENTS, nodes, None, |client, n| {
            let path = format!("/v1/nodes/{}/states/provision", fill::uuid(n));
            let until = Instant::now() + PATIENCE;
            loop {
                let status = client.call("PUT", &path, &body)?;
                if !again(status) || Instant::now() > until {
                    return Ok(status);
                }
                std::thread::sleep(LOOK);
            }
        });
        if outcome.failed > 0 {
            bail!(
                "{}: {} of {nodes} requests for {target} failed: {}",
                service.name,
                outcome.failed,
                outcome.errors.join("; ")
            );
        }
        until_all(service, nodes, target, state)?;
    }
    let (cpu, _) = meter.read()?;
    Ok(Lives {
        nodes,
        cpu,
        wall: began.elapsed(),
        memory: meter::most_resident(service.pid())?,
    })
}

/// Looks until every node is in a state, with nothing more wanted of it.
fn until_all(service: &Service, nodes: usize, target: &str, state: &str) -> Result<()> {
    let mut client = Client::new(service.port);
    let until = Instant::now() + PATIENCE;
    let limit = nodes.min(1000);
    loop {
        let mut there = 0;
        let mut path =
            format!("/v1/nodes?fields=uuid,provision_state,target_provision_state&limit={limit}");
        loop {
            let status = client.call("GET", &path, "")?;
            if status != 200 {
                bail!("{}: a list of nodes answered {status}", service.name);
            }
            let answer = client.json()?;
            for node in answer["nodes"].as_array().into_iter().flatten() {
                let is = node["provision_state"].as_str().unwrap_or_default();
                if is == state && node["target_provision_state"].is_null() {
                    there += 1;
                } else if is.ends_with("failed") || is == "error" {
                    bail!("{}: {target} ended in {is}: {node}", service.name);
                }
            }
            match answer["next"]
                .as_str()
                .and_then(|next| next.split_once("/v1/"))
            {
                Some((_, rest)) => path = format!("/v1/{rest}"),
                None => break,
            }
        }
        if there == nodes {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "{}: {there} of {nodes} nodes are {state} half an hour after {target}",
                service.name
            );
        }
        std::thread::sleep(LOOK);
    }
}
