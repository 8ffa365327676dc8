//! What a process costs, from `/proc`: processor time of all its threads and descendants, memory; and what the hypervisor took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Resident memory of a process and its descendants, in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    total(pid, "VmRSS:")
}

/// The most memory that was resident since the start, of a process and its descendants, in bytes.
pub fn most_resident(pid: u32) -> Result<u64> {
    total(pid, "VmHWM:")
}

fn total(pid: u32, field: &str) -> Result<u64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("the service has ended")?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no {field} in /proc/{pid}/status"))?;
    let of_children = children(pid)
        .into_iter()
        .map(|child| total(child, field).unwrap_or(0));
    Ok(kib * 1024 + of_children.sum::<u64>())
}

fn children(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(
            list.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    all
}

/// Processor time of a process and its living descendants.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the service has ended")?;
    // the second field is a name in parentheses that may hold anything
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| -> u64 { fields.get(at).and_then(|f| f.parse().ok()).unwrap_or(0) };
    let per_second = rustix::param::clock_ticks_per_second();
    let own = Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per_second as f64);
    let of_children = children(pid)
        .into_iter()
        .map(|child| cpu(child).unwrap_or_default());
    Ok(own + of_children.sum::<Duration>())
}

/// Measures from its creation.
pub struct Meter {
    pid: u32,
    cpu: Duration,
    at: Instant,
}

impl Meter {
    pub fn start(pid: u32) -> Result<Meter> {
        Ok(Meter {
            pid,
            cpu: cpu(pid)?,
            at: Instant::now(),
        })
    }

    /// Processor and wall time since the start.
    pub fn read(&self) -> Result<(Duration, Duration)> {
        Ok((cpu(self.pid)?.saturating_sub(self.cpu), self.at.elapsed()))
    }
}

/// The share of the machine's time that the hypervisor gave to others, and the share that any process of this machine used,
/// since the start; in percent.
pub struct Machine {
    start: [u64; 3],
}

fn machine_times() -> [u64; 3] {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0);
    // user nice system idle iowait irq softirq steal
    let all: u64 = fields.iter().take(8).sum();
    [all, at(7), all - at(3) - at(4) - at(7)]
}

impl Machine {
    pub fn start() -> Machine {
        Machine {
            start: machine_times(),
        }
    }

    pub fn describe(&self) -> String {
        let now = machine_times();
        let share = |index: usize| {
            let of = |times: &[u64; 3]| times.get(index).copied().unwrap_or(0) as f64;
            100.0 * (of(&now) - of(&self.start)) / (now[0] - self.start[0]).max(1) as f64
        };
        format!("steal {:.1} %, machine busy {:.0} %", share(1), share(2))
    }
}
