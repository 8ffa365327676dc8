//! Inspection rules: what is done to a node whose inspection data meets conditions, and which operators and
//! actions there are.

use serde_json::Value;

use crate::{Fault, InspectionRuleId, Timestamp};

/// The phase that rules run in; upstream has this one.
pub const MAIN_PHASE: &str = "main";

/// Highest priority of a rule that a client makes.
pub const HIGHEST_PRIORITY: i64 = 9999;

#[derive(Debug, Clone, PartialEq)]
pub struct InspectionRule {
    pub id: InspectionRuleId,
    /// The highest runs first.
    pub priority: i64,
    pub description: Option<String>,
    /// Conditions and actions are not shown; cannot be unset.
    pub sensitive: bool,
    pub phase: Option<String>,
    /// Objects with `op`, `args` and, each when given, `loop` and `multiple`. All must hold.
    pub conditions: Vec<Value>,
    /// Objects with `op`, `args` and, when given, `loop`. Done in order.
    pub actions: Vec<Value>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// The arguments that an operator or action takes, in the order of their list form.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    pub op: &'static str,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
}

const fn takes(
    op: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Signature {
    Signature {
        op,
        required,
        optional,
    }
}

/// What conditions compare by; `!` before the name turns one round.
pub const OPERATORS: [Signature; 11] = [
    takes("eq", &["values"], &["force_strings"]),
    takes("lt", &["values"], &["force_strings"]),
    takes("gt", &["values"], &["force_strings"]),
    takes("is-empty", &["value"], &[]),
    takes("in-net", &["address", "subnet"], &[]),
    takes("matches", &["value", "regex"], &[]),
    takes("contains", &["value", "regex"], &[]),
    takes("one-of", &["value"], &["values"]),
    takes("is-none", &["value"], &[]),
    takes("is-true", &["value"], &[]),
    takes("is-false", &["value"], &[]),
];

/// What rules do.
pub const ACTIONS: [Signature; 16] = [
    takes("fail", &["msg"], &[]),
    takes("log", &["msg"], &["level"]),
    takes("set-attribute", &["path", "value"], &[]),
    takes("extend-attribute", &["path", "value"], &["unique"]),
    takes("del-attribute", &["path"], &[]),
    takes("set-capability", &["name", "value"], &[]),
    takes("unset-capability", &["name"], &[]),
    takes("add-trait", &["name"], &[]),
    takes("remove-trait", &["name"], &[]),
    takes("set-plugin-data", &["path", "value"], &[]),
    takes("extend-plugin-data", &["path", "value"], &["unique"]),
    takes("unset-plugin-data", &["path"], &[]),
    takes("set-port-attribute", &["port_id", "path", "value"], &[]),
    takes(
        "extend-port-attribute",
        &["port_id", "path", "value"],
        &["unique"],
    ),
    takes("del-port-attribute", &["port_id", "path"], &[]),
    takes(
        "api-call",
        &["url"],
        &["headers", "proxies", "timeout", "retries", "backoff_factor"],
    ),
];

/// A condition's operator without the `!`, and whether there was one.
#[must_use]
pub fn operator(op: &str) -> (&str, bool) {
    let op = op.trim();
    match op.strip_prefix('!') {
        Some(rest) => (rest.trim(), true),
        None => (op, false),
    }
}

/// What is wrong with the arguments; upstream's words.
fn wrong_args(signature: &Signature, args: Option<&Value>) -> Option<String> {
    match args {
        Some(Value::Object(map)) => {
            let missing: Vec<&str> = signature
                .required
                .iter()
                .copied()
                .filter(|name| !map.contains_key(*name))
                .collect();
            let unexpected: Vec<&str> = map
                .keys()
                .map(String::as_str)
                .filter(|name| {
                    !signature.required.contains(name) && !signature.optional.contains(name)
                })
                .collect();
            let mut wrong = Vec::new();
            if !missing.is_empty() {
                wrong.push(format!(
                    "missing required argument(s): {}",
                    missing.join(", ")
                ));
            }
            if !unexpected.is_empty() {
                wrong.push(format!("unexpected argument(s): {}", unexpected.join(", ")));
            }
            (!wrong.is_empty()).then(|| wrong.join("; "))
        }
        Some(Value::Array(items)) => signature
            .required
            .get(items.len()..)
            .filter(|missing| !missing.is_empty())
            .map(|missing| {
                format!(
                    "Not enough arguments provided. Missing: {}",
                    missing.join(", ")
                )
            }),
        _ => Some("args must be either a list or dictionary".into()),
    }
}

fn op_of(operation: &Value) -> &str {
    operation
        .get("op")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Checks what the shape alone does not tell: phase, priority, operators and their arguments. `built_in`
/// rules may have any priority.
///
/// # Errors
/// 400 that names everything that is wrong.
pub fn check(
    phase: Option<&str>,
    priority: i64,
    conditions: &[Value],
    actions: &[Value],
    built_in: bool,
) -> Result<(), Fault> {
    let mut wrong = Vec::new();
    if phase != Some(MAIN_PHASE) {
        wrong.push(format!(
            "Invalid phase: {}. Valid phases are: {MAIN_PHASE}",
            phase.unwrap_or("None")
        ));
    }
    if !built_in && priority < 0 {
        wrong.push("Priority cannot be negative for user-defined rules.".into());
    }
    if !built_in && priority > HIGHEST_PRIORITY {
        wrong.push(format!(
            "Priority must be between 0 and {HIGHEST_PRIORITY} for user-defined rules."
        ));
    }
    for condition in conditions {
        let (op, _) = operator(op_of(condition));
        match OPERATORS.iter().find(|s| s.op == op) {
            None => wrong.push(format!("Unsupported condition operator: {op}")),
            Some(signature) => {
                if let Some(why) = wrong_args(signature, condition.get("args")) {
                    wrong.push(format!(
                        "Invalid parameters for condition operator {op}: {why}"
                    ));
                }
            }
        }
    }
    for action in actions {
        let op = op_of(action);
        match ACTIONS.iter().find(|s| s.op == op) {
            None => wrong.push(format!("Unsupported action operator: {op}")),
            Some(signature) => {
                if let Some(why) = wrong_args(signature, action.get("args")) {
                    wrong.push(format!(
                        "Invalid parameters for action operator {op}: {why}"
                    ));
                }
            }
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(Fault::invalid(one.as_str())),
        many => Err(Fault::invalid(format!(
            "Multiple validation errors occurred: {}",
            many.join("; ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals() {
        let refusal = |conditions: Value, actions: Value| {
            check(
                Some("main"),
                0,
                conditions.as_array().unwrap(),
                actions.as_array().unwrap(),
                false,
            )
            .map_err(|fault| fault.text)
        };
        let log = json!([{"op": "log", "args": {"msg": "x"}}]);
        assert_eq!(refusal(json!([]), log.clone()), Ok(()));
        assert_eq!(
            refusal(
                json!([{"op": "!eq", "args": {"values": [1, 1]}}]),
                log.clone()
            ),
            Ok(())
        );
        assert_eq!(
            refusal(json!([{"op": "eq", "args": [[1, 1], true]}]), log.clone()),
            Ok(())
        );
        let check = |conditions: Value, actions: Value, want: &str| {
            assert_eq!(refusal(conditions, actions), Err(want.to_owned()));
        };
        check(
            json!([{"op": "in-net", "args": {"adress": "x", "subnet": "y"}}]),
            log.clone(),
            "Invalid parameters for condition operator in-net: missing required argument(s): address; unexpected argument(s): adress",
        );
        check(
            json!([{"op": "matches", "args": ["x"]}]),
            log.clone(),
            "Invalid parameters for condition operator matches: Not enough arguments provided. Missing: regex",
        );
        check(
            json!([{"op": "!!eq", "args": {"values": []}}]),
            json!([{"op": "nosuch", "args": {}}]),
            "Multiple validation errors occurred: Unsupported condition operator: !eq; Unsupported action operator: nosuch",
        );
        assert!(super::check(Some("x"), 0, &[], &[], false).is_err());
        assert!(super::check(None, 0, &[], &[], false).is_err());
        assert!(super::check(Some("main"), 10_000, &[], &[], false).is_err());
        assert!(super::check(Some("main"), 10_000, &[], &[], true).is_ok());
    }
}
