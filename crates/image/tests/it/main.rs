//! qemu-img judges: what it makes must come out here as it reads it itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bessemer_image::fuzz::{MemorySink, fuzz_inspect, fuzz_qcow2, fuzz_raw};
use bessemer_image::{
    Algorithm, Checksum, Error, FileSource, Format, Limits, Placed, Placer, Qcow2Map, Qcow2Placer,
    Refusal, convert_to_raw, inspect_source, virtual_size,
};
use tempfile::TempDir;

/// SplitMix64: small, seeded, good enough to scatter bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn qemu_img(dir: &Path, args: &[&str]) {
    let output = Command::new("qemu-img")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("qemu-img is needed for these tests (package qemu-utils)");
    assert!(
        output.status.success(),
        "qemu-img {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A disk with holes, noise (does not compress) and text (does), from a seed.
fn disk(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut disk = vec![0; size];
    for _ in 0..40 {
        let start = random.below(size);
        let len = (1 + random.below(size / 25)).min(size - start);
        let noise = random.below(3) == 0;
        for (i, byte) in disk[start..start + len].iter_mut().enumerate() {
            *byte = if noise {
                random.next() as u8
            } else {
                b"old data, old data; "[i % 20]
            };
        }
    }
    disk
}

struct Sample {
    dir: TempDir,
    disk: Vec<u8>,
}

impl Sample {
    fn new(size: usize, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(size, seed);
        fs::write(dir.path().join("disk.raw"), &disk).unwrap();
        Sample { dir, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn convert(&self, args: &[&str]) -> PathBuf {
        let args = [
            &["convert", "-f", "raw", "-O", "qcow2"],
            args,
            &["disk.raw", "image.qcow2"],
        ]
        .concat();
        qemu_img(self.dir.path(), &args);
        self.path("image.qcow2")
    }

    fn qemu_reads(&self, image: &Path) -> Vec<u8> {
        qemu_img(
            self.dir.path(),
            &[
                "convert",
                "-f",
                "qcow2",
                "-O",
                "raw",
                image.to_str().unwrap(),
                "judge.raw",
            ],
        );
        fs::read(self.path("judge.raw")).unwrap()
    }
}

async fn map(image: &Path) -> Result<Qcow2Map, Error> {
    Qcow2Map::read(&FileSource::open(image)?).await
}

/// Places `bytes` onto a disk of old data in chunks; the most that was buffered comes along.
fn place(
    map: Qcow2Map,
    bytes: &[u8],
    chunk: usize,
    checksum: Option<Checksum>,
) -> (Result<Placed, Error>, MemorySink, usize) {
    let mut sink = MemorySink::filled(map.virtual_size() as usize, 0xa5);
    let mut placer = Qcow2Placer::new(map, &mut sink, checksum).unwrap();
    let result = bytes
        .chunks(chunk)
        .try_for_each(|c| placer.feed(c))
        .and_then(|()| placer.finish());
    let peak = placer.peak_buffer();
    drop(placer);
    (result, sink, peak)
}

fn sha256(bytes: &[u8]) -> Checksum {
    let mut hasher = bessemer_image::Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    Checksum::new(Algorithm::Sha256, &hasher.finish()).unwrap()
}

/// The image as qemu-img reads it, in several chunk sizes, with its checksum.
async fn check(what: &str, sample: &Sample, image: &Path) {
    let expected = sample.qemu_reads(image);
    let bytes = fs::read(image).unwrap();
    let map = map(image).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(map.virtual_size(), expected.len() as u64, "{what}");
    assert_eq!(
        virtual_size(image).await.unwrap(),
        expected.len() as u64,
        "{what}"
    );
    let cluster = map.header().cluster_size() as usize;
    for chunk in [bytes.len(), 65_536, 4_093] {
        let (result, sink, peak) = place(map.clone(), &bytes, chunk, Some(sha256(&bytes)));
        let placed = result.unwrap_or_else(|e| panic!("{what}, chunk {chunk}: {e}"));
        assert!(
            sink.bytes() == expected,
            "{what}, chunk {chunk}: differs from qemu-img"
        );
        assert_eq!(placed.received, bytes.len() as u64, "{what}");
        assert_eq!(
            placed.written + placed.zeroed,
            expected.len() as u64,
            "{what}: each byte once"
        );
        assert!(
            peak <= 4 * cluster + 4 * 65_536,
            "{what}: {peak} bytes buffered, clusters of {cluster}"
        );
    }
    let converted = convert_to_raw(image, &sample.path("ours.raw"), None)
        .await
        .unwrap();
    assert_eq!(converted.format, Format::Qcow2);
    assert!(
        fs::read(sample.path("ours.raw")).unwrap() == expected,
        "{what}: converted"
    );
}

#[tokio::test]
async fn plain_and_compressed_of_all_cluster_sizes() {
    for (i, options) in [
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=64k",
        "cluster_size=2M",
    ]
    .iter()
    .enumerate()
    {
        // not a multiple of the cluster size: the last cluster is cut
        let sample = Sample::new(3 * 1024 * 1024 + 512 * (i + 1), 100 + i as u64);
        check(options, &sample, &sample.convert(&["-o", options])).await;
        check(
            &format!("deflate, {options}"),
            &sample,
            &sample.convert(&["-c", "-o", options]),
        )
        .await;
        let zstd = format!("compression_type=zstd,{options}");
        check(
            &format!("compressed, {zstd}"),
            &sample,
            &sample.convert(&["-c", "-o", &zstd]),
        )
        .await;
    }
}

#[tokio::test]
async fn versions_preallocation_and_subclusters() {
    let sample = Sample::new(4 * 1024 * 1024, 7);
    for options in [
        "compat=0.10",
        "preallocation=metadata",
        "preallocation=full",
        "lazy_refcounts=on",
        "extended_l2=on,cluster_size=64k",
    ] {
        check(options, &sample, &sample.convert(&["-o", options])).await;
    }
    check(
        "compat=0.10, deflate",
        &sample,
        &sample.convert(&["-c", "-o", "compat=0.10"]),
    )
    .await;
    let empty = sample.path("empty.qcow2");
    qemu_img(
        sample.dir.path(),
        &["create", "-q", "-f", "qcow2", "empty.qcow2", "5M"],
    );
    check("empty", &sample, &empty).await;
    assert_eq!(
        map(&empty).await.unwrap().zero_ranges().collect::<Vec<_>>(),
        [(0, 5 * 1024 * 1024)]
    );
    qemu_img(
        sample.dir.path(),
        &["create", "-q", "-f", "qcow2", "none.qcow2", "0"],
    );
    check("a disk of no bytes", &sample, &sample.path("none.qcow2")).await;
}

/// Written to by qemu-io: shuffled clusters, zero clusters, half-written subclusters, snapshots that keep old data.
#[tokio::test]
async fn rewritten_images_and_internal_snapshots() {
    for options in [
        "cluster_size=4k",
        "cluster_size=64k",
        "cluster_size=64k,extended_l2=on",
    ] {
        let sample = Sample::new(3 * 1024 * 1024, 11);
        let image = sample.convert(&["-o", options]);
        qemu_img(
            sample.dir.path(),
            &["snapshot", "-c", "before", "image.qcow2"],
        );
        let mut random = Random(5);
        let mut script = String::new();
        for i in 0..30 {
            let (offset, len) = (random.below(2900) * 1024, (1 + random.below(80)) * 1024);
            script += &match i % 4 {
                0 => format!("write -z {offset} {len}\n"),
                1 => format!("discard {offset} {len}\n"),
                _ => format!("write -P {} {offset} {len}\n", random.below(256)),
            };
        }
        fs::write(sample.path("script"), script).unwrap();
        let io = Command::new("qemu-io")
            .args(["-f", "qcow2", "image.qcow2"])
            .stdin(fs::File::open(sample.path("script")).unwrap())
            .current_dir(sample.dir.path())
            .output()
            .expect("qemu-io is needed for these tests (package qemu-utils)");
        assert!(io.status.success());
        check(&format!("rewritten, {options}"), &sample, &image).await;
        assert!(
            sample.qemu_reads(&image) != sample.disk,
            "the script changed something"
        );
    }
}

#[tokio::test]
async fn images_that_name_other_files_or_keys_are_refused() {
    let sample = Sample::new(1024 * 1024, 3);
    let dir = sample.dir.path();
    sample.convert(&[]);
    qemu_img(
        dir,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "image.qcow2",
            "-F",
            "qcow2",
            "overlay.qcow2",
        ],
    );
    qemu_img(
        dir,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "data_file=other.raw",
            "external.qcow2",
            "1M",
        ],
    );
    let secret = ["--object", "secret,id=s,data=abc"];
    let luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    qemu_img(
        dir,
        &[
            &["create", "-q"],
            &secret[..],
            &["-f", "qcow2", "-o", luks, "luks.qcow2", "1M"],
        ]
        .concat(),
    );
    let cases = [
        ("overlay.qcow2", Refusal::BackingFile("image.qcow2".into())),
        (
            "external.qcow2",
            Refusal::ExternalDataFile("other.raw".into()),
        ),
        ("luks.qcow2", Refusal::Encrypted(2)),
    ];
    for (name, expected) in cases {
        let source = FileSource::open(&sample.path(name)).unwrap();
        let results = [
            inspect_source(&source).await.err(),
            Qcow2Map::read(&source).await.err(),
        ];
        for error in results {
            assert!(
                matches!(&error, Some(Error::Refused(why)) if *why == expected),
                "{name}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_truncated_image_is_an_error_wherever_it_ends() {
    let sample = Sample::new(3 * 1024 * 1024, 21);
    for options in [
        &["-o", "cluster_size=4k"][..],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
    ] {
        let image = sample.convert(options);
        let whole = map(&image).await.unwrap();
        let bytes = fs::read(&image).unwrap();
        let last_data = bytes.len() - 1 - bytes.iter().rev().position(|b| *b != 0).unwrap();
        let mut random = Random(9);
        let cuts = [0, 3, 71, 103, 104, bytes.len() - 1]
            .into_iter()
            .chain((0..40).map(|_| random.below(bytes.len())));
        for cut in cuts {
            // the server has it all and the download ends early
            let (result, ..) = place(whole.clone(), &bytes[..cut], 50_000, None);
            let (expected, received) = (bytes.len() as u64, cut as u64);
            assert!(
                matches!(result, Err(Error::Length { expected: e, received: r }) if (e, r) == (expected, received)),
                "cut at {cut}: {result:?}"
            );
            // the server's own file is cut; only its padding may be missing
            let short = sample.path("short.qcow2");
            fs::write(&short, &bytes[..cut]).unwrap();
            match map(&short).await {
                Err(error) => drop(error.to_string()),
                Ok(map) => {
                    let (result, sink, _) = place(map, &bytes[..cut], 50_000, None);
                    assert!(
                        result.is_err() || (cut > last_data && sink.bytes() == sample.disk),
                        "cut at {cut}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_pass_over_other_bytes_than_the_tables_came_from_is_noticed() {
    let sample = Sample::new(3 * 1024 * 1024, 33);
    let image = sample.convert(&[]);
    let bytes = fs::read(&image).unwrap();
    let map = map(&image).await.unwrap();
    let l1 = map.header().l1_offset as usize;
    let l2 = u64::from_be_bytes(bytes[l1..l1 + 8].try_into().unwrap()) as usize & 0xff_ffff_fe00;
    for offset in [30, l1 + 5, l2 + 6] {
        let mut changed = bytes.clone();
        changed[offset] ^= 1;
        let (result, ..) = place(map.clone(), &changed, 10_000, None);
        assert!(
            matches!(result, Err(Error::Changed { .. })),
            "byte {offset}: {result:?}"
        );
    }
    let mut changed = bytes.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let (result, ..) = place(map, &changed, 10_000, Some(sha256(&bytes)));
    assert!(
        matches!(result, Err(Error::ChecksumMismatch { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn memory_and_target_limits_are_kept() {
    let sample = Sample::new(3 * 1024 * 1024, 2);
    let image = sample.convert(&["-c", "-o", "cluster_size=512"]);
    let source = FileSource::open(&image).unwrap();
    let small = Limits {
        table_memory: 64 * 1024,
        ..Limits::default()
    };
    assert!(matches!(
        Qcow2Map::read_within(&source, &small).await,
        Err(Error::Unsupported { .. })
    ));
    let disk = Limits {
        virtual_size: 3 * 1024 * 1024 - 1,
        ..Limits::default()
    };
    assert!(matches!(
        Qcow2Map::read_within(&source, &disk).await,
        Err(Error::TooSmall { .. })
    ));
    let map = Qcow2Map::read(&source).await.unwrap();
    assert!(
        map.memory() < 400_000,
        "{} bytes for 6144 clusters",
        map.memory()
    );
    let refused = Qcow2Placer::new(map, MemorySink::filled(1024, 0), None);
    assert!(matches!(
        refused.err(),
        Some(Error::TooSmall {
            needed: 3_145_728,
            capacity: 1024
        })
    ));
}

/// Two guest clusters that refer to one host cluster, as deduplicated images have it.
#[tokio::test]
async fn a_shared_cluster_is_written_everywhere() {
    for compressed in [false, true] {
        let sample = Sample::new(1024 * 1024, 44);
        let image = sample.convert(if compressed {
            &["-c"]
        } else {
            &["-o", "preallocation=full"]
        });
        let mut bytes = fs::read(&image).unwrap();
        let header = map(&image).await.unwrap().header().clone();
        let l1 = header.l1_offset as usize;
        let l2 =
            u64::from_be_bytes(bytes[l1..l1 + 8].try_into().unwrap()) as usize & 0xff_ffff_fe00;
        let (from, to) = (l2 + 8 * 3, l2 + 8 * 9);
        bytes.copy_within(from..from + 8, to);
        bytes.copy_within(from..from + 8, to + 16);
        fs::write(&image, &bytes).unwrap();
        check(&format!("shared, compressed {compressed}"), &sample, &image).await;
    }
}

/// Bytes from outside are never trusted: thousands of damaged images, no panic, no write outside the disk.
#[test]
fn damaged_images_end_in_errors() {
    let sample = Sample::new(200_000, 55);
    let variants: [&[&str]; 5] = [
        &["-o", "cluster_size=4k"],
        &["-c", "-o", "cluster_size=4k"],
        &["-c", "-o", "cluster_size=4k,compression_type=zstd"],
        &["-o", "cluster_size=16k,extended_l2=on"],
        &["-o", "cluster_size=4k,compat=0.10"],
    ];
    let mut random = Random(1);
    let mut placed = 0;
    for options in variants {
        let image = fs::read(sample.convert(options)).unwrap();
        assert!(fuzz_qcow2(&image), "the valid sample");
        let cluster = 1 << image[23];
        let metadata = [0, cluster, 2 * cluster, 3 * cluster, 4 * cluster];
        for _ in 0..400 {
            let mut damaged = image.clone();
            for _ in 0..1 + random.below(4) {
                let start = if random.below(4) == 0 {
                    random.below(damaged.len())
                } else {
                    metadata[random.below(5)]
                };
                let at = (start + random.below(120)).min(damaged.len() - 1);
                damaged[at] = match random.below(4) {
                    0 => 0xff,
                    1 => 0,
                    _ => random.next() as u8,
                };
            }
            if random.below(8) == 0 {
                damaged.truncate(random.below(damaged.len()));
            }
            fuzz_inspect(&damaged);
            placed += u32::from(fuzz_qcow2(&damaged));
        }
        fuzz_raw(&image[4..]);
    }
    assert!(
        placed > 50,
        "most damage must get past the header to be worth anything: {placed}"
    );
    for len in [0, 1, 511, 512, 513, 70_000] {
        let noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        fuzz_inspect(&noise);
        fuzz_raw(&noise);
    }
}
