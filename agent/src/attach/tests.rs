//! Attaching, with the kernel of this machine: image files, their parts, their file systems.

use super::*;
use crate::disk::Target;
use ramet_wire::{ByteRange, MIB};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;

const PART: ByteRange = ByteRange::between(3 * MIB, 403 * MIB);

fn run(program: &str, args: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program).args(args).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image file with a file system in the middle.
fn image(dir: &Path, kind: &str) -> std::path::PathBuf {
    let (whole, part) = (dir.join("disk"), dir.join("part"));
    File::create(&part).unwrap().set_len(PART.len()).unwrap();
    run(&format!("mkfs.{kind}"), &["-q", part.to_str().unwrap()]);
    let disk = File::create(&whole).unwrap();
    disk.set_len(PART.end() + 5 * MIB).unwrap();
    let mut to = &disk;
    to.seek(SeekFrom::Start(PART.start())).unwrap();
    std::io::copy(&mut File::open(&part).unwrap(), &mut to).unwrap();
    whole
}

fn loops_over(path: &Path) -> usize {
    run("losetup", &["-j", path.to_str().unwrap()]).lines().count()
}

#[test]
fn files_written_inside_are_on_the_disk_and_nobody_outside_sees_the_mount() {
    for kind in ["ext4", "xfs", "btrfs"] {
        let dir = tempfile::tempdir().unwrap();
        let path = image(dir.path(), kind);
        let held = Target::open(&path).unwrap();
        within(|here| {
            let device = LoopDevice::over(&held.buffered, PART, 512, false).unwrap();
            assert_eq!((device.size(), loops_over(&path)), (PART.len(), 1));
            let mounted = here.mount(device.path(), kind, false, "").unwrap();
            fs::write(mounted.place().join("name"), "clone").unwrap();
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            assert!(!mounts.contains(device.path().to_str().unwrap()), "{mounts}");
            let own = fs::read_to_string("/proc/thread-self/mounts").unwrap();
            let line = own.lines().find(|line| line.starts_with(device.path().to_str().unwrap())).unwrap();
            for option in ["nosuid", "nodev", "noexec"] {
                assert!(line.contains(option), "{line}");
            }
            mounted.detach().unwrap();
            device.flush().unwrap();
        })
        .unwrap();
        held.buffered.sync_all().unwrap();
        assert_eq!(loops_over(&path), 0);
        // Another look through another device, which may write nothing.
        let before = fs::read(&path).unwrap();
        let file = File::open(&path).unwrap();
        within(|here| {
            let device = LoopDevice::over(&file, PART, 512, true).unwrap();
            let mounted = here.mount(device.path(), kind, true, "").unwrap();
            assert_eq!(fs::read_to_string(mounted.place().join("name")).unwrap(), "clone");
            assert!(fs::write(mounted.place().join("other"), "").is_err());
        })
        .unwrap();
        assert!(fs::read(&path).unwrap() == before, "{kind}: a read-only mount wrote");
    }
}

#[test]
fn a_panic_inside_leaves_no_device_and_no_mount() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "ext4");
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let ended = within(|here| {
        let device = LoopDevice::over(&file, PART, 512, false).unwrap();
        let _mounted = here.mount(device.path(), "ext4", false, "").unwrap();
        assert_eq!(
            here.mount(device.path(), "nonsense", false, "").unwrap_err().to_string().find("nonsense"),
            Some(11)
        );
        std::panic::resume_unwind(Box::new("the work broke off"));
    });
    assert!(matches!(ended, Err(AttachError::Thread)));
    assert_eq!(loops_over(&path), 0);
}

#[test]
fn a_loop_device_shows_its_part_with_its_sectors_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let bytes: Vec<u8> = (0..4 * MIB).map(|at| u8::try_from(at / 4096 % 251).unwrap()).collect();
    fs::write(&path, &bytes).unwrap();
    let file = File::open(&path).unwrap();
    let part = ByteRange::between(MIB, 2 * MIB);
    let device = LoopDevice::over(&file, part, 4096, true).unwrap();
    assert_eq!(crate::disk::ioctl::logical_sector_size(device.file()).unwrap(), 4096);
    let mut seen = Vec::new();
    File::open(device.path()).unwrap().read_to_end(&mut seen).unwrap();
    assert!(seen == bytes[1 << 20..2 << 20]);
    assert!(crate::disk::ioctl::is_read_only(device.file()).unwrap());
}

#[test]
fn refuses_a_part_that_is_empty_or_off_the_sectors() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 * MIB).unwrap();
    for (part, sector) in [((0, 0), 512), ((100, 4096), 512), ((0, 4096 + 512), 4096)] {
        let part = ByteRange::between(part.0, part.0 + part.1);
        let error = LoopDevice::over(&file, part, sector, false).unwrap_err();
        assert!(crate::say::chain(&error).contains("no multiple of sectors"), "{error:?}");
    }
}
