//! `bessemer node …`: what an operator asks a running service about one node, over its API.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// Before a stream that ended is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest line of a stream that is read.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

#[derive(Subcommand)]
pub enum NodeCommand {
    /// Prints what all parts of the service saw of a node, oldest first, and ends with why its last operation failed, if one
    /// did, and what to check next.
    Timeline {
        /// Name or UUID of the node.
        node: String,
        /// Goes on printing while things happen, until it is interrupted.
        #[arg(long, short)]
        follow: bool,
        /// So many of the newest events.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        service: Service,
    },
}

/// Where the API is and who asks; the environment variables are those of upstream's client.
#[derive(Args)]
pub struct Service {
    /// URL of the API.
    #[arg(
        long = "os-endpoint",
        value_name = "URL",
        env = "OS_ENDPOINT",
        default_value = "http://127.0.0.1:6385"
    )]
    endpoint: String,
    /// Keystone's token, where the service asks for one.
    #[arg(
        long = "os-token",
        value_name = "TOKEN",
        env = "OS_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// User of the service's password file.
    #[arg(long = "os-username", value_name = "NAME", env = "OS_USERNAME")]
    username: Option<String>,
    /// That user's password; better in the environment than on the command line.
    #[arg(
        long = "os-password",
        value_name = "PASSWORD",
        env = "OS_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    /// PEM file with authorities that the API's certificate may come from, besides the system's.
    #[arg(long = "os-cacert", value_name = "FILE", env = "OS_CACERT")]
    cacert: Option<std::path::PathBuf>,
}

impl Service {
    fn client(&self) -> anyhow::Result<Client> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // another one that is installed meanwhile is the same
            let _installed = rustls::crypto::ring::default_provider()
                .install_default()
                .is_ok();
        }
        let mut builder = Client::builder().connect_timeout(Duration::from_secs(10));
        if let Some(path) = &self.cacert {
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            for authority in Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} is no PEM file of certificates", path.display()))?
            {
                builder = builder.add_root_certificate(authority);
            }
        }
        builder.build().context("no HTTP client")
    }

    fn get(&self, client: &Client, path: &str) -> RequestBuilder {
        let request = client
            .get(format!("{}{path}", self.endpoint.trim_end_matches('/')))
            .header("X-OpenStack-Ironic-API-Version", "latest");
        match (&self.token, &self.username) {
            (Some(token), _) => request.header("X-Auth-Token", token),
            (None, Some(user)) => request.basic_auth(user, self.password.as_ref()),
            (None, None) => request,
        }
    }
}

/// # Errors
/// When the service cannot be asked or refuses.
pub async fn run(command: NodeCommand) -> anyhow::Result<()> {
    let NodeCommand::Timeline {
        node,
        follow,
        limit,
        service,
    } = command;
    let client = service.client()?;
    let path = format!("/v1/nodes/{}/timeline", encoded(&node));
    let mut out = std::io::stdout();
    if follow {
        return follow_on(&service, &client, &path, limit, &mut out).await;
    }
    let response = service
        .get(&client, &format!("{path}?limit={limit}"))
        .timeout(Duration::from_secs(60))
        .send()
        .await
        .with_context(|| format!("the API at {} does not answer", service.endpoint))?;
    let answer: Value = accepted(response)
        .await?
        .json()
        .await
        .context("the answer is no JSON")?;
    for event in answer["timeline"].as_array().into_iter().flatten() {
        writeln!(out, "{}", line(event))?;
    }
    if let Some(text) = present(&answer["operation"]) {
        writeln!(out, "\n{text}")?;
    }
    if let Some(text) = answer["explanation"].as_str() {
        writeln!(out, "\nThe last failure: {}", clean(text))?;
    }
    Ok(())
}

/// A segment of a path. Names of nodes have nothing that needs more.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The answer, or what the service says against it.
async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body: Value = response.json().await.unwrap_or_default();
    let fault = body["error_message"]
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .unwrap_or_else(|| body["error_message"].clone());
    let text = fault["faultstring"].as_str().unwrap_or("no reason given");
    anyhow::bail!("{status}: {}", clean(text))
}

/// Without what could write elsewhere on a terminal: texts come from devices and agents, too.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn line(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let at = text("at");
    let at = at.split(['.', '+']).next().unwrap_or(at).replace('T', " ");
    format!(
        "{} {:<6} {}",
        clean(&at),
        clean(text("source")),
        clean(text("text"))
    )
}

fn size(value: &Value) -> Option<String> {
    let bytes = value.as_u64()?;
    Some(match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    })
}

/// What goes on at this moment.
fn present(operation: &Value) -> Option<String> {
    let flow = operation["flow"].as_str()?;
    let mut text = format!("Now: {flow}, phase {}", operation["phase"].as_str()?);
    if let Some(step) = operation["steps"]["step"].as_str() {
        let steps = &operation["steps"];
        let done = steps["done"].as_u64().unwrap_or(0);
        text.push_str(&format!(
            ", step {} of {} ({}.{step})",
            done + 1,
            steps["total"],
            steps["interface"].as_str().unwrap_or("?")
        ));
    }
    let progress = &operation["progress"];
    if let (Some(done), Some(total)) = (
        progress["done_bytes"].as_u64(),
        progress["total_bytes"].as_u64().filter(|total| *total > 0),
    ) {
        text.push_str(&format!(
            ": {} {} of {} ({} %)",
            progress["stage"].as_str().unwrap_or("done"),
            size(&progress["done_bytes"])?,
            size(&progress["total_bytes"])?,
            done.saturating_mul(100) / total
        ));
        if let Some(rate) = size(&progress["rate"]) {
            text.push_str(&format!(", {rate}/s"));
        }
        if let Some(end) = progress["estimated_end"].as_str() {
            text.push_str(&format!(", ends about {end}"));
        }
    }
    if let Some(reason) = operation["reason"].as_str() {
        text.push_str(&format!("; {reason}"));
    }
    if let Some(deadline) = operation["deadline_at"].as_str() {
        text.push_str(&format!(", until {deadline}"));
    }
    Some(clean(&text))
}

/// Reads the stream, and asks for it again whenever it ends.
async fn follow_on(
    service: &Service,
    client: &Client,
    path: &str,
    limit: u32,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut last: Option<String> = None;
    loop {
        let mut request = service
            .get(client, &format!("{path}/stream?limit={limit}"))
            .header("Accept", "text/event-stream");
        if let Some(last) = &last {
            request = request.header("Last-Event-ID", last);
        }
        match request.send().await {
            Ok(response) => {
                let mut response = accepted(response).await?;
                let mut events = Events::default();
                // how a stream ends is of no matter: it is asked for again from the last event on
                while let Ok(Some(bytes)) = response.chunk().await {
                    for event in events.read(&bytes) {
                        print(&event, out)?;
                        last = event.id.or(last);
                    }
                }
            }
            Err(error) if last.is_none() => {
                return Err(error)
                    .with_context(|| format!("the API at {} does not answer", service.endpoint));
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn print(event: &Event, out: &mut impl Write) -> anyhow::Result<()> {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    match event.name.as_str() {
        "timeline" => writeln!(out, "{}", line(&data))?,
        "operation" => {
            if let Some(text) = present(&data) {
                writeln!(out, "{text}")?;
            }
        }
        "explanation" => {
            if let Some(text) = data.as_str() {
                writeln!(out, "The last failure: {}", clean(text))?;
            }
        }
        _ => {}
    }
    out.flush()?;
    Ok(())
}

/// One event of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    name: String,
    data: String,
}

/// Server-Sent Events as bytes that come in pieces.
#[derive(Default)]
struct Events {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut whole = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    whole.push(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                _ => {}
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn events_in_pieces() {
        let text = ": nothing new\n\nid: 7\nevent: timeline\ndata: {\"a\":1}\n\nevent: operation\r\ndata: null\r\n\r\n";
        let expected = [
            Event {
                id: Some("7".into()),
                name: "timeline".into(),
                data: "{\"a\":1}".into(),
            },
            Event {
                id: None,
                name: "operation".into(),
                data: "null".into(),
            },
        ];
        for piece in 1..text.len() {
            let mut events = Events::default();
            let read: Vec<Event> = text
                .as_bytes()
                .chunks(piece)
                .flat_map(|bytes| events.read(bytes))
                .collect();
            assert_eq!(read, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn sentences() {
        let event = json!({"id": 1, "at": "2026-11-24T23:31:48.000000+00:00", "source": "dhcp", "text": "a\u{1b}[2Jb"});
        assert_eq!(line(&event), "2026-11-24 23:31:48 dhcp   a [2Jb");
        let operation = json!({
            "flow": "deploy", "phase": "run-steps", "reason": "waiting for step deploy.write_image on the agent",
            "deadline_at": null, "steps": {"done": 1, "total": 4, "interface": "deploy", "step": "write_image"},
            "progress": {"stage": "write", "done_bytes": 25_000_000, "total_bytes": 100_000_000, "rate": 5_000_000,
                         "estimated_end": "2026-11-24T23:33:00+00:00"},
        });
        assert_eq!(
            present(&operation).unwrap(),
            "Now: deploy, phase run-steps, step 2 of 4 (deploy.write_image): write 25.0 MB of 100.0 MB (25 %), 5.0 MB/s, \
             ends about 2026-11-24T23:33:00+00:00; waiting for step deploy.write_image on the agent"
        );
        assert_eq!(present(&Value::Null), None);
        assert_eq!(encoded("rack 1/ä"), "rack%201%2F%C3%A4");
    }
}
