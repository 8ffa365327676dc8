//! BIOS settings over Redfish (schemas Bios, AttributeRegistry). What is changed comes into force with a restart.

use async_trait::async_trait;
use bessemer_model::{BiosSetting, Class, Fault, InterfaceKind, Node};
use bessemer_redfish::{Attribute, Bios, Client, Error, System};
use serde_json::{Map, Value, json};

use super::fake::settings;
use crate::interface::{
    BiosInterface, DriverStep, Effects, Environment, Interface, Property, StepCall, StepResult,
    StepRun, step,
};
use crate::redfish::{REDFISH_PROPERTIES, Trouble};

pub struct RedfishBios {
    name: &'static str,
}

impl RedfishBios {
    /// `redfish`
    pub const PLAIN: Self = Self { name: "redfish" };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self {
        name: "idrac-redfish",
    };
}

/// Progress of a start after which settings count.
const STARTED: [&str; 2] = ["OSBootStarted", "OSRunning"];

/// A value as the API shows it: texts, and Python's words for booleans.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("True".into()),
        Value::Bool(false) => Some("False".into()),
        other => Some(other.to_string()),
    }
}

fn as_settings(attributes: &Map<String, Value>, registry: &[Attribute]) -> Vec<BiosSetting> {
    attributes
        .iter()
        .map(|(name, value)| {
            let mut setting = BiosSetting::new(name.clone(), shown(value));
            if let Some(known) = registry.iter().find(|a| a.name == *name) {
                setting.attribute_type.clone_from(&known.kind);
                setting.allowable_values.clone_from(&known.allowed);
                setting.lower_bound = known.lower_bound;
                setting.upper_bound = known.upper_bound;
                setting.min_length = known.min_length;
                setting.max_length = known.max_length;
                setting.read_only = known.read_only;
                setting.reset_required = known.reset_required;
                setting.unique = known.unique;
            }
            setting
        })
        .collect()
}

/// The wanted settings with the types that the registry tells.
///
/// # Errors
/// Names every setting whose value it does not allow.
fn convert(
    node: &Node,
    wanted: &[BiosSetting],
    given: &Value,
    registry: &[Attribute],
) -> Result<Map<String, Value>, Fault> {
    let mut invalid = Vec::new();
    let mut found = Map::new();
    for (index, setting) in wanted.iter().enumerate() {
        let value = given
            .get(index)
            .and_then(|g| g.get("value"))
            .cloned()
            .unwrap_or(Value::Null);
        let known = registry.iter().find(|a| a.name == setting.name);
        let value = match known {
            None => Some(value),
            Some(known) if known.read_only == Some(true) => None,
            Some(known) => typed(value, known),
        };
        match value {
            Some(value) => {
                found.insert(setting.name.clone(), value);
            }
            None => invalid.push(setting.name.as_str()),
        }
    }
    if invalid.is_empty() {
        return Ok(found);
    }
    Err(Fault::invalid(format!(
        "Redfish BIOS apply_configuration failed for node {}: invalid value for setting(s): {}",
        node.id,
        invalid.join(", ")
    )))
}

fn typed(value: Value, known: &Attribute) -> Option<Value> {
    let within = |n: i64, low: Option<i64>, high: Option<i64>| {
        low.is_none_or(|l| n >= l) && high.is_none_or(|h| n <= h)
    };
    match known.kind.as_deref() {
        Some("Enumeration") => {
            let fits = known.allowed.as_ref().is_none_or(|allowed| {
                allowed.is_empty() || shown(&value).is_some_and(|v| allowed.contains(&v))
            });
            fits.then_some(value)
        }
        Some("Integer") => {
            let n = match &value {
                Value::Number(n) => n.as_i64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            }?;
            within(n, known.lower_bound, known.upper_bound).then(|| json!(n))
        }
        Some("Boolean") => match value {
            Value::String(text) => Some(json!(text.eq_ignore_ascii_case("true"))),
            other => Some(other),
        },
        Some("String") => {
            let length = i64::try_from(value.as_str()?.chars().count()).ok()?;
            within(length, known.min_length, known.max_length).then_some(value)
        }
        _ => Some(value),
    }
}

/// What is wanted and not in force. Some boards keep what was changed as pending until it is done, and only that; others always
/// list everything there.
fn not_applied(
    wanted: &Map<String, Value>,
    current: &Map<String, Value>,
    pending: &Map<String, Value>,
) -> Vec<String> {
    let only_changes = pending.len() <= wanted.len();
    wanted
        .iter()
        .filter(|(name, value)| {
            current.get(*name) != Some(value) || (only_changes && pending.contains_key(*name))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

async fn bios_of(client: &Client, system: &System, node: &Node) -> Result<Bios, Trouble> {
    client.bios(system).await?.ok_or_else(|| {
        Fault::hardware(
            Class::Never,
            format!(
                "BIOS settings of node {} cannot be read or changed: its BMC has none over Redfish.",
                node.label()
            ),
        )
        .into()
    })
}

/// Done, with the settings as they are now.
async fn finished(client: &Client, bios: &Bios) -> Result<StepResult, Error> {
    let registry = client.attribute_registry(bios).await?;
    let none = Map::new();
    Ok(StepResult::with(Effects {
        bios_settings: Some(as_settings(bios.attributes().unwrap_or(&none), &registry)),
        ..Effects::default()
    }))
}

/// Whether a start that the board tells of is over; boards that tell nothing are taken at their settings.
fn started(system: &System) -> bool {
    system
        .0
        .text(&["BootProgress", "LastState"])
        .is_none_or(|state| state == "None" || STARTED.contains(&state))
}

impl RedfishBios {
    async fn apply(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let given = call.args.get("settings").unwrap_or(&Value::Null);
        let wanted = settings(Some(given))?;
        let after = env.redfish.settings().firmware_update_status_interval;
        let state = call.state.cloned();
        env.redfish
            .on_system(node, |client, system| async move {
                let bios = bios_of(&client, &system, node).await?;
                let none = Map::new();
                let current = bios.attributes().unwrap_or(&none);
                let pending = client.pending(&bios).await?.unwrap_or_default();
                if let Some(state) = state {
                    let wanted = state
                        .get("attributes")
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default();
                    let missing = not_applied(&wanted, current, &pending);
                    if missing.is_empty() && started(&system) {
                        return Ok::<_, Trouble>(finished(&client, &bios).await?);
                    }
                    let what = if missing.is_empty() {
                        "the node's start".to_owned()
                    } else {
                        format!("the BIOS settings {} to be in force", missing.join(", "))
                    };
                    return Ok(StepResult::Wait { what, after, state });
                }
                let registry = client.attribute_registry(&bios).await?;
                let attributes = convert(node, &wanted, given, &registry)?;
                let matches = attributes.iter().all(|(name, value)| {
                    current.get(name) == Some(value) && pending.get(name).is_none_or(|p| p == value)
                });
                if matches {
                    return Ok(finished(&client, &bios).await?);
                }
                client.set_attributes(&bios, &attributes).await?;
                Ok(StepResult::Reboot {
                    what: "the BIOS settings to come into force".into(),
                    state: json!({"attributes": attributes}),
                })
            })
            .await
    }

    async fn factory_reset(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let after = env.redfish.settings().firmware_update_status_interval;
        let state = call.state.cloned();
        env.redfish
            .on_system(node, |client, system| async move {
                let bios = bios_of(&client, &system, node).await?;
                match state {
                    None => {
                        client.reset_bios(&bios).await?;
                        Ok::<_, Trouble>(StepResult::Reboot {
                            what: "the BIOS settings of the factory to come into force".into(),
                            state: json!({}),
                        })
                    }
                    Some(_) if started(&system) => Ok(finished(&client, &bios).await?),
                    Some(state) => Ok(StepResult::Wait {
                        what: "the node's start".into(),
                        after,
                        state,
                    }),
                }
            })
            .await
    }
}

fn steps() -> Vec<DriverStep> {
    let of = |name| step(name, "bios", 0, StepRun::OutOfBand);
    vec![
        of("apply_configuration").arg(
            "settings",
            true,
            "BIOS settings as a list of objects with name and value.",
        ),
        of("factory_reset"),
    ]
}

#[async_trait]
impl Interface for RedfishBios {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Bios
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        steps().into_iter().map(DriverStep::not_abortable).collect()
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        steps()
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        steps().into_iter().map(DriverStep::not_abortable).collect()
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        match call.step {
            "apply_configuration" => self.apply(env, node, call).await,
            "factory_reset" => self.factory_reset(env, node, call).await,
            other => Err(Fault::unsupported(format!(
                "bios interface {} has no step {other} (node {}).",
                self.name,
                node.label()
            ))),
        }
    }
}

#[async_trait]
impl BiosInterface for RedfishBios {
    async fn read_settings(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<Option<Vec<BiosSetting>>, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                let Some(bios) = client.bios(&system).await? else {
                    return Ok(None);
                };
                let registry = client.attribute_registry(&bios).await?;
                Ok::<_, Error>(bios.attributes().map(|a| as_settings(a, &registry)))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Object, Timestamp};

    fn map(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn values_get_the_registrys_types() {
        let node = Node::new(NodeId::random(), "redfish", Timestamp(0));
        let attribute = |name: &str, kind: &str| Attribute {
            name: name.into(),
            kind: Some(kind.into()),
            ..Attribute::default()
        };
        let registry = [
            Attribute {
                allowed: Some(vec!["On".into(), "Off".into()]),
                ..attribute("Mode", "Enumeration")
            },
            Attribute {
                lower_bound: Some(1),
                upper_bound: Some(8),
                ..attribute("Cores", "Integer")
            },
            attribute("Quiet", "Boolean"),
            Attribute {
                max_length: Some(3),
                ..attribute("Tag", "String")
            },
            Attribute {
                read_only: Some(true),
                ..attribute("Serial", "String")
            },
        ];
        let check = |given: Value, expected: Result<Value, &str>| {
            let wanted = settings(Some(&given)).unwrap();
            match (convert(&node, &wanted, &given, &registry), expected) {
                (Ok(found), Ok(want)) => assert_eq!(Value::Object(found), want),
                (Err(fault), Err(part)) => assert!(fault.text.ends_with(part), "{}", fault.text),
                (found, want) => panic!("{found:?} instead of {want:?}"),
            }
        };
        check(
            json!([{"name": "Mode", "value": "On"}, {"name": "Cores", "value": "4"}, {"name": "Quiet", "value": "True"},
                   {"name": "Tag", "value": "abc"}, {"name": "Unknown", "value": 7}]),
            Ok(json!({"Mode": "On", "Cores": 4, "Quiet": true, "Tag": "abc", "Unknown": 7})),
        );
        check(
            json!([{"name": "Mode", "value": "Up"}, {"name": "Cores", "value": 9}, {"name": "Tag", "value": "long"},
                   {"name": "Serial", "value": "x"}, {"name": "Quiet", "value": false}]),
            Err("invalid value for setting(s): Mode, Cores, Tag, Serial"),
        );
    }

    #[test]
    fn pending_settings_count_where_they_are_only_the_changes() {
        let wanted = map(json!({"A": 1, "B": 2}));
        let check = |current: Value, pending: Value, missing: &[&str]| {
            assert_eq!(not_applied(&wanted, &map(current), &map(pending)), missing);
        };
        check(json!({"A": 1, "B": 2}), json!({}), &[]);
        check(json!({"A": 1, "B": 1}), json!({}), &["B"]);
        check(json!({"A": 1, "B": 2}), json!({"B": 2}), &["B"]);
        check(
            json!({"A": 1, "B": 2}),
            json!({"A": 1, "B": 2, "C": 3}),
            &[],
        );
    }
}
