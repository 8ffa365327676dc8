//! What the demo says: as it goes, at the end, and when something fails.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{life, watch};
use crate::testbed::chain::Chain;
use crate::testbed::{Console, Node, Run};

/// The demo's clock and the durations of its phases.
pub struct Story {
    start: Instant,
    phases: Mutex<Vec<Phase>>,
}

struct Phase {
    node: String,
    name: String,
    took: Duration,
    done: bool,
}

impl Story {
    /// Starts the clock.
    pub fn begin(start: Instant) -> Story {
        Story {
            start,
            phases: Mutex::default(),
        }
    }

    /// One line about a node.
    pub fn say(&self, node: &str, line: impl AsRef<str>) {
        println!(
            "{:7.1} s  {node:<10} {}",
            self.start.elapsed().as_secs_f32(),
            line.as_ref()
        );
    }

    /// Runs and times a phase of a node.
    pub fn phase<T>(&self, node: &str, name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let place = self.change(|phases| {
            phases.push(Phase {
                node: node.to_owned(),
                name: name.to_owned(),
                took: Duration::ZERO,
                done: false,
            });
            phases.len() - 1
        });
        let result = body();
        self.change(|phases| {
            if let Some(phase) = phases.get_mut(place) {
                phase.took = begun.elapsed();
                phase.done = result.is_ok();
            }
        });
        result.map_err(|error| error.context(format!("{node}: {}", name.trim())))
    }

    fn change<T>(&self, body: impl FnOnce(&mut Vec<Phase>) -> T) -> T {
        body(
            &mut self
                .phases
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// How long each phase took, a column per node.
pub fn table(story: &Story, nodes: &[Node]) {
    story.change(|phases| {
        let mut names: Vec<&str> = Vec::new();
        for phase in phases.iter() {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
        println!(
            "\n{:<24}{}",
            "phase",
            nodes
                .iter()
                .map(|node| format!("{:>14}", node.name))
                .collect::<String>()
        );
        for name in names {
            print!("{name:<24}");
            for node in nodes {
                let phase = phases
                    .iter()
                    .find(|phase| phase.node == node.name && phase.name == name);
                let cell = match phase {
                    Some(phase) if phase.done => format!("{:.1} s", phase.took.as_secs_f32()),
                    Some(_) => "failed".to_owned(),
                    None => "-".to_owned(),
                };
                print!("{cell:>14}");
            }
            println!();
        }
    });
}

/// The deploys beside what the same machines need without Bessemer, when that was measured.
pub fn beside(story: &Story, nodes: &[Node], chains: &[Chain]) {
    for (node, chain) in nodes.iter().zip(chains) {
        let deploy = story.change(|phases| {
            phases
                .iter()
                .find(|phase| phase.node == node.name && phase.name == life::DEPLOY && phase.done)
                .map(|phase| phase.took.as_secs_f32())
        });
        let raw = chain.booted.as_secs_f32();
        print!(
            "{}: without Bessemer init after {:.1} s, written after {:.1} s, local boot after {raw:.1} s",
            chain.firmware.boot_mode(),
            chain.init.as_secs_f32(),
            chain.written.as_secs_f32(),
        );
        match deploy {
            Some(deploy) => println!(
                "; the deploy took {deploy:.1} s, {:.2} times as long",
                deploy / raw
            ),
            None => println!(),
        }
    }
}

/// Everything that helps to see why a node failed.
pub fn failure(run: &Run, node: &Node, error: &anyhow::Error) {
    println!("\nFAILED: {error:#}");
    if let Ok(now) = watch::node(&node.name) {
        println!(
            "  state: {}, power {}",
            watch::text(&now, "provision_state"),
            watch::text(&now, "power_state")
        );
        println!("  last_error: {}", watch::text(&now, "last_error"));
    }
    // the last that each part of the way saw of this node
    let events = watch::whole_timeline(&node.name).unwrap_or_default();
    for source in ["dhcp", "tftp", "http", "agent", "image", "bmc"] {
        let last = events
            .iter()
            .rev()
            .find(|event| watch::text(event, "source").eq_ignore_ascii_case(source));
        let line = last.map_or("nothing".to_owned(), |event| {
            format!(
                "{} {}",
                watch::text(event, "at"),
                watch::text(event, "text")
            )
        });
        println!("  last {source}: {line}");
    }
    println!("  last on the console:");
    for line in Console::open(&node.console_log).last(12) {
        println!("    {line}");
    }
    print_last("image server", &run.logs().join("images.log"), 3);
    print_last("bessemer serve", &run.logs().join("bessemer.log"), 12);
    print_last("QEMU", &node.qemu_log, 3);
    println!(
        "  logs: {} and {}",
        node.console_log
            .parent()
            .unwrap_or(&node.console_log)
            .display(),
        run.logs().display()
    );
}

fn print_last(name: &str, path: &std::path::Path, count: usize) {
    let last = Console::open(path).last(count);
    if !last.is_empty() {
        println!("  last of {name} ({}):", path.display());
        for line in last {
            println!("    {line}");
        }
    }
}
