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

/// What each microversion brought.
#[rustfmt::skip]
const MICROVERSIONS: &[(u16, &str)] = &[
    (1, "the first; maintenance reason, vendor calls"),
    (2, "state `available` (null before)"),
    (3, "node.driver_internal_info"),
    (4, "verbs manage and provide"),
    (5, "names of nodes"),
    (6, "verb inspect and its states"),
    (7, "node.clean_step"),
    (8, "`fields`"),
    (9, "filter provision_state"),
    (10, "names of nodes may be any unreserved characters"),
    (11, "new nodes start in enroll"),
    (12, "RAID configuration"),
    (13, "verb abort"),
    (14, "links to states and driver properties"),
    (15, "verb clean"),
    (16, "filter driver"),
    (17, "verb adopt"),
    (18, "port.internal_info"),
    (19, "port.local_link_connection, port.pxe_enabled"),
    (20, "node.network_interface"),
    (21, "node.resource_class"),
    (22, "lookup and heartbeat"),
    (23, "port groups"),
    (24, "port groups below nodes, port.portgroup_uuid"),
    (25, "chassis_uuid can be unset"),
    (26, "mode and properties of port groups"),
    (27, "soft power actions and their timeout"),
    (28, "VIFs"),
    (29, "NMI"),
    (30, "type, detail and interfaces of drivers"),
    (31, "interfaces of nodes"),
    (32, "volumes"),
    (33, "node.storage_interface"),
    (34, "port.physical_network"),
    (35, "config drive with rebuild"),
    (36, "agent_version in heartbeats"),
    (37, "traits"),
    (38, "verbs rescue and unrescue"),
    (39, "state `inspect wait`"),
    (40, "BIOS settings"),
    (41, "abort of inspection"),
    (42, "node.fault and its filter"),
    (43, "`detail` in lists"),
    (44, "node.deploy_step"),
    (45, "reset_interfaces"),
    (46, "node.conductor_group and its filter"),
    (47, "node.automated_clean"),
    (48, "node.protected"),
    (49, "conductors, node.conductor"),
    (50, "node.owner and its filter"),
    (51, "node.description"),
    (52, "allocations"),
    (53, "port.is_smartnic"),
    (54, "events"),
    (55, "deploy templates"),
    (56, "config drive as an object"),
    (57, "allocations can be changed"),
    (58, "allocations for nodes that are in use"),
    (59, "vendor_data in the config drive"),
    (60, "allocation.owner"),
    (61, "node.retired"),
    (62, "agent tokens"),
    (63, "indicators"),
    (64, "network_type in local_link_connection"),
    (65, "node.lessee and its filter"),
    (66, "node.network_data"),
    (67, "ports in VIF attachments"),
    (68, "agent_verify_ca in heartbeats"),
    (69, "deploy_steps"),
    (70, "disable_ramdisk with clean"),
    (71, "marks the scoped policies"),
    (72, "agent_status in heartbeats"),
    (73, "verbs deploy and undeploy"),
    (74, "registry of BIOS settings"),
    (75, "node.boot_mode, node.secure_boot"),
    (76, "boot mode and secure boot can be set"),
    (77, "`fields` of drivers"),
    (78, "history of nodes"),
    (79, "allocations prefer the node of their name"),
    (80, "marks that project administrators manage their own nodes"),
    (81, "inventory"),
    (82, "shards"),
    (83, "children of nodes"),
    (84, "continue_inspection"),
    (85, "verb unhold and its states"),
    (86, "firmware"),
    (87, "verb service and its states"),
    (88, "port.name"),
    (89, "virtual media"),
    (90, "OVN links of ports (dropped by 1.105)"),
    (91, "`.json` at the end of a path is part of the name"),
    (92, "runbooks"),
    (93, "virtual media can be read"),
    (94, "ports are created by name of the node"),
    (95, "node.disable_power_off"),
    (96, "inspection rules"),
    (97, "port.description"),
    (98, "`~0` and `~1` in patches"),
    (99, "filter conductor_groups of ports"),
    (100, "port.vendor"),
    (101, "port.category"),
    (102, "physical_network of port groups"),
    (103, "category of port groups"),
    (104, "node.instance_name and its filter"),
    (105, "OVN links dropped"),
    (106, "filter shard of port groups"),
    (107, "marks the request id header"),
    (108, "disable_ramdisk with service"),
    (109, "node.health"),
    (110, "abort while waiting for a deploy"),
    (111, "ports for dynamic port groups"),
    (112, "traits and description of runbooks"),
    (113, "history.project"),
    (114, "identity of firmware components"),
    (115, "state, target and duration in history"),
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
    for (minor, what) in MICROVERSIONS {
        let state = matrix::endpoints_of(*minor).unwrap_or("done");
        let _ = writeln!(
            rows,
            "| 1.{minor} | {what} | {} | {state} |",
            matrix::brought(*minor)
        );
    }
    format!(
        "# Microversions: release history\n\n\
         Generated from `crates/api/src/compat.rs` and `versions.rs`; a test keeps it fresh. Every version from 1.1 to 1.115 is accepted\n\
         and shows, hides and refuses fields, filters, verbs and endpoints as upstream does at that version, which recorded answers\n\
         prove (`crates/api/tests/it/records.rs`). `missing` and `partial` are said of the endpoints that a version brought.\n\n\
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
