//! The caller of a clone's first boot: where it lies in the clone, and how it goes.
//!
//! In: the root of the running system. Out: the same system without the unit, its settings and its program.
//! Promise: only these files go; what is gone already is no error; the unit's link goes first, so that nothing half starts.

use std::io;
use std::path::{Path, PathBuf};

/// The unit's link among those that are started.
pub const WANTED: &str = "etc/systemd/system/multi-user.target.wants/ramet-first-boot.service";
/// The unit.
pub const UNIT: &str = "etc/systemd/system/ramet-first-boot.service";
/// The program that it runs.
pub const PROGRAM: &str = "usr/local/sbin/ramet-first-boot";
/// The program's settings: a [`FirstBoot`](ramet_wire::adapt::FirstBoot) as JSON, mode 0600.
pub const SETTINGS: &str = "etc/ramet-first-boot.json";

/// Removes what a restore put into the clone for its call; what was removed.
///
/// # Errors
/// The first that is there and cannot be removed.
pub fn leave_no_trace(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut gone = Vec::new();
    for path in [WANTED, UNIT, PROGRAM, SETTINGS].map(|path| root.join(path)) {
        match std::fs::remove_file(&path) {
            Ok(()) => gone.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_there_goes_and_a_second_time_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        for path in [WANTED, UNIT, PROGRAM, SETTINGS, "etc/fstab"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        assert_eq!(leave_no_trace(root.path()).unwrap().len(), 4);
        assert!(root.path().join("etc/fstab").exists() && !root.path().join(SETTINGS).exists());
        assert!(leave_no_trace(root.path()).unwrap().is_empty());
        std::fs::create_dir_all(root.path().join(UNIT)).unwrap();
        assert!(leave_no_trace(root.path()).is_err(), "a folder in its place is not ours");
    }
}
