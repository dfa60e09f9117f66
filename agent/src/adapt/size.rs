//! Another size, from the plan to its end.
//!
//! In: an image disk, a target, a wish. Out: a plan, or a refusal before anything is written; then the disk of that size.
//! Promise: nothing asked, nothing changed: byte for byte the image. Shrinking ends before the table is written, growing
//! begins after it.

use super::ability::{abilities, heads};
use super::grow::{follow_move, grow};
use super::joined::{Joined, Stretched};
use super::layout::{Ability, Arranged, Frame, Inside, RefusedLayout, Step, arrange};
use super::overflow::Overflow;
use super::shrink::{ResizeError, Shrink, shrink};
use super::swap;
use crate::memory::{self, TooLittle};
use crate::partition::EFI_SYSTEM;
use crate::write::{Chunks, Medium, Placed, Segments, Survey, SurveyError, WriteError, view_of};
use ramet_wire::adapt::{Change, Size};
use ramet_wire::layout::LayoutError;
use ramet_wire::manifest::{DiskImage, PartitionImage, Where};
use ramet_wire::segment::RecordKind;
use ramet_wire::{ByteRange, MIB};

/// What this process and a tool need beside the overflow.
const MEMORY_BASE: u64 = 96 * MIB;

/// A disk that gets another layout.
#[derive(Clone, Debug)]
pub struct Resized {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// The partitions that change.
    pub steps: Vec<Step>,
    /// Where everything is restored to.
    pub placed: Placed,
    /// Those that are made smaller, as they are restored; ascending.
    pub stretched: Vec<(Step, Stretched)>,
    /// Bytes of data that go to memory at most.
    pub over_bytes: u64,
    /// Bytes of the overflow's addresses.
    over_len: u64,
}

/// Why a size is refused. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RefusedSize {
    /// The layout contradicts itself.
    #[error("reading the layout")]
    Layout(#[from] LayoutError),
    /// It does not fit.
    #[error("laying out {size} bytes")]
    Arrange {
        /// The target's size.
        size: u64,
        /// Why.
        source: RefusedLayout,
    },
    /// A wish for a size needs whole disks.
    #[error("single partitions keep their size; leave out --size and --layout, or --partition")]
    Partitions,
    /// The overflow does not fit into memory.
    #[error("{over} bytes of data lie behind the new end and wait in memory until they are moved")]
    Memory {
        /// Those.
        over: u64,
        /// Both numbers.
        source: TooLittle,
    },
    /// A program or a driver for it is missing.
    #[error("shrinking needs {0}, which is not here: it comes with ramet's initramfs")]
    Missing(&'static str),
    /// The target can not be shown by a loop device.
    #[error("this target can not be changed after it was written: it is no device and no file")]
    NoFile,
    /// A segment is missing or wrong.
    #[error("measuring what lies behind the new end")]
    Survey(#[source] SurveyError),
}

/// The ranges of the captured disk that [`plan`] looks at.
#[must_use]
pub fn wanted(image: &DiskImage, size: &Size) -> Vec<ByteRange> {
    if *size == Size::Keep { Vec::new() } else { heads(image) }
}

/// What becomes of `image` on `target`, of which all is restored, or only partitions. `None` when it stays as it is.
///
/// # Errors
/// [`RefusedSize`].
pub fn plan(
    image: &DiskImage,
    found: &Survey,
    chunks: &Chunks<'_>,
    segments: &mut Segments<'_>,
    target: &dyn Medium,
    (size, whole): (&Size, bool),
) -> Result<Option<Resized>, RefusedSize> {
    if let Size::Layout(layout) = size {
        layout.check()?;
    }
    if *size == Size::Keep {
        return Ok(None);
    }
    if !whole {
        return Err(RefusedSize::Partitions);
    }
    let records = view_of(found);
    let head = crate::write::GapView::new(chunks, &records, image.size);
    let able = abilities(image, &head);
    let resized = lay_out(image, &able, target.size(), size)?;
    let Some(mut resized) = resized else { return Ok(None) };
    if target.backing().is_none() {
        return Err(RefusedSize::NoFile);
    }
    for (step, _) in &resized.stretched {
        needs(step.inside)?;
        let partition = image.partitions.iter().find(|partition| partition.number == step.number);
        if let Some(partition) = partition {
            resized.over_bytes += behind(segments, image.ordinal, partition, step.new.len())?;
        }
    }
    if !resized.stretched.is_empty() {
        // Without compression: what can be compressed less than that is only what memory says of itself.
        let over = resized.over_bytes;
        memory::fitting(1, 1, over + over / 16, MEMORY_BASE, memory::available())
            .map_err(|source| RefusedSize::Memory { over, source })?;
    }
    Ok(Some(resized))
}

/// The pure part: from abilities to places.
///
/// # Errors
/// [`RefusedSize::Arrange`].
pub fn lay_out(
    image: &DiskImage,
    abilities: &[Ability],
    target: u64,
    size: &Size,
) -> Result<Option<Resized>, RefusedSize> {
    let (ordinal, sector) = (image.ordinal, image.logical_sector);
    let frame = Frame { ordinal, table: &image.table, image_size: image.size, size: target, sector };
    let arranged = arrange(&frame, abilities, size).map_err(|source| RefusedSize::Arrange { size: target, source })?;
    let Some(Arranged { entries, steps }) = arranged else { return Ok(None) };
    let mut placed = Placed { entries, places: Vec::new() };
    let mut stretched = Vec::new();
    let (mut next, mut over_len) = (target.max(image.size).next_multiple_of(MIB) + MIB, 0);
    for step in &steps {
        let mut data = ByteRange::between(step.new.start(), step.new.start() + step.old.len());
        if step.new.len() < step.old.len() {
            // The same distance from a MiB as on the disk, so that what is aligned there is aligned here.
            let start = next + step.new.start() % MIB;
            data = ByteRange::between(start, start + step.old.len());
            let one = Stretched { whole: data, kept: step.new, rest: over_len };
            next = data.end().next_multiple_of(MIB) + MIB;
            over_len += one.over().next_multiple_of(MIB);
            stretched.push((*step, one));
        }
        placed.places.push((step.number, data, step.new));
    }
    Ok(Some(Resized { ordinal, steps, placed, stretched, over_bytes: 0, over_len }))
}

fn needs(inside: Inside) -> Result<(), RefusedSize> {
    let programs: &[&'static str] = match inside {
        Inside::Ext => &["e2fsck", "resize2fs"],
        Inside::Ntfs => &["ntfsresize"],
        _ => &[],
    };
    let missing = programs.iter().find(|name| super::programs::find(name).is_err());
    if let Some(name) = missing {
        return Err(RefusedSize::Missing(name));
    }
    if inside != Inside::Swap {
        super::programs::load_module("dm-mod");
        if !std::path::Path::new("/dev/mapper/control").exists() {
            return Err(RefusedSize::Missing("the kernel's device mapper"));
        }
    }
    Ok(())
}

/// Bytes of data of `partition` from `from` on.
fn behind(segments: &mut Segments<'_>, disk: u32, partition: &PartitionImage, from: u64) -> Result<u64, RefusedSize> {
    let (mut sum, number) = (0, Where::Partition(partition.number));
    crate::write::each_record(segments, (disk, number, partition.range.len()), &partition.stored, &mut |record| {
        let over = ByteRange::between(record.offset.max(from), record.range().end());
        if let RecordKind::Data(_) = record.kind {
            sum += over.len();
        }
        Ok(())
    })
    .map_err(RefusedSize::Survey)?;
    Ok(sum)
}

impl Resized {
    /// Memory for what does not fit yet; none when nothing is made smaller.
    ///
    /// # Errors
    /// [`ResizeError`].
    pub fn overflow(&self, sector: u32) -> Result<Option<Overflow>, ResizeError> {
        if self.over_len == 0 {
            return Ok(None);
        }
        Ok(Some(Overflow::new(self.over_len, sector)?))
    }

    /// An EFI system partition lies at another place than in the image.
    #[must_use]
    pub fn moves_loader(&self) -> bool {
        let is_esp = |number: u32| {
            let entry = self.placed.entries.iter().find(|entry| entry.number == number);
            entry.is_some_and(|entry| EFI_SYSTEM.contains(&entry.r#type.as_str()))
        };
        self.steps.iter().any(|step| step.old.start() != step.new.start() && is_esp(step.number))
    }

    /// What happens, line by line, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                let (old, new) = (step.old, step.new);
                let how = match new.len().cmp(&old.len()) {
                    std::cmp::Ordering::Less => format!("shrinks from {} to {} bytes", old.len(), new.len()),
                    std::cmp::Ordering::Greater => format!("grows from {} to {} bytes", old.len(), new.len()),
                    std::cmp::Ordering::Equal => format!("keeps its {} bytes", old.len()),
                };
                let moved = if old.start() == new.start() { "" } else { ", at another place" };
                format!("partition {} {how}{moved}", step.number)
            })
            .collect();
        if !self.stretched.is_empty() {
            lines.push(format!("{} bytes wait in memory while file systems shrink", self.over_bytes));
        }
        lines
    }

    /// Makes smaller what must be, before there is a table. Everything has been written and read back.
    ///
    /// # Errors
    /// [`ResizeError`]; the disk must not get its table then.
    pub fn shrink(&self, target: &dyn Medium, overflow: Option<&Overflow>) -> Result<(), ResizeError> {
        let file = target.backing().ok_or(ResizeError::NoFile)?;
        let io = |doing: &str| {
            let doing = doing.to_owned();
            move |source| ResizeError::Io { doing, source }
        };
        // The device mapper goes past the pages of what lies below it.
        target.flush().map_err(io("flushing the disk"))?;
        for (step, stretched) in &self.stretched {
            if step.inside == Inside::Swap {
                swap::remake(file, step.new).map_err(io("making swap anew"))?;
                continue;
            }
            let overflow = overflow.ok_or(ResizeError::NoFile)?;
            let rest = ByteRange::between(stretched.rest, stretched.rest + stretched.over());
            shrink(file, target.sector(), overflow, &Shrink { inside: step.inside, place: step.new, rest })?;
        }
        for step in self.steps.iter().filter(|step| step.new.start() != step.old.start()) {
            follow_move(file, target.sector(), step.old, step.new)
                .map_err(io("telling a boot sector where it lies"))?;
        }
        target.flush().map_err(io("flushing the disk"))
    }

    /// Makes larger what shall be; the disk has its table.
    ///
    /// # Errors
    /// [`ResizeError`]; the disk holds the image all the same.
    pub fn grow(&self, target: &dyn Medium) -> Result<Vec<Change>, ResizeError> {
        let file = target.backing().ok_or(ResizeError::NoFile)?;
        let mut changes = Vec::new();
        for step in &self.steps {
            let what = format!("disk {} partition {}", self.ordinal, step.number);
            let (old, new) = (step.old.len(), step.new.len());
            if step.old.start() != step.new.start() {
                let how = format!("moved from byte {} to byte {}", step.old.start(), step.new.start());
                changes.push(Change { what: what.clone(), how });
            }
            if new != old {
                changes.push(Change { what: what.clone(), how: format!("resized from {old} to {new} bytes") });
            }
            if new > old {
                let done = grow(file, target.sector(), step)?;
                changes.extend(done.into_iter().map(|how| Change { what: what.clone(), how }));
            }
        }
        target.flush().map_err(|source| ResizeError::Io { doing: "flushing the disk".to_owned(), source })?;
        Ok(changes)
    }
}

/// What a disk needs while an image is restored that does not fit onto it yet.
#[derive(Debug)]
pub struct Stage {
    resized: Option<Resized>,
    overflow: Option<Overflow>,
    stretched: Vec<Stretched>,
}

impl Stage {
    /// Takes the memory.
    ///
    /// # Errors
    /// [`ResizeError`]; nothing was written.
    pub fn open(resized: Option<&Resized>, target: &dyn Medium) -> Result<Self, ResizeError> {
        let stretched = resized.iter().flat_map(|resized| &resized.stretched).map(|(_, one)| *one).collect();
        let overflow = resized.map_or(Ok(None), |resized| resized.overflow(target.sector()))?;
        Ok(Self { resized: resized.cloned(), overflow, stretched })
    }

    /// Something will be made smaller.
    #[must_use]
    pub const fn shrinks(&self) -> bool {
        self.overflow.is_some()
    }

    /// The target with its overflow; none where it needs none.
    #[must_use]
    pub fn joined<'a>(&'a self, target: &'a dyn Medium) -> Option<Joined<'a>> {
        self.overflow.as_ref().map(|overflow| Joined::new(target, overflow.device().file(), &self.stretched))
    }

    /// Makes smaller what must be; see [`Resized::shrink`].
    ///
    /// # Errors
    /// [`WriteError::Shrink`]; the disk must not get its table then.
    pub fn shrink(&self, target: &dyn Medium) -> Result<(), WriteError> {
        let Some(resized) = &self.resized else { return Ok(()) };
        let disk = || target.name().to_owned();
        resized
            .shrink(target, self.overflow.as_ref())
            .map_err(|source| WriteError::Shrink { disk: disk(), source: Box::new(source) })
    }
}
