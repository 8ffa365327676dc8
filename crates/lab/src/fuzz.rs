//! Fuzz targets: every parser of bytes that come from outside. Cheap, and must never panic.

use std::collections::BTreeMap;

use crate::boot::ipxe::{Action, Interpreter, kernel_parameters};
use crate::{agent, boot};

/// A boot script, run to its end with every other file found.
pub fn fuzz_ipxe_script(data: &[u8]) {
    let Ok(url) = url::Url::parse("http://127.0.0.1/boot/script") else {
        return;
    };
    let settings = BTreeMap::from([("net0/mac".to_owned(), "52:54:00:00:00:01".to_owned())]);
    let mut script = Interpreter::new(settings, data, url);
    for round in 0..200 {
        match script.next() {
            Action::Fetch { keep, .. } => {
                let contents = if keep { data.to_vec() } else { Vec::new() };
                script.fetched((round % 2 == 0).then_some(contents));
            }
            Action::Sleep(_) => {}
            _ => return,
        }
    }
}

/// Arguments of a kernel.
pub fn fuzz_kernel_parameters(data: &[u8]) {
    let _ = kernel_parameters(&String::from_utf8_lossy(data));
}

/// A TFTP server's packet.
pub fn fuzz_tftp_packet(data: &[u8]) {
    boot::tftp::fuzz(data);
}

/// What is read of a disc.
pub fn fuzz_disc(data: &[u8]) {
    boot::cd::fuzz(data);
}

/// The body of a command to the agent.
pub fn fuzz_agent_command(data: &[u8]) {
    agent::fuzz_command(data);
}

/// What the Bare Metal API answers.
pub fn fuzz_api_reply(data: &[u8]) {
    agent::fuzz_reply(data);
}

/// The first bytes of an image.
pub fn fuzz_image_header(data: &[u8]) {
    agent::fuzz_header(data);
}

/// A file of checksums.
pub fn fuzz_checksum_file(data: &[u8]) {
    agent::fuzz_checksum_file(data);
}

/// A command to the lab.
pub fn fuzz_control_line(data: &[u8]) {
    let _ = serde_json::from_slice::<crate::fleet::Command>(data);
}

/// A log.
pub fn fuzz_log(data: &[u8]) {
    if let Ok(log) = crate::log::Log::parse(data) {
        let _ = (
            log.violations(),
            log.image_writes("h0"),
            log.final_disk("h0"),
            log.stable(),
        );
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::dice::Dice;

    /// Flips, cuts, doubles and inserts.
    pub(crate) fn mutate(dice: &Dice, sample: &[u8]) -> Vec<u8> {
        let mut bytes = sample.to_vec();
        for _ in 0..=dice.draw() % 6 {
            let at = usize::try_from(dice.draw()).unwrap() % bytes.len().max(1);
            match dice.draw() % 4 {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << (dice.draw() % 8),
                1 => bytes.truncate(at),
                2 => {
                    let part = bytes
                        .get(at..(at + 9).min(bytes.len()))
                        .unwrap_or_default()
                        .to_vec();
                    bytes.extend(part);
                }
                _ => bytes.insert(at.min(bytes.len()), dice.draw().to_le_bytes()[0]),
            }
        }
        bytes
    }

    #[test]
    fn nothing_panics() {
        type Target = fn(&[u8]);
        let qcow2 = [&b"QFI\xfb\0\0\0\x03"[..], &[0; 100]].concat();
        let mut volume = vec![0; 6144];
        for (at, bytes) in [
            (0, &b"\x01CD001\x01"[..]),
            (
                156,
                &[34, 0, 20, 0, 0, 0, 0, 0, 0, 20, 0, 8, 0, 0, 0, 0, 8, 0],
            ),
            (188, &[1]),
            (2048, b"\0CD001\x01EL TORITO SPECIFICATION"),
            (4096, b"\xffCD001\x01"),
        ] {
            volume[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let samples: [(Target, &[u8]); 10] = [
            (fuzz_disc, &volume),
            (
                fuzz_ipxe_script,
                b"#!ipxe\nset x ${net0/mac:hexhyp}\n:retry\nisset ${y} && goto end || chain sub/${x}\nkernel --timeout 5 k a=${x} || goto retry\ninitrd -n rd r\nimgargs k b\nboot\n:end\nsleep 1\ninc i 2\niseq ${i} 4 || goto retry\nsanboot --drive 0x80\nexit 1\n",
            ),
            (fuzz_kernel_parameters, b"a=b c \"d e\" f=\"g h\" ipa-api-url=http://x"),
            (fuzz_tftp_packet, b"\0\x06blksize\x001428\0tsize\x0099\0"),
            (
                fuzz_agent_command,
                br#"{"name": "deploy.execute_deploy_step", "params": {"step": {"step": "write_image", "interface": "deploy", "args": {"image_info": {"id": "i", "urls": ["http://x/y"], "os_hash_algo": "sha256", "os_hash_value": "00"}, "configdrive": "x"}, "bessemer": {"operation": "o", "index": 1, "attempt": 1}}, "node": {}, "ports": []}}"#,
            ),
            (fuzz_api_reply, br#"{"default_version": {"id": "v1", "version": "1.115"}, "node": {"uuid": "b1a3f5f0-27a5-4f0f-8f0e-2b6a8d1f7c11"}, "config": {"heartbeat_timeout": 300}}"#),
            (fuzz_image_header, &qcow2),
            (fuzz_checksum_file, b"SHA256 (image.raw) = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n# x\nbb *image.raw\n"),
            (fuzz_control_line, br#"{"host": "h0", "fault": "slow_write", "on": true, "value": 2.5, "power": "off", "state": true}"#),
            (
                fuzz_log,
                b"{\"n\":0,\"t_ms\":1,\"wall_ms\":2,\"host\":\"h0\",\"event\":\"disk_write_started\",\"data\":{\"image\":\"i\",\"disk\":{\"generation\":1,\"content\":\"erased\"}}}\n{\"n\":1,\"t_ms\":1,\"wall_ms\":2,\"host\":\"h0\",\"event\":\"disk_write_finished\",\"data\":{\"ok\":true}}\n",
            ),
        ];
        for (nth, (target, sample)) in samples.iter().enumerate() {
            target(sample);
            let dice = Dice::new(11, nth, "fuzz");
            for _ in 0..1500 {
                target(&mutate(&dice, sample));
            }
        }
    }
}
