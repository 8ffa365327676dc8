//! A host's BMC that speaks Redfish: the server, who may ask, and what goes wrong on the way.
//!
//! Schemas and protocol: DMTF DSP0266 and the Redfish schema bundle. What it serves is in [`tree`], what can be changed in
//! [`change`], what it remembers in [`board`].

mod board;
mod change;
mod tree;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::host::Host;
use board::{Allowed, Board};

/// Longest body of a request.
const MAX_BODY: usize = 1 << 20;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
/// Between looks whether a silent BMC speaks again.
const SILENCE: Duration = Duration::from_millis(50);

pub(crate) const ROOT: &str = "/redfish/v1";
pub(crate) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// The connection is lost.
#[derive(Debug, thiserror::Error)]
#[error("the connection is lost")]
struct Lost;

/// What is answered.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub body: Option<Value>,
    pub headers: Vec<(HeaderName, String)>,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some(body),
            headers: Vec::new(),
        }
    }

    pub fn done() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            headers: Vec::new(),
        }
    }

    /// With a message of the Base registry, as extended information.
    pub fn refused(status: StatusCode, message_id: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let id = format!("Base.1.8.{message_id}");
        let information = json!({
            "@odata.type": "#Message.v1_1_1.Message",
            "MessageId": id,
            "Message": message,
            "Severity": "Critical",
            "Resolution": "None.",
        });
        Self {
            status,
            body: Some(json!({
                "error": {"code": id, "message": message, "@Message.ExtendedInfo": [information]},
            })),
            headers: Vec::new(),
        }
    }

    pub fn not_found(path: &str) -> Self {
        Self::refused(
            StatusCode::NOT_FOUND,
            "ResourceMissingAtURI",
            format!("The resource at the URI {path} was not found."),
        )
    }

    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Takes connections until cancelled.
pub async fn run(
    index: usize,
    host: Arc<Host>,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let board = Arc::new(Board::new(index, host));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a BMC cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (board, acceptor, stop) = (board.clone(), acceptor.clone(), stop.clone());
        let tasks = board.host.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(board, stream, acceptor) => {}
            }
        });
    }
}

async fn connection(board: Arc<Board>, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => serve(board, stream).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                serve(board, stream).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(board: Arc<Board>, stream: S) {
    let service = service_fn(move |request| {
        let board = board.clone();
        async move { respond(&board, request).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to a BMC ended");
    }
}

/// What every request meets first: silence, slowness, a BMC that is busy.
async fn respond(board: &Board, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    let host = &board.host;
    if host.has(Fault::BmcUnreachable) {
        while host.has(Fault::BmcUnreachable) {
            tokio::time::sleep(SILENCE).await;
        }
        return Err(Lost);
    }
    if board.luck.network.chance(host.settings.loss) {
        return Err(Lost);
    }
    let slow = host.look(|state| state.faults.value(Fault::BmcSlow, 5.0));
    let slow = slow.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = slow.unwrap_or_else(|| board.luck.delay.within(host.settings.bmc_delay));
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    let busy = host
        .look(|state| state.faults.value(Fault::BmcBusy, 0.3))
        .unwrap_or(host.settings.bmc_faults);
    let reply = if host.has(Fault::BmcRefuses) || board.luck.busy.chance(busy) {
        Reply::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceTemporarilyUnavailable",
            "The service is temporarily unavailable. Retry in 1 seconds.",
        )
        .with(header::RETRY_AFTER, "1")
    } else {
        handle(board, request).await
    };
    Ok(response(reply))
}

async fn handle(board: &Board, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let path = match parts.uri.path().trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let text = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let login = parts.method == Method::POST && path == SESSIONS;
    let open = login || (parts.method == Method::GET && tree::is_open(&path));
    let token = text(HeaderName::from_static("x-auth-token"));
    if !open {
        match board.allows(token, text(header::AUTHORIZATION)) {
            Allowed::Yes => {}
            Allowed::No(message) => {
                return Reply::refused(StatusCode::UNAUTHORIZED, "NoValidSession", message)
                    .with(header::WWW_AUTHENTICATE, "Basic realm=\"Redfish\"");
            }
        }
    }
    board.apply_pending();
    if matches!(parts.method, Method::GET | Method::HEAD) {
        let mut reply = tree::get(board, &path).unwrap_or_else(|| Reply::not_found(&path));
        if let Some(tag) = etag(&reply) {
            if text(header::IF_NONE_MATCH).is_some_and(|known| known == tag) {
                reply.status = StatusCode::NOT_MODIFIED;
                reply.body = None;
            }
            reply = reply.with(header::ETAG, tag);
        }
        return reply;
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Reply::refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                "The body of the request is too large.",
            );
        }
    };
    let document = match change::document(&body) {
        Ok(document) => document,
        Err(reply) => return reply,
    };
    if parts.method == Method::PATCH
        && let Some(wanted) = text(header::IF_MATCH)
        && wanted != "*"
        && let Some(now) = tree::get(board, &path).as_ref().and_then(etag)
        && wanted != now
    {
        return Reply::refused(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "The ETag supplied did not match the ETag required to change this resource.",
        );
    }
    change::change(board, &parts.method, &path, &document)
}

/// By what the document says: the same document has the same tag.
fn etag(reply: &Reply) -> Option<String> {
    let body = reply.body.as_ref().filter(|_| reply.status.is_success())?;
    let digest = Sha256::digest(body.to_string());
    let short = digest.get(..8)?;
    Some(format!("W/\"{}\"", hex::encode(short)))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let (bytes, kind) = match &reply.body {
        // the metadata document is the only one that is no JSON
        Some(Value::String(xml)) => (Bytes::from(xml.clone()), "application/xml"),
        Some(body) => (Bytes::from(body.to_string()), "application/json"),
        None => (Bytes::new(), ""),
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("odata-version"),
        HeaderValue::from_static("4.0"),
    );
    if let Ok(kind) = HeaderValue::from_str(kind)
        && !kind.is_empty()
    {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// Binds a BMC's port.
///
/// # Errors
/// When the port is taken or the address is not on this computer.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::dice::Dice;
    use crate::host::{BmcKind, facts};
    use crate::settings::Settings;

    /// Whatever the body of whatever request: no panic, and no server error.
    #[tokio::test]
    async fn bodies_do_not_break_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut settings = Settings::new(1, 3, &log, "127.0.0.1:9".parse().unwrap());
        settings.bmc = vec![BmcKind::Redfish];
        let (known, mac) = facts(&settings, 0);
        let password = known.bmc_password.clone();
        let host = Host::new(
            0,
            known,
            mac,
            Arc::new(settings),
            Arc::new(crate::journal::Journal::create(&log).unwrap()),
            tokio_util::task::TaskTracker::new(),
            CancellationToken::new(),
        );
        // the host itself is not what is tested
        host.set_fault(Fault::PowerStuck, true, None);
        let board = Board::new(0, host);
        let login = json!({"UserName": "admin", "Password": password});
        let samples = [
            login,
            json!({"ResetType": "On"}),
            json!({"Image": "http://127.0.0.1/boot.iso", "Inserted": true, "TransferMethod": "Stream"}),
            json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"}, "IndicatorLED": "Lit"}),
            json!({"Attributes": {"BootWait": 7, "ProcTurboMode": "Disabled"}, "@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"}}),
            json!({"SecureBootEnable": true}),
        ];
        let mut understood = 0;
        for (nth, sample) in samples.iter().enumerate() {
            let dice = Dice::new(7, nth, "fuzz");
            let text = sample.to_string();
            for round in 0..200 {
                let bytes = match round {
                    0 => text.clone().into_bytes(),
                    _ => crate::fuzz::tests::mutate(&dice, text.as_bytes()),
                };
                let Ok(document) = change::document(&bytes) else {
                    continue;
                };
                for (method, path) in change::TARGETS_OF_CHANGES {
                    let reply = change::change(&board, &method, path, &document);
                    understood += u32::from(reply.status.is_success());
                    let server_error = reply.status.is_server_error();
                    assert!(!server_error || board.full(), "{path}: {document:?}");
                }
            }
        }
        assert!(understood > 100, "{understood}");
        for path in [
            "/redfish/v1/Systems/1/",
            "//",
            "/redfish/v1/TaskService/Tasks/x",
            "/redfish/v1/Systems/1/VirtualMedia/Cd/Cd",
        ] {
            assert!(tree::get(&board, path).is_none(), "{path}");
        }
    }
}
