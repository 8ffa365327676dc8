//! Fuzz targets: ordinary functions over arbitrary bytes. They must return, whatever the bytes are.

use std::time::Duration;

use crate::options::{Limits, negotiate};
use crate::packet::Packet;
use crate::receiver::{Receiver, Wanted};
use crate::sender::Sender;

/// Reads a packet; what was read must survive being written.
pub fn fuzz_packet(data: &[u8]) {
    if let Ok(packet) = Packet::decode(data)
        && let Ok(again) = Packet::decode(&packet.encode())
    {
        assert_eq!(again, packet);
    }
    if let Ok(Packet::ReadRequest { options, .. }) = Packet::decode(data) {
        let negotiated = negotiate(&options, Some(5), &Limits::default());
        assert!(negotiated.blksize >= 8 && negotiated.windowsize >= 1);
    }
}

/// Hands a sender datagrams cut out of the bytes: one byte of length, then the datagram.
pub fn fuzz_sender(data: &[u8]) {
    let limits = Limits {
        max_blksize: 8,
        max_windowsize: 4,
        ..Limits::default()
    };
    let asked = vec![("windowsize".to_owned(), "4".to_owned())];
    let mut sender = Sender::new(&negotiate(&asked, Some(100), &limits), Duration::ZERO);
    let mut left = 100usize;
    let mut rest = data;
    let mut now = Duration::ZERO;
    while let [length, tail @ ..] = rest {
        let (datagram, tail) = tail.split_at(tail.len().min(usize::from(*length) % 9));
        rest = tail;
        now += Duration::from_millis(300);
        while sender.wants_data() {
            let count = left.min(sender.blksize());
            left -= count;
            sender.push(&vec![0; count]);
        }
        while sender.transmit(now).is_some() {}
        if let Ok(packet) = Packet::decode(datagram)
            && sender.receive(&packet, now).is_err()
        {
            return;
        }
        if sender.expire(now).is_err() {
            return;
        }
        assert!(sender.acknowledged_bytes() <= 100);
    }
}

/// Hands a receiver datagrams cut out of the bytes: one byte of length, then the datagram.
pub fn fuzz_receiver(data: &[u8]) {
    let mut receiver = Receiver::new(Wanted {
        blksize: Some(64),
        windowsize: Some(4),
        timeout_seconds: Some(1),
        tsize: true,
    });
    let mut rest = data;
    while let [length, tail @ ..] = rest {
        let (datagram, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        if let Ok(packet) = Packet::decode(datagram)
            && receiver.receive(packet).is_err()
        {
            return;
        }
        receiver.acknowledgement();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn seeded_mutations() {
        let samples: [&[u8]; 6] = [
            b"\0\x01a/b\0octet\0blksize\x001428\0tsize\x000\0windowsize\x008\0",
            b"\0\x06tsize\x0099\0blksize\x0064\0",
            b"\0\x05\0\x08User aborted\0",
            b"\x04\0\x04\0\0\x04\0\x04\0\x01\x04\0\x04\0\x04\x04\0\x04\0\x08",
            b"\x05\0\x03\0\x01x\x05\0\x03\0\x02y\x04\0\x03\0\x03",
            b"\x0f\0\x06windowsize\x004\0\x06\0\x03\0\x01abc\x06\0\x03\0\x03ab",
        ];
        let mut rng = StdRng::seed_from_u64(1350);
        for round in 0..8000 {
            let mut bytes = samples[round % samples.len()].to_vec();
            for _ in 0..rng.random_range(0..5) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..4) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] ^= 1 << rng.random_range(0..8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, rng.random()),
                }
            }
            fuzz_packet(&bytes);
            fuzz_sender(&bytes);
            fuzz_receiver(&bytes);
        }
    }
}
