//! Opening a session (section 13.14 and following), talking in it, closing it.

use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::link::{Call, Fixed, Link, Pace, Question};
use super::{Target, Timing};
use crate::chassis::{ChannelCapabilities, app};
use crate::completion::{CompletionCode, SetupStatus};
use crate::crypto::{CipherSuite, SessionKeys};
use crate::error::{AuthenticationFailure, Error};
use crate::message::{CONSOLE, Reply, Request, Response, netfn};
use crate::packet::{Packet, payload, plain, seal, setup};
use crate::rakp::{
    BmcProof, Handshake, NAME_ONLY, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, RakpCode,
};
use crate::window::Window;
use crate::wire::Malformed;

/// Channel number that means "the one that this comes through".
const THIS_CHANNEL: u8 = 0x0e;
/// Asks for the IPMI 2.0 fields.
const EXTENDED: u8 = 0x80;
/// How often the exchange starts anew after packets were lost in an unlucky way.
const HANDSHAKES: u32 = 4;
/// Attempts of one RAKP message before the exchange starts anew: the BMC may have forgotten its beginning.
const RAKP_ATTEMPTS: u32 = 3;
/// Attempts to propose a suite while there is another to propose. Some BMCs ignore what they do not offer.
const PROPOSAL_ATTEMPTS: u32 = 3;

/// An open session and the socket that it lives on. Dropping it tells the BMC.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    talk: Talk,
    closed: bool,
}

/// The session without its socket: what to send, what to accept.
#[derive(Debug)]
pub(crate) struct Talk {
    keys: SessionKeys,
    console_id: u32,
    bmc_id: u32,
    sent: u32,
    window: Window,
    sequence: u8,
    heard: Instant,
}

impl Talk {
    pub fn new(keys: SessionKeys, console_id: u32, bmc_id: u32) -> Self {
        Self {
            keys,
            console_id,
            bmc_id,
            sent: 0,
            window: Window::default(),
            sequence: 0,
            heard: Instant::now(),
        }
    }

    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        // 0 is for packets outside sessions
        self.sent = self.sent.checked_add(1).unwrap_or(1);
        seal(
            &self.keys,
            payload::IPMI,
            self.bmc_id,
            self.sent,
            message,
            rand::random(),
        )
    }

    fn request(&mut self, netfn: u8, command: u8, data: &[u8]) -> Request {
        self.sequence = (self.sequence + 1) & 0x3f;
        Request {
            netfn,
            lun: 0,
            command,
            sequence: self.sequence,
            requester: CONSOLE,
            data: data.to_vec(),
        }
    }

    /// The response, if the datagram is one of this session, new, and answers `request`.
    pub fn accept(&mut self, datagram: &[u8], request: &Request) -> Option<Response> {
        let Ok(Packet::Session(packet)) = Packet::parse(datagram) else {
            return None;
        };
        if packet.session_id != self.console_id || packet.payload_type != payload::IPMI {
            return None;
        }
        let message = packet.unseal(&self.keys).ok()?;
        if !self.window.accept(packet.sequence) {
            return None;
        }
        let reply = Reply::parse(&message).ok()?;
        self.heard = Instant::now();
        reply.answers(request).then_some(reply.response)
    }

    fn close_request(&mut self) -> Request {
        let data = self.bmc_id.to_le_bytes();
        self.request(netfn::APP, app::CLOSE_SESSION, &data)
    }
}

impl Session {
    pub fn suite(&self) -> CipherSuite {
        self.talk.keys.suite
    }

    /// Since the BMC last said something in it.
    pub fn idle(&self) -> std::time::Duration {
        self.talk.heard.elapsed()
    }

    /// One command. Each attempt is a new packet with the same request number, by which a BMC knows a repeat.
    pub async fn exchange(
        &mut self,
        call: &Call<'_>,
        pace: Pace,
        netfn: u8,
        command: u8,
        data: &[u8],
    ) -> Result<Response, Error> {
        let request = self.talk.request(netfn, command, data);
        self.link
            .ask(
                call,
                pace,
                InSession {
                    message: request.encode(),
                    talk: &mut self.talk,
                    request,
                },
            )
            .await
    }

    /// Tells the BMC and waits a little for its answer. What it says does not matter.
    pub async fn close(&mut self, target: &Target, timing: &Timing) {
        self.closed = true;
        let call = Call::start("close the session", target, timing);
        let request = self.talk.close_request();
        if let Err(error) = self
            .exchange(
                &call,
                Pace::limited(&call, 2),
                request.netfn,
                request.command,
                &request.data,
            )
            .await
        {
            tracing::debug!(%error, "a BMC did not confirm the end of a session");
        }
    }
}

/// A command in the session: every attempt has a sequence number of its own.
struct InSession<'a> {
    talk: &'a mut Talk,
    request: Request,
    message: Vec<u8>,
}

impl Question for InSession<'_> {
    type Answer = Response;

    fn packet(&mut self) -> Vec<u8> {
        self.talk.seal(&self.message)
    }

    fn accept(&mut self, datagram: &[u8]) -> Option<Response> {
        self.talk.accept(datagram, &self.request)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.closed {
            let request = self.talk.close_request();
            let packet = self.talk.seal(&request.encode());
            self.link.send_and_forget(&packet);
        }
    }
}

/// Why one exchange did not lead to a session.
enum Stopped {
    /// For good.
    Failed(Error),
    /// The BMC does not want the suite.
    Suite,
    /// No answer to the proposal.
    Silent(Error),
    /// The two sides no longer agree on where they are, or the BMC fell silent half way.
    Lost(Error),
}

/// Opens a session; `known` is the suite that the BMC took last time.
pub(crate) async fn open(
    call: &Call<'_>,
    target: &Target,
    known: Option<CipherSuite>,
) -> Result<Session, Error> {
    let link = Link::connect(call).await?;
    check_version(&link, call).await?;
    let candidates: Vec<CipherSuite> = match (target.suite, known) {
        (Some(suite), _) => vec![suite],
        (None, Some(suite)) => std::iter::once(suite)
            .chain(
                CipherSuite::PREFERENCE
                    .into_iter()
                    .filter(|other| *other != suite),
            )
            .collect(),
        (None, None) => CipherSuite::PREFERENCE.to_vec(),
    };
    let mut silence = None;
    for (index, suite) in candidates.iter().enumerate() {
        let last = index + 1 == candidates.len();
        let mut rounds = HANDSHAKES;
        loop {
            rounds -= 1;
            match establish(&link, call, target, *suite, last).await {
                Ok(talk) => {
                    return ready(
                        Session {
                            link,
                            talk,
                            closed: false,
                        },
                        call,
                        target,
                    )
                    .await;
                }
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::Suite) => break,
                Err(Stopped::Silent(error)) => {
                    silence = Some(error);
                    break;
                }
                Err(Stopped::Lost(error)) if rounds == 0 || Instant::now() >= call.deadline => {
                    let silence = matches!(error, Error::TimedOut { .. });
                    return Err(if silence {
                        refused(target, AuthenticationFailure::Silence)
                    } else {
                        error
                    });
                }
                Err(Stopped::Lost(_)) => {}
            }
        }
    }
    Err(silence.unwrap_or_else(|| Error::UnsupportedSuite {
        address: target.label(),
        tried: candidates,
    }))
}

/// Raises the new session to the level asked for: every session starts as a user's (section 22.18).
async fn ready(mut session: Session, call: &Call<'_>, target: &Target) -> Result<Session, Error> {
    if target.privilege <= crate::Privilege::User {
        return Ok(session);
    }
    let pace = Pace::limited(call, u32::MAX);
    let response = session
        .exchange(
            call,
            pace,
            netfn::APP,
            app::SET_SESSION_PRIVILEGE,
            &[target.privilege.level()],
        )
        .await?;
    match response.completion_code {
        CompletionCode::OK => Ok(session),
        CompletionCode::PARAMETER_NOT_SUPPORTED
        | CompletionCode::LEVEL_NOT_AVAILABLE
        | CompletionCode::INSUFFICIENT_PRIVILEGE => {
            Err(refused(target, AuthenticationFailure::Privilege))
        }
        code => Err(Error::Refused {
            operation: call.operation,
            address: target.label(),
            code,
        }),
    }
}

/// Get Channel Authentication Capabilities: some BMCs open no session to who has not asked this.
async fn check_version(link: &Link, call: &Call<'_>) -> Result<(), Error> {
    let request = Request {
        netfn: netfn::APP,
        lun: 0,
        command: app::GET_CHANNEL_AUTHENTICATION,
        sequence: 0,
        requester: CONSOLE,
        data: vec![THIS_CHANNEL | EXTENDED, call.target.privilege.level()],
    };
    let accept = |datagram: &[u8]| {
        let Ok(Packet::Plain { message, .. }) = Packet::parse(datagram) else {
            return None;
        };
        Reply::parse(message)
            .ok()
            .filter(|reply| reply.answers(&request))
            .map(|reply| reply.response)
    };
    let response = link
        .ask(
            call,
            Pace::limited(call, u32::MAX),
            Fixed {
                packet: plain(&request.encode()),
                accept,
            },
        )
        .await?;
    // a BMC that refuses this question may still open a session
    match ChannelCapabilities::parse(&response.data) {
        Ok(capabilities) if response.completion_code.is_ok() && !capabilities.ipmi_2_0 => {
            Err(Error::UnsupportedVersion {
                address: call.target.label(),
            })
        }
        _ => Ok(()),
    }
}

fn refused(target: &Target, why: AuthenticationFailure) -> Error {
    Error::AuthenticationFailed {
        address: target.label(),
        user: target.username.clone(),
        why,
    }
}

/// What a status other than 0 in a RAKP message means.
fn refused_with(target: &Target, status: SetupStatus) -> Stopped {
    let error = Error::SessionRefused {
        address: target.label(),
        status,
    };
    match status.0 {
        0x02 | 0x08 => Stopped::Lost(error),
        0x09 | 0x0a => Stopped::Failed(refused(target, AuthenticationFailure::Privilege)),
        0x0c | 0x0d => Stopped::Failed(refused(target, AuthenticationFailure::UserName)),
        // Only in message 4, after the BMC proved that it has the same password: it must have lost its place.
        0x0f => Stopped::Lost(refused(target, AuthenticationFailure::Password)),
        _ if status.refuses_suite() => Stopped::Suite,
        _ => Stopped::Failed(error),
    }
}

/// One set-up message and its answer, outside the session.
async fn step<T>(
    link: &Link,
    call: &Call<'_>,
    attempts: u32,
    (payload_type, content): (u8, &[u8]),
    mut accept: impl FnMut(u8, &[u8]) -> Option<T>,
) -> Result<T, Error> {
    let accept = |datagram: &[u8]| match Packet::parse(datagram) {
        Ok(Packet::Session(packet)) if packet.session_id == 0 => {
            accept(packet.payload_type, packet.payload)
        }
        _ => None,
    };
    link.ask(
        call,
        Pace::limited(call, attempts),
        Fixed {
            packet: setup(payload_type, content),
            accept,
        },
    )
    .await
}

fn silent(stopped: fn(Error) -> Stopped) -> impl FnOnce(Error) -> Stopped {
    move |error| match error {
        Error::TimedOut { .. } => stopped(error),
        _ => Stopped::Failed(error),
    }
}

/// Open session, RAKP 1 to 4 with one suite.
async fn establish(
    link: &Link,
    call: &Call<'_>,
    target: &Target,
    suite: CipherSuite,
    last: bool,
) -> Result<Talk, Stopped> {
    let console_id = rand::random::<u32>().max(1);
    let tag: u8 = rand::random();
    let attempts = if last { u32::MAX } else { PROPOSAL_ATTEMPTS };

    let request = OpenSessionRequest::proposing(suite, tag, console_id).encode();
    let response = step(
        link,
        call,
        attempts,
        (payload::OPEN_SESSION_REQUEST, &request),
        |kind, content| {
            let response = OpenSessionResponse::parse(content).ok()?;
            // a refusal may come without our id, or be nothing but tag and status
            let ours = response.tag == tag
                && (response.console_id == console_id || !response.status.is_ok());
            (kind == payload::OPEN_SESSION_RESPONSE && ours).then_some(response)
        },
    )
    .await
    .map_err(silent(Stopped::Silent))?;
    let Some(accepted) = response.accepted else {
        return Err(refused_with(target, response.status));
    };
    if accepted.algorithms != suite.algorithms() {
        return Err(Stopped::Suite);
    }

    let console_random: [u8; 16] = rand::random();
    let role = NAME_ONLY | target.privilege.level();
    let username = target.username.clone().into_bytes();
    let rakp1 = Rakp1 {
        tag,
        bmc_id: accepted.bmc_id,
        console_random,
        role,
        username: username.clone(),
    }
    .encode();
    let rakp2 = step(
        link,
        call,
        RAKP_ATTEMPTS,
        (payload::RAKP1, &rakp1),
        |kind, content| {
            let rakp2 = Rakp2::parse(content).ok()?;
            let ours =
                rakp2.tag == tag && (rakp2.console_id == console_id || !rakp2.status.is_ok());
            (kind == payload::RAKP2 && ours).then_some(rakp2)
        },
    )
    .await
    .map_err(silent(Stopped::Lost))?;
    let Some(BmcProof {
        bmc_random,
        guid,
        code,
    }) = rakp2.proof
    else {
        return Err(refused_with(target, rakp2.status));
    };
    let handshake = Handshake {
        suite,
        console_id,
        bmc_id: accepted.bmc_id,
        console_random,
        bmc_random,
        guid,
        role,
        username,
    };
    let password = target.password.expose_secret().as_bytes();
    if code.len() != suite.digest_len() {
        let what = Malformed("RAKP message 2 with a code of the wrong length");
        return Err(Stopped::Failed(call.malformed(what)));
    }
    if !handshake.verify_rakp2(password, &code) {
        // tell the BMC, so that it frees the session; it does not answer (section 13.22)
        let farewell = RakpCode {
            tag,
            status: SetupStatus::INVALID_INTEGRITY_CHECK,
            session_id: accepted.bmc_id,
            code: vec![],
        };
        link.send_and_forget(&setup(payload::RAKP3, &farewell.encode()));
        return Err(Stopped::Failed(refused(
            target,
            AuthenticationFailure::Password,
        )));
    }

    let code = handshake.rakp3_code(password);
    let rakp3 = RakpCode {
        tag,
        status: SetupStatus::OK,
        session_id: accepted.bmc_id,
        code,
    }
    .encode();
    let rakp4 = step(
        link,
        call,
        RAKP_ATTEMPTS,
        (payload::RAKP3, &rakp3),
        |kind, content| {
            let rakp4 = RakpCode::parse(content).ok()?;
            let ours =
                rakp4.tag == tag && (rakp4.session_id == console_id || !rakp4.status.is_ok());
            (kind == payload::RAKP4 && ours).then_some(rakp4)
        },
    )
    .await
    .map_err(silent(Stopped::Lost))?;
    if !rakp4.status.is_ok() {
        return Err(refused_with(target, rakp4.status));
    }
    let sik = handshake.sik(password, target.kg.as_ref().map(|kg| kg.expose_secret()));
    if !handshake.verify_rakp4(&sik, &rakp4.code) {
        return Err(Stopped::Failed(refused(
            target,
            AuthenticationFailure::BmcKey,
        )));
    }
    Ok(Talk::new(handshake.keys(&sik), console_id, accepted.bmc_id))
}
