//! Real firmware, real kernels, a BMC that is not ours, and the real server process, which dies on the way.
//!
//! The proofs are looked for outside of the server: on the disk, on the serial console, in the image server's log.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod controller;
mod parts;
mod properties;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bessemer_xtask::process::wait_for;
use bessemer_xtask::testbed::disk::{OldData, fill_with_old_data, look_for_old_data};
use bessemer_xtask::testbed::http::FileServer;
use bessemer_xtask::testbed::{self, Bmc, Console, Firmware, Node, NodeSpec, Run, network};
use controller::{
    Controller, LONG, SOON, enroll, event, provision, provision_with, reach, replace, text,
    timeline,
};
use parts::Parts;
use serde_json::{Value, json};

/// Bytes per second at which the killed deploy gets its image: the write takes ten seconds.
const SLOW: u64 = 1_500_000;

/// A BIOS and a UEFI machine side by side, from a disk with old data to their own system and one of them back. The server is killed
/// at three points of the BIOS machine's deploy; the UEFI machine is wherever it is then, and was cleaned over TFTP alone.
#[test]
fn deploy_survives_sigkill() {
    if Run::current("deploy_survives_sigkill").is_none() {
        Parts::get().expect("something to test");
    }
    testbed::inside("deploy_survives_sigkill", |run| {
        let parts = Parts::get()?;
        network::up(2)?;
        let machines = [
            machine(run, 0, Firmware::Bios)?,
            machine(run, 1, Firmware::Uefi)?,
        ];
        let mut controller = Controller::start(run, &parts)?;
        let [(bios, _), (uefi, _)] = &machines;
        let lived = life(run, &parts, &mut controller, bios, uefi);
        if lived.is_err() {
            report(&controller, &[bios, uefi]);
        }
        lived?;
        controller.stop()
    });
}

fn machine(run: &Run, index: u8, firmware: Firmware) -> Result<(Node, Bmc)> {
    let name = format!("node-{}", firmware.boot_mode());
    // without hints the root device is the smallest disk of at least 4 GiB
    let spec = NodeSpec {
        disk_mib: 4096,
        ..NodeSpec::new(&name, index, firmware)
    };
    let node = Node::create(run, &spec)?;
    fill_with_old_data(&node)?;
    ensure!(look_for_old_data(&node)? == OldData::ALL);
    let bmc = Bmc::start(&node, Path::new(env!("CARGO_BIN_EXE_xtask")))?;
    Ok((node, bmc))
}

fn life(
    run: &Run,
    parts: &Parts,
    controller: &mut Controller,
    bios: &Node,
    uefi: &Node,
) -> Result<()> {
    let nodes = [bios, uefi];
    enroll(bios, "ipxe")?;
    enroll(uefi, "pxe")?;
    for node in nodes {
        provision(node, "manage")?;
    }
    for node in nodes {
        reach(node, "manageable", SOON)?;
        provision(node, "provide")?;
    }
    controller.say("both are being cleaned");
    for node in nodes {
        reach(node, "available", LONG)?;
        controller.say(&format!("{} is available", node.name));
    }
    for node in nodes {
        let found = disk_when_off(node)?;
        ensure!(
            found == OldData::NONE,
            "{}: cleaning left old data: {found}",
            node.name
        );
    }
    came_by_tftp_alone(uefi)?;
    replace(uefi, &[("/boot_interface", json!("ipxe"))])?;

    let (slow_log, fast_log) = (run.logs().join("slow.log"), run.logs().join("fast.log"));
    let directory = &parts.image.directory;
    let slow = FileServer::start_slow("10.77.0.1:8090", directory, &slow_log, SLOW)?;
    let fast = FileServer::start("10.77.0.1:8091", directory, &fast_log, true)?;
    let whole = format!(
        "GET /tiny.qcow2 - -> 200 {} bytes",
        parts.image.qcow2.metadata()?.len()
    );
    let mut consoles = Vec::new();
    let known = timeline(bios)?.len();
    for (node, server) in [(bios, &slow), (uefi, &fast)] {
        let mut console = Console::open(&node.console_log);
        console.skip_to_end()?;
        consoles.push(console);
        deploy(
            node,
            &server.url("tiny.qcow2"),
            &parts.image.qcow2_sha256()?,
        )?;
    }
    let [on_bios, on_uefi] = consoles.as_slice() else {
        anyhow::bail!("two consoles");
    };
    controller.say("both are being deployed");

    reach(bios, "wait call-back", SOON)?;
    controller.kill("while it waits for the agent", || {
        ensure!(
            count(on_bios, "heartbeat accepted")? == 0,
            "the agent was there before the kill"
        );
        Ok(())
    })?;

    let progress = event(bios, known, " bytes/s", LONG)?;
    controller.kill(&format!("while the image is written ({progress})"), || {
        ensure!(
            count(on_bios, "command deploy.execute_deploy_step write_image")? == 1
                && lines(&slow_log, &whole)? == 0,
            "the image was written before the kill"
        );
        Ok(())
    })?;

    event(bios, known, "deploy step deploy.write_image is done", LONG)?;
    controller.kill("between two steps", || {
        ensure!(
            lines(&slow_log, &whole)? == 1,
            "the image was not sent once"
        );
        Ok(())
    })?;

    runs_its_own_system(controller, bios, on_bios)?;
    written_once(bios, on_bios, &slow_log, &whole)?;
    let agents = count(on_bios, "is process 1")?;
    ensure!(agents == 1, "the BIOS machine started {agents} agents");
    provision(bios, "deleted")?;
    runs_its_own_system(controller, uefi, on_uefi)?;
    written_once(uefi, on_uefi, &fast_log, &whole)?;
    reach(bios, "available", LONG)?;
    controller.say("node-bios is available again");
    let found = disk_when_off(bios)?;
    ensure!(
        !found.gpt && !found.backup_gpt,
        "the tenant's partition table is still there: {found}"
    );
    Ok(())
}

/// The host name that goes into the config drive.
fn host(node: &Node) -> String {
    format!("host-of-{}", node.name)
}

fn deploy(node: &Node, image: &str, sha256: &str) -> Result<()> {
    replace(
        node,
        &[
            ("/instance_info/image_source", json!(image)),
            ("/instance_info/image_os_hash_algo", json!("sha256")),
            ("/instance_info/image_os_hash_value", json!(sha256)),
        ],
    )?;
    let drive = json!({"meta_data": {"hostname": host(node)}});
    provision_with(node, json!({"target": "active", "configdrive": drive}))
}

/// The deploy ended well, and the machine says so itself.
fn runs_its_own_system(controller: &Controller, node: &Node, console: &Console) -> Result<()> {
    let shown = reach(node, "active", LONG)?;
    controller.say(&format!("{} is active", node.name));
    ensure!(
        shown.get("last_error") == Some(&Value::Null),
        "{}: {}",
        node.name,
        text(&shown, "last_error")
    );
    let line = console.wait_for(&format!("LOCAL-BOOT host={} ", host(node)), LONG)?;
    controller.say(&format!("console of {}: {}", node.name, line.trim()));
    Ok(())
}

/// One write, one download: nothing began twice. `whole` is the line of a complete download in the image server's log.
fn written_once(node: &Node, console: &Console, log: &Path, whole: &str) -> Result<()> {
    for once in [
        "command deploy.execute_deploy_step write_image",
        "image tiny.qcow2 complete",
    ] {
        let times = count(console, once)?;
        ensure!(times == 1, "{}: {once:?} {times} times", node.name);
    }
    let (sent, broken) = (lines(log, whole)?, lines(log, "broken off")?);
    ensure!(
        sent == 1 && broken == 0,
        "the image of {} was sent {sent} times, {broken} transfers were broken off",
        node.name
    );
    Ok(())
}

/// The disk cannot be looked at while the machine writes; an available node is off.
fn disk_when_off(node: &Node) -> Result<OldData> {
    wait_for(&format!("{} to be off", node.name), SOON, || {
        Ok(node.running().is_none().then_some(()))
    })?;
    look_for_old_data(node)
}

/// Everything that the machine loaded, up to the agent's heartbeat, came by TFTP.
fn came_by_tftp_alone(node: &Node) -> Result<()> {
    ensure!(
        count(&Console::open(&node.console_log), "heartbeat accepted")? > 0,
        "the agent sent no heartbeat"
    );
    let events = timeline(node)?;
    let directory = format!("ramdisk/{}", node.mac.replace(':', "-"));
    for file in ["kernel", "initramfs"] {
        let path = format!("{directory}/{file}: ");
        ensure!(
            events.iter().any(|event| event.starts_with("tftp ")
                && event.contains(&path)
                && event.contains(" sent to ")),
            "the timeline shows no TFTP transfer of {path}:\n{}",
            events.join("\n")
        );
    }
    let other = events.iter().find(|event| event.starts_with("http "));
    ensure!(other.is_none(), "something came by HTTP: {other:?}");
    Ok(())
}

/// Lines of a console with that text.
fn count(console: &Console, part: &str) -> Result<usize> {
    let text = console.text()?;
    Ok(text.lines().filter(|line| line.contains(part)).count())
}

/// Lines of a log with that text.
fn lines(log: &Path, part: &str) -> Result<usize> {
    let text =
        std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(text.lines().filter(|line| line.contains(part)).count())
}

/// What helps to see why it failed.
fn report(controller: &Controller, nodes: &[&Node]) {
    println!("\nlast of the server:\n  {}", controller.last_words());
    for node in nodes {
        let events = timeline(node).unwrap_or_default();
        let first = events.len().saturating_sub(25);
        println!(
            "last of the timeline of {}:\n  {}",
            node.name,
            events.get(first..).unwrap_or_default().join("\n  ")
        );
        let last = Console::open(&node.console_log).last(25);
        println!(
            "last on the console of {}:\n  {}",
            node.name,
            last.join("\n  ")
        );
    }
}
