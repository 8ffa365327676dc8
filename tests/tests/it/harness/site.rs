//! A network of its own on loopback, with directories for a controller and for hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bessemer_config::{Config, DhcpNetwork};
use bessemer_lab::{LabProcess, Settings, Span};

use super::images::Images;
use super::programs::{Binary, program};

const NETWORKS: u32 = 19_000;
const API_PORT: u16 = 6385;
const TFTP_PORT: u16 = 6969;
const HTTP_PORT: u16 = 8080;
/// Taken at the network's last address for as long as the site lives.
const LOCK_PORT: u16 = 9999;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// See the module.
pub struct Site {
    number: u16,
    /// How many networks of 256 addresses it has: a power of two. Of several, the upper half is for leases and the rest of the
    /// lower half for hosts.
    networks: u16,
    pub directory: tempfile::TempDir,
    pub images: Images,
    _lock: TcpListener,
}

impl Site {
    /// A network that no other test has at this moment.
    pub async fn new() -> Self {
        Self::with(1).await
    }

    /// One with addresses for so many hosts.
    pub async fn of(hosts: usize) -> Self {
        // a network for the controllers, and 250 addresses in each of the others
        let lower = 1 + hosts.div_ceil(250);
        let networks = if hosts > 100 {
            2 * lower.next_power_of_two()
        } else {
            1
        };
        Self::with(u16::try_from(networks).unwrap()).await
    }

    async fn with(networks: u16) -> Self {
        logging();
        let start = std::process::id().wrapping_mul(37);
        let (number, lock) = (0..NETWORKS)
            .find_map(|_| {
                let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % NETWORKS;
                let n = u16::try_from(n).unwrap();
                let n = n - n % networks;
                let lock = TcpListener::bind((address(n, 254), LOCK_PORT)).ok()?;
                Some((n, lock))
            })
            .expect("no network on loopback is free");
        let directory = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("loaders/undionly.kpxe", 700),
            ("loaders/snponly.efi", 900),
            ("ramdisk/kernel", 3000),
            ("ramdisk/initramfs", 5000),
            ("media/isolinux.bin", 3000),
            ("media/esp.img", 4096),
        ] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut contents = vec![0x42; bytes];
            if bytes == 4096 {
                contents[510..512].copy_from_slice(&[0x55, 0xaa]);
            }
            std::fs::write(path, contents).unwrap();
        }
        let images = Images::start(directory.path().join("images"), address(number, 2)).await;
        Self {
            number,
            networks,
            directory,
            images,
            _lock: lock,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn address(&self, last: u8) -> Ipv4Addr {
        address(self.number, last)
    }

    /// Where the controller with this last byte of its address answers.
    pub fn url(&self, last: u8) -> String {
        format!("http://{}:{API_PORT}", self.address(last))
    }

    fn dhcp_port(&self) -> u16 {
        10_000 + self.number
    }

    fn network(&self) -> DhcpNetwork {
        if self.networks > 1 {
            let bits = u8::try_from(self.networks.trailing_zeros()).unwrap();
            return DhcpNetwork {
                cidr: ipnet::Ipv4Net::new(self.address(0), 24 - bits).unwrap(),
                range_start: address(self.number + self.networks / 2, 0),
                range_end: address(self.number + self.networks - 1, 250),
                router: None,
                dns: Vec::new(),
                lease_seconds: 600,
                discovery: false,
            };
        }
        DhcpNetwork {
            cidr: ipnet::Ipv4Net::new(self.address(0), 24).unwrap(),
            range_start: self.address(100),
            range_end: self.address(250),
            router: None,
            dns: Vec::new(),
            lease_seconds: 600,
            discovery: false,
        }
    }

    /// Settings of a controller whose database is a file of this site.
    pub fn config(&self) -> Config {
        let ip = IpAddr::V4(self.address(1));
        let mut config = Config::dev();
        config.default.host = "one".into();
        config.default.enabled_hardware_types =
            ["ipmi", "redfish", "fake-hardware"].map(Into::into).into();
        config.default.my_ip = ip;
        config.default.state_path = self.path("state");
        config.api.host_ip = ip;
        config.api.port = API_PORT;
        config.netboot.enabled = true;
        config.netboot.listen_address = ip;
        config.netboot.dhcp_port = self.dhcp_port();
        config.netboot.tftp_port = TFTP_PORT;
        config.netboot.http_port = HTTP_PORT;
        config.netboot.loader_dir = self.path("loaders");
        config.dhcp.network = vec![self.network()];
        config.default.isolinux_bin = self.path("media/isolinux.bin");
        let c = &mut config.conductor;
        c.bootloader = Some(format!("file://{}", self.path("media/esp.img").display()));
        c.deploy_kernel = Some(format!("file://{}", self.path("ramdisk/kernel").display()));
        c.deploy_ramdisk = Some(format!(
            "file://{}",
            self.path("ramdisk/initramfs").display()
        ));
        c.rescue_kernel.clone_from(&c.deploy_kernel);
        c.rescue_ramdisk.clone_from(&c.deploy_ramdisk);
        c.heartbeat_interval = Duration::from_secs(1);
        c.heartbeat_timeout = Duration::from_secs(10);
        c.sync_power_state_interval = Duration::ZERO;
        c.graceful_shutdown_timeout = Duration::from_secs(5);
        config.agent.post_deploy_get_power_state_retries = 10;
        config.agent.post_deploy_get_power_state_retry_interval = Duration::from_millis(500);
        config
    }

    /// The same settings as a file for the real program, with more lines per section.
    pub fn settings_file(&self, name: &str, last: u8, more: &[(&str, &str)]) -> PathBuf {
        let ip = self.address(last);
        let mut sections: Vec<(&str, Vec<String>)> = vec![
            (
                "DEFAULT",
                vec![
                    format!("host = \"{name}\""),
                    format!("my_ip = \"{ip}\""),
                    format!(
                        "state_path = \"{}\"",
                        self.path(&format!("state-{name}")).display()
                    ),
                    "auth_strategy = \"noauth\"".into(),
                    format!(
                        "isolinux_bin = \"{}\"",
                        self.path("media/isolinux.bin").display()
                    ),
                    "enabled_hardware_types = [\"ipmi\", \"redfish\", \"fake-hardware\"]".into(),
                ],
            ),
            (
                "api",
                vec![format!("host_ip = \"{ip}\""), format!("port = {API_PORT}")],
            ),
            (
                "netboot",
                vec![
                    "enabled = true".into(),
                    "interface = \"lo\"".into(),
                    format!("listen_address = \"{ip}\""),
                    format!("dhcp_port = {}", self.dhcp_port()),
                    format!("tftp_port = {TFTP_PORT}"),
                    format!("http_port = {HTTP_PORT}"),
                    format!("loader_dir = \"{}\"", self.path("loaders").display()),
                ],
            ),
            (
                "conductor",
                vec![
                    format!(
                        "deploy_kernel = \"file://{}\"",
                        self.path("ramdisk/kernel").display()
                    ),
                    format!(
                        "deploy_ramdisk = \"file://{}\"",
                        self.path("ramdisk/initramfs").display()
                    ),
                    format!(
                        "bootloader = \"file://{}\"",
                        self.path("media/esp.img").display()
                    ),
                    "heartbeat_interval = 1".into(),
                    "sync_power_state_interval = 0".into(),
                    "graceful_shutdown_timeout = 5".into(),
                ],
            ),
            (
                "agent",
                vec![
                    "post_deploy_get_power_state_retries = 10".into(),
                    "post_deploy_get_power_state_retry_interval = 0.5".into(),
                ],
            ),
            ("log", vec!["level = \"info\"".into()]),
            ("database", vec![]),
            ("deploy", vec![]),
            ("ipmi", vec![]),
            ("fake", vec![]),
        ];
        for (section, line) in more {
            let key = line.split('=').next().unwrap().trim();
            let (_, lines) = sections
                .iter_mut()
                .find(|(known, _)| known == section)
                .unwrap_or_else(|| panic!("no section {section}"));
            lines.retain(|known| known.split('=').next().unwrap().trim() != key);
            lines.push((*line).to_owned());
        }
        let mut text = String::new();
        for (section, lines) in &sections {
            text.push_str(&format!("[{section}]\n{}\n", lines.join("\n")));
        }
        let network = self.network();
        text.push_str(&format!(
            "[[dhcp.network]]\ncidr = \"{}\"\nrange_start = \"{}\"\nrange_end = \"{}\"\n",
            network.cidr, network.range_start, network.range_end
        ));
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Settings of hosts that ask this site's controller; ten times faster than real ones.
    pub fn lab_settings(&self, hosts: usize) -> Settings {
        let dhcp = SocketAddrV4::new(self.address(1), self.dhcp_port());
        let mut settings = fast(Settings::new(
            hosts,
            u64::from(self.number),
            self.path("hosts.jsonl"),
            dhcp,
        ));
        settings.address_base = if self.networks > 1 {
            address(self.number + 1, 0)
        } else {
            self.address(10)
        };
        settings
    }

    /// Starts hosts.
    pub fn lab(&self, settings: &Settings) -> LabProcess {
        bessemer_lab::spawn_binary(Path::new(&program(Binary::Lab)), settings).unwrap()
    }
}

/// Short times of the hosts' own; waits for others stay long enough for a restart of the controller.
fn fast(mut settings: Settings) -> Settings {
    settings.time_scale = 0.1;
    settings.boot_delay = Span::millis(100, 400);
    settings.ramdisk_delay = Span::millis(100, 400);
    settings.write_seconds = Span::millis(500, 1500);
    settings.erase_seconds = Span::millis(500, 1500);
    settings
}

fn address(number: u16, last: u8) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 150 + high, low, last)
}

/// The controller's log with a failed test's output, when `RUST_LOG` asks for it.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    // another test of this process may have done it
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .with_ansi(false)
        .try_init();
    let _ = rustls::crypto::ring::default_provider().install_default();
}
