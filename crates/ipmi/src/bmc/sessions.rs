//! The BMC's end of session set-up and of the packets in a session (sections 13.17 to 13.24, 6.12).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::boot::BootParameters;
use super::commands::{Effect, Executed};
use super::{Chassis, Event, Settings};
use crate::completion::SetupStatus;
use crate::crypto::{Algorithms, CipherSuite, SessionKeys};
use crate::message::{Request, Response};
use crate::packet::{Packet, SessionPacket, payload, plain, pong, seal, setup};
use crate::privilege::Privilege;
use crate::rakp::{
    Accepted, BmcProof, Handshake, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, RakpCode,
};
use crate::window::Window;

/// Silence that ends a session (section 6.12.15).
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence that ends the set-up of one.
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a repeated request gets the first one's answer instead of being carried out again.
const REPEAT_WINDOW: Duration = Duration::from_secs(10);

/// A BMC without its socket: datagrams in, datagrams out.
pub(crate) struct Bmc {
    pub(super) settings: Settings,
    pub(super) chassis: Arc<dyn Chassis>,
    pub(super) boot: BootParameters,
    sessions: Vec<Session>,
}

struct Session {
    id: u32,
    console_id: u32,
    peer: SocketAddr,
    suite: CipherSuite,
    open_tag: u8,
    /// Limit set when the session was proposed.
    limit: Privilege,
    heard: Instant,
    stage: Stage,
}

enum Stage {
    Opened,
    /// RAKP message 2 was sent; kept for a repeated message 1.
    Challenged {
        handshake: Handshake,
        rakp2: Vec<u8>,
        granted: Privilege,
    },
    Active(Box<Active>),
}

struct Active {
    user: String,
    keys: SessionKeys,
    /// Kept for a repeated message 3.
    rakp3: Vec<u8>,
    rakp4: Vec<u8>,
    sent: u32,
    window: Window,
    /// What the session may have, and what it has.
    limit: Privilege,
    privilege: Privilege,
    last: Option<(Instant, Request, Response)>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub session: u32,
    pub limit: Privilege,
    pub privilege: Privilege,
}

impl Bmc {
    pub fn new(settings: Settings, chassis: Arc<dyn Chassis>) -> Self {
        Self {
            settings,
            chassis,
            boot: BootParameters::default(),
            sessions: Vec::new(),
        }
    }

    /// When [`Bmc::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.boot.deadline()
    }

    /// Does what is due by the clock.
    pub async fn tick(&mut self) {
        self.expire_boot_flags(Instant::now()).await;
    }

    /// The answer, if there is one.
    pub async fn handle(&mut self, datagram: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
        match Packet::parse(datagram).ok()? {
            Packet::Ping { tag } => Some(pong(tag)),
            Packet::Pong { .. } => None,
            Packet::Plain {
                session_id: 0,
                message,
            } => self.outside(message).map(|message| plain(&message)),
            // IPMI 1.5 sessions are not offered
            Packet::Plain { .. } => None,
            Packet::Session(packet) if packet.session_id == 0 => self.set_up(&packet, peer),
            Packet::Session(packet) => self.inside(&packet, peer).await,
        }
    }

    fn outside(&self, message: &[u8]) -> Option<Vec<u8>> {
        let request = Request::parse(message).ok()?;
        let response = self.discover(&request);
        Some(request.encode_response(&response))
    }

    fn set_up(&mut self, packet: &SessionPacket<'_>, peer: SocketAddr) -> Option<Vec<u8>> {
        let now = Instant::now();
        self.sessions.retain(|session| {
            let limit = if matches!(session.stage, Stage::Active(_)) {
                SESSION_TIMEOUT
            } else {
                SETUP_TIMEOUT
            };
            now.saturating_duration_since(session.heard) < limit
        });
        match packet.payload_type {
            payload::OPEN_SESSION_REQUEST => {
                let answer =
                    self.open_session(&OpenSessionRequest::parse(packet.payload).ok()?, peer);
                Some(setup(payload::OPEN_SESSION_RESPONSE, &answer.encode()))
            }
            payload::RAKP1 => {
                let answer = self.rakp1(&Rakp1::parse(packet.payload).ok()?)?;
                Some(setup(payload::RAKP2, &answer))
            }
            payload::RAKP3 => {
                let answer = self.rakp3(&RakpCode::parse(packet.payload).ok()?)?;
                Some(setup(payload::RAKP4, &answer))
            }
            payload::IPMI if !packet.encrypted && !packet.authenticated => self
                .outside(packet.payload)
                .map(|message| setup(payload::IPMI, &message)),
            _ => None,
        }
    }

    fn open_session(
        &mut self,
        request: &OpenSessionRequest,
        peer: SocketAddr,
    ) -> OpenSessionResponse {
        let answer = |status, accepted| OpenSessionResponse {
            tag: request.tag,
            status,
            console_id: request.console_id,
            accepted,
        };
        let suite = match self.choose(request) {
            Ok(suite) => suite,
            Err(status) => return answer(status, None),
        };
        let limit = match request.privilege {
            0 => Privilege::Administrator,
            level => match Privilege::from_level(level) {
                Some(limit) if limit <= Privilege::Administrator => limit,
                _ => return answer(SetupStatus::INVALID_ROLE, None),
            },
        };
        let repeated = self.sessions.iter().find(|session| {
            matches!(session.stage, Stage::Opened)
                && (session.peer, session.console_id, session.open_tag)
                    == (peer, request.console_id, request.tag)
        });
        let id = match repeated {
            Some(session) => session.id,
            None if self.sessions.len() >= self.settings.max_sessions => {
                return answer(SetupStatus::INSUFFICIENT_RESOURCES, None);
            }
            None => {
                let id = self.free_id();
                self.sessions.push(Session {
                    id,
                    console_id: request.console_id,
                    peer,
                    suite,
                    open_tag: request.tag,
                    limit,
                    heard: Instant::now(),
                    stage: Stage::Opened,
                });
                id
            }
        };
        answer(
            SetupStatus::OK,
            Some(Accepted {
                privilege: limit.level(),
                bmc_id: id,
                algorithms: suite.algorithms(),
            }),
        )
    }

    fn free_id(&self) -> u32 {
        loop {
            let id = rand::random::<u32>();
            if id != 0 && self.sessions.iter().all(|session| session.id != id) {
                return id;
            }
        }
    }

    /// The first of our suites that fits what is proposed.
    fn choose(&self, request: &OpenSessionRequest) -> Result<CipherSuite, SetupStatus> {
        let fits = |proposed: Option<u8>, ours: u8| proposed.is_none_or(|number| number == ours);
        let suites = &self.settings.suites;
        let offers = |proposed: Option<u8>, part: fn(Algorithms) -> u8| {
            suites
                .iter()
                .any(|suite| fits(proposed, part(suite.algorithms())))
        };
        if !offers(request.authentication, |algorithms| {
            algorithms.authentication
        }) {
            return Err(SetupStatus::INVALID_AUTHENTICATION);
        }
        if !offers(request.integrity, |algorithms| algorithms.integrity) {
            return Err(SetupStatus::INVALID_INTEGRITY);
        }
        if !offers(request.confidentiality, |algorithms| {
            algorithms.confidentiality
        }) {
            return Err(SetupStatus::INVALID_CONFIDENTIALITY);
        }
        let whole = suites.iter().find(|suite| {
            let ours = suite.algorithms();
            fits(request.authentication, ours.authentication)
                && fits(request.integrity, ours.integrity)
                && fits(request.confidentiality, ours.confidentiality)
        });
        whole.copied().ok_or(SetupStatus::NO_SUITE_MATCH)
    }

    fn rakp1(&mut self, request: &Rakp1) -> Option<Vec<u8>> {
        let index = self
            .sessions
            .iter()
            .position(|session| session.id == request.bmc_id)?;
        let session = self.sessions.get_mut(index)?;
        session.heard = Instant::now();
        match &session.stage {
            Stage::Active(_) => return None,
            Stage::Challenged {
                handshake, rakp2, ..
            } if handshake.console_random == request.console_random
                && handshake.username == request.username =>
            {
                return Some(rakp2.clone());
            }
            _ => {}
        }
        let console_id = session.console_id;
        let refuse = |status| {
            Rakp2 {
                tag: request.tag,
                status,
                console_id,
                proof: None,
            }
            .encode()
        };
        let user = self.settings.users.get(&request.username);
        let granted = Privilege::from_level(request.role);
        let verdict = match (user, granted) {
            (None, _) => Err(SetupStatus::UNAUTHORIZED_NAME),
            (_, None) => Err(SetupStatus::INVALID_ROLE),
            (Some(user), Some(level)) if level > user.privilege || level > session.limit => {
                Err(SetupStatus::UNAUTHORIZED_ROLE)
            }
            (Some(user), Some(level)) => Ok((user, level)),
        };
        let (user, granted) = match verdict {
            Ok(granted) => granted,
            Err(status) => {
                let user = String::from_utf8_lossy(&request.username).into_owned();
                self.sessions.swap_remove(index);
                self.observe(|| Event::LoginRefused { user });
                return Some(refuse(status));
            }
        };
        let handshake = Handshake {
            suite: session.suite,
            console_id,
            bmc_id: session.id,
            console_random: request.console_random,
            bmc_random: rand::random(),
            guid: self.settings.guid,
            role: request.role,
            username: request.username.clone(),
        };
        let code = handshake.rakp2_code(user.password.expose_secret().as_bytes());
        let proof = BmcProof {
            bmc_random: handshake.bmc_random,
            guid: handshake.guid,
            code,
        };
        let rakp2 = Rakp2 {
            tag: request.tag,
            status: SetupStatus::OK,
            console_id,
            proof: Some(proof),
        }
        .encode();
        session.stage = Stage::Challenged {
            handshake,
            rakp2: rakp2.clone(),
            granted,
        };
        Some(rakp2)
    }

    fn rakp3(&mut self, request: &RakpCode) -> Option<Vec<u8>> {
        let index = self
            .sessions
            .iter()
            .position(|session| session.id == request.session_id)?;
        let session = self.sessions.get_mut(index)?;
        session.heard = Instant::now();
        let (handshake, granted) = match &session.stage {
            Stage::Opened => return None,
            Stage::Active(active) => {
                return (active.rakp3 == request.code).then(|| active.rakp4.clone());
            }
            Stage::Challenged {
                handshake, granted, ..
            } => (handshake.clone(), *granted),
        };
        let name = String::from_utf8_lossy(&handshake.username).into_owned();
        let user = self
            .settings
            .users
            .get(&handshake.username)
            .filter(|_| request.status.is_ok());
        let password = user.map(|user| user.password.expose_secret().as_bytes());
        let Some(password) =
            password.filter(|password| handshake.verify_rakp3(password, &request.code))
        else {
            let (console_id, given_up) = (session.console_id, !request.status.is_ok());
            self.sessions.swap_remove(index);
            self.observe(|| Event::LoginRefused { user: name });
            let status = SetupStatus::INVALID_INTEGRITY_CHECK;
            // a console that gave up itself wants no answer
            return (!given_up).then(|| {
                RakpCode {
                    tag: request.tag,
                    status,
                    session_id: console_id,
                    code: vec![],
                }
                .encode()
            });
        };
        let sik = handshake.sik(password, self.settings.key());
        let code = handshake.rakp4_code(&sik);
        let rakp4 = RakpCode {
            tag: request.tag,
            status: SetupStatus::OK,
            session_id: session.console_id,
            code,
        }
        .encode();
        let suite = session.suite;
        session.stage = Stage::Active(Box::new(Active {
            user: name.clone(),
            keys: handshake.keys(&sik),
            rakp3: request.code.clone(),
            rakp4: rakp4.clone(),
            sent: 0,
            window: Window::default(),
            limit: granted,
            // every session starts as a user's, a callback user's lower
            privilege: granted.min(Privilege::User),
            last: None,
        }));
        self.observe(|| Event::Login { user: name, suite });
        Some(rakp4)
    }

    async fn inside(&mut self, packet: &SessionPacket<'_>, peer: SocketAddr) -> Option<Vec<u8>> {
        let now = Instant::now();
        let index = self
            .sessions
            .iter()
            .position(|session| session.id == packet.session_id)?;
        let session = self.sessions.get_mut(index)?;
        let console_id = session.console_id;
        let Stage::Active(active) = &mut session.stage else {
            return None;
        };
        if now.saturating_duration_since(session.heard) >= SESSION_TIMEOUT {
            self.sessions.swap_remove(index);
            return None;
        }
        let message = packet.unseal(&active.keys).ok()?;
        if packet.payload_type != payload::IPMI || !active.window.accept(packet.sequence) {
            return None;
        }
        (session.heard, session.peer) = (now, peer);
        let request = Request::parse(&message).ok()?;
        let caller = Caller {
            session: packet.session_id,
            limit: active.limit,
            privilege: active.privilege,
        };
        let repeated = active.last.as_ref().filter(|(at, earlier, _)| {
            *earlier == request && now.saturating_duration_since(*at) < REPEAT_WINDOW
        });
        let (response, effect) = match repeated {
            Some((_, _, response)) => (response.clone(), Effect::None),
            None => {
                let user = active.user.clone();
                let Executed {
                    response,
                    effect,
                    once,
                } = self.execute(&caller, &request).await;
                let Request {
                    netfn,
                    command,
                    ref data,
                    ..
                } = request;
                let (data, completion_code) = (data.clone(), response.completion_code);
                self.observe(|| Event::Command {
                    user,
                    netfn,
                    command,
                    data,
                    completion_code,
                });
                if once && let Some(active) = self.active(packet.session_id) {
                    active.last = Some((now, request.clone(), response.clone()));
                }
                (response, effect)
            }
        };
        let active = self.active(packet.session_id)?;
        if let Effect::Privilege(level) = effect {
            active.privilege = level;
        }
        active.sent = active.sent.checked_add(1).unwrap_or(1);
        let answer = seal(
            &active.keys,
            payload::IPMI,
            console_id,
            active.sent,
            &request.encode_response(&response),
            rand::random(),
        );
        match effect {
            Effect::Close(id) => self.close(id),
            Effect::Restart => {
                self.sessions.clear();
                self.boot = BootParameters::default();
            }
            Effect::None | Effect::Privilege(_) => {}
        }
        Some(answer)
    }

    fn active(&mut self, id: u32) -> Option<&mut Active> {
        self.sessions
            .iter_mut()
            .find(|session| session.id == id)
            .and_then(|session| match &mut session.stage {
                Stage::Active(active) => Some(&mut **active),
                _ => None,
            })
    }

    pub(super) fn has_session(&self, id: u32) -> bool {
        self.sessions
            .iter()
            .any(|session| session.id == id && matches!(session.stage, Stage::Active(_)))
    }

    fn close(&mut self, id: u32) {
        self.sessions.retain(|session| session.id != id);
        self.boot.release(id);
    }

    fn observe(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.settings.observer {
            observer(event());
        }
    }
}
