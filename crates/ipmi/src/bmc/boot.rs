//! The BMC's boot option parameters (section 28.13, table 28-14): 0, 3, 4 and 5.

use std::time::Duration;

use tokio::time::Instant;

use super::Bmc;
use crate::chassis::{BootFlags, ChassisControl, KEEP_VALID_ON_TIMEOUT, PARAMETER_VERSION, parameter};
use crate::completion::CompletionCode;

/// The flags lapse when no chassis control command follows in this time, unless parameter 3 says otherwise.
const VALID_FOR: Duration = Duration::from_secs(60);

/// All parameters but the flags themselves, which the chassis keeps.
#[derive(Debug, Default)]
pub(super) struct BootParameters {
    /// The session that set "set in progress".
    writer: Option<u32>,
    /// Parameter 3, five bits.
    clearing: u8,
    /// Parameter 4, the acknowledge bits.
    acknowledged: u8,
    /// Bit n: parameter n is marked invalid.
    invalid: u8,
    lapse: Option<Instant>,
}

impl BootParameters {
    pub fn deadline(&self) -> Option<Instant> {
        self.lapse
    }

    /// The session is gone, and its lock with it.
    pub fn release(&mut self, session: u32) {
        self.writer.take_if(|writer| *writer == session);
    }
}

impl Bmc {
    pub(super) async fn set_boot_option(&mut self, session: u32, data: &[u8]) -> CompletionCode {
        let Some((selector, value)) = data.split_first() else { return CompletionCode::DATA_LENGTH };
        let number = selector & 0x7f;
        let known =
            [parameter::SET_IN_PROGRESS, parameter::VALID_BIT_CLEARING, parameter::BOOT_INFO_ACKNOWLEDGE, parameter::BOOT_FLAGS];
        if !known.contains(&number) {
            return CompletionCode::PARAMETER_NOT_SUPPORTED;
        }
        // without a value only the mark changes
        if !value.is_empty() {
            let code = self.set_boot_value(session, number, value).await;
            if !code.is_ok() {
                return code;
            }
        }
        let bit = 1 << number;
        self.boot.invalid = if selector & 0x80 != 0 { self.boot.invalid | bit } else { self.boot.invalid & !bit };
        CompletionCode::OK
    }

    async fn set_boot_value(&mut self, session: u32, number: u8, value: &[u8]) -> CompletionCode {
        let boot = &mut self.boot;
        match (number, value) {
            (parameter::SET_IN_PROGRESS, [state]) => match state & 0x03 {
                0 => boot.writer = None,
                1 if boot.writer.is_some_and(|writer| writer != session) => return CompletionCode::SET_IN_PROGRESS,
                1 => boot.writer = Some(session),
                // commit write: there is no roll-back here, so everything is committed already
                2 => {}
                _ => return CompletionCode::INVALID_DATA_FIELD,
            },
            (parameter::VALID_BIT_CLEARING, [bits]) => {
                boot.clearing = bits & 0x1f;
                if bits & KEEP_VALID_ON_TIMEOUT != 0 {
                    boot.lapse = None;
                }
            }
            (parameter::BOOT_INFO_ACKNOWLEDGE, [mask, bits]) => boot.acknowledged = boot.acknowledged & !mask | bits & mask,
            (parameter::BOOT_FLAGS, flags) => {
                let Some(flags) = flags.first_chunk::<5>().filter(|_| flags.len() == 5).copied().map(BootFlags) else {
                    return CompletionCode::DATA_LENGTH;
                };
                let code = self.chassis.set_boot_flags(flags).await;
                if !code.is_ok() {
                    return code;
                }
                let lapses = flags.valid() && self.boot.clearing & KEEP_VALID_ON_TIMEOUT == 0;
                self.boot.lapse = lapses.then(|| Instant::now() + VALID_FOR);
            }
            _ => return CompletionCode::DATA_LENGTH,
        }
        CompletionCode::OK
    }

    pub(super) async fn get_boot_option(&self, data: &[u8]) -> Result<Vec<u8>, CompletionCode> {
        let [selector, _set, _block] = *data else { return Err(CompletionCode::DATA_LENGTH) };
        let number = selector & 0x7f;
        let value = match number {
            parameter::SET_IN_PROGRESS => vec![u8::from(self.boot.writer.is_some())],
            parameter::VALID_BIT_CLEARING => vec![self.boot.clearing],
            // the mask reads as zero
            parameter::BOOT_INFO_ACKNOWLEDGE => vec![0, self.boot.acknowledged],
            parameter::BOOT_FLAGS => self.chassis.boot_flags().await?.0.to_vec(),
            _ => return Err(CompletionCode::PARAMETER_NOT_SUPPORTED),
        };
        let mark = if self.boot.invalid & 1 << number != 0 { 0x80 } else { 0 };
        let mut out = vec![PARAMETER_VERSION, mark | number];
        out.extend_from_slice(&value);
        Ok(out)
    }

    /// A chassis control command came: flags that are set now are used by that boot.
    pub(super) fn keep_boot_flags(&mut self, control: ChassisControl) {
        if matches!(control, ChassisControl::PowerUp | ChassisControl::PowerCycle | ChassisControl::HardReset) {
            self.boot.lapse = None;
        }
    }

    pub(super) async fn expire_boot_flags(&mut self, now: Instant) {
        if self.boot.lapse.take_if(|at| *at <= now).is_none() {
            return;
        }
        if let Ok(flags) = self.chassis.boot_flags().await {
            self.chassis.set_boot_flags(flags.invalidated()).await;
        }
    }
}
