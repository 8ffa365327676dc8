//! What can be broken about a host, while it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One way in which hardware misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The BMC answers nothing.
    BmcUnreachable,
    /// The BMC has another password than the one that was told.
    BmcWrongPassword,
    /// The BMC takes `value` seconds (5) for every answer about the chassis.
    BmcSlow,
    /// The BMC refuses chassis commands.
    BmcRefuses,
    /// A Redfish BMC answers 503, with the probability `value` (0.3).
    BmcBusy,
    /// A Redfish BMC forgets its sessions, at each request with the probability `value` (0.3).
    SessionsDropped,
    /// A Redfish BMC goes on telling an image that it has ejected.
    StaleMedia,
    /// Power commands are accepted and have no effect.
    PowerStuck,
    /// The operating system ignores a soft power off.
    IgnoresSoftOff,
    /// Firmware hangs before it boots anything.
    NeverBoots,
    /// The network card is not connected: nothing is sent, not even DHCP.
    NoNetwork,
    /// The agent's process ends: at once when it runs, else as soon as it has sent its first heartbeat.
    AgentDies,
    /// The agent's process ends when half of an image is written.
    AgentDiesInWrite,
    /// The agent sends no heartbeats; it still answers.
    AgentMute,
    /// Writing takes `value` times as long (10).
    SlowWrite,
    /// The disk returns an error in the middle of a write.
    WriteFails,
    /// The disk cannot be erased.
    EraseFails,
    /// The disk has only `value` bytes (1 MiB).
    SmallDisk,
    /// Firmware does not find the disk when it boots.
    NoLocalBoot,
}

/// The faults that are on, with their values.
#[derive(Debug, Clone, Default)]
pub struct ActiveFaults(BTreeMap<Fault, Option<f64>>);

impl ActiveFaults {
    pub fn set(&mut self, fault: Fault, on: bool, value: Option<f64>) {
        if on {
            self.0.insert(fault, value);
        } else {
            self.0.remove(&fault);
        }
    }

    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains_key(&fault)
    }

    /// The value of a fault that is on; `default` when it has none.
    #[must_use]
    pub fn value(&self, fault: Fault, default: f64) -> Option<f64> {
        self.0.get(&fault).map(|value| value.unwrap_or(default))
    }

    /// Those that are on.
    pub fn list(&self) -> impl Iterator<Item = Fault> {
        self.0.keys().copied()
    }
}
