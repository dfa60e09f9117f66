//! What devices are made of, and what uses them.
//!
//! In: sysfs, `/proc/self/mountinfo`, `/proc/swaps`. Out: for each device the disk or file that its bytes lie in, and
//! for each disk the uses of its bytes.
//! Promise: partitions and loop devices are followed down to the disk or file below; device-mapper and md devices are
//! followed down to all of theirs.

use super::guard::{InUse, Reason};
use super::sysfs::names_in;
use super::{DiskId, DiskInfo, Disks};
use ramet_wire::ByteRange;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Loop devices on loop devices on …: deeper than this is a cycle of names.
const DEPTH_MAX: usize = 16;

/// Where a device's bytes lie: a part of a disk or of a file that is not itself made of others by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub base: DiskId,
    pub range: ByteRange,
}

impl Place {
    /// Some byte is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.base == other.base && self.range.intersect(other.range).is_some()
    }

    /// The part `range` of this, which ends where this ends.
    fn part(&self, range: ByteRange) -> Self {
        let start = self.range.start().saturating_add(range.start());
        let end = start.saturating_add(range.len()).min(self.range.end());
        Self { base: self.base, range: ByteRange::between(start, end) }
    }
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    device: Option<String>,
    at: String,
}

/// One look at all devices and their uses.
pub(super) struct Places<'a> {
    disks: &'a Disks,
    /// Kernel names by device numbers, partitions included.
    names: HashMap<DiskId, String>,
    /// By kernel name.
    places: HashMap<String, Place>,
    /// Partition to disk.
    parents: HashMap<String, (String, ByteRange)>,
    mounts: Vec<Mount>,
    /// Active swap, as `/proc/swaps` names it.
    swaps: Vec<PathBuf>,
}

impl<'a> Places<'a> {
    pub fn of(disks: &'a Disks) -> Self {
        let mut all = Self {
            disks,
            names: HashMap::new(),
            places: HashMap::new(),
            parents: HashMap::new(),
            mounts: Vec::new(),
            swaps: Vec::new(),
        };
        let mut names = disks.names();
        for name in &names {
            for partition in disks.partitions_of(name) {
                all.parents.insert(partition.name, (name.clone(), partition.range));
            }
        }
        names.extend(all.parents.keys().cloned());
        all.names = names.iter().filter_map(|name| Some((all.id_of(name)?, name.clone()))).collect();
        all.places = names.into_iter().filter_map(|name| Some((name.clone(), all.resolve(&name, 0)?))).collect();
        all.mounts = all.read_mounts();
        all.swaps = all.read_swaps();
        all
    }

    /// Where a disk's bytes lie.
    pub fn of_disk(&self, disk: &DiskInfo) -> Place {
        let known = self.name_of(disk.id).and_then(|name| self.places.get(&name).cloned());
        known.unwrap_or(Place { base: disk.id, range: ByteRange::between(0, disk.size) })
    }

    /// All uses of a disk's bytes.
    pub fn uses(&self, disk: &DiskInfo) -> Vec<InUse> {
        let mine = self.of_disk(disk);
        let below = self.below(disk.id);
        let root = self.under_mount("/");
        let mut found = Vec::new();
        let mut names: Vec<&String> = self.places.keys().collect();
        names.sort_unstable();
        for name in names {
            let place = &self.places[name];
            let Some(shared) = place.range.intersect(mine.range).filter(|_| place.base == mine.base) else { continue };
            let range = ByteRange::between(shared.start() - mine.range.start(), shared.end() - mine.range.start());
            let reasons = self.reasons(name, !below.contains(name), &root);
            found.extend(reasons.into_iter().map(|reason| InUse { device: name.clone(), reason, range }));
        }
        if let DiskId::File { .. } = mine.base {
            let swap = self.swaps.iter().find(|path| id_of_path(path) == Some(mine.base));
            let range = ByteRange::between(0, disk.size);
            found.extend(swap.map(|path| InUse { device: path.display().to_string(), reason: Reason::Swap, range }));
        }
        found
    }

    fn reasons(&self, name: &str, loop_counts: bool, root: &[String]) -> Vec<Reason> {
        let folder = self.folder(name);
        let mut reasons = Vec::new();
        if root.iter().any(|device| device == name) {
            reasons.push(Reason::Root);
        }
        let mounted = self.mounts.iter().filter(|mount| mount.device.as_deref() == Some(name) && mount.at != "/");
        reasons.extend(mounted.map(|mount| Reason::Mounted { at: mount.at.clone() }));
        reasons.extend(self.btrfs_with(name, &reasons));
        if self.swaps.iter().any(|path| self.name_of_path(path).as_deref() == Some(name)) {
            reasons.push(Reason::Swap);
        }
        let holders = names_in(&folder.join("holders"));
        reasons.extend(holders.into_iter().map(|holder| Reason::Held { by: self.full_name(&holder) }));
        if loop_counts && folder.join("loop/backing_file").exists() {
            reasons.push(Reason::Loop);
        }
        reasons
    }

    /// btrfs mounts of several devices name only one of them in mountinfo.
    fn btrfs_with(&self, name: &str, known: &[Reason]) -> Option<Reason> {
        if known.iter().any(|reason| matches!(reason, Reason::Mounted { .. } | Reason::Root)) {
            return None;
        }
        let folder = self.disks.path("sys/fs/btrfs");
        let mounted = |uuid: &String| folder.join(uuid).join("devices").join(name).exists();
        let uuid = names_in(&folder).into_iter().find(mounted)?;
        Some(Reason::Mounted { at: format!("btrfs {uuid}") })
    }

    /// `dm-0 (vg-root)`.
    fn full_name(&self, name: &str) -> String {
        match self.disks.text(&self.folder(name), "dm/name") {
            Some(mapped) => format!("{name} ({mapped})"),
            None => name.to_owned(),
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        match self.parents.get(name) {
            Some((disk, _)) => self.disks.class().join(disk).join(name),
            None => self.disks.class().join(name),
        }
    }

    fn name_of(&self, id: DiskId) -> Option<String> {
        self.names.get(&id).cloned()
    }

    fn id_of(&self, name: &str) -> Option<DiskId> {
        super::sysfs::parse_id(&self.disks.text(&self.folder(name), "dev")?)
    }

    fn resolve(&self, name: &str, depth: usize) -> Option<Place> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some((disk, range)) = self.parents.get(name) {
            return Some(self.resolve(disk, depth + 1)?.part(*range));
        }
        let whole = ByteRange::between(0, self.disks.size_of(name));
        let own = Place { base: self.id_of(name)?, range: whole };
        let Some((id, offset)) = self.backing(name) else { return Some(own) };
        let shown = ByteRange::new(offset, whole.len()).ok()?;
        match id {
            DiskId::File { .. } => Some(Place { base: id, range: shown }),
            DiskId::Block { .. } => {
                let below = self.name_of(id)?;
                Some(self.resolve(&below, depth + 1)?.part(shown))
            }
        }
    }

    /// What a loop device shows, and from which byte on.
    fn backing(&self, name: &str) -> Option<(DiskId, u64)> {
        let folder = self.disks.class().join(name);
        let path = self.disks.text(&folder, "loop/backing_file")?;
        let offset = self.disks.number(&folder, "loop/offset").unwrap_or(0);
        Some((id_of_path(Path::new(&path))?, offset))
    }

    /// The device itself and those it is made of by offset: a loop device is not a use of itself.
    fn below(&self, id: DiskId) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = self.name_of(id);
        while let Some(name) = next {
            if names.contains(&name) || names.len() > DEPTH_MAX {
                break;
            }
            next = match self.parents.get(&name) {
                Some((disk, _)) => Some(disk.clone()),
                None => self.backing(&name).and_then(|(id, _)| self.name_of(id)),
            };
            names.push(name);
        }
        names
    }

    /// All devices that hold bytes of what is mounted at `at`, down through device-mapper, md and loop devices.
    fn under_mount(&self, at: &str) -> Vec<String> {
        // The last line is the one on top.
        let mount = self.mounts.iter().rev().find(|mount| mount.at == at);
        mount.and_then(|mount| mount.device.clone()).map(|name| self.slaves(name)).unwrap_or_default()
    }

    /// Where the bytes of the file system that holds `folder` (canonical) lie.
    pub fn under_folder(&self, folder: &Path) -> Vec<Place> {
        let inside = |mount: &&Mount| folder.starts_with(&mount.at);
        let by_mount = self.mounts.iter().filter(inside).max_by_key(|mount| mount.at.len());
        let by_device = std::fs::metadata(folder).ok().and_then(|metadata| {
            use std::os::unix::fs::MetadataExt as _;
            let device = metadata.dev();
            let id = DiskId::Block { major: super::open::libc_major(device), minor: super::open::libc_minor(device) };
            self.name_of(id)
        });
        let name = by_device.or_else(|| by_mount.and_then(|mount| mount.device.clone()));
        let names = name.map(|name| self.slaves(name)).unwrap_or_default();
        names.iter().filter_map(|name| self.places.get(name).cloned()).collect()
    }

    /// `name` and everything it is made of.
    fn slaves(&self, name: String) -> Vec<String> {
        let mut found = vec![name];
        let mut at = 0;
        while at < found.len() {
            let name = found[at].clone();
            let below = names_in(&self.folder(&name).join("slaves")).into_iter().chain(self.below_one(&name));
            for next in below {
                if !found.contains(&next) {
                    found.push(next);
                }
            }
            at += 1;
        }
        found
    }

    /// The block device that a loop device shows.
    fn below_one(&self, name: &str) -> Option<String> {
        self.backing(name).and_then(|(id, _)| self.name_of(id))
    }

    /// Kernel name behind a path in `/dev`.
    fn name_of_path(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix("/dev").ok()?;
        if let Ok(mapped) = rest.strip_prefix("mapper") {
            let wanted = mapped.to_str()?;
            let named = |name: &&String| self.disks.text(&self.folder(name), "dm/name").as_deref() == Some(wanted);
            return self.names.values().filter(|name| name.starts_with("dm-")).find(named).cloned();
        }
        let name = rest.to_str()?.replace('/', "!");
        if self.places.contains_key(&name) {
            return Some(name);
        }
        self.name_of(id_of_path(path)?)
    }

    /// `id parent major:minor root point options [optional…] - type source options`, with `\ooo` for odd characters.
    fn read_mounts(&self) -> Vec<Mount> {
        let text = std::fs::read(self.disks.path("proc/self/mountinfo")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = |line: &str| {
            let mut fields = line.split(' ');
            let id = super::sysfs::parse_id(fields.nth(2)?)?;
            let at = unescape(fields.nth(1)?);
            let source = unescape(fields.skip_while(|field| *field != "-").nth(2)?);
            // btrfs and others have numbers of their own; then the source says which device it is.
            let device = self.name_of(id).or_else(|| self.name_of_path(Path::new(&source)));
            Some(Mount { device, at })
        };
        text.lines().filter_map(line).collect()
    }

    fn read_swaps(&self) -> Vec<PathBuf> {
        let text = std::fs::read(self.disks.path("proc/swaps")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(|p| unescape(p).into()).collect()
    }
}

fn id_of_path(path: &Path) -> Option<DiskId> {
    DiskId::of(&std::fs::metadata(path).ok()?)
}

/// Turns `\040` and its like back.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
