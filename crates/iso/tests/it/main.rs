//! isoinfo, xorriso and blkid judge: label, names in both trees, contents.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use bessemer_iso::{Builder, Error, Source, config_drive};

fn run(package: &str, program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program} is needed for these tests (package {package}): {e}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn text(package: &str, program: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&run(package, program, args)).into_owned()
}

/// Label and every file, as three independent readers see them.
fn check(image: &[u8], label: &str, files: &[(&str, &[u8])]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.iso");
    fs::write(&path, image).unwrap();
    let iso = path.to_str().unwrap();

    let probe = text("util-linux", "blkid", &["-p", "-o", "export", iso]);
    for line in [
        format!("LABEL={label}"),
        "TYPE=iso9660".into(),
        "JOLIET_EXTENSION=Joliet Extension".into(),
    ] {
        let found = probe.replace('\\', "").lines().any(|l| l == line);
        // older versions of blkid do not tell about Joliet
        assert!(found || line.starts_with("JOLIET"), "{line} in {probe}");
    }
    let descriptor = text("genisoimage", "isoinfo", &["-d", "-i", iso]);
    assert!(
        descriptor.contains(&format!("Volume id: {label}\n")),
        "{descriptor}"
    );
    assert!(
        descriptor.contains("Joliet with UCS level 3 found"),
        "{descriptor}"
    );
    assert!(
        descriptor.contains("Rock Ridge signatures version 1 found"),
        "{descriptor}"
    );

    let mut expected: Vec<String> = files.iter().map(|(name, _)| format!("/{name}")).collect();
    expected.sort();
    for tree in ["-R", "-J"] {
        let listed = text("genisoimage", "isoinfo", &[tree, "-f", "-i", iso]);
        let folders: Vec<String> = expected
            .iter()
            .flat_map(|name| {
                name.match_indices('/')
                    .skip(1)
                    .map(|(at, _)| name[..at].to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut listed: Vec<String> = listed
            .lines()
            .map(str::to_owned)
            .filter(|name| !folders.contains(name))
            .collect();
        listed.sort();
        assert_eq!(listed, expected, "{tree}");
        for (name, bytes) in files {
            let got = run(
                "genisoimage",
                "isoinfo",
                &[tree, "-i", iso, "-x", &format!("/{name}")],
            );
            assert!(
                got == *bytes,
                "{tree} {name}: {} bytes, {} expected",
                got.len(),
                bytes.len()
            );
        }
    }
    extract(dir.path(), iso, files);
}

fn extract(dir: &Path, iso: &str, files: &[(&str, &[u8])]) {
    let out = dir.join("out");
    run(
        "xorriso",
        "xorriso",
        &[
            "-osirrox",
            "on",
            "-indev",
            iso,
            "-extract",
            "/",
            out.to_str().unwrap(),
        ],
    );
    for (name, bytes) in files {
        assert!(
            fs::read(out.join(name)).unwrap() == *bytes,
            "xorriso: {name}"
        );
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(out.join(name)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o444, "xorriso: {name}");
    }
}

#[test]
fn a_config_drive() {
    let meta = br#"{"uuid": "7f1c", "hostname": "node-1"}"#;
    let user: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let image = config_drive(
        std::str::from_utf8(meta).unwrap(),
        Some("{\"links\": []}"),
        Some(&user),
        Some("{}"),
    )
    .unwrap();
    check(
        &image,
        "config-2",
        &[
            ("openstack/latest/meta_data.json", meta),
            ("openstack/latest/network_data.json", b"{\"links\": []}"),
            ("openstack/latest/user_data", &user),
            ("openstack/latest/vendor_data.json", b"{}"),
        ],
    );
    let least = config_drive("{}", None, None, None).unwrap();
    check(
        &least,
        "config-2",
        &[("openstack/latest/meta_data.json", b"{}")],
    );
    assert_eq!(least, config_drive("{}", None, None, None).unwrap());
    assert!(least.len() < 64 * 1024);
}

#[test]
fn long_names_many_files_deep_folders() {
    let mut files: Vec<(String, Vec<u8>)> = (0..120)
        .map(|i| {
            (
                format!("many/Some rather long file name, number {i:03}.configuration"),
                vec![i as u8; i * 37],
            )
        })
        .collect();
    files.push(("1/2/3/4/5/6/7/deep.txt".into(), b"deep".to_vec()));
    files.push(("empty".into(), Vec::new()));
    files.push(("exactly-one-sector".into(), vec![9; 2048]));
    files.push((
        format!("{}.json", "n".repeat(59)),
        b"64 characters".to_vec(),
    ));
    files.push(("many-too/.hidden".into(), b"x".to_vec()));
    let mut builder = Builder::new("Label 16 letters")
        .unwrap()
        .time(1_700_000_000);
    for (name, bytes) in &files {
        builder.add_file(name, bytes.clone()).unwrap();
    }
    let borrowed: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    let image = builder.build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.iso");
    fs::write(&path, &image).unwrap();
    extract(dir.path(), path.to_str().unwrap(), &borrowed);
    for tree in ["-R", "-J"] {
        let listed = text(
            "genisoimage",
            "isoinfo",
            &[tree, "-f", "-i", path.to_str().unwrap()],
        );
        for (name, _) in &borrowed {
            assert!(
                listed.lines().any(|l| l == format!("/{name}")),
                "{tree}: {name} in {listed}"
            );
        }
    }
}

#[test]
fn labels_that_do_not_fit() {
    for label in ["", "seventeen letters", "caf\u{e9}"] {
        assert_eq!(
            Builder::new(label).err(),
            Some(Error::BadLabel(label.into()))
        );
    }
}

/// El Torito as genisoimage's and xorriso's readers see it, for either firmware and for both; and the parts of an image whose
/// large files are elsewhere.
#[test]
fn bootable_images() {
    let loader: Vec<u8> = (0..5000u32).map(|n| n.to_le_bytes()[0]).collect();
    let esp = vec![0xee; 40_000];
    let make = |bios: bool, efi: bool| {
        let mut builder = Builder::new("VMEDIA_BOOT_ISO")
            .unwrap()
            .publisher("someone");
        builder.add_outside("vmlinuz", 3000).unwrap();
        builder.add_outside("initrd", 5000).unwrap();
        builder
            .add_file("isolinux/isolinux.bin", loader.clone())
            .unwrap();
        builder
            .add_file("boot/grub/efiboot.img", esp.clone())
            .unwrap();
        if bios {
            builder = builder.boot_bios("isolinux/isolinux.bin");
        }
        if efi {
            builder = builder.boot_efi("boot/grub/efiboot.img");
        }
        builder
    };
    for (bios, efi) in [(true, false), (false, true), (true, true)] {
        let builder = make(bios, efi);
        let layout = builder.clone().layout().unwrap();
        let outside: Vec<_> = layout
            .pieces()
            .iter()
            .filter_map(|piece| match piece.source {
                Source::Outside(number) => Some((number, piece.len)),
                Source::Bytes(_) => None,
            })
            .collect();
        assert_eq!(outside, [(0, 3000), (1, 5000)]);
        let mut end = 0;
        for piece in layout.pieces() {
            assert_eq!(piece.offset, end);
            end += piece.len;
        }
        assert_eq!(end, layout.len());
        let image = builder.build().unwrap();
        assert_eq!(image.len() as u64, layout.len());
        let mut patched = loader.clone();
        if bios {
            let table = |n: usize| {
                let place = image
                    .chunks(2048)
                    .position(|sector| {
                        sector.starts_with(&loader[..8]) && sector[64..] == loader[64..2048]
                    })
                    .unwrap();
                let sector = &image[place * 2048..];
                (
                    place,
                    u32::from_le_bytes(sector[8 + 4 * n..][..4].try_into().unwrap()),
                )
            };
            let sum = loader[64..]
                .chunks(4)
                .map(|w| u32::from_le_bytes(w.try_into().unwrap()))
                .fold(0u32, u32::wrapping_add);
            let (place, volume) = table(0);
            assert_eq!(volume, 16);
            assert_eq!(table(1).1 as usize, place);
            assert_eq!((table(2).1, table(3).1), (5000, sum));
            patched[8..64].copy_from_slice(&image[place * 2048 + 8..][..56]);
        }
        check(
            &image,
            "VMEDIA_BOOT_ISO",
            &[
                ("vmlinuz", &[0; 3000]),
                ("initrd", &[0; 5000]),
                ("isolinux/isolinux.bin", &patched),
                ("boot/grub/efiboot.img", &esp),
            ],
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.iso");
        fs::write(&path, &image).unwrap();
        let iso = path.to_str().unwrap();
        let report = text(
            "xorriso",
            "xorriso",
            &["-indev", iso, "-report_el_torito", "plain"],
        );
        assert_eq!(report.contains(" BIOS "), bios, "{report}");
        assert_eq!(report.contains(" UEFI "), efi, "{report}");
        if bios {
            assert!(report.contains("boot-info-table"), "{report}");
        }
        let descriptor = text("genisoimage", "isoinfo", &["-d", "-i", iso]);
        assert!(descriptor.contains("Publisher id: someone"), "{descriptor}");
        assert!(
            descriptor.contains("El Torito VD version 1 found"),
            "{descriptor}"
        );
    }
    assert_eq!(make(true, true).build(), make(true, true).build());
    let nothing = Builder::new("X").unwrap().boot_efi("no/such");
    assert_eq!(nothing.build(), Err(Error::NothingToBoot("no/such".into())));
}
