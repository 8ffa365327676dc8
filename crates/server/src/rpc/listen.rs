//! The conductor's side: certificate, secret, and the one route.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::post;
use bessemer_api::conductor::Conductor as Calls;
use bessemer_store::RpcAddress;
use rand::RngExt;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::answer::answer;
use super::{Envelope, PATH, Reply};

/// Provision requests may carry a config drive of 64 MiB, and JSON around it.
const LARGEST: usize = 96 * 1024 * 1024;

/// Letters and digits of the secret.
const TOKEN_LENGTH: usize = 64;

/// What a conductor shows and wants to hear; made anew at each start, kept nowhere but in the database.
pub struct Identity {
    pub address: RpcAddress,
    pub tls: Arc<rustls::ServerConfig>,
}

impl Identity {
    /// # Errors
    /// When no certificate can be made.
    pub fn new(listens: SocketAddr) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "bessemer conductor");
        params.subject_alt_names = vec![SanType::IpAddress(listens.ip())];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .context("no key for the conductor's own certificate")?;
        let certificate = params
            .self_signed(&key)
            .context("the conductor's own certificate")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS")?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .context("the conductor's own certificate")?;
        let token = rand::rng()
            .sample_iter(rand::distr::Alphanumeric)
            .take(TOKEN_LENGTH)
            .map(char::from)
            .collect();
        Ok(Self {
            address: RpcAddress {
                url: format!("https://{listens}"),
                certificate: certificate.pem(),
                token,
            },
            tls: Arc::new(tls),
        })
    }
}

/// Answers calls of who knows the token.
pub fn router(conductor: Arc<dyn Calls>, token: &str) -> Router {
    let expected: Arc<str> = format!("Bearer {token}").into();
    Router::new().route(
        PATH,
        post(move |request: Request<Body>| {
            let (conductor, expected) = (Arc::clone(&conductor), Arc::clone(&expected));
            async move { respond(conductor.as_ref(), &expected, request).await }
        }),
    )
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

async fn respond(conductor: &dyn Calls, expected: &str, request: Request<Body>) -> Response<Body> {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.map(|v| v.as_bytes()).unwrap_or_default();
    if !bessemer_conductor::same(given, expected.as_bytes()) {
        return plain(
            StatusCode::UNAUTHORIZED,
            "not with this secret: it may be of this conductor's last start".to_owned(),
        );
    }
    let envelope: Envelope = match to_bytes(request.into_body(), LARGEST).await {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                return plain(
                    StatusCode::BAD_REQUEST,
                    format!("this conductor does not know the call: {error}"),
                );
            }
        },
        Err(error) => return plain(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let answering = answer(conductor, envelope.question);
    let answered = match envelope.requester {
        Some(requester) => requester.asks(answering).await,
        None => answering.await,
    };
    let reply = match answered {
        Ok(value) => Reply::Done(value),
        Err(fault) => Reply::Refused(fault),
    };
    match serde_json::to_vec(&reply) {
        Ok(body) => Response::new(Body::from(body)),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
