//! Bad images: what fails before the disk is touched, and what wipes it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::deploy::{image_info, named};
use crate::images::{qcow2, raw, run, sha256};
use crate::servers::Served;
use crate::world::{Disk, MIB, Options, World};

/// What the disk is afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    Untouched,
    EndsWiped,
}

struct Case {
    name: &'static str,
    served: Served,
    /// Changes of image_info.
    info: Value,
    disk: u64,
    kind: &'static str,
    words: &'static [&'static str],
    left: Left,
}

async fn check(world: &World, disk: &Disk, case: Case) {
    disk.mark();
    let sum = sha256(&case.served.bytes);
    let format = if case.served.bytes.starts_with(b"QFI") {
        "qcow2"
    } else {
        "raw"
    };
    let url = world.images.put("/x/file.img", case.served);
    let with_secret = url.replace("http://", "http://user:secret@") + "?signature=secret";
    let mut info = image_info(&with_secret, format, &sum);
    for (key, value) in case.info.as_object().unwrap() {
        info[key] = value.clone();
    }
    let agent = world.agent().await;
    let (kind, details) = agent
        .fail("standby.prepare_image", json!({ "image_info": info }))
        .await;
    assert_eq!(kind, case.kind, "{}: {details}", case.name);
    for word in case.words {
        assert!(
            details.contains(word),
            "{}: {word:?} is not in {details:?}",
            case.name
        );
    }
    assert!(!details.contains("secret"), "{}: {details}", case.name);
    match case.left {
        Left::Untouched => assert!(disk.is_as_marked(), "{}", case.name),
        Left::EndsWiped => assert!(disk.ends_are_zero(), "{}", case.name),
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_images() {
    let directory = tempfile::tempdir().unwrap();
    let raw_path = raw(directory.path());
    let raw_image = Bytes::from(std::fs::read(&raw_path).unwrap());
    let qcow = Bytes::from(std::fs::read(qcow2(directory.path(), &raw_path, false)).unwrap());
    let overlay = directory.path().join("overlay.qcow2");
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            raw_path.to_str().unwrap(),
            overlay.to_str().unwrap(),
        ],
    );
    let overlay = Bytes::from(std::fs::read(overlay).unwrap());
    let vmdk = directory.path().join("image.vmdk");
    run(
        "qemu-img",
        &[
            "convert",
            "-O",
            "vmdk",
            raw_path.to_str().unwrap(),
            vmdk.to_str().unwrap(),
        ],
    );
    let vmdk = Bytes::from(std::fs::read(vmdk).unwrap());
    let good = |bytes: &Bytes| Served {
        bytes: bytes.clone(),
        ..Served::default()
    };
    let wrong = "1".repeat(64);
    let size = 64 * MIB;
    let no_table = Bytes::from(vec![7; 4 << 20]);
    let cases = vec![
        Case {
            name: "checksum, raw",
            served: good(&raw_image),
            info: json!({"os_hash_value": wrong}),
            disk: size,
            kind: "ImageChecksumError",
            words: &["1111", "was promised", "was received", "image-1"],
            left: Left::EndsWiped,
        },
        Case {
            name: "checksum, qcow2",
            served: good(&qcow),
            info: json!({"os_hash_value": wrong}),
            disk: size,
            kind: "ImageChecksumError",
            words: &["1111", "was promised"],
            left: Left::EndsWiped,
        },
        Case {
            name: "checksum, kept on disk",
            served: Served {
                no_ranges: true,
                ..good(&qcow)
            },
            info: json!({"os_hash_value": wrong}),
            disk: size,
            kind: "ImageChecksumError",
            words: &["1111"],
            left: Left::EndsWiped,
        },
        Case {
            name: "not there",
            served: Served {
                status: Some(404),
                ..good(&raw_image)
            },
            info: json!({}),
            disk: size,
            kind: "ImageDownloadError",
            words: &["/x/file.img", "404", "image_source"],
            left: Left::Untouched,
        },
        Case {
            name: "server error, retried",
            served: Served {
                status: Some(503),
                ..good(&raw_image)
            },
            info: json!({}),
            disk: size,
            kind: "ImageDownloadError",
            words: &["503", "3 attempts"],
            left: Left::Untouched,
        },
        Case {
            name: "qcow2 file cut short",
            served: good(&qcow.slice(..qcow.len() / 2)),
            info: json!({}),
            disk: size,
            kind: "ImageDownloadError",
            words: &["incomplete"],
            left: Left::Untouched,
        },
        Case {
            name: "transfer always ends early",
            served: Served {
                claims_more: 1000,
                no_ranges: true,
                ..good(&raw_image)
            },
            info: json!({}),
            disk: size,
            kind: "ImageDownloadError",
            words: &["broke off", "3 attempts"],
            left: Left::EndsWiped,
        },
        Case {
            name: "backing file",
            served: good(&overlay),
            info: json!({}),
            disk: size,
            kind: "InvalidImage",
            words: &["backing file", "image.raw"],
            left: Left::Untouched,
        },
        Case {
            name: "format not as announced",
            served: good(&qcow),
            info: json!({"disk_format": "raw"}),
            disk: size,
            kind: "InvalidImage",
            words: &["announced as raw", "qcow2"],
            left: Left::Untouched,
        },
        Case {
            name: "format not permitted",
            served: good(&vmdk),
            info: json!({"disk_format": "vmdk"}),
            disk: size,
            kind: "InvalidImage",
            words: &["vmdk is not permitted", "raw, qcow2, gpt"],
            left: Left::Untouched,
        },
        Case {
            name: "disk too small, raw",
            served: good(&raw_image),
            info: json!({}),
            disk: 16 * MIB,
            kind: "ImageWriteError",
            words: &["/dev/vda", "16777216 bytes", "25165824 bytes"],
            left: Left::Untouched,
        },
        Case {
            name: "disk too small, qcow2",
            served: good(&qcow),
            info: json!({}),
            disk: 16 * MIB,
            kind: "ImageWriteError",
            words: &["/dev/vda", "16777216 bytes", "25165824 bytes"],
            left: Left::Untouched,
        },
        Case {
            name: "no room to keep the file",
            served: Served {
                no_ranges: true,
                ..good(&qcow)
            },
            info: json!({}),
            disk: 26 * MIB,
            kind: "ImageWriteError",
            words: &["range requests", "/dev/vda"],
            left: Left::Untouched,
        },
        Case {
            name: "no partition table in it",
            served: good(&no_table),
            info: json!({}),
            disk: size,
            kind: "InvalidImage",
            words: &["no partition", "whole-disk"],
            left: Left::EndsWiped,
        },
        Case {
            name: "no checksum",
            served: good(&raw_image),
            info: json!({"os_hash_algo": null, "os_hash_value": null}),
            disk: size,
            kind: "ImageChecksumError",
            words: &["without a checksum"],
            left: Left::Untouched,
        },
        Case {
            name: "scheme",
            served: good(&raw_image),
            info: json!({"urls": ["ftp://h/x"]}),
            disk: size,
            kind: "ImageDownloadError",
            words: &["scheme ftp"],
            left: Left::Untouched,
        },
    ];
    for case in cases {
        let world = World::new(named("/dev/vda")).await;
        let disk = world.disk("vda", case.disk);
        check(&world, &disk, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_disk_and_no_md5() {
    let world = World::new(Options {
        config: serde_json::from_value(json!({"agent_md5_checksum_enable": false})).unwrap(),
        ..named("/dev/sdz")
    })
    .await;
    let disk = world.disk("vda", 64 * MIB);
    disk.mark();
    let agent = world.agent().await;
    let info = image_info("http://127.0.0.1:9/x", "raw", &"0".repeat(64));
    let (kind, details) = agent
        .fail("standby.prepare_image", json!({"image_info": info}))
        .await;
    assert_eq!(kind, "DeviceNotFound");
    assert!(
        details.contains("/dev/sdz") && details.contains("/dev/vda"),
        "{details}"
    );
    agent.stop().await;

    let world = World::new(Options {
        config: serde_json::from_value(json!({"agent_md5_checksum_enable": false})).unwrap(),
        ..named("/dev/vda")
    })
    .await;
    let disk = world.disk("vda", 64 * MIB);
    disk.mark();
    let agent = world.agent().await;
    let mut info = image_info("http://127.0.0.1:9/x", "raw", "");
    info["os_hash_value"] = Value::Null;
    info["checksum"] = json!("0".repeat(32));
    let (kind, details) = agent
        .fail("standby.prepare_image", json!({"image_info": info}))
        .await;
    assert_eq!(kind, "ImageChecksumError");
    assert!(details.contains("MD5"), "{details}");
    assert!(disk.is_as_marked());
    agent.stop().await;
}
