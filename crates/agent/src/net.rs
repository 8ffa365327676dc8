//! The machine's network: interfaces from sysfs, addresses and routes over rtnetlink.

pub mod dhcp;
pub mod netlink;

use std::net::IpAddr;
use std::path::Path;

/// One network interface that belongs to hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Lower case with colons.
    pub mac: String,
    pub carrier: bool,
}

/// Interfaces with a device behind them, in order of their index. Virtual ones (lo, bridges) are left out, as upstream.
#[must_use]
pub fn interfaces(sys: &Path) -> Vec<Interface> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(sys.join("class/net")) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.join("device").exists() {
            continue;
        }
        let read = |name: &str| {
            std::fs::read_to_string(path.join(name))
                .ok()
                .map(|t| t.trim().to_owned())
        };
        let Some(mac) = read("address").filter(|m| is_mac(m)) else {
            continue;
        };
        found.push(Interface {
            name: entry.file_name().to_string_lossy().into_owned(),
            index: read("ifindex").and_then(|t| t.parse().ok()).unwrap_or(0),
            mac: mac.to_lowercase(),
            // unreadable while the link is down
            carrier: read("carrier").as_deref() == Some("1"),
        });
    }
    found.sort_by(|a, b| (a.index, &a.name).cmp(&(b.index, &b.name)));
    found
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|p| p.len() == 2 && u8::from_str_radix(p, 16).is_ok())
        && text != "00:00:00:00:00:00"
}

/// The address that this machine uses towards `host`. No packet is sent.
pub async fn address_towards(host: &str, port: u16) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for target in tokio::net::lookup_host((host, port)).await? {
        let attempt = async {
            let any: IpAddr = if target.is_ipv4() {
                std::net::Ipv4Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
            socket.connect(target).await?;
            Ok::<_, std::io::Error>(socket.local_addr()?.ip())
        };
        match attempt.await {
            Ok(ip) if !ip.is_unspecified() => return Ok(ip),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}
