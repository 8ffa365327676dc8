//! Writing an image to the root device: choosing how, transferring, checking, and what has to follow.
//!
//! Everything that can be known beforehand (the format, a backing file, the size, an unusable checksum) is checked
//! before a byte of the disk changes. From then on a failure wipes both ends of the disk, so that nothing half-written
//! boots. Download, hash and disk work at the same time, with a bounded number of pieces between them.
//!
//! Must never log a URL with its query or credentials.

pub mod bootloader;
pub mod checksum;
pub mod config_drive;
pub mod http;
pub mod transfer;

use std::sync::{Arc, Mutex, PoisonError};

use bessemer_disk::{BlockDevice, Disk, Guid, PartitionKind, PartitionTable, Storage};
use bessemer_image::{Checksum, FileSource, Format, Limits, Qcow2Map, RAW_FORMATS};
use bessemer_wire::{ImageInfo, PartitionUuids};
use serde_json::Value;
use url::Url;

use crate::agent::Agent;
use crate::command::{PrepareImage, blocking};
use crate::disks::{self, human};
use crate::error::{Failure, chain};
use crate::registry::{Progress, Stage};
use http::{HttpSource, ImageServer, Probed, shown};
use transfer::Target;

/// Upstream's default for `permitted_image_formats`, as far as it concerns disks.
const PERMITTED: [&str; 3] = ["raw", "gpt", "qcow2"];
/// What is written as it is when inspection is switched off: nothing is refused then.
const ANY_FORMAT: &[Format] = &[
    Format::Raw,
    Format::Mbr,
    Format::Gpt,
    Format::Qcow2,
    Format::Iso,
    Format::Vmdk,
    Format::Vhd,
    Format::Vhdx,
    Format::Vdi,
    Format::Qed,
    Format::Luks,
    Format::Gzip,
    Format::Zstd,
    Format::Xz,
    Format::Bzip2,
];
/// Alignment of the place where an image is spooled.
const SPOOL_ALIGNMENT: u64 = 1 << 20;
/// Memory for the tables of a qcow2: extents of about a terabyte that is badly fragmented.
const TABLE_MEMORY: usize = 12 << 20;

/// `standby.prepare_image` and the step `write_image`.
pub async fn prepare_image(
    agent: &Arc<Agent>,
    progress: Arc<Progress>,
    prepare: PrepareImage,
) -> Result<Value, Failure> {
    let PrepareImage {
        image_info: image,
        configdrive,
    } = prepare;
    let disk = disks::root_device(agent).await?;
    tracing::info!(
        "root device is {} ({}{})",
        disk.name,
        human(disk.size),
        disk.serial
            .as_ref()
            .map(|s| format!(", serial {s}"))
            .unwrap_or_default()
    );
    let cached = agent
        .cached_image
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_deref()
        == Some(image.id.as_str());
    let done = if cached {
        tracing::info!("image {} is on {} already", image.id, disk.name);
        "already present on"
    } else {
        // whatever was there before is gone as soon as this one starts
        *agent
            .cached_image
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        let streamed = write_image(agent, &progress, &image, &disk).await?;
        if !streamed {
            *agent
                .cached_image
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(image.id.clone());
        }
        "written to"
    };
    progress.enter(Stage::Finish, 0);
    let device = disks::open(&agent.settings, &disk.name).await?;
    let device = match configdrive.filter(|c| !c.is_empty()) {
        Some(text) => config_drive::write(agent, &image, device, &disk, text).await?,
        None => device,
    };
    let name = disk.name.clone();
    let uuids = blocking(move || {
        let mut device = device;
        settle(&mut device, &name)?;
        let table = PartitionTable::read(&device)
            .map_err(|e| Failure::BlockDevice(format!("disk {name}: {}", chain(&e))))?;
        Ok(uuids(table.as_ref()))
    })
    .await?;
    Ok(Value::String(format!(
        "image ({}) {done} device {} root_uuid={} efi_system_partition_uuid={}",
        image.id,
        disk.name,
        uuids.root_uuid.as_deref().unwrap_or("None"),
        uuids.efi_system_partition_uuid.as_deref().unwrap_or("None"),
    )))
}

/// Everything to the disk, and the kernel told of its partitions.
fn settle(device: &mut BlockDevice, name: &str) -> Result<(), Failure> {
    let bad = |e: bessemer_disk::Error| Failure::BlockDevice(format!("disk {name}: {}", chain(&e)));
    device
        .flush()
        .map_err(|e| Failure::BlockDevice(format!("disk {name} cannot be flushed: {e}")))?;
    device.drop_caches().map_err(bad)?;
    // the kernel's view matters to nobody before the reboot: a partition in use is only worth a line
    if let Err(error) = device.reread_partition_table() {
        tracing::warn!("disk {name}: {}", chain(&error));
    }
    Ok(())
}

/// `standby.get_partition_uuids`.
pub async fn partition_uuids(agent: &Arc<Agent>) -> Result<Value, Failure> {
    let disk = disks::root_device(agent).await?;
    let path = disks::device_path(&agent.settings.roots, &disk.name);
    blocking(move || {
        let found = BlockDevice::open_read_only(&path)
            .and_then(|device| PartitionTable::read(&device))
            .map_or_else(|_| PartitionUuids::default(), |table| uuids(table.as_ref()));
        serde_json::to_value(found).map_err(|e| Failure::Execution(e.to_string()))
    })
    .await
}

/// A whole-disk image has no root partition that anybody could name; its EFI system partition has.
fn uuids(table: Option<&PartitionTable>) -> PartitionUuids {
    PartitionUuids {
        root_uuid: None,
        efi_system_partition_uuid: table.into_iter().flat_map(|t| &t.partitions).find_map(
            |partition| match &partition.kind {
                PartitionKind::Gpt {
                    type_guid, guid, ..
                } if *type_guid == Guid::EFI_SYSTEM => Some(guid.to_string()),
                _ => None,
            },
        ),
        ..PartitionUuids::default()
    }
}

/// What will be done, decided before anything is.
enum Plan {
    /// Bytes as they are.
    Raw,
    /// Tables first, then one pass over the file.
    Qcow2Ranges(Box<Qcow2Map>),
    /// The whole file behind the image's end, then as a local file. Start of the spool in bytes.
    Qcow2Spool(u64),
}

/// Transfers the image; true when it was raw and streamed.
async fn write_image(
    agent: &Arc<Agent>,
    progress: &Arc<Progress>,
    image: &ImageInfo,
    disk: &Disk,
) -> Result<bool, Failure> {
    let rules = agent.rules();
    let server = Arc::new(ImageServer::new(&agent.settings, &agent.tls, image)?);
    let wanted = checksum::wanted(&server, image, rules.md5_enabled).await?;
    let (url, probed) = probe(&server, image).await?;
    let format = inspect(image, &probed, &rules)?;
    tracing::info!(
        "image {} at {}: {format:?}, {}, {}",
        image.id,
        shown(&url),
        probed
            .total
            .map_or_else(|| "size not told".to_owned(), human),
        if probed.ranges { "ranges" } else { "no ranges" }
    );
    let plan = plan(&server, &url, &probed, format, disk).await?;
    let mut device = disks::open(&agent.settings, &disk.name).await?;
    check_size(&device, disk)?;
    // from here on the disk is not what it was
    let name = disk.name.clone();
    device = blocking(move || {
        transfer::wipe_before(&mut device, &name)?;
        Ok(device)
    })
    .await?;
    let target = Target::new(device, &disk.name);
    let outcome = carry_out(progress, image, probed, wanted, plan, &target, &rules).await;
    let outcome = match outcome {
        Ok(()) => finish(&target, disk).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = outcome {
        return Err(target.wipe_after(failure).await);
    }
    Ok(format != Format::Qcow2)
}

/// The first URL that answers.
async fn probe(server: &Arc<ImageServer>, image: &ImageInfo) -> Result<(Url, Probed), Failure> {
    let mut reasons = Vec::new();
    for text in &image.urls {
        let url = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            Ok(url) => {
                reasons.push(format!("the scheme {} is not supported", url.scheme()));
                continue;
            }
            Err(error) => {
                reasons.push(format!("a URL of it is malformed: {error}"));
                continue;
            }
        };
        match server.probe(&url).await {
            Ok(probed) => return Ok((url, probed)),
            Err(error) => reasons.push(error.sentence),
        }
    }
    Err(Failure::ImageDownload(format!(
        "image {} cannot be downloaded: {}",
        image.id,
        reasons.join("; ")
    )))
}

/// The format by the file's own bytes, against what was announced and what is permitted.
fn inspect(
    image: &ImageInfo,
    probed: &Probed,
    rules: &crate::agent::Rules,
) -> Result<Format, Failure> {
    let refuse = |why: String| Err(Failure::InvalidImage(format!("image {}: {why}", image.id)));
    let declared = image
        .disk_format
        .as_deref()
        .map(str::to_lowercase)
        .filter(|f| !f.is_empty());
    let found = match bessemer_image::inspect(&probed.head) {
        Ok(format) => format,
        // written as it is, whatever it is: that is what was asked for
        Err(_) if !rules.inspect_images && declared.as_deref() == Some("raw") => Format::Raw,
        Err(error) => return refuse(chain(&error)),
    };
    let announced_raw = matches!(declared.as_deref(), Some("raw" | "gpt"));
    if !rules.inspect_images {
        return match declared.as_deref() {
            Some("qcow2") if found != Format::Qcow2 => refuse(format!(
                "it is announced as qcow2, but it is {}",
                found.name()
            )),
            Some("qcow2") => Ok(Format::Qcow2),
            Some("raw" | "gpt") => Ok(Format::Raw),
            _ => Ok(found),
        };
    }
    let fits = match (&declared, found) {
        (None, _) => true,
        (Some(_), format) if announced_raw => RAW_FORMATS.contains(&format),
        (Some(name), format) => name == format.name(),
    };
    if !fits {
        return refuse(format!(
            "it is announced as {}, but its contents are {}; correct image_disk_format or the image",
            declared.unwrap_or_default(),
            found.name()
        ));
    }
    let permitted: Vec<&str> = if rules.permitted_formats.is_empty() {
        PERMITTED.to_vec()
    } else {
        rules.permitted_formats.iter().map(String::as_str).collect()
    };
    if !permitted.contains(&found.name()) {
        return refuse(format!(
            "its format {} is not permitted; permitted_image_formats are {}",
            found.name(),
            permitted.join(", ")
        ));
    }
    if found != Format::Qcow2 && !RAW_FORMATS.contains(&found) {
        return refuse(format!(
            "its format {} cannot be written to a disk",
            found.name()
        ));
    }
    Ok(found)
}

fn too_small(disk: &Disk, needed: u64) -> Failure {
    Failure::ImageWrite(format!(
        "disk {} is too small for the image: it has {} bytes ({}), the image needs {} bytes ({}); choose another disk by root_device hints or a smaller image",
        disk.name,
        disk.size,
        human(disk.size),
        needed,
        human(needed)
    ))
}

async fn plan(
    server: &Arc<ImageServer>,
    url: &Url,
    probed: &Probed,
    format: Format,
    disk: &Disk,
) -> Result<Plan, Failure> {
    if format != Format::Qcow2 {
        return match probed.total {
            Some(total) if total > disk.size => Err(too_small(disk, total)),
            _ => Ok(Plan::Raw),
        };
    }
    let header = bessemer_image::Qcow2Header::parse(&probed.head, probed.total)
        .map_err(|e| transfer::image_failure(e, &disk.name))?;
    if header.virtual_size > disk.size {
        return Err(too_small(disk, header.virtual_size));
    }
    match (probed.ranges, probed.total) {
        (true, Some(total)) => {
            let source = HttpSource::new(server.clone(), url.clone(), total, probed.head.clone());
            let limits = Limits {
                table_memory: TABLE_MEMORY,
                virtual_size: disk.size,
            };
            let map = Qcow2Map::read_within(&source, &limits)
                .await
                .map_err(|e| transfer::image_failure(e, &disk.name))?;
            Ok(Plan::Qcow2Ranges(Box::new(map)))
        }
        _ => {
            let start = header.virtual_size.next_multiple_of(SPOOL_ALIGNMENT);
            let room = disk.size.saturating_sub(start);
            match probed.total {
                Some(total) if total > room => Err(Failure::ImageWrite(format!(
                    "{} does not answer range requests, so the file ({}) has to be kept on disk {} behind the image ({}), but the disk has only {}; serve the image from a server with ranges, as raw, or use a larger disk",
                    shown(url),
                    human(total),
                    disk.name,
                    human(header.virtual_size),
                    human(disk.size)
                ))),
                _ => Ok(Plan::Qcow2Spool(start)),
            }
        }
    }
}

/// The open device must be the disk that was listed.
fn check_size(device: &BlockDevice, disk: &Disk) -> Result<(), Failure> {
    if device.size() == disk.size {
        return Ok(());
    }
    Err(Failure::BlockDevice(format!(
        "disk {} has {} bytes now, {} when it was chosen",
        disk.name,
        device.size(),
        disk.size
    )))
}

async fn carry_out(
    progress: &Arc<Progress>,
    image: &ImageInfo,
    probed: Probed,
    wanted: Checksum,
    plan: Plan,
    target: &Target,
    rules: &crate::agent::Rules,
) -> Result<(), Failure> {
    let total = probed.total;
    let mut stream = probed.stream;
    progress.enter(Stage::Write, total.unwrap_or(0));
    match plan {
        Plan::Raw => {
            let permitted = if rules.inspect_images {
                RAW_FORMATS
            } else {
                ANY_FORMAT
            };
            let placer = target.raw_placer(total, permitted)?;
            transfer::stream_to(&mut stream, placer, &wanted, progress, image, target).await
        }
        Plan::Qcow2Ranges(map) => {
            let placer = target.qcow2_placer(*map)?;
            transfer::stream_to(&mut stream, placer, &wanted, progress, image, target).await
        }
        Plan::Qcow2Spool(start) => {
            progress.enter(Stage::Download, total.unwrap_or(0));
            let size =
                transfer::spool(&mut stream, start, &wanted, progress, image, target).await?;
            let source = target.source(start, size)?;
            place_spooled(source, progress, image, target).await?;
            target.forget(start, size).await
        }
    }
}

/// Places a qcow2 that lies, verified, at the end of the same disk.
async fn place_spooled(
    source: FileSource,
    progress: &Arc<Progress>,
    image: &ImageInfo,
    target: &Target,
) -> Result<(), Failure> {
    let limits = Limits {
        table_memory: TABLE_MEMORY,
        virtual_size: target.size(),
    };
    let map = Qcow2Map::read_within(&source, &limits)
        .await
        .map_err(|e| target.failure(e))?;
    progress.enter(Stage::Write, map.file_size());
    let placer = target.qcow2_placer(map)?;
    transfer::place_file(source, placer, progress, image, target).await
}

/// Partition table: backup header to the end of the disk, and at least one partition.
async fn finish(target: &Target, disk: &Disk) -> Result<(), Failure> {
    let device = target.device.clone();
    let name = disk.name.clone();
    blocking(move || {
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = |e: bessemer_disk::Error| {
            Failure::InvalidImage(format!(
                "no usable partition table on disk {name} after the image was written: {}; a whole-disk image is wanted",
                chain(&e)
            ))
        };
        match bessemer_disk::fix_backup_gpt(&mut *device) {
            Ok(true) => tracing::info!("backup partition table moved to the end of {name}"),
            // an MBR has no backup; no table at all is told below
            Ok(false) | Err(bessemer_disk::Error::NoTable) => {}
            Err(error) => return Err(bad(error)),
        }
        let table = PartitionTable::read(&*device).map_err(bad)?;
        let partitions = table.map(|t| t.partitions).unwrap_or_default();
        if partitions.is_empty() {
            return Err(Failure::InvalidImage(format!(
                "no partition on disk {name} after the image was written; a whole-disk image is wanted"
            )));
        }
        for partition in &partitions {
            let label = match &partition.kind {
                PartitionKind::Gpt { name, .. } if !name.is_empty() => format!(", {name:?}"),
                _ => String::new(),
            };
            tracing::info!(
                "{name} partition {}: {} at {}{label}",
                partition.number,
                human(partition.size),
                human(partition.start)
            );
        }
        settle(&mut device, &name)
    })
    .await
}

/// The device behind all writers of one transfer.
pub type Shared = Arc<Mutex<BlockDevice>>;
