//! HTTP to one BMC: authentication, bounded answers, ETags, collections in pages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore};

use crate::error::Error;
use crate::message::messages;
use crate::resource::{Resource, list, text};
use crate::session::{Credentials, Login};
use crate::target::Target;
use crate::tls::Transports;

/// Longest body that is read, in bytes. Attribute registries of large boards have some megabytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;
/// Requests that one BMC gets at once.
const AT_ONCE: usize = 4;
/// Pages of a collection, and members of it, that are read.
const MAX_PAGES: usize = 200;
const MAX_MEMBERS: usize = 10_000;
/// Sessions that one request is tried with.
const SESSIONS: usize = 3;
/// Redirections of one request.
const MAX_REDIRECTS: usize = 3;
/// Longest time that a BMC's `Retry-After` is waited for here; longer ones are the caller's.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// One request, from the first byte sent to the last one read.
    pub request: Duration,
    /// Tries of a reading request that finds the BMC away or busy.
    pub attempts: u32,
    /// Between them.
    pub pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(60),
            attempts: 3,
            pause: Duration::from_millis(500),
        }
    }
}

/// What came back, whatever its status.
#[derive(Debug)]
pub(crate) struct Raw {
    pub path: String,
    pub status: u16,
    pub etag: Option<String>,
    pub location: Option<String>,
    pub token: Option<String>,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// A success of a changing request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Path of what was made, or of the task's monitor (202).
    pub location: Option<String>,
    pub retry_after: Option<Duration>,
    /// Null when there was none, or none that is JSON.
    pub body: Value,
}

impl Answer {
    /// Path of the task's monitor, when the BMC works on.
    #[must_use]
    pub fn monitor(&self) -> Option<&str> {
        if self.status != 202 {
            return None;
        }
        self.location
            .as_deref()
            .or_else(|| text(&self.body, &["@odata.id"]))
    }
}

pub(crate) struct Inner {
    pub target: Target,
    pub shown: String,
    timing: Timing,
    http: reqwest::Client,
    pub login: tokio::sync::Mutex<Login>,
    root: OnceCell<Resource>,
    pub system: OnceCell<String>,
    gate: Semaphore,
}

/// A client of one BMC; cheap to clone. Requests of all clones share the session and wait for each other, four at once.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// `Debug` shows the address alone.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.0.shown)
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "read",
        "PATCH" | "PUT" => "change",
        "DELETE" => "delete",
        _ => "post to",
    }
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the certificates that are to be trusted cannot be read.
    pub fn new(target: Target, timing: Timing, transports: &Transports) -> Result<Self, Error> {
        let shown = target.address.to_string();
        let http = transports
            .get(&target.tls)
            .map_err(|why| Error::InvalidTarget {
                address: shown.clone(),
                why,
            })?;
        Ok(Self(Arc::new(Inner {
            target,
            shown,
            timing,
            http,
            login: tokio::sync::Mutex::default(),
            root: OnceCell::new(),
            system: OnceCell::new(),
            gate: Semaphore::new(AT_ONCE),
        })))
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.shown
    }

    pub(crate) fn missing(&self, what: impl Into<String>) -> Error {
        Error::Missing {
            address: self.0.shown.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn malformed(&self, operation: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Malformed {
            address: self.0.shown.clone(),
            operation: operation.into(),
            why: why.into(),
        }
    }

    /// The path of a link that the BMC gave.
    pub(crate) fn local(&self, link: &str) -> Result<String, Error> {
        self.0
            .target
            .address
            .local(link)
            .map_err(|why| self.malformed("follow a link of its own", why))
    }

    /// The service root, read once. It is the one document that needs no account.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn root(&self) -> Result<&Resource, Error> {
        self.0
            .root
            .get_or_try_init(|| async {
                let path = self.0.target.address.root().to_owned();
                let raw = self.patient(&path, &Credentials::None).await?;
                // some boards want an account even here
                let raw = if raw.status == 401 {
                    self.patient(&path, &self.basic()).await?
                } else {
                    raw
                };
                self.document(raw)
            })
            .await
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Unreachable, refused, or not a JSON object.
    pub async fn get(&self, link: &str) -> Result<Resource, Error> {
        let path = self.local(link)?;
        let raw = self.authorized(&Method::GET, &path, None, None).await?;
        self.document(raw)
    }

    fn document(&self, raw: Raw) -> Result<Resource, Error> {
        let raw = self.accepted(&Method::GET, raw)?;
        let operation = format!("read {}", raw.path);
        let body: Value = serde_json::from_slice(&raw.body)
            .map_err(|e| self.malformed(&operation, format!("it is not JSON: {e}")))?;
        if !body.is_object() {
            return Err(self.malformed(operation, "it is not an object"));
        }
        Ok(Resource::new(raw.path, raw.etag, body))
    }

    /// Changes members. The ETag that was read with them goes along; where the BMC says that it is no longer true, or wants one,
    /// it is read anew, once; boards that refuse their own weak tags get them in the strong form, and at last none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn patch(
        &self,
        link: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Answer, Error> {
        let path = self.local(link)?;
        let mut raw = self
            .authorized(&Method::PATCH, &path, Some(body), etag)
            .await?;
        if matches!(raw.status, 412 | 428) {
            let fresh = self.get(&path).await?.etag().map(str::to_owned);
            let strong = fresh
                .as_deref()
                .and_then(|tag| tag.strip_prefix("W/"))
                .map(str::to_owned);
            for tag in [fresh.clone(), strong, None] {
                raw = self
                    .authorized(&Method::PATCH, &path, Some(body), tag.as_deref())
                    .await?;
                if !matches!(raw.status, 412 | 428) {
                    break;
                }
            }
        }
        self.answer(&Method::PATCH, raw)
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, link: &str, body: &Value) -> Result<Answer, Error> {
        let path = self.local(link)?;
        let raw = self
            .authorized(&Method::POST, &path, Some(body), None)
            .await?;
        self.answer(&Method::POST, raw)
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, link: &str) -> Result<Answer, Error> {
        let path = self.local(link)?;
        let raw = self.authorized(&Method::DELETE, &path, None, None).await?;
        self.answer(&Method::DELETE, raw)
    }

    pub(crate) fn answer(&self, method: &Method, raw: Raw) -> Result<Answer, Error> {
        let raw = self.accepted(method, raw)?;
        // a location that leads elsewhere is of no use to us, and no reason to fail
        let location = raw
            .location
            .as_deref()
            .and_then(|l| self.0.target.address.local(l).ok());
        Ok(Answer {
            status: raw.status,
            location,
            retry_after: raw.retry_after,
            body: serde_json::from_slice(&raw.body).unwrap_or_default(),
        })
    }

    /// Paths of a collection's members, over all its pages.
    ///
    /// # Errors
    /// As [`Client::get`]; pages that lead back to each other.
    pub async fn member_paths(&self, link: &str) -> Result<Vec<String>, Error> {
        Ok(self
            .pages(link)
            .await?
            .into_iter()
            .map(|m| match m {
                Member::At(path) => path,
                Member::Here(resource) => resource.path().to_owned(),
            })
            .collect())
    }

    /// A collection's members, over all its pages. Those that the BMC lists and does not have are left out.
    ///
    /// # Errors
    /// As [`Client::member_paths`].
    pub async fn members(&self, link: &str) -> Result<Vec<Resource>, Error> {
        let mut all = Vec::new();
        for member in self.pages(link).await? {
            match member {
                Member::Here(resource) => all.push(resource),
                Member::At(path) => match self.get(&path).await {
                    Ok(resource) => all.push(resource),
                    Err(error) if error.is_missing() => {
                        tracing::debug!("{error}, although it is listed");
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(all)
    }

    async fn pages(&self, link: &str) -> Result<Vec<Member>, Error> {
        let first = self.local(link)?;
        let operation = format!("list {first}");
        let mut seen = HashSet::new();
        let mut found = HashSet::new();
        let mut all = Vec::new();
        let mut next = Some(first);
        while let Some(path) = next {
            if !seen.insert(path.clone()) {
                return Err(self.malformed(operation, "its pages lead back to each other"));
            }
            if seen.len() > MAX_PAGES {
                return Err(self.malformed(operation, format!("more than {MAX_PAGES} pages")));
            }
            let page = self.get(&path).await?;
            for member in page.list(&["Members"]) {
                let Some(link) = crate::resource::link(member) else {
                    continue;
                };
                let path = self.local(link)?;
                if !found.insert(path.clone()) {
                    continue;
                }
                // with $expand, and on some boards always, the members themselves stand here
                let whole = member.as_object().is_some_and(|m| m.len() > 2);
                all.push(if whole {
                    Member::Here(Resource::new(path, None, member.clone()))
                } else {
                    Member::At(path)
                });
                if all.len() > MAX_MEMBERS {
                    return Err(
                        self.malformed(operation, format!("more than {MAX_MEMBERS} members"))
                    );
                }
            }
            next = page
                .text(&["Members@odata.nextLink"])
                .or_else(|| page.text(&["@odata.nextLink"]))
                .map(|l| self.local(l))
                .transpose()?;
        }
        Ok(all)
    }

    /// Values that an action takes for a parameter: those in place, else those of its `ActionInfo`; empty when it names none.
    ///
    /// # Errors
    /// As [`Client::get`]; an `ActionInfo` that is not there is none.
    pub async fn allowed(
        &self,
        of: &Resource,
        action: &str,
        parameter: &str,
    ) -> Result<Vec<String>, Error> {
        if let Some(values) = of.allowed(action, parameter) {
            return Ok(values);
        }
        let Some(info) = of.action(action).and_then(|a| a.info) else {
            return Ok(Vec::new());
        };
        let info = match self.get(&info).await {
            Ok(info) => info,
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let values = list(info.body(), &["Parameters"])
            .iter()
            .find(|p| text(p, &["Name"]) == Some(parameter))
            .and_then(|p| crate::resource::texts(p.get("AllowableValues")?))
            .unwrap_or_default();
        Ok(values)
    }

    /// With the account; a session that the BMC has dropped is made anew. That it let the user in shows that the password
    /// is right, so a session that is dropped again is no refusal of the account.
    pub(crate) async fn authorized(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Raw, Error> {
        for _ in 0..SESSIONS {
            let credentials = self.credentials().await?;
            let raw = self
                .repeated(method, path, body, etag, &credentials)
                .await?;
            if raw.status != 401 {
                return Ok(raw);
            }
            if !self.forget(&credentials).await {
                return Err(self.not_let_in());
            }
        }
        Err(Error::SessionsEnded {
            address: self.0.shown.clone(),
            user: self.0.target.username.clone(),
            times: SESSIONS,
        })
    }

    pub(crate) fn not_let_in(&self) -> Error {
        Error::AuthenticationFailed {
            address: self.0.shown.clone(),
            user: self.0.target.username.clone(),
        }
    }

    async fn repeated(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        credentials: &Credentials,
    ) -> Result<Raw, Error> {
        if method == Method::GET {
            self.patient(path, credentials).await
        } else {
            self.once(method, path, body, etag, credentials).await
        }
    }

    /// Reading harms nothing, so a BMC that is busy or drops the line is asked again.
    async fn patient(&self, path: &str, credentials: &Credentials) -> Result<Raw, Error> {
        let mut attempt = 1;
        loop {
            let result = self.once(&Method::GET, path, None, None, credentials).await;
            let pause = match &result {
                Ok(raw) if matches!(raw.status, 429 | 502 | 503 | 504) => raw
                    .retry_after
                    .unwrap_or(self.0.timing.pause)
                    .min(MAX_RETRY_AFTER),
                Err(Error::Unreachable { .. }) => self.0.timing.pause,
                _ => return result,
            };
            if attempt >= self.0.timing.attempts {
                return result;
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// One request, and the redirections within the BMC that it leads through.
    pub(crate) async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        credentials: &Credentials,
    ) -> Result<Raw, Error> {
        let operation = format!("{} {path}", verb(method));
        let _turn = self
            .0
            .gate
            .acquire()
            .await
            .map_err(|_| self.malformed(&operation, "the client is closed"))?;
        let deadline = Instant::now() + self.0.timing.request;
        let mut path = path.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let url = self.0.target.address.url(&path);
            let mut request = self
                .0
                .http
                .request(method.clone(), url)
                .header("Accept", "application/json")
                .header("OData-Version", "4.0");
            if let Some(body) = body {
                request = request.json(body);
            } else if method == Method::POST {
                request = request.header("Content-Length", "0");
            }
            if let Some(tag) = etag {
                request = request.header("If-Match", tag);
            }
            request = match credentials {
                Credentials::None => request,
                Credentials::Basic => request.basic_auth(
                    &self.0.target.username,
                    Some(self.0.target.password.expose_secret()),
                ),
                Credentials::Session { token, .. } => {
                    request.header("X-Auth-Token", token.expose_secret())
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let raw = tokio::time::timeout(left, self.exchange(request, &path, &operation))
                .await
                .map_err(|_| Error::TimedOut {
                    address: self.0.shown.clone(),
                    operation: operation.clone(),
                    after: self.0.timing.request,
                })??;
            let follow = match raw.status {
                307 | 308 => true,
                301..=303 => method == Method::GET,
                _ => false,
            };
            let Some(location) = raw.location.as_deref().filter(|_| follow) else {
                return Ok(raw);
            };
            // the account's password must not go elsewhere, nor from https to http
            if location.starts_with("https://") && !self.0.target.address.is_https() {
                return Err(Error::InvalidTarget {
                    address: self.0.shown.clone(),
                    why: "the BMC sends callers to https; use https in the address".into(),
                });
            }
            path = self
                .0
                .target
                .address
                .local(location)
                .map_err(|why| self.malformed(&operation, why))?;
        }
        Err(self.malformed(operation, "it redirects in circles"))
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        path: &str,
        operation: &str,
    ) -> Result<Raw, Error> {
        let mut response = request
            .send()
            .await
            .map_err(|e| self.transport(&e, operation))?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let mut raw = Raw {
            path: path.to_owned(),
            status: response.status().as_u16(),
            etag: header("etag"),
            location: header("location"),
            token: header("x-auth-token"),
            retry_after: header("retry-after")
                .and_then(|v| v.parse().ok())
                .map(Duration::from_secs),
            body: Vec::new(),
        };
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| self.transport(&e, operation))?
        {
            if raw.body.len() + chunk.len() > MAX_BODY {
                return Err(self.malformed(operation, format!("more than {MAX_BODY} bytes")));
            }
            raw.body.extend_from_slice(&chunk);
        }
        Ok(raw)
    }

    fn transport(&self, error: &reqwest::Error, operation: &str) -> Error {
        if let Some(tls) = tls_error(error, 0) {
            return Error::Untrusted {
                address: self.0.shown.clone(),
                why: tls_words(tls),
            };
        }
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        let mut why = String::new();
        while let Some(error) = cause {
            why = error.to_string();
            cause = error.source();
        }
        Error::Unreachable {
            address: self.0.shown.clone(),
            operation: operation.to_owned(),
            why,
        }
    }

    /// The answer, or the refusal in the BMC's own words.
    fn accepted(&self, method: &Method, raw: Raw) -> Result<Raw, Error> {
        if (200..300).contains(&raw.status) {
            return Ok(raw);
        }
        let told = messages(&raw.body);
        let why = if told.text.is_empty() {
            "without a reason".to_owned()
        } else {
            self.redacted(&told.text)
        };
        Err(Error::Refused {
            address: self.0.shown.clone(),
            operation: format!("{} {}", verb(method), raw.path),
            status: raw.status,
            ids: told.ids,
            why,
        })
    }

    /// A BMC may repeat what it was sent.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let password = self.0.target.password.expose_secret();
        if password.is_empty() {
            return text.to_owned();
        }
        text.replace(password, "******")
    }
}

enum Member {
    At(String),
    Here(Resource),
}

/// The TLS error that lies below; an I/O error does not name what it wraps as its source.
fn tls_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
    depth: u8,
) -> Option<&'a rustls::Error> {
    if depth > 8 {
        return None;
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    if let Some(found) = wrapped.and_then(|inner| tls_error(inner, depth + 1)) {
        return Some(found);
    }
    tls_error(error.source()?, depth + 1)
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            C::UnknownIssuer => "its certificate is of an authority that is not trusted".to_owned(),
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            C::ApplicationVerificationFailure => {
                "its certificate is not the one that is trusted".to_owned()
            }
            other => format!("its certificate is not accepted ({other:?})"),
        },
        other => other.to_string(),
    }
}
