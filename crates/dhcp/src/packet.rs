//! The DHCPv4 packet: header, magic cookie, options (RFC 2131 section 2, RFC 2132).
//!
//! It reads what firmware really sends: options stay bytes until somebody asks for one, so that a damaged option does not
//! hide the others; repeated options are joined (RFC 3396) and overloaded `file` and `sname` fields are read (option 52).
//! It must never panic or read outside the datagram, whatever the bytes are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::{Error, MacAddress};

/// Option codes that this crate reads or writes (RFC 2132 unless said otherwise).
pub mod code {
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers, the preferred one first.
    pub const ROUTER: u8 = 3;
    /// Domain name servers.
    pub const DNS: u8 = 6;
    /// Host name of the client.
    pub const HOST_NAME: u8 = 12;
    /// Domain name.
    pub const DOMAIN_NAME: u8 = 15;
    /// MTU of the interface.
    pub const INTERFACE_MTU: u8 = 26;
    /// Broadcast address of the subnet.
    pub const BROADCAST: u8 = 28;
    /// NTP servers.
    pub const NTP: u8 = 42;
    /// Vendor options; inside, PXE's discovery control.
    pub const VENDOR_OPTIONS: u8 = 43;
    /// Address that the client asks for.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time in seconds.
    pub const LEASE_TIME: u8 = 51;
    /// `file` and `sname` carry options.
    pub const OVERLOAD: u8 = 52;
    /// Message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER_ID: u8 = 54;
    /// Parameters that the client wants.
    pub const PARAMETER_LIST: u8 = 55;
    /// Text of a NAK or DECLINE.
    pub const MESSAGE: u8 = 56;
    /// Longest message that the client accepts.
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// Renewal time T1 in seconds.
    pub const RENEWAL: u8 = 58;
    /// Rebinding time T2 in seconds.
    pub const REBINDING: u8 = 59;
    /// Vendor class identifier.
    pub const VENDOR_CLASS: u8 = 60;
    /// Client identifier.
    pub const CLIENT_ID: u8 = 61;
    /// TFTP server name.
    pub const TFTP_SERVER_NAME: u8 = 66;
    /// Boot file name.
    pub const BOOT_FILE: u8 = 67;
    /// User class (RFC 3004; iPXE sends it bare).
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information (RFC 3046).
    pub const RELAY_AGENT: u8 = 82;
    /// Client system architectures, a list of 16-bit numbers (RFC 4578).
    pub const CLIENT_ARCH: u8 = 93;
    /// Client network interface identifier (RFC 4578).
    pub const CLIENT_INTERFACE: u8 = 94;
    /// Client machine identifier, a UUID (RFC 4578).
    pub const CLIENT_UUID: u8 = 97;
    /// TFTP server addresses (RFC 5859).
    pub const TFTP_SERVER_ADDRESS: u8 = 150;
    /// Etherboot's encapsulated options: what iPXE can do, and what we tell it.
    pub const IPXE: u8 = 175;
    /// End of options.
    pub const END: u8 = 255;
}

/// Port of servers and relay agents.
pub const SERVER_PORT: u16 = 67;
/// Port of clients.
pub const CLIENT_PORT: u16 = 68;

const HEADER: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Old relays and firmware drop what is shorter than a BOOTP packet.
const MIN_LENGTH: usize = 300;
const BROADCAST_FLAG: u16 = 0x8000;

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Discover,
    /// 2
    Offer,
    /// 3
    Request,
    /// 4
    Decline,
    /// 5
    Ack,
    /// 6
    Nak,
    /// 7
    Release,
    /// 8
    Inform,
}

impl MessageType {
    /// The name as RFC 2131 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discover => "DHCPDISCOVER",
            Self::Offer => "DHCPOFFER",
            Self::Request => "DHCPREQUEST",
            Self::Decline => "DHCPDECLINE",
            Self::Ack => "DHCPACK",
            Self::Nak => "DHCPNAK",
            Self::Release => "DHCPRELEASE",
            Self::Inform => "DHCPINFORM",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// Options as bytes, by code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// The bytes of an option.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// Sets an option; an earlier value is replaced. Pad and end are not options and are ignored.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        if code != 0 && code != code::END {
            self.0.insert(code, value.into());
        }
    }

    /// Sets an option of one 32-bit number.
    pub fn set_u32(&mut self, code: u8, value: u32) {
        self.set(code, value.to_be_bytes());
    }

    /// Sets an option of addresses.
    pub fn set_addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) {
        let bytes: Vec<u8> = addresses.iter().flat_map(|a| a.octets()).collect();
        self.set(code, bytes);
    }

    /// The option as one address; `None` when absent or not four bytes.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    /// The option as a list of addresses; trailing bytes that are no address are dropped.
    pub fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let (chunks, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        chunks.iter().map(|c| Ipv4Addr::from(*c)).collect()
    }

    /// The option as a 32-bit number.
    pub fn u32(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// The option as a 16-bit number.
    pub fn u16(&self, code: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// The option as text: up to the first NUL, without control characters.
    pub fn text(&self, code: u8) -> Option<String> {
        self.get(code).map(printable)
    }

    /// Option 53.
    pub fn message_type(&self) -> Option<MessageType> {
        match self.get(code::MESSAGE_TYPE)? {
            [number] => MessageType::from_number(*number),
            _ => None,
        }
    }

    /// Every option in order of its code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// Reads options until their end. Stops at the first one that does not fit; returns whether the end marker was seen.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            match bytes {
                [] => return false,
                [0, rest @ ..] => bytes = rest,
                [code::END, ..] => return true,
                [code, length, rest @ ..] => {
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else {
                        return false;
                    };
                    self.0.entry(*code).or_default().extend_from_slice(value);
                    bytes = rest;
                }
                [_] => return false,
            }
        }
    }

    fn write_one(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
        if value.is_empty() {
            bytes.extend_from_slice(&[code, 0]);
        }
        for part in value.chunks(255) {
            bytes.push(code);
            bytes.push(u8::try_from(part.len()).unwrap_or(255));
            bytes.extend_from_slice(part);
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        // the message type first, as every client sends and some expect it; relay agent information last (RFC 3046, 2.1)
        if let Some(value) = self.get(code::MESSAGE_TYPE) {
            Self::write_one(bytes, code::MESSAGE_TYPE, value);
        }
        for (code, value) in self.iter() {
            if code != code::MESSAGE_TYPE && code != code::RELAY_AGENT {
                Self::write_one(bytes, code, value);
            }
        }
        if let Some(value) = self.get(code::RELAY_AGENT) {
            Self::write_one(bytes, code::RELAY_AGENT, value);
        }
        bytes.push(code::END);
    }
}

/// One DHCPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// `true` for BOOTREPLY (op 2), `false` for BOOTREQUEST (op 1).
    pub reply: bool,
    /// Hardware type; 1 is Ethernet.
    pub htype: u8,
    /// Length of the hardware address in `chaddr`, as sent (may lie).
    pub hlen: u8,
    /// Relays passed.
    pub hops: u8,
    /// Transaction id, the client's choice.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client cannot receive unicast before it has an address.
    pub broadcast: bool,
    /// Address of a client that already uses it.
    pub ciaddr: Ipv4Addr,
    /// The client's address, in replies.
    pub yiaddr: Ipv4Addr,
    /// Next server, that is the TFTP server, in replies.
    pub siaddr: Ipv4Addr,
    /// Relay agent.
    pub giaddr: Ipv4Addr,
    /// Hardware address, 16 bytes of which `hlen` count.
    pub chaddr: [u8; 16],
    /// Server host name, up to 64 bytes, no NUL.
    pub sname: Vec<u8>,
    /// Boot file, up to 128 bytes, no NUL.
    pub file: Vec<u8>,
    /// The options.
    pub options: Options,
}

impl Packet {
    /// An empty BOOTREQUEST of an Ethernet client.
    pub fn request(mac: MacAddress, xid: u32) -> Self {
        let mut chaddr = [0; 16];
        for (to, from) in chaddr.iter_mut().zip(mac.0) {
            *to = from;
        }
        Self {
            reply: false,
            htype: 1,
            hlen: 6,
            hops: 0,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::default(),
        }
    }

    /// An empty BOOTREPLY to this packet: transaction, flags, relay and hardware address as RFC 2131 table 3 wants them,
    /// relay agent information (RFC 3046) and client identifier (RFC 6842) given back.
    pub fn reply_to(&self, message_type: MessageType) -> Self {
        let mut reply = Self {
            reply: true,
            hops: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::default(),
            ..self.clone()
        };
        reply.set_message_type(message_type);
        for code in [code::RELAY_AGENT, code::CLIENT_ID] {
            if let Some(value) = self.options.get(code) {
                reply.options.set(code, value);
            }
        }
        reply
    }

    /// Sets option 53.
    pub fn set_message_type(&mut self, message_type: MessageType) {
        self.options
            .set(code::MESSAGE_TYPE, [message_type.number()]);
    }

    /// The Ethernet address of the client; `None` for other hardware and for group addresses.
    pub fn mac(&self) -> Option<MacAddress> {
        if self.htype != 1 || self.hlen != 6 {
            return None;
        }
        let mac = MacAddress(*self.chaddr.first_chunk::<6>()?);
        (!mac.is_multicast() && mac != MacAddress([0; 6])).then_some(mac)
    }

    /// A sub-option of the relay agent information (RFC 3046).
    pub fn relay_suboption(&self, wanted: u8) -> Option<&[u8]> {
        suboption(self.options.get(code::RELAY_AGENT)?, wanted)
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is shorter than a header, carries no magic cookie (plain BOOTP) or a wrong op.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Malformed {
            what: "DHCP packet",
            why: why.to_owned(),
        };
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or_else(|| malformed("shorter than a BOOTP header"))?;
        let (cookie, options) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| malformed("ends before the magic cookie"))?;
        if *cookie != COOKIE {
            return Err(malformed("no DHCP magic cookie"));
        }
        let mut at = Fields(header);
        let [op, htype, hlen, hops] = at.take::<4>();
        let reply = match op {
            1 => false,
            2 => true,
            _ => return Err(malformed("op is neither request nor reply")),
        };
        let xid = u32::from_be_bytes(at.take());
        let secs = u16::from_be_bytes(at.take());
        let flags = u16::from_be_bytes(at.take());
        let [ciaddr, yiaddr, siaddr, giaddr] =
            std::array::from_fn(|_| Ipv4Addr::from(at.take::<4>()));
        let chaddr = at.take::<16>();
        let sname = at.take::<64>();
        let file = at.take::<128>();

        let mut parsed = Options::default();
        parsed.read(options);
        let overload = match parsed.get(code::OVERLOAD) {
            Some([value]) => *value,
            _ => 0,
        };
        // `file` is read before `sname` (RFC 2131 section 4.1)
        if overload & 1 != 0 {
            parsed.read(&file);
        }
        if overload & 2 != 0 {
            parsed.read(&sname);
        }
        Ok(Self {
            reply,
            htype,
            hlen,
            hops,
            xid,
            secs,
            broadcast: flags & BROADCAST_FLAG != 0,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            chaddr,
            sname: if overload & 2 != 0 {
                Vec::new()
            } else {
                until_nul(&sname)
            },
            file: if overload & 1 != 0 {
                Vec::new()
            } else {
                until_nul(&file)
            },
            options: parsed,
        })
    }

    /// Writes the packet, at least 300 bytes long. `sname` and `file` are cut at 63 and 127 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MIN_LENGTH * 2);
        bytes.extend_from_slice(&[
            if self.reply { 2 } else { 1 },
            self.htype,
            self.hlen,
            self.hops,
        ]);
        bytes.extend_from_slice(&self.xid.to_be_bytes());
        bytes.extend_from_slice(&self.secs.to_be_bytes());
        let flags = if self.broadcast { BROADCAST_FLAG } else { 0 };
        bytes.extend_from_slice(&flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend_from_slice(&address.octets());
        }
        bytes.extend_from_slice(&self.chaddr);
        for (text, width) in [(&self.sname, 64), (&self.file, 128)] {
            let end = bytes.len() + width;
            bytes.extend(text.iter().take(width - 1));
            bytes.resize(end, 0);
        }
        bytes.extend_from_slice(&COOKIE);
        self.options.write(&mut bytes);
        if bytes.len() < MIN_LENGTH {
            bytes.resize(MIN_LENGTH, 0);
        }
        bytes
    }
}

/// Takes fields off the fixed header; short reads give zeros, which the fixed lengths exclude.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// The value of one sub-option in an encapsulated option field.
pub(crate) fn suboption(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [number, length, rest @ ..] = bytes {
        if *number == code::END {
            return None;
        }
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *number == wanted {
            return Some(value);
        }
        bytes = rest;
    }
    None
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|b| *b != 0).collect()
}

/// Text from outside, made safe for logs and sentences: up to the first NUL, control characters dropped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&until_nul(bytes))
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use dhcproto::v4;
    use dhcproto::{Decodable, Decoder, Encodable};

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);

    /// The independent codec reads what we write.
    #[test]
    fn judged_by_dhcproto() {
        let mut packet = Packet::request(MAC, 0x1234_5678);
        packet.set_message_type(MessageType::Discover);
        packet.secs = 7;
        packet.broadcast = true;
        packet.giaddr = Ipv4Addr::new(10, 1, 2, 3);
        packet.file = b"snponly.efi".to_vec();
        packet.options.set(code::VENDOR_CLASS, *b"PXEClient");
        packet.options.set(code::BOOT_FILE, vec![b'x'; 300]);
        packet.options.set(code::RELAY_AGENT, [1, 2, 7, 8]);
        packet.options.set_u32(code::LEASE_TIME, 600);
        packet
            .options
            .set_addresses(code::DNS, &[[1, 1, 1, 1].into(), [8, 8, 8, 8].into()]);

        let bytes = packet.encode();
        assert_eq!(Packet::decode(&bytes).unwrap(), packet);
        let theirs = v4::Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(theirs.xid(), 0x1234_5678);
        assert_eq!(theirs.secs(), 7);
        assert!(theirs.flags().broadcast());
        assert_eq!(theirs.giaddr(), packet.giaddr);
        assert_eq!(theirs.chaddr(), MAC.0);
        assert_eq!(theirs.opts().msg_type(), Some(v4::MessageType::Discover));
        assert_eq!(
            theirs.opts().get(v4::OptionCode::DomainNameServer),
            Some(&v4::DhcpOption::DomainNameServer(vec![
                [1, 1, 1, 1].into(),
                [8, 8, 8, 8].into()
            ]))
        );
        assert_eq!(
            theirs.opts().get(v4::OptionCode::BootfileName),
            Some(&v4::DhcpOption::BootfileName(vec![b'x'; 300]))
        );
        let mut info = v4::relay::RelayAgentInformation::default();
        info.insert(v4::relay::RelayInfo::AgentCircuitId(vec![7, 8]));
        assert_eq!(
            theirs.opts().get(v4::OptionCode::RelayAgentInformation),
            Some(&v4::DhcpOption::RelayAgentInformation(info))
        );
    }

    /// We read what the independent codec writes.
    #[test]
    fn judges_dhcproto() {
        let mut message = v4::Message::new_with_id(
            99,
            [10, 0, 0, 9].into(),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            [10, 0, 0, 1].into(),
            &MAC.0,
        );
        message.set_flags(v4::Flags::default().set_broadcast());
        let options = message.opts_mut();
        options.insert(v4::DhcpOption::MessageType(v4::MessageType::Request));
        options.insert(v4::DhcpOption::RequestedIpAddress([10, 0, 0, 9].into()));
        options.insert(v4::DhcpOption::ClientSystemArchitecture(
            v4::Architecture::X64,
        ));
        options.insert(v4::DhcpOption::UserClass(b"iPXE".to_vec()));
        let packet = Packet::decode(&message.to_vec().unwrap()).unwrap();
        assert_eq!(packet.mac(), Some(MAC));
        assert_eq!(packet.options.message_type(), Some(MessageType::Request));
        assert_eq!(
            packet.options.address(code::REQUESTED_ADDRESS),
            Some([10, 0, 0, 9].into())
        );
        assert_eq!(packet.options.u16(code::CLIENT_ARCH), Some(7));
        assert_eq!(packet.ciaddr, Ipv4Addr::new(10, 0, 0, 9));
        assert!(packet.broadcast);
    }

    #[test]
    fn overloaded_fields_are_read() {
        let mut packet = Packet::request(MAC, 1);
        packet.set_message_type(MessageType::Discover);
        packet.options.set(code::OVERLOAD, [3]);
        packet.file = vec![67, 3, b'a', b'b', b'c', 255];
        packet.sname = vec![12, 2, b'h', b'i', 255];
        let read = Packet::decode(&packet.encode()).unwrap();
        assert_eq!(read.options.get(code::BOOT_FILE), Some(&b"abc"[..]));
        assert_eq!(read.options.text(code::HOST_NAME).as_deref(), Some("hi"));
        assert!(read.file.is_empty() && read.sname.is_empty());
    }

    #[test]
    fn refuses() {
        let good = Packet::request(MAC, 1).encode();
        let check = |bytes: &[u8], why: &str| {
            assert_eq!(
                Packet::decode(bytes).unwrap_err().to_string(),
                format!("malformed DHCP packet: {why}")
            );
        };
        check(&[], "shorter than a BOOTP header");
        check(&good[..237], "ends before the magic cookie");
        let mut bootp = good.clone();
        bootp[236] = 0;
        check(&bootp, "no DHCP magic cookie");
        let mut op = good.clone();
        op[0] = 3;
        check(&op, "op is neither request nor reply");
    }

    /// A damaged option keeps what came before it.
    #[test]
    fn damaged_option_keeps_the_others() {
        let mut packet = Packet::request(MAC, 1);
        packet.set_message_type(MessageType::Discover);
        let mut bytes = packet.encode();
        bytes.truncate(243);
        bytes.extend_from_slice(&[12, 200, b'x']);
        let read = Packet::decode(&bytes).unwrap();
        assert_eq!(read.options.message_type(), Some(MessageType::Discover));
        assert_eq!(read.options.get(code::HOST_NAME), None);
    }

    #[test]
    fn only_ethernet_stations_have_a_mac() {
        let mut packet = Packet::request(MAC, 1);
        assert_eq!(packet.mac(), Some(MAC));
        packet.hlen = 200;
        assert_eq!(packet.mac(), None);
        packet.hlen = 6;
        packet.htype = 32;
        assert_eq!(packet.mac(), None);
        assert_eq!(Packet::request(MacAddress([1; 6]), 1).mac(), None);
        assert_eq!(Packet::request(MacAddress([0; 6]), 1).mac(), None);
    }
}
