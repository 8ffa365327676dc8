//! The real agent as an ordinary process, with a disk that is a file.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::programs::{Binary, program};

/// A machine's insides: sysfs of one network card and one disk, and the disk itself.
pub struct RealAgent {
    directory: PathBuf,
    mac: String,
    api: String,
    child: Option<Child>,
}

impl RealAgent {
    pub fn new(directory: PathBuf, mac: &str, api: &str, disk_bytes: u64) -> Self {
        let block = directory.join("sys/block/sda");
        let card = directory.join("sys/class/net/eth0");
        for path in [
            block.join("queue"),
            card.join("device"),
            directory.join("dev"),
            directory.join("proc"),
        ] {
            std::fs::create_dir_all(path).unwrap();
        }
        for (path, text) in [
            (block.join("ro"), "0"),
            (block.join("removable"), "0"),
            (block.join("serial"), "scenario"),
            (block.join("queue/rotational"), "0"),
            (card.join("address"), mac),
            (card.join("ifindex"), "2"),
            (card.join("carrier"), "1"),
        ] {
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        let agent = Self {
            directory,
            mac: mac.to_owned(),
            api: api.to_owned(),
            child: None,
        };
        agent.resize(disk_bytes);
        agent
    }

    pub fn disk(&self) -> PathBuf {
        self.directory.join("dev/sda")
    }

    /// Another disk, full of old data at both ends.
    pub fn resize(&self, bytes: u64) {
        use std::os::unix::fs::FileExt;
        std::fs::write(
            self.directory.join("sys/block/sda/size"),
            format!("{}\n", bytes / 512),
        )
        .unwrap();
        let file = std::fs::File::create(self.disk()).unwrap();
        file.set_len(bytes).unwrap();
        for offset in [0, bytes / 2, bytes - 4096] {
            file.write_all_at(&[0xa5; 4096], offset).unwrap();
        }
    }

    /// Bytes of the disk.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; length];
        std::fs::File::open(self.disk())
            .unwrap()
            .read_exact_at(&mut bytes, offset)
            .unwrap();
        bytes
    }

    /// The ramdisk has booted.
    pub fn boot(&mut self) {
        self.power_off();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("agent.log"))
            .unwrap();
        let mut command = Command::new(program(Binary::Agent));
        command.args([
            "--api-url",
            &self.api,
            "--listen",
            "127.0.0.1:0",
            "--advertise",
            "127.0.0.1",
        ]);
        for (option, part) in [
            ("--sysfs", "sys"),
            ("--procfs", "proc"),
            ("--dev-dir", "dev"),
        ] {
            command.arg(option).arg(self.directory.join(part));
        }
        let bootif = format!("BOOTIF=01-{}", self.mac.replace(':', "-"));
        for parameter in [
            bootif.as_str(),
            "ipa-lookup-interval=0.1",
            "ipa-disk-wait-attempts=1",
            "ipa-image-download-retries=1",
            "ipa-image-download-retry-interval=0.1",
        ] {
            command.args(["--param", parameter]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// What the agent said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default()
    }

    /// Its machine loses power.
    pub fn power_off(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        self.power_off();
    }
}
