//! `cargo xtask bench`: what the service costs, and upstream's beside it in the same run.
//!
//! Both run on loopback with SQLite on the same disk, durable settings and fake hardware. Each measurement alternates between the
//! two, so that both see the same machine; the server's processor time is what is compared, since it hardly depends on what else the
//! machine does. Nothing here fails because a machine is slow: figures are for `docs/performance.md`. An answer that is an error
//! does fail.

mod cases;
mod client;
mod fill;
mod lives;
mod meter;
mod service;

use anyhow::Result;

use crate::cache::Cache;
use crate::{setup, test_run};

/// Upstream's version that is compared with.
pub const UPSTREAM: &str = "39.0.0";

/// What to measure. Everything, by default; the whole takes about ten minutes.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Measure ours only; upstream's service is then not installed.
    #[arg(long)]
    pub without_peer: bool,
    /// Nodes of ours, with two ports each.
    #[arg(long, default_value_t = 10_000)]
    pub nodes: usize,
    /// Nodes of upstream's: what a page costs there depends on the page, not on how many there are.
    #[arg(long, default_value_t = 1_000)]
    pub peer_nodes: usize,
    /// Nodes up to which the cost of a listed node is followed, after everything else; 0 leaves it out.
    #[arg(long, default_value_t = 100_000)]
    pub flat: usize,
    /// Length of the mixed load.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Nodes of ours that are taken through a whole life with fake hardware; 0 leaves it out.
    #[arg(long, default_value_t = 500)]
    pub lives: usize,
    /// The same of upstream's, which needs about a second for each with SQLite.
    #[arg(long, default_value_t = 100)]
    pub peer_lives: usize,
    /// Simulated hosts that one conductor deploys at the same time; 0 leaves it out.
    #[arg(long, default_value_t = 2_000)]
    pub deploys: usize,
    /// Times that each measurement alternates between the two.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// A short run: 2,000 nodes, no more than that, one round, five seconds of mixed load.
    #[arg(long)]
    pub quick: bool,
}

/// Runs it.
pub fn bench(mut options: Options) -> Result<()> {
    if options.quick {
        options.nodes = 2_000;
        options.flat = 0;
        options.lives = options.lives.min(100);
        options.peer_lives = options.peer_lives.min(20);
        options.deploys = options.deploys.min(100);
        options.rounds = 1;
        options.seconds = 5;
    }
    let cache = Cache::open()?;
    setup::setup(setup::Purpose::Test)?;
    let server = service::release_server(&cache)?;
    let venv = if options.without_peer {
        None
    } else {
        Some(service::upstream(&cache)?)
    };
    println!("machine: {}", machine());
    // on the disk where a service would have its data, which /tmp may not be
    let dir = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(cache.root())?;
    cases::run(&options, &server, venv.as_deref(), dir.path())?;
    if options.deploys > 0 {
        test_run::deploys_at_once(&cache, &server, options.deploys)?;
    }
    Ok(())
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
