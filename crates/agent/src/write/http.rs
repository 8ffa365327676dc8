//! The image server as a client sees it: probing, ranges, one long sequential transfer that survives breaks.
//!
//! A 4xx answer is final; everything else is tried again, ten seconds apart, as often as the settings say. A break in the
//! middle goes on from where it stopped (`Range`, guarded by `If-Range`), or by reading and dropping what is already
//! there when the server knows no ranges. Specification: RFC 9110 sections 13.1.5, 14.
//!
//! Must never put credentials, a URL's query (signatures live there) or a body into an error or the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use bessemer_image::{Class, RangeSource};
use bessemer_wire::ImageInfo;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use crate::error::{Failure, chain};
use crate::settings::Settings;

/// Pieces in which bytes are handed on.
pub const CHUNK: usize = 512 * 1024;
/// What the first request asks for: enough to name the format.
const PROBE: usize = bessemer_image::HEAD_LEN;
/// A checksum file of a whole distribution has some thousand lines.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Why a request failed for good, as a sentence; `status` when the server said so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct FetchError {
    pub sentence: String,
    pub status: Option<u16>,
    /// Whether the same request may work later.
    pub transient: bool,
}

/// Without user, password and query.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let had_query = url.query().is_some();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    if had_query {
        format!("{url}?…")
    } else {
        url.to_string()
    }
}

/// How to talk to the server of one image.
pub struct ImageServer {
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    retries: u32,
    retry_interval: Duration,
    deadline: Option<Instant>,
}

impl ImageServer {
    /// Timeouts and retries from the settings, credentials and proxies from the image.
    pub fn new(
        settings: &Settings,
        tls: &rustls::ClientConfig,
        image: &ImageInfo,
    ) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .no_proxy()
            .http1_only()
            .connect_timeout(settings.image_connection_timeout)
            .read_timeout(settings.image_connection_timeout)
            .user_agent(concat!("bessemer-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(proxies) = &image.proxies {
            let exempt = image
                .no_proxy
                .as_deref()
                .and_then(reqwest::NoProxy::from_string);
            let bad = |e: reqwest::Error| {
                Failure::InvalidParams(format!("image_info.proxies: {}", chain(&e.without_url())))
            };
            if let Some(proxy) = &proxies.http {
                builder = builder.proxy(
                    reqwest::Proxy::http(proxy)
                        .map_err(bad)?
                        .no_proxy(exempt.clone()),
                );
            }
            if let Some(proxy) = &proxies.https {
                builder =
                    builder.proxy(reqwest::Proxy::https(proxy).map_err(bad)?.no_proxy(exempt));
            }
        }
        let client = builder.build().map_err(|e| {
            Failure::Execution(format!("the HTTP client cannot be made: {}", chain(&e)))
        })?;
        Ok(Self {
            client,
            authorization: authorization(image)?,
            retries: settings.image_retries,
            retry_interval: settings.image_retry_interval,
            deadline: Some(settings.image_max_duration)
                .filter(|d| !d.is_zero())
                .and_then(|d| Instant::now().checked_add(d)),
        })
    }

    /// One request, no retries. `Ok` only with a success status.
    async fn once(&self, url: &Url, headers: &HeaderMap) -> Result<reqwest::Response, FetchError> {
        let mut request = self
            .client
            .get(url.clone())
            .headers(headers.clone())
            // offsets mean bytes of the file, so nobody may compress on the way
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        let response = request.send().await.map_err(|e| FetchError {
            sentence: format!(
                "{} cannot be fetched: {}",
                shown(url),
                chain(&e.without_url())
            ),
            status: None,
            transient: true,
        })?;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let advice = match status.as_u16() {
            401 | 403 => "; check the credentials of the image server",
            404 | 410 => "; check image_source, or that the file is there",
            _ => "",
        };
        Err(FetchError {
            sentence: format!("{} answered {status}{advice}", shown(url)),
            status: Some(status.as_u16()),
            transient: !status.is_client_error(),
        })
    }

    /// With retries, as long as the failure may pass.
    async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<reqwest::Response, FetchError> {
        let mut attempt = 0;
        loop {
            let error = match self.once(url, headers).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.pause(&mut attempt, error).await?;
        }
    }

    /// Waits before the next attempt, or gives the error back when there is none.
    async fn pause(&self, attempt: &mut u32, error: FetchError) -> Result<(), FetchError> {
        if !error.transient {
            return Err(error);
        }
        if *attempt >= self.retries {
            return Err(FetchError {
                sentence: format!(
                    "{} ({} attempts, {} s apart)",
                    error.sentence,
                    attempt.saturating_add(1),
                    self.retry_interval.as_secs_f64()
                ),
                ..error
            });
        }
        if self.is_late() {
            return Err(late(&error.sentence));
        }
        *attempt = attempt.saturating_add(1);
        tracing::warn!(
            "{error}; attempt {} of {} in {} s",
            attempt.saturating_add(1),
            self.retries.saturating_add(1),
            self.retry_interval.as_secs_f64()
        );
        tokio::time::sleep(self.retry_interval).await;
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|d| Instant::now() >= d)
    }

    /// Finds out what is behind a URL.
    pub async fn probe(self: &Arc<Self>, url: &Url) -> Result<Probed, FetchError> {
        let mut attempt = 0;
        loop {
            let error = match self.probe_once(url).await {
                Ok(probed) => return Ok(probed),
                Err(error) => error,
            };
            self.pause(&mut attempt, error).await?;
        }
    }

    async fn probe_once(self: &Arc<Self>, url: &Url) -> Result<Probed, FetchError> {
        let mut headers = HeaderMap::new();
        let last = PROBE.saturating_sub(1);
        if let Ok(value) = HeaderValue::from_str(&format!("bytes=0-{last}")) {
            headers.insert(header::RANGE, value);
        }
        let response = self.once(url, &headers).await?;
        let validator = validator(response.headers());
        let status = response.status();
        let range = content_range(response.headers());
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(FetchError {
                sentence: format!("{} is empty", shown(url)),
                status: Some(status.as_u16()),
                transient: false,
            });
        }
        let mut stream = Stream::new(self.clone(), url.clone());
        stream.validator = validator.clone();
        let ranges = match (status, range) {
            (StatusCode::PARTIAL_CONTENT, Some((0, total))) => {
                stream.total = Some(total);
                true
            }
            (StatusCode::PARTIAL_CONTENT, _) => {
                return Err(FetchError {
                    sentence: format!(
                        "{} answered with a range that was not asked for",
                        shown(url)
                    ),
                    status: Some(status.as_u16()),
                    transient: false,
                });
            }
            _ => {
                stream.total = content_length(response.headers());
                false
            }
        };
        stream.response = Some(response);
        let mut head = BytesMut::with_capacity(PROBE);
        while head.len() < PROBE {
            // a break here is a failed probe, not a transfer to go on with
            match stream.raw_chunk().await? {
                Some(bytes) => head.extend_from_slice(&bytes),
                None => break,
            }
        }
        if let Some(total) = stream.total {
            let expected = usize::try_from(total).unwrap_or(PROBE).min(PROBE);
            if head.len() < expected {
                return Err(FetchError {
                    sentence: format!("{} ended after {} of {total} bytes", shown(url), head.len()),
                    status: None,
                    transient: true,
                });
            }
        }
        let head = head.freeze();
        if ranges {
            // the answer was only this range; the sequential pass is a request of its own
            stream.response = None;
            stream.offset = 0;
        } else {
            stream.offset = head.len() as u64;
            stream.unread = Some(head.clone());
        }
        Ok(Probed {
            ranges,
            total: stream.total,
            head,
            stream,
        })
    }

    /// A small text, such as a checksum file.
    pub async fn text(&self, url: &Url) -> Result<String, FetchError> {
        let mut response = self.get(url, &HeaderMap::new()).await?;
        let mut body = Vec::new();
        loop {
            let part = response.chunk().await.map_err(|e| FetchError {
                sentence: format!("{} broke off: {}", shown(url), chain(&e.without_url())),
                status: None,
                transient: true,
            })?;
            let Some(part) = part else { break };
            if body.len().saturating_add(part.len()) > MAX_TEXT {
                return Err(FetchError {
                    sentence: format!("{} is longer than {MAX_TEXT} bytes", shown(url)),
                    status: None,
                    transient: false,
                });
            }
            body.extend_from_slice(&part);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

fn late(what: &str) -> FetchError {
    FetchError {
        sentence: format!(
            "{what}; the time for the image (ipa-image-download-max-duration) is over"
        ),
        status: None,
        transient: false,
    }
}

/// What a probe found.
pub struct Probed {
    /// The server answers range requests.
    pub ranges: bool,
    /// Size in bytes, when the server told it.
    pub total: Option<u64>,
    /// The first bytes.
    pub head: Bytes,
    /// The whole file from byte 0 on.
    pub stream: Stream,
}

/// One sequential pass over a file.
pub struct Stream {
    server: Arc<ImageServer>,
    url: Url,
    pub total: Option<u64>,
    validator: Option<HeaderValue>,
    response: Option<reqwest::Response>,
    /// Next byte of the file that the response gives.
    offset: u64,
    /// Bytes read by the probe and not handed on yet.
    unread: Option<Bytes>,
    /// Bytes to drop because they were delivered before a break and the server repeats them.
    skip: u64,
    /// Attempts since the last progress.
    attempt: u32,
}

impl Stream {
    fn new(server: Arc<ImageServer>, url: Url) -> Self {
        Self {
            server,
            url,
            total: None,
            validator: None,
            response: None,
            offset: 0,
            unread: None,
            skip: 0,
            attempt: 0,
        }
    }

    /// A part of the present response; `None` at its end.
    async fn raw_chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let Some(response) = &mut self.response else {
            return Ok(None);
        };
        response.chunk().await.map_err(|e| FetchError {
            sentence: format!(
                "{} broke off at byte {}: {}",
                shown(&self.url),
                self.offset,
                chain(&e.without_url())
            ),
            status: None,
            transient: true,
        })
    }

    /// Opens the response that goes on at `offset`.
    async fn reopen(&mut self) -> Result<(), FetchError> {
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            if let Ok(value) = HeaderValue::from_str(&format!("bytes={}-", self.offset)) {
                headers.insert(header::RANGE, value);
            }
            if let Some(validator) = &self.validator {
                headers.insert(header::IF_RANGE, validator.clone());
            }
        }
        let response = self.server.once(&self.url, &headers).await?;
        let changed = |what: String| FetchError {
            sentence: format!("{} changed during the transfer: {what}", shown(&self.url)),
            status: None,
            transient: false,
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = content_range(response.headers());
                let Some((_, total)) = range.filter(|(start, _)| *start == self.offset) else {
                    return Err(FetchError {
                        sentence: format!(
                            "{} answered with a range that was not asked for",
                            shown(&self.url)
                        ),
                        status: None,
                        transient: false,
                    });
                };
                if self.total.is_some_and(|known| known != total) {
                    return Err(changed(format!(
                        "it has {total} bytes now, {} before",
                        self.total.unwrap_or_default()
                    )));
                }
                self.total = Some(total);
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(changed(format!(
                    "byte {} is not there any more",
                    self.offset
                )));
            }
            _ => {
                let length = content_length(response.headers());
                if let (Some(known), Some(length)) = (self.total, length)
                    && known != length
                {
                    return Err(changed(format!(
                        "it has {length} bytes now, {known} before"
                    )));
                }
                let now = validator(response.headers());
                if self.offset > 0 && self.validator.is_some() && now != self.validator {
                    return Err(changed("it is another version".to_owned()));
                }
                self.total = self.total.or(length);
                self.skip = self.offset;
            }
        }
        if self.validator.is_none() {
            self.validator = validator(response.headers());
        }
        self.response = Some(response);
        Ok(())
    }

    /// The next bytes of the file, some to [`CHUNK`]; `None` when all were delivered.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        if let Some(bytes) = self.unread.take() {
            return Ok(Some(bytes));
        }
        let mut buffer = BytesMut::new();
        loop {
            if self.server.is_late() {
                return Err(late(&format!("{} is too slow", shown(&self.url))));
            }
            if self.total == Some(self.offset) {
                return Ok((!buffer.is_empty()).then(|| buffer.freeze()));
            }
            let outcome = if self.response.is_none() {
                self.reopen().await.map(|()| None)
            } else {
                match self.raw_chunk().await {
                    Ok(Some(bytes)) => Ok(Some(bytes)),
                    // the end of a response without a length is the end of the file
                    Ok(None) if self.total.is_none() && self.skip == 0 => {
                        self.total = Some(self.offset);
                        continue;
                    }
                    Ok(None) => Err(FetchError {
                        sentence: format!(
                            "{} ended at byte {} of {}",
                            shown(&self.url),
                            self.offset.saturating_sub(self.skip),
                            self.total.map_or_else(|| "?".to_owned(), |t| t.to_string())
                        ),
                        status: None,
                        transient: true,
                    }),
                    Err(error) => Err(error),
                }
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(mut bytes)) => {
                    if self.skip > 0 {
                        let drop = usize::try_from(self.skip)
                            .unwrap_or(usize::MAX)
                            .min(bytes.len());
                        let _ = bytes.split_to(drop);
                        self.skip = self.skip.saturating_sub(drop as u64);
                        if bytes.is_empty() {
                            continue;
                        }
                    }
                    self.offset = self.offset.saturating_add(bytes.len() as u64);
                    self.attempt = 0;
                    if buffer.is_empty() && bytes.len() >= CHUNK {
                        return Ok(Some(bytes));
                    }
                    if buffer.is_empty() {
                        buffer.reserve(CHUNK);
                    }
                    buffer.extend_from_slice(&bytes);
                    if buffer.len() >= CHUNK {
                        return Ok(Some(buffer.freeze()));
                    }
                }
                Err(error) => {
                    self.response = None;
                    self.skip = 0;
                    let mut attempt = self.attempt;
                    self.server.pause(&mut attempt, error).await?;
                    self.attempt = attempt;
                }
            }
        }
    }
}

/// A file behind a server that knows ranges.
pub struct HttpSource {
    server: Arc<ImageServer>,
    url: Url,
    size: u64,
    head: Bytes,
}

impl HttpSource {
    #[must_use]
    pub fn new(server: Arc<ImageServer>, url: Url, size: u64, head: Bytes) -> Self {
        Self {
            server,
            url,
            size,
            head,
        }
    }

    async fn read_once(&self, offset: u64, len: usize) -> Result<Bytes, FetchError> {
        let last = offset.saturating_add(len as u64).saturating_sub(1);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("bytes={offset}-{last}")) {
            headers.insert(header::RANGE, value);
        }
        let mut response = self.server.once(&self.url, &headers).await?;
        let range = content_range(response.headers());
        if response.status() != StatusCode::PARTIAL_CONTENT || range != Some((offset, self.size)) {
            return Err(FetchError {
                sentence: format!(
                    "{} does not give bytes {offset} to {last} of {} any more",
                    shown(&self.url),
                    self.size
                ),
                status: None,
                transient: false,
            });
        }
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            match response.chunk().await {
                Ok(Some(part)) => bytes.extend_from_slice(&part),
                Ok(None) => break,
                Err(error) => {
                    return Err(FetchError {
                        sentence: format!(
                            "{} broke off: {}",
                            shown(&self.url),
                            chain(&error.without_url())
                        ),
                        status: None,
                        transient: true,
                    });
                }
            }
        }
        if bytes.len() != len {
            return Err(FetchError {
                sentence: format!(
                    "{} gave {} bytes where {len} were asked for",
                    shown(&self.url),
                    bytes.len()
                ),
                status: None,
                transient: true,
            });
        }
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl RangeSource for HttpSource {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, bessemer_image::Error> {
        let known = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(len)?))
            .filter(|range| self.head.get(range.clone()).is_some());
        if let Some(range) = known {
            return Ok(self.head.slice(range));
        }
        let mut attempt = 0;
        loop {
            let error = match self.read_once(offset, len).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            if let Err(error) = self.server.pause(&mut attempt, error).await {
                return Err(bessemer_image::Error::Source {
                    what: error.sentence,
                    class: if error.transient {
                        Class::RetryLater
                    } else {
                        Class::Never
                    },
                    source: None,
                });
            }
        }
    }
}

/// What makes two answers the same file: a strong entity tag, else the date.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(header::ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        .or_else(|| headers.get(header::LAST_MODIFIED))
        .cloned()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// First byte and total of `Content-Range: bytes 0-99/1234`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    parse_content_range(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total: u64 = total.trim().parse().ok()?;
    (first <= last && last < total).then_some((first, total))
}

/// Fuzz target: headers of an image server.
pub fn fuzz_headers(data: &[u8]) {
    let _ = parse_content_range(&String::from_utf8_lossy(data));
}

/// `Authorization` of this image's server, in upstream's order: the ready header, then user and password.
fn authorization(image: &ImageInfo) -> Result<Option<HeaderValue>, Failure> {
    let engine = base64::engine::general_purpose::STANDARD;
    let bad = |what: &str| Failure::InvalidParams(format!("image_info.{what}"));
    let text = if let Some(encoded) = &image.image_request_authorization {
        let decoded = engine
            .decode(encoded.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| bad("image_request_authorization is not base64 of text"))?;
        let lower = decoded.to_ascii_lowercase();
        if lower.starts_with("basic ") || lower.starts_with("bearer ") {
            decoded
        } else if decoded.contains(':') {
            format!("Basic {}", engine.encode(decoded))
        } else {
            format!("Bearer {decoded}")
        }
    } else {
        match image.image_server_auth_strategy.as_deref() {
            Some("http_basic") => {
                let (Some(user), Some(password)) =
                    (&image.image_server_user, &image.image_server_password)
                else {
                    return Err(bad(
                        "image_server_auth_strategy is http_basic, but user or password is missing",
                    ));
                };
                format!("Basic {}", engine.encode(format!("{user}:{password}")))
            }
            None | Some("" | "noauth") => return Ok(None),
            Some(other) => {
                return Err(bad(&format!(
                    "image_server_auth_strategy {other:?} is not known; http_basic and noauth are"
                )));
            }
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| bad("image_request_authorization cannot be a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes 0-99/1234", Some((0, 1234))),
            ("bytes 5-5/6", Some((5, 6))),
            ("bytes 5-5/*", None),
            ("bytes */6", None),
            ("bytes 7-5/9", None),
            ("bytes 0-9/9", None),
            ("lines 0-9/19", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(text), expected, "{text}");
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, expected) in [
            ("http://u:p@h:81/a/b.qcow2", "http://h:81/a/b.qcow2"),
            ("https://h/a?temp_url_sig=secret#f", "https://h/a?…"),
        ] {
            assert_eq!(shown(&Url::parse(url).unwrap()), expected);
        }
    }

    #[test]
    fn authorization_header() {
        let b64 = |t: &str| base64::engine::general_purpose::STANDARD.encode(t);
        let image = |ready: Option<&str>, strategy: Option<&str>| ImageInfo {
            image_request_authorization: ready.map(b64),
            image_server_auth_strategy: strategy.map(str::to_owned),
            image_server_user: Some("u".into()),
            image_server_password: Some("p".into()),
            ..ImageInfo::default()
        };
        for (image, expected) in [
            (image(Some("a:b"), None), Some("Basic YTpi")),
            (image(Some("token"), None), Some("Bearer token")),
            (
                image(Some("Bearer x"), Some("http_basic")),
                Some("Bearer x"),
            ),
            (image(None, Some("http_basic")), Some("Basic dTpw")),
            (image(None, None), None),
        ] {
            let value = authorization(&image).unwrap();
            assert_eq!(value.as_ref().map(|v| v.to_str().unwrap()), expected);
        }
        assert!(authorization(&image(None, Some("kerberos"))).is_err());
    }
}
