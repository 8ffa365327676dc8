//! Raw images: bytes go where they stand; runs of zeroes are told to the target as such.

use crate::place::{Stage, already_over};
use crate::{BlockSink, Checksum, Error, Format, HEAD_LEN, Hasher, Placed, Placer, inspect};

/// What may be written to a disk as it is.
pub const RAW_FORMATS: &[Format] = &[Format::Raw, Format::Mbr, Format::Gpt];

/// Bytes gathered before they are looked at; also the longest write. A multiple of [`BLOCK`], at least [`HEAD_LEN`].
const BUFFER: usize = 256 * 1024;
/// Granularity of zero detection, aligned on the target.
const BLOCK: usize = 4096;

/// Places a raw image. Nothing is written before the head was inspected: a file of another format is refused.
pub struct RawPlacer<S> {
    sink: S,
    total: Option<u64>,
    checksum: Option<Checksum>,
    hasher: Option<Hasher>,
    permitted: &'static [Format],
    buffer: Vec<u8>,
    /// Target offset of the buffer's first byte.
    buffer_at: u64,
    /// Zeroes seen before `buffer_at` and not told yet.
    zeroes: u64,
    stage: Stage,
    placed: Placed,
}

impl<S: BlockSink> RawPlacer<S> {
    /// `total` is the file's size when it is known (then a shorter or longer stream is an error), `permitted` what the
    /// bytes may turn out to be, usually [`RAW_FORMATS`].
    ///
    /// Errors: [`Error::TooSmall`].
    pub fn new(
        sink: S,
        total: Option<u64>,
        checksum: Option<Checksum>,
        permitted: &'static [Format],
    ) -> Result<Self, Error> {
        let capacity = sink.capacity();
        if let Some(needed) = total.filter(|total| *total > capacity) {
            return Err(Error::TooSmall { needed, capacity });
        }
        let hasher = checksum.as_ref().map(Checksum::hasher);
        Ok(RawPlacer {
            sink,
            total,
            checksum,
            hasher,
            permitted,
            buffer: Vec::with_capacity(BUFFER),
            buffer_at: 0,
            zeroes: 0,
            stage: Stage::Fresh,
            placed: Placed::default(),
        })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        self.placed.received = self.placed.received.saturating_add(chunk.len() as u64);
        let received = self.placed.received;
        if let Some(expected) = self.total.filter(|total| received > *total) {
            return Err(Error::Length { expected, received });
        }
        let capacity = self.sink.capacity();
        if received > capacity {
            return Err(Error::TooSmall {
                needed: received,
                capacity,
            });
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            let (part, after) =
                rest.split_at(rest.len().min(BUFFER.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(part);
            rest = after;
            if self.buffer.len() == BUFFER {
                self.drain()?;
            }
        }
        Ok(())
    }

    /// Hands the buffer to the sink, split into runs of zero and other blocks.
    fn drain(&mut self) -> Result<(), Error> {
        if self.stage == Stage::Fresh {
            let format = inspect(self.buffer.get(..HEAD_LEN).unwrap_or(&self.buffer))?;
            if !self.permitted.contains(&format) {
                return Err(Error::unsupported(format!(
                    "{} where a raw image was announced",
                    format.name()
                )));
            }
            self.stage = Stage::Running;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.drain_blocks(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    fn drain_blocks(&mut self, buffer: &[u8]) -> Result<(), Error> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let zero = is_zero(rest.chunks(BLOCK).next().unwrap_or_default());
            let run = rest
                .chunks(BLOCK)
                .take_while(|block| is_zero(block) == zero)
                .map(<[u8]>::len)
                .sum();
            let (part, after) = rest.split_at(run);
            if zero {
                self.zeroes = self.zeroes.saturating_add(run as u64);
            } else {
                self.tell_zeroes()?;
                let offset = self.buffer_at;
                self.sink
                    .write(offset, part)
                    .map_err(|source| Error::Sink { offset, source })?;
                self.placed.written = self.placed.written.saturating_add(run as u64);
            }
            self.buffer_at = self.buffer_at.saturating_add(run as u64);
            rest = after;
        }
        Ok(())
    }

    fn tell_zeroes(&mut self) -> Result<(), Error> {
        let len = std::mem::take(&mut self.zeroes);
        if len == 0 {
            return Ok(());
        }
        let offset = self.buffer_at.saturating_sub(len);
        self.sink
            .zero(offset, len)
            .map_err(|source| Error::Sink { offset, source })?;
        self.placed.zeroed = self.placed.zeroed.saturating_add(len);
        Ok(())
    }

    fn end(&mut self) -> Result<Placed, Error> {
        let received = self.placed.received;
        if let Some(expected) = self.total.filter(|total| *total != received) {
            return Err(Error::Length { expected, received });
        }
        self.drain()?;
        self.tell_zeroes()?;
        if let (Some(wanted), Some(hasher)) = (&self.checksum, self.hasher.take()) {
            wanted.verify(hasher)?;
        }
        self.sink.flush().map_err(|source| Error::Sink {
            offset: received,
            source,
        })?;
        self.placed.virtual_size = received;
        Ok(self.placed)
    }
}

impl<S: BlockSink> Placer for RawPlacer<S> {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), Error> {
        if self.stage == Stage::Over {
            return Err(already_over());
        }
        self.take(chunk).inspect_err(|_| self.stage = Stage::Over)
    }

    fn finish(&mut self) -> Result<Placed, Error> {
        if self.stage == Stage::Over {
            return Err(already_over());
        }
        let result = self.end();
        self.stage = Stage::Over;
        result
    }

    fn received(&self) -> u64 {
        self.placed.received
    }

    fn virtual_size(&self) -> Option<u64> {
        self.total
    }
}

/// Compares with itself, shifted by one byte: that is `memcmp`, also in an unoptimised build.
fn is_zero(block: &[u8]) -> bool {
    match block.split_first() {
        None => true,
        Some((first, rest)) => *first == 0 && block.get(..rest.len()) == Some(rest),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::fuzz::MemorySink;

    fn place(
        image: &[u8],
        chunk: usize,
        total: Option<u64>,
    ) -> (Result<Placed, Error>, MemorySink) {
        let mut sink = MemorySink::filled(image.len(), 0xa5);
        let mut placer = RawPlacer::new(&mut sink, total, None, RAW_FORMATS).unwrap();
        let result = image
            .chunks(chunk)
            .try_for_each(|c| placer.feed(c))
            .and_then(|()| placer.finish());
        drop(placer);
        (result, sink)
    }

    #[test]
    fn zero_runs_and_data_arrive_in_place() {
        let mut image = vec![0; 1_000_003];
        for (start, len) in [(0, 10), (4096, 1), (300_000, 70_000), (999_999, 4)] {
            image[start..start + len].fill(0x42);
        }
        for chunk in [1 << 20, 65_537, 4096, 999] {
            let (result, sink) = place(&image, chunk, Some(image.len() as u64));
            let placed = result.unwrap();
            assert_eq!(sink.bytes(), image, "chunk {chunk}");
            assert_eq!(placed.written + placed.zeroed, image.len() as u64);
            assert!(placed.written < 90_000, "{placed:?}");
        }
    }

    #[test]
    fn a_short_stream_names_both_sizes() {
        let (result, _) = place(&[1; 1000], 100, None);
        assert_eq!(result.unwrap().virtual_size, 1000);
        let mut sink = MemorySink::filled(2000, 0);
        let mut placer = RawPlacer::new(&mut sink, Some(1001), None, RAW_FORMATS).unwrap();
        placer.feed(&[1; 1000]).unwrap();
        let text = placer.finish().unwrap_err().to_string();
        assert_eq!(
            text,
            "image is incomplete or changed: 1001 bytes expected, 1000 received"
        );
        assert!(placer.feed(&[1]).is_err(), "it is over");
    }

    #[test]
    fn nothing_is_written_of_another_format_or_of_an_image_too_big() {
        let mut image = vec![7; 100_000];
        image[..4].copy_from_slice(b"KDMV");
        let (result, sink) = place(&image, 10_000, None);
        assert_eq!(
            result.unwrap_err().to_string(),
            "image format is not supported: vmdk where a raw image was announced"
        );
        assert!(sink.bytes().iter().all(|b| *b == 0xa5));
        let refused = RawPlacer::new(MemorySink::filled(10, 0), Some(11), None, RAW_FORMATS);
        assert!(matches!(
            refused.err(),
            Some(Error::TooSmall {
                needed: 11,
                capacity: 10
            })
        ));
    }

    #[test]
    fn a_wrong_checksum_is_an_error_at_the_end() {
        let wanted = Checksum::parse(&"0".repeat(64)).unwrap();
        let mut placer =
            RawPlacer::new(MemorySink::filled(10, 0), None, Some(wanted), RAW_FORMATS).unwrap();
        placer.feed(b"0123456789").unwrap();
        assert!(matches!(
            placer.finish(),
            Err(Error::ChecksumMismatch { .. })
        ));
    }
}
