#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::process::{Command, Stdio};

/// A static x86-64 program, as far as its headers tell.
fn agent() -> Vec<u8> {
    let mut data = crate::modules::tests::module("");
    data[0x12..0x14].copy_from_slice(&62u16.to_le_bytes());
    data
}

/// A cache with an unpacked kernel that has every required module of the cloud flavour.
fn cache(release: &str) -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let root = cache
        .path()
        .join(format!("kernels/linux-image-{release}_1.0-1"));
    let modules = root.join("lib/modules").join(release);
    std::fs::create_dir_all(modules.join("kernel/drivers")).unwrap();
    std::fs::create_dir_all(root.join("boot")).unwrap();
    std::fs::write(root.join(format!("boot/vmlinuz-{release}")), "a kernel").unwrap();
    std::fs::write(modules.join("modules.builtin"), "kernel/nvme.ko\n").unwrap();
    for name in VIRTIO.iter().chain(&["virtio", "virtio_ring", "extra"]) {
        let info = match *name {
            "virtio" | "extra" => "depends=",
            "virtio_ring" => "depends=virtio",
            _ => "depends=virtio,virtio_ring",
        };
        let file = modules.join(format!("kernel/drivers/{name}.ko"));
        std::fs::write(file, crate::modules::tests::module(info)).unwrap();
    }
    cache
}

fn options(cache: &Path, out: &Path, release: &str) -> Options {
    let agent_path = out.join("agent");
    std::fs::write(&agent_path, agent()).unwrap();
    Options {
        flavour: Flavour::Cloud,
        agent: agent_path,
        out_dir: out.to_owned(),
        kernel_version: Some(release.to_owned()),
        cache_dir: cache.to_owned(),
        extra_modules: vec!["extra".into()],
    }
}

/// The build without asking the machine's package index, which costs a second.
fn build_cached(options: &Options) -> Result<Built, Error> {
    let release = options.kernel_version.clone().unwrap();
    let root = options
        .cache_dir
        .join(format!("kernels/linux-image-{release}_1.0-1"));
    let kernel = Kernel {
        image: root.join(format!("boot/vmlinuz-{release}")),
        modules: root.join("lib/modules").join(&release),
        version: release,
        package_version: "1.0-1".into(),
    };
    build_from(options, &agent(), kernel)
}

const RELEASE: &str = "0.0.1-no-such-cloud-amd64";

#[test]
fn ramdisk_is_complete_ordered_and_deterministic() {
    let cache = cache(RELEASE);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = build_cached(&options(cache.path(), one.path(), RELEASE)).unwrap();
    let second = build_cached(&options(cache.path(), two.path(), RELEASE)).unwrap();
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(
        std::fs::read(&first.initramfs).unwrap(),
        std::fs::read(&second.initramfs).unwrap()
    );
    assert_eq!(std::fs::read(&first.kernel).unwrap(), b"a kernel");
    assert_eq!(first.sizes.kernel, 8);
    assert_eq!(first.absent, Vec::<String>::new());

    let archive = read(&first.initramfs).unwrap();
    let Some(Entry::File { data, .. }) = archive.get(MODULE_LIST) else {
        panic!("no list")
    };
    let lines: Vec<&str> = std::str::from_utf8(data).unwrap().lines().collect();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.rsplit('/').next().unwrap().trim_end_matches(".ko"))
        .collect();
    assert_eq!(
        names[..4],
        ["virtio", "virtio_ring", "virtio_pci", "virtio_net"]
    );
    assert_eq!(names.last(), Some(&"extra"));
    assert_eq!(names.len(), VIRTIO.len() + 3);
    for line in lines {
        assert!(
            archive.get(line.trim_start_matches('/')).is_some(),
            "{line}"
        );
    }
    assert_eq!(
        archive.get("init"),
        Some(&Entry::File {
            mode: 0o755,
            data: agent()
        })
    );
    for name in ["proc", "sys", "dev", "run", "tmp"] {
        assert!(
            matches!(archive.get(name), Some(Entry::Directory { .. })),
            "{name}"
        );
    }
    let listing = list(&first.initramfs).unwrap();
    assert!(
        listing
            .iter()
            .any(|line| line.path == "init" && line.mode == "-rwxr-xr-x")
    );
    assert!(
        listing
            .iter()
            .any(|line| line.path == "dev/console" && line.mode == "crw-------")
    );
}

/// GNU cpio is the independent reader.
#[test]
fn cpio_reads_what_we_write() {
    let cache = cache(RELEASE);
    let out = tempfile::tempdir().unwrap();
    let built = build_cached(&options(cache.path(), out.path(), RELEASE)).unwrap();
    let plain = read(&built.initramfs).unwrap().to_bytes();
    let mut child = Command::new("cpio")
        .args(["-itv", "--quiet", "--numeric-uid-gid"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program cpio is needed by this test: install Debian's package cpio");
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &plain));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let listing = list(&built.initramfs).unwrap();
    assert_eq!(text.lines().count(), listing.len());
    for (line, ours) in text.lines().zip(&listing) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(*words.last().unwrap(), ours.path);
        assert_eq!(words[2..4], ["0", "0"], "{line}");
        if ours.path != "tmp" {
            assert_eq!(words[0], ours.mode, "{line}");
        }
        if ours.mode.starts_with('-') {
            assert_eq!(words[4], ours.size.to_string(), "{line}");
        }
    }
}

#[test]
fn a_program_that_cannot_be_pid_1_is_refused() {
    let check = |data: &[u8], expected: &str| assert_eq!(check_static(data).unwrap_err(), expected);
    check(b"#!/bin/sh\n", "it is not a 64-bit ELF program");
    check(&crate::modules::tests::module(""), "it is not for x86-64");
    check(&agent()[..30], "the ELF file is cut off");
    let mut dynamic = agent();
    let at = dynamic.len();
    dynamic[0x20..0x28].copy_from_slice(&(at as u64).to_le_bytes());
    dynamic[0x36..0x38].copy_from_slice(&56u16.to_le_bytes());
    dynamic[0x38..0x3a].copy_from_slice(&1u16.to_le_bytes());
    dynamic.extend_from_slice(&3u32.to_le_bytes());
    dynamic.resize(at + 56, 0);
    check(
        &dynamic,
        "it is dynamically linked (it names an interpreter); link it statically",
    );
    // this test binary is a real example
    let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    check(
        &this,
        "it is dynamically linked (it names an interpreter); link it statically",
    );
}

#[test]
fn failures_are_sentences() {
    let cache = cache(RELEASE);
    let out = tempfile::tempdir().unwrap();
    let good = options(cache.path(), out.path(), RELEASE);
    let check = |options: Options, expected: &str, class: Class| {
        let error = match options
            .extra_modules
            .iter()
            .any(|name| name == "warp_drive")
        {
            true => build_cached(&options).unwrap_err(),
            false => build(&options).unwrap_err(),
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), class);
    };
    let unknown = Options {
        kernel_version: Some("9.9.9-none".into()),
        ..good.clone()
    };
    check(
        unknown,
        "no kernel package for 9.9.9-none",
        Class::RetryLater,
    );
    let module = Options {
        extra_modules: vec!["warp_drive".into()],
        ..good.clone()
    };
    check(module, "has no module named warp_drive", Class::Never);
    let agent = Options {
        agent: "/nonexistent/agent".into(),
        ..good
    };
    check(agent, "reading the agent /nonexistent/agent", Class::Never);
    assert!(!out.path().join("deploy-cloud.initramfs").exists());
    assert_eq!("cloud".parse::<Flavour>().unwrap().to_string(), "cloud");
    assert!("x".parse::<Flavour>().is_err());
}

#[test]
fn mutations_never_panic() {
    let mut archive = Archive::default();
    archive.file("etc/x", 0o644, b"content".to_vec());
    archive.insert(
        "l",
        Entry::Symlink {
            target: "etc".into(),
        },
    );
    type Target = fn(&[u8]);
    let samples: [(Vec<u8>, Target); 2] = [
        (archive.to_bytes(), fuzz::fuzz_cpio),
        (
            crate::modules::tests::module("depends=a,b softdep=pre:~c"),
            fuzz::fuzz_modinfo,
        ),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for (sample, target) in samples {
        target(&sample);
        for _ in 0..4000 {
            let mut data = sample.clone();
            for _ in 0..=random(6) {
                let at = random(data.len());
                match random(3) {
                    0 => data[at] = random(256) as u8,
                    1 => data[at] = *b"0fF\xff\0 ".get(random(6)).unwrap(),
                    _ => data.truncate(at.max(1)),
                }
            }
            target(&data);
        }
    }
}
