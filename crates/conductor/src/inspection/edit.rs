//! Changes of a node that hooks and rules make, as data: made on a copy first, and again on the row when it is saved.

use std::collections::BTreeMap;

use bessemer_model::{InterfaceKind, Node, Object};
use serde_json::{Value, json};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// The first part names a field of the node, the others members inside it.
    Set {
        path: Vec<String>,
        value: Value,
    },
    Extend {
        path: Vec<String>,
        value: Value,
        unique: bool,
    },
    Delete {
        path: Vec<String>,
    },
    Capability {
        name: String,
        value: Option<String>,
    },
    AddTrait(String),
    RemoveTrait(String),
}

/// The node as replacement fields see it. Secrets are in the clear: rules are the administrator's.
#[must_use]
pub fn node_view(node: &Node) -> Value {
    let mut view = json!({
        "uuid": node.id,
        "name": node.name,
        "driver": node.driver,
        "driver_info": node.driver_info,
        "driver_internal_info": node.driver_internal_info,
        "properties": node.properties,
        "extra": node.extra,
        "instance_info": node.instance_info,
        "instance_uuid": node.instance_uuid,
        "network_data": node.network_data,
        "raid_config": node.raid_config,
        "target_raid_config": node.target_raid_config,
        "power_state": node.power_state,
        "provision_state": node.provision_state.as_str(),
        "maintenance": node.maintenance,
        "resource_class": node.resource_class,
        "conductor_group": node.conductor_group,
        "owner": node.owner,
        "lessee": node.lessee,
        "shard": node.shard,
        "description": node.description,
        "automated_clean": node.automated_clean,
        "protected": node.protected,
        "retired": node.retired,
        "boot_mode": node.boot_mode,
        "secure_boot": node.secure_boot,
        "traits": node.traits,
    });
    if let Value::Object(map) = &mut view {
        for kind in InterfaceKind::ALL {
            map.insert(kind.field().to_owned(), json!(node.interfaces.get(kind)));
        }
    }
    view
}

fn dictionary<'a>(node: &'a mut Node, field: &str) -> Option<&'a mut Object> {
    Some(match field {
        "properties" => &mut node.properties,
        "driver_info" => &mut node.driver_info,
        "extra" => &mut node.extra,
        "instance_info" => &mut node.instance_info,
        "driver_internal_info" => &mut node.driver_internal_info,
        "network_data" => &mut node.network_data,
        "target_raid_config" => &mut node.target_raid_config,
        _ => return None,
    })
}

/// The fields of one value that a rule may set.
fn set_field(node: &mut Node, field: &str, value: &Value) -> Result<(), String> {
    let text = || match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(format!("{field} of a node is a text")),
    };
    let flag = || match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{field} of a node is true or false")),
    };
    if let Some(whole) = dictionary(node, field) {
        let Value::Object(map) = value else {
            return Err(format!("{field} of a node is an object"));
        };
        whole.clone_from(map);
        return Ok(());
    }
    if let Some(kind) = InterfaceKind::ALL.into_iter().find(|k| k.field() == field) {
        node.interfaces.set(kind, text()?);
        return Ok(());
    }
    match field {
        "name" => node.name = text()?,
        "description" => node.description = text()?,
        "resource_class" => node.resource_class = text()?,
        "owner" => node.owner = text()?,
        "lessee" => node.lessee = text()?,
        "shard" => node.shard = text()?,
        "conductor_group" => node.conductor_group = text()?.unwrap_or_default().to_lowercase(),
        "driver" => {
            node.driver = text()?.ok_or("a node has a driver")?;
        }
        "automated_clean" => {
            node.automated_clean = if value.is_null() { None } else { Some(flag()?) };
        }
        "maintenance" => node.maintenance = flag()?,
        "maintenance_reason" => node.maintenance_reason = text()?,
        "retired" => node.retired = flag()?,
        "retired_reason" => node.retired_reason = text()?,
        "disable_power_off" => node.disable_power_off = flag()?,
        _ => return Err(format!("a rule cannot set {field} of a node")),
    }
    Ok(())
}

/// The object that holds the last part of a path, made on the way when `create`.
fn holder<'a>(
    start: &'a mut Object,
    parts: &[String],
    create: bool,
) -> Result<&'a mut Object, String> {
    let mut current = start;
    for part in parts {
        if create && !current.contains_key(part) {
            current.insert(part.clone(), Value::Object(Object::new()));
        }
        current = current
            .get_mut(part)
            .and_then(Value::as_object_mut)
            .ok_or_else(|| format!("{part} is not an object"))?;
    }
    Ok(current)
}

/// Sets a member deep in an object.
///
/// # Errors
/// When something on the way is not an object.
pub fn set_in(start: &mut Object, parts: &[String], value: Value) -> Result<(), String> {
    let (last, way) = parts.split_last().ok_or("the path is empty")?;
    holder(start, way, true)?.insert(last.clone(), value);
    Ok(())
}

/// Appends to a list deep in an object, which is made when it is not there.
///
/// # Errors
/// When it is not a list.
pub fn extend_in(
    start: &mut Object,
    parts: &[String],
    value: Value,
    unique: bool,
) -> Result<(), String> {
    let (last, way) = parts.split_last().ok_or("the path is empty")?;
    let list = holder(start, way, true)?
        .entry(last.clone())
        .or_insert_with(|| Value::Array(Vec::new()));
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    let list = list
        .as_array_mut()
        .ok_or_else(|| format!("{} is not a list", parts.join(".")))?;
    if !unique || !list.contains(&value) {
        list.push(value);
    }
    Ok(())
}

/// Removes a member deep in an object; whether it was there.
pub fn delete_in(start: &mut Object, parts: &[String]) -> bool {
    let Some((last, way)) = parts.split_last() else {
        return false;
    };
    holder(start, way, false).is_ok_and(|map| map.remove(last).is_some())
}

/// `capabilities` of `properties` as pairs; both of their forms.
fn capabilities(node: &Node) -> BTreeMap<String, String> {
    match node.properties.get("capabilities") {
        Some(Value::String(text)) => text
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
            .collect(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(k, v)| (k.clone(), bessemer_model::py_str(v)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

impl Edit {
    /// Makes the change.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn apply(&self, node: &mut Node) -> Result<(), String> {
        match self {
            Self::Set { path, value } => match path.as_slice() {
                [] => Err("the path is empty".into()),
                [field] => set_field(node, field, value),
                [field, inner @ ..] => {
                    let whole = dictionary(node, field)
                        .ok_or_else(|| format!("a rule cannot set members of {field} of a node"))?;
                    set_in(whole, inner, value.clone())
                }
            },
            Self::Extend {
                path,
                value,
                unique,
            } => match path.as_slice() {
                [field, inner @ ..] if !inner.is_empty() => {
                    let whole = dictionary(node, field).ok_or_else(|| {
                        format!("a rule cannot extend members of {field} of a node")
                    })?;
                    extend_in(whole, inner, value.clone(), *unique)
                }
                _ => Err(format!("{} of a node is not a list", path.join("."))),
            },
            Self::Delete { path } => match path.as_slice() {
                [] => Err("the path is empty".into()),
                [field] => match dictionary(node, field) {
                    Some(whole) => {
                        whole.clear();
                        Ok(())
                    }
                    None => set_field(node, field, &Value::Null),
                },
                [field, inner @ ..] => {
                    let whole = dictionary(node, field).ok_or_else(|| {
                        format!("a rule cannot delete members of {field} of a node")
                    })?;
                    if delete_in(whole, inner) {
                        Ok(())
                    } else {
                        Err(format!("there is no {} to delete", path.join(".")))
                    }
                }
            },
            Self::Capability { name, value } => {
                let mut all = capabilities(node);
                match value {
                    Some(value) => all.insert(name.clone(), value.clone()),
                    None => all.remove(name),
                };
                let text: Vec<String> = all.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                node.properties
                    .insert("capabilities".to_owned(), Value::from(text.join(",")));
                Ok(())
            }
            Self::AddTrait(name) => {
                if !node.traits.contains(name) {
                    if node.traits.len() >= 50 {
                        return Err("a node has at most 50 traits".into());
                    }
                    node.traits.push(name.clone());
                    node.traits.sort();
                }
                Ok(())
            }
            Self::RemoveTrait(name) => {
                node.traits.retain(|t| t != name);
                Ok(())
            }
        }
    }
}
