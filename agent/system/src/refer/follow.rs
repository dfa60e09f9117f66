//! Files get the new ids.
//!
//! In: a clone's tree, mounted for writing. Out: changes, staged in [`Root`]; what still names an old id.
//! Promise: a file in which no old id stands is not touched; a unit that is named after an id is renamed with its links.

use super::files::{self, UNITS};
use super::map::Renamed;
use super::search;
use crate::boot::pe::Efi;
use crate::root::{How, Kind, Root, RootError, TEXT_MAX};

/// The largest program for UEFI firmware that is rewritten, in bytes: a UKI with its initramfs.
pub(super) const PROGRAM_MAX: u64 = 512 << 20;
const SAY: &str = "names the new UUIDs";
/// Folders that are looked through for what still names an old id, and how deep.
const DEPTH_MAX: usize = 6;
/// Files there that are looked into, and the largest of them.
const LOOK_MAX: usize = 20_000;
const LOOK_BYTES: u64 = 1 << 20;

/// A file that still names an old id: not among those that are known to be read while the system starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path.
    pub path: String,
    /// Whose old id it names.
    pub names: Vec<String>,
}

/// Stages that everything that names an old id names the new one. [`Root::commit`] makes it so and lists the changes.
///
/// # Errors
/// [`RootError`]: a trap in the place of a file, or one that is too large; nothing is to be committed then.
pub fn follow(root: &mut Root, map: &Renamed) -> Result<Vec<Left>, RootError> {
    if map.is_empty() {
        return Ok(Vec::new());
    }
    for path in files::texts(root)? {
        rewrite(root, map, &path, TEXT_MAX)?;
    }
    for path in files::programs(root)? {
        // A signature would no longer be one; what is signed was named by `blockers`.
        let Some(bytes) = root.read(&path, PROGRAM_MAX)? else { continue };
        if let Some(new) = map.rewrite(&bytes).filter(|_| Efi::of(&bytes).is_some_and(|program| !program.signed)) {
            root.write(&path, &new, &How::say(SAY))?;
        }
    }
    for path in files::initramfs(root)? {
        initramfs(root, map, &path)?;
    }
    for folder in UNITS {
        units(root, map, folder, 0)?;
    }
    let mut left = Left::search(root, map)?;
    left.truncate(LOOK_MAX);
    Ok(left)
}

/// An initramfs gets an archive with new settings behind it. One that cannot be read was named by `blockers`.
fn initramfs(root: &mut Root, map: &Renamed, path: &str) -> Result<(), RootError> {
    let Some(image) = root.read(path, PROGRAM_MAX)? else { return Ok(()) };
    let Ok(embedded) = search::embedded(&image[..], map) else { return Ok(()) };
    if let Some(grown) = embedded.followed(&image, map) {
        root.write(path, &grown, &How::say("settings with the new UUIDs put behind it"))?;
    }
    Ok(())
}

fn rewrite(root: &mut Root, map: &Renamed, path: &str, limit: u64) -> Result<(), RootError> {
    let Some(text) = root.read(path, limit)? else { return Ok(()) };
    if let Some(new) = map.rewrite(&text) {
        root.write(path, &new, &How::say(SAY))?;
    }
    Ok(())
}

/// Units, links to them in `*.wants` and the like, and drop-ins.
fn units(root: &mut Root, map: &Renamed, folder: &str, depth: usize) -> Result<(), RootError> {
    if depth > 1 || !root.is_dir(folder)? {
        return Ok(());
    }
    for name in root.list(folder)? {
        let path = format!("{folder}/{name}");
        let Some(stat) = root.lstat(&path)? else { continue };
        let renamed = map.rewrite(name.as_bytes()).and_then(|name| String::from_utf8(name).ok());
        let new_path = renamed.map_or_else(|| path.clone(), |name| format!("{folder}/{name}"));
        match stat.kind {
            Kind::Link => link(root, map, &path, &new_path)?,
            Kind::File if new_path == path => rewrite(root, map, &path, TEXT_MAX)?,
            Kind::File => {
                let Some(text) = root.read(&path, TEXT_MAX)? else { continue };
                let how = How { mode: Some(stat.mode), owner: Some(stat.owner), ..How::say(SAY) };
                root.write(&new_path, &map.rewrite(&text).unwrap_or(text), &how)?;
                root.remove(&path, "named after an old UUID")?;
            }
            Kind::Dir if new_path == path => units(root, map, &path, depth + 1)?,
            Kind::Dir => drop_ins(root, map, &path, &new_path)?,
            Kind::Special(_) => {}
        }
    }
    Ok(())
}

fn link(root: &mut Root, map: &Renamed, path: &str, new_path: &str) -> Result<(), RootError> {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(target) = root.read_link(path)? else { return Ok(()) };
    let new_target = map.rewrite(target.as_os_str().as_bytes());
    let target =
        new_target.as_deref().map_or_else(|| target.as_path(), |bytes| std::ffi::OsStr::from_bytes(bytes).as_ref());
    if path != new_path {
        root.remove(path, "named after an old UUID")?;
    }
    root.link(new_path, target, SAY).map(|_| ())
}

/// A folder of drop-ins that is named after its unit.
fn drop_ins(root: &mut Root, map: &Renamed, path: &str, new_path: &str) -> Result<(), RootError> {
    for name in root.list(path)? {
        let (old, new) = (format!("{path}/{name}"), format!("{new_path}/{name}"));
        match root.lstat(&old)?.map(|stat| stat.kind) {
            Some(Kind::File) => {
                let Some(text) = root.read(&old, TEXT_MAX)? else { continue };
                root.write(&new, &map.rewrite(&text).unwrap_or(text), &How::say(SAY))?;
            }
            Some(Kind::Link) => link(root, map, &old, &new)?,
            _ => {}
        }
    }
    root.remove(path, "named after an old UUID").map(|_| ())
}

impl Left {
    /// What in `/etc` still names an old id.
    fn search(root: &Root, map: &Renamed) -> Result<Vec<Self>, RootError> {
        let (mut left, mut looked) = (Vec::new(), 0);
        Self::below(root, map, "/etc", 0, &mut looked, &mut left)?;
        Ok(left)
    }

    fn below(
        root: &Root,
        map: &Renamed,
        folder: &str,
        depth: usize,
        looked: &mut usize,
        left: &mut Vec<Self>,
    ) -> Result<(), RootError> {
        if depth > DEPTH_MAX || !root.is_dir(folder)? {
            return Ok(());
        }
        for name in root.list(folder)? {
            let path = format!("{folder}/{name}");
            let Some(stat) = root.lstat(&path)? else { continue };
            if stat.kind == Kind::Dir {
                Self::below(root, map, &path, depth + 1, looked, left)?;
            }
            if stat.kind != Kind::File || stat.size > LOOK_BYTES || *looked >= LOOK_MAX {
                continue;
            }
            *looked += 1;
            let named = map.named_in(&root.read(&path, LOOK_BYTES)?.unwrap_or_default());
            if !named.is_empty() {
                let names = named.iter().map(|&index| map.ids()[index].name.clone()).collect();
                left.push(Self { path, names });
            }
        }
        Ok(())
    }
}
