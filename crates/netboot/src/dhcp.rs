//! DHCPv4 over UDP: sockets around the engine of the `dhcp` crate.
//!
//! One socket per interface with attached hosts (broadcasts), one per address that relays reach. Each packet is answered
//! in a task of its own, so that the store can batch what many hosts ask at once.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bessemer_dhcp::engine::Destination;
use bessemer_dhcp::pxe::HostScript;
use bessemer_dhcp::{
    BootService, ClientRecord, HostRecord, LeaseChange, MessageType, Network, Outcome, Request,
    answer,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::directory::{BootDirectory, DirectoryError, Host, LeaseRequest, Source, Transport};
use crate::journal::{Journal, with_causes};
use crate::service::Urls;
use crate::settings::{DhcpSettings, LoaderSettings, NetworkSettings};

/// Packets in work at once; more wait in the kernel's queue, and clients ask again.
const IN_WORK: usize = 256;
/// An address that somebody else uses is not given out for so long.
const QUARANTINE: Duration = Duration::from_secs(3600);

/// A bound socket.
#[derive(Debug)]
pub(crate) struct DhcpSocket {
    socket: Arc<UdpSocket>,
    /// The interface whose broadcasts it hears and to which it can broadcast.
    interface: Option<String>,
}

impl DhcpSocket {
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}

/// Binds one socket per interface of a network and per address.
pub(crate) fn bind(settings: &DhcpSettings) -> Result<Vec<DhcpSocket>, Error> {
    let mut interfaces: Vec<&String> = settings
        .networks
        .iter()
        .filter_map(|network| network.interface.as_ref())
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    // a wildcard socket of an interface and one of an address get along only when both say so
    let shared = !interfaces.is_empty();
    let places = interfaces
        .into_iter()
        .map(|interface| (Ipv4Addr::UNSPECIFIED, Some(interface)))
        .chain(settings.listen.iter().map(|address| (*address, None)));
    places
        .map(|(address, interface)| {
            let what = match interface {
                Some(interface) => format!(
                    "DHCP cannot listen on interface {interface}, port {}",
                    settings.port
                ),
                None => format!("DHCP cannot listen on {address}, port {}", settings.port),
            };
            let port = settings.port;
            let socket = open(address, port, interface.map(String::as_str), shared);
            Ok(DhcpSocket {
                socket: Arc::new(socket.map_err(|source| Error::socket(what, source))?),
                interface: interface.cloned(),
            })
        })
        .collect()
}

fn open(
    address: Ipv4Addr,
    port: u16,
    interface: Option<&str>,
    shared: bool,
) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // a whole rack that is switched on at once should not lose its first packets; the kernel may give less
    socket.set_recv_buffer_size(1 << 20)?;
    // another program may serve another interface of this machine
    socket.set_reuse_address(shared)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_broadcast(true)?;
    }
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(address, port)).into())?;
    UdpSocket::from_std(socket.into())
}

/// The DHCP service.
pub(crate) struct DhcpService {
    pub(crate) networks: Vec<(NetworkSettings, Network)>,
    pub(crate) client_port: u16,
    pub(crate) directory: Arc<dyn BootDirectory>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) urls: Arc<Urls>,
}

/// The engine's view of a configured network.
pub(crate) fn network(
    settings: &NetworkSettings,
    loaders: &LoaderSettings,
    urls: &Urls,
) -> Network {
    Network {
        cidr: settings.cidr,
        server: settings.server,
        router: settings.router,
        dns: settings.dns.clone(),
        ntp: settings.ntp.clone(),
        domain: settings.domain.clone(),
        mtu: settings.mtu,
        lease_seconds: settings.lease_seconds,
        discovery: settings.discovery,
        boot: BootService {
            tftp_server: urls.tftp_server(settings.server),
            bios_loader: loaders.bios.clone(),
            efi_x64_loader: loaders.efi_x64.clone(),
            efi_arm64_loader: loaders.efi_arm64.clone(),
            http_loader_base: urls
                .http_base_of(settings.server)
                .map(|base| format!("{base}/ipxe")),
        },
    }
}

/// Answers until cancelled.
pub(crate) async fn listen(
    socket: DhcpSocket,
    service: Arc<DhcpService>,
    cancel: CancellationToken,
) {
    let socket = Arc::new(socket);
    let mut work = JoinSet::new();
    let mut buffer = vec![0u8; 4096];
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = work.join_next() => {
                if let Err(error) = ended {
                    let error: tokio::task::JoinError = error;
                    tracing::error!(%error, "bug: a DHCP request panicked");
                }
                continue;
            }
            received = socket.socket.recv_from(&mut buffer), if work.len() < IN_WORK => received,
        };
        let (length, source) = match received {
            Ok((length, SocketAddr::V4(source))) => (length, source),
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "DHCP receive failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        match Request::decode(datagram, source) {
            Ok(request) => {
                let service = Arc::clone(&service);
                let socket = Arc::clone(&socket);
                work.spawn(async move { service.serve(&request, &socket).await });
            }
            Err(error) => tracing::debug!(%source, %error, "DHCP packet ignored"),
        }
    }
    while work.join_next().await.is_some() {}
}

impl DhcpService {
    async fn serve(&self, request: &Request, socket: &DhcpSocket) {
        let Some((settings, network)) = self.network_of(request, socket) else {
            let via = match request.subnet_hint() {
                Some(address) => format!("no network is configured for {address}"),
                None => "no network is configured for where it came from".to_owned(),
            };
            let text = format!("{}: {via}, not answered", request.sentence());
            self.journal.unknown(request.mac, text);
            return;
        };
        let (host, client) = match self.client_of(request, settings).await {
            Ok(found) => found,
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(error, "{}: not answered", request.sentence());
                return;
            }
        };
        let Some(client) = client else {
            let text = format!(
                "{}: not answered, no address of {} is free between {} and {}",
                request.sentence(),
                settings.cidr,
                settings.range.first,
                settings.range.last
            );
            match host {
                Some(host) => self.journal.record(host.node, Source::Dhcp, text, None),
                None => self.journal.unknown(request.mac, text),
            }
            return;
        };
        let outcome = answer(request, network, &client);
        if let Err(error) = self.keep(request, settings, &outcome).await {
            // an answer that the store does not know of could give one address to two hosts
            let error = with_causes(&error);
            tracing::warn!(error, "{}: not answered", request.sentence());
            return;
        }
        if let (Some(host), ClientRecord::Known(record)) = (&host, &client) {
            self.journal.introduce(record.address.into(), host.node);
        }
        let mut text = outcome.summary;
        if let Some(reply) = outcome.reply
            && let Err(error) = self.send(&reply.bytes, reply.to, socket).await
        {
            text.push_str(&format!(", but the answer could not be sent: {error}"));
        }
        match host {
            Some(host) => self.journal.record(host.node, Source::Dhcp, text, None),
            None if outcome.ignored => self.journal.unknown(request.mac, text),
            None => tracing::info!("{text}"),
        }
    }

    /// By relay or address; for what was broadcast on the wire, by the interface.
    fn network_of(
        &self,
        request: &Request,
        socket: &DhcpSocket,
    ) -> Option<&(NetworkSettings, Network)> {
        match request.subnet_hint() {
            Some(address) => self
                .networks
                .iter()
                .find(|(settings, _)| settings.cidr.contains(&address)),
            None => {
                let interface = socket.interface.as_ref()?;
                self.networks
                    .iter()
                    .find(|(settings, _)| settings.interface.as_ref() == Some(interface))
            }
        }
    }

    /// The host and what the engine is told about it; no record when the range is used up.
    async fn client_of(
        &self,
        request: &Request,
        settings: &NetworkSettings,
    ) -> Result<(Option<Host>, Option<ClientRecord>), DirectoryError> {
        let host = self.directory.host_by_mac(request.mac).await?;
        let range = match (&host, settings.discovery) {
            (Some(_), _) => settings.range,
            (None, Some(range)) => range,
            (None, None) => return Ok((None, Some(ClientRecord::Stranger))),
        };
        let name = settings.name();
        let address = match request.message_type {
            MessageType::Discover | MessageType::Request => {
                let wish = LeaseRequest {
                    network: name,
                    mac: request.mac,
                    range,
                    excluded: settings.excluded(),
                    keep: Duration::from_secs(u64::from(settings.lease_seconds)),
                };
                self.directory.lease(&wish).await?
            }
            // these are about an address that the host has, or names itself
            _ => match self.directory.leased(&name, request.mac).await? {
                Some(address) => Some(address),
                None => request.wanted_address(),
            },
        };
        let Some(address) = address else {
            return Ok((host, None));
        };
        let script = match &host {
            Some(host) => self.script(host, settings),
            None => HostScript::default(),
        };
        let record = HostRecord {
            address,
            host_name: None,
            script,
        };
        let client = match host {
            Some(_) => ClientRecord::Known(record),
            None => ClientRecord::Discovered(record),
        };
        Ok((host, Some(client)))
    }

    fn script(&self, host: &Host, settings: &NetworkSettings) -> HostScript {
        let path = format!("boot/{}/boot.ipxe", host.mac.dashed());
        let http = match host.transport {
            Transport::Http => self.urls.http_base_of(settings.server),
            Transport::Tftp => None,
        };
        HostScript {
            http_url: http.map(|base| format!("{base}/{path}")),
            tftp_url: self
                .urls
                .tftp_base_of(settings.server)
                .map(|base| format!("{base}/{path}")),
        }
    }

    async fn keep(
        &self,
        request: &Request,
        settings: &NetworkSettings,
        outcome: &Outcome,
    ) -> Result<(), DirectoryError> {
        let network = settings.name();
        match outcome.lease {
            // kept when it was asked for
            LeaseChange::Unchanged | LeaseChange::Offered(_) | LeaseChange::Bound(_) => Ok(()),
            LeaseChange::Released(_) => self.directory.release(&network, request.mac).await,
            LeaseChange::Declined(address) => {
                self.directory
                    .quarantine(&network, address, QUARANTINE)
                    .await
            }
        }
    }

    async fn send(
        &self,
        bytes: &[u8],
        to: Destination,
        socket: &DhcpSocket,
    ) -> std::io::Result<()> {
        let to = match to {
            Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, self.client_port),
            Destination::Unicast(to) => to,
        };
        socket.socket.send_to(bytes, to).await?;
        Ok(())
    }
}
