//! A client of the Bare Metal API, at the newest microversion.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{PATIENCE, POLL, until};

/// No answer came: the controller is away.
#[derive(Debug)]
pub struct Unreachable;

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }
}

#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            http,
            base: base.into(),
        }
    }

    /// # Errors
    /// When no whole answer came.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Unreachable> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("X-OpenStack-Ironic-API-Version", "latest");
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|_| Unreachable)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|_| Unreachable)?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Reply { status, body })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None)
            .await
            .expect("the API does not answer")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body))
            .await
            .expect("the API does not answer")
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PUT, path, Some(body))
            .await
            .expect("the API does not answer")
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PATCH, path, Some(body))
            .await
            .expect("the API does not answer")
    }

    pub async fn node(&self, name: &str) -> Value {
        self.get(&format!("/v1/nodes/{name}")).await.ok()
    }

    /// Members of the node, each replaced whole.
    pub async fn set(&self, name: &str, members: &[(&str, Value)]) {
        let patch: Vec<Value> = members
            .iter()
            .map(|(path, value)| json!({"op": "add", "path": format!("/{path}"), "value": value}))
            .collect();
        self.patch(&format!("/v1/nodes/{name}"), &Value::Array(patch))
            .await
            .ok();
    }

    /// Asks for a provision verb; the request must be accepted.
    #[track_caller]
    pub fn provision(&self, name: &str, body: Value) -> impl Future<Output = ()> {
        let path = format!("/v1/nodes/{name}/states/provision");
        async move {
            let reply = self.put(&path, &body).await;
            assert_eq!(reply.status, 202, "{body}: {reply:?}");
        }
    }

    /// Waits for a provision state. Any other state in which nothing goes on any more is a failure.
    pub async fn wait_for(&self, name: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let what = format!("node {name} in {state}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let node = self.node(name).await;
            if node["provision_state"] == state {
                return node;
            }
            let ended = node["target_provision_state"].is_null()
                || node["provision_state"]
                    .as_str()
                    .is_some_and(|s| s.ends_with("failed"));
            // seen twice: the request may have been accepted just now
            if ended && last["provision_state"] == node["provision_state"] {
                panic!(
                    "{what}: it ended in {} with {}",
                    node["provision_state"], node["last_error"]
                );
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: after {PATIENCE:?} it is in {} ({})\n{}",
                node["provision_state"],
                node["last_error"],
                self.timeline(name).await
            );
            last = node;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the node has failed in this state; its `last_error`.
    pub async fn failed(&self, name: &str, state: &str) -> String {
        let what = format!("node {name} failed in {state}");
        let node = until(&what, PATIENCE, async || {
            let node = self.node(name).await;
            assert!(
                !["active", "available"].contains(&node["provision_state"].as_str().unwrap_or(""))
                    || state == node["provision_state"],
                "{what}: it is {}",
                node["provision_state"]
            );
            (node["provision_state"] == state
                && node["last_error"].is_string()
                && node["reservation"].is_null())
            .then_some(node)
        })
        .await;
        node["last_error"].as_str().unwrap().to_owned()
    }

    /// What happened to the node, for a failed test's output.
    pub async fn timeline(&self, name: &str) -> String {
        match self
            .call(
                Method::GET,
                &format!("/v1/nodes/{name}/timeline?limit=40"),
                None,
            )
            .await
        {
            Ok(reply) => format!("{:#}", reply.body),
            Err(Unreachable) => "the API does not answer".to_owned(),
        }
    }
}
