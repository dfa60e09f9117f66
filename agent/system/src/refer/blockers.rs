//! What cannot follow: ids that had better stay.
//!
//! In: a clone's tree, mounted read-only, and the ids that shall change. Out: those that must not, each with the reason.
//! Promise: when in doubt, an id stays.

use super::files::{self, GRUB};
use super::follow::PROGRAM_MAX;
use super::map::{Needs, Of, Renamed};
use super::search;
use crate::boot::pe::Efi;
use crate::root::{Root, RootError, TEXT_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Bits that GRUB's `ext2` refuses, as a number in its program: those of a GRUB that knows `metadata_csum_seed`, without
/// and with `large_dir` (grub-core/fs/ext2.c: all but `EXT2_DRIVER_SUPPORTED_INCOMPAT` and `EXT2_DRIVER_IGNORED_INCOMPAT`).
/// Compilers for x86 write it as it is; on other machines it is not found, and the UUID stays.
const KNOWS_SEED: [u32; 2] = [!0x0001_23d6, !0x0001_63d6];
/// Largest module of GRUB that is looked into.
const MODULE_MAX: u64 = 4 << 20;

/// An id that must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The id.
    pub old: String,
    /// Why, for people.
    pub why: String,
}

/// The ids of `map` that must stay, and why.
///
/// # Errors
/// [`RootError`]: a trap in the place of a file. Nothing was written.
pub fn blockers(root: &Root, map: &Renamed) -> Result<Vec<Blocker>, RootError> {
    let mut found = Found { map, reasons: BTreeMap::new() };
    if map.is_empty() {
        return Ok(Vec::new());
    }
    core_images(root, &mut found)?;
    programs(root, &mut found)?;
    initramfs(root, &mut found)?;
    kernels(root, &mut found)?;
    grub(root, &mut found)?;
    windows(root, &mut found)?;
    Ok(found.reasons.into_iter().map(|(index, why)| Blocker { old: map.ids()[index].old.clone(), why }).collect())
}

struct Found<'a> {
    map: &'a Renamed,
    /// The first reason counts.
    reasons: BTreeMap<usize, String>,
}

impl Found<'_> {
    fn add(&mut self, indices: impl IntoIterator<Item = usize>, why: &str) {
        for index in indices {
            self.reasons.entry(index).or_insert_with(|| why.to_owned());
        }
    }

    fn needing(&self, needs: impl Fn(Needs) -> bool) -> Vec<usize> {
        let ids = self.map.ids().iter().enumerate();
        ids.filter(|(_, id)| id.needs.is_some_and(&needs)).map(|(index, _)| index).collect()
    }
}

/// `grub-install` leaves beside its modules the lines that it put into the core image, which is compressed.
fn core_images(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    for platform in platforms(root)? {
        let path = format!("{platform}/load.cfg");
        // On UEFI the program itself is looked into: it is not compressed.
        if platform.ends_with("-efi") || !root.is_file(&path)? {
            continue;
        }
        let text = root.read(&path, TEXT_MAX)?.unwrap_or_default();
        let named = found.map.named_in(&text);
        found.add(named, "GRUB's core image names it, which is compressed; grub-install would write it anew");
    }
    Ok(())
}

fn platforms(root: &Root) -> Result<Vec<String>, RootError> {
    let mut platforms = Vec::new();
    for grub in GRUB.into_iter().map(str::to_owned) {
        if !root.is_dir(&grub)? {
            continue;
        }
        for name in root.list(&grub)?.into_iter().filter(|name| name.contains('-')) {
            platforms.push(format!("{grub}/{name}"));
        }
    }
    Ok(platforms)
}

/// Signed programs that name an id, and unified kernel images whose initramfs does.
fn programs(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    for path in files::programs(root)? {
        let bytes = root.read(&path, PROGRAM_MAX)?.unwrap_or_default();
        let program = Efi::of(&bytes);
        if program.as_ref().is_none_or(|program| program.signed) {
            found.add(found.map.named_in(&bytes), &format!("{path} names it and is signed"));
        }
        let place = program.and_then(|program| program.section(".initrd"));
        let range =
            |(at, len): (u64, u64)| Some(usize::try_from(at).ok()?..usize::try_from(at.checked_add(len)?).ok()?);
        if let Some(inside) = place.and_then(range).and_then(|range| bytes.get(range)) {
            // Nothing can be put behind it.
            embedded(inside, &path, false, found);
        }
    }
    Ok(())
}

fn initramfs(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    for path in files::initramfs(root)? {
        let image = root.read(&path, PROGRAM_MAX)?.unwrap_or_default();
        embedded(&image, &path, search::may_grow(&image), found);
    }
    Ok(())
}

/// What an initramfs names and would not follow. One that cannot be read may name anything.
fn embedded(image: &[u8], path: &str, grows: bool, found: &mut Found<'_>) {
    match search::embedded(image, found.map) {
        Ok(named) => {
            let settings = if grows { Default::default() } else { named.in_settings(found.map) };
            let why = format!("the initramfs in {path} names it, which only the system itself makes anew");
            found.add(named.fixed.into_iter().chain(settings), &why);
        }
        Err(error) => {
            let all = 0..found.map.ids().len();
            found.add(all, &format!("the initramfs in {path} may name it, and could not be looked into: {error}"));
        }
    }
}

/// Kernels that would refuse to mount a file system with its new UUID.
fn kernels(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    let mut names = BTreeSet::new();
    for folder in ["/lib/modules", "/usr/lib/modules"] {
        if root.is_dir(folder)? {
            names.extend(root.list(folder)?);
        }
    }
    for name in names {
        let Some(version) = version(&name) else { continue };
        for needs in [Needs::ExtSeed, Needs::XfsMetaUuid, Needs::BtrfsMetadataUuid] {
            let (major, minor) = needs.kernel();
            if version < (major, minor) {
                let why =
                    format!("with another one kernel {name} does not mount it, {major}.{minor} is the first that does");
                found.add(found.needing(|wanted| wanted == needs), &why);
            }
        }
    }
    Ok(())
}

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A GRUB that would not read an ext4 with its new UUID.
fn grub(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    let ext = found.needing(|needs| needs == Needs::ExtSeed);
    if ext.is_empty() {
        return Ok(());
    }
    let mut drivers = Vec::new();
    for platform in platforms(root)? {
        drivers.extend(files::of_folder(root, &platform, &["ext2.mod"])?);
    }
    let programs = files::programs(root)?;
    let is_grub =
        |path: &&String| path.rsplit('/').next().is_some_and(|name| name.to_ascii_lowercase().starts_with("grub"));
    drivers.extend(programs.iter().filter(is_grub).cloned());
    let searched = read_by_grub(root, found.map)?;
    // Without a search it reads what lies where it was installed: any of them.
    let read = |index: &usize| searched.is_empty() || searched.contains(index);
    for path in drivers {
        let bytes = root.read(&path, PROGRAM_MAX.max(MODULE_MAX))?.unwrap_or_default();
        let knows = KNOWS_SEED.iter().any(|mask| bytes.windows(4).any(|word| word == mask.to_le_bytes()));
        if !knows {
            let why = format!("with another one GRUB ({path}) would not read it: it does not know metadata_csum_seed");
            found.add(ext.iter().copied().filter(read), &why);
        }
    }
    Ok(())
}

/// Ids after which GRUB searches.
fn read_by_grub(root: &Root, map: &Renamed) -> Result<BTreeSet<usize>, RootError> {
    let mut named = BTreeSet::new();
    for path in files::texts(root)?.into_iter().filter(|path| path.ends_with(".cfg")) {
        let text = root.read(&path, TEXT_MAX)?.unwrap_or_default();
        let lines = text.split(|b| *b == b'\n').filter(|line| line.windows(6).any(|word| word == b"search"));
        named.extend(lines.flat_map(|line| map.named_in(line)));
    }
    Ok(named)
}

/// Windows finds itself by ids of disk and partition.
fn windows(root: &Root, found: &mut Found<'_>) -> Result<(), RootError> {
    for vendor in files::vendors(root)? {
        let path = format!("{vendor}/Boot/BCD");
        if root.is_file(&path)? {
            let ids = found.map.ids().iter().enumerate();
            let partitions: Vec<usize> = ids.filter(|(_, id)| id.of == Of::Partition).map(|(index, _)| index).collect();
            found.add(
                partitions,
                &format!("the boot configuration of Windows ({path}) may name it, which is not rewritten"),
            );
        }
    }
    Ok(())
}
