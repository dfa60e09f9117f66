//! One disk, window by window: compare, fetch and write, read back, all three at once on different windows.
//!
//! In: a map, a target, a door. Out: a target that holds everything but its held ranges.
//! Promise: old tables are blanked just before the first differing byte; a window is read back after a flush that came
//! after its last write; what was found equal is not written.

use super::compare::{Look, Run, Seen, runs};
use super::crew::{Crew, RUN_MAX, Worker};
use super::error::WriteError;
use super::map::{DiskMap, Job, JobKind, Part};
use super::medium::{Medium, Via, is_aligned};
use super::readback::{first_difference, read_back};
use super::segments::Segments;
use super::sink::Sink;
use super::stream::{Stream, is_data};
use super::tally::Tally;
use super::zero::{steps, zero};
use crate::transfer::Downstream;
use crate::transfer::fetch::{Batch, Need, batches};
use ramet_wire::ByteRange;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Chunks that are probed before a comparison.
const PROBES: usize = 64;

/// How a pass is done.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything is read again after it was written.
    pub read_back: bool,
    /// Something is done to the disk before it gets its table: it has none from the start, whatever is found equal.
    pub blank_first: bool,
}

/// One disk under way.
pub struct Pass<'a> {
    /// The target.
    pub medium: &'a dyn Medium,
    /// What goes where.
    pub map: &'a DiskMap,
    /// What was done so far.
    pub tally: &'a Tally,
    door: &'a dyn Downstream,
    fetched: &'a AtomicU64,
    settings: Settings,
    compare: bool,
    blanked: bool,
    sealed: AtomicBool,
    /// Found equal while nothing was blanked, inside what will be blanked.
    retained: Vec<Job>,
    /// The same, after the blanking.
    redo: Vec<Job>,
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("disk", &self.medium.name())
            .field("blanked", &self.blanked)
            .finish_non_exhaustive()
    }
}

enum Task<'a> {
    Fetch(Batch, &'a Order<'a>, Via),
    Zero(ByteRange, Via),
    Prove(Run),
    Compare(Run),
}

impl<'a> Pass<'a> {
    /// Prepares; nothing is read or written yet.
    #[must_use]
    pub fn new(
        medium: &'a dyn Medium,
        map: &'a DiskMap,
        tally: &'a Tally,
        door: &'a dyn Downstream,
        fetched: &'a AtomicU64,
        settings: Settings,
    ) -> Self {
        let (retained, redo) = (Vec::new(), Vec::new());
        Self {
            medium,
            map,
            tally,
            door,
            fetched,
            settings,
            compare: true,
            blanked: false,
            sealed: AtomicBool::new(false),
            retained,
            redo,
        }
    }

    /// Something was written: the table is blank until [`super::seal`].
    #[must_use]
    pub const fn blanked(&self) -> bool {
        self.blanked
    }

    /// The disk is whole again.
    #[must_use]
    pub fn sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    pub(super) fn set_sealed(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// Everything is read again after it was written.
    #[must_use]
    pub const fn reads_back(&self) -> bool {
        self.settings.read_back
    }

    /// Brings everything but the held ranges onto the disk, and looks whether these must be written.
    ///
    /// # Errors
    /// [`WriteError`]; if [`Pass::blanked`], the disk has no table then.
    pub fn run(&mut self, crew: &mut Crew, segments: &mut Segments<'_>, tick: &dyn Fn()) -> Result<(), WriteError> {
        if self.settings.blank_first {
            self.blank(crew.one())?;
        }
        self.compare = self.probe(crew, tick)?;
        let mut stream = Stream::new(self.map);
        let (mut differing, mut written) = (Vec::new(), Vec::new());
        let mut held_seen = false;
        loop {
            let window = stream.window(segments)?;
            let (mut write, compare) =
                if self.compare { (std::mem::take(&mut differing), window) } else { (window, Vec::new()) };
            let prove = std::mem::take(&mut written);
            if write.is_empty() && compare.is_empty() && prove.is_empty() && self.redo.is_empty() {
                if held_seen || self.held_is_right(crew.one())? {
                    break;
                }
                held_seen = true;
                self.blank(crew.one())?;
                continue;
            }
            if !write.is_empty() {
                self.blank(crew.one())?;
            }
            write.append(&mut self.redo);
            write.sort_unstable_by_key(|job| job.range);
            if !prove.is_empty() {
                self.flush()?;
            }
            differing = self.round(crew, &write, &prove, &compare, tick)?;
            if self.settings.read_back {
                written = write;
            }
        }
        if self.settings.read_back {
            self.retained.drain(..).for_each(|job| self.tally.prove(&job, job.range.len()));
        }
        Ok(())
    }

    /// Whether comparing is worth it: one of a few chunks spread over the disk is already there.
    fn probe(&self, crew: &mut Crew, tick: &dyn Fn()) -> Result<bool, WriteError> {
        let samples = &self.map.samples;
        let count = samples.len().min(PROBES);
        let picked: Vec<Job> = (0..count).map(|n| samples[n * samples.len() / count]).collect();
        let tasks: Vec<Run> = picked.iter().flat_map(|job| runs(std::slice::from_ref(job))).collect();
        let hit = AtomicBool::new(picked.is_empty());
        crew.round(tasks, tick, &|worker, run| {
            if hit.load(Ordering::Relaxed) {
                return Ok(());
            }
            run.look(self.medium, &mut worker.run, &mut |_, seen| {
                hit.fetch_or(seen == Seen::Equal, Ordering::Relaxed);
                Ok(())
            })
        })?;
        Ok(hit.into_inner())
    }

    /// Zeroes the old tables and flushes, once.
    fn blank(&mut self, worker: &mut Worker) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.blanked, true) {
            return Ok(());
        }
        for range in &self.map.blank {
            for step in steps(&[*range]) {
                zero(self.medium, step, self.via(step), &mut worker.run)?;
            }
        }
        self.flush()?;
        self.redo = std::mem::take(&mut self.retained);
        let bytes = self.redo.iter().map(|job| job.range.len()).sum();
        self.tally.kept.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn via(&self, range: ByteRange) -> Via {
        match self.medium.direct() {
            Some(align) if is_aligned(range, align) => Via::Direct,
            _ => Via::Cached,
        }
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.medium.flush().map_err(|source| WriteError::Flush { disk: self.medium.name().to_owned(), source })
    }

    fn held_is_right(&self, worker: &mut Worker) -> Result<bool, WriteError> {
        if self.blanked {
            return Ok(false);
        }
        let all: Vec<ByteRange> = self.map.held.ranges.iter().map(|held| held.range).collect();
        let differs = first_difference(self.medium, &self.map.held, &all, &mut worker.run)?;
        if differs.is_none() {
            self.tally.kept.fetch_add(self.map.held.len(), Ordering::Relaxed);
            if self.settings.read_back {
                self.tally.prove_held(&self.map.held.credits, self.map.held.len());
            }
        }
        Ok(differs.is_none())
    }

    /// Writes one window, reads back the one before, compares the one after. Returns the jobs that differ.
    fn round(
        &mut self,
        crew: &mut Crew,
        write: &[Job],
        prove: &[Job],
        compare: &[Job],
        tick: &dyn Fn(),
    ) -> Result<Vec<Job>, WriteError> {
        // What O_DIRECT can not take goes through the page cache afterwards: a cached page must not hold stale
        // neighbours of what is being written beside it.
        let (direct, cached): (Vec<Job>, Vec<Job>) = write.iter().partition(|job| self.via(job.range) == Via::Direct);
        let (direct, cached) = (Order::new(&direct), Order::new(&cached));
        let mut tasks = vec![
            self.write_tasks(&direct, Via::Direct)?,
            runs(prove).into_iter().map(Task::Prove).collect(),
            runs(compare).into_iter().map(Task::Compare).collect(),
        ];
        let differs: Vec<AtomicBool> = compare.iter().map(|_| AtomicBool::new(false)).collect();
        let work = |worker: &mut Worker, task: Task<'_>| self.work(worker, task, prove, &differs);
        crew.round(interleave(&mut tasks), tick, &work)?;
        let cached = self.write_tasks(&cached, Via::Cached)?;
        if !cached.is_empty() {
            crew.round(cached, tick, &work)?;
            self.flush()?;
        }
        Ok(self.sort_out(compare, &differs))
    }

    fn write_tasks<'o>(&self, order: &'o Order<'o>, via: Via) -> Result<Vec<Task<'o>>, WriteError> {
        let zeros = steps(&order.zeros).into_iter().map(|step| Task::Zero(step, via));
        let fetches = batches(self.door, &order.needs)?.into_iter().map(|batch| Task::Fetch(batch, order, via));
        Ok(interleave(&mut vec![fetches.collect(), zeros.collect()]))
    }

    fn work(
        &self,
        worker: &mut Worker,
        task: Task<'_>,
        prove: &[Job],
        differs: &[AtomicBool],
    ) -> Result<(), WriteError> {
        let written = |bytes: u64| self.tally.written.fetch_add(bytes, Ordering::Relaxed);
        match task {
            Task::Fetch(batch, order, via) => {
                let room = usize::try_from(RUN_MAX).unwrap_or(usize::MAX).min(worker.run.len());
                let mut sink = Sink::new(self.medium, via, &mut worker.run[..room]);
                worker.fetcher.fetch::<WriteError>(self.door, &batch, self.fetched, &mut |need, chunk| {
                    order.places(need).try_for_each(|(job, part)| sink.push(chunk, job, part))
                })?;
                written(sink.finish()?);
            }
            Task::Zero(step, via) => {
                zero(self.medium, step, via, &mut worker.run)?;
                written(step.len());
            }
            Task::Prove(run) => {
                let proven = |job: &Job, bytes| self.tally.prove(job, bytes);
                read_back(self.medium, &run, prove, &mut worker.run, &proven)?;
            }
            Task::Compare(run) => {
                run.look(self.medium, &mut worker.run, &mut |look: &Look, seen| {
                    if let Some(job) = differs.get(look.job).filter(|_| seen != Seen::Equal) {
                        job.store(true, Ordering::Relaxed);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn sort_out(&mut self, compared: &[Job], differs: &[AtomicBool]) -> Vec<Job> {
        let mut different = Vec::new();
        for (job, differs) in compared.iter().zip(differs) {
            if differs.load(Ordering::Relaxed) {
                different.push(*job);
                continue;
            }
            self.tally.kept.fetch_add(job.range.len(), Ordering::Relaxed);
            if !self.blanked && self.map.blank.iter().any(|range| range.intersect(job.range).is_some()) {
                self.retained.push(*job);
            } else if self.settings.read_back {
                self.tally.prove(job, job.range.len());
            }
        }
        different
    }
}

/// What is to be written in one go: each chunk once, with all its places.
struct Order<'a> {
    needs: Vec<Need>,
    /// Jobs by chunk, then place.
    data: Vec<(&'a Job, Part)>,
    /// For each need, where its jobs start in `data`.
    firsts: Vec<usize>,
    zeros: Vec<ByteRange>,
}

impl<'a> Order<'a> {
    fn new(jobs: &'a [Job]) -> Self {
        let mut data: Vec<(&Job, Part)> = jobs.iter().filter_map(|job| Some((job, data_of(job)?))).collect();
        data.sort_by_key(|(_, part)| part.id);
        let (mut needs, mut firsts): (Vec<Need>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, (_, part)) in data.iter().enumerate() {
            if needs.last().is_none_or(|need| need.id != part.id) {
                needs.push(Need { id: part.id, raw: Some(part.raw) });
                firsts.push(index);
            }
        }
        let zeros = jobs.iter().filter(|job| !is_data(job)).map(|job| job.range).collect();
        Self { needs, data, firsts, zeros }
    }

    fn places(&self, need: usize) -> impl Iterator<Item = (&'a Job, &Part)> {
        let start = self.firsts.get(need).copied().unwrap_or(self.data.len());
        let end = self.firsts.get(need + 1).copied().unwrap_or(self.data.len());
        self.data[start..end].iter().map(|(job, part)| (*job, part))
    }
}

const fn data_of(job: &Job) -> Option<Part> {
    match job.kind {
        JobKind::Data(part) => Some(part),
        JobKind::Zero => None,
    }
}

/// One list of all, in which each kind of task is spread evenly: disk, network and processors work at the same time.
fn interleave<T>(lists: &mut Vec<Vec<T>>) -> Vec<T> {
    let mut all: Vec<(usize, usize, T)> = Vec::new();
    for list in lists.drain(..) {
        let count = list.len();
        all.extend(list.into_iter().enumerate().map(|(index, task)| (index * 2 + 1, count.max(1), task)));
    }
    // Position in its list as a fraction, compared without division.
    all.sort_by(|(a, of_a, _), (b, of_b, _)| (a * of_b).cmp(&(b * of_a)));
    all.into_iter().map(|(_, _, task)| task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_each_kind_are_spread_evenly() {
        let mut lists = vec![vec![1, 2, 3, 4], vec![10, 20]];
        assert_eq!(interleave(&mut lists), [1, 10, 2, 3, 20, 4]);
    }
}
