//! The console's side: one [`Client`] per BMC, which keeps a session for a while and speaks one command at a time.
//!
//! Must never start a subprocess, never try a wrong password twice, and never wait without a deadline.

mod link;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::chassis::{
    BootDevice, BootFlags, BootOptions, ChassisControl, ChassisStatus, DeviceId,
    KEEP_VALID_ON_TIMEOUT, Persistence, app, command, parameter,
};
use crate::completion::CompletionCode;
use crate::crypto::CipherSuite;
use crate::error::Error;
use crate::message::{Response, netfn};
use crate::packet::{Packet, ping};
use crate::privilege::Privilege;
use crate::sensor::{self, Reading, Sensor};
use crate::wire::{Malformed, Reader};
use crate::{MAX_KG, MAX_PASSWORD, MAX_USERNAME, PORT};
use link::{Call, Fixed, Link, Pace};
pub(crate) use session::Talk;
use session::{Session, open};

/// BMCs close a session after 60 s of silence (section 6.12.15); one unused for this long is given up before.
const KEEP_SESSION: Duration = Duration::from_secs(30);
/// A session that answered this recently is taken to be alive.
const SURELY_ALIVE: Duration = Duration::from_secs(2);
/// Attempts on a kept session before it is taken to be lost.
const KEPT_SESSION_ATTEMPTS: u32 = 3;
/// Further tries when the BMC says that it is busy, and the first pause before one.
const BUSY_TRIES: u32 = 4;
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Which BMC, and how to log in.
#[derive(Clone)]
pub struct Target {
    /// IP address (IPv6 with or without brackets) or host name.
    pub address: String,
    /// UDP port, 623 as a rule.
    pub port: u16,
    /// At most 16 bytes; empty for the unnamed user.
    pub username: String,
    /// At most 20 bytes.
    pub password: SecretString,
    /// BMC key, at most 20 bytes, for BMCs that are set up with one.
    pub kg: Option<SecretSlice<u8>>,
    pub privilege: Privilege,
    /// None: 17, then 3 where the BMC does not offer 17.
    pub suite: Option<CipherSuite>,
}

impl Target {
    /// With the usual port, administrator level and the best cipher suite.
    pub fn new(
        address: impl Into<String>,
        username: impl Into<String>,
        password: SecretString,
    ) -> Self {
        Self {
            address: address.into(),
            port: PORT,
            username: username.into(),
            password,
            kg: None,
            privilege: Privilege::Administrator,
            suite: None,
        }
    }

    /// Host and port, as errors name the BMC.
    pub fn label(&self) -> String {
        if self.address.contains(':') && !self.address.starts_with('[') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }

    fn check(&self) -> Result<(), Error> {
        let what = if self.username.len() > MAX_USERNAME {
            "the user name is longer than 16 bytes"
        } else if self.password.expose_secret().len() > MAX_PASSWORD {
            "the password is longer than 20 bytes"
        } else if self
            .kg
            .as_ref()
            .is_some_and(|kg| kg.expose_secret().len() > MAX_KG)
        {
            "the BMC key (Kg) is longer than 20 bytes"
        } else {
            return Ok(());
        };
        Err(Error::InvalidTarget {
            address: self.label(),
            what,
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.label())
            .field("username", &self.username)
            .field("privilege", &self.privilege)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// How long to wait for a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Before a packet is sent again; each further wait is half as long again.
    pub first_timeout: Duration,
    /// Packets per question, the first included; at least 1 is sent.
    pub max_attempts: u32,
    /// For one command, set-up of the session and waiting for other commands to the same BMC included.
    pub total: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_timeout: Duration::from_secs(1),
            max_attempts: 5,
            total: Duration::from_secs(20),
        }
    }
}

/// Whether a command may be carried out twice when its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Harmless,
    /// A reset or a cycle: never sent into a second session, because the first may have carried it out.
    Avoid,
}

/// A BMC, asked over RMCP+. Cheap to clone: clones share the session and its order of commands.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    target: Target,
    timing: Timing,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// The suite of the last session: tried first next time.
    suite: Option<CipherSuite>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.target).finish()
    }
}

impl Client {
    /// Sends nothing yet.
    pub fn new(target: Target, timing: Timing) -> Self {
        Self(Arc::new(Inner {
            target,
            timing,
            state: Mutex::default(),
        }))
    }

    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// True when the power is on.
    pub async fn power_status(&self) -> Result<bool, Error> {
        Ok(self.chassis_status().await?.power_on)
    }

    /// Power and power faults.
    pub async fn chassis_status(&self) -> Result<ChassisStatus, Error> {
        let operation = "read the power state";
        let data = self
            .converse(operation)
            .await?
            .ask(netfn::CHASSIS, command::STATUS, &[], Repeat::Harmless)
            .await?;
        self.understood(operation, ChassisStatus::parse(&data))
    }

    /// Carried out when the BMC says so; the power may follow later.
    pub async fn control(&self, control: ChassisControl) -> Result<(), Error> {
        let (operation, repeat) = match control {
            ChassisControl::PowerDown => ("switch the power off", Repeat::Harmless),
            ChassisControl::PowerUp => ("switch the power on", Repeat::Harmless),
            ChassisControl::PowerCycle => ("cycle the power", Repeat::Avoid),
            ChassisControl::HardReset => ("reset", Repeat::Avoid),
            ChassisControl::DiagnosticInterrupt => ("send a diagnostic interrupt", Repeat::Avoid),
            ChassisControl::SoftShutdown => ("shut the operating system down", Repeat::Harmless),
        };
        self.converse(operation)
            .await?
            .ask(netfn::CHASSIS, command::CONTROL, &[control.code()], repeat)
            .await
            .map(drop)
    }

    pub async fn power_on(&self) -> Result<(), Error> {
        self.control(ChassisControl::PowerUp).await
    }

    /// Hard: the operating system is not asked.
    pub async fn power_off(&self) -> Result<(), Error> {
        self.control(ChassisControl::PowerDown).await
    }

    /// Asks the operating system to shut down.
    pub async fn power_soft(&self) -> Result<(), Error> {
        self.control(ChassisControl::SoftShutdown).await
    }

    pub async fn power_reset(&self) -> Result<(), Error> {
        self.control(ChassisControl::HardReset).await
    }

    pub async fn power_cycle(&self) -> Result<(), Error> {
        self.control(ChassisControl::PowerCycle).await
    }

    /// Diagnostic interrupt (NMI).
    pub async fn power_diag(&self) -> Result<(), Error> {
        self.control(ChassisControl::DiagnosticInterrupt).await
    }

    /// Keeps the boot device of [`Client::set_boot_device`] for longer than the 60 s that a BMC
    /// otherwise waits for a chassis control command (section 28.13, parameter 3, bit 3).
    pub async fn disable_boot_timer(&self) -> Result<(), Error> {
        let data = [parameter::VALID_BIT_CLEARING, KEEP_VALID_ON_TIMEOUT];
        self.converse("switch the boot device's time limit off")
            .await?
            .ask(
                netfn::CHASSIS,
                command::SET_BOOT_OPTIONS,
                &data,
                Repeat::Harmless,
            )
            .await
            .map(drop)
    }

    /// Sends what `ipmitool chassis bootdev` sends: set in progress, boot info acknowledge, boot flags, commit write, set complete.
    pub async fn set_boot_device(
        &self,
        device: BootDevice,
        persistence: Persistence,
        efi: bool,
    ) -> Result<(), Error> {
        let mut conversation = self.converse("set the boot device").await?;
        // An optional lock against other writers; a BMC without it, or where somebody left it locked, still takes the flags.
        let locked = conversation
            .set_boot_parameter(parameter::SET_IN_PROGRESS, &[0x01])
            .await?
            .is_ok();
        // Tells the firmware that none of it has seen the flags yet. Not every BMC keeps these bits.
        conversation
            .set_boot_parameter(parameter::BOOT_INFO_ACKNOWLEDGE, &[0x01, 0x01])
            .await?;
        let code = conversation
            .set_boot_parameter(
                parameter::BOOT_FLAGS,
                &BootFlags::new(device, persistence, efi).0,
            )
            .await?;
        if locked {
            // "commit write" is optional for the BMC, "set complete" releases the lock also where the flags were refused
            if code.is_ok() {
                conversation
                    .set_boot_parameter(parameter::SET_IN_PROGRESS, &[0x02])
                    .await?;
            }
            conversation
                .set_boot_parameter(parameter::SET_IN_PROGRESS, &[0x00])
                .await?;
        }
        conversation.accepted(code)
    }

    pub async fn get_boot_device(&self) -> Result<BootOptions, Error> {
        let operation = "read the boot device";
        let request = [parameter::BOOT_FLAGS, 0, 0];
        let data = self
            .converse(operation)
            .await?
            .ask(
                netfn::CHASSIS,
                command::GET_BOOT_OPTIONS,
                &request,
                Repeat::Harmless,
            )
            .await?;
        self.understood(operation, BootOptions::parse(&data))
    }

    pub async fn device_id(&self) -> Result<DeviceId, Error> {
        let operation = "read the device id";
        let data = self
            .converse(operation)
            .await?
            .ask(netfn::APP, app::GET_DEVICE_ID, &[], Repeat::Harmless)
            .await?;
        self.understood(operation, DeviceId::parse(&data))
    }

    /// Whether anything at the address speaks RMCP: an ASF presence ping (section 13.2.3), no login.
    /// Not every BMC answers it.
    pub async fn ping(&self) -> Result<(), Error> {
        let call = Call::start("say that it is there", &self.0.target, &self.0.timing);
        let link = Link::connect(&call).await?;
        let accept = |datagram: &[u8]| {
            matches!(Packet::parse(datagram), Ok(Packet::Pong { .. })).then_some(())
        };
        link.ask(
            &call,
            Pace::limited(&call, u32::MAX),
            Fixed {
                packet: ping(0),
                accept,
            },
        )
        .await
    }

    /// Any command, logical unit 0. A completion code that is not 0 is an answer here, not an error.
    /// The command may be carried out twice when answers are lost.
    pub async fn raw(&self, netfn: u8, command: u8, data: &[u8]) -> Result<Response, Error> {
        self.converse("carry out a raw command")
            .await?
            .respond(netfn & 0x3e, command, data, Repeat::Harmless)
            .await
    }

    /// Sensors that have a number, with what they say now; those that do not answer are left out. Records are
    /// read anew each time, in parts that every BMC can give.
    ///
    /// # Errors
    /// When the BMC does not answer, or has no records of sensors.
    pub async fn sensors(&self) -> Result<Vec<(Sensor, Reading)>, Error> {
        const PART: u8 = 16;
        const LAST: u16 = 0xffff;
        // more records no board has
        const MOST: usize = 2048;
        let mut reservation = self.reserve_records().await?;
        let (mut next, mut found, mut seen) = (0u16, Vec::new(), 0);
        while next != LAST && seen < MOST {
            seen += 1;
            let mut record = Vec::new();
            let mut after = LAST;
            let mut again = 0;
            loop {
                let read = u8::try_from(record.len()).unwrap_or(u8::MAX);
                let whole = record.get(4).map_or(sensor::HEADER, |rest: &u8| {
                    rest.saturating_add(sensor::HEADER)
                });
                if read >= whole {
                    break;
                }
                let [r0, r1] = reservation.to_le_bytes();
                let [n0, n1] = next.to_le_bytes();
                let data = [r0, r1, n0, n1, read, (whole - read).min(PART)];
                let answer = self
                    .converse("read the records of sensors")
                    .await?
                    .ask(
                        sensor::NETFN_STORAGE,
                        sensor::storage::GET_RECORD,
                        &data,
                        Repeat::Harmless,
                    )
                    .await;
                let answer = match answer {
                    // the reservation was cancelled by another: begun anew
                    Err(Error::Refused { code, .. }) if code.0 == 0xc5 && again < 5 => {
                        again += 1;
                        reservation = self.reserve_records().await?;
                        record.clear();
                        continue;
                    }
                    other => other?,
                };
                let Some(([a0, a1], part)) = answer.split_first_chunk::<2>() else {
                    break;
                };
                if part.is_empty() {
                    break;
                }
                after = u16::from_le_bytes([*a0, *a1]);
                record.extend_from_slice(part);
            }
            // what is malformed is left out, not the rest
            if let Some(sensor) = Sensor::from_record(&record) {
                let answer = self
                    .raw(sensor::NETFN_SENSOR, sensor::GET_READING, &[sensor.number])
                    .await?;
                if answer.completion_code.0 == 0
                    && let Some(reading) = Reading::from_answer(&answer.data)
                {
                    found.push((sensor, reading));
                }
            }
            next = after;
        }
        Ok(found)
    }

    async fn reserve_records(&self) -> Result<u16, Error> {
        let operation = "reserve the records of sensors";
        let data = self
            .converse(operation)
            .await?
            .ask(
                sensor::NETFN_STORAGE,
                sensor::storage::RESERVE,
                &[],
                Repeat::Harmless,
            )
            .await?;
        let read = Reader::new(&data, "reservation too short").u16();
        self.understood(operation, read)
    }

    /// Closes the session where one is open, and the socket with it. The next call opens a new one.
    pub async fn close(&self) {
        let mut state = self.0.state.lock().await;
        if let Some(mut session) = state.session.take() {
            session.close(&self.0.target, &self.0.timing).await;
        }
    }

    /// Closes the session unless a command used it within `idle` or is using it now. Returns whether one was closed.
    pub async fn close_if_idle(&self, idle: Duration) -> bool {
        let Ok(mut state) = self.0.state.try_lock() else {
            return false;
        };
        match state.session.take_if(|session| session.idle() >= idle) {
            Some(mut session) => {
                session.close(&self.0.target, &self.0.timing).await;
                true
            }
            None => false,
        }
    }

    /// Cipher suite of the last session, once there was one.
    pub async fn suite(&self) -> Option<CipherSuite> {
        self.0.state.lock().await.suite
    }

    fn understood<T>(
        &self,
        operation: &'static str,
        parsed: Result<T, Malformed>,
    ) -> Result<T, Error> {
        parsed.map_err(|Malformed(what)| Error::Malformed {
            operation,
            address: self.0.target.label(),
            what,
        })
    }

    /// Waits for the BMC to be free of other commands of this client.
    async fn converse(&self, operation: &'static str) -> Result<Conversation<'_>, Error> {
        self.0.target.check()?;
        let call = Call::start(operation, &self.0.target, &self.0.timing);
        let state = timeout_at(call.deadline, self.0.state.lock())
            .await
            .map_err(|_| call.timed_out())?;
        Ok(Conversation {
            inner: &self.0,
            state,
            operation,
        })
    }
}

/// Exclusive use of the session for one or more commands.
struct Conversation<'a> {
    inner: &'a Inner,
    state: MutexGuard<'a, State>,
    operation: &'static str,
}

impl Conversation<'_> {
    /// The data of a successful response; any other completion code is [`Error::Refused`].
    async fn ask(
        &mut self,
        netfn: u8,
        command: u8,
        data: &[u8],
        repeat: Repeat,
    ) -> Result<Vec<u8>, Error> {
        let response = self.respond(netfn, command, data, repeat).await?;
        self.accepted(response.completion_code)?;
        Ok(response.data)
    }

    fn accepted(&self, code: CompletionCode) -> Result<(), Error> {
        if code.is_ok() {
            return Ok(());
        }
        Err(Error::Refused {
            operation: self.operation,
            address: self.inner.target.label(),
            code,
        })
    }

    async fn set_boot_parameter(
        &mut self,
        parameter: u8,
        value: &[u8],
    ) -> Result<CompletionCode, Error> {
        let mut data = vec![parameter];
        data.extend_from_slice(value);
        let response = self
            .respond(
                netfn::CHASSIS,
                command::SET_BOOT_OPTIONS,
                &data,
                Repeat::Harmless,
            )
            .await?;
        Ok(response.completion_code)
    }

    async fn respond(
        &mut self,
        netfn: u8,
        command: u8,
        data: &[u8],
        repeat: Repeat,
    ) -> Result<Response, Error> {
        let call = Call::start(self.operation, &self.inner.target, &self.inner.timing);
        // dropping a session tells the BMC, without waiting for an answer
        self.state
            .session
            .take_if(|session| session.idle() > KEEP_SESSION);
        if let Some(session) = &mut self.state.session {
            // before what must not happen twice, a harmless question finds out whether the BMC still knows the session
            let probe = repeat == Repeat::Avoid && session.idle() > SURELY_ALIVE;
            let outcome = if probe {
                let pace = Pace::limited(&call, KEPT_SESSION_ATTEMPTS);
                session
                    .exchange(&call, pace, netfn::CHASSIS, command::STATUS, &[])
                    .await
                    .map(|_| None)
            } else {
                let attempts = if repeat == Repeat::Avoid {
                    u32::MAX
                } else {
                    KEPT_SESSION_ATTEMPTS
                };
                exchange_patiently(session, &call, attempts, netfn, command, data)
                    .await
                    .map(Some)
            };
            match outcome {
                Ok(Some(response)) => return Ok(response),
                Ok(None) => {}
                Err(error) => {
                    self.state.session = None;
                    // silence on a kept session mostly means that the BMC restarted: once more in a new one
                    let silence = matches!(error, Error::TimedOut { .. });
                    if !silence || (repeat == Repeat::Avoid && !probe) {
                        return Err(error);
                    }
                    tracing::debug!(address = %self.inner.target.label(), "session lost, opening another");
                }
            }
        }
        let session = self.session(&call).await?;
        let outcome = exchange_patiently(session, &call, u32::MAX, netfn, command, data).await;
        if outcome.is_err() {
            self.state.session = None;
        }
        outcome
    }

    async fn session(&mut self, call: &Call<'_>) -> Result<&mut Session, Error> {
        let state = &mut *self.state;
        match &mut state.session {
            Some(session) => Ok(session),
            empty => {
                let session = open(call, &self.inner.target, state.suite).await?;
                state.suite = Some(session.suite());
                Ok(empty.insert(session))
            }
        }
    }
}

/// Asks again, after a growing pause, while the BMC says that it is busy.
async fn exchange_patiently(
    session: &mut Session,
    call: &Call<'_>,
    attempts: u32,
    netfn: u8,
    command: u8,
    data: &[u8],
) -> Result<Response, Error> {
    let mut pause = BUSY_PAUSE;
    for _ in 0..BUSY_TRIES {
        let response = session
            .exchange(call, Pace::limited(call, attempts), netfn, command, data)
            .await?;
        let until = Instant::now() + pause;
        if response.completion_code != CompletionCode::NODE_BUSY || until >= call.deadline {
            return Ok(response);
        }
        tokio::time::sleep_until(until).await;
        pause *= 2;
    }
    session
        .exchange(call, Pace::limited(call, attempts), netfn, command, data)
        .await
}
