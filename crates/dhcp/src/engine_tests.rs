#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::ClientSettings;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

pub(crate) fn network() -> Network {
    Network {
        cidr: "10.77.0.0/24".parse().unwrap(),
        server: Ipv4Addr::new(10, 77, 0, 1),
        router: Some(Ipv4Addr::new(10, 77, 0, 254)),
        dns: vec![Ipv4Addr::new(10, 77, 0, 53)],
        ntp: vec![],
        domain: None,
        mtu: Some(1400),
        lease_seconds: 600,
        discovery: None,
        boot: BootService {
            tftp_server: Ipv4Addr::new(10, 77, 0, 1),
            bios_loader: Some("undionly.kpxe".into()),
            efi_x64_loader: Some("snponly.efi".into()),
            efi_arm64_loader: None,
            http_loader_base: Some("http://10.77.0.1:8080/ipxe".into()),
        },
    }
}

pub(crate) fn host() -> HostRecord {
    HostRecord {
        address: ADDRESS,
        host_name: None,
        script: HostScript {
            http_url: Some("http://10.77.0.1:8080/boot/52-54-00-77-00-01/boot.ipxe".into()),
            tftp_url: None,
        },
    }
}

fn client() -> ClientSettings {
    ClientSettings::new(MAC)
}

fn ask(packet: &Packet, from: &str, client: &ClientRecord) -> Outcome {
    let request = Request::decode(&packet.encode(), from.parse().unwrap()).unwrap();
    answer(&request, &network(), client)
}

fn known(packet: &Packet) -> Outcome {
    ask(packet, "0.0.0.0:68", &ClientRecord::Known(host()))
}

fn offer_of(settings: &ClientSettings) -> crate::Lease {
    let outcome = known(&settings.discover(5, 0));
    crate::Lease::from_packet(&outcome.reply.unwrap().packet).unwrap()
}

#[test]
fn discover_is_offered() {
    let outcome = known(&client().discover(0xabcd, 3));
    assert_eq!(
        outcome.summary,
        "DHCPDISCOVER from 52:54:00:77:00:01: offered 10.77.0.100"
    );
    assert_eq!(outcome.lease, LeaseChange::Offered(ADDRESS));
    let reply = outcome.reply.unwrap();
    assert_eq!(reply.to, Destination::Broadcast);
    let packet = Packet::decode(&reply.bytes).unwrap();
    assert_eq!(packet, reply.packet);
    assert_eq!(packet.xid, 0xabcd);
    assert!(packet.reply && packet.broadcast);
    assert_eq!(packet.yiaddr, ADDRESS);
    let options: Vec<(u8, Vec<u8>)> = packet
        .options
        .iter()
        .map(|(c, v)| (c, v.to_vec()))
        .collect();
    assert_eq!(
        options,
        vec![
            (1, vec![255, 255, 255, 0]),
            (3, vec![10, 77, 0, 254]),
            (6, vec![10, 77, 0, 53]),
            (26, 1400u16.to_be_bytes().to_vec()),
            (28, vec![10, 77, 0, 255]),
            (51, 600u32.to_be_bytes().to_vec()),
            (53, vec![2]),
            (54, vec![10, 77, 0, 1]),
            (58, 300u32.to_be_bytes().to_vec()),
            (59, 525u32.to_be_bytes().to_vec()),
            (61, vec![1, 0x52, 0x54, 0, 0x77, 0, 1]),
        ]
    );
}

#[test]
fn strangers_get_nothing() {
    let mut packets = vec![client().discover(1, 0)];
    packets.push(client().request(&offer_of(&client()), 1, 0));
    packets.push(client().renew(&offer_of(&client()), 1, 0));
    for packet in &packets {
        let outcome = ask(packet, "0.0.0.0:68", &ClientRecord::Stranger);
        assert_eq!(outcome.reply, None);
        assert!(outcome.ignored);
        assert!(
            outcome.summary.ends_with("unknown MAC, not answered"),
            "{}",
            outcome.summary
        );
    }
}

#[test]
fn discovery_needs_the_switch_and_the_range() {
    let request = Request::decode(
        &client().discover(1, 0).encode(),
        "0.0.0.0:68".parse().unwrap(),
    )
    .unwrap();
    let range = |first: u8, last: u8| {
        Some(AddressRange {
            first: Ipv4Addr::new(10, 77, 0, first),
            last: Ipv4Addr::new(10, 77, 0, last),
        })
    };
    for (discovery, answered) in [
        (None, false),
        (range(101, 200), false),
        (range(100, 100), true),
    ] {
        let network = Network {
            discovery,
            ..network()
        };
        let outcome = answer(&request, &network, &ClientRecord::Discovered(host()));
        assert_eq!(outcome.reply.is_some(), answered, "{discovery:?}");
    }
}

#[test]
fn an_address_of_another_network_is_not_offered() {
    let mut wrong = host();
    wrong.address = Ipv4Addr::new(10, 78, 0, 1);
    let outcome = ask(
        &client().discover(1, 0),
        "0.0.0.0:68",
        &ClientRecord::Known(wrong),
    );
    assert_eq!(outcome.reply, None);
    assert_eq!(
        outcome.summary,
        "DHCPDISCOVER from 52:54:00:77:00:01: not answered: its address 10.78.0.1 is not in 10.77.0.0/24"
    );
}

#[test]
fn boot_options_by_kind_of_client() {
    // class, arch, user class, iPXE features -> boot file, options 60 and 43, siaddr set, sentence
    let url = "http://10.77.0.1:8080/boot/52-54-00-77-00-01/boot.ipxe";
    type Case<'a> = (
        &'a str,
        Option<u16>,
        &'a str,
        &'a str,
        Option<&'a str>,
        bool,
        &'a str,
    );
    let cases: [Case<'_>; 6] = [
        (
            "PXEClient:Arch:00000:UNDI:002001",
            Some(0),
            "",
            "undionly.kpxe",
            Some("PXEClient"),
            true,
            "PXE, BIOS",
        ),
        (
            "PXEClient:Arch:00007:UNDI:003016",
            Some(7),
            "",
            "snponly.efi",
            Some("PXEClient"),
            true,
            "PXE, EFI x86-64",
        ),
        (
            "PXEClient:Arch:00009:UNDI:003016",
            Some(9),
            "",
            "snponly.efi",
            Some("PXEClient"),
            true,
            "PXE, EFI x86-64",
        ),
        (
            "HTTPClient:Arch:00016:UNDI:003001",
            Some(16),
            "",
            "http://10.77.0.1:8080/ipxe/snponly.efi",
            Some("HTTPClient"),
            false,
            "HTTP boot, EFI x86-64",
        ),
        (
            "PXEClient:Arch:00000:UNDI:002001",
            Some(0),
            "iPXE",
            url,
            None,
            true,
            "iPXE, BIOS",
        ),
        (
            "PXEClient:Arch:00007:UNDI:003010",
            Some(7),
            "iPXE",
            url,
            None,
            true,
            "iPXE, EFI x86-64",
        ),
    ];
    for (class, arch, user_class, file, class_back, siaddr, kind) in cases {
        let settings = ClientSettings {
            vendor_class: Some(class.into()),
            user_class: (!user_class.is_empty()).then(|| user_class.into()),
            architectures: arch.into_iter().collect(),
            uuid: Some([9; 16]),
            ..client()
        };
        let outcome = known(&settings.discover(1, 0));
        assert_eq!(
            outcome.summary,
            format!(
                "DHCPDISCOVER from 52:54:00:77:00:01 ({kind}): offered 10.77.0.100, boot file {file}"
            )
        );
        let packet = outcome.reply.unwrap().packet;
        assert_eq!(packet.options.text(code::BOOT_FILE).as_deref(), Some(file));
        assert_eq!(packet.file, file.as_bytes());
        assert_eq!(
            packet.options.text(code::VENDOR_CLASS).as_deref(),
            class_back
        );
        assert_eq!(!packet.siaddr.is_unspecified(), siaddr, "{class}");
        assert_eq!(
            packet.options.get(code::VENDOR_OPTIONS).is_some(),
            class_back == Some("PXEClient")
        );
        assert_eq!(
            packet.options.get(code::IPXE).is_some(),
            user_class == "iPXE"
        );
        if siaddr {
            assert_eq!(
                packet.options.text(66).as_deref(),
                Some("10.77.0.1"),
                "{class}"
            );
            assert_eq!(packet.options.address(150), Some([10, 77, 0, 1].into()));
            assert_eq!(packet.options.get(97).unwrap().len(), 17);
        }
    }
}

#[test]
fn an_unknown_firmware_gets_an_address_and_a_reason() {
    let settings = ClientSettings {
        vendor_class: Some(b"PXEClient:Arch:00011:UNDI:003000".to_vec()),
        architectures: vec![11],
        ..client()
    };
    let outcome = known(&settings.discover(1, 0));
    assert_eq!(
        outcome.summary,
        "DHCPDISCOVER from 52:54:00:77:00:01 (PXE, EFI arm64): offered 10.77.0.100, without boot file: no loader for EFI arm64 is configured"
    );
    assert_eq!(outcome.reply.unwrap().packet.yiaddr, ADDRESS);
}

#[test]
fn requests() {
    let offer = offer_of(&client());
    let elsewhere = crate::Lease {
        server_id: Ipv4Addr::new(10, 77, 0, 2),
        ..offer.clone()
    };
    let stale = crate::Lease {
        address: Ipv4Addr::new(10, 77, 0, 7),
        ..offer.clone()
    };
    let mut reboot = client().request(&offer, 1, 0);
    reboot.options = {
        let mut options = crate::Options::default();
        for (c, v) in reboot.options.iter().filter(|(c, _)| *c != code::SERVER_ID) {
            options.set(c, v);
        }
        options
    };
    let mut bare = client().renew(&offer, 1, 0);
    bare.ciaddr = Ipv4Addr::UNSPECIFIED;
    let renewing = Destination::Unicast("10.77.0.100:68".parse().unwrap());
    for (packet, what, answer, to, lease) in [
        (
            client().request(&offer, 1, 0),
            "acknowledged 10.77.0.100",
            Some(MessageType::Ack),
            Destination::Broadcast,
            LeaseChange::Bound(ADDRESS),
        ),
        (
            reboot,
            "acknowledged 10.77.0.100",
            Some(MessageType::Ack),
            Destination::Broadcast,
            LeaseChange::Bound(ADDRESS),
        ),
        (
            client().renew(&offer, 1, 0),
            "acknowledged 10.77.0.100",
            Some(MessageType::Ack),
            renewing,
            LeaseChange::Bound(ADDRESS),
        ),
        (
            client().request(&elsewhere, 1, 0),
            "it chose the server 10.77.0.2, ignored",
            None,
            renewing,
            LeaseChange::Unchanged,
        ),
        (
            client().request(&stale, 1, 0),
            "refused, 10.77.0.7 is not its address, 10.77.0.100 is",
            Some(MessageType::Nak),
            Destination::Broadcast,
            LeaseChange::Unchanged,
        ),
        (
            client().renew(&stale, 1, 0),
            "refused, 10.77.0.7 is not its address, 10.77.0.100 is",
            Some(MessageType::Nak),
            Destination::Broadcast,
            LeaseChange::Unchanged,
        ),
        (
            bare,
            "it asks for no address, ignored",
            None,
            renewing,
            LeaseChange::Unchanged,
        ),
    ] {
        let outcome = known(&packet);
        assert_eq!(
            outcome.summary,
            format!("DHCPREQUEST from 52:54:00:77:00:01: {what}")
        );
        assert_eq!(outcome.lease, lease, "{what}");
        let reply = outcome.reply;
        assert_eq!(
            reply
                .as_ref()
                .map(|r| r.packet.options.message_type().unwrap()),
            answer
        );
        if let Some(reply) = reply {
            assert_eq!(reply.to, to, "{what}");
            let nak = answer == Some(MessageType::Nak);
            assert_eq!(reply.packet.yiaddr.is_unspecified(), nak);
            assert_eq!(reply.packet.options.get(code::LEASE_TIME).is_none(), nak);
        }
    }
}

#[test]
fn relays() {
    let relay = Ipv4Addr::new(10, 77, 0, 200);
    let relayed = ClientSettings {
        relay: Some(relay),
        ..client()
    };
    let plain = relayed.discover(1, 0);
    let mut with_information = plain.clone();
    let information = [1u8, 4, b'e', b't', b'h', b'0', 77, 1, 5];
    with_information.options.set(code::RELAY_AGENT, information);
    let mut source_port = plain.clone();
    source_port.options.set(code::RELAY_AGENT, [19, 2, 0, 0]);
    for (packet, from, to) in [
        (&plain, "10.77.0.200:67", "10.77.0.200:67"),
        (&plain, "10.77.0.200:4711", "10.77.0.200:67"),
        (&with_information, "10.99.0.1:67", "10.77.0.200:67"),
        (&source_port, "10.77.0.200:4711", "10.77.0.200:4711"),
        (&plain, "127.0.0.5:4711", "127.0.0.5:4711"),
    ] {
        let outcome = ask(packet, from, &ClientRecord::Known(host()));
        let reply = outcome.reply.unwrap();
        assert_eq!(
            reply.to,
            Destination::Unicast(to.parse().unwrap()),
            "from {from}"
        );
        assert_eq!(reply.packet.giaddr, relay);
        // echoed byte for byte, unknown sub-options too, and last of all options
        assert_eq!(
            reply.packet.options.get(code::RELAY_AGENT),
            packet.options.get(code::RELAY_AGENT)
        );
        if let Some(value) = packet.options.get(code::RELAY_AGENT) {
            let end = reply.bytes.iter().rposition(|b| *b == 255).unwrap();
            assert_eq!(&reply.bytes[end - value.len()..end], value);
        }
    }
    // a relayed refusal makes the relay broadcast
    let stale = crate::Lease {
        address: Ipv4Addr::new(10, 77, 0, 7),
        ..offer_of(&client())
    };
    let mut packet = relayed.request(&stale, 1, 0);
    packet.broadcast = false;
    let reply = ask(&packet, "10.77.0.200:67", &ClientRecord::Known(host()))
        .reply
        .unwrap();
    assert!(reply.packet.broadcast);
    assert_eq!(
        reply.to,
        Destination::Unicast("10.77.0.200:67".parse().unwrap())
    );
}

#[test]
fn subnet_hints() {
    let mut packet = client().discover(1, 0);
    let hint = |packet: &Packet| {
        Request::decode(&packet.encode(), "0.0.0.0:68".parse().unwrap())
            .unwrap()
            .subnet_hint()
    };
    assert_eq!(hint(&packet), None);
    packet.ciaddr = ADDRESS;
    assert_eq!(hint(&packet), Some(ADDRESS));
    packet.giaddr = Ipv4Addr::new(10, 1, 0, 1);
    assert_eq!(hint(&packet), Some(Ipv4Addr::new(10, 1, 0, 1)));
    packet
        .options
        .set(code::RELAY_AGENT, [1, 1, 0, 5, 4, 10, 2, 0, 0]);
    assert_eq!(hint(&packet), Some(Ipv4Addr::new(10, 2, 0, 0)));
}

#[test]
fn inform_release_decline() {
    let lease = offer_of(&client());
    let mut inform = client().renew(&lease, 1, 0);
    inform.set_message_type(MessageType::Inform);
    let outcome = known(&inform);
    assert_eq!(
        outcome.summary,
        "DHCPINFORM from 52:54:00:77:00:01: told 10.77.0.100 the options"
    );
    let reply = outcome.reply.unwrap();
    assert_eq!(reply.packet.yiaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(reply.packet.options.get(code::LEASE_TIME), None);
    assert_eq!(
        reply.to,
        Destination::Unicast("10.77.0.100:68".parse().unwrap())
    );

    let outcome = known(&client().release(&lease, 1));
    assert_eq!(outcome.reply, None);
    assert_eq!(outcome.lease, LeaseChange::Released(ADDRESS));
    assert_eq!(
        outcome.summary,
        "DHCPRELEASE from 52:54:00:77:00:01: 10.77.0.100 given back"
    );

    let outcome = known(&client().decline(&lease, 1));
    assert_eq!(outcome.lease, LeaseChange::Declined(ADDRESS));
    let other = crate::Lease {
        address: Ipv4Addr::new(10, 77, 0, 7),
        ..lease
    };
    assert_eq!(
        known(&client().decline(&other, 1)).lease,
        LeaseChange::Unchanged
    );
    assert_eq!(
        known(&client().release(&other, 1)).lease,
        LeaseChange::Unchanged
    );
}

#[test]
fn what_is_no_request() {
    let good = client().discover(1, 0);
    let mut reply = good.clone();
    reply.reply = true;
    let mut infiniband = good.clone();
    infiniband.htype = 32;
    let mut typeless = good.clone();
    typeless.options = crate::Options::default();
    for (packet, why) in [
        (reply, "a reply came to the server's port"),
        (infiniband, "the client has no Ethernet address"),
        (typeless, "no message type"),
    ] {
        let error = Request::decode(&packet.encode(), "0.0.0.0:68".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("malformed DHCP request: {why}"));
    }
}
