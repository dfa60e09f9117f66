//! What starts from the disks that are captured.
//!
//! In: planned disks. Out: facts for the manifest: systems with their kernels, EFI programs, boot code.
//! Promise: nothing of the source changes: it is mounted through read-only loop devices, without replaying a journal, where
//! nobody else sees it; whatever goes wrong becomes a reason in the facts, never the end of a capture.

use super::plan::Planned;
use super::{ESP_TYPE, SourceDisk};
use crate::attach::{self, DiskAt, DiskVolumes, Namespace};
use crate::extent;
use crate::say::chain;
use ramet_system::assemble::{Assembled, Volume, Volumes as _, assemble, fstab};
use ramet_system::boot::{architecture, bios, clip, kernels, pe};
use ramet_system::os::Os;
use ramet_wire::boot::{BiosCode, Facts, LIST_MAX, Layer, Program, Root, System};
use ramet_wire::firmware::Loader;
use std::fs::File;
use std::path::Path;

/// What holds the name of its maker in an EFI program is short.
const SBAT_MAX: u64 = 64 << 10;

/// All that is known of `planned`, in the order of its disks.
pub(super) fn facts(planned: &[Planned<'_>]) -> Facts {
    let mut facts = Facts::default();
    for (ordinal, disk) in (0..).zip(planned) {
        let read = |buf: &mut [u8], at: u64| disk.disk.source.read_exact_at(buf, at);
        match bios::look(disk.disk.source.size(), &read) {
            Ok((code, next)) => facts.bios.push(BiosCode { disk: ordinal, code, next }),
            Err(error) => facts.unread.push(format!("disk {ordinal}, first sector: {error}")),
        }
        programs(ordinal, disk, &mut facts);
    }
    match systems(planned) {
        Ok((system, left)) => {
            facts.systems.push(system);
            facts.unread.extend(left);
        }
        Err(why) => facts.unread.push(why),
    }
    facts.programs.truncate(LIST_MAX);
    facts.unread.truncate(LIST_MAX);
    facts.unread.iter_mut().for_each(|reason| *reason = clip(&without_loops(reason)));
    facts
}

/// The EFI programs whose headers can be read.
fn programs(disk: u32, planned: &Planned<'_>, facts: &mut Facts) {
    for partition in planned.partitions.iter().filter(|partition| partition.entry.r#type == ESP_TYPE) {
        let number = partition.entry.number;
        let part = &*partition.window;
        let read = |path: &str, at: u64, len: usize| extent::efi_file(part, path, at, len).ok().flatten();
        for path in extent::efi_loaders(part).unwrap_or_default() {
            let Some(efi) = read(&path, 0, pe::HEAD).as_deref().and_then(pe::Efi::of) else {
                facts.unread.push(format!("{path} in partition {number} of disk {disk} is no EFI program"));
                continue;
            };
            let sbat = efi.section(".sbat").filter(|(_, len)| *len <= SBAT_MAX);
            let sbat = sbat.and_then(|(at, len)| read(&path, at, usize::try_from(len).ok()?));
            let shim = sbat.is_some_and(|sbat| pe::is_shim(&sbat));
            facts.programs.push(Program { loader: Loader { disk, partition: number, path }, signed: efi.signed, shim });
        }
    }
}

/// The system on these disks, and what of it is missing; else why there is none.
fn systems(planned: &[Planned<'_>]) -> Result<(System, Vec<String>), String> {
    if let Some((disk, (_, by))) = planned.iter().find_map(|plan| Some((plan.disk, plan.disk.busy.first()?))) {
        return Err(format!("{} is in use and so was not looked into: {by}", disk.path));
    }
    let open = |disk: &SourceDisk| File::open(&disk.path).map_err(|error| format!("opening {}: {error}", disk.path));
    let files = planned.iter().map(|plan| open(plan.disk)).collect::<Result<Vec<File>, String>>()?;
    let at = |((ordinal, plan), file)| {
        let (plan, file): (&Planned<'_>, _) = (plan, file);
        let (size, sector) = (plan.disk.source.size(), plan.disk.logical_sector);
        DiskAt { ordinal, file, size, sector, table: &plan.scan.table }
    };
    let disks: Vec<DiskAt<'_>> = (0..).zip(planned).zip(&files).map(at).collect();
    let volumes = DiskVolumes::open(&disks, true).map_err(|error| chain(&error))?;
    let look = |namespace: &Namespace| {
        let place = namespace.folder().map_err(|error| chain(&error))?;
        look(&volumes, &place, planned)
    };
    attach::within(look).map_err(|error| chain(&error))?
}

fn look(volumes: &DiskVolumes, place: &Path, planned: &[Planned<'_>]) -> Result<(System, Vec<String>), String> {
    let tree = assemble(volumes, place, true).map_err(|error| chain(&error))?;
    let system = system(&tree, volumes.list(), planned);
    let left = tree.left.iter().map(|left| format!("{} ({}): {}", left.path.display(), left.spec, left.reason));
    let left = left.collect();
    tree.finish().map_err(|error| chain(&error))?;
    Ok((system?, left))
}

fn system(tree: &Assembled, volumes: &[Volume], planned: &[Planned<'_>]) -> Result<System, String> {
    let root = &tree.root;
    let os = Os::of(root).map_err(|error| chain(&error))?;
    let volume = tree.volumes().first().and_then(|index| volumes.get(*index)).ok_or("the tree has no root")?;
    // A logical volume lies on no partition of its own; the first physical volume stands for all of them.
    let physical = || {
        let of = |(ordinal, plan): (u32, &Planned<'_>)| {
            let member = plan.partitions.iter().find(|part| part.map.content.kind == "LVM2_member")?;
            Some((ordinal, member.entry.number))
        };
        (0..).zip(planned).find_map(of)
    };
    let (disk, partition) =
        volume.disk.zip(volume.number).or_else(physical).ok_or("its volume lies on no partition")?;
    let fstab = fstab::parse(&root.text("/etc/fstab").ok().flatten().unwrap_or_default());
    let named = fstab.into_iter().find(|entry| entry.path == Path::new("/")).map(|entry| clip(&entry.spec));
    let stack = if volume.mapper.is_some() { vec![Layer::Lvm] } else { Vec::new() };
    Ok(System {
        disk,
        partition,
        id: clip(&os.id),
        like: if os.like.is_empty() { String::new() } else { clip(&os.like.join(" ")) },
        name: clip(&os.name),
        architecture: architecture(root),
        root: Root { filesystem: clip(&volume.kind), stack, named },
        kernels: kernels(root).map_err(|error| chain(&error))?,
    })
}

/// Which loop device it was tells nothing, and would make two captures of one disk differ.
fn without_loops(text: &str) -> String {
    let mut pieces = text.split("/dev/loop");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push_str("its partition");
        clean.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    clean
}

#[cfg(test)]
mod tests;
