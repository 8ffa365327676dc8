//! The config drive: what came with the deploy, as a partition named `config-2` at the end of the disk.
//!
//! Accepted, as upstream: base64 of a gzipped ISO 9660 image; also base64 of the plain image, and a URL of either, of the
//! gzipped or of the plain image itself. It is decoded as a stream, twice (once to learn the size), so that a large one
//! costs its own text and no more. Afterwards it is read back from the disk and compared.
//!
//! Must never log any of its contents: there are passwords and keys in it.

use std::io::Read;
use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use bessemer_disk::{
    BlockDevice, Disk, Guid, NewPartition, Partition, PartitionKind, PartitionTable, Storage,
    add_partition_at_end, volume_label,
};
use bessemer_wire::ImageInfo;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use url::Url;

use super::http::{ImageServer, shown};
use crate::agent::Agent;
use crate::command::blocking;
use crate::disks::human;
use crate::error::{Failure, chain};

/// Name of the partition and label of the file system.
const LABEL: &str = "config-2";
/// Largest image, as upstream.
const MAX_SIZE: u64 = 64 << 20;
/// Granularity of the partition.
const ROUND: u64 = 1 << 20;
/// Where ISO 9660 keeps its mark.
const ISO_MARK_AT: usize = 0x8001;
const PIECE: usize = 64 * 1024;

/// Puts it on the disk; gives the device back.
pub async fn write(
    agent: &Arc<Agent>,
    image: &ImageInfo,
    device: BlockDevice,
    disk: &Disk,
    text: String,
) -> Result<BlockDevice, Failure> {
    let data = fetch(agent, image, text).await?;
    let name = disk.name.clone();
    blocking(move || {
        let mut device = device;
        let size = measure(&data)?;
        let partition = place(&mut device, &name, size)?;
        let digest = copy(&data, &mut device, &partition, &name)?;
        read_back(&device, &partition, size, &digest, &name)?;
        tracing::info!(
            "config drive of {} is on {name}, partition {}",
            human(size),
            partition.number
        );
        Ok(device)
    })
    .await
}

/// The text itself, or what its URL holds.
async fn fetch(agent: &Agent, image: &ImageInfo, text: String) -> Result<Vec<u8>, Failure> {
    let trimmed = text.trim();
    if !trimmed.starts_with("http://") && !trimmed.starts_with("https://") {
        return Ok(text.into_bytes());
    }
    let url = Url::parse(trimmed)
        .map_err(|e| Failure::InvalidParams(format!("the URL of the config drive: {e}")))?;
    tracing::info!("config drive from {}", shown(&url));
    // proxies as for the image, but its credentials belong to another server
    let plain = ImageInfo {
        id: image.id.clone(),
        proxies: image.proxies.clone(),
        no_proxy: image.no_proxy.clone(),
        ..ImageInfo::default()
    };
    let server = Arc::new(ImageServer::new(&agent.settings, &agent.tls, &plain)?);
    let failed = |sentence: String| {
        Failure::Deployment(format!("the config drive cannot be downloaded: {sentence}"))
    };
    let mut stream = server
        .probe(&url)
        .await
        .map_err(|e| failed(e.sentence))?
        .stream;
    let mut data = Vec::new();
    while let Some(bytes) = stream.next().await.map_err(|e| failed(e.sentence))? {
        // base64 is a third longer
        if data.len().saturating_add(bytes.len()) as u64 > MAX_SIZE / 2 * 3 {
            return Err(failed(format!(
                "{} is larger than {}",
                shown(&url),
                human(MAX_SIZE)
            )));
        }
        data.extend_from_slice(&bytes);
    }
    Ok(data)
}

/// Leaves white space out: base64 may come in lines.
struct NoBlanks<'a>(&'a [u8]);

impl Read for NoBlanks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some((first, rest)) = self.0.split_first() else {
                break;
            };
            self.0 = rest;
            if !first.is_ascii_whitespace() {
                if let Some(place) = buffer.get_mut(filled) {
                    *place = *first;
                }
                filled = filled.saturating_add(1);
            }
        }
        Ok(filled)
    }
}

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

/// A reader of the ISO 9660 image inside.
fn open(data: &[u8]) -> Box<dyn Read + '_> {
    if is_gzip(data) {
        return Box::new(MultiGzDecoder::new(data));
    }
    if has_iso_mark(data) {
        return Box::new(data);
    }
    let decoder = || DecoderReader::new(NoBlanks(data), &STANDARD);
    let mut head = [0_u8; 2];
    let inner_is_gzip = decoder().read_exact(&mut head).is_ok() && is_gzip(&head);
    if inner_is_gzip {
        Box::new(MultiGzDecoder::new(decoder()))
    } else {
        Box::new(decoder())
    }
}

fn has_iso_mark(data: &[u8]) -> bool {
    data.get(ISO_MARK_AT..ISO_MARK_AT + 5) == Some(b"CD001".as_slice())
}

/// Size in bytes of the decoded image, after checking what it is.
fn measure(data: &[u8]) -> Result<u64, Failure> {
    let malformed = |why: &str| {
        Failure::Deployment(format!(
            "the config drive is malformed: {why}; base64 of a (gzipped) ISO 9660 image is wanted"
        ))
    };
    let mut reader = open(data);
    let mut head = vec![0_u8; ISO_MARK_AT + 5];
    reader
        .read_exact(&mut head)
        .map_err(|_| malformed("it cannot be decoded, or is too short"))?;
    if !has_iso_mark(&head) {
        return Err(malformed("it is no ISO 9660 image"));
    }
    let mut size = head.len() as u64;
    let mut buffer = vec![0_u8; PIECE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(length) => size = size.saturating_add(length as u64),
            Err(_) => return Err(malformed("it cannot be decoded")),
        }
        if size > MAX_SIZE {
            return Err(Failure::Deployment(format!(
                "the config drive is larger than {}",
                human(MAX_SIZE)
            )));
        }
    }
}

/// The partition for it: one that the image brought, or a new one at the end of the disk.
fn place(device: &mut BlockDevice, name: &str, size: u64) -> Result<Partition, Failure> {
    let bad = |e: bessemer_disk::Error| {
        Failure::Deployment(format!(
            "no partition for the config drive on disk {name}: {}",
            chain(&e)
        ))
    };
    let table = PartitionTable::read(&*device).map_err(bad)?;
    let partitions = table.map(|t| t.partitions).unwrap_or_default();
    let existing = partitions.into_iter().find(|partition| {
        let named = matches!(&partition.kind,
            PartitionKind::Gpt { name, .. } if name.eq_ignore_ascii_case(LABEL));
        // a label that cannot be read is not ours
        let label = volume_label(&*device, partition.start, partition.size).unwrap_or_default();
        named || label.is_some_and(|l| l.eq_ignore_ascii_case(LABEL))
    });
    if let Some(partition) = existing {
        if partition.size < size {
            return Err(Failure::Deployment(format!(
                "partition {} of disk {name} is named {LABEL} but has only {}, the config drive needs {}",
                partition.number,
                human(partition.size),
                human(size)
            )));
        }
        return Ok(partition);
    }
    let guid = Guid::from_uuid(uuid::Uuid::new_v4().into_bytes());
    let wanted = NewPartition {
        size: size.next_multiple_of(ROUND),
        ..NewPartition::config_drive(size, guid)
    };
    add_partition_at_end(device, &wanted).map_err(bad)
}

/// Decodes onto the partition; gives the SHA-256 of the image.
fn copy(
    data: &[u8],
    device: &mut BlockDevice,
    partition: &Partition,
    name: &str,
) -> Result<[u8; 32], Failure> {
    let failed = |e: std::io::Error| {
        Failure::Deployment(format!(
            "the config drive cannot be written to disk {name}: {e}"
        ))
    };
    let mut reader = open(data);
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; PIECE];
    let mut done = 0_u64;
    loop {
        let length = reader.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            break;
        }
        let part = buffer.get(..length).unwrap_or_default();
        if done.saturating_add(length as u64) > partition.size {
            return Err(failed(std::io::ErrorKind::StorageFull.into()));
        }
        hash.update(part);
        device
            .write_at(partition.start.saturating_add(done), part)
            .map_err(failed)?;
        done = done.saturating_add(length as u64);
    }
    // the rest of a partition that was there before
    device
        .zero(
            partition.start.saturating_add(done),
            partition.size.saturating_sub(done),
        )
        .map_err(failed)?;
    device.flush().map_err(failed)?;
    Ok(hash.finalize().into())
}

/// What the disk has now must be what was written.
fn read_back(
    device: &BlockDevice,
    partition: &Partition,
    size: u64,
    digest: &[u8; 32],
    name: &str,
) -> Result<(), Failure> {
    device.drop_caches().map_err(|e| {
        Failure::Deployment(format!(
            "the config drive on disk {name} cannot be checked: {}",
            chain(&e)
        ))
    })?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; PIECE];
    let mut done = 0_u64;
    while done < size {
        let length = usize::try_from(size.saturating_sub(done))
            .unwrap_or(PIECE)
            .min(PIECE);
        let part = buffer.get_mut(..length).unwrap_or_default();
        device
            .read_at(partition.start.saturating_add(done), part)
            .map_err(|e| {
                Failure::Deployment(format!(
                    "the config drive on disk {name} cannot be read back: {e}"
                ))
            })?;
        hash.update(&*part);
        done = done.saturating_add(length as u64);
    }
    let found: [u8; 32] = hash.finalize().into();
    if found == *digest {
        return Ok(());
    }
    Err(Failure::Deployment(format!(
        "the config drive on disk {name} reads back differently from what was written; check the disk"
    )))
}

/// Fuzz target: what is given as config drive.
pub fn fuzz_config_drive(data: &[u8]) {
    let _ = measure(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base64::Engine;
    use std::io::Write;

    fn iso() -> Vec<u8> {
        let mut data = vec![0; 100_000];
        data[ISO_MARK_AT..ISO_MARK_AT + 5].copy_from_slice(b"CD001");
        for (i, byte) in data.iter_mut().enumerate().skip(50_000) {
            *byte = u8::try_from(i * 7 % 251).unwrap();
        }
        data
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(76)
            .flat_map(|l| [l, b"\n"].concat())
            .collect()
    }

    #[test]
    fn all_forms_decode() {
        let iso = iso();
        for (what, data) in [
            ("plain", iso.clone()),
            ("gzip", gzip(&iso)),
            ("base64", STANDARD.encode(&iso).into_bytes()),
            ("base64 of gzip", STANDARD.encode(gzip(&iso)).into_bytes()),
            (
                "base64 of gzip in lines",
                lines(&STANDARD.encode(gzip(&iso))),
            ),
        ] {
            assert_eq!(measure(&data).unwrap(), iso.len() as u64, "{what}");
            let mut decoded = Vec::new();
            open(&data).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, iso, "{what}");
        }
        for (bad, expected) in [
            (b"".to_vec(), "too short"),
            (b"not base64 at all!".to_vec(), "too short"),
            (STANDARD.encode([0; 50_000]).into_bytes(), "no ISO 9660"),
            (gzip(&iso)[..400].to_vec(), "decoded"),
            (
                gzip(&[iso.clone(), vec![0; 80 << 20]].concat()),
                "larger than 64.0 MiB",
            ),
        ] {
            let error = measure(&bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn mutated_drives_do_no_harm() {
        let samples = [gzip(&iso()), STANDARD.encode(gzip(&iso())).into_bytes()];
        let mut random: u32 = 3;
        for i in 0..400_usize {
            let mut data = samples[i % 2].clone();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = usize::try_from(random >> 8).unwrap() % data.len();
                data[at] = u8::try_from(random >> 24).unwrap();
            }
            fuzz_config_drive(&data);
        }
    }
}
