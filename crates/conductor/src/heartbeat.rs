//! Lookup and heartbeat: the two calls that an agent makes.
//!
//! Both are open to whoever reaches the API, so both tell a stranger nothing: an unknown machine and a node
//! that expects no agent get the same answer, and a heartbeat counts only with the node's token.

use bessemer_model::{Class, Fault, FaultKind, MASK, MacAddress, Node, NodeId, Timestamp};
use bessemer_store::{BootKind, SignalKind, StoreError, TimelineEvent, TimelineSource};
use bessemer_wire::HeartbeatBody;
use rand::RngExt;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::engine::Shared;
use crate::error_text;

/// Upstream's agent ignores a token that is shorter than 32 characters.
const TOKEN_LENGTH: usize = 43;

fn anonymous() -> Fault {
    // No detail: the caller may be anybody.
    Fault::not_found("Node could not be found.")
}

fn new_token() -> String {
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(TOKEN_LENGTH)
        .map(char::from)
        .collect()
}

fn token(node: &Node) -> Option<&str> {
    node.driver_internal_info
        .get("agent_secret_token")
        .and_then(Value::as_str)
}

/// Finds the node of an agent and gives it the token, again and again until its first accepted heartbeat:
/// a kill between commit and reply would otherwise strand the agent.
///
/// # Errors
/// `NotFound` without detail.
pub async fn lookup(
    shared: &Shared,
    addresses: &[String],
    node: Option<NodeId>,
) -> Result<(Node, String), Fault> {
    let macs: Vec<MacAddress> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
    let found = match node {
        Some(id) => shared.store.get_node(id).await,
        None if macs.is_empty() => return Err(anonymous()),
        None => shared.store.find_node_by_macs(&macs).await,
    };
    let node = found
        .map_err(|e| error_text::store(&e))?
        .ok_or_else(anonymous)?;
    if shared.settings.restrict_lookup && !node.provision_state.allows_lookup() {
        return Err(anonymous());
    }
    let accepted = node
        .driver_internal_info
        .contains_key("agent_token_accepted");
    if let (Some(_), true) = (token(&node), accepted) {
        return Ok((node, MASK.to_owned()));
    }
    let fresh = match shared.store.get_agent_seed(node.id).await {
        Ok(Some(_)) if token_came_by_media(shared, &node).await? => {
            let event = looked_up(addresses);
            let noted = shared.store.add_timeline(node.id, vec![event]).await;
            noted.map_err(|e| error_text::store(&e))?;
            return Ok((node, MASK.to_owned()));
        }
        Ok(Some(of_operation)) => of_operation,
        Ok(None) => new_token(),
        Err(error) => return Err(error_text::store(&error)),
    };
    let change = {
        let fresh = fresh.clone();
        Arc::new(move |node: &mut Node| {
            node.driver_internal_info
                .entry("agent_secret_token")
                .or_insert_with(|| json!(fresh));
            Ok(())
        })
    };
    let event = looked_up(addresses);
    let node = shared
        .store
        .update_node(node.id, None, true, change, vec![event])
        .await
        .map_err(|e| error_text::store(&e))?;
    let token = token(&node).unwrap_or_default().to_owned();
    Ok((node, token))
}

fn looked_up(addresses: &[String]) -> TimelineEvent {
    TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Agent,
        text: format!("the agent looked its node up ({})", addresses.join(", ")),
        data: None,
    }
}

/// Whether the agent got its token with the image that it was booted from: then nobody else gets it.
async fn token_came_by_media(shared: &Shared, node: &Node) -> Result<bool, Fault> {
    let row = shared.store.get_boot(node.id).await;
    let row = row.map_err(|e| error_text::store(&e))?;
    Ok(row.is_some_and(|row| row.kind == BootKind::VirtualMedia && row.kernel.is_some()))
}

/// Records the agent's call and wakes the node's operation.
///
/// # Errors
/// 400 with the reason, in upstream's cases.
pub async fn heartbeat(
    shared: &Shared,
    id: NodeId,
    body: &HeartbeatBody,
    at: Timestamp,
) -> Result<(), Fault> {
    let node = shared
        .store
        .get_node(id)
        .await
        .map_err(|e| error_text::store(&e))?
        .ok_or_else(anonymous)?;
    let refuse = |text: String| Err(Fault::invalid(text));
    let Some(given) = body.agent_token.as_deref() else {
        return refuse(format!(
            "Agent token is required for heartbeat processing of node {id}."
        ));
    };
    let Some(version) = body.agent_version.clone() else {
        return refuse(
            "Agent did not transmit a version, and a version is required. Please update the agent being used.".into(),
        );
    };
    // After a restore the lookup may be forgotten in which the agent got the operation's token.
    let of_operation = match token(&node) {
        Some(_) => None,
        None => shared
            .store
            .get_agent_seed(id)
            .await
            .map_err(|e| error_text::store(&e))?,
    };
    let known = token(&node).or(of_operation.as_deref());
    if !known.is_some_and(|known| same(known.as_bytes(), given.as_bytes())) {
        return refuse(format!(
            "Invalid or missing agent token received for node {id}."
        ));
    }
    if body.callback_url.is_empty() {
        return refuse(format!("The heartbeat of node {id} has no callback_url."));
    }
    if shared.settings.agent_require_tls && !body.callback_url.starts_with("https://") {
        return refuse(
            "TLS is required for the agent's callback_url; see [agent] require_tls.".to_owned(),
        );
    }
    if !body.callback_url.starts_with("https://") && !body.callback_url.starts_with("http://") {
        return refuse("callback_url is not an http or https URL.".to_owned());
    }
    let known_url = node
        .driver_internal_info
        .get("agent_url")
        .and_then(Value::as_str);
    if known_url.is_some_and(|url| url != body.callback_url) {
        return refuse(format!(
            "The callback_url of node {id} changed while its agent was in use; refused."
        ));
    }
    let first = known_url.is_none();
    let (url, certificate) = (body.callback_url.clone(), body.agent_verify_ca.clone());
    let change = Arc::new(move |node: &mut Node| {
        let internal = &mut node.driver_internal_info;
        if let Some(token) = &of_operation {
            internal
                .entry("agent_secret_token")
                .or_insert_with(|| json!(token));
        }
        internal.insert("agent_url".into(), json!(url));
        internal.insert("agent_version".into(), json!(version));
        internal.insert("agent_last_heartbeat".into(), json!(at));
        internal.insert("agent_token_accepted".into(), json!(true));
        if let Some(pem) = &certificate {
            // The first certificate counts: a second one would be somebody else's.
            internal
                .entry("agent_verify_ca")
                .or_insert_with(|| json!(pem));
        }
        Ok(())
    });
    let timeline = if first {
        vec![TimelineEvent {
            at,
            source: TimelineSource::Agent,
            text: format!(
                "first heartbeat from {} (agent {})",
                body.callback_url,
                body.agent_version.as_deref().unwrap_or("?")
            ),
            data: None,
        }]
    } else {
        Vec::new()
    };
    match shared
        .store
        .signal(
            id,
            SignalKind::Heartbeat,
            Value::Null,
            Some(change),
            timeline,
        )
        .await
    {
        Ok(_) => {
            shared.wake.notify_one();
            Ok(())
        }
        Err(StoreError::NotFound { .. }) => Err(anonymous()),
        Err(error) => Err(Fault {
            kind: FaultKind::Busy,
            class: Class::RetryLater,
            ..error_text::store(&error)
        }),
    }
}

/// Compares secrets in constant time.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}
