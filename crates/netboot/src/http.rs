//! HTTP/1.1 for firmware, iPXE and agents: GET and HEAD with length, ranges and entity tags, files streamed in chunks.
//!
//! Memory is bounded by one chunk per connection; a client that stops reading is dropped by the kernel after
//! [`STALLED`]. RFC 9110, RFC 9112; EDK2's HTTP boot needs HEAD and Content-Length.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use bessemer_model::NodeId;

use crate::directory::Source;
use crate::files::{Content, Files, Missing, MissingKind, Via};
use crate::journal::{Journal, human_size};
use crate::media::Stored;
use crate::range::{Wanted, wanted};
use crate::service::Urls;

/// Bytes read and sent at once.
const CHUNK: usize = 256 * 1024;
/// A client that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(300);
/// A client has so long to send its request.
const REQUEST: Duration = Duration::from_secs(30);
/// Requests for less than this out of a longer file are no line of the timeline: a qcow2 image's tables are read so.
const SMALL_PART: u64 = 1 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The HTTP service.
pub(crate) struct HttpService {
    pub(crate) files: Arc<Files>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) urls: Arc<Urls>,
    pub(crate) max_connections: usize,
}

/// Accepts connections until cancelled, lets the running requests end for a moment, and returns when all are gone.
pub(crate) async fn listen(
    listener: TcpListener,
    service: Arc<HttpService>,
    cancel: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(service.max_connections.max(1)));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report_panic(ended);
                continue;
            }
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of file descriptors, most of the time: wait for some to come back
                tracing::warn!(%error, "HTTP connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = Arc::clone(&service);
        let cancel = cancel.clone();
        connections.spawn(async move {
            serve(stream, peer, service, cancel).await;
            drop(place);
        });
    }
    drop(listener);
    let grace = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(grace);
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(ended) => report_panic(ended),
                None => return,
            },
            () = &mut grace => {
                connections.shutdown().await;
                return;
            }
        }
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "bug: an HTTP connection panicked");
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<HttpService>,
    cancel: CancellationToken,
) {
    let socket = SockRef::from(&stream);
    if let Err(error) = socket
        .set_tcp_user_timeout(Some(STALLED))
        .and_then(|()| socket.set_tcp_nodelay(true))
    {
        tracing::debug!(%error, %peer, "HTTP connection without options");
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request, local, peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "HTTP connection ended");
    }
}

impl HttpService {
    async fn answer(
        &self,
        request: Request<Incoming>,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Response<Body> {
        let head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => {
                let text = "only GET and HEAD are served here\n".to_owned();
                let mut response = message(StatusCode::METHOD_NOT_ALLOWED, text);
                let allow = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(header::ALLOW, allow);
                return response;
            }
        };
        let raw = request.uri().path();
        let Ok(path) = percent_encoding::percent_decode_str(raw).decode_utf8() else {
            return message(
                StatusCode::BAD_REQUEST,
                "the path is not UTF-8\n".to_owned(),
            );
        };
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let base = self.urls.http_base(host, local);
        let asked = format!("HTTP {} {}", request.method(), shown(&path));
        let found = match self.files.find(&path, Via::Http, &base).await {
            Ok(found) => found,
            Err(missing) => return self.missing(&missing, &asked, peer),
        };
        if let Some(node) = found.node {
            self.journal.introduce(peer.ip(), node);
        }
        let node = found.node.or_else(|| self.journal.node_at(peer.ip()));
        let report = Report {
            journal: Arc::clone(&self.journal),
            node,
            asked,
            peer,
        };
        match found.content {
            Content::Text(text) => {
                let bytes = text.len() as u64;
                let sent = format!("{} sent to {}", human_size(bytes), peer.ip());
                report.tell(if head { "asked for its size" } else { &sent }, bytes);
                let mut response = Response::new(full(text, head));
                set_length(&mut response, bytes);
                set(&mut response, header::CONTENT_TYPE, "text/plain");
                // what a node boots changes from one boot to the next
                set(&mut response, header::CACHE_CONTROL, "no-store");
                response
            }
            Content::File(file) => {
                send_stored(Stored::File(Arc::new(file)), head, &request, report)
            }
            Content::Media(media) => {
                let stored = Stored::Media(Arc::new(media));
                let mut response = send_stored(stored, head, &request, report);
                // it has a token inside
                set(&mut response, header::CACHE_CONTROL, "no-store");
                response
            }
        }
    }

    fn missing(&self, missing: &Missing, asked: &str, peer: SocketAddr) -> Response<Body> {
        let status = match missing.kind {
            MissingKind::NotFound => StatusCode::NOT_FOUND,
            MissingKind::Denied => StatusCode::FORBIDDEN,
            MissingKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        if let Some(node) = missing.node {
            self.journal.introduce(peer.ip(), node);
        }
        let text = format!(
            "{asked} from {}: answered {}, {}",
            peer.ip(),
            status.as_u16(),
            missing.why
        );
        self.journal.about_peer(peer.ip(), Source::Http, text, None);
        message(status, format!("{}\n", missing.why))
    }
}

/// Who is told about a transfer.
struct Report {
    journal: Arc<Journal>,
    node: Option<NodeId>,
    asked: String,
    peer: SocketAddr,
}

impl Report {
    fn tell(&self, what: &str, bytes: u64) {
        let text = format!("{}: {what}", self.asked);
        match self.node {
            Some(node) => self.journal.record(node, Source::Http, text, Some(bytes)),
            // anybody may fetch an image; nothing was refused, so this is no stranger
            None => tracing::info!(peer = %self.peer, "{text}"),
        }
    }
}

fn send_stored(
    stored: Stored,
    head: bool,
    request: &Request<Incoming>,
    report: Report,
) -> Response<Body> {
    let (length, tag) = match stored.facts() {
        Ok(facts) => facts,
        Err(error) => {
            let why = format!("the file cannot be read: {}\n", error.kind());
            return message(StatusCode::SERVICE_UNAVAILABLE, why);
        }
    };
    let text = |name| {
        let value: Option<&HeaderValue> = request.headers().get(name);
        value.and_then(|value| value.to_str().ok())
    };
    // a range of another version of the file is worth nothing (RFC 9110 section 13.1.5)
    let same = text(header::IF_RANGE).is_none_or(|wanted| wanted.trim() == tag);
    let range = text(header::RANGE).filter(|_| same && !head);
    let (status, first, count) = match wanted(range, length) {
        Wanted::Everything => (StatusCode::OK, 0, length),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Unsatisfiable => {
            let why = format!("the file has {length} bytes\n");
            let mut response = message(StatusCode::RANGE_NOT_SATISFIABLE, why);
            let value = format!("bytes */{length}");
            set(&mut response, header::CONTENT_RANGE, &value);
            return response;
        }
    };
    let body = if head {
        report.tell(&format!("{} asked for its size", report.peer.ip()), 0);
        full(String::new(), true)
    } else {
        file_body(Sending {
            stored,
            offset: first,
            left: count,
            sent: 0,
            whole: length,
            report,
        })
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set_length(&mut response, count);
    set(
        &mut response,
        header::CONTENT_TYPE,
        "application/octet-stream",
    );
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, &tag);
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {first}-{}/{length}", first + count - 1);
        set(&mut response, header::CONTENT_RANGE, &value);
    }
    response
}

/// A file on its way; tells when it ends, one way or the other.
struct Sending {
    stored: Stored,
    offset: u64,
    left: u64,
    sent: u64,
    whole: u64,
    report: Report,
}

impl Sending {
    async fn chunk(&mut self) -> io::Result<Bytes> {
        let stored = self.stored.clone();
        let offset = self.offset;
        let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let read = tokio::task::spawn_blocking(move || stored.read_at(offset, size));
        let buffer = read.await.map_err(io::Error::other)??;
        if buffer.is_empty() {
            // the length is promised already: the connection has to break
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        let count = buffer.len() as u64;
        self.offset = self.offset.saturating_add(count);
        self.left = self.left.saturating_sub(count);
        self.sent = self.sent.saturating_add(count);
        Ok(Bytes::from(buffer))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let all = self.sent.saturating_add(self.left);
        let peer = self.report.peer.ip();
        if self.left == 0 {
            if all < self.whole && all < SMALL_PART {
                return;
            }
            let part = if all < self.whole { "a part of " } else { "" };
            let text = format!("{part}{} sent to {peer}", human_size(self.sent));
            self.report.tell(&text, self.sent);
        } else {
            let text = format!(
                "broken off after {} of {} to {peer}",
                human_size(self.sent),
                human_size(all)
            );
            self.report.tell(&text, self.sent);
        }
    }
}

fn file_body(sending: Sending) -> Body {
    let chunks = stream::unfold(Some(sending), |state| async move {
        let mut sending = state?;
        if sending.left == 0 {
            return None;
        }
        match sending.chunk().await {
            // dropped with its last chunk handed over, so that the report does not wait for another poll
            Ok(bytes) if sending.left == 0 => Some((Ok(Frame::data(bytes)), None)),
            Ok(bytes) => Some((Ok(Frame::data(bytes)), Some(sending))),
            Err(error) => {
                tracing::warn!(%error, asked = sending.report.asked, "HTTP file not sent to its end");
                Some((Err(error), None))
            }
        }
    });
    let chunks: Pin<Box<dyn stream::Stream<Item = io::Result<Frame<Bytes>>> + Send>> =
        Box::pin(chunks);
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}

fn full(text: String, head: bool) -> Body {
    let bytes = if head { Bytes::new() } else { text.into() };
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn message(status: StatusCode, text: String) -> Response<Body> {
    let length = text.len() as u64;
    let mut response = Response::new(full(text, false));
    *response.status_mut() = status;
    set_length(&mut response, length);
    set(&mut response, header::CONTENT_TYPE, "text/plain");
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn set_length(response: &mut Response<Body>, length: u64) {
    let value = HeaderValue::from(length);
    response.headers_mut().insert(header::CONTENT_LENGTH, value);
}

/// A path from outside for logs and timelines.
/// The path for a log: without what opens an image for virtual media.
fn shown(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let hidden = match parts.as_slice() {
        ["", "vmedia", node, _, rest @ ..] => {
            Some(format!("/vmedia/{node}/.../{}", rest.join("/")))
        }
        _ => None,
    };
    let path = hidden.as_deref().unwrap_or(path);
    path.chars().filter(|c| !c.is_control()).take(256).collect()
}
