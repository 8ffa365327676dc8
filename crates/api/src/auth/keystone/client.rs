//! Requests to Keystone.

use std::sync::Arc;
use std::time::Duration;

use bessemer_config::KeystoneAuthtoken;
use http::StatusCode;
use http::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore};

use super::settings::{self, SettingsError};
use super::token::{Answer, Token, expires};

/// Answers of Keystone are small (a catalogue is not asked for); a bigger one is not read.
const MAX_ANSWER: usize = 1024 * 1024;
/// Validations at once: whoever sends made-up tokens must not reach Keystone faster than that.
const AT_ONCE: usize = 32;
/// The service's own token is renewed so long before it ends.
const MARGIN: time::Duration = time::Duration::seconds(60);

/// Why a token is not validated.
#[derive(Debug)]
pub enum Failed {
    Invalid,
    /// Keystone cannot be reached, or does not let us ask; in words, without secrets.
    Unavailable(String),
}

pub struct Client {
    http: reqwest::Client,
    /// `auth_url` with `/v3`.
    base: String,
    credentials: serde_json::Value,
    own: Mutex<Option<Own>>,
    turns: Arc<Semaphore>,
    retries: u32,
    interface: String,
    region: Option<String>,
}

/// The service's own token.
#[derive(Clone)]
struct Own {
    token: SecretString,
    expires: OffsetDateTime,
    /// Where tokens are validated: the identity endpoint of the catalogue, else where we authenticate.
    base: String,
}

#[derive(Deserialize)]
struct OwnAnswer {
    token: OwnToken,
}

#[derive(Deserialize)]
struct OwnToken {
    expires_at: String,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Client {
    /// # Errors
    /// Names the option that is missing or cannot be used.
    pub fn new(config: &KeystoneAuthtoken) -> Result<Self, SettingsError> {
        let base = settings::base(config)?;
        let credentials = settings::credentials(config)?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _installed_by_other = rustls::crypto::ring::default_provider()
                .install_default()
                .is_err();
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.http_connect_timeout)
            .timeout(config.http_connect_timeout.saturating_mul(2))
            .tls_danger_accept_invalid_certs(config.insecure);
        let read = |what: &str, path: &std::path::Path| {
            std::fs::read(path).map_err(|error| {
                SettingsError(format!("{what} {} cannot be read: {error}", path.display()))
            })
        };
        if let Some(path) = &config.cafile {
            let pem = read("cafile", path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| format!("cafile {} holds no PEM certificates", path.display()))
                .map_err(SettingsError)?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(path) = &config.certfile {
            let mut pem = read("certfile", path)?;
            if let Some(key) = &config.keyfile {
                pem.push(b'\n');
                pem.extend(read("keyfile", key)?);
            }
            let identity = reqwest::Identity::from_pem(&pem).map_err(|_| {
                SettingsError(
                    "certfile and keyfile do not hold a certificate with its key in PEM".into(),
                )
            })?;
            builder = builder.identity(identity);
        }
        let http = builder
            .build()
            .map_err(|error| SettingsError(format!("no HTTP client can be made: {error}")))?;
        Ok(Self {
            http,
            base,
            credentials,
            own: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            retries: config.http_request_max_retries,
            interface: config.interface.clone(),
            region: config.region_name.clone(),
        })
    }

    /// Where clients authenticate, as far as we know.
    pub fn auth_url(&self) -> &str {
        &self.base
    }

    /// Asks Keystone whose token this is.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn validate(&self, text: &str, allow_expired: bool) -> Result<Token, Failed> {
        let Ok(mut subject) = HeaderValue::from_str(text) else {
            return Err(Failed::Invalid);
        };
        subject.set_sensitive(true);
        let _turn = Arc::clone(&self.turns).acquire_owned().await;
        let mut renewed = false;
        loop {
            let own = self.own(renewed).await?;
            let mut url = format!("{}/auth/tokens?nocatalog", own.base);
            if allow_expired {
                url.push_str("&allow_expired=1");
            }
            let mut mine = HeaderValue::from_str(own.token.expose_secret())
                .map_err(|_| Failed::Unavailable("Keystone's token is no header".into()))?;
            mine.set_sensitive(true);
            let request = || {
                self.http
                    .get(&url)
                    .header("x-auth-token", mine.clone())
                    .header("x-subject-token", subject.clone())
                    // Keystone gives out tokens with access rules only to who says that it checks them
                    .header("openstack-identity-access-rules", "1.0")
            };
            let (status, body, _) = self.send("validating a token", request).await?;
            return match status {
                StatusCode::OK => serde_json::from_slice::<Answer>(&body)
                    .map(|answer| answer.token)
                    .map_err(|error| {
                        Failed::Unavailable(format!(
                            "Keystone's answer at {} is no token: {error}",
                            own.base
                        ))
                    }),
                StatusCode::NOT_FOUND => Err(Failed::Invalid),
                // our own token may have been revoked, or Keystone's keys rotated away
                StatusCode::UNAUTHORIZED if !renewed => {
                    renewed = true;
                    continue;
                }
                other => Err(Failed::Unavailable(format!(
                    "Keystone at {} answers {other} to validating a token; the user of [keystone_authtoken] needs a role that may validate tokens",
                    own.base
                ))),
            };
        }
    }

    /// The service's own token; got anew when it is about to end, or does not work any longer.
    async fn own(&self, renew: bool) -> Result<Own, Failed> {
        let mut own = self.own.lock().await;
        if let Some(own) = own.as_ref()
            && !renew
            && own.expires.saturating_sub(MARGIN) > OffsetDateTime::now_utc()
        {
            return Ok(own.clone());
        }
        *own = None;
        let url = format!("{}/auth/tokens", self.base);
        let request = || self.http.post(&url).json(&self.credentials);
        let (status, body, token) = self
            .send("getting the service's own token", request)
            .await?;
        if status != StatusCode::CREATED {
            return Err(Failed::Unavailable(format!(
                "Keystone at {} answers {status} to the service's own credentials; check user, password, project and domains in [keystone_authtoken]",
                self.base
            )));
        }
        let unreadable = |why: &str| {
            Failed::Unavailable(format!(
                "Keystone's answer at {} to the service's own credentials {why}",
                self.base
            ))
        };
        let answer: OwnAnswer =
            serde_json::from_slice(&body).map_err(|_| unreadable("cannot be read"))?;
        let token = token.ok_or_else(|| unreadable("has no X-Subject-Token"))?;
        let expires = expires(&answer.token.expires_at)
            .ok_or_else(|| unreadable("has an expires_at that is no time"))?;
        let fresh = Own {
            token: SecretString::from(token),
            expires,
            base: self
                .identity(&answer.token.catalog)
                .unwrap_or_else(|| self.base.clone()),
        };
        *own = Some(fresh.clone());
        Ok(fresh)
    }

    /// Keystone's own endpoint in its catalogue, of the configured interface and region.
    fn identity(&self, catalog: &[Service]) -> Option<String> {
        catalog
            .iter()
            .filter(|service| service.kind == "identity")
            .flat_map(|service| &service.endpoints)
            .find(|endpoint| {
                endpoint.interface == self.interface
                    && (self.region.is_none() || endpoint.region_id == self.region)
            })
            .and_then(|endpoint| settings::versioned(&endpoint.url))
    }

    /// Sends, and again when no answer comes; the status, the body, and `X-Subject-Token`.
    async fn send(
        &self,
        what: &str,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>, Option<String>), Failed> {
        let mut tries = 0u32;
        loop {
            match answer(request()).await {
                Ok((status, ..)) if status.is_server_error() && tries < self.retries => {}
                Ok(answer) => return Ok(answer),
                Err(why) if tries >= self.retries => {
                    return Err(Failed::Unavailable(format!(
                        "{what}: Keystone at {} does not answer: {why}",
                        self.base
                    )));
                }
                Err(_) => {}
            }
            // 0.1, 0.2, 0.4 … seconds: what restarts is back soon, and the client waits for us
            let pause = Duration::from_millis(100).saturating_mul(1 << tries.min(4));
            tokio::time::sleep(pause).await;
            tries = tries.saturating_add(1);
        }
    }
}

async fn answer(
    request: reqwest::RequestBuilder,
) -> Result<(StatusCode, Vec<u8>, Option<String>), String> {
    // the URL carries no secret, but sentences are shorter without it
    let plain = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.send().await.map_err(plain)?;
    let status = response.status();
    let token = response
        .headers()
        .get("x-subject-token")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(plain)? {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(format!("its answer is larger than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body, token))
}
