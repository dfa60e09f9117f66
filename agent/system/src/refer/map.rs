//! Old ids and new ones, and text in which the one becomes the other.
//!
//! In: ids as `blkid` prints them. Out: texts with new ids.
//! Promise: an id is replaced only where it stands as a whole word, and by one of the same length: nothing else moves.

use crate::assemble::Volume;
use std::collections::BTreeMap;

/// Shortest and longest id: a FAT's serial number, a UUID.
const LENGTHS: std::ops::RangeInclusive<usize> = 9..=36;
/// From this length on an id is told from all other words by itself.
const UUID: usize = 36;

/// What a system must know to use a file system with its new UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// ext4: checksums that start elsewhere than with the UUID (`metadata_csum_seed`): kernel 4.4, GRUB 2.12 or patched.
    ExtSeed,
    /// XFS version 5: a second UUID in the superblock: kernel 4.3; every GRUB that reads version 5.
    XfsMetaUuid,
    /// btrfs: a second UUID in the superblock: kernel 5.0; GRUB does not look at it.
    BtrfsMetadataUuid,
}

impl Needs {
    /// The first kernel that knows it.
    #[must_use]
    pub const fn kernel(self) -> (u32, u32) {
        match self {
            Self::ExtSeed => (4, 4),
            Self::XfsMetaUuid => (4, 3),
            Self::BtrfsMetadataUuid => (5, 0),
        }
    }
}

/// What has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A partition table, or a partition of it.
    Partition,
    /// A file system or swap.
    Content,
}

/// One id that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// As `blkid` prints it.
    pub old: String,
    /// The same for the clone.
    pub new: String,
    /// Whose it is, for people.
    pub name: String,
    /// What has it.
    pub of: Of,
    /// What must be known to use it.
    pub needs: Option<Needs>,
}

/// All ids of a clone that change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    ids: Vec<Id>,
    /// Spellings, lower case, to the index of their id.
    words: BTreeMap<Vec<u8>, usize>,
    /// The first four bytes of each: binaries of a hundred megabytes are searched, too.
    starts: Vec<[u8; 4]>,
}

impl Renamed {
    /// Ids of another form than `blkid`'s, and those that do not change, are left out.
    #[must_use]
    pub fn new(ids: Vec<Id>) -> Self {
        let fits = |id: &Id| {
            let plain = id.old.bytes().chain(id.new.bytes()).all(|b| b.is_ascii_hexdigit() || b == b'-');
            plain && LENGTHS.contains(&id.old.len()) && id.old.len() == id.new.len() && id.old != id.new
        };
        let ids: Vec<Id> = ids.into_iter().filter(fits).collect();
        let mut words = BTreeMap::new();
        for (index, id) in ids.iter().enumerate() {
            words.insert(id.old.to_ascii_lowercase().into_bytes(), index);
            words.insert(escaped(&id.old.to_ascii_lowercase()).into_bytes(), index);
        }
        let mut starts: Vec<[u8; 4]> = words.keys().filter_map(|word| word.first_chunk::<4>().copied()).collect();
        starts.dedup();
        Self { ids, words, starts }
    }

    /// The ids.
    #[must_use]
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// Nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Gives `volume` the ids by which its system still names it: between the new ids on the disk and
    /// [`super::follow`] a tree can only be assembled by the old ones.
    pub fn put_back(&self, volume: &mut Volume) {
        let put_back = |id: &mut Option<String>, of: Of| {
            let new =
                |known: &&Id| known.of == of && id.as_deref().is_some_and(|id| known.new.eq_ignore_ascii_case(id));
            if let Some(known) = self.ids.iter().find(new) {
                *id = Some(known.old.clone());
            }
        };
        put_back(&mut volume.uuid, Of::Content);
        put_back(&mut volume.partuuid, Of::Partition);
    }

    /// `text` with new ids; none where no old one stands in it. As long as before.
    #[must_use]
    pub fn rewrite(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut new: Option<Vec<u8>> = None;
        for (at, len, index) in self.find(text) {
            let out = new.get_or_insert_with(|| text.to_vec());
            let (old, id) = (&text[at..at + len], &self.ids[index]);
            let spelled = if len == id.new.len() { id.new.clone() } else { escaped(&id.new) };
            out[at..at + len].copy_from_slice(in_case_of(old, &spelled).as_bytes());
        }
        new
    }

    /// Indices of the ids whose old spelling stands in `text`.
    #[must_use]
    pub fn named_in(&self, text: &[u8]) -> Vec<usize> {
        let mut found: Vec<usize> = self.find(text).map(|(_, _, index)| index).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Places, lengths and ids, ascending.
    fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
        let mut lengths: Vec<usize> = self.words.keys().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() {
                let here = at;
                at += 1;
                let start = text[here..].first_chunk::<4>().map(|start| start.map(|b| b.to_ascii_lowercase()));
                if !start.is_some_and(|start| self.starts.contains(&start)) {
                    continue;
                }
                let word = lengths.iter().rev().find_map(|&len| {
                    let word = text.get(here..here + len)?.to_ascii_lowercase();
                    let index = *self.words.get(&word)?;
                    whole(text, here, len, self.ids[index].old.len()).then_some((len, index))
                });
                if let Some((len, index)) = word {
                    at = here + len;
                    return Some((here, len, index));
                }
            }
            None
        })
    }
}

/// A hyphen as systemd writes it in names of units.
fn escaped(id: &str) -> String {
    id.replace('-', "\\x2d")
}

/// What stands before `at` is an escaped hyphen.
fn escape(text: &[u8], at: usize) -> bool {
    text[..at].ends_with(b"\\x2d")
}

/// The word of `len` bytes at `at` is not a part of another one; `id` is the length of the id itself.
fn whole(text: &[u8], at: usize, len: usize, id: usize) -> bool {
    let (before, after) = (&text[..at], text.get(at + len).copied());
    let part_of_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if after.is_some_and(part_of_word) || before.last().is_some_and(|&b| part_of_word(b)) && !escape(text, at) {
        return false;
    }
    if id == UUID {
        return true;
    }
    // A short one may be a part of a UUID, of a date or of a version, unless it says what it is.
    let joins = |b: u8| b == b'-' || b == b'.' || b == b'\\';
    let ends = |end: &[u8]| before.len() >= end.len() && before[before.len() - end.len()..].eq_ignore_ascii_case(end);
    if [&b"uuid-"[..], b"uuid=", b"uuid/"].into_iter().any(ends) {
        return after != Some(b'-');
    }
    !after.is_some_and(joins) && !before.last().is_some_and(|&b| joins(b)) && !escape(text, at)
}

/// `new` in the case of `old`, where that has letters.
fn in_case_of(old: &[u8], new: &str) -> String {
    let escapes = old.iter().filter(|b| **b == b'\\').count();
    let lower = old.iter().filter(|b| b.is_ascii_lowercase()).count() > 2 * escapes;
    let upper = old.iter().any(u8::is_ascii_uppercase);
    match (lower, upper) {
        (true, false) => new.to_ascii_lowercase(),
        (false, true) => new.to_ascii_uppercase().replace("\\X2D", "\\x2d"),
        _ => new.to_owned(),
    }
}
