//! ext2, ext3 and ext4: block bitmaps, and the metadata that every group has.
//!
//! In: a partition with an ext superblock. Out: used clusters and metadata; unused inode tables become zero.
//! Promise: nothing waits to be replayed, every flag is known and every checksum right, or it is a doubt.

mod checksum;
mod superblock;

use super::ExtentError;
use super::map::{Content, Layout};
use super::peek::Peek;
use crate::disk::source::ReadAt;
use std::sync::Arc;
use superblock::Superblock;

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(superblock::AT, superblock::LEN)? else { return Ok(None) };
    Ok(Superblock::new(raw).map(|superblock| superblock.content()))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(_part: Arc<dyn ReadAt>) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    Ok(None)
}
