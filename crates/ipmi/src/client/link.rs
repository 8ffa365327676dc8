//! The socket to one BMC: sends, waits, sends again. Knows nothing of what the packets mean.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::{Target, Timing};
use crate::error::Error;
use crate::packet::MAX_DATAGRAM;
use crate::wire::Malformed;

/// ICMP errors until the BMC is taken to be unreachable: one may be a restart.
const MAX_REFUSALS: u32 = 2;

/// One command of the caller: what it is called, and until when it may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub operation: &'static str,
    pub target: &'a Target,
    pub timing: &'a Timing,
    pub started: Instant,
    pub deadline: Instant,
}

impl<'a> Call<'a> {
    pub fn start(operation: &'static str, target: &'a Target, timing: &'a Timing) -> Self {
        let started = Instant::now();
        Self {
            operation,
            target,
            timing,
            started,
            deadline: started + timing.total,
        }
    }

    pub fn timed_out(&self) -> Error {
        Error::TimedOut {
            operation: self.operation,
            address: self.target.label(),
            after: self.started.elapsed(),
        }
    }

    pub fn unreachable(&self, source: io::Error) -> Error {
        Error::Unreachable {
            address: self.target.label(),
            source,
        }
    }

    pub fn malformed(&self, Malformed(what): Malformed) -> Error {
        Error::Malformed {
            operation: self.operation,
            address: self.target.label(),
            what,
        }
    }
}

/// When each attempt of one question ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    wait: Duration,
    left: u32,
    deadline: Instant,
}

impl Pace {
    /// At most as many attempts as the caller's timing allows, and at least one.
    pub fn limited(call: &Call<'_>, attempts: u32) -> Self {
        Self {
            wait: call.timing.first_timeout,
            left: call.timing.max_attempts.min(attempts).max(1),
            deadline: call.deadline,
        }
    }

    /// None when there is no attempt left.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.left = self.left.checked_sub(1)?;
        if now >= self.deadline {
            return None;
        }
        let end = (now + self.wait).min(self.deadline);
        self.wait = self.wait.saturating_mul(3) / 2;
        Some(end)
    }
}

/// One question: the packet of each attempt, and which datagram answers it.
pub(crate) trait Question {
    type Answer;
    fn packet(&mut self) -> Vec<u8>;
    fn accept(&mut self, datagram: &[u8]) -> Option<Self::Answer>;
}

/// The same packet in every attempt.
pub(crate) struct Fixed<F> {
    pub packet: Vec<u8>,
    pub accept: F,
}

impl<T, F: FnMut(&[u8]) -> Option<T>> Question for Fixed<F> {
    type Answer = T;

    fn packet(&mut self) -> Vec<u8> {
        self.packet.clone()
    }

    fn accept(&mut self, datagram: &[u8]) -> Option<T> {
        (self.accept)(datagram)
    }
}

/// A UDP socket that hears only the BMC.
#[derive(Debug)]
pub(crate) struct Link {
    socket: UdpSocket,
}

impl Link {
    /// The first address of the name that has a route.
    pub async fn connect(call: &Call<'_>) -> Result<Self, Error> {
        let host = call
            .target
            .address
            .trim_start_matches('[')
            .trim_end_matches(']');
        let found = timeout_at(call.deadline, lookup_host((host, call.target.port)))
            .await
            .map_err(|_| call.timed_out())?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in found.map_err(|error| call.unreachable(error))? {
            match connect(address).await {
                Ok(socket) => return Ok(Self { socket }),
                Err(error) => last = error,
            }
        }
        Err(call.unreachable(last))
    }

    /// Sends until an answer is taken.
    pub async fn ask<Q: Question>(
        &self,
        call: &Call<'_>,
        mut pace: Pace,
        mut question: Q,
    ) -> Result<Q::Answer, Error> {
        let mut buffer = [0u8; MAX_DATAGRAM];
        let mut refusals = 0;
        while let Some(end) = pace.next() {
            let mut refused = self.socket.send(&question.packet()).await.err();
            loop {
                if let Some(error) = refused.take() {
                    refusals += 1;
                    if refusals >= MAX_REFUSALS {
                        return Err(call.unreachable(error));
                    }
                }
                match timeout_at(end, self.socket.recv(&mut buffer)).await {
                    Err(_elapsed) => break,
                    Ok(Err(error)) => refused = Some(error),
                    Ok(Ok(length)) => {
                        if let Some(answer) = buffer
                            .get(..length)
                            .and_then(|datagram| question.accept(datagram))
                        {
                            return Ok(answer);
                        }
                    }
                }
            }
        }
        Err(call.timed_out())
    }

    /// Sends if the socket takes it at once; used where no answer matters.
    pub fn send_and_forget(&self, packet: &[u8]) {
        if let Err(error) = self.socket.try_send(packet) {
            tracing::debug!(%error, "a farewell to a BMC was not sent");
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
