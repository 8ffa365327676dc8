//! Checks of whole bodies: types, lengths and required members, with the sentences of upstream's schema
//! validation, which clients show to people.

use serde_json::{Map, Value};

use crate::args;
use crate::fault::ApiFault;

/// A JSON type as the messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    String,
    Boolean,
    Null,
    Object,
    Array,
    Integer,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Null => "null",
            Self::Object => "object",
            Self::Array => "array",
            Self::Integer => "integer",
        }
    }

    fn fits(self, value: &Value) -> bool {
        if let (Self::Integer, Value::Number(number)) = (self, value) {
            // 1.0 is an integer to JSON's schemas
            return number.as_i64().is_some()
                || number.as_u64().is_some()
                || number.as_f64().is_some_and(|f| f.fract() == 0.0);
        }
        matches!(
            (self, value),
            (Self::String, Value::String(_))
                | (Self::Boolean, Value::Bool(_))
                | (Self::Null, Value::Null)
                | (Self::Object, Value::Object(_))
                | (Self::Array, Value::Array(_))
        )
    }
}

/// What a member is converted by after its type is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    Nothing,
    Boolean,
    Uuid,
    Mac,
    LocalLink,
    NetworkData,
}

/// One member of a body.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub name: &'static str,
    pub types: &'static [Type],
    /// Characters, at most.
    pub max: Option<usize>,
    /// Characters, at least.
    pub min: usize,
    pub convert: Convert,
}

const fn member(name: &'static str, types: &'static [Type], convert: Convert) -> Member {
    Member {
        name,
        types,
        max: None,
        min: 0,
        convert,
    }
}

/// A text or null.
pub const fn text(name: &'static str) -> Member {
    member(name, &[Type::String, Type::Null], Convert::Nothing)
}

/// A text or null of at most `max` characters.
pub const fn short(name: &'static str, max: usize) -> Member {
    let mut m = text(name);
    m.max = Some(max);
    m
}

/// A text.
pub const fn needed(name: &'static str) -> Member {
    member(name, &[Type::String], Convert::Nothing)
}

/// A boolean, or a word for one, or null.
pub const fn flag(name: &'static str) -> Member {
    member(
        name,
        &[Type::String, Type::Boolean, Type::Null],
        Convert::Boolean,
    )
}

pub const fn uuid(name: &'static str) -> Member {
    member(name, &[Type::String, Type::Null], Convert::Uuid)
}

/// A whole number.
pub const fn integer(name: &'static str) -> Member {
    member(name, &[Type::Integer], Convert::Nothing)
}

pub const fn object(name: &'static str) -> Member {
    member(name, &[Type::Object, Type::Null], Convert::Nothing)
}

impl Member {
    pub const fn and(mut self, convert: Convert) -> Self {
        self.convert = convert;
        self
    }

    pub const fn at_least(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    pub const fn at_most(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    pub const fn only(mut self, types: &'static [Type]) -> Self {
        self.types = types;
        self
    }
}

/// A whole body.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    pub members: &'static [Member],
    pub required: &'static [&'static str],
}

impl Schema {
    fn member(&self, name: &str) -> Option<&'static Member> {
        self.members.iter().find(|m| m.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// Checks `value`, called `name` in messages, and converts its members.
    ///
    /// # Errors
    /// 400 with the first thing that is wrong.
    pub fn check(&self, name: &str, value: Value) -> Result<Map<String, Value>, ApiFault> {
        let wrong = |why: String| ApiFault::invalid(format!("Schema error for {name}: {why}"));
        let mut map = match value {
            Value::Object(map) => map,
            other => {
                return Err(wrong(format!(
                    "{} is not of type 'object'",
                    py_repr(&other)
                )));
            }
        };
        let unknown: Vec<String> = map
            .keys()
            .filter(|key| !self.has(key))
            .map(|key| py_repr(&Value::from(key.as_str())))
            .collect();
        match unknown.as_slice() {
            [] => {}
            [one] => {
                return Err(wrong(format!(
                    "Additional properties are not allowed ({one} was unexpected)"
                )));
            }
            many => {
                return Err(wrong(format!(
                    "Additional properties are not allowed ({} were unexpected)",
                    many.join(", ")
                )));
            }
        }
        if let Some(missing) = self.required.iter().find(|key| !map.contains_key(**key)) {
            return Err(wrong(format!("'{missing}' is a required property")));
        }
        for member in self.members {
            let Some(value) = map.get(member.name) else {
                continue;
            };
            check_member(member, value).map_err(&wrong)?;
        }
        for member in self.members {
            if let Some(value) = map.get_mut(member.name) {
                convert(member, value)?;
            }
        }
        Ok(map)
    }
}

fn check_member(member: &Member, value: &Value) -> Result<(), String> {
    if !member.types.iter().any(|t| t.fits(value)) {
        let types: Vec<String> = member
            .types
            .iter()
            .map(|t| format!("'{}'", t.name()))
            .collect();
        return Err(format!(
            "{} is not of type {}",
            py_repr(value),
            types.join(", ")
        ));
    }
    if let Value::String(text) = value {
        let length = text.chars().count();
        if member.max.is_some_and(|max| length > max) {
            return Err(format!("{} is too long", py_repr(value)));
        }
        if length < member.min {
            return Err(format!("{} should be non-empty", py_repr(value)));
        }
    }
    if member.convert == Convert::NetworkData && !value.is_null() {
        network_data(value).map_err(|_| {
            format!(
                "{} is not valid under any of the given schemas. Possible root cause: {} is not of type 'null'",
                py_repr(value),
                py_repr(value)
            )
        })?;
    }
    Ok(())
}

fn convert(member: &Member, value: &mut Value) -> Result<(), ApiFault> {
    if value.is_null() {
        return Ok(());
    }
    match member.convert {
        Convert::Nothing | Convert::NetworkData => {}
        Convert::Boolean => *value = args::boolean(member.name, value)?.into(),
        Convert::Uuid => *value = args::uuid(member.name, value)?.into(),
        Convert::Mac => *value = args::mac(member.name, value)?.to_string().into(),
        Convert::LocalLink => crate::ports_write::check_local_link(value)?,
    }
    Ok(())
}

/// Network data of a config drive: three lists of objects, or an empty object.
///
/// # Errors
/// What is missing or wrong.
pub fn network_data(value: &Value) -> Result<(), String> {
    let Value::Object(map) = value else {
        return Err(format!("{} is not of type 'object'", py_repr(value)));
    };
    if map.is_empty() {
        return Ok(());
    }
    for (list, members) in [
        ("links", &["ethernet_mac_address", "id", "type"][..]),
        ("networks", &["id", "link", "type"][..]),
        ("services", &["address", "type"][..]),
    ] {
        let items = match map.get(list) {
            None => return Err(format!("'{list}' is a required property")),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(format!("{} is not of type 'array'", py_repr(other))),
        };
        for item in items {
            let Value::Object(item) = item else {
                return Err(format!("{} is not of type 'object'", py_repr(item)));
            };
            if let Some(missing) = members.iter().find(|m| !item.contains_key(**m)) {
                return Err(format!("'{missing}' is a required property"));
            }
        }
    }
    Ok(())
}

pub use bessemer_model::{py_repr, py_str};

/// Letters, digits and `-._~`, at most 255: what names and path segments may be.
pub fn is_logical_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

/// A host name: what node names had to be before 1.10.
pub fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// Reads arbitrary bytes as the body of a new node.
pub fn fuzz_node_body(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let _ = py_repr(&value);
        let _ = crate::node_create::SCHEMA.check("node", value);
    }
}
