//! Logical volumes without lvm2: what its metadata says, told to the device mapper.
//!
//! In: block devices, of which some are physical volumes. Out: a mapped device for each logical volume.
//! Promise: only linear and striped volumes of which every part is there; nothing is written.

use super::{AttachError, Mapped, Row};
use crate::disk::source::{FileSource, ReadAt};
use crate::extent::{LogicalVolume, volumes_of};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A logical volume that can be used.
#[derive(Debug)]
pub struct Attached {
    /// Its group and its name.
    pub volume: LogicalVolume,
    /// Its device.
    pub device: Mapped,
}

/// Maps every logical volume that lies wholly on `devices`.
///
/// # Errors
/// [`AttachError`]: a device that can not be read, a group in doubt, no device mapper.
pub fn logical_volumes(devices: &[(&Path, u64)], read_only: bool) -> Result<Vec<Attached>, AttachError> {
    let open = |(path, size): &(&Path, u64)| {
        let file = File::open(path).map_err(|source| AttachError::io(format!("opening {}", path.display()), source))?;
        Ok(Arc::new(FileSource::new(file, *size)) as Arc<dyn ReadAt>)
    };
    let sources = devices.iter().map(open).collect::<Result<Vec<_>, AttachError>>()?;
    let found = volumes_of(&sources.into()).map_err(AttachError::Group)?;
    let paths: Vec<PathBuf> = devices.iter().map(|(path, _)| path.to_path_buf()).collect();
    let attach = |volume: LogicalVolume| {
        let device = Mapped::new(&rows(&volume, &paths), read_only)?;
        Ok(Attached { volume, device })
    };
    found.into_iter().map(attach).collect()
}

fn rows(volume: &LogicalVolume, paths: &[PathBuf]) -> Vec<Row> {
    let row = |stretch: &crate::extent::VolumeStretch| {
        let areas = stretch.areas.iter().filter_map(|(on, at)| Some((paths.get(*on)?.clone(), *at)));
        Row { range: stretch.range, stripe: stretch.stripe, areas: areas.collect() }
    };
    volume.stretches.iter().map(row).collect()
}
