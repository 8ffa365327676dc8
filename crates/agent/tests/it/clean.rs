//! Cleaning.

use serde_json::json;

use crate::images::run;
use crate::world::{MIB, NODE, Options, World};

fn step(name: &str) -> serde_json::Value {
    json!({"step": {"step": name, "interface": "deploy", "priority": 99,
                    "bessemer": {"operation": "o", "index": 0, "attempt": 1}},
           "node": {"uuid": NODE, "properties": {"skip_block_devices": [{"name": "/dev/vdc"}]},
                    "instance_info": {}, "driver_internal_info": {"agent_erase_devices_iterations": 2}},
           "ports": [], "clean_version": {"bessemer_hardware_manager": "1.0"}})
}

/// GPT with a file system, an md superblock of version 1.0 at the end, a marker.
fn old_data(disk: &crate::world::Disk) {
    let path = disk.path.to_str().unwrap();
    run("sgdisk", &["-n", "1:2048:+8M", path]);
    let fs = disk.path.with_extension("fs");
    std::fs::File::create(&fs)
        .unwrap()
        .set_len(8 * MIB)
        .unwrap();
    run("mkfs.vfat", &[fs.to_str().unwrap()]);
    disk.write(MIB, &std::fs::read(&fs).unwrap());
    disk.write(
        (disk.size / 512 - 16) / 8 * 8 * 512,
        &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_all_disks_but_the_excluded() {
    let world = World::new(Options::default()).await;
    let disks: Vec<_> = ["vda", "vdb", "vdc", "vdd", "vde"]
        .iter()
        .map(|name| world.disk(name, 64 * MIB))
        .collect();
    for disk in &disks {
        old_data(disk);
        disk.write(disk.size / 2, b"marker");
    }
    std::fs::write(disks[3].sys.join("ro"), "1\n").unwrap();
    std::fs::write(disks[4].sys.join("removable"), "1\n").unwrap();
    let before: Vec<_> = disks
        .iter()
        .map(|d| std::fs::read(&d.path).unwrap())
        .collect();
    let agent = world.agent().await;
    let steps = agent
        .succeed("clean.get_clean_steps", json!({"node": {}, "ports": []}))
        .await;
    assert_eq!(
        steps["clean_steps"]["BessemerHardwareManager"][0]["step"],
        "erase_devices_metadata"
    );
    assert_eq!(
        steps["hardware_manager_version"]["bessemer_hardware_manager"],
        "1.0"
    );
    let result = agent
        .succeed("clean.execute_clean_step", step("erase_devices_metadata"))
        .await;
    assert_eq!(result["clean_step"]["bessemer"]["operation"], "o");
    let report = result["clean_result"]["/dev/vda"]["removed"].to_string();
    for mark in ["GPT", "FAT", "md 1.0"] {
        assert!(report.contains(mark), "{report}");
    }
    for disk in &disks[..2] {
        let path = disk.path.to_str().unwrap();
        let wipefs = run("wipefs", &["-n", path]);
        assert_eq!(wipefs.trim(), "", "{wipefs}");
        assert_eq!(disk.read(disk.size / 2, 6), b"marker", "only metadata");
    }
    for (disk, before) in disks.iter().zip(&before).skip(2) {
        assert!(
            *before == std::fs::read(&disk.path).unwrap(),
            "{:?}",
            disk.path
        );
    }
    // a planned version of another agent
    let mut other = step("erase_devices_metadata");
    other["clean_version"] = json!({"generic_hardware_manager": "1.2"});
    let result = agent.run("clean.execute_clean_step", other).await;
    assert_eq!(
        result.command_status,
        bessemer_wire::CommandStatus::CleanVersionMismatch
    );
    // everything
    let result = agent
        .succeed("clean.execute_clean_step", step("erase_devices"))
        .await;
    assert_eq!(result["clean_result"]["/dev/vdb"]["zeroed_bytes"], 64 * MIB);
    assert_eq!(result["clean_result"]["/dev/vdb"]["passes"], 2);
    for disk in &disks[..2] {
        assert!(std::fs::read(&disk.path).unwrap().iter().all(|b| *b == 0));
    }
    for (disk, before) in disks.iter().zip(&before).skip(2) {
        assert!(
            *before == std::fs::read(&disk.path).unwrap(),
            "{:?}",
            disk.path
        );
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_file_system_stops_everything() {
    let world = World::new(Options::default()).await;
    let first = world.disk("vda", 64 * MIB);
    old_data(&first);
    let shared = world.disk("vdb", 64 * MIB);
    shared.write(MIB, &[0x0d, 0xd0, 0x01, 0xc0]);
    let before = std::fs::read(&first.path).unwrap();
    let agent = world.agent().await;
    for name in ["erase_devices_metadata", "erase_devices"] {
        let (kind, details) = agent.fail("clean.execute_clean_step", step(name)).await;
        assert_eq!(kind, "ProtectedDeviceError");
        assert!(
            details.contains("/dev/vdb") && details.contains("VMFS"),
            "{details}"
        );
    }
    assert!(before == std::fs::read(&first.path).unwrap());
    agent.stop().await;
}
