//! Every content that is known, one line each.
//!
//! In: the few bytes by which a content is recognised. Out: each format that claims them, and its reader if it has one.
//! Promise: all formats are asked; two claims on one partition are a doubt for the caller to see.

use super::map::{Content, Layout, Part};
use super::peek::Peek;
use super::{ExtentError, btrfs, exfat, ext, f2fs, fat, hfsplus, lvm, md, ntfs, signatures as sig, swap, xfs};
use crate::disk::source::Window;
use crate::partition;

/// Says what a partition holds, if it is of this format.
pub(super) type Recognise = fn(&Peek<'_>) -> Result<Option<Content>, ExtentError>;
/// Finds out which bytes matter; `None` means all of them, without a doubt.
pub(super) type Reader = fn(Part) -> Result<Option<Box<dyn Layout>>, ExtentError>;

/// Volume managers and containers first: where two formats claim a partition, the first one gives it its name.
/// A reader for another format is a file beside this one and `Some(file::read)` in its line.
static FORMATS: &[(Recognise, Option<Reader>)] = &[
    (md::recognise, Some(md::read)),
    (lvm::recognise, Some(lvm::read)),
    (sig::crypto_luks, None),
    (sig::bitlocker, None),
    (sig::zfs_member, None),
    (sig::drbd, None),
    (sig::bcache, None),
    (sig::stratis, None),
    (sig::vdo, None),
    (sig::ceph_bluestore, None),
    (sig::dm_integrity, None),
    (sig::dm_verity, None),
    (swap::recognise, Some(swap::read)),
    (ext::recognise, Some(ext::read)),
    (fat::recognise, Some(fat::read)),
    (xfs::recognise, Some(xfs::read)),
    (btrfs::recognise, Some(btrfs::read)),
    (ntfs::recognise, Some(ntfs::read)),
    (exfat::recognise, Some(exfat::read)),
    (f2fs::recognise, Some(f2fs::read)),
    (sig::erofs, None),
    (sig::squashfs, None),
    (sig::iso9660, None),
    (sig::jfs, None),
    (sig::nilfs2, None),
    (sig::reiserfs, None),
    (hfsplus::recognise, None),
    (sig::apfs, None),
    (sig::of_other_systems, None),
    (sig::firmware_raid, None),
];

/// All formats that claim the partition.
///
/// A member of an array whose superblock lies at its end shows at its start what the array holds; that is no second claim.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Vec<(Content, Option<Reader>)>, ExtentError> {
    let mut found = claims(peek)?;
    // What BitLocker To Go shows to those who do not know it is a FAT.
    if found.iter().any(|(content, _)| content.kind == "BitLocker") {
        found.retain(|(content, _)| content.kind != "vfat");
    }
    if found.len() < 2 || found[0].0.kind != "linux_raid_member" {
        return Ok(found);
    }
    match md::at_start(peek)? {
        // Its reader calls it a doubt, with a better reason than two claims.
        md::AtStart::Part => found.truncate(1),
        md::AtStart::Content(data) => {
            let content = Window::new(peek.part(), data);
            let content = content.map_err(|error| ExtentError::doubt(format!("data of the array: {error}")))?;
            let inside = claims(&Peek::new(&content)?)?;
            let mut first = true;
            let is_inside = |kind: &str| inside.iter().any(|(content, _)| content.kind == kind);
            found.retain(|(content, _)| std::mem::take(&mut first) || !is_inside(&content.kind));
        }
        md::AtStart::Unknown => {}
    }
    Ok(found)
}

/// A partition table stands in the first sector of what claims to be `content`: as that of a virtual machine's disk over
/// the file system that was there before, or of a disk over the superblock of an array. Only one of them can be true.
///
/// The data of an array whose superblock lies at its end begin with its first sector: there a table is the array's.
pub(super) fn lies_under_a_table(peek: &Peek<'_>, content: &Content) -> Result<bool, ExtentError> {
    let at_end = |version: &String| version == "1.0" || version.starts_with('0');
    if content.kind == "linux_raid_member" && content.version.as_ref().is_some_and(at_end) {
        return Ok(false);
    }
    let Some(sector) = peek.bytes(0, 512)? else { return Ok(false) };
    Ok(partition::announces_table(&sector, peek.size() / 512))
}

fn claims(peek: &Peek<'_>) -> Result<Vec<(Content, Option<Reader>)>, ExtentError> {
    let mut found = Vec::new();
    for (recognise, reader) in FORMATS {
        if let Some(content) = recognise(peek)? {
            found.push((content, *reader));
        }
    }
    Ok(found)
}
