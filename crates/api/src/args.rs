//! Arguments of a call: members of the body's object and of the query, each checked by name and type, with
//! upstream's sentences.

use bessemer_model::MacAddress;
use serde_json::Value;

use crate::body;
use crate::call::Call;
use crate::fault::ApiFault;
use crate::schema::{is_logical_name, py_repr, py_str};

/// The accepted words of a boolean, as the message lists them.
const BOOLEANS: &str = "'0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'";

/// Arguments by name.
#[derive(Debug)]
pub struct Args(Vec<(String, Value)>);

impl Args {
    /// Of the query; `known` are the names that the call has.
    ///
    /// # Errors
    /// 400 that names what is unknown.
    pub fn of_query(call: &Call, known: &[&str]) -> Result<Self, ApiFault> {
        let mut args: Vec<(String, Value)> = Vec::new();
        for (name, value) in &call.query {
            add(&mut args, name, Value::from(value.as_str()));
        }
        Self::known(args, known)
    }

    /// Of the body's object and the query; the body goes first.
    ///
    /// # Errors
    /// As [`Args::of_query`]; 400 for a body that is no JSON object.
    pub fn of_body(call: &Call, known: &[&str]) -> Result<Self, ApiFault> {
        let mut args: Vec<(String, Value)> = match body::json(&call.body)? {
            Value::Object(map) => map.into_iter().collect(),
            other => {
                return Err(ApiFault::invalid(format!(
                    "The request's body must be a JSON object, not {}.",
                    py_repr(&other)
                )));
            }
        };
        for (name, value) in &call.query {
            if !args.iter().any(|(n, _)| n == name) {
                args.push((name.clone(), Value::from(value.as_str())));
            }
        }
        Self::known(args, known)
    }

    fn known(args: Vec<(String, Value)>, known: &[&str]) -> Result<Self, ApiFault> {
        let unknown: Vec<&str> = args
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !known.contains(name))
            .collect();
        if unknown.is_empty() {
            Ok(Self(args))
        } else {
            Err(ApiFault::invalid(format!(
                "Unexpected arguments: {}",
                unknown.join(", ")
            )))
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The value, null counting as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    /// # Errors
    /// 400 when the argument is absent; null is present.
    pub fn require(&self, name: &str) -> Result<(), ApiFault> {
        if self.has(name) {
            Ok(())
        } else {
            Err(ApiFault::invalid(format!(
                "Missing mandatory parameter: {name}"
            )))
        }
    }

    pub fn string(&self, name: &str) -> Result<Option<String>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(ApiFault::invalid(format!(
                "Expected string for {name}: {}",
                py_str(other)
            ))),
        }
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => boolean(name, value).map(Some),
        }
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiFault> {
        let bad = |value: &Value| {
            ApiFault::invalid(format!("Expected an integer for {name}: {}", py_str(value)))
        };
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::String(text)) => {
                text.trim().parse().map(Some).map_err(|_| bad(value))
            }
            Some(Value::Bool(flag)) => Ok(Some(i64::from(*flag))),
            Some(value @ Value::Number(number)) => number
                .as_i64()
                .or_else(|| {
                    // a fraction is cut, as upstream's conversion does
                    #[allow(clippy::cast_possible_truncation)]
                    number.as_f64().filter(|f| f.abs() < 9e15).map(|f| f as i64)
                })
                .map(Some)
                .ok_or_else(|| bad(value)),
            Some(value) => Err(bad(value)),
        }
    }

    pub fn uuid(&self, name: &str) -> Result<Option<String>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => uuid(name, value).map(Some),
        }
    }

    pub fn uuid_or_name(&self, name: &str) -> Result<Option<String>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text))
                if uuid::Uuid::parse_str(text).is_ok() || is_logical_name(text) =>
            {
                Ok(Some(text.clone()))
            }
            Some(value) => Err(ApiFault::invalid(format!(
                "Expected UUID or name for {name}: {}",
                py_str(value)
            ))),
        }
    }

    /// A logical name.
    pub fn name(&self, name: &str) -> Result<Option<String>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if is_logical_name(text) => Ok(Some(text.clone())),
            Some(value) => Err(ApiFault::invalid(format!(
                "Expected name for {name}: {}",
                py_str(value)
            ))),
        }
    }

    pub fn mac(&self, name: &str) -> Result<Option<MacAddress>, ApiFault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => mac(name, value).map(Some),
        }
    }

    /// A comma list: lower case, no repetitions, in order.
    pub fn list(&self, name: &str) -> Result<Option<Vec<String>>, ApiFault> {
        let text = match self.get(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.iter().map(py_str).collect::<Vec<_>>().join(","),
            Some(_) => self.string(name)?.unwrap_or_default(),
        };
        let mut items: Vec<String> = Vec::new();
        for item in text.split(',') {
            let item = item.trim().to_lowercase();
            if !item.is_empty() && !items.contains(&item) {
                items.push(item);
            }
        }
        Ok(Some(items))
    }
}

/// Repeated arguments become a list, which only lists accept.
fn add(args: &mut Vec<(String, Value)>, name: &str, value: Value) {
    match args.iter_mut().find(|(n, _)| n == name) {
        None => args.push((name.to_owned(), value)),
        Some((_, Value::Array(items))) => items.push(value),
        Some((_, first)) => *first = Value::Array(vec![first.take(), value]),
    }
}

/// # Errors
/// 400 that lists the accepted words.
pub fn boolean(name: &str, value: &Value) -> Result<bool, ApiFault> {
    if let Value::Bool(flag) = value {
        return Ok(*flag);
    }
    let text = py_str(value);
    match text.trim().to_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(ApiFault::invalid(format!(
            "Invalid {name}: Unrecognized value '{text}', acceptable values are: {BOOLEANS}"
        ))),
    }
}

/// # Errors
/// 400
pub fn uuid(name: &str, value: &Value) -> Result<String, ApiFault> {
    match value {
        Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => Ok(text.clone()),
        other => Err(ApiFault::invalid(format!(
            "Expected UUID for {name}: {}",
            py_str(other)
        ))),
    }
}

/// # Errors
/// 400
pub fn mac(name: &str, value: &Value) -> Result<MacAddress, ApiFault> {
    // with colons only, although other forms can be read
    value
        .as_str()
        .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            ApiFault::invalid(format!(
                "Expected valid MAC address for {name}: {}",
                py_str(value)
            ))
        })
}
