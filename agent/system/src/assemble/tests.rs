//! Whole disks of several file systems over loop devices, put together by the kernel.

use super::mount::{MountError, Options, detached};
use super::{AssembleError, Volume, Volumes, assemble};
use crate::root::{How, RootError};
use crate::testing::{Device, plant, run};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Volumes, each a file behind a loop device.
struct Disk {
    list: Vec<Volume>,
    devices: Vec<Option<Device>>,
}

impl Disk {
    fn new() -> Self {
        Self { list: Vec::new(), devices: Vec::new() }
    }

    /// One more partition: made by mkfs, filled through the kernel.
    fn with(self, kind: &str, label: &str, files: &[(&str, u32, &str)]) -> Self {
        let size = if kind == "xfs" { 320 << 20 } else { 128 << 20 };
        let device = Device::new(kind, size, &["-L", label]);
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        run("mount", &["-t", kind, device.name(), at]);
        for name in
            ["@", "@home"].iter().filter(|name| files.iter().any(|(path, ..)| path.split('/').next() == Some(name)))
        {
            run("btrfs", &["-q", "subvolume", "create", &format!("{at}/{name}")]);
        }
        plant(folder.path(), files);
        run("umount", &[at]);
        self.push(kind, label, Some(device))
    }

    /// One that nothing mounts.
    fn push(mut self, kind: &str, label: &str, device: Option<Device>) -> Self {
        let number = u32::try_from(self.list.len()).unwrap() + 1;
        let uuid = device.as_ref().map(|device| run("blkid", &["-o", "value", "-s", "UUID", device.name()]));
        self.list.push(Volume {
            name: format!("disk 0 partition {number}"),
            kind: kind.to_owned(),
            uuid: uuid.map(|uuid| uuid.trim().to_owned()),
            label: Some(label.to_owned()),
            disk: Some(0),
            number: Some(number),
            ..Volume::default()
        });
        self.devices.push(device);
        self
    }
}

impl Volumes for Disk {
    fn list(&self) -> &[Volume] {
        &self.list
    }

    fn mount(&self, index: usize, options: &Options<'_>) -> Result<OwnedFd, MountError> {
        let device = self.devices[index].as_ref().expect("only what has a device is mounted");
        detached(Path::new(device.name()), &self.list[index].kind, options)
    }
}

const RELEASE: (&str, u32, &str) = ("etc/os-release", 0o644, "ID=debian\n");

fn at() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn why(disk: &Disk) -> String {
    let at = at();
    let error = assemble(disk, at.path(), false).unwrap_err();
    assert!(std::fs::read_dir(at.path()).unwrap().next().is_none());
    error.to_string()
}

#[test]
fn file_systems_of_fstab_are_one_tree() {
    for kind in ["ext4", "xfs", "btrfs"] {
        let fstab = "UUID=none /data ext4 defaults 0 2\nLABEL=boot /boot ext4 defaults 0 2\n/dev/sda1 / auto defaults 0 1\nLABEL=var /var xfs defaults 0 0\nserver:/home /home nfs defaults 0 0\nLABEL=deep /var/lib/deep ext4 defaults 0 0\n";
        let disk = Disk::new()
            .with(kind, "root", &[RELEASE, ("etc/fstab", 0o644, fstab), ("boot/", 0o755, ""), ("var/", 0o755, "")])
            .with("ext4", "boot", &[("vmlinuz", 0o644, "kernel")])
            .with("ext4", "deep", &[("file", 0o644, "deep")])
            .with("xfs", "var", &[("lib/deep/", 0o755, "")]);
        let at = at();
        let mut tree = assemble(&disk, at.path(), false).unwrap();
        assert_eq!(tree.volumes(), [0, 1, 3, 2], "{kind}");
        assert_eq!(tree.root.text("/var/lib/deep/file").unwrap().as_deref(), Some("deep"), "{kind}");
        let left: Vec<_> = tree.left.iter().map(|left| left.path.to_str().unwrap()).collect();
        assert_eq!(left, ["/data", "/home"], "{kind}");
        tree.root.write("/boot/new", b"1", &How::default()).unwrap();
        tree.root.write("/etc/hostname", b"web02\n", &How::default()).unwrap();
        let found = tree.root.write("/home/me/.ssh/authorized_keys", b"1", &How::default()).unwrap_err();
        assert!(matches!(&found, RootError::Absent { .. }) && found.to_string().contains("server:/home"), "{found}");
        tree.root.commit().unwrap();
        let shown = run("findmnt", &["-n", "-o", "OPTIONS", at.path().join("boot").to_str().unwrap()]);
        assert!(["nosuid", "nodev", "noexec"].iter().all(|option| shown.contains(option)), "{shown}");
        tree.finish().unwrap();
        assert!(std::fs::read_dir(at.path()).unwrap().next().is_none(), "{kind}: unmounted");
        // Another look, by mount(8); not read-only: another namespace may hold it still.
        run("mount", &[disk.devices[1].as_ref().unwrap().name(), at.path().to_str().unwrap()]);
        let new = std::fs::read_to_string(at.path().join("new"));
        run("umount", &[at.path().to_str().unwrap()]);
        assert_eq!(new.unwrap(), "1");
    }
}

#[test]
fn the_root_may_be_a_subvolume() {
    let fstab = "LABEL=root / btrfs subvol=@ 0 0\nLABEL=root /home btrfs defaults,subvol=/@home 0 0\n";
    let disk = Disk::new().with(
        "btrfs",
        "root",
        &[
            ("@/etc/os-release", 0o644, "ID=debian\n"),
            ("@/etc/fstab", 0o644, fstab),
            ("@/home/", 0o755, ""),
            ("@home/me", 0o644, ""),
            ("other/file", 0o644, ""),
        ],
    );
    let at = at();
    let tree = assemble(&disk, at.path(), true).unwrap();
    assert!(tree.root.is_file("/etc/os-release").unwrap());
    assert!(tree.root.is_file("/home/me").unwrap());
    assert_eq!(tree.volumes(), [0, 0]);
    tree.finish().unwrap();
}

#[test]
fn a_mount_point_that_leads_out_stays_inside() {
    let outside = tempfile::tempdir().unwrap();
    let link = format!("-> ../../../../../../..{}", outside.path().display());
    let inside = format!("{}/", outside.path().display());
    let disk = Disk::new()
        .with(
            "ext4",
            "root",
            &[RELEASE, ("etc/fstab", 0o644, "LABEL=boot /boot ext4\n"), ("boot", 0, &link), (&inside, 0o755, "")],
        )
        .with("ext4", "boot", &[("vmlinuz", 0o644, "kernel")]);
    let at = at();
    let tree = assemble(&disk, at.path(), true).unwrap();
    assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
    assert!(tree.root.is_file("/boot/vmlinuz").unwrap());
    assert!(at.path().join(inside.trim_start_matches('/')).join("vmlinuz").is_file());
    tree.finish().unwrap();
}

#[test]
fn refuses_none_and_several_with_what_there_is() {
    assert!(why(&Disk::new()).ends_with("no volumes"));
    let locked = Disk::new().push("luks", "", None).push("ntfs", "", None).push("swap", "", None);
    let said = why(&locked);
    for part in ["partition 1: encrypted (LUKS)", "no driver that writes it", "partition 3: swap"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let empty = Disk::new().with("ext4", "root", &[("etc/", 0o755, "")]);
    assert!(why(&empty).contains("ext4 without /etc and os-release"));
    let fstab = |text| ("etc/fstab", 0o644, text);
    let two = Disk::new().with("ext4", "one", &[RELEASE]).with("ext4", "two", &[RELEASE]);
    assert!(why(&two).contains("both disk 0 partition 1 and disk 0 partition 2"));
    let both = Disk::new().with("ext4", "one", &[RELEASE, fstab("LABEL=one / ext4\n")]).with(
        "ext4",
        "two",
        &[RELEASE, fstab("LABEL=two / ext4\n")],
    );
    assert!(why(&both).contains("both"));
    // A rescue system beside it that says nothing of itself.
    let one = Disk::new().with("ext4", "one", &[RELEASE]).with("ext4", "two", &[RELEASE, fstab("LABEL=two / ext4\n")]);
    let at = at();
    let tree = assemble(&one, at.path(), true).unwrap();
    assert_eq!(tree.volumes(), [1]);
    tree.finish().unwrap();
}

#[test]
fn what_this_kernel_cannot_mount_is_said_and_guarded() {
    let device = Device::new("vfat", 64 << 20, &[]);
    let fstab = "LABEL=esp /boot/efi vfat umask=0077 0 1\n";
    let disk = Disk::new()
        .with("ext4", "root", &[RELEASE, ("etc/fstab", 0o644, fstab), ("boot/efi/", 0o755, "")])
        .push("vfat", "esp", Some(device));
    let at = at();
    let mut tree = assemble(&disk, at.path(), false).unwrap();
    if std::fs::read_to_string("/proc/filesystems").unwrap().contains("vfat") {
        assert!(tree.left.is_empty());
    } else {
        assert!(tree.left[0].reason.contains("as vfat: No such device"), "{:?}", tree.left);
        assert!(matches!(tree.root.write("/boot/efi/x", b"", &How::default()), Err(RootError::Absent { .. })));
        assert!(tree.root.write("/boot/x", b"", &How::default()).unwrap());
    }
    tree.finish().unwrap();
}

#[test]
fn a_damaged_root_is_a_reason_and_leaves_nothing_mounted() {
    let disk = Disk::new().with("ext4", "root", &[RELEASE]);
    let device = PathBuf::from(disk.devices[0].as_ref().unwrap().name());
    let file = std::fs::File::options().write(true).open(&device).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], 0).unwrap();
    drop(file);
    assert!(why(&disk).contains("Invalid argument"));
    assert!(matches!(assemble(&disk, at().path(), false), Err(AssembleError::None { .. })));
}
