//! Volume groups made by LVM's own commands on loop devices, without a device mapper: only the text is written.
//!
//! Where the bytes of a logical volume lie is asked of `lvs`, so that our own reader is never the oracle.

use super::super::{Extent, ExtentKind, Map, Others, map_beside, others};
use super::images::Image;
use crate::disk::source::ReadAt;
use crate::disk::testing::Loop;
use ramet_wire::ByteRange;
use std::process::Command;
use std::sync::Arc;

pub(super) const MIB: u64 = 1 << 20;

/// Disks with physical volumes. The loop devices live as long as it does.
pub(crate) struct Rig {
    pub disks: Vec<Image>,
    loops: Vec<Loop>,
    dir: tempfile::TempDir,
}

/// A segment as `lvs` describes it, in bytes.
#[derive(Debug)]
pub(crate) struct Seg {
    pub start: u64,
    pub len: u64,
    stripe: u64,
    /// Index of the disk, and the byte on it.
    pub areas: Vec<(usize, u64)>,
}

impl Rig {
    pub fn on(disks: Vec<Image>) -> Self {
        let loops = disks.iter().map(|disk| Loop::new(&disk.path, &[])).collect();
        Self { disks, loops, dir: tempfile::tempdir().unwrap() }
    }

    /// Disks full of garbage, each a physical volume of the group `vg0` with extents of 1 MiB.
    pub fn new(sizes: &[u64]) -> Self {
        let rig = Self::on(sizes.iter().map(|mib| Image::garbage(mib * MIB)).collect());
        rig.group("", "-s 1M");
        rig
    }

    /// Makes physical volumes and the group with these options.
    pub fn group(&self, physical: &str, group: &str) {
        let devices = (0..self.disks.len()).map(|disk| self.device(disk)).collect::<Vec<_>>().join(" ");
        self.lvm("pvcreate", &format!("-ff -y {physical} {devices}"));
        self.lvm("vgcreate", &format!("{group} vg0 {devices}"));
    }

    pub fn device(&self, disk: usize) -> &str {
        self.loops[disk].path.to_str().unwrap()
    }

    /// Runs one of LVM's commands; it sees these disks and no others.
    pub fn try_lvm(&self, command: &str, args: &str) -> Result<String, String> {
        let filter: Vec<String> = self.loops.iter().map(|one| format!("\"a|^{}$|\"", one.path.display())).collect();
        let dir = self.dir.path().display();
        let config = format!(
            "global{{locking_dir=\"{dir}\" use_lvmpolld=0 event_activation=0 use_lvmlockd=0}} backup{{backup=0 archive=0}}
             devices{{use_devicesfile=0 global_filter=[{}, \"r|.*|\"] obtain_device_list_from_udev=0 hints=\"none\"
             external_device_info_source=\"none\"}} activation{{udev_sync=0 udev_rules=0 monitoring=0}}",
            filter.join(",")
        );
        let mut run = Command::new("/usr/sbin/lvm");
        run.arg(command).args(["--config", &config, "--driverloaded", "n"]).args(args.split_whitespace());
        let out = run.env("LVM_SYSTEM_DIR", self.dir.path()).env("LVM_SUPPRESS_FD_WARNINGS", "1").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() { Ok(text) } else { Err(text + &String::from_utf8_lossy(&out.stderr)) }
    }

    pub fn lvm(&self, command: &str, args: &str) -> String {
        self.try_lvm(command, args).unwrap_or_else(|text| panic!("lvm {command} {args}: {text}"))
    }

    pub fn create(&self, name: &str, args: &str) {
        self.lvm("lvcreate", &format!("-y -an -Zn -Wn -n {name} {args}"));
    }

    pub fn segments(&self, name: &str) -> Vec<Seg> {
        let physical =
            self.lvm("pvs", "--noheadings --nosuffix --units b --separator | -o pv_name,pe_start,vg_extent_size");
        let row = |line: &str| line.trim().split('|').map(str::to_owned).collect::<Vec<_>>();
        let number = |text: &String| text.parse::<u64>().unwrap();
        let starts: Vec<(String, u64, u64)> =
            physical.lines().map(row).map(|cells| (cells[0].clone(), number(&cells[1]), number(&cells[2]))).collect();
        let fields = "seg_start,seg_size,stripe_size,seg_pe_ranges";
        let list = format!("--noheadings --nosuffix --units b --separator | --segments -o {fields} vg0/{name}");
        let mut found = Vec::new();
        for cells in self.lvm("lvs", &list).lines().map(row) {
            let area = |range: &str| {
                let (device, extents) = range.split_once(':').unwrap();
                let first: u64 = extents.split('-').next().unwrap().parse().unwrap();
                let disk = (0..self.disks.len()).find(|disk| self.device(*disk) == device).unwrap();
                let (_, start, extent) = starts.iter().find(|(name, ..)| name == device).unwrap();
                (disk, start + first * extent)
            };
            let areas: Vec<_> = cells[3].split_whitespace().map(area).collect();
            let (start, len, stripe) = (number(&cells[0]), number(&cells[1]), number(&cells[2]));
            found.push(Seg { start, len, stripe: if areas.len() == 1 { len } else { stripe }, areas });
        }
        found.sort_by_key(|segment| segment.start);
        found
    }

    pub fn size(&self, name: &str) -> u64 {
        self.segments(name).iter().map(|segment| segment.len).sum()
    }

    /// Where the bytes `range` of a volume lie: disk, byte on it, and number of bytes.
    pub fn places(segments: &[Seg], range: ByteRange) -> Vec<(usize, ByteRange)> {
        let mut found = Vec::new();
        for segment in segments {
            let whole = ByteRange::between(segment.start, segment.start + segment.len);
            let Some(both) = range.intersect(whole) else { continue };
            let mut at = both.start() - segment.start;
            while at < both.end() - segment.start {
                let (chunk, within) = (at / segment.stripe, at % segment.stripe);
                let count = segment.areas.len() as u64;
                let (disk, start) = segment.areas[usize::try_from(chunk % count).unwrap()];
                let len = (segment.stripe - within).min(both.end() - segment.start - at);
                found.push((disk, ByteRange::new(start + chunk / count * segment.stripe + within, len).unwrap()));
                at += len;
            }
        }
        found
    }

    /// Writes a whole file system into a volume.
    pub fn fill(&self, name: &str, content: &Image) {
        let segments = self.segments(name);
        let size = content.source().size();
        assert!(size <= self.size(name), "{name}");
        let mut from = 0;
        for (disk, range) in Self::places(&segments, ByteRange::between(0, size)) {
            for at in (0..range.len()).step_by(1 << 20) {
                let len = usize::try_from((range.len() - at).min(1 << 20)).unwrap();
                self.disks[disk].write(range.start() + at, &content.read(from + at, len));
            }
            from += range.len();
        }
    }

    /// The first `size` bytes of a volume, from other disks with the same group.
    pub fn content(&self, name: &str, disks: &[Image], size: u64) -> Image {
        let image = Image::empty(size);
        let mut to = 0;
        for (disk, range) in Self::places(&self.segments(name), ByteRange::between(0, size)) {
            for at in (0..range.len()).step_by(1 << 20) {
                let len = usize::try_from((range.len() - at).min(1 << 20)).unwrap();
                image.write(to + at, &disks[disk].read(range.start() + at, len));
            }
            to += range.len();
        }
        image
    }

    /// The map of each disk beside the others.
    pub fn maps(&self) -> Vec<Map> {
        maps(&self.disks)
    }
}

pub(super) fn maps(disks: &[Image]) -> Vec<Map> {
    let sources: Vec<Arc<dyn ReadAt>> = disks.iter().map(Image::source).collect();
    let map = |(index, source): (usize, &Arc<dyn ReadAt>)| map_beside(Arc::clone(source), others(&sources, index));
    sources.iter().enumerate().map(|one| map(one).unwrap()).collect()
}

pub(super) fn alone(disk: &Image) -> Map {
    map_beside(disk.source(), Others::from([])).unwrap()
}

/// Ranges of one kind, ascending, as long as possible.
pub(super) fn joined(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    let mut all: Vec<ByteRange> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if last.end() >= range.start() => {
                *last = ByteRange::between(last.start(), last.end().max(range.end()));
            }
            _ => all.push(range),
        }
    }
    all
}

/// The extents of a volume's content as they lie on each disk.
pub(super) fn spread(segments: &[Seg], extents: &[Extent], kind: ExtentKind, disks: usize) -> Vec<Vec<ByteRange>> {
    let mut on = vec![Vec::new(); disks];
    for extent in extents.iter().filter(|extent| extent.kind == kind) {
        for (disk, range) in Rig::places(segments, extent.range) {
            on[disk].push(range);
        }
    }
    on
}

/// Two disks with a volume of swap striped over both.
pub(crate) fn striped_rig() -> Rig {
    let rig = Rig::new(&[12, 12]);
    rig.create("swap", "-i 2 -I 64k -l 8 vg0");
    let swap = Image::garbage(8 * MIB);
    super::images::run("mkswap", &["-q", swap.name()]);
    rig.fill("swap", &swap);
    rig
}
