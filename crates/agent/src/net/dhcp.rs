//! DHCPv4 on the machine's interfaces when the agent is process 1: address, default route, name servers, host name, MTU.
//!
//! The interface that the machine booted from goes first; the others follow once it has an address or took too long.
//! Each lease is renewed as long as the agent lives. The state machine is `bessemer-dhcp`'s; here are sockets and clock.
//! Specification: RFC 2131 section 4.4.
//!
//! Must never touch an interface that is not backed by hardware.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_dhcp::MacAddress;
use bessemer_dhcp::client::{Action, Client, ClientSettings, Event, Lease, Transmit};
use bessemer_dhcp::engine::Destination;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::netlink::Netlink;
use super::{Interface, interfaces};

/// A link may need seconds to come up (copper 3, some switches 30); the first request is sent then at the latest.
const CARRIER_WAIT: Duration = Duration::from_secs(10);
/// The other interfaces start when the boot interface has had this long.
const BOOT_INTERFACE_HEAD_START: Duration = Duration::from_secs(15);
/// How long drivers may take to present the boot interface.
const APPEARANCE_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// What all interfaces share.
struct Shared {
    /// Index of the interface that owns the default route; 0 none.
    default_route: AtomicU32,
    /// Name servers per interface.
    resolvers: Mutex<Vec<(u32, Lease)>>,
    resolv_conf: PathBuf,
    bound: watch::Sender<usize>,
}

/// DHCP on all interfaces, running until cancelled.
pub struct Dhcp {
    bound: watch::Receiver<usize>,
    tasks: TaskTracker,
}

impl Dhcp {
    /// Brings links up and starts the clients. `only` names the single interface to configure, if any.
    pub fn start(
        sys: &Path,
        boot_mac: Option<&str>,
        only: Option<&str>,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, bound) = watch::channel(0);
        let shared = Arc::new(Shared {
            default_route: AtomicU32::new(0),
            resolvers: Mutex::new(Vec::new()),
            resolv_conf: "/etc/resolv.conf".into(),
            bound: sender,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(supervise(
            sys.to_owned(),
            boot_mac.map(str::to_owned),
            only.map(str::to_owned),
            shared,
            tasks.clone(),
            cancel.clone(),
        ));
        Self { bound, tasks }
    }

    /// Waits for the first address; false when there was none in time.
    pub async fn wait_for_address(&mut self, timeout: Duration) -> bool {
        let wait = self.bound.wait_for(|n| *n > 0);
        matches!(tokio::time::timeout(timeout, wait).await, Ok(Ok(_)))
    }

    /// After cancelling: until all clients ended.
    pub async fn join(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts one client per interface, the boot interface first; later ones (hot-plugged, slow drivers) as they appear.
async fn supervise(
    sys: PathBuf,
    boot_mac: Option<String>,
    only: Option<String>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    let began = Instant::now();
    let mut started: Vec<String> = Vec::new();
    let mut bound = shared.bound.subscribe();
    loop {
        let boot_interface_had_its_turn = *bound.borrow_and_update() > 0
            || began.elapsed() > BOOT_INTERFACE_HEAD_START
            || boot_mac.is_none();
        let present = interfaces(&sys);
        let boot_interface_present = present
            .iter()
            .any(|i| Some(i.mac.as_str()) == boot_mac.as_deref());
        for interface in present {
            if started.contains(&interface.name)
                || only.as_ref().is_some_and(|name| *name != interface.name)
            {
                continue;
            }
            let is_boot = boot_mac.as_deref() == Some(interface.mac.as_str());
            let boot_is_missing = !boot_interface_present && began.elapsed() > APPEARANCE_WAIT;
            if is_boot || boot_interface_had_its_turn || boot_is_missing {
                started.push(interface.name.clone());
                tasks.spawn(client(
                    sys.clone(),
                    interface,
                    shared.clone(),
                    cancel.clone(),
                ));
            }
        }
        // quick at first, when everything waits for it; later only for hot-plugged ones
        let pause = if began.elapsed() < BOOT_INTERFACE_HEAD_START + APPEARANCE_WAIT {
            POLL
        } else {
            Duration::from_secs(5)
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One interface, for ever.
async fn client(
    sys: PathBuf,
    interface: Interface,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let mut attempt: u32 = 0;
    loop {
        let outcome = tokio::select! {
            () = cancel.cancelled() => return,
            outcome = configure(&sys, &interface, &shared) => outcome,
        };
        if let Err(error) = outcome {
            if attempt == 0 {
                tracing::warn!("DHCP on {} failed: {error}; trying again", interface.name);
            }
            attempt = attempt.saturating_add(1);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

fn parse_mac(text: &str) -> std::io::Result<MacAddress> {
    text.parse().map_err(|_| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{text} is not a MAC address"),
        )
    })
}

fn open_socket(interface: &Interface) -> std::io::Result<UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_nonblocking(true)?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, bessemer_dhcp::packet::CLIENT_PORT));
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

async fn configure(sys: &Path, interface: &Interface, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mac = parse_mac(&interface.mac)?;
    Netlink::open()?.link_up(interface.index)?;
    let carrier = sys.join("class/net").join(&interface.name).join("carrier");
    let has_carrier = || std::fs::read_to_string(&carrier).is_ok_and(|text| text.trim() == "1");
    let began = Instant::now();
    while !has_carrier() && began.elapsed() < CARRIER_WAIT {
        tokio::time::sleep(POLL).await;
    }
    if !has_carrier() {
        tracing::info!("{} has no carrier, DHCP waits for it", interface.name);
        while !has_carrier() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let socket = open_socket(interface)?;
    let clock = Instant::now();
    let mut settings = ClientSettings::new(mac);
    settings.vendor_class = Some(b"bessemer-agent".to_vec());
    let mut client = Client::new(settings, rand::random(), clock.elapsed());
    let mut current: Option<Lease> = None;
    let mut buffer = vec![0_u8; 4096];
    tracing::info!("DHCP on {} ({})", interface.name, interface.mac);
    loop {
        match client.poll(clock.elapsed()) {
            Action::Send(Transmit { bytes, to }) => {
                let target = match to {
                    Destination::Broadcast => {
                        SocketAddrV4::new(Ipv4Addr::BROADCAST, bessemer_dhcp::packet::SERVER_PORT)
                    }
                    Destination::Unicast(target) => target,
                };
                if let Err(error) = socket.send_to(&bytes, SocketAddr::V4(target)).await {
                    // the state machine tries again by its own clock
                    tracing::debug!("DHCP on {}: sending failed: {error}", interface.name);
                }
            }
            Action::Wait(until) => {
                let pause = until.saturating_sub(clock.elapsed());
                let received = tokio::time::timeout(pause, socket.recv_from(&mut buffer)).await;
                let Ok(received) = received else { continue };
                let (length, _) = match received {
                    Ok(received) => received,
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                    Err(error) => {
                        release(interface, current.take(), shared);
                        return Err(error);
                    }
                };
                let data = buffer.get(..length).unwrap_or_default();
                match client.receive(data, clock.elapsed()) {
                    Event::Bound(lease) => {
                        if current.as_ref().map(|l| l.address) != Some(lease.address) {
                            release(interface, current.take(), shared);
                        }
                        let first = current.is_none();
                        apply(interface, &lease, shared)?;
                        current = Some(lease);
                        if first {
                            shared.bound.send_modify(|n| *n = n.saturating_add(1));
                        }
                    }
                    Event::Refused(error) => {
                        tracing::warn!("DHCP on {}: {error}", interface.name);
                        release(interface, current.take(), shared);
                    }
                    Event::Offered(_) | Event::Ignored => {}
                }
            }
            Action::Expired(lease) => {
                tracing::warn!(
                    "DHCP on {}: the lease of {} ended and nobody renewed it",
                    interface.name,
                    lease.address
                );
                current = None;
                release(interface, Some(*lease), shared);
            }
        }
    }
}

fn apply(interface: &Interface, lease: &Lease, shared: &Shared) -> std::io::Result<()> {
    let mut netlink = Netlink::open()?;
    let known = netlink
        .addresses()?
        .iter()
        .any(|a| a.interface == interface.index && a.ip == IpAddr::V4(lease.address));
    netlink.add_address(interface.index, lease.address, lease.prefix_len)?;
    if let Some(mtu) = lease.mtu.filter(|m| *m >= 576)
        && let Err(error) = netlink.set_mtu(interface.index, u32::from(mtu))
    {
        tracing::warn!("{} does not take the MTU {mtu}: {error}", interface.name);
    }
    let owner = shared.default_route.compare_exchange(
        0,
        interface.index,
        Ordering::SeqCst,
        Ordering::SeqCst,
    );
    let owns = owner.is_ok() || owner == Err(interface.index);
    if let Some(router) = lease.routers.first().filter(|_| owns) {
        if !covers(lease, *router) {
            netlink.add_route(interface.index, (*router, 32), None)?;
        }
        netlink.add_route(interface.index, (Ipv4Addr::UNSPECIFIED, 0), Some(*router))?;
    }
    if !known {
        tracing::info!(
            "{} has {}/{} from {}, router {}, for {} s",
            interface.name,
            lease.address,
            lease.prefix_len,
            lease.server_id,
            lease
                .routers
                .first()
                .map_or_else(|| "none".to_owned(), ToString::to_string),
            lease.duration.as_secs()
        );
        if let Some(name) = lease.host_name.as_deref().filter(|n| is_host_name(n))
            && let Err(error) = rustix::system::sethostname(name.as_bytes())
        {
            tracing::warn!("the host name {name} cannot be set: {error}");
        }
    }
    let mut resolvers = shared
        .resolvers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    resolvers.retain(|(index, _)| *index != interface.index);
    resolvers.push((interface.index, lease.clone()));
    write_resolv_conf(&shared.resolv_conf, &resolvers)
}

fn covers(lease: &Lease, address: Ipv4Addr) -> bool {
    let mask = u32::MAX
        .checked_shl(32_u32.saturating_sub(u32::from(lease.prefix_len)))
        .unwrap_or(0);
    u32::from(lease.address) & mask == u32::from(address) & mask
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn release(interface: &Interface, lease: Option<Lease>, shared: &Shared) {
    let Some(lease) = lease else { return };
    let outcome = Netlink::open().and_then(|mut netlink| {
        netlink.delete_address(interface.index, lease.address, lease.prefix_len)
    });
    if let Err(error) = outcome {
        tracing::debug!("{} keeps {}: {error}", interface.name, lease.address);
    }
    let _ = shared.default_route.compare_exchange(
        interface.index,
        0,
        Ordering::SeqCst,
        Ordering::SeqCst,
    );
}

fn write_resolv_conf(path: &Path, leases: &[(u32, Lease)]) -> std::io::Result<()> {
    let text = resolv_conf(leases.iter().map(|(_, lease)| lease));
    if text.is_empty() {
        return Ok(());
    }
    let temporary = path.with_extension("conf.new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

fn resolv_conf<'a>(leases: impl Iterator<Item = &'a Lease>) -> String {
    let mut text = String::new();
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    for lease in leases {
        if let Some(domain) = lease
            .domain
            .as_deref()
            .filter(|d| is_host_name(d) && !text.contains("search "))
        {
            text.push_str(&format!("search {domain}\n"));
        }
        servers.extend(&lease.dns);
    }
    servers.dedup();
    // the C library reads three
    for server in servers.iter().take(3) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}
