//! Disks of other sizes, tables at their ends, and what was there before.

use super::*;
use crate::partition::testing::{run, sgdisk};
use std::process::Command;

fn verify(disk: &Arc<Ram>) -> String {
    let image = Image::new(0);
    std::fs::write(&image.path, disk.content()).unwrap();
    sgdisk(&image.path, &["-v", "-p"])
}

#[test]
fn a_larger_disk_gets_its_backup_table_at_its_end() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(20 << 20, 99);
    let disk = Ram::new(before.clone());
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    let text = verify(&disk);
    assert!(text.contains("No problems found") && text.contains("root"), "{text}");
    let found = disk.content();
    assert!(found[1 << 20..3 << 20] == source[1 << 20..3 << 20]);
    // The old end of the disk is nothing special on the new one.
    assert!(found[11 << 20..12 << 20] == before[11 << 20..12 << 20]);
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
    let again = Ram::new(found);
    onto(&shelf, &request(), &[&again]).unwrap();
    assert_eq!(again.ops(), []);
}

#[test]
fn a_smaller_disk_is_accepted_if_every_partition_fits() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    // The captured disk's last MiB has no room for itself here: partition 14 ends 17 KiB before the backup table.
    for size in [10 << 20, (8 << 20) + 17 * 1024] {
        let disk = Ram::new(noise(size, 99));
        let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
        assert!(verify(&disk).contains("No problems found"));
        assert!(disk.content()[6 << 20..8 << 20] == source[6 << 20..8 << 20]);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
    }
}

#[test]
fn what_lies_at_the_end_of_the_disk_keeps_its_distance_from_the_end() {
    let mut source = gpt_disk();
    let mark = source.len() - (200 << 10);
    source[mark..mark + 4096].copy_from_slice(&noise(4096, 77));
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(20 << 20, 99));
    onto(&shelf, &request(), &[&disk]).unwrap();
    let found = disk.content();
    let moved = found.len() - (200 << 10);
    assert!(found[moved..moved + 4096] == source[mark..mark + 4096]);
}

#[test]
fn raid_metadata_at_the_end_refuses_another_size_without_force() {
    let mut source = gpt_disk();
    // An md superblock, version 1.0: 8 KiB before the end, on a boundary of 4 KiB.
    let at = (source.len() / 512 - 16) / 8 * 8 * 512;
    source[at..at + 8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    source[at + 144..at + 152].copy_from_slice(&(at as u64 / 512).to_le_bytes());
    let shelf = Shelf::of(&[captured(&source)]);
    let same = Ram::new(noise(source.len(), 99));
    onto(&shelf, &request(), &[&same]).unwrap();
    let larger = Ram::new(noise(20 << 20, 99));
    let text = refusal(&shelf, &request(), &[&larger]);
    assert!(text.contains("linux_raid_member") && text.contains("--force-size") && text.contains("20971520"), "{text}");
    onto(&shelf, &Request { force_size: true, ..request() }, &[&larger]).unwrap();
}

#[test]
fn ends_of_disk_and_partitions_are_zeroed_where_no_extent_lies() {
    let source = gpt_disk();
    let mut captured = captured(&source);
    captured.extents.insert(14, vec![range(64 << 10, MIB), range(2 * MIB, 3 * MIB + (512 << 10))]);
    let shelf = Shelf::of(&[captured]);
    let disk = Ram::new(noise(source.len(), 99));
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    let found = disk.content();
    let zero = |from: usize, to: usize| found[from..to].iter().all(|byte| *byte == 0);
    let mib = 1 << 20;
    assert!(zero(4 * mib, 4 * mib + (64 << 10)) && zero(7 * mib + (512 << 10), 8 * mib));
    assert!(!zero(5 * mib, 5 * mib + 4096), "in no first or last MiB");
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn nothing_of_an_old_raid_member_or_pool_survives_for_blkid() {
    let source = gpt_disk();
    let mut captured = captured(&source);
    // Neither start nor end of partition 14 belongs to the image.
    captured.extents.insert(14, vec![range(2 * MIB, 3 * MIB)]);
    let shelf = Shelf::of(&[captured]);
    let mut before = vec![0; source.len()];
    let md = |from: usize, size: usize| from + (size / 512 - 16) / 8 * 8 * 512;
    for (at, start) in [(md(0, source.len()), 0), (md(4 << 20, 4 << 20), 4 << 20)] {
        before[at..at + 8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
        before[at + 144..at + 152].copy_from_slice(&((at - start) as u64 / 512).to_le_bytes());
    }
    for label in [4 << 20, 8 << 20] {
        let label: usize = if label == 4 << 20 { label } else { label - (256 << 10) };
        for slot in 0..128 {
            let at = label + (128 << 10) + slot * 1024;
            before[at..at + 8].copy_from_slice(&0x00ba_b10c_u64.to_le_bytes());
        }
    }
    let disk = Ram::new(before);
    onto(&shelf, &request(), &[&disk]).unwrap();
    let image = Image::new(0);
    let partition = Image::new(0);
    std::fs::write(&image.path, disk.content()).unwrap();
    std::fs::write(&partition.path, &disk.content()[4 << 20..8 << 20]).unwrap();
    let blkid = |path: &std::path::Path| {
        let output = Command::new("blkid").arg("-p").arg(path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (whole, part) = (blkid(&image.path), blkid(&partition.path));
    assert!(whole.contains("PTTYPE=\"gpt\"") && !whole.contains("raid") && !whole.contains("zfs"), "{whole}");
    assert_eq!(part, "");
}

#[test]
fn an_mbr_disk_with_logical_partitions_gets_its_ebrs_after_the_data() {
    let script = "label: dos\nstart=2048, size=2048, type=83\nstart=4096, size=16384, type=5\n\
                  start=6144, size=2048, type=83\nstart=10240, size=2048, type=83\n";
    let mut source = Image::with_sfdisk(12 << 20, script).bytes();
    for (seed, start) in [(1, 2048), (2, 6144), (3, 10240)] {
        source[start * 512..(start + 2048) * 512].copy_from_slice(&noise(1 << 20, seed));
    }
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let table = shelf.manifest_value().disks[0].table.clone();
    let ebrs: Vec<u64> = table.entries.iter().filter_map(|entry| entry.ebr).collect();
    assert_eq!(ebrs.len(), 2);
    for size in [source.len(), 15 << 20] {
        let disk = Ram::new(noise(size, 9));
        let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
        let image = Image::new(0);
        std::fs::write(&image.path, disk.content()).unwrap();
        run("sfdisk", &["--verify", "-q", image.path.to_str().unwrap()]);
        let found = crate::partition::read(&image.source(), 512).unwrap().table;
        assert_eq!(found, table);
        assert!(disk.content()[6144 * 512..8192 * 512] == source[6144 * 512..8192 * 512]);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
        let ops = disk.ops();
        let late = ops.len() - 8;
        for ebr in &ebrs {
            let at =
                ops.iter().position(|op| op.range().is_some_and(|range| range.contains(super::range(*ebr, ebr + 512))));
            assert!(at.unwrap() >= late, "EBR at {ebr} was written as operation {at:?} of {}", ops.len());
        }
    }
}

#[test]
fn a_disk_without_a_table_is_restored_and_its_first_sector_is_last() {
    let source = noise(5 << 20, 31);
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let disk = Ram::new(noise(6 << 20, 32));
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content()[..5 << 20] == source);
    let writes: Vec<ByteRange> = disk.ops().iter().filter_map(|op| op.range()).collect();
    assert_eq!(writes.last(), Some(&range(0, 512)));
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn a_disk_of_4096_byte_sectors_is_restored() {
    let mut made = std::io::Cursor::new(vec![0_u8; 12 << 20]);
    let mut gpt = gptman::GPT::new_from(&mut made, 4096, [7; 16]).unwrap();
    gpt[1] = gptman::GPTPartitionEntry {
        partition_type_guid: [0xAF; 16],
        unique_partition_guid: [1; 16],
        starting_lba: 256,
        ending_lba: 767,
        attribute_bits: 0,
        partition_name: "four".into(),
    };
    gpt.write_into(&mut made).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut made, 4096).unwrap();
    let mut source = made.into_inner();
    source[1 << 20..3 << 20].copy_from_slice(&noise(2 << 20, 5));
    let shelf = Shelf::of(&[Captured { sector: 4096, ..Captured::of(&source) }]);
    let disk = Arc::new(Ram { sector: 4096, direct: Some(4096), ..Ram::plain(noise(16 << 20, 6)) });
    onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content()[1 << 20..3 << 20] == source[1 << 20..3 << 20]);
    let writes: Vec<ByteRange> = disk.ops().iter().filter_map(|op| op.range()).collect();
    assert_eq!(writes.last(), Some(&range(0, 4096)));
    let table = crate::partition::read(&disk.content(), 4096).unwrap().table;
    assert_eq!(table.entries, shelf.manifest_value().disks[0].table.entries);
}
