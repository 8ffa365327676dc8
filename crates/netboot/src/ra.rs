//! IPv6 router advertisements over a raw ICMPv6 socket per interface (RFC 4861 section 6.2).
//!
//! They exist so that iPXE does not wait 15 seconds on every boot. We are no router: the lifetime is 0.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use bessemer_dhcp::MacAddress;
use bessemer_dhcp::ra::{
    ALL_NODES, ALL_ROUTERS, HOP_LIMIT, Prefix, RouterAdvertisement, is_solicitation,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::journal::with_causes;
use crate::settings::RaSettings;

/// How long hosts may keep an address of an advertised prefix, in advertisement intervals.
const PREFIX_INTERVALS: u32 = 60;
/// Multicast answers to solicitations are at least so far apart (RFC 4861: MIN_DELAY_BETWEEN_RAS).
const MULTICAST_PAUSE: Duration = Duration::from_secs(3);

/// A bound socket on one interface.
#[derive(Debug)]
pub(crate) struct RaSocket {
    /// A raw ICMPv6 socket: it sends to and receives from addresses as a UDP socket does, only without ports.
    socket: UdpSocket,
    interface: String,
    index: u32,
}

/// Binds a socket per interface.
pub(crate) fn bind(settings: &RaSettings) -> Result<Vec<RaSocket>, Error> {
    let sockets = settings.interfaces.iter().map(|interface| {
        open(interface).map_err(|source| {
            let what = format!("router advertisements cannot be sent on interface {interface}");
            Error::socket(what, source)
        })
    });
    sockets.collect()
}

fn open(interface: &str) -> io::Result<RaSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(u32::from(HOP_LIMIT))?;
    socket.set_unicast_hops_v6(u32::from(HOP_LIMIT))?;
    socket.set_multicast_loop_v6(false)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    Ok(RaSocket {
        socket: UdpSocket::from_std(socket.into())?,
        interface: interface.to_owned(),
        index,
    })
}

/// The interface's Ethernet address, if it has one.
fn interface_mac(interface: &str) -> Option<MacAddress> {
    let path = format!("/sys/class/net/{interface}/address");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What is advertised on an interface.
pub(crate) fn advertisement(interface: &str, settings: &RaSettings) -> RouterAdvertisement {
    let lifetime = settings.interval.saturating_mul(PREFIX_INTERVALS);
    let seconds = u32::try_from(lifetime.as_secs())
        .unwrap_or(u32::MAX)
        .max(600);
    RouterAdvertisement {
        source: interface_mac(interface),
        prefixes: settings
            .prefixes
            .iter()
            .map(|prefix| Prefix {
                prefix: prefix.network(),
                length: prefix.prefix_len(),
                on_link: true,
                autonomous: true,
                valid_seconds: seconds,
                preferred_seconds: seconds,
            })
            .collect(),
        ..RouterAdvertisement::default()
    }
}

/// Advertises at once, at every interval and when asked, until cancelled.
pub(crate) async fn run(socket: RaSocket, settings: Arc<RaSettings>, cancel: CancellationToken) {
    let bytes = advertisement(&socket.interface, &settings).encode();
    let mut ticks = tokio::time::interval(settings.interval.max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_multicast: Option<Instant> = None;
    let mut complained = false;
    loop {
        let to = tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => ALL_NODES,
            asked = socket.solicitation() => match asked {
                // a host without an address yet asks from "::"
                Some(from) if from.is_unspecified() => {
                    if last_multicast.is_some_and(|last| last.elapsed() < MULTICAST_PAUSE) {
                        continue;
                    }
                    ALL_NODES
                }
                Some(from) => from,
                None => continue,
            },
        };
        match socket.send(&bytes, to).await {
            Ok(()) => {
                complained = false;
                if to == ALL_NODES {
                    last_multicast = Some(Instant::now());
                }
            }
            Err(error) if complained => tracing::debug!(%error, "router advertisement not sent"),
            Err(error) => {
                // an interface that has just come up has no link-local address yet
                complained = true;
                let error = with_causes(&error);
                tracing::warn!(
                    interface = socket.interface,
                    error,
                    "router advertisement not sent"
                );
            }
        }
    }
}

impl RaSocket {
    async fn send(&self, bytes: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        self.socket.send_to(bytes, to).await?;
        Ok(())
    }

    /// Waits for an ICMPv6 message; who asked, when it is a solicitation.
    async fn solicitation(&self) -> Option<Ipv6Addr> {
        let mut buffer = [0u8; 1500];
        match self.socket.recv_from(&mut buffer).await {
            Ok((length, SocketAddr::V6(from))) => {
                is_solicitation(buffer.get(..length)?).then(|| *from.ip())
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "ICMPv6 receive failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn advertises_no_router() {
        let settings = RaSettings {
            interfaces: vec![],
            interval: Duration::from_secs(10),
            prefixes: vec!["fd77::/64".parse().unwrap()],
        };
        let advertisement = advertisement("lo", &settings);
        assert_eq!(advertisement.router_lifetime_seconds, 0);
        assert!(!advertisement.managed && !advertisement.other);
        assert_eq!(advertisement.prefixes[0].valid_seconds, 600);
        assert_eq!(advertisement.source, Some(MacAddress([0; 6])));
    }
}
