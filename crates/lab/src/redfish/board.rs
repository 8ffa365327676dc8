//! What a Redfish BMC remembers: sessions, BIOS settings with those that wait for a restart, tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::host::{Firmware, Host};

/// More at once are refused, as real boards do.
const MAX_SESSIONS: usize = 16;
/// A session that is not used for so long ends.
const SESSION_LIFE: Duration = Duration::from_secs(1800);
/// Finished tasks that are kept.
const MAX_TASKS: usize = 32;

/// The settings of the simulated BIOS: name, factory value, allowed values (none: a number from 0 to 300).
pub(crate) const ATTRIBUTES: &[(&str, &str, &[&str])] = &[
    ("BootMode", "Uefi", &["Uefi", "Bios"]),
    ("ProcVirtualization", "Enabled", &["Enabled", "Disabled"]),
    ("ProcTurboMode", "Enabled", &["Enabled", "Disabled"]),
    ("SriovGlobalEnable", "Disabled", &["Enabled", "Disabled"]),
    ("BootWait", "5", &[]),
];

pub(crate) struct Luck {
    pub network: Dice,
    pub delay: Dice,
    pub busy: Dice,
    sessions: Dice,
    ids: Dice,
}

pub(crate) struct Session {
    token: String,
    pub user: String,
    used: Instant,
}

/// Something that ends with a restart of the host.
#[derive(Clone)]
pub(crate) struct Task {
    pub name: &'static str,
    /// The boot before which it cannot end.
    since: u64,
    pub done: bool,
}

pub(crate) struct Memory {
    pub sessions: BTreeMap<u64, Session>,
    pub tasks: BTreeMap<u64, Task>,
    next: u64,
    pub bios: Map<String, Value>,
    /// Settings for the next boot, with the boot at which they were asked for.
    pub pending: Map<String, Value>,
    pending_since: u64,
    /// `UEFI` or `Legacy`.
    pub mode: &'static str,
    pub secure_boot: bool,
    pub secure_boot_wanted: bool,
    pub lamp: String,
    /// What a slot goes on telling although it is empty (the fault `stale_media`).
    pub stale: BTreeMap<&'static str, String>,
}

/// The BMC.
pub(crate) struct Board {
    pub host: Arc<Host>,
    pub luck: Luck,
    memory: Mutex<Memory>,
}

/// Whether a request may go on.
pub(crate) enum Allowed {
    Yes,
    No(&'static str),
}

pub(crate) fn factory(firmware: Firmware) -> Map<String, Value> {
    ATTRIBUTES
        .iter()
        .map(|(name, value, allowed)| {
            let value = match (*name, firmware) {
                ("BootMode", Firmware::Bios) => json!("Bios"),
                _ if allowed.is_empty() => json!(value.parse::<u32>().unwrap_or_default()),
                _ => json!(value),
            };
            ((*name).to_owned(), value)
        })
        .collect()
}

impl Board {
    pub fn new(index: usize, host: Arc<Host>) -> Self {
        let dice = |purpose| Dice::new(host.settings.seed, index, purpose);
        let firmware = host.facts.firmware;
        Self {
            luck: Luck {
                network: dice("redfish network"),
                delay: dice("redfish delay"),
                busy: dice("redfish busy"),
                sessions: dice("redfish sessions"),
                ids: dice("redfish ids"),
            },
            memory: Mutex::new(Memory {
                sessions: BTreeMap::new(),
                tasks: BTreeMap::new(),
                next: 1,
                bios: factory(firmware),
                pending: Map::new(),
                pending_since: 0,
                mode: match firmware {
                    Firmware::Bios => "Legacy",
                    Firmware::Uefi => "UEFI",
                },
                secure_boot: false,
                secure_boot_wanted: false,
                lamp: "Off".to_owned(),
                stale: BTreeMap::new(),
            }),
            host,
        }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boots(&self) -> u64 {
        self.host.look(|state| state.boot)
    }

    /// The password that counts at this moment.
    fn password_is(&self, user: &str, password: &str) -> bool {
        user == self.host.facts.bmc_user
            && password == self.host.facts.bmc_password
            && !self.host.has(Fault::BmcWrongPassword)
    }

    /// Who asks: a session's token, or basic authentication.
    pub fn allows(&self, token: Option<&str>, authorization: Option<&str>) -> Allowed {
        if let Some(token) = token {
            let dropped = self
                .host
                .look(|state| state.faults.value(Fault::SessionsDropped, 0.3))
                .unwrap_or(self.host.settings.bmc_faults);
            let mut memory = self.memory();
            memory
                .sessions
                .retain(|_, session| session.used.elapsed() < SESSION_LIFE);
            if self.luck.sessions.chance(dropped) {
                memory.sessions.clear();
            }
            let found = memory
                .sessions
                .values_mut()
                .find(|session| session.token == token);
            return match found {
                Some(session) => {
                    session.used = Instant::now();
                    Allowed::Yes
                }
                None => {
                    Allowed::No("There is no valid session established with the implementation.")
                }
            };
        }
        let given = authorization
            .and_then(|text| text.strip_prefix("Basic "))
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match given.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) if self.password_is(user, password) => Allowed::Yes,
            Some(_) => Allowed::No("The user name or password is wrong."),
            None => Allowed::No("The request needs credentials."),
        }
    }

    /// A new session: its number and token.
    pub fn log_in(&self, user: &str, password: &str) -> Option<(u64, String)> {
        if !self.password_is(user, password) {
            return None;
        }
        let token = format!("{:016x}{:016x}", self.luck.ids.draw(), self.luck.ids.draw());
        let mut memory = self.memory();
        let number = memory.take_number();
        let session = Session {
            token: token.clone(),
            user: user.to_owned(),
            used: Instant::now(),
        };
        memory.sessions.insert(number, session);
        Some((number, token))
    }

    /// Whether there is no room for another session.
    pub fn full(&self) -> bool {
        self.memory().sessions.len() >= MAX_SESSIONS
    }

    /// What waited for a restart of the host comes into force, when there was one.
    pub fn apply_pending(&self) {
        let boots = self.boots();
        let mut memory = self.memory();
        for task in memory.tasks.values_mut() {
            task.done |= boots > task.since;
        }
        if boots <= memory.pending_since {
            return;
        }
        let pending = std::mem::take(&mut memory.pending);
        memory.bios.extend(pending);
        memory.secure_boot = memory.secure_boot_wanted;
    }

    /// Settings for the next boot; the number of the task that follows them.
    pub fn set_pending(&self, change: impl FnOnce(&mut Memory), name: &'static str) -> u64 {
        let boots = self.boots();
        let mut memory = self.memory();
        memory.pending_since = boots;
        change(&mut memory);
        let number = memory.take_number();
        let task = Task {
            name,
            since: boots,
            done: false,
        };
        memory.tasks.insert(number, task);
        while memory.tasks.len() > MAX_TASKS {
            memory.tasks.pop_first();
        }
        number
    }
}

impl Memory {
    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }
}
