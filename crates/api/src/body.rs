//! How request bodies are read: size and nesting first, then JSON, and never a 500 for what is not JSON.
//!
//! The only way to a body: `axum::Json` is banned (see `clippy.toml`), because its refusals are not ours.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::fault::{ApiFault, Shape};

/// Longest time that a body may take to arrive.
const ARRIVAL: std::time::Duration = std::time::Duration::from_secs(120);

fn bare(status: StatusCode, text: &str) -> ApiFault {
    ApiFault {
        shape: Shape::Bare,
        ..ApiFault::new(status, text)
    }
}

/// Reads a body of at most `limit` bytes whose JSON is nested at most `depth` deep.
///
/// # Errors
/// 413, 400 for nesting, 415 for forms, 408 when it does not arrive.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    depth: u32,
) -> Result<Bytes, ApiFault> {
    let too_large = || {
        bare(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request body is too large. Please contact the service administrator.",
        )
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(ARRIVAL, Limited::new(body, limit).collect()).await;
    let bytes = match read {
        Err(_) => {
            return Err(ApiFault::new(
                StatusCode::REQUEST_TIMEOUT,
                "The request's body did not arrive in time.",
            ));
        }
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            return Err(too_large());
        }
        Ok(Err(_)) => {
            return Err(ApiFault::invalid(
                "The request's body ended before it was complete.",
            ));
        }
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    if bytes.is_empty() {
        return Ok(bytes);
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if content_type.starts_with("multipart/") {
        return Err(ApiFault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "The body of a request is JSON (Content-Type: application/json), not {}.",
                content_type.split(';').next().unwrap_or_default()
            ),
        ));
    }
    if nesting(&bytes) > depth {
        return Err(bare(
            StatusCode::BAD_REQUEST,
            "Request body JSON is nested too deeply. Please contact the service administrator.",
        ));
    }
    Ok(bytes)
}

/// Deepest nesting of brackets outside of strings; the text need not be valid JSON.
fn nesting(bytes: &[u8]) -> u32 {
    let (mut now, mut deepest, mut string, mut escaped) = (0u32, 0u32, false, false);
    for byte in bytes {
        match (string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => string = false,
            (true, _) => {}
            (false, b'"') => string = true,
            (false, b'[' | b'{') => {
                now = now.saturating_add(1);
                deepest = deepest.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

/// A body as JSON; an absent one is an empty object, as upstream takes it.
///
/// # Errors
/// 400 with position and reason.
pub fn json(bytes: &Bytes) -> Result<Value, ApiFault> {
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        ApiFault::invalid(format!("The request's body is not valid JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_ignores_strings() {
        let check = |text: &str, want| assert_eq!(nesting(text.as_bytes()), want, "{text}");
        check("", 0);
        check("5", 0);
        check(r#"{"a":[1,[2]]}"#, 3);
        check(r#"{"a":"[[[["}"#, 1);
        check(r#"{"a":"\"[["}"#, 1);
        check("]]]][", 1);
    }
}
