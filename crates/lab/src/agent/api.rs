//! The agent's HTTP API over TLS, with upstream's paths, statuses and token.
//!
//! Must never log a request's query: it holds the token.

use std::sync::Arc;
use std::time::Duration;

use bessemer_wire::{AGENT_TOKEN_QUERY, CommandRequest};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::failure::Failure;
use super::{Agent, VERSION, command};
use crate::fault::Fault;

/// A config drive of 64 MiB in base64, and room for the rest.
const MAX_BODY: usize = 96 * 1024 * 1024;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);

/// A connection was lost on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the connection is lost")]
struct Lost;

/// Answers for as long as it is polled.
pub async fn serve(agent: Arc<Agent>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an agent's API cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        let agent = agent.clone();
        let tasks = agent.host.tasks.clone();
        tasks.spawn(async move {
            let stop = agent.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(agent, stream, acceptor) => {}
            }
        });
    }
}

async fn connection(agent: Arc<Agent>, stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await
    else {
        return;
    };
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { respond(&agent, request).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to an agent ended");
    }
}

/// A request may be lost before it arrives, and its answer on the way back.
async fn respond(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let host = &agent.host;
    let lost = || host.has(Fault::NoNetwork) || host.chances.answers.chance(host.settings.loss);
    if lost() {
        return Err(Lost);
    }
    let response = route(agent, request)
        .await
        .unwrap_or_else(|(status, text)| {
            let side = if status.is_server_error() {
                "Server"
            } else {
                "Client"
            };
            reply(status, &json!({"faultcode": side, "faultstring": text}))
        });
    if lost() { Err(Lost) } else { Ok(response) }
}

type Refusal = (StatusCode, String);

fn reply<T: serde::Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(
        serde_json::to_vec(body).unwrap_or_default(),
    )));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

fn refuse(failure: &Failure) -> Refusal {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, failure.sentence())
}

async fn route(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let path = request.uri().path().trim_matches('/').to_owned();
    let (versioned, rest) = match path.strip_prefix("v1") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (true, rest.trim_matches('/')),
        _ => (false, path.as_str()),
    };
    let get = request.method() == Method::GET;
    match rest {
        "" if get && versioned => Ok(reply(
            StatusCode::OK,
            &json!({"id": "v1", "links": [], "commands": [], "status": [], "media_types": [{"base": "application/json", "type": "application/vnd.openstack.ironic-python-agent.v1+json"}]}),
        )),
        "" if get => Ok(reply(
            StatusCode::OK,
            &json!({"name": "Bessemer lab agent", "description": "Agent of a simulated host", "versions": [{"id": "v1", "links": []}], "default_version": {"id": "v1", "links": []}}),
        )),
        "status" if get => Ok(reply(
            StatusCode::OK,
            &json!({"started_at": agent.started_at, "version": VERSION}),
        )),
        "commands" if get => {
            authorize(agent, &request)?;
            Ok(reply(
                StatusCode::OK,
                &json!({"commands": agent.registry.list()}),
            ))
        }
        "commands" if request.method() == Method::POST => {
            authorize(agent, &request)?;
            start(agent, request).await
        }
        "" | "status" | "commands" => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "405 Method Not Allowed".to_owned(),
        )),
        _ => match rest.strip_prefix("commands/") {
            Some(id) if get => {
                authorize(agent, &request)?;
                let command = agent.registry.find(id).ok_or_else(|| {
                    refuse(&Failure::not_found(format!(
                        "Command Result with id {id} not found."
                    )))
                })?;
                if wants_wait(&request) {
                    command.wait().await;
                }
                Ok(reply(StatusCode::OK, &command.snapshot()))
            }
            _ => Err((StatusCode::NOT_FOUND, "404 Not Found".to_owned())),
        },
    }
}

async fn start(
    agent: &Arc<Agent>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let wait = wants_wait(&request);
    let bad = |why: String| (StatusCode::BAD_REQUEST, format!("400 Bad Request: {why}"));
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let bytes = body.map_err(|error| bad(error.to_string()))?.to_bytes();
    let request = parse_command(&bytes).map_err(bad)?;
    let (command, synchronous) =
        command::start(agent, request).map_err(|failure| refuse(&failure))?;
    if wait || synchronous {
        command.wait().await;
    }
    Ok(reply(StatusCode::OK, &command.snapshot()))
}

/// `{"name": …, "params": {…}}`.
fn parse_command(bytes: &[u8]) -> Result<CommandRequest, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))?;
    let missing = || "Missing or invalid name or params".to_owned();
    let Value::Object(mut members) = value else {
        return Err(missing());
    };
    match (members.remove("name"), members.remove("params")) {
        (Some(Value::String(name)), Some(Value::Object(params))) => {
            Ok(CommandRequest { name, params })
        }
        _ => Err(missing()),
    }
}

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    url::form_urlencoded::parse(request.uri().query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn wants_wait(request: &Request<Incoming>) -> bool {
    query(request, "wait").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn authorize(agent: &Agent, request: &Request<Incoming>) -> Result<(), Refusal> {
    match (agent.token(), query(request, AGENT_TOKEN_QUERY)) {
        (Some(expected), Some(given)) if expected == given => Ok(()),
        (None, _) => Ok(()),
        _ => {
            let path = request.uri().path();
            agent
                .host
                .log_live(agent.boot, "unauthorized", json!({"path": path}));
            Err((
                StatusCode::UNAUTHORIZED,
                "401 Unauthorized: Token invalid.".to_owned(),
            ))
        }
    }
}

/// Fuzz target: the body of a command.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(request) = parse_command(data) {
        let _ = command::parse(&request);
    }
}
