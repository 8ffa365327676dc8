//! `docs/compat/matrix.md`: what a client that is set to a version finds, from the table of routes and the list of upstream's
//! endpoints; and the release history, `docs/compat/versions.md`, from those and the tables of members and filters.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::compat::UPSTREAM;
use crate::versions::{
    COLLECTIONS, Endpoint, Method, NODE_FIELDS, NODE_FILTERS, PORT_FIELDS, ROUTES,
};

/// Versions that clients are set to, and which clients.
const CLIENTS: &[(u16, &str)] = &[
    (1, "no version header"),
    (9, "python-ironicclient as a library"),
    (34, "ironic-ui"),
    (46, "nova at least"),
    (72, "kickstart of anaconda"),
    (81, "tests of the Ironic standalone operator"),
    (89, "Metal3 at least"),
    (95, "Metal3"),
    (109, "Metal3, openstacksdk's nodes"),
    (115, "`openstack baremetal`"),
];

fn served(path: &str, method: Method) -> Option<&'static Endpoint> {
    ROUTES
        .iter()
        .find(|r| r.path == path)
        .and_then(|r| r.endpoints.iter().find(|e| e.method == method))
}

/// The resource that a path belongs to.
fn resource(path: &str) -> String {
    let mut parts = path
        .split('/')
        .skip(2)
        .filter(|part| !part.starts_with('{'));
    match (parts.next(), parts.next()) {
        (None, _) => "version documents".into(),
        (Some("nodes"), Some(below)) if below != "detail" => format!("nodes: {below}"),
        (Some("drivers"), Some(below)) => format!("drivers: {below}"),
        (Some("volume"), Some(below)) => format!("volume {below}"),
        (Some(first), _) => first.replace('_', " "),
    }
}

/// `docs/compat/matrix.md`
#[must_use]
pub fn matrix() -> String {
    let mut order: Vec<String> = Vec::new();
    let mut cells: BTreeMap<(String, u16), (u32, u32)> = BTreeMap::new();
    for (path, methods, since) in UPSTREAM {
        let name = resource(path);
        if !order.contains(&name) {
            order.push(name.clone());
        }
        for method in *methods {
            let whole = served(path, *method).is_some_and(|e| e.partial.is_empty());
            for (version, _) in CLIENTS.iter().filter(|(version, _)| version >= since) {
                let cell = cells.entry((name.clone(), *version)).or_default();
                cell.0 = cell.0.saturating_add(u32::from(whole));
                cell.1 = cell.1.saturating_add(1);
            }
        }
    }
    let mut text = String::from(
        "# Compatibility matrix\n\n\
         Generated from the tables in `crates/api/src/versions.rs` and `compat.rs`; a test keeps it fresh. A cell is what a client\n\
         that is set to the version finds: methods that are served whole, of those that upstream has there; empty where upstream\n\
         has none. [endpoints.md](endpoints.md) says what is missing in the others.\n\n",
    );
    for (version, client) in CLIENTS {
        let _ = writeln!(text, "- 1.{version}: {client}");
    }
    text.push_str("\n| Resource |");
    for (version, _) in CLIENTS {
        let _ = write!(text, " 1.{version} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(CLIENTS.len()));
    text.push('\n');
    for name in order {
        let _ = write!(text, "| {name} |");
        for (version, _) in CLIENTS {
            match cells.get(&(name.clone(), *version)) {
                Some((whole, all)) => {
                    let _ = write!(text, " {whole}/{all} |");
                }
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    for (name, fields) in [
        ("members of a node", node_members()),
        ("members of a port", PORT_FIELDS.to_vec()),
    ] {
        let _ = write!(text, "| {name} |");
        for (version, _) in CLIENTS {
            let shown = fields.iter().filter(|(_, since)| since <= version).count();
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text
}

fn node_members() -> Vec<(&'static str, u16)> {
    bessemer_model::NodeField::ALL
        .iter()
        .map(|field| (field.name(), crate::versions::node_field_since(*field)))
        .collect()
}

/// What the tables know that a version brought: endpoints, members, filters, collections.
#[must_use]
pub fn brought(minor: u16) -> String {
    let mut parts = Vec::new();
    for (path, methods, since) in UPSTREAM {
        if *since == minor && minor > 1 {
            let methods: Vec<&str> = methods.iter().map(|m| m.as_str()).collect();
            parts.push(format!("`{} {path}`", methods.join(" ")));
        }
    }
    let mut named = |what: &str, names: Vec<&str>| {
        if !names.is_empty() {
            parts.push(format!("{what} `{}`", names.join("`, `")));
        }
    };
    let of = |table: &[(&'static str, u16)]| -> Vec<&'static str> {
        table
            .iter()
            .filter(|(_, since)| *since == minor && minor > 1)
            .map(|(name, _)| *name)
            .collect()
    };
    named(
        "node:",
        NODE_FIELDS
            .iter()
            .filter(|(_, since)| *since == minor)
            .map(|(field, _)| field.name())
            .collect(),
    );
    named("port:", of(PORT_FIELDS));
    named("filters of nodes:", of(NODE_FILTERS));
    named("linked in `/v1`:", of(COLLECTIONS));
    parts.join("; ")
}

/// Whether the endpoints that a version brought are served: all, some or none; `None` when it brought none.
#[must_use]
pub fn endpoints_of(minor: u16) -> Option<&'static str> {
    let mut found = UPSTREAM
        .iter()
        .filter(|(_, _, since)| *since == minor)
        .flat_map(|(path, methods, _)| methods.iter().map(|m| served(path, *m).is_some()));
    let first = found.next()?;
    Some(match (first, found.all(|one| one == first)) {
        (true, true) => "done",
        (false, true) => "missing",
        _ => "partial",
    })
}
