//! A downloading client over UDP. Simulated hosts and tests fetch with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::packet::{Mode, Packet};
use crate::receiver::{Receiver, Step, Wanted};
use crate::{Error, ErrorCode};

/// How to download.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Options to ask for.
    pub wanted: Wanted,
    /// Wait before the first repetition; it doubles up to eight times itself.
    pub timeout: Duration,
    /// How often a packet is sent before giving up.
    pub attempts: u32,
    /// Local address to send from.
    pub local: Option<IpAddr>,
    /// Longest file that is accepted, in bytes.
    pub max_size: u64,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            wanted: Wanted {
                blksize: Some(1432),
                tsize: true,
                ..Wanted::default()
            },
            timeout: Duration::from_millis(500),
            attempts: 6,
            local: None,
            max_size: 1 << 30,
        }
    }
}

/// What a download was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// Bytes received.
    pub bytes: u64,
    /// Length that the server announced.
    pub tsize: Option<u64>,
    /// Block size that was used.
    pub blksize: u16,
    /// Window size that was used.
    pub windowsize: u16,
}

/// Downloads a file; `sink` takes its bytes in order.
///
/// # Errors
/// Every variant of [`Error`]. What the sink had taken until then is not the file.
pub async fn download(
    server: SocketAddr,
    path: &str,
    settings: &ClientSettings,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
) -> Result<Downloaded, Error> {
    let local = settings.local.unwrap_or(match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    let socket = UdpSocket::bind((local, 0))
        .await
        .map_err(failed("the TFTP client's socket cannot be bound"))?;
    let request = Packet::ReadRequest {
        path: path.to_owned(),
        mode: Mode::Octet,
        options: settings.wanted.options(),
    }
    .encode();

    let mut receiver = Receiver::new(settings.wanted);
    // the server answers from a port of its choice
    let mut peer: Option<SocketAddr> = None;
    let mut tries = 0u32;
    let mut buffer = vec![0u8; 65536];
    let mut bytes = 0u64;
    let mut answer = request.clone();
    let mut send = true;
    let mut deadline = Instant::now();
    loop {
        if send {
            let to = peer.unwrap_or(server);
            socket
                .send_to(&answer, to)
                .await
                .map_err(|source| Error::Unreachable { peer: to, source })?;
            let factor = 1u32.checked_shl(tries).unwrap_or(8).min(8);
            deadline = Instant::now() + settings.timeout.saturating_mul(factor);
            send = false;
        }
        let (length, from) = match timeout_at(deadline, socket.recv_from(&mut buffer)).await {
            Ok(Ok(received)) => received,
            Ok(Err(source)) => {
                return Err(Error::Unreachable {
                    peer: peer.unwrap_or(server),
                    source,
                });
            }
            Err(_) => {
                tries = tries.saturating_add(1);
                if tries >= settings.attempts {
                    return Err(Error::TimedOut {
                        attempts: settings.attempts,
                    });
                }
                answer = if receiver.started() {
                    receiver.acknowledgement().encode()
                } else {
                    request.clone()
                };
                send = true;
                continue;
            }
        };
        if from.ip() != server.ip() || peer.is_some_and(|peer| peer != from) {
            let foreign = Packet::error(ErrorCode::UnknownTransfer, "unknown transfer");
            // whoever that was, it is not our business whether it hears
            drop(socket.send_to(&foreign.encode(), from).await);
            continue;
        }
        let Some(datagram) = buffer.get(..length) else {
            continue;
        };
        peer = Some(from);
        let step = match Packet::decode(datagram).and_then(|packet| receiver.receive(packet)) {
            Ok(step) => step,
            Err(error) => {
                if matches!(error, Error::Malformed { .. }) {
                    drop(socket.send_to(&Receiver::complaint().encode(), from).await);
                }
                return Err(error);
            }
        };
        let (reply, last) = match step {
            Step::Nothing { answer } => (answer, false),
            Step::Data { data, answer, last } => {
                tries = 0;
                bytes = bytes.saturating_add(data.len() as u64);
                if bytes > settings.max_size {
                    let full = Packet::error(ErrorCode::NotDefined, "too long");
                    drop(socket.send_to(&full.encode(), from).await);
                    return Err(Error::TooLong {
                        limit: settings.max_size,
                    });
                }
                sink(&data).map_err(failed("the downloaded bytes cannot be kept"))?;
                (answer, last)
            }
        };
        if let Some(reply) = reply {
            answer = reply.encode();
            send = true;
        }
        if last {
            // lost, the server repeats its last block and then gives up; the file is whole all the same
            drop(socket.send_to(&answer, from).await);
            return Ok(Downloaded {
                bytes,
                tsize: receiver.tsize(),
                blksize: receiver.blksize(),
                windowsize: receiver.windowsize(),
            });
        }
    }
}
