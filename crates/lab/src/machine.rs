//! What a host does from power on: firmware, then what the boot order says, until something boots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::agent;
use crate::boot::cd;
use crate::boot::dhcp::{self, Role};
use crate::boot::fetch::{Fetcher, http_client};
use crate::boot::ipxe::{self, Action};
use crate::fault::Fault;
use crate::host::{BootFrom, Firmware, Host, PowerChange, Stage};

/// How long firmware asks for an address before it tries the next device.
const PXE_PATIENCE: Duration = Duration::from_secs(30);
const SHORTEST_PXE_PATIENCE: Duration = Duration::from_secs(4);
/// Firmware that found nothing begins again after this.
const BOOT_AGAIN: Duration = Duration::from_secs(60);
/// Longest pause that a script may ask for.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// Why the network did not boot.
enum NetworkBoot {
    /// The deploy ramdisk, with its kernel arguments.
    Ramdisk(BTreeMap<String, String>),
    /// The script wants the disk.
    Disk,
    /// Restart or switch off.
    Power(PowerChange),
    /// Nobody will go on.
    Stuck(String),
    /// The next device has its turn.
    Next(String),
}

/// Runs one boot. Ends only when there is nothing more to do; a power cut drops it at any point.
pub async fn run(host: &Arc<Host>, boot: u64, stop: &CancellationToken) {
    tokio::time::sleep(host.time(&host.chances.boot, host.settings.boot_delay)).await;
    if host.has(Fault::NeverBoots) {
        return stuck(host, boot, "firmware hangs");
    }
    let Some(order) = host.take_boot_order(boot) else {
        return;
    };
    if order.is_empty() {
        return stuck(host, boot, "firmware set-up");
    }
    loop {
        for device in &order {
            match device {
                BootFrom::Disk => {
                    if boot_disk(host, boot) {
                        return;
                    }
                }
                BootFrom::Cd(url) => match boot_cd(host, boot, url).await {
                    Ok(parameters) => return agent::run(host, boot, stop, &parameters).await,
                    Err(why) => host.log_live(boot, "cd_boot_failed", json!({"why": why})),
                },
                BootFrom::Network => {
                    host.live(boot, |state| state.stage = Stage::NetworkBoot);
                    match boot_network(host, boot).await {
                        NetworkBoot::Ramdisk(parameters) => {
                            return agent::run(host, boot, stop, &parameters).await;
                        }
                        NetworkBoot::Disk => {
                            if boot_disk(host, boot) {
                                return;
                            }
                        }
                        NetworkBoot::Power(change) => {
                            return host.power_from_inside(boot, change, "boot script");
                        }
                        NetworkBoot::Stuck(why) => return stuck(host, boot, &why),
                        NetworkBoot::Next(why) => {
                            host.log_live(boot, "network_boot_failed", json!({"why": why}))
                        }
                    }
                }
            }
        }
        host.log_live(boot, "boot_failed", json!({}));
        let pause = host
            .settings
            .patience(BOOT_AGAIN, Duration::from_millis(500));
        tokio::time::sleep(pause).await;
    }
}

fn stuck(host: &Host, boot: u64, why: &str) {
    host.live(boot, |state| {
        state.stage = Stage::Stuck;
        host.log("stuck", json!({"why": why}));
    });
}

/// Whether the disk booted.
fn boot_disk(host: &Host, boot: u64) -> bool {
    host.live(boot, |state| {
        let found = !state.faults.has(Fault::NoLocalBoot);
        let boots = found && state.disk.boots();
        let result = match (found, boots) {
            (false, _) => "no disk",
            (true, false) => "no bootable disk",
            (true, true) => "booted",
        };
        host.log("local_boot", json!({"result": result, "disk": state.disk}));
        if boots {
            state.stage = Stage::LocalOs;
        }
        boots
    })
    .unwrap_or(false)
}

/// The kernel's parameters, when the virtual CD boots.
async fn boot_cd(
    host: &Arc<Host>,
    boot: u64,
    image: &str,
) -> Result<BTreeMap<String, String>, String> {
    let url = Url::parse(image).map_err(|error| error.to_string())?;
    // the BMC reads it, not the host
    let client = http_client(host, host.facts.bmc_address)?;
    cd::boot(host, boot, &Fetcher { client }, &url).await
}

async fn boot_network(host: &Arc<Host>, boot: u64) -> NetworkBoot {
    let next = |why: String| NetworkBoot::Next(why);
    let limit = Some(host.settings.patience(PXE_PATIENCE, SHORTEST_PXE_PATIENCE));
    let client = match http_client(host, host.facts.address.into()) {
        Ok(client) => client,
        Err(why) => return next(why),
    };
    let fetcher = Fetcher { client };
    let first = match dhcp::acquire(host, boot, Role::Firmware, limit).await {
        Ok(leased) => leased.lease,
        Err(error) => return next(error.to_string()),
    };
    let Some(loader) = first.boot_file else {
        return next("DHCP names no boot file".to_owned());
    };
    if let Some(server) = host.settings.tftp
        && let Err(error) = fetcher.tftp(host, boot, server, &loader).await
    {
        return next(error.to_string());
    }
    let leased = match dhcp::acquire(host, boot, Role::Ipxe, limit).await {
        Ok(leased) => leased.lease,
        Err(error) => return next(error.to_string()),
    };
    let Some(file) = leased.boot_file.clone() else {
        return next("DHCP names no boot script".to_owned());
    };
    let Ok(url) = Url::parse(&file) else {
        return next(format!("the boot script {file:?} is not a URL"));
    };
    let script = match fetcher.fetch(host, boot, &url, true).await {
        Ok(script) => script,
        Err(error) => return next(error.to_string()),
    };
    if !ipxe::is_script(&script) {
        return next(format!("{} is not an iPXE script", url.path()));
    }
    let settings = firmware_settings(host, &leased);
    run_script(
        host,
        boot,
        &fetcher,
        ipxe::Interpreter::new(settings, &script, url),
    )
    .await
}

/// What iPXE knows before the script runs.
fn firmware_settings(host: &Host, lease: &bessemer_dhcp::Lease) -> BTreeMap<String, String> {
    let platform = match host.facts.firmware {
        Firmware::Bios => "pcbios",
        Firmware::Uefi => "efi",
    };
    let text =
        |value: Option<std::net::Ipv4Addr>| value.map(|ip| ip.to_string()).unwrap_or_default();
    [
        ("net0/mac", host.facts.mac.clone()),
        ("net0/ip", lease.address.to_string()),
        ("net0/gateway", text(lease.routers.first().copied())),
        ("net0/next-server", text(lease.next_server)),
        ("net0/filename", lease.boot_file.clone().unwrap_or_default()),
        ("next-server", text(lease.next_server)),
        ("filename", lease.boot_file.clone().unwrap_or_default()),
        ("hostname", lease.host_name.clone().unwrap_or_default()),
        ("uuid", host.facts.system_uuid.to_string()),
        ("serial", host.facts.serial_number.clone()),
        ("manufacturer", "Bessemer".to_owned()),
        ("product", "Lab".to_owned()),
        ("platform", platform.to_owned()),
        ("buildarch", host.facts.cpu_arch.clone()),
        ("version", "1.21".to_owned()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

async fn run_script(
    host: &Arc<Host>,
    boot: u64,
    fetcher: &Fetcher,
    mut script: ipxe::Interpreter,
) -> NetworkBoot {
    loop {
        match script.next() {
            Action::Fetch { url, keep } => {
                let fetched = fetcher.fetch(host, boot, &url, keep).await;
                if let Err(error) = &fetched {
                    tracing::debug!(%error, host = host.facts.name, "a boot file was not fetched");
                }
                script.fetched(fetched.ok());
            }
            Action::Sleep(seconds) => {
                let time = Duration::from_secs(seconds).min(LONGEST_SLEEP);
                tokio::time::sleep(host.settings.patience(time, Duration::from_millis(20))).await;
            }
            Action::Boot {
                kernel,
                initrds,
                arguments,
            } => {
                host.live(boot, |state| {
                    state.stage = Stage::Ramdisk;
                    let initrds: Vec<_> = initrds.iter().map(|image| image.url.path()).collect();
                    host.log(
                        "kernel_started",
                        json!({"kernel": kernel.url.path(), "initrds": initrds}),
                    );
                });
                return NetworkBoot::Ramdisk(ipxe::kernel_parameters(&arguments));
            }
            Action::LocalDisk => return NetworkBoot::Disk,
            Action::NextDevice => {
                return NetworkBoot::Next("the script gave back to the firmware".to_owned());
            }
            Action::Reboot => return NetworkBoot::Power(PowerChange::Reset),
            Action::PowerOff => return NetworkBoot::Power(PowerChange::Off),
            Action::Shell => return NetworkBoot::Stuck("iPXE waits for a key".to_owned()),
            Action::Failed(why) => return NetworkBoot::Next(why),
        }
    }
}
