//! sgdisk, sfdisk, wipefs, blkid and the makers of file systems judge, on plain files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bessemer_disk::fuzz::{fuzz_disk, fuzz_hints, fuzz_vpd};
use bessemer_disk::{
    BackupCopy, BlockDevice, Error, Guid, NewPartition, PartitionKind, PartitionTable, Storage,
    TableKind, add_partition_at_end, fix_backup_gpt, signatures, signatures_in, volume_label,
    wipe_metadata,
};

const MIB: u64 = 1024 * 1024;

struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn run(program: &str, args: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("{program} is needed for these tests (gdisk, fdisk, util-linux, e2fsprogs, dosfstools): {e}")
        });
    // a program that reads nothing may be gone by now
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

impl Image {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(size).unwrap();
        Image { _dir: dir, path }
    }

    /// Made by sfdisk: sgdisk sleeps after each write.
    fn gpt(size: u64, script: &str) -> Self {
        // the first usable sector right behind the table, as sgdisk has it
        Self::label("gpt\nfirst-lba: 34", size, script)
    }

    fn mbr(size: u64, script: &str) -> Self {
        Self::label("dos", size, script)
    }

    fn label(label: &str, size: u64, script: &str) -> Self {
        let image = Image::new(size);
        let (ok, text) = run(
            "sfdisk",
            &["-q", image.name()],
            &format!("label: {label}\n{script}"),
        );
        assert!(ok, "sfdisk: {text}");
        image
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn run(&self, program: &str, args: &[&str]) -> (bool, String) {
        run(program, &[args, &[self.name()]].concat(), "")
    }

    fn ok(&self, program: &str, args: &[&str]) -> String {
        let (ok, text) = self.run(program, args);
        assert!(ok, "{program} {args:?}: {text}");
        text
    }

    fn grow(&self, size: u64) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(size)
            .unwrap();
    }

    fn open(&self) -> BlockDevice {
        BlockDevice::open(&self.path).unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .write_all_at(bytes, offset)
            .unwrap();
    }

    fn table(&self) -> PartitionTable {
        PartitionTable::read(&self.open())
            .unwrap()
            .expect("a table")
    }

    /// sgdisk finds no problem.
    fn verify_gpt(&self, what: &str) {
        let text = self.ok("sgdisk", &["-v"]);
        assert!(
            text.contains("No problems found") && !text.contains("Warning"),
            "{what}: {text}"
        );
    }

    /// sfdisk's view: start and size in bytes of each partition.
    fn sfdisk(&self) -> Vec<(u32, u64, u64)> {
        let text = self.ok("sfdisk", &["-q", "-l", "-o", "Device,Start,Sectors"]);
        text.lines()
            .skip(1)
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let number = fields[0].trim_start_matches(self.name()).parse().unwrap();
                (
                    number,
                    fields[1].parse::<u64>().unwrap() * 512,
                    fields[2].parse::<u64>().unwrap() * 512,
                )
            })
            .collect()
    }

    fn check_against_sfdisk(&self, what: &str) {
        let ours: Vec<_> = self
            .table()
            .partitions
            .iter()
            .map(|p| (p.number, p.start, p.size))
            .collect();
        assert_eq!(ours, self.sfdisk(), "{what}");
    }

    fn check_clean(&self, what: &str) {
        let (_, text) = self.run("wipefs", &["-n"]);
        assert_eq!(text, "", "{what}: wipefs");
        let (found, text) = self.run("blkid", &["-p"]);
        assert!(!found && text.is_empty(), "{what}: blkid: {text}");
        assert_eq!(signatures(&self.open()).unwrap(), [], "{what}");
    }
}

fn config_drive() -> NewPartition {
    NewPartition::config_drive(100_000, Guid::from_uuid(*b"0123456789abcdef"))
}

#[test]
fn a_gpt_is_read_as_sfdisk_reads_it() {
    let image = Image::gpt(
        64 * MIB,
        "d15: start=2048, size=4MiB, type=U, name=\"EFI system\"\nd1: size=20MiB, name=root\nd2: size=+\n",
    );
    image.check_against_sfdisk("gpt");
    let table = image.table();
    assert_eq!(
        (table.kind, table.primary, table.backup),
        (TableKind::Gpt, true, Some(BackupCopy::AtEnd))
    );
    let PartitionKind::Gpt {
        type_guid, name, ..
    } = &table.partition(15).unwrap().kind
    else {
        panic!()
    };
    assert_eq!(
        (*type_guid, name.as_str()),
        (Guid::EFI_SYSTEM, "EFI system")
    );
    assert_eq!(
        type_guid.to_string(),
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    );
}

#[test]
fn an_mbr_is_read_as_sfdisk_reads_it() {
    let script = "d1: size=10MiB, type=83, bootable\nd2: size=5MiB, type=c\nd3: size=40MiB, type=5\nd5: size=4MiB\nd6: size=5MiB, type=82\n";
    let image = Image::mbr(64 * MIB, script);
    image.check_against_sfdisk("mbr");
    let table = image.table();
    assert_eq!(
        (table.kind, table.backup, table.partitions.len()),
        (TableKind::Mbr, None, 5)
    );
    assert!(table.partition(3).unwrap().is_extended());
    assert_eq!(
        table.partition(1).unwrap().kind,
        PartitionKind::Mbr {
            id: 0x83,
            active: true
        }
    );
    assert_eq!(PartitionTable::read(&Image::new(MIB).open()).unwrap(), None);
    assert_eq!(PartitionTable::read(&Image::new(0).open()).unwrap(), None);
}

#[test]
fn the_backup_gpt_moves_to_the_end_of_a_bigger_disk() {
    let image = Image::gpt(64 * MIB, "size=20MiB\nsize=+\n");
    assert!(!fix_backup_gpt(&mut image.open()).unwrap(), "nothing to do");
    for size in [200 * MIB, 200 * MIB + 4096, 5000 * MIB] {
        image.grow(size);
        assert_eq!(image.table().backup, Some(BackupCopy::Misplaced));
        assert!(fix_backup_gpt(&mut image.open()).unwrap());
        image.verify_gpt("grown");
        assert_eq!(image.table().backup, Some(BackupCopy::AtEnd));
        image.check_against_sfdisk("grown");
        let text = image.ok("sfdisk", &["-l"]);
        assert!(
            !text.contains("mismatch") && !text.contains("not on the end"),
            "{text}"
        );
        assert!(
            !fix_backup_gpt(&mut image.open()).unwrap(),
            "once is enough"
        );
    }
}

#[test]
fn a_damaged_copy_is_rebuilt_from_the_other() {
    for (what, offset) in [
        ("primary header", 600),
        ("primary entries", 1100),
        ("backup", 64 * MIB - 500),
    ] {
        let image = Image::gpt(64 * MIB, "size=20MiB, name=root\n");
        let before = image.table().partitions;
        image.write(offset, b"damage");
        let table = image.table();
        assert_eq!(
            (table.partitions, table.primary),
            (before, what == "backup"),
            "{what}"
        );
        assert!(fix_backup_gpt(&mut image.open()).unwrap(), "{what}");
        image.verify_gpt(what);
    }
    let image = Image::gpt(64 * MIB, "size=20MiB\n");
    image.write(600, b"damage");
    image.write(64 * MIB - 500, b"damage");
    assert!(matches!(
        PartitionTable::read(&image.open()),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        fix_backup_gpt(&mut image.open()),
        Err(Error::NoTable)
    ));
}

#[test]
fn a_disk_smaller_than_its_image_is_refused() {
    let image = Image::gpt(64 * MIB, "size=+\n");
    image.grow(60 * MIB);
    let before = fs::read(&image.path).unwrap();
    assert!(matches!(
        fix_backup_gpt(&mut image.open()),
        Err(Error::NoRoom { .. })
    ));
    assert!(matches!(
        add_partition_at_end(&mut image.open(), &config_drive()),
        Err(Error::NoRoom { .. })
    ));
    assert!(
        fs::read(&image.path).unwrap() == before,
        "nothing was written"
    );
}

#[test]
fn a_config_drive_partition_on_gpt() {
    let image = Image::gpt(64 * MIB, "size=+, name=root\n");
    image.grow(500 * MIB);
    let added = add_partition_at_end(&mut image.open(), &config_drive()).unwrap();
    image.verify_gpt("added");
    image.check_against_sfdisk("added");
    assert_eq!(
        (added.number, added.start, added.size),
        (2, 435 * MIB, 64 * MIB)
    );
    let text = image.ok("sgdisk", &["-i", "2"]);
    for line in [
        "Partition name: 'config-2'",
        "(Linux filesystem)",
        "30313233-3435-3637-3839-616263646566",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // the next one goes before it
    let second = add_partition_at_end(&mut image.open(), &config_drive()).unwrap();
    assert_eq!((second.number, second.start), (3, 371 * MIB));
    image.verify_gpt("two");
    let full = Image::gpt(64 * MIB, "size=+\n");
    assert!(matches!(
        add_partition_at_end(&mut full.open(), &config_drive()),
        Err(Error::NoRoom { .. })
    ));
    assert!(matches!(
        add_partition_at_end(&mut Image::new(MIB).open(), &config_drive()),
        Err(Error::NoTable)
    ));
}

#[test]
fn a_config_drive_partition_on_mbr() {
    let image = Image::mbr(
        300 * MIB,
        "d1: size=10MiB\nd2: size=20MiB, type=5\nd5: size=5MiB\nd6: size=5MiB\n",
    );
    let added = add_partition_at_end(&mut image.open(), &config_drive()).unwrap();
    assert_eq!(
        (added.number, added.start, added.size),
        (3, 236 * MIB, 64 * MIB)
    );
    image.check_against_sfdisk("added");
    let (ok, text) = image.run("sfdisk", &["-V"]);
    assert!(ok && text.contains("No errors detected"), "{text}");
    let four = Image::mbr(300 * MIB, &"size=10MiB\n".repeat(4));
    assert!(matches!(
        add_partition_at_end(&mut four.open(), &config_drive()),
        Err(Error::NoRoom { .. })
    ));
    // 3 TiB, of which an MBR addresses two
    let big = Image::mbr(3 << 40, "size=10MiB\n");
    let added = add_partition_at_end(&mut big.open(), &config_drive()).unwrap();
    assert!(
        added.end() <= (1 << 41) && added.end() > (1 << 41) - 2 * MIB,
        "{added:?}"
    );
    big.check_against_sfdisk("big");
}

#[test]
fn sectors_of_4_kib() {
    let image = Image::new(64 * MIB);
    let (_, text) = run(
        "fdisk",
        &["-b", "4096", image.name()],
        "g\nn\n1\n\n+20M\nw\n",
    );
    image.grow(200 * MIB);
    let open = || image.open().with_sector_size(4096);
    let table = PartitionTable::read(&open()).unwrap().expect(&text);
    assert_eq!(table.backup, Some(BackupCopy::Misplaced));
    assert!(fix_backup_gpt(&mut open()).unwrap());
    let added = add_partition_at_end(&mut open(), &config_drive()).unwrap();
    assert_eq!(
        (added.number, added.start, added.size),
        (2, 135 * MIB, 64 * MIB)
    );
    let text = image.ok("fdisk", &["-b", "4096", "-l", "-o", "Device,Start,Sectors"]);
    let line = format!("{}2 {} {}", image.name(), 135 * MIB / 4096, 64 * MIB / 4096);
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        squeezed.contains(&line) && !text.contains("corrupt") && !text.contains("mismatch"),
        "{text}"
    );
    // an image made for 512 bytes, written to such a disk
    let other = Image::gpt(64 * MIB, "size=20MiB\n");
    let device = other.open().with_sector_size(4096);
    assert!(matches!(
        PartitionTable::read(&device),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn wiped_disks_are_empty_for_wipefs_and_blkid() {
    let makers: [(&str, &[&str]); 6] = [
        ("mke2fs", &["-q", "-F", "-t", "ext4"]),
        ("mkfs.vfat", &[]),
        ("mkfs.vfat", &["-F", "32"]),
        ("mkswap", &[]),
        ("sgdisk", &["-Z", "-o", "-n", "1:0:+10M"]),
        ("mke2fs", &["-q", "-F", "-t", "ext2", "-b", "1024"]),
    ];
    for (program, args) in makers {
        let image = Image::new(48 * MIB);
        image.ok(program, args);
        let found = signatures(&image.open()).unwrap();
        let (_, text) = image.run("wipefs", &["-n"]);
        assert!(
            !found.is_empty() && !text.is_empty(),
            "{program} {args:?} left {found:?}, {text}"
        );
        let wiped = wipe_metadata(&mut image.open()).unwrap();
        assert_eq!(wiped.found, found);
        image.check_clean(program);
    }
}

/// Magics where their formats keep them; wipefs must see each before (where it knows it) and nothing after.
#[test]
fn superblocks_anywhere_on_the_disk_are_found_and_wiped() {
    let size = 100 * MIB + 512 * 3;
    let md_090 = (size & !0xffff) - 0x10000;
    let md_10 = ((size / 512 - 16) & !7) * 512;
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    let marks: [(&str, u64, &[u8]); 18] = [
        ("md 0.90", md_090, &md),
        ("md 1.0", md_10, &md),
        ("md 1.1", 0, &md),
        ("md 1.2", 4096, &md),
        (
            "LVM",
            512,
            b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0LVM2 001",
        ),
        ("LUKS", 0, b"LUKS\xba\xbe\0\x01"),
        ("LUKS", 0x400000, b"SKUL\xba\xbe\0\x02"),
        ("XFS", 0, b"XFSB"),
        ("btrfs", 0x10040, b"_BHRfS_M"),
        ("btrfs", 64 * MIB + 0x40, b"_BHRfS_M"),
        ("ISO 9660", 32769, b"CD001"),
        ("swap", 4086, b"SWAPSPACE2"),
        ("DDF RAID", size - 512, &[0xde, 0x11, 0xde, 0x11]),
        ("Intel RAID", size - 1024, b"Intel Raid ISM Cfg Sig. "),
        ("VMFS", 2 * MIB, &[0x5e, 0xf1, 0xab, 0x2f]),
        ("GPT backup", size - 512, b"EFI PART"),
        ("ZFS", 128 * 1024 + 4096, &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]),
        (
            "ZFS",
            100 * MIB - 128 * 1024,
            &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0],
        ),
    ];
    for (what, offset, magic) in marks {
        let image = Image::new(size);
        image.write(offset, magic);
        let found = signatures(&image.open()).unwrap();
        assert!(
            found.iter().any(|f| f.what == what && f.offset == offset),
            "{what} at {offset}: {found:?}"
        );
        wipe_metadata(&mut image.open()).unwrap();
        image.check_clean(what);
    }
}

/// A disk with a past: GPT, an array member and file systems inside its partitions, and a marker in between.
#[test]
fn partitions_are_wiped_inside_and_data_stays() {
    let gpt = Image::gpt(100 * MIB, "size=20MiB\nsize=20MiB\nsize=+\n");
    let mbr = Image::mbr(
        100 * MIB,
        "d1: size=20MiB\nd2: size=70MiB, type=5\nd5: size=20MiB\nd6: size=20MiB\n",
    );
    for image in [gpt, mbr] {
        let table = image.table();
        let partitions: Vec<_> = table
            .partitions
            .iter()
            .filter(|p| !p.is_extended())
            .collect();
        let offset = format!("offset={}", partitions[0].start);
        let (ok, text) = run(
            "mke2fs",
            &["-q", "-F", "-E", &offset, "-t", "ext4", image.name(), "10M"],
            "",
        );
        assert!(ok, "mke2fs: {text}");
        image.write(partitions[1].start + 4096, &[0xfc, 0x4e, 0x2b, 0xa9]);
        let end = partitions[2].size;
        image.write(
            partitions[2].start + ((end / 512 - 16) & !7) * 512,
            &[0xfc, 0x4e, 0x2b, 0xa9],
        );
        image.write(partitions[1].start + 9 * MIB, b"marker");
        let wiped = wipe_metadata(&mut image.open()).unwrap();
        let found: Vec<&str> = wiped.found.iter().map(|f| f.what).collect();
        for what in ["ext2/3/4", "md 1.2", "md 1.0"] {
            assert!(found.contains(&what), "{what} in {found:?}");
        }
        assert_eq!(wiped.partitions, table.partitions.len());
        image.check_clean("whole disk");
        for partition in &table.partitions {
            assert_eq!(
                signatures_in(&image.open(), partition.start, partition.size).unwrap(),
                []
            );
        }
        let mut marker = [0; 6];
        image
            .open()
            .read_at(partitions[1].start + 9 * MIB, &mut marker)
            .unwrap();
        assert_eq!(&marker, b"marker", "only metadata goes");
        assert_eq!(
            wipe_metadata(&mut image.open()).unwrap(),
            Default::default(),
            "a second time there is nothing"
        );
    }
    for size in [0, 1, 511, 512, 5000, MIB, 9 * MIB] {
        let image = Image::new(size);
        wipe_metadata(&mut image.open()).unwrap();
    }
}

#[test]
fn labels_of_volumes() {
    let image = Image::new(48 * MIB);
    image.ok("mke2fs", &["-q", "-F", "-L", "config-2"]);
    assert_eq!(
        volume_label(&image.open(), 0, 48 * MIB).unwrap().as_deref(),
        Some("config-2")
    );
    for bits in ["16", "32"] {
        let image = Image::new(48 * MIB);
        image.ok("mkfs.vfat", &["-F", bits, "-n", "CONFIG-2"]);
        assert_eq!(
            volume_label(&image.open(), 0, 48 * MIB).unwrap().as_deref(),
            Some("CONFIG-2"),
            "FAT{bits}"
        );
    }
    assert_eq!(
        volume_label(&Image::new(1000).open(), 0, 1000).unwrap(),
        None
    );
}

/// SplitMix64: small, seeded.
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

/// Signs a damaged header again, so that the damage gets past its checksum.
fn sign(disk: &mut [u8], header: usize) {
    let entries = u64::from_le_bytes(disk[header + 72..header + 80].try_into().unwrap()) as usize;
    let count = u32::from_le_bytes(disk[header + 80..header + 84].try_into().unwrap()) as usize;
    let len = u32::from_le_bytes(disk[header + 84..header + 88].try_into().unwrap()) as usize;
    let end = entries
        .saturating_mul(512)
        .saturating_add(count.saturating_mul(len));
    if let Some(array) = disk.get(entries.saturating_mul(512)..end) {
        let crc = crc32fast::hash(array);
        disk[header + 88..header + 92].copy_from_slice(&crc.to_le_bytes());
    }
    disk[header + 16..header + 20].fill(0);
    let crc = crc32fast::hash(&disk[header..header + 92]);
    disk[header + 16..header + 20].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn damaged_tables_end_in_errors() {
    let mut random = Random(1);
    let mut tables = 0;
    // small ones for many rounds, and some with room for a further partition
    let small = (
        Image::gpt(300 * 1024, "start=40, size=100KiB\nsize=50KiB\n"),
        Image::mbr(
            300 * 1024,
            "d1: start=64, size=50KiB\nd2: start=200, size=150KiB, type=5\nd5: start=210, size=50KiB\n",
        ),
    );
    let large = (
        Image::gpt(9 * MIB / 4, "start=40, size=200KiB\nsize=100KiB\n"),
        Image::mbr(
            9 * MIB / 4,
            "d1: start=64, size=50KiB\nd2: start=200, size=800KiB, type=5\nd5: start=210, size=50KiB\n",
        ),
    );
    let content = |image: &Image| fs::read(&image.path).unwrap();
    let (small, large) = (
        (content(&small.0), content(&small.1)),
        (content(&large.0), content(&large.1)),
    );
    for disk in [&small.0, &small.1, &large.0, &large.1] {
        assert!(fuzz_disk(disk, 512));
    }
    let extended = 200 * 512;
    for round in 0..1500 {
        let (gpt, mbr) = if round % 8 == 0 { &large } else { &small };
        let mut disk = if round % 3 == 0 {
            mbr.clone()
        } else {
            gpt.clone()
        };
        for _ in 0..1 + random.below(3) {
            let at = match (round % 3, random.below(4)) {
                (0, 0) => extended + 446 + random.below(32),
                (0, _) => 446 + random.below(64),
                (_, 0) => 1024 + random.below(300),
                (_, 1) => disk.len() - 512 + random.below(92),
                (_, 2) => 446 + random.below(64),
                _ => 512 + random.below(92),
            };
            disk[at] = match random.below(4) {
                0 => 0xff,
                1 => 0,
                _ => random.next() as u8,
            };
        }
        if round % 3 != 0 && random.below(4) > 0 {
            sign(&mut disk, 512);
        }
        if random.below(20) == 0 {
            disk.truncate(random.below(disk.len()));
        }
        tables += u32::from(fuzz_disk(
            &disk,
            if random.below(10) == 0 { 4096 } else { 512 },
        ));
    }
    assert!(
        tables > 500,
        "most damage must get past the first check to be worth anything: {tables}"
    );
    for sample in [
        &b"\0\x80\0\x08SERIAL12"[..],
        b"\0\x83\0\x0c\x01\x03\0\x08\x50\0\xc5\0\x12\x34\x56\x78",
        &[0x89; 600],
    ] {
        for _ in 0..500 {
            let mut page = sample.to_vec();
            let at = random.below(page.len());
            page[at] = random.next() as u8;
            page.truncate(random.below(page.len() + 1));
            fuzz_vpd(&page);
        }
    }
    for sample in [
        r#"{"size": "<range-in> [ 10 20 )", "model": "<or> a <or> b"}"#,
        r#"{"serial": "s>= x", "wwn": "<all-in> a b"}"#,
    ] {
        for _ in 0..1000 {
            let mut hints = sample.as_bytes().to_vec();
            let at = random.below(hints.len());
            hints[at] = b"<>=![]() \"ors\xc3"[random.below(14)];
            fuzz_hints(&hints);
        }
    }
}
