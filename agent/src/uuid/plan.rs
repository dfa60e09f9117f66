//! All new ids of a run: planned, thinned out by what must stay, written.
//!
//! In: disks and volumes, the seed. Out: what gets which id and what keeps its own; then the bytes on the devices.
//! Promise: planning writes nothing; writing changes only what the plan lists, and reads it back.

use super::UuidError;
use super::content::{self, Outcome, Subject};
use super::patch::{Groups, WriteAt, apply};
use super::seed::Seed;
use super::table;
use crate::disk::source::{ReadAt, Window};
use crate::partition::NewIds;
use ramet_system::refer::{Id, Needs, Of, Renamed};
use ramet_wire::Entry;
use ramet_wire::adapt::Change;
use ramet_wire::manifest::{DiskImage, Manifest};
use std::sync::Arc;

/// A disk that holds an image.
pub struct Disk<'a> {
    /// What the image says of it.
    pub image: &'a DiskImage,
    /// Bytes per logical sector of the target.
    pub sector: u32,
    /// Its bytes.
    pub bytes: Arc<dyn ReadAt>,
}

/// A logical volume on such disks.
pub struct Volume {
    /// As `vg0/root`: the same in every run.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<dyn ReadAt>,
}

/// Where a plan writes to.
#[derive(Clone, Copy)]
pub enum Device<'a> {
    /// The disk with this ordinal.
    Disk(u32, &'a dyn WriteAt),
    /// The logical volume of this name.
    Volume(&'a str, &'a dyn WriteAt),
}

impl std::fmt::Debug for Disk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("ordinal", &self.image.ordinal).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk(ordinal, _) => f.debug_tuple("Disk").field(ordinal).finish(),
            Self::Volume(name, _) => f.debug_tuple("Volume").field(name).finish(),
        }
    }
}

/// What has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A partition table.
    Table,
    /// The partition of this number.
    Partition(u32),
    /// A file system, or swap.
    Content,
}

/// One id that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewId {
    /// For people: `disk 0`, `disk 0 partition 1`, `vg0/root`.
    pub name: String,
    /// What has it.
    pub what: What,
    /// The image disk's ordinal, for tables and partitions.
    pub disk: Option<u32>,
    /// As `blkid` prints it. MBR: the signature as the manifest has it, and `signature-number` for partitions.
    pub old: String,
    /// In the same form.
    pub new: String,
    /// It was written by an earlier run with this seed.
    pub there: bool,
    /// What a system must know to use the content then.
    pub needs: Option<Needs>,
}

/// Bytes for one content.
struct Step {
    name: String,
    /// Which id goes with it.
    old: String,
    at: At,
    groups: Groups,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Disk { ordinal: u32, start: u64 },
    Volume(String),
}

struct TableStep {
    disk: u32,
    sector: u32,
    new: NewIds,
}

/// What gets which id.
#[derive(Default)]
pub struct Plan {
    /// What changes.
    pub ids: Vec<NewId>,
    /// What keeps its id, and why: sentences for the receipt's list of changes.
    pub kept: Vec<Change>,
    steps: Vec<Step>,
    tables: Vec<TableStep>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("ids", &self.ids).field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl Plan {
    /// Old and new ids, for everything that names them.
    #[must_use]
    pub fn renamed(&self) -> Renamed {
        let id = |id: &NewId| Id {
            old: id.old.clone(),
            new: id.new.clone(),
            name: id.name.clone(),
            of: if id.what == What::Content { Of::Content } else { Of::Partition },
            needs: id.needs,
        };
        // A signature alone is too short to be told from other words; partitions carry it.
        Renamed::new(self.ids.iter().filter(|id| !id.old.starts_with("0x")).map(id).collect())
    }

    /// What has the id `old` keeps it, for `reason`. All partitions of an MBR keep theirs together.
    pub fn keep(&mut self, old: &str, reason: &str) {
        let Some(found) = self.ids.iter().find(|id| id.old == old && !id.there).cloned() else { return };
        let mbr = |disk: Option<u32>| {
            self.tables.iter().any(|table| Some(table.disk) == disk && table.new.signature.is_some())
        };
        let whole = found.what != What::Content && mbr(found.disk);
        let stays = |id: &NewId| {
            if whole {
                id.disk == found.disk && id.what != What::Content
            } else {
                id.old == old && id.what == found.what
            }
        };
        self.ids.retain(|id| !stays(id));
        self.steps.retain(|step| found.what != What::Content || step.old != old);
        for table in self.tables.iter_mut().filter(|table| Some(table.disk) == found.disk) {
            match found.what {
                What::Table => (table.new.disk, table.new.signature) = (None, None),
                What::Partition(number) => {
                    table.new.signature = None;
                    table.new.partitions.remove(&number);
                }
                What::Content => {}
            }
        }
        self.kept.push(kept(&found.name, found.what, reason));
    }

    /// The image's manifest with the ids that its disks have now: what the firmware's entry is made from.
    #[must_use]
    pub fn manifest(&self, manifest: &Manifest) -> Manifest {
        let mut manifest = manifest.clone();
        for disk in &mut manifest.disks {
            for table in self.tables.iter().filter(|table| table.disk == disk.ordinal) {
                table.new.put_into(&mut disk.table);
            }
        }
        manifest
    }

    /// What was changed and what was not, for the receipt.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let new = |id: &NewId| {
            let of = match id.what {
                What::Table => "table id",
                What::Partition(_) => "partition id",
                What::Content => "UUID",
            };
            Change { what: id.name.clone(), how: format!("{of} {} is now {}", id.old, id.new) }
        };
        self.ids.iter().map(new).chain(self.kept.iter().cloned()).collect()
    }
}

fn kept(name: &str, what: What, reason: &str) -> Change {
    let of = match what {
        What::Table => "keeps the ids of its table and partitions",
        What::Partition(_) => "keeps its partition id",
        What::Content => "keeps its UUID",
    };
    Change { what: name.to_owned(), how: format!("{of}: {reason}") }
}

/// Plans new ids for all disks and volumes. Reads them, writes nothing.
///
/// # Errors
/// [`UuidError`] where a device does not answer or a table cannot be read. A content that is damaged, in use or not known
/// is no error: it keeps its UUID.
pub fn plan(disks: &[Disk<'_>], volumes: &[Volume], seed: Seed) -> Result<Plan, UuidError> {
    let mut plan = Plan::default();
    let (mut subjects, mut places) = (Vec::new(), Vec::new());
    for disk in disks {
        let tabled = table::decide(disk, seed)?;
        plan.ids.extend(tabled.ids);
        if let Some(reason) = tabled.kept {
            plan.kept.push(kept(&format!("disk {}", disk.image.ordinal), What::Table, &reason));
        }
        plan.tables.push(TableStep { disk: disk.image.ordinal, sector: disk.sector, new: tabled.new });
        for entry in entries(disk)? {
            let said = disk.image.partitions.iter().find(|part| part.number == entry.number);
            let bytes = Window::new(Arc::clone(&disk.bytes), entry.range);
            let name = format!("disk {} partition {}", disk.image.ordinal, entry.number);
            let bytes = bytes.map_err(|source| UuidError::Read {
                name: name.clone(),
                what: "partition",
                offset: entry.range.start(),
                source,
            })?;
            subjects.push(Subject { name, bytes: Arc::new(bytes), said: said.map(|part| part.content.clone()) });
            places.push(At::Disk { ordinal: disk.image.ordinal, start: entry.range.start() });
        }
    }
    for volume in volumes {
        subjects.push(Subject { name: volume.name.clone(), bytes: Arc::clone(&volume.bytes), said: None });
        places.push(At::Volume(volume.name.clone()));
    }
    plan.contents(&subjects, &places, seed)?;
    Ok(plan)
}

fn entries(disk: &Disk<'_>) -> Result<Vec<Entry>, UuidError> {
    let failed = |source| UuidError::Table { disk: disk.image.ordinal, source };
    let scan = crate::extent::table(&*disk.bytes, disk.sector).map_err(failed)?;
    Ok(scan.entries(disk.bytes.size()).into_iter().filter(|entry| !entry.extended).collect())
}

impl Plan {
    fn contents(&mut self, subjects: &[Subject], places: &[At], seed: Seed) -> Result<(), UuidError> {
        let groups = content::groups(subjects)?;
        for group in &groups {
            let name = group.subjects.first().and_then(|&index| subjects.get(index)).map(|subject| &subject.name);
            let name = name.cloned().unwrap_or_default();
            let id = |old, new, there, needs| NewId {
                name: name.clone(),
                what: What::Content,
                disk: None,
                old,
                new,
                there,
                needs,
            };
            match content::decide(subjects, group, &groups, seed)? {
                Outcome::Kept(reason) => {
                    let named = format!("{name} ({})", group.content.kind);
                    self.kept.push(kept(&named, What::Content, &reason));
                }
                Outcome::There { old, new } => self.ids.push(id(old, new, true, None)),
                Outcome::New { old, new, needs, patches } => {
                    for (&index, groups) in group.subjects.iter().zip(patches) {
                        let at = places[index].clone();
                        self.steps.push(Step { name: subjects[index].name.clone(), old: old.clone(), at, groups });
                    }
                    self.ids.push(id(old, new, false, needs));
                }
            }
        }
        Ok(())
    }
}

/// Writes the new ids of `plan`: contents, then tables; everything is read back.
///
/// # Errors
/// [`UuidError`]. What was written before the error stays: the restore is to be repeated.
pub fn write(plan: &Plan, devices: &[Device<'_>]) -> Result<(), UuidError> {
    let device = |at: &At| {
        devices.iter().find_map(|device| match (device, at) {
            (Device::Disk(ordinal, bytes), At::Disk { ordinal: wanted, .. }) if ordinal == wanted => Some(*bytes),
            (Device::Volume(name, bytes), At::Volume(wanted)) if name == wanted => Some(*bytes),
            _ => None,
        })
    };
    for step in &plan.steps {
        let bytes = device(&step.at).ok_or_else(|| UuidError::Missing(step.name.clone()))?;
        let base = if let At::Disk { start, .. } = step.at { start } else { 0 };
        apply(bytes, base, &step.groups, &step.name)?;
    }
    for step in plan.tables.iter().filter(|step| step.new != NewIds::default()) {
        let name = format!("disk {}", step.disk);
        let bytes = device(&At::Disk { ordinal: step.disk, start: 0 });
        let bytes = bytes.ok_or_else(|| UuidError::Missing(name.clone()))?;
        let failed = |source| UuidError::Table { disk: step.disk, source };
        apply(bytes, 0, &table::patches(bytes, step.sector, &step.new).map_err(failed)?, &name)?;
    }
    Ok(())
}
