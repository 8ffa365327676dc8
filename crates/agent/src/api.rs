//! The agent's own HTTP API: `/`, `/v1/`, `/v1/status`, `/v1/commands/`, with and without `/v1`, as upstream's agent.
//!
//! The token is a query argument and is checked before the body is read, so that a stranger cannot make the agent
//! buffer anything. Sizes, times and the number of connections are bounded.
//!
//! Must never log a request's target (it holds the token) or body.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_wire::{AGENT_TOKEN_QUERY, CommandRequest};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::command;
use crate::error::Failure;
use crate::registry::Mode;

/// A config drive of 64 MiB in base64, and room for the rest.
const MAX_BODY: usize = 96 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const DOCS: &str = "https://docs.openstack.org/ironic-python-agent";

/// Listens where it is told; falls back to IPv4 when the kernel has no IPv6.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => {
            tracing::debug!("no IPv6 here ({error}), listening on IPv4");
            TcpListener::bind(crate::settings::v4_any(address.port())).await
        }
        other => other,
    }
}

/// Serves until cancelled. With `tls` none the API is plain HTTP.
pub async fn run(
    agent: Arc<Agent>,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    cancel: CancellationToken,
) {
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // out of descriptors or a connection that was gone before it was taken: neither ends the service
                    tracing::warn!("the agent's API cannot take a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(
                "the agent's API has {MAX_CONNECTIONS} connections, one more was refused"
            );
            continue;
        };
        let agent = agent.clone();
        let acceptor = acceptor.clone();
        let cancel = cancel.clone();
        connections.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = cancel.cancelled() => {}
                () = connection(agent, stream, acceptor) => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    agent: Arc<Agent>,
    stream: TcpStream,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
) {
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => serve(agent, TokioIo::new(stream), "http").await,
        Some(acceptor) => {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(agent, TokioIo::new(stream), "https").await,
                Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        }
    }
}

async fn serve<T>(agent: Arc<Agent>, io: T, scheme: &'static str)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(respond(&agent, request, scheme).await) }
    });
    let outcome = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(io, service)
        .await;
    if let Err(error) = outcome {
        tracing::debug!("connection to the agent's API ended: {error}");
    }
}

/// A refusal that is not a command's failure.
enum Refusal {
    Unauthorized,
    BadRequest(String),
    NotFound,
    MethodNotAllowed(&'static str),
    TooLarge,
    Timeout,
    Command(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Command(failure)
    }
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let mut allow = None;
        let (status, text) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "401 Unauthorized: Token invalid.".to_owned(),
            ),
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, format!("400 Bad Request: {why}")),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "404 Not Found: The requested URL was not found on the server.".to_owned(),
            ),
            Self::MethodNotAllowed(methods) => {
                allow = Some(methods);
                (
                    StatusCode::METHOD_NOT_ALLOWED,
                    "405 Method Not Allowed: The method is not allowed for the requested URL."
                        .to_owned(),
                )
            }
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("413 Request Entity Too Large: more than {MAX_BODY} bytes"),
            ),
            Self::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                "408 Request Timeout: the body did not arrive".to_owned(),
            ),
            Self::Command(failure) => (
                StatusCode::from_u16(failure.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                failure.to_string(),
            ),
        };
        let side = if status.is_server_error() {
            "Server"
        } else {
            "Client"
        };
        let mut response = reply(status, &json!({ "faultcode": side, "faultstring": text }));
        if let Some(methods) = allow {
            response
                .headers_mut()
                .insert(header::ALLOW, header::HeaderValue::from_static(methods));
        }
        response
    }
}

fn reply<T: serde::Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

async fn respond(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
    scheme: &'static str,
) -> Response<Full<Bytes>> {
    match route(agent, request, scheme).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn route(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
    scheme: &'static str,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let path = request.uri().path().trim_matches('/').to_owned();
    let (versioned, rest) = match path.strip_prefix("v1") {
        Some("") => (true, ""),
        Some(tail) if tail.starts_with('/') => (true, tail.trim_start_matches('/')),
        _ => (false, path.as_str()),
    };
    let method = request.method().clone();
    let get = method == Method::GET || method == Method::HEAD;
    match rest {
        "" if get && versioned => Ok(reply(StatusCode::OK, &v1(&root_url(&request, scheme)))),
        "" if get => Ok(reply(StatusCode::OK, &root(&root_url(&request, scheme)))),
        "status" if get => Ok(reply(
            StatusCode::OK,
            &json!({ "started_at": agent.started_at, "version": crate::VERSION }),
        )),
        "" | "status" => Err(Refusal::MethodNotAllowed("GET, HEAD")),
        "commands" if get => {
            authorize(agent, &request)?;
            Ok(reply(
                StatusCode::OK,
                &json!({ "commands": agent.registry.list() }),
            ))
        }
        "commands" if method == Method::POST => {
            authorize(agent, &request)?;
            run_command(agent, request).await
        }
        "commands" => Err(Refusal::MethodNotAllowed("GET, HEAD, POST")),
        _ => match rest.strip_prefix("commands/") {
            Some(id) if !id.contains('/') && get => {
                authorize(agent, &request)?;
                let command = agent.registry.find(id).ok_or_else(|| {
                    Failure::NotFound(format!("Command Result with id {id} not found."))
                })?;
                if wants_wait(&request) {
                    command.wait().await;
                }
                Ok(reply(StatusCode::OK, &command.snapshot()))
            }
            Some(id) if !id.contains('/') => Err(Refusal::MethodNotAllowed("GET, HEAD")),
            _ => Err(Refusal::NotFound),
        },
    }
}

async fn run_command(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let wait = wants_wait(&request);
    let body = Limited::new(request.into_body(), MAX_BODY);
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body.collect()).await {
        Err(_) => return Err(Refusal::Timeout),
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Refusal::TooLarge);
        }
        Ok(Err(error)) => return Err(Refusal::BadRequest(error.to_string())),
    };
    let command = parse_command(&bytes)?;
    drop(bytes);
    let (mode, command) = command::start(agent, command)?;
    if wait || mode == Mode::Sync {
        command.wait().await;
    }
    Ok(reply(StatusCode::OK, &command.snapshot()))
}

/// `{"name": …, "params": {…}}`; anything else is a 400 that says what is wrong.
fn parse_command(bytes: &[u8]) -> Result<CommandRequest, Refusal> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Refusal::BadRequest(format!("the body is not JSON: {e}")))?;
    let Value::Object(mut members) = value else {
        return Err(Refusal::BadRequest(
            "Missing or invalid name or params".to_owned(),
        ));
    };
    match (members.remove("name"), members.remove("params")) {
        (Some(Value::String(name)), Some(Value::Object(params))) => {
            Ok(CommandRequest { name, params })
        }
        _ => Err(Refusal::BadRequest(
            "Missing or invalid name or params".to_owned(),
        )),
    }
}

fn query_value<B>(request: &Request<B>, name: &str) -> Option<String> {
    url::form_urlencoded::parse(request.uri().query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn wants_wait<B>(request: &Request<B>) -> bool {
    query_value(request, "wait").is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

fn authorize<B>(agent: &Agent, request: &Request<B>) -> Result<(), Refusal> {
    let given = query_value(request, AGENT_TOKEN_QUERY);
    match (agent.token(), given) {
        (Some(expected), Some(given)) if same(expected.expose_secret(), &given) => Ok(()),
        (None, _) if !agent.token_required() => Ok(()),
        _ => Err(Refusal::Unauthorized),
    }
}

/// Equality whose time depends only on the length of what was sent.
fn same(expected: &str, given: &str) -> bool {
    let (expected, given) = (expected.as_bytes(), given.as_bytes());
    let mut difference = expected.len() ^ given.len();
    for (i, byte) in given.iter().enumerate() {
        let other = expected.get(i).copied().unwrap_or(0xff);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}

fn root_url<B>(request: &Request<B>, scheme: &str) -> String {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("localhost");
    format!("{scheme}://{host}")
}

fn version(url: &str) -> Value {
    json!({
        "id": "v1",
        "links": [
            { "href": format!("{url}/v1/"), "rel": "self" },
            { "href": format!("{DOCS}/"), "rel": "describedby", "type": "text/html" },
        ],
    })
}

fn root(url: &str) -> Value {
    json!({
        "name": "Bessemer agent API",
        "description": "Provisioning agent of Bessemer; speaks the protocol of OpenStack Ironic's agent",
        "versions": [version(url)],
        "default_version": version(url),
    })
}

fn v1(url: &str) -> Value {
    let links = |name: &str| {
        json!([
            { "href": format!("{url}/v1/{name}/"), "rel": "self" },
            { "href": format!("{url}/{name}/"), "rel": "bookmark" },
        ])
    };
    let mut document = version(url);
    if let Some(members) = document.as_object_mut() {
        members.insert("commands".to_owned(), links("commands"));
        members.insert("status".to_owned(), links("status"));
        members.insert(
            "media_types".to_owned(),
            json!([{ "base": "application/json",
                     "type": "application/vnd.openstack.ironic-python-agent.v1+json" }]),
        );
    }
    document
}

/// Fuzz target: bodies of `POST /v1/commands/`.
pub fn fuzz_command_body(data: &[u8]) {
    let _ = parse_command(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn token_comparison() {
        for (a, b, expected) in [
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("abc", "ab", false),
            ("abc", "abc\u{7f}", false),
            ("", "", true),
            ("\u{ff}", "", false),
        ] {
            assert_eq!(same(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn bodies() {
        for (body, good) in [
            (r#"{"name":"a.b","params":{}}"#, true),
            (r#"{"name":"a.b"}"#, false),
            (r#"{"name":1,"params":{}}"#, false),
            (r#"{"name":"a","params":[]}"#, false),
            ("[]", false),
            ("{", false),
        ] {
            assert_eq!(parse_command(body.as_bytes()).is_ok(), good, "{body}");
        }
    }
}
