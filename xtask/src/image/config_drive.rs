//! Config drives made by an independent program (`genisoimage`), to compare with what the conductor makes.

use std::path::Path;

use anyhow::Result;

use crate::process::{command, output};

/// Writes an ISO 9660 volume labelled `config-2` with the given `meta_data.json` and, optionally, user data.
pub fn write(iso: &Path, meta_data: &serde_json::Value, user_data: Option<&str>) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let latest = scratch.path().join("openstack/latest");
    std::fs::create_dir_all(&latest)?;
    std::fs::write(
        latest.join("meta_data.json"),
        serde_json::to_vec(meta_data)?,
    )?;
    if let Some(text) = user_data {
        std::fs::write(latest.join("user_data"), text)?;
    }
    let mut tool = command("genisoimage");
    tool.args(["-quiet", "-V", "config-2", "-J", "-r", "-o"])
        .arg(iso)
        .arg(scratch.path());
    output(&mut tool)?;
    Ok(())
}

/// Puts an ISO into a new partition at the end of a raw disk image, as a deployment does.
pub fn append(disk: &Path, iso: &Path) -> Result<()> {
    output(command("sgdisk").arg("-e").arg(disk))?;
    output(
        command("sgdisk")
            .args(["-a", "1", "-n", "0:-8M:0", "-c", "0:config-2"])
            .arg(disk),
    )?;
    let text = output(command("sgdisk").arg("-p").arg(disk))?;
    let start: Option<u64> = text
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.last() == Some(&"config-2")).then(|| words.get(1)?.parse().ok())?
        })
        .next();
    let start = start.ok_or_else(|| anyhow::anyhow!("sgdisk shows no partition config-2"))?;
    super::grub::copy_at(disk, start * super::grub::SECTOR, iso)
}
