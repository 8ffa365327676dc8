//! TLS of the agent: its own throw-away certificate, and whom it trusts as a client.
//!
//! The certificate is made at every start, lives in memory and goes to the conductor with each heartbeat
//! (`agent_verify_ca`); the conductor trusts exactly it. P-256 with SHA-256, because ring verifies nothing larger with
//! the digests that some implementations pair with it. Valid from an hour ago, since clocks of racked machines are
//! rarely right, for 90 days, as upstream.
//!
//! The private key must never leave the process.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Where the ramdisk keeps extra authorities, besides the distribution's bundle.
const AUTHORITY_FILES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/bessemer/ca.pem"];

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make the agent's own certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
    #[error("cannot read authorities from {path}: {why}")]
    Authorities { path: String, why: String },
}

/// Own certificate and the configuration that serves it.
pub struct Identity {
    /// For `agent_verify_ca`.
    pub pem: String,
    pub server: Arc<rustls::ServerConfig>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes a self-signed certificate for `host`, an address or a name.
pub fn make_identity(host: &str) -> Result<Identity, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, host);
    params.subject_alt_names = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SanType::IpAddress(ip)],
        Err(_) => vec![SanType::DnsName(host.try_into()?)],
    };
    // whole seconds: the encoding has nothing finer
    let now = time::OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    params.not_before = now.saturating_sub(time::Duration::hours(1));
    params.not_after = now.saturating_add(time::Duration::days(90));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity {
        pem: certificate.pem(),
        server: Arc::new(server),
    })
}

/// Client side, for API and image servers.
pub fn client_config(
    insecure: bool,
    ca_file: Option<&Path>,
) -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?;
    if insecure {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider())))
            .with_no_client_auth());
    }
    let mut roots = rustls::RootCertStore::empty();
    for path in AUTHORITY_FILES.iter().map(Path::new) {
        if path.exists() {
            // one bad file of the distribution must not stop plain HTTP from working
            if let Err(error) = add_authorities(&mut roots, path) {
                tracing::warn!("{error}");
            }
        }
    }
    if let Some(path) = ca_file {
        add_authorities(&mut roots, path)?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add_authorities(roots: &mut rustls::RootCertStore, path: &Path) -> Result<(), TlsError> {
    let unreadable = |why: String| TlsError::Authorities {
        path: path.display().to_string(),
        why,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        // bundles carry old roots that are refused one by one; the others count
        let _ = roots.add(certificate);
    }
    Ok(())
}

/// `ipa-insecure=1`: any certificate will do.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
