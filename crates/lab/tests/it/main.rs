//! The lab as a process, judged by ipmitool and by a stand-in for a controller.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod redfish;
mod site;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bessemer_lab::{
    Content, Facts, Fault, LabProcess, Log, PowerChange, Settings, Span, Stage, WriteEnd,
    spawn_binary,
};
use bessemer_wire::CommandStatus;
use serde_json::{Value, json};
use site::{
    AgentClient, Loaders, NODE, Site, TOKEN, config_drive, image, sha256, step, write_image,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(settings: &Settings) -> LabProcess {
    spawn_binary(Path::new(env!("CARGO_BIN_EXE_bessemer-lab")), settings).unwrap()
}

/// A hundred times faster than real hosts.
fn fast(log: &Path, dhcp: std::net::SocketAddrV4) -> Settings {
    let mut settings = Settings::new(1, 5, log, dhcp);
    settings.time_scale = 0.01;
    settings
}

fn ipmitool(host: &Facts, arguments: &[&str]) -> Result<String, String> {
    ipmitool_with(host, &host.bmc_password, "17", arguments)
}

fn ipmitool_with(
    host: &Facts,
    password: &str,
    suite: &str,
    arguments: &[&str],
) -> Result<String, String> {
    let output = Command::new("ipmitool")
        .args(["-I", "lanplus", "-L", "ADMINISTRATOR", "-N", "1", "-R", "2"])
        .args([
            "-H",
            &host.bmc_address.to_string(),
            "-p",
            &host.bmc_port.to_string(),
        ])
        .args(["-U", &host.bmc_user, "-P", password, "-C", suite])
        .args(arguments)
        .output()
        .expect("ipmitool is needed for this test: install it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Events of a host as one word each.
fn events(log: &Log, host: &str) -> Vec<String> {
    log.of_host(host).map(|entry| entry.event.clone()).collect()
}

async fn until<T>(lab: &mut LabProcess, seen: impl FnMut(&Log) -> Option<T>) -> T {
    let found = lab.seen(PATIENCE, seen).await;
    found.unwrap_or_else(|error| {
        panic!(
            "{error}; the log ends with {:#?}",
            lab.log().unwrap().entries.last()
        )
    })
}

fn count(log: &Log, event: &str) -> usize {
    log.events("h0", event).count()
}

#[test]
fn ipmitool_drives_a_bmc() {
    let directory = tempfile::tempdir().unwrap();
    // nobody answers DHCP there, and the host stays in its firmware
    let mut settings = Settings::new(
        2,
        1,
        directory.path().join("log"),
        "127.0.0.1:9".parse().unwrap(),
    );
    settings.boot_delay = Span::millis(60_000, 60_000);
    let mut lab = start(&settings);
    let host = lab.hosts[1].clone();
    for suite in ["17", "3"] {
        let run = |arguments: &[&str]| {
            ipmitool_with(&host, &host.bmc_password, suite, arguments).unwrap()
        };
        assert_eq!(run(&["power", "status"]), "Chassis Power is off");
        run(&["chassis", "bootdev", "pxe", "options=efiboot"]);
        assert!(run(&["chassis", "bootparam", "get", "5"]).contains("Force PXE"));
        assert_eq!(run(&["power", "on"]), "Chassis Power Control: Up/On");
        assert_eq!(run(&["power", "status"]), "Chassis Power is on");
        run(&["chassis", "bootdev", "disk", "options=persistent"]);
        run(&["power", "reset"]);
        run(&["power", "off"]);
        assert_eq!(run(&["power", "status"]), "Chassis Power is off");
    }
    // unlike power on, these need power
    assert!(ipmitool(&host, &["power", "reset"]).is_err());
    let log = lab.log().unwrap();
    let set: Vec<Value> = log
        .events("h1", "boot_device_set")
        .map(|entry| {
            json!([
                entry.data["device"],
                entry.data["persistent"],
                entry.data["efi"]
            ])
        })
        .collect();
    assert_eq!(set[0], json!(["pxe", false, true]));
    assert_eq!(set[1], json!(["disk", true, false]));
    let power: Vec<_> = events(log, "h1")
        .into_iter()
        .filter(|e| e.starts_with("power") || e == "reset")
        .collect();
    assert_eq!(
        power,
        [
            "power_on",
            "reset",
            "power_off",
            "power_on",
            "reset",
            "power_off"
        ]
    );
    assert_eq!(events(log, "h0"), ["host"]);

    // a wrong password, a dead BMC, and both healed
    assert!(ipmitool_with(&host, "nonsense", "17", &["power", "status"]).is_err());
    lab.set_fault("h1", Fault::BmcWrongPassword, true, None)
        .unwrap();
    assert!(ipmitool(&host, &["power", "status"]).is_err());
    lab.set_fault("h1", Fault::BmcWrongPassword, false, None)
        .unwrap();
    lab.set_fault("h1", Fault::BmcUnreachable, true, None)
        .unwrap();
    assert!(ipmitool(&host, &["power", "status"]).is_err());
    lab.set_fault("h1", Fault::BmcUnreachable, false, None)
        .unwrap();
    lab.set_fault("h1", Fault::BmcRefuses, true, None).unwrap();
    assert!(ipmitool(&host, &["power", "on"]).is_err());
    lab.set_fault("h1", Fault::BmcRefuses, false, None).unwrap();
    lab.set_fault("h1", Fault::PowerStuck, true, None).unwrap();
    ipmitool(&host, &["power", "on"]).unwrap();
    assert_eq!(
        ipmitool(&host, &["power", "status"]).unwrap(),
        "Chassis Power is off"
    );
    assert!(lab.set_fault("h7", Fault::PowerStuck, true, None).is_err());
    let log = lab.stop().unwrap();
    assert!(log.violations().is_empty());
    assert!(!log.powered("h1"));
}

/// Off, cleaned, deployed, local boot; everything that a controller does, without one.
async fn whole_life(seed: u64) -> Log {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    let mut settings = fast(&directory.path().join("log"), site.dhcp);
    settings.seed = seed;
    let loaders = Loaders::start().await;
    settings.tftp = Some(loaders.address);
    let mut lab = start(&settings);
    let host = lab.hosts[0].clone();
    ipmitool(&host, &["chassis", "bootdev", "pxe"]).unwrap();
    ipmitool(&host, &["power", "on"]).unwrap();
    let agent = site.agent_after(0).await;

    let steps = agent
        .run("clean.get_clean_steps", json!({"node": {}, "ports": []}))
        .await;
    let steps = steps.command_result.unwrap();
    assert_eq!(
        steps["clean_steps"]["LabHardwareManager"][0]["step"],
        "erase_devices_metadata"
    );
    let mut erase = step("erase_devices_metadata", json!({}), "clean-1", 0);
    erase["clean_version"] = steps["hardware_manager_version"].clone();
    let erased = agent.run("clean.execute_clean_step", erase.clone()).await;
    assert_eq!(
        erased.command_result.unwrap()["clean_step"]["step"],
        "erase_devices_metadata"
    );
    site.agent_after(1).await;
    erase["clean_version"] = json!({"lab_hardware_manager": "0.9"});
    erase["step"]["bessemer"]["index"] = json!(1);
    let started = agent.start("clean.execute_clean_step", erase).await;
    assert_eq!(
        agent.ended(&started.id).await.command_status,
        CommandStatus::CleanVersionMismatch
    );

    agent
        .run("deploy.get_deploy_steps", json!({"node": {}, "ports": []}))
        .await;
    let arguments = write_image(&site, &sha256(&image()));
    let started = agent
        .start(
            "deploy.execute_deploy_step",
            step("write_image", arguments, "deploy-1", 3),
        )
        .await;
    assert_eq!(started.command_status, CommandStatus::Running);
    assert_eq!(started.command_params["step"]["bessemer"]["index"], 3);
    let drive = &started.command_params["step"]["args"]["configdrive"];
    assert!(drive.as_str().unwrap().len() < config_drive().0.len() + 256);
    let written = agent.ended(&started.id).await;
    assert_eq!(
        written.command_status,
        CommandStatus::Succeeded,
        "{written:?}"
    );
    agent.run("standby.sync", json!({})).await;
    let uuids = agent
        .run("standby.get_partition_uuids", json!({}))
        .await
        .command_result
        .unwrap();
    assert!(uuids["root uuid"].is_string());
    agent
        .run(
            "image.install_bootloader",
            json!({"root_uuid": null, "target_boot_mode": "uefi"}),
        )
        .await;
    assert_eq!(agent.list().await.unwrap().len(), 8);
    agent.start("standby.power_off", json!({})).await;
    until(&mut lab, |log| log.last("h0", "power_off").cloned()).await;
    assert_eq!(
        ipmitool(&host, &["power", "status"]).unwrap(),
        "Chassis Power is off"
    );
    ipmitool(&host, &["chassis", "bootdev", "disk", "options=persistent"]).unwrap();
    ipmitool(&host, &["power", "on"]).unwrap();
    until(&mut lab, |log| log.last("h0", "local_boot").cloned()).await;
    assert_eq!(lab.standing("h0").unwrap().stage, Stage::LocalOs);
    ipmitool(&host, &["power", "soft"]).unwrap();
    until(&mut lab, |log| (count(log, "power_off") == 2).then_some(())).await;
    assert_eq!(site.lookups(), 1);
    lab.stop().unwrap()
}

#[tokio::test]
async fn a_host_lives_its_whole_life_twice_the_same() {
    let log = whole_life(5).await;
    assert_eq!(log.violations(), []);
    let writes = log.image_writes("h0");
    assert_eq!(writes.len(), 1);
    assert_eq!(
        (writes[0].image.as_str(), writes[0].end),
        ("debian-12", WriteEnd::Complete)
    );
    let reference = writes[0].reference.as_ref().unwrap();
    assert_eq!(
        (
            reference.operation.as_str(),
            reference.index,
            reference.attempt
        ),
        ("deploy-1", 3, 1)
    );
    let expected = Content::Image {
        id: "debian-12".into(),
        sha256: Some(sha256(&image())),
        complete: true,
        config_drive: Some(config_drive().1),
        operation: Some("deploy-1".into()),
    };
    assert_eq!(log.final_disk("h0").unwrap().content, expected);
    assert_eq!(
        log.last("h0", "local_boot").unwrap().text("result"),
        Some("booted")
    );
    let boot: Vec<_> = events(&log, "h0").into_iter().take(15).collect();
    let expected = [
        "host",
        "boot_device_set",
        "power_on",
        "boot",
        "dhcp_ack",
        "tftp",
        "dhcp_ack",
        "http_get",
        "http_get",
        "http_get",
        "kernel_started",
        "dhcp_ack",
        "agent_started",
        "lookup",
        "heartbeat",
    ];
    assert_eq!(boot, expected);
    let roles: Vec<_> = log
        .events("h0", "dhcp_ack")
        .filter_map(|entry| entry.text("boot_file"))
        .collect();
    assert_eq!(roles, ["snponly.efi", "/boot/script"]);
    assert_eq!(
        log.last("h0", "tftp").unwrap().data["bytes"],
        json!(100_000)
    );
    let text =
        std::fs::read_to_string(env!("CARGO_MANIFEST_DIR").to_owned() + "/README.md").unwrap();
    for entry in &log.entries {
        assert!(
            text.contains(&format!("`{}`", entry.event)),
            "README.md does not explain {}",
            entry.event
        );
    }

    // when the heartbeat after a command falls between two requests depends on the caller; all else on the seed
    let sequence = |log: &Log| -> Vec<String> {
        log.of_host("h0")
            .filter(|entry| entry.event != "heartbeat")
            .map(|entry| entry.stable())
            .collect()
    };
    assert_eq!(sequence(&whole_life(5).await), sequence(&log));
}

/// A host whose agent has just sent its first heartbeat.
async fn with_agent(
    site: &Site,
    directory: &Path,
    change: impl FnOnce(&mut Settings),
) -> (LabProcess, AgentClient) {
    let mut settings = fast(&directory.join("log"), site.dhcp);
    change(&mut settings);
    let mut lab = start(&settings);
    let before = site.heartbeats();
    lab.power("h0", PowerChange::On).unwrap();
    let agent = site.agent_after(before).await;
    (lab, agent)
}

#[tokio::test]
async fn the_judge_sees_what_must_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    // long enough for everything that happens during a write
    let (mut lab, agent) = with_agent(&site, directory.path(), |s| {
        s.write_seconds = Span::millis(60_000, 60_000)
    })
    .await;
    let good = write_image(&site, &sha256(&image()));
    let order = |index| step("write_image", good.clone(), "o", index);

    // strangers, nonsense, and a second command while one runs
    let sync = json!({});
    assert_eq!(
        agent
            .post("wrong", "standby.sync", sync.clone())
            .await
            .unwrap()
            .0,
        401
    );
    assert_eq!(
        agent
            .post(TOKEN, "standby.nonsense", sync.clone())
            .await
            .unwrap()
            .0,
        400
    );
    assert_eq!(
        agent
            .post(TOKEN, "nonsense.sync", sync.clone())
            .await
            .unwrap()
            .0,
        404
    );
    let started = agent.start("deploy.execute_deploy_step", order(3)).await;
    assert_eq!(
        agent.post(TOKEN, "standby.sync", sync).await.unwrap().0,
        409
    );
    until(&mut lab, |log| {
        log.last("h0", "disk_write_started").cloned()
    })
    .await;
    let running = agent.list().await.unwrap();
    assert_eq!(running[0].id, started.id);
    assert_eq!(running[0].progress.as_ref().unwrap().total_bytes, 200_000);

    // the power goes while an image is written
    ipmitool(&lab.hosts[0].clone(), &["power", "off"]).unwrap();
    let log = lab.log().unwrap();
    assert_eq!(log.violations()[0].kind, "power_cut_during_write");
    assert_eq!(log.image_writes("h0")[0].end, WriteEnd::Interrupted);
    assert!(matches!(
        log.final_disk("h0").unwrap().content,
        Content::Image {
            complete: false,
            ..
        }
    ));
    assert!(agent.list().await.is_err(), "an agent without power");

    // the same command again, then again over the complete image
    let before = site.heartbeats();
    lab.power("h0", PowerChange::On).unwrap();
    let agent = site.agent_after(before).await;
    assert!(
        agent.list().await.unwrap().is_empty(),
        "a new agent knows nothing"
    );
    for _ in 0..2 {
        agent.run("deploy.execute_deploy_step", order(3)).await;
    }
    let kinds: Vec<_> = lab
        .log()
        .unwrap()
        .violations()
        .into_iter()
        .map(|v| v.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            "power_cut_during_write",
            "duplicate_destructive_command",
            "duplicate_destructive_command",
            "rewrite_of_complete_image"
        ]
    );
    let log = lab.stop().unwrap();
    let ends: Vec<_> = log.image_writes("h0").into_iter().map(|w| w.end).collect();
    assert_eq!(
        ends,
        [
            WriteEnd::Interrupted,
            WriteEnd::Complete,
            WriteEnd::Complete
        ]
    );
}

#[tokio::test]
async fn images_that_are_not_what_they_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    let (mut lab, agent) = with_agent(&site, directory.path(), |_| {}).await;
    let sum = sha256(&image());
    let mut index = 0;
    let mut fails = async |agent: &AgentClient, arguments: Value, class: &str, text: &str| {
        index += 1;
        let started = agent
            .start(
                "deploy.execute_deploy_step",
                step("write_image", arguments, "o", index),
            )
            .await;
        let ended = agent.ended(&started.id).await;
        let error = ended.command_error.expect(text);
        assert_eq!(error.kind, class, "{error:?}");
        assert!(error.details.contains(text), "{error:?}");
    };
    fails(
        &agent,
        write_image(&site, &"0".repeat(64)),
        "ImageChecksumError",
        &sum,
    )
    .await;
    assert_eq!(
        lab.log().unwrap().final_disk("h0").unwrap().content,
        Content::Erased
    );
    let mut missing = write_image(&site, &sum);
    missing["image_info"]["urls"] = json!([format!("{}/nothing", site.url)]);
    fails(
        &agent,
        missing,
        "ImageDownloadError",
        "/nothing answers 404",
    )
    .await;
    let mut qcow2 = write_image(&site, &sum);
    qcow2["image_info"]["disk_format"] = json!("qcow2");
    fails(&agent, qcow2, "InvalidImage", "declared as qcow2").await;
    let mut drive = write_image(&site, &sum);
    drive["configdrive"] = json!("bm90aGluZw==");
    fails(&agent, drive, "ImageWriteError", "not an ISO 9660").await;
    lab.set_fault("h0", Fault::SmallDisk, true, Some(1000.0))
        .unwrap();
    fails(
        &agent,
        write_image(&site, &sum),
        "ImageWriteError",
        "/dev/sda has 1000 bytes, the image has 200000",
    )
    .await;
    lab.set_fault("h0", Fault::SmallDisk, false, None).unwrap();
    // only the one with the wrong checksum reached the disk
    assert_eq!(lab.log().unwrap().image_writes("h0").len(), 1);
    lab.set_fault("h0", Fault::WriteFails, true, None).unwrap();
    fails(
        &agent,
        write_image(&site, &sum),
        "ImageWriteError",
        "Input/output error",
    )
    .await;
    assert!(matches!(
        lab.log().unwrap().final_disk("h0").unwrap().content,
        Content::Image {
            complete: false,
            ..
        }
    ));
    lab.set_fault("h0", Fault::WriteFails, false, None).unwrap();
    lab.set_fault("h0", Fault::EraseFails, true, None).unwrap();
    let started = agent
        .start(
            "clean.execute_clean_step",
            step("erase_devices", json!({}), "c", 0),
        )
        .await;
    assert_eq!(
        agent.ended(&started.id).await.command_error.unwrap().kind,
        "BlockDeviceEraseError"
    );

    // the agent dies in the middle, and the host stays on
    lab.set_fault("h0", Fault::AgentDiesInWrite, true, None)
        .unwrap();
    agent
        .start(
            "deploy.execute_deploy_step",
            step("write_image", write_image(&site, &sum), "o", 99),
        )
        .await;
    until(&mut lab, |log| log.last("h0", "agent_died").cloned()).await;
    assert!(agent.list().await.is_err(), "a dead agent");
    assert_eq!(lab.standing("h0").unwrap().stage, Stage::Stuck);
    let log = lab.stop().unwrap();
    assert!(log.powered("h0"));
    assert_eq!(log.violations(), []);
    assert_eq!(
        log.image_writes("h0").last().unwrap().end,
        WriteEnd::Interrupted
    );
}

#[tokio::test]
async fn hosts_that_do_not_come_up() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    let mut lab = start(&fast(&directory.path().join("log"), site.dhcp));
    lab.set_fault("h0", Fault::NeverBoots, true, None).unwrap();
    lab.power("h0", PowerChange::On).unwrap();
    until(&mut lab, |log| log.last("h0", "stuck").cloned()).await;
    lab.set_fault("h0", Fault::NeverBoots, false, None).unwrap();

    // not in the boot order: the old data do not boot, and the firmware begins again
    site.set_script("#!ipxe\nexit");
    lab.power("h0", PowerChange::Reset).unwrap();
    until(&mut lab, |log| {
        (count(log, "boot_failed") >= 2).then_some(())
    })
    .await;
    let log = lab.log().unwrap();
    assert_eq!(
        log.last("h0", "local_boot").unwrap().text("result"),
        Some("no bootable disk")
    );
    site.set_script("#!ipxe\npoweroff");
    until(&mut lab, |log| log.last("h0", "power_off").cloned()).await;

    lab.set_fault("h0", Fault::NoNetwork, true, None).unwrap();
    let before = count(lab.log().unwrap(), "network_boot_failed");
    lab.power("h0", PowerChange::On).unwrap();
    until(&mut lab, |log| {
        (count(log, "network_boot_failed") > before).then_some(())
    })
    .await;
    let log = lab.log().unwrap();
    assert_eq!(
        log.last("h0", "network_boot_failed").unwrap().text("why"),
        Some("no DHCP answer")
    );
    assert_eq!(lab.stop().unwrap().violations(), []);
    assert_eq!(site.heartbeats(), 0);
}

#[tokio::test]
async fn a_tenth_of_everything_is_lost_and_it_still_ends() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    let (mut lab, mut agent) = with_agent(&site, directory.path(), |s| s.loss = 0.1).await;
    // a caller that knows how to look before it acts again
    let arguments = step("write_image", write_image(&site, &sha256(&image())), "o", 1);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "the image is not written"
        );
        let Ok(commands) = agent.list().await else {
            continue;
        };
        let ours = commands
            .iter()
            .find(|c| c.command_params["step"]["bessemer"]["operation"] == "o");
        match ours.map(|command| command.command_status) {
            None => drop(
                agent
                    .post(TOKEN, "deploy.execute_deploy_step", arguments.clone())
                    .await,
            ),
            Some(CommandStatus::Running) => tokio::time::sleep(Duration::from_millis(5)).await,
            Some(status) => {
                assert_eq!(status, CommandStatus::Succeeded);
                break;
            }
        }
    }
    let host = lab.hosts[0].clone();
    let off = (0..20).any(|_| ipmitool(&host, &["power", "off"]).is_ok());
    assert!(off, "ipmitool never got through");
    let before = site.heartbeats();
    let on = (0..20).any(|_| ipmitool(&host, &["power", "on"]).is_ok());
    assert!(on, "ipmitool never got through");
    agent = site.agent_after(before).await;
    assert!(agent.url.starts_with("https://127.77.1."));
    until(&mut lab, |log| log.last("h0", "heartbeat").cloned()).await;
    let log = lab.stop().unwrap();
    assert_eq!(log.violations(), []);
    assert_eq!(log.image_writes("h0").len(), 1);
    assert_eq!(log.last("h0", "lookup").unwrap().text("node"), Some(NODE));
}

#[tokio::test]
async fn many_boot_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start().await;
    let mut settings = fast(&directory.path().join("log"), site.dhcp);
    settings.hosts = 40;
    let mut lab = start(&settings);
    lab.power("*", PowerChange::On).unwrap();
    until(&mut lab, |log| {
        let all = log
            .entries
            .iter()
            .filter(|entry| entry.event == "heartbeat" && entry.text("reason") == Some("first"));
        (all.count() >= 40).then_some(())
    })
    .await;
    assert_eq!(site.lookups(), 40);
    lab.power("*", PowerChange::Off).unwrap();
    let log = lab.stop().unwrap();
    assert!((0..40).all(|n| !log.powered(&format!("h{n}"))));
}

#[test]
fn a_thousand_idle_hosts_are_cheap() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::new(
        1000,
        1,
        directory.path().join("log"),
        "127.0.0.1:9".parse().unwrap(),
    );
    let lab = start(&settings);
    assert_eq!(lab.hosts.len(), 1000);
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.id())).unwrap();
    let number = |key: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(number("VmRSS:") < 64 * 1024, "{} KiB", number("VmRSS:"));
    assert!(number("Threads:") < 10);
    assert_eq!(
        ipmitool(&lab.hosts[999], &["power", "status"]).unwrap(),
        "Chassis Power is off"
    );
    lab.stop().unwrap();
}
