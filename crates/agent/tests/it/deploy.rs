//! Deploys that succeed.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::images::{config_drive, iso, qcow2, raw, run, sha256};
use crate::servers::Served;
use crate::world::{Disk, MIB, NODE, Options, Running, World};

const GIB: u64 = 1 << 30;

pub fn image_info(url: &str, format: &str, checksum: &str) -> Value {
    json!({"id": "image-1", "urls": [url], "disk_format": format, "container_format": "bare",
           "os_hash_algo": "sha256", "os_hash_value": checksum, "stream_raw_images": true,
           "image_type": "whole-disk", "node_uuid": NODE})
}

/// Everything of the image is on the disk, except what a larger disk makes different in the tables.
pub fn check_contents(disk: &Disk, image: &[u8]) {
    let (from, to) = (MIB as usize, image.len() - MIB as usize);
    assert_eq!(sha256(&disk.read(MIB, to - from)), sha256(&image[from..to]));
    let report = run("sgdisk", &["-v", disk.path.to_str().unwrap()]);
    assert!(report.contains("No problems found"), "{report}");
}

async fn deploy_step(agent: &Running, image: Value, drive: Option<String>) -> Value {
    agent
        .succeed(
            "deploy.execute_deploy_step",
            json!({
                "step": {"step": "write_image", "interface": "deploy", "priority": 0,
                         "args": {"image_info": image, "configdrive": drive},
                         "bessemer": {"operation": "op-1", "index": 3, "attempt": 2}},
                "node": {"uuid": NODE, "properties": {}, "instance_info": {}},
                "ports": [],
                "deploy_version": {"bessemer_hardware_manager": "1.0"},
            }),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn qcow2_by_ranges_with_config_drive() {
    let world = World::new(Options {
        uefi: true,
        ..Options::default()
    })
    .await;
    // the default rule: the smallest of at least 4 GiB
    let small = world.disk("vda", GIB);
    let large = world.disk("vdb", 6 * GIB);
    let disk = world.disk("vdc", 5 * GIB);
    for d in [&small, &large, &disk] {
        d.mark();
    }
    let raw_path = raw(world.directory.path());
    let image = std::fs::read(&raw_path).unwrap();
    let file = std::fs::read(qcow2(world.directory.path(), &raw_path, true)).unwrap();
    let checksum = sha256(&file);
    let url = world.images.put(
        "/a/image.qcow2",
        Served {
            bytes: Bytes::from(file),
            ..Served::default()
        },
    );
    let drive = iso(world.directory.path(), "host-of-the-drive");
    let agent = world.agent().await;
    let result = deploy_step(
        &agent,
        image_info(&url, "qcow2", &checksum),
        Some(config_drive(&drive)),
    )
    .await;
    assert_eq!(result["deploy_step"]["bessemer"]["operation"], "op-1");
    assert!(
        result["deploy_result"]
            .as_str()
            .unwrap()
            .contains("written to device /dev/vdc"),
        "{result}"
    );
    // a forced heartbeat after the first
    world.api.wait_for_heartbeats(2).await;
    assert!(small.is_as_marked() && large.is_as_marked());
    check_contents(&disk, &image);
    let path = disk.path.to_str().unwrap();
    let table = run("sgdisk", &["-p", path]);
    let line = table.lines().find(|l| l.contains("config-2")).unwrap();
    let start: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let offset = (start * 512).to_string();
    let blkid = run("blkid", &["-p", "-O", &offset, "-o", "export", path]);
    assert!(
        blkid.contains("TYPE=iso9660") && blkid.contains("LABEL=config-2"),
        "{blkid}"
    );
    let extracted = world.directory.path().join("extracted.iso");
    std::fs::write(&extracted, disk.read(start * 512, drive.len())).unwrap();
    let text = run(
        "isoinfo",
        &[
            "-R",
            "-x",
            "/openstack/latest/meta_data.json",
            "-i",
            extracted.to_str().unwrap(),
        ],
    );
    assert!(text.contains("host-of-the-drive"), "{text}");
    // the same once more is skipped: the file is not fetched again
    let before = world.images.ranges_asked("/a/image.qcow2").len();
    let again = agent
        .succeed(
            "standby.prepare_image",
            json!({"image_info": image_info(&url, "qcow2", &checksum), "configdrive": config_drive(&drive)}),
        )
        .await;
    assert!(
        again["result"]
            .as_str()
            .unwrap()
            .contains("already present"),
        "{again}"
    );
    assert_eq!(world.images.ranges_asked("/a/image.qcow2").len(), before);
    let uuids = agent
        .succeed("standby.get_partition_uuids", json!({}))
        .await;
    let esp = uuids["efi system partition uuid"].as_str().unwrap();
    let info = run("sgdisk", &["-i", "1", path]).to_lowercase();
    assert!(info.contains(esp), "{info} {esp}");
    // echo: the reference stays, the drive does not
    let (_, list) = agent
        .get(&format!(
            "/v1/commands/?agent_token={}",
            crate::world::TOKEN
        ))
        .await;
    let params = &list["commands"][0]["command_params"];
    assert_eq!(list["commands"][0]["command_name"], "execute_deploy_step");
    assert_eq!(params["step"]["bessemer"]["attempt"], 2);
    let echoed = params["step"]["args"]["configdrive"].as_str().unwrap();
    assert!(echoed.starts_with("<config drive of"), "{echoed}");
    boot_entry(&world, &agent).await;
    agent.stop().await;
}

async fn boot_entry(world: &World, agent: &Running) {
    let params =
        json!({"root_uuid": null, "efi_system_part_uuid": null, "target_boot_mode": "uefi"});
    let told = agent
        .succeed("image.install_bootloader", params.clone())
        .await;
    assert!(
        told["result"].as_str().unwrap().contains("no boot entry"),
        "efivars is empty: {told}"
    );
    let variables = world.directory.path().join("sys/firmware/efi/efivars");
    let order = variables.join("BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    std::fs::write(&order, [7, 0, 0, 0, 5, 0]).unwrap();
    let told = agent.succeed("image.install_bootloader", params).await;
    assert!(
        told["result"]
            .as_str()
            .unwrap()
            .contains("\\EFI\\BOOT\\BOOTX64.EFI on partition 1, first in the boot order"),
        "{told}"
    );
    assert_eq!(std::fs::read(&order).unwrap(), [7, 0, 0, 0, 0, 0, 5, 0]);
    let told = agent
        .succeed(
            "image.install_bootloader",
            json!({"target_boot_mode": "bios"}),
        )
        .await;
    assert!(told["result"].as_str().unwrap().contains("nothing to do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_streamed_then_power_off() {
    let world = World::new(Options {
        node: serde_json::from_value(
            json!({"properties": {"root_device": {"serial": "serial-vda"}}}),
        )
        .unwrap(),
        tls: false,
        ..Options::default()
    })
    .await;
    let disk = world.disk("vda", 64 * MIB);
    let other = world.disk("vdb", 64 * MIB);
    disk.mark();
    other.mark();
    let image = std::fs::read(raw(world.directory.path())).unwrap();
    let value = sha256(&image);
    // a checksum file, a redirect, credentials, a server that tells no length
    let url = world.images.put(
        "/real/image.raw",
        Served {
            bytes: Bytes::from(image.clone()),
            no_length: true,
            no_ranges: true,
            basic: Some("dXNlcjpwYXNz".to_owned()),
            ..Served::default()
        },
    );
    let moved = world.images.put(
        "/image.raw",
        Served {
            redirect: Some(url),
            ..Served::default()
        },
    );
    let sums = world.images.put(
        "/SHA256SUMS",
        Served {
            bytes: Bytes::from(format!(
                "{}  other.raw\n{value} *image.raw\n",
                "0".repeat(64)
            )),
            basic: Some("dXNlcjpwYXNz".to_owned()),
            ..Served::default()
        },
    );
    let agent = world.agent().await;
    assert!(agent.url.starts_with("http://"));
    let dead = "http://127.0.0.1:9/image.raw";
    let result = agent
        .succeed(
            "standby.prepare_image",
            json!({"image_info": {
                "id": "image-1", "urls": [dead, moved], "disk_format": "raw", "checksum": sums,
                "image_server_auth_strategy": "http_basic", "image_server_user": "user",
                "image_server_password": "pass", "stream_raw_images": true}}),
        )
        .await;
    assert!(
        result["result"]
            .as_str()
            .unwrap()
            .starts_with("prepare_image: image (image-1) written"),
        "{result}"
    );
    check_contents(&disk, &image);
    assert!(other.is_as_marked());
    agent.succeed("standby.sync", json!({})).await;
    let (status, body) = agent.post("standby.power_off", json!({}), false).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        agent.ended().await,
        Some(bessemer_agent::agent::End::PowerOff)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ranges_the_file_is_kept_on_the_disk() {
    let world = World::new(named("/dev/vda")).await;
    let disk = world.disk("vda", 96 * MIB);
    disk.mark();
    let raw_path = raw(world.directory.path());
    let image = std::fs::read(&raw_path).unwrap();
    let file = std::fs::read(qcow2(world.directory.path(), &raw_path, false)).unwrap();
    let checksum = sha256(&file);
    for (path, no_length) in [("/told.qcow2", false), ("/untold.qcow2", true)] {
        let url = world.images.put(
            path,
            Served {
                bytes: Bytes::from(file.clone()),
                no_ranges: true,
                no_length,
                ..Served::default()
            },
        );
        let mut info = image_info(&url, "qcow2", &checksum);
        info["id"] = json!(path);
        let agent = world.agent().await;
        agent
            .succeed("standby.prepare_image", json!({"image_info": info}))
            .await;
        check_contents(&disk, &image);
        assert_eq!(disk.read(24 * MIB, 4096), [0; 4096]);
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_goes_on_where_it_stopped() {
    for (format, no_ranges) in [("raw", false), ("raw", true), ("qcow2", false)] {
        let world = World::new(named("/dev/vda")).await;
        let disk = world.disk("vda", 96 * MIB);
        let raw_path = raw(world.directory.path());
        let image = std::fs::read(&raw_path).unwrap();
        let file = if format == "raw" {
            image.clone()
        } else {
            std::fs::read(qcow2(world.directory.path(), &raw_path, false)).unwrap()
        };
        let url = world.images.put(
            "/image",
            Served {
                bytes: Bytes::from(file.clone()),
                no_ranges,
                breaks: Some((3 << 20, 2)),
                ..Served::default()
            },
        );
        let agent = world.agent().await;
        agent
            .succeed(
                "standby.prepare_image",
                json!({"image_info": image_info(&url, format, &sha256(&file))}),
            )
            .await;
        check_contents(&disk, &image);
        let resumed = world
            .images
            .ranges_asked("/image")
            .iter()
            .flatten()
            .filter(|range| range.ends_with('-'))
            .count();
        assert!(resumed >= 1, "{:?}", world.images.ranges_asked("/image"));
        agent.stop().await;
    }
}

/// Options with a root device hint by name.
pub fn named(name: &str) -> Options {
    Options {
        node: serde_json::from_value(json!({"instance_info": {"root_device": {"name": name}}}))
            .unwrap(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_drive_forms_and_an_mbr() {
    let world = World::new(named("/dev/vda")).await;
    let disk = world.disk("vda", 96 * MIB);
    let path = world.directory.path().join("mbr.raw");
    let text = path.to_str().unwrap();
    std::fs::File::create(&path)
        .unwrap()
        .set_len(8 * MIB)
        .unwrap();
    let script = world.directory.path().join("script");
    std::fs::write(&script, "label: dos\nstart=2048, size=4096, type=83\n").unwrap();
    run(
        "sh",
        &[
            "-c",
            &format!("sfdisk -q {text} < {}", script.to_str().unwrap()),
        ],
    );
    let image = std::fs::read(&path).unwrap();
    let url = world.images.put(
        "/mbr.raw",
        Served {
            bytes: Bytes::from(image.clone()),
            ..Served::default()
        },
    );
    let drive = iso(world.directory.path(), "by-url");
    let by_url = world.images.put(
        "/drive",
        Served {
            bytes: Bytes::from(config_drive(&drive)),
            no_ranges: true,
            ..Served::default()
        },
    );
    let agent = world.agent().await;
    agent
        .succeed(
            "standby.prepare_image",
            json!({"image_info": image_info(&url, "raw", &sha256(&image)), "configdrive": by_url}),
        )
        .await;
    let table = run("sfdisk", &["-d", disk.path.to_str().unwrap()]);
    let line = table.lines().find(|l| l.contains("vda2")).unwrap();
    let start: u64 = line
        .split("start=")
        .nth(1)
        .and_then(|t| t.split(',').next())
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(disk.read(start * 512, drive.len()), drive);
    let (kind, details) = agent
        .fail(
            "standby.prepare_image",
            json!({"image_info": image_info(&url, "raw", &sha256(&image)), "configdrive": "bm90IGFuIGlzbw=="}),
        )
        .await;
    assert_eq!(kind, "DeploymentError");
    assert!(details.contains("config drive is malformed"), "{details}");
    agent.stop().await;
}
