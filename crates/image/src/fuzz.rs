//! Entry points for fuzzing: outside bytes in, nothing but a result out. Also run over seeded mutations by the tests.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    BlockSink, Error, Limits, Placer, Qcow2Map, Qcow2Placer, RAW_FORMATS, RangeSource, RawPlacer,
    inspect,
};

/// Disks above this are refused, so that a fuzzer's wish does not become its memory.
const MAX_DISK: u64 = 16 * 1024 * 1024;

/// Format detection and the qcow2 header.
pub fn fuzz_inspect(data: &[u8]) {
    drop(inspect(data));
}

/// A whole qcow2 from its tables to the last cluster. True when it was placed.
pub fn fuzz_qcow2(data: &[u8]) -> bool {
    let source = MemorySource(Bytes::copy_from_slice(data));
    let limits = Limits {
        table_memory: 4 * 1024 * 1024,
        virtual_size: MAX_DISK,
    };
    let Ok(map) = ready(Qcow2Map::read_within(&source, &limits)) else {
        return false;
    };
    let covered: u64 = map
        .zero_ranges()
        .map(|(_, len)| len)
        .sum::<u64>()
        .saturating_add(map.allocated());
    assert_eq!(
        covered,
        map.virtual_size(),
        "zero ranges and data make up the disk"
    );
    let Ok(mut placer) = Qcow2Placer::new(map, BoundedSink, None) else {
        return false;
    };
    let fed = data.chunks(50_000).try_for_each(|chunk| placer.feed(chunk));
    fed.is_ok() && placer.finish().is_ok()
}

/// A raw stream.
pub fn fuzz_raw(data: &[u8]) {
    if let Ok(mut placer) = RawPlacer::new(BoundedSink, None, None, RAW_FORMATS) {
        let fed = data.chunks(5_000).try_for_each(|chunk| placer.feed(chunk));
        drop(fed.and_then(|()| placer.finish()));
    }
}

/// Runs a future that only ever waits for memory.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// An image in memory.
struct MemorySource(Bytes);

#[async_trait]
impl RangeSource for MemorySource {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if end > self.0.len() {
            return Err(Error::Length {
                expected: end as u64,
                received: self.0.len() as u64,
            });
        }
        Ok(self.0.slice(start..end))
    }
}

/// Keeps nothing, but insists that ranges stay within the disk.
struct BoundedSink;

impl BoundedSink {
    fn check(offset: u64, len: u64) -> io::Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= MAX_DISK => Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl BlockSink for BoundedSink {
    fn capacity(&self) -> u64 {
        MAX_DISK
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        Self::check(offset, data.len() as u64)
    }
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        Self::check(offset, len)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk in memory, for tests here and of users of this crate.
pub struct MemorySink(Vec<u8>);

impl MemorySink {
    /// A disk of `size` bytes that all hold `byte`: old data.
    pub fn filled(size: usize, byte: u8) -> Self {
        MemorySink(vec![byte; size])
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn range(&mut self, offset: u64, len: usize) -> io::Result<&mut [u8]> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        self.0
            .get_mut(start..end)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl BlockSink for MemorySink {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.range(offset, data.len())?.copy_from_slice(data);
        Ok(())
    }
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.range(offset, usize::try_from(len).unwrap_or(usize::MAX))?
            .fill(0);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
