//! Which bytes of an image go where on a target.
//!
//! In: one disk of a manifest, its surveyed records, the target's size and the rehearsed table. Out: the spaces, the jobs
//! outside partitions, the held ranges, and what is blanked.
//! Promise: made without a write; every job lies on the target, no two jobs share a byte, none reaches into a held range.

use super::held::{Credit, Held, merge, subtract};
use super::place::{Placed, check_pieces, empty, ends, places, view_records};
pub use super::refused::RefusedMap;
use super::segments::Survey;
use super::view::{Chunks, GapView};
use crate::partition::{self, PartitionError};
use crate::transfer::fetch::FetchError;
use ramet_wire::manifest::{DiskImage, PartitionImage, Stored, Where};
use ramet_wire::segment::{Record, RecordKind};
use ramet_wire::{ByteRange, ChunkId, MIB, SegmentsDigest};
use std::collections::HashMap;

/// The index of no space: zeros that only blank what was there before.
pub const BLANK: usize = usize::MAX;
/// The index of the gaps.
pub const GAPS: usize = 0;

/// One stretch of the target and what shall be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where, in bytes from the start of the disk.
    pub range: ByteRange,
    /// What.
    pub kind: JobKind,
    /// Index of the space it belongs to, or [`BLANK`].
    pub space: usize,
}

/// What a job puts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Part of a chunk.
    Data(Part),
    /// Zeros.
    Zero,
}

/// `len` bytes of a chunk from `skip`, where `len` is the job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The chunk.
    pub id: ChunkId,
    /// Its length.
    pub raw: u32,
    /// First byte of it that is meant.
    pub skip: u32,
    /// SHA-256 of the bytes meant: the chunk's own id when it is meant whole.
    pub expect: ChunkId,
}

/// A partition of the image, or its gaps.
#[derive(Clone, Debug)]
pub struct Space {
    /// The partition's number; none for the gaps.
    pub number: Option<u32>,
    /// Where it lies on the target.
    pub range: ByteRange,
    /// Its segments and sums.
    pub stored: Stored,
    /// Where zeros are written if no extent lies there: ascending, disjoint.
    pub zones: Vec<ByteRange>,
}

impl Space {
    /// Which space of the manifest it is.
    #[must_use]
    pub fn at(&self) -> Where {
        self.number.map_or(Where::Gaps, Where::Partition)
    }

    /// The digest that the manifest states.
    #[must_use]
    pub const fn digest(&self) -> SegmentsDigest {
        self.stored.digest
    }
}

/// What is restored of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything, with the table.
    Whole,
    /// Some partitions, by number; the target's own table stays.
    Partitions(Vec<u32>),
}

/// One disk of an image, laid out on a target.
#[derive(Debug)]
pub struct DiskMap {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// What is restored.
    pub mode: Mode,
    /// The gaps first, then the restored partitions by their place on the disk.
    pub spaces: Vec<Space>,
    /// Jobs outside partitions, ascending.
    pub fixed: Vec<Job>,
    /// What is written last.
    pub held: Held,
    /// SHA-256 of the parts of cut records that are jobs, by start.
    pub cut: HashMap<u64, ChunkId>,
    /// What is zeroed just before the first differing byte is written.
    pub blank: Vec<ByteRange>,
    /// Probed before a comparison.
    pub samples: Vec<Job>,
}

impl DiskMap {
    /// The ranges whose records [`DiskMap::whole`] or [`DiskMap::partitions`] want to see, at the image's addresses.
    #[must_use]
    pub fn edges(image: &DiskImage, mode: &Mode) -> Vec<ByteRange> {
        match mode {
            Mode::Whole => vec![ByteRange::between(0, MIB)],
            Mode::Partitions(numbers) => {
                let meant = image.partitions.iter().filter(|partition| numbers.contains(&partition.number));
                meant.flat_map(|partition| ends(partition.range)).collect()
            }
        }
    }

    /// The whole disk onto a target of `size` bytes, whose old tables lie at `old`; `placed` where partitions do not stay
    /// where they were.
    ///
    /// # Errors
    /// [`RefusedMap`]; nothing was written.
    pub fn whole(
        image: &DiskImage,
        survey: &Survey,
        chunks: &Chunks<'_>,
        size: u64,
        (old, force_size): (Vec<ByteRange>, bool),
        placed: Option<&Placed>,
    ) -> Result<Self, RefusedMap> {
        let view_records = view_records(image, survey);
        let view = GapView::new(chunks, &view_records, image.size);
        let table = |source| RefusedMap::Table { size, source };
        let layout = match placed {
            None => partition::retarget(&view, &image.table, image.logical_sector, size),
            Some(placed) => partition::resize(&view, &image.table, image.logical_sector, size, &placed.entries),
        };
        let layout = layout.map_err(table)?;
        if size != image.size && !force_size {
            let io = |source| table(PartitionError::Io { what: "the disk's end", offset: 0, source });
            if let Some(what) = super::signs::end_metadata(&view).map_err(io)? {
                return Err(RefusedMap::EndMetadata { what, source_size: image.size, size });
            }
        }
        let pieces = check_pieces(&layout, image, placed, size)?;
        let shifted = placed.map(|placed| placed.shift(image, survey));
        let survey = shifted.as_ref().unwrap_or(survey);
        let head = ByteRange::between(0, MIB.min(size));
        let lba0 = ByteRange::between(0, u64::from(image.logical_sector).min(size));
        let mut ranges: Vec<ByteRange> = pieces.iter().map(|(range, _)| *range).collect();
        ranges.push(head);
        let mut map = Self {
            ordinal: image.ordinal,
            mode: Mode::Whole,
            spaces: vec![Space { number: None, range: head, stored: image.gaps.clone(), zones: Vec::new() }],
            fixed: Vec::new(),
            held: Held::new(ranges, vec![lba0]),
            cut: HashMap::new(),
            blank: old,
            samples: Vec::new(),
        };
        let disk_ends = ends(ByteRange::between(0, size));
        map.add_spaces(image, placed, &disk_ends, |_| true);
        map.hold_edges(survey, chunks)?;
        map.place_gaps(image, placed, survey, chunks, size)?;
        let overlaid: Vec<ByteRange> = merge(pieces.iter().map(|(range, _)| *range).collect());
        map.take_credit(&overlaid, survey, image, placed, size);
        for (range, piece) in &pieces {
            map.held.put(range.start(), &piece.bytes);
        }
        map.blank_ends(&disk_ends, placed);
        map.sample(survey);
        Ok(map)
    }

    /// Some partitions of the disk onto a target that has them at the same places.
    ///
    /// # Errors
    /// [`RefusedMap::Fetch`].
    pub fn partitions(
        image: &DiskImage,
        survey: &Survey,
        chunks: &Chunks<'_>,
        numbers: &[u32],
    ) -> Result<Self, RefusedMap> {
        let meant: Vec<&PartitionImage> =
            image.partitions.iter().filter(|partition| numbers.contains(&partition.number)).collect();
        let held: Vec<ByteRange> = meant.iter().flat_map(|partition| ends(partition.range)).collect();
        let sector = u64::from(image.logical_sector);
        let first = |range: ByteRange| ByteRange::between(range.start(), range.end().min(range.start() + sector));
        let mut keys: Vec<ByteRange> = meant.iter().map(|partition| first(partition.range)).collect();
        keys.sort_unstable();
        let gaps = Space { number: None, range: ByteRange::between(0, 0), stored: empty(), zones: Vec::new() };
        let mut map = Self {
            ordinal: image.ordinal,
            mode: Mode::Partitions(numbers.to_vec()),
            spaces: vec![gaps],
            fixed: Vec::new(),
            blank: merge(held.clone()),
            held: Held::new(held, keys),
            cut: HashMap::new(),
            samples: Vec::new(),
        };
        map.add_spaces(image, None, &[], |number| numbers.contains(&number));
        map.hold_edges(survey, chunks)?;
        map.take_credit(&[], survey, image, None, image.size);
        map.sample(survey);
        Ok(map)
    }

    /// Bytes of data, bytes of zeros that this restore is about, table and blanked ranges apart.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&Stored) -> u64| self.spaces.iter().map(|space| of(&space.stored)).sum();
        (sum(|stored| stored.data_bytes), sum(|stored| stored.zero_bytes))
    }

    fn add_spaces(
        &mut self,
        image: &DiskImage,
        placed: Option<&Placed>,
        disk_ends: &[ByteRange],
        meant: impl Fn(u32) -> bool,
    ) {
        let mut partitions: Vec<&PartitionImage> =
            image.partitions.iter().filter(|partition| meant(partition.number)).collect();
        partitions.sort_unstable_by_key(|partition| Placed::of_image(placed, partition).0.start());
        for partition in partitions {
            let (range, place) = Placed::of_image(placed, partition);
            // What will be the partition's end, and the disk's, as it lies in what is restored.
            let here = |part: ByteRange| {
                let start = part.start() - place.start() + range.start();
                ByteRange::between(start, start + part.len()).intersect(range)
            };
            let disk = disk_ends.iter().filter_map(|end| end.intersect(place)).filter_map(here);
            let zones = ends(range).into_iter().chain(ends(place).into_iter().filter_map(here)).chain(disk);
            let zones = merge(zones.collect());
            let zones = zones.into_iter().flat_map(|zone| self.held.split(zone).1).collect();
            let number = Some(partition.number);
            self.spaces.push(Space { number, range, stored: partition.stored.clone(), zones });
        }
    }

    /// Fills the held ranges with what partitions have there, and notes the hashes of the parts that are not held.
    fn hold_edges(&mut self, survey: &Survey, chunks: &Chunks<'_>) -> Result<(), FetchError> {
        for (number, record) in &survey.edges {
            if self.spaces.iter().any(|space| space.number == Some(*number)) {
                self.hold(record, record.range(), 0, chunks)?;
            }
        }
        Ok(())
    }

    /// `to` is where the bytes of `record` from `skip` go.
    fn hold(&mut self, record: &Record, to: ByteRange, skip: u64, chunks: &Chunks<'_>) -> Result<(), FetchError> {
        let RecordKind::Data(id) = record.kind else { return Ok(()) };
        let (inside, outside) = self.held.split(to);
        let whole = to.len() == u64::from(record.len);
        if inside.is_empty() && whole {
            return Ok(());
        }
        let bytes = chunks.get(id, record.len)?;
        let part = |range: ByteRange| {
            let from = usize::try_from(skip + range.start() - to.start()).unwrap_or(usize::MAX);
            let len = usize::try_from(range.len()).unwrap_or(usize::MAX);
            bytes.get(from..from.saturating_add(len)).unwrap_or_default()
        };
        for range in inside {
            self.held.put(range.start(), part(range));
        }
        for range in outside {
            self.cut.insert(range.start(), ChunkId::of(part(range)));
        }
        Ok(())
    }

    /// The jobs for the part of a record that goes `to`: what is held is left out.
    pub fn jobs_of(&self, record: &Record, to: ByteRange, skip: u64, space: usize, jobs: &mut Vec<Job>) {
        for range in self.held.split(to).1 {
            let kind = match record.kind {
                RecordKind::Zero => JobKind::Zero,
                RecordKind::Data(id) => {
                    let skip = u32::try_from(skip + range.start() - to.start()).unwrap_or(u32::MAX);
                    let whole = range.len() == u64::from(record.len);
                    let expect = if whole { id } else { self.cut.get(&range.start()).copied().unwrap_or(id) };
                    JobKind::Data(Part { id, raw: record.len, skip, expect })
                }
            };
            jobs.push(Job { range, kind, space });
        }
    }

    fn place_gaps(
        &mut self,
        image: &DiskImage,
        placed: Option<&Placed>,
        survey: &Survey,
        chunks: &Chunks<'_>,
        size: u64,
    ) -> Result<(), FetchError> {
        let mut jobs = Vec::new();
        for record in &survey.gaps {
            for (to, skip) in places(image, placed, record.range(), size) {
                self.hold(record, to, skip, chunks)?;
                self.jobs_of(record, to, skip, GAPS, &mut jobs);
            }
        }
        jobs.sort_unstable_by_key(|job| job.range);
        self.fixed = jobs;
        Ok(())
    }

    /// Notes which bytes of the spaces lie in held ranges; those under the table's own pieces count as table.
    fn take_credit(
        &mut self,
        overlaid: &[ByteRange],
        survey: &Survey,
        image: &DiskImage,
        placed: Option<&Placed>,
        size: u64,
    ) {
        let mut places_of: Vec<(usize, bool, ByteRange)> = Vec::new();
        let is_zero = |record: &Record| record.kind == RecordKind::Zero;
        for (number, record) in &survey.edges {
            if let Some(space) = self.spaces.iter().position(|space| space.number == Some(*number)) {
                places_of.push((space, is_zero(record), record.range()));
            }
        }
        if self.mode == Mode::Whole {
            let all = survey.gaps.iter().flat_map(|record| {
                places(image, placed, record.range(), size).into_iter().map(|(to, _)| (GAPS, is_zero(record), to))
            });
            places_of.extend(all);
        }
        for (space, zero, range) in places_of {
            for inside in self.held.split(range).0 {
                let len = subtract(inside, overlaid).iter().map(|part| part.len()).sum();
                self.held.credits.push(Credit { space, zero, len });
            }
        }
        self.held.credits.retain(|credit| credit.len > 0);
    }

    /// Zero jobs for the first and last MiB of the disk and of grown partitions, where nothing else lies.
    fn blank_ends(&mut self, disk_ends: &[ByteRange], placed: Option<&Placed>) {
        let taken = self.spaces[1..].iter().map(|space| space.range).chain(self.fixed.iter().map(|job| job.range));
        // What will shrink is restored elsewhere, and lies here all the same.
        let places = placed.into_iter().flat_map(|placed| &placed.places);
        let shrinks = places.filter(|(_, data, place)| data.intersect(*place).is_none()).map(|(.., place)| *place);
        let taken = merge(taken.chain(shrinks).collect());
        let fresh = placed.map(Placed::fresh_ends).unwrap_or_default();
        let free: Vec<ByteRange> = merge([disk_ends, &fresh].concat())
            .into_iter()
            .flat_map(|end| subtract(end, &taken))
            .flat_map(|part| self.held.split(part).1)
            .collect();
        self.fixed.extend(free.into_iter().map(|range| Job { range, kind: JobKind::Zero, space: BLANK }));
        self.fixed.sort_unstable_by_key(|job| job.range);
    }

    fn sample(&mut self, survey: &Survey) {
        let mut jobs = Vec::new();
        for record in &survey.samples {
            let holder = self.spaces[1..].iter().any(|space| space.range.contains(record.range()));
            if holder {
                self.jobs_of(record, record.range(), 0, BLANK, &mut jobs);
            }
        }
        self.samples = jobs;
    }
}
