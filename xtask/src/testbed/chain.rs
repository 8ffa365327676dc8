//! What a deploy cannot be faster than: firmware, a plain write of the image, a restart, the image's own boot.
//!
//! dnsmasq, a busybox ramdisk and `dd` do it, `ipmitool` switches; nothing of Bessemer is in it. A deploy's time means something
//! only beside it: machines differ threefold, and one machine does from hour to hour.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bmc::ipmitool;
use super::control::Control;
use super::{Bmc, Console, Firmware, Node, NodeSpec, Run};
use crate::cache::Cache;
use crate::image::tiny;

const WRITE: &str = r#"
wget -q -O - http://10.77.0.1:8080/tiny.raw | dd of=/dev/vda bs=1M 2>/dev/null
sync
echo "CHAIN-WRITTEN $(cat /proc/uptime)"
while :; do sleep 3600; done
"#;

/// A machine's way, from the command to power it on.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    pub firmware: Firmware,
    /// Until the ramdisk's first program runs.
    pub init: Duration,
    /// Until the image is on the disk.
    pub written: Duration,
    /// Until the image says that it runs.
    pub booted: Duration,
}

/// Takes one machine of each firmware that way, both at once. The network must be up.
pub fn measure(run: &Run, xtask: &Path, cache: &Cache, accelerator: &str) -> Result<Vec<Chain>> {
    let image = tiny::build(cache)?;
    let _control = Control::start(run, cache, WRITE, &[&image.raw])?;
    let mut machines = Vec::new();
    for (index, firmware) in (0u8..).zip([Firmware::Bios, Firmware::Uefi]) {
        let name = format!("chain-{}", firmware.boot_mode());
        let node = Node::create(
            run,
            &NodeSpec {
                accelerator: accelerator.into(),
                ..NodeSpec::new(&name, index, firmware)
            },
        )?;
        let bmc = Bmc::start(&node, xtask)?;
        machines.push((node, bmc));
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = machines
            .iter()
            .map(|(node, _)| scope.spawn(|| one(node)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of a machine panicked")))
            })
            .collect()
    })
}

fn one(node: &Node) -> Result<Chain> {
    let console = Console::open(&node.console_log);
    let start = Instant::now();
    let reach = |marker: &str| -> Result<Duration> {
        console
            .wait_for(marker, Duration::from_secs(300))
            .with_context(|| format!("{}: the chain of firmware, write and restart", node.name))?;
        Ok(start.elapsed())
    };
    ipmitool(node, &["chassis", "bootdev", "pxe"])?;
    ipmitool(node, &["chassis", "power", "on"])?;
    let init = reach("CONTROL-INIT")?;
    let written = reach("CHAIN-WRITTEN")?;
    ipmitool(node, &["chassis", "bootdev", "disk"])?;
    ipmitool(node, &["chassis", "power", "cycle"])?;
    let booted = reach(tiny::LOCAL_BOOT)?;
    ipmitool(node, &["chassis", "power", "off"])?;
    crate::process::wait_for(
        &format!("{} to be off", node.name),
        Duration::from_secs(30),
        || Ok(node.running().is_none().then_some(())),
    )?;
    Ok(Chain {
        firmware: node.firmware,
        init,
        written,
        booted,
    })
}
