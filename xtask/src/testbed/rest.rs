//! A minimal client of the API: for looking at it while the upstream client does the work, and for tests without that client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Gets a JSON document from `address` (host:port) at the given API microversion.
pub fn get(address: &str, path: &str, microversion: &str) -> Result<Value> {
    let (status, body) = request(address, "GET", path, microversion)?;
    if status != 200 {
        bail!("GET {path} answered {status}: {}", body.trim());
    }
    serde_json::from_str(&body).with_context(|| format!("GET {path} did not answer JSON"))
}

/// One request without a body; gives status and body.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    microversion: &str,
) -> Result<(u16, String)> {
    send(address, method, path, microversion, None)
}

/// One request, with a JSON document or without; gives status and body.
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    microversion: &str,
    document: Option<&Value>,
) -> Result<(u16, String)> {
    let content = match document {
        None => String::new(),
        Some(document) => {
            let text = document.to_string();
            format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )
        }
    };
    let end = if content.is_empty() { "\r\n" } else { "" };
    let target = address
        .parse()
        .with_context(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))
        .context("cannot reach the API")?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\nX-OpenStack-Ironic-API-Version: {microversion}\r\n\
         Connection: close\r\n{content}{end}"
    )?;
    let mut data = Vec::new();
    stream.read_to_end(&mut data)?;
    let text = String::from_utf8_lossy(&data);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the API's answer has no body")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .context("the API's answer has no status")?;
    Ok((status, body.to_owned()))
}
