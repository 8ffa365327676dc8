//! Erasing: `erase_devices_metadata` (partition tables and superblocks) and `erase_devices` (every block).
//!
//! Read-only and removable disks and those of `properties.skip_block_devices` are left alone; a disk that carries a
//! cluster file system stops everything, unless the guard is switched off. Both steps look afterwards whether it worked:
//! metadata by searching every known signature again, contents by reading samples from the disk itself.
//!
//! Must never be quiet about a disk that was not erased.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_disk::{
    BlockDevice, Disk, PartitionTable, Storage, signatures, signatures_in, wipe_metadata,
};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, NodeView};
use crate::command::blocking;
use crate::disks::{self, human};
use crate::error::{Failure, chain};
use crate::registry::{Progress, Stage};

/// Bytes zeroed between two looks at the clock and the cancellation.
const STEP: u64 = 256 << 20;
/// Samples read after erasing, and their size.
const SAMPLES: u64 = 64;
const SAMPLE: usize = 64 * 1024;
/// File systems that several machines share: erasing them would harm machines that are not being cleaned.
const GUARDED: [&str; 3] = ["VMFS", "OCFS2", "GFS2"];

/// Disks that may be erased, and a sentence for each that is left out.
fn candidates(agent: &Agent, node: &NodeView) -> Result<Vec<Disk>, Failure> {
    let skipped = disks::skip_list(node)?;
    let mut chosen = Vec::new();
    for disk in disks::list(&agent.settings)? {
        let reason = if disk.read_only {
            Some("it is read-only")
        } else if disk.removable {
            Some("it is removable")
        } else if skipped.iter().any(|hints| hints.matches(&disk)) {
            Some("skip_block_devices names it")
        } else {
            None
        };
        match reason {
            Some(reason) => tracing::warn!("disk {} is not erased: {reason}", disk.name),
            None => chosen.push(disk),
        }
    }
    Ok(chosen)
}

/// What lies on a disk, as a list of words.
fn found_on(device: &BlockDevice, name: &str) -> Result<Vec<String>, Failure> {
    let bad = |e: bessemer_disk::Error| {
        Failure::Erase(format!("disk {name} cannot be read: {}", chain(&e)))
    };
    let mut found = signatures(device).map_err(bad)?;
    // a table that makes no sense is not followed; its marks are found all the same
    let table = PartitionTable::read(device).unwrap_or_default();
    for partition in table.into_iter().flat_map(|t| t.partitions) {
        found.extend(signatures_in(device, partition.start, partition.size).map_err(bad)?);
    }
    found.sort_unstable_by_key(|f| (f.offset, f.what));
    found.dedup();
    Ok(found
        .iter()
        .map(|f| format!("{} at byte {}", f.what, f.offset))
        .collect())
}

fn guard(agent: &Agent, name: &str, found: &[String]) -> Result<(), Failure> {
    if !agent.settings.guard_special_filesystems {
        return Ok(());
    }
    let shared = found
        .iter()
        .find(|text| GUARDED.iter().any(|g| text.starts_with(g)));
    match shared {
        None => Ok(()),
        Some(what) => Err(Failure::Protected(format!(
            "disk {name} carries {what}, which other machines may be using; detach it, name it in skip_block_devices, or boot with ipa-guard-special-filesystems=0"
        ))),
    }
}

/// Every disk is looked at before the first one is touched.
async fn check_all(agent: &Arc<Agent>, chosen: &[Disk]) -> Result<(), Failure> {
    for disk in chosen {
        let device = disks::open(&agent.settings, &disk.name).await?;
        let agent = agent.clone();
        let name = disk.name.clone();
        blocking(move || {
            let found = found_on(&device, &name)?;
            guard(&agent, &name, &found)
        })
        .await?;
    }
    Ok(())
}

/// `erase_devices_metadata`.
pub async fn metadata(agent: &Arc<Agent>) -> Result<Value, Failure> {
    let chosen = candidates(agent, &agent.node())?;
    check_all(agent, &chosen).await?;
    let mut report = serde_json::Map::new();
    let mut failures = Vec::new();
    for disk in &chosen {
        match erase_metadata(agent, disk).await {
            Ok(found) => {
                report.insert(disk.name.clone(), json!({ "removed": found }));
            }
            // the others are erased all the same; the step fails with the whole list
            Err(failure) => failures.push(failure.to_wire().details),
        }
    }
    if failures.is_empty() {
        Ok(Value::Object(report))
    } else {
        Err(Failure::Erase(failures.join("; ")))
    }
}

async fn erase_metadata(agent: &Arc<Agent>, disk: &Disk) -> Result<Vec<String>, Failure> {
    let device = disks::open(&agent.settings, &disk.name).await?;
    let name = disk.name.clone();
    blocking(move || {
        let mut device = device;
        let found = found_on(&device, &name)?;
        if found.is_empty() {
            tracing::info!("disk {name}: no metadata found");
        } else {
            tracing::info!("disk {name}: found {}", found.join(", "));
        }
        wipe_metadata(&mut device)
            .map_err(|e| Failure::Erase(format!("disk {name} cannot be erased: {}", chain(&e))))?;
        device
            .drop_caches()
            .map_err(|e| Failure::Erase(format!("disk {name} cannot be flushed: {}", chain(&e))))?;
        let left = found_on(&device, &name)?;
        if !left.is_empty() {
            return Err(Failure::Erase(format!(
                "disk {name} still carries {} after erasing; check the disk",
                left.join(", ")
            )));
        }
        if let Err(error) = device.reread_partition_table() {
            tracing::warn!("disk {name}: {}", chain(&error));
        }
        tracing::info!("disk {name}: metadata erased, nothing left");
        Ok(found)
    })
    .await
}

/// `erase_devices`: overwrites every block with zeroes, by the device's own command where it has one.
pub async fn everything(agent: &Arc<Agent>, progress: Arc<Progress>) -> Result<Value, Failure> {
    let node = agent.node();
    let chosen = candidates(agent, &node)?;
    check_all(agent, &chosen).await?;
    let number = |name: &str, default: u64| {
        node.driver_internal_info
            .get(name)
            .and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
            .unwrap_or(default)
    };
    // more than one pass only repeats the zeroes
    let passes = number("agent_erase_devices_iterations", 1).max(1);
    let concurrency = usize::try_from(number("disk_erasure_concurrency", 4))
        .unwrap_or(4)
        .clamp(1, 32);
    let total = chosen
        .iter()
        .fold(0_u64, |sum, d| sum.saturating_add(d.size))
        .saturating_mul(passes);
    progress.enter(Stage::Write, total);
    let done = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let outcomes: Vec<(String, Result<u64, Failure>)> = stream::iter(chosen.clone())
        .map(|disk| {
            let agent = agent.clone();
            let (done, progress) = (done.clone(), progress.clone());
            async move {
                let name = disk.name.clone();
                (name, erase_disk(&agent, disk, passes, done, progress).await)
            }
        })
        .buffer_unordered(concurrency)
        .collect()
        .await;
    let mut report = serde_json::Map::new();
    let mut failures = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(bytes) => {
                report.insert(name, json!({ "zeroed_bytes": bytes, "passes": passes }));
            }
            Err(failure) => failures.push(failure.to_wire().details),
        }
    }
    if failures.is_empty() {
        Ok(Value::Object(report))
    } else {
        Err(Failure::Erase(failures.join("; ")))
    }
}

async fn erase_disk(
    agent: &Arc<Agent>,
    disk: Disk,
    passes: u64,
    done: Arc<std::sync::atomic::AtomicU64>,
    progress: Arc<Progress>,
) -> Result<u64, Failure> {
    let device = disks::open(&agent.settings, &disk.name).await?;
    let cancel = agent.cancel.clone();
    let name = disk.name;
    blocking(move || {
        let mut device = device;
        let size = device.size();
        let advance = |bytes: u64| {
            let sum = done
                .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed)
                .saturating_add(bytes);
            progress.set(sum);
        };
        for pass in 1..=passes {
            zero_all(&mut device, &name, size, (pass, passes), &cancel, &advance)?;
        }
        device
            .drop_caches()
            .map_err(|e| Failure::Erase(format!("disk {name} cannot be flushed: {}", chain(&e))))?;
        verify_zero(&device, &name, size)?;
        if let Err(error) = device.reread_partition_table() {
            tracing::warn!("disk {name}: {}", chain(&error));
        }
        tracing::info!("disk {name}: {} erased and checked", human(size));
        Ok(size)
    })
    .await
}

fn zero_all(
    device: &mut BlockDevice,
    name: &str,
    size: u64,
    (pass, passes): (u64, u64),
    cancel: &CancellationToken,
    advance: &dyn Fn(u64),
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut last = began;
    let mut at = 0_u64;
    while at < size {
        if cancel.is_cancelled() {
            return Err(Failure::Erase(format!(
                "disk {name} was not erased completely: the agent was told to stop"
            )));
        }
        let length = size.saturating_sub(at).min(STEP);
        device.zero(at, length).map_err(|e| {
            Failure::Erase(format!(
                "disk {name} cannot be overwritten at byte {at}: {e}"
            ))
        })?;
        at = at.saturating_add(length);
        advance(length);
        if last.elapsed() > Duration::from_secs(10) {
            last = Instant::now();
            tracing::info!(
                "erasing {name}: {} of {}, pass {pass} of {passes}",
                human(at),
                human(size)
            );
        }
    }
    device
        .flush()
        .map_err(|e| Failure::Erase(format!("disk {name} cannot be flushed: {e}")))
}

/// Reads samples spread over the disk, both ends among them.
fn verify_zero(device: &BlockDevice, name: &str, size: u64) -> Result<(), Failure> {
    let length = usize::try_from(size).unwrap_or(SAMPLE).min(SAMPLE);
    let room = size.saturating_sub(length as u64);
    let mut buffer = vec![0_u8; length];
    for i in 0..SAMPLES {
        let at = u128::from(room).saturating_mul(u128::from(i)) / u128::from(SAMPLES - 1);
        let at = u64::try_from(at).unwrap_or(0);
        // whole pages, except the very last sample
        let at = if i == SAMPLES - 1 {
            at
        } else {
            at / 4096 * 4096
        };
        device
            .read_at(at, &mut buffer)
            .map_err(|e| Failure::Erase(format!("disk {name} cannot be read at byte {at}: {e}")))?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Err(Failure::Erase(format!(
                "disk {name} has data near byte {at} after it was overwritten with zeroes; check the disk"
            )));
        }
    }
    Ok(())
}
