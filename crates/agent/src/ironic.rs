//! Client of the Bare Metal API: version discovery, look-up and heartbeat.
//!
//! Several URLs are tried in turn; the one that answered last stays the first choice. Specification: the Bare Metal
//! API's `/v1/lookup` and `/v1/heartbeat/{uuid}`.
//!
//! Must never put the token or the body of a look-up reply into an error or the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bessemer_wire::{HeartbeatBody, LookupReply};
use http::StatusCode;
use serde_json::Value;
use url::Url;

use crate::error::chain;
use crate::settings::Settings;

/// Spoken when the server does not say what it speaks.
const OLDEST: (u32, u32) = (1, 31);
/// Newest version whose look-up this agent knows.
const LOOKUP_VERSION: (u32, u32) = (1, 62);
/// Newest version whose heartbeat this agent knows.
const HEARTBEAT_VERSION: (u32, u32) = (1, 68);
/// Version that an inspection report is sent with.
const INSPECTION_VERSION: (u32, u32) = (1, 84);
/// From here on the heartbeat carries `agent_version`.
const WITH_AGENT_VERSION: (u32, u32) = (1, 36);
/// From here on the heartbeat carries `agent_token`.
const WITH_TOKEN: (u32, u32) = (1, 62);
/// Longest part of a server's answer that is repeated in an error.
const FAULT_CHARACTERS: usize = 300;
/// Bound on what a server may answer.
const MAX_REPLY: usize = 16 * 1024 * 1024;

/// Why a call to the Bare Metal API failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("no URL of the Bare Metal API is known; give the kernel parameter ipa-api-url")]
    NoUrl,
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} answered 409, the node is locked: {fault}")]
    Conflict { url: String, fault: String },
    #[error("{url} answered {status}: {fault}")]
    Refused {
        url: String,
        status: u16,
        fault: String,
    },
    #[error("{url} gave an answer that makes no sense: {why}")]
    Malformed { url: String, why: String },
}

/// The client.
pub struct ApiClient {
    http: reqwest::Client,
    urls: Vec<Url>,
    current: AtomicUsize,
    /// Version of the server behind `current`, once asked.
    version: Mutex<Option<(u32, u32)>>,
    fixed_version: Option<(u32, u32)>,
    request_id: Option<String>,
}

impl ApiClient {
    #[must_use]
    pub fn new(http: reqwest::Client, settings: &Settings) -> Self {
        Self {
            http,
            urls: settings.api_urls.clone(),
            current: AtomicUsize::new(0),
            version: Mutex::new(None),
            fixed_version: settings.api_version,
            request_id: settings.global_request_id.clone(),
        }
    }

    /// The URL in use.
    pub fn url(&self) -> Result<&Url, ApiError> {
        let index = self.current.load(Ordering::Relaxed);
        self.urls
            .get(index.checked_rem(self.urls.len()).unwrap_or(0))
            .ok_or(ApiError::NoUrl)
    }

    /// After a URL that could not be reached, the next one has its turn.
    fn fail_over(&self) {
        if self.urls.len() > 1 {
            self.current.fetch_add(1, Ordering::Relaxed);
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn join(&self, path: &str) -> Result<String, ApiError> {
        Ok(format!(
            "{}{path}",
            self.url()?.as_str().trim_end_matches('/')
        ))
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        url: &str,
    ) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let mut request = request.header(http::header::ACCEPT, "application/json");
        if let Some(id) = &self.request_id {
            request = request.header("X-Openstack-Request-Id", id);
        }
        let unreachable = |error: reqwest::Error| {
            self.fail_over();
            ApiError::Unreachable {
                url: url.to_owned(),
                why: chain(&error.without_url()),
            }
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(part.len()) > MAX_REPLY {
                return Err(ApiError::Malformed {
                    url: url.to_owned(),
                    why: format!("more than {MAX_REPLY} bytes"),
                });
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body))
    }

    /// Sends what inspection found: the inventory, and what went wrong on the way.
    ///
    /// # Errors
    /// Unreachable or unwilling server.
    pub async fn report(&self, url: &Url, report: &Value) -> Result<(), ApiError> {
        let request = self
            .http
            .post(url.clone())
            .header(VERSION_HEADER, show(INSPECTION_VERSION))
            .json(report);
        let (status, body) = self.send(request, url.as_str()).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(refusal(url.to_string(), status, &body))
    }

    /// What the server speaks at most; the oldest known version when it does not say.
    async fn server_version(&self) -> Result<(u32, u32), ApiError> {
        if let Some(version) = self.fixed_version {
            return Ok(version);
        }
        if let Some(version) = *self.version.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(version);
        }
        let url = self.join("/")?;
        let (status, body) = self.send(self.http.get(&url), &url).await?;
        match parse_default_version(&body).filter(|_| status.is_success()) {
            Some(version) => {
                *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
                Ok(version)
            }
            None => {
                tracing::warn!(
                    "{url} does not tell its version (status {status}), {}.{} is used",
                    OLDEST.0,
                    OLDEST.1
                );
                Ok(OLDEST)
            }
        }
    }

    /// Which node this is. `macs` are all addresses of the machine, lower case.
    pub async fn lookup(
        &self,
        macs: &[String],
        node_uuid: Option<uuid::Uuid>,
    ) -> Result<LookupReply, ApiError> {
        let version = self.server_version().await?.min(LOOKUP_VERSION);
        let url = self.join("/v1/lookup")?;
        let target = {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("addresses", &macs.join(","));
            if let Some(uuid) = node_uuid {
                query.append_pair("node_uuid", &uuid.to_string());
            }
            format!("{url}?{}", query.finish())
        };
        let request = self.http.get(target).header(VERSION_HEADER, show(version));
        let (status, body) = self.send(request, &url).await?;
        if status != StatusCode::OK {
            return Err(refusal(url, status, &body));
        }
        parse_lookup(&body).map_err(|why| ApiError::Malformed { url, why })
    }

    /// Tells the conductor that the agent lives.
    pub async fn heartbeat(
        &self,
        node: uuid::Uuid,
        mut body: HeartbeatBody,
    ) -> Result<(), ApiError> {
        let version = self.server_version().await?.min(HEARTBEAT_VERSION);
        if version < WITH_AGENT_VERSION {
            body.agent_version = None;
        }
        if version < WITH_TOKEN {
            body.agent_token = None;
        }
        if version < HEARTBEAT_VERSION {
            body.agent_verify_ca = None;
        }
        let url = self.join(&format!("/v1/heartbeat/{node}"))?;
        let request = self
            .http
            .post(&url)
            .header(VERSION_HEADER, show(version))
            .json(&body);
        let (status, reply) = self.send(request, &url).await?;
        if status == StatusCode::ACCEPTED {
            Ok(())
        } else {
            if status == StatusCode::NOT_ACCEPTABLE {
                // a server of another version may have taken over
                *self.version.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            Err(refusal(url, status, &reply))
        }
    }
}

const VERSION_HEADER: &str = "X-OpenStack-Ironic-API-Version";

fn show(version: (u32, u32)) -> String {
    format!("{}.{}", version.0, version.1)
}

fn refusal(url: String, status: StatusCode, body: &[u8]) -> ApiError {
    let fault = fault_text(body);
    if status == StatusCode::CONFLICT {
        ApiError::Conflict { url, fault }
    } else {
        ApiError::Refused {
            url,
            status: status.as_u16(),
            fault,
        }
    }
}

fn parse_default_version(body: &[u8]) -> Option<(u32, u32)> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = document.get("default_version")?.get("version")?.as_str()?;
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn parse_lookup(body: &[u8]) -> Result<LookupReply, String> {
    // the error of serde quotes values; a token must not get out that way
    serde_json::from_slice(body).map_err(|e| {
        format!(
            "not a look-up reply ({:?} problem at line {}, column {})",
            e.classify(),
            e.line(),
            e.column()
        )
    })
}

/// The sentence inside a fault body: `{"error_message": {"faultstring": …}}`, where the inner part may be text.
fn fault_text(body: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let inner = document
        .as_ref()
        .map(|d| d.get("error_message").unwrap_or(d));
    let parsed_inner: Option<Value> = inner
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok());
    let sentence = parsed_inner
        .as_ref()
        .or(inner)
        .and_then(|d| d.get("faultstring").or(Some(d)))
        .and_then(Value::as_str)
        .map_or_else(
            || String::from_utf8_lossy(body).trim().to_owned(),
            str::to_owned,
        );
    sentence
        .chars()
        .filter(|c| !c.is_control())
        .take(FAULT_CHARACTERS)
        .collect()
}

/// Fuzz target: everything that the API answers.
pub fn fuzz_replies(data: &[u8]) {
    let _ = parse_default_version(data);
    let _ = parse_lookup(data);
    let _ = fault_text(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn faults() {
        for (body, expected) in [
            (
                r#"{"error_message": {"faultstring": "Node is locked"}}"#,
                "Node is locked",
            ),
            (
                r#"{"error_message": "{\"faultstring\": \"no\", \"faultcode\": \"Client\"}"}"#,
                "no",
            ),
            (r#"{"error_message": "plain"}"#, "plain"),
            (r#"{"faultstring": "bare"}"#, "bare"),
            ("Bad gateway\n", "Bad gateway"),
            ("", ""),
        ] {
            assert_eq!(fault_text(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn versions() {
        for (body, expected) in [
            (
                r#"{"default_version": {"id": "v1", "version": "1.115"}}"#,
                Some((1, 115)),
            ),
            (r#"{"default_version": {"id": "v1"}}"#, None),
            ("", None),
        ] {
            assert_eq!(parse_default_version(body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_bad_reply_shows_no_value() {
        let error = parse_lookup(br#"{"node": {"uuid": "secret-token"}, "config": {}}"#)
            .err()
            .unwrap();
        assert!(!error.contains("secret"), "{error}");
    }
}
