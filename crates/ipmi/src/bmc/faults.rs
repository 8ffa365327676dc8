//! A bad network in front of a BMC: packets lost, late, out of order and doubled, from a seed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// What goes wrong. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Share of packets lost, in each direction; 1 is a dead BMC.
    pub drop_rate: f64,
    /// Share of answers sent twice.
    pub duplicate_rate: f64,
    /// Answers come up to this much late, evenly spread, and so also out of order.
    pub delay: Duration,
    /// The same seed and the same packets give the same faults.
    pub seed: u64,
}

/// The faults of one BMC, to be changed while it runs.
#[derive(Debug, Clone)]
pub struct FaultSwitch(Arc<Mutex<(Faults, StdRng)>>);

impl Default for FaultSwitch {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((
            Faults::default(),
            StdRng::seed_from_u64(0),
        ))))
    }
}

impl FaultSwitch {
    /// From now on, starting at the beginning of the seed.
    pub fn set(&self, faults: Faults) {
        *self.lock() = (faults, StdRng::seed_from_u64(faults.seed));
    }

    fn lock(&self) -> MutexGuard<'_, (Faults, StdRng)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the packet that just came is lost.
    pub(super) fn drops(&self) -> bool {
        let (faults, random) = &mut *self.lock();
        chance(random, faults.drop_rate)
    }

    /// Loses, doubles and delays an answer.
    pub(super) fn post(&self, outbox: &mut Outbox, packet: Vec<u8>, peer: SocketAddr) {
        let (faults, random) = &mut *self.lock();
        let copies = if chance(random, faults.duplicate_rate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if !chance(random, faults.drop_rate) {
                let late = if faults.delay.is_zero() {
                    Duration::ZERO
                } else {
                    faults.delay.mul_f64(random.random())
                };
                outbox.0.push((Instant::now() + late, packet.clone(), peer));
            }
        }
    }
}

fn chance(random: &mut StdRng, rate: f64) -> bool {
    rate > 0.0 && random.random::<f64>() < rate
}

/// Answers that wait for their time. A handful at most, so a list will do.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<(Instant, Vec<u8>, SocketAddr)>);

impl Outbox {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _, _)| *at).min()
    }

    /// The next answer whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<(Vec<u8>, SocketAddr)> {
        let (index, (at, _, _)) = self
            .0
            .iter()
            .enumerate()
            .min_by_key(|(_, (at, _, _))| *at)?;
        if *at > now {
            return None;
        }
        let (_, packet, peer) = self.0.remove(index);
        Some((packet, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        fn run(seed: u64) -> Vec<bool> {
            let switch = FaultSwitch::default();
            switch.set(Faults {
                drop_rate: 0.3,
                seed,
                ..Faults::default()
            });
            (0..200).map(|_| switch.drops()).collect()
        }
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let lost = run(1).iter().filter(|lost| **lost).count();
        assert!((30..90).contains(&lost), "{lost} of 200 lost");
    }

    #[test]
    fn answers_leave_in_the_order_of_their_time() {
        let now = Instant::now();
        let peer: SocketAddr = ([127, 0, 0, 1], 1).into();
        let later = now + Duration::from_secs(5);
        let mut outbox = Outbox(vec![(later, vec![2], peer), (now, vec![1], peer)]);
        assert_eq!(outbox.next_deadline(), Some(now));
        assert_eq!(outbox.due(now), Some((vec![1], peer)));
        assert_eq!(outbox.due(now), None);
        assert_eq!(outbox.due(later), Some((vec![2], peer)));
    }
}
