//! The BMC's boot option parameters (section 28.13, table 28-14): 0, 3, 4 and 5.

use std::time::Duration;

use tokio::time::Instant;

use super::Bmc;
use crate::chassis::{
    BootFlags, ChassisControl, KEEP_VALID_ON_TIMEOUT, PARAMETER_VERSION, parameter,
};
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
        let Some((selector, value)) = data.split_first() else {
            return CompletionCode::DATA_LENGTH;
        };
        let number = selector & 0x7f;
        let known = [
            parameter::SET_IN_PROGRESS,
            parameter::VALID_BIT_CLEARING,
            parameter::BOOT_INFO_ACKNOWLEDGE,
            parameter::BOOT_FLAGS,
        ];
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
        self.boot.invalid = if selector & 0x80 != 0 {
            self.boot.invalid | bit
        } else {
            self.boot.invalid & !bit
        };
        CompletionCode::OK
    }

    async fn set_boot_value(&mut self, session: u32, number: u8, value: &[u8]) -> CompletionCode {
        let boot = &mut self.boot;
        match (number, value) {
            (parameter::SET_IN_PROGRESS, [state]) => match state & 0x03 {
                0 => boot.writer = None,
                1 if boot.writer.is_some_and(|writer| writer != session) => {
                    return CompletionCode::SET_IN_PROGRESS;
                }
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
            (parameter::BOOT_INFO_ACKNOWLEDGE, [mask, bits]) => {
                boot.acknowledged = boot.acknowledged & !mask | bits & mask
            }
            (parameter::BOOT_FLAGS, flags) => {
                let Some(flags) = flags
                    .first_chunk::<5>()
                    .filter(|_| flags.len() == 5)
                    .copied()
                    .map(BootFlags)
                else {
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
        let [selector, _set, _block] = *data else {
            return Err(CompletionCode::DATA_LENGTH);
        };
        let number = selector & 0x7f;
        let value = match number {
            parameter::SET_IN_PROGRESS => vec![u8::from(self.boot.writer.is_some())],
            parameter::VALID_BIT_CLEARING => vec![self.boot.clearing],
            // the mask reads as zero
            parameter::BOOT_INFO_ACKNOWLEDGE => vec![0, self.boot.acknowledged],
            parameter::BOOT_FLAGS => self.chassis.boot_flags().await?.0.to_vec(),
            _ => return Err(CompletionCode::PARAMETER_NOT_SUPPORTED),
        };
        let mark = if self.boot.invalid & 1 << number != 0 {
            0x80
        } else {
            0
        };
        let mut out = vec![PARAMETER_VERSION, mark | number];
        out.extend_from_slice(&value);
        Ok(out)
    }

    /// A chassis control command came: flags that are set now are used by that boot.
    pub(super) fn keep_boot_flags(&mut self, control: ChassisControl) {
        if matches!(
            control,
            ChassisControl::PowerUp | ChassisControl::PowerCycle | ChassisControl::HardReset
        ) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use super::super::{MemoryChassis, Settings, Users};
    use super::*;

    fn bmc() -> (Bmc, Arc<MemoryChassis>) {
        let chassis = Arc::new(MemoryChassis::new());
        (
            Bmc::new(Settings::new(Users::default()), chassis.clone()),
            chassis,
        )
    }

    #[tokio::test]
    async fn parameters_keep_their_bits() {
        let (mut bmc, _) = bmc();
        for (set, code, get, expected) in [
            (&[3, 0x1f][..], 0x00, &[3, 0, 0][..], &[1, 3, 0x1f][..]),
            (&[4, 0x1f, 0x15], 0x00, &[4, 0, 0], &[1, 4, 0, 0x15]),
            (&[4, 0x01, 0x00], 0x00, &[4, 0, 0], &[1, 4, 0, 0x14]),
            (
                &[5, 0xe0, 0x04, 1, 2, 3],
                0x00,
                &[5, 0, 0],
                &[1, 5, 0xe0, 0x04, 1, 2, 3],
            ),
            // the mark alone, and off again with a value
            (&[0x85], 0x00, &[5, 0, 0], &[1, 0x85, 0xe0, 0x04, 1, 2, 3]),
            (
                &[5, 0x80, 0x08, 0, 0, 0],
                0x00,
                &[5, 0, 0],
                &[1, 5, 0x80, 0x08, 0, 0, 0],
            ),
            (
                &[5, 0x80, 0x08, 0, 0],
                0xc7,
                &[5, 0, 0],
                &[1, 5, 0x80, 0x08, 0, 0, 0],
            ),
            (&[0, 1], 0x00, &[0, 0, 0], &[1, 0, 1]),
            (&[0, 2], 0x00, &[0, 0, 0], &[1, 0, 1]),
            (&[0, 0], 0x00, &[0, 0, 0], &[1, 0, 0]),
            (&[0, 3], 0xcc, &[0, 0, 0], &[1, 0, 0]),
            (&[6, 1], 0x80, &[0, 0, 0], &[1, 0, 0]),
            (&[], 0xc7, &[0, 0, 0], &[1, 0, 0]),
        ] {
            assert_eq!(bmc.set_boot_option(1, set).await.0, code, "{set:02x?}");
            assert_eq!(
                bmc.get_boot_option(get).await.as_deref(),
                Ok(expected),
                "{set:02x?}"
            );
        }
        assert_eq!(
            bmc.get_boot_option(&[6, 0, 0]).await,
            Err(CompletionCode::PARAMETER_NOT_SUPPORTED)
        );
        assert_eq!(
            bmc.get_boot_option(&[5]).await,
            Err(CompletionCode::DATA_LENGTH)
        );
    }

    #[tokio::test]
    async fn set_in_progress_keeps_others_out_until_its_session_ends() {
        let (mut bmc, _) = bmc();
        assert!(bmc.set_boot_option(1, &[0, 1]).await.is_ok());
        assert!(bmc.set_boot_option(1, &[0, 1]).await.is_ok());
        assert_eq!(
            bmc.set_boot_option(2, &[0, 1]).await,
            CompletionCode::SET_IN_PROGRESS
        );
        bmc.boot.release(2);
        assert_eq!(
            bmc.set_boot_option(2, &[0, 1]).await,
            CompletionCode::SET_IN_PROGRESS
        );
        bmc.boot.release(1);
        assert!(bmc.set_boot_option(2, &[0, 1]).await.is_ok());
    }

    #[tokio::test]
    async fn flags_lapse_after_a_minute_unless_used_or_told_to_stay() {
        for (before, control, valid) in [
            (None, None, false),
            (Some(KEEP_VALID_ON_TIMEOUT), None, true),
            (Some(0x10), None, false),
            (None, Some(ChassisControl::PowerCycle), true),
            (None, Some(ChassisControl::PowerDown), false),
        ] {
            let (mut bmc, chassis) = bmc();
            if let Some(bits) = before {
                assert!(bmc.set_boot_option(1, &[3, bits]).await.is_ok());
            }
            assert!(
                bmc.set_boot_option(1, &[5, 0xc0, 0x04, 0, 0, 0])
                    .await
                    .is_ok()
            );
            control
                .into_iter()
                .for_each(|control| bmc.keep_boot_flags(control));
            bmc.expire_boot_flags(Instant::now() + VALID_FOR / 2).await;
            assert!(chassis.flags().valid());
            bmc.expire_boot_flags(Instant::now() + VALID_FOR * 2).await;
            assert_eq!(chassis.flags().valid(), valid, "{before:?} {control:?}");
            assert_eq!(bmc.next_deadline(), None);
        }
    }
}
