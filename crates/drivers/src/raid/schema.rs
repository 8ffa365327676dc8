//! What a RAID configuration looks like, and the refusals of one that does not, in upstream's words.

use bessemer_model::{Fault, Node, Object, py_repr};
use serde_json::Value;

/// Type of a member.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Word(&'static [&'static str]),
    Flag,
    /// An integer above 0.
    Count,
    /// GiB, or `MAX`.
    Size,
    /// Names, or at least two objects of hints.
    Disks,
}

struct Member {
    name: &'static str,
    kind: Kind,
    required: bool,
    meaning: &'static str,
}

const fn member(name: &'static str, kind: Kind, required: bool, meaning: &'static str) -> Member {
    Member {
        name,
        kind,
        required,
        meaning,
    }
}

/// Members of a logical disk.
const MEMBERS: &[Member] = &[
    member(
        "raid_level",
        Kind::Word(&["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"]),
        true,
        "Level of the logical disk: JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Required.",
    ),
    member(
        "size_gb",
        Kind::Size,
        true,
        "Size in GiB, or MAX for all space that is left. Required.",
    ),
    member(
        "volume_name",
        Kind::Text,
        false,
        "Name of the volume; made up when absent.",
    ),
    member(
        "is_root_volume",
        Kind::Flag,
        false,
        "Whether the instance's image goes here; false when absent. At most one disk.",
    ),
    member(
        "share_physical_disks",
        Kind::Flag,
        false,
        "Whether other logical disks may use the same physical disks; false when absent.",
    ),
    member(
        "disk_type",
        Kind::Word(&["hdd", "ssd"]),
        false,
        "Physical disks of this type only: hdd or ssd.",
    ),
    member(
        "interface_type",
        Kind::Word(&["sata", "scsi", "sas"]),
        false,
        "Physical disks with this interface only: sata, scsi or sas.",
    ),
    member(
        "number_of_physical_disks",
        Kind::Count,
        false,
        "How many physical disks; the fewest that the level allows when absent.",
    ),
    member(
        "controller",
        Kind::Text,
        false,
        "RAID controller as the driver names it; chosen by the driver when absent.",
    ),
    member(
        "physical_disks",
        Kind::Disks,
        false,
        "Physical disks as the driver names them, or objects of hints; needs controller. Chosen by the driver when absent.",
    ),
];

/// `GET /v1/drivers/{name}/raid/logical_disk_properties`.
#[must_use]
pub fn logical_disk_properties() -> Object {
    MEMBERS
        .iter()
        .map(|m| (m.name.to_owned(), Value::from(m.meaning)))
        .collect()
}

/// Checks the node's `target_raid_config` when it has one.
///
/// # Errors
/// As [`check`].
pub fn check_target(node: &Node) -> Result<(), Fault> {
    if node.target_raid_config.is_empty() {
        return Ok(());
    }
    check(&Value::Object(node.target_raid_config.clone()))
}

/// Checks a configuration: an object with `logical_disks`, at least one, at most one of them the root volume.
///
/// # Errors
/// Names what is wrong. Of several mistakes the outermost is told, among equals the last in order of names.
pub fn check(config: &Value) -> Result<(), Fault> {
    problem(config).map_or(Ok(()), |why| {
        Err(Fault::invalid(format!(
            "RAID config validation error: {why}"
        )))
    })?;
    let roots = config
        .get("logical_disks")
        .and_then(Value::as_array)
        .map_or(0, |disks| {
            disks
                .iter()
                .filter(|d| d.get("is_root_volume") == Some(&Value::Bool(true)))
                .count()
        });
    if roots > 1 {
        return Err(Fault::invalid(format!(
            "Raid config cannot have more than one root volume. {roots} root volumes were specified"
        )));
    }
    Ok(())
}

fn not_of_type(value: &Value, kind: &str) -> String {
    format!("{} is not of type '{kind}'", py_repr(value))
}

fn unexpected(names: &[&String]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|n| py_repr(&Value::from(n.as_str())))
        .collect();
    format!(
        "Additional properties are not allowed ({} {} unexpected)",
        quoted.join(", "),
        if quoted.len() == 1 { "was" } else { "were" }
    )
}

fn problem(config: &Value) -> Option<String> {
    let Some(top) = config.as_object() else {
        return Some(not_of_type(config, "object"));
    };
    let Some(disks) = top.get("logical_disks") else {
        return Some("'logical_disks' is a required property".into());
    };
    let others: Vec<&String> = top.keys().filter(|k| *k != "logical_disks").collect();
    if !others.is_empty() {
        return Some(unexpected(&others));
    }
    let Some(disks) = disks.as_array() else {
        return Some(not_of_type(disks, "array"));
    };
    if disks.is_empty() {
        return Some("[] should be non-empty".into());
    }
    disks
        .iter()
        .rev()
        .find_map(whole_disk)
        .or_else(|| disks.iter().rev().find_map(members))
}

/// What is wrong with a logical disk as a whole.
fn whole_disk(disk: &Value) -> Option<String> {
    let Some(map) = disk.as_object() else {
        return Some(not_of_type(disk, "object"));
    };
    if let Some(absent) = MEMBERS
        .iter()
        .find(|m| m.required && !map.contains_key(m.name))
    {
        return Some(format!("'{}' is a required property", absent.name));
    }
    let unknown: Vec<&String> = map
        .keys()
        .filter(|k| !MEMBERS.iter().any(|m| m.name == *k))
        .collect();
    if !unknown.is_empty() {
        return Some(unexpected(&unknown));
    }
    if map.contains_key("physical_disks") && !map.contains_key("controller") {
        return Some("'controller' is a dependency of 'physical_disks'".into());
    }
    None
}

/// What is wrong with a member of a logical disk.
fn members(disk: &Value) -> Option<String> {
    let mut members: Vec<&Member> = MEMBERS.iter().collect();
    members.sort_by_key(|m| std::cmp::Reverse(m.name));
    members
        .into_iter()
        .find_map(|m| disk.get(m.name).and_then(|value| wrong(m.kind, value)))
}

fn word(value: &Value, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    format!("{} is not one of [{}]", py_repr(value), words.join(", "))
}

fn wrong(kind: Kind, value: &Value) -> Option<String> {
    let nothing_fits = || {
        format!(
            "{} is not valid under any of the given schemas",
            py_repr(value)
        )
    };
    match (kind, value) {
        (Kind::Text | Kind::Word(_), other) if !other.is_string() => {
            Some(not_of_type(other, "string"))
        }
        (Kind::Text, _) | (Kind::Flag, Value::Bool(_)) => None,
        (Kind::Word(words), value) => {
            let known = value.as_str().is_some_and(|text| words.contains(&text));
            (!known).then(|| word(value, words))
        }
        (Kind::Flag, other) => Some(not_of_type(other, "boolean")),
        (Kind::Count, value) => match (value.as_i64(), value.as_u64()) {
            (Some(n), _) if n <= 0 => {
                Some(format!("{n} is less than or equal to the minimum of 0"))
            }
            (Some(_), _) | (_, Some(_)) => None,
            _ => Some(not_of_type(value, "integer")),
        },
        (Kind::Size, Value::String(text)) => (text != "MAX").then(|| word(value, &["MAX"])),
        (Kind::Size, value) => match (value.as_i64(), value.as_u64()) {
            (Some(n), _) if n < 0 => Some(format!("{n} is less than the minimum of 0")),
            (Some(_), _) | (_, Some(_)) => None,
            _ => Some(nothing_fits()),
        },
        (Kind::Disks, Value::Array(items)) => match items.first() {
            None => None,
            Some(first @ Value::String(_)) => {
                (!items.iter().all(Value::is_string)).then(|| not_of_type(first, "object"))
            }
            Some(first @ Value::Object(_)) => (items.len() < 2
                || !items.iter().all(Value::is_object))
            .then(|| not_of_type(first, "string")),
            Some(_) => Some(nothing_fits()),
        },
        (Kind::Disks, _) => Some(nothing_fits()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// The sentences are those that upstream's validator gives for these configurations.
    #[test]
    fn refusals_are_upstreams() {
        let disk = |changes: Value| {
            let mut disk = json!({"raid_level": "1", "size_gb": 100});
            for (key, value) in changes.as_object().unwrap() {
                disk[key] = value.clone();
            }
            json!({"logical_disks": [disk]})
        };
        let cases = [
            (json!({"a": 1}), "'logical_disks' is a required property"),
            (json!({"logical_disks": []}), "[] should be non-empty"),
            (json!({"logical_disks": {}}), "{} is not of type 'array'"),
            (json!({"logical_disks": [1]}), "1 is not of type 'object'"),
            (
                json!({"logical_disks": [{"size_gb": 1}]}),
                "'raid_level' is a required property",
            ),
            (
                json!({"logical_disks": [{"raid_level": "9"}]}),
                "'size_gb' is a required property",
            ),
            (
                json!({"logical_disks": [{"raid_level": "9", "size_gb": 1}, {}]}),
                "'raid_level' is a required property",
            ),
            (
                json!({"x": 1, "logical_disks": [{"nosuch": 2}]}),
                "Additional properties are not allowed ('x' was unexpected)",
            ),
            (
                disk(json!({"raid_level": "9"})),
                "'9' is not one of ['JBOD', '0', '1', '2', '5', '6', '1+0', '5+0', '6+0']",
            ),
            (
                disk(json!({"raid_level": "9", "size_gb": "x"})),
                "'x' is not one of ['MAX']",
            ),
            (
                disk(json!({"raid_level": "9", "nosuch": 1})),
                "Additional properties are not allowed ('nosuch' was unexpected)",
            ),
            (
                disk(json!({"nosuch": 1, "other": 2})),
                "Additional properties are not allowed ('nosuch', 'other' were unexpected)",
            ),
            (
                disk(json!({"raid_level": null})),
                "None is not of type 'string'",
            ),
            (
                disk(json!({"size_gb": -1})),
                "-1 is less than the minimum of 0",
            ),
            (
                disk(json!({"size_gb": 1.5})),
                "1.5 is not valid under any of the given schemas",
            ),
            (
                disk(json!({"size_gb": true})),
                "True is not valid under any of the given schemas",
            ),
            (
                disk(json!({"is_root_volume": "yes"})),
                "'yes' is not of type 'boolean'",
            ),
            (
                disk(json!({"number_of_physical_disks": 0})),
                "0 is less than or equal to the minimum of 0",
            ),
            (
                disk(json!({"number_of_physical_disks": "2"})),
                "'2' is not of type 'integer'",
            ),
            (
                disk(json!({"physical_disks": ["a"]})),
                "'controller' is a dependency of 'physical_disks'",
            ),
            (
                disk(json!({"physical_disks": [{"size": 1}], "controller": "c"})),
                "{'size': 1} is not of type 'string'",
            ),
            (
                disk(json!({"physical_disks": ["a", {"a": 1}], "controller": "c"})),
                "'a' is not of type 'object'",
            ),
            (
                disk(json!({"physical_disks": [1, 2], "controller": "c"})),
                "[1, 2] is not valid under any of the given schemas",
            ),
        ];
        for (config, want) in cases {
            assert_eq!(
                check(&config).unwrap_err().text,
                format!("RAID config validation error: {want}"),
                "{config}"
            );
        }
        for config in [
            disk(json!({"size_gb": "MAX", "disk_type": "ssd", "interface_type": "sas"})),
            disk(
                json!({"physical_disks": ["a"], "controller": "c", "number_of_physical_disks": 1}),
            ),
            disk(json!({"physical_disks": [{"a": 1}, {"b": 2}], "controller": "c"})),
            disk(json!({"physical_disks": [], "controller": "c"})),
        ] {
            check(&config).unwrap();
        }
        let root = json!({"raid_level": "1", "size_gb": 1, "is_root_volume": true});
        assert_eq!(
            check(&json!({"logical_disks": [root, root]}))
                .unwrap_err()
                .text,
            "Raid config cannot have more than one root volume. 2 root volumes were specified"
        );
    }
}
