//! Tables made by sgdisk and sfdisk, read and moved to disks of other sizes, judged by the same tools and by gptman.

mod damage;
mod gpt;
mod mbr;
mod old;
mod places;

use super::*;
use crate::disk::source::{ReadAt, Window};
use ramet_wire::{ByteRange, MIB};
use std::io;

/// A disk of which only the gaps were captured: anything else is an error.
pub(super) struct GapsOnly<'a> {
    pub disk: &'a dyn ReadAt,
    pub gaps: &'a [ByteRange],
}

impl ReadAt for GapsOnly<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::new(offset, buf.len() as u64).unwrap();
        let gap = self.gaps.iter().find(|gap| gap.contains(wanted));
        let gap = gap.ok_or_else(|| io::Error::other(format!("{wanted} was not captured")))?;
        Window::new(self.disk, *gap)?.read_exact_at(buf, offset - gap.start())
    }

    fn size(&self) -> u64 {
        self.disk.size()
    }
}

/// Reads `image`, sees that its gaps suffice, and makes a disk of `size` bytes with the resulting table on it.
pub(super) fn moved(image: &testing::Image, size: u64) -> Result<testing::Image, PartitionError> {
    let source = image.source();
    let scan = read(&source, 512)?;
    check_gaps(&scan, source.size());
    let view = GapsOnly { disk: &source, gaps: &scan.gaps };
    let layout = retarget(&view, &scan.table, 512, size)?;
    let target = testing::Image::new(size);
    for piece in layout.head.iter().chain(&layout.backup).chain(&layout.ebrs).chain([&layout.lba0]) {
        assert!(piece.offset + piece.bytes.len() as u64 <= size, "piece at {} leaves the disk", piece.offset);
        target.write(piece.offset, &piece.bytes);
    }
    Ok(target)
}

/// Gaps are ascending, disjoint, clear of partitions, on block boundaries or at a partition or the disk's end; and with
/// partitions and `uncaptured` they add up to the disk.
pub(super) fn check_gaps(scan: &Scan, size: u64) {
    assert_ne!(scan.table.kind, ramet_wire::TableKind::None);
    check_gaps_of_any(scan, size);
}

pub(super) fn check_gaps_of_any(scan: &Scan, size: u64) {
    if scan.table.kind == ramet_wire::TableKind::None {
        assert!(scan.gaps.is_empty() && scan.uncaptured == 0);
        return;
    }
    let partitions: Vec<ByteRange> = scan.table.entries.iter().filter(|e| !e.extended).map(|e| e.range).collect();
    let mut last = None;
    for gap in &scan.gaps {
        assert!(!gap.is_empty() && last.is_none_or(|end| end < gap.start()), "{:?}", scan.gaps);
        last = Some(gap.end());
        assert!(partitions.iter().all(|p| p.intersect(*gap).is_none()), "gap {gap} touches a partition");
        let edge = |at: u64| {
            at.is_multiple_of(4096) || at == size || partitions.iter().any(|p| p.start() == at || p.end() == at)
        };
        assert!(edge(gap.start()) && edge(gap.end()), "gap {gap} is not on blocks");
    }
    let sum = |ranges: &[ByteRange]| ranges.iter().map(|r| r.len()).sum::<u64>();
    assert_eq!(sum(&scan.gaps) + sum(&partitions) + scan.uncaptured, size);
}

#[test]
fn refuses_sector_sizes_that_no_disk_has() {
    for bad in [0, 1, 511, 520, 1024, 8192] {
        assert!(matches!(read(&vec![0_u8; 4096], bad), Err(PartitionError::SectorSize(s)) if s == bad));
    }
}

#[test]
fn an_empty_disk_is_one_partition_with_number_0() {
    for len in [0, 1, 511, 512, 70_000] {
        let scan = read(&vec![0_u8; len], 512).unwrap();
        assert_eq!(scan.table.kind, ramet_wire::TableKind::None);
        assert!(scan.table.entries.is_empty() && scan.gaps.is_empty() && scan.uncaptured == 0);
    }
}

#[test]
fn without_a_table_only_a_smaller_disk_is_refused() {
    let disk = vec![0_u8; 8192];
    let table = read(&disk, 512).unwrap().table;
    let nothing = GapsOnly { disk: &disk, gaps: &[] };
    assert!(retarget(&nothing, &table, 512, 8192).unwrap().lba0.bytes.is_empty());
    assert!(retarget(&nothing, &table, 512, 10_000).is_ok());
    let error = retarget(&nothing, &table, 512, 8191).unwrap_err().to_string();
    assert!(error.contains("8192") && error.contains("8191"), "{error}");
}

#[test]
fn sizes_may_end_in_half_a_sector() {
    let image = testing::Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+8M"]);
    std::fs::OpenOptions::new().append(true).open(&image.path).unwrap().set_len(64 * MIB + 100).unwrap();
    let scan = read(&image.source(), 512).unwrap();
    assert_eq!(scan.gaps.last().unwrap().end(), 64 * MIB + 100);
    assert!(scan.warnings.is_empty(), "{:?}", scan.warnings);
    check_gaps(&scan, 64 * MIB + 100);
    let target = moved(&image, 80 * MIB + 511).unwrap();
    assert_eq!(read(&target.source(), 512).unwrap().table.entries, scan.table.entries);
}

#[test]
fn a_disk_that_does_not_answer_is_an_error_with_the_offset() {
    /// The first sector can be read, and nothing else.
    struct Broken(Vec<u8>);
    impl ReadAt for Broken {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if offset > 0 {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.0.read_exact_at(buf, offset)
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
    }
    let image = testing::Image::with_sgdisk(8 * MIB, &["-n", "1:2048:+1M"]);
    let broken = Broken(image.bytes());
    let error = read(&broken, 512).unwrap_err();
    assert_eq!(error.to_string(), "reading GPT header at offset 512");
    assert!(old_tables(&broken, 512).is_err());
}
