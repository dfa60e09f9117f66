//! One mounted file system of a clone.
//!
//! In: a block device, what lies on it, a folder. Out: its files below that folder, until this is dropped or detached.
//! Promise: `nosuid,nodev,noexec`; read-only means that not even a journal is replayed.

use super::AttachError;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long writing everything back may take.
const SYNC_LIMIT: Duration = Duration::from_secs(300);

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    place: PathBuf,
    read_only: bool,
    mounted: bool,
}

/// The kernel's name of a format, and its options.
fn options(kind: &str, read_only: bool) -> Option<(&'static str, &'static str)> {
    Some(match (kind, read_only) {
        ("ext2" | "ext3" | "ext4", true) => ("ext4", "noload"),
        ("ext2" | "ext3" | "ext4", false) => ("ext4", "errors=remount-ro"),
        ("xfs", true) => ("xfs", "norecovery,nouuid"),
        // The source may be mounted beside its clone.
        ("xfs", false) => ("xfs", "nouuid"),
        ("btrfs", true) => ("btrfs", "rescue=nologreplay"),
        ("btrfs", false) => ("btrfs", ""),
        ("vfat", _) => ("vfat", "utf8"),
        ("exfat", _) => ("exfat", ""),
        ("f2fs", true) => ("f2fs", "norecovery"),
        ("f2fs", false) => ("f2fs", ""),
        ("ntfs", _) => ("ntfs3", ""),
        _ => return None,
    })
}

impl Mount {
    /// Mounts `device`, which holds a file system of `kind` (as `blkid` prints it), on the folder `place`; `more` are
    /// options of that format (`subvol=@`), comma separated.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn new(device: &Path, kind: &str, place: &Path, read_only: bool, more: &str) -> Result<Self, AttachError> {
        let (format, own) = options(kind, read_only).ok_or_else(|| AttachError::Kind { kind: kind.to_owned() })?;
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        flags.set(MsFlags::MS_RDONLY, read_only);
        let data = [own, more].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(",");
        mount(Some(device), place, Some(format), flags, Some(data.as_str())).map_err(|errno| {
            let read_only = if read_only { " read-only" } else { "" };
            AttachError::io(format!("mounting {kind} on {}{read_only}", device.display()), errno)
        })?;
        Ok(Self { place: place.to_owned(), read_only, mounted: true })
    }

    /// Where its files are.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Its root folder, open: for ioctls.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn root(&self) -> Result<File, AttachError> {
        File::open(&self.place).map_err(|source| AttachError::io(format!("opening {}", self.place.display()), source))
    }

    /// Writes everything back and unmounts.
    ///
    /// # Errors
    /// [`AttachError::Slow`] when the disk does not take it in time; the file system is then detached lazily.
    pub fn detach(mut self) -> Result<(), AttachError> {
        if !self.read_only {
            self.sync(SYNC_LIMIT)?;
        }
        umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|errno| AttachError::io(format!("unmounting {}", self.place.display()), errno))?;
        self.mounted = false;
        Ok(())
    }

    fn sync(&self, limit: Duration) -> Result<(), AttachError> {
        let root = self.root()?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let synced = nix::unistd::syncfs(&root);
            // Closed before anybody unmounts.
            drop(root);
            let _ = sender.send(synced);
        });
        match receiver.recv_timeout(limit) {
            Ok(synced) => synced.map_err(|errno| AttachError::io(format!("syncing {}", self.place.display()), errno)),
            Err(_) => Err(AttachError::Slow { place: self.place.clone(), seconds: limit.as_secs() }),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted && umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW).is_err() {
            let _ = umount2(&self.place, MntFlags::MNT_DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_only_replays_no_journal_and_unknown_formats_are_refused() {
        for (kind, option) in
            [("ext4", "noload"), ("xfs", "norecovery"), ("btrfs", "nologreplay"), ("f2fs", "norecovery")]
        {
            assert!(options(kind, true).unwrap().1.contains(option), "{kind}");
            assert!(!options(kind, false).unwrap().1.contains(option), "{kind}");
        }
        for kind in ["overlay", "proc", "nfs", "fuse", "crypto_LUKS", "", "ext4\0"] {
            assert_eq!(options(kind, true), None, "{kind}");
        }
    }
}
