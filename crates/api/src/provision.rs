//! `PUT /v1/nodes/{ident}/states/provision`.
//!
//! Shape, version and the table's transition are checked here, in upstream's order; what needs the driver is
//! the conductor's, which stores the intent before this call answers.

use bessemer_model::provision::{self, Verb};
use bessemer_model::{Event, Node, NodeId, ProvisionState};
use http::StatusCode;
use serde_json::{Value, json};

use crate::args::Args;
use crate::auth::Ownership;
use crate::call::{Answer, Call, Outcome};
use crate::conductor::ProvisionRequest;
use crate::fault::ApiFault;
use crate::json_schema::STEP_INTERFACES;
use crate::runbooks;
use crate::schema::{py_repr, py_str};

const ARGUMENTS: [&str; 8] = [
    "target",
    "configdrive",
    "clean_steps",
    "deploy_steps",
    "rescue_password",
    "disable_ramdisk",
    "service_steps",
    "runbook",
];

/// Verbs that are only refused for their version after the state was looked at.
const LATE: [&str; 2] = ["unhold", "service"];

pub async fn set(call: Call) -> Outcome {
    let args = Args::of_body(&call, &ARGUMENTS)?;
    let mut request = read(&args)?;
    let ident = call.param("ident").to_owned();
    let node = call.node().await?;
    steps_authorized(&call, &node, &request).await?;
    let verb = provision::verb(&request.target);
    if let Some(verb) = verb
        && !LATE.contains(&verb.name)
        && !call.at_least(verb.since)
    {
        return Err(ApiFault::not_acceptable());
    }
    possible(&node, verb, &request)?;
    let verb = verb.ok_or_else(|| refused_in_state(&node, &request.target))?;
    configdrive(&call, &request)?;
    by_runbook(&call, &node, &mut request).await?;
    consistent(&call, &node, verb, &request)?;
    call.conductor()
        .set_provision_state(node.id, request)
        .await?;
    Ok(Answer::accepted().at(call.url(&format!("nodes/{ident}/states"))))
}

fn read(args: &Args) -> Result<ProvisionRequest, ApiFault> {
    args.require("target")?;
    let typed = |name: &str, types: &str, fits: fn(&Value) -> bool| match args.get(name) {
        Some(value) if !fits(value) => Err(ApiFault::invalid(format!(
            "Expected types {types} for {name}: {}",
            py_str(value)
        ))),
        value => Ok(value.cloned()),
    };
    let list = |name: &str| typed(name, "<class 'NoneType'>, <class 'list'>", Value::is_array);
    Ok(ProvisionRequest {
        target: args.string("target")?.unwrap_or_else(|| "None".into()),
        configdrive: typed(
            "configdrive",
            "<class 'NoneType'>, <class 'dict'>, <class 'str'>",
            |v| v.is_object() || v.is_string(),
        )?,
        clean_steps: list("clean_steps")?,
        deploy_steps: list("deploy_steps")?,
        service_steps: list("service_steps")?,
        rescue_password: args.string("rescue_password")?,
        disable_ramdisk: args.boolean("disable_ramdisk")?,
        runbook: typed(
            "runbook",
            "<class 'NoneType'>, <class 'str'>",
            Value::is_string,
        )?
        .and_then(|v| v.as_str().map(str::to_owned))
        .filter(|ident| !ident.is_empty()),
    })
}

/// Whether the policy lets the caller give steps at all, these steps, and for these children.
async fn steps_authorized(
    call: &Call,
    node: &Node,
    request: &ProvisionRequest,
) -> Result<(), ApiFault> {
    if !call.policed() || request.runbook.is_some() {
        return Ok(());
    }
    let whose = Ownership::of(node);
    for (steps, policy) in [
        (
            &request.clean_steps,
            "baremetal:node:set_provision_state:clean_steps",
        ),
        (
            &request.service_steps,
            "baremetal:node:set_provision_state:service_steps",
        ),
        (&request.deploy_steps, ""),
    ] {
        let Some(Value::Array(steps)) = steps else {
            continue;
        };
        if !steps.is_empty() && !policy.is_empty() {
            call.authorize_on_node(policy, &whose)?;
        }
        for step in steps {
            let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
            call.authorize_step(text("interface"), text("step"), Some(&whose))?;
            let children = step
                .get("limit_child_node_execution")
                .and_then(Value::as_array);
            for child in children.into_iter().flatten().filter_map(Value::as_str) {
                let node = call.node_by_ident(child).await?;
                call.authorize_node(
                    "baremetal:node:set_provision_state",
                    child,
                    &Ownership::of(&node),
                )?;
            }
        }
    }
    Ok(())
}

fn refused_in_state(node: &Node, target: &str) -> ApiFault {
    ApiFault::invalid(format!(
        "The requested action \"{target}\" can not be performed on node \"{}\" while it is in state \"{}\".",
        node.id, node.provision_state
    ))
}

/// Whether the table of states lets the verb happen.
fn possible(node: &Node, verb: Option<&Verb>, request: &ProvisionRequest) -> Result<(), ApiFault> {
    if matches!(request.target.as_str(), "active" | "rebuild") && node.maintenance {
        return Err(ApiFault::invalid(format!(
            "The provisioning operation can't be performed on node {} because it's in maintenance mode.",
            node.id
        )));
    }
    if verb.is_some_and(|v| provision::transition(node.provision_state, v.event).is_ok()) {
        return Ok(());
    }
    // a node that is worked on says so, rather than that the verb is impossible
    Err(match &node.reservation {
        Some(holder) => ApiFault::conflict(format!(
            "Node {} is locked by host {holder}, please retry after the current operation is completed.",
            node.id
        )),
        None => refused_in_state(node, &request.target),
    })
}

/// Whether what the request says besides the verb fits the verb and the version.
fn consistent(
    call: &Call,
    node: &Node,
    verb: &Verb,
    request: &ProvisionRequest,
) -> Result<(), ApiFault> {
    let target = request.target.as_str();
    disable_ramdisk(call, request)?;
    let given = |steps: &Option<Value>| {
        steps
            .as_ref()
            .and_then(Value::as_array)
            .is_some_and(|s| !s.is_empty())
    };
    let only_for = |what: &str, verb: &str| {
        ApiFault::invalid(format!(
            "\"{what}\" is only valid when setting target provision state to {verb}"
        ))
    };
    if given(&request.clean_steps) && target != "clean" {
        return Err(only_for("clean_steps", "clean"));
    }
    if given(&request.deploy_steps) {
        if !call.at_least(69) {
            return Err(ApiFault::needs_version(69));
        }
        if !matches!(target, "active" | "rebuild") {
            return Err(only_for("deploy_steps", "active or rebuild"));
        }
    }
    if request.rescue_password.is_some() && target != "rescue" {
        return Err(only_for("rescue_password", "rescue"));
    }
    if verb.event == Event::Abort {
        let too_old = match node.provision_state {
            ProvisionState::InspectWait => !call.at_least(41),
            ProvisionState::DeployWait => !call.at_least(110),
            _ => false,
        };
        if too_old {
            return Err(ApiFault::not_acceptable());
        }
    }
    if LATE.contains(&verb.name) && !call.at_least(verb.since) {
        return Err(ApiFault::not_acceptable());
    }
    if given(&request.service_steps) && target != "service" {
        return Err(only_for("service_steps", "service"));
    }
    let api = &call.config().api;
    match verb.event {
        Event::Deploy | Event::Rebuild if given(&request.deploy_steps) => steps(
            "deploy",
            request.deploy_steps.as_ref(),
            &api.disallow_deploy_steps,
        ),
        Event::Clean => {
            if !given(&request.clean_steps) {
                return Err(ApiFault::invalid(
                    "\"clean_steps\" is required when setting target provision state to clean",
                ));
            }
            steps(
                "clean",
                request.clean_steps.as_ref(),
                &api.disallow_clean_steps,
            )
        }
        Event::Service => {
            if !given(&request.service_steps) {
                return Err(ApiFault::invalid(
                    "\"service_steps\" is required when setting target provision state to service",
                ));
            }
            steps(
                "service",
                request.service_steps.as_ref(),
                &api.disallow_service_steps,
            )
        }
        Event::Rescue
            if request
                .rescue_password
                .as_ref()
                .is_none_or(|p| p.trim().is_empty()) =>
        {
            Err(ApiFault::invalid(
                "A non-empty \"rescue_password\" is required when setting target provision state to rescue",
            ))
        }
        _ => Ok(()),
    }
}

/// Puts the steps of the runbook that the request names into it, when the node is one of those that the
/// runbook is approved for.
async fn by_runbook(
    call: &Call,
    node: &Node,
    request: &mut ProvisionRequest,
) -> Result<(), ApiFault> {
    let Some(ident) = &request.runbook else {
        return Ok(());
    };
    if !call.at_least(92) {
        return Err(ApiFault::not_acceptable());
    }
    let runbook = runbooks::found(call, ident).await?;
    call.authorize_runbook("baremetal:runbook:use", runbook.owner.as_deref())?;
    if call.at_least(runbooks::TRAITS_SINCE) {
        if runbook.traits.is_empty() {
            return Err(ApiFault::invalid(format!(
                "Runbook {} has no traits configured. Please ask an administrator to add traits to the runbook.",
                runbook.id
            )));
        }
        if !runbook.traits.iter().any(|t| node.traits.contains(t)) {
            let traits: Vec<Value> = runbook.traits.iter().map(|t| t.as_str().into()).collect();
            return Err(ApiFault::invalid(format!(
                "This runbook has not been approved for use on this node {}. The node does not have any of the runbook's traits {}. Please ask an administrator to add a matching trait to your node.",
                node.id,
                py_repr(&Value::Array(traits))
            )));
        }
    } else if !node.traits.contains(&runbook.name) {
        return Err(ApiFault::invalid(format!(
            "This runbook has not been approved for use on this node {}. Please ask an administrator to add it to your node traits.",
            node.id
        )));
    }
    let (given, name) = match request.target.as_str() {
        "clean" => (&mut request.clean_steps, "clean_steps"),
        "service" => (&mut request.service_steps, "service_steps"),
        // `disable_ramdisk` is then refused, which says enough
        _ => {
            request.disable_ramdisk = Some(runbook.disable_ramdisk);
            return Ok(());
        }
    };
    let some = |steps: &Value| steps.as_array().is_some_and(|s| !s.is_empty());
    if given.as_ref().is_some_and(some) {
        return Err(ApiFault::invalid(format!(
            "Please provide either \"{name}\" or a runbook, but not both."
        )));
    }
    // without an owner, or public, it was approved by an administrator
    if runbook.owner.is_some() && !runbook.public {
        let whose = Ownership::of(node);
        for step in &runbook.steps {
            call.authorize_step(&step.interface, &step.step, Some(&whose))?;
        }
    }
    let mut steps = runbook.steps;
    steps.sort_by_key(|step| step.order);
    *given = Some(json!(steps));
    request.disable_ramdisk = Some(runbook.disable_ramdisk);
    Ok(())
}

fn configdrive(call: &Call, request: &ProvisionRequest) -> Result<(), ApiFault> {
    let given = match &request.configdrive {
        None => return Ok(()),
        Some(Value::String(text)) if text.is_empty() => return Ok(()),
        Some(Value::Object(map)) if map.is_empty() => return Ok(()),
        Some(given) => given,
    };
    let allowed = if call.at_least(35) {
        &["active", "rebuild"][..]
    } else {
        &["active"][..]
    };
    if !allowed.contains(&request.target.as_str()) {
        return Err(ApiFault::invalid(format!(
            "Adding a config drive is only supported when setting provision state to {}",
            allowed.join(", ")
        )));
    }
    let since = |what: &str, minor: u16| {
        ApiFault::invalid(format!(
            "Providing {what} is only supported starting with API version 1.{minor}"
        ))
    };
    match given {
        Value::Object(map) => {
            for (key, value) in map {
                let fits = match key.as_str() {
                    "meta_data" | "network_data" | "vendor_data" => value.is_object(),
                    "user_data" => {
                        value.is_object()
                            || value.is_array()
                            || value.is_string()
                            || value.is_null()
                    }
                    _ => {
                        return Err(ApiFault::invalid(format!(
                            "Invalid configdrive format: Additional properties are not allowed ('{key}' was unexpected)"
                        )));
                    }
                };
                if !fits {
                    return Err(ApiFault::invalid(format!(
                        "Invalid configdrive format: {key} has the wrong type"
                    )));
                }
            }
            if !call.at_least(56) {
                return Err(since("a JSON object for configdrive", 56));
            }
            if map.contains_key("vendor_data") && !call.at_least(59) {
                return Err(since("vendor_data in configdrive", 59));
            }
        }
        Value::String(text) if !text.contains("://") => {
            let base64 = text.bytes().all(|b| {
                b.is_ascii_alphanumeric()
                    || matches!(b, b'+' | b'/' | b'=' | b'\n' | b'\r' | b'\t' | b' ')
            });
            if !base64 {
                return Err(ApiFault::invalid(
                    "Invalid configdrive format: it is neither a JSON, nor a URL, nor a base64 string",
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

fn disable_ramdisk(call: &Call, request: &ProvisionRequest) -> Result<(), ApiFault> {
    if request.disable_ramdisk.is_none() {
        return Ok(());
    }
    let since = match request.target.as_str() {
        "clean" => 70,
        "service" => 108,
        _ => {
            return Err(ApiFault::invalid(
                "disable_ramdisk is supported only with manual cleaning or servicing",
            ));
        }
    };
    if call.at_least(since) {
        return Ok(());
    }
    Err(ApiFault::new(
        StatusCode::NOT_ACCEPTABLE,
        "disable_ramdisk is not acceptable in this API version",
    ))
}

/// Checks a list of steps.
fn steps(kind: &str, steps: Option<&Value>, disallowed: &[String]) -> Result<(), ApiFault> {
    let wrong = |why: String| ApiFault::invalid(format!("Invalid {kind}_steps: {why}"));
    let deploy = kind == "deploy";
    let required: &[&str] = if deploy {
        &["interface", "step", "args", "priority"]
    } else {
        &["interface", "step"]
    };
    let known: &[&str] = if deploy {
        required
    } else {
        &[
            "interface",
            "step",
            "args",
            "order",
            "execute_on_child_nodes",
            "limit_child_node_execution",
        ]
    };
    for step in steps.and_then(Value::as_array).into_iter().flatten() {
        let Value::Object(map) = step else {
            return Err(wrong(format!("{} is not of type 'object'", py_repr(step))));
        };
        if let Some(extra) = map.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(wrong(format!(
                "Additional properties are not allowed ('{extra}' was unexpected)"
            )));
        }
        if let Some(missing) = required.iter().find(|k| !map.contains_key(**k)) {
            return Err(wrong(format!("'{missing}' is a required property")));
        }
        for (key, value) in map {
            step_member(key, value).map_err(&wrong)?;
        }
        let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
        let id = format!("{}.{}", text("interface"), text("step"));
        if disallowed.contains(&id) {
            return Err(ApiFault::invalid(format!(
                "{kind} step '{id}' is not allowed. Disallowed by operator configuration [api]disallow_{kind}_steps."
            )));
        }
    }
    Ok(())
}

fn step_member(key: &str, value: &Value) -> Result<(), String> {
    let shown = py_repr(value);
    let typed = |fits: bool, name: &str| {
        if fits {
            Ok(())
        } else {
            Err(format!("{shown} is not of type '{name}'"))
        }
    };
    match key {
        "interface" => {
            if value.as_str().is_some_and(|i| STEP_INTERFACES.contains(&i)) {
                Ok(())
            } else {
                let all: Vec<String> = STEP_INTERFACES.iter().map(|i| format!("'{i}'")).collect();
                Err(format!("{shown} is not one of [{}]", all.join(", ")))
            }
        }
        "step" => match value.as_str() {
            Some("") => Err(format!("{shown} should be non-empty")),
            found => typed(found.is_some(), "string"),
        },
        "args" => typed(value.is_object(), "object"),
        "order" | "priority" => {
            let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            if value.as_u64().is_some() || value.as_str().is_some_and(digits) {
                Ok(())
            } else {
                Err(format!(
                    "{shown} is not valid under any of the given schemas"
                ))
            }
        }
        "execute_on_child_nodes" => typed(value.is_boolean(), "boolean"),
        "limit_child_node_execution" => {
            typed(value.is_array(), "array")?;
            let all_ids = value
                .as_array()
                .into_iter()
                .flatten()
                .all(|v| v.as_str().is_some_and(|t| t.parse::<NodeId>().is_ok()));
            if all_ids {
                Ok(())
            } else {
                Err("limit_child_node_execution is a list of node UUIDs".into())
            }
        }
        _ => Ok(()),
    }
}
