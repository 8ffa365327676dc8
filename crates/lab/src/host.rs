//! One simulated host: power, boot flags, disk, faults, and what runs on it, under one lock.
//!
//! Everything that changes a host, and the log line about it, happens inside that lock. Work that a power cut must stop
//! names the boot that it belongs to ([`Host::live`]); after the cut it can change nothing any more.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_dhcp::MacAddress;
use bessemer_ipmi::{BootDevice, BootFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::disk::{Content, Disk};
use crate::fault::{ActiveFaults, Fault};
use crate::journal::Journal;
use crate::log::Reference;
use crate::machine;
use crate::settings::{FirmwareChoice, Settings, Span};

/// What firmware a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    Bios,
    Uefi,
}

/// What a host's BMC speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BmcKind {
    /// IPMI 2.0 over UDP.
    #[default]
    Ipmi,
    /// Redfish over HTTPS, with a certificate that nobody signed.
    Redfish,
    /// Redfish over HTTP.
    RedfishHttp,
}

/// A virtual drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Drive {
    Cd,
    Usb,
}

/// What is in the virtual drives: addresses of images.
#[derive(Debug, Clone, Default)]
pub struct Media {
    cd: Option<String>,
    usb: Option<String>,
}

impl Media {
    #[must_use]
    pub fn get(&self, drive: Drive) -> Option<&String> {
        match drive {
            Drive::Cd => self.cd.as_ref(),
            Drive::Usb => self.usb.as_ref(),
        }
    }

    fn set(&mut self, drive: Drive, image: Option<String>) {
        match drive {
            Drive::Cd => self.cd = image,
            Drive::Usb => self.usb = image,
        }
    }
}

/// What one needs to know to enrol a host. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub name: String,
    #[serde(default)]
    pub bmc: BmcKind,
    /// SHA-256 of the certificate that a Redfish BMC shows, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_certificate: Option<String>,
    pub bmc_address: std::net::IpAddr,
    pub bmc_port: u16,
    pub bmc_user: String,
    pub bmc_password: String,
    /// Lower case, with colons.
    pub mac: String,
    /// Address of the host's own, from which it asks (its relay's).
    pub address: Ipv4Addr,
    pub firmware: Firmware,
    pub cpu_arch: String,
    pub cpus: u32,
    pub memory_mb: u64,
    pub disk_gb: u64,
    pub serial_number: String,
    pub system_uuid: uuid::Uuid,
}

impl Facts {
    /// Where a Redfish BMC answers.
    #[must_use]
    pub fn redfish_url(&self) -> Option<String> {
        let scheme = match self.bmc {
            BmcKind::Ipmi => return None,
            BmcKind::Redfish => "https",
            BmcKind::RedfishHttp => "http",
        };
        let address = std::net::SocketAddr::new(self.bmc_address, self.bmc_port);
        Some(format!("{scheme}://{address}"))
    }
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("name", &self.name)
            .field("bmc", &(self.bmc_address, self.bmc_port))
            .field("mac", &self.mac)
            .finish_non_exhaustive()
    }
}

/// What a host is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Off,
    Firmware,
    NetworkBoot,
    Ramdisk,
    Agent,
    LocalOs,
    /// On, and nothing will happen until somebody does something.
    Stuck,
}

/// The command that the agent is carrying out.
#[derive(Debug, Clone)]
pub struct Running {
    pub name: String,
    pub step: Option<String>,
    pub reference: Option<Reference>,
    /// The image that is being written.
    pub writing: Option<String>,
}

impl Running {
    /// As the log shows it.
    #[must_use]
    pub fn to_log(&self) -> Value {
        json!({"name": self.name, "step": self.step, "reference": self.reference})
    }
}

/// What changes about a host.
#[derive(Debug)]
pub struct State {
    pub power: bool,
    /// Counts boots; work of an earlier boot is dead.
    pub boot: u64,
    pub stage: Stage,
    pub flags: BootFlags,
    pub media: Media,
    pub disk: Disk,
    pub faults: ActiveFaults,
    pub running: Option<Running>,
    /// Stops everything that runs on the host.
    stop: CancellationToken,
    /// Stops the agent; `None` when there is none.
    agent: Option<CancellationToken>,
    /// A power change that is still to come.
    pending: CancellationToken,
    /// What became of every destructive command that a conductor named.
    destructive: HashMap<(String, u32), &'static str>,
    /// The image that an operation wrote completely.
    written: HashMap<String, String>,
}

/// Chances by what they decide.
#[derive(Debug)]
pub struct Chances {
    pub power: Dice,
    pub boot: Dice,
    pub dhcp: Dice,
    pub tftp: Dice,
    pub http: Dice,
    pub agent: Dice,
    pub answers: Dice,
    pub heartbeat: Dice,
    pub write: Dice,
    pub ids: Dice,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    pub facts: Facts,
    pub mac: MacAddress,
    pub settings: Arc<Settings>,
    pub chances: Chances,
    pub journal: Arc<Journal>,
    pub tasks: TaskTracker,
    stop: CancellationToken,
    /// Rung when a fault of the BMC changed.
    pub bmc_changed: tokio::sync::Notify,
    state: Mutex<State>,
}

/// What the host is before anything is bound or started.
#[must_use]
pub fn facts(settings: &Settings, index: usize) -> (Facts, MacAddress) {
    let dice = Dice::new(settings.seed, index, "identity");
    let number = u16::try_from(index).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    let fleet = Dice::new(settings.seed, 0, "fleet").draw().to_be_bytes()[0];
    let mac = MacAddress([0x52, 0x54, 0, fleet, high, low]);
    let offset = u32::from(number);
    let plus = |base: Ipv4Addr| Ipv4Addr::from(u32::from(base).wrapping_add(offset));
    let firmware = match settings.firmware {
        FirmwareChoice::Bios => Firmware::Bios,
        FirmwareChoice::Uefi => Firmware::Uefi,
        FirmwareChoice::Mixed if index.is_multiple_of(2) => Firmware::Uefi,
        FirmwareChoice::Mixed => Firmware::Bios,
    };
    let password = format!("{:016x}", dice.draw());
    let cpus = 8u32 << (dice.draw() % 4);
    let facts = Facts {
        name: format!("h{index}"),
        bmc: settings.bmc_kind(index),
        bmc_certificate: None,
        bmc_address: settings.bmc_base.map_or(Ipv4Addr::LOCALHOST, plus).into(),
        bmc_port: settings.bmc_base.map_or(0, |_| settings.bmc_port),
        bmc_user: settings.bmc_user.clone(),
        bmc_password: settings.bmc_password.clone().unwrap_or(password),
        mac: mac.to_string(),
        address: plus(settings.address_base),
        firmware,
        cpu_arch: "x86_64".to_owned(),
        cpus,
        memory_mb: u64::from(cpus) * 4096,
        disk_gb: settings.disk_gib,
        serial_number: format!("LAB{:08X}", dice.draw() >> 32),
        system_uuid: dice.uuid(),
    };
    (facts, mac)
}

impl Host {
    /// A host that is switched off. `facts` carry the BMC's real port.
    #[must_use]
    pub fn new(
        index: usize,
        facts: Facts,
        mac: MacAddress,
        settings: Arc<Settings>,
        journal: Arc<Journal>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let dice = |purpose| Dice::new(settings.seed, index, purpose);
        let chances = Chances {
            power: dice("power"),
            boot: dice("boot"),
            dhcp: dice("dhcp"),
            tftp: dice("tftp"),
            http: dice("http"),
            agent: dice("agent"),
            answers: dice("answers"),
            heartbeat: dice("heartbeat"),
            write: dice("write"),
            ids: dice("ids"),
        };
        let state = State {
            power: false,
            boot: 0,
            stage: Stage::Off,
            flags: BootFlags::default(),
            media: Media::default(),
            disk: Disk::used(),
            faults: ActiveFaults::default(),
            running: None,
            stop: CancellationToken::new(),
            agent: None,
            pending: CancellationToken::new(),
            destructive: HashMap::new(),
            written: HashMap::new(),
        };
        let host = Self {
            facts,
            mac,
            settings,
            chances,
            journal,
            tasks,
            stop,
            bmc_changed: tokio::sync::Notify::new(),
            state: Mutex::new(state),
        };
        let disk = host.lock().disk.clone();
        host.log(
            "host",
            json!({"mac": host.facts.mac, "firmware": host.facts.firmware, "bmc": host.facts.bmc, "port": host.facts.bmc_port, "disk": disk}),
        );
        Arc::new(host)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the log.
    pub fn log(&self, event: &str, data: Value) {
        self.journal.write(&self.facts.name, event, data);
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state if this boot still runs; nothing happens otherwise.
    pub fn live<T>(&self, boot: u64, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = self.lock();
        (state.power && state.boot == boot).then(|| change(&mut state))
    }

    /// The same for what the agent of this boot does: nothing happens when it is dead.
    pub fn live_agent<T>(&self, boot: u64, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = self.lock();
        (state.power && state.boot == boot && state.agent.is_some()).then(|| change(&mut state))
    }

    /// Logs something that this boot did, unless it is over.
    pub fn log_live(&self, boot: u64, event: &str, data: Value) {
        self.live(boot, |_| self.log(event, data));
    }

    /// Whether a fault is on.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.lock().faults.has(fault)
    }

    /// A time of the host's own from a span, scaled.
    #[must_use]
    pub fn time(&self, dice: &Dice, span: Span) -> Duration {
        self.settings.scaled(dice.within(span))
    }

    // ---- power ---------------------------------------------------------------------------------------------------

    fn start_boot(self: &Arc<Self>, state: &mut State) {
        state.boot = state.boot.saturating_add(1);
        state.stage = Stage::Firmware;
        state.stop = self.stop.child_token();
        let host = self.clone();
        let boot = state.boot;
        let stop = state.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = machine::run(&host, boot, &stop) => {}
            }
        });
    }

    /// Ends everything that runs, as a power cut does.
    fn cut(&self, state: &mut State, by: &str) {
        state.stop.cancel();
        state.agent = None;
        if let Some(running) = state.running.take() {
            self.interrupt(state, &running, by, true);
        }
    }

    fn interrupt(&self, state: &mut State, running: &Running, by: &str, power_cut: bool) {
        let mut data = running.to_log();
        if let Some(members) = data.as_object_mut() {
            members.insert("by".to_owned(), by.into());
        }
        self.log("command_killed", data);
        if let Some(reference) = &running.reference {
            let key = (reference.operation.clone(), reference.index);
            if let Some(end) = state.destructive.get_mut(&key) {
                *end = "interrupted";
            }
        }
        if let Some(image) = &running.writing {
            if power_cut {
                self.violation(
                    "power_cut_during_write",
                    running,
                    json!({"image": image, "by": by}),
                );
            }
            self.log(
                "disk_write_interrupted",
                json!({"image": image, "reference": running.reference, "by": by, "disk": state.disk}),
            );
        }
    }

    fn violation(&self, kind: &str, running: &Running, more: Value) {
        let mut data = running.to_log();
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.insert("kind".to_owned(), kind.into());
            data.extend(more);
        }
        self.log("violation", data);
    }

    fn switch_on(self: &Arc<Self>, state: &mut State, by: &str) {
        if !state.power {
            state.power = true;
            self.log("power_on", json!({"by": by}));
            self.start_boot(state);
        }
    }

    fn switch_off(&self, state: &mut State, by: &str) {
        if state.power {
            self.cut(state, by);
            state.power = false;
            state.stage = Stage::Off;
            self.log("power_off", json!({"by": by}));
        }
    }

    fn restart(self: &Arc<Self>, state: &mut State, by: &str) {
        if state.power {
            self.cut(state, by);
            self.log("reset", json!({"by": by}));
            self.start_boot(state);
        }
    }

    /// Does something after a time; at once when the time is zero. A later power command replaces it.
    fn after(
        self: &Arc<Self>,
        state: &mut State,
        time: Duration,
        change: impl FnOnce(&Arc<Self>, &mut State) + Send + 'static,
    ) {
        state.pending.cancel();
        if time.is_zero() {
            change(self, state);
            return;
        }
        state.pending = self.stop.child_token();
        let pending = state.pending.clone();
        let host = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = pending.cancelled() => {}
                () = tokio::time::sleep(time) => {
                    let mut state = host.lock();
                    // a command that came while this one waited for the lock has replaced it
                    if !pending.is_cancelled() {
                        change(&host, &mut state);
                    }
                }
            }
        });
    }

    /// A power change, after the hardware's delay. `by` is who asked.
    pub fn power(self: &Arc<Self>, change: PowerChange, by: &'static str) {
        let mut state = self.lock();
        if state.faults.has(Fault::PowerStuck) {
            self.log("power_ignored", json!({"change": change, "by": by}));
            return;
        }
        let delay = self.time(&self.chances.power, self.settings.power_delay);
        match change {
            PowerChange::On => self.after(&mut state, delay, move |host, state| {
                host.switch_on(state, by)
            }),
            PowerChange::Off => self.after(&mut state, delay, move |host, state| {
                host.switch_off(state, by)
            }),
            PowerChange::Reset => self.after(&mut state, delay, move |host, state| {
                host.restart(state, by)
            }),
            PowerChange::Cycle => {
                self.log("power_cycle", json!({"by": by}));
                let pause = self.settings.scaled(Duration::from_secs(1));
                self.after(&mut state, delay, move |host, state| {
                    host.switch_off(state, by);
                    host.after(state, pause, move |host, state| host.switch_on(state, by));
                });
            }
            PowerChange::SoftOff => match state.stage {
                _ if state.faults.has(Fault::IgnoresSoftOff) => {
                    self.log("soft_off_ignored", json!({"by": by}))
                }
                Stage::LocalOs | Stage::Agent | Stage::Ramdisk => {
                    self.log("soft_off_requested", json!({"by": by}));
                    let time = self
                        .settings
                        .scaled(Duration::from_secs(1))
                        .max(Duration::from_millis(1));
                    self.after(&mut state, delay.saturating_add(time), |host, state| {
                        host.switch_off(state, "os")
                    });
                }
                // nothing runs that could be asked
                _ => self.after(&mut state, delay, move |host, state| {
                    host.switch_off(state, by)
                }),
            },
        }
    }

    /// What runs on the host switches it off or restarts it.
    pub fn power_from_inside(self: &Arc<Self>, boot: u64, change: PowerChange, by: &'static str) {
        let mut state = self.lock();
        if !state.power || state.boot != boot {
            return;
        }
        match change {
            PowerChange::Reset => self.restart(&mut state, by),
            _ => self.switch_off(&mut state, by),
        }
    }

    // ---- boot device ---------------------------------------------------------------------------------------------

    /// Sets the boot flags as the BMC was told.
    pub fn set_boot_flags(&self, flags: BootFlags) {
        let mut state = self.lock();
        if state.flags == flags {
            return;
        }
        state.flags = flags;
        self.log(
            "boot_device_set",
            json!({
                "device": flags.device().map(device_name),
                "valid": flags.valid(),
                "persistent": flags.persistent(),
                "efi": flags.efi(),
                "flags": hex::encode(flags.0),
            }),
        );
    }

    /// What firmware tries, in order. Flags for one boot are used up by it.
    pub fn take_boot_order(&self, boot: u64) -> Option<Vec<BootFrom>> {
        self.live(boot, |state| {
            let flags = state.flags;
            let device = flags.valid().then(|| flags.device()).flatten();
            if flags.valid() && !flags.persistent() {
                state.flags = flags.invalidated();
            }
            let order = match device {
                Some(
                    BootDevice::Disk
                    | BootDevice::Safe
                    | BootDevice::RemoteDisk
                    | BootDevice::RemoteMedia,
                ) => {
                    vec![BootFrom::Disk, BootFrom::Network]
                }
                Some(BootDevice::Bios) => vec![],
                Some(BootDevice::Cdrom | BootDevice::RemoteCdrom) => {
                    let cd = state.media.get(Drive::Cd).cloned().map(BootFrom::Cd);
                    cd.into_iter()
                        .chain([BootFrom::Network, BootFrom::Disk])
                        .collect()
                }
                // the factory's order, and what is not there is passed over
                _ => vec![BootFrom::Network, BootFrom::Disk],
            };
            let name = device.map_or("default", device_name);
            let names: Vec<_> = order.iter().map(BootFrom::name).collect();
            self.log(
                "boot",
                json!({"number": boot, "device": name, "order": names}),
            );
            order
        })
    }

    /// Puts an image into a virtual drive, or takes it out.
    pub fn set_media(&self, drive: Drive, image: Option<String>) {
        let mut state = self.lock();
        if state.media.get(drive) == image.as_ref() {
            return;
        }
        let event = if image.is_some() {
            "media_inserted"
        } else {
            "media_ejected"
        };
        state.media.set(drive, image);
        self.log(event, json!({"drive": drive}));
    }

    // ---- commands of the agent -----------------------------------------------------------------------------------

    /// The agent runs from now on; it stops when the token is cancelled.
    pub fn agent_started(&self, boot: u64, stop: &CancellationToken) -> Option<CancellationToken> {
        self.live(boot, |state| {
            let token = stop.child_token();
            state.agent = Some(token.clone());
            state.stage = Stage::Agent;
            token
        })
    }

    /// The agent's process ends and leaves the host on.
    pub fn kill_agent(&self, by: &str) {
        let mut state = self.lock();
        if let Some(agent) = state.agent.take() {
            agent.cancel();
            self.log("agent_died", json!({"by": by}));
            if let Some(running) = state.running.take() {
                self.interrupt(&mut state, &running, by, false);
            }
            state.stage = Stage::Stuck;
        }
    }

    /// A command begins. `destructive` commands of one operation and index must not come twice.
    pub fn command_started(&self, boot: u64, running: Running, destructive: bool) {
        self.live_agent(boot, |state| {
            if let Some(reference) = running.reference.as_ref().filter(|_| destructive) {
                let key = (reference.operation.clone(), reference.index);
                if let Some(previous) = state.destructive.insert(key, "running") {
                    self.violation(
                        "duplicate_destructive_command",
                        &running,
                        json!({"previous": previous}),
                    );
                }
            }
            self.log("command_started", running.to_log());
            state.running = Some(running);
        });
    }

    /// A command ended by itself.
    pub fn command_finished(&self, boot: u64, error: Option<&str>) {
        self.live_agent(boot, |state| {
            let Some(running) = state.running.take() else {
                return;
            };
            if let Some(reference) = &running.reference {
                let key = (reference.operation.clone(), reference.index);
                if let Some(end) = state.destructive.get_mut(&key) {
                    *end = if error.is_none() {
                        "succeeded"
                    } else {
                        "failed"
                    };
                }
            }
            let mut data = running.to_log();
            if let Some(members) = data.as_object_mut() {
                members.insert("ok".to_owned(), error.is_none().into());
                members.insert("error".to_owned(), error.into());
            }
            self.log("command_finished", data);
        });
    }

    /// The first byte of an image goes to the disk.
    pub fn write_started(&self, boot: u64, image: &str) {
        self.live_agent(boot, |state| {
            let Some(mut running) = state.running.take() else {
                return;
            };
            let operation = running.reference.as_ref().map(|r| r.operation.clone());
            if let Some(before) = operation.as_ref().and_then(|o| state.written.get(o)) {
                self.violation(
                    "rewrite_of_complete_image",
                    &running,
                    json!({"image": image, "before": before}),
                );
            }
            running.writing = Some(image.to_owned());
            state.disk.put(Content::Image {
                id: image.to_owned(),
                sha256: None,
                complete: false,
                config_drive: None,
                operation,
            });
            self.log(
                "disk_write_started",
                json!({"image": image, "reference": running.reference, "disk": state.disk}),
            );
            state.running = Some(running);
        });
    }

    /// The write of an image ended, with the checksum of what was written and of the config drive, or an error.
    pub fn write_finished(
        &self,
        boot: u64,
        image: &str,
        bytes: u64,
        outcome: Result<(&str, Option<String>), &WriteError>,
    ) {
        self.live_agent(boot, |state| {
            let reference = state.running.as_ref().and_then(|r| r.reference.clone());
            if let Some(running) = &mut state.running {
                running.writing = None;
            }
            match outcome {
                Ok((sha256, config_drive)) => {
                    let operation = reference.as_ref().map(|r| r.operation.clone());
                    if let Some(operation) = &operation {
                        state.written.insert(operation.clone(), image.to_owned());
                    }
                    state.disk.put(Content::Image {
                        id: image.to_owned(),
                        sha256: Some(sha256.to_owned()),
                        complete: true,
                        config_drive,
                        operation,
                    });
                    self.log(
                        "disk_write_finished",
                        json!({"image": image, "reference": reference, "ok": true, "bytes": bytes, "sha256": sha256, "disk": state.disk}),
                    );
                }
                Err(error) => {
                    if error.wiped {
                        state.disk.put(Content::Erased);
                    }
                    self.log(
                        "disk_write_finished",
                        json!({"image": image, "reference": reference, "ok": false, "bytes": bytes, "error": error.why, "disk": state.disk}),
                    );
                }
            }
        });
    }

    /// The disk was erased.
    pub fn erased(&self, boot: u64, how: &str) {
        self.live_agent(boot, |state| {
            let reference = state.running.as_ref().and_then(|r| r.reference.clone());
            state.disk.put(Content::Erased);
            self.log(
                "disk_erased",
                json!({"how": how, "reference": reference, "disk": state.disk}),
            );
        });
    }

    // ---- faults --------------------------------------------------------------------------------------------------

    /// Switches a fault on or off.
    pub fn set_fault(&self, fault: Fault, on: bool, value: Option<f64>) {
        self.lock().faults.set(fault, on, value);
        self.log("fault", json!({"fault": fault, "on": on, "value": value}));
        match fault {
            Fault::AgentDies if on => self.kill_agent("fault"),
            Fault::BmcUnreachable | Fault::BmcWrongPassword => self.bmc_changed.notify_one(),
            _ => {}
        }
    }

    /// Size of the disk in bytes.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        let small = self.lock().faults.value(Fault::SmallDisk, 1_048_576.0);
        let full = self.facts.disk_gb.saturating_mul(1 << 30);
        match small {
            // a value from outside: not negative, and a fraction of a byte does not matter
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(bytes) => bytes.max(0.0) as u64,
            None => full,
        }
    }
}

/// Why a write failed.
#[derive(Debug)]
pub struct WriteError {
    pub why: String,
    /// Both ends of the disk were wiped.
    pub wiped: bool,
}

/// A change of the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerChange {
    On,
    Off,
    Reset,
    Cycle,
    SoftOff,
}

/// What firmware can boot from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFrom {
    /// With the address of the image, which is a secret.
    Cd(String),
    Network,
    Disk,
}

impl BootFrom {
    fn name(&self) -> &'static str {
        match self {
            Self::Cd(_) => "cd",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }
}

fn device_name(device: BootDevice) -> &'static str {
    match device {
        BootDevice::NoOverride => "default",
        BootDevice::Pxe => "pxe",
        BootDevice::Disk => "disk",
        BootDevice::Safe => "safe",
        BootDevice::DiagnosticPartition => "diagnostic",
        BootDevice::Cdrom => "cdrom",
        BootDevice::Bios => "bios",
        BootDevice::RemoteFloppy => "remote_floppy",
        BootDevice::RemoteCdrom => "remote_cdrom",
        BootDevice::RemoteMedia => "remote_media",
        BootDevice::RemoteDisk => "remote_disk",
        BootDevice::Floppy => "floppy",
    }
}
