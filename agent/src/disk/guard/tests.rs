//! Refusals: made-up machines for what needs other hardware, loop devices and mounts for the rest.

use super::super::fake::Machine;
use super::super::testing::{Loop, Mounted};
use super::*;
use crate::partition::testing::{Image, run};
use ramet_wire::MIB;

/// A disk of a made-up machine, under a name that need not exist.
fn disk(machine: &Machine, name: &str) -> DiskInfo {
    let listed = machine.disks();
    let id = listed.id_of(name).unwrap();
    DiskInfo {
        path: PathBuf::from("/dev").join(name),
        id,
        size: listed.size_of(name),
        sector_size: 512,
        physical_sector_size: 512,
        model: None,
        serial: None,
        wwn: None,
        transport: None,
        controllers: Vec::new(),
        removable: false,
    }
}

/// One disk with two partitions.
fn machine() -> Machine {
    let machine = Machine::new();
    machine
        .device("sda", "8:0", 10_000)
        .partition("sda1", "8:1", 1, 2048, 1000)
        .partition("sda2", "8:2", 2, 4096, 4000);
    machine.device("sdb", "8:16", 10_000);
    machine
}

fn refused(machine: &Machine, name: &str) -> String {
    check_targets(&machine.disks(), &[&disk(machine, name)], &[], None).unwrap_err().to_string()
}

fn second_partition() -> ByteRange {
    ByteRange::new(4096 * 512, 4000 * 512).unwrap()
}

#[test]
fn a_free_disk_may_be_overwritten() {
    let machine = machine();
    machine.mount("0:22", "/proc", "proc", "proc");
    machine.mount("8:2", "/home", "ext4", "/dev/sda2");
    check_targets(&machine.disks(), &[&disk(&machine, "sdb")], &[&disk(&machine, "sda")], None).unwrap();
    assert_eq!(uses(&machine.disks(), &disk(&machine, "sdb")), []);
}

#[test]
fn a_mounted_partition_is_a_use_of_its_part_of_the_disk() {
    let machine = machine();
    machine.mount("8:2", "/srv/my\\040data", "ext4", "/dev/sda2");
    let found = uses(&machine.disks(), &disk(&machine, "sda"));
    let reason = Reason::Mounted { at: "/srv/my data".to_owned() };
    assert_eq!(found, [InUse { device: "sda2".to_owned(), reason, range: second_partition() }]);
    assert!(found[0].touches(second_partition()) && found[0].hinders_reading());
    assert!(!found[0].touches(ByteRange::new(2048 * 512, 1000 * 512).unwrap()));
    assert_eq!(refused(&machine, "sda"), "refusing to overwrite /dev/sda: sda2 is mounted at /srv/my data");
}

#[test]
fn a_whole_mounted_disk_is_refused() {
    let machine = machine();
    machine.mount("8:16", "/data", "xfs", "/dev/sdb");
    assert_eq!(refused(&machine, "sdb"), "refusing to overwrite /dev/sdb: sdb is mounted at /data");
    assert_eq!(uses(&machine.disks(), &disk(&machine, "sdb"))[0].range, ByteRange::between(0, 10_000 * 512));
}

#[test]
fn the_disk_of_the_running_root_is_named_as_such() {
    let machine = machine();
    machine.mount("0:2", "/", "rootfs", "rootfs");
    machine.mount("8:2", "/", "ext4", "/dev/root");
    assert_eq!(refused(&machine, "sda"), "refusing to overwrite /dev/sda: sda2 holds the root of the running system");
}

#[test]
fn the_root_is_followed_through_device_mapper_and_md() {
    let machine = machine();
    machine.device("md0", "9:0", 3900).slave("sda2");
    machine.device("dm-0", "252:0", 3800).file("dm/name", b"vg-root\n").slave("md0");
    machine.mount("252:0", "/", "ext4", "/dev/mapper/vg-root");
    let text = refused(&machine, "sda");
    assert!(text.contains("sda2 holds the root") && text.contains("sda2 is part of md0"), "{text}");
}

#[test]
fn a_member_of_device_mapper_or_md_is_refused() {
    let machine = machine();
    machine.device("dm-3", "252:3", 3800).file("dm/name", b"crypt\n").slave("sda2");
    machine.device("md127", "9:127", 9000).slave("sdb");
    assert_eq!(refused(&machine, "sda"), "refusing to overwrite /dev/sda: sda2 is part of dm-3 (crypt)");
    assert_eq!(refused(&machine, "sdb"), "refusing to overwrite /dev/sdb: sdb is part of md127");
}

#[test]
fn active_swap_is_refused_on_partitions_and_mapped_devices() {
    let machine = machine();
    machine.device("dm-0", "252:0", 900).file("dm/name", b"vg-swap\n").slave("sda1");
    machine.write(
        "proc/swaps",
        b"Filename\t\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n/dev/mapper/vg-swap partition 1 0 -3\n",
    );
    let text = refused(&machine, "sda");
    assert!(text.contains("sda2 is active swap") && text.contains("sda1 is part of dm-0"), "{text}");
    assert_eq!(uses(&machine.disks(), &disk(&machine, "dm-0"))[0].reason, Reason::Swap);
}

#[test]
fn a_swap_file_is_refused() {
    let image = Image::new(MIB);
    let machine = Machine::new();
    machine.write("proc/swaps", format!("Filename\n{} file 1 0 -2\n", image.path.display()).as_bytes());
    let info = DiskInfo::open_source(&image.path).unwrap().info;
    let error = check_targets(&machine.disks(), &[&info], &[], None).unwrap_err().to_string();
    assert!(error.contains("is active swap"), "{error}");
}

#[test]
fn every_member_of_a_btrfs_is_refused_although_mountinfo_names_one() {
    let machine = machine();
    machine.mount("0:45", "/pool", "btrfs", "/dev/sda2");
    for member in ["sda2", "sdb"] {
        machine.write(&format!("sys/fs/btrfs/0a1b/devices/{member}/x"), b"");
    }
    assert!(refused(&machine, "sda").contains("sda2 is mounted at /pool"));
    assert!(refused(&machine, "sdb").contains("sdb is mounted at btrfs 0a1b"));
}

#[test]
fn the_disk_of_the_store_is_refused() {
    let machine = machine();
    machine.device("dm-0", "252:0", 3800).file("dm/name", b"vg-store\n").slave("sda2");
    let store = tempfile::tempdir().unwrap();
    machine.mount("252:0", store.path().to_str().unwrap(), "ext4", "/dev/mapper/vg-store");
    let below = store.path().join("not/yet/there");
    let check = |name| check_targets(&machine.disks(), &[&disk(&machine, name)], &[], Some(&below));
    let text = check("sda").unwrap_err().to_string();
    assert!(text.contains("the store lies on /dev/sda"), "{text}");
    check("sdb").unwrap();
}

#[test]
fn a_target_that_is_a_file_in_the_store_is_refused() {
    let store = tempfile::tempdir().unwrap();
    let path = store.path().join("disk.img");
    std::fs::write(&path, [0; 4096]).unwrap();
    let info = DiskInfo::open_source(&path).unwrap().info;
    let disks = Disks::from_sysfs();
    let error = check_targets(&disks, &[&info], &[], Some(store.path())).unwrap_err().to_string();
    assert!(error.contains("the store lies on"), "{error}");
    check_targets(&disks, &[&info], &[], Some(tempfile::tempdir().unwrap().path())).unwrap();
}

#[test]
fn the_same_disk_twice_is_refused_whatever_its_name() {
    let image = Image::new(MIB);
    let link = image.path.with_extension("link");
    let other = image.path.with_extension("other");
    std::os::unix::fs::symlink(&image.path, &link).unwrap();
    std::fs::hard_link(&image.path, &other).unwrap();
    let device = Loop::new(&image.path, &[]);
    let info = |path: &Path| DiskInfo::open_source(path).unwrap().info;
    let disks = Disks::from_sysfs();
    for second in [&image.path, &link, &other, &device.path] {
        let (a, b) = (info(&image.path), info(second));
        let error = check_sources(&disks, &[&a, &b]).unwrap_err();
        assert!(matches!(error, Refusal::SameTwice { .. }), "{error}");
        assert!(matches!(check_targets(&disks, &[&a, &b], &[], None), Err(Refusal::SameTwice { .. })));
        assert!(matches!(check_targets(&disks, &[&a], &[&b], None), Err(Refusal::TargetIsSource { .. })));
    }
    let free = Image::new(MIB);
    check_sources(&disks, &[&info(&image.path), &info(&free.path)]).unwrap();
}

#[test]
fn two_loop_devices_on_two_halves_of_a_file_are_two_disks() {
    let image = Image::new(2 * MIB);
    let half = MIB.to_string();
    let first = Loop::new(&image.path, &["--sizelimit", &half]);
    let second = Loop::new(&image.path, &["--offset", &half]);
    let overlapping = Loop::new(&image.path, &["--offset", "524288"]);
    let info = |path: &Path| DiskInfo::open_source(path).unwrap().info;
    let disks = Disks::from_sysfs();
    check_sources(&disks, &[&info(&first.path), &info(&second.path)]).unwrap();
    let error = check_sources(&disks, &[&info(&first.path), &info(&overlapping.path)]).unwrap_err();
    assert!(matches!(error, Refusal::SameTwice { .. }), "{error}");
}

#[test]
fn a_file_behind_a_loop_device_is_no_target_but_can_be_read() {
    let image = Image::new(MIB);
    let device = Loop::new(&image.path, &[]);
    let disks = Disks::from_sysfs();
    let error = open_targets(&disks, std::slice::from_ref(&image.path), &[], None).unwrap_err().to_string();
    assert!(error.contains(&format!("loop device {} shows it", device.name())), "{error}");
    let info = DiskInfo::open_source(&image.path).unwrap().info;
    assert_eq!(check_sources(&disks, &[&info]).unwrap(), [vec![]]);
    // The loop device itself is a disk like any other.
    open_targets(&disks, std::slice::from_ref(&device.path), &[], None).unwrap();
    drop(device);
    open_targets(&disks, std::slice::from_ref(&image.path), &[], None).unwrap();
}

#[test]
fn a_loop_device_on_a_loop_device_is_no_use_of_itself() {
    let image = Image::new(2 * MIB);
    let lower = Loop::new(&image.path, &[]);
    let upper = Loop::new(&lower.path, &["--offset", "1048576"]);
    let disks = Disks::from_sysfs();
    let info = |path: &Path| DiskInfo::open_source(path).unwrap().info;
    assert_eq!(uses(&disks, &info(&upper.path)), []);
    let found = uses(&disks, &info(&lower.path));
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].device[..], found[0].range), (upper.name(), ByteRange::between(MIB, 2 * MIB)));
    assert_eq!(uses(&disks, &info(&image.path)).len(), 2);
}

/// A disk-image file whose second partition, at 4 MiB, is a mounted ext4 behind a loop device.
fn mounted_partition() -> (Image, Loop, Mounted) {
    let image = Image::with_sgdisk(24 * MIB, &["-n", "1:2048:+2M", "-n", "2:8192:+16M"]);
    let (offset, size) = ((4 * MIB).to_string(), (16 * MIB).to_string());
    let device = Loop::new(&image.path, &["--offset", &offset, "--sizelimit", &size]);
    run("mkfs.ext4", &["-q", device.path.to_str().unwrap()]);
    let mounted = Mounted::new(&device.path);
    (image, device, mounted)
}

#[test]
fn a_mount_through_a_loop_device_is_traced_to_the_partition_of_the_file() {
    let (image, device, mounted) = mounted_partition();
    let disks = Disks::from_sysfs();
    let info = DiskInfo::open_source(&image.path).unwrap().info;
    let held = check_sources(&disks, &[&info]).unwrap();
    assert_eq!(held[0].len(), 1, "{held:?}");
    let found = &held[0][0];
    assert_eq!(found.range, ByteRange::between(4 * MIB, 20 * MIB));
    assert_eq!(found.reason, Reason::Mounted { at: mounted.at().to_owned() });
    let scan = crate::partition::read(&DiskInfo::open_source(&image.path).unwrap(), 512).unwrap();
    let touched: Vec<u32> =
        scan.table.entries.iter().filter(|entry| found.touches(entry.range)).map(|entry| entry.number).collect();
    assert_eq!(touched, [2]);
    for path in [&image.path, &device.path] {
        let error = open_targets(&disks, std::slice::from_ref(path), &[], None).unwrap_err().to_string();
        assert!(error.contains("is mounted at"), "{error}");
    }
    // A second loop device over the same bytes is the same disk, mounted all the same.
    let second = Loop::new(&image.path, &[]);
    let error = open_targets(&disks, std::slice::from_ref(&second.path), &[], None).unwrap_err().to_string();
    assert!(error.contains("is mounted at"), "{error}");
}

#[test]
fn a_mount_of_the_other_half_is_no_use() {
    let (image, _device, _mounted) = mounted_partition();
    let free = Loop::new(&image.path, &["--sizelimit", &(4 * MIB).to_string()]);
    open_targets(&Disks::from_sysfs(), std::slice::from_ref(&free.path), &[], None).unwrap();
}

#[test]
fn a_device_that_the_kernel_calls_busy_is_a_use() {
    let image = Image::new(MIB);
    let device = Loop::new(&image.path, &[]);
    let held = Target::open(&device.path).unwrap();
    let disks = Disks::from_sysfs();
    let source = DiskInfo::open_source(&device.path).unwrap();
    let found = check_sources(&disks, &[&source.info]).unwrap();
    assert_eq!(found[0][0].reason, Reason::Busy);
    drop(held);
    assert_eq!(check_sources(&disks, &[&source.info]).unwrap(), [vec![]]);
}

#[test]
fn the_store_on_a_mounted_image_makes_its_file_no_target() {
    let (image, _device, mounted) = mounted_partition();
    let info = DiskInfo::open_source(&image.path).unwrap().info;
    let store = Path::new(mounted.at()).join("store");
    let error = check_targets(&Disks::from_sysfs(), &[&info], &[], Some(&store)).unwrap_err();
    let Refusal::TargetInUse { uses, .. } = error else { panic!("{error}") };
    assert!(uses.iter().any(|found| found.reason == Reason::Store), "{uses:?}");
}

#[test]
fn names_of_loops_that_never_end_are_no_endless_loop() {
    let machine = Machine::new();
    machine.device("loop0", "7:0", 100);
    // Its backing file's path is its own device node, which here is any block device of this machine.
    let node = std::fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.path()).find(|path| {
        std::fs::metadata(path).is_ok_and(|metadata| matches!(DiskId::of(&metadata), Some(DiskId::Block { .. })))
    });
    let Some(node) = node else { return };
    let Some(DiskId::Block { major, minor }) = DiskId::of(&std::fs::metadata(&node).unwrap()) else { return };
    machine
        .device("loop1", &format!("{major}:{minor}"), 100)
        .file("loop/backing_file", node.as_os_str().as_encoded_bytes());
    assert_eq!(uses(&machine.disks(), &disk(&machine, "loop1")), []);
}

#[test]
fn a_mounted_kernel_partition_is_a_use_of_its_disk_and_of_the_file_below() {
    let image = Image::new(24 * MIB);
    let device = Loop::new(&image.path, &[]);
    let Some(partition) = device.partition(2, 8192, 32_768) else { return };
    run("mkfs.ext4", &["-q", partition.path.to_str().unwrap()]);
    let mounted = Mounted::new(&partition.path);
    let disks = Disks::from_sysfs();
    for path in [&device.path, &image.path] {
        let info = DiskInfo::open_source(path).unwrap().info;
        let found = check_sources(&disks, &[&info]).unwrap();
        let reason = Reason::Mounted { at: mounted.at().to_owned() };
        let device = partition.path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(found[0], [InUse { device, reason, range: ByteRange::between(4 * MIB, 20 * MIB) }]);
    }
    let error = open_targets(&disks, std::slice::from_ref(&device.path), &[], None).unwrap_err();
    assert!(matches!(error, Refusal::TargetInUse { .. }), "{error}");
    drop(mounted);
    drop(partition);
    open_targets(&disks, std::slice::from_ref(&device.path), &[], None).unwrap();
}

#[test]
fn the_real_root_disk_is_refused_and_its_store_with_it() {
    use std::os::unix::fs::MetadataExt as _;
    let disks = Disks::from_sysfs();
    let device = std::fs::metadata("/").unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let Some(listed) = disks.find(DiskId::Block { major, minor }) else { return };
    let Ok(source) = DiskInfo::open_source(&Path::new("/dev").join(&listed.name)) else { return };
    let error = check_targets(&disks, &[&source.info], &[], Some(Path::new("/"))).unwrap_err();
    let Refusal::TargetInUse { uses, .. } = error else { panic!("{error}") };
    for reason in [Reason::Root, Reason::Store] {
        assert!(uses.iter().any(|found| found.reason == reason), "{uses:?}");
    }
}

#[test]
fn what_can_not_be_opened_is_a_refusal_that_names_it() {
    let missing = PathBuf::from("/nowhere/disk.img");
    let error = open_targets(&Disks::from_sysfs(), &[missing], &[], None).unwrap_err();
    assert_eq!(error.to_string(), "taking /nowhere/disk.img");
    let image = Image::new(MIB);
    let _held = Target::open(&image.path).unwrap();
    let error = open_targets(&Disks::from_sysfs(), std::slice::from_ref(&image.path), &[], None).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("another process holds its lock"), "{source}");
}
