//! Writing an image: a real download with a real checksum, onto a disk that remembers only what it was.
//!
//! Sizes and formats are checked as far as they can be without a disk: the image must fit, be what it is declared to
//! be, and a qcow2's header must be sound. Must never log a URL's query or a password.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bessemer_wire::ImageInfo;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value};
use sha2::Digest;
use tokio::time::Instant;
use url::Url;

use super::failure::Failure;
use super::registry::Progress;
use super::{Agent, pause};
use crate::boot::fetch::sentence;
use crate::fault::Fault;
use crate::host::WriteError;

/// Tries of one URL; upstream has ten.
const ATTEMPTS: usize = 4;
const RETRY: Duration = Duration::from_secs(10);
/// Bytes that are looked at before anything is written.
const HEADER: usize = 512;
const MAX_CONFIG_DRIVE: usize = 64 * 1024 * 1024;
const MAX_CHECKSUM_FILE: usize = 1 << 20;
/// A write is paced in at most so many pieces.
const PIECES: u64 = 64;

/// What to write.
#[derive(Debug)]
pub struct Order {
    info: ImageInfo,
    config_drive: Option<String>,
}

impl Order {
    pub fn parse(params: &Map<String, Value>) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::invalid_params(format!("image_info: {what}"));
        let info = params
            .get("image_info")
            .ok_or_else(|| bad("it is missing"))?;
        // the parser's own error may quote a password
        let info: ImageInfo =
            serde_json::from_value(info.clone()).map_err(|_| bad("a member has the wrong type"))?;
        if info.id.is_empty() || info.urls.is_empty() {
            return Err(bad("id and urls must not be empty"));
        }
        if info.image_type.as_deref() == Some("partition") {
            return Err(bad("a simulated disk takes whole-disk images only"));
        }
        if info
            .proxies
            .as_ref()
            .is_some_and(|p| p.http.is_some() || p.https.is_some())
        {
            return Err(bad("a simulated host uses no proxies"));
        }
        let config_drive = match params.get("configdrive") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(Failure::invalid_params("configdrive must be text")),
        };
        Ok(Self { info, config_drive })
    }
}

/// A checksum that the image must have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
    Sha512,
}

impl Algorithm {
    fn of_length(hex: &str) -> Option<Self> {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match hex.len() {
            32 => Some(Self::Md5),
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        match name {
            "md5" => Some(Self::Md5),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// The digest that is asked for, and SHA-256 for the log.
struct Digests {
    sha256: sha2::Sha256,
    sha512: Option<sha2::Sha512>,
    md5: Option<md5::Md5>,
}

impl Digests {
    fn new(algorithm: Algorithm) -> Self {
        Self {
            sha256: sha2::Sha256::new(),
            sha512: (algorithm == Algorithm::Sha512).then(sha2::Sha512::new),
            md5: (algorithm == Algorithm::Md5).then(md5::Md5::new),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(digest) = &mut self.sha512 {
            digest.update(bytes);
        }
        if let Some(digest) = &mut self.md5 {
            digest.update(bytes);
        }
    }

    /// The one that was asked for, and SHA-256.
    fn finish(self) -> (String, String) {
        let sha256 = hex::encode(self.sha256.finalize());
        let asked = match (self.sha512, self.md5) {
            (Some(digest), _) => hex::encode(digest.finalize()),
            (None, Some(digest)) => hex::encode(digest.finalize()),
            (None, None) => sha256.clone(),
        };
        (asked, sha256)
    }
}

/// What the first bytes of an image say.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    Raw,
    Qcow2 {
        virtual_size: u64,
        /// Bytes that the file must at least have.
        least: u64,
        backing: bool,
    },
}

fn look_at_header(bytes: &[u8]) -> Result<Format, &'static str> {
    if !bytes.starts_with(b"QFI\xfb") {
        return Ok(Format::Raw);
    }
    let field = |at: usize| -> Result<u64, &'static str> {
        let eight = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
        eight
            .map(|b| u64::from_be_bytes(*b))
            .ok_or("the qcow2 header is cut off")
    };
    let half = |at: usize| -> Result<u32, &'static str> {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        four.map(|b| u32::from_be_bytes(*b))
            .ok_or("the qcow2 header is cut off")
    };
    if !(2..=3).contains(&half(4)?) {
        return Err("a qcow2 of an unknown version");
    }
    let l1_table = field(40)?;
    let tables = u64::from(half(36)?)
        .checked_mul(8)
        .and_then(|size| size.checked_add(l1_table));
    Ok(Format::Qcow2 {
        virtual_size: field(24)?,
        least: tables.ok_or("the qcow2 header is impossible")?,
        backing: field(8)? != 0,
    })
}

/// Fuzz target: headers of images.
pub(crate) fn fuzz_header(data: &[u8]) {
    let _ = look_at_header(data);
}

/// The checksum of `file` in a checksum file: the only one, or the one on its line, in GNU's or BSD's form.
fn parse_checksum_file(text: &str, file: &str) -> Option<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if let [only] = lines.as_slice()
        && Algorithm::of_length(only).is_some()
    {
        return Some((*only).to_owned());
    }
    lines.iter().find_map(|line| {
        let (name, hex) = match line.split_once(" = ") {
            Some((head, hex)) => (head.split_once('(')?.1.strip_suffix(')')?, hex),
            None => {
                let (hex, name) = line.split_once(char::is_whitespace)?;
                (name.trim_start().trim_start_matches('*'), hex)
            }
        };
        (name.rsplit('/').next() == Some(file) && Algorithm::of_length(hex).is_some())
            .then(|| hex.to_owned())
    })
}

/// Fuzz target: checksum files.
pub(crate) fn fuzz_checksum_file(data: &[u8]) {
    let _ = parse_checksum_file(&String::from_utf8_lossy(data), "image.raw");
}

/// Why a try of one URL ended.
enum Ended {
    /// Try again.
    Broken(String),
    /// This URL will not give it.
    Refused(String),
    /// No URL will.
    Failed(Failure),
}

/// Writes the image. The text is the command's result.
pub async fn write(
    agent: &Arc<Agent>,
    order: Order,
    progress: &Progress,
) -> Result<String, Failure> {
    let host = &agent.host;
    let Order { info, config_drive } = order;
    let authorization = authorization(&info)?;
    let expected = expected_checksum(agent, &info).await?;
    if expected.algorithm == Algorithm::Md5
        && !*agent
            .md5
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        return Err(Failure::checksum("MD5 checksums are switched off"));
    }
    let config_drive = match config_drive {
        Some(text) => Some(read_config_drive(agent, &text).await?),
        None => None,
    };
    let mut time = host.time(&host.chances.write, host.settings.write_seconds);
    if let Some(factor) = host.look(|state| state.faults.value(Fault::SlowWrite, 10.0)) {
        time = Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(time);
    }
    let mut writer = Writer {
        agent,
        info: &info,
        expected: &expected,
        progress,
        time,
        began: Instant::now(),
        started: false,
        bytes: 0,
        paced: 0,
    };
    let outcome = writer.try_all(authorization.as_deref()).await;
    match outcome {
        Ok(sha256) => {
            progress.finishing();
            let bytes = writer.bytes;
            host.write_finished(agent.boot, &info.id, bytes, Ok((&sha256, config_drive)));
            Ok(format!(
                "image ({}) written to device /dev/sda root_uuid=None",
                info.id
            ))
        }
        Err(failure) => {
            if writer.started {
                let error = WriteError {
                    why: failure.sentence(),
                    wiped: failure.class == "ImageChecksumError",
                };
                host.write_finished(agent.boot, &info.id, writer.bytes, Err(&error));
            }
            Err(failure)
        }
    }
}

struct Writer<'a> {
    agent: &'a Arc<Agent>,
    info: &'a ImageInfo,
    expected: &'a Expected,
    progress: &'a Progress,
    time: Duration,
    began: Instant,
    started: bool,
    bytes: u64,
    /// Bytes for which the time has passed.
    paced: u64,
}

impl Writer<'_> {
    async fn try_all(&mut self, authorization: Option<&str>) -> Result<String, Failure> {
        let mut whys = Vec::new();
        for text in &self.info.urls {
            let Ok(url) = Url::parse(text) else {
                whys.push("a URL is malformed".to_owned());
                continue;
            };
            for attempt in 1..=ATTEMPTS {
                match self.try_one(&url, authorization).await {
                    Ok(sha256) => return Ok(sha256),
                    Err(Ended::Failed(failure)) => return Err(failure),
                    Err(Ended::Refused(why)) => {
                        whys.push(why);
                        break;
                    }
                    Err(Ended::Broken(why)) => {
                        if attempt == ATTEMPTS {
                            whys.push(why);
                        } else {
                            tokio::time::sleep(pause(&self.agent.host, RETRY)).await;
                        }
                    }
                }
            }
        }
        Err(Failure::download(format!(
            "image {}: {}",
            self.info.id,
            whys.join("; ")
        )))
    }

    async fn try_one(&mut self, url: &Url, authorization: Option<&str>) -> Result<String, Ended> {
        let path = url.path();
        let mut request = self.agent.client.get(url.clone());
        if let Some(text) = authorization {
            request = request.header(http::header::AUTHORIZATION, text);
        }
        let broken = |error: reqwest::Error| Ended::Broken(format!("{path}: {}", sentence(error)));
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let why = format!("{path} answers {}", status.as_u16());
            return Err(if status.is_client_error() {
                Ended::Refused(why)
            } else {
                Ended::Broken(why)
            });
        }
        let total = response.content_length().unwrap_or(0);
        let disk = self.agent.host.disk_size();
        if total > disk && self.info.disk_format.as_deref() != Some("qcow2") {
            return Err(Ended::Failed(Failure::write(format!(
                "/dev/sda has {disk} bytes, the image has {total}"
            ))));
        }
        let mut digests = Digests::new(self.expected.algorithm);
        let mut stream = response.bytes_stream();
        let mut head: Vec<u8> = Vec::new();
        let mut least = 0;
        let mut limit = disk;
        let mut begun = false;
        self.bytes = 0;
        self.paced = 0;
        loop {
            if self.agent.host.has(Fault::NoNetwork) {
                return Err(Ended::Broken("the network is down".to_owned()));
            }
            let part = stream.next().await;
            let ended = part.is_none();
            let part = part.unwrap_or(Ok(Bytes::new())).map_err(broken)?;
            digests.update(&part);
            self.bytes = self
                .bytes
                .saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            if !begun {
                head.extend_from_slice(&part);
                if head.len() < HEADER && !ended {
                    continue;
                }
                let format = look_at_header(&head)
                    .map_err(|why| Ended::Failed(Failure::invalid_image(why)))?;
                (least, limit) = self.admit(&format, disk).map_err(Ended::Failed)?;
                begun = true;
                head = Vec::new();
                self.begin(total);
            }
            if self.bytes > limit {
                return Err(Ended::Failed(Failure::write(format!(
                    "/dev/sda has only {disk} bytes"
                ))));
            }
            self.pace(total, ended).await?;
            if ended {
                break;
            }
        }
        if self.bytes < least {
            return Err(Ended::Failed(Failure::invalid_image(format!(
                "the qcow2 file is truncated: {} bytes, its tables end at {least}",
                self.bytes
            ))));
        }
        let (got, sha256) = digests.finish();
        if got != self.expected.hex {
            return Err(Ended::Failed(Failure::checksum(format!(
                "image {} has the checksum {got}, expected was {}",
                self.info.id, self.expected.hex
            ))));
        }
        Ok(sha256)
    }

    /// Whether this may be written: the least bytes that must come, and the most.
    fn admit(&self, format: &Format, disk: u64) -> Result<(u64, u64), Failure> {
        let declared = self.info.disk_format.as_deref();
        match (format, declared) {
            (Format::Raw, Some("qcow2")) => Err(Failure::invalid_image(
                "it is declared as qcow2 and is none",
            )),
            (Format::Raw, _) => Ok((0, disk)),
            (Format::Qcow2 { .. }, Some(other)) if other != "qcow2" => Err(Failure::invalid_image(
                format!("it is declared as {other} and is a qcow2"),
            )),
            (Format::Qcow2 { backing: true, .. }, _) => {
                Err(Failure::invalid_image("the qcow2 has a backing file"))
            }
            (Format::Qcow2 { virtual_size, .. }, _) if *virtual_size > disk => Err(Failure::write(
                format!("/dev/sda has {disk} bytes, the image has {virtual_size}"),
            )),
            (Format::Qcow2 { least, .. }, _) => Ok((*least, u64::MAX)),
        }
    }

    fn begin(&mut self, total: u64) {
        // shown before it is logged: whoever sees the log line finds the progress
        self.progress.writing(0, total);
        if !self.started {
            self.started = true;
            self.began = Instant::now();
            self.agent
                .host
                .write_started(self.agent.boot, &self.info.id);
        }
    }

    /// Lets the time pass that a real disk takes for what has come, and shows it step by step, also when a small image
    /// came in one piece. Without a known size all of it passes at the end.
    async fn pace(&mut self, total: u64, ended: bool) -> Result<(), Ended> {
        let host = &self.agent.host;
        if total == 0 && !ended {
            self.progress.writing(self.bytes, 0);
            return Ok(());
        }
        let known = total.max(self.bytes).max(1);
        let step = (known / PIECES).max(1);
        while self.paced < self.bytes {
            self.paced = self.paced.saturating_add(step).min(self.bytes);
            // both far below 2^53
            #[allow(clippy::cast_precision_loss)]
            let part = (self.paced as f64 / known as f64).clamp(0.0, 1.0);
            tokio::time::sleep_until(self.began + self.time.mul_f64(part)).await;
            self.progress.writing(self.paced, total);
            if part >= 0.5 {
                if host.has(Fault::AgentDiesInWrite) {
                    host.kill_agent("fault");
                    std::future::pending::<()>().await;
                }
                if host.has(Fault::WriteFails) {
                    return Err(Ended::Failed(Failure::write(
                        "/dev/sda: Input/output error",
                    )));
                }
            }
        }
        Ok(())
    }
}

/// `Authorization` for the image's server, in upstream's order: the ready value, then user and password.
fn authorization(info: &ImageInfo) -> Result<Option<String>, Failure> {
    let engine = base64::engine::general_purpose::STANDARD;
    let bad = |what: &str| Failure::invalid_params(format!("image_info: {what}"));
    if let Some(encoded) = &info.image_request_authorization {
        let text = engine
            .decode(encoded)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| bad("image_request_authorization is not base64 of text"))?;
        let lower = text.to_ascii_lowercase();
        return Ok(Some(
            if lower.starts_with("basic ") || lower.starts_with("bearer ") {
                text
            } else if text.contains(':') {
                format!("Basic {}", engine.encode(text))
            } else {
                format!("Bearer {text}")
            },
        ));
    }
    match (
        info.image_server_auth_strategy.as_deref(),
        &info.image_server_user,
        &info.image_server_password,
    ) {
        (Some("http_basic"), Some(user), Some(password)) => Ok(Some(format!(
            "Basic {}",
            engine.encode(format!("{user}:{password}"))
        ))),
        (Some("http_basic"), ..) => Err(bad("user or password of the image server is missing")),
        _ => Ok(None),
    }
}

async fn expected_checksum(agent: &Agent, info: &ImageInfo) -> Result<Expected, Failure> {
    if let (Some(name), Some(value)) = (&info.os_hash_algo, &info.os_hash_value) {
        let algorithm = Algorithm::of_name(name)
            .ok_or_else(|| Failure::checksum(format!("the algorithm {name} is not known")))?;
        return Ok(Expected {
            algorithm,
            hex: value.to_ascii_lowercase(),
        });
    }
    let text = info.checksum.as_deref().unwrap_or_default();
    let hex = if text.starts_with("http://") || text.starts_with("https://") {
        let file = info.urls.first().and_then(|url| Url::parse(url).ok());
        let file = file
            .and_then(|url| url.path().rsplit('/').next().map(str::to_owned))
            .unwrap_or_default();
        let bytes = download(agent, text, MAX_CHECKSUM_FILE)
            .await
            .map_err(Failure::checksum)?;
        parse_checksum_file(&String::from_utf8_lossy(&bytes), &file)
            .ok_or_else(|| Failure::checksum(format!("the checksum file does not name {file}")))?
    } else {
        text.to_owned()
    };
    let algorithm = Algorithm::of_length(&hex)
        .ok_or_else(|| Failure::checksum("there is no checksum for the image"))?;
    Ok(Expected {
        algorithm,
        hex: hex.to_ascii_lowercase(),
    })
}

/// SHA-256 of what is in a config drive: base64, gzipped or not, or the URL of one.
async fn read_config_drive(agent: &Agent, text: &str) -> Result<String, Failure> {
    let encoded = if text.starts_with("http://") || text.starts_with("https://") {
        download(agent, text, MAX_CONFIG_DRIVE.saturating_mul(2))
            .await
            .map_err(|why| Failure::write(format!("config drive: {why}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let bad = |what: &str| Failure::write(format!("config drive: {what}"));
    let packed: Vec<u8> = encoded
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    // a URL may also give the drive as it is
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed)
        .unwrap_or(encoded);
    let contents = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut contents = Vec::new();
        let limit = u64::try_from(MAX_CONFIG_DRIVE).unwrap_or(u64::MAX);
        let mut reader = std::io::Read::take(flate2::read::GzDecoder::new(bytes.as_slice()), limit);
        std::io::Read::read_to_end(&mut reader, &mut contents)
            .map_err(|_| bad("the gzip data is damaged"))?;
        contents
    } else {
        bytes
    };
    // the volume descriptor of an ISO 9660 file system
    if contents.get(32_769..32_774) != Some(b"CD001") {
        return Err(bad("it is not an ISO 9660 file system"));
    }
    Ok(hex::encode(sha2::Sha256::digest(&contents)))
}

/// A small file.
async fn download(agent: &Agent, url: &str, limit: usize) -> Result<Vec<u8>, String> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match agent.client.get(url).send().await {
            Ok(response) if response.status().is_success() => {
                let mut bytes = Vec::new();
                let mut stream = response.bytes_stream();
                while let Some(part) = stream.next().await {
                    bytes.extend_from_slice(&part.map_err(sentence)?);
                    if bytes.len() > limit {
                        return Err(format!("more than {limit} bytes"));
                    }
                }
                return Ok(bytes);
            }
            Ok(response) if response.status().is_client_error() => {
                return Err(format!("the server answers {}", response.status().as_u16()));
            }
            Ok(response) => why = format!("the server answers {}", response.status().as_u16()),
            Err(error) => why = sentence(error),
        }
        tokio::time::sleep(pause(&agent.host, RETRY)).await;
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn qcow2(backing: u64, size: u64, l1_entries: u32, l1: u64) -> Vec<u8> {
        let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
        header.extend(backing.to_be_bytes());
        header.extend(0u32.to_be_bytes());
        header.extend(16u32.to_be_bytes());
        header.extend(size.to_be_bytes());
        header.extend(0u32.to_be_bytes());
        header.extend(l1_entries.to_be_bytes());
        header.extend(l1.to_be_bytes());
        header
    }

    #[test]
    fn headers() {
        for (bytes, expected) in [
            (vec![0; 512], Ok(Format::Raw)),
            (
                qcow2(0, 1 << 30, 2, 0x30000),
                Ok(Format::Qcow2 {
                    virtual_size: 1 << 30,
                    least: 0x30010,
                    backing: false,
                }),
            ),
            (
                qcow2(104, 5, 0, 0),
                Ok(Format::Qcow2 {
                    virtual_size: 5,
                    least: 0,
                    backing: true,
                }),
            ),
            (
                qcow2(0, 5, 1, u64::MAX),
                Err("the qcow2 header is impossible"),
            ),
            (
                b"QFI\xfb\0\0\0\x03".to_vec(),
                Err("the qcow2 header is cut off"),
            ),
            (
                b"QFI\xfb\0\0\0\x09".to_vec(),
                Err("a qcow2 of an unknown version"),
            ),
            (b"QFI\xfb".to_vec(), Err("the qcow2 header is cut off")),
        ] {
            assert_eq!(look_at_header(&bytes), expected);
        }
    }

    #[test]
    fn checksum_files() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        for (text, expected) in [
            (a.clone(), Some(&a)),
            (format!("{b}  other.raw\n{a} *image.raw\n"), Some(&a)),
            (
                format!("# x\nSHA256 (dir/image.raw) = {a}\nSHA256 (other) = {b}"),
                Some(&a),
            ),
            (format!("{b}  other.raw\n"), None),
            ("<html>".to_owned(), None),
        ] {
            assert_eq!(
                parse_checksum_file(&text, "image.raw").as_ref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn authorizations() {
        let engine = base64::engine::general_purpose::STANDARD;
        let ready = |text: &str| ImageInfo {
            image_request_authorization: Some(engine.encode(text)),
            ..ImageInfo::default()
        };
        let basic = ImageInfo {
            image_server_auth_strategy: Some("http_basic".into()),
            image_server_user: Some("u".into()),
            image_server_password: Some("p".into()),
            ..ImageInfo::default()
        };
        for (info, expected) in [
            (ImageInfo::default(), Ok(None)),
            (ready("u:p"), Ok(Some("Basic dTpw".to_owned()))),
            (ready("tok"), Ok(Some("Bearer tok".to_owned()))),
            (ready("Basic dTpw"), Ok(Some("Basic dTpw".to_owned()))),
            (basic.clone(), Ok(Some("Basic dTpw".to_owned()))),
            (
                ImageInfo {
                    image_server_user: None,
                    ..basic
                },
                Err(Failure::invalid_params(
                    "image_info: user or password of the image server is missing",
                )),
            ),
        ] {
            assert_eq!(authorization(&info), expected);
        }
    }
}
