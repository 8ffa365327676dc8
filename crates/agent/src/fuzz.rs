//! Fuzz targets: everything in this crate that reads bytes from outside. Each takes any bytes and must not panic.

pub use crate::api::fuzz_command_body;
pub use crate::efi::fuzz_esp;
pub use crate::efi::variables::fuzz_load_option;
pub use crate::ironic::fuzz_replies;
pub use crate::net::netlink::fuzz_netlink;
pub use crate::write::checksum::fuzz_checksum_file;
pub use crate::write::config_drive::fuzz_config_drive;
pub use crate::write::http::fuzz_headers;

/// Kernel command lines and module lists.
pub fn fuzz_boot_parameters(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = crate::settings::Settings::default().apply_kernel_command_line(&text);
    let _ = crate::init::module_lines(&text);
}

/// Whatever the conductor may ask for, without running it.
pub fn fuzz_command_parameters(data: &[u8]) {
    crate::command::fuzz_parameters(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    type Target = fn(&[u8]);

    /// Calls a target with mutations of a valid sample: bytes changed, cut, repeated.
    fn drive(target: Target, sample: &[u8], rounds: u32) {
        let mut random: u64 = 11;
        let mut next = move |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % below.max(1)
        };
        target(sample);
        for _ in 0..rounds {
            let mut data = sample.to_vec();
            for _ in 0..=next(5) {
                let at = next(data.len());
                match next(4) {
                    0 => data.truncate(at),
                    1 => {
                        let part = data[at..].to_vec();
                        data.extend(part);
                    }
                    _ => {
                        if let Some(byte) = data.get_mut(at) {
                            *byte = u8::try_from(next(256)).unwrap();
                        }
                    }
                }
            }
            target(&data);
        }
    }

    #[test]
    fn mutations_do_no_harm() {
        let command = br#"{"name": "deploy.execute_deploy_step", "params": {"step": {"step": "write_image",
            "args": {"image_info": {"id": "a", "urls": ["http://h/x"], "checksum": "00"}, "configdrive": null}},
            "node": {"uuid": "x"}, "ports": [], "flow": [{"standby.sync": {}}]}}"#;
        let lookup = br#"{"node": {"uuid": "11111111-2222-3333-4444-555555555555", "properties": {}},
            "config": {"heartbeat_timeout": 300, "agent_token": "x"}, "default_version": {"version": "1.115"},
            "error_message": "{\"faultstring\": \"no\"}"}"#;
        // RTM_NEWADDR of 127.0.0.1/8 on interface 1
        let address = [
            28, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 8, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0,
            127, 0, 0, 1,
        ];
        let boot = b"ipa-api-url=http://a:6385,https://b/v1 BOOTIF=01-52-54-00-12-34-56 ipa-lookup-timeout=300 x=\"a b\" # c";
        let headers = b"bytes 0-99/1234";
        let targets: [(Target, &[u8]); 6] = [
            (fuzz_command_body, command),
            (fuzz_command_parameters, command),
            (fuzz_replies, lookup),
            (fuzz_netlink, &address),
            (fuzz_boot_parameters, boot),
            (fuzz_headers, headers),
        ];
        for (target, sample) in targets {
            drive(target, sample, 3000);
        }
    }
}
