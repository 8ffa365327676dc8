//! The archive of `log.collect_system_logs`: a gzipped tar with the agent's log, the kernel's, and what tells most about
//! the machine. The tar is written by hand (POSIX ustar), since its few files need no library.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::agent::Agent;
use crate::error::Failure;

/// One file is cut at this size.
const MAX_MEMBER: usize = 4 * 1024 * 1024;

/// Builds it.
pub fn build(agent: &Agent) -> Result<Vec<u8>, Failure> {
    let roots = &agent.settings.roots;
    let mut members: Vec<(&str, Vec<u8>)> = vec![
        ("agent.log", agent.logs.contents()),
        ("dmesg", kernel_log()),
    ];
    for (name, path) in [
        ("mounts", roots.proc.join("mounts")),
        ("partitions", roots.proc.join("partitions")),
        ("mdstat", roots.proc.join("mdstat")),
        ("modules", roots.proc.join("modules")),
        ("meminfo", roots.proc.join("meminfo")),
        ("cpuinfo", roots.proc.join("cpuinfo")),
    ] {
        if let Ok(bytes) = std::fs::read(&path) {
            members.push((name, bytes));
        }
    }
    if let Ok(addresses) = crate::net::netlink::Netlink::open().and_then(|mut n| n.addresses()) {
        let text: String = addresses
            .iter()
            .map(|a| format!("{} {}/{}\n", a.interface, a.ip, a.prefix))
            .collect();
        members.push(("addresses", text.into_bytes()));
    }
    if let Ok(text) = serde_json::to_vec_pretty(&crate::inventory::collect(&agent.settings)) {
        members.push(("inventory.json", text));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = members
        .iter()
        .try_for_each(|(name, data)| append(&mut encoder, name, data))
        // the end of a tar is two empty records
        .and_then(|()| encoder.write_all(&[0; 1024]))
        .and_then(|()| encoder.finish());
    packed.map_err(|e| Failure::Execution(format!("the logs cannot be packed: {e}")))
}

/// What the kernel said, as far as it is still there.
fn kernel_log() -> Vec<u8> {
    use std::os::unix::fs::OpenOptionsExt;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open("/dev/kmsg");
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => return format!("/dev/kmsg cannot be opened: {error}\n").into_bytes(),
    };
    let mut text = Vec::new();
    let mut record = vec![0_u8; 8192];
    while text.len() < MAX_MEMBER {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(record.get(..length).unwrap_or_default()),
            // EPIPE: records were overwritten meanwhile, the next read goes on
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    text
}

/// One file of a tar.
fn append(out: &mut impl Write, name: &str, data: &[u8]) -> std::io::Result<()> {
    let data = data.get(..data.len().min(MAX_MEMBER)).unwrap_or_default();
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| {
        let target = header.get_mut(at..at.saturating_add(bytes.len()));
        if let Some(target) = target {
            target.copy_from_slice(bytes);
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", data.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    let text = format!("{sum:06o}\0 ");
    if let Some(target) = header.get_mut(148..156) {
        target.copy_from_slice(text.as_bytes());
    }
    out.write_all(&header)?;
    out.write_all(data)?;
    let padding = data.len().next_multiple_of(512).saturating_sub(data.len());
    out.write_all(&[0; 512][..padding])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_it() {
        let mut archive = Vec::new();
        append(&mut archive, "a", b"hello").unwrap();
        append(&mut archive, "b", &[7; 512]).unwrap();
        archive.extend([0; 1024]);
        let mut tar = Command::new("tar")
            .args(["-xO", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs the program tar");
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, [b"hello".as_slice(), &[7; 512]].concat());
    }
}
