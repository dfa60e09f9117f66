//! The map of one partition, and how it is made.
//!
//! In: a partition. Out: what it holds, how many bytes of it will be read, and its extents.
//! Promise: a map is believed only if every part of it was checked; anything odd makes the whole partition the extent.

use super::formats::{self, Reader};
use super::frame::frame;
use super::rounded::Rounded;
use super::{ExtentError, peek::Peek};
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;
pub use ramet_wire::manifest::Content;
use std::fmt;
use std::sync::Arc;

/// What shall happen with an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// It is read and stored.
    Data,
    /// It becomes zero on the target without being read: the unused tail of an ext4 inode table, and blocks beside
    /// superblock copies that are reserved for group descriptors to come.
    Zero,
}

/// A stretch of a partition that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Bytes from the start of the partition; multiples of [`ramet_wire::BLOCK`] except at the partition's end.
    pub range: ByteRange,
    /// What shall happen with it.
    pub kind: ExtentKind,
}

impl Extent {
    /// The bytes from `start` to `end`, which are read.
    pub(super) const fn data(start: u64, end: u64) -> Self {
        Self { range: ByteRange::between(start, end), kind: ExtentKind::Data }
    }
}

/// The extents of one kind of content, found again on every walk.
///
/// Pieces come ascending and disjoint, in exact bytes; [`Rounded`] makes blocks of them.
pub(super) trait Layout: Send + Sync {
    fn pieces(&self) -> Pieces<'_>;

    /// Where the pieces end, in bytes: all behind it is no part of this content, and copied as it is. It may be the hash
    /// tree of dm-verity, the metadata of some RAID, the copy of a boot sector, or a file system that was larger.
    ///
    /// Containers and swap speak of all of the partition.
    fn end(&self) -> u64 {
        u64::MAX
    }

    /// Bytes of the unit in which it divides its partition: what is left of one behind the end is no news.
    fn unit(&self) -> u64 {
        0
    }

    /// What lies inside a container.
    fn inside(&self) -> Vec<Inside> {
        Vec::new()
    }

    /// What an operator should know although the map is believed.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The other partitions of the disks that are captured together; a volume group or a btrfs may span several of them.
pub type Others = Arc<[Arc<dyn ReadAt>]>;

/// All of `partitions` but the one at `index`.
#[must_use]
pub fn others(partitions: &[Arc<dyn ReadAt>], index: usize) -> Others {
    let beside = partitions.iter().enumerate().filter(|(at, _)| *at != index);
    beside.map(|(_, part)| Arc::clone(part)).collect()
}

/// A partition to be mapped, and those beside it.
#[derive(Clone)]
pub(super) struct Part {
    pub bytes: Arc<dyn ReadAt>,
    pub others: Others,
    /// In how many containers it lies.
    pub depth: u32,
    /// One of them is a volume group. Each volume of a group is looked into once for each device below it, so groups in
    /// groups would take a time that grows with the power of their depth.
    pub in_group: bool,
}

/// So many bytes behind the end of a file system are worth a word.
const BEHIND_MAX: u64 = 1 << 20;
/// Containers that are looked into: a mirror that holds a volume group, in a volume of which lies another mirror.
const DEPTH_MAX: u32 = 4;

impl Part {
    /// The map of something that lies inside this partition.
    ///
    /// # Errors
    /// [`ExtentError::Read`] when a device does not answer, [`ExtentError::MountedElsewhere`] as it is for all of it.
    pub fn map_inside(&self, bytes: Arc<dyn ReadAt>, others: Others, name: &str) -> Result<(Map, Inside), ExtentError> {
        let size = bytes.size();
        let map = map_part(Self { bytes, others, depth: self.depth + 1, in_group: self.in_group })?;
        if map.mounted_elsewhere {
            return Err(ExtentError::MountedElsewhere(map.warnings.join("; ")));
        }
        let inside = Inside {
            name: name.to_owned(),
            content: map.content.clone(),
            size,
            used_bytes: map.used_bytes,
            whole: map.whole,
            warnings: map.warnings.clone(),
            inside: map.inside.clone(),
        };
        Ok((map, inside))
    }
}

/// Something that a container holds: a logical volume, the file system of a mirror's member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its name in the container, as `vg0/root`; empty where there is only one.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes of it that will be read, of all its stripes on all disks.
    pub used_bytes: u64,
    /// All of it is the extent.
    pub whole: bool,
    /// Why its map was not believed.
    pub warnings: Vec<String>,
    /// What lies inside it in turn.
    pub inside: Vec<Inside>,
}

pub(super) type Pieces<'a> = Box<dyn Iterator<Item = Result<Extent, ExtentError>> + Send + 'a>;

/// Which bytes of a partition matter.
pub struct Map {
    /// What was recognised.
    pub content: Content,
    /// Bytes of the data extents: what will be read.
    pub used_bytes: u64,
    /// The whole partition is the extent.
    pub whole: bool,
    /// The file system says that another machine has it mounted: to be treated like a mounted one.
    pub mounted_elsewhere: bool,
    /// Why the map was not believed, and whatever else an operator should know.
    pub warnings: Vec<String>,
    /// What lies inside a container.
    pub inside: Vec<Inside>,
    size: u64,
    layout: Option<Box<dyn Layout>>,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("content", &self.content)
            .field("size", &self.size)
            .field("used_bytes", &self.used_bytes)
            .field("whole", &self.whole)
            .field("mounted_elsewhere", &self.mounted_elsewhere)
            .field("warnings", &self.warnings)
            .field("inside", &self.inside)
            .finish_non_exhaustive()
    }
}

impl Map {
    /// The extents, ascending and disjoint. May be called more than once: each walk reads the allocation maps again,
    /// so memory stays bounded however large the partition is.
    ///
    /// # Errors
    /// [`ExtentError::Read`] from the device; [`ExtentError::Contradiction`] when the source changed since [`map`].
    /// The iterator ends after its first error.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent, ExtentError>> + Send + '_ {
        let pieces: Pieces<'_> = match &self.layout {
            Some(layout) => pieces(&**layout, self.size),
            None => Box::new(std::iter::once(Ok(Extent::data(0, self.size)))),
        };
        Rounded::new(pieces, self.size)
    }

    /// This partition holds a hibernated system, or something inside of it does.
    fn is_asleep(&self) -> bool {
        fn asleep(content: &Content, inside: &[Inside]) -> bool {
            content.state.as_ref().is_some_and(|state| state.starts_with("hibernated"))
                || inside.iter().any(|one| asleep(&one.content, &one.inside))
        }
        asleep(&self.content, &self.inside)
    }

    fn whole(size: u64, content: Content, warnings: Vec<String>) -> Self {
        Self {
            content,
            used_bytes: size,
            whole: true,
            mounted_elsewhere: false,
            warnings,
            inside: Vec::new(),
            size,
            layout: None,
        }
    }
}

/// All pieces of a layout, and what lies behind its end.
fn pieces(layout: &dyn Layout, size: u64) -> Pieces<'_> {
    Box::new(layout.pieces().chain(std::iter::once(Ok(Extent::data(layout.end().min(size), size)))))
}

/// Holds the maps of all partitions that are captured together against each other: where one of them holds a hibernated
/// system, it wakes up in the clone and goes on with what it knows of all others, and none of those maps is believed.
/// What it wrote last stands in no map: its processes ran on after its file systems had been synced.
pub fn doubt_beside_hibernation<'a>(maps: impl Iterator<Item = &'a mut Arc<Map>>) {
    let maps: Vec<_> = maps.collect();
    if !maps.iter().any(|map| map.is_asleep()) {
        return;
    }
    for map in maps.into_iter().filter(|map| !map.whole) {
        let warning = "copied whole: a hibernated system lies beside it, and may have it in use".to_owned();
        let warnings = map.warnings.iter().cloned().chain([warning]).collect();
        *map = Arc::new(Map::whole(map.size, map.content.clone(), warnings));
    }
}

/// Looks at a partition and maps it. Damaged content is no error: the whole partition is the extent then, and a
/// warning names the structure and both numbers.
///
/// # Errors
/// [`ExtentError::Read`] when the device does not answer.
pub fn map(part: Arc<dyn ReadAt>) -> Result<Map, ExtentError> {
    map_beside(part, Others::from([]))
}

/// As [`map`], for a partition of which parts may lie on `others`: a member of a btrfs or a volume group on several.
///
/// # Errors
/// [`ExtentError::Read`] when a device does not answer.
pub fn map_beside(part: Arc<dyn ReadAt>, others: Others) -> Result<Map, ExtentError> {
    map_part(Part { bytes: part, others, depth: 0, in_group: false })
}

/// As [`map_beside`], for a partition to which its table gives the type `kind`.
///
/// # Errors
/// [`ExtentError::Read`] when a device does not answer.
pub fn map_typed(kind: &str, part: Arc<dyn ReadAt>, others: Others) -> Result<Map, ExtentError> {
    let Some(what) = frame(kind) else { return map_beside(part, others) };
    let content = probe(&*part)?;
    Ok(whole(part, content, format!("copied whole: by its type {kind} it is divided once more, by {what}")))
}

fn map_part(part: Part) -> Result<Map, ExtentError> {
    let size = part.bytes.size();
    let peek = Peek::new(&*part.bytes)?;
    let mut found = formats::recognise(&peek)?;
    if let [(content, _)] = &found[..]
        && formats::lies_under_a_table(&peek, content)?
    {
        let warning = format!("copied whole: it carries a partition table and the signature of {}", content.kind);
        return Ok(Map::whole(size, found.swap_remove(0).0, vec![warning]));
    }
    drop(peek);
    if found.len() > 1 {
        let kinds: Vec<&str> = found.iter().map(|(content, _)| content.kind.as_str()).collect();
        let warning = format!("copied whole: it carries the signatures of {}", kinds.join(" and "));
        return Ok(Map::whole(size, found.swap_remove(0).0, vec![warning]));
    }
    let Some((content, reader)) = found.pop() else {
        return Ok(Map::whole(size, Content::unknown(), Vec::new()));
    };
    let Some(reader) = reader else {
        return Ok(Map::whole(size, content, Vec::new()));
    };
    if part.depth > DEPTH_MAX {
        let warning =
            format!("copied whole: it lies in {} containers, at most {DEPTH_MAX} are looked into", part.depth);
        return Ok(Map::whole(size, content, vec![warning]));
    }
    match believed(part, reader) {
        Ok(None) => Ok(Map::whole(size, content, Vec::new())),
        Ok(Some((layout, used_bytes))) => {
            let (mut warnings, inside) = (layout.warnings(), layout.inside());
            let behind = size.saturating_sub(layout.end());
            if behind >= BEHIND_MAX && behind > layout.unit() {
                let kind = &content.kind;
                warnings.push(format!("{behind} bytes lie behind the end of the {kind} and are copied as they are"));
            }
            let layout = Some(layout);
            Ok(Map { content, used_bytes, whole: false, mounted_elsewhere: false, warnings, inside, size, layout })
        }
        Err(error @ ExtentError::Read { .. }) => Err(error),
        Err(error) => {
            let mut map = Map::whole(size, content, vec![format!("copied whole: {error}")]);
            map.mounted_elsewhere = matches!(error, ExtentError::MountedElsewhere(_));
            Ok(map)
        }
    }
}

/// A layout that was walked through once, and the bytes of its data extents.
type Believed = (Box<dyn Layout>, u64);

/// Walks through the whole layout once.
fn believed(part: Part, reader: Reader) -> Result<Option<Believed>, ExtentError> {
    let size = part.bytes.size();
    let Some(layout) = reader(part)? else {
        return Ok(None);
    };
    let mut used_bytes = 0;
    for extent in Rounded::new(pieces(&*layout, size), size) {
        let extent = extent?;
        if extent.kind == ExtentKind::Data {
            used_bytes += extent.range.len();
        }
    }
    Ok(Some((layout, used_bytes)))
}

/// The whole partition is the extent, because of `warning`: for partitions that are mounted or held.
#[must_use]
#[allow(clippy::needless_pass_by_value)] // the same shape as `map`: callers choose one of the two
pub fn whole(part: Arc<dyn ReadAt>, content: Content, warning: String) -> Map {
    Map::whole(part.size(), content, vec![warning])
}

/// Only recognises; reads a few KiB.
///
/// # Errors
/// [`ExtentError::Read`] when the device does not answer.
pub fn probe(part: &dyn ReadAt) -> Result<Content, ExtentError> {
    let found = formats::recognise(&Peek::new(part)?)?;
    Ok(found.into_iter().next().map_or_else(Content::unknown, |(content, _)| content))
}
