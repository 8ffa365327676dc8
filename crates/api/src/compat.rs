//! What of upstream's API is served, for `docs/compat/`: derived from [`crate::versions::ROUTES`], the list of
//! upstream's endpoints (39.0, API 1.115) and that of the microversions.

use std::fmt::Write;

use crate::matrix;
use crate::versions::{Method, ROUTES};

use Method::{Delete as D, Get as G, Patch as H, Post as P, Put as U};

/// Upstream's endpoints: path, methods, first minor version.
#[rustfmt::skip]
pub const UPSTREAM: &[(&str, &[Method], u16)] = &[
    ("/", &[G], 1),
    ("/v1", &[G], 1),
    ("/healthcheck", &[G], 1),
    ("/v1/nodes", &[G, P], 1),
    ("/v1/nodes/detail", &[G], 1),
    ("/v1/nodes/validate", &[G], 1),
    ("/v1/nodes/{ident}", &[G, H, D], 1),
    ("/v1/nodes/{ident}/validate", &[G], 1),
    ("/v1/nodes/{ident}/states", &[G], 1),
    ("/v1/nodes/{ident}/states/power", &[U], 1),
    ("/v1/nodes/{ident}/states/provision", &[U], 1),
    ("/v1/nodes/{ident}/states/raid", &[U], 12),
    ("/v1/nodes/{ident}/states/boot_mode", &[U], 76),
    ("/v1/nodes/{ident}/states/secure_boot", &[U], 76),
    ("/v1/nodes/{ident}/states/console", &[G, U], 1),
    ("/v1/nodes/{ident}/maintenance", &[U, D], 1),
    ("/v1/nodes/{ident}/management/boot_device", &[G, U], 1),
    ("/v1/nodes/{ident}/management/boot_device/supported", &[G], 1),
    ("/v1/nodes/{ident}/management/inject_nmi", &[U], 29),
    ("/v1/nodes/{ident}/management/indicators", &[G], 1),
    ("/v1/nodes/{ident}/management/indicators/{indicator}", &[G, U], 1),
    ("/v1/nodes/{ident}/vendor_passthru/methods", &[G], 1),
    ("/v1/nodes/{ident}/vendor_passthru/{method}", &[G, P, U, H, D], 1),
    ("/v1/nodes/{ident}/traits", &[G, U, D], 37),
    ("/v1/nodes/{ident}/traits/{trait}", &[U, D], 37),
    ("/v1/nodes/{ident}/vifs", &[G, P], 28),
    ("/v1/nodes/{ident}/vifs/{vif}", &[D], 28),
    ("/v1/nodes/{ident}/ports", &[G], 1),
    ("/v1/nodes/{ident}/ports/detail", &[G], 1),
    ("/v1/nodes/{ident}/portgroups", &[G], 24),
    ("/v1/nodes/{ident}/portgroups/detail", &[G], 24),
    ("/v1/nodes/{ident}/portgroups/{portgroup}/ports", &[G], 24),
    ("/v1/nodes/{ident}/volume", &[G], 32),
    ("/v1/nodes/{ident}/volume/connectors", &[G], 32),
    ("/v1/nodes/{ident}/volume/targets", &[G], 32),
    ("/v1/nodes/{ident}/bios", &[G], 40),
    ("/v1/nodes/{ident}/bios/{setting}", &[G], 40),
    ("/v1/nodes/{ident}/firmware", &[G], 86),
    ("/v1/nodes/{ident}/allocation", &[G, D], 52),
    ("/v1/nodes/{ident}/history", &[G], 78),
    ("/v1/nodes/{ident}/history/{event}", &[G], 78),
    ("/v1/nodes/{ident}/inventory", &[G], 81),
    ("/v1/nodes/{ident}/children", &[G], 83),
    ("/v1/nodes/{ident}/vmedia", &[G], 93),
    ("/v1/nodes/{ident}/vmedia", &[P, D], 89),
    ("/v1/ports", &[G, P], 1),
    ("/v1/ports/detail", &[G], 1),
    ("/v1/ports/{port}", &[G, H, D], 1),
    ("/v1/portgroups", &[G, P], 23),
    ("/v1/portgroups/detail", &[G], 23),
    ("/v1/portgroups/{portgroup}", &[G, H, D], 23),
    ("/v1/portgroups/{portgroup}/ports", &[G], 24),
    ("/v1/portgroups/{portgroup}/ports/detail", &[G], 24),
    ("/v1/chassis", &[G, P], 1),
    ("/v1/chassis/detail", &[G], 1),
    ("/v1/chassis/{chassis}", &[G, H, D], 1),
    ("/v1/chassis/{chassis}/nodes", &[G], 1),
    ("/v1/chassis/{chassis}/nodes/detail", &[G], 1),
    ("/v1/volume", &[G], 32),
    ("/v1/volume/connectors", &[G, P], 32),
    ("/v1/volume/connectors/{connector}", &[G, H, D], 32),
    ("/v1/volume/targets", &[G, P], 32),
    ("/v1/volume/targets/{target}", &[G, H, D], 32),
    ("/v1/drivers", &[G], 1),
    ("/v1/drivers/{driver}", &[G], 1),
    ("/v1/drivers/{driver}/properties", &[G], 1),
    ("/v1/drivers/{driver}/raid/logical_disk_properties", &[G], 12),
    ("/v1/drivers/{driver}/vendor_passthru/methods", &[G], 1),
    ("/v1/drivers/{driver}/vendor_passthru/{method}", &[G, P, U, H, D], 1),
    ("/v1/conductors", &[G], 49),
    ("/v1/conductors/{hostname}", &[G], 49),
    ("/v1/allocations", &[G, P], 52),
    ("/v1/allocations/{allocation}", &[G, D], 52),
    ("/v1/allocations/{allocation}", &[H], 57),
    ("/v1/deploy_templates", &[G, P], 55),
    ("/v1/deploy_templates/{template}", &[G, H, D], 55),
    ("/v1/runbooks", &[G, P], 92),
    ("/v1/runbooks/{runbook}", &[G, H, D], 92),
    ("/v1/runbooks/{runbook}/traits", &[G, U, D], 112),
    ("/v1/runbooks/{runbook}/traits/{trait}", &[U, D], 112),
    ("/v1/inspection_rules", &[G, P], 96),
    ("/v1/inspection_rules/{rule}", &[G, H, D], 96),
    ("/v1/shards", &[G], 82),
    ("/v1/events", &[P], 54),
    ("/v1/lookup", &[G], 22),
    ("/v1/heartbeat/{ident}", &[P], 22),
    ("/v1/continue_inspection", &[P], 1),
];

/// Whether what a microversion brought is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Done,
    Partial,
    Missing,
}

use Served::{Done, Missing, Partial};

/// What each microversion brought, and whether it is served.
#[rustfmt::skip]
const MICROVERSIONS: &[(u16, &str, Served)] = &[
    (1, "the first; maintenance reason, vendor calls", Done),
    (2, "state `available` (null before)", Done),
    (3, "node.driver_internal_info", Done),
    (4, "verbs manage and provide", Done),
    (5, "names of nodes", Done),
    (6, "verb inspect and its states", Partial),
    (7, "node.clean_step", Done),
    (8, "`fields`", Done),
    (9, "filter provision_state", Done),
    (10, "names of nodes may be any unreserved characters", Done),
    (11, "new nodes start in enroll", Done),
    (12, "RAID configuration", Done),
    (13, "verb abort", Done),
    (14, "links to states and driver properties", Done),
    (15, "verb clean", Done),
    (16, "filter driver", Done),
    (17, "verb adopt", Done),
    (18, "port.internal_info", Done),
    (19, "port.local_link_connection, port.pxe_enabled", Done),
    (20, "node.network_interface", Done),
    (21, "node.resource_class", Done),
    (22, "lookup and heartbeat", Done),
    (23, "port groups", Done),
    (24, "port groups below nodes, port.portgroup_uuid", Done),
    (25, "chassis_uuid can be unset", Done),
    (26, "mode and properties of port groups", Done),
    (27, "soft power actions and their timeout", Done),
    (28, "VIFs", Done),
    (29, "NMI", Done),
    (30, "type, detail and interfaces of drivers", Done),
    (31, "interfaces of nodes", Done),
    (32, "volumes", Done),
    (33, "node.storage_interface", Done),
    (34, "port.physical_network", Done),
    (35, "config drive with rebuild", Done),
    (36, "agent_version in heartbeats", Done),
    (37, "traits", Done),
    (38, "verbs rescue and unrescue", Done),
    (39, "state `inspect wait`", Done),
    (40, "BIOS settings", Done),
    (41, "abort of inspection", Done),
    (42, "node.fault and its filter", Done),
    (43, "`detail` in lists", Done),
    (44, "node.deploy_step", Done),
    (45, "reset_interfaces", Done),
    (46, "node.conductor_group and its filter", Done),
    (47, "node.automated_clean", Done),
    (48, "node.protected", Done),
    (49, "conductors, node.conductor", Done),
    (50, "node.owner and its filter", Done),
    (51, "node.description", Done),
    (52, "allocations", Done),
    (53, "port.is_smartnic", Done),
    (54, "events", Done),
    (55, "deploy templates", Done),
    (56, "config drive as an object", Done),
    (57, "allocations can be changed", Done),
    (58, "allocations for nodes that are in use", Done),
    (59, "vendor_data in the config drive", Done),
    (60, "allocation.owner", Done),
    (61, "node.retired", Done),
    (62, "agent tokens", Done),
    (63, "indicators", Done),
    (64, "network_type in local_link_connection", Done),
    (65, "node.lessee and its filter", Done),
    (66, "node.network_data", Done),
    (67, "ports in VIF attachments", Done),
    (68, "agent_verify_ca in heartbeats", Done),
    (69, "deploy_steps", Done),
    (70, "disable_ramdisk with clean", Done),
    (71, "marks the scoped policies", Missing),
    (72, "agent_status in heartbeats", Done),
    (73, "verbs deploy and undeploy", Done),
    (74, "registry of BIOS settings", Done),
    (75, "node.boot_mode, node.secure_boot", Done),
    (76, "boot mode and secure boot can be set", Done),
    (77, "`fields` of drivers", Done),
    (78, "history of nodes", Done),
    (79, "allocations prefer the node of their name", Done),
    (80, "marks that project administrators manage their own nodes", Missing),
    (81, "inventory", Done),
    (82, "shards", Done),
    (83, "children of nodes", Done),
    (84, "continue_inspection", Done),
    (85, "verb unhold and its states", Done),
    (86, "firmware", Done),
    (87, "verb service and its states", Done),
    (88, "port.name", Done),
    (89, "virtual media", Done),
    (90, "OVN links of ports (dropped by 1.105)", Done),
    (91, "`.json` at the end of a path is part of the name", Done),
    (92, "runbooks", Done),
    (93, "virtual media can be read", Done),
    (94, "ports are created by name of the node", Done),
    (95, "node.disable_power_off", Done),
    (96, "inspection rules", Done),
    (97, "port.description", Done),
    (98, "`~0` and `~1` in patches", Done),
    (99, "filter conductor_groups of ports", Done),
    (100, "port.vendor", Done),
    (101, "port.category", Done),
    (102, "physical_network of port groups", Done),
    (103, "category of port groups", Done),
    (104, "node.instance_name and its filter", Done),
    (105, "OVN links dropped", Done),
    (106, "filter shard of port groups", Done),
    (107, "marks the request id header", Done),
    (108, "disable_ramdisk with service", Done),
    (109, "node.health", Done),
    (110, "abort while waiting for a deploy", Done),
    (111, "ports for dynamic port groups", Done),
    (112, "traits and description of runbooks", Done),
    (113, "history.project", Done),
    (114, "identity of firmware components", Done),
    (115, "state, target and duration in history", Done),
];

fn served(path: &str, method: Method) -> Option<&'static str> {
    ROUTES
        .iter()
        .find(|r| r.path == path)
        .and_then(|r| r.endpoints.iter().find(|e| e.method == method))
        .map(|e| e.partial)
}

/// `docs/compat/endpoints.md`
#[must_use]
pub fn endpoints() -> String {
    let mut rows = String::new();
    let (mut done, mut partial, mut missing) = (0u32, 0u32, 0u32);
    for (path, methods, since) in UPSTREAM {
        for method in *methods {
            let (state, note) = match served(path, *method) {
                None => ("missing", ""),
                Some("") => ("done", ""),
                Some(note) => ("partial", note),
            };
            match state {
                "done" => done = done.saturating_add(1),
                "partial" => partial = partial.saturating_add(1),
                _ => missing = missing.saturating_add(1),
            }
            let _ = writeln!(
                rows,
                "| {} {path} | 1.{since} | {state} | {note} |",
                method.as_str()
            );
        }
    }
    let mut ours = String::new();
    for route in ROUTES {
        for endpoint in route.endpoints {
            let upstream = UPSTREAM.iter().any(|(path, methods, _)| {
                *path == route.path && methods.contains(&endpoint.method)
            });
            if !upstream {
                let _ = writeln!(ours, "| {} {} |", endpoint.method.as_str(), route.path);
            }
        }
    }
    format!(
        "# Endpoints\n\n\
         Generated from the route table and the list of upstream's endpoints (`crates/api/src/versions.rs`,\n\
         `compat.rs`); a test keeps it fresh. Upstream is Ironic 39.0, API 1.115. `done` means: checked against answers\n\
         recorded from upstream (`crates/api/tests/goldens/`) or by our own tests where upstream's answer cannot be\n\
         recorded. In `partial` the note says what is missing; it is refused with a sentence, never ignored.\n\n\
         {done} done, {partial} partial, {missing} missing.\n\n\
         | Endpoint | since | state | missing |\n|---|---|---|---|\n{rows}\n\
         ## Ours\n\nServed at every version; described in `deviations.md`.\n\n| Endpoint |\n|---|\n{ours}"
    )
}

/// `docs/compat/versions.md`
#[must_use]
pub fn versions() -> String {
    let mut rows = String::new();
    for (minor, what, state) in MICROVERSIONS {
        let state = match state {
            Done => "done",
            Partial => "partial",
            Missing => "missing",
        };
        let _ = writeln!(
            rows,
            "| 1.{minor} | {what} | {} | {state} |",
            matrix::brought(*minor)
        );
    }
    format!(
        "# Microversions: release history\n\n\
         Generated from `crates/api/src/compat.rs` and `versions.rs`; a test keeps it fresh. Every version from 1.1 to 1.115 is accepted\n\
         and shows, hides and refuses fields, filters, verbs and endpoints as upstream does at that version; `missing`\n\
         means that what the version brought is not served yet (404), `partial` that some of it is.\n\n\
         | Version | Brought | In the tables | State |\n|---|---|---|---|\n{rows}"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    #[test]
    fn every_version_is_listed() {
        let listed: Vec<u16> = MICROVERSIONS.iter().map(|(minor, ..)| *minor).collect();
        let all: Vec<u16> = (crate::versions::MIN_MINOR..=crate::versions::MAX_MINOR).collect();
        assert_eq!(listed, all);
    }

    /// A version is not called done while an endpoint that it brought is not served whole.
    #[test]
    fn states_agree_with_the_routes() {
        for (minor, what, state) in MICROVERSIONS.iter().filter(|(minor, ..)| *minor > 1) {
            match matrix::endpoints_of(*minor) {
                Some("done") => {
                    assert_ne!(*state, Missing, "1.{minor} {what} is served");
                }
                Some(endpoints) => {
                    assert_ne!(*state, Done, "1.{minor} {what} is {endpoints}");
                }
                None => {}
            }
        }
    }

    #[test]
    fn routes_agree_with_upstream() {
        for (path, methods, since) in UPSTREAM {
            for method in *methods {
                let ours = ROUTES
                    .iter()
                    .find(|r| r.path == *path)
                    .and_then(|r| r.endpoints.iter().find(|e| e.method == *method));
                if let Some(ours) = ours {
                    assert_eq!(ours.since, *since, "{path}");
                }
            }
        }
        for route in ROUTES {
            let mut methods: Vec<_> = route.endpoints.iter().map(|e| e.method).collect();
            methods.sort_unstable();
            methods.dedup();
            assert_eq!(methods.len(), route.endpoints.len(), "{}", route.path);
            assert!(
                route.public || route.endpoints.iter().all(|e| !e.policy.is_empty()),
                "{} has no policy",
                route.path
            );
        }
    }

    /// `BESSEMER_WRITE=1 cargo test -p bessemer-api` writes them.
    #[test]
    fn committed_documents_are_fresh() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compat");
        for (name, want) in [
            ("endpoints.md", endpoints()),
            ("versions.md", versions()),
            ("matrix.md", matrix::matrix()),
        ] {
            let path = docs.join(name);
            if std::env::var_os("BESSEMER_WRITE").is_some() {
                std::fs::create_dir_all(&docs).unwrap();
                std::fs::write(&path, &want).unwrap();
            }
            let have = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                have == want,
                "docs/compat/{name} is stale: run BESSEMER_WRITE=1 cargo test -p bessemer-api"
            );
        }
    }
}
