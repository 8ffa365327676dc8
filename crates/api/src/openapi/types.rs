//! The vocabulary of the description: types of members, members, whole schemas.

use serde_json::{Map, Value, json};

/// Type of a member.
#[derive(Debug, Clone, Copy)]
pub enum T {
    Text,
    NullText,
    /// A text of at most so many characters, or null.
    Short(usize),
    Uuid,
    NullUuid,
    Mac,
    NullMac,
    Time,
    NullTime,
    Bool,
    NullBool,
    /// A boolean or a word for one, or null: what requests may carry.
    Flag,
    Int,
    NullInt,
    NullNumber,
    /// A dictionary of any JSON: its members are the users' own.
    Dict,
    NullDict,
    /// A dictionary of texts.
    TextDict,
    /// Any JSON: what a vendor's method takes or gives.
    Any,
    /// One of these texts.
    Enum(&'static [&'static str]),
    NullEnum(&'static [&'static str]),
    Ref(&'static str),
    NullRef(&'static str),
    List(&'static T),
    NullList(&'static T),
    /// A dictionary whose members all have this type.
    Map(&'static T),
    /// One of several.
    Or(&'static [T]),
}

impl T {
    pub fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::NullText => json!({"type": ["string", "null"]}),
            Self::Short(max) => json!({"type": ["string", "null"], "maxLength": max}),
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::NullUuid => json!({"type": ["string", "null"], "format": "uuid"}),
            Self::Mac => json!({"type": "string", "pattern": MAC}),
            Self::NullMac => json!({"type": ["string", "null"], "pattern": MAC}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::NullTime => json!({"type": ["string", "null"], "format": "date-time"}),
            Self::Bool => json!({"type": "boolean"}),
            Self::NullBool => json!({"type": ["boolean", "null"]}),
            Self::Flag => json!({"type": ["string", "boolean", "null"]}),
            Self::Int => json!({"type": "integer"}),
            Self::NullInt => json!({"type": ["integer", "null"]}),
            Self::NullNumber => json!({"type": ["number", "null"]}),
            Self::Dict => json!({"type": "object", "additionalProperties": ANY_JSON}),
            Self::NullDict => {
                json!({"type": ["object", "null"], "additionalProperties": ANY_JSON})
            }
            Self::TextDict => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            Self::Any => json!({"type": ANY_JSON_TYPES}),
            Self::Enum(words) => json!({"type": "string", "enum": words}),
            Self::NullEnum(words) => {
                let mut all: Vec<Value> = words.iter().map(|w| Value::from(*w)).collect();
                all.push(Value::Null);
                json!({"type": ["string", "null"], "enum": all})
            }
            Self::Ref(name) => reference(name),
            Self::NullRef(name) => json!({"anyOf": [reference(name), {"type": "null"}]}),
            Self::List(item) => json!({"type": "array", "items": item.schema()}),
            Self::NullList(item) => {
                json!({"type": ["array", "null"], "items": item.schema()})
            }
            Self::Map(item) => json!({"type": "object", "additionalProperties": item.schema()}),
            Self::Or(types) => {
                json!({"anyOf": types.iter().map(|t| t.schema()).collect::<Vec<_>>()})
            }
        }
    }
}

const MAC: &str = "^[0-9a-f]{2}(:[0-9a-f]{2})+$";
/// In a dictionary every member may be any JSON.
const ANY_JSON: bool = true;
const ANY_JSON_TYPES: [&str; 6] = ["object", "array", "string", "number", "boolean", "null"];

pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// One member: name, type, first minor version.
pub type F = (&'static str, T, u16);

/// A whole object.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    pub name: &'static str,
    pub members: &'static [F],
    pub required: &'static [&'static str],
}

impl Object {
    pub fn schema(&self) -> Value {
        object(self.members, self.required)
    }
}

/// An object of these members and no others. Members that came later than 1.1 say so, in OpenStack's own notation.
pub fn object(members: &[F], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for (name, kind, since) in members {
        let mut schema = kind.schema();
        if *since > 1
            && let Some(map) = schema.as_object_mut()
        {
            map.insert(
                "x-openstack".into(),
                json!({"min-ver": format!("1.{since}")}),
            );
        }
        properties.insert((*name).into(), schema);
    }
    let mut schema =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty()
        && let Some(map) = schema.as_object_mut()
    {
        map.insert("required".into(), json!(required));
    }
    schema
}
