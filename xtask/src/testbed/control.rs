//! An independent control of the testbed: dnsmasq for DHCP, TFTP and router advertisements, our small HTTP server for the files.
//!
//! When a machine does not boot from Bessemer's services, this tells whether the testbed is at fault.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::bmc::ipmitool;
use super::http::FileServer;
use super::{Bmc, Console, Firmware, Node, NodeSpec, Rom, Run, network};
use crate::cache::Cache;
use crate::image::busybox;
use crate::process::{Daemon, command};

const SCRIPT: &str = "#!ipxe\n\
    kernel http://10.77.0.1:8080/vmlinuz console=ttyS0 panic=-1 quiet initrd=control.initramfs\n\
    initrd http://10.77.0.1:8080/control.initramfs\n\
    boot\n";

/// The network works; off again.
const OFF: &str = r#"
echo "CONTROL-DONE $(cat /proc/uptime)"
sync
poweroff -f
"#;

/// dnsmasq and the file server.
#[derive(Debug)]
pub struct Control {
    _dnsmasq: Daemon,
    _server: FileServer,
}

impl Control {
    /// Starts both on the bridge: machines boot a ramdisk that brings up the network and runs `script`. `files` are served, too.
    pub fn start(run: &Run, cache: &Cache, script: &str, files: &[&Path]) -> Result<Control> {
        let root = run.work().join("control");
        std::fs::create_dir_all(&root)?;
        busybox::write_control(cache, &root, script)?;
        for file in files {
            std::fs::copy(file, root.join(file.file_name().unwrap_or_default()))?;
        }
        std::fs::write(root.join("boot.ipxe"), SCRIPT)?;
        std::fs::copy("/usr/lib/ipxe/snponly.efi", root.join("snponly.efi"))?;
        let config = run.state().join("dnsmasq.conf");
        std::fs::write(&config, dnsmasq_conf(&root, &run.state().join("leases")))?;
        let mut dnsmasq = command("dnsmasq");
        dnsmasq
            .arg("-C")
            .arg(&config)
            .args(["-d", "--log-facility=-"]);
        Ok(Control {
            _dnsmasq: Daemon::start("dnsmasq", &mut dnsmasq, &run.logs().join("dnsmasq.log"))?,
            _server: FileServer::start(
                "10.77.0.1:8080",
                &root,
                &run.logs().join("http.log"),
                true,
            )?,
        })
    }
}

fn dnsmasq_conf(root: &Path, leases: &Path) -> String {
    format!(
        "port=0\ninterface=br0\nbind-interfaces\nexcept-interface=lo\nno-ping\nlog-dhcp\ndhcp-authoritative\nuser=root\n\
         dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,10m\n\
         enable-ra\ndhcp-range=fd77::,ra-only,64,10m\n\
         enable-tftp\ntftp-root={}\ndhcp-leasefile={}\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-boot=tag:ipxe,http://10.77.0.1:8080/boot.ipxe\n\
         dhcp-boot=tag:!ipxe,snponly.efi\n",
        root.display(),
        leases.display()
    )
}

/// Boots machines of both firmwares through the control, and then the tiny image from their disks; prints how long it took.
pub fn check(run: &Run, xtask: &Path, accelerator: &str) -> Result<()> {
    let cache = Cache::open()?;
    let tiny = crate::image::tiny::build(&cache)?;
    network::up(3)?;
    let _control = Control::start(run, &cache, OFF, &[])?;
    let machines = [
        ("bios", Firmware::Bios, Rom::Ipxe),
        ("uefi", Firmware::Uefi, Rom::Ipxe),
        ("uefi-native", Firmware::Uefi, Rom::Native),
    ];
    for (index, (name, firmware, rom)) in (0u8..).zip(machines) {
        let spec = NodeSpec {
            rom,
            accelerator: accelerator.into(),
            ..NodeSpec::new(name, index, firmware)
        };
        let node = Node::create(run, &spec)?;
        super::disk::fill_with_old_data(&node)?;
        let _bmc = Bmc::start(&node, xtask)?;
        println!(
            "{name}: disk before: {}",
            super::disk::look_for_old_data(&node)?
        );
        let mut console = Console::open(&node.console_log);
        ipmitool(&node, &["chassis", "bootdev", "pxe"])?;
        let start = std::time::Instant::now();
        ipmitool(&node, &["chassis", "power", "on"])?;
        console.wait_for("CONTROL-INIT", Duration::from_secs(120))?;
        println!(
            "{name}: network boot: init after {:.1} s",
            start.elapsed().as_secs_f32()
        );
        console.wait_for("CONTROL-DONE", Duration::from_secs(60))?;
        // the guest powers itself off: the BMC must see it
        crate::process::wait_for("the machine to be off", Duration::from_secs(10), || {
            Ok(ipmitool(&node, &["chassis", "power", "status"])?
                .contains("is off")
                .then_some(()))
        })?;
        write_tiny(run, &node, &tiny, name)?;
        console.skip_to_end()?;
        ipmitool(&node, &["chassis", "bootdev", "disk"])?;
        let start = std::time::Instant::now();
        ipmitool(&node, &["chassis", "power", "on"])?;
        let line = console.wait_for(crate::image::tiny::LOCAL_BOOT, Duration::from_secs(120))?;
        println!(
            "{name}: local boot after {:.1} s: {line}",
            start.elapsed().as_secs_f32()
        );
        anyhow::ensure!(
            line.contains(&format!("host=host-{name} ")),
            "the host name is not that of the config drive"
        );
        ipmitool(&node, &["chassis", "power", "off"])?;
    }
    Ok(())
}

fn write_tiny(run: &Run, node: &Node, tiny: &crate::image::Image, name: &str) -> Result<()> {
    use crate::image::config_drive;
    let (disk, iso) = (run.work().join("tiny.raw"), run.work().join("config.iso"));
    std::fs::copy(&tiny.raw, &disk)?;
    std::fs::File::options()
        .write(true)
        .open(&disk)?
        .set_len(64 << 20)?;
    config_drive::write(
        &iso,
        &serde_json::json!({"uuid": "u-1", "hostname": format!("host-{name}")}),
        None,
    )?;
    config_drive::append(&disk, &iso)?;
    crate::process::output(
        command("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(&disk)
            .arg(&node.disk),
    )?;
    Ok(())
}
