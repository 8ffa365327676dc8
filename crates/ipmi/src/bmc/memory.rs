//! A chassis that is nothing but its state: for tests, and as the base of simulated hosts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::Chassis;
use crate::chassis::{BootDevice, BootFlags, ChassisControl};
use crate::completion::CompletionCode;

/// Power and boot flags. A boot uses up flags that are not persistent, as firmware does.
#[derive(Debug, Default)]
pub struct MemoryChassis(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    on: bool,
    flags: BootFlags,
    boots: Vec<Option<BootFlags>>,
    interrupts: u32,
}

impl State {
    fn boot(&mut self) {
        self.on = true;
        self.boots.push(self.flags.valid().then_some(self.flags));
        if !self.flags.persistent() {
            self.flags = self.flags.invalidated();
        }
    }
}

impl MemoryChassis {
    /// Switched off, no boot flags.
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_on(&self) -> bool {
        self.lock().on
    }

    /// As the operating system or somebody at the button would.
    pub fn set_on(&self, on: bool) {
        self.lock().on = on;
    }

    pub fn flags(&self) -> BootFlags {
        self.lock().flags
    }

    /// The flags in force at each boot so far; None for a boot by the firmware's own order.
    pub fn boots(&self) -> Vec<Option<BootFlags>> {
        self.lock().boots.clone()
    }

    /// The device of the last boot; None before the first one and for a reserved number.
    pub fn booted_from(&self) -> Option<BootDevice> {
        self.lock()
            .boots
            .last()
            .and_then(|flags| flags.map_or(Some(BootDevice::NoOverride), BootFlags::device))
    }

    /// Diagnostic interrupts so far.
    pub fn interrupts(&self) -> u32 {
        self.lock().interrupts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Chassis for MemoryChassis {
    async fn power_state(&self) -> Result<bool, CompletionCode> {
        Ok(self.lock().on)
    }

    async fn control(&self, control: ChassisControl) -> CompletionCode {
        let mut state = self.lock();
        match control {
            ChassisControl::PowerDown | ChassisControl::SoftShutdown => state.on = false,
            ChassisControl::PowerUp if state.on => {}
            ChassisControl::PowerUp => state.boot(),
            // section 28.3: neither is for a chassis that is off
            ChassisControl::PowerCycle
            | ChassisControl::HardReset
            | ChassisControl::DiagnosticInterrupt
                if !state.on =>
            {
                return CompletionCode::NOT_IN_PRESENT_STATE;
            }
            ChassisControl::PowerCycle | ChassisControl::HardReset => state.boot(),
            ChassisControl::DiagnosticInterrupt => {
                state.interrupts = state.interrupts.saturating_add(1)
            }
        }
        CompletionCode::OK
    }

    async fn boot_flags(&self) -> Result<BootFlags, CompletionCode> {
        Ok(self.lock().flags)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> CompletionCode {
        self.lock().flags = flags;
        CompletionCode::OK
    }
}
