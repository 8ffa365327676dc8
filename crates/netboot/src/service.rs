//! The whole service: sockets first, then everything runs until one token is cancelled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::dhcp::{self, DhcpService, DhcpSocket};
use crate::directory::BootDirectory;
use crate::files::Files;
use crate::http::{self, HttpService};
use crate::journal::{Journal, Recorder, Strangers};
use crate::ra::{self, RaSocket};
use crate::script::Scripts;
use crate::settings::{NetworkSettings, Settings};
use crate::tftp::{self, TftpFiles};

/// Where the service listens, with the ports that the kernel chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// DHCP.
    pub dhcp: Vec<SocketAddr>,
    /// TFTP.
    pub tftp: Vec<SocketAddr>,
    /// HTTP.
    pub http: Vec<SocketAddr>,
}

/// How hosts reach us.
#[derive(Debug)]
pub(crate) struct Urls {
    public: Option<String>,
    http_port: Option<u16>,
    tftp_port: Option<u16>,
    tftp_server: Option<Ipv4Addr>,
    tftp_listen: Option<IpAddr>,
    networks: Vec<NetworkSettings>,
}

impl Urls {
    /// HTTP base URL for hosts of a network with this server address; `None` when HTTP is not served.
    pub(crate) fn http_base_of(&self, server: Ipv4Addr) -> Option<String> {
        let port = self.http_port?;
        Some(match &self.public {
            Some(public) => public.clone(),
            None => base("http", &server.to_string(), port, 80),
        })
    }

    /// TFTP base URL for hosts of a network with this server address; `None` when TFTP is not served.
    pub(crate) fn tftp_base_of(&self, server: Ipv4Addr) -> Option<String> {
        let server = self.tftp_server(server).to_string();
        Some(base("tftp", &server, self.tftp_port?, 69))
    }

    /// TFTP server of a network with this server address.
    pub(crate) fn tftp_server(&self, server: Ipv4Addr) -> Ipv4Addr {
        self.tftp_server.unwrap_or(server)
    }

    /// HTTP base URL for a client that sent this Host header to this address of ours.
    pub(crate) fn http_base(&self, host: Option<&str>, local: SocketAddr) -> String {
        if let Some(public) = &self.public {
            return public.clone();
        }
        // the name by which the client reached us works for the client; nothing else of the header gets into a script
        let plain = |host: &&str| {
            host.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
        };
        match host.filter(plain).filter(|host| !host.is_empty()) {
            Some(host) => format!("http://{host}"),
            None => format!("http://{local}"),
        }
    }

    /// TFTP base URL for a client at this address.
    pub(crate) fn tftp_base(&self, peer: IpAddr) -> String {
        let network = self.networks.iter().find(|network| match peer {
            IpAddr::V4(peer) => network.cidr.contains(&peer),
            IpAddr::V6(_) => false,
        });
        let server = match (network, self.tftp_listen) {
            (Some(network), _) => IpAddr::V4(self.tftp_server(network.server)),
            (None, Some(listen)) => listen,
            (None, None) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        base(
            "tftp",
            &server.to_string(),
            self.tftp_port.unwrap_or(69),
            69,
        )
    }
}

fn base(scheme: &str, host: &str, port: u16, usual: u16) -> String {
    if port == usual {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

/// The service with its sockets bound.
pub struct Netboot {
    settings: Settings,
    addresses: Addresses,
    directory: Arc<dyn BootDirectory>,
    files: Arc<Files>,
    journal: Arc<Journal>,
    recorder: Recorder,
    urls: Arc<Urls>,
    dhcp: Vec<DhcpSocket>,
    ra: Vec<RaSocket>,
    tftp: Option<bessemer_tftp::Server>,
    http: Vec<TcpListener>,
}

impl std::fmt::Debug for Netboot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netboot")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Netboot {
    /// Checks the settings, reads the templates and opens every socket.
    ///
    /// # Errors
    /// Every variant of [`Error`]; nothing is served then.
    pub async fn bind(
        settings: Settings,
        directory: Arc<dyn BootDirectory>,
    ) -> Result<Self, Error> {
        settings.check()?;
        let scripts = Scripts::load(settings.templates_dir.as_deref())?;
        let dhcp = match &settings.dhcp {
            Some(settings) => dhcp::bind(settings)?,
            None => Vec::new(),
        };
        let ra = match &settings.ra {
            Some(settings) => ra::bind(settings)?,
            None => Vec::new(),
        };
        let tftp = match &settings.tftp {
            Some(settings) => Some(bind_tftp(settings).await?),
            None => None,
        };
        let mut http = Vec::new();
        for address in settings.http.iter().flat_map(|http| &http.listen) {
            let listener = TcpListener::bind(address).await.map_err(|source| {
                Error::socket(format!("HTTP cannot listen on {address}"), source)
            })?;
            http.push(listener);
        }
        let addresses = Addresses {
            dhcp: dhcp.iter().filter_map(DhcpSocket::local_addr).collect(),
            tftp: tftp
                .iter()
                .flat_map(|server| server.addresses().to_vec())
                .collect(),
            http: http
                .iter()
                .filter_map(|listener| listener.local_addr().ok())
                .collect(),
        };
        let networks = settings.dhcp.as_ref().map(|dhcp| dhcp.networks.clone());
        let urls = Urls {
            public: settings.http.as_ref().and_then(|http| {
                let url = http.public_url.as_ref()?;
                Some(url.trim_end_matches('/').to_owned())
            }),
            http_port: addresses.http.first().map(SocketAddr::port),
            tftp_port: addresses.tftp.first().map(SocketAddr::port),
            tftp_server: settings.tftp.as_ref().and_then(|tftp| tftp.server),
            tftp_listen: addresses
                .tftp
                .first()
                .map(SocketAddr::ip)
                .filter(|address| !address.is_unspecified()),
            networks: networks.unwrap_or_default(),
        };
        let files = Files::new(&settings, Arc::clone(&directory), scripts);
        let (journal, recorder) = Journal::new();
        Ok(Self {
            settings,
            addresses,
            directory,
            files: Arc::new(files),
            journal,
            recorder,
            urls: Arc::new(urls),
            dhcp,
            ra,
            tftp,
            http,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The strangers that were not answered; still readable while the service runs.
    pub fn strangers(&self) -> Arc<Strangers> {
        self.journal.strangers()
    }

    /// Serves until cancelled; returns when everything has ended and every event is written.
    pub async fn run(self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        if let Some(settings) = &self.settings.dhcp {
            let loaders = &self.settings.loaders;
            let service = Arc::new(DhcpService {
                networks: settings
                    .networks
                    .iter()
                    .map(|network| (network.clone(), dhcp::network(network, loaders, &self.urls)))
                    .collect(),
                client_port: settings.client_port,
                directory: Arc::clone(&self.directory),
                journal: Arc::clone(&self.journal),
                urls: Arc::clone(&self.urls),
            });
            for socket in self.dhcp {
                tasks.spawn(dhcp::listen(
                    socket,
                    Arc::clone(&service),
                    cancel.child_token(),
                ));
            }
        }
        if let Some(settings) = &self.settings.ra {
            let settings = Arc::new(settings.clone());
            for socket in self.ra {
                tasks.spawn(ra::run(socket, Arc::clone(&settings), cancel.child_token()));
            }
        }
        if let Some(server) = self.tftp {
            let source = Arc::new(TftpFiles {
                files: Arc::clone(&self.files),
                journal: Arc::clone(&self.journal),
                urls: Arc::clone(&self.urls),
            });
            let journal = Arc::clone(&self.journal);
            let observer = Arc::new(move |event| tftp::record(&journal, event));
            tasks.spawn(server.run(source, observer, cancel.child_token()));
        }
        if let Some(settings) = &self.settings.http {
            let service = Arc::new(HttpService {
                files: self.files,
                journal: self.journal,
                urls: self.urls,
                max_connections: settings.max_connections,
            });
            for listener in self.http {
                tasks.spawn(http::listen(
                    listener,
                    Arc::clone(&service),
                    cancel.child_token(),
                ));
            }
        }
        let written = CancellationToken::new();
        let recorder = tokio::spawn(self.recorder.run(self.directory, written.clone()));
        // with nothing to serve this waits all the same: the caller's token decides
        loop {
            let ended = tokio::select! {
                Some(ended) = tasks.join_next() => ended,
                () = cancel.cancelled() => match tasks.join_next().await {
                    Some(ended) => ended,
                    None => break,
                },
            };
            if let Err(error) = ended {
                tracing::error!(%error, "bug: a part of the network boot service panicked");
            }
        }
        written.cancel();
        if let Err(error) = recorder.await {
            tracing::error!(%error, "bug: the recorder of events panicked");
        }
    }
}

async fn bind_tftp(
    settings: &crate::settings::TftpSettings,
) -> Result<bessemer_tftp::Server, Error> {
    let server = bessemer_tftp::Server::bind(bessemer_tftp::ServerSettings {
        listen: settings.listen.clone(),
        limits: settings.limits.clone(),
        max_transfers: settings.max_transfers,
    });
    server.await.map_err(|error| match error {
        bessemer_tftp::Error::Io { what, source } => Error::socket(what, source),
        other => Error::Socket {
            what: other.to_string(),
            source: std::io::Error::other(other),
        },
    })
}
