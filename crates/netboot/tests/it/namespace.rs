//! A network of our own: busybox's udhcpc takes a lease by broadcast, the kernel takes our router advertisements.
//!
//! The test runs itself again under `unshare`, as any user; nothing outside of the namespaces is touched.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bessemer_dhcp::AddressRange;
use bessemer_netboot::settings::RaSettings;
use bessemer_netboot::{BootDirectory, MemoryDirectory, Netboot};
use tokio_util::sync::CancellationToken;

use crate::support::*;

const INSIDE: &str = "BESSEMER_NETBOOT_INSIDE";

#[test]
fn a_wire_with_an_independent_client() {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "namespace::a_wire_with_an_independent_client",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux) is needed for this test");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    Command::new(program)
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"))
}

fn must(line: &str) -> String {
    let output = run(line);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs busybox's client with this MAC; what its script was told, or nothing without a lease.
fn udhcpc(directory: &Path, mac: &str, class: &str) -> String {
    must("ip -n client link set c0 down");
    must(&format!("ip -n client link set c0 address {mac}"));
    must("ip -n client link set c0 up");
    let script = directory.join("script");
    let told = directory.join(format!("told-{}", mac.replace(':', "")));
    let text = format!(
        "#!/bin/sh\n[ $1 = bound ] && {{ env; echo; }} > {}\nexit 0\n",
        told.display()
    );
    std::fs::write(&script, text).unwrap();
    must(&format!("chmod +x {}", script.display()));
    run(&format!(
        "ip netns exec client busybox udhcpc -i c0 -f -n -q -t 3 -T 1 -A 1 -V {class} -O bootfile -O tftp -s {}",
        script.display()
    ));
    std::fs::read_to_string(&told).unwrap_or_default()
}

fn inside() {
    for line in [
        "mount -t tmpfs tmpfs /run",
        "mkdir /run/netns",
        "ip link set lo up",
        "ip netns add client",
        "ip link add s0 type veth peer name c0 netns client",
        "ip addr add 10.77.0.1/24 dev s0",
        "ip link set s0 up",
    ] {
        must(line);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryDirectory::default());
    for host in hosts(directory.path()) {
        memory.set_host(host);
    }
    let mut network = network();
    network.cidr = "10.77.0.0/24".parse().unwrap();
    network.interface = Some("s0".into());
    network.server = Ipv4Addr::new(10, 77, 0, 1);
    network.router = Some(Ipv4Addr::new(10, 77, 0, 254));
    network.dns = vec![Ipv4Addr::new(10, 77, 0, 53)];
    network.range = AddressRange {
        first: Ipv4Addr::new(10, 77, 0, 100),
        last: Ipv4Addr::new(10, 77, 0, 110),
    };
    let mut settings = settings(directory.path(), network);
    let dhcp = settings.dhcp.as_mut().unwrap();
    dhcp.port = 67;
    dhcp.listen.clear();
    settings.tftp.as_mut().unwrap().listen = vec!["10.77.0.1:69".parse().unwrap()];
    settings.http.as_mut().unwrap().listen = vec!["10.77.0.1:80".parse().unwrap()];
    settings.ra = Some(RaSettings {
        interfaces: vec!["s0".into()],
        // so far apart that only the answer to a solicitation can be seen
        interval: Duration::from_secs(3600),
        prefixes: vec!["fd77::/64".parse().unwrap()],
    });
    let cancel = CancellationToken::new();
    let store: Arc<dyn BootDirectory> = memory.clone();
    let service = runtime
        .block_on(async { Netboot::bind(settings, store).await })
        .unwrap();
    let strangers = service.strangers();
    let task = runtime.spawn(service.run(cancel.clone()));

    let told = udhcpc(
        directory.path(),
        "52:54:00:77:00:01",
        "PXEClient:Arch:00000:UNDI:002001",
    );
    for line in [
        "ip=10.77.0.100",
        "subnet=255.255.255.0",
        "router=10.77.0.254",
        "dns=10.77.0.53",
        "lease=600",
        "serverid=10.77.0.1",
        "siaddr=10.77.0.1",
        "boot_file=undionly.kpxe",
        "bootfile=undionly.kpxe",
        "tftp=10.77.0.1",
    ] {
        assert!(
            told.lines().any(|told| told == line),
            "no {line} in\n{told}"
        );
    }
    let told = udhcpc(directory.path(), "52:54:00:77:00:02", "udhcp");
    assert!(told.lines().any(|line| line == "ip=10.77.0.101"), "{told}");
    assert!(!told.contains("undionly"), "{told}");
    // the same host again: the same address
    let told = udhcpc(directory.path(), "52:54:00:77:00:01", "udhcp");
    assert!(told.lines().any(|line| line == "ip=10.77.0.100"), "{told}");

    assert_eq!(udhcpc(directory.path(), "52:54:00:99:00:01", "udhcp"), "");
    let text = "DHCPDISCOVER from 52:54:00:99:00:01: unknown MAC, not answered";
    let seen = strangers.list();
    let stranger = seen.iter().find(|stranger| stranger.text == text);
    assert_eq!(stranger.map(|one| one.count), Some(3), "{seen:?}");

    // the kernel asked for a router when the interface came up, made itself an address, and took no route
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        let addresses = must("ip -n client -6 addr show dev c0");
        if addresses.contains("fd77::") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{addresses}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let routes = must("ip -n client -6 route");
    assert!(!routes.contains("default"), "{routes}");

    cancel.cancel();
    runtime.block_on(task).unwrap();
    let texts: Vec<String> = memory
        .events()
        .into_iter()
        .map(|event| event.text)
        .collect();
    let text = "DHCPREQUEST from 52:54:00:77:00:01 (PXE, BIOS): acknowledged 10.77.0.100, boot file undionly.kpxe";
    assert!(texts.iter().any(|line| line == text), "{texts:#?}");
}
