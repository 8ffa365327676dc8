//! The agent's log: every line goes to the console and into a bounded ring that `log.collect_system_logs` hands out.
//!
//! Must never grow without bound and never block the program on the console's behalf longer than one write.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// Bytes of text kept.
const RING_BYTES: usize = 512 * 1024;

/// The last lines of the log. Cheap to clone.
#[derive(Clone, Default)]
pub struct LogRing {
    inner: Arc<Mutex<Ring>>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl LogRing {
    fn push(&self, line: &[u8]) {
        let mut ring = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes = ring.bytes.saturating_add(line.len());
        ring.lines.push_back(line.to_vec());
        while ring.bytes > RING_BYTES {
            match ring.lines.pop_front() {
                Some(old) => ring.bytes = ring.bytes.saturating_sub(old.len()),
                None => break,
            }
        }
    }

    /// Everything that is still there, oldest first.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let ring = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        ring.lines.iter().flatten().copied().collect()
    }
}

/// Writes one formatted event to both places.
pub struct Tee {
    ring: LogRing,
    buffer: Vec<u8>,
}

impl Write for Tee {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.ring.push(&self.buffer);
        // a console that is gone must not end the agent
        let _ = std::io::stderr().write_all(&self.buffer);
    }
}

impl<'a> MakeWriter<'a> for LogRing {
    type Writer = Tee;

    fn make_writer(&'a self) -> Tee {
        Tee {
            ring: self.clone(),
            buffer: Vec::new(),
        }
    }
}

/// Seconds since the program started, which in the ramdisk is nearly the time since boot; the clock may be wrong there.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        let t = self.0.elapsed();
        write!(w, "{:>5}.{:03}", t.as_secs(), t.subsec_millis())
    }
}

/// Makes the ring and installs the log of the whole process. Called once, from `main`.
#[must_use]
pub fn install(debug: bool) -> LogRing {
    let ring = LogRing::default();
    let (ours, others) = if debug {
        (LevelFilter::DEBUG, LevelFilter::INFO)
    } else {
        (LevelFilter::INFO, LevelFilter::WARN)
    };
    // not an `EnvFilter`, which would bring a regular-expression engine into the ramdisk
    let filter = Targets::new().with_default(others).with_targets(
        ["bessemer_agent", "bessemer_image", "bessemer_disk"].map(|target| (target, ours)),
    );
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_timer(SinceStart(Instant::now()))
        .with_writer(ring.clone());
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // a second call (tests) keeps the first subscriber
    let _ = tracing::subscriber::set_global_default(subscriber);
    ring
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ring_is_bounded() {
        let ring = LogRing::default();
        for i in 0..20_000 {
            ring.push(format!("line {i:>60}\n").as_bytes());
        }
        let text = ring.contents();
        assert!(text.len() <= RING_BYTES);
        assert!(text.ends_with(b"19999\n"));
    }
}
