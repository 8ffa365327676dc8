//! rtnetlink by hand: links up, addresses, the default route. A dozen messages do not need a library.
//!
//! Specification: RFC 3549, and `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_addr.h`, `linux/if_link.h`.
//! Answers come from the kernel only; they are parsed with bounds all the same.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    pub ip: IpAddr,
    pub prefix: u8,
}

/// A socket to the kernel's routing tables.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Switches an interface on.
    pub fn link_up(&mut self, interface: u32) -> io::Result<()> {
        // struct ifinfomsg: family, pad, type, index, flags, change
        let mut body = vec![0, 0, 0, 0];
        body.extend(interface.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        self.change(RTM_NEWLINK, 0, &body)
    }

    /// Sets the MTU of an interface, in bytes.
    pub fn set_mtu(&mut self, interface: u32, mtu: u32) -> io::Result<()> {
        const IFLA_MTU: u16 = 4;
        let mut body = vec![0, 0, 0, 0];
        body.extend(interface.to_ne_bytes());
        body.extend(0_u32.to_ne_bytes());
        body.extend(0_u32.to_ne_bytes());
        attribute(&mut body, IFLA_MTU, &mtu.to_ne_bytes());
        self.change(RTM_NEWLINK, 0, &body)
    }

    /// Switches an interface off.
    pub fn link_down(&mut self, interface: u32) -> io::Result<()> {
        let mut body = vec![0, 0, 0, 0];
        body.extend(interface.to_ne_bytes());
        body.extend(0_u32.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes());
        self.change(RTM_NEWLINK, 0, &body)
    }

    /// Gives an interface an IPv4 address, or renews it.
    pub fn add_address(&mut self, interface: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut body = address_header(interface, prefix);
        attribute(&mut body, IFA_LOCAL, &ip.octets());
        attribute(&mut body, IFA_ADDRESS, &ip.octets());
        if prefix < 31 {
            let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let broadcast = Ipv4Addr::from(u32::from(ip) | host_bits);
            attribute(&mut body, IFA_BROADCAST, &broadcast.octets());
        }
        self.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
    }

    /// Takes an IPv4 address away.
    pub fn delete_address(&mut self, interface: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut body = address_header(interface, prefix);
        attribute(&mut body, IFA_LOCAL, &ip.octets());
        self.change(RTM_DELADDR, 0, &body)
    }

    /// Route to `destination`/`prefix` (0/0: the default) over `interface`, by `gateway` or directly.
    pub fn add_route(
        &mut self,
        interface: u32,
        destination: (Ipv4Addr, u8),
        gateway: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        const RTA_DST: u16 = 1;
        // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
        let scope = if gateway.is_some() {
            RT_SCOPE_UNIVERSE
        } else {
            RT_SCOPE_LINK
        };
        let mut body = vec![
            AF_INET,
            destination.1,
            0,
            0,
            RT_TABLE_MAIN,
            RTPROT_DHCP,
            scope,
            RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        if destination.1 > 0 {
            attribute(&mut body, RTA_DST, &destination.0.octets());
        }
        if let Some(gateway) = gateway {
            attribute(&mut body, RTA_GATEWAY, &gateway.octets());
        }
        attribute(&mut body, RTA_OIF, &interface.to_ne_bytes());
        self.change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body)
    }

    /// All addresses of all interfaces.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let body = [0_u8; 8];
        let sequence = self.send(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &body)?;
        let mut found = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let (length, _) =
                rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let data = buffer.get(..length).unwrap_or_default();
            for message in messages(data) {
                if message.sequence != sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => return error_code(message.body).map(|()| found),
                    RTM_NEWADDR => found.extend(parse_address(message.body)),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(body.len().saturating_add(16))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut message = Vec::with_capacity(body.len().saturating_add(16));
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        Ok(self.sequence)
    }

    fn change(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let sequence = self.send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        let mut buffer = vec![0_u8; 16 * 1024];
        loop {
            let (length, _) =
                rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.sequence == sequence && message.kind == NLMSG_ERROR {
                    return error_code(message.body);
                }
            }
        }
    }
}

fn address_header(interface: u32, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, prefixlen, flags, scope, index
    let mut body = vec![AF_INET, prefix, 0, RT_SCOPE_UNIVERSE];
    body.extend(interface.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Splits what one `recv` gave.
fn messages(mut data: &[u8]) -> Vec<Message<'_>> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(data, 0), u16_at(data, 4), u32_at(data, 8))
    {
        let Ok(length) = usize::try_from(length) else {
            break;
        };
        let Some(body) = data.get(16..length) else {
            break;
        };
        found.push(Message {
            kind,
            sequence,
            body,
        });
        let Some(rest) = data.get(length.next_multiple_of(4)..) else {
            break;
        };
        data = rest;
    }
    found
}

/// Body of an error message: 0 is the acknowledgement.
fn error_code(body: &[u8]) -> io::Result<()> {
    let code = u32_at(body, 0)
        .map(u32::cast_signed)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    if code == 0 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(code.saturating_neg()))
}

fn parse_address(body: &[u8]) -> Option<Address> {
    let family = *body.first()?;
    let prefix = *body.get(1)?;
    let interface = u32_at(body, 4)?;
    let mut rest = body.get(8..)?;
    let mut address = None;
    let mut local = None;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match kind {
            IFA_ADDRESS => address = Some(value),
            IFA_LOCAL => local = Some(value),
            _ => {}
        }
        let Some(next) = rest.get(length.next_multiple_of(4)..) else {
            break;
        };
        rest = next;
    }
    let value = local.or(address)?;
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => return None,
    };
    Some(Address {
        interface,
        ip,
        prefix,
    })
}

/// Fuzz target: what the kernel sends.
pub fn fuzz_netlink(data: &[u8]) {
    for message in messages(data) {
        let _ = parse_address(message.body);
        let _ = error_code(message.body);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn loopback_is_found() {
        let addresses = Netlink::open().unwrap().addresses().unwrap();
        assert!(
            addresses
                .iter()
                .any(|a| a.ip == IpAddr::V4(Ipv4Addr::LOCALHOST) && a.prefix == 8),
            "{addresses:?}"
        );
    }
}
