//! What is written, and in which order.

use super::*;
use crate::write::testing::Op;

#[test]
fn restores_a_gpt_disk_onto_a_disk_of_random_bytes() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let disk = Ram::new(before.clone());
    let outcome = onto(&shelf, &request(), &[&disk]).unwrap();
    assert_restored(&disk.content(), &source, &before);
    assert_eq!(outcome.receipt.proof(), Proof::Device);
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn lba_0_is_the_last_write_and_stands_alone() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    onto(&shelf, &request(), &[&disk]).unwrap();
    let ops = disk.ops();
    assert_eq!(ops.last(), Some(&Op::Flush));
    let writes: Vec<&Op> = ops.iter().filter(|op| op.range().is_some()).collect();
    assert_eq!(writes.last().unwrap().range(), Some(range(0, 512)));
    assert_eq!(ops[ops.len() - 3], Op::Flush);
}
