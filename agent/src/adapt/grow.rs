//! Making a file system larger, in the partition that has become larger.
//!
//! In: a disk that holds the image and its new table. Out: file systems, volumes and swap that fill their partitions.
//! Promise: kernel calls on mounted file systems; a physical volume by our own code; what stands in front of it all is a
//! valid copy, whatever happens here.

use super::layout::{Inside, Step};
use super::programs;
use super::shrink::ResizeError;
use super::swap;
use crate::attach::{LoopDevice, Mount, logical_volumes, within};
use crate::disk::ioctl;
use crate::disk::source::{FileSource, ReadAt};
use crate::extent::{self, Growth};
use ramet_wire::ByteRange;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Grows what lies in a partition. `target` is the held disk. Gives back what was done, for people.
///
/// # Errors
/// [`ResizeError`]; the file system is as it was, or as large as the kernel got.
pub fn grow(target: &File, sector: u32, step: &Step) -> Result<Vec<String>, ResizeError> {
    let bytes = step.new.len();
    match step.inside {
        Inside::Swap => {
            swap::remake(target, step.new).map_err(|source| io_error("making swap anew", source))?;
            return Ok(vec![format!("swap made anew with {bytes} bytes, the same UUID and label")]);
        }
        Inside::Other => return Ok(Vec::new()),
        _ => {}
    }
    let part = LoopDevice::over(target, step.new, sector, false)?;
    let done = match step.inside {
        Inside::Lvm => grow_group(&part)?,
        inside => {
            grow_on(part.path(), inside, bytes)?;
            vec![format!("its file system grown to {bytes} bytes")]
        }
    };
    part.flush()?;
    Ok(done)
}

fn io_error(doing: impl Into<String>, source: io::Error) -> ResizeError {
    ResizeError::Io { doing: doing.into(), source }
}

/// Grows the file system on `device` to `bytes`.
fn grow_on(device: &Path, inside: Inside, bytes: u64) -> Result<(), ResizeError> {
    let kind = match inside {
        Inside::Ext => "ext4",
        Inside::Xfs => "xfs",
        Inside::Btrfs(_) => "btrfs",
        Inside::Ntfs => {
            let args: [&dyn Display; 4] = [&"--force", &"--force", &"--no-progress-bar", &device.display()];
            programs::run("ntfsresize", &args, &[0])?;
            return Ok(());
        }
        Inside::Swap | Inside::Lvm | Inside::Other => return Ok(()),
    };
    within(|space| {
        let mount = space.mount(device, kind, false, "")?;
        grow_mounted(&mount, inside, bytes)
            .map_err(|source| io_error(format!("growing {kind} to {bytes} bytes"), source))?;
        Ok::<_, ResizeError>(mount.detach()?)
    })?
}

fn grow_mounted(mount: &Mount, inside: Inside, bytes: u64) -> io::Result<()> {
    let root = mount.root().map_err(io::Error::other)?;
    match inside {
        Inside::Ext => {
            let block = nix::sys::statvfs::fstatvfs(&root)?.block_size();
            ioctl::ext4_resize(&root, bytes / block.max(1024))
        }
        Inside::Xfs => {
            let geometry = ioctl::xfs_geometry(&root)?;
            let blocks = bytes / u64::from(geometry.block.max(512));
            if blocks <= geometry.blocks {
                return Ok(());
            }
            ioctl::xfs_grow(&root, blocks, geometry.inode_percent)
        }
        Inside::Btrfs(id) => ioctl::btrfs_resize(&root, id, bytes / 4096 * 4096),
        _ => Ok(()),
    }
}

/// Grows the physical volume on `part`, and the logical volume that can take it, with what lies in it.
fn grow_group(part: &LoopDevice) -> Result<Vec<String>, ResizeError> {
    let source =
        || -> io::Result<Arc<dyn ReadAt>> { Ok(Arc::new(FileSource::new(part.file().try_clone()?, part.size()))) };
    let device = source().map_err(|source| io_error("reading the physical volume", source))?;
    let Some(Growth { writes, volume, more }) = extent::growth(&device)? else { return Ok(Vec::new()) };
    for (at, bytes) in &writes {
        let written = part.file().write_all_at(bytes, *at).and_then(|()| part.file().sync_data());
        written
            .map_err(|source| io_error(format!("writing {} bytes of a volume group at {at}", bytes.len()), source))?;
    }
    let mut done = vec![format!("its physical volume grown by {more} bytes")];
    let Some((group, name)) = volume else { return Ok(done) };
    programs::load_module("dm-mod");
    let volumes = logical_volumes(&[(part.path(), part.size())], false)?;
    let grown = volumes.iter().find(|one| one.volume.group == group && one.volume.name == name);
    if let Some(grown) = grown {
        let file =
            File::open(grown.device.path()).map_err(|source| io_error(format!("opening {group}/{name}"), source))?;
        let content = extent::probe(&FileSource::new(file, grown.volume.size))?;
        let inside = match content.kind.as_str() {
            "ext2" | "ext3" | "ext4" => Inside::Ext,
            "xfs" => Inside::Xfs,
            "btrfs" => Inside::Btrfs(1),
            _ => Inside::Other,
        };
        grow_on(grown.device.path(), inside, grown.volume.size)?;
        done.push(format!(
            "logical volume {group}/{name} and its {} grown to {} bytes",
            content.kind, grown.volume.size
        ));
    }
    Ok(done)
}

/// Boot sectors of NTFS and FAT say where on the disk they lie (`hidden sectors`, 4 bytes at 28): Windows does not start
/// from a partition that was moved without it. `place` is where the partition lies now, `was` where it lay.
///
/// # Errors
/// The device's.
pub fn follow_move(target: &File, sector: u32, was: ByteRange, place: ByteRange) -> io::Result<bool> {
    let ss = u64::from(sector.max(512));
    let lba = |range: ByteRange| u32::try_from(range.start() / ss).ok();
    let (Some(old), Some(new)) = (lba(was), lba(place)) else { return Ok(false) };
    let mut changed = false;
    // The first sector, FAT32's copy in the sixth, and NTFS' in the last one.
    for at in [0, 6 * ss, place.len().saturating_sub(ss)] {
        let mut boot = [0; 512];
        if at + ss > place.len() {
            continue;
        }
        target.read_exact_at(&mut boot, place.start() + at)?;
        let known = &boot[3..11] == b"NTFS    " || &boot[82..87] == b"FAT32" || &boot[54..57] == b"FAT";
        if known && boot[510..] == [0x55, 0xaa] && boot[28..32] == old.to_le_bytes() {
            target.write_all_at(&new.to_le_bytes(), place.start() + at + 28)?;
            changed = true;
        }
    }
    if changed {
        target.sync_data()?;
    }
    Ok(changed)
}
