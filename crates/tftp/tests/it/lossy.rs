//! A UDP proxy in front of a TFTP server that drops, doubles and swaps datagrams, from a seed.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

pub struct Proxy {
    pub address: SocketAddr,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<(u32, u32)>,
}

struct Chance {
    rng: StdRng,
    loss: f64,
    held: Option<(bool, Vec<u8>)>,
    lost: u32,
    passed: u32,
}

impl Chance {
    /// What arrives on the other side when this is sent; `up` is towards the server.
    fn through(&mut self, up: bool, datagram: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let this = (up, datagram.to_vec());
        let mut out = Vec::new();
        if self.rng.random_bool(self.loss) {
            self.lost += 1;
        } else if self.held.is_none() && self.rng.random_bool(0.05) {
            self.held = Some(this);
        } else if self.rng.random_bool(0.05) {
            out.extend([this.clone(), this]);
        } else {
            out.push(this);
        }
        if !out.is_empty() {
            out.extend(self.held.take());
        }
        self.passed += u32::try_from(out.len()).unwrap();
        out
    }
}

impl Proxy {
    pub async fn start(server: SocketAddr, seed: u64, loss: f64) -> Self {
        // the client asks the front; the server's transfer is seen at the back
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let up = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let stopped = cancel.clone();
        let task = tokio::spawn(async move {
            let mut chance = Chance {
                rng: StdRng::seed_from_u64(seed),
                loss,
                held: None,
                lost: 0,
                passed: 0,
            };
            let mut client = None;
            let mut transfer = server;
            let (mut one, mut two, mut three) = ([0u8; 4096], [0u8; 4096], [0u8; 4096]);
            loop {
                let out = tokio::select! {
                    () = stopped.cancelled() => return (chance.lost, chance.passed),
                    Ok((n, from)) = front.recv_from(&mut one) => {
                        client = Some(from);
                        // a repeated request goes to the server's front door again
                        if !chance.rng.random_bool(chance.loss) {
                            up.send_to(&one[..n], server).await.unwrap();
                        } else {
                            chance.lost += 1;
                        }
                        continue;
                    }
                    Ok((n, _)) = back.recv_from(&mut two) => chance.through(true, &two[..n]),
                    Ok((n, from)) = up.recv_from(&mut three) => {
                        transfer = from;
                        chance.through(false, &three[..n])
                    }
                };
                for (upwards, datagram) in out {
                    if upwards {
                        up.send_to(&datagram, transfer).await.ok();
                    } else if let Some(client) = client {
                        back.send_to(&datagram, client).await.ok();
                    }
                }
            }
        });
        Self {
            address,
            cancel,
            task,
        }
    }

    pub async fn stop(self) -> (u32, u32) {
        self.cancel.cancel();
        self.task.await.unwrap()
    }
}
