use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bessemer_dhcp::client::{Action, Event};
use bessemer_dhcp::{AddressRange, Client, ClientSettings, Lease, MacAddress, MessageType, Packet};
use bessemer_model::{Node, Port, PortId, Timestamp};
use bessemer_netboot::{BootDirectory, LeaseRequest, StoreDirectory};
use bessemer_store::{BootKind, BootRow, Store, TimelineSource};
use tokio::net::UdpSocket;

use crate::support::*;

/// A host behind a relay on loopback: the relay's address is a loopback address, and answers come back to its port.
async fn lease(running: &Running, settings: ClientSettings) -> Option<Lease> {
    let relay = Ipv4Addr::new(127, 77, 0, 250);
    let socket = UdpSocket::bind((relay, 0)).await.unwrap();
    let settings = ClientSettings {
        relay: Some(relay),
        first_retry: Duration::from_millis(100),
        ..settings
    };
    let server = running.addresses.dhcp[0];
    let begin = tokio::time::Instant::now();
    let mut client = Client::new(settings, 77, Duration::ZERO);
    let mut buffer = [0u8; 1500];
    loop {
        if client.attempt() > 2 {
            return None;
        }
        match client.poll(begin.elapsed()) {
            Action::Send(transmit) => {
                socket.send_to(&transmit.bytes, server).await.unwrap();
            }
            Action::Wait(until) => {
                let received =
                    tokio::time::timeout_at(begin + until, socket.recv_from(&mut buffer)).await;
                if let Ok(Ok((length, from))) = received {
                    assert_eq!(from, server);
                    if let Event::Bound(lease) = client.receive(&buffer[..length], begin.elapsed())
                    {
                        return Some(lease);
                    }
                }
            }
            Action::Expired(_) => panic!("expired"),
        }
    }
}

fn ipxe(mac: MacAddress) -> ClientSettings {
    ClientSettings {
        vendor_class: Some(b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
        user_class: Some(b"iPXE".to_vec()),
        ipxe_features: Some(vec![19, 1, 1]),
        architectures: vec![0],
        ..ClientSettings::new(mac)
    }
}

#[tokio::test]
async fn relayed_hosts() {
    let running = Running::start().await;
    let http = running.http("");
    let tftp = format!("tftp://{}", running.addresses.tftp[0]);
    let pxe = ClientSettings {
        vendor_class: Some(b"PXEClient:Arch:00007:UNDI:003016".to_vec()),
        architectures: vec![7],
        ..ClientSettings::new(LOCAL)
    };
    let http_boot = ClientSettings {
        vendor_class: Some(b"HTTPClient:Arch:00016:UNDI:003001".to_vec()),
        architectures: vec![16],
        ..ClientSettings::new(LOCAL)
    };
    // .1 is the server's, .2 the router's
    for (settings, address, boot_file) in [
        (
            ipxe(RAMDISK),
            3,
            format!("{http}/boot/52-54-00-77-00-01/boot.ipxe"),
        ),
        (pxe, 4, "snponly.efi".to_owned()),
        (http_boot, 4, format!("{http}/ipxe/snponly.efi")),
        (
            ipxe(LOCAL),
            4,
            format!("{http}/boot/52-54-00-77-00-02/boot.ipxe"),
        ),
    ] {
        let lease = lease(&running, settings).await.unwrap();
        assert_eq!(lease.address, Ipv4Addr::new(127, 77, 0, address));
        assert_eq!(lease.prefix_len, 24);
        assert_eq!(lease.server_id, Ipv4Addr::new(127, 77, 0, 1));
        assert_eq!(lease.boot_file, Some(boot_file));
    }
    running
        .sentence(
            RAMDISK,
            &format!(
                "DHCPDISCOVER from 52:54:00:77:00:01 (iPXE, BIOS): offered 127.77.0.3, boot file {http}/boot/52-54-00-77-00-01/boot.ipxe"
            ),
        )
        .await;

    // the range is used up; then a lease is given back
    assert_eq!(lease(&running, ipxe(TFTP)).await, None);
    running
        .sentence(
            TFTP,
            "DHCPDISCOVER from 52:54:00:77:00:03 (iPXE, BIOS): not answered, no address of 127.77.0.0/24 is free between 127.77.0.1 and 127.77.0.4",
        )
        .await;
    let settings = ClientSettings {
        relay: Some(Ipv4Addr::new(127, 77, 0, 250)),
        ..ipxe(RAMDISK)
    };
    let given = Lease::from_packet(&ack(Ipv4Addr::new(127, 77, 0, 3))).unwrap();
    let socket = UdpSocket::bind("127.77.0.250:0").await.unwrap();
    let release = settings.release(&given, 1).encode();
    socket
        .send_to(&release, running.addresses.dhcp[0])
        .await
        .unwrap();
    running
        .sentence(
            RAMDISK,
            "DHCPRELEASE from 52:54:00:77:00:01 (iPXE, BIOS): 127.77.0.3 given back",
        )
        .await;
    let free = lease(&running, ipxe(TFTP)).await.unwrap();
    assert_eq!(free.address, Ipv4Addr::new(127, 77, 0, 3));
    assert_eq!(
        free.boot_file,
        Some(format!("{tftp}/boot/52-54-00-77-00-03/boot.ipxe"))
    );

    // somebody else uses it: it is not given out again
    let decline = ClientSettings {
        relay: settings.relay,
        ..ipxe(TFTP)
    };
    let packet = decline.decline(&free, 1).encode();
    socket
        .send_to(&packet, running.addresses.dhcp[0])
        .await
        .unwrap();
    running
        .sentence(
            TFTP,
            "DHCPDECLINE from 52:54:00:77:00:03 (iPXE, BIOS): somebody else on its network uses 127.77.0.3",
        )
        .await;
    assert_eq!(lease(&running, ipxe(TFTP)).await, None);
    running.stop().await;
}

fn ack(address: Ipv4Addr) -> Packet {
    let mut packet = Packet::request(RAMDISK, 1).reply_to(MessageType::Ack);
    packet.yiaddr = address;
    packet.options.set(54, [127, 77, 0, 1]);
    packet.options.set_u32(51, 600);
    packet
}

#[tokio::test]
async fn strangers_are_not_answered() {
    let running = Running::start().await;
    assert_eq!(lease(&running, ipxe(STRANGER)).await, None);
    let text = "DHCPDISCOVER from 52:54:00:99:00:01 (iPXE, BIOS): unknown MAC, not answered";
    running.stranger(text).await;
    assert!(running.memory.leases().is_empty());
    assert!(running.memory.events().is_empty());

    // a relay of a network that nobody configured
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let settings = ClientSettings {
        relay: Some(Ipv4Addr::new(10, 9, 9, 9)),
        ..ipxe(RAMDISK)
    };
    let packet = settings.discover(1, 0).encode();
    socket
        .send_to(&packet, running.addresses.dhcp[0])
        .await
        .unwrap();
    running
        .stranger("DHCPDISCOVER from 52:54:00:77:00:01 (iPXE, BIOS): no network is configured for 10.9.9.9, not answered")
        .await;
    // garbage harms nobody
    for length in [0, 1, 236, 240, 1400] {
        let garbage = vec![0xff; length];
        socket
            .send_to(&garbage, running.addresses.dhcp[0])
            .await
            .unwrap();
    }
    assert!(lease(&running, ipxe(RAMDISK)).await.is_some());
    running.stop().await;
}

#[tokio::test]
async fn discovery_is_a_switch() {
    let running = Running::start_with(|settings| {
        let network = &mut settings.dhcp.as_mut().unwrap().networks[0];
        network.discovery = Some(AddressRange {
            first: Ipv4Addr::new(127, 77, 0, 20),
            last: Ipv4Addr::new(127, 77, 0, 20),
        });
    })
    .await;
    let found = lease(&running, ipxe(STRANGER)).await.unwrap();
    assert_eq!(found.address, Ipv4Addr::new(127, 77, 0, 20));
    assert_eq!(found.boot_file, None);
    let known = lease(&running, ipxe(RAMDISK)).await.unwrap();
    assert_eq!(known.address, Ipv4Addr::new(127, 77, 0, 3));
    running.stop().await;
}

/// The directory over the real store, on both engines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_store() {
    bessemer_store::testing::on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let now = Timestamp::now();
        let mut node = Node::new(node(RAMDISK), "ipmi", now);
        node.name = Some("one".into());
        store.create_node(&node, vec![]).await.unwrap();
        let mut port = Port {
            id: PortId::random(),
            node: node.id,
            address: bessemer_model::MacAddress(RAMDISK.0),
            name: None,
            description: None,
            extra: Default::default(),
            internal_info: Default::default(),
            local_link_connection: Default::default(),
            pxe_enabled: true,
            portgroup: None,
            physical_network: None,
            is_smartnic: false,
            vendor: None,
            category: None,
            available_for_dynamic_portgroup: true,
            created_at: now,
            updated_at: None,
        };
        store.create_port(&port).await.unwrap();
        let directory = StoreDirectory::new(store.clone());
        let boot = async || directory.host_by_mac(RAMDISK).await.unwrap().unwrap().boot;
        assert_eq!(boot().await, bessemer_netboot::Boot::Local);
        store
            .set_boot(&BootRow {
                node: node.id,
                kind: BootKind::Ramdisk,
                kernel: Some("file:///k".into()),
                ramdisk: Some("file:///r".into()),
                kernel_params: "a=b".into(),
                updated_at: now,
            })
            .await
            .unwrap();
        assert_eq!(
            boot().await,
            bessemer_netboot::Boot::Ramdisk(bessemer_netboot::Ramdisk {
                kernel: Some("file:///k".into()),
                ramdisk: Some("file:///r".into()),
                kernel_params: "a=b".into(),
            })
        );
        port.pxe_enabled = false;
        store.update_port(&port).await.unwrap();
        assert_eq!(boot().await, bessemer_netboot::Boot::Local);
        assert_eq!(directory.host_by_mac(STRANGER).await.unwrap(), None);

        // many at once, two addresses: each is given once
        let wish = |last: u8| LeaseRequest {
            network: "10.0.0.0/24".into(),
            mac: MacAddress([2, 0, 0, 0, 0, last]),
            range: AddressRange {
                first: Ipv4Addr::new(10, 0, 0, 1),
                last: Ipv4Addr::new(10, 0, 0, 3),
            },
            excluded: vec![Ipv4Addr::new(10, 0, 0, 2)],
            keep: Duration::from_secs(600),
        };
        let mut asking = tokio::task::JoinSet::new();
        let shared = Arc::new(directory.clone());
        for last in 0..8 {
            let directory = Arc::clone(&shared);
            asking.spawn(async move { directory.lease(&wish(last)).await.unwrap() });
        }
        let mut given: Vec<Ipv4Addr> = asking.join_all().await.into_iter().flatten().collect();
        given.sort_unstable();
        assert_eq!(
            given,
            [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 3)]
        );

        let event = |id, text: &str| bessemer_netboot::Event {
            node: id,
            at: Timestamp::now(),
            source: bessemer_netboot::Source::Tftp,
            text: text.into(),
            bytes: Some(7),
        };
        let events = vec![
            event(crate::support::node(LOCAL), "gone"),
            event(node.id, "kept"),
        ];
        directory.record(events).await.unwrap();
        let lines = store.list_timeline(node.id, None, 10).await.unwrap();
        let line = &lines.last().unwrap().1;
        assert_eq!(
            (line.source, line.text.as_str()),
            (TimelineSource::Tftp, "kept")
        );
        assert_eq!(line.data, Some(serde_json::json!({ "bytes": 7 })));
    })
    .await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = Running::start().await;
    let taken: SocketAddr = running.addresses.dhcp[0];
    let mut settings = settings(running.files.path(), network());
    settings.dhcp.as_mut().unwrap().port = taken.port();
    let error = bessemer_netboot::Netboot::bind(settings, running.memory.clone())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("DHCP cannot listen on 127.77.0.1, port {}", taken.port())
    );
    running.stop().await;
}
