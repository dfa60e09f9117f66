//! NTFS volumes made by mkntfs and filled through ntfs-3g, for the tests beside this file.

use super::images::{Image, persist, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(super) const MIB: u64 = 1 << 20;

/// A volume on a disk full of other bytes; a large one on an empty disk.
pub(super) fn made(size: u64, options: &str) -> Image {
    let image = if size <= 256 * MIB { Image::garbage(size) } else { Image::empty(size) };
    let mut args = vec!["-F", "-Q", "-q", "-H", "16", "-S", "63", "-p", "0"];
    args.extend(options.split_whitespace());
    args.push(image.name());
    run("mkntfs", &args);
    image
}

/// A volume mounted by ntfs-3g; unmounted when dropped, and then ntfs-3g has ended.
pub(super) struct Fuse {
    pub dir: PathBuf,
    child: Child,
}

pub(super) fn mount(image: &Image, options: &str) -> Fuse {
    let dir = image.dir.path().join("mnt");
    std::fs::create_dir_all(&dir).unwrap();
    let options = format!("no_detach,{options}");
    let child = Command::new("ntfs-3g")
        .args(["-o", &options, image.name(), dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let fuse = Fuse { dir, child };
    assert!(persist("mountpoint", &["-q", fuse.dir.to_str().unwrap()]), "ntfs-3g {options} {}", image.name());
    fuse
}

impl Fuse {
    /// As if the plug were pulled: what ntfs-3g did not hand to the kernel yet is lost.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let done = persist("umount", &[self.dir.to_str().unwrap()]);
        assert!(done || std::thread::panicking(), "umount {}", self.dir.display());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Files are equal, and ntfs-3g's own checkers agree.
pub(super) fn same_files(image: &Image, clone: &Image) {
    for volume in [image, clone] {
        run("ntfsfix", &["-n", volume.name()]);
        // Reads all records and holds all runs against $Bitmap; then it has nothing to offer for a full volume.
        let out = Command::new("ntfsresize").args(["-i", "-f", "-f", volume.name()]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || said.contains("Volume is full"), "{said}");
    }
    let (left, right) = (mount(image, "ro"), mount(clone, "ro"));
    run("diff", &["-r", "--no-dereference", name(&left.dir), name(&right.dir)]);
}

pub(super) fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A number on the disk, little endian.
pub(super) fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Where things lie, by the boot sector's own fields.
pub(super) struct Places {
    pub cluster: usize,
    pub clusters: usize,
    pub mft: usize,
    pub mirror: usize,
    pub record: usize,
}

pub(super) fn places(bytes: &[u8]) -> Places {
    let sector = number(bytes, 11, 2);
    let code = number(bytes, 13, 1);
    let per_cluster = if code > 128 { 1 << (256 - code) } else { code };
    let cluster = sector * per_cluster;
    let record = number(bytes, 64, 1);
    Places {
        cluster,
        clusters: number(bytes, 40, 8) / per_cluster,
        mft: number(bytes, 48, 8) * cluster,
        mirror: number(bytes, 56, 8) * cluster,
        record: if record > 128 { 1 << (256 - record) } else { record * cluster },
    }
}

/// MFT records as `layout.h` describes them, taken apart and put together again.
pub(super) mod record {
    use super::{Image, number, places, run};

    /// Where record `number` lies: the first ones lie side by side, later ones are asked of ntfs-3g's runs.
    pub fn at(bytes: &[u8], number: u64) -> usize {
        let places = places(bytes);
        places.mft + usize::try_from(number).unwrap() * places.record
    }

    /// Puts true bytes back to the ends of the sectors.
    pub fn unprotect(record: &mut [u8]) {
        let at = number(record, 4, 2);
        for sector in 0..record.len() / 512 {
            record.copy_within(at + 2 + 2 * sector..at + 4 + 2 * sector, sector * 512 + 510);
        }
    }

    /// Moves the ends of the sectors into the update sequence.
    pub fn protect(record: &mut [u8]) {
        let at = number(record, 4, 2);
        for sector in 0..record.len() / 512 {
            record.copy_within(sector * 512 + 510..sector * 512 + 512, at + 2 + 2 * sector);
            record.copy_within(at..at + 2, sector * 512 + 510);
        }
    }

    /// Changes what is meant by a protected record.
    pub fn edit(record: &mut [u8], change: impl Fn(&mut [u8])) {
        // The update sequence lies where it lay, whatever the change does.
        let sequence = [record[4], record[5]];
        unprotect(record);
        change(record);
        let changed = std::mem::replace(&mut record[4], sequence[0]);
        record[5] = sequence[1];
        protect(record);
        record[4] = changed;
    }

    /// Changes record `number`, and its copy in $MFTMirr.
    pub fn change_in(bytes: &mut [u8], number: u64, change: impl Fn(&mut [u8])) {
        let places = places(bytes);
        let at = at(bytes, number);
        edit(&mut bytes[at..at + places.record], &change);
        if number < 4 {
            let copy = places.mirror + (at - places.mft);
            edit(&mut bytes[copy..copy + places.record], &change);
        }
    }

    pub fn change(image: &Image, number: u64, change: impl Fn(&mut [u8])) {
        let mut bytes = image.bytes();
        change_in(&mut bytes, number, change);
        image.write(0, &bytes);
    }

    /// Where the first attribute of this type starts in an unprotected record.
    pub fn attribute(record: &[u8], kind: usize) -> usize {
        let mut at = number(record, 20, 2);
        while number(record, at, 4) != kind {
            at += number(record, at + 4, 4);
        }
        at
    }

    /// Where its value starts.
    pub fn resident(record: &[u8], kind: usize) -> usize {
        let at = attribute(record, kind);
        at + number(record, at + 20, 2)
    }

    /// Offset and length in bytes of the runs of a file's data, by ntfsinfo.
    pub fn runs(image: &Image, number: u64) -> Vec<(u64, u64)> {
        runs_of(image, number, 0x80)
    }

    pub fn runs_of(image: &Image, number: u64, kind: u32) -> Vec<(u64, u64)> {
        let cluster = places(&image.read(0, 512)).cluster as u64;
        let text = run("ntfsinfo", &["-f", "-v", "-i", &number.to_string(), image.name()]);
        let from = text.split("Dumping attribute ").find(|part| part.contains(&format!("({kind:#x})"))).unwrap();
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let lines = from.lines().skip_while(|line| !line.contains("Runlist:")).skip(1);
        let runs = lines.map_while(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [first, place, len] if first.starts_with("0x") => Some((hex(place)? * cluster, hex(len)? * cluster)),
            _ => None,
        });
        let runs: Vec<_> = runs.collect();
        assert!(!runs.is_empty(), "{text}");
        runs
    }
}
