//! From a connection to a resource: request ids, paths, versions, and the router built from the table.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use axum::routing::any;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tower::ServiceExt;

use crate::ApiState;
use crate::auth::{Access, Asked, Audit, Caller, Peer, Said, StartError, guard, left_to_handler};
use crate::body;
use crate::call::{Answer, AnswerBody, Call};
use crate::fault::{ApiFault, Shape, VersionHeaders};
use crate::microversion::{MAXIMUM, MINIMUM, Minor, REQUESTED, negotiate};
use crate::serve::Stopping;
use crate::versions::{Below, BodySize, Endpoint, MAX_MINOR, MIN_MINOR, ROUTES, Route};

/// `.json` at the end of a path is dropped below this version.
const DOT_JSON_UNTIL: u16 = 91;

/// What the outer half has found out about a request.
#[derive(Clone)]
struct Prelude {
    caller: Arc<Caller>,
    json_suffix: bool,
}

/// The service: any path with or without `/v1` and with or without a slash at the end.
///
/// # Errors
/// When the policy files or `[keystone_authtoken]` cannot be used.
pub fn router(state: ApiState) -> Result<Router, StartError> {
    let access = Access::new(&state.config)?;
    let mut inner: Router = Router::new();
    for route in ROUTES {
        let shared = (state.clone(), Arc::clone(&access));
        inner = inner.route(
            route.path,
            any(move |params: RawPathParams, request: Request| {
                let (state, access) = shared.clone();
                let params = params
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                async move { dispatch(state, access, route, params, request).await }
            }),
        );
    }
    inner = inner.fallback(async || {
        finish_fault(
            ApiFault::unrouted(StatusCode::NOT_FOUND, ""),
            Minor(MIN_MINOR),
        )
    });
    Ok(Router::new().fallback(move |request: Request| {
        let inner = inner.clone();
        let access = Arc::clone(&access);
        async move { outer(inner, access, request).await }
    }))
}

async fn outer(inner: Router, access: Arc<Access>, request: Request) -> Response {
    let started = Instant::now();
    let id = format!("req-{}", uuid::Uuid::new_v4());
    let (method, shown) = (request.method().clone(), request.uri().path().to_owned());
    let from = request.extensions().get::<Peer>().map(|peer| peer.0);
    let mut caller = None;
    let mut response = match admit(&access, request).await {
        Ok(request) => {
            caller = request
                .extensions()
                .get::<Prelude>()
                .map(|prelude| Arc::clone(&prelude.caller));
            let (Ok(response) | Err(response)) = inner
                .oneshot(request)
                .await
                .map_err(|never: std::convert::Infallible| match never {});
            response
        }
        Err(fault) => finish_fault(fault, Minor(MIN_MINOR)),
    };
    tracing::info!(
        %method, path = shown, status = response.status().as_u16(), request = id,
        ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "api"
    );
    Audit {
        method: &method,
        path: &shown,
        status: response.status(),
        request: &id,
        from,
        caller: caller.as_deref(),
        location: response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok()),
        reason: response.extensions().get::<Said>().map(|said| &*said.0),
    }
    .write();
    if let Ok(id) = HeaderValue::from_str(&id) {
        let headers = response.headers_mut();
        headers.insert("x-openstack-request-id", id.clone());
        headers.insert("openstack-request-id", id);
    }
    response
}

/// Brings the path into the table's form and finds out who calls.
async fn admit(access: &Access, mut request: Request) -> Result<Request, ApiFault> {
    let bad_path = || ApiFault::unrouted(StatusCode::NOT_FOUND, "");
    let mut path = request.uri().path().trim_end_matches('/').to_owned();
    let mut json_suffix = false;
    if let Some(stem) = path.strip_suffix(".json")
        && !matches!(path.as_str(), crate::openapi::PATH | "/openapi.json")
        && request.headers().contains_key(REQUESTED)
        && negotiate(request.headers(), Shape::Routing).is_ok_and(|v| v.0 < DOT_JSON_UNTIL)
    {
        path = stem.to_owned();
        json_suffix = true;
    }
    if path.is_empty() {
        path.push('/');
    } else if path != "/v1" && !path.starts_with("/v1/") && path != "/healthcheck" {
        path.insert_str(0, "/v1");
    }
    let from = request.extensions().get::<Peer>().map(|peer| peer.0);
    let mut caller = if is_public(&path) {
        if let Some(from) = from {
            limited(access, &path, from)?;
        }
        access.anybody()
    } else {
        access
            .caller(request.method(), &path, request.headers())
            .await?
    };
    caller.from = from;
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    // the host of an HTTP/2 request is in its URI, which is about to be replaced
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request
            .uri()
            .authority()
            .and_then(|a| HeaderValue::from_str(a.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| bad_path())?;
    request.extensions_mut().insert(Prelude {
        caller: Arc::new(caller),
        json_suffix,
    });
    Ok(request)
}

/// The routes of the ramdisk are called by everyone: one address may not do so without end.
fn limited(access: &Access, path: &str, from: std::net::IpAddr) -> Result<(), ApiFault> {
    if matches!(path, "/" | "/v1" | "/healthcheck") {
        return Ok(());
    }
    access.ramdisk_rate.take(from).map_err(|limited| {
        ApiFault::unrouted(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many requests from this address. See [api] ramdisk_requests_per_minute.",
        )
        .with_header(header::RETRY_AFTER, limited.retry_after.to_string())
    })
}

/// Whether a route of the table answers this path without authentication.
fn is_public(path: &str) -> bool {
    ROUTES.iter().filter(|r| r.public).any(|route| {
        let (mut want, mut have) = (route.path.split('/'), path.split('/'));
        loop {
            match (want.next(), have.next()) {
                (None, None) => return true,
                (Some(w), Some(h)) if w == h || (w.starts_with('{') && !h.is_empty()) => {}
                _ => return false,
            }
        }
    })
}

async fn dispatch(
    state: ApiState,
    access: Arc<Access>,
    route: &'static Route,
    params: Vec<(String, String)>,
    request: Request,
) -> Response {
    // the version documents refuse bad versions as resources do, everything else as the router does
    let shape = if route.path == "/" {
        Shape::Controller
    } else {
        Shape::Routing
    };
    let Some(endpoint) = endpoint_of(route, request.method()) else {
        return finish_fault(method_not_allowed(route), Minor(MIN_MINOR));
    };
    let version = match negotiate(request.headers(), shape) {
        Ok(version) => version,
        Err(fault) => return finish_fault(fault, Minor(MIN_MINOR)),
    };
    if version.0 < endpoint.since {
        return finish_fault(too_old(endpoint, version), version);
    }
    match call(state, access, (route, endpoint), params, version, request).await {
        Ok(call) => match answered(call, route, endpoint).await {
            Ok(answer) => finish(answer, version),
            Err(fault) => finish_fault(fault, version),
        },
        Err(fault) => finish_fault(fault, version),
    }
}

/// Asks the policy, then the handler.
async fn answered(
    call: Call,
    route: &'static Route,
    endpoint: &'static Endpoint,
) -> Result<Answer, ApiFault> {
    guard(&call, route, endpoint).await?;
    let must_ask = call.policed() && left_to_handler(route, endpoint);
    let asked = Arc::clone(&call.asked);
    let requester = call.caller.requester();
    let answering = AssertUnwindSafe((endpoint.handler)(call)).catch_unwind();
    let answered = match requester {
        Some(requester) => requester.asks(answering).await,
        None => answering.await,
    };
    let outcome = answered.unwrap_or_else(|_panic| {
        tracing::error!(
            route = route.path,
            "BUG: a request made its handler panic; the request was refused, nothing else is harmed"
        );
        Err(ApiFault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The request met a bug of the service; its log has the details.",
        ))
    });
    if must_ask && outcome.is_ok() && !asked.was() {
        tracing::error!(
            route = route.path,
            policy = endpoint.policy,
            "BUG: a handler did not ask the policy; the answer was withheld"
        );
        return Err(ApiFault::new(
            StatusCode::FORBIDDEN,
            format!(
                "Access was denied to the following resource: {}",
                endpoint.policy
            ),
        ));
    }
    outcome
}

fn endpoint_of(route: &'static Route, method: &http::Method) -> Option<&'static Endpoint> {
    // the documents that anyone may read answer HEAD like GET; hyper drops the body
    let name = if method == http::Method::HEAD && route.public {
        "GET"
    } else {
        method.as_str()
    };
    route.endpoints.iter().find(|e| e.method.as_str() == name)
}

fn method_not_allowed(route: &Route) -> ApiFault {
    let mut allowed: Vec<&str> = route.endpoints.iter().map(|e| e.method.as_str()).collect();
    allowed.sort_unstable();
    ApiFault::unrouted(StatusCode::METHOD_NOT_ALLOWED, "")
        .with_header(header::ALLOW, allowed.join(", "))
}

fn too_old(endpoint: &Endpoint, version: Minor) -> ApiFault {
    match endpoint.below {
        Below::NotFound => ApiFault::not_found("Resource could not be found."),
        Below::NotYet => ApiFault::not_found(format!(
            "This endpoint is supported starting with the API version 1.{}",
            endpoint.since
        )),
        Below::Unsupported => ApiFault::not_found("The API is not supported for this version"),
        Below::Unreadable if version.0 >= 89 => {
            ApiFault::not_found("The resource could not be found.")
        }
        Below::Unrouted | Below::Unreadable => ApiFault::unrouted(StatusCode::NOT_FOUND, ""),
        Below::NoShards => ApiFault::not_found("The API version does not allow shards"),
        Below::NotAcceptable => ApiFault::not_acceptable(),
        Below::Says(status, text) => ApiFault::new(known_status(status), text),
        Below::RouterSays(status, text) => ApiFault::unrouted(known_status(status), text),
    }
}

fn known_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND)
}

async fn call(
    state: ApiState,
    access: Arc<Access>,
    (route, endpoint): (&'static Route, &'static Endpoint),
    params: Vec<(String, String)>,
    version: Minor,
    request: Request,
) -> Result<Call, ApiFault> {
    let (parts, incoming) = request.into_parts();
    let api = &state.config.api;
    let kib = match route.body {
        BodySize::Ordinary => api.max_json_body_size,
        BodySize::Provision => api.max_json_body_size_provision,
        BodySize::Inspection => api.max_json_body_size_inspection,
    };
    let limit = usize::try_from(kib)
        .unwrap_or(usize::MAX)
        .saturating_mul(1024);
    let body = body::read(&parts.headers, incoming, limit, api.max_json_body_depth).await?;
    let prelude = parts.extensions.get::<Prelude>().cloned();
    Ok(Call {
        version,
        method: endpoint.method,
        base: base_url(&state, &parts.headers),
        params,
        query: query(parts.uri.query().unwrap_or_default()),
        body,
        caller: prelude
            .as_ref()
            .map_or_else(|| Arc::new(access.anybody()), |p| Arc::clone(&p.caller)),
        json_suffix: prelude.is_some_and(|p| p.json_suffix),
        stopping: parts
            .extensions
            .get::<Stopping>()
            .map(|stopping| stopping.0.clone())
            .unwrap_or_default(),
        headers: parts.headers,
        access,
        asked: Arc::new(Asked::default()),
        state,
    })
}

fn query(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// `[api] public_endpoint`, else what the request was sent to.
fn base_url(state: &ApiState, headers: &HeaderMap) -> String {
    if let Some(endpoint) = &state.config.api.public_endpoint {
        return endpoint.trim_end_matches('/').to_owned();
    }
    let host = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .filter(|host| {
            !host.is_empty()
                && host.bytes().all(|b| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'.' | b':' | b'-' | b'_' | b'[' | b']')
                })
        });
    match host {
        Some(host) => format!("{}://{host}", state.config.api_scheme()),
        None => state.config.callback_url(),
    }
}

fn finish(answer: Answer, version: Minor) -> Response {
    let (body, content_type) = match answer.body {
        AnswerBody::Empty => (Body::empty(), None),
        AnswerBody::Json(bytes) => (Body::from(bytes), Some("application/json")),
        AnswerBody::JsonStream(body) => (body, Some("application/json")),
        AnswerBody::EventStream(body) => (body, Some("text/event-stream")),
        AnswerBody::File(bytes) => (Body::from(bytes), Some("application/octet-stream")),
        AnswerBody::Text(text) => (Body::from(text), Some("text/plain; charset=UTF-8")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    if let Some(content_type) = content_type {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(location) = answer.location.and_then(|l| HeaderValue::from_str(&l).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    add_versions(&mut response, VersionHeaders::All, version);
    response
}

fn finish_fault(fault: ApiFault, version: Minor) -> Response {
    let versions = fault.versions;
    let said = Said(fault.text.as_str().into());
    let mut response = fault.into_response();
    response.extensions_mut().insert(said);
    add_versions(&mut response, versions, version);
    response
}

fn add_versions(response: &mut Response, which: VersionHeaders, version: Minor) {
    if which == VersionHeaders::None {
        return;
    }
    let headers = response.headers_mut();
    let mut set = |name: &'static str, minor: u16| {
        if let Ok(value) = HeaderValue::from_str(&format!("1.{minor}")) {
            headers.insert(name, value);
        }
    };
    set(MINIMUM, MIN_MINOR);
    set(MAXIMUM, MAX_MINOR);
    if which == VersionHeaders::All {
        set(REQUESTED, version.0);
    }
}
