//! The audit: who did what to what, from where, and what came of it.
//!
//! One line of the log (target `audit`) for every call that changes something, and for every refusal of
//! authentication, of a policy or of a rate limit. Bodies are never in it: they hold secrets. Agents' accepted
//! heartbeats are left out, they would be most of it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::caller::Caller;

/// The sentence of a refusal, put into the response's extensions for the audit.
#[derive(Debug, Clone)]
pub struct Said(pub Arc<str>);

/// One call.
pub struct Audit<'a> {
    pub method: &'a Method,
    /// As the client wrote it, without the query.
    pub path: &'a str,
    pub status: StatusCode,
    pub request: &'a str,
    pub from: Option<IpAddr>,
    /// `None` when it never became known.
    pub caller: Option<&'a Caller>,
    /// Where a new resource is.
    pub location: Option<&'a str>,
    pub reason: Option<&'a str>,
}

impl Audit<'_> {
    /// Writes the line when the call is worth one.
    pub fn write(&self) {
        let reads = matches!(*self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let refused = matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        if (reads || self.of_agent()) && !refused {
            return;
        }
        let of = |text: Option<&Option<String>>| {
            text.and_then(Option::as_deref).unwrap_or("-").to_owned()
        };
        let caller = self.caller;
        let scope = match caller {
            None => "-",
            Some(caller) if caller.system => "system",
            Some(caller) if caller.project_id.is_some() => "project",
            Some(_) => "none",
        };
        tracing::info!(
            target: "audit",
            outcome = if self.status.is_success() { "success" } else { "failure" },
            status = self.status.as_u16(),
            method = %self.method,
            path = self.path,
            node = self.node().unwrap_or("-"),
            user_id = of(caller.map(|c| &c.user_id)),
            user = of(caller.map(|c| &c.user_name)),
            project_id = of(caller.map(|c| &c.project_id)),
            scope,
            roles = caller.map(|c| c.roles.join(",")).unwrap_or_default(),
            from = self.from.map(|a| a.to_string()).unwrap_or_else(|| "-".into()),
            request = self.request,
            reason = self.reason.unwrap_or("-"),
            "api call"
        );
    }

    fn of_agent(&self) -> bool {
        let mut segments = self.segments();
        matches!(segments.next(), Some("heartbeat" | "continue_inspection"))
    }

    /// Segments below `/v1`.
    fn segments(&self) -> impl Iterator<Item = &str> {
        self.path
            .split('/')
            .filter(|s| !s.is_empty())
            .skip_while(|s| *s == "v1")
    }

    /// The node that the call is about: in the path, or new.
    fn node(&self) -> Option<&str> {
        let mut segments = self.segments();
        if segments.next() != Some("nodes") {
            return None;
        }
        segments.next().or_else(|| {
            self.location
                .and_then(|url| url.rsplit_once("/nodes/"))
                .map(|(_, ident)| ident)
        })
    }
}
