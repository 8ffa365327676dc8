//! The sending half of a transfer as a state machine, without socket, file or clock (RFC 1350, RFC 2347, RFC 7440).
//!
//! The caller pushes blocks while [`Sender::wants_data`], sends what [`Sender::transmit`] gives, hands in packets and
//! wakes it at [`Sender::deadline`]. Times are [`Duration`]s since any fixed moment. At most one window of blocks is held.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::options::Negotiated;
use crate::packet::Packet;
use crate::{Error, ErrorCode};

/// The wait between repetitions grows up to this many times the first.
const MAX_BACKOFF: u32 = 8;

/// The sending half of one transfer.
#[derive(Debug)]
pub struct Sender {
    blksize: usize,
    windowsize: usize,
    timeout: Duration,
    attempts: u32,
    /// The acknowledgement of options, until it is acknowledged itself.
    option_ack: Option<Bytes>,
    option_ack_due: bool,
    /// Datagrams from block number `first` on.
    window: VecDeque<Bytes>,
    first: u64,
    /// How many of the window were sent.
    sent: usize,
    /// Number of the last block, once it was pushed.
    last: Option<u64>,
    acknowledged_bytes: u64,
    tries: u32,
    deadline: Duration,
    /// The window was sent again because the peer asked for it; not twice before something moves.
    repeated_on_request: bool,
    finished: bool,
}

impl Sender {
    /// A transfer that starts now.
    pub fn new(negotiated: &Negotiated, now: Duration) -> Self {
        let option_ack = (!negotiated.granted.is_empty()).then(|| {
            Bytes::from(
                Packet::OptionAck {
                    options: negotiated.granted.clone(),
                }
                .encode(),
            )
        });
        Self {
            blksize: usize::from(negotiated.blksize),
            windowsize: usize::from(negotiated.windowsize.max(1)),
            timeout: negotiated.timeout,
            attempts: negotiated.attempts,
            option_ack_due: option_ack.is_some(),
            option_ack,
            window: VecDeque::new(),
            first: 1,
            sent: 0,
            last: None,
            acknowledged_bytes: 0,
            tries: 0,
            deadline: now.saturating_add(negotiated.timeout),
            repeated_on_request: false,
            finished: false,
        }
    }

    /// Bytes of a full block.
    pub fn blksize(&self) -> usize {
        self.blksize
    }

    /// Whether another block should be pushed.
    pub fn wants_data(&self) -> bool {
        self.option_ack.is_none()
            && self.last.is_none()
            && self.window.len() < self.windowsize
            && !self.finished
    }

    /// Takes the next block: full, or shorter at the end of the file.
    pub fn push(&mut self, data: &[u8]) {
        let number = self.first.saturating_add(self.window.len() as u64);
        // block numbers are sixteen bits wide and go on with 0
        #[allow(clippy::cast_possible_truncation)]
        let block = number as u16;
        let packet = Packet::Data {
            block,
            data: data.to_vec(),
        };
        self.window.push_back(Bytes::from(packet.encode()));
        if data.len() < self.blksize {
            self.last = Some(number);
        }
    }

    /// The next datagram to send, if any.
    pub fn transmit(&mut self, now: Duration) -> Option<Bytes> {
        if self.finished {
            return None;
        }
        if let Some(option_ack) = &self.option_ack {
            if !self.option_ack_due {
                return None;
            }
            self.option_ack_due = false;
            let datagram = option_ack.clone();
            self.arm(now);
            return Some(datagram);
        }
        let datagram = self.window.get(self.sent)?.clone();
        self.sent += 1;
        self.arm(now);
        Some(datagram)
    }

    fn arm(&mut self, now: Duration) {
        let factor = 1u32
            .checked_shl(self.tries)
            .unwrap_or(MAX_BACKOFF)
            .min(MAX_BACKOFF);
        self.deadline = now.saturating_add(self.timeout.saturating_mul(factor));
    }

    /// When to call [`Sender::expire`].
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The deadline passed without an answer: everything outstanding is due again.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after the last attempt.
    pub fn expire(&mut self, now: Duration) -> Result<(), Error> {
        if now < self.deadline || self.finished {
            return Ok(());
        }
        self.tries = self.tries.saturating_add(1);
        if self.tries >= self.attempts {
            return Err(Error::TimedOut {
                attempts: self.attempts,
            });
        }
        self.sent = 0;
        self.option_ack_due = self.option_ack.is_some();
        self.repeated_on_request = false;
        self.arm(now);
        Ok(())
    }

    fn progressed(&mut self, now: Duration) {
        self.tries = 0;
        self.repeated_on_request = false;
        self.arm(now);
    }

    /// Takes a packet of the peer. `Ok(Some(_))` is an error packet to send: the peer talks nonsense and the transfer ends.
    ///
    /// # Errors
    /// [`Error::Refused`] when the peer ended the transfer.
    pub fn receive(&mut self, packet: &Packet, now: Duration) -> Result<Option<Packet>, Error> {
        match packet {
            Packet::Ack { block } => {
                self.acknowledge(*block, now);
                Ok(None)
            }
            Packet::Error { code, message } => Err(Error::Refused {
                code: *code,
                message: message.clone(),
            }),
            // a repeated request was answered already
            Packet::ReadRequest { .. } => Ok(None),
            _ => Ok(Some(Packet::error(
                ErrorCode::IllegalOperation,
                "only acknowledgements are expected",
            ))),
        }
    }

    fn acknowledge(&mut self, block: u16, now: Duration) {
        if self.option_ack.is_some() {
            if block == 0 {
                self.option_ack = None;
                self.progressed(now);
            }
            return;
        }
        // how many blocks of the window the number says are there
        #[allow(clippy::cast_possible_truncation)]
        let count = usize::from(block.wrapping_sub((self.first - 1) as u16));
        if count == 0 {
            // RFC 7440 section 4: the peer missed the first block of the window. With a window of one block it is a
            // duplicate, and answering it would double every packet from here on (the Sorcerer's Apprentice).
            if self.windowsize > 1 && self.sent == self.window.len() && !self.repeated_on_request {
                self.sent = 0;
                self.repeated_on_request = true;
            }
            return;
        }
        if count > self.sent {
            return;
        }
        for datagram in self.window.drain(..count) {
            self.acknowledged_bytes = self
                .acknowledged_bytes
                .saturating_add(datagram.len().saturating_sub(4) as u64);
        }
        self.first = self.first.saturating_add(count as u64);
        self.sent = 0;
        self.progressed(now);
        if self.last.is_some_and(|last| last < self.first) {
            self.finished = true;
        }
    }

    /// Whether the peer has acknowledged everything.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Whether the last block is on its way or has arrived.
    pub fn last_block_sent(&self) -> bool {
        self.last.is_some() && (self.finished || self.sent == self.window.len())
    }

    /// Bytes that the peer has acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.acknowledged_bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn negotiated(windowsize: u16, granted: bool) -> Negotiated {
        Negotiated {
            blksize: 8,
            windowsize,
            timeout: Duration::from_secs(1),
            attempts: 4,
            granted: if granted {
                vec![("blksize".into(), "8".into())]
            } else {
                vec![]
            },
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Pushes what is wanted and returns the block numbers that go out.
    fn round(sender: &mut Sender, file: &mut &[u8], now: Duration) -> Vec<u16> {
        while sender.wants_data() {
            let (block, rest) = file.split_at(file.len().min(8));
            *file = rest;
            sender.push(block);
        }
        let mut blocks = Vec::new();
        while let Some(datagram) = sender.transmit(now) {
            match Packet::decode(&datagram).unwrap() {
                Packet::Data { block, .. } => blocks.push(block),
                Packet::OptionAck { .. } => blocks.push(9999),
                other => panic!("{other:?}"),
            }
        }
        blocks
    }

    fn ack(sender: &mut Sender, block: u16, now: Duration) {
        let answer = sender.receive(&Packet::Ack { block }, now).unwrap();
        assert_eq!(answer, None);
    }

    #[test]
    fn lock_step() {
        let mut file = &[0u8; 20][..];
        let mut sender = Sender::new(&negotiated(1, true), at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [9999]);
        assert_eq!(round(&mut sender, &mut file, at(0)), []);
        ack(&mut sender, 0, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [1]);
        ack(&mut sender, 1, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [2]);
        // the sorcerer's apprentice: a duplicate changes nothing
        ack(&mut sender, 1, at(0));
        ack(&mut sender, 7, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), []);
        ack(&mut sender, 2, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [3]);
        assert!(sender.last_block_sent() && !sender.finished());
        ack(&mut sender, 3, at(0));
        assert!(sender.finished());
        assert_eq!(sender.acknowledged_bytes(), 20);
    }

    #[test]
    fn windows() {
        let mut file = &[0u8; 80][..];
        let mut sender = Sender::new(&negotiated(4, false), at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [1, 2, 3, 4]);
        // the third block was lost
        ack(&mut sender, 2, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [3, 4, 5, 6]);
        // the first of the window was lost; asking twice helps nothing
        ack(&mut sender, 2, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [3, 4, 5, 6]);
        ack(&mut sender, 2, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), []);
        ack(&mut sender, 6, at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [7, 8, 9, 10]);
        ack(&mut sender, 10, at(0));
        // a whole number of blocks ends with an empty one
        assert_eq!(round(&mut sender, &mut file, at(0)), [11]);
        ack(&mut sender, 11, at(0));
        assert!(sender.finished());
    }

    #[test]
    fn an_empty_file_is_one_empty_block() {
        let mut file = &[][..];
        let mut sender = Sender::new(&negotiated(4, false), at(0));
        assert_eq!(round(&mut sender, &mut file, at(0)), [1]);
        ack(&mut sender, 1, at(0));
        assert!(sender.finished());
    }

    #[test]
    fn repeats_with_back_off_and_gives_up() {
        let mut file = &[0u8; 80][..];
        let mut sender = Sender::new(&negotiated(2, false), at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        let error = loop {
            let blocks = round(&mut sender, &mut file, now);
            assert_eq!(blocks, [1, 2]);
            sender.expire(now).unwrap();
            assert_eq!(
                round(&mut sender, &mut file, now),
                [],
                "not before the deadline"
            );
            waits.push((sender.deadline() - now).as_millis());
            now = sender.deadline();
            if let Err(error) = sender.expire(now) {
                break error;
            }
        };
        assert_eq!(waits, [1000, 2000, 4000, 8000]);
        assert_eq!(error.to_string(), "the TFTP peer did not answer 4 times");
    }

    #[test]
    fn numbers_roll_over() {
        let zeros = vec![0u8; 8 * 65540];
        let mut file = &zeros[..];
        let mut sender = Sender::new(&negotiated(3, false), at(0));
        let mut count = 0u64;
        let mut last = 0u16;
        while !sender.finished() {
            for block in round(&mut sender, &mut file, at(0)) {
                assert_eq!(block, last.wrapping_add(1));
                last = block;
                count += 1;
            }
            ack(&mut sender, last, at(0));
        }
        assert_eq!(count, 65541);
        assert_eq!(sender.acknowledged_bytes(), 8 * 65540);
    }

    #[test]
    fn nonsense_and_errors_end_it() {
        let mut sender = Sender::new(&negotiated(1, false), at(0));
        let data = Packet::Data {
            block: 1,
            data: vec![],
        };
        assert!(matches!(
            sender.receive(&data, at(0)),
            Ok(Some(Packet::Error { code: 4, .. }))
        ));
        let error = Packet::error(ErrorCode::OptionNegotiation, "User aborted the transfer");
        assert_eq!(
            sender.receive(&error, at(0)).unwrap_err().to_string(),
            "the TFTP peer ended the transfer: User aborted the transfer (code 8)"
        );
    }
}
