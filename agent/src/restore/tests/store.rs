//! What a store does wrong in the middle of a restore.

use super::*;
use crate::transfer::TransferError;
use ramet_wire::ChunkId;
use ramet_wire::api::ErrorKind;
use ramet_wire::segment::RecordKind;
use std::sync::atomic::AtomicUsize;

fn shelf() -> (Vec<u8>, Shelf, Arc<Ram>) {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    (source, shelf, disk)
}

/// A chunk in the middle of partition 14.
fn victim(shelf: &Shelf) -> ChunkId {
    let manifest = shelf.manifest_value();
    let partition = &manifest.disks[0].partitions[1];
    let records = shelf.records(&partition.stored, partition.range.len());
    let ids = records.iter().filter_map(|record| match record.kind {
        RecordKind::Data(id) => Some(id),
        RecordKind::Zero => None,
    });
    let ids: Vec<ChunkId> = ids.collect();
    ids[ids.len() / 2]
}

#[test]
fn a_damaged_chunk_is_reported_read_again_and_then_named() {
    let (_, shelf, disk) = shelf();
    let id = victim(&shelf);
    shelf.damage(id);
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains(&format!("chunk {id}: it came damaged twice")), "{text}");
    assert_eq!(*shelf.damaged.lock().unwrap(), [id]);
    assert!(lba_0_is_zero(&disk));
}

#[test]
fn a_chunk_of_other_bytes_fails_with_both_hashes() {
    let (_, shelf, disk) = shelf();
    let id = victim(&shelf);
    let mut bytes = shelf.chunk(id);
    bytes[0] ^= 1;
    let other = shelf.add(&bytes);
    let mut map = shelf.map.lock().unwrap();
    let entry = map[&other];
    map.insert(id, entry);
    drop(map);
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains(&format!("hash is {other}, wanted {id}")), "{text}");
    assert!(lba_0_is_zero(&disk));
}

#[test]
fn a_chunk_damaged_on_the_way_once_is_read_again() {
    let (source, shelf, disk) = shelf();
    let count = AtomicUsize::new(0);
    *shelf.on_read.lock().unwrap() = Some(Box::new(move |_, buf| {
        // Not the first reads, which are segments: one in the middle of the data.
        if buf.len() > 1 << 20 && count.fetch_add(1, Ordering::Relaxed) == 0 {
            let middle = buf.len() / 2;
            buf[middle] ^= 0x20;
        }
        Ok(())
    }));
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert_eq!(shelf.damaged.lock().unwrap().len(), 1);
    assert_restored(&disk.content(), &source, &noise(source.len(), 99));
    assert_eq!(outcome.receipt.proof(), Proof::Device);
}

#[test]
fn a_pack_that_moved_is_located_again() {
    let (source, shelf, disk) = shelf();
    let shelf = Arc::new(shelf);
    let other = shelf.clone();
    let moved = AtomicUsize::new(0);
    *shelf.on_read.lock().unwrap() = Some(Box::new(move |pack, buf| {
        if buf.len() < 1 << 20 || moved.fetch_add(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        // Collected while we read: the same chunks in a pack of another name.
        let mut packs = other.packs.lock().unwrap();
        let bytes = packs.remove(&pack.pack).unwrap();
        let name = ramet_wire::PackName([1; 32]);
        packs.insert(name, bytes);
        other.map.lock().unwrap().values_mut().filter(|at| at.0 == pack.pack).for_each(|at| at.0 = name);
        let (what, message) = ("reading".to_owned(), "404".to_owned());
        Err(TransferError::Answer { what, kind: ErrorKind::Retry, message })
    }));
    onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &noise(source.len(), 99));
}

#[test]
fn a_store_that_goes_away_leaves_the_disk_blank_and_says_how_to_go_on() {
    let (source, shelf, disk) = shelf();
    *shelf.on_read.lock().unwrap() = Some(Box::new(|_, buf| {
        if buf.len() < 1 << 20 {
            return Ok(());
        }
        let source = "connection refused".into();
        Err(TransferError::Away { what: "reading a pack".to_owned(), tries: 5, source })
    }));
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains("no answer after 5 tries") && text.contains("same command again"), "{text}");
    assert!(lba_0_is_zero(&disk));
    *shelf.on_read.lock().unwrap() = None;
    onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &noise(source.len(), 99));
}

#[test]
fn a_store_that_is_away_from_the_start_is_a_failure_with_nothing_written() {
    let (_, shelf, disk) = shelf();
    *shelf.on_read.lock().unwrap() = Some(Box::new(|_, _| {
        Err(TransferError::Away { what: "reading a pack".to_owned(), tries: 5, source: "no route".into() })
    }));
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains("nothing was written"), "{text}");
    assert_eq!(disk.ops(), []);
}

#[test]
fn a_chunk_that_is_missing_in_the_middle_fails_by_name() {
    let (_, shelf, disk) = shelf();
    let id = victim(&shelf);
    shelf.map.lock().unwrap().remove(&id);
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains(&format!("chunk {id}: the store does not have it")), "{text}");
}

#[test]
fn a_pack_table_that_contradicts_the_record_is_an_error_with_both_lengths() {
    let (_, shelf, disk) = shelf();
    let id = victim(&shelf);
    let wanted =
        shelf.map.lock().unwrap().get_mut(&id).map(|(_, entry)| std::mem::replace(&mut entry.raw, 4096)).unwrap();
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains(&format!("the record says {wanted} bytes, the pack 4096")), "{text}");
}

#[test]
fn a_receipt_that_is_not_accepted_is_no_success() {
    let (_, shelf, disk) = shelf();
    shelf.refuse_receipt.store(true, Ordering::Relaxed);
    let text = failure(&shelf, &request(), &[&disk]);
    assert!(text.contains("the server has not taken the receipt"), "{text}");
}

#[test]
fn every_segment_is_fetched_before_the_first_write() {
    let (_, shelf, disk) = shelf();
    let shelf = Arc::new(shelf);
    let segments: Vec<ChunkId> = shelf
        .manifest_value()
        .spaces()
        .flat_map(|(_, _, _, stored)| stored.segments.iter().map(|segment| segment.id).collect::<Vec<_>>())
        .collect();
    // Without its segments the restore goes on to the end once it has begun.
    let (other, target) = (shelf.clone(), disk.clone());
    *shelf.on_read.lock().unwrap() = Some(Box::new(move |_, _| {
        if !target.ops().is_empty() {
            segments.iter().for_each(|id| {
                other.map.lock().unwrap().remove(id);
            });
        }
        Ok(())
    }));
    onto(&shelf, &request(), &[&disk]).unwrap();
}
