//! A host in memory: a board that switches, a ramdisk that boots, an agent that works; each with its faults, and with a
//! log of what cannot be undone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bessemer_drivers::interface::{BootPlan, step};
use bessemer_drivers::{
    BootInterface, BootParams, DriverStep, Effects, Environment, Interface, ManagementInterface,
    Persistence, PowerInterface, StepCall, StepResult, StepRun,
};
use bessemer_model::{Class, Fault, InterfaceKind, Node, NodeId, PowerState, Timestamp};
use bessemer_wire::{CommandError, CommandResult, CommandStatus};
use serde_json::{Value, json};

/// From power on to the agent's first call.
const BOOT: Duration = Duration::from_secs(60);
/// What a step takes on the agent.
const STEP: Duration = Duration::from_secs(3);
/// Between heartbeats.
const BEAT: Duration = Duration::from_secs(300);

/// What is wrong with the host.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Commands to the power are taken, and nothing comes of them.
    pub power_stuck: bool,
    /// The BMC does not answer.
    pub bmc_away: bool,
    /// The ramdisk never comes up.
    pub never_boots: bool,
    /// Steps on the agent end as failed.
    pub steps_fail: bool,
    /// The agent ends with the next step that it is given.
    pub agent_dies: bool,
}

/// A step that was begun; it cannot be undone. An operation that goes on as another flow counts its steps anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deed {
    pub what: String,
    pub operation: String,
    pub index: u64,
}

struct Command {
    result: CommandResult,
    ends_at: Timestamp,
    switches_off: bool,
    ends_agent: bool,
}

pub struct Agent {
    started: u64,
    pub token: Option<String>,
    commands: Vec<Command>,
    calls_at: Timestamp,
    /// It has a report to send rather than heartbeats.
    inspects: bool,
}

pub struct Host {
    pub id: NodeId,
    pub power: PowerState,
    boots_pxe: bool,
    inspects: bool,
    boot_mode: String,
    boots_at: Option<Timestamp>,
    pub agent: Option<Agent>,
    agents: u64,
    pub faults: Faults,
    pub deeds: Vec<Deed>,
    /// Times that its own disk was booted.
    pub instances: u32,
    /// Hard switches off and resets.
    pub offs: u32,
    pub resets: u32,
}

/// What the host's ramdisk wants of the API.
pub enum Call {
    Lookup,
    Heartbeat { token: String },
    Report,
}

impl Host {
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            power: PowerState::On,
            boots_pxe: false,
            inspects: false,
            boot_mode: "uefi".into(),
            boots_at: None,
            agent: None,
            agents: 0,
            faults: Faults::default(),
            deeds: Vec::new(),
            instances: 0,
            offs: 0,
            resets: 0,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:1/{}", self.id)
    }

    fn switch_on(&mut self) {
        if self.power == PowerState::On {
            return;
        }
        self.power = PowerState::On;
        self.boot();
    }

    fn boot(&mut self) {
        if !self.boots_pxe {
            self.instances += 1;
        } else if !self.faults.never_boots {
            self.boots_at = Some(Timestamp::now().after(BOOT));
        }
        self.boots_pxe = false;
    }

    fn switch_off(&mut self) {
        self.power = PowerState::Off;
        self.agent = None;
        self.boots_at = None;
    }

    fn run_to(&mut self, now: Timestamp) {
        if self.boots_at.is_some_and(|at| at <= now) {
            self.boots_at = None;
            self.agents += 1;
            self.agent = Some(Agent {
                started: self.agents,
                token: None,
                commands: Vec::new(),
                calls_at: now,
                inspects: self.inspects,
            });
        }
        let fails = self.faults.steps_fail;
        let mut off = false;
        let mut gone = false;
        if let Some(agent) = &mut self.agent {
            for command in &mut agent.commands {
                let result = &mut command.result;
                if result.command_status != CommandStatus::Running || command.ends_at > now {
                    continue;
                }
                off |= command.switches_off;
                gone |= command.ends_agent;
                if fails && result.command_name.ends_with("_step") {
                    result.command_status = CommandStatus::Failed;
                    result.command_error = Some(CommandError {
                        message: "the disk does not take it; see its SMART data".into(),
                        ..CommandError::default()
                    });
                } else {
                    result.command_status = CommandStatus::Succeeded;
                }
                agent.calls_at = now;
            }
        }
        if off && !self.faults.power_stuck {
            self.switch_off();
        }
        if gone {
            self.agent = None;
        }
    }

    /// When something happens next by itself.
    pub fn next(&self) -> Option<Timestamp> {
        let agent = self.agent.as_ref();
        let calls = agent.map(|a| a.calls_at);
        let ends = agent
            .into_iter()
            .flat_map(|a| &a.commands)
            .filter(|c| c.result.command_status == CommandStatus::Running)
            .map(|c| c.ends_at);
        ends.chain(calls).chain(self.boots_at).min()
    }

    /// What the ramdisk asks for by now.
    pub fn call(&mut self, now: Timestamp) -> Option<Call> {
        self.run_to(now);
        let agent = self.agent.as_mut()?;
        if agent.calls_at > now {
            return None;
        }
        Some(match &agent.token {
            None => Call::Lookup,
            Some(_) if agent.inspects => Call::Report,
            Some(token) => Call::Heartbeat {
                token: token.clone(),
            },
        })
    }

    pub fn called(&mut self, now: Timestamp, well: bool) {
        if let Some(agent) = &mut self.agent {
            agent.calls_at = now.after(if well { BEAT } else { BEAT / 4 });
            if well && agent.inspects {
                agent.inspects = false;
            }
        }
    }

    pub fn looked_up(&mut self, token: String) {
        if let Some(agent) = &mut self.agent {
            agent.token = Some(token);
        }
    }

    /// Answer of the agent; `None` when nobody listens.
    pub fn answer(&mut self, path: &str, body: Option<Value>) -> Option<Value> {
        let now = Timestamp::now();
        self.run_to(now);
        let agent = self.agent.as_mut()?;
        if path.starts_with("v1/status") {
            return Some(json!({"started_at": agent.started}));
        }
        let Some(body) = body else {
            let all: Vec<&CommandResult> = agent.commands.iter().map(|c| &c.result).collect();
            return Some(json!({"commands": all}));
        };
        let name = body.get("name")?.as_str()?.to_owned();
        let params = body.get("params")?.as_object()?.clone();
        let short = name
            .split_once('.')
            .map_or(name.as_str(), |(_, short)| short);
        let mut command = Command {
            result: CommandResult {
                id: format!("{}", agent.commands.len()),
                command_name: short.to_owned(),
                command_params: params.clone(),
                command_status: CommandStatus::Running,
                command_error: None,
                command_result: None,
                progress: None,
            },
            ends_at: now.after(STEP),
            switches_off: short == "power_off",
            ends_agent: false,
        };
        if short.starts_with("execute_") {
            let step = params.get("step")?;
            let reference = step.get("bessemer")?;
            let label = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
            self.deeds.push(Deed {
                what: format!("{}.{}", label("interface"), label("step")),
                operation: reference.get("operation")?.as_str()?.to_owned(),
                index: reference.get("index")?.as_u64()?,
            });
            if self.faults.agent_dies {
                self.agent = None;
                return None;
            }
        }
        if let Some(kind) = short.strip_prefix("get_") {
            command.result.command_status = CommandStatus::Succeeded;
            command.result.command_result = Some(
                json!({kind: {"test": offered(kind)}, "hardware_manager_version": {"test": "1"}}),
            );
        } else if short == "sync" {
            command.result.command_status = CommandStatus::Succeeded;
        } else if short == "finalize_rescue" {
            // upstream's ends its API a moment later
            command.result.command_status = CommandStatus::Succeeded;
            agent.calls_at = now.after(BEAT * 10_000);
        }
        let answer = json!(command.result);
        agent.commands.push(command);
        Some(answer)
    }
}

fn offered(kind: &str) -> Value {
    let one = |step: &str, priority: i64, reboot: bool| {
        json!({"step": step, "interface": "deploy", "priority": priority, "abortable": true,
               "reboot_requested": reboot, "requires_ramdisk": true})
    };
    match kind {
        "clean_steps" => json!([
            one("erase_devices_metadata", 10, false),
            one("burnin", 0, true)
        ]),
        "deploy_steps" => json!([one("inject_files", 0, false)]),
        _ => json!([one("burnin", 0, true), one("inject_files", 0, false)]),
    }
}

/// The host's board, for every interface that goes through it.
#[derive(Clone)]
pub struct Board(pub Arc<Mutex<Host>>, pub InterfaceKind);

impl Board {
    fn host(&self) -> Result<MutexGuard<'_, Host>, Fault> {
        let mut host = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if host.faults.bmc_away {
            return Err(Fault::hardware(
                Class::RetryLater,
                "The BMC did not answer; check its network.",
            ));
        }
        host.run_to(Timestamp::now());
        Ok(host)
    }
}

#[async_trait]
impl Interface for Board {
    fn kind(&self) -> InterfaceKind {
        self.1
    }

    fn name(&self) -> &'static str {
        "test"
    }

    fn verify_steps(&self) -> Vec<DriverStep> {
        if self.1 != InterfaceKind::Management {
            return Vec::new();
        }
        vec![step("look_twice", "management", 10, StepRun::OutOfBand)]
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        if self.1 != InterfaceKind::Management {
            return Vec::new();
        }
        vec![
            step("look_twice", "management", 0, StepRun::OutOfBand).without_ramdisk(),
            step("restart", "management", 0, StepRun::OutOfBand),
        ]
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        self.clean_steps()
    }

    async fn run_step(
        &self,
        _env: &Environment,
        _node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        drop(self.host()?);
        Ok(match (call.step, call.state) {
            ("look_twice", None) => StepResult::Wait {
                what: "the second look".into(),
                after: Duration::from_secs(30),
                state: json!({"looked": 1}),
            },
            ("restart", None) => StepResult::Reboot {
                what: "the settings".into(),
                state: json!({"restarted": true}),
            },
            _ => StepResult::done(),
        })
    }
}

#[async_trait]
impl PowerInterface for Board {
    async fn get_power_state(&self, _env: &Environment, _node: &Node) -> Result<PowerState, Fault> {
        Ok(self.host()?.power)
    }

    async fn power_on(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        let mut host = self.host()?;
        if !host.faults.power_stuck {
            host.switch_on();
        }
        Ok(())
    }

    async fn power_off(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        let mut host = self.host()?;
        host.offs += 1;
        if !host.faults.power_stuck {
            host.switch_off();
        }
        Ok(())
    }

    fn can_reset(&self) -> bool {
        true
    }

    async fn reset(&self, _env: &Environment, _node: &Node) -> Result<(), Fault> {
        let mut host = self.host()?;
        host.resets += 1;
        host.switch_off();
        host.switch_on();
        Ok(())
    }

    async fn soft_power_off(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        self.power_off(env, node).await
    }
}

impl BootInterface for Board {
    fn ramdisk(
        &self,
        _env: &Environment,
        _node: &Node,
        params: &BootParams,
    ) -> Result<Option<BootPlan>, Fault> {
        let mut host = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        host.inspects = !params.extra.is_empty();
        Ok(Some(BootPlan {
            kernel: "http://192.0.2.1/vmlinuz".into(),
            ramdisk: "http://192.0.2.1/initrd".into(),
            kernel_params: String::new(),
            boot_device: "pxe",
            media: None,
        }))
    }
}

#[async_trait]
impl ManagementInterface for Board {
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe", "disk"]
    }

    async fn set_boot_device(
        &self,
        _env: &Environment,
        _node: &Node,
        device: &str,
        _persistence: Persistence,
    ) -> Result<Effects, Fault> {
        self.host()?.boots_pxe = device == "pxe";
        Ok(Effects::default())
    }

    async fn get_boot_mode(
        &self,
        _env: &Environment,
        _node: &Node,
    ) -> Result<Option<String>, Fault> {
        Ok(Some(self.host()?.boot_mode.clone()))
    }

    async fn set_boot_mode(
        &self,
        _env: &Environment,
        _node: &Node,
        mode: &str,
    ) -> Result<(), Fault> {
        self.host()?.boot_mode = mode.to_owned();
        Ok(())
    }
}
