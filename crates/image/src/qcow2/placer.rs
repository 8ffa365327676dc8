//! Phase two: one sequential pass over the file, every byte hashed, every cluster put where it belongs.
//!
//! What the image has no data for is zeroed first. Plain clusters go through as they come; of compressed ones, which may
//! overlap in their last sector, one window no longer than the longest of them is kept.

use sha2::{Digest, Sha256};

use super::map::{Extent, Table};
use super::{Compression, Qcow2Header, Qcow2Map};
use crate::place::{Stage, already_over};
use crate::{BlockSink, Checksum, Error, Hasher, Placed, Placer};

/// A chunk is worked off in pieces of this size, so that the window's excess is bounded whatever the caller feeds.
const PIECE: usize = 64 * 1024;
/// A zstd frame may ask for this much memory at most (log2): clusters have at most 2 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Places a qcow2 on a sink.
pub struct Qcow2Placer<S> {
    header: Qcow2Header,
    file_size: u64,
    /// In the order of the file, once the zero ranges were told.
    map: Option<Qcow2Map>,
    extents: Vec<Extent>,
    next: usize,
    /// Extents that began before `at` and end after it.
    active: Vec<Extent>,
    /// The last bytes before `at`, from the first active compressed extent on.
    window: Vec<u8>,
    cluster: Vec<u8>,
    tables: TableWatch,
    sink: S,
    checksum: Option<Checksum>,
    hasher: Option<Hasher>,
    stage: Stage,
    placed: Placed,
    peak: usize,
}

impl<S: BlockSink> Qcow2Placer<S> {
    /// Errors: [`Error::TooSmall`].
    pub fn new(map: Qcow2Map, sink: S, checksum: Option<Checksum>) -> Result<Self, Error> {
        let (needed, capacity) = (map.virtual_size(), sink.capacity());
        if needed > capacity {
            return Err(Error::TooSmall { needed, capacity });
        }
        let hasher = checksum.as_ref().map(Checksum::hasher);
        Ok(Qcow2Placer {
            header: map.header.clone(),
            file_size: map.file_size,
            tables: TableWatch::new(&map.tables),
            map: Some(map),
            extents: Vec::new(),
            next: 0,
            active: Vec::new(),
            window: Vec::new(),
            cluster: Vec::new(),
            sink,
            checksum,
            hasher,
            stage: Stage::Fresh,
            placed: Placed {
                virtual_size: needed,
                ..Placed::default()
            },
            peak: 0,
        })
    }

    /// The most bytes of the image that were ever held in buffers at once.
    pub fn peak_buffer(&self) -> usize {
        self.peak
    }

    /// Zeroes what has no data, then turns the extents to the order of the file.
    fn begin(&mut self) -> Result<(), Error> {
        let Some(map) = self.map.take() else {
            return Ok(());
        };
        for (offset, len) in map.zero_ranges() {
            self.sink
                .zero(offset, len)
                .map_err(|source| Error::Sink { offset, source })?;
            self.placed.zeroed = self.placed.zeroed.saturating_add(len);
        }
        self.extents = map.extents;
        self.extents
            .sort_unstable_by_key(|extent| (extent.host, extent.guest));
        self.stage = Stage::Running;
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let received = self.placed.received.saturating_add(chunk.len() as u64);
        if received > self.file_size {
            return Err(Error::Length {
                expected: self.file_size,
                received,
            });
        }
        if self.stage == Stage::Fresh {
            self.begin()?;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        for piece in chunk.chunks(PIECE) {
            let at = self.placed.received;
            self.tables.see(at, piece)?;
            self.piece(at, piece)?;
            self.placed.received = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    fn piece(&mut self, at: u64, piece: &[u8]) -> Result<(), Error> {
        let end = at.saturating_add(piece.len() as u64);
        while let Some(extent) = self
            .extents
            .get(self.next)
            .filter(|extent| extent.host < end)
        {
            self.active.push(*extent);
            self.next = self.next.saturating_add(1);
        }
        if self.active.is_empty() {
            self.window.clear();
            return Ok(());
        }
        let needed_from = self
            .active
            .iter()
            .filter(|e| e.is_compressed())
            .map(|e| e.host)
            .min();
        let window_at = self.keep(at, needed_from, piece);
        let mut active = std::mem::take(&mut self.active);
        let mut result = Ok(());
        active.retain(|extent| {
            if result.is_ok() {
                result = if !extent.is_compressed() {
                    self.put_plain(extent, at, piece)
                } else if extent.host_end() <= end {
                    self.put_compressed(extent, window_at)
                } else {
                    Ok(())
                };
            }
            extent.host_end() > end
        });
        self.active = active;
        result
    }

    /// Moves the window on so that it ends with `piece` and begins no earlier than `from`; answers where it begins.
    fn keep(&mut self, at: u64, from: Option<u64>, piece: &[u8]) -> u64 {
        let end = at.saturating_add(piece.len() as u64);
        let Some(from) = from else {
            self.window.clear();
            return end;
        };
        let window_at = at.saturating_sub(self.window.len() as u64);
        if from >= at || self.window.is_empty() {
            self.window.clear();
            let skip = usize::try_from(from.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(piece.len());
            self.window
                .extend_from_slice(piece.get(skip..).unwrap_or_default());
            self.note_peak();
            return at.saturating_add(skip as u64);
        }
        let stale = usize::try_from(from.saturating_sub(window_at))
            .unwrap_or(usize::MAX)
            .min(self.window.len());
        self.window.drain(..stale);
        self.window.extend_from_slice(piece);
        self.note_peak();
        window_at.saturating_add(stale as u64)
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(
            self.window
                .capacity()
                .saturating_add(self.cluster.capacity()),
        );
    }

    /// Writes the part of a plain extent that `piece` holds.
    fn put_plain(&mut self, extent: &Extent, at: u64, piece: &[u8]) -> Result<(), Error> {
        let start = extent.host.max(at);
        let end = extent.host_end().min(at.saturating_add(piece.len() as u64));
        let from = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
        let to = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let data = piece.get(from..to).unwrap_or_default();
        self.write(
            extent
                .guest
                .saturating_add(start.saturating_sub(extent.host)),
            data,
        )
    }

    fn put_compressed(&mut self, extent: &Extent, window_at: u64) -> Result<(), Error> {
        let from = extent
            .host
            .checked_sub(window_at)
            .and_then(|n| usize::try_from(n).ok());
        let to = from
            .zip(usize::try_from(extent.host_len()).ok())
            .and_then(|(from, len)| from.checked_add(len));
        let input = from
            .zip(to)
            .and_then(|(from, to)| self.window.get(from..to));
        let input = input.ok_or_else(|| Error::malformed("a compressed cluster out of order"))?;
        let mut cluster = std::mem::take(&mut self.cluster);
        cluster.resize(usize::try_from(self.header.cluster_size()).unwrap_or(0), 0);
        decompress(self.header.compression, input, &mut cluster).map_err(|why| {
            Error::malformed(format!(
                "the compressed cluster at byte {} of the file does not unpack: {why}",
                extent.host
            ))
        })?;
        let left = usize::try_from(self.header.virtual_size.saturating_sub(extent.guest))
            .unwrap_or(usize::MAX);
        let data = cluster.get(..left).unwrap_or(&cluster);
        let result = self.write(extent.guest, data);
        self.cluster = cluster;
        self.note_peak();
        result
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        self.placed.written = self.placed.written.saturating_add(data.len() as u64);
        self.sink
            .write(offset, data)
            .map_err(|source| Error::Sink { offset, source })
    }

    fn end(&mut self) -> Result<Placed, Error> {
        let received = self.placed.received;
        if received != self.file_size {
            return Err(Error::Length {
                expected: self.file_size,
                received,
            });
        }
        if let (Some(wanted), Some(hasher)) = (&self.checksum, self.hasher.take()) {
            wanted.verify(hasher)?;
        }
        if self.next < self.extents.len() || !self.active.is_empty() {
            return Err(Error::malformed("clusters beyond the end of the file"));
        }
        self.sink.flush().map_err(|source| Error::Sink {
            offset: self.placed.virtual_size,
            source,
        })?;
        Ok(self.placed)
    }
}

impl<S: BlockSink> Placer for Qcow2Placer<S> {
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
        Some(self.placed.virtual_size)
    }
}

/// Fills `output` exactly; whatever follows in `input` is padding of its sectors.
fn decompress(compression: Compression, input: &[u8], output: &mut [u8]) -> Result<(), String> {
    match compression {
        Compression::Deflate => inflate(input, output),
        Compression::Zstd => unzstd(input, output),
    }
}

fn inflate(input: &[u8], output: &mut [u8]) -> Result<(), String> {
    let mut stream = flate2::Decompress::new(false);
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let rest_in = usize::try_from(read)
            .ok()
            .and_then(|n| input.get(n..))
            .unwrap_or_default();
        let rest_out = usize::try_from(written)
            .ok()
            .and_then(|n| output.get_mut(n..))
            .unwrap_or_default();
        if rest_out.is_empty() {
            return Ok(());
        }
        let status = stream
            .decompress(rest_in, rest_out, flate2::FlushDecompress::Finish)
            .map_err(|e| e.to_string())?;
        let full = stream.total_out() == output.len() as u64;
        let stuck = stream.total_in() == read && stream.total_out() == written;
        if !full && (status == flate2::Status::StreamEnd || stuck) {
            return Err(format!("{} of {} bytes", stream.total_out(), output.len()));
        }
    }
}

fn unzstd(input: &[u8], output: &mut [u8]) -> Result<(), String> {
    use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
    let mut decoder = Decoder::new().map_err(|e| e.to_string())?;
    decoder
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
        .map_err(|e| e.to_string())?;
    let wanted = output.len();
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(output);
    while target.pos() < wanted {
        let before = (source.pos(), target.pos());
        decoder
            .run(&mut source, &mut target)
            .map_err(|e| e.to_string())?;
        if (source.pos(), target.pos()) == before {
            return Err(format!("{} of {wanted} bytes", target.pos()));
        }
    }
    Ok(())
}

/// Compares the tables of the pass with those that the map was made of.
struct TableWatch {
    tables: Vec<Table>,
    next: usize,
    digest: Sha256,
}

impl TableWatch {
    fn new(tables: &[Table]) -> Self {
        TableWatch {
            tables: tables.to_vec(),
            next: 0,
            digest: Sha256::new(),
        }
    }

    fn see(&mut self, at: u64, piece: &[u8]) -> Result<(), Error> {
        let end = at.saturating_add(piece.len() as u64);
        while let Some(table) = self.tables.get(self.next).filter(|table| table.host < end) {
            let table_end = table.host.saturating_add(table.len);
            let from = usize::try_from(table.host.max(at).saturating_sub(at)).unwrap_or(usize::MAX);
            let to = usize::try_from(table_end.min(end).saturating_sub(at)).unwrap_or(usize::MAX);
            self.digest.update(piece.get(from..to).unwrap_or_default());
            if table_end > end {
                break;
            }
            let seen: [u8; 32] = self.digest.finalize_reset().into();
            if seen != table.digest {
                return Err(Error::Changed { offset: table.host });
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }
}
