//! One question: may this disk be overwritten, or read as it lies?
//!
//! In: open disks, the kernel's view of mounts, swap, device-mapper, md and loop devices, and the store's folder.
//! Out: every use that stands against it, with the part of the disk that it touches.
//! Promise: devices are compared by what they are made of, so a loop device, a partition and a second name of the same
//! disk are all recognised; a target in use is never opened for writing by `open_targets`.

use super::place::{Place, Places};
use super::{DiskId, DiskInfo, Disks, OpenError, Target};
use ramet_wire::ByteRange;
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// One use of a part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The device in use, such as `sda2` or `loop0`, or a path.
    pub device: String,
    /// What uses it.
    pub reason: Reason,
    /// The part of the disk that it touches, in bytes from its start.
    pub range: ByteRange,
}

/// What uses a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The root of the running system lies on it.
    Root,
    /// A mounted file system.
    Mounted {
        /// Where.
        at: String,
    },
    /// Active swap.
    Swap,
    /// A device-mapper, md or other device on top of it.
    Held {
        /// That device.
        by: String,
    },
    /// A loop device shows it, or a part of it.
    Loop,
    /// The store lies on it.
    Store,
    /// The kernel refuses to give it exclusively, and does not say why.
    Busy,
}

impl InUse {
    /// The disk's bytes may change while they are read, or are not all on the disk. A loop device alone does no harm.
    #[must_use]
    pub const fn hinders_reading(&self) -> bool {
        !matches!(self.reason, Reason::Loop | Reason::Store)
    }

    /// Some byte of `range`, in bytes from the start of the disk, is in use.
    #[must_use]
    pub fn touches(&self, range: ByteRange) -> bool {
        self.range.intersect(range).is_some()
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        match &self.reason {
            Reason::Root => write!(f, "{device} holds the root of the running system"),
            Reason::Mounted { at } => write!(f, "{device} is mounted at {at}"),
            Reason::Swap => write!(f, "{device} is active swap"),
            Reason::Held { by } => write!(f, "{device} is part of {by}"),
            Reason::Loop => write!(f, "loop device {device} shows it"),
            Reason::Store => write!(f, "the store lies on {device}"),
            Reason::Busy => write!(f, "the kernel says that {device} is busy"),
        }
    }
}

/// Why a disk is not read or overwritten. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A target is in use.
    #[error("refusing to overwrite {}: {}", disk.display(), list(uses))]
    TargetInUse {
        /// The disk.
        disk: PathBuf,
        /// By what.
        uses: Vec<InUse>,
    },
    /// A source is in use.
    #[error("refusing to read {} while it is in use: {}", disk.display(), list(uses))]
    SourceInUse {
        /// The disk.
        disk: PathBuf,
        /// By what.
        uses: Vec<InUse>,
    },
    /// Two names of one disk, or of overlapping parts of one.
    #[error("{} and {} are the same disk", first.display(), second.display())]
    SameTwice {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A target that is read from.
    #[error("target {} is the source {}", target.display(), source_disk.display())]
    TargetIsSource {
        /// The target.
        target: PathBuf,
        /// The source.
        source_disk: PathBuf,
    },
    /// The name means another disk than a moment ago.
    #[error("{} was {before} when it was checked and is {now} now", disk.display())]
    Exchanged {
        /// The disk.
        disk: PathBuf,
        /// As checked.
        before: DiskId,
        /// As opened.
        now: DiskId,
    },
    /// The disk can not be opened.
    #[error("taking {}", disk.display())]
    Open {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: OpenError,
    },
}

fn list(uses: &[InUse]) -> String {
    uses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything that uses `disk`, as the kernel shows it. The running system's mount name space counts; other name spaces
/// show only as [`Reason::Busy`] in [`check_sources`], and as a refusal to open a target.
#[must_use]
pub fn uses(disks: &Disks, disk: &DiskInfo) -> Vec<InUse> {
    Places::of(disks).uses(disk)
}

/// What stands against reading each of `sources` as it lies, in their order: [`InUse::hinders_reading`] is true for all.
///
/// # Errors
/// [`Refusal::SameTwice`].
pub fn check_sources(disks: &Disks, sources: &[&DiskInfo]) -> Result<Vec<Vec<InUse>>, Refusal> {
    let places = Places::of(disks);
    check_distinct(&places, sources)?;
    let held = |source: &&DiskInfo| {
        let mut uses = places.uses(source);
        uses.retain(InUse::hinders_reading);
        if uses.is_empty() && is_busy(source) {
            let range = ByteRange::between(0, source.size);
            uses.push(InUse { device: source.path.display().to_string(), reason: Reason::Busy, range });
        }
        uses
    };
    Ok(sources.iter().map(held).collect())
}

/// All `targets` may be overwritten: none is in use, the running root's, the store's, named twice, or one of `sources`.
///
/// # Errors
/// [`Refusal`], with every use of the first disk that is refused.
pub fn check_targets(
    disks: &Disks,
    targets: &[&DiskInfo],
    sources: &[&DiskInfo],
    store: Option<&Path>,
) -> Result<(), Refusal> {
    let places = Places::of(disks);
    check_distinct(&places, targets)?;
    for target in targets {
        let mine = places.of_disk(target);
        if let Some(source) = sources.iter().find(|source| mine.overlaps(&places.of_disk(source))) {
            return Err(Refusal::TargetIsSource { target: target.path.clone(), source_disk: source.path.clone() });
        }
        let mut uses = places.uses(target);
        if let Some(store) = store {
            uses.extend(store_on(&places, target, &mine, store));
        }
        if !uses.is_empty() {
            return Err(Refusal::TargetInUse { disk: target.path.clone(), uses });
        }
    }
    Ok(())
}

/// Checks `paths` as targets and opens them, in their order. Checked again once they are held.
///
/// # Errors
/// [`Refusal`]. No byte has been written.
pub fn open_targets(
    disks: &Disks,
    paths: &[PathBuf],
    sources: &[&DiskInfo],
    store: Option<&Path>,
) -> Result<Vec<Target>, Refusal> {
    let open = |disk: &PathBuf, source| Refusal::Open { disk: disk.clone(), source };
    let looked: Vec<DiskInfo> = paths
        .iter()
        .map(|path| DiskInfo::open_source(path).map(|source| source.info).map_err(|source| open(path, source)))
        .collect::<Result<_, _>>()?;
    check_targets(disks, &looked.iter().collect::<Vec<_>>(), sources, store)?;
    let mut targets = Vec::with_capacity(paths.len());
    for before in &looked {
        let target = Target::open(&before.path).map_err(|source| open(&before.path, source))?;
        if target.info.id != before.id {
            let (disk, before, now) = (before.path.clone(), before.id, target.info.id);
            return Err(Refusal::Exchanged { disk, before, now });
        }
        targets.push(target);
    }
    check_targets(disks, &targets.iter().map(|target| &target.info).collect::<Vec<_>>(), sources, store)?;
    Ok(targets)
}

fn check_distinct(places: &Places<'_>, disks: &[&DiskInfo]) -> Result<(), Refusal> {
    for (at, first) in disks.iter().enumerate() {
        let mine = places.of_disk(first);
        if let Some(second) = disks[at + 1..].iter().find(|second| mine.overlaps(&places.of_disk(second))) {
            return Err(Refusal::SameTwice { first: first.path.clone(), second: second.path.clone() });
        }
    }
    Ok(())
}

/// The store's folder lies on `target`, or `target` is a file in it.
fn store_on(places: &Places<'_>, target: &DiskInfo, mine: &Place, store: &Path) -> Option<InUse> {
    let store = store.ancestors().find_map(|folder| std::fs::canonicalize(folder).ok())?;
    let under = places.under_folder(&store).iter().any(|place| place.overlaps(mine));
    let inside = target.is_file() && std::fs::canonicalize(&target.path).is_ok_and(|path| path.starts_with(&store));
    let device = target.path.display().to_string();
    let range = ByteRange::between(0, target.size);
    (under || inside).then_some(InUse { device, reason: Reason::Store, range })
}

/// The kernel does not give a block device exclusively: something has it that we can not see, such as a mount in another
/// name space.
fn is_busy(source: &DiskInfo) -> bool {
    if source.is_file() {
        return false;
    }
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&source.path);
    opened.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

#[cfg(test)]
mod tests;
