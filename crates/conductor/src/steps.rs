//! Step lists: what steps an operation runs, in which order, and how one in-band step is started and
//! found again.

use bessemer_drivers::{CoreStep, DriverStep, StepRun};
use bessemer_model::{Class, Fault, FaultKind, Node, Object};
use bessemer_wire::{CommandResult, StepDefinition, StepRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::settings::Settings;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    Clean,
    Deploy,
}

impl StepKind {
    /// `clean` or `deploy`, as in the agent's commands and the node's fields.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
        }
    }
}

/// A step of a running operation; stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub interface: String,
    pub step: String,
    pub priority: i64,
    #[serde(default)]
    pub args: Object,
    pub run: StepRun,
    #[serde(default)]
    pub abortable: bool,
}

impl PlannedStep {
    fn of(definition: &StepDefinition, run: StepRun) -> Self {
        Self {
            interface: definition.interface.clone(),
            step: definition.step.clone(),
            priority: definition.priority,
            args: Object::new(),
            run,
            abortable: definition.abortable,
        }
    }

    fn is(&self, interface: &str, step: &str) -> bool {
        self.interface == interface && self.step == step
    }

    /// `interface.step`, as options and messages write it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.{}", self.interface, self.step)
    }

    /// As the node's `clean_step` and `deploy_step` show it; arguments are left out because they may
    /// hold secrets.
    #[must_use]
    pub fn shown(&self) -> Object {
        let mut shown = Object::new();
        shown.insert("interface".into(), json!(self.interface));
        shown.insert("step".into(), json!(self.step));
        shown.insert("priority".into(), json!(self.priority));
        shown.insert("abortable".into(), json!(self.abortable));
        shown
    }

    /// A second start could destroy what the first one did.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        matches!(self.run, StepRun::Core(CoreStep::WriteImage)) || self.is("deploy", "write_image")
    }
}

/// Order among steps of one priority: upstream's, highest first.
fn interface_rank(interface: &str) -> u8 {
    match interface {
        "network" => 8,
        "vendor" => 7,
        "power" => 6,
        "management" => 5,
        "firmware" => 4,
        "deploy" => 3,
        "bios" => 2,
        "raid" => 1,
        _ => 0,
    }
}

fn sort(steps: &mut [PlannedStep]) {
    steps.sort_by(|a, b| {
        (b.priority, interface_rank(&b.interface))
            .cmp(&(a.priority, interface_rank(&a.interface)))
            .then_with(|| a.step.cmp(&b.step))
    });
}

/// Priority of an automated clean step after the operator's overrides.
fn clean_priority(settings: &Settings, step: &StepDefinition) -> i64 {
    let named = format!("{}.{}", step.interface, step.step);
    if let Some(priority) = settings.clean_step_priority_override.get(&named) {
        return *priority;
    }
    match named.as_str() {
        "deploy.erase_devices" => settings.erase_devices_priority,
        "deploy.erase_devices_metadata" => settings.erase_devices_metadata_priority,
        _ => None,
    }
    .unwrap_or(step.priority)
}

/// Steps that the agent offers, flattened. A step that several hardware managers have is taken once.
fn offered(
    managers: &std::collections::BTreeMap<String, Vec<StepDefinition>>,
) -> Vec<StepDefinition> {
    let mut all: Vec<StepDefinition> = Vec::new();
    for step in managers.values().flatten() {
        match all
            .iter_mut()
            .find(|s| s.interface == step.interface && s.step == step.step)
        {
            Some(known) if known.priority < step.priority => *known = step.clone(),
            Some(_) => {}
            None => all.push(step.clone()),
        }
    }
    all
}

/// The automated clean list: what driver and agent offer with a priority above 0.
#[must_use]
pub fn automated_clean(
    settings: &Settings,
    driver: &[DriverStep],
    agent: &std::collections::BTreeMap<String, Vec<StepDefinition>>,
) -> Vec<PlannedStep> {
    let mut steps: Vec<PlannedStep> = driver
        .iter()
        .map(|s| (s.definition.clone(), s.run))
        .chain(offered(agent).into_iter().map(|s| (s, StepRun::InBand)))
        .map(|(definition, run)| {
            let mut planned = PlannedStep::of(&definition, run);
            planned.priority = clean_priority(settings, &definition);
            planned
        })
        .filter(|s| s.priority > 0)
        .collect();
    sort(&mut steps);
    steps
}

/// The list that an operator gave to `clean`, in its order.
///
/// # Errors
/// Names every step that neither the driver nor the agent has, and every missing argument.
pub fn manual_clean(
    wanted: &Value,
    driver: &[DriverStep],
    agent: &std::collections::BTreeMap<String, Vec<StepDefinition>>,
) -> Result<Vec<PlannedStep>, Fault> {
    let known: Vec<(StepDefinition, StepRun)> = driver
        .iter()
        .map(|s| (s.definition.clone(), s.run))
        .chain(offered(agent).into_iter().map(|s| (s, StepRun::InBand)))
        .collect();
    user_steps(wanted)?
        .into_iter()
        .map(|wanted| {
            let (definition, run) = known
                .iter()
                .find(|(d, _)| d.interface == wanted.interface && d.step == wanted.step)
                .ok_or_else(|| {
                    let names: Vec<String> = known
                        .iter()
                        .map(|(d, _)| format!("{}.{}", d.interface, d.step))
                        .collect();
                    Fault::invalid(format!(
                        "There is no clean step {}.{}; this node has {}.",
                        wanted.interface,
                        wanted.step,
                        names.join(", ")
                    ))
                })?;
            check_args(definition, &wanted.args)?;
            Ok(PlannedStep {
                args: wanted.args,
                ..PlannedStep::of(definition, *run)
            })
        })
        .collect()
}

/// The deploy list: the driver's steps, the agent's with a priority above 0, and the operator's changes.
///
/// # Errors
/// As [`manual_clean`].
pub fn deploy(
    wanted: Option<&Value>,
    driver: &[DriverStep],
    agent: &std::collections::BTreeMap<String, Vec<StepDefinition>>,
) -> Result<Vec<PlannedStep>, Fault> {
    let in_band = offered(agent);
    let mut steps: Vec<PlannedStep> = driver
        .iter()
        .filter(|s| s.run != StepRun::Core(CoreStep::Deploy))
        .map(|s| PlannedStep::of(&s.definition, s.run))
        .collect();
    for step in &in_band {
        let core = steps.iter().any(|s| s.is(&step.interface, &step.step));
        if step.priority > 0 && !core {
            steps.push(PlannedStep::of(step, StepRun::InBand));
        }
    }
    for wanted in wanted.map(user_steps).transpose()?.unwrap_or_default() {
        if let Some(known) = steps
            .iter_mut()
            .find(|s| s.is(&wanted.interface, &wanted.step))
        {
            if !wanted.args.is_empty() && matches!(known.run, StepRun::Core(_)) {
                return Err(Fault::invalid(format!(
                    "Deploy step {} takes no arguments.",
                    known.label()
                )));
            }
            if let Some(own) = driver
                .iter()
                .find(|s| known.is(&s.definition.interface, &s.definition.step))
            {
                check_args(&own.definition, &wanted.args)?;
            }
            known.priority = wanted.priority.unwrap_or(known.priority);
            known.args = wanted.args;
            continue;
        }
        let definition = in_band
            .iter()
            .find(|d| d.interface == wanted.interface && d.step == wanted.step)
            .ok_or_else(|| {
                Fault::invalid(format!(
                    "There is no deploy step {}.{}; the agent has {}.",
                    wanted.interface,
                    wanted.step,
                    in_band
                        .iter()
                        .map(|d| format!("{}.{}", d.interface, d.step))
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
            })?;
        check_args(definition, &wanted.args)?;
        steps.push(PlannedStep {
            priority: wanted.priority.unwrap_or(definition.priority),
            args: wanted.args,
            ..PlannedStep::of(definition, StepRun::InBand)
        });
    }
    steps.retain(|s| s.priority > 0);
    sort(&mut steps);
    Ok(steps)
}

struct UserStep {
    interface: String,
    step: String,
    args: Object,
    priority: Option<i64>,
}

/// Shape of a list of steps that a client gave.
fn user_steps(list: &Value) -> Result<Vec<UserStep>, Fault> {
    let items = list
        .as_array()
        .ok_or_else(|| Fault::invalid("The list of steps is not a JSON list."))?;
    items
        .iter()
        .map(|item| {
            let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let (Some(interface), Some(step)) = (text("interface"), text("step")) else {
                return Err(Fault::invalid(format!(
                    "A step needs interface and step: {item}"
                )));
            };
            let args = match item.get("args") {
                None | Some(Value::Null) => Object::new(),
                Some(Value::Object(args)) => args.clone(),
                Some(other) => {
                    return Err(Fault::invalid(format!(
                        "args of step {interface}.{step} is not an object: {other}"
                    )));
                }
            };
            Ok(UserStep {
                interface,
                step,
                args,
                priority: item.get("priority").and_then(Value::as_i64),
            })
        })
        .collect()
}

/// Shape of a client's list, before anything boots.
///
/// # Errors
/// Names the item.
pub fn check_user_steps(list: &Value) -> Result<(), Fault> {
    user_steps(list).map(|_| ())
}

fn check_args(definition: &StepDefinition, args: &Object) -> Result<(), Fault> {
    let Some(known) = &definition.argsinfo else {
        return Ok(());
    };
    let label = format!("{}.{}", definition.interface, definition.step);
    let missing: Vec<&str> = known
        .iter()
        .filter(|(k, v)| v.required && !args.contains_key(*k))
        .map(|(k, _)| k.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(Fault::new(
            FaultKind::MissingParameter,
            Class::Never,
            format!("Step {label} needs the argument {}.", missing.join(", ")),
        ));
    }
    match args.keys().find(|k| !known.contains_key(*k)) {
        Some(unknown) => Err(Fault::invalid(format!(
            "Step {label} has no argument {unknown}; it has {}.",
            known.keys().cloned().collect::<Vec<_>>().join(", ")
        ))),
        None => Ok(()),
    }
}

/// Parameters of `clean.execute_clean_step` and `deploy.execute_deploy_step`.
#[must_use]
pub fn command_params(
    kind: StepKind,
    step: &PlannedStep,
    reference: &StepRef,
    args: Object,
    node: &Node,
    ports: Value,
) -> Object {
    let mut body = step.shown();
    body.insert("args".into(), Value::Object(args));
    body.insert("bessemer".into(), json!(reference));
    let mut params = Object::new();
    params.insert("step".into(), Value::Object(body));
    params.insert("node".into(), node_for_agent(node));
    params.insert("ports".into(), ports);
    params.insert(
        format!("{}_version", kind.as_str()),
        node.driver_internal_info
            .get("hardware_manager_version")
            .cloned()
            .unwrap_or(Value::Null),
    );
    params
}

/// The node as the agent's steps read it. BMC credentials stay here: the agent has no use for them.
#[must_use]
pub fn node_for_agent(node: &Node) -> Value {
    let mut internal = node.driver_internal_info.clone();
    internal.retain(|k, _| !bessemer_model::is_secret_key(k));
    let mut instance = node.instance_info.clone();
    instance.remove("configdrive");
    json!({
        "uuid": node.id,
        "name": node.name,
        "driver": node.driver,
        "driver_info": bessemer_model::masked(&Value::Object(node.driver_info.clone())),
        "driver_internal_info": internal,
        "properties": node.properties,
        "instance_info": instance,
        "instance_uuid": node.instance_uuid,
        "extra": node.extra,
        "raid_config": node.raid_config,
        "target_raid_config": node.target_raid_config,
        "provision_state": node.provision_state.as_str(),
        "target_provision_state": node.target_provision_state.map(|s| s.as_str()),
        "clean_step": node.clean_step,
        "deploy_step": node.deploy_step,
    })
}

/// The newest command that was started for this step of this operation.
#[must_use]
pub fn find_command<'a>(
    commands: &'a [CommandResult],
    operation: &str,
    index: u32,
) -> Option<(&'a CommandResult, StepRef)> {
    commands
        .iter()
        .filter_map(|c| {
            let reference = c.command_params.get("step")?.get("bessemer")?;
            let reference: StepRef = serde_json::from_value(reference.clone()).ok()?;
            (reference.operation == operation && reference.index == index).then_some((c, reference))
        })
        .max_by_key(|(_, r)| r.attempt)
}

/// Step commands whose parameters the agent does not show: upstream's agent lists none, so that its commands are told
/// apart by their order. It runs one at a time and lives for one operation.
#[must_use]
pub fn unlabelled(commands: &[CommandResult], kind: StepKind) -> Vec<&CommandResult> {
    let short = format!("execute_{}_step", kind.as_str());
    let full = format!("{}.{short}", kind.as_str());
    commands
        .iter()
        .filter(|c| {
            c.command_params.is_empty() && (c.command_name == short || c.command_name == full)
        })
        .collect()
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
