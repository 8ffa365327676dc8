//! Step lists: what steps an operation runs, in which order, and how one in-band step is started and
//! found again.

use bessemer_drivers::{CoreStep, DriverStep, StepRun};
use bessemer_model::{Class, Fault, FaultKind, Node, NodeId, Object};
use bessemer_wire::{CommandResult, StepDefinition, StepRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::settings::Settings;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    Clean,
    Deploy,
    Service,
}

impl StepKind {
    /// `clean`, `deploy` or `service`, as in the agent's commands and the node's fields.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }

    /// The list in `driver_internal_info`.
    #[must_use]
    pub fn list_key(self) -> &'static str {
        match self {
            Self::Clean => "clean_steps",
            Self::Deploy => "deploy_steps",
            Self::Service => "service_steps",
        }
    }

    /// The present step's index in `driver_internal_info`.
    #[must_use]
    pub fn index_key(self) -> &'static str {
        match self {
            Self::Clean => "clean_step_index",
            Self::Deploy => "deploy_step_index",
            Self::Service => "service_step_index",
        }
    }

    /// The node's field that shows the present step.
    #[must_use]
    pub fn shown_on(self, node: &mut Node) -> &mut Object {
        match self {
            Self::Clean => &mut node.clean_step,
            Self::Deploy => &mut node.deploy_step,
            Self::Service => &mut node.service_step,
        }
    }
}

/// Steps that the conductor itself knows on every interface; they need no driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reserved {
    /// Stops in the hold state until the operator's `unhold`.
    Hold,
    /// `args.seconds`, or until the agent's next heartbeat.
    Wait,
    PowerOn,
    PowerOff,
    Reboot,
}

impl Reserved {
    /// By the step's name, on whatever interface.
    #[must_use]
    pub fn by_name(step: &str) -> Option<Self> {
        Some(match step {
            "hold" => Self::Hold,
            "wait" => Self::Wait,
            "power_on" => Self::PowerOn,
            "power_off" => Self::PowerOff,
            "reboot" => Self::Reboot,
            _ => return None,
        })
    }
}

/// Longest `wait` step.
const LONGEST_WAIT: u64 = 7 * 86_400;

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
    /// The conductor's own step, which `run` then says nothing of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    /// Runs on the children instead; empty = on all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<NodeId>>,
    /// The node is restarted when the step has ended.
    #[serde(default)]
    pub reboot: bool,
    #[serde(default)]
    pub requires_ramdisk: bool,
}

impl PlannedStep {
    fn of(definition: &StepDefinition, run: StepRun) -> Self {
        Self {
            interface: definition.interface.clone(),
            step: definition.step.clone(),
            priority: definition.priority,
            args: Object::new(),
            run,
            // A write that was cut leaves half an image behind.
            abortable: definition.abortable
                && !writes_image(&definition.interface, &definition.step, run),
            reserved: None,
            children: None,
            reboot: definition.reboot_requested,
            requires_ramdisk: definition.requires_ramdisk,
        }
    }

    fn reserved(wanted: &UserStep, reserved: Reserved) -> Self {
        Self {
            interface: wanted.interface.clone(),
            step: wanted.step.clone(),
            priority: wanted.priority.unwrap_or(0),
            args: wanted.args.clone(),
            run: StepRun::OutOfBand,
            abortable: true,
            reserved: Some(reserved),
            children: wanted.children.clone(),
            reboot: false,
            requires_ramdisk: false,
        }
    }

    fn on_children(wanted: UserStep) -> Self {
        Self {
            interface: wanted.interface,
            step: wanted.step,
            priority: wanted.priority.unwrap_or(0),
            args: wanted.args,
            run: StepRun::OutOfBand,
            abortable: true,
            reserved: None,
            children: wanted.children,
            reboot: false,
            requires_ramdisk: false,
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
        writes_image(&self.interface, &self.step, self.run)
    }
}

fn writes_image(interface: &str, step: &str, run: StepRun) -> bool {
    matches!(run, StepRun::Core(CoreStep::WriteImage))
        || (interface == "deploy" && step == "write_image")
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
        "raid.create_configuration" => settings.create_configuration_priority,
        "raid.delete_configuration" => settings.delete_configuration_priority,
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

/// The list that an operator gave to `clean` or `service`, in its order.
///
/// # Errors
/// Names every step that neither the driver nor the agent has, and every missing argument.
pub fn manual(
    kind: StepKind,
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
            if let Some(reserved) = Reserved::by_name(&wanted.step) {
                return Ok(PlannedStep::reserved(&wanted, reserved));
            }
            let found = known
                .iter()
                .find(|(d, _)| d.interface == wanted.interface && d.step == wanted.step);
            let Some((definition, run)) = found else {
                // What a child can do, its own conductor says when the step runs there.
                if wanted.children.is_some() {
                    return Ok(PlannedStep::on_children(wanted));
                }
                let names: Vec<String> = known
                    .iter()
                    .map(|(d, _)| format!("{}.{}", d.interface, d.step))
                    .collect();
                return Err(Fault::invalid(format!(
                    "There is no {} step {}.{}; this node has {}.",
                    kind.as_str(),
                    wanted.interface,
                    wanted.step,
                    names.join(", ")
                )));
            };
            check_args(definition, &wanted.args)?;
            Ok(PlannedStep {
                args: wanted.args,
                children: wanted.children,
                ..PlannedStep::of(definition, *run)
            })
        })
        .collect()
}

/// Refuses steps of a list of the client's that need the ramdisk, for an operation that shall do without it.
///
/// # Errors
/// 400 that names them.
pub fn without_ramdisk(kind: StepKind, steps: &[PlannedStep]) -> Result<(), Fault> {
    let in_need: Vec<String> = steps
        .iter()
        .filter(|s| s.requires_ramdisk)
        .map(PlannedStep::label)
        .collect();
    if in_need.is_empty() {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "disable_ramdisk was asked for, but {} step {} needs the ramdisk.",
        kind.as_str(),
        in_need.join(", ")
    )))
}

/// Shape of a list that a client gave.
///
/// # Errors
/// 400 that says which step is wrong.
pub fn check_shape(wanted: &Value) -> Result<(), Fault> {
    user_steps(wanted).map(|_| ())
}

/// Whether this list of an operator needs the ramdisk: what is neither the conductor's own nor the driver's
/// can only be the agent's.
///
/// # Errors
/// The list's shape.
pub fn needs_ramdisk(wanted: &Value, driver: &[DriverStep]) -> Result<bool, Fault> {
    Ok(user_steps(wanted)?.iter().any(|wanted| {
        Reserved::by_name(&wanted.step).is_none()
            && wanted.children.is_none()
            && driver
                .iter()
                .find(|d| {
                    d.definition.interface == wanted.interface && d.definition.step == wanted.step
                })
                .is_none_or(|d| d.definition.requires_ramdisk)
    }))
}

/// What is wrong with steps that were asked for, as far as the driver alone can tell; steps of the agent are looked at
/// when it runs.
///
/// # Errors
/// 400 for a core step that shall run elsewhere or with arguments, and for arguments that a step does not have or misses.
pub fn check_deploy(wanted: &[UserStep], driver: &[DriverStep]) -> Result<(), Fault> {
    for wanted in wanted {
        let found = driver.iter().find(|s| {
            s.definition.interface == wanted.interface && s.definition.step == wanted.step
        });
        if let Some(own) = found {
            check_own(own, wanted)?;
        }
    }
    Ok(())
}

/// One of the driver's own steps as somebody wants it.
fn check_own(own: &DriverStep, wanted: &UserStep) -> Result<(), Fault> {
    let (interface, step) = (&wanted.interface, &wanted.step);
    let core = matches!(own.run, StepRun::Core(_)) || (interface == "deploy" && step == "deploy");
    if core && wanted.priority.is_some_and(|p| p != 0) {
        return Err(Fault::invalid(format!(
            "Validation of deploy steps from \"deploy steps\" argument failed.deploy step {step} on interface {interface} is a core step and cannot be overridden by user steps. It may be disabled by setting the priority to 0"
        )));
    }
    if core && !wanted.args.is_empty() {
        return Err(Fault::invalid(format!(
            "Deploy step {interface}.{step} takes no arguments."
        )));
    }
    check_args(&own.definition, &wanted.args)
}

/// The deploy list: the driver's steps, the agent's with a priority above 0, and the operator's changes.
///
/// # Errors
/// As [`manual_clean`].
pub fn deploy(
    wanted: &[UserStep],
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
    for wanted in wanted.iter().cloned() {
        if let Some(reserved) = Reserved::by_name(&wanted.step) {
            steps.push(PlannedStep::reserved(&wanted, reserved));
            continue;
        }
        if let Some(known) = steps
            .iter_mut()
            .find(|s| s.is(&wanted.interface, &wanted.step))
        {
            if let Some(own) = driver
                .iter()
                .find(|s| known.is(&s.definition.interface, &s.definition.step))
            {
                check_own(own, &wanted)?;
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

/// A step that somebody asked for.
#[derive(Debug, Clone)]
pub struct UserStep {
    interface: String,
    step: String,
    args: Object,
    priority: Option<i64>,
    order: Option<i64>,
    children: Option<Vec<NodeId>>,
}

/// A number that a client may also write as text.
fn number(item: &Value, key: &str) -> Option<i64> {
    match item.get(key)? {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

impl UserStep {
    /// A step of a deploy template.
    #[must_use]
    pub fn of_template(step: &bessemer_model::TemplateStep) -> Self {
        Self {
            interface: step.interface.clone(),
            step: step.step.clone(),
            args: step.args.clone(),
            priority: Some(step.priority),
            order: None,
            children: None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.interface == other.interface && self.step == other.step
    }
}

/// The client's own steps, and before them those of templates that they do not replace.
///
/// # Errors
/// Two templates that want the same step, or the shape of the client's list.
pub fn with_templates(
    wanted: Option<&Value>,
    templates: &[(String, Vec<UserStep>)],
) -> Result<Vec<UserStep>, Fault> {
    let own = wanted.map(user_steps).transpose()?.unwrap_or_default();
    let mut all: Vec<(&str, UserStep)> = Vec::new();
    for (name, steps) in templates {
        for step in steps {
            if own.iter().any(|s| s.is(step)) {
                continue;
            }
            if let Some((other, _)) = all.iter().find(|(_, s)| s.is(step)) {
                return Err(Fault::invalid(format!(
                    "Deploy templates {other} and {name} both have step {}.{}; a node's instance traits may name only one of them.",
                    step.interface, step.step
                )));
            }
            all.push((name, step.clone()));
        }
    }
    Ok(all.into_iter().map(|(_, s)| s).chain(own).collect())
}

/// A list of steps that a client gave, in its order: that of `order` when every step has one.
fn user_steps(list: &Value) -> Result<Vec<UserStep>, Fault> {
    let items = list
        .as_array()
        .ok_or_else(|| Fault::invalid("The list of steps is not a JSON list."))?;
    let mut steps = items
        .iter()
        .map(user_step)
        .collect::<Result<Vec<_>, Fault>>()?;
    if steps.iter().all(|s| s.order.is_some()) {
        steps.sort_by_key(|s| s.order);
    }
    Ok(steps)
}

fn user_step(item: &Value) -> Result<UserStep, Fault> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let (Some(interface), Some(step)) = (text("interface"), text("step")) else {
        return Err(Fault::invalid(
            "A step of the list has no interface or no step.",
        ));
    };
    let args = match item.get("args") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(args)) => args.clone(),
        Some(_) => {
            return Err(Fault::invalid(format!(
                "args of step {interface}.{step} is not an object."
            )));
        }
    };
    if Reserved::by_name(&step) == Some(Reserved::Wait) {
        match args.get("seconds") {
            None => {}
            Some(seconds) if seconds.as_u64().is_some_and(|s| s <= LONGEST_WAIT) => {}
            Some(_) => {
                return Err(Fault::invalid(format!(
                    "seconds of step {interface}.wait is not a whole number from 0 to {LONGEST_WAIT}."
                )));
            }
        }
    }
    let children = if item.get("execute_on_child_nodes") == Some(&Value::Bool(true)) {
        if matches!(
            Reserved::by_name(&step),
            Some(Reserved::Hold | Reserved::Wait)
        ) {
            return Err(Fault::invalid(format!(
                "Step {interface}.{step} cannot run on child nodes: it concerns the order of the node's own steps."
            )));
        }
        let limit = item.get("limit_child_node_execution");
        let named = limit.and_then(Value::as_array).into_iter().flatten();
        let ids = named
            .map(|v| {
                v.as_str().and_then(|t| t.parse().ok()).ok_or_else(|| {
                    Fault::invalid(format!(
                        "limit_child_node_execution of step {interface}.{step} is not a list of node UUIDs."
                    ))
                })
            })
            .collect::<Result<Vec<NodeId>, Fault>>()?;
        Some(ids)
    } else {
        None
    };
    Ok(UserStep {
        interface,
        step,
        args,
        priority: number(item, "priority"),
        order: number(item, "order"),
        children,
    })
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
        "service_step": node.service_step,
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
