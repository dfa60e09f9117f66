//! Making a file system smaller, on a device made of its place on the target and memory for the rest.
//!
//! In: a partition that was restored and read back, its part on the target and its part in memory. Out: a file system
//! that lies wholly on the target.
//! Promise: the table is written only after this has gone well; the file system is checked before and after.
//!
//! The disk is held, so the device mapper can not have it (`attach`): it gets a loop device over the partition's place.

use super::layout::Inside;
use super::overflow::Overflow;
use super::programs::{self, ProgramError};
use crate::attach::{AttachError, LoopDevice, Mapped, Row, within};
use crate::disk::ioctl;
use ramet_wire::ByteRange;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::Path;

/// Why a file system was not shrunk, or not grown.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// A device or a mount.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The kernel.
    #[error("{doing}")]
    Io {
        /// What was under way.
        doing: String,
        /// Its answer.
        source: io::Error,
    },
    /// The description of a volume group.
    #[error("growing the physical volume")]
    Group(#[from] crate::extent::ExtentError),
    /// The target is no device and no file of this machine.
    #[error("the target can not be shown by a loop device")]
    NoFile,
}

/// A partition that becomes smaller.
#[derive(Clone, Copy, Debug)]
pub struct Shrink {
    /// What lies in it.
    pub inside: Inside,
    /// Its place on the target.
    pub place: ByteRange,
    /// Where the rest of it lies in memory.
    pub rest: ByteRange,
}

/// Shrinks what was restored. `target` is the held disk, with sectors of `sector` bytes.
///
/// # Errors
/// [`ResizeError`]: the partition is no valid file system then.
pub fn shrink(target: &File, sector: u32, overflow: &Overflow, order: &Shrink) -> Result<(), ResizeError> {
    programs::load_module("dm-mod");
    let part = LoopDevice::over(target, order.place, sector, false)?;
    let (here, over) = (order.place.len(), order.rest.len());
    let rows = [
        Row::linear(ByteRange::between(0, here), part.path(), 0),
        Row::linear(ByteRange::between(here, here + over), overflow.device().path(), order.rest.start()),
    ];
    let whole = Mapped::new(&rows, false)?;
    match order.inside {
        Inside::Ext => shrink_ext(whole.path(), here)?,
        Inside::Ntfs => {
            // Twice: it asks nothing, and does not mind a disk that was never started.
            let args: [&dyn Display; 6] =
                [&"--force", &"--force", &"--no-progress-bar", &"--size", &here, &whole.path().display()];
            programs::run("ntfsresize", &args, &[0])?;
        }
        Inside::Btrfs(id) => {
            let path = whole.path().to_owned();
            within(move |space| {
                let mount = space.mount(&path, "btrfs", false, "")?;
                let doing = || format!("shrinking btrfs to {here} bytes");
                ioctl::btrfs_resize(&mount.root()?, id, here)
                    .map_err(|source| ResizeError::Io { doing: doing(), source })?;
                Ok::<_, ResizeError>(mount.detach()?)
            })??;
        }
        Inside::Xfs | Inside::Lvm | Inside::Swap | Inside::Other => {}
    }
    File::open(whole.path())
        .and_then(|file| file.sync_all())
        .map_err(|source| ResizeError::Io { doing: "flushing the mapped device".to_owned(), source })?;
    drop(whole);
    part.flush()?;
    // The mapped device went past the pages that the loop device's own node may have.
    ioctl::flush_buffers(part.file())
        .map_err(|source| ResizeError::Io { doing: "dropping old pages".to_owned(), source })?;
    if order.inside == Inside::Ext {
        check_ext(part.path())?;
    }
    Ok(())
}

/// resize2fs wants a file system that was checked since it was mounted last; status 1 says that something was mended.
fn shrink_ext(device: &Path, bytes: u64) -> Result<(), ResizeError> {
    programs::run("e2fsck", &[&"-f", &"-p", &device.display()], &[0, 1])?;
    programs::run("resize2fs", &[&device.display(), &format!("{}K", bytes / 1024)], &[0])?;
    Ok(())
}

fn check_ext(device: &Path) -> Result<(), ResizeError> {
    programs::run("e2fsck", &[&"-f", &"-n", &device.display()], &[0])?;
    Ok(())
}
