//! Power states of a node and the targets that a client may ask for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `power_state` and `target_power_state` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerState {
    #[serde(rename = "power on")]
    On,
    #[serde(rename = "power off")]
    Off,
    #[serde(rename = "rebooting")]
    Reboot,
    #[serde(rename = "soft rebooting")]
    SoftReboot,
    #[serde(rename = "soft power off")]
    SoftOff,
    #[serde(rename = "error")]
    Error,
}

impl PowerState {
    pub const ALL: [Self; 6] = [
        Self::On,
        Self::Off,
        Self::Reboot,
        Self::SoftReboot,
        Self::SoftOff,
        Self::Error,
    ];

    /// As the API and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reboot => "rebooting",
            Self::SoftReboot => "soft rebooting",
            Self::SoftOff => "soft power off",
            Self::Error => "error",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `PUT /v1/nodes/{ident}/states/power` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerTarget {
    #[serde(rename = "power on")]
    On,
    #[serde(rename = "power off")]
    Off,
    #[serde(rename = "rebooting")]
    Reboot,
    #[serde(rename = "soft power off")]
    SoftOff,
    #[serde(rename = "soft rebooting")]
    SoftReboot,
}

impl PowerTarget {
    pub const ALL: [Self; 5] = [
        Self::On,
        Self::Off,
        Self::Reboot,
        Self::SoftOff,
        Self::SoftReboot,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.shown().as_str()
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// What `target_power_state` shows while the operation runs: the state that it ends in. Upstream
    /// shows `power on` for both kinds of reboot and `power off` for the soft one.
    #[must_use]
    pub fn ends_in(self) -> PowerState {
        match self {
            Self::On | Self::Reboot | Self::SoftReboot => PowerState::On,
            Self::Off | Self::SoftOff => PowerState::Off,
        }
    }

    fn shown(self) -> PowerState {
        match self {
            Self::On => PowerState::On,
            Self::Off => PowerState::Off,
            Self::Reboot => PowerState::Reboot,
            Self::SoftOff => PowerState::SoftOff,
            Self::SoftReboot => PowerState::SoftReboot,
        }
    }

    /// Soft power actions exist since API 1.27.
    #[must_use]
    pub fn is_soft(self) -> bool {
        matches!(self, Self::SoftOff | Self::SoftReboot)
    }
}
