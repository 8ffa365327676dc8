//! `make test`: everything that is checked, with one line at the end that tells how it went.
//!
//! A skipped test counts as a failure: a test that cannot run here must say why it fails.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bessemer_ramdisk::Flavour;

use crate::cache::Cache;
use crate::postgres::Cluster;
use crate::process::{command, run, search_path};
use crate::setup::{Purpose, setup};
use crate::{build, image, tidy};

/// What a run counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    /// Adds what a test binary's summary line says, if it is one.
    pub fn add_summary(&mut self, line: &str) -> bool {
        let Some((_, numbers)) = line
            .split_once("test result: ")
            .and_then(|(_, rest)| rest.split_once(". "))
        else {
            return false;
        };
        for part in numbers.split(';') {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
        true
    }

    /// Whether the run may be called good: something ran, nothing failed, nothing was left out.
    pub fn good(&self) -> bool {
        self.passed > 0 && self.failed == 0 && self.skipped == 0
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Runs everything; `arguments` go to the test binaries and narrow the run, then static checks are left out.
pub fn test(arguments: &[String]) -> Result<()> {
    let start = Instant::now();
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let cache = Cache::open()?;
    let mut step = |name: &str, counts: &mut Counts, body: &mut dyn FnMut() -> Result<()>| {
        let (begun, cpu) = (Instant::now(), children_cpu());
        println!("== {name}");
        let result = body();
        let spent = children_cpu().saturating_sub(cpu);
        println!(
            "== {name}: {:.1} s, {:.1} CPU s",
            begun.elapsed().as_secs_f32(),
            spent.as_secs_f32()
        );
        if let Err(error) = result {
            println!("FAILED: {name}: {error:#}");
            failures.push(name.to_owned());
            counts.failed += 1;
        }
    };
    let mut ramdisk = None;
    let mut tiny = None;
    let mut agent = None;
    step("set-up", &mut counts, &mut || setup(Purpose::Test));
    if arguments.is_empty() {
        step("format", &mut counts, &mut || {
            run(build::cargo(&cache).args(["fmt", "--all", "--check"]))
        });
        step("tidy", &mut counts, &mut || tidy::tidy(&build::workspace()));
        step("lints", &mut counts, &mut || {
            let mut clippy = build::cargo(&cache);
            clippy.args([
                "clippy",
                "--locked",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]);
            run(&mut clippy)
        });
    }
    step("agent", &mut counts, &mut || {
        agent = Some(build::agent(&cache)?);
        Ok(())
    });
    step("deploy ramdisk", &mut counts, &mut || {
        let agent = agent.as_deref().context("there is no agent")?;
        ramdisk = Some(build::ramdisk(&cache, Flavour::Cloud, agent, None)?);
        Ok(())
    });
    step("tiny image", &mut counts, &mut || {
        tiny = Some(image::tiny::build(&cache)?);
        Ok(())
    });
    // together: apart, the tests' features would have every crate compiled twice
    step("programs and tests", &mut counts, &mut || {
        run(build::cargo(&cache).args([
            "build",
            "--locked",
            "--quiet",
            "--workspace",
            "--bins",
            "--tests",
        ]))
    });
    let mut cluster = None;
    step("PostgreSQL", &mut counts, &mut || {
        cluster = Some(Cluster::start()?);
        Ok(())
    });
    let mut summary = Counts::default();
    step("tests", &mut counts, &mut || {
        let mut cargo = build::cargo(&cache);
        cargo
            .args(["test", "--locked", "--workspace", "--no-fail-fast"])
            .args(arguments)
            .env("PATH", search_path());
        let programs = build::target_directory().join("debug");
        cargo.env("BESSEMER_XTASK", programs.join("xtask"));
        cargo.env("BESSEMER_SERVER", programs.join("bessemer"));
        cargo.env("BESSEMER_LAB", programs.join("bessemer-lab"));
        if let Some(agent) = &agent {
            cargo.env("BESSEMER_AGENT", agent);
        }
        if let Some(cluster) = &cluster {
            cargo.env("BESSEMER_TEST_POSTGRES", cluster.url());
        }
        if let Some(ramdisk) = &ramdisk {
            cargo.env("BESSEMER_TEST_RAMDISK_DIR", &ramdisk.directory);
        }
        if let Some(tiny) = &tiny {
            cargo.env("BESSEMER_TEST_TINY_IMAGE", &tiny.directory);
        }
        cargo.stdout(Stdio::piped());
        let mut child = cargo.spawn().context("cannot start cargo")?;
        let output = child.stdout.take().context("no pipe from cargo")?;
        let mut terminal = std::io::stdout();
        for line in BufReader::new(output).lines() {
            let line = line?;
            summary.add_summary(&line);
            writeln!(terminal, "{line}")?;
        }
        let status = child.wait()?;
        // failed tests are counted one by one; a test binary that did not build or crashed is not
        anyhow::ensure!(
            status.success() || summary.failed > 0,
            "cargo test failed ({status})"
        );
        Ok(())
    });
    drop(cluster);
    counts.passed += summary.passed;
    counts.failed += summary.failed;
    counts.skipped += summary.skipped;
    for failure in &failures {
        println!("failed step: {failure}");
    }
    let cpu = children_cpu();
    println!(
        "wall time {}, CPU time {}",
        minutes(start.elapsed()),
        minutes(cpu)
    );
    println!("{counts}");
    if !counts.good() {
        std::process::exit(1);
    }
    Ok(())
}

/// The long form of the kill tests, with its own counts and seed.
pub fn kill_test(hosts: u32, kills: u32, seed: u64) -> Result<()> {
    let cache = Cache::open()?;
    setup(Purpose::Test)?;
    run(build::cargo(&cache).args(["build", "--locked", "--quiet", "--workspace", "--bins"]))?;
    let programs = build::target_directory().join("debug");
    let mut cargo = build::cargo(&cache);
    cargo
        .args([
            "test",
            "--locked",
            "-p",
            "bessemer-tests",
            "--",
            "--nocapture",
        ])
        // one after the other: each is meant to have the computer for itself
        .args(["--test-threads", "1", "kill::", "takeover::times"])
        .env("BESSEMER_CHECK_TIMES", "1")
        .env("PATH", search_path())
        .env("BESSEMER_SERVER", programs.join("bessemer"))
        .env("BESSEMER_LAB", programs.join("bessemer-lab"))
        .env("BESSEMER_KILL_HOSTS", hosts.to_string())
        .env("BESSEMER_KILLS", kills.to_string())
        .env("BESSEMER_KILL_SEED", seed.to_string());
    run(&mut cargo)
}

/// Lets `server` deploy so many simulated hosts at the same time; the test prints the memory that it took.
pub fn deploys_at_once(cache: &Cache, server: &Path, hosts: usize) -> Result<()> {
    run(build::cargo(cache).args(["build", "--locked", "--quiet", "-p", "bessemer-lab"]))?;
    let mut cargo = build::cargo(cache);
    cargo
        .args(["test", "--locked", "--quiet", "-p", "bessemer-tests"])
        .args(["--", "--nocapture", "many::"])
        .env("PATH", search_path())
        .env("BESSEMER_SERVER", server)
        .env(
            "BESSEMER_LAB",
            build::target_directory().join("debug/bessemer-lab"),
        )
        .env("BESSEMER_MANY_HOSTS", hosts.to_string());
    run(&mut cargo)
}

fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// CPU time, user and system, of the children that have ended (fields 16 and 17 of `/proc/self/stat`, see proc(5)).
fn children_cpu() -> Duration {
    let read = || -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u64 = fields
            .get(13..15)?
            .iter()
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Some(Duration::from_millis(ticks * 1000 / per_second))
    };
    read().unwrap_or_default()
}

/// A quick look at whether the tools of the testbed are there; used by `cargo xtask setup`.
pub fn versions() -> String {
    ["qemu-system-x86_64", "ipmitool"]
        .iter()
        .filter_map(|program| {
            let flag = if *program == "ipmitool" {
                "-V"
            } else {
                "--version"
            };
            let text = crate::process::output(command(program).arg(flag)).ok()?;
            Some(text.lines().next()?.trim().to_owned())
        })
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let mut counts = Counts::default();
        let check = |counts: &mut Counts, line: &str, expected: (bool, u64, u64, u64)| {
            let was = counts.add_summary(line);
            assert_eq!(
                (was, counts.passed, counts.failed, counts.skipped),
                expected,
                "{line}"
            );
        };
        check(&mut counts, "test tests::x ... ok", (false, 0, 0, 0));
        let line = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.77s";
        check(&mut counts, line, (true, 12, 0, 0));
        assert!(counts.good());
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        check(&mut counts, line, (true, 15, 2, 1));
        assert_eq!(counts.to_string(), "15 passed, 2 failed, 1 skipped");
        assert!(!counts.good());
        assert!(
            !Counts {
                passed: 5,
                failed: 0,
                skipped: 1
            }
            .good()
        );
        assert!(!Counts::default().good());
    }
}
