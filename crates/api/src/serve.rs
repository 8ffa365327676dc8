//! The listener: connections, TLS, and what a client may take of both.
//!
//! A connection is one task. There are at most so many at once; the head of a request must arrive in time, a
//! request as a whole must end in time. With TLS the certificate is read anew when its files change: new
//! connections get it, and one that cannot be used is logged while the old one stays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use bessemer_config::{Config, TlsVersion};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::Peer;
use crate::fault::ApiFault;

/// Largest head of a request, bytes: a token, a service token and a long query fit.
const LARGEST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Time between two looks at the certificate's files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an error of `accept` (no file descriptors left) before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// With a request: cancelled when the service is being stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping(pub CancellationToken);

/// Why the listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read as {what}: {why}; see [api] cert_file and key_file")]
    File {
        path: PathBuf,
        what: &'static str,
        why: String,
    },
    #[error("the certificate of the API cannot be used: {0}; see [api] cert_file and key_file")]
    Unusable(#[from] rustls::Error),
    #[error(transparent)]
    Config(#[from] bessemer_config::ConfigError),
}

/// How connections are served.
pub struct Listening {
    tls: Option<Tls>,
    max_connections: usize,
    header_timeout: Duration,
    request_timeout: Duration,
}

impl Listening {
    /// # Errors
    /// When the certificate or its key cannot be used.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        let api = &config.api;
        let tls = if api.enable_ssl_api {
            let (certificate, key) = config.api_certificate()?;
            Some(Tls::load(certificate, key, api.server_tls_minimum_version)?)
        } else {
            None
        };
        Ok(Self {
            tls,
            max_connections: usize::try_from(api.max_connections.max(1)).unwrap_or(usize::MAX),
            header_timeout: api.header_timeout,
            request_timeout: api.request_timeout,
        })
    }

    /// For a listener beside the API's, within the same limits.
    #[must_use]
    pub fn beside(config: &Config, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let api = &config.api;
        Self {
            tls: tls.map(|config| Tls {
                files: None,
                config: RwLock::new(config),
            }),
            max_connections: usize::try_from(api.max_connections.max(1)).unwrap_or(usize::MAX),
            header_timeout: api.header_timeout,
            request_timeout: api.request_timeout,
        }
    }
}

/// A certificate, which follows its files when it has some.
struct Tls {
    files: Option<Files>,
    config: RwLock<Arc<rustls::ServerConfig>>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    oldest: TlsVersion,
    looked: Mutex<(Instant, Stamp)>,
}

type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    fn load(certificate: PathBuf, key: PathBuf, oldest: TlsVersion) -> Result<Self, TlsError> {
        let stamp = stamp(&certificate, &key);
        let config = server_config(&certificate, &key, oldest)?;
        Ok(Self {
            files: Some(Files {
                certificate,
                key,
                oldest,
                looked: Mutex::new((Instant::now(), stamp)),
            }),
            config: RwLock::new(config),
        })
    }

    /// For a new connection.
    fn config(&self) -> Arc<rustls::ServerConfig> {
        if let Some(files) = &self.files
            && let Ok(mut looked) = files.looked.try_lock()
            && looked.0.elapsed() >= LOOK_EVERY
        {
            let now = stamp(&files.certificate, &files.key);
            if now != looked.1 {
                match server_config(&files.certificate, &files.key, files.oldest) {
                    Ok(config) => {
                        tracing::info!("the certificate of the API has changed and was read anew");
                        match self.config.write() {
                            Ok(mut old) => *old = config,
                            Err(poisoned) => *poisoned.into_inner() = config,
                        }
                    }
                    Err(error) => tracing::error!(
                        %error,
                        "the certificate of the API has changed, but cannot be used: the one before stays"
                    ),
                }
            }
            *looked = (Instant::now(), now);
        }
        match self.config.read() {
            Ok(config) => Arc::clone(&config),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        std::fs::metadata(path)
            .ok()
            .and_then(|m| Some((m.modified().ok()?, m.len())))
    })
}

fn server_config(
    certificate: &Path,
    key: &Path,
    oldest: TlsVersion,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let unreadable = |path: &Path, what: &'static str, why: String| TlsError::File {
        path: path.to_owned(),
        what,
        why,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificate, "PEM certificates", error.to_string()))?;
    if chain.is_empty() {
        let why = "there is none in it".to_owned();
        return Err(unreadable(certificate, "PEM certificates", why));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unreadable(key, "a PEM private key", error.to_string()))?;
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(versions)?
    .with_no_client_auth()
    .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop` is cancelled; requests that run are answered first.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    listening: Listening,
    stop: CancellationToken,
) {
    let turns = Arc::new(Semaphore::new(listening.max_connections));
    let listening = Arc::new(listening);
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let turn = Arc::clone(&turns).acquire_owned().await;
            (turn, listener.accept().await)
        };
        let (turn, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the API could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it began");
        }
        let (router, listening, stop) = (router.clone(), Arc::clone(&listening), stop.clone());
        connections.spawn(async move {
            let _turn = turn;
            match &listening.tls {
                None => connection(stream, from, router, &listening, stop).await,
                Some(tls) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
                    let handshake = acceptor.accept(stream);
                    match tokio::time::timeout(listening.header_timeout, handshake).await {
                        Ok(Ok(stream)) => connection(stream, from, router, &listening, stop).await,
                        Ok(Err(error)) => {
                            tracing::debug!(%from, %error, "a TLS handshake failed");
                        }
                        Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
                    }
                }
            }
        });
    }
    connections.close();
    // who does not read its answer must not keep the service from stopping
    if tokio::time::timeout(listening.request_timeout, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("some connections to the API did not end; they are cut");
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    router: Router,
    listening: &Listening,
    stop: CancellationToken,
) {
    let limit = listening.request_timeout;
    let stopping = Stopping(stop.clone());
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let router = router.clone();
        request.extensions_mut().insert(stopping.clone());
        async move {
            request.extensions_mut().insert(Peer(from.ip()));
            let answering = router.oneshot(request.map(axum::body::Body::new));
            match tokio::time::timeout(limit, answering).await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::warn!(%from, "a request took too long and was given up");
                    Ok(ApiFault::unrouted(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!(
                            "The request took longer than {} seconds and was given up. What it has begun may go on. See [api] request_timeout.",
                            limit.as_secs()
                        ),
                    )
                    .into_response())
                }
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(listening.header_timeout)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(listening.header_timeout)
        .keep_alive_timeout(listening.header_timeout);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, error, "a connection ended badly");
    }
}
