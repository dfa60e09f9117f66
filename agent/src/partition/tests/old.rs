//! What must be blanked before a disk is overwritten.

use super::super::*;
use super::testing::{Image, sgdisk};
use ramet_wire::{ByteRange, GIB, MIB};

fn covered(ranges: &[ByteRange], wanted: ByteRange) -> bool {
    ranges.iter().any(|range| range.contains(wanted))
}

#[test]
fn random_bytes_give_lba_0_the_primary_and_the_end_area() {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    };
    let disk: Vec<u8> = (0..MIB).map(|_| next()).collect();
    let found = old_tables(&disk, 512).unwrap();
    assert_eq!(found, [ByteRange::between(0, 34 * 512), ByteRange::between(MIB - 33 * 512, MIB)]);
    let found = old_tables(&disk, 4096).unwrap();
    assert_eq!(found, [ByteRange::between(0, 6 * 4096), ByteRange::between(MIB - 5 * 4096, MIB)]);
}

#[test]
fn tiny_disks_are_blanked_whole() {
    for len in [0_u64, 1, 511, 512, 1000, 4096] {
        let disk = vec![0_u8; usize::try_from(len).unwrap()];
        let found = old_tables(&disk, 512).unwrap();
        assert!(found.iter().all(|range| range.end() <= len));
        assert_eq!(found.iter().map(|range| range.len()).sum::<u64>(), len);
    }
}

#[test]
fn a_gpt_is_found_where_its_header_points_and_at_the_end() {
    let image = Image::with_sgdisk(64 * MIB, &["-S", "512", "-n", "1:4096:+8M"]);
    std::fs::OpenOptions::new().write(true).open(&image.path).unwrap().set_len(128 * MIB).unwrap();
    let found = old_tables(&image.source(), 512).unwrap();
    assert!(covered(&found, ByteRange::between(0, 1024 + 512 * 128)));
    assert!(covered(&found, ByteRange::between(64 * MIB - 512 - 512 * 128, 64 * MIB)));
    assert!(covered(&found, ByteRange::between(128 * MIB - 33 * 512, 128 * MIB)));
}

#[test]
fn after_blanking_sgdisk_finds_no_gpt() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:4096:+8M"]);
    for range in old_tables(&image.source(), 512).unwrap() {
        image.write(range.start(), &vec![0; usize::try_from(range.len()).unwrap()]);
    }
    let text = sgdisk(&image.path, &["-p"]);
    assert!(text.contains("GPT: not present") || text.contains("Creating new GPT"), "{text}");
}

#[test]
fn every_ebr_is_found_even_in_a_broken_table() {
    let script = "label: dos\nsize=2048,type=83\ntype=5\nsize=4096\nsize=4096\nstart=9437184,size=4096\n";
    let image = Image::with_sfdisk(20 * GIB, script);
    let ebrs: Vec<u64> = read(&image.source(), 512).unwrap().table.entries.iter().filter_map(|e| e.ebr).collect();
    assert_eq!(ebrs.len(), 3);
    // A first partition that overlaps everything makes the table unreadable, and the EBRs are found all the same.
    image.write(446 + 12, &u32::MAX.to_le_bytes());
    assert!(read(&image.source(), 512).is_err());
    let found = old_tables(&image.source(), 512).unwrap();
    for ebr in ebrs {
        assert!(covered(&found, ByteRange::between(ebr, ebr + 512)), "{ebr}");
    }
}

#[test]
fn a_header_with_an_absurd_array_blanks_no_half_disk() {
    let image = Image::with_sgdisk(64 * MIB, &["-n", "1:4096:+8M"]);
    image.write(512 + 80, &[0xFF; 8]);
    let found = old_tables(&image.source(), 512).unwrap();
    assert!(found.iter().map(|range| range.len()).sum::<u64>() < MIB, "{found:?}");
}
