//! Damage: any byte of either copy or of both, and random bytes anywhere.

use super::super::*;
use super::testing::{Image, complaints};
use crate::disk::source::ReadAt as _;
use proptest::prelude::*;
use ramet_wire::MIB;
use std::sync::LazyLock;

const SIZE: u64 = 4 * MIB;

/// A small disk with a GPT of three partitions, by sgdisk.
static DISK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let args = ["-n", "1:2048:+1M", "-n", "7:4096:+1M", "-n", "14:40:+64K", "-c", "7:seven"];
    Image::with_sgdisk(SIZE, &args).bytes()
});

/// The same with an MBR of four partitions and three EBRs, by sfdisk.
static MBR: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let script = "label: dos\nstart=64,size=1024,type=83\nstart=1200,size=512,type=83\nstart=2000,type=5\n\
        start=2100,size=100\nstart=2300,size=100\nstart=2500,size=100\n";
    Image::with_sfdisk(SIZE, script).bytes()
});

/// Where its EBRs are.
static EBRS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let table = read(&*MBR, 512).unwrap().table;
    let ebrs: Vec<_> = table.entries.iter().filter_map(|e| usize::try_from(e.ebr?).ok()).collect();
    assert_eq!(ebrs.len(), 3);
    ebrs
});

/// Where a flipped byte counts: header (its 92 bytes) or entries. Behind them a sector is reserved.
fn places(copy: usize) -> impl Strategy<Value = (usize, bool)> {
    let last = usize::try_from(SIZE).unwrap() - 512;
    let (header, entries) = if copy == 0 { (512, 1024) } else { (last, last - 16384) };
    prop_oneof![
        (0..92_usize).prop_map(move |at| (header + at, true)),
        (92..512_usize).prop_map(move |at| (header + at, false)),
        (0..16384_usize).prop_map(move |at| (entries + at, true)),
    ]
}

/// Reads `disk`, moves it to a disk of the same and of another size, and returns table and warnings.
fn outcome(disk: &Vec<u8>) -> Result<Scan, PartitionError> {
    let scan = read(disk, 512)?;
    for size in [SIZE, SIZE + MIB] {
        let layout = retarget(disk, &scan.table, 512, size)?;
        let mut target = disk.clone();
        target.resize(usize::try_from(size).unwrap(), 0);
        for piece in layout.head.iter().chain(&layout.backup).chain(&layout.ebrs).chain([&layout.lba0]) {
            let at = usize::try_from(piece.offset).unwrap();
            target[at..at + piece.bytes.len()].copy_from_slice(&piece.bytes);
        }
        let again = read(&target, 512).unwrap();
        assert_eq!(again.table.entries, scan.table.entries);
        assert!(!again.warnings.iter().any(|text| text.contains("damaged")), "{:?}", again.warnings);
    }
    Ok(scan)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_flipped_byte_in_either_copy_leaves_the_other_as_the_source(
        (copy, (at, counts)) in (0..2_usize).prop_flat_map(|copy| (Just(copy), places(copy))),
        flip in 1..=255_u8,
    ) {
        let before = read(&*DISK, 512).unwrap();
        let mut disk = DISK.clone();
        disk[at] ^= flip;
        let scan = outcome(&disk).unwrap();
        prop_assert_eq!(&scan.table, &before.table);
        let damaged = if copy == 0 { "the primary GPT is damaged" } else { "the backup GPT is damaged" };
        prop_assert_eq!(scan.warnings.iter().any(|text| text.contains(damaged)), counts, "{:?}", scan.warnings);
    }

    #[test]
    fn a_flipped_byte_in_both_copies_is_a_refusal_that_names_both(
        first in places(0), second in places(1), flip in 1..=255_u8,
    ) {
        let mut disk = DISK.clone();
        disk[first.0] ^= flip;
        disk[second.0] ^= flip;
        match outcome(&disk) {
            Err(PartitionError::NoGpt { primary, backup }) => {
                prop_assert!(first.1 && second.1, "{} {}", primary, backup);
            }
            Err(other) => prop_assert!(false, "{}", other),
            Ok(scan) => {
                prop_assert!(!(first.1 && second.1));
                prop_assert_eq!(&scan.table, &read(&*DISK, 512).unwrap().table);
            }
        }
    }

    #[test]
    fn random_changes_never_panic(
        gpt in any::<bool>(),
        changes in prop::collection::vec((0..4096_usize, any::<u8>()), 1..12),
        tail in any::<bool>(),
        right_crcs in any::<bool>(),
    ) {
        let mut disk = if gpt { DISK.clone() } else { MBR.clone() };
        for (at, value) in changes {
            // MBR: LBA 0 and the EBRs are where it hurts.
            let at = match (gpt, at % 4) {
                (false, 0) => 446 + at % 66,
                (false, _) => EBRS[at % 3] + 446 + at % 66,
                (true, _) if tail => disk.len() - 1 - at % 17_000,
                (true, _) => at % 20_000,
            };
            disk[at] = value;
        }
        if gpt && right_crcs {
            for at in [512, disk.len() - 512] {
                let entries = usize::try_from(le64(&disk, at + 72)).unwrap_or(usize::MAX).saturating_mul(512);
                if let Some(array) = disk.get(entries..entries.saturating_add(16384)) {
                    let crc = crc32fast::hash(array);
                    disk[at + 88..at + 92].copy_from_slice(&crc.to_le_bytes());
                }
                let header = super::super::gpt::edit_header(&disk[at..at + 512], &[]);
                disk[at..at + 512].copy_from_slice(&header);
            }
        }
        for sector_size in [512, 4096] {
            if let Ok(scan) = read(&disk, sector_size) {
                super::check_gaps_of_any(&scan, disk.size());
                let _ = retarget(&disk, &scan.table, sector_size, SIZE + 12_345);
                let _ = retarget(&disk, &scan.table, sector_size, SIZE / 2);
            }
            old_tables(&disk, sector_size).unwrap();
        }
    }

    #[test]
    fn random_bytes_never_panic(mut disk in prop::collection::vec(any::<u8>(), 0..9000), sign in any::<bool>()) {
        if sign && disk.len() >= 512 {
            disk[510..512].copy_from_slice(&[0x55, 0xAA]);
            for slot in 0..4 {
                disk[446 + slot * 16] &= 0x80;
            }
        }
        for sector_size in [512, 4096] {
            let _ = read(&disk, sector_size);
            for range in old_tables(&disk, sector_size).unwrap() {
                prop_assert!(range.end() <= disk.size());
            }
        }
    }
}

#[test]
fn a_damaged_copy_is_made_anew_from_the_other_and_sgdisk_finds_it_clean() {
    for at in [512 + 30, 1024 + 128, 32 * MIB - 512 + 30, 32 * MIB - 33 * 512] {
        let image = Image::with_sgdisk(32 * MIB, &["-n", "1:2048:+8M", "-n", "9:40960:+8M"]);
        let before = image.bytes();
        image.write(at, &[0xFF; 4]);
        for size in [32 * MIB, 40 * MIB] {
            let target = super::moved(&image, size).unwrap();
            assert_eq!(complaints(&target.path), None, "damage at {at}");
            if size == 32 * MIB {
                assert!(target.bytes() == before, "damage at {at}");
            }
        }
    }
}

#[test]
fn copies_that_differ_are_a_warning_and_the_primary_counts() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M"]);
    let other = Image::with_sgdisk(64 * MIB, &["-n", "1:4096:+9M"]);
    image.write(64 * MIB - 33 * 512, &other.read(64 * MIB - 33 * 512, 33 * 512));
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.table.entries[0].range.start(), MIB);
    assert!(scan.warnings[0].contains("differ"), "{:?}", scan.warnings);
    let target = super::moved(&image, 64 * MIB).unwrap();
    assert_eq!(complaints(&target.path), None);
}

#[test]
fn a_protective_mbr_without_any_gpt_is_refused_with_the_reasons() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M"]);
    image.write(512, &[0; 33 * 512]);
    image.write(64 * MIB - 33 * 512, &[0; 33 * 512]);
    let text = read(&image.source(), 512).unwrap_err().to_string();
    assert!(text.contains("0xEE") && text.contains("LBA 1 ") && text.contains("LBA 131071 "), "{text}");
}

#[test]
fn a_table_that_is_not_what_the_bytes_say_is_refused() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M"]);
    let scan = read(&image.source(), 512).unwrap();
    let mut changes: Vec<ramet_wire::Table> = vec![scan.table.clone(); 6];
    changes[0].entries[0].range = ramet_wire::ByteRange::between(0, 512);
    changes[1].id = None;
    changes[2].hybrid = true;
    changes[3].usable = None;
    changes[4].entries.clear();
    changes[5].kind = ramet_wire::TableKind::Mbr;
    for table in changes {
        let error = retarget(&image.source(), &table, 512, 64 * MIB).unwrap_err();
        assert!(matches!(error, PartitionError::Differs { .. }), "{error}");
    }
    assert!(retarget(&image.source(), &scan.table, 512, 64 * MIB).is_ok());
}
