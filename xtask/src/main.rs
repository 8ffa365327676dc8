//! `cargo xtask <command>`: what stands behind the make targets.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bessemer_ramdisk::Flavour;
use bessemer_xtask::cache::Cache;
use bessemer_xtask::setup::{Purpose, setup};
use bessemer_xtask::testbed::{Run, chassis, control, namespace};
use bessemer_xtask::{bench, build, compat, demo, image, notify_test, test_run, tidy};
use clap::{Parser, Subcommand};

/// Work on Bessemer: set-up, builds, demo, tests.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that are missing.
    Setup {
        #[arg(long, value_enum, default_value = "all")]
        purpose: Purpose,
    },
    /// Build the agent, statically linked, and print its path.
    Agent,
    /// Build the deploy ramdisk and print its directory.
    Ramdisk {
        /// cloud or generic
        #[arg(long, default_value = "cloud")]
        flavour: Flavour,
        /// Print what is inside.
        #[arg(long)]
        list: bool,
    },
    /// Build the tests' tiny image and print its directory.
    TinyImage,
    /// Build the Debian image with cloud-init and print its directory.
    DebianImage,
    /// Take two machines from an old disk to a login prompt, and back.
    Demo(demo::Options),
    /// The demo with upstream's agent in the deploy ramdisk and the tests' image: shows that it works under our conductor.
    Interop {
        /// QEMU's accelerator.
        #[arg(long, default_value = "tcg")]
        accel: String,
    },
    /// Run all checks and tests.
    Test {
        /// Passed to `cargo test`; static checks are then left out.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kill the service again and again while it deploys simulated hosts; their log is the judge.
    KillTest {
        #[arg(long, default_value_t = 200)]
        hosts: u32,
        #[arg(long, default_value_t = 100)]
        kills: u32,
        /// Of the instants; the same seed kills at the same ones.
        #[arg(long, default_value_t = 20_250_101)]
        seed: u64,
    },
    /// Send notifications to a real RabbitMQ and a consumer written with oslo.messaging, with kills and absences in between.
    NotifyTest,
    /// Check the tree's own rules.
    Tidy,
    /// Measure what the service costs, against upstream's service in the same run.
    Bench(bench::Options),
    /// Run every client's scripts against upstream's service and ours, and compare what they answer.
    Compat(compat::Options),
    /// Boot machines of all kinds with dnsmasq instead of Bessemer, to check the testbed itself.
    TestbedCheck {
        /// QEMU's accelerator.
        #[arg(long, default_value = "tcg")]
        accel: String,
    },
    /// The chassis behind a BMC; called by ipmi_sim.
    #[command(hide = true)]
    Chassis {
        state: PathBuf,
        #[arg(trailing_var_arg = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    end_with_make();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `make` that is killed must not leave its work running. Other parents may leave us behind on purpose.
fn end_with_make() {
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let name = parent.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    if name.is_some_and(|name| matches!(name.trim(), "make" | "from-cache.sh")) {
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { purpose } => {
            setup(purpose)?;
            println!("everything is installed: {}", test_run::versions());
        }
        Command::Agent => println!("{}", build::agent(&Cache::open()?)?.display()),
        Command::Ramdisk { flavour, list } => {
            let cache = Cache::open()?;
            let ramdisk = build::ramdisk(&cache, flavour, &build::agent(&cache)?, None)?;
            if list {
                for line in bessemer_ramdisk::list(&ramdisk.initramfs)? {
                    println!("{} {:>9} {}", line.mode, line.size, line.path);
                }
            }
            println!("{}", ramdisk.directory.display());
        }
        Command::TinyImage => println!(
            "{}",
            image::tiny::build(&Cache::open()?)?.directory.display()
        ),
        Command::DebianImage => println!(
            "{}",
            image::debian::build(&Cache::open()?)?.directory.display()
        ),
        Command::Demo(options) => return run_demo(&options),
        Command::NotifyTest => notify_test::run()?,
        Command::Interop { accel } => {
            return run_demo(&demo::Options {
                image: demo::Payload::Tiny,
                accel,
                agent: demo::Agent::Upstream,
                beside_chain: false,
            });
        }
        Command::Test { arguments } => test_run::test(&arguments)?,
        Command::KillTest { hosts, kills, seed } => test_run::kill_test(hosts, kills, seed)?,
        Command::Tidy => tidy::tidy(&build::workspace())?,
        Command::Bench(options) => bench::bench(options)?,
        Command::Compat(options) => compat::compat(&options)?,
        Command::TestbedCheck { accel } => {
            // inside there is no network to fetch anything from
            if Run::current("testbed-check").is_none() {
                setup(Purpose::Demo)?;
                image::tiny::build(&Cache::open()?)?;
            }
            return in_testbed("testbed-check", |run, xtask| {
                control::check(run, xtask, &accel)
            });
        }
        Command::Chassis { state, arguments } => chassis::main(&state, &arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_demo(options: &demo::Options) -> Result<ExitCode> {
    if Run::current(demo::LABEL).is_none() {
        demo::prepare(options)?;
    }
    in_testbed(demo::LABEL, |run, xtask| demo::run(run, xtask, options))
}

/// Runs `body` inside a testbed's namespaces: this program starts itself again there with the same arguments.
fn in_testbed(
    label: &str,
    body: impl FnOnce(&Run, &std::path::Path) -> Result<()>,
) -> Result<ExitCode> {
    let xtask = std::env::current_exe().context("no path of this program")?;
    if let Some(run) = Run::current(label) {
        run.prepare()?;
        body(&run, &xtask)?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let status = namespace::run(label, &xtask, &arguments, |_, _| Ok(()))?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}
