//! What a restore onto a disk of another size needs beside the copy.
//!
//! In: disks that are ready. Out: memory before the first write; larger file systems after the last.
//! Promise: without a wish for a size there is nothing of it.

use super::{Failed, Opened, Ready};
use crate::adapt::size::{Resized, Stage};
use crate::write::DiskMap;
use ramet_wire::adapt::Change;

/// Memory for what does not fit onto each disk yet.
pub(super) fn stages(ready: &Ready<'_>) -> Result<Vec<Stage>, Box<Failed>> {
    let stage = |((opened, _), resized): (&(Opened, DiskMap), &Option<Resized>)| {
        let disk = || opened.medium.name().to_owned();
        let failed = |source| Box::new(Failed::Overflow { disk: disk(), source });
        Stage::open(resized.as_ref(), &*opened.medium).map_err(failed)
    };
    ready.disks.iter().zip(&ready.resized).map(stage).collect()
}

/// The disks are whole: what shall be larger grows.
pub(super) fn grow_all(ready: &Ready<'_>) -> Result<Vec<Change>, Box<Failed>> {
    let mut changes = Vec::new();
    for ((opened, _), resized) in ready.disks.iter().zip(&ready.resized) {
        let grown = resized.as_ref().map_or(Ok(Vec::new()), |resized| resized.grow(&*opened.medium));
        let disk = || opened.medium.name().to_owned();
        changes.extend(grown.map_err(|source| Box::new(Failed::Growing { disk: disk(), source }))?);
    }
    Ok(changes)
}
