//! Calls to a node's agent (`/v1/commands`, `/v1/status`).
//!
//! An agent is trusted by its exact certificate: the one it sent in its heartbeat, byte for byte. No chain
//! is built and no name is checked, only the handshake's signature. So upstream's agent, whose certificate is
//! signed with an algorithm that the TLS library's own verifier does not know, works like ours.

use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{Class, Fault, FaultKind, Node, Object};
use bessemer_wire::{AGENT_TOKEN_QUERY, CommandRequest, CommandResult, Commands};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;

/// Replies of an agent are small; a bigger one is not read.
const MAX_REPLY: usize = 8 * 1024 * 1024;

/// A client for one agent.
pub struct AgentClient {
    http: reqwest::Client,
    url: String,
    token: String,
    label: String,
}

#[derive(Deserialize)]
struct Status {
    /// Text from ours, a number from upstream's.
    #[serde(default)]
    started_at: serde_json::Value,
}

impl AgentClient {
    /// From what the node's heartbeats left in `driver_internal_info`. Without `verify` any certificate
    /// is accepted (`[agent] verify_ca = false`).
    ///
    /// # Errors
    /// When there was no heartbeat yet, or its certificate cannot be read.
    pub fn new(node: &Node, timeout: Duration, verify: bool) -> Result<Self, Fault> {
        let text = |key: &str| {
            node.driver_internal_info
                .get(key)
                .and_then(|v| v.as_str())
                .map(str::to_owned)
        };
        let label = node.label();
        let url = text("agent_url").ok_or_else(|| {
            Fault::hardware(
                Class::RetryLater,
                format!("The agent of node {label} has not called yet; see the node's console."),
            )
        })?;
        let token = text("agent_secret_token").unwrap_or_default();
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(Duration::from_secs(10))
            .no_proxy();
        if !verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        } else if let Some(pem) = text("agent_verify_ca") {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| {
                Fault::hardware(
                    Class::Never,
                    format!(
                        "The certificate that the agent of node {label} sent cannot be read: {e}."
                    ),
                )
            })?;
            builder = builder.tls_backend_preconfigured(pinned(certificate)?);
        }
        let http = builder.build().map_err(|e| {
            Fault::internal(format!(
                "no HTTP client for the agent of node {label}: {}",
                plain(&e)
            ))
        })?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            token,
            label,
        })
    }

    /// Changes with every start of the agent.
    ///
    /// # Errors
    /// Unreachable or unreadable agent.
    pub async fn started_at(&self) -> Result<String, Fault> {
        let status: Status = self
            .send(
                self.http.get(format!("{}/v1/status", self.url)),
                "its status",
            )
            .await?;
        Ok(status.started_at.to_string())
    }

    /// Every command that this agent has been given.
    ///
    /// # Errors
    /// As above.
    pub async fn commands(&self) -> Result<Vec<CommandResult>, Fault> {
        let request = self.http.get(self.commands_url(&[])?);
        let commands: Commands = self.send(request, "its commands").await?;
        Ok(commands.commands)
    }

    /// Starts a command; `wait` for those that end at once.
    ///
    /// # Errors
    /// As above, and the agent's own refusal (busy: class `RetryLater`).
    pub async fn command(
        &self,
        name: &str,
        params: Object,
        wait: bool,
    ) -> Result<CommandResult, Fault> {
        let body = CommandRequest {
            name: name.to_owned(),
            params,
        };
        let url = self.commands_url(&[("wait", if wait { "true" } else { "false" })])?;
        let request = self.http.post(url).json(&body);
        self.send(request, name).await
    }

    /// Whether its host says that nothing listens there (any more); what does not answer at all may come back.
    pub async fn is_gone(&self) -> bool {
        let connect = self
            .http
            .get(format!("{}/v1/status", self.url))
            .send()
            .await;
        let Err(error) = connect else {
            return false;
        };
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// With the token as a query argument, as upstream's agent wants it.
    fn commands_url(&self, query: &[(&str, &str)]) -> Result<url::Url, Fault> {
        let all = query
            .iter()
            .copied()
            .chain([(AGENT_TOKEN_QUERY, self.token.as_str())]);
        url::Url::parse_with_params(&format!("{}/v1/commands/", self.url), all).map_err(|e| {
            Fault::hardware(
                Class::Never,
                format!(
                    "The agent of node {} gave an address that cannot be used: {e}.",
                    self.label
                ),
            )
        })
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        what: &str,
    ) -> Result<T, Fault> {
        let away = |e: &reqwest::Error| {
            Fault::hardware(
                Class::RetryLater,
                format!(
                    "The agent of node {} at {} did not answer when asked for {what}: {}; see the node's console.",
                    self.label,
                    self.url,
                    plain(e)
                ),
            )
        };
        #[cfg(test)]
        let request = match crate::proving::ask_agent(request) {
            crate::proving::Asked::Answer(value) => {
                return serde_json::from_value(value).map_err(|e| Fault::internal(e.to_string()));
            }
            crate::proving::Asked::Elsewhere(request) => request,
        };
        let response = request.send().await.map_err(|e| away(&e))?;
        let status = response.status();
        let mut body = Vec::new();
        let mut response = response;
        while let Some(chunk) = response.chunk().await.map_err(|e| away(&e))? {
            if body.len() + chunk.len() > MAX_REPLY {
                return Err(Fault::hardware(
                    Class::Never,
                    format!(
                        "The agent of node {} answered with more than {MAX_REPLY} bytes when asked for {what}.",
                        self.label
                    ),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = fault_string(&body);
            let class = if status.is_server_error() || status.as_u16() == 409 {
                Class::RetryLater
            } else {
                Class::Never
            };
            return Err(Fault::new(
                FaultKind::Hardware,
                class,
                format!(
                    "The agent of node {} answered {} when asked for {what}: {text}",
                    self.label,
                    status.as_u16()
                ),
            ));
        }
        serde_json::from_slice(&body).map_err(|e| {
            Fault::hardware(
                Class::Never,
                format!(
                    "The agent of node {} gave an answer to {what} that cannot be read: {e}",
                    self.label
                ),
            )
        })
    }
}

/// `faultstring` of an error body, else its beginning.
fn fault_string(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|v| {
            v.get("faultstring")
                .or_else(|| v.get("message"))
                .and_then(|s| s.as_str())
                .map(str::to_owned)
        })
        .unwrap_or_else(|| {
            String::from_utf8_lossy(body.get(..200.min(body.len())).unwrap_or_default())
                .into_owned()
        })
}

/// The innermost cause without the URL, whose query holds the token.
fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error) {
        error_kind(error).to_owned()
    } else {
        cause.to_string()
    }
}

fn error_kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// A client that talks only to who shows exactly this certificate (PEM).
///
/// # Errors
/// When the certificate cannot be read.
pub fn pinned_client(pem: &str, timeout: Duration) -> Result<reqwest::Client, Fault> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| Fault::internal(format!("a certificate cannot be read: {e}")))?;
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(Duration::from_secs(3))
        .no_proxy()
        .tls_backend_preconfigured(pinned(certificate)?)
        .build()
        .map_err(|e| Fault::internal(format!("no HTTP client: {}", plain(&e))))
}

fn pinned(certificate: CertificateDer<'static>) -> Result<rustls::ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Pinned {
        certificate,
        provider: Arc::clone(&provider),
    });
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::internal(format!("TLS: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity == &self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "this is not the certificate that was announced".into(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
