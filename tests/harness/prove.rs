//! Whether a target is a clone of its source, and nothing more than that.
//!
//! In: a source with known contents, a target that was full of noise, and the noise. Out: nothing, or a panic.
//! Promise: checkers clean, trees equal, every block that the peer's map calls used equal, and no byte written outside
//! extents, tables, bridged gaps and blanked edges.

use crate::agent::Agent;
use crate::attach::Mounted;
use crate::check;
use crate::disk::{Disk, MIB, Part};
use crate::pattern::Pattern;
use crate::peer;
use crate::range::{Ranges, edges, merged, moved, total, without};
use crate::tree::{digest, plain_digest};
use serde_json::Value;

/// Gaps shorter than this may be read and written with their neighbours, in bytes.
const BRIDGE: u64 = 32 << 10;

/// What is in a partition, and who judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4: e2fsck, partclone.extfs, the kernel.
    Ext,
    /// ext4 with bigalloc: partclone refuses it, e2fsck and the kernel do not.
    Bigalloc,
    /// FAT with 12, 16 or 32 bits: fsck.vfat, partclone, mtools.
    Fat(u32),
    /// XFS: xfs_repair, partclone.xfs, the kernel.
    Xfs,
    /// btrfs on one device: btrfs check, partclone.btrfs, the kernel.
    Btrfs,
    /// NTFS: ntfsfix, partclone.ntfs, ntfs-3g.
    Ntfs,
    /// exFAT: fsck.exfat, partclone.exfat, exfat-fuse.
    Exfat,
    /// F2FS: fsck.f2fs and partclone.f2fs; not every kernel mounts it.
    F2fs,
    /// Swap: its header page.
    Swap,
    /// Bytes that nobody knows: all of them.
    Noise,
}

impl Kind {
    /// The peer that has a map of it: `partclone.` and this.
    fn peer(self) -> Option<String> {
        let name = match self {
            Self::Ext => "extfs",
            Self::Fat(bits) => return Some(format!("fat{bits}")),
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Ntfs => "ntfs",
            Self::Exfat => "exfat",
            Self::F2fs => "f2fs",
            Self::Bigalloc | Self::Swap | Self::Noise => return None,
        };
        Some(name.to_owned())
    }

    /// Its own checker, which changes nothing, and the driver of those that the kernel may not mount.
    fn judges(self) -> (&'static str, &'static [&'static str], Option<&'static str>) {
        match self {
            Self::Xfs => ("xfs_repair", &["-n"], None),
            Self::Btrfs => ("btrfs", &["check", "--check-data-csum"], None),
            Self::Ntfs => ("ntfsfix", &["-n"], Some("ntfs-3g")),
            Self::Exfat => ("fsck.exfat", &["-n"], Some("exfat-fuse")),
            Self::F2fs => ("fsck.f2fs", &["--dry-run"], None),
            _ => panic!("{self:?} has judges of its own"),
        }
    }
}

/// Which partition holds what.
pub type Contents<'a> = &'a [(u32, Kind)];

/// The ranges of partition `part` that `ramet-agent inspect` says a capture reads or a restore makes zero.
#[must_use]
pub fn extents(disk: &Disk, part: &Part) -> Ranges {
    let outcome = disk.on_device(|name| Agent::plain(&["inspect", name, "--json", "--extents"])).done();
    let json = outcome.json();
    let report = json["partitions"].as_array().unwrap().iter().find(|report| report["number"] == part.number).unwrap();
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let number = |pair: &Value, at: usize| pair[at].as_u64().unwrap();
    let ranges = list("extents").into_iter().chain(list("zeros"));
    merged(ranges.map(|pair| number(&pair, 0)..number(&pair, 0) + number(&pair, 1)).collect(), 0)
}

/// The contents of every partition are those of the source, for their own tools and byte by byte.
///
/// # Panics
/// When they are not.
pub fn same_contents(source: &Disk, target: &Disk, contents: Contents<'_>) {
    for (number, kind) in contents {
        let part = source.part(*number);
        let whole = 0..part.size;
        match kind {
            Kind::Ext | Kind::Bigalloc => {
                if *kind == Kind::Ext {
                    let used = peer::used("extfs", source, &part);
                    check::same_bytes(source, target, &part, &used, &peer::never_written(source, &part));
                }
                check::ext_is_clean(target, &part);
                let left = digest(Mounted::read_only(source, &part).at());
                digest(Mounted::read_only(target, &part).at()).assert_same(&left);
            }
            Kind::Fat(bits) => {
                check::same_bytes(source, target, &part, &peer::used(&format!("fat{bits}"), source, &part), &[]);
                check::fat_is_clean(target, &part);
                check::fat_digest(target, &part).assert_same(&check::fat_digest(source, &part));
            }
            Kind::Xfs | Kind::Btrfs | Kind::Ntfs | Kind::Exfat | Kind::F2fs => judged(*kind, source, target, &part),
            Kind::Swap => {
                check::same_bytes(source, target, &part, std::slice::from_ref(&(0..4096)), &[]);
                assert_eq!(check::blkid(target, &part), check::blkid(source, &part));
            }
            Kind::Noise => check::same_bytes(source, target, &part, std::slice::from_ref(&whole), &[]),
        }
    }
}

/// Every block that the peer calls used is the same, its checker finds nothing, and the files are equal.
///
/// partclone.btrfs takes the logical addresses of files for places on the disk; there the checker reads all data.
fn judged(kind: Kind, source: &Disk, target: &Disk, part: &Part) {
    if kind != Kind::Btrfs {
        let used = peer::used(&kind.peer().unwrap(), source, part);
        check::same_bytes(source, target, part, &used, &[]);
    }
    let (program, args, driver) = kind.judges();
    check::finds_nothing(program, args, target, part);
    let files = |disk: &Disk| match (kind, driver) {
        (Kind::F2fs, _) => None,
        (_, Some(driver)) => Some(plain_digest(Mounted::by(driver, disk, part, "ro").at())),
        _ => Some(digest(Mounted::read_only(disk, part).at())),
    };
    if let (Some(wanted), Some(found)) = (files(source), files(target)) {
        assert!(wanted.len() > 25, "{kind:?}: {} files", wanted.len());
        found.assert_same(&wanted);
    }
}

/// Where a restore of `source` onto a disk of `size` bytes may write.
#[must_use]
pub fn may_be_written(source: &Disk, size: u64, contents: Contents<'_>) -> Ranges {
    let disk = 0..size;
    let mut out = edges(&disk, MIB);
    let first = source.parts().iter().map(|part| part.start).min().unwrap_or(0);
    out.push(0..first.min(64 * MIB));
    for part in source.parts() {
        out.extend(edges(&part.range(), MIB));
        // A logical partition has its EBR, and what lies behind that, before it.
        if part.number > 4 {
            out.push(part.start.saturating_sub(MIB)..part.start);
        }
    }
    for (number, kind) in contents {
        let part = source.part(*number);
        let known = extents(source, &part);
        if let Some(program) = kind.peer() {
            let (ours, theirs) = (total(&known), total(&peer::used(&program, source, &part)));
            assert!(ours <= theirs + MIB, "partition {number}: {ours} bytes of extents, partclone has {theirs}");
        }
        out.extend(moved(&merged(known, BRIDGE), part.start));
    }
    merged(out, 0)
}

/// Nothing outside of what a restore of `source` may write has changed since the target was full of noise.
///
/// # Panics
/// With the first bytes that changed.
pub fn nothing_else_written(source: &Disk, target: &Disk, noise: &Pattern, contents: Contents<'_>) {
    let touched = noise.touched(target);
    let beyond = without(&touched, &may_be_written(source, target.size, contents));
    assert!(
        beyond.is_empty(),
        "{} bytes were written beside the image: {:x?}",
        total(&beyond),
        &beyond[..beyond.len().min(5)]
    );
}

/// All of it: table, contents, and nothing else written.
///
/// # Panics
/// When the target is no clone.
pub fn is_clone(source: &Disk, target: &Disk, noise: &Pattern, contents: Contents<'_>) {
    // Before anything is mounted.
    nothing_else_written(source, target, noise, contents);
    if !source.parts().is_empty() {
        assert_eq!(check::dump(target), check::dump(source));
        check::table_is_clean(target);
    }
    same_contents(source, target, contents);
}
