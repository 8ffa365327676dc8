//! The six packets of TFTP (RFC 1350 section 5, RFC 2347).
//!
//! Reading never panics and never allocates more than the datagram's length.

use crate::Error;

/// Longest request that is read: RFC 2347 limits requests to 512 bytes, some clients forget it.
const MAX_REQUEST: usize = 2048;

/// Error codes of RFC 1350's appendix and RFC 2347.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    NotDefined = 0,
    /// No such file.
    FileNotFound = 1,
    /// Not allowed.
    AccessViolation = 2,
    /// Not a TFTP operation that we know.
    IllegalOperation = 4,
    /// The packet belongs to no transfer.
    UnknownTransfer = 5,
    /// The options do not suit.
    OptionNegotiation = 8,
}

/// Options of a request or an acknowledgement of options, in order, names in lower case.
pub type OptionList = Vec<(String, String)>;

/// How a file's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As they are.
    Octet,
    /// As text with CR LF line ends.
    Netascii,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// RRQ: send me this file.
    ReadRequest {
        /// Path as the client wrote it.
        path: String,
        /// Transfer mode.
        mode: Mode,
        /// Options wanted.
        options: OptionList,
    },
    /// WRQ: take this file.
    WriteRequest {
        /// Path as the client wrote it.
        path: String,
    },
    /// DATA.
    Data {
        /// Number of the block, modulo 65536, the first is 1.
        block: u16,
        /// Its bytes; a block shorter than the block size is the last.
        data: Vec<u8>,
    },
    /// ACK.
    Ack {
        /// Number of the block.
        block: u16,
    },
    /// ERROR.
    Error {
        /// Code.
        code: u16,
        /// Text.
        message: String,
    },
    /// OACK.
    OptionAck {
        /// Options granted.
        options: OptionList,
    },
}

impl Packet {
    /// An error packet.
    pub fn error(code: ErrorCode, message: &str) -> Self {
        Self::Error {
            code: code as u16,
            message: message.to_owned(),
        }
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |why| Error::Malformed { why };
        let (opcode, rest) = bytes
            .split_first_chunk::<2>()
            .ok_or(malformed("shorter than an opcode"))?;
        match (u16::from_be_bytes(*opcode), rest) {
            (opcode @ (1 | 2), rest) => {
                if rest.len() > MAX_REQUEST {
                    return Err(malformed("the request is too long"));
                }
                let mut strings = Strings(rest);
                let path = strings.next().ok_or(malformed("no file name"))?;
                if path.is_empty() {
                    return Err(malformed("an empty file name"));
                }
                let mode = strings.next().ok_or(malformed("no mode"))?;
                let mode = if mode.eq_ignore_ascii_case("octet") {
                    Mode::Octet
                } else if mode.eq_ignore_ascii_case("netascii") {
                    Mode::Netascii
                } else {
                    return Err(malformed("a mode other than octet and netascii"));
                };
                if opcode == 2 {
                    return Ok(Self::WriteRequest { path });
                }
                Ok(Self::ReadRequest {
                    path,
                    mode,
                    options: strings.options(),
                })
            }
            (3, [high, low, data @ ..]) => Ok(Self::Data {
                block: u16::from_be_bytes([*high, *low]),
                data: data.to_vec(),
            }),
            (4, [high, low, ..]) => Ok(Self::Ack {
                block: u16::from_be_bytes([*high, *low]),
            }),
            (5, [high, low, text @ ..]) => Ok(Self::Error {
                code: u16::from_be_bytes([*high, *low]),
                message: Strings(text)
                    .next()
                    .unwrap_or_else(|| String::from_utf8_lossy(text).into_owned())
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect(),
            }),
            (6, rest) => Ok(Self::OptionAck {
                options: Strings(rest).options(),
            }),
            (3..=5, _) => Err(malformed("cut off")),
            _ => Err(malformed("unknown opcode")),
        }
    }

    /// Writes a datagram. NULs inside texts would end them early and are dropped.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend(text.bytes().filter(|b| *b != 0));
            bytes.push(0);
        };
        match self {
            Self::ReadRequest {
                path,
                mode,
                options,
            } => {
                bytes.extend_from_slice(&[0, 1]);
                text(&mut bytes, path);
                text(
                    &mut bytes,
                    match mode {
                        Mode::Octet => "octet",
                        Mode::Netascii => "netascii",
                    },
                );
                for (name, value) in options {
                    text(&mut bytes, name);
                    text(&mut bytes, value);
                }
            }
            Self::WriteRequest { path } => {
                bytes.extend_from_slice(&[0, 2]);
                text(&mut bytes, path);
                text(&mut bytes, "octet");
            }
            Self::Data { block, data } => {
                bytes.extend_from_slice(&[0, 3]);
                bytes.extend_from_slice(&block.to_be_bytes());
                bytes.extend_from_slice(data);
            }
            Self::Ack { block } => {
                bytes.extend_from_slice(&[0, 4]);
                bytes.extend_from_slice(&block.to_be_bytes());
            }
            Self::Error { code, message } => {
                bytes.extend_from_slice(&[0, 5]);
                bytes.extend_from_slice(&code.to_be_bytes());
                text(&mut bytes, message);
            }
            Self::OptionAck { options } => {
                bytes.extend_from_slice(&[0, 6]);
                for (name, value) in options {
                    text(&mut bytes, name);
                    text(&mut bytes, value);
                }
            }
        }
        bytes
    }
}

/// NUL-terminated strings.
struct Strings<'a>(&'a [u8]);

impl Strings<'_> {
    fn next(&mut self) -> Option<String> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Pairs of name and value until the end; what follows the last whole pair is dropped.
    fn options(&mut self) -> OptionList {
        let mut options = OptionList::new();
        while let Some(name) = self.next() {
            let Some(value) = self.next() else { break };
            options.push((name.to_ascii_lowercase(), value));
        }
        options
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn reads() {
        let options = |list: &[(&str, &str)]| -> OptionList {
            list.iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (bytes, expected) in [
            (
                &b"\0\x01a/b\0OCTET\0BlkSize\x001428\0tsize\x000\0"[..],
                Packet::ReadRequest {
                    path: "a/b".into(),
                    mode: Mode::Octet,
                    options: options(&[("blksize", "1428"), ("tsize", "0")]),
                },
            ),
            (
                b"\0\x01x\0netascii\0half",
                Packet::ReadRequest {
                    path: "x".into(),
                    mode: Mode::Netascii,
                    options: vec![],
                },
            ),
            (
                b"\0\x02x\0octet\0",
                Packet::WriteRequest { path: "x".into() },
            ),
            (
                b"\0\x03\xff\xfeabc",
                Packet::Data {
                    block: 65534,
                    data: b"abc".to_vec(),
                },
            ),
            (b"\0\x04\0\x07trailing", Packet::Ack { block: 7 }),
            (
                b"\0\x05\0\x08User\x07 aborted\0",
                Packet::Error {
                    code: 8,
                    message: "User aborted".into(),
                },
            ),
            (
                b"\0\x06tsize\x0099\0",
                Packet::OptionAck {
                    options: options(&[("tsize", "99")]),
                },
            ),
        ] {
            let packet = Packet::decode(bytes).unwrap();
            assert_eq!(packet, expected);
            assert_eq!(Packet::decode(&packet.encode()).unwrap(), packet);
        }
    }

    #[test]
    fn refuses() {
        for (bytes, why) in [
            (&b""[..], "shorter than an opcode"),
            (b"\0", "shorter than an opcode"),
            (b"\0\x07", "unknown opcode"),
            (b"\0\x01\0octet\0", "an empty file name"),
            (b"\0\x01x", "no file name"),
            (b"\0\x01x\0octet", "no mode"),
            (b"\0\x01x\0mail\0", "a mode other than octet and netascii"),
            (b"\0\x03\0", "cut off"),
            (b"\0\x04\0", "cut off"),
            (
                &[b"\0\x01", &[b'x'; 3000][..]].concat(),
                "the request is too long",
            ),
        ] {
            assert_eq!(
                Packet::decode(bytes).unwrap_err().to_string(),
                format!("malformed TFTP packet: {why}")
            );
        }
    }
}
