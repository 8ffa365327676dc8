//! Whom to trust, and one HTTP transport for every distinct answer to that question.
//!
//! BMCs show certificates that they made themselves. Besides authorities there is therefore trust in an exact certificate: one
//! that stands in the file of authorities, or whose fingerprint is given. Then no chain is built and no name is checked; the
//! handshake's signature always is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::Digest;

/// Which certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Trust {
    /// Those of the system's authorities.
    #[default]
    System,
    /// Those of the authorities in a PEM file, or in the files of a directory; and exactly those that stand in it themselves.
    Authorities(PathBuf),
    /// One, by the SHA-256 of its DER form.
    Fingerprint([u8; 32]),
    /// All.
    Anyone,
}

/// Oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum TlsVersion {
    #[default]
    V12,
    V13,
}

/// How a BMC is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsPolicy {
    pub trust: Trust,
    pub oldest: TlsVersion,
    /// Names of [`CIPHER_SUITES`]; empty: all.
    pub ciphers: Vec<&'static str>,
}

/// OpenSSL's names of the suites that there are.
pub const CIPHER_SUITES: [(&str, rustls::CipherSuite); 9] = [
    (
        "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

impl TlsPolicy {
    /// A list as OpenSSL writes it (`A:B:C`).
    ///
    /// # Errors
    /// Names the part that is no suite of ours.
    pub fn ciphers(list: &str) -> Result<Vec<&'static str>, String> {
        list.split([':', ',', ' '])
            .filter(|name| !name.is_empty())
            .map(|name| {
                CIPHER_SUITES
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(known, _)| *known)
                    .ok_or_else(|| {
                        format!(
                            "{name} is none of the cipher suites that there are: {}",
                            CIPHER_SUITES.map(|(known, _)| known).join(", ")
                        )
                    })
            })
            .collect()
    }
}

/// Times of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    connect: Duration,
    idle: Duration,
}

/// By policy, and by when its file of authorities was changed.
type Made = HashMap<(TlsPolicy, Option<SystemTime>), reqwest::Client>;

/// The HTTP transports of a process: one for every policy, shared by all clients.
#[derive(Clone)]
pub struct Transports {
    made: Arc<Mutex<Made>>,
    limits: Limits,
}

impl Transports {
    /// `connect`: how long a connection may take; `idle`: how long an unused one is kept.
    #[must_use]
    pub fn new(connect: Duration, idle: Duration) -> Self {
        Self {
            made: Arc::default(),
            limits: Limits { connect, idle },
        }
    }

    /// The transport of a policy. A file of authorities that was changed makes a new one.
    ///
    /// # Errors
    /// In words, what is wrong with the file.
    pub fn get(&self, policy: &TlsPolicy) -> Result<reqwest::Client, String> {
        let changed = match &policy.trust {
            Trust::Authorities(path) => std::fs::metadata(path).and_then(|m| m.modified()).ok(),
            _ => None,
        };
        let key = (policy.clone(), changed);
        if let Some(found) = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(found.clone());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config(policy)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.limits.connect)
            .pool_idle_timeout(self.limits.idle)
            .pool_max_idle_per_host(2)
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .build()
            .map_err(|e| e.without_url().to_string())?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(known, _), _| *known != key.0);
        made.insert(key, client.clone());
        Ok(client)
    }
}

fn config(policy: &TlsPolicy) -> Result<rustls::ClientConfig, String> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !policy.ciphers.is_empty() {
        let wanted: Vec<rustls::CipherSuite> = CIPHER_SUITES
            .iter()
            .filter(|(name, _)| policy.ciphers.contains(name))
            .map(|(_, suite)| *suite)
            .collect();
        provider
            .cipher_suites
            .retain(|s| wanted.contains(&s.suite()));
    }
    let provider = Arc::new(provider);
    let versions: &[&rustls::SupportedProtocolVersion] = match policy.oldest {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    // A list of suites of one version only would leave the other without any, which is refused.
    let versions: Vec<&rustls::SupportedProtocolVersion> = versions
        .iter()
        .filter(|v| {
            provider
                .cipher_suites
                .iter()
                .any(|s| s.version().version == v.version)
        })
        .copied()
        .collect();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| e.to_string())?
        .dangerous();
    let verifier: Arc<dyn ServerCertVerifier> = match &policy.trust {
        Trust::System => {
            Arc::new(rustls_platform_verifier::Verifier::new(provider).map_err(|e| e.to_string())?)
        }
        Trust::Authorities(path) => {
            let certificates = read(path)?;
            let mut roots = RootCertStore::empty();
            for certificate in &certificates {
                // one that cannot be an authority may still be the BMC's own
                let _ = roots.add(certificate.clone());
            }
            let chain = (!roots.is_empty())
                .then(|| {
                    WebPkiServerVerifier::builder_with_provider(
                        Arc::new(roots),
                        Arc::clone(&provider),
                    )
                    .build()
                    .map_err(|e| e.to_string())
                })
                .transpose()?;
            Arc::new(Exact {
                provider,
                known: certificates.iter().map(fingerprint).collect(),
                chain,
                anyone: false,
            })
        }
        Trust::Fingerprint(known) => Arc::new(Exact {
            provider,
            known: vec![*known],
            chain: None,
            anyone: false,
        }),
        Trust::Anyone => Arc::new(Exact {
            provider,
            known: Vec::new(),
            chain: None,
            anyone: true,
        }),
    };
    Ok(builder
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Certificates of a PEM file, or of all files of a directory that hold some.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |why: String| format!("{} cannot be read: {why}", path.display());
    let mut found = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(|e| bad(e.to_string()))? {
            let file = entry.map_err(|e| bad(e.to_string()))?.path();
            if file.is_file()
                && let Ok(certificates) = CertificateDer::pem_file_iter(&file)
            {
                found.extend(certificates.filter_map(Result::ok));
            }
        }
    } else {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            found.push(certificate.map_err(|e| bad(e.to_string()))?);
        }
    }
    if found.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(found)
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    sha2::Sha256::digest(certificate.as_ref()).into()
}

/// Accepts exact certificates, then those of authorities.
#[derive(Debug)]
struct Exact {
    provider: Arc<CryptoProvider>,
    known: Vec<[u8; 32]>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    anyone: bool,
}

impl ServerCertVerifier for Exact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.anyone || self.known.contains(&fingerprint(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Certificates of old boards (version 1) cannot even be read; whom anyone may be needs no proof.
        if self.anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Certificates of old boards (version 1) cannot even be read; whom anyone may be needs no proof.
        if self.anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
