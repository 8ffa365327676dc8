//! BIOS settings of a node that is not there: the settings are those that were applied last.

use async_trait::async_trait;
use bessemer_model::{BiosSetting, Fault, InterfaceKind, Node};
use serde_json::Value;

use crate::interface::{
    BiosInterface, DriverStep, Effects, Environment, Interface, StepCall, StepResult, StepRun, step,
};

pub struct FakeBios;

/// The `settings` argument: a list of objects with `name` and `value`.
///
/// # Errors
/// Names the item that is not of that form.
pub fn settings(given: Option<&Value>) -> Result<Vec<BiosSetting>, Fault> {
    let bad = |item: &Value| {
        Fault::invalid(format!(
            "BIOS settings are a list of objects with name and value; this is not one: {item}"
        ))
    };
    let given = given.unwrap_or(&Value::Null);
    given
        .as_array()
        .ok_or_else(|| bad(given))?
        .iter()
        .map(|item| {
            let name = item
                .get("name")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
                .ok_or_else(|| bad(item))?;
            let value = match item.get("value").ok_or_else(|| bad(item))? {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            Ok(BiosSetting::new(name, value))
        })
        .collect()
}

#[async_trait]
impl Interface for FakeBios {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Bios
    }

    fn name(&self) -> &'static str {
        "fake"
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        let of = |name| {
            step(name, "bios", 0, StepRun::OutOfBand)
                .not_abortable()
                .with_ramdisk()
        };
        vec![
            of("apply_configuration").arg(
                "settings",
                true,
                "BIOS settings as a list of objects with name and value.",
            ),
            of("cache_bios_settings"),
            of("factory_reset"),
        ]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let effects = match call.step {
            "apply_configuration" => Effects {
                bios_settings: Some(settings(call.args.get("settings"))?),
                ..Effects::default()
            },
            "factory_reset" => Effects {
                bios_settings: Some(Vec::new()),
                ..Effects::default()
            },
            "cache_bios_settings" => Effects::default(),
            other => {
                return Err(Fault::unsupported(format!(
                    "bios interface fake has no step {other} (node {}).",
                    node.label()
                )));
            }
        };
        env.pretend(InterfaceKind::Bios).await;
        Ok(StepResult::with(effects))
    }
}

impl BiosInterface for FakeBios {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::settings;
    use serde_json::json;

    #[test]
    fn settings_are_names_with_values() {
        let list = settings(Some(&json!([
            {"name": "ProcVirtualization", "value": "Enabled"},
            {"name": "Cores", "value": 4},
            {"name": "Asset", "value": null},
        ])))
        .unwrap();
        let shown: Vec<_> = list
            .iter()
            .map(|s| (s.name.as_str(), s.value.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("ProcVirtualization", Some("Enabled")),
                ("Cores", Some("4")),
                ("Asset", None)
            ]
        );
        for bad in [
            json!(null),
            json!({}),
            json!([1]),
            json!([{"name": "a"}]),
            json!([{"value": "a"}]),
            json!([{"name": "", "value": "a"}]),
        ] {
            assert!(
                settings(Some(&bad))
                    .unwrap_err()
                    .text
                    .contains("name and value"),
                "{bad}"
            );
        }
    }
}
