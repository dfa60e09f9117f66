//! What is written, and in which order.

use super::*;
use crate::write::Via;
use crate::write::testing::Op;

fn restored() -> (Vec<u8>, Vec<u8>, Arc<Ram>, Box<Outcome>) {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let disk = Ram::new(before.clone());
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    (source, before, disk, outcome)
}

#[test]
fn restores_a_gpt_disk_onto_a_disk_of_random_bytes_and_proves_it() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let disk = Ram::new(before.clone());
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &before);
    assert_eq!(outcome.receipt.proof(), Proof::Device);
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
    assert_eq!(outcome.kept_bytes, 0);
    let sent: Receipt = serde_json::from_str(&shelf.receipts.lock().unwrap()[0]).unwrap();
    assert_eq!(sent, outcome.receipt);
}

#[test]
fn used_and_zero_bytes_are_counted_apart_in_the_receipt() {
    let (.., outcome) = restored();
    let one = outcome.receipt.disks[0].spaces.iter().find(|space| space.number == Some(1)).unwrap();
    assert_eq!((one.proven_data_bytes, one.proven_zero_bytes), (2 * MIB - (300 << 10), 300 << 10));
    let (data, zeros): (u64, u64) = outcome.receipt.disks[0]
        .spaces
        .iter()
        .fold((0, 0), |(d, z), space| (d + space.proven_data_bytes, z + space.proven_zero_bytes));
    assert_eq!(data + zeros + outcome.receipt.disks[0].table_bytes, 12 * MIB - 5 * MIB);
}

#[test]
fn old_tables_are_zeroed_and_flushed_before_the_first_other_write() {
    let (source, _, disk, _) = restored();
    let ops = disk.ops();
    let first_flush = ops.iter().position(|op| *op == Op::Flush).unwrap();
    let size = source.len() as u64;
    let blanked: Vec<ByteRange> = ops[..first_flush].iter().filter_map(Op::range).collect();
    assert!(ops[..first_flush].iter().all(|op| matches!(op, Op::Zero(_))), "{:?}", &blanked);
    assert_eq!(blanked, [range(0, 1024 + (16 << 10)), range(size - 512 - (16 << 10), size)]);
}

#[test]
fn the_old_backup_gpt_and_old_ebrs_are_blanked_where_they_lie() {
    // The target's old table was made for a smaller disk: its backup lies in the middle.
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let old = Image::with_sgdisk(9 << 20, &["-n1:2048:+1M"]).bytes();
    let mut before = noise(source.len(), 5);
    before[..old.len()].copy_from_slice(&old);
    let disk = Ram::new(before);
    onto(&shelf, &request(), &[&disk]).unwrap();
    let end = 9 << 20;
    assert!(disk.content()[end - 512..end].iter().all(|byte| *byte == 0), "the old backup header is still there");
}

#[test]
fn lba_0_is_the_last_write_and_stands_alone_between_flushes() {
    let (_, _, disk, _) = restored();
    let ops = disk.ops();
    let [.., before, last, after] = ops.as_slice() else { panic!("{} operations", ops.len()) };
    assert_eq!((before, last.range(), after), (&Op::Flush, Some(range(0, 512)), &Op::Flush));
}

#[test]
fn backup_table_then_first_mib_without_lba_0_come_after_everything_else() {
    let (source, _, disk, _) = restored();
    let ops = disk.ops();
    let size = source.len() as u64;
    let end = ops[..ops.len() - 3].iter().rposition(|op| *op == Op::Flush).unwrap();
    let late: Vec<ByteRange> = ops[end + 1..ops.len() - 3].iter().filter_map(Op::range).collect();
    assert_eq!(late.first().unwrap(), &range(size - 512 - (16 << 10), size));
    assert_eq!((late[1].start(), late.last().unwrap().end()), (512, MIB));
    let first = ops.iter().position(|op| *op == Op::Flush).unwrap();
    let early = ops[first..end].iter().filter_map(Op::range);
    assert!(early.into_iter().all(|range| range.start() >= MIB && range.end() <= size - 512 - (16 << 10)));
}

#[test]
fn nothing_outside_extents_tables_and_blanked_ranges_is_written() {
    let (_, _, disk, _) = restored();
    for op in disk.ops() {
        let Some(written) = op.range() else { continue };
        assert!(free().iter().all(|free| free.intersect(written).is_none()), "{written}");
    }
}

#[test]
fn neighbouring_chunks_become_large_direct_writes() {
    let (_, _, disk, _) = restored();
    let writes = disk.ops().into_iter().filter_map(|op| match op {
        Op::Write(_, bytes, via) => Some((bytes.len(), via)),
        _ => None,
    });
    let writes: Vec<(usize, Via)> = writes.collect();
    assert!(writes.iter().all(|(_, via)| *via == Via::Direct));
    assert!(writes.iter().any(|(len, _)| *len >= 1 << 20), "{writes:?}");
}

#[test]
fn the_first_mib_is_deferred_whatever_it_belongs_to() {
    let mut source = Image::with_sfdisk(4 << 20, "label: dos\nstart=64, size=6000, type=83\n").bytes();
    source[64 * 512..6064 * 512].copy_from_slice(&noise(6000 * 512, 3));
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let disk = Ram::new(noise(source.len(), 4));
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content()[..6064 * 512] == source[..6064 * 512]);
    let ops = disk.ops();
    let touches = |op: &&Op| op.range().is_some_and(|range| range.start() < MIB);
    let (blank, late) = (ops.iter().position(|op| *op == Op::Flush).unwrap(), ops.len() - 5);
    assert_eq!(ops[blank..late].iter().filter(touches).count(), 0, "{} operations", ops.len());
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn a_power_cut_at_any_write_leaves_lba_0_zero_or_the_disk_whole() {
    let (source, before, disk, _) = restored();
    let ops = disk.ops();
    let blanked = ops.iter().position(|op| *op == Op::Flush).unwrap();
    for cut in blanked + 1..=ops.len() {
        let flushed = ops[..cut].iter().rposition(|op| *op == Op::Flush).unwrap();
        // Nobody knows which of the writes since the last flush are on the disk: none, all, or every other one.
        let picks: [fn(usize) -> bool; 4] =
            [|_| false, |_| true, |at| at.is_multiple_of(2), |at| !at.is_multiple_of(2)];
        for pick in picks {
            let mut state = before.clone();
            ops[..flushed].iter().for_each(|op| op.apply(&mut state));
            let late = ops[flushed..cut].iter().enumerate().filter(|(at, _)| pick(*at));
            late.for_each(|(_, op)| op.apply(&mut state));
            if state[..512].iter().any(|byte| *byte != 0) {
                assert_restored(&state, &source, &before);
            }
        }
    }
}

#[test]
fn with_several_disks_no_lba_0_is_written_before_all_are_read_back() {
    let one = gpt_disk();
    let two = Image::with_sfdisk(4 << 20, "label: dos\nstart=2048, size=2048, type=83\n").bytes();
    let shelf = Shelf::of(&[captured(&one), Captured::of(&two)]);
    let disks = [Ram::new(noise(one.len(), 8)), Ram::new(noise(two.len(), 9))];
    *disks[1].rotten.lock().unwrap() = Some(MIB + 4096);
    let text = failure(&shelf, &request(), &[&disks[0], &disks[1]]);
    assert!(text.contains("incomplete"), "{text}");
    assert!(disks.iter().all(lba_0_is_zero));
    *disks[1].rotten.lock().unwrap() = None;
    let outcome = onto(&shelf, &request(), &[&disks[0], &disks[1]]).unwrap();
    let mib = 1 << 20;
    assert!(disks[0].content()[..mib] == one[..mib]);
    let found = disks[1].content();
    assert!(found[..2 * mib] == two[..2 * mib] && found[3 * mib..] == two[3 * mib..]);
    assert_eq!(outcome.receipt.disks.len(), 2);
}

#[test]
fn zeros_are_written_where_the_disk_can_not_make_them() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let disk = Arc::new(Ram { zeroes: false, ..Ram::plain(before.clone()) });
    onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &before);
}

#[test]
fn what_does_not_fit_o_direct_goes_through_the_cache_with_a_flush_between() {
    // A partition at sector 2049 on a disk that takes only multiples of 4096 directly.
    let mut source =
        Image::with_sfdisk(8 << 20, "label: dos\nstart=2049, size=4000, type=83\nstart=8192, size=2048, type=83\n")
            .bytes();
    source[2049 * 512..6049 * 512].copy_from_slice(&noise(4000 * 512, 3));
    source[8192 * 512..10240 * 512].copy_from_slice(&noise(2048 * 512, 6));
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let disk = Arc::new(Ram { direct: Some(4096), ..Ram::plain(noise(source.len(), 4)) });
    onto(&shelf, &request(), &[&disk]).unwrap();
    assert!(disk.content()[2049 * 512..6049 * 512] == source[2049 * 512..6049 * 512]);
    let ops = disk.ops();
    let via = |op: &&Op, via| matches!(op, Op::Write(at, _, found) if *at >= MIB && *found == via);
    let last_direct = ops.iter().rposition(|op| via(&op, Via::Direct)).unwrap();
    let first_cached = ops.iter().position(|op| via(&op, Via::Cached)).unwrap();
    let last_cached = ops.iter().rposition(|op| via(&op, Via::Cached)).unwrap();
    assert!(last_direct < first_cached);
    let after = ops[last_cached + 1..].iter().find(|op| !matches!(op, Op::Zero(_)));
    assert_eq!(after, Some(&Op::Flush));
}

#[test]
fn a_disk_that_refuses_o_direct_is_restored_through_the_cache() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let disk = Arc::new(Ram { direct: None, proof: Proof::File, ..Ram::plain(before.clone()) });
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &before);
    assert_eq!(outcome.receipt.proof(), Proof::File);
}

#[test]
fn the_last_block_of_a_disk_need_not_be_whole() {
    for odd in [3 * 512, 100] {
        let source = noise((3 << 20) + odd, 17);
        let shelf = Shelf::of(&[Captured::of(&source)]);
        let disk = Ram::new(noise(source.len(), 18));
        let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
        assert!(disk.content() == source);
        assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
    }
}

#[test]
fn without_read_back_the_receipt_proves_nothing() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    let outcome = onto(&shelf, &Request { read_back: false, ..request() }, &[&disk]).unwrap();
    assert_eq!(outcome.receipt.proof(), Proof::None);
    let spaces = &outcome.receipt.disks[0].spaces;
    assert!(spaces.iter().all(|space| space.proven_data_bytes + space.proven_zero_bytes == 0));
    assert!(outcome.written_bytes > 6 * MIB);
}
