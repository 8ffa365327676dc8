//! One node's life: enroll, manage, clean, deploy, boot, undeploy, clean again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::report::Story;
use super::{Agent, Client, Payload, watch};
use crate::process::wait_for;
use crate::testbed::{Console, Node, bmc, disk};

/// The phase from the client's command to the image's own boot.
pub const DEPLOY: &str = "deploy to local boot";

/// What every node goes through.
pub struct Task<'a> {
    pub client: &'a Client,
    pub image_url: String,
    pub image_sha256: String,
    pub payload: Payload,
    pub agent: Agent,
    pub story: &'a Story,
}

impl Task<'_> {
    /// The whole life of a node, watched.
    pub fn live(&self, node: &Node) -> Result<()> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch::watch(self.story, &node.name, &stop));
            let result = self.steps(node);
            stop.store(true, Ordering::SeqCst);
            let _ = watcher.join();
            result
        })
    }

    fn steps(&self, node: &Node) -> Result<()> {
        let name = node.name.as_str();
        let story = self.story;
        story.phase(name, "enroll", || self.enroll(node))?;
        story.phase(name, "manage", || {
            self.provision(name, &["manage"], "manageable")
        })?;
        story.phase(name, "provide (clean)", || {
            self.provision(name, &["provide"], "available")
        })?;
        self.old_data_is_gone(node)?;

        let host = format!(
            "{}-{:08x}",
            name.trim_start_matches("node-"),
            std::process::id() ^ unique()
        );
        let mut console = Console::open(&node.console_log);
        console.skip_to_end()?;
        self.choose_image(name)?;
        story.phase(name, DEPLOY, || {
            story.phase(name, "  deploy", || self.deploy(name, &host))?;
            story.phase(name, "  boot from disk", || {
                self.booted(node, &console, &host)
            })
        })?;
        story.phase(name, "undeploy (clean)", || {
            self.provision(name, &["undeploy"], "available")
        })?;
        let found = self.disk_when_off(node)?;
        ensure!(
            !found.gpt && !found.backup_gpt,
            "after undeploy the tenant's partition table is still there: {found}"
        );
        story.say(
            name,
            format!("undeployed, cleaned, available again; disk: {found}"),
        );
        Ok(())
    }

    fn enroll(&self, node: &Node) -> Result<()> {
        let name = node.name.as_str();
        let created = self.client.json(&[
            "node",
            "create",
            "--name",
            name,
            "--driver",
            "ipmi",
            "--driver-info",
            &format!("ipmi_address={}", node.bmc_address),
            "--driver-info",
            &format!("ipmi_username={}", bmc::USER),
            "--driver-info",
            &format!("ipmi_password={}", bmc::PASSWORD),
            "--property",
            &format!("capabilities=boot_mode:{}", node.firmware.boot_mode()),
            "--resource-class",
            "baremetal",
        ])?;
        let uuid = created
            .get("uuid")
            .and_then(Value::as_str)
            .context("the client shows no uuid")?;
        self.client
            .baremetal(&["port", "create", "--node", uuid, &node.mac])?;
        self.story
            .say(name, format!("enrolled as {uuid}, port {}", node.mac));
        Ok(())
    }

    /// A verb by the upstream client, which waits until the node has got there.
    fn provision(&self, name: &str, verb: &[&str], expected: &str) -> Result<()> {
        let mut arguments = vec!["node"];
        arguments.extend(verb);
        arguments.extend(["--wait", "900", name]);
        self.client.baremetal(&arguments)?;
        let node = watch::node(name)?;
        let state = watch::text(&node, "provision_state");
        ensure!(
            state == expected,
            "{} ended in {state}: {}",
            verb.join(" "),
            watch::text(&node, "last_error")
        );
        Ok(())
    }

    fn choose_image(&self, name: &str) -> Result<()> {
        let source = format!("image_source={}", self.image_url);
        let value = format!("image_os_hash_value={}", self.image_sha256);
        let items = [source.as_str(), "image_os_hash_algo=sha256", value.as_str()];
        let mut set = vec!["node", "set", name];
        for item in items {
            set.extend(["--instance-info", item]);
        }
        self.client.baremetal(&set)?;
        Ok(())
    }

    fn deploy(&self, name: &str, host: &str) -> Result<()> {
        let drive = json!({ "meta_data": { "hostname": host } }).to_string();
        self.provision(name, &["deploy", "--config-drive", &drive], "active")
    }

    fn booted(&self, node: &Node, console: &Console, host: &str) -> Result<()> {
        let pattern = match self.payload {
            Payload::Debian => format!("{host} login:"),
            Payload::Tiny => format!("host={host} "),
        };
        let line = console.wait_for(&pattern, Duration::from_secs(600))?;
        self.story
            .say(&node.name, format!("serial console: {}", line.trim()));
        Ok(())
    }

    fn old_data_is_gone(&self, node: &Node) -> Result<()> {
        let found = self.disk_when_off(node)?;
        let clean = match self.agent {
            Agent::Bessemer => found == disk::OldData::NONE,
            // upstream's erases partition tables and signatures, and leaves what lies between them
            Agent::Upstream => !found.gpt && !found.backup_gpt && !found.md_superblock,
        };
        if !clean {
            bail!("cleaning left old data on the disk: {found}");
        }
        self.story.say(
            &node.name,
            format!("looked at the disk after cleaning: {found}"),
        );
        Ok(())
    }

    /// The disk cannot be looked at while the machine writes; an available node is off.
    fn disk_when_off(&self, node: &Node) -> Result<disk::OldData> {
        wait_for(
            &format!("{} to be off", node.name),
            Duration::from_secs(30),
            || Ok(node.running().is_none().then_some(())),
        )?;
        disk::look_for_old_data(node)
    }
}

/// So that a host name of an earlier run cannot pass for this one's.
fn unique() -> u32 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.subsec_nanos() ^ (now.as_secs() as u32)
}
