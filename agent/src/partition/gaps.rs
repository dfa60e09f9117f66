//! What an image must hold beside the partitions.
//!
//! In: where tables, EBRs and partitions lie. Out: the gaps to keep, and how much is left out.
//! Promise: gaps are ascending and disjoint, and no gap holds a byte of a partition.

use super::PartitionError;
use ramet_wire::{ByteRange, Entry, MIB};

/// Most that is kept of the space before the first partition: boot loaders lie there.
const BEFORE_FIRST_MAX: u64 = 64 * MIB;

/// Most that is kept behind an EBR, and at the end of the disk.
const MARGIN: u64 = MIB;

/// Something that owns bytes of the disk.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub what: String,
    pub range: ByteRange,
}

impl Claim {
    pub fn of(entry: &Entry) -> Self {
        Self { what: format!("partition {}", entry.number), range: entry.range }
    }

    pub fn new(what: impl Into<String>, range: ByteRange) -> Self {
        Self { what: what.into(), range }
    }
}

/// No two claims share a byte, and none leaves the disk.
pub(super) fn check_claims<'a>(claims: impl Iterator<Item = &'a Claim>, size: u64) -> Result<(), PartitionError> {
    let mut claims: Vec<&Claim> = claims.filter(|claim| !claim.range.is_empty()).collect();
    claims.sort_by_key(|claim| claim.range);
    if let Some(out) = claims.iter().find(|claim| claim.range.end() > size) {
        return Err(PartitionError::OutOfRange { what: out.what.clone(), range: out.range, size });
    }
    // In ascending order the first overlap is always between neighbours.
    match claims.windows(2).find(|pair| pair[0].range.end() > pair[1].range.start()) {
        None => Ok(()),
        Some(pair) => Err(PartitionError::Overlap {
            a: pair[0].what.clone(),
            a_range: pair[0].range,
            b: pair[1].what.clone(),
            b_range: pair[1].range,
        }),
    }
}

/// What is kept of the space between partitions.
#[derive(Debug)]
pub(super) struct Kept {
    pub ranges: Vec<ByteRange>,
    pub uncaptured: u64,
    pub warning: Option<String>,
}

/// The gaps of a disk of `size` bytes. Claims are inside the disk and disjoint.
pub(super) fn gaps(size: u64, tables: &[Claim], ebrs: &[u64], partitions: &[Claim]) -> Kept {
    let mut taken: Vec<ByteRange> = partitions.iter().map(|claim| claim.range).collect();
    taken.sort_unstable();
    let first = taken.first().map_or(size, |range| range.start());
    let kept_first = first.min(BEFORE_FIRST_MAX);
    let warning = (kept_first < first).then(|| {
        format!("{first} bytes lie before the first partition; the first {kept_first} are captured with the table")
    });

    let mut wanted = vec![ByteRange::between(0, kept_first)];
    wanted.extend(tables.iter().map(|claim| claim.range));
    wanted.extend(ebrs.iter().map(|&ebr| ByteRange::between(ebr, ebr.saturating_add(MARGIN).min(size))));
    wanted.push(ByteRange::between(size.saturating_sub(MARGIN), size));

    let rounded = merge(wanted.into_iter().map(|range| range.round_out(size)).collect());
    let ranges = merge(subtract(&rounded, &taken));
    let held = |ranges: &[ByteRange]| ranges.iter().map(|range| range.len()).sum::<u64>();
    let uncaptured = size.saturating_sub(held(&taken)).saturating_sub(held(&ranges));
    Kept { ranges, uncaptured, warning }
}

/// Ascending, disjoint and not adjacent.
pub(super) fn merge(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    let mut merged: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = ByteRange::between(last.start(), last.end().max(range.end()));
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// `ranges` without `taken`; both ascending and disjoint.
fn subtract(ranges: &[ByteRange], taken: &[ByteRange]) -> Vec<ByteRange> {
    let mut left = Vec::new();
    for range in ranges {
        let mut from = range.start();
        let behind = taken.partition_point(|hole| hole.end() <= from);
        for hole in taken[behind..].iter().take_while(|hole| hole.start() < range.end()) {
            left.push(ByteRange::between(from, hole.start()));
            from = hole.end();
        }
        left.push(ByteRange::between(from, range.end()));
    }
    left.retain(|range| !range.is_empty());
    left
}
