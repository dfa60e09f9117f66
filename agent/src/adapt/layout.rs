//! Where partitions come to lie on a disk of another size.
//!
//! In: a table, what each partition can do, the new disk's size, a wish. Out: the new place of each partition.
//! Promise: order and numbers stay; what stays in front of the first change keeps its place to the byte; what changes ends at
//! whole MiB; nothing is made smaller than what lies in it, or it is a refusal with both numbers. Pure: nothing is read here.

use crate::partition::BIOS_BOOT;
use ramet_wire::adapt::{LayoutPartition, PartSize, Size};
use ramet_wire::{ByteRange, Entry, MIB, Table, TableKind};
use std::collections::BTreeMap;

/// What a partition holds, as far as its size is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs, and which of its devices this is.
    Btrfs(u64),
    /// NTFS.
    Ntfs,
    /// Swap: made anew.
    Swap,
    /// A physical volume of LVM.
    Lvm,
    /// Anything else: it keeps its size.
    Other,
}

/// What a partition can do. The texts are reasons for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// The partition's number.
    pub number: u32,
    /// What lies in it, as `blkid` says.
    pub kind: String,
    /// What it is, for those who change it.
    pub inside: Inside,
    /// Why it can not grow.
    pub no_growth: Option<String>,
    /// The least bytes that are certainly enough, or why it can not shrink.
    pub least: Result<u64, String>,
}

/// A disk of an image, and the one it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// Its table.
    pub table: &'a Table,
    /// Its size in bytes.
    pub image_size: u64,
    /// The target's size in bytes.
    pub size: u64,
    /// Bytes per logical sector.
    pub sector: u32,
}

/// A partition that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub number: u32,
    /// What lies in it.
    pub inside: Inside,
    /// Where it was.
    pub old: ByteRange,
    /// Where it will be.
    pub new: ByteRange,
}

/// Where everything comes to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arranged {
    /// All entries of the new table.
    pub entries: Vec<Entry>,
    /// The partitions that change.
    pub steps: Vec<Step>,
}

/// Why a wish can not be fulfilled. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedLayout {
    /// Not a partition of this disk.
    #[error("the layout names partition {number} of disk {disk}, which the image has not")]
    NoPartition {
        /// The image disk's ordinal.
        disk: u32,
        /// The number.
        number: u32,
    },
    /// It would become too small.
    #[error(
        "partition {number} ({kind}) would have {wanted} bytes, at least {least} are needed for what lies in it; \
         a disk of {} bytes would do", .disk_size.saturating_add(.least.saturating_sub(*.wanted))
    )]
    TooSmall {
        /// The number.
        number: u32,
        /// What lies in it.
        kind: String,
        /// Bytes that it would have.
        wanted: u64,
        /// Bytes that are needed.
        least: u64,
        /// The target's size.
        disk_size: u64,
    },
    /// It would have to become something that it can not.
    #[error("partition {number} ({kind}) would change from {old} to {new} bytes: {reason}")]
    Fixed {
        /// The number.
        number: u32,
        /// What lies in it.
        kind: String,
        /// Its size.
        old: u64,
        /// What it would be.
        new: u64,
        /// Why it can not.
        reason: String,
    },
    /// All of it is more than the disk has.
    #[error("the partitions of disk {disk} would end at byte {end}, the target ends for them at {limit}")]
    NoRoom {
        /// The image disk's ordinal.
        disk: u32,
        /// Where they would end.
        end: u64,
        /// Where they must end.
        limit: u64,
    },
    /// Nothing on the disk can take what is more or less.
    #[error("no partition of disk {disk} can {doing}: {reasons}; --size keep leaves them as they are")]
    Nobody {
        /// The image disk's ordinal.
        disk: u32,
        /// `grow` or `shrink`, with the bytes.
        doing: String,
        /// Why not, one by one.
        reasons: String,
    },
    /// A partition in the first MiB, which is written last, in one piece.
    #[error("partition {number} begins at byte {start}, in the first MiB: it can be neither moved nor made smaller")]
    Head {
        /// The number.
        number: u32,
        /// Its start.
        start: u64,
    },
    /// A boot loader that finds itself by its sectors.
    #[error(
        "partition {number} would move from byte {old} to byte {new}, but GRUB finds its own core image there by sectors"
    )]
    Loader {
        /// The number.
        number: u32,
        /// Its start.
        old: u64,
        /// Where it would start.
        new: u64,
    },
    /// A machine that sleeps.
    #[error("partition {0} holds a hibernated machine, which knows its file systems by their old size; wake it first")]
    Hibernated(u32),
}

impl Frame<'_> {
    /// Where partitions must end. The backup GPT and its entries lie behind.
    fn limit(&self) -> u64 {
        let ss = u64::from(self.sector);
        let whole = self.size / ss * ss;
        match self.table.kind {
            TableKind::None => whole,
            TableKind::Mbr => whole.min((1 << 32) * ss),
            TableKind::Gpt => {
                let first = self.table.usable.map_or(34 * ss, ByteRange::start);
                let array = first.saturating_sub(2 * ss).min(MIB);
                whole.saturating_sub(array + ss)
            }
        }
    }

    /// Partitions with content, in the order of the disk.
    fn content(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.table.entries.iter().filter(|entry| !entry.extended).collect();
        entries.sort_unstable_by_key(|entry| entry.range.start());
        entries
    }

    /// All entries with the lengths of `sizes`; the others keep theirs.
    fn place(&self, sizes: &BTreeMap<u32, u64>) -> Vec<Entry> {
        let mut placed: Vec<Entry> = Vec::new();
        let (mut before, mut moved) = (0, false);
        for entry in self.content() {
            let old = entry.range;
            let room = if entry.ebr.is_some() { MIB } else { 0 };
            let start = if moved { (before + room).next_multiple_of(MIB) } else { old.start() };
            let end = match sizes.get(&entry.number) {
                Some(len) if *len != old.len() => (start.saturating_add(*len) / MIB * MIB).max(start + MIB),
                _ => start.saturating_add(old.len()),
            };
            let ebr = if moved { entry.ebr.map(|_| start - MIB) } else { entry.ebr };
            moved |= start != old.start() || end != old.end();
            before = end;
            placed.push(Entry { range: ByteRange::between(start, end), ebr, ..entry.clone() });
        }
        for frame in self.table.entries.iter().filter(|entry| entry.extended) {
            let inside: Vec<&Entry> = placed.iter().filter(|entry| entry.ebr.is_some()).collect();
            let old = |entry: &&&Entry| self.table.entries.iter().any(|old| old == **entry);
            let changed = inside.iter().any(|entry| !old(&entry));
            let first = inside.iter().filter_map(|entry| entry.ebr).min();
            let end = inside.iter().map(|entry| entry.range.end()).max();
            let range = match (changed, first, end) {
                (true, Some(first), Some(end)) => ByteRange::between(first, end),
                _ => frame.range,
            };
            placed.push(Entry { range, ..frame.clone() });
        }
        placed.sort_unstable_by_key(|entry| entry.number);
        placed
    }

    fn end(&self, sizes: &BTreeMap<u32, u64>) -> u64 {
        self.place(sizes).iter().map(|entry| entry.range.end()).max().unwrap_or(0)
    }

    /// The largest length of `number` with which everything ends before the limit; 0 when there is none.
    fn largest(&self, number: u32, sizes: &BTreeMap<u32, u64>) -> u64 {
        let with = |len: u64| {
            let mut sizes = sizes.clone();
            sizes.insert(number, len);
            self.end(&sizes)
        };
        let limit = self.limit();
        let Some(room) = limit.checked_sub(with(MIB)) else { return 0 };
        // Each change may cost a MiB of alignment before the next partition.
        let mut len = room.saturating_add(2 * MIB);
        while len > MIB && with(len) > limit {
            len = len.saturating_sub(MIB);
        }
        if with(len) > limit { 0 } else { len }
    }
}

/// Where everything comes to lie. `None` when nothing changes.
///
/// # Errors
/// [`RefusedLayout`].
pub fn arrange(frame: &Frame<'_>, abilities: &[Ability], size: &Size) -> Result<Option<Arranged>, RefusedLayout> {
    let sizes = match size {
        Size::Keep => return Ok(None),
        Size::Fill => fill(frame, abilities)?,
        Size::Layout(layout) => {
            let own: Vec<&LayoutPartition> = layout.of(frame.ordinal).collect();
            declared(frame, abilities, &own)?
        }
    };
    if frame.table.kind == TableKind::None {
        return whole_disk(frame, abilities, &sizes);
    }
    let placed = frame.place(&sizes);
    let (end, limit) = (placed.iter().map(|entry| entry.range.end()).max().unwrap_or(0), frame.limit());
    if end > limit {
        return Err(RefusedLayout::NoRoom { disk: frame.ordinal, end, limit });
    }
    let mut steps = Vec::new();
    for entry in placed.iter().filter(|entry| !entry.extended) {
        let old = frame.table.entries.iter().find(|old| old.number == entry.number).map(|old| old.range);
        let Some(old) = old.filter(|old| *old != entry.range) else { continue };
        let ability = abilities.iter().find(|ability| ability.number == entry.number);
        if let Some(ability) = ability {
            check(ability, old.len(), entry.range.len(), frame.size)?;
        }
        if old.start() < MIB && (entry.range.start() != old.start() || entry.range.len() < old.len()) {
            return Err(RefusedLayout::Head { number: entry.number, start: old.start() });
        }
        if entry.r#type == BIOS_BOOT && entry.range.start() != old.start() {
            let (old, new) = (old.start(), entry.range.start());
            return Err(RefusedLayout::Loader { number: entry.number, old, new });
        }
        let inside = ability.map_or(Inside::Other, |ability| ability.inside);
        steps.push(Step { number: entry.number, inside, old, new: entry.range });
    }
    if steps.is_empty() {
        return Ok(None);
    }
    if let Some(asleep) = abilities.iter().find(|ability| ability.kind == "swap (hibernated)") {
        return Err(RefusedLayout::Hibernated(asleep.number));
    }
    Ok(Some(Arranged { entries: placed, steps }))
}

/// A disk without a table is its own partition 0.
fn whole_disk(
    frame: &Frame<'_>,
    abilities: &[Ability],
    sizes: &BTreeMap<u32, u64>,
) -> Result<Option<Arranged>, RefusedLayout> {
    let (Some(new), Some(ability)) = (sizes.get(&0), abilities.first()) else { return Ok(None) };
    let (old, new) = (frame.image_size, (*new).min(frame.limit()));
    if new == old {
        return Ok(None);
    }
    check(ability, old, new, frame.size)?;
    if new < old {
        return Err(RefusedLayout::Head { number: 0, start: 0 });
    }
    let (old, new) = (ByteRange::between(0, old), ByteRange::between(0, new));
    Ok(Some(Arranged { entries: Vec::new(), steps: vec![Step { number: 0, inside: ability.inside, old, new }] }))
}

/// The partition may go from `old` to `new` bytes.
fn check(ability: &Ability, old: u64, new: u64, disk_size: u64) -> Result<(), RefusedLayout> {
    let (number, kind) = (ability.number, ability.kind.clone());
    if old == new || ability.inside == Inside::Swap {
        return Ok(());
    }
    let reason = match (&ability.no_growth, &ability.least) {
        (Some(reason), _) if new > old => reason.clone(),
        (_, Err(reason)) if new < old => reason.clone(),
        (_, Ok(least)) if new < *least => {
            return Err(RefusedLayout::TooSmall { number, kind, wanted: new, least: *least, disk_size });
        }
        _ => return Ok(()),
    };
    Err(RefusedLayout::Fixed { number, kind, old, new, reason })
}

/// The last partition that can takes what is more, or gives what is less.
fn fill(frame: &Frame<'_>, abilities: &[Ability]) -> Result<BTreeMap<u32, u64>, RefusedLayout> {
    let none = BTreeMap::new();
    if frame.table.kind == TableKind::None {
        return Ok(BTreeMap::from([(0, frame.limit())]));
    }
    let (end, limit) = (frame.end(&none), frame.limit());
    let order = frame.content();
    let of = |entry: &&Entry| abilities.iter().find(|ability| ability.number == entry.number);
    let last = |can: &dyn Fn(&Ability) -> bool| order.iter().rev().filter_map(of).find(|ability| can(ability));
    let why = |reason: &dyn Fn(&Ability) -> String| {
        let one = |ability: &Ability| format!("partition {} ({}) {}", ability.number, ability.kind, reason(ability));
        order.iter().filter_map(of).map(one).collect::<Vec<_>>().join(", ")
    };
    let chosen = if end > limit {
        // One that is smaller than what is to be given is no help: then the others' reasons are what an operator needs.
        let len = |ability: &Ability| {
            order.iter().find(|entry| entry.number == ability.number).map_or(0, |entry| entry.range.len())
        };
        let can =
            |ability: &Ability| ability.least.is_ok() && ability.inside != Inside::Swap && len(ability) > end - limit;
        last(&can).ok_or_else(|| RefusedLayout::Nobody {
            disk: frame.ordinal,
            doing: format!("shrink, which needs {} bytes less", end - limit),
            reasons: why(&|ability| ability.least.clone().err().unwrap_or_else(|| "is smaller than that".to_owned())),
        })?
    } else if limit - end < MIB {
        return Ok(none);
    } else {
        let can = |ability: &Ability| ability.no_growth.is_none() && ability.inside != Inside::Swap;
        last(&can).ok_or_else(|| RefusedLayout::Nobody {
            disk: frame.ordinal,
            doing: format!("take the {} bytes that are left", limit - end),
            reasons: why(&|ability| ability.no_growth.clone().unwrap_or_default()),
        })?
    };
    Ok(BTreeMap::from([(chosen.number, frame.largest(chosen.number, &none))]))
}

/// What a layout says of this disk, in bytes.
fn declared(
    frame: &Frame<'_>,
    abilities: &[Ability],
    own: &[&LayoutPartition],
) -> Result<BTreeMap<u32, u64>, RefusedLayout> {
    let mut sizes = BTreeMap::new();
    for partition in own {
        let number = partition.number;
        if !abilities.iter().any(|ability| ability.number == number) {
            return Err(RefusedLayout::NoPartition { disk: frame.ordinal, number });
        }
        // Shares take at least a MiB; what that leaves is shared.
        sizes.insert(number, if let PartSize::Bytes(bytes) = partition.size { bytes } else { MIB });
    }
    if frame.table.kind == TableKind::None {
        let shared = own.iter().any(|partition| !matches!(partition.size, PartSize::Bytes(_)));
        return Ok(if shared { BTreeMap::from([(0, frame.limit())]) } else { sizes });
    }
    let shares = own.iter().filter(|partition| !matches!(partition.size, PartSize::Bytes(_))).count() as u64;
    let free = frame.limit().saturating_sub(frame.end(&sizes)).saturating_add(shares * MIB);
    for partition in own {
        if let PartSize::Percent(percent) = partition.size {
            let share = u128::from(free) * u128::from(percent) / 100;
            sizes.insert(partition.number, u64::try_from(share).unwrap_or(u64::MAX) / MIB * MIB);
        }
    }
    if let Some(rest) = own.iter().find(|partition| partition.size == PartSize::Rest) {
        let others: BTreeMap<u32, u64> = sizes.into_iter().filter(|(number, _)| *number != rest.number).collect();
        let len = frame.largest(rest.number, &others);
        sizes = others;
        sizes.insert(rest.number, len.max(MIB));
    }
    Ok(sizes)
}
