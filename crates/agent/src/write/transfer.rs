//! Moving an image's bytes: download, hash and disk at the same time, a bounded number of pieces between them.
//!
//! The hash runs on a thread of its own, the disk on another; the network feeds both with the same pieces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessemer_disk::{BlockDevice, Storage, wipe_metadata, wipe_range_ends};
use bessemer_image::{
    BlockSink, Checksum, Error, FileSource, Format, Hasher, Placer, Qcow2Map, Qcow2Placer,
    RawPlacer,
};
use bessemer_wire::ImageInfo;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::Shared;
use super::http::{CHUNK, Stream};
use crate::command::blocking;
use crate::disks::human;
use crate::error::{Failure, chain};
use crate::registry::{Progress, Stage};

/// Pieces of [`CHUNK`] bytes between network, hash and disk.
const PIECES: usize = 8;
/// A line in the log at least this often.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What a writer thread gets.
enum Piece {
    Data(Bytes),
    /// All of it was there. Without this the transfer was given up.
    End,
}

/// The disk, as a sink of a placer.
struct DiskSink {
    device: Shared,
    size: u64,
}

impl DiskSink {
    fn lock(&self) -> std::sync::MutexGuard<'_, BlockDevice> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockSink for DiskSink {
    fn capacity(&self) -> u64 {
        self.size
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.lock().write_at(offset, data)
    }

    fn zero(&mut self, offset: u64, len: u64) -> std::io::Result<()> {
        self.lock().zero(offset, len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.lock().flush()
    }
}

type BoxedPlacer = Box<dyn Placer + Send>;

/// The disk that an image goes to.
pub struct Target {
    pub device: Shared,
    name: String,
    size: u64,
}

impl Target {
    #[must_use]
    pub fn new(device: BlockDevice, name: &str) -> Self {
        Self {
            size: device.size(),
            device: Arc::new(Mutex::new(device)),
            name: name.to_owned(),
        }
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    fn sink(&self) -> DiskSink {
        DiskSink {
            device: self.device.clone(),
            size: self.size,
        }
    }

    /// In the words of the wire.
    #[must_use]
    pub fn failure(&self, error: Error) -> Failure {
        image_failure(error, &self.name)
    }

    pub fn raw_placer(
        &self,
        total: Option<u64>,
        permitted: &'static [Format],
    ) -> Result<BoxedPlacer, Failure> {
        // the checksum is computed beside the placer, not inside
        RawPlacer::new(self.sink(), total, None, permitted)
            .map(|placer| Box::new(placer) as BoxedPlacer)
            .map_err(|e| self.failure(e))
    }

    pub fn qcow2_placer(&self, map: Qcow2Map) -> Result<BoxedPlacer, Failure> {
        Qcow2Placer::new(map, self.sink(), None)
            .map(|placer| Box::new(placer) as BoxedPlacer)
            .map_err(|e| self.failure(e))
    }

    /// A region of the disk as a file.
    pub fn source(&self, start: u64, size: u64) -> Result<FileSource, Failure> {
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let file = device
            .try_clone_file()
            .map_err(|e| Failure::BlockDevice(format!("disk {}: {}", self.name, chain(&e))))?;
        Ok(FileSource::region(Arc::new(file), start, size))
    }

    /// Gives back the place of a spooled image, so that nothing in it looks like something later.
    pub async fn forget(&self, start: u64, size: u64) -> Result<(), Failure> {
        let device = self.device.clone();
        let name = self.name.clone();
        blocking(move || {
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = device.discard(start, size).map(|_| ());
            let ends = wipe_range_ends(&mut *device, start, size);
            outcome
                .and(ends)
                .map_err(|e| Failure::BlockDevice(format!("disk {name}: {}", chain(&e))))
        })
        .await
    }

    /// After a failure: nothing on the disk may boot. Gives the failure back, longer when even that failed.
    pub async fn wipe_after(&self, failure: Failure) -> Failure {
        let device = self.device.clone();
        let size = self.size;
        let name = self.name.clone();
        let wiped = blocking(move || {
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            wipe_range_ends(&mut *device, 0, size)
                .and_then(|()| device.drop_caches())
                .map_err(|e| Failure::BlockDevice(format!("disk {name}: {}", chain(&e))))?;
            if let Err(error) = device.reread_partition_table() {
                tracing::warn!("disk {name}: {}", chain(&error));
            }
            Ok(())
        })
        .await;
        match wiped {
            Ok(()) => {
                tracing::warn!(
                    "both ends of disk {} were wiped after the failure",
                    self.name
                );
                failure
            }
            Err(error) => {
                tracing::error!("disk {} could not be wiped either: {error}", self.name);
                failure
            }
        }
    }
}

/// Old partition tables and superblocks go before the image comes: those at the end would outlive it.
pub fn wipe_before(device: &mut BlockDevice, name: &str) -> Result<(), Failure> {
    let wiped = wipe_metadata(device).map_err(|e| {
        Failure::ImageWrite(format!("disk {name} cannot be written: {}", chain(&e)))
    })?;
    tracing::info!(
        "disk {name} made ready: {} partitions and {} other marks of what was there are gone",
        wiped.partitions,
        wiped.found.len()
    );
    Ok(())
}

/// An error of the image's bytes in the words of the wire.
#[must_use]
pub fn image_failure(error: Error, disk: &str) -> Failure {
    let text = chain(&error);
    match error {
        Error::Source { .. } | Error::Length { .. } | Error::Changed { .. } => {
            Failure::ImageDownload(text)
        }
        Error::ChecksumMismatch { .. } => Failure::ImageChecksum(text),
        Error::Refused(_) | Error::Unsupported { .. } | Error::Malformed { .. } => {
            Failure::InvalidImage(text)
        }
        Error::TooSmall { needed, capacity } => Failure::ImageWrite(format!(
            "disk {disk} is too small for the image: it has {capacity} bytes ({}), the image needs {needed} bytes ({})",
            human(capacity),
            human(needed)
        )),
        Error::Sink { .. } | Error::Io { .. } => {
            Failure::ImageWrite(format!("disk {disk}: {text}"))
        }
        Error::BadChecksum { .. } => Failure::InvalidParams(text),
    }
}

/// Lines in the log while bytes move.
struct Reporter {
    what: String,
    began: Instant,
    last: Instant,
    total: Option<u64>,
    percent: u64,
}

impl Reporter {
    fn new(what: String, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            what,
            began: now,
            last: now,
            total: total.filter(|t| *t > 0),
            percent: 0,
        }
    }

    fn report(&mut self, done: u64) {
        let percent = self.total.map(|total| {
            u64::try_from(u128::from(done).saturating_mul(100) / u128::from(total)).unwrap_or(100)
        });
        let decile = percent.is_some_and(|p| p / 10 > self.percent / 10);
        if self.last.elapsed() < REPORT_EVERY
            && !(decile && self.last.elapsed() > REPORT_EVERY / 10)
        {
            return;
        }
        self.last = Instant::now();
        self.percent = percent.unwrap_or(0);
        let rate = human(self.rate(done));
        match (percent, self.total) {
            (Some(percent), Some(total)) => {
                tracing::info!("{} {percent}% of {}, {rate}/s", self.what, human(total));
            }
            _ => tracing::info!("{} {}, {rate}/s", self.what, human(done)),
        }
    }

    fn rate(&self, done: u64) -> u64 {
        let millis = self.began.elapsed().as_millis().max(1);
        u64::try_from(u128::from(done).saturating_mul(1000) / millis).unwrap_or(u64::MAX)
    }

    fn done(&self, done: u64) {
        tracing::info!(
            "{} complete: {} in {:.1} s, {}/s",
            self.what,
            human(done),
            self.began.elapsed().as_secs_f64(),
            human(self.rate(done))
        );
    }
}

/// A thread that hashes what it is given.
fn hashing(hasher: Hasher) -> (mpsc::Sender<Bytes>, tokio::task::JoinHandle<Hasher>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
    let thread = tokio::task::spawn_blocking(move || {
        let mut hasher = hasher;
        while let Some(bytes) = receiver.blocking_recv() {
            hasher.update(&bytes);
        }
        hasher
    });
    (sender, thread)
}

fn thread_died(error: tokio::task::JoinError) -> Failure {
    Failure::Execution(format!(
        "the agent has a bug, a thread ended by a panic: {error}"
    ))
}

/// Runs one sequential pass: every piece goes to the hash and to `consume` on a thread of its own.
///
/// `consume` is called with `None` at the end. Gives the number of bytes and the hash once both are done.
async fn pass<F>(
    stream: &mut Stream,
    hasher: Hasher,
    progress: &Arc<Progress>,
    reporter: &mut Reporter,
    mut consume: F,
) -> Result<(u64, Hasher), Failure>
where
    F: FnMut(Option<&[u8]>) -> Result<(), Failure> + Send + 'static,
{
    let (hash_sender, hash_thread) = hashing(hasher);
    let (sender, mut receiver) = mpsc::channel::<Piece>(PIECES);
    let consumer = tokio::task::spawn_blocking(move || {
        while let Some(piece) = receiver.blocking_recv() {
            match piece {
                Piece::Data(bytes) => consume(Some(&bytes))?,
                Piece::End => return consume(None),
            }
        }
        Err(Failure::Execution("the transfer was given up".to_owned()))
    });
    let mut received = 0_u64;
    let mut download = Ok(());
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => {
                received = received.saturating_add(bytes.len() as u64);
                progress.set(received);
                reporter.report(received);
                let _ = hash_sender.send(bytes.clone()).await;
                if sender.send(Piece::Data(bytes)).await.is_err() {
                    // the consumer gave up; its reason comes below
                    break;
                }
            }
            Ok(None) => {
                let _ = sender.send(Piece::End).await;
                break;
            }
            Err(error) => {
                download = Err(Failure::ImageDownload(error.sentence));
                break;
            }
        }
    }
    drop(sender);
    drop(hash_sender);
    let consumed = consumer.await.map_err(thread_died)?;
    let hasher = hash_thread.await.map_err(thread_died)?;
    download?;
    consumed?;
    Ok((received, hasher))
}

/// Network to placer.
pub async fn stream_to(
    stream: &mut Stream,
    mut placer: BoxedPlacer,
    wanted: &Checksum,
    progress: &Arc<Progress>,
    image: &ImageInfo,
    target: &Target,
) -> Result<(), Failure> {
    let mut reporter = Reporter::new(format!("image {}", image.id), stream.total);
    let disk = target.name.clone();
    let consume = move |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => placer.feed(bytes).map_err(|e| image_failure(e, &disk)),
        None => {
            let placed = placer.finish().map_err(|e| image_failure(e, &disk))?;
            tracing::info!(
                "{} written to {disk}, {} of zeroes, image of {}",
                human(placed.written),
                human(placed.zeroed),
                human(placed.virtual_size)
            );
            Ok(())
        }
    };
    let (received, hasher) =
        pass(stream, wanted.hasher(), progress, &mut reporter, consume).await?;
    progress.enter(Stage::Verify, received);
    progress.set(received);
    reporter.done(received);
    verify(wanted, hasher, image)
}

/// Network to a region of the disk; the checksum is right when this returns. Gives the size.
pub async fn spool(
    stream: &mut Stream,
    start: u64,
    wanted: &Checksum,
    progress: &Arc<Progress>,
    image: &ImageInfo,
    target: &Target,
) -> Result<u64, Failure> {
    let mut reporter = Reporter::new(format!("image {} (kept on disk)", image.id), stream.total);
    let disk = target.name.clone();
    let device = target.device.clone();
    let room = target.size.saturating_sub(start);
    let mut at = start;
    let consume = move |bytes: Option<&[u8]>| {
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = bytes else {
            return device
                .flush()
                .map_err(|e| Failure::ImageWrite(format!("disk {disk} cannot be flushed: {e}")));
        };
        let end = at.saturating_add(bytes.len() as u64);
        if end.saturating_sub(start) > room {
            return Err(Failure::ImageWrite(format!(
                "disk {disk} has no room to keep the file behind the image: more than {}; serve the image from a server with ranges, or use a larger disk",
                human(room)
            )));
        }
        device
            .write_at(at, bytes)
            .map_err(|e| Failure::ImageWrite(format!("disk {disk}: writing at byte {at}: {e}")))?;
        at = end;
        Ok(())
    };
    let (received, hasher) =
        pass(stream, wanted.hasher(), progress, &mut reporter, consume).await?;
    reporter.done(received);
    verify(wanted, hasher, image)?;
    Ok(received)
}

/// A file on the disk to a placer.
pub async fn place_file(
    source: FileSource,
    mut placer: BoxedPlacer,
    progress: &Arc<Progress>,
    image: &ImageInfo,
    target: &Target,
) -> Result<(), Failure> {
    let mut reporter = Reporter::new(
        format!("image {}", image.id),
        Some(bessemer_image::RangeSource::size(&source)),
    );
    let disk = target.name.clone();
    let progress = progress.clone();
    blocking(move || {
        let mut buffer = vec![0_u8; CHUNK];
        let mut at = 0_u64;
        loop {
            let length = source
                .read_blocking(at, &mut buffer)
                .map_err(|e| Failure::ImageWrite(format!("disk {disk}: reading back: {e}")))?;
            if length == 0 {
                break;
            }
            placer
                .feed(buffer.get(..length).unwrap_or_default())
                .map_err(|e| image_failure(e, &disk))?;
            at = at.saturating_add(length as u64);
            progress.set(at);
            reporter.report(at);
        }
        placer.finish().map_err(|e| image_failure(e, &disk))?;
        reporter.done(at);
        Ok(())
    })
    .await
}

fn verify(wanted: &Checksum, hasher: Hasher, image: &ImageInfo) -> Result<(), Failure> {
    wanted.verify(hasher).map_err(|error| match error {
        Error::ChecksumMismatch {
            algorithm,
            expected,
            actual,
        } => Failure::ImageChecksum(format!(
            "image {} does not match its checksum: {algorithm} {expected} was promised, {actual} was received; check image_checksum and the file",
            image.id
        )),
        other => Failure::ImageChecksum(chain(&other)),
    })
}
