//! What of an order beyond the copy cannot be done, known before the first write.
//!
//! In: a manifest, targets, the order. Out: nothing, or why it is refused.
//! Promise: what is refused here would have failed after the disks were written; what cannot be known yet is let through.

use super::system::concerns;
use crate::attach::{AttachError, within};
use crate::write::Medium;
use ramet_system::os::Os;
use ramet_wire::adapt::Adapt;
use ramet_wire::manifest::{Content, Manifest};
use std::path::Path;

/// Contents that can hold a root file system, or volumes that can.
const ROOTS: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "LVM2_member", "linux_raid_member"];

/// Why an order is refused. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RefusedAdapt {
    /// Single partitions are no system.
    #[error("an identity, new UUIDs and a first boot are for whole disks; leave out --partition")]
    Partitions,
    /// A machine sleeps in the image.
    #[error(
        "disk {disk} partition {number} holds a hibernated system ({state}): what wakes up from it is the old machine; start \
         the source, shut it down, and capture it again"
    )]
    Hibernated {
        /// The image disk.
        disk: u32,
        /// Its partition.
        number: u32,
        /// As the manifest says it.
        state: String,
    },
    /// Nothing that could be changed.
    #[error("no partition of the image holds a system that can be changed: {seen}")]
    NoSystem {
        /// What there is.
        seen: String,
    },
    /// Not one of ours.
    #[error("the system on disk {disk} partition {number}, {name}, is not one whose identity can be changed: {reason}")]
    Unknown {
        /// The image disk.
        disk: u32,
        /// Its partition.
        number: u32,
        /// As its os-release says.
        name: String,
        /// Why.
        reason: String,
    },
    /// The target can not be shown to the kernel's drivers.
    #[error("{0} is no device and no file: its file systems cannot be mounted")]
    NoFile(String),
    /// This machine cannot mount.
    #[error("mounting takes root, loop devices and mount namespaces of this machine's kernel")]
    Here(#[source] AttachError),
    /// This machine cannot mount.
    #[error("mounting takes loop devices, and /dev/loop-control is not there; load the module loop")]
    NoLoop,
}

/// Checks `adapt` for `manifest` on `targets`; `whole` unless single partitions are restored.
///
/// # Errors
/// [`RefusedAdapt`].
pub fn check(manifest: &Manifest, targets: &[&dyn Medium], adapt: &Adapt, whole: bool) -> Result<(), RefusedAdapt> {
    if !concerns(adapt) {
        return Ok(());
    }
    if !whole {
        return Err(RefusedAdapt::Partitions);
    }
    if let Some(target) = targets.iter().find(|target| target.backing().is_none()) {
        return Err(RefusedAdapt::NoFile(target.name().to_owned()));
    }
    contents(manifest)?;
    if adapt.identity.is_some() {
        systems(manifest)?;
    }
    super::programs::load_module("loop");
    if !Path::new("/dev/loop-control").exists() {
        return Err(RefusedAdapt::NoLoop);
    }
    within(|_| ()).map_err(RefusedAdapt::Here)
}

fn contents(manifest: &Manifest) -> Result<(), RefusedAdapt> {
    let all = || manifest.disks.iter().flat_map(|disk| disk.partitions.iter().map(|part| (disk.ordinal, part)));
    let sleeps = |content: &Content| {
        let state = content.state.clone().unwrap_or_default();
        (content.kind.contains("hibernated") || state.contains("hibernated")).then_some(state)
    };
    if let Some((disk, number, state)) =
        all().find_map(|(disk, part)| sleeps(&part.content).map(|state| (disk, part.number, state)))
    {
        return Err(RefusedAdapt::Hibernated { disk, number, state });
    }
    if all().any(|(_, part)| ROOTS.contains(&part.content.kind.as_str())) {
        return Ok(());
    }
    let say = |(disk, part): (u32, &ramet_wire::manifest::PartitionImage)| {
        let why = match part.content.kind.as_str() {
            "crypto_LUKS" => "encrypted (LUKS), and there is no key",
            "BitLocker" => "encrypted (BitLocker), and there is no key",
            "ntfs" => "NTFS: Windows cannot be changed, the agent's kernel has no driver that writes it",
            kind => kind,
        };
        format!("disk {disk} partition {}: {why}", part.number)
    };
    let seen: Vec<String> = all().map(say).collect();
    Err(RefusedAdapt::NoSystem { seen: if seen.is_empty() { "it has none".to_owned() } else { seen.join("; ") } })
}

/// What the capture found out about the systems, where it did.
fn systems(manifest: &Manifest) -> Result<(), RefusedAdapt> {
    let Some([system]) = manifest.boot.as_ref().map(|facts| facts.systems.as_slice()) else { return Ok(()) };
    let refused = |reason| RefusedAdapt::Unknown {
        disk: system.disk,
        number: system.partition,
        name: system.name.clone(),
        reason,
    };
    let like = system.like.split(' ').map(str::to_owned).collect();
    let os = Os { id: system.id.clone(), like, ..Os::default() };
    os.family().map(drop).map_err(|error| refused(error.to_string()))
}
