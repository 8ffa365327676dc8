//! Images made by other programs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use sha2::{Digest, Sha256};

use crate::world::MIB;

pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("this test needs the program {program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A whole-disk image of 24 MiB: GPT, an EFI system partition with a loader, a partition with data, holes between.
pub fn raw(directory: &Path) -> PathBuf {
    let path = directory.join("image.raw");
    let text = path.to_str().unwrap();
    std::fs::File::create(&path)
        .unwrap()
        .set_len(24 * MIB)
        .unwrap();
    run(
        "sgdisk",
        &[
            "-n",
            "1:2048:+4M",
            "-t",
            "1:ef00",
            "-c",
            "1:esp",
            "-n",
            "2:0:+8M",
            "-c",
            "2:root",
            text,
        ],
    );
    let esp = directory.join("esp");
    let esp_text = esp.to_str().unwrap();
    std::fs::File::create(&esp)
        .unwrap()
        .set_len(4 * MIB)
        .unwrap();
    run("mkfs.vfat", &["-n", "ESP", esp_text]);
    run("mmd", &["-i", esp_text, "::EFI", "::EFI/BOOT"]);
    let loader = directory.join("loader");
    std::fs::write(&loader, b"MZ loader").unwrap();
    run(
        "mcopy",
        &[
            "-i",
            esp_text,
            loader.to_str().unwrap(),
            "::EFI/BOOT/BOOTX64.EFI",
        ],
    );
    let mut image = std::fs::read(&path).unwrap();
    let esp = std::fs::read(&esp).unwrap();
    image[1 << 20..(1 << 20) + esp.len()].copy_from_slice(&esp);
    // hard to compress, so that the files are not tiny
    let mut random: u64 = 42;
    for byte in &mut image[6 << 20..10 << 20] {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = u8::try_from(random >> 56).unwrap();
    }
    std::fs::write(&path, image).unwrap();
    path
}

/// The same as qcow2.
pub fn qcow2(directory: &Path, raw: &Path, compressed: bool) -> PathBuf {
    let path = directory.join("image.qcow2");
    let (from, to) = (raw.to_str().unwrap(), path.to_str().unwrap());
    let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2"];
    if compressed {
        arguments.push("-c");
    }
    arguments.extend([from, to]);
    run("qemu-img", &arguments);
    path
}

/// An ISO 9660 image by genisoimage, label config-2.
pub fn iso(directory: &Path, host_name: &str) -> Vec<u8> {
    let tree = directory.join("cd/openstack/latest");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(
        tree.join("meta_data.json"),
        format!("{{\"hostname\": \"{host_name}\"}}"),
    )
    .unwrap();
    let path = directory.join("cd.iso");
    run(
        "genisoimage",
        &[
            "-quiet",
            "-R",
            "-J",
            "-V",
            "config-2",
            "-o",
            path.to_str().unwrap(),
            directory.join("cd").to_str().unwrap(),
        ],
    );
    std::fs::read(path).unwrap()
}

/// As conductors send it.
pub fn config_drive(iso: &[u8]) -> String {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(iso).unwrap();
    base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
}
