//! One request as a resource sees it, and its answer.

use std::sync::Arc;

use bessemer_config::Config;
use bessemer_model::{Node, NodeId};
use bessemer_store::{NodeRow, Store, TimelineEvent, TimelineSource};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::ApiState;
use crate::auth::{Access, Asked, Caller, Ownership};
use crate::conductor::Conductor;
use crate::fault::ApiFault;
use crate::microversion::Minor;
use crate::versions::Method;

/// A request whose version, method and caller are accepted.
pub struct Call {
    pub state: ApiState,
    pub version: Minor,
    pub method: Method,
    /// URL of the service as the client sees it, without a slash at the end.
    pub base: String,
    /// Segments of the path that the route names.
    pub params: Vec<(String, String)>,
    /// Decoded query, in order.
    pub query: Vec<(String, String)>,
    pub body: Bytes,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What calls are checked by; ask through the methods in `auth/authorize.rs`.
    pub access: Arc<Access>,
    /// Whether the handler has asked the policy.
    pub asked: Arc<Asked>,
    pub headers: http::HeaderMap,
    /// The service is being stopped: what is sent without an end must end.
    pub stopping: tokio_util::sync::CancellationToken,
    /// A `.json` was cut off the path (below 1.91): a resource may really be called so.
    pub json_suffix: bool,
}

impl Call {
    pub fn store(&self) -> &Store {
        &self.state.store
    }

    pub fn conductor(&self) -> &dyn Conductor {
        self.state.conductor.as_ref()
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.state.config
    }

    /// The request is at 1.`minor` or newer.
    pub fn at_least(&self, minor: u16) -> bool {
        self.version.0 >= minor
    }

    /// A segment of the path; empty when the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// The node that the path names.
    ///
    /// # Errors
    /// 400 for what can be neither name nor UUID, 404.
    pub async fn node(&self) -> Result<Node, ApiFault> {
        self.node_by_ident(self.param("ident")).await
    }

    pub async fn node_by_ident(&self, ident: &str) -> Result<Node, ApiFault> {
        self.checked_ident(ident)?;
        let mut found = self.store().find_node(ident).await?;
        if found.is_none() && self.json_suffix {
            found = self.store().find_node(&format!("{ident}.json")).await?;
        }
        found.ok_or_else(|| ApiFault::node_not_found(ident))
    }

    pub async fn node_row(&self, ident: &str) -> Result<NodeRow, ApiFault> {
        self.checked_ident(ident)?;
        let mut found = self.store().get_node_row(ident).await?;
        if found.is_none() && self.json_suffix {
            found = self.store().get_node_row(&format!("{ident}.json")).await?;
        }
        found.ok_or_else(|| ApiFault::node_not_found(ident))
    }

    fn checked_ident(&self, ident: &str) -> Result<(), ApiFault> {
        if ident.parse::<NodeId>().is_ok() {
            return Ok(());
        }
        if !crate::schema::is_logical_name(ident) {
            return Err(ApiFault::unrouted(
                StatusCode::BAD_REQUEST,
                format!("Expected UUID or name for node: {ident}"),
            ));
        }
        // nodes have names since 1.5, and wider ones since 1.10
        if !self.at_least(5) {
            return Err(ApiFault::node_not_found(ident));
        }
        if !self.at_least(10) && !crate::schema::is_host_name(ident) {
            return Err(ApiFault::invalid(format!(
                "Expected a logical name or UUID but received {ident}."
            )));
        }
        Ok(())
    }

    /// The node that a part of `old` (a port, a volume) moves to: only between nodes of one owner; the refusal
    /// tells nothing of a node that the client may not see.
    pub async fn moved_to(&self, old: &Node, ident: &str) -> Result<Node, ApiFault> {
        let refused = || {
            ApiFault::invalid(format!(
                "Unable to apply the requested node_uuid '{ident}'. Requested value was invalid."
            ))
        };
        let new = self.store().find_node(ident).await?.ok_or_else(refused)?;
        self.see_node(ident, &Ownership::of(&new))
            .map_err(|_| refused())?;
        if new.owner == old.owner {
            Ok(new)
        } else {
            Err(refused())
        }
    }

    /// A line of the node's timeline that says what this call did.
    pub fn event(&self, text: impl Into<String>) -> Vec<TimelineEvent> {
        let mut text = text.into();
        text.push_str(&self.caller.phrase());
        vec![TimelineEvent {
            at: bessemer_model::Timestamp::now(),
            source: TimelineSource::Api,
            text,
            data: None,
        }]
    }
}

impl Call {
    /// Writes a line of the node's timeline that says what this call did.
    ///
    /// # Errors
    /// As the store's.
    pub async fn note(&self, node: NodeId, text: impl Into<String>) -> Result<(), ApiFault> {
        Ok(self.store().add_timeline(node, self.event(text)).await?)
    }
}

/// What a resource answers.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: AnswerBody,
    pub location: Option<String>,
}

#[derive(Debug)]
pub enum AnswerBody {
    /// No body and no content type.
    Empty,
    /// Already serialised.
    Json(Bytes),
    /// Serialised while it is sent.
    JsonStream(axum::body::Body),
    /// Server-Sent Events.
    EventStream(axum::body::Body),
    Text(String),
    /// Bytes of no type that is known here.
    File(Bytes),
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Self::bytes(Bytes::from(value.to_string()))
    }

    pub fn bytes(body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            body: AnswerBody::Json(body),
            location: None,
        }
    }

    /// 204
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: AnswerBody::Empty,
            location: None,
        }
    }

    /// 202 without a body.
    pub fn accepted() -> Self {
        Self {
            status: StatusCode::ACCEPTED,
            body: AnswerBody::Empty,
            location: None,
        }
    }

    pub fn created(mut self, location: String) -> Self {
        self.status = StatusCode::CREATED;
        self.location = Some(location);
        self
    }

    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }
}

pub type Outcome = Result<Answer, ApiFault>;
