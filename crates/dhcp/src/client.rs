//! The client's side of DHCPv4, as a state machine without sockets or clock (RFC 2131 section 4.4, figure 5).
//!
//! The deploy ramdisk configures its network with it, and simulated hosts boot with it. The caller owns socket and clock:
//! it sends what [`Client::poll`] gives, waits until the time that it names, and hands every datagram that reaches port
//! 68 to [`Client::receive`]. Times are [`Duration`]s since any fixed moment of a monotonic clock.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::engine::Destination;
use crate::packet::{MessageType, Packet, SERVER_PORT, code};
use crate::{Error, MacAddress};

/// After so many unanswered requests the client looks for a server again.
const REQUEST_ATTEMPTS: u32 = 4;
/// A renewing client does not ask more often than this (RFC 2131 section 4.4.5).
const RENEW_INTERVAL: Duration = Duration::from_secs(60);

/// Who the client is and how it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Option 60, e.g. `PXEClient:Arch:00007:UNDI:003016`.
    pub vendor_class: Option<Vec<u8>>,
    /// Option 77 as it is sent, e.g. `iPXE`.
    pub user_class: Option<Vec<u8>>,
    /// Option 93.
    pub architectures: Vec<u16>,
    /// Option 97 without its type byte.
    pub uuid: Option<[u8; 16]>,
    /// Option 12.
    pub host_name: Option<String>,
    /// Option 175 as bytes; iPXE's list of features.
    pub ipxe_features: Option<Vec<u8>>,
    /// Asks for broadcast replies, which a socket without an address needs.
    pub broadcast: bool,
    /// Sends as if through the relay agent with this address (`giaddr`), which simulated hosts do.
    pub relay: Option<Ipv4Addr>,
    /// Asks for this address first.
    pub wanted_address: Option<Ipv4Addr>,
    /// Wait before the second attempt; it doubles.
    pub first_retry: Duration,
    /// The longest wait between attempts.
    pub longest_retry: Duration,
}

impl ClientSettings {
    /// A plain client: broadcast replies, retries after 1, 2, 4, 8, 8... seconds.
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            vendor_class: None,
            user_class: None,
            architectures: Vec::new(),
            uuid: None,
            host_name: None,
            ipxe_features: None,
            broadcast: true,
            relay: None,
            wanted_address: None,
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(8),
        }
    }

    fn packet(&self, message_type: MessageType, xid: u32, secs: u16) -> Packet {
        let mut packet = Packet::request(self.mac, xid);
        packet.secs = secs;
        packet.broadcast = self.broadcast;
        if let Some(relay) = self.relay {
            packet.giaddr = relay;
            packet.hops = 1;
        }
        packet.set_message_type(message_type);
        let options = &mut packet.options;
        let mut id = vec![1];
        id.extend_from_slice(&self.mac.0);
        options.set(code::CLIENT_ID, id);
        options.set(code::MAX_MESSAGE_SIZE, 1472u16.to_be_bytes());
        let set = [
            (code::VENDOR_CLASS, self.vendor_class.clone()),
            (code::USER_CLASS, self.user_class.clone()),
            (code::IPXE, self.ipxe_features.clone()),
            (
                code::HOST_NAME,
                self.host_name.clone().map(String::into_bytes),
            ),
            (
                code::CLIENT_UUID,
                self.uuid.map(|uuid| {
                    let mut bytes = vec![0];
                    bytes.extend_from_slice(&uuid);
                    bytes
                }),
            ),
        ];
        for (code, value) in set {
            if let Some(value) = value {
                options.set(code, value);
            }
        }
        if !self.architectures.is_empty() {
            let bytes: Vec<u8> = self
                .architectures
                .iter()
                .flat_map(|a| a.to_be_bytes())
                .collect();
            options.set(code::CLIENT_ARCH, bytes);
            options.set(code::CLIENT_INTERFACE, [1, 3, 0]);
        }
        if message_type != MessageType::Release && message_type != MessageType::Decline {
            options.set(
                code::PARAMETER_LIST,
                [
                    code::SUBNET_MASK,
                    code::ROUTER,
                    code::DNS,
                    code::HOST_NAME,
                    code::DOMAIN_NAME,
                    code::INTERFACE_MTU,
                    code::NTP,
                    code::VENDOR_OPTIONS,
                    code::VENDOR_CLASS,
                    code::TFTP_SERVER_NAME,
                    code::BOOT_FILE,
                    code::TFTP_SERVER_ADDRESS,
                ],
            );
        }
        packet
    }

    /// A DHCPDISCOVER. `secs` is the time since the client began.
    pub fn discover(&self, xid: u32, secs: u16) -> Packet {
        let mut packet = self.packet(MessageType::Discover, xid, secs);
        if let Some(address) = self.wanted_address {
            packet
                .options
                .set_addresses(code::REQUESTED_ADDRESS, &[address]);
        }
        packet
    }

    /// A DHCPREQUEST that takes an offer.
    pub fn request(&self, offer: &Lease, xid: u32, secs: u16) -> Packet {
        let mut packet = self.packet(MessageType::Request, xid, secs);
        packet
            .options
            .set_addresses(code::REQUESTED_ADDRESS, &[offer.address]);
        packet
            .options
            .set_addresses(code::SERVER_ID, &[offer.server_id]);
        packet
    }

    /// A DHCPREQUEST that renews (to the server) or rebinds (to all).
    pub fn renew(&self, lease: &Lease, xid: u32, secs: u16) -> Packet {
        let mut packet = self.packet(MessageType::Request, xid, secs);
        packet.ciaddr = lease.address;
        packet.broadcast = false;
        packet
    }

    /// A DHCPRELEASE; it goes to the server and is not answered.
    pub fn release(&self, lease: &Lease, xid: u32) -> Packet {
        let mut packet = self.packet(MessageType::Release, xid, 0);
        packet.ciaddr = lease.address;
        packet.broadcast = false;
        packet
            .options
            .set_addresses(code::SERVER_ID, &[lease.server_id]);
        packet
    }

    /// A DHCPDECLINE: somebody else uses the address.
    pub fn decline(&self, lease: &Lease, xid: u32) -> Packet {
        let mut packet = self.packet(MessageType::Decline, xid, 0);
        packet
            .options
            .set_addresses(code::REQUESTED_ADDRESS, &[lease.address]);
        packet
            .options
            .set_addresses(code::SERVER_ID, &[lease.server_id]);
        packet
    }
}

/// What a server offered or granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The client's address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix; 32 when the server named no mask.
    pub prefix_len: u8,
    /// Server identifier.
    pub server_id: Ipv4Addr,
    /// Routers, the preferred one first.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// Host name that the server gave.
    pub host_name: Option<String>,
    /// MTU.
    pub mtu: Option<u16>,
    /// How long the address may be used.
    pub duration: Duration,
    /// T1, since the acknowledgement.
    pub renew_after: Duration,
    /// T2, since the acknowledgement.
    pub rebind_after: Duration,
    /// TFTP server: `siaddr`, else option 150, else option 66 when it is an address.
    pub next_server: Option<Ipv4Addr>,
    /// Option 67, else the `file` field.
    pub boot_file: Option<String>,
    /// Option 60 of the reply.
    pub vendor_class: Option<String>,
}

impl Lease {
    /// Reads an offer or acknowledgement.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it has no server identifier, no usable address or an impossible mask.
    pub fn from_packet(packet: &Packet) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Malformed {
            what: "DHCP reply",
            why: why.to_owned(),
        };
        let options = &packet.options;
        let address = packet.yiaddr;
        if address.is_unspecified() || address.is_broadcast() || address.is_multicast() {
            return Err(malformed("it offers no usable address"));
        }
        let server_id = options
            .address(code::SERVER_ID)
            .ok_or_else(|| malformed("no server identifier"))?;
        let prefix_len = match options.address(code::SUBNET_MASK) {
            Some(mask) => Ipv4Net::with_netmask(address, mask)
                .map_err(|_| malformed("the subnet mask has holes"))?
                .prefix_len(),
            None => 32,
        };
        let seconds = options
            .u32(code::LEASE_TIME)
            .ok_or_else(|| malformed("no lease time"))?;
        let renew = options.u32(code::RENEWAL).unwrap_or(seconds / 2);
        let rebind = options
            .u32(code::REBINDING)
            .unwrap_or_else(|| seconds - seconds.div_ceil(8));
        let next_server = Some(packet.siaddr)
            .filter(|address| !address.is_unspecified())
            .or_else(|| options.address(code::TFTP_SERVER_ADDRESS))
            .or_else(|| options.text(code::TFTP_SERVER_NAME)?.parse().ok());
        let boot_file = options
            .text(code::BOOT_FILE)
            .or_else(|| Some(crate::packet::printable(&packet.file)))
            .filter(|file| !file.is_empty());
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        Ok(Self {
            address,
            prefix_len,
            server_id,
            routers: options.addresses(code::ROUTER),
            dns: options.addresses(code::DNS),
            ntp: options.addresses(code::NTP),
            domain: options.text(code::DOMAIN_NAME),
            host_name: options.text(code::HOST_NAME),
            mtu: options.u16(code::INTERFACE_MTU),
            duration: seconds(options.u32(code::LEASE_TIME).unwrap_or_default()),
            renew_after: seconds(renew.min(rebind)),
            rebind_after: seconds(rebind),
            next_server,
            boot_file,
            vendor_class: options.text(code::VENDOR_CLASS),
        })
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The packet.
    pub bytes: Vec<u8>,
    /// Where to; broadcast means 255.255.255.255 port 67. Unicast needs the leased address on the interface.
    pub to: Destination,
}

/// What the caller has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this, then poll again.
    Send(Transmit),
    /// Wait for a datagram, at most until this time, then poll again.
    Wait(Duration),
    /// The lease ended and nobody renewed it: take the address off the interface. The client looks for a server again.
    Expired(Box<Lease>),
}

/// What a received datagram meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Not for this client, or not expected now.
    Ignored,
    /// An offer was taken; poll again.
    Offered(Lease),
    /// The address is granted, or renewed.
    Bound(Lease),
    /// The server refused; the client looks for a server again. A bound address must be taken off.
    Refused(Error),
}

#[derive(Debug, Clone)]
enum State {
    Selecting,
    Requesting(Lease),
    Bound { lease: Lease, since: Duration },
}

/// The client.
#[derive(Debug, Clone)]
pub struct Client {
    settings: ClientSettings,
    state: State,
    xid: u32,
    began: Duration,
    attempt: u32,
    next_send: Duration,
}

impl Client {
    /// A client that will send its first DHCPDISCOVER at the first poll. `xid` should be random.
    pub fn new(settings: ClientSettings, xid: u32, now: Duration) -> Self {
        Self {
            settings,
            state: State::Selecting,
            xid,
            began: now,
            attempt: 0,
            next_send: now,
        }
    }

    /// The lease, once bound.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Transaction id of the exchange that runs.
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// Requests sent since the state was entered.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.attempt = 0;
        self.next_send = now;
    }

    fn start_over(&mut self, now: Duration) {
        self.xid = self.xid.wrapping_add(1);
        self.began = now;
        self.enter(State::Selecting, now);
    }

    fn backoff(&self) -> Duration {
        let doubled = self
            .settings
            .first_retry
            .saturating_mul(1u32.checked_shl(self.attempt).unwrap_or(u32::MAX));
        doubled.min(self.settings.longest_retry)
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> Action {
        if let State::Bound { lease, since } = &self.state {
            let lease = lease.clone();
            let since = *since;
            if now >= since.saturating_add(lease.duration) {
                self.start_over(now);
                return Action::Expired(Box::new(lease));
            }
            if now < self.next_send {
                return Action::Wait(self.next_send);
            }
            return self.renew(&lease, since, now);
        }
        if now < self.next_send {
            return Action::Wait(self.next_send);
        }
        if matches!(self.state, State::Requesting(_)) && self.attempt >= REQUEST_ATTEMPTS {
            self.start_over(now);
        }
        let secs = u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX);
        let packet = match &self.state {
            State::Requesting(offer) => self.settings.request(offer, self.xid, secs),
            _ => self.settings.discover(self.xid, secs),
        };
        self.next_send = now.saturating_add(self.backoff());
        self.attempt = self.attempt.saturating_add(1);
        Action::Send(Transmit {
            bytes: packet.encode(),
            to: Destination::Broadcast,
        })
    }

    fn renew(&mut self, lease: &Lease, since: Duration, now: Duration) -> Action {
        let rebind_at = since.saturating_add(lease.rebind_after);
        let end = since.saturating_add(lease.duration);
        let rebinding = now >= rebind_at;
        if self.attempt == 0 {
            self.xid = self.xid.wrapping_add(1);
            self.began = now;
        }
        self.attempt = self.attempt.saturating_add(1);
        // half of what is left, but never in less than a minute unless the lease itself is that short
        let left = if rebinding { end } else { rebind_at }.saturating_sub(now);
        let wait = (left / 2)
            .max(RENEW_INTERVAL.min(left))
            .max(Duration::from_secs(1));
        self.next_send = now.saturating_add(wait).min(end);
        let secs = u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX);
        let to = if rebinding {
            Destination::Broadcast
        } else {
            Destination::Unicast(SocketAddrV4::new(lease.server_id, SERVER_PORT))
        };
        Action::Send(Transmit {
            bytes: self.settings.renew(lease, self.xid, secs).encode(),
            to,
        })
    }

    /// Takes a datagram that reached the client's port.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Event {
        let Ok(packet) = Packet::decode(bytes) else {
            return Event::Ignored;
        };
        if !packet.reply || packet.xid != self.xid || packet.mac() != Some(self.settings.mac) {
            return Event::Ignored;
        }
        match (packet.options.message_type(), &self.state) {
            (Some(MessageType::Offer), State::Selecting) if self.attempt > 0 => {
                match Lease::from_packet(&packet) {
                    Ok(lease) => {
                        self.enter(State::Requesting(lease.clone()), now);
                        Event::Offered(lease)
                    }
                    Err(_) => Event::Ignored,
                }
            }
            (Some(MessageType::Ack), State::Requesting(_) | State::Bound { .. })
                if self.attempt > 0 =>
            {
                match Lease::from_packet(&packet) {
                    Ok(lease) => {
                        let renew_at = now.saturating_add(lease.renew_after);
                        self.enter(
                            State::Bound {
                                lease: lease.clone(),
                                since: now,
                            },
                            renew_at,
                        );
                        Event::Bound(lease)
                    }
                    Err(_) => Event::Ignored,
                }
            }
            (Some(MessageType::Nak), State::Requesting(_) | State::Bound { .. })
                if self.attempt > 0 =>
            {
                let server = packet
                    .options
                    .address(code::SERVER_ID)
                    .unwrap_or(Ipv4Addr::UNSPECIFIED);
                let why = packet
                    .options
                    .text(code::MESSAGE)
                    .unwrap_or_else(|| "it gave no reason".to_owned());
                self.start_over(now);
                // not at once: a server that always refuses must not be asked in a tight loop
                self.next_send = now.saturating_add(self.settings.first_retry);
                Event::Refused(Error::Refused { server, why })
            }
            _ => Event::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::tests::{host, network};
    use crate::engine::{ClientRecord, Request, answer};

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn serve(bytes: &[u8]) -> Option<Vec<u8>> {
        let request = Request::decode(bytes, "0.0.0.0:68".parse().unwrap()).unwrap();
        let outcome = answer(&request, &network(), &ClientRecord::Known(host()));
        outcome.reply.map(|reply| reply.bytes)
    }

    fn sent(client: &mut Client, now: Duration) -> Transmit {
        match client.poll(now) {
            Action::Send(transmit) => transmit,
            other => panic!("nothing sent: {other:?}"),
        }
    }

    fn bound(now: Duration) -> Client {
        let mut client = Client::new(ClientSettings::new(MAC), 7, now);
        let discover = sent(&mut client, now);
        let offer = serve(&discover.bytes).unwrap();
        assert!(matches!(client.receive(&offer, now), Event::Offered(_)));
        let request = sent(&mut client, now);
        let ack = serve(&request.bytes).unwrap();
        assert!(matches!(client.receive(&ack, now), Event::Bound(_)));
        client
    }

    #[test]
    fn gets_a_lease_from_the_engine() {
        let client = bound(at(5));
        let lease = client.lease().unwrap();
        assert_eq!(lease.address, host().address);
        assert_eq!(lease.prefix_len, 24);
        assert_eq!(lease.server_id, network().server);
        assert_eq!(lease.routers, vec![Ipv4Addr::new(10, 77, 0, 254)]);
        assert_eq!(lease.duration, at(600));
        assert_eq!(lease.boot_file, None);
    }

    #[test]
    fn retries_with_back_off() {
        let mut client = Client::new(ClientSettings::new(MAC), 7, at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..6 {
            sent(&mut client, now);
            let Action::Wait(until) = client.poll(now) else {
                panic!("sent twice")
            };
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn unanswered_requests_start_over() {
        let mut client = Client::new(ClientSettings::new(MAC), 7, at(0));
        let offer = serve(&sent(&mut client, at(0)).bytes).unwrap();
        client.receive(&offer, at(0));
        let mut types = Vec::new();
        for step in 0..6 {
            let packet = Packet::decode(&sent(&mut client, at(step * 100)).bytes).unwrap();
            types.push(packet.options.message_type().unwrap());
        }
        let mut expected = vec![MessageType::Request; 4];
        expected.extend([MessageType::Discover; 2]);
        assert_eq!(types, expected);
    }

    #[test]
    fn renews_rebinds_and_expires() {
        let mut client = bound(at(0));
        assert_eq!(client.poll(at(10)), Action::Wait(at(300)));
        let server = Destination::Unicast("10.77.0.1:67".parse().unwrap());
        let renew = sent(&mut client, at(300));
        assert_eq!(renew.to, server);
        let packet = Packet::decode(&renew.bytes).unwrap();
        assert_eq!(packet.ciaddr, host().address);
        // answered: bound for another lease time
        let ack = serve(&renew.bytes).unwrap();
        assert!(matches!(client.receive(&ack, at(300)), Event::Bound(_)));
        assert_eq!(client.poll(at(301)), Action::Wait(at(600)));
        // not answered any more
        let mut now = at(600);
        let mut rebinding = 0;
        loop {
            match client.poll(now) {
                Action::Send(transmit) if transmit.to == Destination::Broadcast => rebinding += 1,
                Action::Send(transmit) => assert_eq!(transmit.to, server),
                Action::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Action::Expired(lease) => {
                    assert_eq!(lease.address, host().address);
                    break;
                }
            }
        }
        assert_eq!(now, at(900));
        assert!(rebinding >= 1);
        let packet = Packet::decode(&sent(&mut client, now).bytes).unwrap();
        assert_eq!(packet.options.message_type(), Some(MessageType::Discover));
    }

    #[test]
    fn a_refusal_starts_over() {
        let mut client = Client::new(ClientSettings::new(MAC), 7, at(0));
        let offer = serve(&sent(&mut client, at(0)).bytes).unwrap();
        client.receive(&offer, at(0));
        let request = sent(&mut client, at(0));
        let mut other = host();
        other.address = Ipv4Addr::new(10, 77, 0, 9);
        let request = Request::decode(&request.bytes, "0.0.0.0:68".parse().unwrap()).unwrap();
        let nak = answer(&request, &network(), &ClientRecord::Known(other));
        let event = client.receive(&nak.reply.unwrap().bytes, at(0));
        let Event::Refused(error) = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            error.to_string(),
            "the DHCP server 10.77.0.1 refused the address: 10.77.0.100 is not its address, 10.77.0.9 is"
        );
        assert_eq!(client.poll(at(0)), Action::Wait(at(1)));
        let packet = Packet::decode(&sent(&mut client, at(1)).bytes).unwrap();
        assert_eq!(packet.options.message_type(), Some(MessageType::Discover));
        assert_ne!(packet.xid, 7);
    }

    #[test]
    fn foreign_packets_are_ignored() {
        let mut client = Client::new(ClientSettings::new(MAC), 7, at(0));
        let discover = sent(&mut client, at(0));
        let offer = serve(&discover.bytes).unwrap();
        let mut xid = offer.clone();
        xid[7] ^= 1;
        let mut mac = offer.clone();
        mac[30] ^= 1;
        for bytes in [&discover.bytes, &xid, &mac, &offer[..200].to_vec()] {
            assert_eq!(client.receive(bytes, at(0)), Event::Ignored);
        }
        assert!(matches!(client.receive(&offer, at(0)), Event::Offered(_)));
        assert_eq!(client.receive(&offer, at(0)), Event::Ignored);
    }
}
