//! One machine: its description, its directories, its QEMU command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Run;
use crate::process::{command, output};

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The machine's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

impl Firmware {
    /// Upstream's name of the boot mode.
    pub fn boot_mode(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

/// What the network card brings for booting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rom {
    /// QEMU's default: iPXE is the card's option ROM.
    Ipxe,
    /// No option ROM: the firmware's own PXE (UEFI only).
    Native,
}

/// What kind of machine is wanted.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub name: String,
    /// Gives the addresses; also the number of its tap.
    pub index: u8,
    pub firmware: Firmware,
    pub rom: Rom,
    pub memory_mib: u32,
    pub disk_mib: u64,
    /// QEMU's accelerator: `tcg` works everywhere.
    pub accelerator: String,
    /// Further arguments for QEMU.
    pub extra: Vec<String>,
}

impl NodeSpec {
    /// A machine with 512 MiB of memory and a disk of 2 GiB.
    pub fn new(name: &str, index: u8, firmware: Firmware) -> NodeSpec {
        NodeSpec {
            name: name.to_owned(),
            index,
            firmware,
            rom: Rom::Ipxe,
            memory_mib: 512,
            disk_mib: 2048,
            accelerator: "tcg".into(),
            extra: Vec::new(),
        }
    }
}

/// A machine of the testbed. Also the file that the chassis program reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub index: u8,
    pub firmware: Firmware,
    pub rom: Rom,
    pub memory_mib: u32,
    pub accelerator: String,
    pub extra: Vec<String>,
    /// Of its network card.
    pub mac: String,
    pub tap: String,
    /// UUID in its SMBIOS tables.
    pub system_uuid: String,
    pub bmc_address: String,
    /// TCP ports on loopback: serial console, and the system interface of the BMC.
    pub serial_port: u16,
    pub kcs_port: u16,
    /// Sockets, pid file, boot device, UEFI variables.
    pub state: PathBuf,
    /// Its disk, qcow2.
    pub disk: PathBuf,
    pub console_log: PathBuf,
    pub qemu_log: PathBuf,
    pub bmc_log: PathBuf,
}

impl Node {
    /// Prepares a machine: directories, an empty disk, and its description for the chassis program.
    pub fn create(run: &Run, spec: &NodeSpec) -> Result<Node> {
        let state = run.state().join(&spec.name);
        let logs = run.logs().join(&spec.name);
        std::fs::create_dir_all(&state)?;
        std::fs::create_dir_all(&logs)?;
        let index = spec.index;
        let node = Node {
            name: spec.name.clone(),
            index,
            firmware: spec.firmware,
            rom: spec.rom,
            memory_mib: spec.memory_mib,
            accelerator: spec.accelerator.clone(),
            extra: spec.extra.clone(),
            mac: format!("52:54:00:77:00:{index:02x}"),
            tap: format!("t{index}"),
            system_uuid: format!("77000000-0000-4000-8000-0000000000{index:02x}"),
            bmc_address: format!("10.77.1.{}", 10 + u32::from(index)),
            serial_port: 9100 + u16::from(index) * 10,
            kcs_port: 9101 + u16::from(index) * 10,
            disk: run.work().join(format!("{}.qcow2", spec.name)),
            console_log: logs.join("console.log"),
            qemu_log: logs.join("qemu.log"),
            bmc_log: logs.join("bmc.log"),
            state,
        };
        std::fs::File::create(&node.console_log)?;
        let size = format!("{}M", spec.disk_mib);
        output(
            command("qemu-img")
                .args(["create", "-q", "-f", "qcow2"])
                .arg(&node.disk)
                .arg(size),
        )?;
        std::fs::write(
            node.state.join("node.json"),
            serde_json::to_vec_pretty(&node)?,
        )?;
        Ok(node)
    }

    /// Reads a description that [`Node::create`] wrote.
    pub fn load(state: &Path) -> Result<Node> {
        let path = state.join("node.json");
        let data =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&data)?)
    }

    /// QEMU's control socket.
    pub fn qmp(&self) -> PathBuf {
        self.state.join("qmp.sock")
    }

    /// QEMU's pid file.
    pub fn pid_file(&self) -> PathBuf {
        self.state.join("qemu.pid")
    }

    /// Process id of the running QEMU: the machine is on if and only if there is one.
    pub fn running(&self) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(self.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()?;
        // a zombie, or a stranger with the same number, is not our machine
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        line.windows(4).any(|part| part == b"qemu").then_some(pid)
    }

    /// The command that powers the machine on.
    pub fn qemu(&self, network_first: bool) -> Result<Command> {
        let (network, disk) = if network_first { (1, 2) } else { (2, 1) };
        let rom = match self.rom {
            Rom::Ipxe => "",
            Rom::Native => ",romfile=",
        };
        let name = &self.name;
        let mut qemu = command("qemu-system-x86_64");
        let mut add = |option: &str, value: String| {
            qemu.arg(option).arg(value);
        };
        add("-name", name.clone());
        add("-uuid", self.system_uuid.clone());
        add("-accel", self.accelerator.clone());
        add("-cpu", "max".into());
        // without graphics the firmware and iPXE speak on the serial port
        add("-M", "q35,graphics=off".into());
        add("-m", self.memory_mib.to_string());
        add("-display", "none".into());
        add(
            "-smbios",
            format!(
                "type=1,manufacturer=Bessemer,product=Testbed,serial=TB{:04}",
                self.index
            ),
        );
        add("-device", "virtio-rng-pci".into());
        add(
            "-netdev",
            format!("tap,id=n0,ifname={},script=no,downscript=no", self.tap),
        );
        add(
            "-device",
            format!(
                "virtio-net-pci,id=nic0,netdev=n0,mac={},bootindex={network}{rom}",
                self.mac
            ),
        );
        // nothing of a testbed outlives the host's power: flushes would only cost
        add(
            "-drive",
            format!(
                "if=none,id=d0,file={},format=qcow2,cache=unsafe,discard=unmap",
                self.disk.display()
            ),
        );
        add(
            "-device",
            format!("virtio-blk-pci,id=disk0,drive=d0,serial={name},bootindex={disk}"),
        );
        let log = self.console_log.display();
        let port = self.serial_port;
        add(
            "-chardev",
            format!(
                "socket,id=serial,host=127.0.0.1,port={port},server=on,wait=off,logfile={log},logappend=on"
            ),
        );
        add("-serial", "chardev:serial".into());
        add(
            "-chardev",
            format!(
                "socket,id=ipmi0,host=127.0.0.1,port={},reconnect=3",
                self.kcs_port
            ),
        );
        add("-device", "ipmi-bmc-extern,id=bmc0,chardev=ipmi0".into());
        add("-device", "isa-ipmi-kcs,bmc=bmc0".into());
        add(
            "-qmp",
            format!("unix:{},server=on,wait=off", self.qmp().display()),
        );
        add("-pidfile", self.pid_file().display().to_string());
        if self.firmware == Firmware::Uefi {
            let vars = self.state.join("vars.fd");
            if !vars.exists() {
                std::fs::copy(OVMF_VARS, &vars)
                    .with_context(|| format!("cannot copy {OVMF_VARS} (package ovmf)"))?;
            }
            add(
                "-drive",
                format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"),
            );
            add(
                "-drive",
                format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
            );
        }
        qemu.arg("-nodefaults").args(&self.extra);
        Ok(qemu)
    }
}
