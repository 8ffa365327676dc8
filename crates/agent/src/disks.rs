//! The machine's disks as the agent's commands need them: which there are, which one is the root device, opening one.
//!
//! Must never give out a disk that the node's hints do not name.

use std::path::PathBuf;
use std::time::Duration;

use bessemer_disk::{BlockDevice, Disk, Hints, choose_root_device, list_block_devices};
use serde_json::Value;

use crate::agent::{Agent, NodeView};
use crate::error::{Failure, chain};
use crate::settings::{Roots, Settings};

/// All disks now.
pub fn list(settings: &Settings) -> Result<Vec<Disk>, Failure> {
    list_block_devices(&settings.roots.sys).map_err(|e| Failure::BlockDevice(chain(&e)))
}

/// Where a disk's device file is: `/dev/vda`, or the same name below another directory.
#[must_use]
pub fn device_path(roots: &Roots, name: &str) -> PathBuf {
    roots.dev.join(name.strip_prefix("/dev/").unwrap_or(name))
}

/// Opens a disk for writing, exclusively. A holder that lets go soon (the kernel after a partition scan) is waited for.
pub async fn open(settings: &Settings, name: &str) -> Result<BlockDevice, Failure> {
    let path = device_path(&settings.roots, name);
    let mut patience = 20_u32;
    loop {
        let attempt = path.clone();
        let opened = crate::command::blocking(move || Ok(BlockDevice::open(&attempt))).await?;
        match opened {
            Ok(device) => return Ok(device),
            Err(bessemer_disk::Error::Busy { .. }) if patience > 0 => {
                patience = patience.saturating_sub(1);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => {
                return Err(Failure::BlockDevice(format!(
                    "disk {name} cannot be opened: {}",
                    chain(&error)
                )));
            }
        }
    }
}

/// The node's hints: those of the instance before those of the node, as upstream.
fn hints(node: &NodeView) -> Result<Hints, Failure> {
    let value = [&node.instance_info, &node.properties]
        .iter()
        .find_map(|members| {
            members
                .get("root_device")
                .filter(|v| !v.is_null() && **v != Value::Object(serde_json::Map::new()))
        })
        .cloned()
        .unwrap_or(Value::Null);
    Hints::parse(&value).map_err(|e| Failure::DeviceNotFound(chain(&e)))
}

/// Disks that `properties.skip_block_devices` names.
pub fn skip_list(node: &NodeView) -> Result<Vec<Hints>, Failure> {
    let Some(value) = node.properties.get("skip_block_devices") else {
        return Ok(Vec::new());
    };
    // entries that only name software RAID volumes say nothing of disks
    let entries: Vec<Value> = value
        .as_array()
        .map(|list| {
            list.iter()
                .filter(|entry| entry.get("volume_name").is_none())
                .cloned()
                .collect()
        })
        .unwrap_or_default();
    Hints::parse_list(&Value::Array(entries)).map_err(|e| Failure::DeviceNotFound(chain(&e)))
}

/// The root device, waiting for it as long as the settings say: controllers take time to find their disks.
pub async fn root_device(agent: &Agent) -> Result<Disk, Failure> {
    let settings = &agent.settings;
    let node = agent.node();
    let hints = hints(&node)?;
    let skipped = skip_list(&node)?;
    let mut attempt = 0_u32;
    loop {
        let disks: Vec<Disk> = list(settings)?
            .into_iter()
            .filter(|d| !d.read_only && !skipped.iter().any(|h| h.matches(d)))
            .collect();
        let error = match choose_root_device(&hints, &disks) {
            Ok(disk) => return Ok(disk.clone()),
            Err(error) => error,
        };
        attempt = attempt.saturating_add(1);
        // 0 attempts: for ever, as upstream
        if settings.disk_wait_attempts > 0 && attempt >= settings.disk_wait_attempts {
            return Err(Failure::DeviceNotFound(chain(&error)));
        }
        tracing::info!("no root device yet ({error}), looking again");
        tokio::time::sleep(settings.disk_wait_delay).await;
    }
}

/// Bytes as people read them.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    for (name, unit) in UNITS {
        if bytes >= unit {
            let tenths = u128::from(bytes).saturating_mul(10) / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}
