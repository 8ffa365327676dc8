//! Commands by name: what they are, whether the caller waits, and carrying them out.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bessemer_wire::{
    CommandRequest, Inventory, InventoryBoot, InventoryCpu, InventoryDisk, InventoryInterface,
    InventoryMemory, SystemVendor,
};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::registry::Command;
use super::{Agent, image, pause, steps};
use crate::host::{Firmware, PowerChange, Running};
use crate::log::Reference;
use steps::Kind;

/// Extensions there are; any other is a 404.
const EXTENSIONS: [&str; 9] = [
    "clean", "deploy", "service", "standby", "image", "log", "poll", "system", "rescue",
];

/// What a request asks for.
#[derive(Debug)]
pub enum Action {
    GetSteps(Kind),
    ExecuteStep(steps::Request),
    PrepareImage(Box<image::Order>),
    Sync,
    PowerOff,
    RunImage,
    PartitionUuids,
    InstallBootloader,
    CollectLogs,
    HardwareInfo,
    Lockdown,
    FinalizeRescue(String),
}

/// Reads a request.
pub fn parse(request: &CommandRequest) -> Result<Action, Failure> {
    let (extension, command) = request.name.split_once('.').ok_or_else(|| {
        Failure::invalid_command("Command name must be of the form <extension>.<name>")
    })?;
    if !EXTENSIONS.contains(&extension) {
        return Err(Failure::not_found(format!(
            "Extension with id {extension} not found."
        )));
    }
    let unknown = || Failure::invalid_command(format!("Unknown command: {command}"));
    if let Some(kind) = Kind::of_extension(extension) {
        return match command.strip_suffix(&format!("_{extension}_steps")) {
            Some("get") => Ok(Action::GetSteps(kind)),
            _ if command == format!("execute_{extension}_step") => {
                steps::Request::parse(kind, &request.params).map(Action::ExecuteStep)
            }
            _ => Err(unknown()),
        };
    }
    match (extension, command) {
        ("standby", "prepare_image") => Ok(Action::PrepareImage(Box::new(image::Order::parse(
            &request.params,
        )?))),
        ("standby", "sync") => Ok(Action::Sync),
        ("standby", "power_off") => Ok(Action::PowerOff),
        ("standby", "run_image") => Ok(Action::RunImage),
        ("standby", "get_partition_uuids") => Ok(Action::PartitionUuids),
        ("image", "install_bootloader") => Ok(Action::InstallBootloader),
        ("log", "collect_system_logs") => Ok(Action::CollectLogs),
        ("poll", "get_hardware_info") => Ok(Action::HardwareInfo),
        ("system", "lockdown") => Ok(Action::Lockdown),
        ("rescue", "finalize_rescue") => match request.params.get("rescue_password") {
            Some(Value::String(password)) if !password.is_empty() => {
                Ok(Action::FinalizeRescue(password.clone()))
            }
            _ => Err(Failure::invalid_params("rescue_password is missing")),
        },
        _ => Err(unknown()),
    }
}

impl Action {
    fn synchronous(&self) -> bool {
        matches!(
            self,
            Self::GetSteps(_)
                | Self::Sync
                | Self::PartitionUuids
                | Self::CollectLogs
                | Self::HardwareInfo
                | Self::Lockdown
                | Self::FinalizeRescue(_)
        )
    }

    fn step(&self) -> Option<&steps::Request> {
        match self {
            Self::ExecuteStep(request) => Some(request),
            _ => None,
        }
    }

    /// Whether it destroys what is on the disk.
    fn destructive(&self) -> bool {
        matches!(self, Self::PrepareImage(_))
            || self.step().is_some_and(steps::Request::destructive)
    }
}

/// Starts a command; `true` when the caller waits for its end.
pub fn start(agent: &Arc<Agent>, request: CommandRequest) -> Result<(Arc<Command>, bool), Failure> {
    let reference = reference(&request.params);
    let step = request
        .params
        .get("step")
        .and_then(|step| step.get("step"))
        .and_then(Value::as_str);
    let received = |outcome: &str| {
        let data =
            json!({"name": request.name, "step": step, "reference": reference, "outcome": outcome});
        agent.host.log_live(agent.boot, "command_received", data);
    };
    let action = parse(&request).inspect_err(|failure| received(failure.class))?;
    let command = agent
        .registry
        .open(
            agent.host.chances.ids.uuid(),
            &request.name,
            &request.params,
        )
        .inspect_err(|failure| received(failure.class))?;
    received("accepted");
    let synchronous = action.synchronous();
    let running = Running {
        name: request.name.clone(),
        step: step.map(str::to_owned),
        reference: reference.clone(),
        writing: None,
    };
    agent
        .host
        .command_started(agent.boot, running, action.destructive());
    let (agent, runs) = (agent.clone(), command.clone());
    let tasks = agent.host.tasks.clone();
    tasks.spawn(async move {
        let stop = agent.stop.clone();
        tokio::select! {
            // a dead agent answers nobody, so nobody waits for this command's end
            () = stop.cancelled() => {}
            outcome = run(&agent, action, &runs) => {
                agent.host.command_finished(agent.boot, outcome.as_ref().err().map(Failure::sentence).as_deref());
                runs.finish(synchronous, outcome);
                if !synchronous {
                    agent.heartbeat.notify_one();
                }
            }
        }
    });
    Ok((command, synchronous))
}

/// The conductor's name for the attempt, in `params.step.bessemer` or `params.bessemer`.
fn reference(params: &Map<String, Value>) -> Option<Reference> {
    let inside = params.get("step").and_then(|step| step.get("bessemer"));
    serde_json::from_value(inside.or_else(|| params.get("bessemer"))?.clone()).ok()
}

async fn run(agent: &Arc<Agent>, action: Action, command: &Command) -> Result<Value, Failure> {
    let host = &agent.host;
    match action {
        Action::GetSteps(kind) => Ok(steps::list(kind)),
        Action::ExecuteStep(request) => request.run(agent, command).await,
        Action::PrepareImage(order) => image::write(agent, *order, &command.progress)
            .await
            .map(Value::String),
        Action::Sync => Ok(Value::Null),
        Action::PowerOff => {
            leave_soon(agent, Some(PowerChange::Off));
            Ok(Value::Null)
        }
        Action::RunImage => {
            leave_soon(agent, Some(PowerChange::Reset));
            Ok(Value::Null)
        }
        Action::FinalizeRescue(hash) => {
            host.log_live(agent.boot, "rescue_password_set", json!({"hash": hash}));
            leave_soon(agent, None);
            Ok(Value::Null)
        }
        Action::Lockdown => {
            leave_soon(agent, None);
            Ok(Value::Null)
        }
        Action::PartitionUuids => {
            let image = host.look(|state| state.disk.boots().then(|| state.disk.clone()));
            let name = |what: &str| {
                let disk = serde_json::to_vec(&image).unwrap_or_default();
                uuid::Uuid::new_v5(
                    &uuid::Uuid::NAMESPACE_OID,
                    &[what.as_bytes(), &disk].concat(),
                )
            };
            let found = |what| image.as_ref().map(|_| name(what));
            Ok(json!({"root uuid": found("root"), "efi system partition uuid": found("efi")}))
        }
        Action::InstallBootloader => {
            if host.look(|state| state.disk.boots()) {
                Ok(Value::Null)
            } else {
                Err(Failure::device_not_found(
                    "there is no complete image on the disk",
                ))
            }
        }
        Action::CollectLogs => {
            let text = format!(
                "agent of the simulated host {}, boot {}\n",
                host.facts.name, agent.boot
            );
            let archive = log_archive(text.as_bytes())
                .map_err(|error| Failure::execution(error.to_string()))?;
            let text = base64::engine::general_purpose::STANDARD.encode(archive);
            Ok(json!({ "system_logs": text }))
        }
        Action::HardwareInfo => serde_json::to_value(inventory(agent))
            .map_err(|error| Failure::execution(error.to_string())),
    }
}

/// Switches off, restarts, or ends the agent, once the answer is out.
fn leave_soon(agent: &Arc<Agent>, change: Option<PowerChange>) {
    let agent = agent.clone();
    let tasks = agent.host.tasks.clone();
    tasks.spawn(async move {
        let time = pause(&agent.host, Duration::from_secs(1));
        tokio::select! {
            () = agent.stop.cancelled() => {}
            () = tokio::time::sleep(time) => match change {
                Some(change) => agent.host.power_from_inside(agent.boot, change, "agent"),
                None => agent.host.kill_agent("lockdown"),
            },
        }
    });
}

/// A gzipped tar archive with one file `journal`.
fn log_archive(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = header.get_mut(at..at.saturating_add(value.len())) {
            place.copy_from_slice(value);
        }
    };
    put(0, b"journal");
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", text.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = header.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&header)?;
    encoder.write_all(text)?;
    let padding = text.len().next_multiple_of(512).saturating_sub(text.len());
    encoder.write_all(&vec![0; padding.saturating_add(1024)])?;
    encoder.finish()
}

/// Hardware as the host's facts say.
pub fn inventory(agent: &Agent) -> Inventory {
    let facts = &agent.host.facts;
    let mode = match facts.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    Inventory {
        interfaces: vec![InventoryInterface {
            name: "eth0".to_owned(),
            mac_address: facts.mac.clone(),
            // hosts on loopback keep it to themselves: no card of a machine has such an address
            ipv4_address: (!facts.address.is_loopback()).then(|| facts.address.to_string()),
            has_carrier: true,
            speed_mbps: Some(10_000),
            driver: Some("lab".to_owned()),
            ..InventoryInterface::default()
        }],
        cpu: InventoryCpu {
            model_name: Some("Bessemer lab processor".to_owned()),
            frequency: Some("2400.0".to_owned()),
            count: facts.cpus,
            architecture: facts.cpu_arch.clone(),
            flags: vec![],
            socket_count: Some(1),
        },
        disks: vec![InventoryDisk {
            name: "/dev/sda".to_owned(),
            model: Some("Lab disk".to_owned()),
            size: agent.host.disk_size(),
            serial: Some(format!("{}-D0", facts.serial_number)),
            vendor: Some("Bessemer".to_owned()),
            tran: Some("sata".to_owned()),
            logical_sectors: Some(512),
            physical_sectors: Some(512),
            ..InventoryDisk::default()
        }],
        memory: InventoryMemory {
            total: facts.memory_mb.saturating_mul(1 << 20),
            physical_mb: facts.memory_mb,
        },
        bmc_address: Some(facts.bmc_address.to_string()),
        bmc_v6address: Some("::/0".to_owned()),
        bmc_mac: None,
        system_vendor: SystemVendor {
            product_name: "Lab".to_owned(),
            serial_number: facts.serial_number.clone(),
            manufacturer: "Bessemer".to_owned(),
            firmware: Value::Null,
        },
        boot: InventoryBoot {
            current_boot_mode: mode.to_owned(),
            pxe_interface: Some(facts.mac.clone()),
        },
        hostname: Some(facts.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("clean.get_clean_steps", Ok("GetSteps(Clean)")),
            ("deploy.get_deploy_steps", Ok("GetSteps(Deploy)")),
            (
                "deploy.get_clean_steps",
                Err((400, "Unknown command: get_clean_steps")),
            ),
            ("standby.sync", Ok("Sync")),
            (
                "sync",
                Err((400, "Command name must be of the form <extension>.<name>")),
            ),
            ("foo.bar", Err((404, "Extension with id foo not found."))),
            ("standby.bar", Err((400, "Unknown command: bar"))),
            (
                "deploy.execute_deploy_step",
                Err((400, "step is missing or has no name")),
            ),
        ] {
            let request = CommandRequest {
                name: name.to_owned(),
                params: Map::new(),
            };
            match (parse(&request), expected) {
                (Ok(action), Ok(text)) => assert_eq!(format!("{action:?}"), text),
                (Err(failure), Err(expected)) => {
                    assert_eq!((failure.code, failure.details.as_str()), expected)
                }
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }

    #[test]
    fn the_log_archive_is_one() {
        let archive = log_archive(b"hello\n").unwrap();
        let mut tar = std::process::Command::new("tar")
            .args(["xzO", "journal"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("tar is needed for this test: install it");
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        assert_eq!(tar.wait_with_output().unwrap().stdout, b"hello\n");
    }
}
