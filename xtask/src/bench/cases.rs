//! The measurements, in the order in which they are made.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::{self, Client};
use super::meter::{self, Machine, Meter};
use super::service::{self, Service};
use super::{Options, fill, lives};

/// Starts of ours for the first answer; the median is printed.
const STARTS: usize = 5;
/// Clients of the loads.
const CLIENTS: usize = 64;
/// Nodes of the idle memory.
const IDLE: usize = 100;

/// What some requests cost a server.
#[derive(Clone, Copy, Default)]
struct Cost {
    requests: usize,
    cpu: Duration,
    wall: Duration,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.cpu += other.cpu;
        self.wall += other.wall;
    }

    /// CPU milliseconds each.
    fn each(self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.requests.max(1) as f64
    }

    fn rate(self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

/// Runs everything; `dir` is empty.
pub fn run(options: &Options, server: &Path, venv: Option<&Path>, dir: &Path) -> Result<()> {
    let machine = Machine::start();
    starts(server, venv, dir)?;
    let (our_dir, their_dir) = (dir.join("ours"), dir.join("theirs"));
    std::fs::create_dir_all(&our_dir)?;
    let ours = service::ours(server, &our_dir)?;
    let theirs = match venv {
        None => None,
        Some(venv) => {
            std::fs::create_dir_all(&their_dir)?;
            let first = service::theirs(venv, &their_dir)?;
            fill::first_of_upstream(first.port)?;
            first.stop()?;
            fill::copy(venv, &their_dir.join("ironic.sqlite"), options.peer_nodes)?;
            Some(service::theirs(venv, &their_dir)?)
        }
    };
    creations(options, &ours, theirs.as_ref())?;
    pages(options, &ours, theirs.as_ref())?;
    short_pages(options, &ours, theirs.as_ref())?;
    single_reads(options, &ours, theirs.as_ref())?;
    full_listings(&ours, options.nodes)?;
    mixed(options, &ours, options.nodes)?;
    if let Some(theirs) = &theirs {
        mixed(options, theirs, options.peer_nodes)?;
        theirs_memory(theirs)?;
    }
    if let Some(theirs) = theirs {
        theirs.stop()?;
    }
    ours.stop()?;
    if options.flat > 0 {
        let dir = dir.join("flat");
        std::fs::create_dir_all(&dir)?;
        let ours = service::ours(server, &dir)?;
        flat(options.flat, &ours)?;
        ours.stop()?;
    }
    if options.lives > 0 {
        whole_lives(options, server, venv, dir)?;
    }
    println!("over the whole run: {}", machine.describe());
    Ok(())
}

/// Nodes taken from enrolment to deletion, each service alone with a database of its own.
fn whole_lives(options: &Options, server: &Path, venv: Option<&Path>, dir: &Path) -> Result<()> {
    let say = |name: &str, lives: &lives::Lives| {
        println!(
            "{} lives, {name}: {:.1} CPU s, {:.2} CPU ms each, {:.1} s, {:.1} per second, {:.1} MiB resident at most",
            lives.nodes,
            lives.cpu.as_secs_f64(),
            lives.each(),
            lives.wall.as_secs_f64(),
            lives.rate(),
            mib(lives.memory)
        );
    };
    let new = |name: &str| -> Result<std::path::PathBuf> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    };
    let mut rounds = Vec::new();
    // ours on both sides of upstream's long run
    for round in 0..2 {
        let service = service::ours(server, &new(&format!("lives-{round}"))?)?;
        let lives = lives::run(&service, options.lives)?;
        say(&service.name, &lives);
        service.stop()?;
        rounds.push(lives);
        let (0, Some(venv)) = (round, venv) else {
            continue;
        };
        let service = service::theirs(venv, &new("lives-theirs")?)?;
        let lives = lives::run(&service, options.peer_lives)?;
        say(&service.name, &lives);
        service.stop()?;
        rounds.push(lives);
    }
    if let [first, theirs, second] = rounds.as_slice() {
        println!(
            "a life costs ironic {:.0} times the CPU; the rate is {:.0} times as high here",
            theirs.each() / ((first.each() + second.each()) / 2.0).max(1e-9),
            (first.rate() + second.rate()) / 2.0 / theirs.rate().max(1e-9)
        );
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Start-up, and memory when idle with a few nodes.
fn starts(server: &Path, venv: Option<&Path>, dir: &Path) -> Result<()> {
    let idle = |service: &Service| -> Result<u64> {
        let mut client = Client::new(service.port);
        for n in 0..IDLE {
            let status = client.call("POST", "/v1/nodes", &fill::node(n))?;
            if status != 201 {
                bail!("creating a node answered {status}");
            }
        }
        client.call("GET", "/v1/nodes/detail", "")?;
        // Idle means idle: allocators give back and caches settle.
        std::thread::sleep(Duration::from_secs(10));
        meter::resident(service.pid())
    };
    let mut times = Vec::new();
    let mut resident = 0;
    for round in 0..STARTS {
        let dir = dir.join(format!("start-{round}"));
        std::fs::create_dir_all(&dir)?;
        let service = service::ours(server, &dir)?;
        times.push(service.first_answer);
        if round + 1 == STARTS {
            resident = idle(&service)?;
        }
        service.stop()?;
    }
    times.sort_unstable();
    let first = times
        .get(STARTS / 2)
        .copied()
        .context("no start was measured")?;
    println!(
        "bessemer: first answer {} ms after its start (median of {STARTS}); {:.1} MiB resident, idle with {IDLE} nodes",
        first.as_millis(),
        mib(resident)
    );
    if let Some(venv) = venv {
        let dir = dir.join("start-theirs");
        std::fs::create_dir_all(&dir)?;
        let service = service::theirs(venv, &dir)?;
        let theirs = idle(&service)?;
        println!(
            "{}: first answer {} ms after its start; {:.1} MiB resident, idle with {IDLE} nodes",
            service.name,
            service.first_answer.as_millis(),
            mib(theirs)
        );
        service.stop()?;
    }
    Ok(())
}

/// Requests one after the other from some clients.
fn requests(
    service: &Service,
    clients: usize,
    count: usize,
    request: impl Fn(&mut Client, usize) -> Result<u16> + Sync,
) -> Result<Cost> {
    let meter = Meter::start(service.pid())?;
    let outcome = client::run(service.port, clients, count, None, request);
    let (cpu, _) = meter.read()?;
    if outcome.failed > 0 {
        bail!(
            "{}: {} of {count} requests failed: {}",
            service.name,
            outcome.failed,
            outcome.errors.join("; ")
        );
    }
    Ok(Cost {
        requests: count,
        cpu,
        wall: outcome.wall,
    })
}

fn compare(what: &str, ours: Cost, theirs: Option<Cost>) {
    println!(
        "{what}: bessemer {:.3} CPU ms each, {:.0} per second",
        ours.each(),
        ours.rate()
    );
    if let Some(theirs) = theirs {
        println!(
            "{what}: ironic {:.3} CPU ms each, {:.1} per second; {:.0} times the CPU, rate {:.1} times as high here",
            theirs.each(),
            theirs.rate(),
            theirs.each() / ours.each().max(1e-9),
            ours.rate() / theirs.rate().max(1e-9)
        );
    }
}

/// `POST /v1/nodes` from many clients, until ours has its nodes; then their ports.
fn creations(options: &Options, ours: &Service, theirs: Option<&Service>) -> Result<()> {
    let (mut our_cost, mut their_cost) = (Cost::default(), Cost::default());
    for round in 0..options.rounds {
        let part = |n: usize| options.nodes * n / options.rounds;
        let meter = Meter::start(ours.pid())?;
        let outcome = fill::create(ours.port, CLIENTS, part(round), part(round + 1))?;
        our_cost.add(Cost {
            requests: part(round + 1) - part(round),
            cpu: meter.read()?.0,
            wall: outcome.wall,
        });
        if let Some(theirs) = theirs {
            let from = options.peer_nodes + round * 100;
            their_cost.add(requests(theirs, CLIENTS, 100, |client, n| {
                client.call("POST", "/v1/nodes", &fill::node(from + n))
            })?);
        }
    }
    compare(
        "POST /v1/nodes, 64 clients",
        our_cost,
        theirs.map(|_| their_cost),
    );
    let meter = Meter::start(ours.pid())?;
    let outcome = fill::create_ports(ours.port, CLIENTS, 0, options.nodes)?;
    compare(
        "POST /v1/ports, 64 clients",
        Cost {
            requests: 2 * options.nodes,
            cpu: meter.read()?.0,
            wall: outcome.wall,
        },
        None,
    );
    Ok(())
}

/// Alternates a measurement between the two.
fn alternate(
    options: &Options,
    what: &str,
    ours: &Service,
    theirs: Option<&Service>,
    measure: impl Fn(&Service, bool) -> Result<Cost>,
) -> Result<()> {
    let (mut our_cost, mut their_cost) = (Cost::default(), Cost::default());
    for _ in 0..options.rounds {
        our_cost.add(measure(ours, true)?);
        if let Some(theirs) = theirs {
            their_cost.add(measure(theirs, false)?);
        }
    }
    compare(what, our_cost, theirs.map(|_| their_cost));
    Ok(())
}

/// Checks that a page is what was asked for.
fn page(client: &mut Client, path: &str, nodes: usize) -> Result<u16> {
    let status = client.call("GET", path, "")?;
    let seen = occurrences(client.body(), b"\"driver_info\"");
    if status == 200 && seen < nodes {
        bail!("{path} shows {seen} instead of {nodes} nodes");
    }
    Ok(status)
}

/// How often `needle` stands in `text`.
fn occurrences(text: &[u8], needle: &[u8]) -> usize {
    text.windows(needle.len()).filter(|w| *w == needle).count()
}

fn pages(options: &Options, ours: &Service, theirs: Option<&Service>) -> Result<()> {
    let shown = options.nodes.min(options.peer_nodes).min(1000);
    alternate(
        options,
        &format!("page of {shown} nodes in detail"),
        ours,
        theirs,
        |service, is_ours| {
            let path = format!("/v1/nodes/detail?limit={shown}");
            requests(service, 1, if is_ours { 100 } else { 5 }, |client, n| {
                // the check costs as much as the page
                if n == 0 {
                    page(client, &path, shown)
                } else {
                    client.call("GET", &path, "")
                }
            })
        },
    )
}

fn short_pages(options: &Options, ours: &Service, theirs: Option<&Service>) -> Result<()> {
    for (what, path) in [
        ("page of 100 nodes", "/v1/nodes?limit=100"),
        ("page of 100 nodes in detail", "/v1/nodes/detail?limit=100"),
        ("page of 100 ports in detail", "/v1/ports/detail?limit=100"),
    ] {
        alternate(options, what, ours, theirs, |service, is_ours| {
            requests(service, 1, if is_ours { 300 } else { 10 }, |client, _| {
                client.call("GET", path, "")
            })
        })?;
    }
    Ok(())
}

fn single_reads(options: &Options, ours: &Service, theirs: Option<&Service>) -> Result<()> {
    alternate(
        options,
        "GET /v1/nodes/{uuid}, 4 clients",
        ours,
        theirs,
        |service, is_ours| {
            let (count, nodes) = if is_ours {
                (20_000, options.nodes)
            } else {
                (200, options.peer_nodes)
            };
            requests(service, 4, count, |client, n| {
                let path = format!("/v1/nodes/{}", fill::uuid(n * 7919 % nodes));
                client.call("GET", &path, "")
            })
        },
    )
}

/// Sixteen clients that each read all nodes in detail, page by page, at once.
fn full_listings(service: &Service, nodes: usize) -> Result<()> {
    let before = meter::resident(service.pid())?;
    let outcome = client::run(service.port, 16, 16, None, |client, _| {
        let mut path = String::from("/v1/nodes/detail?limit=1000");
        let mut seen = 0;
        loop {
            let status = client.call("GET", &path, "")?;
            if status != 200 {
                return Ok(status);
            }
            let answer = client.json()?;
            seen += answer["nodes"].as_array().map_or(0, Vec::len);
            match answer["next"]
                .as_str()
                .and_then(|next| next.split_once("/v1/"))
            {
                Some((_, rest)) => path = format!("/v1/{rest}"),
                None if seen == nodes => return Ok(200),
                None => bail!("a full listing shows {seen} of {nodes} nodes"),
            }
        }
    });
    if outcome.failed > 0 {
        bail!("listing all nodes failed: {}", outcome.errors.join("; "));
    }
    println!(
        "memory: {:.1} MiB resident with {nodes} nodes; {:.1} MiB after full listings by 16 clients at once, {:.1} MiB at most",
        mib(before),
        mib(meter::resident(service.pid())?),
        mib(meter::most_resident(service.pid())?)
    );
    Ok(())
}

fn theirs_memory(service: &Service) -> Result<()> {
    println!(
        "memory: {} has {:.1} MiB resident after all this, {:.1} MiB at most",
        service.name,
        mib(meter::resident(service.pid())?),
        mib(meter::most_resident(service.pid())?)
    );
    Ok(())
}

/// 60 % single reads, 12 % lists of 100, 5 % lists of 100 in detail, 8 % ports of a node, 10 % patches, 5 % creations.
fn mixed(options: &Options, service: &Service, nodes: usize) -> Result<()> {
    let machine = Machine::start();
    let meter = Meter::start(service.pid())?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let first_new = 10_000_000 + std::process::id() as usize;
    let outcome = client::run(
        service.port,
        CLIENTS,
        usize::MAX,
        Some(until),
        |client, n| {
            // a multiplicative hash spreads the kinds and the nodes
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let node = fill::uuid(random / 100 % nodes);
            match random % 100 {
                0..60 => client.call("GET", &format!("/v1/nodes/{node}"), ""),
                60..72 => client.call("GET", &format!("/v1/nodes?limit=100&marker={node}"), ""),
                72..77 => client.call(
                    "GET",
                    &format!("/v1/nodes/detail?limit=100&marker={node}"),
                    "",
                ),
                77..85 => client.call("GET", &format!("/v1/nodes/{node}/ports"), ""),
                85..95 => client.call(
                    "PATCH",
                    &format!("/v1/nodes/{node}"),
                    &format!(r#"[{{"op": "add", "path": "/extra/seen", "value": {n}}}]"#),
                ),
                _ => client.call("POST", "/v1/nodes", &fill::node(first_new + n)),
            }
        },
    );
    let (cpu, wall) = meter.read()?;
    println!(
        "mixed load of {CLIENTS} clients, {}: {:.0} per second, {:.3} CPU ms each, p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms, \
         {} of {} failed{}; {:.0} % of a core; {}",
        service.name,
        outcome.rate(),
        cpu.as_secs_f64() * 1000.0 / outcome.times.len().max(1) as f64,
        ms(outcome.percentile(50)),
        ms(outcome.percentile(99)),
        ms(outcome.percentile(100)),
        outcome.failed,
        outcome.times.len(),
        if outcome.failed > 0 {
            format!(" ({})", outcome.errors.join("; "))
        } else {
            String::new()
        },
        100.0 * cpu.as_secs_f64() / wall.as_secs_f64(),
        machine.describe()
    );
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What a listed node costs with more and more of them: the first page and one in the middle, in several orders.
fn flat(most: usize, service: &Service) -> Result<()> {
    let mut have = 0;
    for more in [1_000, 10_000, 100_000, 1_000_000] {
        if more > most {
            break;
        }
        fill::create(service.port, CLIENTS, have, more)?;
        have = more;
        for key in ["id", "name", "updated_at", "provision_state", "owner"] {
            let first = format!("/v1/nodes/detail?limit=500&sort_key={key}");
            // many clients created them at once: in the order of creation a node may stand a little later than its number says
            let middle = format!("{first}&marker={}", fill::uuid(have / 2 - 1 - 2 * CLIENTS));
            let mut each = Vec::new();
            for path in [first, middle] {
                let count = 40;
                let cost = requests(service, 1, count, |client, n| {
                    if n == 0 {
                        // 500 of them, as the marker of the middle has at least as many behind it in every order
                        page(client, &path, 500)
                    } else {
                        client.call("GET", &path, "")
                    }
                })?;
                each.push(format!("{:.1}", cost.each() * 1000.0 / 500.0));
            }
            println!(
                "{have} nodes by {key}: {} CPU microseconds per listed node",
                each.join(" on the first page, in the middle ")
            );
        }
    }
    Ok(())
}
