//! btrfs on one device or several: allocated ranges of allocated chunks.
//!
//! In: a partition with a btrfs superblock, and the partitions beside it. Out: superblock copies, the reserved first
//! MiB, and on this device what the free-space tree, or else the extent tree, calls used.
//! Promise: every node on the way is checked, all devices are there, and all sums are right, or it is a doubt.
//!
//! A committed btrfs is consistent without replay: only a log tree holds what the extent tree does not know. A balance
//! that was interrupted is no exception, its next mount moves chunks into what these trees call free. What the roots of earlier commits (`usebackuproot`) lead to is free space, and is not kept.

mod checksum;
mod chunk;
mod device;
mod members;
mod node;
mod room;
mod roots;
mod superblock;
mod system;
mod tree;
mod used;
mod volume;
mod walk;

pub use room::room;

use super::ExtentError;
use super::map::{Content, Layout, Part, Pieces};
use super::peek::Peek;
use device::Own;
use roots::Roots;
use superblock::Superblock;
use volume::{Format, Volume};

/// The checksum of a superblock without its first 32 bytes; none of an unknown kind.
pub(crate) fn sum(kind: u16, bytes: &[u8]) -> Option<Vec<u8>> {
    checksum::Sum::of(kind).ok().map(|sum| sum.of_bytes(bytes))
}

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let raw = peek.bytes(superblock::COPIES[0], superblock::LEN)?;
    Ok(raw.and_then(Superblock::new).map(|superblock| superblock.content()))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn read(part: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let Some(superblock) = Superblock::primary(&*part.bytes)? else {
        return Err(ExtentError::doubt("superblock has lost its magic since it was recognised"));
    };
    let sum = superblock.check_format(part.bytes.size())?;
    superblock.unreplayed()?;
    superblock.check_copies(&*part.bytes, sum)?;
    let members = members::find(&part, &superblock, sum)?;
    let fields = superblock.fields();
    let format = Format {
        sector: u64::from(fields.le32(0x90)),
        node: super::bytes::in_memory(u64::from(fields.le32(0x94)))?,
        sum,
        uuid: superblock.node_uuid().to_vec(),
        incompat: fields.le64(0xbc),
    };
    let volume = system::load(&superblock, format, members)?;
    let roots = roots::find(&superblock, &volume)?;
    let own = device::stripes(&volume, roots.device)?;
    let used = device::used(&superblock, &volume, roots.groups)?;
    Ok(Some(Box::new(Btrfs { volume, roots, own, used, size: superblock.device_bytes() })))
}

/// A btrfs whose trees are believed.
struct Btrfs {
    volume: Volume,
    roots: Roots,
    /// This device's stripes, ascending; with the chunks at most 40 MiB.
    own: Vec<Own>,
    /// Bytes in use of each chunk.
    used: Vec<u64>,
    /// Bytes of this device that belong to the file system.
    size: u64,
}

impl Layout for Btrfs {
    fn pieces(&self) -> Pieces<'_> {
        Box::new(walk::Walk::new(walk::Stripes::new(self), self.size))
    }

    fn end(&self) -> u64 {
        self.size
    }
}
