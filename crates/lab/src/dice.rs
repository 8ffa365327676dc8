//! Chance that repeats: every draw follows from the seed, the host, a purpose and how many draws of that purpose came
//! before. Two things that happen at once cannot change each other's luck, so a fleet of a given seed behaves the same
//! however the tasks interleave.
//!
//! Must never be used for keys or certificates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::settings::Span;

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One purpose's chances of one host.
#[derive(Debug)]
pub struct Dice {
    base: u64,
    drawn: AtomicU64,
}

impl Dice {
    /// `purpose` names what the chances decide.
    #[must_use]
    pub fn new(seed: u64, host: usize, purpose: &str) -> Self {
        let start = mix(mix(seed) ^ u64::try_from(host).unwrap_or(u64::MAX));
        let base = purpose
            .bytes()
            .fold(start, |state, byte| mix(state ^ u64::from(byte)));
        Self {
            base,
            drawn: AtomicU64::new(0),
        }
    }

    /// The next 64 bits.
    pub fn draw(&self) -> u64 {
        let nth = self.drawn.fetch_add(1, Ordering::Relaxed);
        mix(self.base ^ mix(nth))
    }

    /// From 0 inclusive to 1 exclusive.
    #[allow(clippy::cast_precision_loss)]
    pub fn fraction(&self) -> f64 {
        // 53 bits are what a double holds exactly
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Somewhere in the span, unscaled.
    pub fn within(&self, span: Span) -> Duration {
        span.at(self.fraction())
    }

    /// 16 bytes in the form of a random UUID.
    pub fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.draw(), self.draw());
        uuid::Builder::from_random_bytes(uuid::Uuid::from_u64_pair(high, low).into_bytes())
            .into_uuid()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn repeats_and_differs() {
        let draws = |seed, host, purpose| {
            let dice = Dice::new(seed, host, purpose);
            (0..8).map(|_| dice.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, 2, "boot"), draws(1, 2, "boot"));
        let others = [
            draws(2, 2, "boot"),
            draws(1, 3, "boot"),
            draws(1, 2, "tftp"),
        ];
        for other in others {
            assert_ne!(draws(1, 2, "boot"), other);
        }
    }

    #[test]
    fn chances_are_fair_enough() {
        let dice = Dice::new(7, 0, "loss");
        let hits = (0..10_000).filter(|_| dice.chance(0.1)).count();
        assert!((850..1150).contains(&hits), "{hits}");
        assert!(!dice.chance(0.0));
        assert!(dice.chance(1.0));
    }
}
