//! A TFTP client that reads one file, as a network card's firmware does (RFC 1350, with the options of RFC 2347 to 2349).
//!
//! The contents are counted, not kept. It must never trust the server with more than [`MAX_SIZE`] bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::dice::Dice;

/// More than any loader has.
const MAX_SIZE: u64 = 256 * 1024 * 1024;
const BLOCK_SIZE: usize = 1428;
const ATTEMPTS: u32 = 8;

const RRQ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the TFTP server does not answer")]
    TimedOut,
    #[error("the TFTP server says: {0}")]
    Refused(String),
    #[error("malformed TFTP packet: {0}")]
    Malformed(&'static str),
    #[error("the file has more than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("TFTP cannot use the network")]
    Network(#[from] std::io::Error),
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Data { block: u16, bytes: &'a [u8] },
    Options { block_size: usize },
    Error(String),
}

fn parse(packet: &[u8]) -> Result<Answer<'_>, &'static str> {
    let (code, rest) = packet
        .split_first_chunk::<2>()
        .ok_or("shorter than two bytes")?;
    match u16::from_be_bytes(*code) {
        DATA => {
            let (block, bytes) = rest.split_first_chunk::<2>().ok_or("no block number")?;
            Ok(Answer::Data {
                block: u16::from_be_bytes(*block),
                bytes,
            })
        }
        OACK => {
            let mut words = rest.split(|b| *b == 0);
            let mut block_size = 512;
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                if name.eq_ignore_ascii_case(b"blksize") {
                    block_size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .filter(|size| (8..=BLOCK_SIZE).contains(size))
                        .ok_or("a block size that was not asked for")?;
                }
            }
            Ok(Answer::Options { block_size })
        }
        ERROR => {
            let text = rest.get(2..).unwrap_or_default();
            let text = text.split(|b| *b == 0).next().unwrap_or_default();
            Ok(Answer::Error(String::from_utf8_lossy(text).into_owned()))
        }
        _ => Err("neither data, options nor error"),
    }
}

/// Fuzz target.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = parse(data);
}

fn request(file: &str) -> Vec<u8> {
    let mut packet = RRQ.to_be_bytes().to_vec();
    let size = BLOCK_SIZE.to_string();
    for word in [file, "octet", "blksize", &size, "tsize", "0"] {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

fn ack(block: u16) -> Vec<u8> {
    [ACK.to_be_bytes(), block.to_be_bytes()].concat()
}

/// Reads a file and says how long it is. `loss` is the chance of every datagram, each way, to be lost.
///
/// # Errors
/// See [`Error`].
pub async fn read(
    from: Ipv4Addr,
    server: SocketAddr,
    file: &str,
    patience: Duration,
    (loss, dice): (f64, &Dice),
) -> Result<u64, Error> {
    let socket = UdpSocket::bind((from, 0)).await?;
    let mut buffer = vec![0; 65_536];
    let mut to_send = request(file);
    let mut peer = server;
    let mut answered = false;
    let mut block_size = 512;
    let mut expected: u16 = 1;
    let mut size: u64 = 0;
    let mut attempts = 0;
    loop {
        if attempts >= ATTEMPTS {
            return Err(Error::TimedOut);
        }
        attempts = attempts.saturating_add(1);
        if !dice.chance(loss) {
            socket.send_to(&to_send, peer).await?;
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let received = tokio::time::timeout_at(deadline, socket.recv_from(&mut buffer)).await;
            let Ok(received) = received else { break };
            let (length, sender) = received?;
            // the server answers from a port of its own, which then is the transfer's
            if sender.ip() != server.ip() || (answered && sender != peer) || dice.chance(loss) {
                continue;
            }
            let packet = buffer.get(..length).unwrap_or_default();
            match parse(packet).map_err(Error::Malformed)? {
                Answer::Error(text) => return Err(Error::Refused(text)),
                Answer::Options { block_size: agreed } if size == 0 => {
                    block_size = agreed;
                    to_send = ack(0);
                }
                Answer::Data { block, bytes } if block == expected => {
                    size = size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                    if size > MAX_SIZE {
                        return Err(Error::TooLarge);
                    }
                    to_send = ack(block);
                    expected = expected.wrapping_add(1);
                    if bytes.len() < block_size {
                        socket.send_to(&to_send, sender).await?;
                        return Ok(size);
                    }
                }
                // an old block again: its acknowledgement was lost
                Answer::Data { .. } | Answer::Options { .. } => {}
            }
            peer = sender;
            answered = true;
            attempts = 0;
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// Serves one file, one client, with retransmissions.
    async fn serve(contents: Vec<u8>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let packet = &buffer[..length];
                let reply = if packet.starts_with(&RRQ.to_be_bytes()) {
                    if !packet[2..].starts_with(b"loader.efi\0octet\0blksize\x001428\0") {
                        [&ERROR.to_be_bytes()[..], &[0, 1], b"File not found\0"].concat()
                    } else {
                        [&OACK.to_be_bytes()[..], b"blksize\x001428\0tsize\x003000\0"].concat()
                    }
                } else {
                    let block = u16::from_be_bytes([packet[2], packet[3]]) + 1;
                    let start = (usize::from(block) - 1) * BLOCK_SIZE;
                    let Some(rest) = contents.get(start..) else {
                        continue;
                    };
                    let part = &rest[..rest.len().min(BLOCK_SIZE)];
                    [&DATA.to_be_bytes()[..], &block.to_be_bytes(), part].concat()
                };
                socket.send_to(&reply, peer).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn reads_with_and_without_loss() {
        let server = serve(vec![7; 3000]).await;
        for loss in [0.0, 0.2] {
            let dice = Dice::new(3, 0, "tftp");
            let patience = Duration::from_millis(if loss == 0.0 { 2000 } else { 20 });
            let size = read(
                Ipv4Addr::LOCALHOST,
                server,
                "loader.efi",
                patience,
                (loss, &dice),
            )
            .await;
            assert_eq!(size.unwrap(), 3000);
        }
        let dice = Dice::new(3, 0, "tftp");
        let patience = Duration::from_secs(2);
        let error = read(Ipv4Addr::LOCALHOST, server, "other", patience, (0.0, &dice)).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "the TFTP server says: File not found"
        );
    }

    #[test]
    fn packets() {
        for (packet, expected) in [
            (
                &b"\0\x03\0\x02ab"[..],
                Ok(Answer::Data {
                    block: 2,
                    bytes: b"ab",
                }),
            ),
            (
                b"\0\x06blksize\x00100\0",
                Ok(Answer::Options { block_size: 100 }),
            ),
            (
                b"\0\x06tsize\x00100\0",
                Ok(Answer::Options { block_size: 512 }),
            ),
            (
                b"\0\x06blksize\x009999\0",
                Err("a block size that was not asked for"),
            ),
            (b"\0\x05\0\x01no\0", Ok(Answer::Error("no".into()))),
            (b"\0\x05", Ok(Answer::Error(String::new()))),
            (b"\0", Err("shorter than two bytes")),
            (b"\0\x03\0", Err("no block number")),
            (b"\0\x01", Err("neither data, options nor error")),
        ] {
            assert_eq!(parse(packet), expected);
        }
    }
}
