//! A load generator: many clients, each a thread with one kept connection, that send the next request when the last is answered.
//!
//! Written for a small cost of its own, since it shares the machine with what it measures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The microversion of all requests: the newest.
const VERSION: &str = "1.115";

/// One client with its connection.
pub struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
    body: Vec<u8>,
}

impl Client {
    pub fn new(port: u16) -> Client {
        Client {
            port,
            stream: None,
            body: Vec::new(),
        }
    }

    /// Sends a request and reads the answer, over a new connection when the old one was closed meanwhile.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Result<u16> {
        let kept = self.stream.is_some();
        match self.attempt(method, path, body) {
            Err(_) if kept => {
                self.stream = None;
                self.attempt(method, path, body)
            }
            other => other,
        }
        .with_context(|| format!("{method} {path}"))
    }

    /// The last answer's body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The last answer's body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).context("an answer is not JSON")
    }

    fn attempt(&mut self, method: &str, path: &str, body: &str) -> Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(120)))?;
                none.insert(BufReader::with_capacity(64 * 1024, stream))
            }
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nX-OpenStack-Ironic-API-Version: {VERSION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        self.body.clear();
        let (status, keep) = read_answer(stream, &mut self.body)?;
        if !keep {
            self.stream = None;
        }
        Ok(status)
    }
}

/// Status, and whether the connection stays open.
fn read_answer(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Result<(u16, bool)> {
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<TcpStream>| -> Result<String> {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    };
    let first = next(stream)?;
    let status: u16 = first
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no status in {first:?}"))?;
    let (mut length, mut chunked, mut keep) = (None, false, first.starts_with("HTTP/1.1"));
    loop {
        let header = next(stream)?;
        if header.is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            bail!("no header: {header:?}");
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<u64>()?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if chunked {
        loop {
            let size = next(stream)?;
            let size = u64::from_str_radix(&size, 16)
                .with_context(|| format!("no length of a chunk: {size:?}"))?;
            take(stream, size, body)?;
            next(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        take(stream, length, body)?;
    } else if status != 204 {
        stream.read_to_end(body)?;
        keep = false;
    }
    Ok((status, keep))
}

fn take(stream: &mut BufReader<TcpStream>, length: u64, body: &mut Vec<u8>) -> Result<()> {
    let got = stream.take(length).read_to_end(body)?;
    if u64::try_from(got)? != length {
        bail!("the answer was cut off after {got} of {length} bytes");
    }
    Ok(())
}

/// What a run of many clients saw.
pub struct Outcome {
    pub wall: Duration,
    /// Sorted.
    pub times: Vec<Duration>,
    /// The first few answers that were errors.
    pub errors: Vec<String>,
    pub failed: usize,
}

impl Outcome {
    /// The time within which so many of a hundred requests were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (self.times.len() * percent / 100).min(last);
        self.times.get(at).copied().unwrap_or_default()
    }

    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.wall.as_secs_f64()
    }
}

/// Runs `clients` threads until `until` or until `most` requests are made. `request` makes the n-th request and gives its
/// status; 4xx and 5xx count as errors.
pub fn run(
    port: u16,
    clients: usize,
    most: usize,
    until: Option<Instant>,
    request: impl Fn(&mut Client, usize) -> Result<u16> + Sync,
) -> Outcome {
    let started = Instant::now();
    let number = AtomicUsize::new(0);
    let results: Vec<(Vec<Duration>, Vec<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(port);
                    let (mut times, mut errors) = (Vec::new(), Vec::new());
                    loop {
                        let n = number.fetch_add(1, Ordering::Relaxed);
                        if n >= most || until.is_some_and(|until| Instant::now() >= until) {
                            return (times, errors);
                        }
                        let began = Instant::now();
                        let answer = request(&mut client, n);
                        times.push(began.elapsed());
                        match answer {
                            Ok(status) if status < 400 => {}
                            Ok(status) => errors.push(format!(
                                "{status}: {}",
                                String::from_utf8_lossy(
                                    client.body().get(..300).unwrap_or(client.body())
                                )
                            )),
                            Err(error) => errors.push(format!("{error:#}")),
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    let wall = started.elapsed();
    let (mut times, mut errors) = (Vec::new(), Vec::new());
    for (t, e) in results {
        times.extend(t);
        errors.extend(e);
    }
    times.sort_unstable();
    let failed = errors.len();
    errors.truncate(3);
    Outcome {
        wall,
        times,
        errors,
        failed,
    }
}
