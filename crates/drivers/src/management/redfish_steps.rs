//! Steps of the management interfaces `redfish` and `idrac-redfish`: keys of secure boot, the BMC's clock, and Dell's jobs.

use std::time::Duration;

use bessemer_model::{Class, Fault, Node, Timestamp};
use bessemer_redfish::{Client, Error, Resource, System};
use serde_json::{Value, json};

use super::redfish::RedfishManagement;
use crate::interface::{
    DriverStep, Environment, Interface, StepCall, StepResult, StepRun, step, unsupported,
};
use crate::redfish::Trouble;

/// Between looks at a BMC that restarts.
const RESTART_LOOK: Duration = Duration::from_secs(10);
/// How long it may take.
const RESTART_LIMIT: Duration = Duration::from_secs(900);
/// Difference of the clocks that is none, in microseconds.
const CLOCK_TOLERANCE: i64 = 1_000_000;

fn of(name: &str) -> DriverStep {
    step(name, "management", 0, StepRun::OutOfBand)
}

pub(super) fn clean(idrac: bool) -> Vec<DriverStep> {
    let mut all = vec![
        of("clear_secure_boot_keys").not_abortable().with_ramdisk(),
        of("reset_secure_boot_keys_to_default")
            .not_abortable()
            .with_ramdisk(),
        of("set_bmc_clock")
            .not_abortable()
            .with_ramdisk()
            .arg(
                "target_datetime",
                false,
                "Time to set, ISO 8601; the controller's when absent.",
            )
            .arg(
                "datetime_local_offset",
                false,
                "Difference of local time to UTC, for example +00:00.",
            ),
    ];
    if idrac {
        all.extend(
            ["clear_job_queue", "known_good_state", "reset_idrac"]
                .map(|name| of(name).not_abortable().without_ramdisk()),
        );
    }
    all
}

pub(super) fn deploy() -> Vec<DriverStep> {
    vec![
        of("clear_secure_boot_keys"),
        of("reset_secure_boot_keys_to_default"),
    ]
}

pub(super) fn verify(idrac: bool) -> Vec<DriverStep> {
    let mut all = vec![step(
        "verify_bmc_clock",
        "management",
        1,
        StepRun::OutOfBand,
    )];
    if idrac {
        all.extend(["clear_job_queue", "known_good_state", "reset_idrac"].map(of));
    }
    all
}

pub(super) async fn run(
    interface: &RedfishManagement,
    env: &Environment,
    node: &Node,
    call: StepCall<'_>,
) -> Result<StepResult, Fault> {
    match call.step {
        "clear_secure_boot_keys" => reset_keys(env, node, "DeleteAllKeys").await,
        "reset_secure_boot_keys_to_default" => reset_keys(env, node, "ResetAllKeysToDefault").await,
        "set_bmc_clock" => set_clock(env, node, call).await,
        "verify_bmc_clock" => verify_clock(env, node).await,
        "clear_job_queue" if interface.idrac => clear_jobs(env, node).await,
        "reset_idrac" if interface.idrac => restart(env, node, call, false).await,
        "known_good_state" if interface.idrac => restart(env, node, call, true).await,
        other => Err(Fault::unsupported(format!(
            "management interface {} has no step {other} (node {}).",
            interface.name(),
            node.label()
        ))),
    }
}

async fn reset_keys(env: &Environment, node: &Node, kind: &str) -> Result<StepResult, Fault> {
    env.redfish
        .on_system(node, |client, system| async move {
            let Some(secure) = client.secure_boot(&system).await? else {
                return Err(Trouble::from(unsupported(node, "reset_keys")));
            };
            client.reset_keys(&secure, kind).await?;
            Ok(StepResult::done())
        })
        .await
}

async fn manager(client: &Client, system: &System) -> Result<Resource, Error> {
    client
        .managers(system)
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Error::Missing {
            address: client.address().to_owned(),
            what: "a manager of this system".into(),
        })
}

/// The time of a manager; `None`: it tells none that can be read.
fn clock(manager: &Resource) -> Option<Timestamp> {
    Timestamp::parse(manager.text(&["DateTime"])?)
}

/// As ISO 8601 in whole seconds, which all boards take.
fn iso(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(seconds) => format!("{seconds}+00:00"),
        None => text,
    }
}

async fn write_clock(
    client: &Client,
    system: &System,
    time: &str,
    offset: Option<&str>,
) -> Result<Option<Timestamp>, Error> {
    let before = manager(client, system).await?;
    let mut body = json!({"DateTime": time});
    if let (Some(offset), Some(map)) = (offset, body.as_object_mut()) {
        map.insert("DateTimeLocalOffset".into(), json!(offset));
    }
    client.patch(before.path(), &body, before.etag()).await?;
    Ok(clock(&client.get(before.path()).await?))
}

async fn set_clock(
    env: &Environment,
    node: &Node,
    call: StepCall<'_>,
) -> Result<StepResult, Fault> {
    let text = |key: &str| match call.args.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Fault::invalid(format!("{key} is a text, not {other}."))),
    };
    let given = text("target_datetime")?;
    let offset = text("datetime_local_offset")?;
    let wanted: Timestamp = match &given {
        None => Timestamp::now(),
        Some(time) => Timestamp::parse(time).ok_or_else(|| {
            Fault::invalid(format!(
                "target_datetime {time} is no time as ISO 8601 writes it, for example 2026-01-31T12:00:00+00:00."
            ))
        })?,
    };
    let time = given.unwrap_or_else(|| iso(wanted));
    env.redfish
        .on_system(node, |client, system| async move {
            let now = write_clock(&client, &system, &time, offset.as_deref()).await?;
            near(node, now, wanted).map_err(Trouble::from)
        })
        .await
}

fn near(node: &Node, now: Option<Timestamp>, wanted: Timestamp) -> Result<StepResult, Fault> {
    // the clock has gone on meanwhile
    let far = now.is_none_or(|now| (now.0 - wanted.0).abs() > 30 * CLOCK_TOLERANCE);
    if far {
        return Err(Fault::hardware(
            Class::Never,
            format!(
                "The BMC of node {} took the new time and then told {}; check whether it gets its time from elsewhere (NTP).",
                node.label(),
                now.map_or_else(|| "none".to_owned(), |t| t.to_string())
            ),
        ));
    }
    Ok(StepResult::done())
}

/// `[redfish] enable_verify_bmc_clock`: what differs by more than a second is set.
async fn verify_clock(env: &Environment, node: &Node) -> Result<StepResult, Fault> {
    if !env.redfish.settings().enable_verify_bmc_clock {
        return Ok(StepResult::done());
    }
    env.redfish
        .on_system(node, |client, system| async move {
            let told = manager(&client, &system).await?;
            let now = Timestamp::now();
            let differs = clock(&told).is_none_or(|t| (t.0 - now.0).abs() > CLOCK_TOLERANCE);
            if !differs {
                return Ok::<_, Trouble>(StepResult::done());
            }
            let local = told.text(&["DateTimeLocalOffset"]);
            let offset = (local != Some("+00:00")).then_some("+00:00");
            let after = write_clock(&client, &system, &iso(now), offset).await?;
            Ok(near(node, after, now)?)
        })
        .await
        .map_err(|fault| Fault {
            text: format!("BMC clock verify step failed: {}", fault.text),
            ..fault
        })
}

/// Dell's job service, by the manager's own link.
async fn clear_jobs(env: &Environment, node: &Node) -> Result<StepResult, Fault> {
    env.redfish
        .on_system(node, |client, system| async move {
            let service = dell(&client, &system, "DellJobService").await?;
            let action = oem_action(&client, &service, "#DellJobService.DeleteJobQueue")?;
            client
                .post(&action, &json!({"JobID": "JID_CLEARALL"}))
                .await?;
            Ok::<_, Error>(StepResult::done())
        })
        .await
}

async fn dell(client: &Client, system: &System, name: &str) -> Result<Resource, Error> {
    let manager = manager(client, system).await?;
    let link = ["Links", "Oem", "Dell", name];
    client
        .follow(&manager, &link)
        .await?
        .ok_or_else(|| Error::Missing {
            address: client.address().to_owned(),
            what: format!("Oem/Dell/{name}; newer firmware of the iDRAC has it"),
        })
}

fn oem_action(client: &Client, of: &Resource, name: &str) -> Result<String, Error> {
    of.action(name)
        .map(|a| a.target)
        .ok_or_else(|| Error::Missing {
            address: client.address().to_owned(),
            what: format!("the action {name}"),
        })
}

/// Restarts the BMC, waits until it answers, then clears its jobs where that is wanted too.
async fn restart(
    env: &Environment,
    node: &Node,
    call: StepCall<'_>,
    then_clear: bool,
) -> Result<StepResult, Fault> {
    let since = call
        .state
        .and_then(|s| s.get("since"))
        .and_then(Value::as_i64)
        .map(Timestamp);
    let wait = |since: Timestamp| StepResult::Wait {
        what: "the BMC's restart".into(),
        after: RESTART_LOOK,
        state: json!({"since": since.0}),
    };
    let Some(since) = since else {
        env.redfish
            .on_system(node, |client, system| async move {
                let service = dell(&client, &system, "DelliDRACCardService").await?;
                let action = oem_action(&client, &service, "#DelliDRACCardService.iDRACReset")?;
                client.post(&action, &json!({"Force": "Graceful"})).await?;
                Ok::<_, Error>(())
            })
            .await?;
        return Ok(wait(Timestamp::now()));
    };
    // It answers for a while after the command; then it is away.
    let late = Timestamp::now().since(since) > RESTART_LIMIT;
    let settled = Timestamp::now().since(since) > 6 * RESTART_LOOK;
    let answers = env
        .redfish
        .on_system(node, |_, _| async move { Ok::<_, Error>(()) })
        .await;
    match answers {
        Ok(()) if settled => {
            if then_clear {
                return clear_jobs(env, node).await;
            }
            Ok(StepResult::done())
        }
        Err(fault) if late || fault.class == Class::Never => Err(fault),
        Ok(()) | Err(_) => Ok(wait(since)),
    }
}
