//! The one table of the differences that are allowed, each with its reason.
//!
//! They stand in `docs/compat/deviations.md` too, between two marks; a test keeps that list fresh. A row that matches nothing
//! any more is named in the report and fails the run: the table must not outlive what it explains.

use std::fmt::Write;

use super::compare::Difference;

/// One row. In the patterns `*` stands for any text; an empty pattern matches everything.
#[derive(Debug)]
pub struct Allowed {
    /// `cli`, `sdk` or `raw`.
    pub suite: &'static str,
    /// The command or verb.
    pub name: &'static str,
    /// The whole request.
    pub request: &'static str,
    /// The member.
    pub at: &'static str,
    pub theirs: &'static str,
    pub ours: &'static str,
    pub reason: &'static str,
}

/// The table.
#[rustfmt::skip]
pub const ALLOWED: &[Allowed] = &[
    Allowed { suite: "", name: "", request: "", at: "*/reservation", theirs: "\"localhost\"", ours: "null",
        reason: "upstream's answer to a patch shows the lock of that very patch" },
    Allowed { suite: "", name: "", request: "", at: "*driver_internal_info/*", theirs: "", ours: "(absent)",
        reason: "upstream keeps notes of its own about steps and power there; ours stand in the operation and the timeline" },
    Allowed { suite: "", name: "GET /v1/drivers/*propert*", request: "", at: "/answer/*", theirs: "\"*\"", ours: "\"*\"",
        reason: "descriptions are ours" },
    Allowed { suite: "", name: "GET /v1/drivers/*propert*", request: "", at: "/answer/*", theirs: "\"*\"", ours: "(absent)",
        reason: "options of parts that are missing (docs/compat/drivers.md)" },
    Allowed { suite: "", name: "baremetal driver*propert*", request: "", at: "/answer", theirs: "[*", ours: "[*",
        reason: "descriptions are ours, and options of parts that are missing (docs/compat/drivers.md)" },
    Allowed { suite: "", name: "baremetal driver*propert*", request: "", at: "/answer/*/*escription", theirs: "\"*\"", ours: "\"*\"",
        reason: "descriptions are ours" },
    Allowed { suite: "", name: "*passthru*", request: "", at: "*escription", theirs: "\"*\"", ours: "\"*\"",
        reason: "descriptions of vendors' methods are ours" },
    Allowed { suite: "", name: "", request: "", at: "*/last_error", theirs: "\"*\"", ours: "\"*\"",
        reason: "sentences of failures are ours: they name operation and node and what to check" },
    Allowed { suite: "", name: "*history*", request: "", at: "/answer*", theirs: "", ours: "",
        reason: "sentences of failures are ours; failed calls stand there, too, the start of a cleaning in the timeline" },
    Allowed { suite: "", name: "*nventory*", request: "", at: "", theirs: "*inventory record for node * could not be found*", ours: "*inventory record for node 0000000a-*",
        reason: "upstream names the node by its row number" },
    Allowed { suite: "", name: "*ortgroup*", request: "", at: "*faultstring", theirs: "*because portgroup * contains ports.*", ours: "*because portgroup 0000000a-* contains ports.*",
        reason: "upstream names the port group by its row number" },
    Allowed { suite: "", name: "baremetal port group delete", request: "", at: "/said/0", theirs: "*because portgroup * contains ports.*", ours: "*because portgroup 0000000a-* contains ports.*",
        reason: "upstream names the port group by its row number" },
    Allowed { suite: "", name: "*onductor*", request: "", at: "*/alive*", theirs: "false", ours: "true",
        reason: "upstream writes no heartbeat on SQLite" },
    Allowed { suite: "", name: "*nspection*rule*", request: "", at: "*/href", theirs: "*/inspection/*", ours: "*/inspection_rules/*",
        reason: "upstream's links lead nowhere" },
    Allowed { suite: "", name: "", request: "", at: "*power_state", theirs: "null", ours: "\"power off\"",
        reason: "the simulated power of fake-hardware is off at first; upstream's is unknown until it is set" },
    Allowed { suite: "cli", name: "", request: "node unset * --automated-clean", at: "/said", theirs: "*HTTP 500*", ours: "[]",
        reason: "upstream fails when the member is removed" },
    Allowed { suite: "cli", name: "", request: "node unset * --automated-clean", at: "/code", theirs: "1", ours: "0",
        reason: "upstream fails when the member is removed" },
    Allowed { suite: "cli", name: "", request: "node unset * --conductor-group", at: "/said", theirs: "*HTTP 500*", ours: "[]",
        reason: "upstream fails when the member is removed" },
    Allowed { suite: "cli", name: "", request: "node unset * --conductor-group", at: "/code", theirs: "1", ours: "0",
        reason: "upstream fails when the member is removed" },
    Allowed { suite: "cli", name: "baremetal node show", request: "", at: "/answer/automated_clean", theirs: "false", ours: "null",
        reason: "upstream failed to remove it" },
    Allowed { suite: "cli", name: "baremetal node show", request: "", at: "/answer/retired", theirs: "null", ours: "false",
        reason: "upstream stores null where the flag is removed" },
    Allowed { suite: "cli", name: "", request: "port group set * --node *", at: "/said", theirs: "*HTTP 500*", ours: "[]",
        reason: "upstream fails when a port group gets another node" },
    Allowed { suite: "cli", name: "", request: "port group set * --node *", at: "/code", theirs: "1", ours: "0",
        reason: "upstream fails when a port group gets another node" },
    Allowed { suite: "cli", name: "", request: "port group unset * --physical-network *", at: "/said", theirs: "*HTTP 500*", ours: "[]",
        reason: "upstream fails when the physical network is removed" },
    Allowed { suite: "cli", name: "", request: "port group unset * --physical-network *", at: "/code", theirs: "1", ours: "0",
        reason: "upstream fails when the physical network is removed" },
    Allowed { suite: "cli", name: "baremetal node clean", request: "", at: "/said/0", theirs: "*HTTP 500*", ours: "*is a required property (HTTP 400)*",
        reason: "upstream fails on a step without a name" },
    Allowed { suite: "cli", name: "baremetal node rebuild", request: "", at: "/said", theirs: "*HTTP 500*", ours: "[]",
        reason: "upstream fails to rebuild a node without image_source" },
    Allowed { suite: "cli", name: "baremetal node rebuild", request: "", at: "/code", theirs: "1", ours: "0",
        reason: "upstream fails to rebuild a node without image_source" },
    Allowed { suite: "sdk", name: "call_driver_vendor_passthru", request: "", at: "/error", theirs: "*Server Error*", ours: "*Client Error*",
        reason: "upstream fails where the method is unknown" },
    Allowed { suite: "sdk", name: "create_inspection_rule", request: "", at: "/error", theirs: "*500: Server Error*", ours: "(absent)",
        reason: "upstream fails on a rule without conditions, which it stores all the same" },
    Allowed { suite: "sdk", name: "create_inspection_rule", request: "", at: "/result", theirs: "(absent)", ours: "{*",
        reason: "upstream fails on a rule without conditions, which it stores all the same" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/children", request: "", at: "/status", theirs: "500", ours: "404",
        reason: "below 1.83 upstream fails" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/children", request: "", at: "/answer", theirs: "null", ours: "*could not be found*",
        reason: "below 1.83 upstream fails" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/children", request: "", at: "/headers/*", theirs: "", ours: "*1.*",
        reason: "below 1.83 upstream fails" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/children", request: "", at: "/headers/content-type", theirs: "\"text/plain\"", ours: "\"application/json\"",
        reason: "below 1.83 upstream fails" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/portgroups/{}/ports", request: "", at: "/status", theirs: "403", ours: "200",
        reason: "upstream refuses everyone without Keystone" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/portgroups/{}/ports", request: "", at: "/answer/error_message", theirs: "*Operation not permitted.*", ours: "(absent)",
        reason: "upstream refuses everyone without Keystone" },
    Allowed { suite: "raw", name: "GET /v1/nodes/{}/portgroups/{}/ports", request: "", at: "/answer/ports", theirs: "(absent)", ours: "[*",
        reason: "upstream refuses everyone without Keystone" },
    Allowed { suite: "", name: "*node*validate*", request: "", at: "*eason", theirs: "\"*\"", ours: "\"*\"",
        reason: "reasons are ours: they say what to do" },
    Allowed { suite: "cli", name: "baremetal node show", request: "", at: "/answer/instance_info/*rescue_password", theirs: "\"******\"", ours: "(absent)",
        reason: "upstream's fake rescue keeps the password until the node is undeployed; its agent's does not" },
    Allowed { suite: "cli", name: "settle", request: "", at: "/state", theirs: "\"active\"", ours: "\"service failed\"",
        reason: "upstream runs a step of cleaning as one of service when no ramdisk is booted" },
    Allowed { suite: "cli", name: "baremetal node abort", request: "", at: "/code", theirs: "1", ours: "0",
        reason: "upstream ran the step (above), so that there is no failed service" },
    Allowed { suite: "cli", name: "baremetal node abort", request: "", at: "/said", theirs: "*while it is in state*active*", ours: "[]",
        reason: "upstream ran the step (above), so that there is no failed service" },
    Allowed { suite: "cli", name: "", request: "runbook create * --owner o *", at: "/answer", theirs: "null", ours: "{*",
        reason: "upstream refuses an owner without Keystone" },
    Allowed { suite: "cli", name: "", request: "runbook create * --owner o *", at: "/code", theirs: "1", ours: "0",
        reason: "upstream refuses an owner without Keystone" },
    Allowed { suite: "cli", name: "", request: "runbook create * --owner o *", at: "/said", theirs: "*Cannot create a runbook as a project scoped admin*", ours: "[]",
        reason: "upstream refuses an owner without Keystone" },
    Allowed { suite: "cli", name: "baremetal runbook list", request: "", at: "/answer", theirs: "[*", ours: "*80003*",
        reason: "that runbook is there" },
    Allowed { suite: "cli", name: "baremetal runbook delete", request: "", at: "/answer", theirs: "null", ours: "*Deleted runbook 0000000a-*80003*",
        reason: "that runbook is there" },
    Allowed { suite: "cli", name: "baremetal runbook delete", request: "", at: "/code", theirs: "1", ours: "0",
        reason: "that runbook is there" },
    Allowed { suite: "cli", name: "baremetal runbook delete", request: "", at: "/said", theirs: "*80003 could not be found.*", ours: "[]",
        reason: "that runbook is there" },
];

/// Number of the first row that allows a difference.
pub fn row_of(difference: &Difference) -> Option<usize> {
    ALLOWED.iter().position(|row| {
        [
            (row.suite, &difference.suite),
            (row.name, &difference.name),
            (row.request, &difference.request),
            (row.at, &difference.at),
            (row.theirs, &difference.theirs),
            (row.ours, &difference.ours),
        ]
        .into_iter()
        .all(|(pattern, text)| pattern.is_empty() || matches(pattern, text))
    })
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// Where the list stands in `docs/compat/deviations.md`.
pub const BEGIN: &str = "<!-- allowed: generated from xtask/src/compat/allowed.rs -->";
pub const END: &str = "<!-- /allowed -->";

/// The list for `docs/compat/deviations.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| Judge | Request | Member | Upstream | Here | Reason |\n|---|---|---|---|---|---|\n",
    );
    for row in ALLOWED {
        let shown = |pattern: &str| match pattern {
            "" => "any".to_owned(),
            pattern => format!("`{}`", pattern.replace('|', "\\|")),
        };
        let request = if row.request.is_empty() {
            row.name
        } else {
            row.request
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            shown(row.suite),
            shown(request),
            shown(row.at),
            shown(row.theirs),
            shown(row.ours),
            row.reason
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    /// `BESSEMER_WRITE=1 cargo test -p bessemer-xtask` writes it.
    #[test]
    fn the_list_in_the_documents_is_fresh() {
        let path = crate::build::workspace().join("docs/compat/deviations.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once(BEGIN).unwrap();
        let (_, tail) = rest.split_once(END).unwrap();
        let want = format!("{head}{BEGIN}\n{}{END}{tail}", markdown());
        if std::env::var_os("BESSEMER_WRITE").is_some() {
            std::fs::write(&path, &want).unwrap();
        } else {
            assert!(
                text == want,
                "docs/compat/deviations.md is stale: run BESSEMER_WRITE=1 cargo test -p bessemer-xtask"
            );
        }
    }
}
