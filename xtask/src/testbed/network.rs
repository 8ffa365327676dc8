//! The provisioning network inside the namespaces.

use std::path::Path;

use anyhow::Result;

use crate::process::{command, output};

/// Creates bridge, taps and the addresses of the BMCs for a number of nodes.
pub fn up(nodes: u8) -> Result<()> {
    let ip = |arguments: &str| output(command("ip").args(arguments.split_whitespace())).map(drop);
    ip("link set lo up")?;
    // a /24 on lo makes each of its addresses local
    ip("addr add 10.77.1.1/24 dev lo")?;
    // a fixed address: a bridge's own changes when ports come and go
    ip("link add br0 address 02:00:00:77:00:01 type bridge forward_delay 0 stp_state 0")?;
    ip("addr add 10.77.0.1/24 dev br0")?;
    if Path::new("/proc/sys/net/ipv6").exists() {
        ip("addr add fd77::1/64 dev br0 nodad")?;
    }
    ip("link set br0 up")?;
    for index in 0..nodes {
        ip(&format!("tuntap add dev t{index} mode tap"))?;
        ip(&format!("link set t{index} master br0 up"))?;
    }
    Ok(())
}
