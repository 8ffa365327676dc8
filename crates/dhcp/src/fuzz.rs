//! Fuzz targets: ordinary functions over arbitrary bytes. They must return, whatever the bytes are.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::engine::{AddressRange, ClientRecord, HostRecord, Network, Request, answer};
use crate::pxe::{BootService, HostScript};
use crate::{Client, ClientSettings, Lease, MacAddress, Packet, ra};

/// Reads a packet, writes it, reads it again: the second reading must equal the first.
pub fn fuzz_packet(data: &[u8]) {
    let Ok(packet) = Packet::decode(data) else {
        return;
    };
    // option 52 would make the second reading take `file` and `sname` for options
    let mut plain = packet;
    plain.options = {
        let mut options = crate::Options::default();
        for (code, value) in plain.options.iter() {
            if code != crate::packet::code::OVERLOAD {
                options.set(code, value);
            }
        }
        options
    };
    plain.file.truncate(127);
    plain.sname.truncate(63);
    assert_eq!(Packet::decode(&plain.encode()), Ok(plain));
}

/// Asks the engine, as a known host, a discovered one and a stranger; no stranger may get a reply, and every reply must
/// be readable.
pub fn fuzz_answer(data: &[u8]) {
    let source = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68);
    let Ok(request) = Request::decode(data, source) else {
        return;
    };
    let host = HostRecord {
        address: Ipv4Addr::new(10, 0, 0, 9),
        host_name: None,
        script: HostScript {
            http_url: Some("http://10.0.0.1/x".to_owned()),
            tftp_url: None,
        },
    };
    let network = Network {
        cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 24),
        server: Ipv4Addr::new(10, 0, 0, 1),
        router: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        mtu: None,
        lease_seconds: u32::MAX,
        discovery: Some(AddressRange {
            first: Ipv4Addr::new(10, 0, 0, 1),
            last: Ipv4Addr::new(10, 0, 0, 99),
        }),
        boot: BootService {
            tftp_server: Ipv4Addr::new(10, 0, 0, 1),
            bios_loader: Some("b".to_owned()),
            efi_x64_loader: Some("e".to_owned()),
            efi_arm64_loader: None,
            http_loader_base: Some("http://10.0.0.1".to_owned()),
        },
    };
    let stranger = answer(&request, &network, &ClientRecord::Stranger);
    assert!(stranger.reply.is_none(), "a stranger was answered");
    for client in [
        ClientRecord::Known(host.clone()),
        ClientRecord::Discovered(host),
    ] {
        if let Some(reply) = answer(&request, &network, &client).reply {
            assert_eq!(
                Packet::decode(&reply.bytes).map(|p| p.xid),
                Ok(request.packet.xid)
            );
        }
    }
}

/// Hands the bytes to a waiting client.
pub fn fuzz_client(data: &[u8]) {
    let mac = match Packet::decode(data) {
        Ok(packet) => packet.mac().unwrap_or(MacAddress([2; 6])),
        Err(_) => MacAddress([2; 6]),
    };
    let xid = match data.get(4..).and_then(<[u8]>::first_chunk::<4>) {
        Some(xid) => u32::from_be_bytes(*xid),
        None => 0,
    };
    let mut client = Client::new(ClientSettings::new(mac), xid, Duration::ZERO);
    for second in 0..4 {
        let now = Duration::from_secs(second);
        client.poll(now);
        client.receive(data, now);
    }
    if let Ok(packet) = Packet::decode(data) {
        // an error is a fine answer here
        drop(Lease::from_packet(&packet));
    }
}

/// Reads a router advertisement and writes it again.
pub fn fuzz_router_advertisement(data: &[u8]) {
    if let Ok(advertisement) = ra::RouterAdvertisement::decode(data) {
        assert_eq!(
            ra::RouterAdvertisement::decode(&advertisement.encode()),
            Ok(advertisement)
        );
    }
    ra::is_solicitation(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::packet::{MessageType, code};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn samples() -> Vec<Vec<u8>> {
        let mut settings = ClientSettings::new(MacAddress([0x52, 0x54, 0, 0, 0, 1]));
        settings.vendor_class = Some(b"PXEClient:Arch:00007:UNDI:003016".to_vec());
        settings.user_class = Some(b"iPXE".to_vec());
        settings.ipxe_features = Some(vec![19, 1, 1, 177, 4, 1, 2, 3, 4]);
        settings.architectures = vec![7, 0];
        settings.uuid = Some([7; 16]);
        settings.relay = Some(Ipv4Addr::new(10, 0, 0, 2));
        let mut discover = settings.discover(9, 1);
        discover
            .options
            .set(code::RELAY_AGENT, [1, 2, 3, 4, 5, 4, 10, 0, 0, 0]);
        let mut overloaded = settings.discover(9, 1);
        overloaded.options.set(code::OVERLOAD, [3]);
        overloaded.file = vec![67, 3, b'a', b'b', b'c', 255];
        let mut offer = discover.reply_to(MessageType::Offer);
        offer.yiaddr = Ipv4Addr::new(10, 0, 0, 9);
        offer.options.set(code::SERVER_ID, [10, 0, 0, 1]);
        offer.options.set(code::SUBNET_MASK, [255, 255, 255, 0]);
        offer.options.set_u32(code::LEASE_TIME, 60);
        let lease = Lease::from_packet(&offer).unwrap();
        let mut ack = offer.clone();
        ack.set_message_type(MessageType::Ack);
        let mut packets = vec![discover, overloaded, offer, ack];
        packets.push(settings.request(&lease, 9, 1));
        packets.push(settings.renew(&lease, 9, 1));
        packets.push(settings.decline(&lease, 9));
        let mut bytes: Vec<_> = packets.iter().map(Packet::encode).collect();
        let advertisement = ra::RouterAdvertisement {
            mtu: Some(1500),
            source: Some(settings.mac),
            prefixes: vec![ra::Prefix {
                prefix: "fd00::".parse().unwrap(),
                length: 64,
                on_link: true,
                autonomous: true,
                valid_seconds: 1,
                preferred_seconds: 1,
            }],
            ..Default::default()
        };
        bytes.push(advertisement.encode());
        bytes
    }

    #[test]
    fn seeded_mutations() {
        let samples = samples();
        let mut rng = StdRng::seed_from_u64(2131);
        for round in 0..6000 {
            let mut bytes = samples[round % samples.len()].clone();
            for _ in 0..rng.random_range(0..6) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..4) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] ^= 1 << rng.random_range(0..8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, rng.random()),
                }
            }
            fuzz_packet(&bytes);
            fuzz_answer(&bytes);
            fuzz_client(&bytes);
            fuzz_router_advertisement(&bytes);
        }
    }
}
