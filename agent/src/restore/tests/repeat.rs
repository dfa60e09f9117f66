//! Interrupted, repeated, and already there.

use super::*;
use crate::write::testing::Op;

#[test]
fn a_disk_that_holds_everything_is_not_written_to() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    for read_back in [true, false] {
        let disk = Ram::new(source.clone());
        shelf.forget_counts();
        let outcome = onto(&shelf, &Request { read_back, ..request() }, &[&disk]).unwrap();
        assert_eq!(disk.ops(), []);
        assert_eq!(outcome.written_bytes, 0);
        assert!(outcome.fetched_bytes < 200 << 10, "{} bytes fetched", outcome.fetched_bytes);
        let proof = if read_back { Proof::Device } else { Proof::None };
        assert_eq!(outcome.receipt.proof(), proof);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
    }
}

#[test]
fn one_differing_block_costs_one_chunk() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let mut before = source.clone();
    before[6 << 20] ^= 1;
    let disk = Ram::new(before);
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content() == source);
    let inner = disk.ops().into_iter().filter_map(|op| op.range());
    let data: u64 = inner.filter(|range| range.start() >= MIB && range.end() < 11 * MIB).map(ByteRange::len).sum();
    assert!(data <= 512 << 10, "{data} bytes written");
    assert!(outcome.kept_bytes > 5 * MIB);
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn a_disk_that_vanishes_at_any_write_is_left_blank_and_the_next_run_writes_only_the_rest() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let noise = noise(source.len(), 99);
    let whole = Ram::new(noise.clone());
    onto(&shelf, &request(), &[&whole]).unwrap();
    for fuel in 0..whole.ops().len() {
        let disk = Ram::new(noise.clone());
        disk.fuel.store(fuel, Ordering::Relaxed);
        let text = failure(&shelf, &request(), &[&disk]);
        assert!(text.contains("/dev/ram") && text.contains("os error 5"), "{text}");
        assert!(fuel == 0 || text.contains("same command again"), "{text}");
        assert!(fuel == 0 || lba_0_is_zero(&disk) || disk.content()[..512] == source[..512]);
        disk.fuel.store(usize::MAX, Ordering::Relaxed);
        let done = disk.ops().len();
        let before = disk.content();
        let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
        assert_restored(&disk.content(), &source, &noise);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
        // Zeros alone do not start a comparison: only what came from the store counts.
        for op in disk.ops()[done..].iter().filter(|op| matches!(op, Op::Write(..))) {
            let Some(range) = op.range().filter(|range| range.start() >= MIB && range.end() < 11 * MIB) else {
                continue;
            };
            let at = |at: u64| usize::try_from(at).unwrap();
            let part = at(range.start())..at(range.end());
            assert!(before[part.clone()] != source[part], "{range} was written again after {fuel} writes");
        }
    }
}

#[test]
fn a_disk_of_which_no_probed_chunk_is_there_is_not_compared() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    // Equal zeros, and a table: neither is a chunk.
    let mut before = noise(source.len(), 99);
    before[2 << 20..(2 << 20) + (300 << 10)].fill(0);
    let disk = Ram::new(before);
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert_eq!(outcome.kept_bytes, 0);
    assert!(disk.ops().contains(&Op::Zero(range(2 * MIB, 2 * MIB + (300 << 10)))));
}

#[test]
fn equal_zeros_are_kept_where_comparing_is_on() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let mut before = source.clone();
    before[6 << 20..7 << 20].fill(9);
    let disk = Ram::new(before);
    onto(&shelf, &request(), &[&disk]).unwrap();
    let zeros = range(2 * MIB, 2 * MIB + (300 << 10));
    assert!(disk.ops().iter().filter_map(Op::range).all(|range| range.intersect(zeros).is_none()));
}

#[test]
fn what_the_blanking_of_old_tables_destroyed_is_written_again() {
    // The target holds the data already, but an old GPT on it says that its backup lies inside partition 14.
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let mut before = source.clone();
    let old = Image::with_sgdisk(7 << 20, &["-n1:2048:+1M"]).bytes();
    before[..1 << 20].copy_from_slice(&old[..1 << 20]);
    let backup = (7 << 20) - 512;
    before[backup..7 << 20].copy_from_slice(&old[backup..]);
    let mut image = source.clone();
    image[backup..7 << 20].copy_from_slice(&old[backup..]);
    let shelf_with = Shelf::of(&[captured(&image)]);
    for (shelf, wanted) in [(&shelf, &source), (&shelf_with, &image)] {
        let disk = Ram::new(before.clone());
        let outcome = onto(shelf, &request(), &[&disk]).unwrap();
        assert_restored(&disk.content(), wanted, &before);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
        assert!(outcome.kept_bytes > 3 * MIB);
    }
}

#[test]
fn a_chunk_in_many_places_is_fetched_once() {
    let mut source = gpt_disk();
    let (one, rest) = source[1 << 20..].split_at_mut(1 << 20);
    rest[2 << 20..3 << 20].copy_from_slice(one);
    rest[5 << 20..6 << 20].copy_from_slice(one);
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content()[1 << 20..3 << 20] == source[1 << 20..3 << 20]);
    assert!(disk.content()[4 << 20..8 << 20] == source[4 << 20..8 << 20]);
    let stored: u64 = shelf.packs.lock().unwrap().values().map(|pack| pack.len() as u64).sum();
    assert!(outcome.fetched_bytes <= stored + (512 << 10), "{} of {stored}", outcome.fetched_bytes);
}

#[test]
fn a_difference_found_by_the_read_back_fails_with_its_place_and_no_table() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let places =
        [(4 * MIB + 12345, "hash is"), (2 * MIB + 4096, "is 0x10, written was 0x00"), (600, "table and boot sectors")];
    for (place, words) in places {
        let disk = Ram::new(noise(source.len(), 99));
        *disk.rotten.lock().unwrap() = Some(place);
        let text = failure(&shelf, &request(), &[&disk]);
        assert!(text.contains(words), "{text}");
        assert!(text.contains("/dev/ram: reading back"), "{text}");
        assert!(lba_0_is_zero(&disk));
    }
}

#[test]
fn a_bad_lba_0_found_at_the_very_end_is_zeroed_again() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    *disk.rotten.lock().unwrap() = Some(450);
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains("byte 450"), "{text}");
    assert!(lba_0_is_zero(&disk));
}
