//! From a request to a stored intent: the checks that need no device and no network, then one write that
//! opens the operation and makes the state transition.

use std::sync::Arc;

use bessemer_drivers::{BootParams, RamdiskKind};
use bessemer_model::notification::{Notice, Status};
use bessemer_model::provision::{StateKind, transition, verb};
use bessemer_model::{
    Class, Event, Fault, FaultKind, Node, NodeId, OperationId, PowerState, PowerTarget,
    ProvisionState, Timestamp,
};
use bessemer_store::{
    NewOperation, NodeChange, Requester, SignalKind, StoreError, TimelineEvent, TimelineSource,
};
use serde_json::{Value, json};

use crate::context::apply_event;
use crate::engine::Shared;
use crate::flow::{self, Flow};
use crate::settings::LesseeSource;
use crate::steps::{StepKind, UserStep};
use crate::{config_drive, error_text, rescue_password, steps};

/// A request to change the provision state, checked for shape by the API.
#[derive(Clone, Default)]
pub struct Provision {
    pub target: String,
    pub configdrive: Option<Value>,
    pub clean_steps: Option<Value>,
    pub deploy_steps: Option<Value>,
    pub service_steps: Option<Value>,
    /// For `clean` and `service`.
    pub disable_ramdisk: bool,
    /// In the clear; kept only as its hash.
    pub rescue_password: Option<String>,
}

async fn node(shared: &Shared, id: NodeId) -> Result<Node, Fault> {
    shared
        .store
        .get_node(id)
        .await
        .map_err(|e| error_text::store(&e))?
        .ok_or_else(|| Fault::not_found(format!("Node {id} could not be found.")))
}

pub(crate) fn api_event(text: String) -> Vec<TimelineEvent> {
    vec![TimelineEvent {
        at: Timestamp::now(),
        source: TimelineSource::Api,
        text,
        data: None,
    }]
}

pub(crate) async fn submit(
    shared: &Shared,
    node: &Node,
    flow: &Flow,
    args: Value,
    asked: &str,
    change: NodeChange,
) -> Result<(), Fault> {
    try_submit(shared, node, flow, args, asked, change)
        .await
        .map_err(|e| error_text::store(&e))
}

pub(crate) async fn try_submit(
    shared: &Shared,
    node: &Node,
    flow: &Flow,
    args: Value,
    asked: &str,
    change: NodeChange,
) -> Result<(), StoreError> {
    let operation = NewOperation {
        id: OperationId::random(),
        flow: flow.name.to_owned(),
        flow_version: flow.version,
        phase: flow.first().name().to_owned(),
        args,
        data: json!({}),
    };
    shared
        .store
        .submit(
            node.id,
            operation,
            change,
            api_event(format!("{asked} requested")),
        )
        .await?;
    shared.wake.notify_one();
    Ok(())
}

/// `PUT /v1/nodes/{ident}/states/provision`.
///
/// # Errors
/// 400 for a verb that the state does not allow or a request that cannot work, 403 protected, 409 locked,
/// 503 too many at once.
pub async fn provision(shared: &Shared, id: NodeId, request: Provision) -> Result<(), Fault> {
    let node = node(shared, id).await?;
    let verb = verb(&request.target).ok_or_else(|| {
        Fault::invalid(format!(
            "The requested action \"{}\" could not be understood.",
            request.target
        ))
    })?;
    let event = verb.event;
    transition(node.provision_state, event).map_err(|refused| {
        Fault::new(
            FaultKind::InvalidState,
            Class::Never,
            format!("{} (node {})", refused, node.id),
        )
    })?;
    match event {
        Event::Abort if node.provision_state == ProvisionState::ServiceFailed => {
            end_service(shared, &node).await
        }
        Event::Abort => abort(shared, &node, None).await,
        Event::Unhold => unhold(shared, &node).await,
        Event::Adopt => adopt(shared, &node).await,
        Event::Inspect => inspect(shared, &node).await,
        Event::Rescue => rescue(shared, &node, request).await,
        Event::Unrescue => unrescue(shared, &node).await,
        Event::Service => service(shared, &node, request).await,
        Event::Manage => manage(shared, &node).await,
        Event::Provide => provide(shared, &node).await,
        Event::Clean => clean(shared, &node, request).await,
        Event::Deploy | Event::Rebuild => deploy(shared, &node, event, request).await,
        Event::Delete => delete(shared, &node).await,
        other => Err(Fault::unsupported(format!(
            "The action \"{other}\" is not supported by this version for node {} (driver {}).",
            node.label(),
            node.driver
        ))),
    }
}

async fn manage(shared: &Shared, node: &Node) -> Result<(), Fault> {
    if node.provision_state == ProvisionState::Enroll {
        let hardware = shared.drivers.hardware(node)?;
        hardware.power.validate(&shared.environment, node)?;
        return submit(
            shared,
            node,
            known("manage")?,
            json!({}),
            "manage",
            to(Event::Manage),
        )
        .await;
    }
    // Nothing to do on the hardware: only the state changes. What went wrong before stays to be read.
    let change: NodeChange = Arc::new(|node: &mut Node| apply_event(node, Event::Manage));
    shared
        .store
        .update_node(
            node.id,
            None,
            false,
            change,
            api_event("manage requested".into()),
        )
        .await
        .map_err(|e| error_text::store(&e))?;
    Ok(())
}

/// The transition, with the last error forgotten.
fn to(event: Event) -> NodeChange {
    Arc::new(move |node: &mut Node| {
        apply_event(node, event)?;
        node.last_error = None;
        Ok(())
    })
}

pub(crate) fn known(name: &str) -> Result<&'static Flow, Fault> {
    flow::by_name(name).ok_or_else(|| Fault::internal(format!("there is no flow {name}")))
}

fn in_maintenance(node: &Node, what: &str) -> Fault {
    Fault::new(
        FaultKind::Invalid,
        Class::Never,
        format!(
            "The {what} operation can't be performed on node {} because it's in maintenance mode.",
            node.id
        ),
    )
}

/// 503 when so many operations of these flows are open already, of the node's conductor group where that is what the
/// settings limit.
async fn below_cap(
    shared: &Shared,
    node: &Node,
    flows: &[&str],
    cap: u64,
    option: &str,
) -> Result<(), Fault> {
    let by_group = shared.settings.max_concurrent_per_conductor_group;
    let open = shared
        .store
        .count_open_operations(flows, by_group.then_some(node.conductor_group.as_str()))
        .await
        .map_err(|e| error_text::store(&e))?;
    if open < cap {
        return Ok(());
    }
    let of_group = if by_group {
        format!(" of conductor group \"{}\"", node.conductor_group)
    } else {
        String::new()
    };
    Err(Fault::new(
        FaultKind::Busy,
        Class::RetryLater,
        format!(
            "{open} such operations{of_group} run already and [conductor] {option} is {cap}; try again later."
        ),
    ))
}

async fn provide(shared: &Shared, node: &Node) -> Result<(), Fault> {
    if node.retired {
        return Err(Fault::invalid(format!(
            "Node {} is retired and cannot be made available.",
            node.id
        )));
    }
    if node.maintenance && !shared.settings.allow_provisioning_in_maintenance {
        return Err(in_maintenance(node, "provide"));
    }
    below_cap(
        shared,
        node,
        &["clean", "unprovision"],
        shared.settings.max_concurrent_clean,
        "max_concurrent_clean",
    )
    .await?;
    submit(
        shared,
        node,
        known("clean")?,
        json!({}),
        "provide",
        to(Event::Provide),
    )
    .await
}

async fn clean(shared: &Shared, node: &Node, request: Provision) -> Result<(), Fault> {
    if node.maintenance {
        return Err(in_maintenance(node, "clean"));
    }
    let Some(list) = request.clean_steps else {
        return Err(Fault::invalid(
            "clean_steps is required when setting target provision state to clean.",
        ));
    };
    steps::check_shape(&list)?;
    let hardware = shared.drivers.hardware(node)?;
    hardware.power.validate(&shared.environment, node)?;
    below_cap(
        shared,
        node,
        &["clean", "unprovision"],
        shared.settings.max_concurrent_clean,
        "max_concurrent_clean",
    )
    .await?;
    submit(
        shared,
        node,
        known("clean")?,
        json!({"clean_steps": list, "disable_ramdisk": request.disable_ramdisk}),
        "clean",
        to(Event::Clean),
    )
    .await
}

async fn service(shared: &Shared, node: &Node, request: Provision) -> Result<(), Fault> {
    if node.maintenance {
        return Err(in_maintenance(node, "service"));
    }
    let Some(list) = request.service_steps else {
        return Err(Fault::invalid(
            "service_steps is required when setting target provision state to service.",
        ));
    };
    if node.provision_state == ProvisionState::ServiceHold {
        return Err(Fault::conflict(format!(
            "Node {} is held in the middle of a service, whose steps are not all done; `unhold` goes on with them, `abort` ends it, and then it can be serviced anew.",
            node.label()
        )));
    }
    steps::check_shape(&list)?;
    let hardware = shared.drivers.hardware(node)?;
    hardware.power.validate(&shared.environment, node)?;
    submit(
        shared,
        node,
        known("service")?,
        json!({"service_steps": list, "disable_ramdisk": request.disable_ramdisk}),
        "service",
        to(Event::Service),
    )
    .await
}

/// `abort` of a service that failed: the instance comes back, the failure stays in the history.
async fn end_service(shared: &Shared, node: &Node) -> Result<(), Fault> {
    if node.maintenance {
        return Err(Fault::conflict(format!(
            "Can not abort service on node \"{}\" while it is in maintenance mode. Please remove the node from maintenance prior to issuing the request to abort the service operation.",
            node.id
        )));
    }
    let without = node
        .driver_internal_info
        .get(flow::WITHOUT_RAMDISK)
        .is_some_and(|v| v == &Value::Bool(true));
    let aborted = format!(
        "The service of node {} was aborted by the operator.",
        node.label()
    );
    if !without {
        let change: NodeChange = Arc::new(move |node: &mut Node| {
            apply_event(node, Event::Abort)?;
            node.last_error = Some(aborted.clone());
            Ok(())
        });
        return submit(
            shared,
            node,
            known("unservice")?,
            json!({}),
            "abort",
            change,
        )
        .await;
    }
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        apply_event(node, Event::Abort)?;
        node.last_error = Some(aborted.clone());
        node.driver_internal_info.remove(flow::WITHOUT_RAMDISK);
        Ok(())
    });
    shared
        .store
        .update_node(
            node.id,
            None,
            false,
            change,
            api_event("abort requested".into()),
        )
        .await
        .map_err(|e| error_text::store(&e))?;
    Ok(())
}

async fn inspect(shared: &Shared, node: &Node) -> Result<(), Fault> {
    let hardware = shared.drivers.hardware(node)?;
    let env = &shared.environment;
    hardware.power.validate(env, node)?;
    hardware.validate_inspection(env, node)?;
    let change: NodeChange = Arc::new(|node: &mut Node| {
        apply_event(node, Event::Inspect)?;
        node.last_error = None;
        Ok(())
    });
    submit(
        shared,
        node,
        known("inspect")?,
        json!({}),
        "inspect",
        change,
    )
    .await
}

/// The password is kept only as its hash, in `instance_info`, until the ramdisk has it.
async fn rescue(shared: &Shared, node: &Node, request: Provision) -> Result<(), Fault> {
    if node.maintenance {
        return Err(in_maintenance(node, "rescue"));
    }
    let password = request
        .rescue_password
        .filter(|p| !p.trim().is_empty())
        .ok_or_else(|| {
            Fault::invalid("A rescue_password that is not empty is required to rescue a node.")
        })?;
    let hash = rescue_password::hash(&password, shared.settings.rescue_password_sha512)?;
    let hardware = shared.drivers.hardware(node)?;
    let env = &shared.environment;
    let mut checked = node.clone();
    checked
        .instance_info
        .insert("rescue_password".into(), json!(hash));
    hardware.power.validate(env, node)?;
    hardware.rescue.validate(env, &checked)?;
    if hardware.rescue.uses_agent() {
        hardware.boot.ramdisk(
            env,
            node,
            &BootParams {
                ramdisk: RamdiskKind::Rescue,
                ..BootParams::default()
            },
        )?;
    }
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        apply_event(node, Event::Rescue)?;
        node.last_error = None;
        node.instance_info
            .insert("rescue_password".into(), json!(hash));
        node.instance_info
            .insert("hashed_rescue_password".into(), json!(hash));
        Ok(())
    });
    submit(shared, node, known("rescue")?, json!({}), "rescue", change).await
}

async fn unrescue(shared: &Shared, node: &Node) -> Result<(), Fault> {
    if node.maintenance {
        return Err(in_maintenance(node, "unrescue"));
    }
    let hardware = shared.drivers.hardware(node)?;
    hardware.power.validate(&shared.environment, node)?;
    submit(
        shared,
        node,
        known("unrescue")?,
        json!({}),
        "unrescue",
        to(Event::Unrescue),
    )
    .await
}

async fn adopt(shared: &Shared, node: &Node) -> Result<(), Fault> {
    let hardware = shared.drivers.hardware(node)?;
    hardware.power.validate(&shared.environment, node)?;
    submit(
        shared,
        node,
        known("adopt")?,
        json!({}),
        "adopt",
        to(Event::Adopt),
    )
    .await
}

/// Out of the hold state with the signal that the held step waits for, in one write.
async fn unhold(shared: &Shared, node: &Node) -> Result<(), Fault> {
    let open = shared
        .store
        .signal(
            node.id,
            SignalKind::Unhold,
            Value::Null,
            Some(to(Event::Unhold)),
            api_event("unhold requested".into()),
        )
        .await
        .map_err(|e| error_text::store(&e))?;
    if !open {
        return Err(Fault::conflict(format!(
            "Node {} has no operation that is held.",
            node.id
        )));
    }
    shared.wake.notify_one();
    Ok(())
}

async fn deploy(
    shared: &Shared,
    node: &Node,
    event: Event,
    request: Provision,
) -> Result<(), Fault> {
    let what = if event == Event::Rebuild {
        "rebuild"
    } else {
        "deploy"
    };
    if node.maintenance {
        return Err(in_maintenance(node, "provisioning"));
    }
    if event == Event::Rebuild && node.protected {
        return Err(protected(node));
    }
    let hardware = shared.drivers.hardware(node)?;
    let validation = |fault: Fault| Fault {
        text: format!(
            "Failed to validate deploy or power info for node {}: {}",
            node.id, fault.text
        ),
        ..fault
    };
    hardware
        .power
        .validate(&shared.environment, node)
        .map_err(validation)?;
    hardware
        .deploy
        .validate(&shared.environment, node)
        .map_err(validation)?;
    if hardware.deploy.uses_agent() {
        hardware
            .boot
            .validate(&shared.environment, node)
            .map_err(validation)?;
    }
    let foreign: Vec<&str> = node
        .instance_info
        .get("traits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|t| !node.traits.iter().any(|own| own == t))
        .collect();
    if !foreign.is_empty() {
        return Err(Fault::invalid(format!(
            "Cannot specify instance traits that are not also set on the node. Node {} is missing traits {}.",
            node.id,
            foreign.join(", ")
        )));
    }
    let templates = templates(shared, node).await?;
    let asked = steps::with_templates(request.deploy_steps.as_ref(), &templates)?;
    steps::check_deploy(&asked, &flow::driver_steps(&hardware, StepKind::Deploy))
        .map_err(validation)?;
    let drive = request
        .configdrive
        .as_ref()
        .map(|given| config_drive::accept(given, node))
        .transpose()?;
    below_cap(
        shared,
        node,
        &["deploy"],
        shared.settings.max_concurrent_deploy,
        "max_concurrent_deploy",
    )
    .await?;
    let lessee = automatic_lessee(shared, node);
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        apply_event(node, event)?;
        node.last_error = None;
        if let (None, Some(project)) = (&node.lessee, &lessee) {
            node.lessee = Some(project.clone());
            node.driver_internal_info
                .insert(AUTOMATIC_LESSEE.into(), json!(true));
        }
        note_image_type(node);
        if let Some(drive) = &drive {
            node.instance_info
                .insert("configdrive".into(), json!(drive));
        }
        Ok(())
    });
    submit(
        shared,
        node,
        known("deploy")?,
        json!({"deploy_steps": request.deploy_steps}),
        what,
        change,
    )
    .await
}

/// Member of `driver_internal_info`: the lessee came with the deploy and goes with the instance.
pub(crate) const AUTOMATIC_LESSEE: &str = "automatic_lessee";

/// Who becomes the lessee of a node that is deployed and has none.
fn automatic_lessee(shared: &Shared, node: &Node) -> Option<String> {
    match shared.settings.automatic_lessee {
        LesseeSource::None => None,
        LesseeSource::Request => Requester::present()?.project_id,
        LesseeSource::Instance => node
            .instance_info
            .get("project_id")?
            .as_str()
            .filter(|project| !project.is_empty() && project.len() <= 255)
            .map(str::to_owned),
    }
}

/// What kind of image it is shows in `instance_info` from the request on, whoever said it: without a word of the
/// client's a kernel or a ramdisk makes it that of a partition.
fn note_image_type(node: &mut Node) {
    let info = &mut node.instance_info;
    let given = |key: &str| match info.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(value) => Some(value),
    };
    if given("image_source").is_none() {
        return;
    }
    let partition = match given("image_type") {
        Some(kind) => kind == "partition",
        None => given("kernel").is_some() || given("ramdisk").is_some(),
    };
    let kind = if partition { "partition" } else { "whole-disk" };
    info.insert("image_type".into(), json!(kind));
}

/// The steps of the deploy templates that the node's instance traits name.
///
/// # Errors
/// The store's.
pub(crate) async fn templates(
    shared: &Shared,
    node: &Node,
) -> Result<Vec<(String, Vec<UserStep>)>, Fault> {
    let traits: Vec<String> = node
        .instance_info
        .get("traits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|t| t.as_str().map(str::to_owned))
        .collect();
    let found = shared
        .store
        .deploy_templates_by_names(&traits)
        .await
        .map_err(|e| error_text::store(&e))?;
    Ok(found
        .into_iter()
        .map(|t| (t.name, t.steps.iter().map(UserStep::of_template).collect()))
        .collect())
}

fn protected(node: &Node) -> Fault {
    Fault::new(
        FaultKind::NotPermitted,
        Class::Never,
        format!(
            "Node {} is protected and cannot be undeployed, rebuilt or deleted",
            node.id
        ),
    )
}

async fn delete(shared: &Shared, node: &Node) -> Result<(), Fault> {
    if node.protected {
        return Err(protected(node));
    }
    let hardware = shared.drivers.hardware(node)?;
    hardware.power.validate(&shared.environment, node)?;
    if node.provision_state.kind() == StateKind::Wait {
        // An operation waits: it is ended first and goes on as the tear-down.
        return abort(shared, node, Some("unprovision")).await;
    }
    below_cap(
        shared,
        node,
        &["clean", "unprovision"],
        shared.settings.max_concurrent_clean,
        "max_concurrent_clean",
    )
    .await?;
    submit(
        shared,
        node,
        known("unprovision")?,
        json!({}),
        "undeploy",
        to(Event::Delete),
    )
    .await
}

/// A stored signal; the operation sees it at its next claim, at once when it waits.
async fn abort(shared: &Shared, node: &Node, then: Option<&str>) -> Result<(), Fault> {
    let asked = if then.is_some() { "undeploy" } else { "abort" };
    let open = shared
        .store
        .signal(
            node.id,
            SignalKind::Abort,
            json!({"then": then}),
            None,
            api_event(format!("{asked} requested")),
        )
        .await
        .map_err(|e| error_text::store(&e))?;
    if !open {
        return Err(Fault::conflict(format!(
            "Node {} has no operation that could be aborted.",
            node.id
        )));
    }
    shared.wake.notify_one();
    Ok(())
}

/// `PUT /v1/nodes/{ident}/states/power`.
///
/// # Errors
/// 400 unsupported, 409 locked or power off disabled.
pub async fn power(
    shared: &Shared,
    id: NodeId,
    target: PowerTarget,
    timeout: Option<u64>,
) -> Result<(), Fault> {
    let node = node(shared, id).await?;
    let hardware = shared.drivers.hardware(&node)?;
    hardware.power.validate(&shared.environment, &node)?;
    if !hardware.power.supported().contains(&target) {
        return Err(Fault::unsupported(format!(
            "Driver {} does not support {} on node {}.",
            node.driver,
            target.as_str(),
            node.label()
        )));
    }
    let restarts = target == PowerTarget::Reboot && hardware.power.can_reset();
    if node.disable_power_off && target != PowerTarget::On && !restarts {
        return Err(Fault::conflict(format!(
            "Node {} has disable_power_off set: {} would switch it off.",
            node.label(),
            target.as_str()
        )));
    }
    let ends_in = target.ends_in();
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        node.target_power_state = Some(ends_in);
        node.last_error = None;
        node.notice(power_set(target));
        Ok(())
    });
    let args = json!({"target": target.as_str(), "timeout": timeout});
    submit(
        shared,
        &node,
        known("power")?,
        args,
        target.as_str(),
        change,
    )
    .await
}

/// That a power change begins.
pub(crate) fn power_set(to: PowerTarget) -> Notice {
    Notice::PowerSet {
        status: Status::Start,
        to,
    }
}

/// A correction by power sync: the hardware shall be as the node's row says.
///
/// # Errors
/// `Locked` when an operation is open.
pub(crate) async fn correct_power(
    shared: &Shared,
    node: &Node,
    wanted: PowerState,
) -> Result<(), Fault> {
    let target = if wanted == PowerState::On {
        PowerTarget::On
    } else {
        PowerTarget::Off
    };
    let change: NodeChange = Arc::new(move |node: &mut Node| {
        node.target_power_state = Some(wanted);
        node.notice(power_set(target));
        Ok(())
    });
    submit(
        shared,
        node,
        known("power")?,
        json!({"target": target.as_str()}),
        "power sync: correction",
        change,
    )
    .await
}
