//! What nodes boot over the network.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::types::{DhcpNetwork, DhcpProvider};

section! {
    /// Booting over the network.
    Pxe = "pxe" {
        #[reader("drivers")]
        /// Added to the kernel command line of the ramdisk. A node's `kernel_append_params` goes first.
        kernel_append_params: String = "nofb vga=normal".into(),
        #[reader("netboot")]
        /// TFTP server that DHCP names. Not set: my_ip.
        tftp_server: Option<IpAddr> = None,
        #[reader("netboot")]
        /// Directory whose files TFTP serves besides the boot loaders. Not set: none.
        tftp_root: Option<PathBuf> = None,
        #[reader("netboot")]
        /// Boot loader for BIOS.
        ipxe_bootfile_name: String = "undionly.kpxe".into(),
        #[reader("netboot")]
        /// Boot loader for UEFI.
        uefi_ipxe_bootfile_name: String = "snponly.efi".into(),
    }
}

section! {
    /// The built-in DHCP, TFTP and HTTP service. Upstream leaves these to dnsmasq and a web server.
    Netboot = "netboot" {
        #[reader("netboot, server")]
        /// Serve DHCP, TFTP and HTTP to nodes.
        enabled: bool = false,
        #[reader("netboot")]
        /// Network interface on which DHCP and router advertisements are answered.
        interface: Option<String> = None,
        #[reader("netboot")]
        /// Address that TFTP and HTTP listen on.
        listen_address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        #[reader("netboot")]
        /// UDP port of DHCP; other than 67 only for tests.
        dhcp_port: u16 = 67,
        #[reader("netboot")]
        /// UDP port of TFTP.
        tftp_port: u16 = 69,
        #[reader("netboot")]
        /// TCP port of HTTP.
        http_port: u16 = 8080,
        #[reader("netboot")]
        /// Directory with the boot loaders (Debian: package ipxe).
        loader_dir: PathBuf = "/usr/lib/ipxe".into(),
        #[reader("netboot")]
        /// Directory with boot scripts that replace the built-in ones.
        templates_dir: Option<PathBuf> = None,
        #[reader("netboot")]
        /// Send IPv6 router advertisements: without any router iPXE waits 15 seconds for one.
        ra: bool = false,
    }
}

section! {
    /// Addresses for nodes.
    Dhcp = "dhcp" {
        #[reader("netboot")]
        /// Who answers DHCP for nodes: the built-in service (where netboot is enabled and a network is given), or someone else.
        dhcp_provider: DhcpProvider = DhcpProvider::Builtin,
        #[reader("netboot")]
        /// Networks that the built-in DHCP serves, each a `[[dhcp.network]]` table with `cidr`, `range_start`, `range_end`, and optionally `router`, `dns` (a list), `lease_seconds` (600) and `discovery` (false: only MAC addresses of known ports are answered).
        network: Vec<DhcpNetwork> = Vec::new(),
    }
}
