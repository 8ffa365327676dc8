//! The agent's calls to the Bare Metal API: version, lookup, heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use bessemer_wire::{HeartbeatBody, LookupReply};
use serde_json::{Value, json};

use super::{Agent, VERSION, pause};
use crate::boot::fetch::lost;
use crate::fault::Fault;

const VERSION_HEADER: &str = "X-OpenStack-Ironic-API-Version";
/// Newest versions that upstream's agent speaks for each call.
const LOOKUP: (u32, u32) = (1, 62);
const HEARTBEAT: (u32, u32) = (1, 68);
const INSPECTION: (u32, u32) = (1, 84);
/// Version of a server that does not tell.
const OLDEST: (u32, u32) = (1, 31);
const LOOKUP_PATIENCE: Duration = Duration::from_secs(600);
const TOKEN_SHOWN_BEFORE: &str = "******";
const MAX_REPLY: usize = 1 << 20;

/// The node that this host is.
pub struct Session {
    node: uuid::Uuid,
    url: String,
    version: (u32, u32),
    heartbeat_timeout: Duration,
}

struct Reply {
    status: u16,
    body: Vec<u8>,
}

async fn send(request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
    let mut response = request.timeout(Duration::from_secs(30)).send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len().saturating_add(part.len()) > MAX_REPLY {
            break;
        }
        body.extend_from_slice(&part);
    }
    Ok(Reply { status, body })
}

/// The server's newest version from its root document.
pub(crate) fn parse_version(body: &[u8]) -> Option<(u32, u32)> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = document.get("default_version")?.get("version")?.as_str()?;
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn header((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Sends the inventory until it is taken, or refused as by a node that does not wait for it any more.
pub async fn report(agent: &Agent, url: &str) {
    let host = &agent.host;
    loop {
        let status = if lost(host).await {
            None
        } else {
            let request = agent
                .client
                .post(url)
                .header(VERSION_HEADER, header(INSPECTION))
                .json(&json!({"inventory": super::command::inventory(agent)}));
            send(request).await.ok().map(|reply| reply.status)
        };
        host.log_live(agent.boot, "inspection_report", json!({"status": status}));
        if matches!(status, Some(202 | 400 | 404)) {
            return;
        }
        tokio::time::sleep(pause(host, Duration::from_secs(5))).await;
    }
}

/// Asks which node this host is until somebody knows; `None` after upstream's patience.
pub async fn look_up(
    agent: &Agent,
    urls: &[String],
    parameters: &BTreeMap<String, String>,
) -> Option<Session> {
    let host = &agent.host;
    let patience = host
        .settings
        .patience(LOOKUP_PATIENCE, Duration::from_secs(60));
    let deadline = tokio::time::Instant::now() + patience;
    let mut attempt: u32 = 0;
    while tokio::time::Instant::now() < deadline {
        let index = usize::try_from(attempt)
            .unwrap_or(0)
            .checked_rem(urls.len())
            .unwrap_or(0);
        let url = urls.get(index)?;
        let (wait, session) = match look_up_once(agent, url, parameters).await {
            Ok(session) => (Duration::ZERO, Some(session)),
            // locked: upstream's own pauses
            Err(Some(409)) => (Duration::from_secs(5), None),
            Err(_) => {
                let longest = 1u64.checked_shl(attempt.min(6)).unwrap_or(60).min(60);
                let wait =
                    Duration::from_secs(longest).mul_f64(host.chances.agent.fraction().max(0.2));
                (wait.max(Duration::from_secs(1)), None)
            }
        };
        if session.is_some() {
            return session;
        }
        attempt = attempt.saturating_add(1);
        tokio::time::sleep(pause(host, wait)).await;
    }
    None
}

/// One try; the error is the status, when there was an answer.
async fn look_up_once(
    agent: &Agent,
    url: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Session, Option<u16>> {
    let host = &agent.host;
    let log = |status: Option<u16>, why: Option<String>, node: Option<uuid::Uuid>| {
        host.log_live(
            agent.boot,
            "lookup",
            json!({"status": status, "why": why, "node": node}),
        );
    };
    if lost(host).await {
        return Err(None);
    }
    let unreachable = |error: reqwest::Error| {
        log(None, Some(crate::boot::fetch::sentence(error)), None);
        None
    };
    let root = send(agent.client.get(format!("{url}/")))
        .await
        .map_err(unreachable)?;
    let version = parse_version(&root.body)
        .filter(|_| root.status == 200)
        .unwrap_or(OLDEST);
    let target = {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("addresses", &host.facts.mac);
        if let Some(node) = parameters.get("ipa-node-uuid") {
            query.append_pair("node_uuid", node);
        }
        format!("{url}/v1/lookup?{}", query.finish())
    };
    let request = agent
        .client
        .get(target)
        .header("Accept", "application/json")
        .header(VERSION_HEADER, header(version.min(LOOKUP)));
    let reply = send(request).await.map_err(unreachable)?;
    if reply.status != 200 {
        log(Some(reply.status), None, None);
        return Err(Some(reply.status));
    }
    let Ok(found) = serde_json::from_slice::<LookupReply>(&reply.body) else {
        // the parser's own error may quote the token
        log(
            Some(200),
            Some("the reply is not a lookup reply".to_owned()),
            None,
        );
        return Err(None);
    };
    let given = found
        .config
        .agent_token
        .filter(|token| token != TOKEN_SHOWN_BEFORE);
    {
        let mut token = agent
            .token
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if token.is_none() {
            *token = given;
        }
        if token.is_none() && found.config.agent_token_required {
            log(
                Some(200),
                Some("there is no token for this agent".to_owned()),
                None,
            );
            return Err(None);
        }
    }
    *agent
        .md5
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) =
        found.config.agent_md5_checksum_enable;
    log(Some(200), None, Some(found.node.uuid));
    Ok(Session {
        node: found.node.uuid,
        url: url.to_owned(),
        version,
        heartbeat_timeout: Duration::from_secs(found.config.heartbeat_timeout),
    })
}

/// Sends heartbeats for as long as it is polled: at once, at intervals, and whenever a command ended.
pub async fn beat(agent: &Agent, session: &Session, callback: &str, certificate: &str) {
    let host = &agent.host;
    let mut reason = "first";
    let mut first = true;
    loop {
        let sent = if host.has(Fault::AgentMute) || lost(host).await {
            false
        } else {
            let status = beat_once(agent, session, callback, certificate).await;
            let data = match &status {
                Ok(status) => json!({"status": status, "reason": reason}),
                Err(why) => json!({"status": null, "reason": reason, "why": why}),
            };
            host.log_live(agent.boot, "heartbeat", data);
            status == Ok(202)
        };
        if sent && first {
            first = false;
            if host.has(Fault::AgentDies) {
                host.kill_agent("fault");
            }
        }
        let wait = if sent {
            let part = 0.3 + 0.3 * host.chances.heartbeat.fraction();
            session
                .heartbeat_timeout
                .mul_f64(part)
                .max(Duration::from_secs(5))
        } else {
            Duration::from_secs(5)
        };
        tokio::select! {
            () = tokio::time::sleep(pause(host, wait)) => reason = if sent { "interval" } else { "again" },
            () = agent.heartbeat.notified() => reason = "command",
        }
    }
}

async fn beat_once(
    agent: &Agent,
    session: &Session,
    callback: &str,
    certificate: &str,
) -> Result<u16, String> {
    let version = session.version.min(HEARTBEAT);
    let body = HeartbeatBody {
        callback_url: callback.to_owned(),
        agent_token: agent.token().filter(|_| version >= (1, 62)),
        agent_version: (version >= (1, 36)).then(|| VERSION.to_owned()),
        agent_verify_ca: (version >= (1, 68)).then(|| certificate.to_owned()),
        agent_status: None,
        agent_status_message: None,
    };
    let request = agent
        .client
        .post(format!("{}/v1/heartbeat/{}", session.url, session.node))
        .header("Accept", "application/json")
        .header(VERSION_HEADER, header(version))
        .json(&body);
    send(request)
        .await
        .map(|reply| reply.status)
        .map_err(crate::boot::fetch::sentence)
}

/// Fuzz target: what the API answers.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = parse_version(data);
    let _ = serde_json::from_slice::<LookupReply>(data);
}
