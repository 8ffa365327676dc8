//! Webhooks, signed as Standard Webhooks has it (<https://www.standardwebhooks.com>, version 1.0.0).
//!
//! Headers: `webhook-id`, the same in every attempt; `webhook-timestamp`, seconds since 1970, of the attempt;
//! `webhook-signature`, `v1,` and the base64 of HMAC-SHA256 over id, timestamp and body with dots between, one for each secret.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bessemer_model::Timestamp;
use bessemer_store::Message;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use url::Url;

use crate::envelope::body;
use crate::{BUDGET, Receiver, Undelivered};

/// A receiver that takes longer to answer is away: another process might send meanwhile.
const LONGEST: Duration = Duration::from_secs(30);

/// Why webhooks cannot be sent; names no secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("{0}")]
    Url(String),
    #[error("{0}")]
    Secret(String),
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// The secrets that webhooks are signed with.
pub struct Secrets(Vec<SecretSlice<u8>>);

impl Secrets {
    /// `whsec_…`, several separated by commas.
    ///
    /// # Errors
    /// For what is no such secret.
    pub fn parse(text: &SecretString) -> Result<Self, WebhookError> {
        let keys = text
            .expose_secret()
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(|one| {
                let encoded = one.strip_prefix("whsec_").ok_or_else(|| {
                    WebhookError::Secret("a secret of webhooks begins with whsec_".into())
                })?;
                let key = STANDARD.decode(encoded).map_err(|_| {
                    WebhookError::Secret(
                        "what follows whsec_ in a secret of webhooks is base64".into(),
                    )
                })?;
                if !(24..=64).contains(&key.len()) {
                    return Err(WebhookError::Secret(format!(
                        "a secret of webhooks is 24 to 64 bytes long, not {}",
                        key.len()
                    )));
                }
                Ok(SecretSlice::from(key))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(WebhookError::Secret(
                "there is no secret for webhooks".into(),
            ));
        }
        Ok(Self(keys))
    }

    /// The header's value.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let one = |key: &SecretSlice<u8>| {
            // any length of key is right for HMAC
            let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            Some(format!(
                "v1,{}",
                STANDARD.encode(mac.finalize().into_bytes())
            ))
        };
        self.0.iter().filter_map(one).collect::<Vec<_>>().join(" ")
    }
}

/// One URL that is posted to.
pub struct Webhook {
    url: Url,
    name: String,
    client: reqwest::Client,
    secrets: std::sync::Arc<Secrets>,
    attempts: u32,
}

/// The name in the outbox: the URL without what may be secret.
///
/// # Errors
/// For what is no URL of a web server, and one with a password in it.
pub fn name(url: &str) -> Result<(Url, String), WebhookError> {
    let parsed = Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            WebhookError::Url(
                "the URL of a webhook begins with http:// or https:// and a host".into(),
            )
        })?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(WebhookError::Url(
            "the URL of a webhook holds no user and no password: it is shown, and the signature tells the receiver who sends"
                .into(),
        ));
    }
    let mut shown = parsed.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let name = format!("webhook {shown}");
    Ok((parsed, name))
}

impl Webhook {
    /// `tls`: what receivers' certificates are checked by.
    ///
    /// # Errors
    /// See [`name`].
    pub fn new(
        url: &str,
        secrets: std::sync::Arc<Secrets>,
        timeout: Duration,
        attempts: u32,
        tls: rustls::ClientConfig,
    ) -> Result<Self, WebhookError> {
        let (url, name) = name(url)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(timeout.min(LONGEST))
            // a receiver elsewhere must be named by the operator
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| WebhookError::Client(error.to_string()))?;
        Ok(Self {
            url,
            name,
            client,
            secrets,
            attempts,
        })
    }

    async fn post(&self, message: &Message) -> Result<(), Undelivered> {
        let body = body(message).to_string();
        let now = Timestamp::now().0.div_euclid(1_000_000);
        let signature = self.secrets.sign(&message.message_id, now, body.as_bytes());
        let answer = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.message_id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await
            .map_err(|error| {
                let away = error.is_connect();
                // without the URL, whose query may be secret
                let text = text(&error.without_url());
                // nobody has seen this message, so there is nothing against it
                if away {
                    Undelivered::Away(text)
                } else {
                    Undelivered::Refused(text)
                }
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = format!("answered {status}");
        // busy is no refusal of this message
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            return Err(Undelivered::Away(text));
        }
        Err(Undelivered::Refused(text))
    }
}

/// An error with what caused it.
fn text(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        next = cause.source();
    }
    out
}

#[async_trait]
impl Receiver for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempts(&self) -> u32 {
        self.attempts
    }

    async fn deliver(&self, messages: &[Message]) -> (usize, Option<Undelivered>) {
        let begin = Instant::now();
        for (done, message) in messages.iter().enumerate() {
            if begin.elapsed() >= BUDGET {
                return (done, None);
            }
            if let Err(why) = self.post(message).await {
                return (done, Some(why));
            }
        }
        (messages.len(), None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the specification.
    #[test]
    fn signature_of_the_specification() {
        let secrets = Secrets::parse(&SecretString::from("whsec_plJ3nmyCDGBKInavdOK15jsl")).err();
        assert!(secrets.is_some(), "18 bytes are too few");
        let secrets = Secrets::parse(&SecretString::from(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ))
        .unwrap();
        assert_eq!(
            secrets.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn every_secret_signs() {
        let two = Secrets::parse(&SecretString::from(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ))
        .unwrap();
        let signed = two.sign("a", 1, b"b");
        assert_eq!(signed.split(' ').count(), 2, "{signed}");
    }

    #[test]
    fn urls() {
        let check = |url: &str, want: Option<&str>| {
            assert_eq!(
                name(url).ok().map(|(_, name)| name).as_deref(),
                want,
                "{url}"
            );
        };
        check(
            "https://a.example/b?token=hunter2#x",
            Some("webhook https://a.example/b"),
        );
        check(
            "http://127.0.0.1:8080",
            Some("webhook http://127.0.0.1:8080/"),
        );
        check("ftp://a.example/", None);
        check("a.example", None);
        check("https://u:p@a.example/", None);
    }
}
