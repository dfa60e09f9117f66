//! btrfs file systems on image files, and what `btrfs inspect-internal dump-tree` says of them.

use super::super::{Extent, ExtentKind, Map, Others, map_beside};
use super::images::{Image, Mount, extents, run};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

pub(super) const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// The devices of one file system; device 1 comes first.
pub(super) struct Pool(pub Vec<Image>);

impl Pool {
    pub fn make(devices: usize, size: u64, options: &str) -> Self {
        let images: Vec<Image> = (0..devices).map(|_| Image::empty(size)).collect();
        let mut args: Vec<&str> = vec!["-q", "-f"];
        args.extend(options.split_whitespace());
        args.extend(images.iter().map(Image::name));
        run("mkfs.btrfs", &args);
        Self(images)
    }

    pub fn size(&self) -> u64 {
        self.0[0].source().size()
    }

    /// Device `index` beside the others that `beside` allows.
    pub fn map_beside(&self, index: usize, beside: impl Fn(usize) -> bool) -> Map {
        let others = self.0.iter().enumerate().filter(|(other, _)| *other != index && beside(*other));
        let others: Others = others.map(|(_, image)| image.source()).collect();
        map_beside(self.0[index].source(), others).unwrap()
    }

    pub fn map(&self, index: usize) -> Map {
        self.map_beside(index, |_| true)
    }

    /// The maps of all devices, which are believed.
    pub fn extents(&self, case: &str) -> Vec<Vec<Extent>> {
        let one = |index| {
            let map = self.map(index);
            let tail = |warning: &String| warning.contains("lie behind the end of the btrfs");
            assert!(!map.whole && map.warnings.iter().all(tail), "{case}, device {}: {map:?}", index + 1);
            extents(&map, self.size())
        };
        (0..self.0.len()).map(one).collect()
    }

    /// What a restore of all devices makes of disks full of other bytes.
    pub fn clone_of(&self, all: &[Vec<Extent>]) -> Self {
        Self(self.0.iter().zip(all).map(|(image, extents)| image.clone_of(extents)).collect())
    }

    fn dump(&self, tree: &str) -> String {
        let mut args = vec!["inspect-internal", "dump-tree", "--noscan", "-t", tree];
        args.extend(self.0.iter().map(Image::name));
        run("btrfs", &args)
    }

    pub fn attach(&self) -> Loops {
        let mut loops = Loops(Vec::new());
        for image in &self.0 {
            // Other tests take loop devices at the same time.
            let name = (0..50).find_map(|_| {
                let out = Command::new("losetup").args(["-f", "--show", image.name()]).output().unwrap();
                out.status.success().then(|| String::from_utf8(out.stdout).unwrap().trim().to_owned())
            });
            loops.0.push(name.expect("a loop device"));
        }
        loops
    }

    /// Mounts the file system with all its devices.
    pub fn mount(&self, options: &str) -> PoolMount {
        let loops = self.attach();
        let dir = self.0[0].dir.path().join("mnt");
        std::fs::create_dir_all(&dir).unwrap();
        let devices: Vec<String> = loops.0.iter().map(|name| format!("device={name}")).collect();
        run(
            "mount",
            &["-t", "btrfs", "-o", &format!("{options},{}", devices.join(",")), &loops.0[0], dir.to_str().unwrap()],
        );
        let known = super::super::probe(&*self.0[0].source()).unwrap().uuid.unwrap();
        PoolMount { mount: Mount(dir), _gone: Gone(known), _loops: loops }
    }

    /// `btrfs check` of everything, data included.
    pub fn check(&self, case: &str) {
        let text = self.checked();
        assert!(text.contains("no error found"), "{case}: {text}");
    }

    /// What it says, whatever the devices are called.
    pub fn checked(&self) -> String {
        // The program holds all other btrfs of the machine against what it looks for; one at a time is enough.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let loops = self.attach();
        let mut scan = vec!["device", "scan"];
        scan.extend(loops.0.iter().map(String::as_str));
        run("btrfs", &scan);
        let out = Command::new("btrfs").args(["check", "--check-data-csum", &loops.0[0]]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        // It tries all devices of the machine.
        let text: String =
            text.lines().filter(|line| !line.contains("cannot scan")).map(|line| format!("{line}\n")).collect();
        loops.0.iter().fold(text, |text, name| text.replace(name, "DEVICE"))
    }

    /// Names and sums of all files.
    pub fn listing(&self) -> String {
        listing(&self.mount("ro").mount)
    }
}

pub(super) fn listing(mount: &Mount) -> String {
    let script =
        "cd \"$0\" && find . -printf '%p %y %s %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum";
    run("sh", &["-c", script, mount.0.to_str().unwrap()])
}

/// Loop devices; the kernel forgets what it knows of them when they go.
pub(super) struct Loops(pub Vec<String>);

impl Drop for Loops {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("btrfs").args(["device", "scan", "-u", name]).output();
            let _ = Command::new("losetup").args(["-d", name]).output();
        }
    }
}

/// A mounted file system; unmounted first, and its devices go last.
pub(super) struct PoolMount {
    pub mount: Mount,
    _gone: Gone,
    _loops: Loops,
}

/// Waits until the kernel has let go of a file system: a program in a mount namespace of its own keeps what was mounted
/// when it started, and the kernel goes on writing to it.
struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        let known = std::path::Path::new("/sys/fs/btrfs").join(&self.0);
        let gone = (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(if known.exists() { 100 } else { 0 }));
            !known.exists()
        });
        assert!(gone || std::thread::panicking(), "{} is still mounted somewhere", self.0);
    }
}

/// A chunk as dump-tree prints it.
#[derive(Debug)]
pub(super) struct Chunk {
    pub start: u64,
    pub len: u64,
    /// As `DATA|RAID10`.
    pub kind: String,
    /// Device and offset.
    pub stripes: Vec<(u64, u64)>,
}

/// What dump-tree says is used.
pub(super) struct Oracle {
    pub chunks: Vec<Chunk>,
    /// Start and length of all extents.
    pub extents: Vec<(u64, u64)>,
}

impl Oracle {
    pub fn of(pool: &Pool) -> Self {
        let number = |text: &str| text.trim_matches(['(', ')']).parse::<u64>().unwrap();
        let mut chunks: Vec<Chunk> = Vec::new();
        for line in pool.dump("chunk").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["item", _, "key", "(FIRST_CHUNK_TREE", "CHUNK_ITEM", start, ..] => {
                    chunks.push(Chunk { start: number(start), len: 0, kind: String::new(), stripes: Vec::new() });
                }
                ["length", len, _, _, _, _, "type", kind] => {
                    let chunk = chunks.last_mut().unwrap();
                    (chunk.len, chunk.kind) = (number(len), kind.to_owned());
                }
                ["stripe", _, "devid", device, "offset", offset] => {
                    chunks.last_mut().unwrap().stripes.push((number(device), number(offset)));
                }
                _ => {}
            }
        }
        let dump = pool.dump("extent");
        let node = run("btrfs", &["inspect-internal", "dump-super", pool.0[0].name()]);
        let node = node.lines().find_map(|line| line.strip_prefix("nodesize")).unwrap().trim().parse().unwrap();
        let mut all = Vec::new();
        for line in dump.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["item", _, "key", start, "EXTENT_ITEM", len, ..] => all.push((number(start), number(len))),
                ["item", _, "key", start, "METADATA_ITEM", ..] => all.push((number(start), node)),
                _ => {}
            }
        }
        assert!(!all.is_empty() && chunks.iter().all(|chunk| chunk.len > 0), "{dump}");
        Self { chunks, extents: all }
    }

    /// The used blocks of 4 KiB of a device, one after the other by the kernel's rule (`btrfs_map_block`).
    pub fn blocks(&self, device: u64) -> BTreeSet<u64> {
        let mut blocks = BTreeSet::new();
        for (start, len) in &self.extents {
            for at in (*start..start + len).step_by(4096) {
                let chunk =
                    self.chunks.iter().find(|chunk| (chunk.start..chunk.start + chunk.len).contains(&at)).unwrap();
                let offset = at - chunk.start;
                let (count, stripe, within) = (chunk.stripes.len() as u64, offset / 65536, offset % 65536);
                let profile = chunk.kind.split('|').next_back().unwrap();
                let places: Vec<(u64, u64)> = match profile {
                    "single" | "DUP" | "RAID1" | "RAID1C3" | "RAID1C4" => {
                        (0..count).map(|index| (index, offset)).collect()
                    }
                    "RAID0" => vec![(stripe % count, stripe / count * 65536 + within)],
                    "RAID10" => {
                        let (first, row) = (stripe % (count / 2) * 2, stripe / (count / 2));
                        vec![(first, row * 65536 + within), (first + 1, row * 65536 + within)]
                    }
                    // All of a row: parity is over all of it.
                    "RAID5" | "RAID6" => {
                        let row = stripe / (count - if profile == "RAID5" { 1 } else { 2 });
                        let of_row = |index| (0..16).map(move |block| (index, row * 65536 + block * 4096));
                        (0..count).flat_map(of_row).collect()
                    }
                    "DATA" => panic!("{chunk:?}"),
                    other => panic!("profile {other}"),
                };
                for (index, within) in places {
                    let (on, offset) = chunk.stripes[usize::try_from(index).unwrap()];
                    if on == device {
                        blocks.insert((offset + within) / BLOCK);
                    }
                }
            }
        }
        blocks
    }
}

/// The reserved first MiB and the superblock copies in so many bytes.
pub(super) fn fixed(size: u64) -> BTreeSet<u64> {
    let copies = [64 * MIB, 256 << 30].into_iter().filter(|at| at + BLOCK <= size).map(|at| at / BLOCK);
    (0..MIB / BLOCK).chain(copies).collect()
}

/// The blocks of extents, all of them data.
pub(super) fn blocks(extents: &[Extent]) -> BTreeSet<u64> {
    assert!(extents.iter().all(|extent| extent.kind == ExtentKind::Data));
    extents.iter().flat_map(|extent| extent.range.start() / BLOCK..extent.range.end().div_ceil(BLOCK)).collect()
}

/// Where the file system ends on a device, in bytes.
fn device_end(image: &Image) -> u64 {
    let text = run("btrfs", &["inspect-internal", "dump-super", image.name()]);
    let line = text.lines().find_map(|line| line.strip_prefix("dev_item.total_bytes")).unwrap();
    line.trim().parse().unwrap()
}

/// Every device's extents are what dump-tree calls used, the fixed places and all behind its end: no more, no less.
pub(super) fn agrees(pool: &Pool, case: &str) -> Vec<Vec<Extent>> {
    let (oracle, all) = (Oracle::of(pool), pool.extents(case));
    for (index, extents) in all.iter().enumerate() {
        let (found, mut expected) = (blocks(extents), oracle.blocks(index as u64 + 1));
        expected.extend(fixed(pool.size()));
        expected.extend(device_end(&pool.0[index]) / 4096..pool.size() / 4096);
        let missing: Vec<&u64> = expected.difference(&found).take(5).collect();
        let extra: Vec<&u64> = found.difference(&expected).take(5).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{case}, device {}: {missing:?} missing, {extra:?} extra",
            index + 1
        );
    }
    all
}
