//! Setting up a session: open session, RAKP messages 1 to 4 and their codes (sections 13.17 to 13.24, 13.28, 13.31).

use zeroize::Zeroizing;

use crate::completion::SetupStatus;
use crate::crypto::{Algorithms, CipherSuite, SessionKeys};
use crate::wire::{Malformed, Reader};

/// Role flag: look the user up by name only, whatever level he asks for.
pub(crate) const NAME_ONLY: u8 = 0x10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenSessionRequest {
    pub tag: u8,
    /// 0: the highest that the BMC gives.
    pub privilege: u8,
    pub console_id: u32,
    /// None where the console leaves the choice to the BMC.
    pub authentication: Option<u8>,
    pub integrity: Option<u8>,
    pub confidentiality: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenSessionResponse {
    pub tag: u8,
    pub status: SetupStatus,
    pub console_id: u32,
    /// The rest is absent in a refusal.
    pub accepted: Option<Accepted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub privilege: u8,
    pub bmc_id: u32,
    pub algorithms: Algorithms,
}

/// One algorithm record: kind, length 8, number. A record of length 0 leaves the choice open.
fn push_algorithm(out: &mut Vec<u8>, kind: u8, number: Option<u8>) {
    match number {
        Some(number) => out.extend_from_slice(&[kind, 0, 0, 8, number, 0, 0, 0]),
        None => out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]),
    }
}

/// The session id behind tag and status of a refusal. OpenIPMI's BMC sends nothing behind these two.
fn refused_session(mut rest: Reader<'_>) -> u32 {
    rest.take(2).and_then(|_| rest.u32()).unwrap_or(0)
}

fn read_algorithm(reader: &mut Reader<'_>, kind: u8) -> Result<Option<u8>, Malformed> {
    let [got, _, _, length, number, _, _, _] = reader.array()?;
    if got != kind {
        return Err(Malformed("algorithms of the session in a wrong order"));
    }
    Ok((length != 0).then_some(number & 0x3f))
}

impl OpenSessionRequest {
    pub fn proposing(suite: CipherSuite, tag: u8, console_id: u32) -> Self {
        let algorithms = suite.algorithms();
        Self {
            tag,
            privilege: 0,
            console_id,
            authentication: Some(algorithms.authentication),
            integrity: Some(algorithms.integrity),
            confidentiality: Some(algorithms.confidentiality),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.privilege, 0, 0];
        out.extend_from_slice(&self.console_id.to_le_bytes());
        push_algorithm(&mut out, 0, self.authentication);
        push_algorithm(&mut out, 1, self.integrity);
        push_algorithm(&mut out, 2, self.confidentiality);
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "open session request too short");
        let [tag, privilege, _, _] = reader.array()?;
        Ok(Self {
            tag,
            privilege: privilege & 0x0f,
            console_id: reader.u32()?,
            authentication: read_algorithm(&mut reader, 0)?,
            integrity: read_algorithm(&mut reader, 1)?,
            confidentiality: read_algorithm(&mut reader, 2)?,
        })
    }
}

impl OpenSessionResponse {
    pub fn encode(&self) -> Vec<u8> {
        let privilege = self.accepted.map_or(0, |accepted| accepted.privilege);
        let mut out = vec![self.tag, self.status.0, privilege, 0];
        out.extend_from_slice(&self.console_id.to_le_bytes());
        if let Some(accepted) = &self.accepted {
            out.extend_from_slice(&accepted.bmc_id.to_le_bytes());
            push_algorithm(&mut out, 0, Some(accepted.algorithms.authentication));
            push_algorithm(&mut out, 1, Some(accepted.algorithms.integrity));
            push_algorithm(&mut out, 2, Some(accepted.algorithms.confidentiality));
        }
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "open session response too short");
        let (tag, status) = (reader.u8()?, SetupStatus(reader.u8()?));
        if !status.is_ok() {
            return Ok(Self { tag, status, console_id: refused_session(reader), accepted: None });
        }
        let [privilege, _] = reader.array()?;
        let console_id = reader.u32()?;
        let bmc_id = reader.u32()?;
        let algorithms = Algorithms {
            authentication: read_algorithm(&mut reader, 0)?.unwrap_or(0),
            integrity: read_algorithm(&mut reader, 1)?.unwrap_or(0),
            confidentiality: read_algorithm(&mut reader, 2)?.unwrap_or(0),
        };
        Ok(Self { tag, status, console_id, accepted: Some(Accepted { privilege, bmc_id, algorithms }) })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp1 {
    pub tag: u8,
    pub bmc_id: u32,
    pub console_random: [u8; 16],
    /// Privilege level, with [`NAME_ONLY`] or without.
    pub role: u8,
    pub username: Vec<u8>,
}

impl Rakp1 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, 0, 0, 0];
        out.extend_from_slice(&self.bmc_id.to_le_bytes());
        out.extend_from_slice(&self.console_random);
        out.extend_from_slice(&[self.role, 0, 0, self.username.len() as u8]);
        out.extend_from_slice(&self.username);
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "RAKP message 1 too short");
        let [tag, _, _, _] = reader.array()?;
        let bmc_id = reader.u32()?;
        let console_random = reader.array()?;
        let [role, _, _, length] = reader.array()?;
        let username = reader.take(usize::from(length))?.to_vec();
        Ok(Self { tag, bmc_id, console_random, role, username })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp2 {
    pub tag: u8,
    pub status: SetupStatus,
    pub console_id: u32,
    /// Absent in a refusal.
    pub proof: Option<BmcProof>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BmcProof {
    pub bmc_random: [u8; 16],
    pub guid: [u8; 16],
    pub code: Vec<u8>,
}

impl Rakp2 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend_from_slice(&self.console_id.to_le_bytes());
        if let Some(proof) = &self.proof {
            out.extend_from_slice(&proof.bmc_random);
            out.extend_from_slice(&proof.guid);
            out.extend_from_slice(&proof.code);
        }
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "RAKP message 2 too short");
        let (tag, status) = (reader.u8()?, SetupStatus(reader.u8()?));
        if !status.is_ok() {
            return Ok(Self { tag, status, console_id: refused_session(reader), proof: None });
        }
        reader.take(2)?;
        let console_id = reader.u32()?;
        let proof = BmcProof { bmc_random: reader.array()?, guid: reader.array()?, code: reader.rest().to_vec() };
        Ok(Self { tag, status, console_id, proof: Some(proof) })
    }
}

/// RAKP messages 3 and 4 have one form: the peer's session id and a code, absent when the status is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RakpCode {
    pub tag: u8,
    pub status: SetupStatus,
    /// Message 3: the BMC's, message 4: the console's.
    pub session_id: u32,
    pub code: Vec<u8>,
}

impl RakpCode {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend_from_slice(&self.session_id.to_le_bytes());
        out.extend_from_slice(&self.code);
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "RAKP message 3 or 4 too short");
        let (tag, status) = (reader.u8()?, SetupStatus(reader.u8()?));
        if !status.is_ok() {
            return Ok(Self { tag, status, session_id: refused_session(reader), code: Vec::new() });
        }
        reader.take(2)?;
        Ok(Self { tag, status, session_id: reader.u32()?, code: reader.rest().to_vec() })
    }
}

/// Everything both sides agree on during the exchange; the codes are made of it.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    pub suite: CipherSuite,
    pub console_id: u32,
    pub bmc_id: u32,
    pub console_random: [u8; 16],
    pub bmc_random: [u8; 16],
    pub guid: [u8; 16],
    /// The byte of RAKP message 1, flag included.
    pub role: u8,
    pub username: Vec<u8>,
}

impl Handshake {
    fn name_length(&self) -> u8 {
        self.username.len() as u8
    }

    fn with_rakp2<T>(&self, apply: impl FnOnce(&[&[u8]]) -> T) -> T {
        apply(&[
            &self.console_id.to_le_bytes(),
            &self.bmc_id.to_le_bytes(),
            &self.console_random,
            &self.bmc_random,
            &self.guid,
            &[self.role, self.name_length()],
            &self.username,
        ])
    }

    fn with_rakp3<T>(&self, apply: impl FnOnce(&[&[u8]]) -> T) -> T {
        apply(&[&self.bmc_random, &self.console_id.to_le_bytes(), &[self.role, self.name_length()], &self.username])
    }

    fn with_rakp4<T>(&self, apply: impl FnOnce(&[&[u8]]) -> T) -> T {
        apply(&[&self.console_random, &self.bmc_id.to_le_bytes(), &self.guid])
    }

    /// The BMC's proof that it knows the password.
    pub fn rakp2_code(&self, password: &[u8]) -> Vec<u8> {
        self.with_rakp2(|parts| self.suite.hmac(password, parts))
    }

    pub fn verify_rakp2(&self, password: &[u8], code: &[u8]) -> bool {
        self.with_rakp2(|parts| self.suite.verify(password, parts, code, self.suite.digest_len()))
    }

    /// The console's proof that it knows the password.
    pub fn rakp3_code(&self, password: &[u8]) -> Vec<u8> {
        self.with_rakp3(|parts| self.suite.hmac(password, parts))
    }

    pub fn verify_rakp3(&self, password: &[u8], code: &[u8]) -> bool {
        self.with_rakp3(|parts| self.suite.verify(password, parts, code, self.suite.digest_len()))
    }

    /// Session integrity key: made with the BMC key Kg, or with the password where there is none.
    pub fn sik(&self, password: &[u8], kg: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
        let key = kg.unwrap_or(password);
        let role = [self.role, self.name_length()];
        Zeroizing::new(self.suite.hmac(key, &[&self.console_random, &self.bmc_random, &role, &self.username]))
    }

    pub fn rakp4_code(&self, sik: &[u8]) -> Vec<u8> {
        let mut code = self.with_rakp4(|parts| self.suite.hmac(sik, parts));
        code.truncate(self.suite.integrity_len());
        code
    }

    pub fn verify_rakp4(&self, sik: &[u8], code: &[u8]) -> bool {
        self.with_rakp4(|parts| self.suite.verify(sik, parts, code, self.suite.integrity_len()))
    }

    pub fn keys(&self, sik: &[u8]) -> SessionKeys {
        SessionKeys::derive(self.suite, sik)
    }
}
