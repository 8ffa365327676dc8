//! A host's DHCP exchanges: as a network card's firmware, as iPXE, as the ramdisk's operating system.
//!
//! Over real UDP to the server's port, as if through a relay at the host's own address, with datagrams lost as the
//! settings say.

use std::net::SocketAddr;
use std::time::Duration;

use bessemer_dhcp::client::{Action, ClientSettings, Event};
use bessemer_dhcp::packet::{Packet, code};
use bessemer_dhcp::{Client, Lease};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::host::{Firmware, Host};

/// RFC 8357: answers go to the port that the relay asked from.
const RELAY_SOURCE_PORT: [u8; 2] = [19, 0];
/// Attempts follow each other at least this slowly, whatever the time scale.
const SHORTEST_RETRY: Duration = Duration::from_millis(200);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Firmware,
    Ipxe,
    Ramdisk,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Ipxe => "ipxe",
            Self::Ramdisk => "ramdisk",
        }
    }
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no DHCP answer")]
    TimedOut,
    #[error("DHCP cannot use the network")]
    Network(#[from] std::io::Error),
}

fn settings(host: &Host, role: Role) -> ClientSettings {
    let mut settings = ClientSettings::new(host.mac);
    settings.relay = Some(host.facts.address);
    settings.first_retry = host.settings.patience(settings.first_retry, SHORTEST_RETRY);
    settings.longest_retry = host
        .settings
        .patience(settings.longest_retry, SHORTEST_RETRY * 2);
    if role != Role::Ramdisk {
        let architecture = match host.facts.firmware {
            Firmware::Bios => 0,
            Firmware::Uefi => 7,
        };
        settings.vendor_class =
            Some(format!("PXEClient:Arch:{architecture:05}:UNDI:003001").into_bytes());
        settings.architectures = vec![architecture];
        settings.uuid = Some(host.facts.system_uuid.into_bytes());
    }
    if role == Role::Ipxe {
        settings.user_class = Some(b"iPXE".to_vec());
        // what iPXE says it has: HTTP, TFTP, bzImage, ELF, the menu
        let features = [0x13u8, 0x15, 0x18, 0x19, 0x27];
        settings.ipxe_features = Some(
            features
                .into_iter()
                .flat_map(|feature| [feature, 1, 1])
                .collect(),
        );
    }
    settings
}

/// A lease, and the exchange that keeps it.
pub struct Leased {
    client: Client,
    socket: UdpSocket,
    began: Instant,
    pub lease: Lease,
}

/// Asks until there is a lease, or, with a limit, until that.
///
/// # Errors
/// [`Error::TimedOut`] after the limit, [`Error::Network`] when there is no socket.
pub async fn acquire(
    host: &Host,
    boot: u64,
    role: Role,
    limit: Option<Duration>,
) -> Result<Leased, Error> {
    let socket = UdpSocket::bind((host.facts.address, 0)).await?;
    let began = Instant::now();
    // 32 random bits
    let xid = u32::try_from(host.chances.ids.draw() >> 32).unwrap_or(u32::MAX);
    let mut client = Client::new(settings(host, role), xid, Duration::ZERO);
    let exchange = turn(host, &mut client, &socket, began);
    let lease = match limit {
        Some(limit) => tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| Error::TimedOut)??,
        None => exchange.await?,
    };
    host.log_live(
        boot,
        "dhcp_ack",
        json!({
            "as": role.name(),
            "address": lease.address,
            "server": lease.server_id,
            "boot_file": lease.boot_file.as_deref().map(without_authority),
        }),
    );
    Ok(Leased {
        client,
        socket,
        began,
        lease,
    })
}

impl Leased {
    /// Keeps the lease for as long as it is polled.
    pub async fn keep(mut self, host: &Host) {
        loop {
            if let Err(error) = turn(host, &mut self.client, &self.socket, self.began).await {
                tracing::debug!(%error, host = host.facts.name, "a lease is not renewed any more");
                return;
            }
        }
    }
}

/// Goes on until a lease is granted or renewed.
async fn turn(
    host: &Host,
    client: &mut Client,
    socket: &UdpSocket,
    began: Instant,
) -> Result<Lease, Error> {
    let dice = &host.chances.dhcp;
    let mut buffer = [0; 2048];
    loop {
        match client.poll(began.elapsed()) {
            Action::Send(transmit) => {
                if host.has(Fault::NoNetwork) || dice.chance(host.settings.loss) {
                    continue;
                }
                let bytes = as_relayed(&transmit.bytes);
                if let Err(error) = socket
                    .send_to(&bytes, SocketAddr::V4(host.settings.dhcp))
                    .await
                {
                    // a server that is not there is found again by the next attempt
                    tracing::debug!(%error, host = host.facts.name, "a DHCP request was not sent");
                }
            }
            Action::Wait(until) => {
                let received =
                    tokio::time::timeout_at(began + until, socket.recv_from(&mut buffer)).await;
                let Ok(Ok((length, _))) = received else {
                    continue;
                };
                if dice.chance(host.settings.loss) {
                    continue;
                }
                let bytes = buffer.get(..length).unwrap_or_default();
                match client.receive(bytes, began.elapsed()) {
                    Event::Bound(lease) => return Ok(lease),
                    Event::Refused(error) => {
                        host.log("dhcp_refused", json!({"why": error.to_string()}))
                    }
                    Event::Offered(_) | Event::Ignored => {}
                }
            }
            Action::Expired(lease) => host.log("dhcp_expired", json!({"address": lease.address})),
        }
    }
}

/// The packet as the relay passes it on.
fn as_relayed(bytes: &[u8]) -> Vec<u8> {
    match Packet::decode(bytes) {
        Ok(mut packet) => {
            packet.options.set(code::RELAY_AGENT, RELAY_SOURCE_PORT);
            packet.encode()
        }
        Err(_) => bytes.to_vec(),
    }
}

/// A boot file as it is logged: a URL by its path alone.
fn without_authority(file: &str) -> String {
    url::Url::parse(file).map_or_else(|_| file.to_owned(), |url| url.path().to_owned())
}
