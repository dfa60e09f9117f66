//! Which disk gets what.
//!
//! In: an image's disks and the targets that somebody named. Out: pairs, opened and held; or a refusal with both names.
//! Promise: exactly as many targets as the image has disks; a disk that is known by its serial number or WWN never gets
//! the content of another.

use super::Request;
use super::error::{Refused, RestoreError};
use crate::disk::{Disks, open_targets};
use crate::partition;
use crate::write::{Medium, MediumView, Mode, TargetDisk};
use ramet_wire::Entry;
use ramet_wire::manifest::{DiskImage, Manifest};
use std::path::{Path, PathBuf};

/// A target that may be written to.
pub struct Opened {
    /// The disk.
    pub medium: Box<dyn Medium>,
    /// Model, as the device says.
    pub model: Option<String>,
    /// Serial number, as the device says.
    pub serial: Option<String>,
    /// World-wide name, as the device says.
    pub wwn: Option<String>,
    /// Modaliases of what it hangs from, the outermost first, where the kernel shows them.
    pub controllers: Vec<String>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("name", &self.medium.name()).finish_non_exhaustive()
    }
}

impl Opened {
    /// Model and serial number, for people.
    #[must_use]
    pub fn identity(&self) -> String {
        crate::write::identity(self.model.as_deref(), self.serial.as_deref())
    }
}

/// The image's disks with the path that each is restored to.
pub(super) fn pair_up<'m>(
    manifest: &'m Manifest,
    request: &Request,
) -> Result<Vec<(&'m DiskImage, PathBuf)>, RestoreError> {
    let disks = manifest.disks.len();
    let targets = request.targets.len() + request.pairs.len();
    if targets != disks || (!request.targets.is_empty() && !request.pairs.is_empty()) {
        return Err(Refused::Count { disks, targets: request.targets.len(), pairs: request.pairs.len() }.into());
    }
    if let Some(unknown) = request.partitions.iter().find(|number| !holds(manifest, **number)) {
        return Err(Refused::NoPartition { number: *unknown }.into());
    }
    let path = |image: &DiskImage| {
        let by_pair = request.pairs.iter().find(|(ordinal, _)| *ordinal == image.ordinal).map(|(_, path)| path);
        let by_order = request.targets.get(usize::try_from(image.ordinal).unwrap_or(usize::MAX));
        by_pair.or(by_order).cloned().ok_or_else(|| RestoreError::from(Refused::NoPair { ordinal: image.ordinal }))
    };
    manifest.disks.iter().map(|image| Ok((image, path(image)?))).collect()
}

/// Number 0 is a disk without a table: it can only be restored whole.
fn holds(manifest: &Manifest, number: u32) -> bool {
    number > 0 && manifest.disks.iter().any(|disk| disk.partitions.iter().any(|held| held.number == number))
}

/// Takes every target through the guard and holds it. `store` is the folder of the store, if it is one.
///
/// # Errors
/// [`Refused::Guard`].
pub fn open_disks(pairs: &[(&DiskImage, PathBuf)], store: Option<&Path>) -> Result<Vec<Opened>, RestoreError> {
    let paths: Vec<PathBuf> = pairs.iter().map(|(_, path)| path.clone()).collect();
    let targets = open_targets(&Disks::from_sysfs(), &paths, &[], store).map_err(Refused::Guard)?;
    let opened = targets.into_iter().zip(pairs).map(|(mut target, (image, _))| {
        target.take_sector_size(image.logical_sector);
        let info = target.info.clone();
        let medium = Box::new(TargetDisk::new(target));
        Opened { medium, model: info.model, serial: info.serial, wwn: info.wwn, controllers: info.controllers }
    });
    Ok(opened.collect())
}

/// Sector sizes, serial numbers, and for single partitions the target's table.
pub(super) fn check(manifest: &Manifest, opened: &[Opened], request: &Request) -> Result<(), RestoreError> {
    for (image, target) in manifest.disks.iter().zip(opened) {
        let (disk, name) = (image.ordinal, target.medium.name().to_owned());
        if target.medium.sector() != image.logical_sector {
            let (found, wanted) = (target.medium.sector(), image.logical_sector);
            return Err(Refused::Sector { disk, name, found, wanted }.into());
        }
        let is = |image: &DiskImage| {
            let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
            same(&image.serial, &target.serial) || same(&image.wwn, &target.wwn)
        };
        // Makers give the same serial number to whole series: then it tells nothing.
        let other = manifest.disks.iter().find(|other| other.ordinal != disk && is(other)).filter(|_| !is(image));
        if let Some(other) = other {
            let serial = target.identity();
            return Err(Refused::Swapped { name, disk, other: other.ordinal, serial }.into());
        }
        if let Mode::Partitions(numbers) = mode(image, request) {
            check_partitions(image, target, &numbers)?;
        }
    }
    Ok(())
}

/// What is restored of one disk.
pub(super) fn mode(image: &DiskImage, request: &Request) -> Mode {
    if request.partitions.is_empty() {
        return Mode::Whole;
    }
    let own = image.partitions.iter().map(|partition| partition.number);
    Mode::Partitions(own.filter(|number| request.partitions.contains(number)).collect())
}

/// A single partition goes only where the target has one of the same number, start, size and type.
fn check_partitions(image: &DiskImage, target: &Opened, numbers: &[u32]) -> Result<(), RestoreError> {
    let name = || target.medium.name().to_owned();
    let scan = partition::read(&MediumView(&*target.medium), target.medium.sector())
        .map_err(|source| Refused::TargetTable { name: name(), source })?;
    for number in numbers {
        let wanted = image.table.entries.iter().find(|entry| entry.number == *number);
        let found = scan.table.entries.iter().find(|entry| entry.number == *number);
        let same = |a: &Entry, b: &Entry| a.range == b.range && a.r#type == b.r#type && !b.extended;
        if !wanted.zip(found).is_some_and(|(wanted, found)| same(wanted, found)) {
            let words = |entry: Option<&Entry>| {
                entry.map_or("no such partition".to_owned(), |e| format!("{} of type {}", e.range, e.r#type))
            };
            let (wanted, found) = (words(wanted), words(found));
            return Err(Refused::PartitionDiffers { name: name(), number: *number, wanted, found }.into());
        }
    }
    Ok(())
}
