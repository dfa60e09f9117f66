//! The journal inside an ext file system: nothing waits in it, or what waits is known.
//!
//! In: a superblock and its geometry. Out: nothing, or the file system as a mount will find it after its replay.
//! Promise: of two that disagree, neither is believed; what the kernel would not replay to the end is a doubt.
//!
//! Only the map is made from the replayed file system: the copy gets the journal as it is, and the first mount or check
//! replays it there. So it matters that a replay ends where the kernel's does, and nowhere what it would write.

mod file;
mod log;
mod overlay;
mod superblock;

use super::super::ExtentError;
use super::super::error::believe;
use super::descriptor::Descriptors;
use super::geometry::Geometry;
use super::superblock::{Superblock, compat};
use crate::disk::source::ReadAt;
use file::File;
pub(super) use overlay::Replayed;
use std::ops::Range;
use std::sync::Arc;

/// The number of the journal's inode; none without a journal, or with one on another device.
fn inode(superblock: &Superblock) -> Option<u64> {
    let number = u64::from(superblock.fields().le32(0xe0));
    (superblock.compat(compat::HAS_JOURNAL) && number != 0).then_some(number)
}

/// Is the journal as empty as a superblock without `needs_recovery` says? Blocks that are in use for it.
///
/// # Errors
/// A doubt where the journal waits to be replayed or cannot be found.
pub(super) fn check(
    part: &dyn ReadAt,
    superblock: &Superblock,
    geometry: &Geometry,
    descriptors: &mut Descriptors<'_>,
) -> Result<Vec<Range<u64>>, ExtentError> {
    let Some(number) = inode(superblock) else { return Ok(Vec::new()) };
    let file = File::find(part, geometry, descriptors, number)?;
    let (start, error) = superblock::start_and_error(part, geometry, &file)?;
    believe!(
        start == 0,
        "its journal starts at block {start}, though the superblock says that nothing is to be recovered"
    );
    believe!(error == 0, "its journal ended with error {error}, 0 expected");
    Ok(file.areas())
}

/// The file system behind its journal, for a superblock with `needs_recovery`, and blocks that are in use for that.
///
/// # Errors
/// A doubt where the log is not one that the kernel replays to its end, or not one that is understood.
pub(super) fn replay(
    part: &Arc<dyn ReadAt>,
    superblock: &Superblock,
    geometry: &Geometry,
) -> Result<(Replayed, Vec<Range<u64>>), ExtentError> {
    believe!(superblock.compat(compat::HAS_JOURNAL), "it needs recovery, and has no journal");
    let Some(number) = inode(superblock) else {
        return Err(ExtentError::doubt("its journal needs recovery, and lies on another device"));
    };
    let file = File::find(&**part, geometry, &mut Descriptors::new(&**part, geometry), number)?;
    let head = superblock::Superblock::read(&**part, geometry, &file)?;
    let log = log::log(&**part, geometry, &file, &head)?;
    Ok((Replayed::new(Arc::clone(part), geometry.block, log), file.areas()))
}
