//! How often one address may call what needs no authentication: lookup, heartbeat, inspection data.
//!
//! A bucket per source address. Loopback is not limited: who comes from there is on this machine, or behind a
//! proxy that has its own limits and hides the addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

/// Most addresses that are kept count of; beyond it the oldest are forgotten.
const MOST: usize = 16_384;

/// Calls per minute by address.
pub struct RateLimit {
    per_minute: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

/// Too many calls; how long to wait, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    pub retry_after: u32,
}

impl RateLimit {
    /// Zero: no limit.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: f64::from(per_minute),
            buckets: Mutex::default(),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// When the address has used up its calls.
    pub fn take(&self, from: IpAddr) -> Result<(), Limited> {
        self.take_at(from, Instant::now())
    }

    fn take_at(&self, from: IpAddr, now: Instant) -> Result<(), Limited> {
        let from = group(from);
        if self.per_minute <= 0.0 || from.is_loopback() {
            return Ok(());
        }
        let Ok(mut buckets) = self.buckets.lock() else {
            return Ok(());
        };
        let per_second = self.per_minute / 60.0;
        if buckets.len() >= MOST && !buckets.contains_key(&from) {
            // full buckets say nothing
            let minute = std::time::Duration::from_secs(60);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < minute);
            if buckets.len() >= MOST {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(from).or_insert(Bucket {
            left: self.per_minute,
            at: now,
        });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
        bucket.left = (bucket.left + gained).min(self.per_minute);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - bucket.left) / per_second).ceil().clamp(1.0, 60.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Err(Limited {
            retry_after: wait as u32,
        })
    }
}

/// One IPv6 host may have all of its network's addresses: they count as one.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None if v6.is_loopback() => address,
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_minute_has_its_calls_and_no_more() {
        let limit = RateLimit::new(60);
        let start = Instant::now();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        for _ in 0..60 {
            assert_eq!(limit.take_at(one, start), Ok(()));
        }
        assert_eq!(limit.take_at(one, start), Err(Limited { retry_after: 1 }));
        assert_eq!(limit.take_at(other, start), Ok(()));
        let later = start + Duration::from_secs(2);
        assert_eq!(limit.take_at(one, later), Ok(()));
        assert_eq!(limit.take_at(one, later), Ok(()));
        assert!(limit.take_at(one, later).is_err());
    }

    #[test]
    fn addresses_of_one_host_count_as_one() {
        let limit = RateLimit::new(1);
        let now = Instant::now();
        let check = |address: &str, allowed: bool| {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(limit.take_at(address, now).is_ok(), allowed, "{address}");
        };
        check("2001:db8::1", true);
        check("2001:db8::2", false);
        check("2001:db8:0:1::1", true);
        check("192.0.2.9", true);
        check("::ffff:192.0.2.9", false);
        check("127.0.0.1", true);
        check("127.0.0.1", true);
        check("::1", true);
        check("::1", true);
    }

    #[test]
    fn zero_is_no_limit_and_many_addresses_are_forgotten() {
        let free = RateLimit::new(0);
        let now = Instant::now();
        let address = IpAddr::from([192, 0, 2, 1]);
        assert!((0..1000).all(|_| free.take_at(address, now).is_ok()));
        let limit = RateLimit::new(5);
        for n in 0..40_000u32 {
            let _ = limit.take_at(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), now);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MOST);
    }
}
