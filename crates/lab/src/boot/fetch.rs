//! HTTP and TFTP fetches of one boot, from the host's own address, with lost attempts repeated.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use url::Url;

use super::tftp;
use crate::fault::Fault;
use crate::host::Host;

/// Bytes of a script that are kept.
const MAX_SCRIPT: usize = 1 << 20;
/// Attempts of one fetch; more than one only because attempts are lost.
const ATTEMPTS: usize = 6;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} answers {status}")]
    Refused { path: String, status: u16 },
    #[error("{path} cannot be reached: {why}")]
    Unreachable { path: String, why: String },
    #[error("{path} is longer than {MAX_SCRIPT} bytes")]
    TooLarge { path: String },
    #[error("{0} URLs are not fetched")]
    Scheme(String),
}

/// The HTTP client of one boot. It ends with the boot, and its connections with it.
#[derive(Clone)]
pub struct Fetcher {
    pub client: reqwest::Client,
}

/// A client that asks from `address` when the servers are on this computer, without proxies.
///
/// # Errors
/// A sentence.
pub fn http_client(host: &Host, address: IpAddr) -> Result<reqwest::Client, String> {
    let tls = crate::tls::client_config().map_err(|error| error.to_string())?;
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(1);
    if host.settings.dhcp.ip().is_loopback() && address.is_loopback() {
        builder = builder.local_address(address);
    }
    builder.build().map_err(sentence)
}

/// An error and its causes on one line, without the URL, whose query may hold a signature.
pub fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Pauses before the next attempt and says whether there is one; `true` means that this attempt is lost.
pub async fn lost(host: &Host) -> bool {
    let lost = host.has(Fault::NoNetwork) || host.chances.http.chance(host.settings.loss);
    if lost {
        pause(host).await;
    }
    lost
}

async fn pause(host: &Host) {
    let time = host
        .settings
        .patience(Duration::from_secs(1), Duration::from_millis(50));
    tokio::time::sleep(time).await;
}

impl Fetcher {
    /// Where a URL is really fetched: servers that are not on this computer have a stand-in.
    fn locate(&self, host: &Host, url: &Url) -> Url {
        let local = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let stand_in = host
            .settings
            .http
            .as_deref()
            .filter(|_| !local)
            .and_then(|base| Url::parse(base).ok());
        let Some(stand_in) = stand_in else {
            return url.clone();
        };
        let mut moved = stand_in;
        moved.set_path(url.path());
        moved.set_query(url.query());
        moved
    }

    /// Fetches a file for firmware. With `keep` its contents are given, at most 1 MiB; otherwise they are counted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(
        &self,
        host: &Host,
        boot: u64,
        url: &Url,
        keep: bool,
    ) -> Result<Vec<u8>, Error> {
        match url.scheme() {
            "http" | "https" => self.http(host, boot, url, keep).await,
            "tftp" => {
                let server = match url.host() {
                    Some(url::Host::Ipv4(ip)) => SocketAddr::from((ip, url.port().unwrap_or(69))),
                    _ => return Err(Error::Scheme("TFTP by name".to_owned())),
                };
                let file = url.path().trim_start_matches('/');
                match self.tftp(host, boot, server, file).await {
                    Ok(()) if keep => Err(Error::Scheme("scripts from tftp".to_owned())),
                    Ok(()) => Ok(Vec::new()),
                    Err(error) => Err(Error::Unreachable {
                        path: file.to_owned(),
                        why: error.to_string(),
                    }),
                }
            }
            other => Err(Error::Scheme(other.to_owned())),
        }
    }

    /// Reads a file by TFTP and logs it.
    ///
    /// # Errors
    /// See [`tftp::Error`].
    pub async fn tftp(
        &self,
        host: &Host,
        boot: u64,
        server: SocketAddr,
        file: &str,
    ) -> Result<(), tftp::Error> {
        let server = host.settings.tftp.unwrap_or(server);
        let patience = host
            .settings
            .patience(Duration::from_secs(1), Duration::from_millis(150));
        let loss = if host.has(Fault::NoNetwork) {
            1.0
        } else {
            host.settings.loss
        };
        let outcome = tftp::read(
            host.facts.address,
            server,
            file,
            patience,
            (loss, &host.chances.tftp),
        )
        .await;
        let (bytes, error) = match &outcome {
            Ok(bytes) => (Some(*bytes), None),
            Err(error) => (None, Some(error.to_string())),
        };
        host.log_live(
            boot,
            "tftp",
            json!({"file": file, "bytes": bytes, "error": error}),
        );
        outcome.map(|_| ())
    }

    /// A part of a file, as a BMC reads what is in its virtual drive; shorter only at the end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn part(
        &self,
        host: &Host,
        url: &Url,
        first: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, Error> {
        let last = first.saturating_add(bytes as u64).saturating_sub(1);
        let mut kept = Vec::new();
        self.range(host, url, first, last, |part| {
            let left = bytes.saturating_sub(kept.len());
            kept.extend(part.iter().take(left));
        })
        .await?;
        Ok(kept)
    }

    /// Reads a part and keeps nothing of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn count(&self, host: &Host, url: &Url, first: u64, end: u64) -> Result<(), Error> {
        let mut seen = 0;
        if end > first {
            self.range(host, url, first, end - 1, |part| seen += part.len() as u64)
                .await?;
        }
        if seen < end.saturating_sub(first) {
            return Err(Error::Unreachable {
                path: "the image".to_owned(),
                why: "it is shorter than its files".to_owned(),
            });
        }
        Ok(())
    }

    async fn range(
        &self,
        host: &Host,
        url: &Url,
        first: u64,
        last: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        // the address of an image is a secret
        let path = "the image".to_owned();
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            path: path.clone(),
            why: sentence(error),
        };
        let place = self.locate(host, url);
        let response = self
            .client
            .get(place)
            .header(http::header::RANGE, format!("bytes={first}-{last}"))
            .send()
            .await
            .map_err(unreachable)?;
        if response.status() != http::StatusCode::PARTIAL_CONTENT {
            return Err(Error::Refused {
                path,
                status: response.status().as_u16(),
            });
        }
        let mut stream = response.bytes_stream();
        while let Some(part) = stream.next().await {
            take(&part.map_err(unreachable)?);
        }
        Ok(())
    }

    async fn http(&self, host: &Host, boot: u64, url: &Url, keep: bool) -> Result<Vec<u8>, Error> {
        let place = self.locate(host, url);
        let path = url.path().to_owned();
        let mut why = "every attempt was lost".to_owned();
        for _ in 0..ATTEMPTS {
            if lost(host).await {
                continue;
            }
            match self.attempt(&place, &path, keep).await {
                Ok((bytes, body)) => {
                    host.log_live(
                        boot,
                        "http_get",
                        json!({"path": path, "status": 200, "bytes": bytes}),
                    );
                    return Ok(body);
                }
                Err(Error::Unreachable { why: cause, .. }) if host.settings.loss > 0.0 => {
                    why = cause;
                    pause(host).await;
                }
                Err(error) => {
                    let status = match &error {
                        Error::Refused { status, .. } => Some(*status),
                        _ => None,
                    };
                    let text = error.to_string();
                    host.log_live(
                        boot,
                        "http_get",
                        json!({"path": path, "status": status, "error": text}),
                    );
                    return Err(error);
                }
            }
        }
        host.log_live(
            boot,
            "http_get",
            json!({"path": path, "status": null, "error": why}),
        );
        Err(Error::Unreachable { path, why })
    }

    async fn attempt(&self, place: &Url, path: &str, keep: bool) -> Result<(u64, Vec<u8>), Error> {
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            path: path.to_owned(),
            why: sentence(error),
        };
        let response = self
            .client
            .get(place.clone())
            .send()
            .await
            .map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(Error::Refused {
                path: path.to_owned(),
                status: response.status().as_u16(),
            });
        }
        let mut body = Vec::new();
        let mut bytes: u64 = 0;
        let mut stream = response.bytes_stream();
        while let Some(part) = stream.next().await {
            let part = part.map_err(unreachable)?;
            bytes = bytes.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            if keep {
                if body.len().saturating_add(part.len()) > MAX_SCRIPT {
                    return Err(Error::TooLarge {
                        path: path.to_owned(),
                    });
                }
                body.extend_from_slice(&part);
            }
        }
        Ok((bytes, body))
    }
}
