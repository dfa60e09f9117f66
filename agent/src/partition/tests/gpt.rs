//! GPT: what sgdisk wrote is what we read, and what sgdisk finds clean after a move.

use super::super::*;
use super::testing::{Image, complaints, dump, run, sgdisk};
use super::{check_gaps, moved};
use crate::disk::source::ReadAt as _;
use ramet_wire::{GIB, MIB, TableKind};
use std::io::Cursor;

/// As Debian's cloud images have it: numbers 1, 14, 15, the first one last on the disk.
fn cloud(size: u64) -> Image {
    let args = [
        "-n",
        "14:2048:+3M",
        "-t",
        "14:ef02",
        "-n",
        "15:8192:+124M",
        "-t",
        "15:ef00",
        "-n",
        "1:262144:+64M",
        "-c",
        "1:Wurzel-Dateisystem äöü",
        "-A",
        "1:set:2",
        "-A",
        "15:set:63",
    ];
    Image::with_sgdisk(size, &args)
}

/// Every partition as gptman reads it.
fn gptman_entries(bytes: &[u8], ss: u64) -> Vec<(u32, u64, u64, String, String, u64)> {
    let gpt = gptman::GPT::read_from(&mut Cursor::new(bytes), ss).unwrap();
    let guid = |bytes: [u8; 16]| uuid::Uuid::from_bytes_le(bytes).to_string();
    gpt.iter()
        .filter(|(_, p)| p.is_used())
        .map(|(number, p)| {
            let end = (p.ending_lba + 1) * ss;
            let name = p.partition_name.as_str().to_owned();
            (number, p.starting_lba * ss, end, guid(p.unique_partition_guid), name, p.attribute_bits)
        })
        .collect()
}

fn our_entries(table: &ramet_wire::Table) -> Vec<(u32, u64, u64, String, String, u64)> {
    let entry = |e: &ramet_wire::Entry| {
        let name = e.name.clone().unwrap_or_default();
        (e.number, e.range.start(), e.range.end(), e.guid.clone().unwrap(), name, e.attributes)
    };
    table.entries.iter().map(entry).collect()
}

#[test]
fn reads_what_gptman_reads() {
    let image = cloud(300 * MIB);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(our_entries(&scan.table), gptman_entries(&image.bytes(), 512));
    assert_eq!(scan.table.entries.iter().map(|e| e.number).collect::<Vec<_>>(), [1, 14, 15]);
    assert_eq!(scan.table.entries[2].r#type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    assert_eq!(scan.table.entries[0].name.as_deref(), Some("Wurzel-Dateisystem äöü"));
    assert_eq!(scan.table.usable, Some(ramet_wire::ByteRange::between(34 * 512, 300 * MIB - 33 * 512)));
    assert!(!scan.table.hybrid && scan.warnings.is_empty());
    check_gaps(&scan, 300 * MIB);
    assert_eq!(sector_size_of_file(&image.source()).unwrap(), Some(512));
}

#[test]
fn a_larger_disk_gets_its_backup_at_its_end() {
    let image = cloud(300 * MIB);
    for size in [301 * MIB, 5 * GIB + 512, 3000 * GIB] {
        let target = moved(&image, size).unwrap();
        assert_eq!(complaints(&target.path), None);
        assert_eq!(dump(&image.path), dump(&target.path));
        let at = size - 512;
        assert_eq!(&target.read(at, 8), b"EFI PART");
        assert_eq!(target.read(1024, 16384), image.read(1024, 16384));
        let shown = sgdisk(&target.path, &["-p"]);
        assert!(shown.contains(&format!("last usable sector is {}", size / 512 - 34)), "{shown}");
    }
}

#[test]
fn a_smaller_disk_is_accepted_as_long_as_every_partition_fits() {
    let image = cloud(2 * GIB);
    let end = (262_144 + 131_072) * 512;
    let target = moved(&image, end + 33 * 512).unwrap();
    assert_eq!(complaints(&target.path), None);
    assert_eq!(dump(&image.path), dump(&target.path));
    let error = moved(&image, end + 32 * 512).map(|_| ()).unwrap_err();
    let PartitionError::DoesNotFit { number, end: ends, limit, size } = error else { panic!("{error}") };
    assert_eq!((number, ends, limit, size), (1, end, end - 512, end + 32 * 512));
    assert!(matches!(moved(&image, 20_000), Err(PartitionError::NoRoom { size: 20_000, .. })));
}

#[test]
fn the_same_size_gives_the_same_bytes() {
    let image = cloud(300 * MIB);
    let target = moved(&image, 300 * MIB).unwrap();
    assert!(image.bytes() == target.bytes());
}

#[test]
fn only_the_promised_fields_change() {
    let (old, new) = (300 * MIB, 400 * MIB);
    let image = cloud(old);
    image.write(0, &[0xC3; 440]); // boot code
    let target = moved(&image, new).unwrap();
    let header = |image: &Image, at| image.read(at, 512);
    let allowed = [16..20, 24..32, 32..40, 48..56, 72..80];
    for (a, b, moving) in [
        (header(&image, 512), header(&target, 512), 1..4),
        (header(&image, old - 512), header(&target, new - 512), 0..5),
    ] {
        for (at, (x, y)) in a.iter().zip(&b).enumerate() {
            let may = allowed[moving.clone()].iter().any(|range| range.contains(&at)) || (16..20).contains(&at);
            assert!(x == y || may, "header byte {at}");
        }
    }
    let (a, b) = (image.read(0, 512), target.read(0, 512));
    let changed: Vec<usize> = (0..512).filter(|&at| a[at] != b[at]).collect();
    assert!(changed.iter().all(|at| (458..462).contains(at)), "{changed:?}");
    assert_eq!(le32(&b, 458), u32::try_from(new / 512 - 1).unwrap());
    assert_eq!(image.read(old - 33 * 512, 32 * 512), target.read(new - 33 * 512, 32 * 512));
}

#[test]
fn a_protective_entry_that_did_not_reach_the_end_stays() {
    let image = cloud(300 * MIB);
    image.write(458, &5000_u32.to_le_bytes());
    let target = moved(&image, 400 * MIB).unwrap();
    assert_eq!(le32(&target.read(0, 512), 458), 5000);
}

#[test]
fn a_protective_entry_of_more_than_2_tib_is_as_long_as_it_can_be() {
    let image = Image::with_sgdisk(3000 * GIB, &["-n", "1:2048:+1M"]);
    assert_eq!(le32(&image.read(0, 512), 458), u32::MAX);
    let target = moved(&image, 10 * GIB).unwrap();
    assert_eq!(le32(&target.read(0, 512), 458), u32::try_from(10 * GIB / 512 - 1).unwrap());
    assert_eq!(complaints(&target.path), None);
    let target = moved(&image, 4000 * GIB).unwrap();
    assert_eq!(le32(&target.read(0, 512), 458), u32::MAX);
    // A small disk whose entry was written as "everything" keeps it so.
    let image = cloud(300 * MIB);
    image.write(458, &u32::MAX.to_le_bytes());
    let target = moved(&image, 400 * MIB).unwrap();
    assert_eq!(le32(&target.read(0, 512), 458), u32::MAX);
}

#[test]
fn more_than_128_entries_are_read_and_kept() {
    let mut args: Vec<String> = vec!["-S".into(), "256".into()];
    for number in 1..=200 {
        args.extend(["-n".into(), format!("{number}:{}:+1M", 4096 + number * 2048)]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let image = Image::with_sgdisk(512 * MIB, &args);
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.entries.len(), 200);
    assert_eq!(our_entries(&scan.table), gptman_entries(&image.bytes(), 512));
    let target = moved(&image, GIB).unwrap();
    assert_eq!(complaints(&target.path), None);
    assert_eq!(dump(&image.path), dump(&target.path));
}

#[test]
fn a_hybrid_mbr_keeps_its_other_entries() {
    let image = cloud(300 * MIB);
    sgdisk(&image.path, &["-h", "15:1"]);
    let scan = read(&image.source(), 512).unwrap();
    assert!(scan.table.hybrid);
    assert_eq!(scan.table.kind, TableKind::Gpt);
    let target = moved(&image, 500 * MIB).unwrap();
    let (a, b) = (image.read(0, 512), target.read(0, 512));
    let (used, protective) = ([0, 1, 2, 3].map(|slot| 446 + 16 * slot), |at: usize| a[at + 4] == 0xEE);
    for at in used {
        if !protective(at) {
            assert_eq!(a[at..at + 16], b[at..at + 16]);
        }
    }
    assert!(complaints(&target.path).is_none_or(|text| text.contains("hybrid")));
    assert_eq!(dump(&image.path), dump(&target.path));
    assert!(read(&target.source(), 512).unwrap().table.hybrid);
}

/// The same table with entries of `entry_size` bytes, both copies.
fn with_entry_size(image: &Image, size: u64, entry_size: usize) {
    let old = image.read(1024, 16384);
    let mut array = vec![0; 32 * entry_size];
    for (slot, entry) in old.chunks(128).take(32).enumerate() {
        array[slot * entry_size..slot * entry_size + 128].copy_from_slice(entry);
        array[slot * entry_size + 128..(slot + 1) * entry_size].fill(0x5A);
    }
    let sectors = array.len() as u64 / 512;
    let last = size / 512 - 1;
    for (mine, entries) in [(1, 2), (last, last - sectors)] {
        let mut header = image.read(mine * 512, 512);
        header[48..56].copy_from_slice(&(last - sectors - 1).to_le_bytes());
        header[40..48].copy_from_slice(&(2 + sectors).to_le_bytes());
        header[72..80].copy_from_slice(&entries.to_le_bytes());
        header[80..84].copy_from_slice(&32_u32.to_le_bytes());
        header[84..88].copy_from_slice(&u32::try_from(entry_size).unwrap().to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        image.write(mine * 512, &header);
        image.write(entries * 512, &array);
    }
}

#[test]
fn entries_of_other_sizes_are_read_as_they_are() {
    for entry_size in [256, 512, 4096] {
        let image = cloud(300 * MIB);
        let before = read(&image.source(), 512).unwrap();
        with_entry_size(&image, 300 * MIB, entry_size);
        let scan = read(&image.source(), 512).unwrap();
        assert_eq!(scan.table.entries, before.table.entries, "{entry_size}");
        assert!(scan.warnings.is_empty(), "{:?}", scan.warnings);
        let target = moved(&image, 350 * MIB).unwrap();
        let again = read(&target.source(), 512).unwrap();
        assert_eq!(again.table.entries, before.table.entries);
        assert!(again.warnings.is_empty(), "{:?}", again.warnings);
        // The part of an entry that has no meaning yet is kept too.
        assert_eq!(target.read(1024, 32 * entry_size), image.read(1024, 32 * entry_size));
    }
}

#[test]
fn entry_sizes_that_are_no_power_of_two_are_refused() {
    let image = cloud(300 * MIB);
    with_entry_size(&image, 300 * MIB, 384);
    let error = read(&image.source(), 512).unwrap_err().to_string();
    assert!(error.contains("32 entries of 384 bytes"), "{error}");
}

/// A table for 4096-byte sectors, made by gptman.
fn made_for_4096(size: u64) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0_u8; usize::try_from(size).unwrap()]);
    let mut gpt = gptman::GPT::new_from(&mut disk, 4096, [7; 16]).unwrap();
    for (number, first) in [(1, 256), (3, 512), (128, 1024)] {
        gpt[number] = gptman::GPTPartitionEntry {
            partition_type_guid: [0xAF; 16],
            unique_partition_guid: [u8::try_from(number).unwrap(); 16],
            starting_lba: first,
            ending_lba: first + 99,
            attribute_bits: 0,
            partition_name: "four".into(),
        };
    }
    gpt.write_into(&mut disk).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut disk, 4096).unwrap();
    disk.into_inner()
}

#[test]
fn sectors_of_4096_bytes_are_read_and_moved() {
    let disk = made_for_4096(16 * MIB);
    assert_eq!(sector_size_of_file(&disk).unwrap(), Some(4096));
    let scan = read(&disk, 4096).unwrap();
    assert_eq!(our_entries(&scan.table), gptman_entries(&disk, 4096));
    assert!(scan.warnings.is_empty(), "{:?}", scan.warnings);
    check_gaps(&scan, 16 * MIB);
    for size in [16 * MIB, 24 * MIB, 5 * MIB] {
        let layout = retarget(&disk, &scan.table, 4096, size).unwrap();
        assert_eq!(layout.lba0.bytes.len(), 4096);
        let mut target = vec![0; usize::try_from(size).unwrap()];
        for piece in layout.head.iter().chain(&layout.backup).chain([&layout.lba0]) {
            let at = usize::try_from(piece.offset).unwrap();
            target[at..at + piece.bytes.len()].copy_from_slice(&piece.bytes);
        }
        assert_eq!(gptman_entries(&target, 4096), our_entries(&scan.table));
        let gpt = gptman::GPT::read_from(&mut Cursor::new(&target), 4096).unwrap();
        assert_eq!(gpt.header.backup_lba, size / 4096 - 1);
        assert!(read(&target, 4096).unwrap().warnings.is_empty());
    }
}

#[test]
fn a_table_for_another_sector_size_is_named() {
    let error = read(&made_for_4096(16 * MIB), 512).unwrap_err();
    assert!(matches!(error, PartitionError::OtherSectorSize { table: 4096, disk: 512 }), "{error}");
    let error = read(&cloud(300 * MIB).source(), 4096).unwrap_err();
    assert!(matches!(error, PartitionError::OtherSectorSize { table: 512, disk: 4096 }), "{error}");
}

#[test]
fn a_backup_in_the_middle_of_a_grown_disk_is_found_and_moved_to_the_end() {
    let image = cloud(300 * MIB);
    std::fs::OpenOptions::new().write(true).open(&image.path).unwrap().set_len(600 * MIB).unwrap();
    let scan = read(&image.source(), 512).unwrap();
    assert!(scan.warnings.iter().any(|text| text.contains("not in the last sector")), "{:?}", scan.warnings);
    check_gaps(&scan, 600 * MIB);
    let same = moved(&image, 600 * MIB).unwrap();
    for (at, len) in [(0, 34 * 512), (300 * MIB - 33 * 512, 34 * 512), (600 * MIB - 33 * 512, 33 * 512)] {
        assert_eq!(same.read(at, len), image.read(at, len));
    }
    let target = moved(&image, 700 * MIB).unwrap();
    assert_eq!(complaints(&target.path), None);
    assert_eq!(dump(&image.path), dump(&target.path));
}

#[test]
fn a_real_4096_byte_loop_device_is_clean_for_sgdisk_after_a_move() {
    let old = Image::new(64 * MIB);
    let device = run("losetup", &["-b", "4096", "-f", "--show", old.path.to_str().unwrap()]);
    let made = std::panic::catch_unwind(|| run("sgdisk", &["-n", "1:256:+4M", "-n", "5:4096:+8M", device.trim()]));
    run("losetup", &["-d", device.trim()]);
    made.unwrap();
    let source = old.source();
    let scan = read(&source, 4096).unwrap();
    let layout = retarget(&source, &scan.table, 4096, 96 * MIB).unwrap();
    let target = Image::new(96 * MIB);
    for piece in layout.head.iter().chain(&layout.backup).chain([&layout.lba0]) {
        target.write(piece.offset, &piece.bytes);
    }
    let device = run("losetup", &["-b", "4096", "-f", "--show", target.path.to_str().unwrap()]);
    let verdict = std::panic::catch_unwind(|| run("sgdisk", &["-v", "-p", device.trim()]));
    run("losetup", &["-d", device.trim()]);
    let verdict = verdict.unwrap();
    assert!(verdict.contains("No problems found"), "{verdict}");
    assert!(verdict.contains("Number") && scan.table.entries.len() == 2);
}

#[test]
fn an_entry_that_ends_before_it_starts_is_refused() {
    let image = cloud(300 * MIB);
    edit_entry(&image, 14, |entry| entry[40..48].copy_from_slice(&100_u64.to_le_bytes()));
    let error = read(&image.source(), 512).unwrap_err();
    assert!(matches!(error, PartitionError::Backwards { number: 14, first: 2048, last: 100 }), "{error}");
}

#[test]
fn partitions_past_the_disk_are_refused_with_both_numbers() {
    let image = cloud(300 * MIB);
    for last in [300 * MIB / 512, u64::MAX] {
        edit_entry(&image, 1, |entry| entry[40..48].copy_from_slice(&last.to_le_bytes()));
        let error = read(&image.source(), 512).unwrap_err();
        assert!(matches!(&error, PartitionError::OutOfRange { what, .. } if what == "partition 1"), "{error}");
        assert!(error.to_string().contains(&(300 * MIB).to_string()), "{error}");
    }
}

#[test]
fn partitions_that_overlap_each_other_or_a_table_are_refused() {
    for (first, last, other) in
        [(8000_u64, 8192_u64, "partition 15"), (33, 40, "primary GPT entries"), (1, 1, "primary GPT header")]
    {
        let image = cloud(300 * MIB);
        edit_entry(&image, 14, |entry| {
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        });
        let error = read(&image.source(), 512).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PartitionError::Overlap { .. }), "{text}");
        assert!(text.contains("partition 14") && text.contains(other), "{text}");
    }
    let image = cloud(300 * MIB);
    edit_entry(&image, 1, |entry| entry[40..48].copy_from_slice(&(300 * MIB / 512 - 33).to_le_bytes()));
    let text = read(&image.source(), 512).unwrap_err().to_string();
    assert!(text.contains("backup GPT entries"), "{text}");
}

#[test]
fn a_partition_outside_the_usable_range_is_a_warning() {
    let image = cloud(300 * MIB);
    for at in [512, 300 * MIB - 512] {
        let header = image.read(at, 512);
        image.write(at, &super::super::gpt::edit_header(&header, &[(40, 3000)]));
    }
    let scan = read(&image.source(), 512).unwrap();
    assert!(scan.warnings.iter().any(|text| text.contains("leaves the usable range")), "{:?}", scan.warnings);
}

#[test]
fn much_space_before_the_first_partition_is_a_warning() {
    let image = Image::with_sgdisk(300 * MIB, &["-n", "1:204800:+10M"]);
    let scan = read(&image.source(), 512).unwrap();
    assert!(scan.warnings.iter().any(|text| text.contains("104857600 bytes lie before")), "{:?}", scan.warnings);
    assert_eq!(scan.gaps[0], ramet_wire::ByteRange::between(0, 64 * MIB));
    assert_eq!(scan.uncaptured, 300 * MIB - 10 * MIB - 64 * MIB - MIB);
}

#[test]
fn a_table_with_too_many_used_entries_is_refused() {
    let image = Image::with_sgdisk(64 * MIB, &["-S", "2048"]);
    let mut array = image.read(1024, 2048 * 128);
    for (slot, entry) in array.chunks_mut(128).take(1025).enumerate() {
        entry[..32].fill(7);
        entry[32..40].copy_from_slice(&(2000 + slot as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&(2000 + slot as u64).to_le_bytes());
    }
    rewrite(&image, &array);
    let error = read(&image.source(), 512).unwrap_err().to_string();
    assert!(error.contains("more than 1024 partitions"), "{error}");
}

/// Changes the entry of partition `number` in both copies and makes all CRCs right.
fn edit_entry(image: &Image, number: usize, edit: impl Fn(&mut [u8])) {
    let mut array = image.read(1024, 16384);
    edit(&mut array[(number - 1) * 128..number * 128]);
    rewrite(image, &array);
}

fn rewrite(image: &Image, array: &[u8]) {
    let last = image.source().size() / 512 - 1;
    for mine in [1, last] {
        let mut header = image.read(mine * 512, 512);
        header[88..92].copy_from_slice(&crc32fast::hash(array).to_le_bytes());
        let header = super::super::gpt::edit_header(&header, &[]);
        image.write(mine * 512, &header);
        image.write(le64(&header, 72) * 512, array);
    }
}

#[test]
fn each_field_that_can_not_be_makes_a_copy_invalid_and_says_why() {
    let image = cloud(300 * MIB);
    let damage: [(usize, &[u8], &str); 12] = [
        (0, b"EFI QART", "does not begin with"),
        (8, &[0, 0, 2, 0], "revision 0x00020000"),
        (12, &[91, 0, 0, 0], "91 bytes"),
        (12, &[1, 2, 0, 0], "513 bytes"),
        (24, &[2, 0], "lies at LBA 1 and says 2"),
        (40, &[0xFF; 8], "its usable range is LBA 18446744073709551615"),
        (48, &[0xFF; 8], "its usable range is LBA 34 to 18446744073709551615"),
        (72, &[1, 0], "its entries are at LBA 1 to 32"),
        (72, &[0xFF; 8], "its entries are at LBA 18446744073709551615"),
        (80, &[0; 4], "0 entries of 128 bytes"),
        (80, &[0xFF; 4], "its entries take"),
        (84, &[64, 0], "128 entries of 64 bytes"),
    ];
    let good = image.read(512, 512);
    for (at, bytes, reason) in damage {
        let mut header = good.clone();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        image.write(512, &super::super::gpt::edit_header(&header, &[]));
        let scan = read(&image.source(), 512).unwrap();
        let warning = &scan.warnings[0];
        assert!(warning.starts_with("the primary GPT is damaged") && warning.contains(reason), "{warning}");
        assert_eq!(scan.table.entries.len(), 3);
    }
}

#[test]
fn a_backup_that_leaves_no_room_for_a_primary_is_not_used() {
    let image = cloud(300 * MIB);
    let header = image.read(300 * MIB - 512, 512);
    image.write(300 * MIB - 512, &super::super::gpt::edit_header(&header, &[(40, 33)]));
    image.write(512, &[0; 512]);
    let text = read(&image.source(), 512).unwrap_err().to_string();
    assert!(text.contains("FirstUsableLBA 33 leaves no room"), "{text}");
}

#[test]
fn a_header_of_more_than_92_bytes_is_checked_over_all_of_them() {
    let image = cloud(300 * MIB);
    for at in [512, 300 * MIB - 512] {
        let mut header = image.read(at, 512);
        header[12..16].copy_from_slice(&128_u32.to_le_bytes());
        header[100] = 7;
        image.write(at, &super::super::gpt::edit_header(&header, &[]));
    }
    assert!(read(&image.source(), 512).unwrap().warnings.is_empty());
    let target = moved(&image, 310 * MIB).unwrap();
    assert!(read(&target.source(), 512).unwrap().warnings.is_empty());
    assert_eq!((target.read(512, 512)[100], target.read(310 * MIB - 512, 512)[100]), (7, 7));
    image.write(512 + 100, &[8]);
    assert!(read(&image.source(), 512).unwrap().warnings[0].contains("CRC"));
}
