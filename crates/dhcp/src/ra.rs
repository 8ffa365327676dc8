//! IPv6 router advertisements (RFC 4861 section 4.2), bytes only.
//!
//! Why a provisioning service sends them at all: iPXE waits 15 seconds for one on every boot. The advertisement says that
//! there is neither a default router (lifetime 0) nor DHCPv6 (no managed flag) unless the operator configures it, which
//! ends the wait and changes nothing else on the network.

use std::net::Ipv6Addr;

use crate::{Error, MacAddress};

/// ICMPv6 type of a router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Where unsolicited advertisements go: all nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Where solicitations go: all routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Hop limit of all neighbor discovery packets; receivers drop anything else.
pub const HOP_LIMIT: u8 = 255;

const HEADER: usize = 16;
const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;

/// One prefix information option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// Its length in bits.
    pub length: u8,
    /// Addresses of the prefix are on this link.
    pub on_link: bool,
    /// Hosts may make themselves an address of it.
    pub autonomous: bool,
    /// Valid lifetime in seconds.
    pub valid_seconds: u32,
    /// Preferred lifetime in seconds.
    pub preferred_seconds: u32,
}

/// A router advertisement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Hop limit that hosts shall use; 0 says nothing.
    pub hop_limit: u8,
    /// Addresses come from DHCPv6.
    pub managed: bool,
    /// Other settings come from DHCPv6.
    pub other: bool,
    /// How many seconds we are a default router; 0 says that we are none.
    pub router_lifetime_seconds: u16,
    /// Our Ethernet address.
    pub source: Option<MacAddress>,
    /// MTU of the link.
    pub mtu: Option<u32>,
    /// Prefixes.
    pub prefixes: Vec<Prefix>,
}

impl RouterAdvertisement {
    /// The ICMPv6 message. Its checksum is left zero, which is what a raw ICMPv6 socket wants: the kernel fills it in
    /// (RFC 3542 section 3.1). [`with_checksum`] fills it in for anybody else.
    pub fn encode(&self) -> Vec<u8> {
        let flags = (u8::from(self.managed) << 7) | (u8::from(self.other) << 6);
        let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags];
        bytes.extend_from_slice(&self.router_lifetime_seconds.to_be_bytes());
        // reachable time and retransmission timer: unspecified
        bytes.extend_from_slice(&[0; 8]);
        if let Some(mac) = self.source {
            bytes.extend_from_slice(&[OPTION_SOURCE_LINK_LAYER, 1]);
            bytes.extend_from_slice(&mac.0);
        }
        if let Some(mtu) = self.mtu {
            bytes.extend_from_slice(&[OPTION_MTU, 1, 0, 0]);
            bytes.extend_from_slice(&mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            let flags = (u8::from(prefix.on_link) << 7) | (u8::from(prefix.autonomous) << 6);
            bytes.extend_from_slice(&[OPTION_PREFIX, 4, prefix.length, flags]);
            bytes.extend_from_slice(&prefix.valid_seconds.to_be_bytes());
            bytes.extend_from_slice(&prefix.preferred_seconds.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&prefix.prefix.octets());
        }
        bytes
    }

    /// Reads an ICMPv6 message.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no router advertisement or an option does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Malformed {
            what: "router advertisement",
            why: why.to_owned(),
        };
        let (header, mut rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or_else(|| malformed("too short"))?;
        let [kind, code, _, _, hop_limit, flags, life0, life1, ..] = *header;
        if kind != ROUTER_ADVERTISEMENT || code != 0 {
            return Err(malformed("another ICMPv6 type"));
        }
        let mut this = Self {
            hop_limit,
            managed: flags & 0x80 != 0,
            other: flags & 0x40 != 0,
            router_lifetime_seconds: u16::from_be_bytes([life0, life1]),
            ..Self::default()
        };
        while let [option, length, ..] = *rest {
            let length = usize::from(length) * 8;
            if length == 0 {
                return Err(malformed("an option of length 0"));
            }
            let (body, tail) = rest
                .split_at_checked(length)
                .ok_or_else(|| malformed("an option is cut off"))?;
            rest = tail;
            match (option, body) {
                (OPTION_SOURCE_LINK_LAYER, [_, _, a, b, c, d, e, f]) => {
                    this.source = Some(MacAddress([*a, *b, *c, *d, *e, *f]));
                }
                (OPTION_MTU, [_, _, _, _, a, b, c, d]) => {
                    this.mtu = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                }
                (OPTION_PREFIX, body) if body.len() == 32 => {
                    if let Some(prefix) = read_prefix(body) {
                        this.prefixes.push(prefix);
                    }
                }
                _ => {}
            }
        }
        if rest.is_empty() {
            Ok(this)
        } else {
            Err(malformed("a byte after the last option"))
        }
    }
}

fn read_prefix(body: &[u8]) -> Option<Prefix> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(*body.get(at..)?.first_chunk::<4>()?))
    };
    let flags = *body.get(3)?;
    Some(Prefix {
        prefix: Ipv6Addr::from(*body.get(16..)?.first_chunk::<16>()?),
        length: *body.get(2)?,
        on_link: flags & 0x80 != 0,
        autonomous: flags & 0x40 != 0,
        valid_seconds: word(4)?,
        preferred_seconds: word(8)?,
    })
}

/// Whether an ICMPv6 message is a router solicitation of plausible form (RFC 4861 section 6.1.1).
pub fn is_solicitation(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && matches!(bytes, [ROUTER_SOLICITATION, 0, ..])
}

/// A router solicitation, checksum zero; simulated hosts send it.
pub fn solicitation(source: Option<MacAddress>) -> Vec<u8> {
    let mut bytes = vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    if let Some(mac) = source {
        bytes.extend_from_slice(&[OPTION_SOURCE_LINK_LAYER, 1]);
        bytes.extend_from_slice(&mac.0);
    }
    bytes
}

/// Fills in the checksum of an ICMPv6 message between two addresses (RFC 4443 section 2.3).
pub fn with_checksum(mut message: Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    if let Some([_, _, high, low]) = message.first_chunk_mut::<4>() {
        *high = 0;
        *low = 0;
    }
    let mut pseudo = Vec::with_capacity(40 + message.len());
    pseudo.extend_from_slice(&source.octets());
    pseudo.extend_from_slice(&destination.octets());
    pseudo.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    pseudo.extend_from_slice(&[0, 0, 0, 58]);
    pseudo.extend_from_slice(&message);
    if pseudo.len() % 2 == 1 {
        pseudo.push(0);
    }
    let (words, _) = pseudo.as_chunks::<2>();
    let mut sum: u64 = words
        .iter()
        .map(|w| u64::from(u16::from_be_bytes(*w)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [high, low] = (!(sum as u16)).to_be_bytes();
    if let Some([_, _, to_high, to_low]) = message.first_chunk_mut::<4>() {
        *to_high = high;
        *to_low = low;
    }
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn full() -> RouterAdvertisement {
        RouterAdvertisement {
            hop_limit: 64,
            managed: true,
            other: false,
            router_lifetime_seconds: 1800,
            source: Some(MacAddress([2, 0, 0, 0x77, 0, 1])),
            mtu: Some(1500),
            prefixes: vec![Prefix {
                prefix: "fd77::".parse().unwrap(),
                length: 64,
                on_link: true,
                autonomous: true,
                valid_seconds: 600,
                preferred_seconds: 300,
            }],
        }
    }

    #[test]
    fn empty_advertisement_is_sixteen_bytes() {
        let mut expected = [0; 16];
        expected[0] = 134;
        assert_eq!(RouterAdvertisement::default().encode(), expected);
    }

    #[test]
    fn written_and_read() {
        let bytes = full().encode();
        assert_eq!(bytes.len(), 16 + 8 + 8 + 32);
        assert_eq!(
            &bytes[..8],
            &[134, 0, 0, 0, 64, 0x80, 0x07, 0x08],
            "managed, lifetime 1800"
        );
        assert_eq!(&bytes[32..36], &[3, 4, 64, 0xc0]);
        assert_eq!(RouterAdvertisement::decode(&bytes).unwrap(), full());
    }

    #[test]
    fn refuses() {
        let good = full().encode();
        let check = |bytes: &[u8], why: &str| {
            assert_eq!(
                RouterAdvertisement::decode(bytes).unwrap_err().to_string(),
                format!("malformed router advertisement: {why}")
            );
        };
        check(&good[..15], "too short");
        check(&good[..20], "an option is cut off");
        check(&[&good[..16], &[1, 0]].concat(), "an option of length 0");
        check(
            &[&good[..16], &[1]].concat(),
            "a byte after the last option",
        );
        check(&[&[133u8, 0], &good[2..]].concat(), "another ICMPv6 type");
    }

    /// A message with its checksum sums up to all ones with its pseudo header.
    #[test]
    fn checksum() {
        let source = "fe80::1".parse().unwrap();
        let message = with_checksum(full().encode(), source, ALL_NODES);
        assert_ne!(&message[2..4], &[0, 0]);
        assert_eq!(with_checksum(message.clone(), source, ALL_NODES), message);
        // worked by hand: 8-byte solicitation from fe80::1 to ff02::2
        let message = with_checksum(solicitation(None), source, ALL_ROUTERS);
        let sum = 0xfe80u32 + 1 + 0xff02 + 2 + 8 + 58 + 0x8500;
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!(message[2..4], (!(folded as u16)).to_be_bytes());
    }
}
