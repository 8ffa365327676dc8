//! What the service is told: sockets, networks, directories. Plain values; [`Settings::from_config`] takes them from the
//! configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use bessemer_config::{Config, DhcpProvider};
use bessemer_dhcp::AddressRange;
use bessemer_tftp::Limits;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::Error;

/// Everything. A part that is `None` is not served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// DHCPv4.
    pub dhcp: Option<DhcpSettings>,
    /// IPv6 router advertisements.
    pub ra: Option<RaSettings>,
    /// TFTP.
    pub tftp: Option<TftpSettings>,
    /// HTTP.
    pub http: Option<HttpSettings>,
    /// Boot loaders.
    pub loaders: LoaderSettings,
    /// Directory with templates that replace the built-in ones, by the same names.
    pub templates_dir: Option<PathBuf>,
}

/// DHCPv4.
#[derive(Debug, Clone)]
pub struct DhcpSettings {
    /// Port of the server, 67 but for tests.
    pub port: u16,
    /// Port of clients, 68 but for tests.
    pub client_port: u16,
    /// Addresses that relays (and renewing clients) reach, besides the interfaces of the networks.
    pub listen: Vec<Ipv4Addr>,
    /// The networks.
    pub networks: Vec<NetworkSettings>,
}

/// A network whose hosts get addresses.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// The subnet; written out, also the network's name in the store.
    pub cidr: Ipv4Net,
    /// Interface on which its hosts are attached; `None` when they are only reached through relays.
    pub interface: Option<String>,
    /// Our address as its hosts reach it: server identifier, TFTP server, part of URLs.
    pub server: Ipv4Addr,
    /// Addresses for known hosts.
    pub range: AddressRange,
    /// Addresses for hosts that nobody enrolled; `None`: such hosts are never answered.
    pub discovery: Option<AddressRange>,
    /// Default router.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// MTU that hosts are told.
    pub mtu: Option<u16>,
    /// Lease time in seconds.
    pub lease_seconds: u32,
}

/// Router advertisements: they end iPXE's wait of 15 seconds for one, and need CAP_NET_RAW.
#[derive(Debug, Clone)]
pub struct RaSettings {
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// Time between unsolicited advertisements; solicitations are answered at once.
    pub interval: Duration,
    /// Prefixes of which hosts may make themselves addresses; usually none.
    pub prefixes: Vec<Ipv6Net>,
}

/// TFTP.
#[derive(Debug, Clone)]
pub struct TftpSettings {
    /// Addresses; real ones rather than wildcards, for the answer comes from the address that is listened on.
    pub listen: Vec<SocketAddr>,
    /// TFTP server that DHCP names, when it is not the network's server address.
    pub server: Option<Ipv4Addr>,
    /// Directory whose files are served besides the loaders.
    pub root: Option<PathBuf>,
    /// What clients are granted.
    pub limits: Limits,
    /// Transfers at once.
    pub max_transfers: usize,
}

/// HTTP.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Addresses.
    pub listen: Vec<SocketAddr>,
    /// URL under which hosts reach this service, without a slash at the end; `None`: the server address of their network.
    pub public_url: Option<String>,
    /// Directory of images.
    pub root: Option<PathBuf>,
    /// Connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
}

/// Boot loaders: file names below `dir`, or below an architecture's directory.
#[derive(Debug, Clone)]
pub struct LoaderSettings {
    /// Directory; Debian's package `ipxe` has `/usr/lib/ipxe`.
    pub dir: PathBuf,
    /// For BIOS.
    pub bios: Option<String>,
    /// For EFI on x86-64.
    pub efi_x64: Option<String>,
    /// For EFI on arm64; Debian's package for x86 has none.
    pub efi_arm64: Option<String>,
    /// What a BIOS starts from virtual media: ISOLINUX or an El Torito image of GRUB.
    pub isolinux: PathBuf,
    /// The part of ISOLINUX that it loads; GRUB needs none.
    pub ldlinux: PathBuf,
}

impl Default for LoaderSettings {
    fn default() -> Self {
        Self {
            dir: "/usr/lib/ipxe".into(),
            bios: Some("undionly.kpxe".to_owned()),
            efi_x64: Some("snponly.efi".to_owned()),
            efi_arm64: None,
            isolinux: "/usr/lib/ISOLINUX/isolinux.bin".into(),
            ldlinux: "/usr/lib/syslinux/modules/bios/ldlinux.c32".into(),
        }
    }
}

impl NetworkSettings {
    /// The network's name in the store.
    pub fn name(&self) -> String {
        self.cidr.to_string()
    }

    /// Addresses of the ranges that nobody may get: ours, the router's, the name servers', the subnet's ends.
    pub fn excluded(&self) -> Vec<Ipv4Addr> {
        let mut excluded = vec![self.server, self.cidr.network(), self.cidr.broadcast()];
        excluded.extend(self.router);
        excluded.extend(&self.dns);
        excluded
    }
}

impl Settings {
    /// Checks what no type can say.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Settings { why });
        for network in self.dhcp.iter().flat_map(|dhcp| &dhcp.networks) {
            let cidr = network.cidr;
            for (what, range) in [
                ("range", Some(network.range)),
                ("discovery range", network.discovery),
            ] {
                let Some(range) = range else { continue };
                if range.first > range.last {
                    return wrong(format!(
                        "the {what} of network {cidr} begins after its end: {} to {}",
                        range.first, range.last
                    ));
                }
                if !cidr.contains(&range.first) || !cidr.contains(&range.last) {
                    return wrong(format!(
                        "the {what} of network {cidr} lies outside of it: {} to {}",
                        range.first, range.last
                    ));
                }
            }
            if network.lease_seconds < 60 {
                return wrong(format!(
                    "the lease time of network {cidr} is shorter than a minute: {} seconds",
                    network.lease_seconds
                ));
            }
        }
        Ok(())
    }

    /// The settings of a configuration. Asks the kernel which of its addresses reaches each network.
    ///
    /// # Errors
    /// [`Error::Settings`] when a network cannot be reached or options contradict each other.
    pub fn from_config(config: &Config) -> Result<Self, Error> {
        let netboot = &config.netboot;
        let listen = netboot.listen_address;
        let interface = netboot.interface.clone();
        let networks = if config.dhcp.dhcp_provider == DhcpProvider::Builtin {
            let networks = config.dhcp.network.iter();
            networks
                .map(|network| {
                    let range = AddressRange {
                        first: network.range_start,
                        last: network.range_end,
                    };
                    let server = server_address(config.default.my_ip, network.cidr)?;
                    // attached hosts and our own address share the subnet; others come through relays
                    let attached = network.cidr.contains(&server);
                    Ok(NetworkSettings {
                        cidr: network.cidr,
                        interface: interface.clone().filter(|_| attached),
                        server,
                        range,
                        discovery: network.discovery.then_some(range),
                        router: network.router,
                        dns: network.dns.clone(),
                        ntp: Vec::new(),
                        domain: None,
                        mtu: None,
                        lease_seconds: network.lease_seconds,
                    })
                })
                .collect::<Result<Vec<_>, Error>>()?
        } else {
            Vec::new()
        };
        let mut servers: Vec<Ipv4Addr> = networks.iter().map(|network| network.server).collect();
        servers.sort_unstable();
        servers.dedup();
        // TFTP answers from the address that it listens on, so name the addresses where "all" is configured
        let tftp_listen: Vec<IpAddr> = match listen {
            IpAddr::V4(any) if any.is_unspecified() && !servers.is_empty() => {
                servers.iter().copied().map(IpAddr::V4).collect()
            }
            other => vec![other],
        };
        // an interface's own socket takes what relays send to its address; other addresses need one of their own
        let mut dhcp_listen: Vec<Ipv4Addr> = networks
            .iter()
            .filter(|network| network.interface.is_none())
            .map(|network| network.server)
            .collect();
        dhcp_listen.sort_unstable();
        dhcp_listen.dedup();
        if let Some(interface) = &interface
            && !networks.is_empty()
            && networks.iter().all(|network| network.interface.is_none())
        {
            return Err(Error::Settings {
                why: format!(
                    "no dhcp.network is attached to netboot.interface {interface}: this machine has no address in any of them; set DEFAULT.my_ip, or give the interface its address first"
                ),
            });
        }
        let settings = Self {
            dhcp: (!networks.is_empty()).then_some(DhcpSettings {
                port: netboot.dhcp_port,
                client_port: bessemer_dhcp::packet::CLIENT_PORT,
                listen: dhcp_listen,
                networks,
            }),
            ra: match (netboot.ra, interface) {
                (false, _) => None,
                (true, Some(interface)) => Some(RaSettings {
                    interfaces: vec![interface],
                    interval: Duration::from_secs(10),
                    prefixes: Vec::new(),
                }),
                (true, None) => {
                    return Err(Error::Settings {
                        why: "netboot.ra is on, but netboot.interface names no interface to advertise on".to_owned(),
                    });
                }
            },
            tftp: Some(TftpSettings {
                listen: tftp_listen
                    .into_iter()
                    .map(|address| SocketAddr::new(address, netboot.tftp_port))
                    .collect(),
                server: match config.pxe.tftp_server {
                    Some(IpAddr::V4(address)) => Some(address),
                    _ => None,
                },
                root: config.pxe.tftp_root.clone(),
                limits: Limits::default(),
                max_transfers: 1000,
            }),
            http: Some(HttpSettings {
                listen: vec![SocketAddr::new(listen, netboot.http_port)],
                // deploy.http_url may name another web server that has the images but not the boot scripts
                public_url: None,
                root: Some(config.http_root()),
                max_connections: 4096,
            }),
            loaders: LoaderSettings {
                dir: netboot.loader_dir.clone(),
                bios: Some(config.pxe.ipxe_bootfile_name.clone()),
                efi_x64: Some(config.pxe.uefi_ipxe_bootfile_name.clone()),
                efi_arm64: None,
                isolinux: config.default.isolinux_bin.clone(),
                ldlinux: config.default.ldlinux_c32.clone(),
            },
            templates_dir: netboot.templates_dir.clone(),
        };
        settings.check()?;
        Ok(settings)
    }
}

/// Our address as hosts of the network reach it: `my_ip` when it is one of the network's, else the one that the kernel
/// would send from. No packet is sent.
fn server_address(my_ip: IpAddr, cidr: Ipv4Net) -> Result<Ipv4Addr, Error> {
    if let IpAddr::V4(address) = my_ip
        && cidr.contains(&address)
    {
        return Ok(address);
    }
    let ask = || -> std::io::Result<Option<Ipv4Addr>> {
        let Some(host) = cidr.hosts().next() else {
            return Ok(None);
        };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((host, 67))?;
        match socket.local_addr()?.ip() {
            IpAddr::V4(address) => Ok(Some(address)),
            IpAddr::V6(_) => Ok(None),
        }
    };
    ask().ok().flatten().ok_or_else(|| Error::Settings {
        why: format!(
            "no address of this machine reaches the network {cidr}: set my_ip to one that does"
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text, std::path::Path::new("test.toml")).unwrap()
    }

    #[test]
    fn from_a_configuration() {
        let config = config(
            r#"
            [DEFAULT]
            my_ip = "127.77.0.1"
            [netboot]
            enabled = true
            dhcp_port = 6767
            [[dhcp.network]]
            cidr = "127.77.0.0/24"
            range_start = "127.77.0.100"
            range_end = "127.77.0.200"
            discovery = true
            "#,
        );
        let settings = Settings::from_config(&config).unwrap();
        let dhcp = settings.dhcp.unwrap();
        assert_eq!(dhcp.port, 6767);
        assert_eq!(dhcp.listen, [Ipv4Addr::new(127, 77, 0, 1)]);
        let network = &dhcp.networks[0];
        assert_eq!(network.name(), "127.77.0.0/24");
        assert_eq!(network.server, Ipv4Addr::new(127, 77, 0, 1));
        assert_eq!(network.discovery, Some(network.range));
        assert_eq!(network.lease_seconds, 600);
        assert_eq!(
            settings.tftp.unwrap().listen,
            ["127.77.0.1:69".parse().unwrap()]
        );
        assert_eq!(
            settings.http.unwrap().listen,
            ["0.0.0.0:8080".parse().unwrap()]
        );
        assert!(settings.ra.is_none());
    }

    #[test]
    fn contradictions() {
        let check = |text: &str, expected: &str| {
            let error = Settings::from_config(&config(text)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            "[DEFAULT]\nmy_ip = \"127.0.0.1\"\n[netboot]\ninterface = \"lo\"\n[[dhcp.network]]\ncidr = \"127.77.0.0/24\"\nrange_start = \"127.77.0.5\"\nrange_end = \"127.77.0.9\"\n",
            "no dhcp.network is attached to netboot.interface lo: this machine has no address in any of them; set DEFAULT.my_ip, or give the interface its address first",
        );
        check(
            "[netboot]\nra = true\n",
            "netboot.ra is on, but netboot.interface names no interface to advertise on",
        );
        let network = |first: &str, last: &str, lease: u32| NetworkSettings {
            cidr: "10.0.0.0/24".parse().unwrap(),
            interface: None,
            server: Ipv4Addr::new(10, 0, 0, 1),
            range: AddressRange {
                first: first.parse().unwrap(),
                last: last.parse().unwrap(),
            },
            discovery: None,
            router: None,
            dns: vec![],
            ntp: vec![],
            domain: None,
            mtu: None,
            lease_seconds: lease,
        };
        for (network, expected) in [
            (network("10.0.0.5", "10.0.0.9", 60), None),
            (
                network("10.0.0.9", "10.0.0.5", 60),
                Some("the range of network 10.0.0.0/24 begins after its end: 10.0.0.9 to 10.0.0.5"),
            ),
            (
                network("10.0.0.9", "10.0.1.5", 60),
                Some("the range of network 10.0.0.0/24 lies outside of it: 10.0.0.9 to 10.0.1.5"),
            ),
            (
                network("10.0.0.5", "10.0.0.9", 59),
                Some("the lease time of network 10.0.0.0/24 is shorter than a minute: 59 seconds"),
            ),
        ] {
            let settings = Settings {
                dhcp: Some(DhcpSettings {
                    port: 67,
                    client_port: 68,
                    listen: vec![],
                    networks: vec![network],
                }),
                ra: None,
                tftp: None,
                http: None,
                loaders: LoaderSettings::default(),
                templates_dir: None,
            };
            let got = settings.check().err().map(|error| error.to_string());
            assert_eq!(got.as_deref(), expected);
        }
    }
}
