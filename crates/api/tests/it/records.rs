//! Every route at every version where it changes has an answer recorded from upstream's own service.
//!
//! Asked for are: 1.1, 1.34 and 1.115 as far as the route is served there, the version that brought it, the one just below
//! (what older clients see is a contract too), and each version at which what it shows changes.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_api::compat;
use bessemer_api::versions::{COLLECTIONS, MAX_MINOR, Method, NODE_FIELDS, PORT_FIELDS};
use serde_json::Value;

const SHOWN: [u16; 3] = [1, 34, 115];

/// Versions at which the answer of a route changes, besides the one that brought it.
fn changes(method: Method, path: &str) -> Vec<u16> {
    if method != Method::Get {
        return Vec::new();
    }
    match path {
        "/v1" => COLLECTIONS.iter().map(|(_, since)| *since).collect(),
        "/v1/nodes/{ident}" => NODE_FIELDS
            .iter()
            .map(|(_, since)| *since)
            .chain([2, 39])
            .collect(),
        "/v1/ports/{port}" => PORT_FIELDS.iter().map(|(_, since)| *since).collect(),
        "/v1/nodes/{ident}/states" => vec![2, 12, 39, 75],
        "/v1/portgroups/{portgroup}" => vec![24, 26, 102, 103, 111],
        "/v1/drivers/{driver}" => vec![14, 30, 33, 38, 40, 86],
        "/v1/allocations/{allocation}" => vec![60],
        "/v1/runbooks/{runbook}" => vec![112],
        "/v1/nodes/{ident}/bios" | "/v1/nodes/{ident}/bios/{setting}" => vec![74],
        "/v1/nodes/{ident}/firmware" => vec![114],
        "/v1/nodes/{ident}/history/{event}" => vec![113, 115],
        _ => Vec::new(),
    }
}

/// Routes for which upstream's service cannot answer as it is set up for the records, with the reason.
const UNRECORDED: &[(&str, &str)] = &[
    ("/healthcheck", "switched on by an option; answers a text"),
    ("/v1/openapi.json", "ours"),
];

/// Which versions each method of each route was recorded at.
fn recorded() -> BTreeMap<(String, String), BTreeSet<u16>> {
    let goldens = format!("{}/tests/goldens", env!("CARGO_MANIFEST_DIR"));
    let paths: Vec<&str> = compat::UPSTREAM.iter().map(|(path, ..)| *path).collect();
    let mut found: BTreeMap<(String, String), BTreeSet<u16>> = BTreeMap::new();
    for file in std::fs::read_dir(goldens).unwrap() {
        let golden: Value =
            serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for step in golden["steps"].as_array().into_iter().flatten() {
            let version = match step["version"].as_str() {
                None => 1,
                Some("latest") => MAX_MINOR,
                Some(text) => match text.strip_prefix("1.").and_then(|m| m.parse().ok()) {
                    Some(minor) => minor,
                    None => continue,
                },
            };
            let Some(path) = step["path"].as_str() else {
                continue;
            };
            let path = path.split('?').next().unwrap().trim_end_matches('/');
            let path = if path.is_empty() { "/" } else { path };
            let parts: Vec<&str> = path.split('/').collect();
            let known = paths
                .iter()
                .filter(|known| {
                    let known: Vec<&str> = known.split('/').collect();
                    known.len() == parts.len()
                        && known
                            .iter()
                            .zip(&parts)
                            .all(|(k, p)| k == p || k.starts_with('{'))
                })
                .min_by_key(|known| known.matches('{').count());
            if let Some(known) = known {
                found
                    .entry((
                        step["method"].as_str().unwrap().to_owned(),
                        (*known).to_owned(),
                    ))
                    .or_default()
                    .insert(version);
            }
        }
    }
    found
}

#[test]
fn every_route_has_its_records() {
    let recorded = recorded();
    let none = BTreeSet::new();
    let mut lacking = Vec::new();
    for (path, methods, since) in compat::UPSTREAM {
        if UNRECORDED.iter().any(|(unrecorded, _)| unrecorded == path) {
            continue;
        }
        for method in *methods {
            let have = recorded
                .get(&(method.as_str().to_owned(), (*path).to_owned()))
                .unwrap_or(&none);
            let mut want: BTreeSet<u16> = SHOWN.iter().copied().filter(|v| v >= since).collect();
            want.extend(changes(*method, path).iter().filter(|v| *v > since));
            if *since > 1 {
                want.extend([since - 1, *since]);
            }
            let missing: Vec<String> = want
                .difference(have)
                .map(|minor| format!("1.{minor}"))
                .collect();
            if !missing.is_empty() {
                lacking.push(format!("{} {path}: {}", method.as_str(), missing.join(" ")));
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "{} routes lack records of upstream's answers (crates/api/tests/record_*.py):\n{}",
        lacking.len(),
        lacking.join("\n")
    );
}
