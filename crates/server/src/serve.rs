//! `bessemer serve`: starts the roles, waits for the signal to stop, stops them in order.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bessemer_api::ApiState;
use bessemer_conductor::Conductor;
use bessemer_config::{Config, LogFormat};
use bessemer_netboot::{Netboot, StoreDirectory};
use bessemer_store::{Store, WriteProbe};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::calls::InProcess;
use crate::rpc::{self, Identity, Routed};
use crate::{metrics, notifications, wiring};

/// Log to standard error, as `[log]` says.
///
/// # Errors
/// When the filter cannot be read.
pub fn logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log.level).with_context(|| {
        format!(
            "log.level \"{}\" is neither a level nor a filter",
            config.log.level
        )
    })?;
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => base.with_ansi(false).init(),
        LogFormat::Json => base.json().init(),
    }
    Ok(())
}

/// What a process does. All of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Answers clients and agents.
    Api,
    /// Works on nodes.
    Conductor,
    /// DHCP, TFTP and HTTP for nodes that boot, where `[netboot] enabled` says so.
    Netboot,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Api, Self::Conductor, Self::Netboot];
}

/// The running service.
pub struct Server {
    /// Of the API; in a process without it, of what it has instead.
    address: SocketAddr,
    /// Of DHCP, TFTP and HTTP, when they are served.
    netboot: Option<bessemer_netboot::Addresses>,
    /// Of the figures, when they are served.
    metrics: Option<SocketAddr>,
    conductor: Option<Conductor>,
    /// Ends the work on nodes.
    stop: CancellationToken,
    /// Ends the answers to agents and clients.
    stop_api: CancellationToken,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
    store: Store,
}

async fn bind(address: SocketAddr, what: &str, options: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "{what} cannot listen on {address}; check {options}, and whether another service has it"
        )
    })
}

/// Refuses what a process with these roles alone could not do.
fn check_roles(config: &Config, roles: &[Role]) -> anyhow::Result<()> {
    anyhow::ensure!(!roles.is_empty(), "no role is given");
    let sqlite = wiring::is_sqlite(config);
    let (api, conductor) = (roles.contains(&Role::Api), roles.contains(&Role::Conductor));
    anyhow::ensure!(
        !sqlite || (api && conductor),
        "SQLite is for one process with all roles; API and conductor apart need PostgreSQL, see [database] connection"
    );
    anyhow::ensure!(
        api || !conductor
            || config.deploy.external_callback_url.is_some()
            || config.api.public_endpoint.is_some(),
        "a conductor without the API must tell agents where the API is: set [deploy] external_callback_url"
    );
    Ok(())
}

impl Server {
    /// Opens everything and starts the parts; returns when the API answers. `probe` is for crash tests.
    ///
    /// # Errors
    /// What keeps the service from starting, in a sentence that names the option.
    pub async fn start(config: Config, probe: Option<Arc<dyn WriteProbe>>) -> anyhow::Result<Self> {
        Self::start_as(config, &Role::ALL, probe).await
    }

    /// The same with some of the roles.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_as(
        mut config: Config,
        roles: &[Role],
        probe: Option<Arc<dyn WriteProbe>>,
    ) -> anyhow::Result<Self> {
        check_roles(&config, roles)?;
        std::fs::create_dir_all(&config.default.state_path).with_context(|| {
            format!(
                "the data directory {} cannot be made; check [DEFAULT] state_path and its permissions",
                config.default.state_path.display()
            )
        })?;
        // First the sockets: an address in use is said before anything is touched.
        let mut api = None;
        let mut address = None;
        if roles.contains(&Role::Api) {
            let wanted = SocketAddr::new(config.api.host_ip, config.api.port);
            let listener = bind(wanted, "the API", "[api] host_ip and port").await?;
            let bound = listener.local_addr().context("the API's address")?;
            // Port 0 asks for any free one; URLs that follow from it must name the real one.
            config.api.port = bound.port();
            address = Some(bound);
            api = Some(listener);
        }
        // Processes beside this one can only be where the database is shared.
        let mut internal = None;
        if roles.contains(&Role::Conductor) && !wiring::is_sqlite(&config) {
            let ip = config.json_rpc.host_ip.unwrap_or(config.default.my_ip);
            let wanted = SocketAddr::new(ip, config.json_rpc.port);
            let listener = bind(wanted, "the conductor", "[json_rpc] host_ip and port").await?;
            let bound = listener.local_addr().context("the conductor's address")?;
            address.get_or_insert(bound);
            internal = Some((listener, Identity::new(bound)?));
        }
        let mut figures = None;
        let mut metrics = None;
        if config.metrics.enabled {
            let wanted = SocketAddr::new(config.metrics.host_ip, config.metrics.port);
            let listener = bind(wanted, "metrics", "[metrics] host_ip and port").await?;
            let bound = listener
                .local_addr()
                .context("the address of the metrics")?;
            address.get_or_insert(bound);
            metrics = Some(bound);
            figures = Some(listener);
        }
        let config = Arc::new(config);

        let settings = bessemer_store::Settings {
            probe,
            ..wiring::store(&config)?
        };
        let store = Store::open(&settings)
            .await
            .context("the database cannot be opened")?;
        let stop = CancellationToken::new();
        let stop_api = CancellationToken::new();
        let mut parts = JoinSet::new();
        if roles.contains(&Role::Conductor)
            && let Some(sender) = notifications::sender(&config, &store)?
        {
            let stop = stop_api.clone();
            parts.spawn(async move {
                sender.run(stop).await;
                ("sender of notifications", Ok(()))
            });
        }
        let mut conductor = None;
        if roles.contains(&Role::Conductor) {
            let mut settings = wiring::conductor(&config);
            settings.rpc = internal
                .as_ref()
                .map(|(_, identity)| identity.address.clone());
            conductor = Some(Conductor::new(
                store.clone(),
                wiring::drivers(&config)?,
                wiring::environment(&config),
                settings,
            )?);
        }

        let mut netboot = None;
        if roles.contains(&Role::Netboot) && config.netboot.enabled {
            let settings = bessemer_netboot::Settings::from_config(&config)
                .context("network boot cannot be served")?;
            let directory = Arc::new(StoreDirectory::new(store.clone()));
            let service = Netboot::bind(settings, directory)
                .await
                .context("network boot cannot be served")?;
            netboot = Some(service.addresses().clone());
            let stop = stop_api.clone();
            parts.spawn(async move {
                service.run(stop).await;
                ("network boot", Ok(()))
            });
        }
        if let Some(listener) = api {
            let here = conductor.clone().map(InProcess);
            let calls: Arc<dyn bessemer_api::Conductor> = match here {
                Some(calls) if wiring::is_sqlite(&config) => Arc::new(calls),
                here => {
                    let group = config.conductor.conductor_group.clone();
                    Arc::new(Routed::new(store.clone(), here.map(|calls| (calls, group))))
                }
            };
            let state = ApiState {
                store: store.clone(),
                conductor: calls,
                config: Arc::clone(&config),
            };
            let listening =
                bessemer_api::Listening::new(&config).context("the API cannot be served")?;
            let router = bessemer_api::router(state).context("the API cannot be served")?;
            let stop = stop_api.clone();
            parts.spawn(async move {
                bessemer_api::serve(listener, router, listening, stop).await;
                ("API", Ok(()))
            });
        }
        if let (Some((listener, identity)), Some(conductor)) = (internal, &conductor) {
            let calls = Arc::new(InProcess(conductor.clone()));
            let router = rpc::router(calls, &identity.address.token);
            let listening = bessemer_api::Listening::beside(&config, Some(identity.tls));
            let stop = stop_api.clone();
            parts.spawn(async move {
                bessemer_api::serve(listener, router, listening, stop).await;
                ("listener for other processes' calls", Ok(()))
            });
        }
        if let Some(listener) = figures {
            let router = metrics::router(store.clone(), conductor.clone());
            let listening = bessemer_api::Listening::beside(&config, None);
            let stop = stop_api.clone();
            parts.spawn(async move {
                bessemer_api::serve(listener, router, listening, stop).await;
                ("metrics", Ok(()))
            });
        }
        if let Some(conductor) = conductor.clone() {
            let stop = stop.clone();
            parts.spawn(async move {
                (
                    "conductor",
                    conductor.run(stop).await.context("the conductor"),
                )
            });
        }
        Ok(Self {
            address: address.unwrap_or_else(|| SocketAddr::new(config.default.my_ip, 0)),
            netboot,
            metrics,
            conductor,
            stop,
            stop_api,
            parts,
            store,
        })
    }

    /// Where the figures are, when they are served.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The conductor of this process.
    #[must_use]
    pub fn conductor(&self) -> Option<&Conductor> {
        self.conductor.as_ref()
    }

    /// Where the API answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where network boot answers.
    #[must_use]
    pub fn netboot(&self) -> Option<&bessemer_netboot::Addresses> {
        self.netboot.as_ref()
    }

    /// Until `asked` ends, or a part ends by itself: half a service must not go on, so that whoever watches
    /// restarts it whole. Work stops first: while phases end, agents and clients may still call.
    ///
    /// # Errors
    /// Names the part that ended by itself.
    pub async fn run(mut self, asked: impl Future<Output = ()>) -> anyhow::Result<()> {
        let early = tokio::select! {
            () = asked => None,
            ended = self.parts.join_next() => ended,
        };
        self.stop.cancel();
        let mut result = match early {
            None => Ok(()),
            Some(Ok((part, ended))) => Err(ended
                .err()
                .unwrap_or_else(|| anyhow::anyhow!("no reason given")))
            .with_context(|| format!("the {part} ended by itself")),
            Some(Err(error)) => {
                Err(anyhow::Error::new(error)).context("a part of the service broke down (a bug)")
            }
        };
        // The conductor is the only part that ends by `stop` alone.
        if result.is_ok() && self.conductor.is_some() {
            while let Some(ended) = self.parts.join_next().await {
                match ended {
                    Ok(("conductor", ended)) => {
                        result = ended;
                        break;
                    }
                    Ok((part, ended)) => tracing::error!(
                        "the {part} ended while the conductor was stopping: {ended:?}"
                    ),
                    Err(error) => tracing::error!(%error, "a part of the service broke down"),
                }
            }
        }
        self.stop_api.cancel();
        while let Some(ended) = self.parts.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((part, Err(error))) => {
                    tracing::warn!("the {part} did not stop cleanly: {error:#}")
                }
                Err(error) => tracing::warn!(%error, "a part of the service did not stop cleanly"),
            }
        }
        self.store.close().await;
        result
    }
}

/// Runs until SIGTERM, SIGINT or SIGUSR2.
///
/// # Errors
/// See [`Server`].
pub async fn serve(config: Config, roles: &[Role]) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut drain = signal(SignalKind::user_defined2()).context("signals")?;
    let scheme = config.api_scheme();
    let server = Server::start_as(config, roles, None).await?;
    if roles.contains(&Role::Api) {
        println!("bessemer answers at {scheme}://{}", server.address());
    } else {
        println!("bessemer works; the API is another process");
    }
    let conductor = server.conductor().cloned();
    server
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
                _ = drain.recv() => {
                    tracing::info!("SIGUSR2: draining");
                    if let Some(conductor) = &conductor {
                        conductor.drain();
                    }
                }
            }
        })
        .await
}
