#![allow(clippy::unwrap_used, clippy::expect_used)]
use serde_json::json;

use super::*;

const GIB: u64 = 1 << 30;

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn disks() -> Vec<Disk> {
    vec![
        Disk {
            name: "/dev/sda".into(),
            size: 100 * GIB,
            model: owned("Samsung SSD 970 PRO"),
            vendor: owned("ATA"),
            serial: owned("S4EWNX0R"),
            wwn: owned("0x5000c500a1b2c3d4"),
            hctl: owned("2:0:0:0"),
            by_path: owned("/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
            tran: owned("sata"),
            ..Disk::default()
        },
        Disk {
            name: "/dev/sdb".into(),
            size: 2000 * GIB,
            model: owned("ST2000"),
            vendor: owned("Seagate"),
            serial: owned("12345"),
            wwn: owned("0x5000c500ffffffff"),
            rotational: true,
            hctl: owned("3:0:0:0"),
            tran: owned("sas"),
            ..Disk::default()
        },
        Disk {
            name: "/dev/vda".into(),
            size: 10 * GIB + 512,
            vendor: owned("0x1af4"),
            rotational: true,
            by_path: owned("/dev/disk/by-path/pci-0000:00:04.0"),
            tran: owned("virtio"),
            ..Disk::default()
        },
    ]
}

/// Letters of the disks that match, or "invalid".
fn check(hints: Value, expected: &str) {
    let disks = disks();
    let got = match Hints::parse(&hints) {
        Ok(parsed) => find_devices(&parsed, &disks)
            .iter()
            .map(|d| &d.name[5..8])
            .collect::<Vec<_>>()
            .join(" "),
        Err(Error::BadHint { .. }) => "invalid".to_owned(),
        Err(other) => panic!("{hints}: {other}"),
    };
    assert_eq!(got, expected, "{hints}");
}

/// The answers of upstream's agent (ironic-python-agent 13.0.0) to the same hints and disks.
#[test]
fn as_upstream_evaluates_them() {
    check(json!({"size": 100}), "sda");
    check(json!({"size": "100"}), "sda");
    check(json!({"size": "= 100"}), "sda sdb");
    check(json!({"size": ">= 100"}), "sda sdb");
    check(json!({"size": ">=10"}), "sda sdb vda");
    check(json!({"size": "> 100"}), "sdb");
    check(json!({"size": "< 100"}), "vda");
    check(json!({"size": "<= 100"}), "sda vda");
    check(json!({"size": "!= 100"}), "sdb vda");
    check(json!({"size": "== 10"}), "");
    check(json!({"size": "== 2000"}), "sdb");
    for bad in [
        json!(0),
        json!("-5"),
        json!("abc"),
        json!("10.5"),
        json!(""),
        json!(null),
        json!(true),
    ] {
        check(json!({"size": bad}), "invalid");
    }
    check(json!({"model": "samsung ssd 970 pro"}), "sda");
    check(json!({"model": "Samsung SSD"}), "");
    check(json!({"model": "<in> samsung"}), "sda");
    check(json!({"model": "<in> SSD 970"}), "sda");
    check(json!({"model": "s== ST2000"}), "sdb");
    check(json!({"model": "s!= ST2000"}), "sda vda");
    check(
        json!({"model": "<or> st2000 <or> Samsung SSD 970 PRO"}),
        "sda sdb",
    );
    check(json!({"model": "s< st"}), "sda vda");
    check(json!({"model": "s<= st2000"}), "sda sdb vda");
    check(json!({"model": "s> samsung"}), "sda sdb");
    check(json!({"model": "s>= samsung ssd 970 pro"}), "sda sdb");
    check(json!({"model": "s==ST2000"}), "sdb");
    check(json!({"model": 5}), "invalid");
    check(json!({"model": ""}), "invalid");
    check(json!({"serial": "12345"}), "sdb");
    check(json!({"serial": "s!= 12345"}), "sda vda");
    check(json!({"vendor": "ata"}), "sda");
    check(json!({"vendor": "<or> ata <or> seagate"}), "sda sdb");
    check(json!({"wwn": "0x5000C500A1B2C3D4"}), "sda");
    check(json!({"wwn": "<in> 0x5000c500"}), "sda sdb");
    check(json!({"name": "/dev/sdb"}), "sdb");
    check(json!({"name": "<in> sd"}), "sda sdb");
    check(json!({"hctl": "2:0:0:0"}), "sda");
    check(json!({"hctl": "<in> :0:0:0"}), "sda sdb");
    check(
        json!({"by_path": "/dev/disk/by-path/pci-0000:00:04.0"}),
        "vda",
    );
    check(json!({"by_path": "<in> ata-1"}), "sda");
    check(json!({"tran": "sas"}), "sdb");
    check(json!({"tran": "<or> sas <or> sata"}), "sda sdb");
    check(json!({"rotational": true}), "sdb vda");
    check(json!({"rotational": "false"}), "sda");
    check(json!({"rotational": "Yes"}), "sdb vda");
    check(json!({"rotational": 1}), "sdb vda");
    check(json!({"rotational": "maybe"}), "invalid");
    check(json!({"rotational": true, "size": ">= 1000"}), "sdb");
    check(
        json!({"size": "> 50", "model": "<in> samsung", "rotational": false}),
        "sda",
    );
    check(json!({"foo": "bar"}), "invalid");
    check(json!({"model": "foo <or> bar"}), "");
    check(json!({}), "sda sdb vda");
    check(json!(null), "sda sdb vda");
}

/// Where upstream fails only on the node, or never matches.
#[test]
fn what_upstream_cannot_evaluate() {
    check(json!({"size": "<or> 100 <or> 2000"}), "sda sdb");
    check(json!({"size": "<range-in> [ 100 2000 ]"}), "sda sdb");
    check(json!({"size": "<range-in> [ 100 2000 )"}), "sda");
    check(json!({"size": "<range-in> ( 100 2000 ]"}), "sdb");
    check(json!({"size": "<range-in> ( 100 2000 )"}), "");
    check(json!({"size": "<range-in> [10 11]"}), "vda");
    check(json!({"model": "<all-in> SSD Samsung"}), "sda");
    check(json!({"serial": "== 12345"}), "sdb");
    check(json!({"serial": ">= 12000"}), "sdb");
    check(json!({"serial": "<range-in> [ 12000 13000 ]"}), "sdb");
    for bad in [
        json!({"size": "<range-in> [ 20 10 ]"}),
        json!({"size": "<range-in> [ 20 ]"}),
        json!({"size": "<range-in> 20 30"}),
        json!({"size": "<range-in> [ 10 inf ]"}),
        json!({"size": "s== 100"}),
        json!({"size": "<in> 100"}),
        json!({"model": "== Samsung"}),
        json!({"model": "<or>"}),
        json!({"model": "<or> a <or>"}),
        json!({"model": "s== a s== b"}),
        json!({"model": "s=="}),
        json!(["size"]),
        json!("size"),
    ] {
        check(bad, "invalid");
    }
}

#[test]
fn the_default_is_the_smallest_disk_of_at_least_4_gib() {
    let disk = |name: &str, size| Disk {
        name: name.into(),
        size,
        ..Disk::default()
    };
    let disks = [
        disk("/dev/sdc", 8 * GIB),
        disk("/dev/sda", 4 * GIB - 1),
        disk("/dev/sdb", 8 * GIB),
        disk("/dev/sdd", 9 * GIB),
    ];
    assert_eq!(
        choose_root_device(&Hints::default(), &disks).unwrap().name,
        "/dev/sdb"
    );
    assert_eq!(
        choose_root_device(&Hints::default(), &disks[3..])
            .unwrap()
            .name,
        "/dev/sdd"
    );
    let error = choose_root_device(&Hints::default(), &disks[1..2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no disk matches the root device hints (none: the smallest disk of at least 4 GiB); \
         disks found: /dev/sda (4.00 GiB)"
    );
}

#[test]
fn the_error_names_hints_and_candidates() {
    let hints = Hints::parse(&json!({"serial": "nowhere", "size": ">= 10"})).unwrap();
    assert_eq!(
        choose_root_device(&hints, &disks()[..2])
            .unwrap_err()
            .to_string(),
        "no disk matches the root device hints {\"serial\":\"nowhere\",\"size\":\">= 10\"}; disks found: \
         /dev/sda (100.00 GiB, model Samsung SSD 970 PRO, serial S4EWNX0R, wwn 0x5000c500a1b2c3d4), \
         /dev/sdb (2000.00 GiB, model ST2000, serial 12345, wwn 0x5000c500ffffffff)"
    );
    let error = choose_root_device(&hints, &[]).unwrap_err().to_string();
    assert!(error.ends_with("disks found: none"), "{error}");
    let error = Hints::parse(&json!({"sise": 1})).unwrap_err().to_string();
    assert!(
        error.contains("\"sise\" is no hint; there are model, vendor, serial, size"),
        "{error}"
    );
}

#[test]
fn lists_of_hints_to_skip() {
    let list = Hints::parse_list(&json!([{"name": "/dev/sda"}, {"rotational": true}])).unwrap();
    let disks = disks();
    assert!(
        disks
            .iter()
            .all(|disk| list.iter().any(|hints| hints.matches(disk)))
    );
    assert!(Hints::parse_list(&json!([{}])).is_err());
    assert!(Hints::parse_list(&json!({"name": "/dev/sda"})).is_err());
    assert_eq!(Hints::parse_list(&Value::Null).unwrap(), []);
}
