//! A small HTTP server for images and for the controls of the testbed: files of one directory, with ranges and a log.
//!
//! It stands for the user's image server, so it is deliberately not Bessemer's own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A running server.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    log: Mutex<File>,
    stop: AtomicBool,
    ranges: bool,
    /// Bytes per second of each answer.
    rate: Option<u64>,
}

impl FileServer {
    /// Serves a directory. With `ranges` false, requests for a part are answered with the whole, as simple servers do.
    pub fn start(address: &str, directory: &Path, log: &Path, ranges: bool) -> Result<FileServer> {
        FileServer::start_with(address, directory, log, ranges, None)
    }

    /// Serves a directory with ranges, each answer at so many bytes per second: a transfer then takes as long as a test needs.
    pub fn start_slow(
        address: &str,
        directory: &Path,
        log: &Path,
        rate: u64,
    ) -> Result<FileServer> {
        FileServer::start_with(address, directory, log, true, Some(rate))
    }

    fn start_with(
        address: &str,
        directory: &Path,
        log: &Path,
        ranges: bool,
        rate: Option<u64>,
    ) -> Result<FileServer> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            log: Mutex::new(File::options().create(true).append(true).open(log)?),
            stop: AtomicBool::new(false),
            ranges,
            rate,
        });
        let inner = Arc::clone(&shared);
        let accept = std::thread::spawn(move || {
            let mut connections: Vec<JoinHandle<()>> = Vec::new();
            for stream in listener.incoming() {
                if inner.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&inner);
                connections.retain(|connection| !connection.is_finished());
                connections.push(std::thread::spawn(move || drop(serve(&shared, stream))));
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        Ok(FileServer {
            address,
            shared,
            accept: Some(accept),
        })
    }

    /// URL of a file in the directory.
    pub fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // wakes the accept loop
        let _ = TcpStream::connect(self.address);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> Result<()> {
    let peer = stream.peer_addr()?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request) = read_request(&mut reader)? else {
            return Ok(());
        };
        let (status, sent) = answer(shared, &request, &mut out)?;
        if let Ok(mut log) = shared.log.lock() {
            let range = request.range.as_deref().unwrap_or("-");
            let how = if sent.is_ok() { "" } else { ", broken off" };
            writeln!(
                log,
                "{peer} {} {} {range} -> {status} {} bytes{how}",
                request.method,
                request.path,
                sent.as_ref().unwrap_or_else(|broken| broken)
            )?;
        }
        if sent.is_err() {
            return Ok(());
        }
        if request.close || shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
}

struct Request {
    method: String,
    path: String,
    range: Option<String>,
    close: bool,
}

fn read_request(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.take(8192).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut request = Request {
        method,
        path,
        range: None,
        close: words.next() != Some("HTTP/1.1"),
    };
    loop {
        line.clear();
        if reader.take(8192).read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(request));
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "connection" => request.close |= value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// Status and bytes of the body; the bytes are an error when the other side did not take all.
fn answer(
    shared: &Shared,
    request: &Request,
    out: &mut impl Write,
) -> Result<(u16, std::result::Result<u64, u64>)> {
    let name = request.path.trim_start_matches('/');
    let safe = !name.is_empty()
        && !name
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'));
    let file = if safe {
        File::open(shared.directory.join(name)).ok()
    } else {
        None
    };
    let Some(mut file) = file.filter(|file| file.metadata().is_ok_and(|data| data.is_file()))
    else {
        let body = "not found\n";
        write!(
            out,
            "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        return Ok((404, Ok(0)));
    };
    let size = file.metadata()?.len();
    let accept = if shared.ranges {
        "Accept-Ranges: bytes\r\n"
    } else {
        ""
    };
    let range = request
        .range
        .as_deref()
        .filter(|_| shared.ranges)
        .map(|range| parse_range(range, size));
    let (status, start, length) = match range {
        None => (200, 0, size),
        Some(Some((start, end))) => (206, start, end - start + 1),
        Some(None) => {
            write!(
                out,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n"
            )?;
            return Ok((416, Ok(0)));
        }
    };
    if status == 206 {
        let last = start + length - 1;
        write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{last}/{size}\r\n"
        )?;
    } else {
        write!(out, "HTTP/1.1 200 OK\r\n")?;
    }
    write!(
        out,
        "{accept}Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )?;
    if request.method == "HEAD" {
        return Ok((status, Ok(0)));
    }
    file.seek(SeekFrom::Start(start))?;
    Ok((status, send(file, length, shared.rate, out)))
}

/// Sends `length` bytes, no faster than `rate` per second; gives how many went out.
fn send(
    file: File,
    length: u64,
    rate: Option<u64>,
    out: &mut impl Write,
) -> std::result::Result<u64, u64> {
    let begun = Instant::now();
    let mut part = file.take(length);
    let mut buffer = vec![0; 64 << 10];
    let mut sent = 0;
    while sent < length {
        let Ok(count @ 1..) = part.read(&mut buffer) else {
            return Err(sent);
        };
        if out
            .write_all(buffer.get(..count).unwrap_or_default())
            .is_err()
        {
            return Err(sent);
        }
        sent += count as u64;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(sent as f64 / rate.max(1) as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    Ok(sent)
}

/// One range of a `Range` header (RFC 9110, section 14.1.2) as first and last byte.
fn parse_range(header: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(size.checked_sub(1)?)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.checked_sub(1)?),
        (Err(_), Ok(count)) if first.is_empty() => {
            (size.saturating_sub(count), size.checked_sub(1)?)
        }
        _ => return None,
    };
    (first <= last && first < size).then_some((first, last))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::process::{command, output};

    #[test]
    fn ranges() {
        let check =
            |header: &str, expected| assert_eq!(parse_range(header, 10), expected, "{header}");
        check("bytes=0-3", Some((0, 3)));
        check("bytes=4-", Some((4, 9)));
        check("bytes=-2", Some((8, 9)));
        check("bytes=8-99", Some((8, 9)));
        check("bytes=10-", None);
        check("bytes=5-4", None);
        check("bytes=a-b", None);
        check("lines=1-2", None);
    }

    #[test]
    fn curl_fetches() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), b"0123456789").unwrap();
        let log = directory.path().join(".log");
        let check = |ranges: bool, arguments: &[&str], path: &str, expected: &str| {
            let server = FileServer::start("127.0.0.1:0", directory.path(), &log, ranges).unwrap();
            let mut curl = command("curl");
            curl.args(["-s", "-w", " %{http_code}"])
                .args(arguments)
                .arg(server.url(path));
            assert_eq!(output(&mut curl).unwrap(), expected);
        };
        check(true, &[], "file", "0123456789 200");
        check(true, &["-r", "2-4"], "file", "234 206");
        check(false, &["-r", "2-4"], "file", "0123456789 200");
        check(true, &["-r", "20-"], "file", " 416");
        check(true, &["--path-as-is"], "../etc/passwd", "not found\n 404");
        assert!(
            std::fs::read_to_string(&log)
                .unwrap()
                .contains("GET /file bytes=2-4 -> 206 3 bytes")
        );
    }
}
