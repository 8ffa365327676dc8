//! The receiving half of a transfer as a state machine, without socket or clock (RFC 1350, RFC 2347, RFC 7440).

use crate::options::{DEFAULT_BLKSIZE, MAX_BLKSIZE, MIN_BLKSIZE};
use crate::packet::{OptionList, Packet};
use crate::{Error, ErrorCode};

/// What the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Block size.
    pub blksize: Option<u16>,
    /// Window size.
    pub windowsize: Option<u16>,
    /// The server's timeout in seconds.
    pub timeout_seconds: Option<u8>,
    /// The file's length.
    pub tsize: bool,
}

impl Wanted {
    /// The options of a request.
    pub fn options(&self) -> OptionList {
        let mut options = OptionList::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                options.push((name.to_owned(), value));
            }
        };
        add("tsize", self.tsize.then(|| "0".to_owned()));
        add("blksize", self.blksize.map(|n| n.to_string()));
        add("windowsize", self.windowsize.map(|n| n.to_string()));
        add("timeout", self.timeout_seconds.map(|n| n.to_string()));
        options
    }
}

/// What a packet brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing new. Send the answer, if there is one.
    Nothing {
        /// Answer to send.
        answer: Option<Packet>,
    },
    /// Bytes of the file, in order.
    Data {
        /// The bytes.
        data: Vec<u8>,
        /// Answer to send.
        answer: Option<Packet>,
        /// Whether these were the last.
        last: bool,
    },
}

/// The receiving half of one transfer.
#[derive(Debug)]
pub struct Receiver {
    wanted: Wanted,
    blksize: u16,
    windowsize: u16,
    tsize: Option<u64>,
    started: bool,
    /// Number of the block that comes next.
    next: u64,
    in_window: u16,
    gap_reported: bool,
    finished: bool,
}

impl Receiver {
    /// A transfer whose request was sent with these wishes.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            blksize: DEFAULT_BLKSIZE,
            windowsize: 1,
            tsize: None,
            started: false,
            next: 1,
            in_window: 0,
            gap_reported: false,
            finished: false,
        }
    }

    /// Block size that holds.
    pub fn blksize(&self) -> u16 {
        self.blksize
    }

    /// Window size that holds.
    pub fn windowsize(&self) -> u16 {
        self.windowsize
    }

    /// The file's length, when the server said it.
    pub fn tsize(&self) -> Option<u64> {
        self.tsize
    }

    /// Whether the server has answered the request.
    pub fn started(&self) -> bool {
        self.started
    }

    /// The acknowledgement of all that has come so far: what to repeat when nothing comes.
    pub fn acknowledgement(&mut self) -> Packet {
        self.in_window = 0;
        self.gap_reported = false;
        #[allow(clippy::cast_possible_truncation)]
        let block = (self.next - 1) as u16;
        Packet::Ack { block }
    }

    /// Takes a packet of the server.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server ended the transfer, [`Error::Malformed`] when it breaks the protocol; the
    /// server is to be told with [`Receiver::complaint`].
    pub fn receive(&mut self, packet: Packet) -> Result<Step, Error> {
        match packet {
            Packet::Error { code, message } => Err(Error::Refused { code, message }),
            Packet::OptionAck { options } => {
                if self.next > 1 {
                    return Ok(Step::Nothing { answer: None });
                }
                self.take_options(&options)?;
                self.started = true;
                Ok(Step::Nothing {
                    answer: Some(Packet::Ack { block: 0 }),
                })
            }
            Packet::Data { block, data } => self.data(block, data),
            _ => Err(Error::Malformed {
                why: "the server sent a client's packet",
            }),
        }
    }

    /// What to tell a server that broke the protocol.
    pub fn complaint() -> Packet {
        Packet::error(ErrorCode::IllegalOperation, "protocol error")
    }

    fn take_options(&mut self, options: &OptionList) -> Result<(), Error> {
        let wrong = |why| Error::Malformed { why };
        for (name, value) in options {
            let number: u64 = value
                .trim()
                .parse()
                .map_err(|_| wrong("an option granted is no number"))?;
            match (name.as_str(), self.wanted) {
                (
                    "blksize",
                    Wanted {
                        blksize: Some(asked),
                        ..
                    },
                ) => {
                    self.blksize = u16::try_from(number)
                        .ok()
                        .filter(|n| (MIN_BLKSIZE..=asked.min(MAX_BLKSIZE)).contains(n))
                        .ok_or(wrong("a block size granted that was not asked for"))?;
                }
                (
                    "windowsize",
                    Wanted {
                        windowsize: Some(asked),
                        ..
                    },
                ) => {
                    self.windowsize = u16::try_from(number)
                        .ok()
                        .filter(|n| (1..=asked).contains(n))
                        .ok_or(wrong("a window size granted that was not asked for"))?;
                }
                ("tsize", Wanted { tsize: true, .. }) => self.tsize = Some(number),
                (
                    "timeout",
                    Wanted {
                        timeout_seconds: Some(_),
                        ..
                    },
                ) => {}
                _ => return Err(wrong("an option granted that was not asked for")),
            }
        }
        Ok(())
    }

    fn data(&mut self, block: u16, data: Vec<u8>) -> Result<Step, Error> {
        self.started = true;
        if data.len() > usize::from(self.blksize) {
            return Err(Error::Malformed {
                why: "a block longer than the block size",
            });
        }
        #[allow(clippy::cast_possible_truncation)]
        let expected = self.next as u16;
        if block != expected || self.finished {
            let ahead = block.wrapping_sub(expected) < 0x8000;
            // a block that came before: our acknowledgement was lost. One from ahead: a block was lost, say so once.
            let answer = if ahead {
                !std::mem::replace(&mut self.gap_reported, true)
            } else {
                self.windowsize == 1 || block == expected.wrapping_sub(1)
            };
            let gap_reported = self.gap_reported;
            let answer = answer.then(|| self.acknowledgement());
            self.gap_reported = gap_reported;
            return Ok(Step::Nothing { answer });
        }
        self.next = self.next.saturating_add(1);
        self.in_window = self.in_window.saturating_add(1);
        self.gap_reported = false;
        let last = data.len() < usize::from(self.blksize);
        self.finished = last;
        let answer = (last || self.in_window >= self.windowsize).then(|| self.acknowledgement());
        Ok(Step::Data { data, answer, last })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn data(block: u16, length: usize) -> Packet {
        Packet::Data {
            block,
            data: vec![7; length],
        }
    }

    fn acked(step: &Step) -> Option<u16> {
        let (Step::Nothing { answer } | Step::Data { answer, .. }) = step;
        match answer {
            Some(Packet::Ack { block }) => Some(*block),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn windows_and_gaps() {
        let wanted = Wanted {
            blksize: Some(16),
            windowsize: Some(3),
            ..Wanted::default()
        };
        let mut receiver = Receiver::new(wanted);
        let granted = Packet::OptionAck {
            options: vec![
                ("blksize".into(), "8".into()),
                ("windowsize".into(), "3".into()),
            ],
        };
        // block in, acknowledged, new bytes
        assert_eq!(acked(&receiver.receive(granted).unwrap()), Some(0));
        for (block, ack, new) in [
            (1, None, true),
            (2, None, true),
            (3, Some(3), true),
            (5, Some(3), false),
            (6, None, false),
            (4, None, true),
            (5, None, true),
            (6, Some(6), true),
            (6, Some(6), false),
            (4, None, false),
        ] {
            let step = receiver.receive(data(block, 8)).unwrap();
            assert_eq!(acked(&step), ack, "block {block}");
            assert_eq!(matches!(step, Step::Data { .. }), new, "block {block}");
        }
        let step = receiver.receive(data(7, 3)).unwrap();
        assert_eq!(acked(&step), Some(7));
        assert!(matches!(step, Step::Data { last: true, .. }));
    }

    #[test]
    fn what_a_server_must_not_do() {
        let wanted = Wanted {
            blksize: Some(1024),
            ..Wanted::default()
        };
        let oack = |name: &str, value: &str| Packet::OptionAck {
            options: vec![(name.into(), value.into())],
        };
        for (packet, why) in [
            (
                oack("blksize", "2048"),
                "a block size granted that was not asked for",
            ),
            (oack("blksize", "x"), "an option granted is no number"),
            (
                oack("windowsize", "4"),
                "an option granted that was not asked for",
            ),
            (data(1, 513), "a block longer than the block size"),
            (
                Packet::Ack { block: 1 },
                "the server sent a client's packet",
            ),
        ] {
            let error = Receiver::new(wanted).receive(packet).unwrap_err();
            assert_eq!(error.to_string(), format!("malformed TFTP packet: {why}"));
        }
    }
}
