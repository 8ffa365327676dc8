//! The two servers that an agent talks to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub type Body = BoxBody<Bytes, std::io::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

fn json_reply(status: u16, value: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(full(value.to_string()))
        .unwrap()
}

/// Serves for as long as the runtime lives.
pub async fn serve<F, R>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// One call to the stand-in.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub version: Option<String>,
    pub body: Value,
}

/// Stand-in for the Bare Metal API.
#[derive(Clone)]
pub struct FakeApi {
    calls: watch::Sender<Vec<Call>>,
    /// Statuses of the next answers to look-up or heartbeat, before the good ones.
    pub next: Arc<Mutex<Vec<u16>>>,
    lookup: Arc<Mutex<Value>>,
    pub address: Arc<Mutex<Option<SocketAddr>>>,
}

impl FakeApi {
    pub async fn start(lookup: Value) -> Self {
        let api = Self {
            calls: watch::channel(Vec::new()).0,
            next: Arc::default(),
            lookup: Arc::new(Mutex::new(lookup)),
            address: Arc::default(),
        };
        let handler = api.clone();
        let address = serve(move |request| {
            let api = handler.clone();
            async move { api.answer(request).await }
        })
        .await;
        *api.address.lock().unwrap() = Some(address);
        api
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address.lock().unwrap().unwrap())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let call = Call {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            version: parts
                .headers
                .get("X-OpenStack-Ironic-API-Version")
                .map(|v| v.to_str().unwrap().to_owned()),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        let path = call.path.clone();
        if path == "/" {
            self.calls.send_modify(|calls| calls.push(call));
            return json_reply(
                200,
                &json!({"name": "OpenStack Ironic API", "default_version": {"id": "v1", "version": "1.115"}}),
            );
        }
        let planned = {
            let mut next = self.next.lock().unwrap();
            (!next.is_empty()).then(|| next.remove(0))
        };
        self.calls.send_modify(|calls| calls.push(call));
        if let Some(status) = planned {
            return json_reply(
                status,
                &json!({"error_message": {"faultstring": "planned refusal", "faultcode": "Client"}}),
            );
        }
        if path == "/v1/lookup" {
            json_reply(200, &self.lookup.lock().unwrap().clone())
        } else if path.starts_with("/v1/heartbeat/") {
            Response::builder().status(202).body(full("")).unwrap()
        } else {
            json_reply(404, &json!({}))
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// Waits until the calls satisfy something.
    pub async fn wait_for(&self, what: &str, condition: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut calls = self.calls.subscribe();
        let wait = calls.wait_for(|calls| condition(calls));
        match tokio::time::timeout(std::time::Duration::from_secs(30), wait).await {
            Ok(Ok(calls)) => calls.clone(),
            _ => panic!("{what} did not come; calls: {:?}", self.calls()),
        }
    }

    pub fn heartbeats(&self) -> Vec<Call> {
        self.calls().into_iter().filter(is_heartbeat).collect()
    }

    pub async fn wait_for_heartbeats(&self, count: usize) -> Vec<Call> {
        self.wait_for("a heartbeat", |calls| {
            calls.iter().filter(|c| is_heartbeat(c)).count() >= count
        })
        .await;
        self.heartbeats()
    }
}

fn is_heartbeat(call: &Call) -> bool {
    call.method == Method::POST && call.path.starts_with("/v1/heartbeat/")
}

/// How the image server behaves for one path.
#[derive(Clone, Default)]
pub struct Served {
    pub bytes: Bytes,
    pub no_ranges: bool,
    /// The answer says nothing of its length.
    pub no_length: bool,
    /// The connection breaks after so many bytes of an answer, that often.
    pub breaks: Option<(usize, usize)>,
    /// Announces more than it has, every time.
    pub claims_more: u64,
    pub status: Option<u16>,
    /// `user:password` in base64.
    pub basic: Option<String>,
    pub redirect: Option<String>,
    /// Never answers, until this is notified.
    pub gate: Option<Arc<tokio::sync::Notify>>,
}

/// Path and Range header of every request.
type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// An image server.
#[derive(Clone)]
pub struct ImageServer {
    files: Arc<Mutex<HashMap<String, Served>>>,
    requests: Requests,
    address: SocketAddr,
}

impl ImageServer {
    pub async fn start() -> Self {
        let files: Arc<Mutex<HashMap<String, Served>>> = Arc::default();
        let requests = Requests::default();
        let (f, r) = (files.clone(), requests.clone());
        let address = serve(move |request| {
            let (f, r) = (f.clone(), r.clone());
            async move { answer(&f, &r, &request).await }
        })
        .await;
        Self {
            files,
            requests,
            address,
        }
    }

    pub fn put(&self, path: &str, served: Served) -> String {
        self.files.lock().unwrap().insert(path.to_owned(), served);
        format!("http://{}{path}", self.address)
    }

    pub fn ranges_asked(&self, path: &str) -> Vec<Option<String>> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|(p, _)| p == path)
            .map(|(_, range)| range.clone())
            .collect()
    }
}

async fn answer(
    files: &Mutex<HashMap<String, Served>>,
    requests: &Mutex<Vec<(String, Option<String>)>>,
    request: &Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let text = |name: header::HeaderName| {
        request
            .headers()
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    let range = text(header::RANGE);
    requests.lock().unwrap().push((path.clone(), range.clone()));
    let Some(served) = files.lock().unwrap().get(&path).cloned() else {
        return Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(full("no such file"))
            .unwrap();
    };
    if let Some(gate) = &served.gate {
        gate.notified().await;
    }
    if let Some(status) = served.status {
        return Response::builder().status(status).body(full("")).unwrap();
    }
    if let Some(target) = &served.redirect {
        return Response::builder()
            .status(302)
            .header(header::LOCATION, target)
            .body(full(""))
            .unwrap();
    }
    if let Some(basic) = &served.basic
        && text(header::AUTHORIZATION) != Some(format!("Basic {basic}"))
    {
        return Response::builder().status(401).body(full("")).unwrap();
    }
    let total = served.bytes.len();
    let (start, end, status) = match range.filter(|_| !served.no_ranges) {
        Some(range) => {
            let (first, last) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let first: usize = first.parse().unwrap();
            let last: usize = last.parse().unwrap_or(usize::MAX).min(total - 1);
            (first, last + 1, 206)
        }
        None => (0, total, 200),
    };
    let part = served.bytes.slice(start..end);
    let mut response = Response::builder()
        .status(status)
        .header(header::ETAG, "\"one\"");
    if status == 206 {
        response = response.header(
            header::CONTENT_RANGE,
            format!("bytes {start}-{}/{total}", end - 1),
        );
    }
    if !served.no_length {
        response = response.header(
            header::CONTENT_LENGTH,
            part.len() as u64 + if status == 200 { served.claims_more } else { 0 },
        );
    }
    let cut = {
        let mut files = files.lock().unwrap();
        let entry = files.get_mut(&path).unwrap();
        match &mut entry.breaks {
            Some((after, times)) if *times > 0 && part.len() > *after => {
                *times -= 1;
                Some(*after)
            }
            _ => None,
        }
    };
    let broken = cut.is_some() || (served.claims_more > 0 && status == 200);
    let part = part.slice(..cut.unwrap_or(part.len()));
    let mut pieces: Vec<Result<Frame<Bytes>, std::io::Error>> = (0..part.len())
        .step_by(16 * 1024)
        .map(|at| Ok(Frame::data(part.slice(at..part.len().min(at + 16 * 1024)))))
        .collect();
    if broken {
        pieces.push(Err(std::io::Error::other("planned break")));
    }
    response
        .body(BodyExt::boxed(StreamBody::new(stream::iter(pieces))))
        .unwrap()
}
