//! A walk through all groups of an ext file system.
//!
//! In: its geometry and sorted metadata. Out: what matters of each group, ascending, disjoint, in exact bytes.
//! Promise: every bitmap is checked on every walk; a group at a time is in memory.

use super::super::ExtentError;
use super::super::bitruns::Bits;
use super::super::error::believe;
use super::super::map::{Extent, ExtentKind};
use super::bitmap;
use super::blocks::Blocks;
use super::descriptor::{Descriptor, Descriptors};
use super::geometry::Geometry;
use super::metadata::{Class, Piece};
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;

pub(super) struct Walk<'a> {
    geometry: &'a Geometry,
    descriptors: Descriptors<'a>,
    bitmaps: Blocks<'a>,
    /// Metadata that does not end before `group`.
    metadata: &'a [Piece],
    group: u64,
}

impl<'a> Walk<'a> {
    pub fn new(part: &'a dyn ReadAt, geometry: &'a Geometry, metadata: &'a [Piece]) -> Self {
        Self {
            geometry,
            descriptors: Descriptors::new(part, geometry),
            bitmaps: Blocks::new(part, geometry.block, "block bitmap"),
            metadata,
            group: 0,
        }
    }

    /// What matters of the next group.
    pub fn step(&mut self) -> Result<Option<Vec<Extent>>, ExtentError> {
        let (geometry, group) = (self.geometry, self.group);
        if group >= geometry.groups {
            return Ok(None);
        }
        let first = geometry.group_start(group) * geometry.block;
        let end = first + geometry.group_blocks(group) * geometry.block;
        // The boot block lies before group 0.
        let area = ByteRange::between(if group == 0 { 0 } else { first }, end);
        let clip = |piece: &Piece| piece.range().intersect(area).map(|range| (range, piece.class()));
        let inside: Vec<(ByteRange, Class)> = self.metadata.iter().map_while(clip).collect();
        let descriptor = self.descriptors.get(group)?;
        let group_bytes = ByteRange::between(first, end);
        let used = if descriptor.block_uninit {
            check_uninit(geometry, group, &descriptor, group_bytes, &inside)?;
            Vec::new()
        } else {
            let raw = self.bitmaps.get(descriptor.block_bitmap)?;
            let bits = bitmap::clusters(geometry, group, &descriptor, raw)?;
            check_metadata(geometry, group, bits, group_bytes, &inside)?;
            used_bytes(geometry, bits, group_bytes)
        };
        let ended = self.metadata.partition_point(|piece| piece.range().end() <= end);
        self.metadata = &self.metadata[ended..];
        self.group += 1;
        Ok(Some(overlay(&used, &inside)))
    }
}

/// Runs of used clusters as bytes.
fn used_bytes(geometry: &Geometry, bits: Bits<'_>, group: ByteRange) -> Vec<ByteRange> {
    let cluster = geometry.ratio * geometry.block;
    let at = |bit: u64| (group.start() + bit * cluster).min(group.end());
    bits.runs().map(|run| ByteRange::between(at(run.start), at(run.end))).collect()
}

/// A bitmap that calls known metadata free is not the bitmap of this file system.
fn check_metadata(
    geometry: &Geometry,
    group: u64,
    bits: Bits<'_>,
    bytes: ByteRange,
    inside: &[(ByteRange, Class)],
) -> Result<(), ExtentError> {
    let cluster = geometry.ratio * geometry.block;
    for range in inside.iter().filter_map(|(range, _)| range.intersect(bytes)) {
        let from = (range.start() - bytes.start()) / cluster;
        let to = (range.end() - bytes.start()).div_ceil(cluster);
        if let Some(clear) = bits.clear_in(from..to) {
            let block = geometry.group_start(group) + clear * geometry.ratio;
            return Err(ExtentError::doubt(format!(
                "block bitmap of group {group} calls block {block} free, which holds metadata (bytes {range})"
            )));
        }
    }
    Ok(())
}

/// A group whose bitmap was never written holds nothing but metadata.
fn check_uninit(
    geometry: &Geometry,
    group: u64,
    descriptor: &Descriptor,
    bytes: ByteRange,
    inside: &[(ByteRange, Class)],
) -> Result<(), ExtentError> {
    // Clusters are shared by structures; counting them would need the bitmap.
    if geometry.ratio > 1 {
        return Ok(());
    }
    let metadata: u64 = inside.iter().filter_map(|(range, _)| range.intersect(bytes)).map(ByteRange::len).sum();
    let expected = (bytes.len() - metadata) / geometry.block;
    let free = descriptor.free_clusters;
    believe!(free == expected, "group {group} has no block bitmap and {free} free blocks, {expected} expected");
    Ok(())
}

/// Metadata laid over what the bitmap calls used: its class counts where both speak.
fn overlay(used: &[ByteRange], metadata: &[(ByteRange, Class)]) -> Vec<Extent> {
    let mut out = Vec::new();
    let mut rest = used;
    let mut from = 0;
    let ends = metadata.iter().copied().map(Some).chain([None]);
    for piece in ends {
        let to = piece.map_or(u64::MAX, |(range, _)| range.start());
        let gap = ByteRange::between(from, to);
        while let Some(run) = rest.first() {
            if let Some(range) = run.intersect(gap) {
                out.push(Extent { range, kind: ExtentKind::Data });
            }
            if run.end() > to {
                break;
            }
            rest = &rest[1..];
        }
        if let Some((range, class)) = piece {
            match class {
                Class::Data => out.push(Extent { range, kind: ExtentKind::Data }),
                Class::Zero => out.push(Extent { range, kind: ExtentKind::Zero }),
                Class::Skip => {}
            }
            from = range.end();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Disjoint ascending ranges over 0..200 from a list of lengths, every other one a gap.
    fn ranges(lengths: &[u64]) -> Vec<ByteRange> {
        let mut at = 0;
        let mut out = Vec::new();
        for (index, len) in lengths.iter().enumerate() {
            if index % 2 == 1 && *len > 0 {
                out.push(ByteRange::between(at, at + len));
            }
            at += len;
        }
        out
    }

    fn places(range: ByteRange) -> std::ops::Range<usize> {
        usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap()
    }

    proptest! {
        #[test]
        fn metadata_counts_where_both_speak_and_order_is_kept(
            used in proptest::collection::vec(0_u64..12, 0..20),
            metadata in proptest::collection::vec(0_u64..12, 0..20),
            classes in proptest::collection::vec(0_u8..3, 20),
        ) {
            let used = ranges(&used);
            let classes = classes.iter().map(|c| [Class::Data, Class::Zero, Class::Skip][usize::from(*c)]);
            let metadata: Vec<(ByteRange, Class)> = ranges(&metadata).into_iter().zip(classes).collect();
            let mut expected = [None; 500];
            for run in &used {
                expected[places(*run)].fill(Some(ExtentKind::Data));
            }
            for (range, class) in &metadata {
                expected[places(*range)].fill(match class {
                    Class::Data => Some(ExtentKind::Data),
                    Class::Zero => Some(ExtentKind::Zero),
                    Class::Skip => None,
                });
            }
            let mut found = [None; 500];
            let mut last = 0;
            for extent in overlay(&used, &metadata) {
                prop_assert!(extent.range.start() >= last && !extent.range.is_empty());
                last = extent.range.end();
                found[places(extent.range)].fill(Some(extent.kind));
            }
            prop_assert_eq!(&found[..], &expected[..]);
        }
    }
}
