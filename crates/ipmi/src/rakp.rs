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
            return Ok(Self {
                tag,
                status,
                console_id: refused_session(reader),
                accepted: None,
            });
        }
        let [privilege, _] = reader.array()?;
        let console_id = reader.u32()?;
        let bmc_id = reader.u32()?;
        let algorithms = Algorithms {
            authentication: read_algorithm(&mut reader, 0)?.unwrap_or(0),
            integrity: read_algorithm(&mut reader, 1)?.unwrap_or(0),
            confidentiality: read_algorithm(&mut reader, 2)?.unwrap_or(0),
        };
        Ok(Self {
            tag,
            status,
            console_id,
            accepted: Some(Accepted {
                privilege,
                bmc_id,
                algorithms,
            }),
        })
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
        Ok(Self {
            tag,
            bmc_id,
            console_random,
            role,
            username,
        })
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
            return Ok(Self {
                tag,
                status,
                console_id: refused_session(reader),
                proof: None,
            });
        }
        reader.take(2)?;
        let console_id = reader.u32()?;
        let proof = BmcProof {
            bmc_random: reader.array()?,
            guid: reader.array()?,
            code: reader.rest().to_vec(),
        };
        Ok(Self {
            tag,
            status,
            console_id,
            proof: Some(proof),
        })
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
            return Ok(Self {
                tag,
                status,
                session_id: refused_session(reader),
                code: Vec::new(),
            });
        }
        reader.take(2)?;
        Ok(Self {
            tag,
            status,
            session_id: reader.u32()?,
            code: reader.rest().to_vec(),
        })
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
        apply(&[
            &self.bmc_random,
            &self.console_id.to_le_bytes(),
            &[self.role, self.name_length()],
            &self.username,
        ])
    }

    fn with_rakp4<T>(&self, apply: impl FnOnce(&[&[u8]]) -> T) -> T {
        apply(&[&self.console_random, &self.bmc_id.to_le_bytes(), &self.guid])
    }

    /// The BMC's proof that it knows the password.
    pub fn rakp2_code(&self, password: &[u8]) -> Vec<u8> {
        self.with_rakp2(|parts| self.suite.hmac(password, parts))
    }

    pub fn verify_rakp2(&self, password: &[u8], code: &[u8]) -> bool {
        self.with_rakp2(|parts| {
            self.suite
                .verify(password, parts, code, self.suite.digest_len())
        })
    }

    /// The console's proof that it knows the password.
    pub fn rakp3_code(&self, password: &[u8]) -> Vec<u8> {
        self.with_rakp3(|parts| self.suite.hmac(password, parts))
    }

    pub fn verify_rakp3(&self, password: &[u8], code: &[u8]) -> bool {
        self.with_rakp3(|parts| {
            self.suite
                .verify(password, parts, code, self.suite.digest_len())
        })
    }

    /// Session integrity key: made with the BMC key Kg, or with the password where there is none.
    pub fn sik(&self, password: &[u8], kg: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
        let key = kg.unwrap_or(password);
        let role = [self.role, self.name_length()];
        Zeroizing::new(self.suite.hmac(
            key,
            &[
                &self.console_random,
                &self.bmc_random,
                &role,
                &self.username,
            ],
        ))
    }

    pub fn rakp4_code(&self, sik: &[u8]) -> Vec<u8> {
        let mut code = self.with_rakp4(|parts| self.suite.hmac(sik, parts));
        code.truncate(self.suite.integrity_len());
        code
    }

    pub fn verify_rakp4(&self, sik: &[u8], code: &[u8]) -> bool {
        self.with_rakp4(|parts| {
            self.suite
                .verify(sik, parts, code, self.suite.integrity_len())
        })
    }

    pub fn keys(&self, sik: &[u8]) -> SessionKeys {
        SessionKeys::derive(self.suite, sik)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::message::Request;
    use crate::packet::{Packet, payload, seal, setup};

    fn bytes(hexed: &str) -> Vec<u8> {
        hex::decode(hexed).unwrap()
    }

    /// Logins of ipmitool 1.8.19, recorded from its debugging output: its packets, and the values between them.
    struct Recorded {
        suite: CipherSuite,
        kg: Option<&'static [u8]>,
        open_session: &'static str,
        rakp1: &'static str,
        bmc_random: &'static str,
        guid: &'static str,
        rakp2_code: &'static str,
        rakp3: &'static str,
        sik: &'static str,
        rakp4_code: &'static str,
        set_privilege: &'static str,
    }

    fn check(recorded: &Recorded) {
        let datagram = bytes(recorded.open_session);
        let Ok(Packet::Session(packet)) = Packet::parse(&datagram) else {
            panic!("open session")
        };
        let open = OpenSessionRequest::parse(packet.payload).unwrap();
        assert_eq!(
            open,
            OpenSessionRequest::proposing(recorded.suite, 0, 0xa0a2_a3a4)
        );
        assert_eq!(
            setup(payload::OPEN_SESSION_REQUEST, &open.encode()),
            datagram
        );

        let datagram = bytes(recorded.rakp1);
        let Ok(Packet::Session(packet)) = Packet::parse(&datagram) else {
            panic!("RAKP message 1")
        };
        let rakp1 = Rakp1::parse(packet.payload).unwrap();
        assert_eq!(
            (rakp1.role, rakp1.username.as_slice()),
            (0x14, b"admin".as_slice())
        );
        assert_eq!(setup(payload::RAKP1, &rakp1.encode()), datagram);

        let handshake = Handshake {
            suite: recorded.suite,
            console_id: open.console_id,
            bmc_id: rakp1.bmc_id,
            console_random: rakp1.console_random,
            bmc_random: bytes(recorded.bmc_random).try_into().unwrap(),
            guid: bytes(recorded.guid).try_into().unwrap(),
            role: rakp1.role,
            username: rakp1.username,
        };
        let password = b"secret12";
        assert_eq!(
            hex::encode(handshake.rakp2_code(password)),
            recorded.rakp2_code
        );
        assert!(handshake.verify_rakp2(password, &bytes(recorded.rakp2_code)));
        assert!(!handshake.verify_rakp2(b"secret13", &bytes(recorded.rakp2_code)));

        let code = handshake.rakp3_code(password);
        let rakp3 = RakpCode {
            tag: 0,
            status: SetupStatus::OK,
            session_id: handshake.bmc_id,
            code,
        };
        assert_eq!(
            hex::encode(setup(payload::RAKP3, &rakp3.encode())),
            recorded.rakp3
        );
        assert!(
            handshake.verify_rakp3(password, &rakp3.code)
                && !handshake.verify_rakp3(b"", &rakp3.code)
        );

        let sik = handshake.sik(password, recorded.kg);
        assert_eq!(hex::encode(&*sik), recorded.sik);
        assert_eq!(hex::encode(handshake.rakp4_code(&sik)), recorded.rakp4_code);
        assert!(handshake.verify_rakp4(&sik, &bytes(recorded.rakp4_code)));

        // the first packet of the session: set session privilege level, administrator
        let datagram = bytes(recorded.set_privilege);
        let Ok(Packet::Session(packet)) = Packet::parse(&datagram) else {
            panic!("packet of the session")
        };
        let keys = handshake.keys(&sik);
        let message = packet.unseal(&keys).unwrap();
        let request = Request::parse(&message).unwrap();
        assert_eq!(
            (request.netfn, request.command, request.data.as_slice()),
            (0x06, 0x3b, [0x04].as_slice())
        );
        let iv = packet.payload[..16].try_into().unwrap();
        assert_eq!(
            seal(
                &keys,
                payload::IPMI,
                packet.session_id,
                packet.sequence,
                &message,
                iv
            ),
            datagram
        );
    }

    #[test]
    fn a_recorded_login_with_suite_3_and_bmc_key_comes_out_the_same() {
        check(&Recorded {
            suite: CipherSuite::Suite3,
            kg: Some(b"aBMCkeyOf16bytes"),
            open_session: "0600ff0706100000000000000000200000000000a4a3a2a0000000080100000001000008010000000200000801000000",
            rakp1: "0600ff0706120000000000000000210000000000020000001b1131f4c61e4aa2efda227c8f7e46bc1400000561646d696e",
            bmc_random: "db50a0b5393da5f2599a176a9d908d01",
            guid: "a123456789abcdefa123456789abcdef",
            rakp2_code: "8520cb1f3651c92debdb2e973a215b05dd004868",
            rakp3: "0600ff07061400000000000000001c000000000002000000d4f90d97243b9f04237d00fa0412ec16a15836f9",
            sik: "b2e7ceaf65781e740be96aaa5f21978a2e54240b",
            rakp4_code: "979c681a904cc56ad9be61c2",
            set_privilege: "0600ff0706c002000000030000002000ce42a423e8b93bbb977ad9fefa9ab2acb5db08965d08adc0c5b940020c8de657ffff0207cf155b33cc599a6676cc54b0",
        });
    }

    #[test]
    fn a_recorded_login_with_suite_17_comes_out_the_same() {
        check(&Recorded {
            suite: CipherSuite::Suite17,
            kg: None,
            open_session: "0600ff0706100000000000000000200000000000a4a3a2a0000000080300000001000008040000000200000801000000",
            rakp1: "0600ff070612000000000000000021000000000044cc7094c197bd389ea93c5d2f01c56c94b080271400000561646d696e",
            bmc_random: "37d335903eff53561740f76335011218",
            guid: "4a9852e8778146bdbacbcd066ef87b4f",
            rakp2_code: "7ee0e978354e32ad6bae35c68846467a26bc453108501f2f45744bb6b24dee0d",
            rakp3: "0600ff070614000000000000000028000000000044cc70946d5b1d75ac05a474c0e0a565a41a2476474661e3b0c3d48f9ff6bcbb50b74b6b",
            sik: "0c626caa2760817e99301aef0282d912d7ae55a6a2d3387fed3a635965638da6",
            rakp4_code: "9867df036123e39972213d6e47dd436f",
            set_privilege: "0600ff0706c044cc7094030000002000cc2682911f0f1a3953e60475ee9a8358cce42fed7923e596a6dda9007abb14e6ffff020765b8af478a667f624fbd70de3444db30",
        });
    }

    #[test]
    fn answers_go_both_ways_and_refusals_may_be_short() {
        let accepted = Accepted {
            privilege: 4,
            bmc_id: 7,
            algorithms: CipherSuite::Suite3.algorithms(),
        };
        let response = OpenSessionResponse {
            tag: 1,
            status: SetupStatus::OK,
            console_id: 9,
            accepted: Some(accepted),
        };
        assert_eq!(response.encode().len(), 36);
        assert_eq!(
            OpenSessionResponse::parse(&response.encode()).unwrap(),
            response
        );
        let proof = BmcProof {
            bmc_random: [1; 16],
            guid: [2; 16],
            code: vec![3; 20],
        };
        let rakp2 = Rakp2 {
            tag: 1,
            status: SetupStatus::OK,
            console_id: 9,
            proof: Some(proof),
        };
        assert_eq!(Rakp2::parse(&rakp2.encode()).unwrap(), rakp2);
        for (refusal, console_id) in [
            (vec![1, 4], 0),
            (vec![1, 4, 0, 0], 0),
            (vec![1, 4, 0, 0, 9, 0, 0, 0], 9),
        ] {
            let response = OpenSessionResponse::parse(&refusal).unwrap();
            assert_eq!(
                (response.status.0, response.console_id, response.accepted),
                (4, console_id, None)
            );
            assert_eq!(
                Rakp2::parse(&refusal).unwrap(),
                Rakp2 {
                    tag: 1,
                    status: SetupStatus(4),
                    console_id,
                    proof: None
                }
            );
            assert_eq!(RakpCode::parse(&refusal).unwrap().session_id, console_id);
        }
        assert!(OpenSessionResponse::parse(&[1]).is_err() && Rakp2::parse(&[1, 0, 0, 0]).is_err());
    }
}
