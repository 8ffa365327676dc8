//! Points in time as the API shows them: UTC, microseconds.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z. Stored as a 64-bit integer on both engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

thread_local! {
    /// Microseconds that this thread is ahead of the wall clock.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// How far a thread's clock is ahead of the wall clock: not at all, except in tests.
#[derive(Debug, Clone, Copy)]
pub struct Ahead(i64);

impl Ahead {
    /// Sets the clock of this thread by the one that this was taken from.
    pub fn take_over(self) {
        AHEAD.set(self.0);
    }
}

impl Timestamp {
    /// The wall clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Self(micros.saturating_add(AHEAD.get()))
    }

    /// Moves the clock of this thread forward, so that a test need not wait until a deadline has passed. Nothing but
    /// tests calls it.
    pub fn move_this_threads_clock(by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        AHEAD.set(AHEAD.get().saturating_add(by));
    }

    /// How far [`Self::move_this_threads_clock`] has moved this thread's clock, for a thread that works for this one.
    #[must_use]
    pub fn ahead_here() -> Ahead {
        Ahead(AHEAD.get())
    }

    /// Saturates at the ends of the range.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Saturates at the ends of the range.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Time from `earlier` to here; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads ISO 8601 with an offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1000)
            .ok()
            .map(Self)
    }
}

impl Timestamp {
    /// Appends upstream's form, `2026-11-24T23:31:48.000000+00:00`. Lists show several times per row, so this
    /// is done without the formatting machinery.
    pub fn append_to(self, out: &mut Vec<u8>) {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        // years of the range that `OffsetDateTime` has by default: -9999 to 9999
        append_digits(u32::try_from(at.year()).unwrap_or(0), 4, out);
        let parts = [
            (b'-', u8::from(at.month())),
            (b'-', at.day()),
            (b'T', at.hour()),
            (b':', at.minute()),
            (b':', at.second()),
        ];
        for (before, value) in parts {
            out.push(before);
            append_digits(value.into(), 2, out);
        }
        out.push(b'.');
        append_digits(at.microsecond(), 6, out);
        out.extend_from_slice(b"+00:00");
    }
}

fn append_digits(value: u32, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = value / 10u32.pow(place) % 10;
        out.push(b'0'.saturating_add(u8::try_from(digit).unwrap_or(0)));
    }
}

impl Timestamp {
    /// `2026-11-25T14:10:33.744694`: as Python writes a time without a zone, with `between` for what stands between date and
    /// time.
    #[must_use]
    pub fn without_zone(self, between: char) -> String {
        let text = self.to_string();
        let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
        let time = rest.get(..8).unwrap_or(rest);
        let micros = self.0.rem_euclid(1_000_000);
        format!("{date}{between}{time}.{micros:06}")
    }
}

/// See [`Timestamp::append_to`].
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(32);
        self.append_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text} is not a time")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_python_s() {
        let check = |at, want| assert_eq!(Timestamp(at).without_zone(' '), want);
        check(1_795_614_006_123_456, "2026-11-25 13:40:06.123456");
        check(1_795_614_006_000_000, "2026-11-25 13:40:06.000000");
        check(1_795_614_006_000_070, "2026-11-25 13:40:06.000070");
    }

    #[test]
    fn shown_and_read_back() {
        let at = Timestamp(1_795_563_108_000_012);
        let text = at.to_string();
        assert!(text.ends_with(".000012+00:00"), "{text}");
        assert_eq!(Timestamp::parse(&text).unwrap(), at);
    }
}
