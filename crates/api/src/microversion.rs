//! Negotiation of the microversion: which one the client asks for, and the refusals.

use http::{HeaderMap, StatusCode};

use crate::fault::{ApiFault, Shape, VersionHeaders};
use crate::versions::{MAX_MINOR, MIN_MINOR};

/// Minor of an accepted version: 1..=115.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor(pub u16);

pub const REQUESTED: &str = "x-openstack-ironic-api-version";
pub const MINIMUM: &str = "x-openstack-ironic-api-minimum-version";
pub const MAXIMUM: &str = "x-openstack-ironic-api-maximum-version";
/// The header that all OpenStack services share: `baremetal 1.34`.
const STANDARD: &str = "openstack-api-version";

fn asked(headers: &HeaderMap) -> Option<Result<&str, ()>> {
    // several services may be named, in one header or in several
    for value in headers.get_all(STANDARD) {
        let Ok(text) = value.to_str() else {
            return Some(Err(()));
        };
        for part in text.split(',') {
            if let Some((service, version)) = part.trim().split_once(char::is_whitespace)
                && service.eq_ignore_ascii_case("baremetal")
            {
                return Some(Ok(version.trim()));
            }
        }
    }
    headers
        .get(REQUESTED)
        .map(|value| value.to_str().map(str::trim).map_err(|_| ()))
}

/// Major and minor as written.
fn parse(text: &str) -> Option<(i64, i64)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.trim().parse().ok()?, minor.trim().parse().ok()?))
}

/// The version of a request; no header means the oldest.
///
/// # Errors
/// 406 with the headers that each case has: none when the value cannot be read, the range otherwise.
pub fn negotiate(headers: &HeaderMap, shape: Shape) -> Result<Minor, ApiFault> {
    let refused = |text: String, versions| ApiFault {
        shape,
        versions,
        ..ApiFault::new(StatusCode::NOT_ACCEPTABLE, text)
    };
    let unreadable = || {
        refused(
            "Invalid value for X-OpenStack-Ironic-API-Version header".into(),
            VersionHeaders::None,
        )
    };
    let text = match asked(headers) {
        None => return Ok(Minor(MIN_MINOR)),
        Some(Ok("")) => return Ok(Minor(MIN_MINOR)),
        Some(Ok(text)) => text,
        Some(Err(())) => return Err(unreadable()),
    };
    if text.eq_ignore_ascii_case("latest") {
        return Ok(Minor(MAX_MINOR));
    }
    let (major, minor) = parse(text).ok_or_else(unreadable)?;
    let range = format!("[1.{MIN_MINOR}, 1.{MAX_MINOR}]");
    if major != 1 {
        return Err(refused(
            format!(
                "Mutually exclusive versions requested. Version {major}.{minor} requested but not supported by this service. The supported version range is: {range}."
            ),
            VersionHeaders::Range,
        ));
    }
    match u16::try_from(minor) {
        Ok(accepted) if (MIN_MINOR..=MAX_MINOR).contains(&accepted) => Ok(Minor(accepted)),
        _ => Err(refused(
            format!(
                "Version {major}.{minor} was requested but the minor version is not supported by this service. The supported version range is: {range}."
            ),
            VersionHeaders::Range,
        )),
    }
}

/// Reads arbitrary bytes as the value of the version header.
pub fn fuzz_microversion(data: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(data) {
        headers.insert(REQUESTED, value.clone());
        headers.insert(STANDARD, value);
    }
    if let Ok(Minor(minor)) = negotiate(&headers, Shape::Routing) {
        assert!((MIN_MINOR..=MAX_MINOR).contains(&minor));
    }
}
