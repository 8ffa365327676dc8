//! The replacement fields of inspection rules: Python's `str.format` as far as rules need it.
//!
//! `{inventory[cpu][count]}`, `{node.driver_info[ipmi_address]}`, `{item}`, `{plugin_data[a][0]!r}`. Format
//! specifications after a colon are refused.

use bessemer_model::{py_repr, py_str};
use serde_json::{Map, Value};

/// Why a text could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfilled {
    /// A name, member or index that does not exist.
    Missing(String),
    /// The text itself.
    Malformed(String),
}

impl std::fmt::Display for Unfilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "there is no {what}"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

/// Fills in the fields of `text` from `context`.
///
/// # Errors
/// See [`Unfilled`].
pub fn fill(text: &str, context: &Map<String, Value>) -> Result<String, Unfilled> {
    let malformed = |why: &str| Unfilled::Malformed(format!("{why} in \"{text}\""));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else if let Some(after) = from.strip_prefix('{') {
            let end = after
                .find('}')
                .ok_or_else(|| malformed("a { without its }"))?;
            let (field, tail) = after.split_at(end);
            out.push_str(&filled(field, context)?);
            rest = tail.get(1..).unwrap_or_default();
        } else {
            return Err(malformed("a } without its {"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn filled(field: &str, context: &Map<String, Value>) -> Result<String, Unfilled> {
    let malformed = |why: &str| Unfilled::Malformed(format!("{why} in {{{field}}}"));
    let (path, conversion) = match field.split_once('!') {
        Some((path, conversion)) => (path, Some(conversion)),
        None => (field, None),
    };
    let end = path.find(['.', '[', ':']).unwrap_or(path.len());
    let (name, mut rest) = path.split_at(end);
    let mut value = context
        .get(name)
        .ok_or_else(|| Unfilled::Missing(name.to_owned()))?;
    while !rest.is_empty() {
        let (key, tail) = if let Some(after) = rest.strip_prefix('[') {
            let end = after
                .find(']')
                .ok_or_else(|| malformed("a [ without its ]"))?;
            let (key, tail) = after.split_at(end);
            (key, tail.get(1..).unwrap_or_default())
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ':']).unwrap_or(after.len());
            after.split_at(end)
        } else {
            return Err(malformed(
                "a format specification, or something between members,",
            ));
        };
        if key.is_empty() {
            return Err(malformed("an empty member"));
        }
        value = match value {
            Value::Object(map) => map.get(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|n| items.get(n)),
            _ => None,
        }
        .ok_or_else(|| Unfilled::Missing(path.to_owned()))?;
        rest = tail;
    }
    match conversion {
        None | Some("s") => Ok(py_str(value)),
        Some("r") => Ok(py_repr(value)),
        Some(_) => Err(malformed("an unknown conversion")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn context() -> Map<String, Value> {
        json!({
            "inventory": {"cpu": {"count": 8, "arch": "x86_64"}, "disks": [{"size": 1}, {"size": 2}], "none": null},
            "node": {"name": "n", "driver_info": {"a.b": true}},
            "item": "text",
        })
        .as_object()
        .unwrap()
        .clone()
    }

    #[test]
    fn fields() {
        for (text, want) in [
            ("plain", "plain"),
            ("{inventory[cpu][count]} cpus", "8 cpus"),
            ("{node.driver_info[a.b]}", "True"),
            ("{inventory[disks][1][size]}", "2"),
            ("{inventory[none]}", "None"),
            ("{item!r}", "'text'"),
            ("{{{item}}}", "{text}"),
            ("{inventory[disks]}", "[{'size': 1}, {'size': 2}]"),
        ] {
            assert_eq!(fill(text, &context()).unwrap(), want, "{text}");
        }
        for text in ["{nosuch}", "{inventory[cpu][x]}", "{inventory[disks][7]}"] {
            assert!(
                matches!(fill(text, &context()), Err(Unfilled::Missing(_))),
                "{text}"
            );
        }
        for text in [
            "{item",
            "item}",
            "{item:>5}",
            "{item!x}",
            "{inventory[cpu}",
            "{item.}",
        ] {
            assert!(
                matches!(fill(text, &context()), Err(Unfilled::Malformed(_))),
                "{text}: {:?}",
                fill(text, &context())
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z{}\\[\\].!:ü]{0,40}") {
            let _ = fill(&text, &context());
        }
    }
}
