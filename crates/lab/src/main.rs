//! `bessemer-lab run`: simulated hosts until SIGTERM, SIGINT or the end of standard input.
//!
//! Standard output: one JSON object for each host, the line `ready`, then one JSON object for each command that came on
//! standard input. Standard error: the lab's own troubles.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use bessemer_lab::{Lab, Settings};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "bessemer-lab",
    version,
    about = "Simulated hosts with BMCs, for tests and demonstrations"
)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Run hosts until SIGTERM, SIGINT or the end of standard input.
    Run {
        #[command(flatten)]
        settings: Box<Settings>,
        /// Leave standard input alone and end only by a signal.
        #[arg(long)]
        detached: bool,
    },
}

fn main() -> ExitCode {
    let Subcommand::Run { settings, detached } = Arguments::parse().command;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = runtime.block_on(run(*settings, detached));
    runtime.shutdown_background();
    code
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!("{text}");
    ExitCode::FAILURE
}

async fn run(settings: Settings, detached: bool) -> ExitCode {
    let (mut term, mut int) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return failed(&error),
    };
    let lab = match Lab::start(settings).await {
        Ok(lab) => lab,
        Err(error) => return failed(&error),
    };
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    // kept, so that the channel stays open when standard input is left alone
    let _open = detached.then(|| sender.clone());
    if !detached {
        // a thread of its own: it sits in read() and ends with the process
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let announced: String = lab
        .facts()
        .iter()
        .filter_map(|facts| serde_json::to_string(facts).ok())
        .map(|line| line + "\n")
        .collect();
    let mut out = say(&format!("{announced}ready\n"));
    while out.is_ok() {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            line = lines.recv() => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => out = say(&format!("{}\n", lab.command(&line))),
                None => break,
            },
        }
    }
    lab.stop().await;
    ExitCode::SUCCESS
}

/// Whoever started the lab may be gone, and then so should the lab.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Thousands of BMCs need thousands of sockets: takes what the hard limit allows.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
