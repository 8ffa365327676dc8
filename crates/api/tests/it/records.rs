//! Every route at every version where it changes has an answer recorded from upstream's own service.
//!
//! Asked for are, of each route: 1.1, 1.34 and 1.115 as far as it is served there, the version that brought it, the one just
//! below (what older clients see is a contract too), and each version at which what it shows changes. Of each member of a
//! request, argument and verb that came later: the version that brought it and the one just below.

use std::collections::{BTreeMap, BTreeSet};

use bessemer_api::compat;
use bessemer_api::versions::{
    COLLECTIONS, MAX_MINOR, Method, NODE_FIELDS, NODE_FILTERS, PORT_FIELDS, PORTGROUP_FIELDS,
};
use bessemer_model::NodeField;
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
        "/v1/portgroups/{portgroup}" => PORTGROUP_FIELDS
            .iter()
            .map(|(_, since)| *since)
            .chain([24])
            .collect(),
        "/v1/drivers/{driver}" => vec![14, 30, 33, 38, 40, 86],
        "/v1/allocations/{allocation}" => vec![60],
        "/v1/runbooks/{runbook}" => vec![112],
        "/v1/nodes/{ident}/bios" | "/v1/nodes/{ident}/bios/{setting}" => vec![74],
        "/v1/nodes/{ident}/firmware" => vec![114],
        "/v1/nodes/{ident}/history/{event}" => vec![113, 115],
        _ => Vec::new(),
    }
}

/// A route, and names with the versions in which they came.
type Names = (Method, &'static str, &'static [(&'static str, u16)]);

/// Members of requests, arguments of queries and verbs (`target=`) that came later than their routes and stand in no table of
/// the service.
#[rustfmt::skip]
const ASKED: &[Names] = &[
    (Method::Get, "/v1/nodes", &[("fields", 8), ("detail", 43), ("description_contains", 51), ("retired", 61),
        ("instance_name", 104)]),
    (Method::Get, "/v1/ports", &[("fields", 8), ("portgroup", 24), ("detail", 43), ("shard", 82), ("description_contains", 97),
        ("conductor_groups", 99)]),
    (Method::Get, "/v1/portgroups", &[("detail", 43), ("shard", 106)]),
    (Method::Get, "/v1/drivers", &[("type", 30), ("detail", 30), ("fields", 77)]),
    (Method::Get, "/v1/drivers/{driver}", &[("fields", 77)]),
    (Method::Get, "/v1/allocations", &[("owner", 60)]),
    (Method::Get, "/v1/nodes/{ident}/bios", &[("detail", 74), ("fields", 74)]),
    (Method::Post, "/v1/allocations", &[("node", 58), ("owner", 60)]),
    (Method::Post, "/v1/runbooks", &[("description", 112), ("traits", 112)]),
    (Method::Post, "/v1/nodes/{ident}/vifs", &[("port_uuid", 67)]),
    (Method::Post, "/v1/heartbeat/{ident}", &[("agent_version", 36), ("agent_token", 62), ("agent_verify_ca", 68),
        ("agent_status", 72), ("agent_status_message", 72)]),
    (Method::Put, "/v1/nodes/{ident}/states/power", &[("target=soft power off", 27), ("timeout", 27)]),
    (Method::Put, "/v1/nodes/{ident}/states/provision", &[("target=manage", 4), ("target=provide", 4), ("target=inspect", 6),
        ("target=abort", 13), ("target=clean", 15), ("target=adopt", 17), ("configdrive", 35), ("target=rescue", 38),
        ("rescue_password", 38), ("target=unrescue", 38), ("configdrive", 56), ("configdrive", 59), ("deploy_steps", 69),
        ("disable_ramdisk", 70), ("target=deploy", 73), ("target=undeploy", 73), ("target=unhold", 85), ("target=service", 87),
        ("service_steps", 87), ("runbook", 92), ("disable_ramdisk", 108)]),
];

/// Members of a node that no request can set.
fn shown_only(field: NodeField) -> bool {
    use NodeField as F;
    matches!(
        field,
        F::DriverInternalInfo
            | F::InspectionFinishedAt
            | F::InspectionStartedAt
            | F::CleanStep
            | F::RaidConfig
            | F::TargetRaidConfig
            | F::States
            | F::Portgroups
            | F::Volume
            | F::Traits
            | F::Fault
            | F::DeployStep
            | F::Conductor
            | F::BootMode
            | F::SecureBoot
            | F::ServiceStep
            | F::Health
    )
}

/// All that [`ASKED`] and the tables ask for.
fn asked() -> Vec<(Method, &'static str, &'static str, u16)> {
    let mut all = Vec::new();
    let settable =
        |(field, since): &(NodeField, u16)| (!shown_only(*field)).then_some((field.name(), *since));
    let nodes: Vec<(&str, u16)> = NODE_FIELDS.iter().filter_map(settable).collect();
    for (method, path, names) in [
        (Method::Post, "/v1/nodes", nodes.as_slice()),
        (Method::Patch, "/v1/nodes/{ident}", nodes.as_slice()),
        (Method::Get, "/v1/nodes", NODE_FILTERS),
        (Method::Post, "/v1/ports", PORT_FIELDS),
        (Method::Patch, "/v1/ports/{port}", PORT_FIELDS),
        (Method::Post, "/v1/portgroups", PORTGROUP_FIELDS),
        (
            Method::Patch,
            "/v1/portgroups/{portgroup}",
            PORTGROUP_FIELDS,
        ),
    ]
    .into_iter()
    .chain(ASKED.iter().copied())
    {
        all.extend(
            names
                .iter()
                .map(|(name, since)| (method, path, *name, *since)),
        );
    }
    all
}

/// Routes for which upstream's service cannot answer as it is set up for the records, with the reason.
const UNRECORDED: &[(&str, &str)] = &[("/healthcheck", "switched on by an option; answers a text")];

/// At which versions something was recorded.
#[derive(Default)]
struct Recorded {
    routes: BTreeMap<(String, String), BTreeSet<u16>>,
    /// Members of requests, arguments and verbs.
    names: BTreeMap<(String, String, String), BTreeSet<u16>>,
}

/// What a request names: arguments of its query, members of its body, the members that a patch is about, its verb.
fn named(query: &str, method: &str, body: &Value) -> Vec<String> {
    let mut names: Vec<String> = query
        .split('&')
        .filter_map(|argument| argument.split('=').next())
        .map(str::to_owned)
        .collect();
    names.extend(
        body.as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned()),
    );
    if let Some(target) = body["target"].as_str() {
        names.push(format!("target={target}"));
    }
    if method == "PATCH" {
        let paths = body.as_array().into_iter().flatten();
        names.extend(
            paths.filter_map(|one| one["path"].as_str()?.split('/').nth(1).map(str::to_owned)),
        );
    }
    names
}

fn recorded() -> Recorded {
    let goldens = format!("{}/tests/goldens", env!("CARGO_MANIFEST_DIR"));
    let paths: Vec<&str> = compat::UPSTREAM.iter().map(|(path, ..)| *path).collect();
    let mut found = Recorded::default();
    for file in std::fs::read_dir(goldens).unwrap() {
        let golden: Value =
            serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for step in golden["steps"].as_array().into_iter().flatten() {
            // seeds and waits are not answers
            let Some(version) = step.get("status").map(|_| &step["version"]) else {
                continue;
            };
            let version = match version.as_str() {
                None => 1,
                Some("latest") => MAX_MINOR,
                Some(text) => match text.strip_prefix("1.").and_then(|m| m.parse().ok()) {
                    Some(minor) => minor,
                    None => continue,
                },
            };
            let (path, query) = {
                let whole = step["path"].as_str().unwrap();
                whole.split_once('?').unwrap_or((whole, ""))
            };
            let path = path.trim_end_matches('/');
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
            let Some(known) = known else { continue };
            let method = step["method"].as_str().unwrap();
            let route = (method.to_owned(), (*known).to_owned());
            for name in named(query, method, &step["body"]) {
                let name = (route.0.clone(), route.1.clone(), name);
                found.names.entry(name).or_default().insert(version);
            }
            found.routes.entry(route).or_default().insert(version);
        }
    }
    found
}

fn missing(want: &BTreeSet<u16>, have: Option<&BTreeSet<u16>>) -> Option<String> {
    let none = BTreeSet::new();
    let missing: Vec<String> = want
        .difference(have.unwrap_or(&none))
        .map(|minor| format!("1.{minor}"))
        .collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}

#[test]
fn every_route_has_its_records() {
    let recorded = recorded();
    let mut lacking = Vec::new();
    for (path, methods, since) in compat::UPSTREAM {
        if UNRECORDED.iter().any(|(unrecorded, _)| unrecorded == path) {
            continue;
        }
        for method in *methods {
            let route = (method.as_str().to_owned(), (*path).to_owned());
            let mut want: BTreeSet<u16> = SHOWN.iter().copied().filter(|v| v >= since).collect();
            want.extend(changes(*method, path).iter().filter(|v| *v > since));
            if *since > 1 {
                want.extend([since - 1, *since]);
            }
            if let Some(versions) = missing(&want, recorded.routes.get(&route)) {
                lacking.push(format!("{} {path}: {versions}", method.as_str()));
            }
        }
    }
    for (method, path, name, since) in asked().into_iter().filter(|(.., since)| *since > 1) {
        let key = (method.as_str().to_owned(), path.to_owned(), name.to_owned());
        let want = BTreeSet::from([since - 1, since]);
        if let Some(versions) = missing(&want, recorded.names.get(&key)) {
            lacking.push(format!("{} {path} {name}: {versions}", method.as_str()));
        }
    }
    assert!(
        lacking.is_empty(),
        "{} routes or members lack records of upstream's answers (crates/api/tests/record_*.py):\n{}",
        lacking.len(),
        lacking.join("\n")
    );
}
