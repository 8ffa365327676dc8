//! Local files: what one is, how big its disk is, and its content as a sparse raw file.

use std::path::Path;

use crate::{
    BlockSink, Checksum, Error, FileSource, Format, HEAD_LEN, Placed, Placer, Qcow2Header,
    Qcow2Map, Qcow2Placer, RAW_FORMATS, RangeSource, RawPlacer, SparseFile, inspect,
};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Result of [`convert_to_raw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What the file was.
    pub format: Format,
    pub placed: Placed,
}

/// Names the format of a source and, for a qcow2, checks that its tables lie within it. Reads at most [`HEAD_LEN`] bytes.
///
/// Errors: those of [`inspect`], [`Error::Length`] when the file ends before its tables, and the source's.
pub async fn inspect_source(source: &dyn RangeSource) -> Result<Format, Error> {
    let (format, head) = head_of(source).await?;
    if format == Format::Qcow2 {
        Qcow2Header::parse(&head, Some(source.size()))?;
    }
    Ok(format)
}

/// Bytes of the disk that the file at `path` describes: the virtual size of a qcow2, the file size of a raw one.
///
/// Errors: [`Error::Unsupported`] for other formats, and those of [`inspect_source`].
pub async fn virtual_size(path: &Path) -> Result<u64, Error> {
    let source = FileSource::open(path)?;
    let (format, head) = head_of(&source).await?;
    match format {
        Format::Qcow2 => Ok(Qcow2Header::parse(&head, Some(source.size()))?.virtual_size),
        Format::Raw | Format::Mbr | Format::Gpt | Format::Iso => Ok(source.size()),
        other => Err(Error::unsupported(other.name())),
    }
}

/// Writes the disk that `input` describes into a new raw file with holes, checking `checksum` of the input on the way.
///
/// Errors: those of [`Qcow2Map::read`] and of the placers; the output is then incomplete and should be removed.
pub async fn convert_to_raw(
    input: &Path,
    output: &Path,
    checksum: Option<Checksum>,
) -> Result<Converted, Error> {
    let source = FileSource::open(input)?;
    let format = inspect_source(&source).await?;
    let map = match format {
        Format::Qcow2 => Some(Qcow2Map::read(&source).await?),
        _ if RAW_FORMATS.contains(&format) => None,
        other => return Err(Error::unsupported(other.name())),
    };
    let size = map.as_ref().map_or(source.size(), Qcow2Map::virtual_size);
    let output = output.to_owned();
    let work = move || {
        let sink = SparseFile::create(&output, size)
            .map_err(|e| Error::io(format!("creating {}", output.display()), e))?;
        let mut placer = placer(map, sink, source.size(), checksum)?;
        let mut buffer = vec![0; CHUNK];
        let mut at = 0u64;
        loop {
            let read = source
                .read_blocking(at, &mut buffer)
                .map_err(|e| Error::io("reading the image", e))?;
            if read == 0 {
                break;
            }
            placer.feed(buffer.get(..read).unwrap_or_default())?;
            at = at.saturating_add(read as u64);
        }
        Ok(Converted {
            format,
            placed: placer.finish()?,
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::io("converting the image", std::io::Error::other(e)))?
}

fn placer<S: BlockSink + 'static>(
    map: Option<Qcow2Map>,
    sink: S,
    total: u64,
    checksum: Option<Checksum>,
) -> Result<Box<dyn Placer>, Error> {
    Ok(match map {
        Some(map) => Box::new(Qcow2Placer::new(map, sink, checksum)?),
        None => Box::new(RawPlacer::new(sink, Some(total), checksum, RAW_FORMATS)?),
    })
}

async fn head_of(source: &dyn RangeSource) -> Result<(Format, bytes::Bytes), Error> {
    let len = usize::try_from(source.size())
        .unwrap_or(HEAD_LEN)
        .min(HEAD_LEN);
    let head = source.read_at(0, len).await?;
    Ok((inspect(&head)?, head))
}
