//! The devices of a btrfs that spans several partitions.
//!
//! In: the superblock of one of them, and the partitions beside it. Out: all devices, this one first.
//! Promise: each device is there once, of the same generation as this one; a missing one is a doubt.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::map::Part;
use super::checksum::Sum;
use super::superblock::Superblock;
use super::volume::Member;
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// # Errors
/// A doubt that names the device; [`ExtentError::Read`] from a partition.
pub(super) fn find(part: &Part, superblock: &Superblock, sum: Sum) -> Result<Vec<Member>, ExtentError> {
    let mut members = vec![member(superblock, &part.bytes)];
    let devices = superblock.devices();
    if devices == 1 {
        return Ok(members);
    }
    for other in part.others.iter() {
        let Some(found) = Superblock::primary(&**other)? else { continue };
        if found.fsid() != superblock.fsid() {
            continue;
        }
        superblock.check_sibling(&found, sum)?;
        let (devid, bytes, size) = (found.devid(), found.device_bytes(), other.size());
        let twice = members.iter().any(|member| member.devid == devid);
        believe!(!twice, "device {devid} of the file system is there twice among {} partitions", part.others.len() + 1);
        believe!(bytes <= size, "the file system has {bytes} bytes of device {devid}, the partition has {size}");
        members.push(member(&found, other));
    }
    let found = members.len();
    believe!(found as u64 == devices, "the file system has {devices} devices, {found} of them are captured together");
    Ok(members)
}

fn member(superblock: &Superblock, bytes: &Arc<dyn ReadAt>) -> Member {
    Member {
        devid: superblock.devid(),
        uuid: superblock.device_uuid().to_vec(),
        len: superblock.device_bytes(),
        bytes: bytes.clone(),
    }
}
