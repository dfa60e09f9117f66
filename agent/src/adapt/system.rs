//! The system on disks that hold their image: new UUIDs, who it is, and its call when it has booted.
//!
//! In: an order; disks that are written, proven, sealed and have their sizes. Out: what was changed, or why not.
//! Promise: what can be refused was refused before the first write; what fails here leaves a whole copy, and says so.

use crate::attach::{AttachError, DiskAt, DiskVolumes, within};
use crate::disk::source::{FileSource, ReadAt};
use crate::partition::{self, PartitionError};
use crate::uuid::{self, FileBytes, MediumBytes, Seed, UuidError, WriteAt};
use crate::write::{Medium, MediumView};
use ramet_system::assemble::{AssembleError, Assembled, Volumes as _, assemble};
use ramet_system::first_boot::{self, FirstBootError};
use ramet_system::identity::{self, IdentityError};
use ramet_system::refer::{self, Blocker, Renamed};
use ramet_system::root::RootError;
use ramet_wire::Table;
use ramet_wire::adapt::{Adapt, Adapted, Change};
use ramet_wire::identity::Identity;
use ramet_wire::manifest::{DiskImage, Manifest};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The arguments of the program in a clone.
const CALL: &[&str] = &["first-boot", "--conf", first_boot::ORDER];

/// What a system starts from.
const STARTS: [&str; 4] = ["/boot", "/efi", "/etc", "/usr"];

/// A disk that holds its part of an image.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    /// Which disk of the image.
    pub ordinal: u32,
    /// The disk.
    pub medium: &'a dyn Medium,
}

impl std::fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.medium.name()).finish()
    }
}

/// Why a clone is a copy and no more.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A disk cannot be shown to the kernel's drivers.
    #[error("{disk} is no device and no file: its file systems cannot be mounted")]
    NoFile {
        /// Which disk.
        disk: String,
    },
    /// Its table cannot be read any more.
    #[error("reading the table of {disk}")]
    Table {
        /// Which disk.
        disk: String,
        /// Why.
        source: PartitionError,
    },
    /// Loop devices, device mapper or mounts.
    #[error("attaching its file systems")]
    Attach(#[from] AttachError),
    /// There is no system, or more than one.
    #[error("finding its system")]
    Assemble(#[from] AssembleError),
    /// New ids could not be written: the clone may not boot.
    #[error("giving it new UUIDs")]
    Uuid(#[from] UuidError),
    /// Files that name ids.
    #[error("writing the new UUIDs into its files")]
    Refer(#[source] RootError),
    /// Who it is.
    #[error("giving it its identity")]
    Identity(#[from] IdentityError),
    /// Its call.
    #[error("preparing its first boot")]
    FirstBoot(#[from] FirstBootError),
    /// The last files.
    #[error("writing its files")]
    Commit(#[source] RootError),
    /// For new ids.
    #[error("making new UUIDs: the kernel gives no random numbers")]
    Random,
    /// A disk or logical volume of the clone.
    #[error("opening a volume of the clone")]
    Device(#[source] io::Error),
    /// This program, which the clone shall run.
    #[error("reading the agent's own program")]
    Program(#[source] io::Error),
    /// The disk.
    #[error("flushing {disk}")]
    Flush {
        /// Which disk.
        disk: String,
        /// The device's reason.
        source: io::Error,
    },
}

/// What came of it.
#[derive(Debug)]
pub struct Settled {
    /// For the receipt.
    pub adapted: Adapted,
    /// The image's manifest with the ids that the disks have now: firmware entries name those.
    pub manifest: Manifest,
}

/// Whether anything of `adapt` is done here.
#[must_use]
pub fn concerns(adapt: &Adapt) -> bool {
    adapt.identity.is_some() || adapt.first_boot.is_some() || adapt.new_uuids
}

/// Does what `adapt` orders of the system on `disks`. `run` names this restore.
///
/// # Errors
/// [`SystemError`] when the disks have new ids and their files do not name them: the clone may not boot. Everything else
/// that fails leaves a whole copy, and [`Adapted::without`] says why.
pub fn settle(manifest: &Manifest, disks: &[Held<'_>], adapt: &Adapt, run: &str) -> Result<Settled, SystemError> {
    let mut settled = Settled { adapted: Adapted::default(), manifest: manifest.clone() };
    if adapt.new_uuids {
        match rename(&manifest.disks, disks) {
            Ok(plan) => follow(&plan?, disks, &mut settled)?,
            Err(error) => settled.adapted.without = Some(crate::say::chain(&error)),
        }
    }
    if adapt.identity.is_none() && adapt.first_boot.is_none() {
        return Ok(settled);
    }
    match become_itself(disks, adapt, run) {
        Ok(changes) => {
            settled.adapted.changes.extend(changes);
            settled.adapted.identity = adapt.identity.is_some();
        }
        Err(error) => settled.adapted.without = Some(crate::say::chain(&error)),
    }
    Ok(settled)
}

/// The files of the system name the ids that its disks have now.
fn follow(plan: &uuid::Plan, disks: &[Held<'_>], settled: &mut Settled) -> Result<(), SystemError> {
    disks.iter().for_each(|disk| disk.medium.announce());
    let renamed = plan.renamed();
    let changes = on_system(disks, false, Some(&renamed), |tree| {
        let left = refer::follow(&mut tree.root, &renamed).map_err(SystemError::Refer)?;
        let mut changes = tree.root.commit().map_err(SystemError::Refer)?;
        let names = |left: refer::Left| Change {
            what: left.path,
            how: format!("still names the old UUID of {}: look at it", left.names.join(", ")),
        };
        changes.extend(left.into_iter().map(names));
        Ok(changes)
    })?;
    settled.adapted.changes.extend(plan.changes());
    settled.adapted.changes.extend(changes);
    settled.manifest = plan.manifest(&settled.manifest);
    Ok(())
}

fn become_itself(disks: &[Held<'_>], adapt: &Adapt, run: &str) -> Result<Vec<Change>, SystemError> {
    let program = adapt.first_boot.as_ref().map(|_| own_program()).transpose()?;
    on_system(disks, false, None, |tree| {
        let mut changes = Vec::new();
        if let Some(identity) = &adapt.identity {
            changes.extend(identity::apply(&mut tree.root, identity, run, false)?.changes);
        }
        if let (Some(order), Some(program)) = (&adapt.first_boot, &program) {
            first_boot::install(&mut tree.root, program, CALL, order)?;
            changes.extend(tree.root.commit().map_err(SystemError::Commit)?);
        }
        Ok(changes)
    })
}

/// Gives the system on `disks` the identity `wanted`, or says what that would change.
///
/// # Errors
/// [`SystemError`].
pub fn identify(
    disks: &[Held<'_>],
    wanted: &Identity,
    run: &str,
    dry_run: bool,
) -> Result<identity::Applied, SystemError> {
    on_system(disks, dry_run, None, |tree| Ok(identity::apply(&mut tree.root, wanted, run, dry_run)?))
}

/// Plans new ids, leaves out those that something embedded holds on to, and writes the rest. The outer error has written
/// nothing.
fn rename(images: &[DiskImage], disks: &[Held<'_>]) -> Result<Result<uuid::Plan, SystemError>, SystemError> {
    let seed = ring::rand::generate::<[u8; 32]>(&ring::rand::SystemRandom::new()).map_err(|_| SystemError::Random)?;
    let tables = tables(disks)?;
    let at = places(disks, &tables)?;
    let plan = rehearse(images, disks, &at, Seed::new(seed.expose()))?;
    let volumes = DiskVolumes::open(&at, false)?;
    let logical: Vec<(String, &Path)> = volumes.logical().map(|(name, path)| (name.to_owned(), path)).collect();
    let targets: Vec<MediumBytes<'_>> = disks.iter().map(|disk| MediumBytes(disk.medium)).collect();
    let devices = logical.iter().map(|(name, path)| Ok((name.as_str(), writable(path)?)));
    let devices: Vec<(&str, FileBytes)> = devices.collect::<Result<_, SystemError>>()?;
    let disk = disks.iter().zip(&targets);
    let disk = disk.map(|(disk, bytes)| uuid::Device::Disk(disk.ordinal, bytes as &dyn WriteAt));
    let volume = devices.iter().map(|(name, bytes)| uuid::Device::Volume(name, bytes as &dyn WriteAt));
    let written = uuid::write(&plan, &disk.chain(volume).collect::<Vec<_>>()).map_err(SystemError::from);
    drop(devices);
    let flushed = volumes.finish().map_err(SystemError::from).and_then(|()| flush(disks));
    Ok(written.and(flushed).map(|()| plan))
}

/// Plans new ids without those that must stay. The devices are read-only, not just the mounts: a driver that mounts a file
/// system for reading writes into its log all the same (XFS, `xlog_clear_stale_blocks`), where the plan has looked already.
fn rehearse(
    images: &[DiskImage],
    disks: &[Held<'_>],
    at: &[DiskAt<'_>],
    seed: Seed,
) -> Result<uuid::Plan, SystemError> {
    let volumes = DiskVolumes::open(at, true)?;
    let logical: Vec<(String, &Path)> = volumes.logical().map(|(name, path)| (name.to_owned(), path)).collect();
    let mut plan = uuid::plan(&named(images, disks)?, &opened(&logical)?, seed)?;
    let renamed = plan.renamed();
    let blocked = within(|space| -> Result<_, SystemError> {
        let tree = assemble(&volumes, &space.folder()?, true)?;
        let blocked = match unseen(&tree, &volumes) {
            None => refer::blockers(&tree.root, &renamed).map_err(SystemError::Refer),
            Some(why) => Ok(plan.ids.iter().map(|id| Blocker { old: id.old.clone(), why: why.clone() }).collect()),
        };
        tree.finish()?;
        blocked
    })??;
    blocked.iter().for_each(|blocker| plan.keep(&blocker.old, &blocker.why));
    Ok(plan)
}

/// Where ids may be named and nobody can look: a clone that does not boot is worse than an equal UUID.
fn unseen(tree: &Assembled, volumes: &DiskVolumes) -> Option<String> {
    let mut all = volumes.list().iter().enumerate();
    let esp = all.find(|(index, volume)| volume.esp && !tree.volumes().contains(index));
    let left = tree.left.iter().find(|left| STARTS.iter().any(|top| left.path.starts_with(top)));
    match (left, esp) {
        (Some(left), _) => Some(format!("{} could not be looked into: {}", left.path.display(), left.reason)),
        (None, Some((_, esp))) => Some(format!("the loaders on {} could not be looked into", esp.name)),
        (None, None) => None,
    }
}

/// Runs `change` on the system of `disks`, mounted in a namespace of its own; everything is on the disks afterwards. With
/// `renamed` it still names its volumes by old ids.
fn on_system<T: Send>(
    disks: &[Held<'_>],
    read_only: bool,
    renamed: Option<&Renamed>,
    change: impl FnOnce(&mut Assembled) -> Result<T, SystemError> + Send,
) -> Result<T, SystemError> {
    let tables = tables(disks)?;
    let mut volumes = DiskVolumes::open(&places(disks, &tables)?, read_only)?;
    if let Some(renamed) = renamed {
        volumes.put_back(renamed);
    }
    let done = within(|space| {
        let mut tree = assemble(&volumes, &space.folder()?, read_only)?;
        let done = change(&mut tree);
        let finished = tree.finish();
        done.and_then(|done| finished.map(|()| done).map_err(SystemError::from))
    })?;
    volumes.finish()?;
    flush(disks)?;
    done
}

fn tables(disks: &[Held<'_>]) -> Result<Vec<Table>, SystemError> {
    let read = |disk: &Held<'_>| {
        let scan = partition::read(&MediumView(disk.medium), disk.medium.sector());
        let named = |source| SystemError::Table { disk: disk.medium.name().to_owned(), source };
        scan.map(|scan| scan.table).map_err(named)
    };
    disks.iter().map(read).collect()
}

fn backing<'a>(disk: &Held<'a>) -> Result<&'a File, SystemError> {
    disk.medium.backing().ok_or_else(|| SystemError::NoFile { disk: disk.medium.name().to_owned() })
}

fn places<'a>(disks: &[Held<'a>], tables: &'a [Table]) -> Result<Vec<DiskAt<'a>>, SystemError> {
    let place = |(disk, table): (&Held<'a>, &'a Table)| {
        let (ordinal, file) = (disk.ordinal, backing(disk)?);
        Ok(DiskAt { ordinal, file, size: disk.medium.size(), sector: disk.medium.sector(), table })
    };
    disks.iter().zip(tables).map(place).collect()
}

fn source(file: &File, size: u64) -> Result<Arc<dyn ReadAt>, SystemError> {
    let file = file.try_clone().map_err(SystemError::Device)?;
    Ok(Arc::new(FileSource::new(file, size)))
}

fn named<'a>(images: &'a [DiskImage], disks: &[Held<'_>]) -> Result<Vec<uuid::Disk<'a>>, SystemError> {
    let disk = |(image, disk): (&'a DiskImage, &Held<'_>)| {
        let bytes = source(backing(disk)?, disk.medium.size())?;
        Ok(uuid::Disk { image, sector: disk.medium.sector(), bytes })
    };
    images.iter().zip(disks).map(disk).collect()
}

fn opened(volumes: &[(String, &Path)]) -> Result<Vec<uuid::Volume>, SystemError> {
    let open = |(name, path): &(String, &Path)| {
        let (file, size) = device(path, false)?;
        Ok(uuid::Volume { name: name.clone(), bytes: source(&file, size)? })
    };
    volumes.iter().map(open).collect()
}

fn writable(path: &Path) -> Result<FileBytes, SystemError> {
    device(path, true).map(|(file, size)| FileBytes::new(file, size))
}

/// A logical volume's device and its size in bytes.
fn device(path: &Path, write: bool) -> Result<(File, u64), SystemError> {
    let open = || {
        let file = File::options().read(true).write(write).open(path)?;
        let size = crate::disk::ioctl::device_size(&file)?;
        Ok((file, size))
    };
    open().map_err(SystemError::Device)
}

fn flush(disks: &[Held<'_>]) -> Result<(), SystemError> {
    let flush = |disk: &Held<'_>| {
        disk.medium.flush().map_err(|source| SystemError::Flush { disk: disk.medium.name().to_owned(), source })
    };
    disks.iter().try_for_each(flush)
}

fn own_program() -> Result<Vec<u8>, SystemError> {
    std::fs::read("/proc/self/exe").map_err(SystemError::Program)
}
