//! The agent inside a simulated host's ramdisk: lookup, heartbeats, and the command API over TLS, as upstream's.
//!
//! It has no disk and no hardware: what its steps do goes to the host's [`Disk`](crate::disk::Disk) and to the log.
//! Token, commands and certificate live only as long as the boot.

mod api;
mod command;
mod failure;
mod image;
mod ironic;
mod registry;
mod steps;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::boot::dhcp::{self, Role};
use crate::boot::fetch::http_client;
use crate::host::{Host, Stage};
use registry::Registry;

pub(crate) use api::fuzz as fuzz_command;
pub(crate) use image::{fuzz_checksum_file, fuzz_header};
pub(crate) use ironic::fuzz as fuzz_reply;

/// Version that heartbeats and `/v1/status` tell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A running agent.
pub struct Agent {
    host: Arc<Host>,
    boot: u64,
    stop: CancellationToken,
    client: reqwest::Client,
    registry: Registry,
    heartbeat: Arc<Notify>,
    token: Mutex<Option<String>>,
    /// What the lookup told: whether MD5 counts.
    md5: Mutex<bool>,
    /// Seconds since 1970, as upstream shows it.
    started_at: f64,
}

impl Agent {
    fn token(&self) -> Option<String> {
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// From the kernel's start to the end of the boot.
pub async fn run(
    host: &Arc<Host>,
    boot: u64,
    stop: &CancellationToken,
    parameters: &BTreeMap<String, String>,
) {
    tokio::time::sleep(host.time(&host.chances.boot, host.settings.ramdisk_delay)).await;
    let leased = match dhcp::acquire(host, boot, Role::Ramdisk, None).await {
        Ok(leased) => leased,
        Err(error) => return ended(host, boot, &error.to_string()),
    };
    let leased_address = IpAddr::from(leased.lease.address);
    // the leased address counts when this computer has it, which on loopback is always so
    let (listener, address) = match listen(leased_address).await {
        Ok(listener) => (listener, leased_address),
        Err(_) => match listen(host.facts.address.into()).await {
            Ok(listener) => (listener, host.facts.address.into()),
            Err(error) => return ended(host, boot, &format!("the agent cannot listen: {error}")),
        },
    };
    let prepared = http_client(host, address).and_then(|client| {
        let port = listener
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let identity = crate::tls::server_identity(address).map_err(|error| error.to_string())?;
        Ok((client, port, identity))
    });
    let (client, port, (certificate, tls)) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return ended(host, boot, &why),
    };
    let Some(stop) = host.agent_started(boot, stop) else {
        return;
    };
    host.log_live(
        boot,
        "agent_started",
        json!({"address": address, "port": port, "boot": boot}),
    );
    let heartbeat = Arc::new(Notify::new());
    let agent = Arc::new(Agent {
        host: host.clone(),
        boot,
        stop: stop.clone(),
        client,
        registry: Registry::new(),
        heartbeat,
        token: Mutex::new(parameters.get("ipa-agent-token").cloned()),
        md5: Mutex::new(false),
        started_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64(),
    });
    let api = parameters
        .get("ipa-api-url")
        .filter(|url| !url.is_empty())
        .cloned();
    let Some(api) = api.or_else(|| host.settings.api_url.clone()) else {
        return ended(host, boot, "the kernel line has no ipa-api-url");
    };
    // several, separated by commas, as upstream
    let urls: Vec<String> = api
        .split(',')
        .map(|url| url.trim().trim_end_matches('/').to_owned())
        .collect();
    let inspection = parameters.get("ipa-inspection-callback-url").cloned();
    let life = async {
        if let Some(url) = &inspection {
            ironic::report(&agent, url).await;
        }
        let Some(session) = ironic::look_up(&agent, &urls, parameters).await else {
            return ended(host, boot, "no node was found for this host");
        };
        let callback = format!("https://{}", std::net::SocketAddr::new(address, port));
        tokio::join!(
            api::serve(agent.clone(), listener, tls),
            ironic::beat(&agent, &session, &callback, &certificate),
        );
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { tokio::join!(life, leased.keep(host)); } => {}
    }
}

async fn listen(address: IpAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind((address, 0)).await
}

/// The ramdisk runs without an agent.
fn ended(host: &Host, boot: u64, why: &str) {
    host.live(boot, |state| {
        state.stage = Stage::Stuck;
        host.log("agent_ended", json!({"why": why}));
    });
}

/// A pause of the agent's own, scaled.
fn pause(host: &Host, time: Duration) -> Duration {
    host.settings.patience(time, Duration::from_millis(50))
}
