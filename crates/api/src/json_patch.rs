//! The subset of RFC 6902 that the API knows: `add`, `replace` and `remove`, applied one at a time.

use serde_json::{Map, Value};

use crate::body;
use crate::call::Call;
use crate::fault::ApiFault;
use crate::schema::py_repr;

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub op: Op,
    /// As written, with the leading slash.
    pub path: String,
    pub value: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Replace,
    Remove,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Remove => "remove",
        }
    }
}

/// From this version on `~0` and `~1` may stand in a path.
const ESCAPES_SINCE: u16 = 98;

impl Operation {
    fn segments(&self) -> Vec<String> {
        self.path
            .split('/')
            .skip(1)
            .map(|s| s.replace("~1", "/").replace("~0", "~"))
            .collect()
    }

    /// The first segment: the attribute that is touched.
    pub fn root(&self) -> String {
        self.segments().into_iter().next().unwrap_or_default()
    }

    /// As upstream quotes it.
    fn quoted(&self) -> String {
        let mut map = Map::new();
        map.insert("op".into(), self.op.name().into());
        map.insert("path".into(), self.path.as_str().into());
        if let Some(value) = &self.value {
            map.insert("value".into(), value.clone());
        }
        py_repr(&Value::Object(map))
    }
}

/// The patch in the body of a call.
///
/// # Errors
/// 400 with what is wrong in which operation.
pub fn read(call: &Call) -> Result<Vec<Operation>, ApiFault> {
    // an absent body is an empty object, which is no list
    parse(body::json(&call.body)?, call.version.0)
}

fn parse(value: Value, minor: u16) -> Result<Vec<Operation>, ApiFault> {
    let wrong = |why: String| ApiFault::invalid(format!("Schema error for patch: {why}"));
    let Value::Array(items) = value else {
        return Err(wrong(format!("{} is not of type 'array'", py_repr(&value))));
    };
    items
        .into_iter()
        .map(|item| {
            let Value::Object(mut map) = item else {
                return Err(wrong(format!("{} is not of type 'object'", py_repr(&item))));
            };
            if let Some(extra) = map
                .keys()
                .find(|k| !["op", "path", "value"].contains(&k.as_str()))
            {
                return Err(wrong(format!(
                    "Additional properties are not allowed ('{extra}' was unexpected)"
                )));
            }
            let op = map
                .remove("op")
                .ok_or_else(|| wrong("'op' is a required property".into()))?;
            let path = map
                .remove("path")
                .ok_or_else(|| wrong("'path' is a required property".into()))?;
            let op = match op.as_str() {
                Some("add") => Op::Add,
                Some("replace") => Op::Replace,
                Some("remove") => Op::Remove,
                _ => {
                    return Err(wrong(format!(
                        "{} is not one of ['add', 'replace', 'remove']",
                        py_repr(&op)
                    )));
                }
            };
            let Value::String(path) = path else {
                return Err(wrong(format!("{} is not of type 'string'", py_repr(&path))));
            };
            if !valid_path(&path, minor) {
                return Err(wrong(format!(
                    "{} does not match '^(/[\\\\w-]+)+$'",
                    py_repr(&Value::from(path))
                )));
            }
            Ok(Operation {
                op,
                path,
                value: map.remove("value"),
            })
        })
        .collect()
}

fn valid_path(path: &str, minor: u16) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    rest.split('/').all(|segment| {
        let plain = if minor >= ESCAPES_SINCE {
            segment.replace("~0", "_").replace("~1", "_")
        } else {
            segment.to_owned()
        };
        !plain.is_empty()
            && plain
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

/// Refuses attributes that are not in `allowed`.
///
/// # Errors
/// 400 that lists what may be updated.
pub fn only(patch: &[Operation], allowed: &[&str]) -> Result<(), ApiFault> {
    match patch.iter().find(|p| !allowed.contains(&p.root().as_str())) {
        None => Ok(()),
        Some(p) => Err(ApiFault::invalid(format!(
            "Cannot patch {}. Only the following can be updated: {}",
            p.path,
            allowed.join(", ")
        ))),
    }
}

/// A refusal of a whole patch, which quotes it.
pub fn refused(patch: &[Operation], why: &str) -> ApiFault {
    let all: Vec<String> = patch.iter().map(Operation::quoted).collect();
    ApiFault::invalid(format!(
        "Couldn't apply patch '[{}]'. Reason: {why}",
        all.join(", ")
    ))
}

/// Values that a patch gives to exactly this path.
pub fn values<'p>(patch: &'p [Operation], path: &str) -> Vec<&'p Value> {
    patch
        .iter()
        .filter(|p| p.path == path && p.op != Op::Remove)
        .filter_map(|p| p.value.as_ref())
        .collect()
}

/// Whether anything at or below the path is removed.
pub fn removes(patch: &[Operation], path: &str) -> bool {
    patch
        .iter()
        .any(|p| p.op == Op::Remove && at_or_below(&p.path, path))
}

/// Whether anything at or below the path is touched.
pub fn touches(patch: &[Operation], path: &str) -> bool {
    patch.iter().any(|p| at_or_below(&p.path, path))
}

fn at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Applies the operations in order to an object.
///
/// # Errors
/// 400 that quotes the operation which fails.
pub fn apply(document: &mut Map<String, Value>, patch: &[Operation]) -> Result<(), ApiFault> {
    for p in patch {
        let segments = p.segments();
        if p.op == Op::Add
            && let [root] = segments.as_slice()
            && !document.contains_key(root)
        {
            return Err(ApiFault::invalid(format!(
                "Adding a new attribute ({}) to the root of the resource is not allowed",
                p.path
            )));
        }
    }
    let mut whole = Value::Object(std::mem::take(document));
    let result = patch.iter().try_for_each(|p| {
        apply_one(&mut whole, p).map_err(|why| {
            ApiFault::invalid(format!(
                "Couldn't apply patch '{}'. Reason: {why}",
                p.quoted()
            ))
        })
    });
    if let Value::Object(map) = whole {
        *document = map;
    }
    result
}

/// A place in an array.
fn index(text: &str) -> Result<usize, String> {
    let well_formed = text == "0"
        || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    text.parse::<usize>()
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(|| format!("'{text}' is not a valid sequence index"))
}

/// Why a value that is no object and no array has nothing below it.
fn unindexable(value: &Value, segment: &str) -> String {
    let class = match value {
        Value::String(_) => {
            return format!("Cannot apply token '{segment}' to non-container type <class 'str'>");
        }
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    format!(
        "Document '<class '{class}'>' does not support indexing, must be mapping/sequence or support __getitem__"
    )
}

fn apply_one(whole: &mut Value, p: &Operation) -> Result<(), String> {
    let segments = p.segments();
    let Some((last, parents)) = segments.split_last() else {
        return Err("an empty path".into());
    };
    let mut here = whole;
    for segment in parents {
        let shown = py_repr(here);
        here = match here {
            Value::Object(map) => map
                .get_mut(segment)
                .ok_or_else(|| format!("member '{segment}' not found in {shown}"))?,
            Value::Array(items) => {
                let at = index(segment)?;
                items
                    .get_mut(at)
                    .ok_or_else(|| format!("index '{at}' is out of bounds"))?
            }
            other => return Err(unindexable(other, segment)),
        };
    }
    let value = || {
        p.value
            .clone()
            .ok_or_else(|| "The operation does not contain a 'value' member".to_owned())
    };
    match (p.op, here) {
        (Op::Add, Value::Object(map)) => {
            map.insert(last.clone(), value()?);
        }
        (Op::Add, Value::Array(items)) => {
            let value = value()?;
            if last == "-" {
                items.push(value);
            } else {
                let at = index(last)?;
                if at > items.len() {
                    return Err("can't insert outside of list".into());
                }
                items.insert(at, value);
            }
        }
        (Op::Replace, Value::Object(map)) => {
            let value = value()?;
            *map.get_mut(last)
                .ok_or_else(|| format!("can't replace a non-existent object '{last}'"))? = value;
        }
        (Op::Replace, Value::Array(items)) => {
            let value = value()?;
            if last == "-" {
                return Err("'path' with '-' can't be applied to 'replace' operation".into());
            }
            let at = index(last)?;
            *items.get_mut(at).ok_or("can't replace outside of list")? = value;
        }
        (Op::Remove, Value::Object(map)) => {
            map.shift_remove(last)
                .ok_or_else(|| format!("can't remove a non-existent object '{last}'"))?;
        }
        (Op::Remove, Value::Array(items)) => {
            if last == "-" {
                return Err("invalid array index '-'".into());
            }
            let at = index(last)?;
            if at >= items.len() {
                return Err(format!("can't remove a non-existent object '{last}'"));
            }
            items.remove(at);
        }
        (_, other) => return Err(unindexable(other, last)),
    }
    Ok(())
}

/// Reads arbitrary bytes as a patch and applies it.
pub fn fuzz_json_patch(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(patch) = parse(value, ESCAPES_SINCE) {
        let mut document = Map::new();
        document.insert(
            "extra".into(),
            serde_json::json!({"a": [1, 2, {"b": null}]}),
        );
        let _ = only(&patch, &["extra"]);
        let _ = apply(&mut document, &patch);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn operations() {
        let check = |patch: Value, want: Result<Value, &str>| {
            let mut document = json!({"extra": {"a": [1, 2], "x/y": 1}, "name": null});
            let mut map = document.as_object_mut().unwrap().clone();
            let got = parse(patch.clone(), 115)
                .and_then(|p| apply(&mut map, &p))
                .map(|()| map["extra"].clone())
                .map_err(|fault| fault.text);
            match want {
                Ok(want) => assert_eq!(got.unwrap(), want, "{patch}"),
                Err(want) => {
                    let got = got.unwrap_err();
                    assert!(got.contains(want), "{patch}: {got}");
                }
            }
        };
        let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
        check(
            add("/extra/a/-", json!(3)),
            Ok(json!({"a": [1, 2, 3], "x/y": 1})),
        );
        check(
            add("/extra/a/1", json!(3)),
            Ok(json!({"a": [1, 3, 2], "x/y": 1})),
        );
        check(
            add("/extra/x~1y", json!(3)),
            Ok(json!({"a": [1, 2], "x/y": 3})),
        );
        check(
            add("/extra/a/9", json!(3)),
            Err("can't insert outside of list"),
        );
        check(
            add("/extra/a/b", json!(3)),
            Err("'b' is not a valid sequence index"),
        );
        check(
            add("/nosuch", json!(3)),
            Err("Adding a new attribute (/nosuch)"),
        );
        check(
            add("/name/x", json!(3)),
            Err("Document '<class 'NoneType'>' does not support indexing"),
        );
        check(
            json!([{"op": "remove", "path": "/extra/a/0"}]),
            Ok(json!({"a": [2], "x/y": 1})),
        );
        check(
            json!([{"op": "remove", "path": "/extra/a/2"}]),
            Err("non-existent object '2'"),
        );
        check(
            json!([{"op": "remove", "path": "/extra/z"}]),
            Err("non-existent object 'z'"),
        );
        check(
            json!([{"op": "replace", "path": "/extra/a/01", "value": 1}]),
            Err("not a valid sequence index"),
        );
        check(
            json!([{"op": "add", "path": "/extra/v"}]),
            Err("does not contain a 'value' member"),
        );
        check(
            json!([{"op": "add", "path": "/extra/ v", "value": 1}]),
            Err("does not match"),
        );
        check(
            json!([{"op": "add", "path": "/extra/~2", "value": 1}]),
            Err("does not match"),
        );
    }

    #[test]
    fn tilde_needs_its_version() {
        assert!(!valid_path("/extra/a~0b", 97));
        assert!(valid_path("/extra/a~0b", 98));
    }
}
