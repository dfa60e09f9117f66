//! Every content that is known, one line each.
//!
//! In: the few bytes by which a content is recognised. Out: each format that claims them, and its reader if it has one.
//! Promise: all formats are asked; two claims on one partition are a doubt for the caller to see.

use super::map::{Content, Layout, Part};
use super::peek::Peek;
use super::{ExtentError, btrfs, exfat, ext, f2fs, fat, ntfs, signatures as sig, swap, xfs};

/// Says what a partition holds, if it is of this format.
pub(super) type Recognise = fn(&Peek<'_>) -> Result<Option<Content>, ExtentError>;
/// Finds out which bytes matter; `None` means all of them, without a doubt.
pub(super) type Reader = fn(Part) -> Result<Option<Box<dyn Layout>>, ExtentError>;

/// Volume managers and containers first: where two formats claim a partition, the first one gives it its name.
/// A reader for another format is a file beside this one and `Some(file::read)` in its line.
static FORMATS: &[(Recognise, Option<Reader>)] = &[
    (sig::linux_raid_member, None),
    (sig::lvm2_member, None),
    (sig::crypto_luks, None),
    (sig::bitlocker, None),
    (sig::zfs_member, None),
    (sig::drbd, None),
    (sig::bcache, None),
    (sig::stratis, None),
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
    (sig::hfsplus, None),
    (sig::apfs, None),
];

/// All formats that claim the partition.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Vec<(Content, Option<Reader>)>, ExtentError> {
    let mut found = Vec::new();
    for (recognise, reader) in FORMATS {
        if let Some(content) = recognise(peek)? {
            found.push((content, *reader));
        }
    }
    Ok(found)
}
