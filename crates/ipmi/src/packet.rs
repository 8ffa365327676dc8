//! The layers around a message: RMCP and ASF (section 13.1, 13.2), the IPMI 1.5 wrapper and the
//! IPMI 2.0 one with its trailer (13.6, 13.8 and 13.28.4).
//!
//! Pure: bytes in, bytes out. Nothing here knows which sessions exist.

use crate::crypto::{BLOCK, SessionKeys};
use crate::wire::{Malformed, Reader};

const RMCP_VERSION: u8 = 0x06;
/// "No acknowledge wanted".
const RMCP_SEQUENCE: u8 = 0xff;
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
/// Enterprise number of the ASF messages.
const ASF_IANA: u32 = 4542;
const ASF_PING: u8 = 0x80;
const ASF_PONG: u8 = 0x40;
const AUTH_NONE: u8 = 0x00;
const AUTH_RMCP_PLUS: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
const NEXT_HEADER: u8 = 0x07;
/// Longer than anything IPMI over LAN sends.
pub(crate) const MAX_DATAGRAM: usize = 1024;

/// Payload types of IPMI 2.0 (table 13-16).
pub(crate) mod payload {
    pub const IPMI: u8 = 0x00;
    pub const OEM_EXPLICIT: u8 = 0x02;
    pub const OPEN_SESSION_REQUEST: u8 = 0x10;
    pub const OPEN_SESSION_RESPONSE: u8 = 0x11;
    pub const RAKP1: u8 = 0x12;
    pub const RAKP2: u8 = 0x13;
    pub const RAKP3: u8 = 0x14;
    pub const RAKP4: u8 = 0x15;
}

/// A datagram, taken apart as far as that goes without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// ASF presence ping: "is there something that speaks RMCP?"
    Ping {
        tag: u8,
    },
    Pong {
        tag: u8,
        ipmi: bool,
    },
    /// IPMI 1.5 wrapper without authentication: discovery before a session.
    Plain {
        session_id: u32,
        message: &'a [u8],
    },
    Session(SessionPacket<'a>),
}

/// IPMI 2.0 wrapper, still encrypted and not yet authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionPacket<'a> {
    pub payload_type: u8,
    pub encrypted: bool,
    pub authenticated: bool,
    pub session_id: u32,
    pub sequence: u32,
    pub payload: &'a [u8],
    /// From the authentication type to the end of the datagram: what the code signs, and the code.
    pub signed: &'a [u8],
    /// What stands behind the payload.
    pub trailer: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "packet shorter than its headers");
        let [version, _, _, class] = reader.array()?;
        if version != RMCP_VERSION {
            return Err(Malformed("not an RMCP 1.0 packet"));
        }
        match class {
            CLASS_ASF => Self::parse_asf(reader),
            CLASS_IPMI => Self::parse_ipmi(reader),
            _ => Err(Malformed("neither an ASF nor an IPMI packet")),
        }
    }

    fn parse_asf(mut reader: Reader<'a>) -> Result<Self, Malformed> {
        if u32::from_be_bytes(reader.array()?) != ASF_IANA {
            return Err(Malformed("ASF packet of an unknown enterprise"));
        }
        let [kind, tag, _, length] = reader.array()?;
        match kind {
            ASF_PING => Ok(Self::Ping { tag }),
            ASF_PONG => {
                let mut data =
                    Reader::new(reader.take(usize::from(length))?, "presence pong too short");
                data.take(8)?;
                Ok(Self::Pong {
                    tag,
                    ipmi: data.u8()? & 0x80 != 0,
                })
            }
            _ => Err(Malformed("unknown ASF message")),
        }
    }

    fn parse_ipmi(mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let signed = reader.rest();
        match reader.u8()? {
            AUTH_NONE => {
                let _sequence = reader.u32()?;
                let session_id = reader.u32()?;
                let length = usize::from(reader.u8()?);
                Ok(Self::Plain {
                    session_id,
                    message: reader.take(length)?,
                })
            }
            AUTH_RMCP_PLUS => {
                let kind = reader.u8()?;
                let payload_type = kind & 0x3f;
                if payload_type == payload::OEM_EXPLICIT {
                    reader.take(6)?;
                }
                let session_id = reader.u32()?;
                let sequence = reader.u32()?;
                let length = usize::from(reader.u16()?);
                let payload = reader.take(length)?;
                Ok(Self::Session(SessionPacket {
                    payload_type,
                    encrypted: kind & ENCRYPTED != 0,
                    authenticated: kind & AUTHENTICATED != 0,
                    session_id,
                    sequence,
                    payload,
                    signed,
                    trailer: reader.rest(),
                }))
            }
            _ => Err(Malformed("IPMI 1.5 packet with an authentication code")),
        }
    }
}

impl SessionPacket<'_> {
    /// Checks the code and decrypts. A packet that lacks either protection is refused: both of our suites have both.
    pub fn unseal(&self, keys: &SessionKeys) -> Result<Vec<u8>, Malformed> {
        if !self.authenticated || !self.encrypted {
            return Err(Malformed("packet of a session without its protection"));
        }
        let code_len = keys.suite.integrity_len();
        let signed_len = self.signed.len().checked_sub(code_len);
        let (signed, code) = signed_len
            .and_then(|length| self.signed.split_at_checked(length))
            .filter(|_| self.trailer.len() >= code_len + 2)
            .ok_or(Malformed("packet of a session without room for its code"))?;
        if !keys.verify(signed, code) {
            return Err(Malformed("packet of a session with a wrong code"));
        }
        keys.decrypt(self.payload)
    }
}

fn rmcp(class: u8, capacity: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(capacity);
    packet.extend_from_slice(&[RMCP_VERSION, 0, RMCP_SEQUENCE, class]);
    packet
}

pub(crate) fn ping(tag: u8) -> Vec<u8> {
    let mut packet = rmcp(CLASS_ASF, 12);
    packet.extend_from_slice(&ASF_IANA.to_be_bytes());
    packet.extend_from_slice(&[ASF_PING, tag, 0, 0]);
    packet
}

/// Says "IPMI supported, ASF 1.0", nothing about security extensions or DASH.
pub(crate) fn pong(tag: u8) -> Vec<u8> {
    let mut packet = rmcp(CLASS_ASF, 28);
    packet.extend_from_slice(&ASF_IANA.to_be_bytes());
    packet.extend_from_slice(&[ASF_PONG, tag, 0, 16]);
    packet.extend_from_slice(&ASF_IANA.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// IPMI 1.5 wrapper, session 0, no authentication. `message` is at most 255 bytes.
pub(crate) fn plain(message: &[u8]) -> Vec<u8> {
    let mut packet = rmcp(CLASS_IPMI, message.len() + 14);
    packet.push(AUTH_NONE);
    packet.extend_from_slice(&[0; 8]);
    packet.push(message.len() as u8);
    packet.extend_from_slice(message);
    packet
}

fn session_header(packet: &mut Vec<u8>, kind: u8, session_id: u32, sequence: u32, length: usize) {
    packet.extend_from_slice(&[AUTH_RMCP_PLUS, kind]);
    packet.extend_from_slice(&session_id.to_le_bytes());
    packet.extend_from_slice(&sequence.to_le_bytes());
    packet.extend_from_slice(&(length as u16).to_le_bytes());
}

/// IPMI 2.0 wrapper outside a session: open session, RAKP, and discovery in the 2.0 format.
pub(crate) fn setup(payload_type: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = rmcp(CLASS_IPMI, content.len() + 16);
    session_header(&mut packet, payload_type, 0, 0, content.len());
    packet.extend_from_slice(content);
    packet
}

/// IPMI 2.0 wrapper of an open session: encrypted, padded to whole words, signed.
/// `iv` must be fresh and unpredictable for every packet.
pub(crate) fn seal(
    keys: &SessionKeys,
    payload_type: u8,
    session_id: u32,
    sequence: u32,
    content: &[u8],
    iv: [u8; BLOCK],
) -> Vec<u8> {
    let payload = keys.encrypt(content, iv);
    let mut packet = rmcp(CLASS_IPMI, payload.len() + 40);
    let start = packet.len();
    session_header(
        &mut packet,
        payload_type | ENCRYPTED | AUTHENTICATED,
        session_id,
        sequence,
        payload.len(),
    );
    packet.extend_from_slice(&payload);
    // the signed part, which ends with pad length and next header, is a multiple of four
    let pad = (4 - (packet.len() - start + 2) % 4) % 4;
    packet.extend(std::iter::repeat_n(0xff, pad));
    packet.extend_from_slice(&[pad as u8, NEXT_HEADER]);
    let code = packet
        .get(start..)
        .map(|signed| keys.sign(signed))
        .unwrap_or_default();
    packet.extend_from_slice(&code);
    packet
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::crypto::CipherSuite;

    #[test]
    fn headers_are_those_of_the_specification() {
        assert_eq!(hex::encode(ping(5)), "0600ff06000011be80050000");
        assert_eq!(
            hex::encode(pong(5)),
            "0600ff06000011be40050010000011be00000000810000000000".to_owned() + "0000"
        );
        assert_eq!(
            hex::encode(plain(&[1, 2, 3])),
            "0600ff07000000000000000000".to_owned() + "03010203"
        );
        assert_eq!(
            hex::encode(setup(payload::RAKP1, &[9])),
            "0600ff0706120000000000000000010009"
        );
        assert_eq!(Packet::parse(&ping(5)), Ok(Packet::Ping { tag: 5 }));
        assert_eq!(
            Packet::parse(&pong(6)),
            Ok(Packet::Pong { tag: 6, ipmi: true })
        );
        assert_eq!(
            Packet::parse(&plain(&[1, 2])),
            Ok(Packet::Plain {
                session_id: 0,
                message: &[1, 2]
            })
        );
    }

    #[test]
    fn sealed_packets_open_again_and_only_unchanged() {
        for suite in CipherSuite::PREFERENCE {
            let keys = SessionKeys::derive(suite, b"key");
            for length in [0usize, 1, 7, 15, 16, 40] {
                let content = vec![0x5a; length];
                let bytes = seal(&keys, payload::IPMI, 0x0102_0304, 77, &content, [3; 16]);
                assert_eq!((bytes.len() - 4 - suite.integrity_len()) % 4, 0);
                let Ok(Packet::Session(packet)) = Packet::parse(&bytes) else {
                    panic!("not a session packet")
                };
                assert_eq!(
                    (packet.session_id, packet.sequence, packet.payload_type),
                    (0x0102_0304, 77, 0)
                );
                assert_eq!(packet.unseal(&keys).unwrap(), content);
                for at in 4..bytes.len() {
                    let mut changed = bytes.clone();
                    changed[at] ^= 0x10;
                    if let Ok(Packet::Session(packet)) = Packet::parse(&changed) {
                        assert!(packet.unseal(&keys).is_err(), "byte {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_packet_is_refused() {
        fn check(hexed: &str, what: &str) {
            assert_eq!(
                Packet::parse(&hex::decode(hexed).unwrap()),
                Err(Malformed(what.to_owned().leak()))
            );
        }
        check("", "packet shorter than its headers");
        check("0700ff07", "not an RMCP 1.0 packet");
        check("0600ff08", "neither an ASF nor an IPMI packet");
        check("0600ff87", "neither an ASF nor an IPMI packet");
        check(
            "0600ff06000011bf80050000",
            "ASF packet of an unknown enterprise",
        );
        check(
            "0600ff070200000000000000000001",
            "IPMI 1.5 packet with an authentication code",
        );
        check(
            "0600ff0700000000000000000005aa",
            "packet shorter than its headers",
        );
        check(
            "0600ff0706c00000000000000000ffff",
            "packet shorter than its headers",
        );
    }
}
