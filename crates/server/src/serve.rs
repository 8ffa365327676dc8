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
use crate::wiring;

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

/// The running service.
pub struct Server {
    address: SocketAddr,
    /// Of DHCP, TFTP and HTTP, when they are served.
    netboot: Option<bessemer_netboot::Addresses>,
    /// Ends the work on nodes.
    stop: CancellationToken,
    /// Ends the answers to agents and clients.
    stop_api: CancellationToken,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
    store: Store,
}

impl Server {
    /// Opens everything and starts the parts; returns when the API answers. `probe` is for crash tests.
    ///
    /// # Errors
    /// What keeps the service from starting, in a sentence that names the option.
    pub async fn start(
        mut config: Config,
        probe: Option<Arc<dyn WriteProbe>>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.default.state_path).with_context(|| {
            format!(
                "the data directory {} cannot be made; check [DEFAULT] state_path and its permissions",
                config.default.state_path.display()
            )
        })?;
        // First the socket: an address in use is said before anything is touched.
        let address = SocketAddr::new(config.api.host_ip, config.api.port);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("the API cannot listen on {address}; check [api] host_ip and port, and whether another service has it")
        })?;
        let address = listener.local_addr().context("the API's address")?;
        // Port 0 asks for any free one; URLs that follow from it must name the real one.
        config.api.port = address.port();
        let config = Arc::new(config);

        let settings = bessemer_store::Settings {
            probe,
            ..wiring::store(&config)?
        };
        let store = Store::open(&settings)
            .await
            .context("the database cannot be opened")?;
        let drivers = wiring::drivers(&config)?;
        let conductor = Conductor::new(
            store.clone(),
            drivers,
            wiring::environment(&config),
            wiring::conductor(&config),
        )?;
        let stop = CancellationToken::new();
        let stop_api = CancellationToken::new();
        let mut parts = JoinSet::new();

        let mut netboot = None;
        if config.netboot.enabled {
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
        let state = ApiState {
            store: store.clone(),
            conductor: Arc::new(InProcess(conductor.clone())),
            config: Arc::clone(&config),
        };
        let listening =
            bessemer_api::Listening::new(&config).context("the API cannot be served")?;
        let router = bessemer_api::router(state).context("the API cannot be served")?;
        {
            let stop = stop_api.clone();
            parts.spawn(async move {
                bessemer_api::serve(listener, router, listening, stop).await;
                ("API", Ok(()))
            });
        }
        {
            let stop = stop.clone();
            parts.spawn(async move {
                (
                    "conductor",
                    conductor.run(stop).await.context("the conductor"),
                )
            });
        }
        Ok(Self {
            address,
            netboot,
            stop,
            stop_api,
            parts,
            store,
        })
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
        if result.is_ok() {
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

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// See [`Server`].
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let scheme = config.api_scheme();
    let server = Server::start(config, None).await?;
    println!("bessemer answers at {scheme}://{}", server.address());
    server
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
        })
        .await
}
