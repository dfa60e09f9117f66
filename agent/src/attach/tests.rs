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

#[test]
fn a_system_is_assembled_from_a_held_disk_and_what_is_written_into_it_is_on_the_disk() {
    use crate::disk::source::FileSource;
    let dir = tempfile::tempdir().unwrap();
    let (path, part, tree) = (dir.path().join("disk"), dir.path().join("part"), dir.path().join("tree"));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/os-release"), "ID=debian\n").unwrap();
    fs::write(tree.join("etc/fstab"), "").unwrap();
    File::create(&part).unwrap().set_len(64 * MIB).unwrap();
    run("mkfs.ext4", &["-q", "-L", "root", "-d", tree.to_str().unwrap(), part.to_str().unwrap()]);
    File::create(&path).unwrap().set_len(200 * MIB).unwrap();
    run("sgdisk", &["-n", "1:2048:+10M", "-n", "2:22528:+64M", "-c", "2:system", path.to_str().unwrap()]);
    let held = Target::open(&path).unwrap();
    let mut to = &held.buffered;
    to.seek(SeekFrom::Start(11 * MIB)).unwrap();
    std::io::copy(&mut File::open(&part).unwrap(), &mut to).unwrap();
    let source = FileSource::new(held.buffered.try_clone().unwrap(), 200 * MIB);
    let table = crate::partition::read(&source, 512).unwrap().table;
    within(|_| {
        let disk = DiskAt { ordinal: 0, file: &held.buffered, size: 200 * MIB, sector: 512, table: &table };
        let volumes = DiskVolumes::open(&[disk], false).unwrap();
        use ramet_system::assemble::{Volumes as _, assemble};
        let found: Vec<_> = volumes.list().iter().map(|one| (one.name.as_str(), one.kind.as_str())).collect();
        assert_eq!(found, [("disk 0 partition 1", ""), ("disk 0 partition 2", "ext4")]);
        let root = &volumes.list()[1];
        assert_eq!((root.label.as_deref(), root.partlabel.as_deref()), (Some("root"), Some("system")));
        assert_eq!(root.partuuid, table.entries[1].guid);
        let at = dir.path().join("at");
        fs::create_dir(&at).unwrap();
        let tree = assemble(&volumes, &at, false).unwrap();
        assert_eq!(tree.volumes(), [1]);
        fs::write(at.join("etc/hostname"), "clone\n").unwrap();
        tree.finish().unwrap();
        volumes.finish().unwrap();
    })
    .unwrap();
    held.buffered.sync_all().unwrap();
    assert_eq!(loops_over(&path), 0);
    let copy = dir.path().join("copy");
    let mut from = &held.buffered;
    from.seek(SeekFrom::Start(11 * MIB)).unwrap();
    std::io::copy(&mut from.take(64 * MIB), &mut File::create(&copy).unwrap()).unwrap();
    run("e2fsck", &["-fn", copy.to_str().unwrap()]);
    assert_eq!(run("debugfs", &["-R", "cat /etc/hostname", copy.to_str().unwrap()]), "clone\n");
}
