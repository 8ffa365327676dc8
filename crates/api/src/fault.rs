//! Every refusal of the API, in one place: status, sentence and the shape of its body.
//!
//! A body that is not 2xx or 3xx is `{"error_message": "<string>"}`, the string being JSON itself. Clients
//! read two inner shapes: `faultcode`/`faultstring` when a resource refuses, `code`/`title`/`description`
//! when no resource was reached. The guards of the body and
//! authentication answer bare, without the wrapper.

use axum::body::Body;
use axum::response::Response;
use bessemer_model::{Class, Fault, FaultKind};
use bessemer_store::StoreError;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Which inner shape the body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A resource refuses.
    Controller,
    /// No resource was reached: unknown path, wrong method, bad version.
    Routing,
    /// A guard of the body: not wrapped.
    Bare,
    /// Authentication: an `error`, not wrapped.
    Auth,
    /// Authentication with Keystone: the same with a title.
    Keystone,
}

/// Which version headers go with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionHeaders {
    None,
    /// Minimum and maximum only: the client may negotiate anew.
    Range,
    All,
}

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct ApiFault {
    pub status: StatusCode,
    pub text: String,
    pub shape: Shape,
    pub versions: VersionHeaders,
    /// Further headers: `Allow`, `Retry-After`, `WWW-Authenticate`.
    pub headers: Vec<(header::HeaderName, String)>,
}

impl ApiFault {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            shape: Shape::Controller,
            versions: VersionHeaders::All,
            headers: Vec::new(),
        }
    }

    /// 400
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 409
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    /// 406 of something that the version does not have.
    pub fn not_acceptable() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "Request not acceptable.")
    }

    /// 406 that names the version which has it.
    pub fn needs_version(minor: u16) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("Request not acceptable. The minimal required API version should be 1.{minor}"),
        )
    }

    pub fn node_not_found(ident: impl std::fmt::Display) -> Self {
        Self::not_found(format!("Node {ident} could not be found."))
    }

    /// A path or method that no resource answers: no version headers, upstream's routing shape.
    pub fn unrouted(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            shape: Shape::Routing,
            versions: VersionHeaders::None,
            ..Self::new(status, text)
        }
    }

    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub fn with_header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// For a refusal that has to go through the store.
    pub fn into_fault(self) -> Fault {
        let kind = match self.status {
            StatusCode::BAD_REQUEST => FaultKind::Invalid,
            StatusCode::FORBIDDEN => FaultKind::NotPermitted,
            StatusCode::NOT_FOUND => FaultKind::NotFound,
            StatusCode::NOT_ACCEPTABLE => FaultKind::NotAcceptable,
            StatusCode::CONFLICT => FaultKind::Conflict,
            _ => FaultKind::Internal,
        };
        Fault::new(kind, Class::Never, self.text)
    }

    fn body(&self) -> Value {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let faultcode = if self.status.is_server_error() {
            "Server"
        } else {
            "Client"
        };
        match self.shape {
            Shape::Controller => wrapped(&json!({
                "faultcode": faultcode, "faultstring": self.text, "debuginfo": null
            })),
            Shape::Routing => wrapped(&json!({
                "code": self.status.as_u16(), "title": title, "description": self.text
            })),
            Shape::Auth => json!({
                "error": {"message": self.text, "code": self.status.as_u16()}
            }),
            Shape::Keystone => json!({
                "error": {"code": self.status.as_u16(), "title": title, "message": self.text}
            }),
            Shape::Bare => json!({"faultcode": faultcode, "faultstring": self.text}),
        }
    }

    /// Without version headers: the router adds them by `versions`.
    pub fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn wrapped(inner: &Value) -> Value {
    json!({"error_message": inner.to_string()})
}

impl From<Fault> for ApiFault {
    fn from(fault: Fault) -> Self {
        let status = match fault.kind {
            FaultKind::Invalid
            | FaultKind::MissingParameter
            | FaultKind::Unsupported
            | FaultKind::InvalidState => StatusCode::BAD_REQUEST,
            FaultKind::NotPermitted => StatusCode::FORBIDDEN,
            FaultKind::NotFound => StatusCode::NOT_FOUND,
            FaultKind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            FaultKind::Conflict | FaultKind::Locked => StatusCode::CONFLICT,
            FaultKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            FaultKind::Hardware | FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let busy = fault.kind == FaultKind::Busy;
        let answer = Self::new(status, fault.text);
        if busy {
            answer.with_header(header::RETRY_AFTER, "5")
        } else {
            answer
        }
    }
}

impl From<StoreError> for ApiFault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(fault) => fault.into(),
            StoreError::NotFound {
                what: "Marker",
                ref id,
            } => Self::not_found(format!("Marker {id} could not be found.")),
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            StoreError::Duplicate {
                what,
                field,
                ref value,
            } => Self::conflict(match (what.to_ascii_lowercase().as_str(), field) {
                ("node", "instance_uuid") => format!(
                    "Instance {value} is already associated with a node, it cannot be associated with another node"
                ),
                ("allocation", "uuid") => {
                    format!("An allocation with UUID {value} already exists.")
                }
                ("allocation", field) => {
                    format!("An allocation with {field} {value} already exists.")
                }
                (what, "uuid") => format!("A {what} with UUID {value} already exists."),
                (what, "address") => format!("A {what} with MAC address {value} already exists."),
                (what, field) => format!("A {what} with {field} {value} already exists."),
            }),
            StoreError::Changed { .. }
            | StoreError::Locked { .. }
            | StoreError::OperationOpen { .. } => Self::conflict(error.to_string()),
            StoreError::Storage(_) | StoreError::Unavailable(_) => {
                tracing::error!(%error, "the database refused a request");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                    .with_header(header::RETRY_AFTER, "5")
            }
            StoreError::LeaseLost { .. } | StoreError::Internal(_) => {
                tracing::error!(%error, "a request failed in the store");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The request failed in the database; the log of the service names the cause.",
                )
            }
            other => {
                tracing::error!(error = %other, "a request failed in the store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string())
            }
        }
    }
}
