//! `image.install_bootloader` for whole-disk images: under UEFI a boot entry for the loader that the image brought, under
//! BIOS nothing, since the image's own boot sector is on the disk.
//!
//! Must never write to the EFI system partition: the image is as its maker wanted it.

use std::sync::Arc;

use bessemer_disk::{BlockDevice, Guid, PartitionKind, PartitionTable, Storage};
use serde_json::Value;

use crate::agent::Agent;
use crate::command::blocking;
use crate::disks;
use crate::efi::fat::{Fat, Region};
use crate::efi::variables::{BootTarget, Variables};
use crate::efi::{Loader, find_loader};
use crate::error::{Failure, chain};

/// Type of an EFI system partition in an MBR.
const MBR_EFI: u8 = 0xef;

/// Runs it. With `ignore` a failure is only told.
pub async fn install(agent: &Arc<Agent>, boot_mode: &str, ignore: bool) -> Result<Value, Failure> {
    if !boot_mode.eq_ignore_ascii_case("uefi") {
        return Ok(Value::String(
            "whole-disk image in BIOS mode: its own boot sector starts it, nothing to do"
                .to_owned(),
        ));
    }
    let outcome = install_uefi(agent).await;
    match outcome {
        Ok(sentence) => {
            tracing::info!("{sentence}");
            Ok(Value::String(sentence))
        }
        Err(failure) if ignore => {
            tracing::warn!("{failure}; ignored, as asked");
            Ok(Value::String(format!("{failure}; ignored, as asked")))
        }
        Err(failure) => Err(failure),
    }
}

async fn install_uefi(agent: &Arc<Agent>) -> Result<String, Failure> {
    let disk = disks::root_device(agent).await?;
    let path = disks::device_path(&agent.settings.roots, &disk.name);
    let variables = agent.settings.roots.sys.join("firmware/efi/efivars");
    blocking(move || {
        let device = BlockDevice::open_read_only(&path)
            .map_err(|e| Failure::BlockDevice(format!("disk {}: {}", disk.name, chain(&e))))?;
        let (target, loader) = find(&device, &disk.name)?;
        let done = Variables::open(&variables)
            .and_then(|variables| variables.boot_first(&loader.label, &target));
        // the firmware finds removable-media loaders by itself, so this is not the end
        Ok(done.unwrap_or_else(|error| {
            format!(
                "no boot entry for {} was made: {}; the firmware has to find it by its default path",
                target.path,
                chain(&error)
            )
        }))
    })
    .await
}

/// The EFI system partition and the loader on it.
fn find(device: &BlockDevice, name: &str) -> Result<(BootTarget, Loader), Failure> {
    let table = PartitionTable::read(device).map_err(|e| {
        Failure::DeviceNotFound(format!("no partition table on disk {name}: {}", chain(&e)))
    })?;
    let sector = u64::from(device.sector_size().max(1));
    let mut seen = Vec::new();
    for partition in table.into_iter().flat_map(|t| t.partitions) {
        let guid = match &partition.kind {
            PartitionKind::Gpt {
                type_guid, guid, ..
            } if *type_guid == Guid::EFI_SYSTEM => *guid,
            PartitionKind::Mbr { id: MBR_EFI, .. } => {
                seen.push(format!(
                    "partition {} is of an MBR, which boot entries here cannot name",
                    partition.number
                ));
                continue;
            }
            _ => continue,
        };
        let file = device
            .try_clone_file()
            .map_err(|e| Failure::BlockDevice(format!("disk {name}: {}", chain(&e))))?;
        let region = Region {
            disk: file,
            start: partition.start,
            length: partition.size,
        };
        let loader = match Fat::open(region).and_then(|fat| find_loader(&fat)) {
            Ok(Some(loader)) => loader,
            Ok(None) => {
                seen.push(format!("partition {} has no loader", partition.number));
                continue;
            }
            Err(error) => {
                seen.push(format!("partition {}: {error}", partition.number));
                continue;
            }
        };
        return Ok((
            BootTarget {
                partition: partition.number,
                start_lba: partition.start / sector,
                sectors: partition.size / sector,
                guid: guid.to_disk(),
                path: loader.path.clone(),
            },
            loader,
        ));
    }
    Err(Failure::DeviceNotFound(if seen.is_empty() {
        format!(
            "disk {name} has no EFI system partition; deploy an image that boots by UEFI, or set boot_mode to bios"
        )
    } else {
        format!(
            "no loader on disk {name}: {}; deploy an image that boots by UEFI",
            seen.join("; ")
        )
    }))
}
