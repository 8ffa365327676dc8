//! RAID over Redfish (schema Volume): volumes are deleted and made one after the other, each looked for before it is made.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_model::{Class, Fault, InterfaceKind, Node, Object, Timestamp};
use bessemer_redfish::{Answer, Client, Error, Storage, System, TaskState, Volume};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::redfish_plan::{Drive, Planned, level_of, plan};
use super::schema;
use crate::interface::{
    DriverStep, Effects, Environment, Interface, Property, RaidInterface, StepCall, StepResult,
    StepRun, step,
};
use crate::redfish::{REDFISH_PROPERTIES, Trouble};

pub struct RedfishRaid {
    idrac: bool,
}

impl RedfishRaid {
    /// `redfish`
    pub const PLAIN: Self = Self { idrac: false };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self { idrac: true };
}

/// After a volume that is there at once.
const SOON: Duration = Duration::from_secs(1);
const GIB: f64 = 1_073_741_824.0;

/// A volume as it is kept between calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Make {
    /// Id of the storage.
    storage: String,
    drives: BTreeSet<String>,
    body: Value,
}

/// How far the step is. A stored format.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Paths of volumes to delete.
    delete: Vec<String>,
    /// What is to be made, once it was worked out: after the deletions.
    make: Option<Vec<Make>>,
    /// Monitor of the task that runs.
    task: Option<String>,
    /// Monitors of tasks that end with a restart.
    after_restart: Vec<String>,
    restarted: bool,
}

fn flag(args: &Object, key: &str, default: bool) -> Result<bool, Fault> {
    match args.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(Fault::invalid(format!(
            "{key} is true or false, not {other}."
        ))),
    }
}

/// What a step is to do.
struct Job {
    /// The configuration; `None`: only delete.
    config: Option<Value>,
    delete: bool,
    roots: bool,
    others: bool,
}

impl Job {
    fn read(node: &Node, call: StepCall<'_>) -> Result<Self, Fault> {
        let args = call.args;
        match call.step {
            "delete_configuration" => Ok(Self {
                config: None,
                delete: true,
                roots: false,
                others: false,
            }),
            "create_configuration" => {
                let config = Value::Object(node.target_raid_config.clone());
                if node.target_raid_config.is_empty() {
                    return Err(Fault::invalid(format!(
                        "Node {} has no target_raid_config; set it with `openstack baremetal node set --target-raid-config`.",
                        node.label()
                    )));
                }
                Ok(Self {
                    config: Some(config),
                    delete: flag(args, "delete_existing", false)?,
                    roots: flag(args, "create_root_volume", true)?,
                    others: flag(args, "create_nonroot_volumes", true)?,
                })
            }
            _ => Ok(Self {
                config: Some(args.get("raid_config").cloned().unwrap_or_default()),
                delete: flag(args, "delete_existing", false)?,
                roots: flag(args, "create_root_volume", true)?,
                others: flag(args, "create_nonroot_volumes", false)?,
            }),
        }
    }

    /// Logical disks that are asked for.
    fn disks(&self) -> Result<Vec<&Value>, Fault> {
        let Some(config) = &self.config else {
            return Ok(Vec::new());
        };
        check(config)?;
        Ok(config
            .get("logical_disks")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|d| {
                let root = d.get("is_root_volume") == Some(&Value::Bool(true));
                if root { self.roots } else { self.others }
            })
            .collect())
    }
}

/// As everywhere, and without SCSI, which Redfish does not know.
fn check(config: &Value) -> Result<(), Fault> {
    schema::check(config)?;
    let scsi = config
        .get("logical_disks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|d| d.get("interface_type").and_then(Value::as_str) == Some("scsi"));
    if scsi {
        return Err(Fault::invalid(
            "interface type `scsi` not supported by Redfish RAID",
        ));
    }
    Ok(())
}

/// Storage that can make volumes: a controller that lists no level at all cannot.
async fn raid_storage(client: &Client, system: &System) -> Result<Vec<Storage>, Error> {
    let mut all = client.storage(system).await?;
    all.retain(|s| s.raid_types().is_none_or(|types| !types.is_empty()));
    Ok(all)
}

fn drives(storage: &[Storage]) -> Vec<Drive> {
    storage
        .iter()
        .flat_map(|s| s.drives.iter().map(move |d| (s, d)))
        .map(|(s, d)| Drive {
            id: d.id().to_owned(),
            storage: s.resource.id().to_owned(),
            bytes: d
                .integer(&["CapacityBytes"])
                .and_then(|b| u64::try_from(b).ok())
                .unwrap_or(0),
            media: d.text(&["MediaType"]).map(str::to_owned),
            protocol: d.text(&["Protocol"]).map(str::to_owned),
        })
        .collect()
}

/// The request for a volume.
fn make(planned: &Planned, storage: &[Storage]) -> Result<Make, Fault> {
    let of = storage
        .iter()
        .find(|s| s.resource.id() == planned.storage)
        .ok_or_else(|| {
            Fault::invalid(format!(
                "There is no storage {} that can make volumes; there is {}.",
                planned.storage,
                storage
                    .iter()
                    .map(|s| s.resource.id())
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
        })?;
    let links: Vec<Value> = of
        .drives
        .iter()
        .filter(|d| planned.drives.iter().any(|id| id == d.id()))
        .map(|d| json!({"@odata.id": d.path()}))
        .collect();
    let mut body = json!({"RAIDType": planned.raid_type, "Links": {"Drives": links}});
    if let Some(bytes) = planned.bytes {
        body["CapacityBytes"] = json!(bytes);
    }
    if let Some(name) = &planned.name {
        body["Name"] = json!(name);
    }
    Ok(Make {
        storage: planned.storage.clone(),
        // volumes that share drives are told apart by nothing but their making
        drives: if planned.shares {
            BTreeSet::new()
        } else {
            links
                .iter()
                .filter_map(|l| l.get("@odata.id")?.as_str().map(str::to_owned))
                .collect()
        },
        body,
    })
}

/// Whether exactly these drives make a volume already.
fn is_there(make: &Make, volumes: &[Volume]) -> bool {
    !make.drives.is_empty()
        && volumes.iter().any(|v| {
            let mine: BTreeSet<String> =
                v.0.links(&["Links", "Drives"])
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
            mine == make.drives
        })
}

/// At once where the BMC can, else with the next start; true for the latter.
async fn apply_time(client: &Client, storage: &Storage) -> Result<Option<&'static str>, Error> {
    let Some(link) = storage.resource.link(&["Volumes"]) else {
        return Ok(None);
    };
    let collection = client.get(link).await?;
    let times = collection.list(&["@Redfish.OperationApplyTimeSupport", "SupportedValues"]);
    Ok(["Immediate", "OnReset"]
        .into_iter()
        .find(|t| times.iter().any(|v| v == t)))
}

/// `raid_config` as it is now.
async fn raid_config(client: &Client, system: &System) -> Result<Object, Error> {
    let mut disks = Vec::new();
    for storage in raid_storage(client, system).await? {
        for volume in client.volumes(&storage).await? {
            let Some(level) = volume.raid_type().and_then(level_of) else {
                continue;
            };
            let bytes = volume.0.number(&["CapacityBytes"]).unwrap_or_default();
            disks.push(json!({
                "id": volume.0.id(),
                "name": volume.0.at(&["Name"]),
                "controller": storage.resource.id(),
                "size_gb": (bytes / GIB) as i64,
                "raid_level": level,
            }));
        }
    }
    let mut config = Object::new();
    config.insert("logical_disks".into(), Value::Array(disks));
    config.insert("last_updated".into(), json!(Timestamp::now().to_string()));
    Ok(config)
}

impl RedfishRaid {
    async fn step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        let job = Job::read(node, call)?;
        let state: Option<State> = call
            .state
            .map(|s| serde_json::from_value(s.clone()))
            .transpose()
            .map_err(|e| {
                Fault::internal(format!("the state of a RAID step cannot be read: {e}"))
            })?;
        let interval = env.redfish.settings().raid_config_status_interval;
        env.redfish
            .on_system(node, |client, system| async move {
                go_on(&client, &system, &job, state, interval).await
            })
            .await
    }
}

async fn go_on(
    client: &Client,
    system: &System,
    job: &Job,
    state: Option<State>,
    interval: Duration,
) -> Result<StepResult, Trouble> {
    let disks = job.disks()?;
    let storage = raid_storage(client, system).await?;
    let mut state = match state {
        Some(state) => state,
        None => {
            let mut fresh = State::default();
            if job.delete {
                for one in &storage {
                    let volumes = client.volumes(one).await?;
                    let real = volumes.iter().filter(|v| !v.is_raw());
                    fresh.delete.extend(real.map(|v| v.0.path().to_owned()));
                }
            }
            // refused before anything is deleted
            plan(&disks, &drives(&storage))?;
            fresh
        }
    };
    let wait = |what: &str, after: Duration, state: &State| {
        Ok::<_, Trouble>(StepResult::Wait {
            what: what.to_owned(),
            after,
            state: serde_json::to_value(state).unwrap_or_default(),
        })
    };
    if let Some(task) = state.task.clone() {
        if is_running(client, &task).await? {
            return wait("the BMC's work on a volume", interval, &state);
        }
        state.task = None;
    }
    while let Some(path) = state.delete.first().cloned() {
        let answer = match client.delete(&path).await {
            Ok(answer) => Some(answer),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error.into()),
        };
        state.delete.remove(0);
        if let Some(task) = answer.as_ref().and_then(Answer::monitor) {
            state.task = Some(task.to_owned());
            return wait("the deletion of a volume", interval.min(5 * SOON), &state);
        }
    }
    if state.make.is_none() {
        let planned = plan(&disks, &drives(&storage))?;
        let all = planned
            .iter()
            .map(|p| make(p, &storage))
            .collect::<Result<Vec<_>, _>>()?;
        state.make = Some(all);
    }
    let mut rest = state.make.clone().unwrap_or_default();
    while let Some(next) = rest.first().cloned() {
        let of = storage
            .iter()
            .find(|s| s.resource.id() == next.storage)
            .ok_or_else(|| {
                Fault::hardware(
                    Class::Never,
                    format!("storage {} is gone from the BMC's list", next.storage),
                )
            })?;
        rest.remove(0);
        state.make = Some(rest.clone());
        if is_there(&next, &client.volumes(of).await?) {
            continue;
        }
        let time = apply_time(client, of).await?;
        let mut body = next.body.clone();
        if let Some(time) = time {
            body["@Redfish.OperationApplyTime"] = json!(time);
        }
        let answer = client.create_volume(of, &body).await?;
        match (answer.monitor(), time) {
            (Some(task), Some("OnReset")) => state.after_restart.push(task.to_owned()),
            (Some(task), _) => state.task = Some(task.to_owned()),
            (None, _) => {}
        }
        // One volume a call: what was made is then saved before the next is begun.
        let after = if state.task.is_some() {
            interval.min(5 * SOON)
        } else {
            SOON
        };
        return wait("a volume", after, &state);
    }
    if !state.after_restart.is_empty() && !state.restarted {
        state.restarted = true;
        return Ok(StepResult::Reboot {
            what: "the volumes to be made".into(),
            state: serde_json::to_value(&state).unwrap_or_default(),
        });
    }
    while let Some(task) = state.after_restart.first().cloned() {
        if is_running(client, &task).await? {
            return wait("the BMC's work on a volume", interval, &state);
        }
        state.after_restart.remove(0);
    }
    Ok(StepResult::with(Effects {
        raid_config: Some(raid_config(client, system).await?),
        ..Effects::default()
    }))
}

async fn is_running(client: &Client, task: &str) -> Result<bool, Trouble> {
    match client.task(task).await? {
        TaskState::Running { .. } => Ok(true),
        TaskState::Done | TaskState::Gone => Ok(false),
        TaskState::Failed(why) => Err(Error::TaskFailed {
            address: client.address().to_owned(),
            operation: "change volumes".into(),
            why,
        }
        .into()),
    }
}

fn of(name: &str) -> DriverStep {
    step(name, "raid", 0, StepRun::OutOfBand)
}

fn create() -> DriverStep {
    of("create_configuration")
        .arg(
            "create_root_volume",
            false,
            "Whether to make the root volume; true when absent.",
        )
        .arg(
            "create_nonroot_volumes",
            false,
            "Whether to make the other volumes; true when absent.",
        )
        .arg(
            "delete_existing",
            false,
            "Whether to delete what there is first; false when absent.",
        )
}

fn apply() -> DriverStep {
    of("apply_configuration")
        .arg("raid_config", true, "The RAID configuration to make.")
        .arg(
            "create_root_volume",
            false,
            "Whether to make the root volume; true when absent.",
        )
        .arg(
            "create_nonroot_volumes",
            false,
            "Whether to make the other volumes; false when absent.",
        )
        .arg(
            "delete_existing",
            false,
            "Whether to delete what there is first; false when absent.",
        )
}

#[async_trait]
impl Interface for RedfishRaid {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Raid
    }

    fn name(&self) -> &'static str {
        if self.idrac {
            "idrac-redfish"
        } else {
            "redfish"
        }
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)?;
        schema::check_target(node)
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        let list = [create(), of("delete_configuration")];
        let with = |s: DriverStep| {
            let s = s.not_abortable();
            if self.idrac { s } else { s.with_ramdisk() }
        };
        list.into_iter().map(with).collect()
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![apply(), of("delete_configuration")]
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        let mut all = vec![apply().not_abortable().with_ramdisk()];
        if !self.idrac {
            all.push(of("delete_configuration").not_abortable().with_ramdisk());
        }
        all
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        match call.step {
            "create_configuration" | "delete_configuration" | "apply_configuration" => {
                self.step(env, node, call).await
            }
            other => Err(Fault::unsupported(format!(
                "raid interface {} has no step {other} (node {}).",
                self.name(),
                node.label()
            ))),
        }
    }
}

impl RaidInterface for RedfishRaid {
    fn validate_raid_config(
        &self,
        _env: &Environment,
        _node: &Node,
        config: &Value,
    ) -> Result<(), Fault> {
        check(config)
    }
}
