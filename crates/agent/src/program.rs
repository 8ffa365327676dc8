//! The two ways to run: as process 1 of the ramdisk, and as an ordinary process for tests and first looks.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Agent, End, Fatal, Power};
use crate::log::LogRing;
use crate::net::dhcp::Dhcp;
use crate::settings::{HELP, Settings};
use crate::{init, log};

/// Lives that process 1 tries before it switches the machine off. Each lasts as long as the look-up's patience.
const LIVES: u32 = 3;
/// Exit status when an ordinary process was told to restart the machine.
const EXIT_REBOOT: u8 = 3;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        // one for the network, one for the API meanwhile; disks and hashes have threads of their own
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
}

/// Never returns: the kernel panics when process 1 ends.
pub fn run_as_process_one() -> ! {
    init::prepare_file_systems();
    eprintln!("bessemer-agent {} is process 1", crate::VERSION);
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut settings = Settings::default();
    let complaints = settings.apply_kernel_command_line(&line);
    let logs = log::install(settings.debug);
    for complaint in complaints {
        tracing::warn!("{complaint}");
    }
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("bessemer-agent: a bug, please report it: {panic}");
    }));
    let (loaded, complaints) = init::load_modules();
    tracing::info!("{loaded} kernel modules loaded");
    for complaint in complaints {
        tracing::warn!("{complaint}");
    }
    init::mount_efi_variables();
    init::wait_for_randomness();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => init::give_up(&format!("no threads: {error}")),
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(live_and_live_again(settings, logs))
    }));
    match outcome {
        Ok(why) => init::give_up(&why),
        Err(_) => init::give_up("the agent ended by a bug"),
    }
}

/// Network, then the agent, again and again; gives the reason of the last failure.
async fn live_and_live_again(settings: Settings, logs: LogRing) -> String {
    tokio::spawn(init::reap());
    if let Err(error) = crate::net::netlink::Netlink::open().and_then(|mut n| n.link_up(1)) {
        tracing::warn!("the loopback interface stays down: {error}");
    }
    let network = CancellationToken::new();
    let mut dhcp = Dhcp::start(
        &settings.roots.sys,
        settings.boot_mac.as_deref(),
        settings.network_interface.as_deref(),
        &network,
    );
    let patience = settings
        .ip_lookup_timeout
        .saturating_mul(settings.ip_lookup_attempts.max(1));
    let mut token: Option<SecretString> = None;
    let mut why = String::new();
    for life in 1..=LIVES {
        if !dhcp.wait_for_address(patience).await {
            tracing::warn!(
                "no interface got an address by DHCP in {} s; check the DHCP server, the cable and the switch port",
                patience.as_secs()
            );
        }
        let cancel = CancellationToken::new();
        match Agent::new(
            settings.clone(),
            logs.clone(),
            Power::Machine,
            cancel.clone(),
            token.clone(),
        ) {
            Ok(agent) => {
                let running = tokio::spawn(agent::run(agent.clone()));
                let outcome = running.await;
                // whatever was left of this life ends before the next one
                cancel.cancel();
                token = agent.token();
                why = match outcome {
                    Ok(Ok(())) => "the agent was stopped".to_owned(),
                    Ok(Err(fatal)) => fatal.to_string(),
                    Err(error) => format!("the agent ended by a bug: {error}"),
                };
            }
            Err(fatal) => why = fatal.to_string(),
        }
        tracing::error!("{why} (try {life} of {LIVES})");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    network.cancel();
    dhcp.join().await;
    why
}

/// Runs until a signal, a command that ends the machine, or a fatal error.
#[must_use]
pub fn run_as_ordinary_process(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    match arguments.first().map(String::as_str) {
        Some("--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some("--version" | "-V") => {
            println!("bessemer-agent {}", crate::VERSION);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mut settings = Settings::default();
    if let Err(bad) = settings.apply_arguments(arguments) {
        eprintln!("bessemer-agent: {bad}");
        return ExitCode::from(2);
    }
    let logs = log::install(settings.debug);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bessemer-agent: no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(live_once(settings, logs)) {
        Ok(None | Some(End::PowerOff)) => ExitCode::SUCCESS,
        Ok(Some(End::Reboot)) => ExitCode::from(EXIT_REBOOT),
        Err(fatal) => {
            tracing::error!("{fatal}");
            ExitCode::FAILURE
        }
    }
}

async fn live_once(settings: Settings, logs: LogRing) -> Result<Option<End>, Fatal> {
    let cancel = CancellationToken::new();
    let agent = Agent::new(
        settings,
        logs,
        Power::Process(Mutex::new(None)),
        cancel.clone(),
        None,
    )?;
    let signals = tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    let outcome = agent::run(agent.clone()).await;
    signals.abort();
    outcome?;
    Ok(match &agent.power {
        Power::Process(wanted) => *wanted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
        Power::Machine => None,
    })
}
