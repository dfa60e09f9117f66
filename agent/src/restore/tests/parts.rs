//! Single partitions onto a disk that has them.

use super::*;

fn only(partitions: &[u32]) -> Request {
    Request { partitions: partitions.to_vec(), ..request() }
}

/// The same table, other contents.
fn other_disk(source: &[u8]) -> Vec<u8> {
    let mut disk = noise(source.len(), 55);
    disk[..1 << 20].copy_from_slice(&source[..1 << 20]);
    disk[11 << 20..].copy_from_slice(&source[11 << 20..]);
    disk
}

#[test]
fn one_partition_is_restored_and_the_table_and_the_others_stay() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = other_disk(&source);
    let disk = Ram::new(before.clone());
    let outcome = onto(&shelf, &only(&[14]), &[&disk]).unwrap();
    let found = disk.content();
    let mib = 1 << 20;
    assert!(found[..4 * mib] == before[..4 * mib] && found[8 * mib..] == before[8 * mib..]);
    assert!(found[4 * mib..5 * mib] == source[4 * mib..5 * mib] && found[6 * mib..8 * mib] == source[6 * mib..8 * mib]);
    assert!(found[5 * mib..6 * mib] == before[5 * mib..6 * mib]);
    for op in disk.ops() {
        assert!(op.range().is_none_or(|written| range(4 * MIB, 8 * MIB).contains(written)), "{op:?}");
    }
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[14]).is_ok());
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_err());
}

#[test]
fn its_first_and_last_mib_are_deferred_and_its_first_sector_is_the_last_write() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(other_disk(&source));
    onto(&shelf, &only(&[14]), &[&disk]).unwrap();
    let writes: Vec<ByteRange> = disk.ops().iter().filter_map(|op| op.range()).collect();
    let [first, second, data @ .., last_mib, first_mib, key] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!((*first, *second), (range(4 * MIB, 5 * MIB), range(7 * MIB, 8 * MIB)));
    assert!(data.iter().all(|data| range(5 * MIB, 7 * MIB).contains(*data)));
    assert_eq!((*last_mib, *first_mib), (range(7 * MIB, 8 * MIB), range(4 * MIB + 512, 5 * MIB)));
    assert_eq!(*key, range(4 * MIB, 4 * MIB + 512));
}

#[test]
fn a_partition_that_is_already_there_is_not_written() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(source);
    onto(&shelf, &only(&[1, 14]), &[&disk]).unwrap();
    assert_eq!(disk.ops(), []);
}

#[test]
fn refuses_a_partition_of_another_start_size_or_type() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let tables: [&[&str]; 4] =
        [&["-n14:10240:+4M"], &["-n14:8192:+3M"], &["-n14:8192:+4M", "-t14:ef00"], &["-n13:8192:+4M"]];
    for args in tables {
        let disk = Ram::new(Image::with_sgdisk(12 << 20, args).bytes());
        let text = refusal(&shelf, &only(&[14]), &[&disk]);
        assert!(text.contains("partition 14 was captured as"), "{text}");
        shelf.failures.lock().unwrap().clear();
    }
}

#[test]
fn refuses_a_number_that_the_image_has_not() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(source);
    for number in [0, 2] {
        assert!(refusal(&shelf, &only(&[number]), &[&disk]).contains(&format!("no partition {number}")));
        shelf.failures.lock().unwrap().clear();
    }
}

#[test]
fn refuses_a_target_without_a_table() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 3));
    assert!(refusal(&shelf, &only(&[1]), &[&disk]).contains("no such partition"));
}
