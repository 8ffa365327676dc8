//! What happened: sentences on their way to the timelines, strangers, and which address belongs to whom.
//!
//! Recording never holds up the service: sentences wait in a bounded queue and are dropped, counted, when it is full.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_dhcp::MacAddress;
use bessemer_model::{NodeId, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::directory::{BootDirectory, Event, Source, Unknown};

/// Sentences that may wait.
const QUEUE: usize = 4096;
/// Strangers that are remembered.
const STRANGERS: usize = 64;
/// Addresses that are remembered; only names depend on it.
const PEERS: usize = 65536;
/// One stranger is written down again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two strangers that are written down: whoever invents addresses must not keep the database busy.
const BETWEEN: Duration = Duration::from_millis(100);
/// Strangers that wait to be written down.
const UNKNOWN: usize = 64;

/// Something that came from nobody we know, and got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// The sentence.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// The latest strangers, for failure reports: a MAC that never shows up is often one with a typing error.
#[derive(Debug, Default)]
pub struct Strangers {
    seen: Mutex<VecDeque<Stranger>>,
}

impl Strangers {
    /// The latest last.
    pub fn list(&self) -> Vec<Stranger> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().cloned().collect()
    }

    fn add(&self, text: String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.iter().position(|stranger| stranger.text == text);
        let count = known
            .and_then(|at| seen.remove(at))
            .map_or(0, |stranger| stranger.count);
        if seen.len() >= STRANGERS {
            seen.pop_front();
        }
        seen.push_back(Stranger {
            last_seen: Timestamp::now(),
            text,
            count: count.saturating_add(1),
        });
    }
}

/// Shared by all parts of the service.
#[derive(Debug)]
pub(crate) struct Journal {
    queue: mpsc::Sender<Event>,
    dropped: AtomicU64,
    strangers: Arc<Strangers>,
    peers: Mutex<HashMap<Ipv4Addr, NodeId>>,
    unknown: mpsc::Sender<Unknown>,
    written: Mutex<Written>,
}

/// When strangers were written down last.
#[derive(Debug, Default)]
struct Written {
    last: Option<Instant>,
    of: HashMap<MacAddress, Instant>,
}

impl Written {
    fn is_due(&mut self, mac: MacAddress) -> bool {
        let now = Instant::now();
        let recent = |at: &Instant, limit| now.duration_since(*at) < limit;
        if self.last.as_ref().is_some_and(|at| recent(at, BETWEEN))
            || self.of.get(&mac).is_some_and(|at| recent(at, AGAIN))
        {
            return false;
        }
        self.of.retain(|_, at| recent(at, AGAIN));
        self.of.insert(mac, now);
        self.last = Some(now);
        true
    }
}

/// The end of the queues that writes.
#[derive(Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Receiver<Event>,
    unknown: mpsc::Receiver<Unknown>,
}

impl Journal {
    pub(crate) fn new() -> (Arc<Self>, Recorder) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (unknown, unknowns) = mpsc::channel(UNKNOWN);
        let journal = Self {
            queue: sender,
            dropped: AtomicU64::new(0),
            strangers: Arc::default(),
            peers: Mutex::default(),
            unknown,
            written: Mutex::default(),
        };
        let recorder = Recorder {
            queue: receiver,
            unknown: unknowns,
        };
        (Arc::new(journal), recorder)
    }

    pub(crate) fn strangers(&self) -> Arc<Strangers> {
        Arc::clone(&self.strangers)
    }

    /// The address is the node's.
    pub(crate) fn introduce(&self, address: IpAddr, node: NodeId) {
        let IpAddr::V4(address) = address else { return };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS && !peers.contains_key(&address) {
            peers.clear();
        }
        peers.insert(address, node);
    }

    /// Whose address it is.
    pub(crate) fn node_at(&self, address: IpAddr) -> Option<NodeId> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(&address).copied()
    }

    /// A sentence for a node's timeline.
    pub(crate) fn record(&self, node: NodeId, source: Source, text: String, bytes: Option<u64>) {
        tracing::info!(%node, ?source, "{text}");
        let event = Event {
            node,
            at: Timestamp::now(),
            source,
            text,
            bytes,
        };
        if self.queue.try_send(event).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed);
            if dropped.is_power_of_two() || dropped == 0 {
                tracing::warn!(
                    dropped = dropped + 1,
                    "timeline events dropped: the store is too slow"
                );
            }
        }
    }

    /// A sentence about nobody we know.
    pub(crate) fn stranger(&self, text: String) {
        tracing::debug!("{text}");
        self.strangers.add(text);
    }

    /// The same of somebody with a MAC, which is also written down where every controller can read it.
    pub(crate) fn unknown(&self, mac: MacAddress, text: String) {
        let due = self
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_due(mac);
        if due {
            let who = Unknown {
                mac,
                at: Timestamp::now(),
                text: text.clone(),
            };
            if self.unknown.try_send(who).is_err() {
                tracing::debug!("a stranger was not written down: too many wait");
            }
        }
        self.stranger(text);
    }

    /// A sentence about whoever has this address.
    pub(crate) fn about_peer(
        &self,
        peer: IpAddr,
        source: Source,
        text: String,
        bytes: Option<u64>,
    ) {
        match self.node_at(peer) {
            Some(node) => self.record(node, source, text, bytes),
            None => self.stranger(text),
        }
    }
}

impl Recorder {
    /// Writes until cancelled, and then what is still waiting.
    pub(crate) async fn run(
        mut self,
        directory: Arc<dyn BootDirectory>,
        cancel: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            let count = tokio::select! {
                count = self.queue.recv_many(&mut batch, 256) => count,
                Some(who) = self.unknown.recv() => {
                    if let Err(error) = directory.record_unknown(who).await {
                        tracing::warn!(error = %with_causes(&error), "a stranger was not written down");
                    }
                    continue;
                }
                () = cancel.cancelled() => {
                    self.queue.close();
                    self.queue.recv_many(&mut batch, QUEUE).await
                }
            };
            if count == 0 {
                return;
            }
            let events = std::mem::take(&mut batch);
            if let Err(error) = directory.record(events).await {
                tracing::warn!(error = %with_causes(&error), count, "timeline events lost");
            }
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// `950 bytes`, `150 kB`, `14.2 MB`.
pub(crate) fn human_size(bytes: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = bytes.saturating_add(unit / 20) / (unit / 10);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", (bytes + 500) / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1 kB"),
            (150_400, "150 kB"),
            (14_186_432, "14.2 MB"),
            (2_340_000_000, "2.3 GB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(human_size(bytes), expected);
        }
    }

    #[test]
    fn strangers_are_counted_and_bounded() {
        let strangers = Strangers::default();
        for number in 0..100 {
            strangers.add(format!("x{number}"));
            strangers.add("often".to_owned());
        }
        let list = strangers.list();
        assert_eq!(list.len(), STRANGERS);
        let last = list.last().unwrap();
        assert_eq!((last.text.as_str(), last.count), ("often", 100));
    }
}
