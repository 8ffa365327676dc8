//! The server's decision: one request in, at most one reply out.
//!
//! It answers hosts that the caller knows, and hosts of a discovery range that the operator switched on; a stranger gets
//! nothing, not even a refusal. It holds no state: the caller looks up the host and keeps the leases, and is told what
//! happened to the lease ([`LeaseChange`]) and where the reply goes. RFC 2131 section 4.3, table 3.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use crate::packet::{CLIENT_PORT, MessageType, Packet, SERVER_PORT, code};
use crate::pxe::{self, BootService, ClientKind, HostScript};
use crate::{Error, MacAddress};

/// Relay agent information: link selection (RFC 3527).
const LINK_SELECTION: u8 = 5;
/// Relay agent information: the relay's source port counts (RFC 8357).
const RELAY_SOURCE_PORT: u8 = 19;

/// A request as it came from the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The packet.
    pub packet: Packet,
    /// Who sent it: the relay, or the client itself.
    pub source: SocketAddrV4,
    /// Hardware address of the client.
    pub mac: MacAddress,
    /// Option 53.
    pub message_type: MessageType,
    /// What kind of client it is.
    pub kind: ClientKind,
}

impl Request {
    /// Reads a datagram that reached the server's port.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no request of an Ethernet client, with a sentence why.
    pub fn decode(bytes: &[u8], source: SocketAddrV4) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Malformed {
            what: "DHCP request",
            why: why.to_owned(),
        };
        let packet = Packet::decode(bytes)?;
        if packet.reply {
            return Err(malformed("a reply came to the server's port"));
        }
        let mac = packet
            .mac()
            .ok_or_else(|| malformed("the client has no Ethernet address"))?;
        let message_type = packet
            .options
            .message_type()
            .ok_or_else(|| malformed("no message type"))?;
        let kind = ClientKind::of(&packet);
        Ok(Self {
            packet,
            source,
            mac,
            message_type,
            kind,
        })
    }

    /// The address by which the client's subnet is found: link selection, relay, its own address; `None` when the packet
    /// was broadcast on the wire that it came from.
    pub fn subnet_hint(&self) -> Option<Ipv4Addr> {
        if let Some(Ok(octets)) = self
            .packet
            .relay_suboption(LINK_SELECTION)
            .map(<[u8; 4]>::try_from)
        {
            return Some(octets.into());
        }
        [self.packet.giaddr, self.packet.ciaddr]
            .into_iter()
            .find(|address| !address.is_unspecified())
    }

    /// The address that the client would like to have, or has.
    pub fn wanted_address(&self) -> Option<Ipv4Addr> {
        self.packet
            .options
            .address(code::REQUESTED_ADDRESS)
            .or_else(|| Some(self.packet.ciaddr).filter(|a| !a.is_unspecified()))
    }

    /// `DHCPDISCOVER from 52:54:00:77:00:01 (iPXE, BIOS)`: how every sentence about it begins.
    pub fn sentence(&self) -> String {
        let mut text = format!("{} from {}", self.message_type.name(), self.mac);
        if let Some(description) = self.kind.description() {
            text.push_str(&format!(" ({description})"));
        }
        text
    }
}

/// Addresses from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// Whether the address lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }
}

/// A subnet that the server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The subnet.
    pub cidr: Ipv4Net,
    /// Our address there: server identifier (option 54).
    pub server: Ipv4Addr,
    /// Default router.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// MTU that clients are told.
    pub mtu: Option<u16>,
    /// Lease time in seconds; T1 is half, T2 seven eighths of it.
    pub lease_seconds: u32,
    /// Range for hosts that nobody enrolled; `None` when the operator did not switch discovery on.
    pub discovery: Option<AddressRange>,
    /// Loaders and TFTP server.
    pub boot: BootService,
}

/// What the caller knows of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// Its address in this network.
    pub address: Ipv4Addr,
    /// Option 12.
    pub host_name: Option<String>,
    /// Boot scripts for iPXE.
    pub script: HostScript,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientRecord {
    /// A host that the operator enrolled.
    Known(HostRecord),
    /// A host that nobody enrolled, with an address of the network's discovery range.
    Discovered(HostRecord),
    /// Anybody else: never answered.
    Stranger,
}

/// What the exchange means for the lease of [`HostRecord::address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// Nothing.
    Unchanged,
    /// The address was offered.
    Offered(Ipv4Addr),
    /// The client may use the address, for the network's lease time from now.
    Bound(Ipv4Addr),
    /// The client gave the address back.
    Released(Ipv4Addr),
    /// The client saw somebody else use the address: do not hand it out again.
    Declined(Ipv4Addr),
}

/// A reply and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The packet, encoded.
    pub bytes: Vec<u8>,
    /// The packet, to look at.
    pub packet: Packet,
    /// Where to send it.
    pub to: Destination,
}

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To 255.255.255.255, the client's port, on the wire that the request came from. Also where the client could take
    /// unicast at its new address: it would need an ARP entry that the client cannot answer for yet.
    Broadcast,
    /// To this address.
    Unicast(SocketAddrV4),
}

/// The engine's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What to send, if anything.
    pub reply: Option<Reply>,
    /// What happened to the lease.
    pub lease: LeaseChange,
    /// A sentence for the timeline: what came, and what was done about it.
    pub summary: String,
    /// Whether the client was left without an answer that it waits for.
    pub ignored: bool,
}

/// Decides about one request.
pub fn answer(request: &Request, network: &Network, client: &ClientRecord) -> Outcome {
    let host = match client {
        ClientRecord::Stranger => return silent(request, "unknown MAC, not answered"),
        ClientRecord::Discovered(host) => match network.discovery {
            Some(range) if range.contains(host.address) => host,
            _ => return silent(request, "unknown MAC, not answered (discovery is off)"),
        },
        ClientRecord::Known(host) => host,
    };
    if !network.cidr.contains(&host.address) {
        let why = format!(
            "not answered: its address {} is not in {}",
            host.address, network.cidr
        );
        return silent(request, &why);
    }
    let answering = Answering {
        request,
        network,
        host,
    };
    match request.message_type {
        MessageType::Discover => answering.discover(),
        MessageType::Request => answering.request(),
        MessageType::Inform => answering.inform(),
        MessageType::Release => answering.release(),
        MessageType::Decline => answering.decline(),
        MessageType::Offer | MessageType::Ack | MessageType::Nak => {
            silent(request, "not a client's message, ignored")
        }
    }
}

fn silent(request: &Request, why: &str) -> Outcome {
    Outcome {
        reply: None,
        lease: LeaseChange::Unchanged,
        summary: format!("{}: {why}", request.sentence()),
        ignored: true,
    }
}

struct Answering<'a> {
    request: &'a Request,
    network: &'a Network,
    host: &'a HostRecord,
}

impl Answering<'_> {
    fn server_id(&self) -> Option<Ipv4Addr> {
        self.request.packet.options.address(code::SERVER_ID)
    }

    fn discover(&self) -> Outcome {
        let (packet, note) = self.lease(MessageType::Offer);
        let address = self.host.address;
        self.outcome(
            packet,
            LeaseChange::Offered(address),
            &format!("offered {address}{note}"),
        )
    }

    fn request(&self) -> Outcome {
        let address = self.host.address;
        let ciaddr = self.request.packet.ciaddr;
        if let Some(chosen) = self.server_id()
            && chosen != self.network.server
        {
            return silent(
                self.request,
                &format!("it chose the server {chosen}, ignored"),
            );
        }
        // renewing and rebinding clients say ciaddr, the others option 50 (RFC 2131, table 4)
        let wanted = if ciaddr.is_unspecified() {
            self.request.packet.options.address(code::REQUESTED_ADDRESS)
        } else {
            Some(ciaddr)
        };
        match wanted {
            Some(wanted) if wanted == address => {
                let (mut packet, note) = self.lease(MessageType::Ack);
                packet.ciaddr = ciaddr;
                self.outcome(
                    packet,
                    LeaseChange::Bound(address),
                    &format!("acknowledged {address}{note}"),
                )
            }
            Some(wanted) => self.refuse(&format!("{wanted} is not its address, {address} is")),
            None => silent(self.request, "it asks for no address, ignored"),
        }
    }

    fn inform(&self) -> Outcome {
        let ciaddr = self.request.packet.ciaddr;
        if ciaddr.is_unspecified() {
            return silent(self.request, "it has no address, ignored");
        }
        let mut packet = self.request.packet.reply_to(MessageType::Ack);
        packet.ciaddr = ciaddr;
        self.network_options(&mut packet);
        let note = self.boot_options(&mut packet);
        self.outcome(
            packet,
            LeaseChange::Unchanged,
            &format!("told {ciaddr} the options{note}"),
        )
    }

    fn release(&self) -> Outcome {
        let address = self.request.packet.ciaddr;
        let (lease, what) = if address == self.host.address {
            (
                LeaseChange::Released(address),
                format!("{address} given back"),
            )
        } else {
            (
                LeaseChange::Unchanged,
                format!("{address} is not its address, ignored"),
            )
        };
        Outcome {
            reply: None,
            lease,
            summary: format!("{}: {what}", self.request.sentence()),
            ignored: false,
        }
    }

    fn decline(&self) -> Outcome {
        let address = self.request.packet.options.address(code::REQUESTED_ADDRESS);
        let (lease, what) = match address {
            Some(address) if address == self.host.address => (
                LeaseChange::Declined(address),
                format!("somebody else on its network uses {address}"),
            ),
            _ => (
                LeaseChange::Unchanged,
                "not about its address, ignored".to_owned(),
            ),
        };
        Outcome {
            reply: None,
            lease,
            summary: format!("{}: {what}", self.request.sentence()),
            ignored: false,
        }
    }

    fn refuse(&self, why: &str) -> Outcome {
        let mut packet = self.request.packet.reply_to(MessageType::Nak);
        packet
            .options
            .set_addresses(code::SERVER_ID, &[self.network.server]);
        packet.options.set(code::MESSAGE, why.as_bytes());
        // the relay must broadcast it: the client may have an address of another network (RFC 2131 section 4.3.2)
        if !packet.giaddr.is_unspecified() {
            packet.broadcast = true;
        }
        let mut outcome = self.outcome(packet, LeaseChange::Unchanged, &format!("refused, {why}"));
        if let Some(reply) = &mut outcome.reply
            && self.request.packet.giaddr.is_unspecified()
            && !self.request.source.ip().is_loopback()
        {
            reply.to = Destination::Broadcast;
        }
        outcome
    }

    /// An offer or acknowledgement of the host's address, and what to add to the sentence.
    fn lease(&self, message_type: MessageType) -> (Packet, String) {
        let mut packet = self.request.packet.reply_to(message_type);
        packet.yiaddr = self.host.address;
        let lease = self.network.lease_seconds;
        packet.options.set_u32(code::LEASE_TIME, lease);
        packet.options.set_u32(code::RENEWAL, lease / 2);
        packet
            .options
            .set_u32(code::REBINDING, lease - lease.div_ceil(8));
        self.network_options(&mut packet);
        let note = self.boot_options(&mut packet);
        (packet, note)
    }

    fn network_options(&self, packet: &mut Packet) {
        let network = self.network;
        let options = &mut packet.options;
        options.set_addresses(code::SERVER_ID, &[network.server]);
        options.set_addresses(code::SUBNET_MASK, &[network.cidr.netmask()]);
        options.set_addresses(code::BROADCAST, &[network.cidr.broadcast()]);
        if let Some(router) = network.router {
            options.set_addresses(code::ROUTER, &[router]);
        }
        if !network.dns.is_empty() {
            options.set_addresses(code::DNS, &network.dns);
        }
        if !network.ntp.is_empty() {
            options.set_addresses(code::NTP, &network.ntp);
        }
        if let Some(domain) = &network.domain {
            options.set(code::DOMAIN_NAME, domain.as_bytes());
        }
        if let Some(mtu) = network.mtu {
            options.set(code::INTERFACE_MTU, mtu.to_be_bytes());
        }
        if let Some(name) = &self.host.host_name {
            options.set(code::HOST_NAME, name.as_bytes());
        }
    }

    /// Writes boot options; the text goes to the end of the sentence.
    fn boot_options(&self, packet: &mut Packet) -> String {
        let service = &self.network.boot;
        match pxe::boot_file(self.request.kind, service, &self.host.script) {
            Ok(None) => String::new(),
            Ok(Some(file)) => {
                pxe::write_boot_options(
                    packet,
                    &self.request.packet,
                    self.request.kind,
                    service,
                    &file,
                );
                format!(", boot file {file}")
            }
            Err(why) => format!(", without boot file: {why}"),
        }
    }

    fn outcome(&self, packet: Packet, lease: LeaseChange, what: &str) -> Outcome {
        let reply = Reply {
            bytes: packet.encode(),
            to: self.destination(),
            packet,
        };
        Outcome {
            reply: Some(reply),
            lease,
            summary: format!("{}: {what}", self.request.sentence()),
            ignored: false,
        }
    }

    /// RFC 2131 section 4.1, with two additions: relays that say so get the answer at their source port (RFC 8357), and
    /// whoever asks from a loopback address gets it at exactly that address, which is how simulated relays work.
    fn destination(&self) -> Destination {
        let request = &self.request.packet;
        let source = self.request.source;
        if source.ip().is_loopback() {
            return Destination::Unicast(source);
        }
        if !request.giaddr.is_unspecified() {
            let port = match request.relay_suboption(RELAY_SOURCE_PORT) {
                Some(_) => source.port(),
                None => SERVER_PORT,
            };
            return Destination::Unicast(SocketAddrV4::new(request.giaddr, port));
        }
        if !request.ciaddr.is_unspecified() {
            return Destination::Unicast(SocketAddrV4::new(request.ciaddr, CLIENT_PORT));
        }
        Destination::Broadcast
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
