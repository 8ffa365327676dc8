//! The BMC's commands: what each needs, does and answers.

use super::Bmc;
use super::sessions::Caller;
use crate::chassis::{ChassisControl, app, command};
use crate::completion::CompletionCode;
use crate::crypto::CipherSuite;
use crate::message::{Request, Response, netfn};
use crate::privilege::Privilege;

/// Our only channel, and how a console names the one that it uses.
const CHANNEL: u8 = 1;
const THIS_CHANNEL: u8 = 0x0e;

/// A carried out command.
pub(super) struct Executed {
    pub response: Response,
    pub effect: Effect,
    /// A repeated request must get the same answer instead of another go.
    pub once: bool,
}

/// What happens to the sessions when the answer has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Privilege(Privilege),
    Close(u32),
    /// The BMC restarts: all sessions are lost.
    Restart,
}

type Answer = Result<Vec<u8>, CompletionCode>;

fn response(answer: Answer) -> Response {
    match answer {
        Ok(data) => Response {
            completion_code: CompletionCode::OK,
            data,
        },
        Err(completion_code) => Response {
            completion_code,
            data: Vec::new(),
        },
    }
}

fn done(code: CompletionCode) -> Answer {
    if code.is_ok() {
        Ok(Vec::new())
    } else {
        Err(code)
    }
}

/// Lowest level that may use a command (appendix G); None for a command that is not known.
fn needed(netfn: u8, command: u8) -> Option<Privilege> {
    match (netfn, command) {
        (
            netfn::APP,
            app::GET_CHANNEL_AUTHENTICATION | app::GET_CHANNEL_CIPHER_SUITES | app::GET_SYSTEM_GUID,
        ) => Some(Privilege::Callback),
        (netfn::APP, app::CLOSE_SESSION) => Some(Privilege::Callback),
        (netfn::APP, app::GET_DEVICE_ID | app::GET_DEVICE_GUID | app::SET_SESSION_PRIVILEGE) => {
            Some(Privilege::User)
        }
        (netfn::APP, app::COLD_RESET | app::WARM_RESET) => Some(Privilege::Administrator),
        (netfn::CHASSIS, command::CAPABILITIES | command::STATUS) => Some(Privilege::User),
        (
            netfn::CHASSIS,
            command::CONTROL | command::SET_BOOT_OPTIONS | command::GET_BOOT_OPTIONS,
        ) => Some(Privilege::Operator),
        _ => None,
    }
}

impl Bmc {
    /// Commands that are allowed without a session.
    pub(super) fn discover(&self, request: &Request) -> Response {
        response(match (request.netfn, request.command) {
            (netfn::APP, app::GET_CHANNEL_AUTHENTICATION) => {
                self.channel_authentication(&request.data)
            }
            (netfn::APP, app::GET_CHANNEL_CIPHER_SUITES) => self.channel_suites(&request.data),
            (netfn::APP, app::GET_SYSTEM_GUID) => Ok(self.settings.guid.to_vec()),
            (netfn, command) if needed(netfn, command).is_some() => {
                Err(CompletionCode::INSUFFICIENT_PRIVILEGE)
            }
            _ => Err(CompletionCode::INVALID_COMMAND),
        })
    }

    pub(super) async fn execute(&mut self, caller: &Caller, request: &Request) -> Executed {
        let mut effect = Effect::None;
        let mut once = false;
        let data = request.data.as_slice();
        let answer = match needed(request.netfn, request.command) {
            None => Err(CompletionCode::INVALID_COMMAND),
            Some(level) if caller.privilege < level => Err(CompletionCode::INSUFFICIENT_PRIVILEGE),
            Some(_) => match (request.netfn, request.command) {
                (netfn::APP, app::GET_DEVICE_ID) => Ok(self.settings.device_id.encode()),
                (netfn::APP, app::GET_DEVICE_GUID) => Ok(self.settings.guid.to_vec()),
                (netfn::APP, app::COLD_RESET | app::WARM_RESET) => {
                    effect = Effect::Restart;
                    Ok(Vec::new())
                }
                (netfn::APP, app::SET_SESSION_PRIVILEGE) => {
                    set_privilege(caller, data).map(|level| {
                        effect = Effect::Privilege(level);
                        vec![level.level()]
                    })
                }
                (netfn::APP, app::CLOSE_SESSION) => self.session_to_close(caller, data).map(|id| {
                    effect = Effect::Close(id);
                    Vec::new()
                }),
                (netfn::CHASSIS, command::CAPABILITIES) => {
                    // no intrusion sensor or front panel lock; all repositories are our own
                    Ok(vec![0x00, 0x20, 0x20, 0x20, 0x20])
                }
                (netfn::CHASSIS, command::STATUS) => self.chassis_status().await,
                (netfn::CHASSIS, command::CONTROL) => {
                    once = true;
                    self.control(data).await
                }
                (netfn::CHASSIS, command::SET_BOOT_OPTIONS) => {
                    done(self.set_boot_option(caller.session, data).await)
                }
                (netfn::CHASSIS, command::GET_BOOT_OPTIONS) => self.get_boot_option(data).await,
                _ => {
                    return Executed {
                        response: self.discover(request),
                        effect,
                        once,
                    };
                }
            },
        };
        Executed {
            response: response(answer),
            effect,
            once,
        }
    }

    async fn chassis_status(&self) -> Answer {
        let power = u8::from(self.chassis.power_state().await?);
        // power restore policy unknown; no last event; no intrusion, lock-out, drive or fan fault
        Ok(vec![0x60 | power, 0x00, 0x00])
    }

    async fn control(&mut self, data: &[u8]) -> Answer {
        let [code] = *data else {
            return Err(CompletionCode::DATA_LENGTH);
        };
        let control = ChassisControl::from_code(code).ok_or(CompletionCode::INVALID_DATA_FIELD)?;
        self.keep_boot_flags(control);
        done(self.chassis.control(control).await)
    }

    /// Which session a Close Session means: the own one, or by its number another for an administrator.
    fn session_to_close(&self, caller: &Caller, data: &[u8]) -> Result<u32, CompletionCode> {
        let Some(id) = data.first_chunk::<4>().copied().map(u32::from_le_bytes) else {
            return Err(CompletionCode::DATA_LENGTH);
        };
        if id != caller.session && caller.privilege < Privilege::Administrator {
            return Err(CompletionCode::INSUFFICIENT_PRIVILEGE);
        }
        if self.has_session(id) {
            Ok(id)
        } else {
            Err(CompletionCode::INVALID_SESSION)
        }
    }

    fn channel_authentication(&self, data: &[u8]) -> Answer {
        let [channel, level] = *data else {
            return Err(CompletionCode::DATA_LENGTH);
        };
        if ![CHANNEL, THIS_CHANNEL].contains(&(channel & 0x0f))
            || Privilege::from_level(level).is_none()
        {
            return Err(CompletionCode::INVALID_DATA_FIELD);
        }
        // no IPMI 1.5 authentication type at all; the 2.0 fields only when they were asked for
        let extended = channel & 0x80;
        let kg = if extended != 0 && self.settings.key().is_some() {
            0x20
        } else {
            0
        };
        let anonymous = self.settings.users.get(b"").is_some();
        let named = self
            .settings
            .users
            .0
            .iter()
            .any(|user| !user.name.is_empty());
        let users = if named { 0x04 } else { 0 } | if anonymous { 0x02 } else { 0 };
        let versions = if extended != 0 { 0x02 } else { 0 };
        Ok(vec![CHANNEL, extended, kg | users, versions, 0, 0, 0, 0])
    }

    /// The list of suites, sixteen bytes at a time (section 22.15).
    fn channel_suites(&self, data: &[u8]) -> Answer {
        let [channel, _payload, index] = *data else {
            return Err(CompletionCode::DATA_LENGTH);
        };
        if ![CHANNEL, THIS_CHANNEL].contains(&(channel & 0x0f)) {
            return Err(CompletionCode::INVALID_DATA_FIELD);
        }
        let records: Vec<u8> = self
            .settings
            .suites
            .iter()
            .copied()
            .flat_map(suite_record)
            .collect();
        let start = usize::from(index & 0x3f).saturating_mul(16);
        let mut out = vec![CHANNEL];
        out.extend(records.into_iter().skip(start).take(16));
        Ok(out)
    }
}

/// Start of record, suite, then the algorithms tagged by kind (table 22-19).
fn suite_record(suite: CipherSuite) -> [u8; 5] {
    let algorithms = suite.algorithms();
    [
        0xc0,
        suite.id(),
        algorithms.authentication,
        0x40 | algorithms.integrity,
        0x80 | algorithms.confidentiality,
    ]
}

fn set_privilege(caller: &Caller, data: &[u8]) -> Result<Privilege, CompletionCode> {
    let [level] = *data else {
        return Err(CompletionCode::DATA_LENGTH);
    };
    if level & 0x0f == 0 {
        return Ok(caller.privilege);
    }
    let level = Privilege::from_level(level).ok_or(CompletionCode::INVALID_DATA_FIELD)?;
    if level > caller.limit {
        return Err(CompletionCode::LEVEL_NOT_AVAILABLE);
    }
    Ok(level)
}
