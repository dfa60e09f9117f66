//! How small a btrfs can become.
//!
//! In: its superblock. Out: its size, and a size that is certainly enough.
//! Promise: conservative; a file system of several devices is a doubt.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::room::Room;
use super::superblock::Superblock;
use crate::disk::source::ReadAt;
use ramet_wire::MIB;

/// The kernel refuses to shrink below this.
const KERNEL_MIN: u64 = 256 * MIB;

/// What is used, an eighth more, and place to move groups of blocks to.
///
/// # Errors
/// A doubt about the superblock; [`ExtentError::Read`].
pub fn room(part: &dyn ReadAt) -> Result<Room, ExtentError> {
    let superblock = Superblock::primary(part)?.ok_or_else(|| ExtentError::doubt("no superblock"))?;
    let devices = superblock.devices();
    believe!(devices == 1, "it lies on {devices} devices");
    let (size, used) = (superblock.device_bytes(), superblock.fields().le64(0x78));
    let partition = part.size();
    believe!(used <= size && size <= partition, "{used} of {size} bytes are used, the partition has {partition}");
    let least = used.saturating_add(used / 8).saturating_add(KERNEL_MIN).min(size);
    Ok(Room { size, least, device: superblock.devid() })
}
