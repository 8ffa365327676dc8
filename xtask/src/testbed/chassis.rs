//! The chassis behind a BMC: the program that `ipmi_sim` calls to switch a machine on and off (`chassis_control` of its `lan.conf`).
//!
//! Called as `get power`, `set power 1`, `set reset 1`, `set boot pxe`, `set shutdown 1`, `set identify SECONDS FORCE`; several pairs
//! may follow each other. It answers a `get` with `name:value`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::Node;
use crate::process::{pause, signal_process, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers one call of the BMC.
pub fn main(state: &Path, arguments: &[String]) -> Result<()> {
    let lock = std::fs::File::create(state.join("chassis.lock"))?;
    lock.lock()?;
    let node = Node::load(state)?;
    let mut rest = arguments.iter().map(String::as_str);
    match rest.next() {
        Some("get") => {
            for name in rest {
                let value = match name {
                    "power" => u8::from(node.running().is_some()).to_string(),
                    "boot" => boot_device(&node),
                    other => bail!("unknown property {other}"),
                };
                println!("{name}:{value}");
            }
            Ok(())
        }
        Some("set") => {
            while let Some(name) = rest.next() {
                let value = rest.next().context("a value is missing")?;
                match name {
                    "power" if value == "1" => power_on(&node)?,
                    "power" => power_off(&node)?,
                    "reset" => {
                        if node.running().is_some() {
                            qmp(&node, "system_reset")?;
                        }
                    }
                    "shutdown" => {
                        if node.running().is_some() {
                            qmp(&node, "system_powerdown")?;
                        }
                    }
                    "boot" => std::fs::write(state.join("boot"), value)?,
                    // the light on the front; "force" follows the seconds
                    "identify" => drop(rest.next()),
                    other => bail!("unknown property {other}"),
                }
            }
            Ok(())
        }
        _ => bail!("the first word is get or set"),
    }
}

fn boot_device(node: &Node) -> String {
    std::fs::read_to_string(node.state.join("boot"))
        .unwrap_or_else(|_| "default".into())
        .trim()
        .to_owned()
}

/// Powers the machine on and returns when it runs.
pub fn power_on(node: &Node) -> Result<()> {
    if node.running().is_some() {
        return Ok(());
    }
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&node.qemu_log)?;
    let mut qemu = node.qemu(boot_device(node) == "pxe")?;
    qemu.stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let mut child = qemu.spawn().context("cannot start QEMU")?;
    wait_for("QEMU to start", PATIENCE, || match child.try_wait()? {
        Some(status) => bail!(
            "QEMU ended at once ({status}), see {}",
            node.qemu_log.display()
        ),
        None => Ok(node.running()),
    })?;
    Ok(())
}

/// Takes the power away and returns when the machine is off.
pub fn power_off(node: &Node) -> Result<()> {
    let Some(pid) = node.running() else {
        return Ok(());
    };
    let _ = signal_process(pid, Signal::TERM);
    let end = std::time::Instant::now() + PATIENCE;
    while node.running().is_some() && std::time::Instant::now() < end {
        pause();
    }
    if node.running().is_some() {
        let _ = signal_process(pid, Signal::KILL);
    }
    wait_for("QEMU to end", PATIENCE, || {
        Ok(node.running().is_none().then_some(()))
    })
}

fn qmp(node: &Node, execute: &str) -> Result<()> {
    let stream = UnixStream::connect(node.qmp()).context("cannot reach QEMU's control socket")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    for command in ["qmp_capabilities", execute] {
        writeln!(writer, "{}", serde_json::json!({ "execute": command }))?;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                bail!("QEMU closed its control socket");
            }
            let answer: serde_json::Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}
