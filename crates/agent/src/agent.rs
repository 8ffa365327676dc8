//! The agent itself: what it knows, and its life from look-up to the end.
//!
//! Order, as upstream: an address towards the API, the own certificate, the own API's port, look-up, then API and
//! heartbeats until told to stop. Disks are waited for when a command needs them, not before the first heartbeat.
//!
//! Must never exit the process; whoever started it decides what an end means.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bessemer_wire::{HeartbeatBody, LookupReply};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ironic::{ApiClient, ApiError};
use crate::log::LogRing;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::{api, net, tls};

/// Shortest pause between heartbeats, and the pause after one that failed.
const MIN_HEARTBEAT_PAUSE: Duration = Duration::from_secs(5);
/// What the API shows in place of a token that it gave before.
const HIDDEN_TOKEN: &str = "******";
/// Pauses after a look-up that met a locked node.
const CONFLICT_PAUSES: [u64; 3] = [5, 10, 30];

/// What happens to the machine at `standby.power_off` and `standby.run_image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    PowerOff,
    Reboot,
}

/// How the agent ends the machine.
pub enum Power {
    /// Process 1: by the kernel.
    Machine,
    /// An ordinary process: it stops, and leaves here what was wanted.
    Process(Mutex<Option<End>>),
}

/// Why the agent's life ended early.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the agent's API cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Tls(#[from] tls::TlsError),
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
    #[error(
        "no address towards the Bare Metal API at {api}: {why}; check DHCP on the provisioning network and ipa-api-url"
    )]
    NoAddress { api: String, why: String },
    #[error(
        "the node could not be looked up in {seconds} s, addresses {macs}: {why}; check that a port with one of these addresses exists and that the node is being deployed, cleaned or inspected"
    )]
    Lookup {
        seconds: u64,
        macs: String,
        why: String,
    },
}

/// The node as the conductor told it last.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    pub uuid: Option<uuid::Uuid>,
    pub properties: Map<String, Value>,
    pub instance_info: Map<String, Value>,
    pub driver_internal_info: Map<String, Value>,
}

/// What look-up said of the agent's behaviour.
#[derive(Debug, Clone)]
pub struct Rules {
    pub heartbeat_timeout: Duration,
    pub token_required: bool,
    pub md5_enabled: bool,
    pub inspect_images: bool,
    /// Empty: upstream's default of raw, gpt and qcow2.
    pub permitted_formats: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(300),
            token_required: true,
            md5_enabled: false,
            inspect_images: true,
            permitted_formats: Vec::new(),
        }
    }
}

/// State shared by API, commands and heartbeats.
pub struct Agent {
    pub settings: Settings,
    /// Seconds since 1970, as upstream.
    pub started_at: f64,
    pub registry: Registry,
    /// For image servers; the API client has its own timeouts.
    pub tls: rustls::ClientConfig,
    pub logs: LogRing,
    pub power: Power,
    /// Everything ends.
    pub cancel: CancellationToken,
    /// API and heartbeats end, the process stays (`system.lockdown`).
    pub lockdown: CancellationToken,
    heartbeat: Arc<Notify>,
    node: RwLock<NodeView>,
    rules: RwLock<Rules>,
    token: RwLock<Option<SecretString>>,
    /// Id of the image that is completely on the disk; raw streamed ones never count, as upstream.
    pub cached_image: Mutex<Option<String>>,
}

impl Agent {
    /// Makes the state. `token` survives a restart inside process 1.
    pub fn new(
        settings: Settings,
        logs: LogRing,
        power: Power,
        cancel: CancellationToken,
        token: Option<SecretString>,
    ) -> Result<Arc<Self>, Fatal> {
        let heartbeat = Arc::new(Notify::new());
        let tls = tls::client_config(settings.insecure, settings.ca_file.as_deref())?;
        let token = settings.agent_token.clone().or(token);
        Ok(Arc::new(Self {
            started_at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0.0, |d| d.as_secs_f64()),
            registry: Registry::new(heartbeat.clone(), cancel.clone()),
            tls,
            logs,
            power,
            lockdown: cancel.child_token(),
            cancel,
            heartbeat,
            node: RwLock::default(),
            rules: RwLock::default(),
            token: RwLock::new(token),
            cached_image: Mutex::new(None),
            settings,
        }))
    }

    /// The node as it is known now.
    #[must_use]
    pub fn node(&self) -> NodeView {
        self.node
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes what a command says of the node: newer than the look-up.
    pub fn update_node(&self, node: &Map<String, Value>) {
        let mut view = self.node.write().unwrap_or_else(PoisonError::into_inner);
        let mut take = |name: &str, target: fn(&mut NodeView) -> &mut Map<String, Value>| {
            if let Some(Value::Object(members)) = node.get(name) {
                *target(&mut view) = members.clone();
            }
        };
        take("properties", |v| &mut v.properties);
        take("instance_info", |v| &mut v.instance_info);
        take("driver_internal_info", |v| &mut v.driver_internal_info);
        // the drive's contents are not needed here, and may be large
        view.instance_info.remove("configdrive");
        if let Some(uuid) = node
            .get("uuid")
            .and_then(Value::as_str)
            .and_then(|t| t.parse().ok())
        {
            view.uuid = Some(uuid);
        }
    }

    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    #[must_use]
    pub fn token(&self) -> Option<SecretString> {
        self.token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    #[must_use]
    pub fn token_required(&self) -> bool {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .token_required
    }

    /// Takes a look-up reply, or what `poll.set_node_info` pushes.
    pub fn take_lookup(&self, reply: LookupReply) {
        let LookupReply { node, config } = reply;
        let mut instance_info = node.instance_info;
        instance_info.remove("configdrive");
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = NodeView {
            uuid: Some(node.uuid),
            properties: node.properties,
            instance_info,
            driver_internal_info: node.driver_internal_info,
        };
        {
            let mut token = self.token.write().unwrap_or_else(PoisonError::into_inner);
            let given = config
                .agent_token
                .filter(|t| !t.is_empty() && t != HIDDEN_TOKEN);
            match (&*token, given) {
                // the first one stays, and one from the boot media too
                (None, Some(given)) => *token = Some(SecretString::from(given)),
                (None, None) if config.agent_token_required => tracing::warn!(
                    "the API wants a token but gives none: another agent of this node has it; heartbeats will be refused until the node is restarted by the conductor"
                ),
                _ => {}
            }
        }
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Rules {
            heartbeat_timeout: Duration::from_secs(config.heartbeat_timeout),
            token_required: config.agent_token_required,
            md5_enabled: config.agent_md5_checksum_enable,
            inspect_images: !config.disable_deep_image_inspection,
            permitted_formats: config.permitted_image_formats,
        };
    }

    /// The next heartbeat is sent at once.
    pub fn force_heartbeat(&self) {
        self.heartbeat.notify_one();
    }

    /// Ends the machine (or, as an ordinary process, the agent) a moment later, so that answers still get out.
    pub fn end_machine_soon(self: &Arc<Self>, end: End) {
        let agent = self.clone();
        // detached on purpose: it outlives the command that asked for it, and ends everything
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            match &agent.power {
                Power::Machine => {
                    tracing::info!("the machine ends now ({end:?})");
                    // a blocking system call that does not come back
                    let _ = tokio::task::spawn_blocking(move || {
                        crate::init::end_machine(end == End::Reboot);
                    })
                    .await;
                }
                Power::Process(wanted) => {
                    tracing::info!("an ordinary process: the agent stops in place of {end:?}");
                    *wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
                    agent.cancel.cancel();
                }
            }
        });
    }
}

/// Runs the agent until cancelled. `Ok` after a cancellation only.
pub async fn run(agent: Arc<Agent>) -> Result<(), Fatal> {
    let settings = &agent.settings;
    if !settings.hardware_initialization_delay.is_zero() {
        tokio::select! {
            () = agent.cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(settings.hardware_initialization_delay) => {}
        }
    }
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(agent.tls.clone())
        .no_proxy()
        .http1_only()
        .connect_timeout(settings.http_request_timeout)
        .timeout(settings.http_request_timeout)
        .user_agent(concat!("bessemer-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Fatal::Client(crate::error::chain(&e)))?;
    let client = ApiClient::new(http, settings);
    let host = match advertised_host(&agent, &client).await? {
        Some(host) => host,
        None => return Ok(()),
    };
    let listener = api::bind(settings.listen)
        .await
        .map_err(|source| Fatal::Listen {
            address: settings.listen,
            source,
        })?;
    let identity = if settings.tls {
        Some(tls::make_identity(&host)?)
    } else {
        None
    };
    let port = settings
        .advertise_port
        .or_else(|| listener.local_addr().ok().map(|a| a.port()))
        .unwrap_or(bessemer_wire::AGENT_PORT);
    let callback_url = callback_url(settings.tls, &host, port);
    let outcome = serve(&agent, &client, listener, identity, callback_url).await;
    agent.registry.join().await;
    outcome
}

async fn serve(
    agent: &Arc<Agent>,
    client: &ApiClient,
    listener: TcpListener,
    identity: Option<tls::Identity>,
    callback_url: String,
) -> Result<(), Fatal> {
    let (certificate, server) = match identity {
        Some(identity) => (Some(identity.pem), Some(identity.server)),
        None => (None, None),
    };
    let serving = |agent: Arc<Agent>| {
        let cancel = agent.lockdown.clone();
        tokio::spawn(api::run(agent, listener, server, cancel))
    };
    if agent.settings.api_urls.is_empty() {
        tracing::warn!("no ipa-api-url: no look-up and no heartbeats, only the agent's own API");
        let api = serving(agent.clone());
        agent.cancel.cancelled().await;
        let _ = api.await;
        return Ok(());
    }
    if let Some(url) = agent.settings.inspection_callback_url.clone() {
        tokio::select! {
            () = agent.cancel.cancelled() => return Ok(()),
            () = inspection(agent, client, &url) => {}
        }
    }
    let found = tokio::select! {
        () = agent.cancel.cancelled() => return Ok(()),
        found = lookup(agent, client) => found?,
    };
    agent.take_lookup(found);
    let node = agent.node();
    tracing::info!(
        "this is node {}; heartbeats every {:.0} s to {:.0} s; callback {callback_url}",
        node.uuid.map(|u| u.to_string()).unwrap_or_default(),
        agent.rules().heartbeat_timeout.mul_f64(0.3).as_secs_f64(),
        agent.rules().heartbeat_timeout.mul_f64(0.6).as_secs_f64(),
    );
    let api = serving(agent.clone());
    heartbeats(agent, client, &callback_url, certificate.as_deref()).await;
    agent.cancel.cancelled().await;
    let _ = api.await;
    Ok(())
}

fn callback_url(tls: bool, host: &str, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    format!("{scheme}://{host}:{port}")
}

/// The address to advertise; `None` when cancelled before there was one.
async fn advertised_host(agent: &Agent, client: &ApiClient) -> Result<Option<String>, Fatal> {
    let settings = &agent.settings;
    if let Some(host) = &settings.advertise_host {
        return Ok(Some(host.trim_matches(['[', ']']).to_owned()));
    }
    let Ok(url) = client.url().cloned() else {
        return Ok(Some("127.0.0.1".to_owned()));
    };
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let patience = settings
        .ip_lookup_timeout
        .saturating_mul(settings.ip_lookup_attempts.max(1));
    let began = Instant::now();
    loop {
        let why = match net::address_towards(&host, port).await {
            Ok(ip) => return Ok(Some(ip.to_string())),
            Err(error) => error.to_string(),
        };
        if began.elapsed() >= patience {
            return Err(Fatal::NoAddress {
                api: url.to_string(),
                why,
            });
        }
        tokio::select! {
            () = agent.cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
}

/// Sends the inventory until it is taken, or nobody can want it any more.
async fn inspection(agent: &Agent, client: &ApiClient, url: &url::Url) {
    let settings = &agent.settings;
    let began = Instant::now();
    let mut pause = settings
        .lookup_interval
        .clamp(Duration::from_millis(100), Duration::from_secs(60));
    loop {
        let settings_now = settings.clone();
        let collected =
            tokio::task::spawn_blocking(move || crate::inventory::collect(&settings_now)).await;
        let inventory = match collected.map(serde_json::to_value) {
            Ok(Ok(inventory)) => inventory,
            _ => serde_json::Value::Null,
        };
        match client
            .report(url, &serde_json::json!({"inventory": inventory}))
            .await
        {
            Ok(()) => {
                tracing::info!("the inventory was sent to {url}");
                return;
            }
            Err(error) => tracing::warn!("the inventory was not taken: {error}"),
        }
        if began.elapsed() >= settings.lookup_timeout {
            tracing::error!("the inspection report is given up; see the node's inspection");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

async fn lookup(agent: &Agent, client: &ApiClient) -> Result<LookupReply, Fatal> {
    let settings = &agent.settings;
    let began = Instant::now();
    let mut pause = settings
        .lookup_interval
        .clamp(Duration::from_millis(100), Duration::from_secs(60));
    let mut conflicts = CONFLICT_PAUSES.iter();
    loop {
        // read again each time: a card may have appeared late
        let macs: Vec<String> = net::interfaces(&settings.roots.sys)
            .into_iter()
            .map(|i| i.mac)
            .collect();
        let error = match client.lookup(&macs, settings.node_uuid).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        if began.elapsed() >= settings.lookup_timeout {
            return Err(Fatal::Lookup {
                seconds: settings.lookup_timeout.as_secs(),
                macs: if macs.is_empty() {
                    "none".to_owned()
                } else {
                    macs.join(", ")
                },
                why: error.to_string(),
            });
        }
        let wait = match (&error, conflicts.next()) {
            (ApiError::Conflict { .. }, Some(seconds)) => Duration::from_secs(*seconds),
            _ => {
                let wait = pause.mul_f64(rand::random_range(0.75..1.25));
                pause = pause.saturating_mul(2).min(Duration::from_secs(60));
                wait
            }
        };
        tracing::warn!(
            "look-up of {} failed: {error}; again in {:.0} s",
            macs.join(", "),
            wait.as_secs_f64()
        );
        tokio::time::sleep(wait).await;
    }
}

/// Heartbeats until lockdown or cancellation; the first one at once.
async fn heartbeats(
    agent: &Arc<Agent>,
    client: &ApiClient,
    callback_url: &str,
    certificate: Option<&str>,
) {
    let mut accepted_before = false;
    loop {
        let Some(uuid) = agent.node().uuid else {
            return;
        };
        let body = HeartbeatBody {
            callback_url: callback_url.to_owned(),
            agent_token: agent.token().map(|t| t.expose_secret().to_owned()),
            agent_version: Some(crate::VERSION.to_owned()),
            agent_verify_ca: certificate.map(str::to_owned),
            agent_status: None,
            agent_status_message: None,
        };
        let outcome = tokio::select! {
            () = agent.lockdown.cancelled() => return,
            outcome = client.heartbeat(uuid, body) => outcome,
        };
        let pause = match outcome {
            Ok(()) => {
                if accepted_before {
                    tracing::debug!("heartbeat accepted");
                } else {
                    tracing::info!("heartbeat accepted");
                    accepted_before = true;
                }
                agent
                    .rules()
                    .heartbeat_timeout
                    .mul_f64(rand::random_range(0.3..0.6))
                    .max(MIN_HEARTBEAT_PAUSE)
            }
            Err(error) => {
                tracing::warn!("heartbeat failed: {error}");
                MIN_HEARTBEAT_PAUSE
            }
        };
        tokio::select! {
            () = agent.lockdown.cancelled() => return,
            () = agent.heartbeat.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn callback_urls() {
        for (tls, host, expected) in [
            (true, "10.0.0.1", "https://10.0.0.1:9999"),
            (false, "fd00::1", "http://[fd00::1]:9999"),
            (true, "node.example", "https://node.example:9999"),
        ] {
            assert_eq!(callback_url(tls, host, 9999), expected);
        }
    }
}
