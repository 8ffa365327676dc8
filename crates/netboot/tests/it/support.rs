//! A running service with a directory in memory, on ephemeral ports of loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bessemer_dhcp::{AddressRange, MacAddress};
use bessemer_model::NodeId;
use bessemer_netboot::settings::{
    DhcpSettings, HttpSettings, LoaderSettings, NetworkSettings, TftpSettings,
};
use bessemer_netboot::{
    Addresses, Boot, BootDirectory, Host, MemoryDirectory, Netboot, Ramdisk, Settings, Strangers,
    Transport,
};
use bessemer_tftp::Limits;
use tokio_util::sync::CancellationToken;

pub const RAMDISK: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);
pub const LOCAL: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 2]);
pub const TFTP: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 3]);
pub const INCOMPLETE: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 4]);
pub const STRANGER: MacAddress = MacAddress([0x52, 0x54, 0, 0x99, 0, 1]);

pub struct Running {
    pub addresses: Addresses,
    pub memory: Arc<MemoryDirectory>,
    pub strangers: Arc<Strangers>,
    pub files: tempfile::TempDir,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

pub fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

pub fn network() -> NetworkSettings {
    NetworkSettings {
        cidr: "127.77.0.0/24".parse().unwrap(),
        interface: None,
        server: Ipv4Addr::new(127, 77, 0, 1),
        range: AddressRange {
            first: Ipv4Addr::new(127, 77, 0, 1),
            last: Ipv4Addr::new(127, 77, 0, 4),
        },
        discovery: None,
        router: Some(Ipv4Addr::new(127, 77, 0, 2)),
        dns: vec![],
        ntp: vec![],
        domain: None,
        mtu: None,
        lease_seconds: 600,
    }
}

pub fn settings(files: &Path, network: NetworkSettings) -> Settings {
    let loopback = |address: Ipv4Addr| SocketAddr::V4(SocketAddrV4::new(address, 0));
    let server = network.server;
    Settings {
        dhcp: Some(DhcpSettings {
            port: 0,
            client_port: 68,
            listen: vec![server],
            networks: vec![network],
        }),
        ra: None,
        tftp: Some(TftpSettings {
            listen: vec![loopback(server)],
            server: None,
            root: Some(files.join("tftp")),
            limits: Limits::default(),
            max_transfers: 100,
        }),
        http: Some(HttpSettings {
            listen: vec![loopback(server)],
            public_url: None,
            root: Some(files.join("images")),
            max_connections: 16,
        }),
        loaders: LoaderSettings {
            dir: files.join("loaders"),
            ..LoaderSettings::default()
        },
        templates_dir: None,
    }
}

/// Files to serve: kernel, ramdisk, loaders, an image.
pub fn files() -> tempfile::TempDir {
    let files = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: Vec<u8>| {
        let path = files.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("boot/vmlinuz 6", content(300_000));
    write("boot/deploy.gz", content(1_000_000));
    write("loaders/undionly.kpxe", content(70_000));
    write("loaders/snponly.efi", content(150_000));
    write("images/disk.raw", content(3_000_000));
    write("images/empty", vec![]);
    write("tftp/extra", b"extra".to_vec());
    std::os::unix::fs::symlink("/etc/passwd", files.path().join("images/outside")).unwrap();
    files
}

pub fn hosts(files: &Path) -> Vec<Host> {
    let file = |name: &str| Some(format!("file://{}", files.join(name).display()));
    let ramdisk = Ramdisk {
        kernel: Some(format!("file://{}/boot/vmlinuz%206", files.display())),
        ramdisk: file("boot/deploy.gz"),
        kernel_params: "selinux=0 troubleshoot=0 text ipa-api-url=http://127.77.0.1:6385".into(),
    };
    let incomplete = Ramdisk {
        kernel: None,
        ..ramdisk.clone()
    };
    [
        (RAMDISK, Boot::Ramdisk(ramdisk.clone()), Transport::Http),
        (LOCAL, Boot::Local, Transport::Http),
        (TFTP, Boot::Ramdisk(ramdisk), Transport::Tftp),
        (INCOMPLETE, Boot::Ramdisk(incomplete), Transport::Http),
    ]
    .into_iter()
    .map(|(mac, boot, transport)| Host {
        node: node(mac),
        mac,
        boot,
        transport,
    })
    .collect()
}

/// A node id that can be told from its port's last byte.
pub fn node(mac: MacAddress) -> NodeId {
    NodeId(uuid::Uuid::from_u128(u128::from(mac.0[5])))
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let files = files();
        let memory = Arc::new(MemoryDirectory::default());
        for host in hosts(files.path()) {
            memory.set_host(host);
        }
        let mut settings = settings(files.path(), network());
        change(&mut settings);
        let directory: Arc<dyn BootDirectory> = memory.clone();
        let service = Netboot::bind(settings, directory).await.unwrap();
        let cancel = CancellationToken::new();
        Self {
            addresses: service.addresses().clone(),
            strangers: service.strangers(),
            memory,
            files,
            task: tokio::spawn(service.run(cancel.clone())),
            cancel,
        }
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.http[0])
    }

    /// Waits for a sentence in the timeline of the node with this port.
    pub async fn sentence(&self, mac: MacAddress, text: &str) {
        let seen = || -> Vec<String> {
            let events = self.memory.events();
            let of_node = events.into_iter().filter(|event| event.node == node(mac));
            of_node.map(|event| event.text).collect()
        };
        wait_for(
            || seen().iter().any(|line| line == text),
            || format!("no {text:?} in {:#?}", seen()),
        )
        .await;
    }

    /// Waits for a stranger's sentence.
    pub async fn stranger(&self, text: &str) {
        let seen = || self.strangers.list();
        wait_for(
            || seen().iter().any(|one| one.text == text),
            || format!("no {text:?} in {:#?}", seen()),
        )
        .await;
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("the service does not end")
            .unwrap();
    }
}

pub async fn wait_for(condition: impl Fn() -> bool, complaint: impl Fn() -> String) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{}", complaint());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
