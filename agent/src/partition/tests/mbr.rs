//! MBR: ten partitions, chains that go anywhere, and file systems that only look like a table.

use super::super::*;
use super::testing::{Image, dump, run};
use super::{check_gaps, moved};
use crate::disk::source::ReadAt as _;
use ramet_wire::{ByteRange, GIB, MIB, TableKind};

/// Three primaries, an extended partition, six logical ones; the last five lie beyond 4 GiB.
fn ten(size: u64) -> Image {
    let mut script = "label: dos\nlabel-id: 0x1a2b3c4d\n".to_owned();
    script += "start=2048, size=20480, type=83, bootable\nstart=22528, size=20480, type=82\n";
    script += "start=43008, size=20480, type=7\nstart=63488, type=5\n";
    for start in [65_536, 9_437_184, 10_485_760, 12_582_912, 14_680_064, 16_777_216] {
        script += &format!("start={start}, size=204800, type=83\n");
    }
    Image::with_sfdisk(size, &script)
}

/// Start and size in bytes of each partition as sfdisk sees it.
fn sfdisk_ranges(image: &Image) -> Vec<(u32, u64, u64)> {
    let text = run("sfdisk", &["-d", image.path.to_str().unwrap()]);
    let number = |line: &str, key: &str| -> u64 {
        let rest = &line[line.find(key).unwrap() + key.len()..];
        rest.trim_start().split(',').next().unwrap().trim().parse().unwrap()
    };
    text.lines()
        .filter_map(|line| Some((line.strip_prefix(image.path.to_str().unwrap())?, line)))
        .map(|(rest, line)| {
            let partition = rest.split(':').next().unwrap().trim().parse().unwrap();
            (partition, number(line, "start=") * 512, number(line, "size=") * 512)
        })
        .collect()
}

#[test]
fn ten_partitions_of_which_six_lie_beyond_4_gib_are_read_as_sfdisk_reads_them() {
    let image = ten(20 * GIB);
    let scan = read(&image.source(), 512).unwrap();
    let ours: Vec<_> = scan.table.entries.iter().map(|e| (e.number, e.range.start(), e.range.len())).collect();
    assert_eq!(ours, sfdisk_ranges(&image));
    assert_eq!(ours.len(), 10);
    assert_eq!(scan.table.kind, TableKind::Mbr);
    assert_eq!(scan.table.id.as_deref(), Some("0x1a2b3c4d"));
    assert_eq!(scan.table.entries[0].attributes, 0x80);
    assert_eq!(scan.table.entries[1].r#type, "0x82");
    assert!(scan.table.entries[3].extended && !scan.table.entries[4].extended);
    assert_eq!(scan.warnings, Vec::<String>::new());
    check_gaps(&scan, 20 * GIB);
    // Each EBR, and at most 1 MiB behind it, is captured.
    for logical in &scan.table.entries[4..] {
        let ebr = ByteRange::between(logical.ebr.unwrap(), logical.ebr.unwrap() + 512);
        assert!(scan.gaps.iter().any(|gap| gap.contains(ebr)), "{ebr}");
    }
    assert!(scan.gaps.iter().all(|gap| gap.len() <= 32 * MIB));
}

#[test]
fn a_moved_mbr_is_the_same_for_sfdisk() {
    let image = ten(20 * GIB);
    for size in [20 * GIB, 30 * GIB] {
        let target = moved(&image, size).unwrap();
        assert_eq!(dump(&image.path), dump(&target.path));
        assert_eq!(image.read(0, 512), target.read(0, 512));
        let verdict = run("sfdisk", &["--verify", target.path.to_str().unwrap()]);
        assert!(verdict.contains("No errors detected"), "{verdict}");
    }
    let error = moved(&image, 19 * GIB).map(|_| ()).unwrap_err();
    assert!(matches!(error, PartitionError::DoesNotFit { number: 4, .. }), "{error}");
}

/// Type, first LBA, sectors.
type RawRecord = (u8, u32, u32);

/// A boot record with `records` of (type, start, sectors).
fn boot_record(records: &[RawRecord]) -> [u8; 512] {
    let mut sector = [0; 512];
    for (slot, &(kind, start, sectors)) in records.iter().enumerate() {
        let at = 446 + 16 * slot;
        sector[at + 4] = kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

/// A disk with an extended partition over sectors 1000 to 9000 and the given EBRs.
fn chained(ebrs: &[(u64, &[RawRecord])]) -> Image {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(0x83, 100, 500), (5, 1000, 8000)]));
    for &(lba, records) in ebrs {
        image.write(lba * 512, &boot_record(records));
    }
    image
}

#[test]
fn a_chain_that_goes_backwards_is_followed() {
    // sfdisk numbers logical partitions in the order of the chain, not of the disk.
    let image = chained(&[
        (1000, &[(0x83, 10, 100), (5, 6000, 500)]),
        (7000, &[(0x83, 10, 100), (5, 3000, 500)]),
        (4000, &[(0x83, 10, 100)]),
    ]);
    let scan = read(&image.source(), 512).unwrap();
    let ours: Vec<_> = scan.table.entries.iter().map(|e| (e.number, e.range.start(), e.range.len())).collect();
    assert_eq!(ours, sfdisk_ranges(&image));
    let starts: Vec<u64> = scan.table.entries[2..].iter().map(|e| e.range.start() / 512).collect();
    assert_eq!(starts, [1010, 7010, 4010]);
    assert!(scan.warnings.is_empty());
    let target = moved(&image, 9 * MIB).unwrap();
    assert_eq!(dump(&image.path), dump(&target.path));
}

#[test]
fn a_chain_that_loops_ends_with_a_warning() {
    for back_to in [0, 3000] {
        let image =
            chained(&[(1000, &[(0x83, 10, 100), (5, 3000, 500)]), (4000, &[(0x83, 10, 100), (5, back_to, 500)])]);
        let scan = read(&image.source(), 512).unwrap();
        assert_eq!(scan.table.entries.len(), 4);
        assert!(scan.warnings.iter().any(|text| text.contains("comes back to")), "{:?}", scan.warnings);
    }
}

#[test]
fn an_endless_chain_is_refused() {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(5, 1000, 8000)]));
    for step in 0..2000 {
        image.write((1000 + step) * 512, &boot_record(&[(0, 0, 0), (5, u32::try_from(step + 1).unwrap(), 1)]));
    }
    let error = read(&image.source(), 512).unwrap_err().to_string();
    assert!(error.contains("more than 1024 EBRs"), "{error}");
}

#[test]
fn an_ebr_outside_the_disk_is_refused_with_both_numbers() {
    let image = chained(&[(1000, &[(0x83, 10, 100), (5, 100_000, 500)])]);
    let error = read(&image.source(), 512).unwrap_err().to_string();
    assert!(error.contains(&(101_000 * 512).to_string()) && error.contains(&(8 * MIB).to_string()), "{error}");
}

#[test]
fn an_extended_partition_without_an_ebr_is_a_warning() {
    let image = chained(&[]);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.entries.len(), 2);
    assert!(scan.warnings.iter().any(|text| text.contains("does not end in 55 AA")), "{:?}", scan.warnings);
}

#[test]
fn an_empty_first_ebr_takes_no_number() {
    let image = chained(&[(1000, &[(0, 0, 0), (5, 3000, 500)]), (4000, &[(0x83, 10, 100)])]);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.entries[2].number, 5);
    assert_eq!(scan.table.entries[2].range.start(), 4010 * 512);
}

#[test]
fn partitions_out_of_range_or_on_top_of_each_other_are_refused() {
    let refused = |records: &[(u8, u32, u32)]| {
        let image = Image::new(8 * MIB);
        image.write(0, &boot_record(records));
        read(&image.source(), 512).unwrap_err().to_string()
    };
    let text = refused(&[(0x83, 100, 20_000)]);
    assert!(text.contains("10291200") && text.contains("8388608"), "{text}");
    let text = refused(&[(0x83, u32::MAX, u32::MAX)]);
    assert!(text.contains("partition 1") && text.contains("8388608"), "{text}");
    let text = refused(&[(0x83, 100, 200), (0x83, 299, 10)]);
    assert!(text.contains("partition 1 (51200..153600) and partition 2 (153088..158208) overlap"), "{text}");
    let text = refused(&[(0x83, 100, 1000), (5, 1000, 8000)]);
    assert!(text.contains("partition 1") && text.contains("partition 2"), "{text}");
    // A logical partition on top of its own EBR.
    let image = chained(&[(1000, &[(0x83, 0, 100)])]);
    let text = read(&image.source(), 512).unwrap_err().to_string();
    assert!(text.contains("EBR at 512000") && text.contains("partition 5"), "{text}");
}

#[test]
fn a_logical_partition_that_leaves_its_frame_is_a_warning() {
    let image = chained(&[(1000, &[(0x83, 10, 9000)])]);
    let scan = read(&image.source(), 512).unwrap();
    assert!(scan.warnings.iter().any(|text| text.contains("leaves its extended partition")), "{:?}", scan.warnings);
}

#[test]
fn an_entry_with_a_type_and_no_sectors_is_a_warning() {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(0x83, 100, 200), (0x83, 500, 0)]));
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.entries.len(), 1);
    assert!(scan.warnings[0].contains("no sectors"), "{:?}", scan.warnings);
}

#[test]
fn partitions_off_the_block_grid_leave_gaps_that_touch_none_of_them() {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(0x83, 63, 1001), (0x83, 1064, 3), (0x83, 1069, 2001)]));
    let scan = read(&image.source(), 512).unwrap();
    check_gaps(&scan, 8 * MIB);
    assert_eq!(scan.gaps[0], ByteRange::between(0, 63 * 512));
}

#[test]
fn a_partition_that_starts_at_lba_1_leaves_only_lba_0_as_a_gap() {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(0x83, 1, 16_383)]));
    image.write(512, b"EFI PART");
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.gaps, [ByteRange::between(0, 512)]);
    assert!(scan.warnings.is_empty());
    moved(&image, 8 * MIB).unwrap();
}

#[test]
fn whole_disk_file_systems_are_not_taken_for_tables() {
    let makers: [(&str, &[&str]); 6] = [
        ("mkfs.vfat", &["-F", "12"]),
        ("mkfs.vfat", &["-F", "16"]),
        ("mkfs.vfat", &["-F", "32", "-I"]),
        ("mkfs.vfat", &["--mbr=yes"]),
        ("mkfs.ext4", &["-q", "-F"]),
        ("mkswap", &[]),
    ];
    for (program, args) in makers {
        let image = Image::new(if args.contains(&"12") { 4 * MIB } else { 64 * MIB });
        let mut all = args.to_vec();
        all.push(image.path.to_str().unwrap());
        run(program, &all);
        let scan = read(&image.source(), 512).unwrap();
        assert_eq!(scan.table.kind, TableKind::None, "{program} {args:?}: {:?}", scan.table);
        assert!(scan.warnings.is_empty(), "{program} {args:?}: {:?}", scan.warnings);
    }
}

#[test]
fn an_ntfs_boot_sector_is_not_taken_for_a_table() {
    let mut sector = [0x41_u8; 512];
    sector[..3].copy_from_slice(&[0xEB, 0x52, 0x90]);
    sector[3..11].copy_from_slice(b"NTFS    ");
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    let image = Image::new(8 * MIB);
    image.write(0, &sector);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.kind, TableKind::None);
    assert!(scan.warnings.is_empty());
    // Boot code whose bytes happen to be good boot flags, with records that are none.
    sector[446..510].fill(0);
    sector[446 + 4..446 + 16].fill(0x41);
    image.write(0, &sector);
    assert_eq!(read(&image.source(), 512).unwrap().table.kind, TableKind::None);
    // The same records in front of no file system are a table that can not be.
    sector[3..11].fill(0);
    image.write(0, &sector);
    assert!(matches!(read(&image.source(), 512), Err(PartitionError::OutOfRange { .. })));
}

#[test]
fn boot_code_with_odd_flags_is_no_table_and_a_warning() {
    let mut sector = boot_record(&[(0x83, 100, 200)]);
    sector[446] = 0x41;
    let image = Image::new(8 * MIB);
    image.write(0, &sector);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.kind, TableKind::None);
    assert!(scan.warnings[0].contains("boot flags"), "{:?}", scan.warnings);
}

#[test]
fn an_entry_that_starts_at_lba_0_makes_the_disk_whole_with_a_warning() {
    let image = Image::new(8 * MIB);
    image.write(0, &boot_record(&[(0, 0, 4000), (0xEF, 100, 200)]));
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.kind, TableKind::None);
    assert!(scan.warnings[0].contains("starts at LBA 0"), "{:?}", scan.warnings);
}

#[test]
fn a_partitioned_disk_with_an_old_fat_boot_sector_is_partitioned_with_a_warning() {
    let image = Image::new(64 * MIB);
    run("mkfs.vfat", &[image.path.to_str().unwrap()]);
    let mut sector = image.read(0, 512);
    sector[446..].copy_from_slice(&boot_record(&[(0x83, 2048, 4096)])[446..]);
    image.write(0, &sector);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.kind, TableKind::Mbr);
    assert!(scan.warnings[0].contains("FAT"), "{:?}", scan.warnings);
}

#[test]
fn a_gpt_that_lba_0_does_not_announce_is_not_believed() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M"]);
    image.write(446, &[0; 64]);
    for (lba0, kind) in [(image.read(0, 512), TableKind::None), (vec![0; 512], TableKind::None)] {
        image.write(0, &lba0);
        let scan = read(&image.source(), 512).unwrap();
        assert_eq!(scan.table.kind, kind);
        assert!(scan.warnings[0].contains("the GPT is not used"), "{:?}", scan.warnings);
    }
    image.write(0, &boot_record(&[(0x83, 2048, 4096)]));
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.kind, TableKind::Mbr);
    assert!(scan.warnings[0].contains("the GPT is not used"), "{:?}", scan.warnings);
}

#[test]
fn extended_partitions_of_every_type_are_followed() {
    for kind in [0x05, 0x0F, 0x85] {
        let image = Image::new(8 * MIB);
        image.write(0, &boot_record(&[(kind, 1000, 8000)]));
        image.write(1000 * 512, &boot_record(&[(0x83, 10, 100)]));
        let source = image.source();
        assert_eq!(read(&source, 512).unwrap().table.entries.len(), 2);
        assert_eq!(source.size(), 8 * MIB);
    }
}
