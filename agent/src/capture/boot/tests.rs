//! Systems on real file systems, mounted by the kernel and left as they were.

use super::*;
use crate::capture::{Request, plan, source};
use crate::disk::Disks;
use crate::partition::testing::{Image, run};
use ramet_wire::boot::{Code, Place};
use ramet_wire::id::sha256;
use std::process::Command;

const START: u64 = 2 << 20;

/// A system's tree as far as booting goes.
const TREE: &str = r#"
mkdir -p etc boot usr/lib/modules/6.1/kernel dev proc
ln -s usr/lib lib
printf 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n' >etc/os-release
printf 'LABEL=root / auto defaults 0 1\nLABEL=more /srv ext4 defaults 0 2\n' >etc/fstab
printf x >boot/vmlinuz-6.1
cd usr/lib/modules/6.1
printf 'kernel/drivers/block/virtio_blk.ko:\nkernel/drivers/scsi/mptsas.ko:\n' >modules.dep
printf 'alias virtio:d00000002v* virtio_blk\nalias pci:v00001000d00000054sv*sd*bc*sc*i* mptsas\n' >modules.alias
printf 'kernel/fs/ext4/ext4.ko\n' >modules.builtin
cd ../../../..
mkdir -p /tmp/initrd.$$/lib/modules/6.1/kernel/drivers/block
printf x >/tmp/initrd.$$/lib/modules/6.1/kernel/drivers/block/virtio_blk.ko
(cd /tmp/initrd.$$ && find . | cpio --quiet -o -H newc) | gzip -n >boot/initrd.img-6.1
rm -r /tmp/initrd.$$
"#;

/// A disk whose second half holds a root file system; `dirty`: the plug was pulled while it was mounted.
fn disk(kind: &str, dirty: bool) -> Image {
    let size = if kind == "xfs" { 340 << 20 } else { 160 << 20 };
    let image = Image::with_sfdisk(size, "label: dos\nstart=4096, type=83, bootable\n");
    let folder = tempfile::tempdir().unwrap();
    let limit = size - START;
    // A test with a mount namespace of its own keeps what was mounted when it started, and the kernel goes on writing: the
    // disk is at rest when its loop device has let go of the file.
    let script = format!(
        "set -e; L=$(losetup -f --show -o {START} --sizelimit {limit} $1)
         rest() {{ for n in $(seq 600); do losetup -n -j $1 | grep -q . || return 0; sleep 0.1; done; return 1; }}
         trap 'umount $2 2>/dev/null || true; losetup -d $L; rest $1' EXIT
         mkfs.{kind} -q -L root $L; mount $L $2; cd $2; {TREE} cd /; umount $2; mount $L $2; cd $2
         {} cd /; {}",
        if dirty { "for n in $(seq 20); do echo $n >etc/file$n; sync -d etc/file$n; done;" } else { "" },
        // Copied past the mount: what is in the journal stays there.
        if dirty { "cp --sparse=always $1 $1.dirty" } else { "umount $2" },
    );
    let paths = [image.path.to_str().unwrap(), folder.path().to_str().unwrap()];
    run("bash", &["-c", &script, "sh", paths[0], paths[1]]);
    if dirty {
        std::fs::rename(format!("{}.dirty", paths[0]), paths[0]).unwrap();
    }
    image
}

fn request() -> Request {
    let name = "web".parse().unwrap();
    Request { name, machine: Default::default(), force_mounted: false, nvram: None }
}

fn facts_of(image: &Image) -> Facts {
    let disks = source::open_all(&Disks::from_sysfs(), std::slice::from_ref(&image.path)).unwrap();
    facts(&plan::plan(&request(), &disks).unwrap())
}

fn hash(image: &Image) -> Vec<u8> {
    sha256(&image.bytes()).to_vec()
}

#[test]
fn the_system_on_every_file_system_is_found_and_no_byte_of_the_disk_changes() {
    for (kind, dirty) in [("ext4", false), ("ext4", true), ("xfs", false), ("xfs", true), ("btrfs", false)] {
        let image = disk(kind, dirty);
        let before = hash(&image);
        let facts = facts_of(&image);
        assert_eq!(hash(&image), before, "{kind}, dirty: {dirty}");
        let [system] = &facts.systems[..] else { panic!("{kind}, dirty: {dirty}: {facts:?}") };
        assert_eq!((system.disk, system.partition, system.id.as_str()), (0, 1, "debian"));
        assert_eq!((system.root.filesystem.as_str(), system.root.named.as_deref()), (kind, Some("LABEL=root")));
        let [kernel] = &system.kernels[..] else { panic!("{kind}: {system:?}") };
        assert_eq!(kernel.initramfs.as_ref().unwrap().unread, None, "{kind}");
        let drivers = kernel.drivers.as_ref().unwrap().read().unwrap();
        let places: Vec<_> = drivers.iter().map(|driver| (driver.name.as_str(), driver.place)).collect();
        let wanted = [("ext4", Place::BuiltIn), ("virtio_blk", Place::Initramfs), ("mptsas", Place::Root)];
        assert_eq!(places, wanted, "{kind}");
        // What fstab wants and these disks do not have is said.
        assert!(facts.unread.iter().any(|why| why.starts_with("/srv (LABEL=more)")), "{:?}", facts.unread);
    }
}

#[test]
fn two_looks_at_one_disk_say_the_same() {
    let image = disk("ext4", false);
    assert_eq!(facts_of(&image), facts_of(&image));
}

#[test]
fn what_cannot_be_looked_into_is_said_and_ends_nothing() {
    let empty = Image::with_sfdisk(64 << 20, "label: dos\nstart=4096, type=83\n");
    let facts = facts_of(&empty);
    assert!(facts.systems.is_empty() && facts.unread.len() == 1, "{facts:?}");
    assert!(facts.unread[0].contains("no volume holds the root"), "{facts:?}");
    assert_eq!((facts.bios[0].code, facts.bios[0].next), (Code::None, true));
    let damaged = disk("ext4", false);
    // The superblock stays, the root folder goes.
    damaged.write(START + (1 << 20), &vec![0xff; 120 << 20]);
    let facts = facts_of(&damaged);
    assert!(facts.systems.is_empty() && !facts.unread.is_empty(), "{facts:?}");
    assert!(facts.unread.iter().all(|why| !why.contains("/dev/loop")), "{facts:?}");
}

#[test]
fn a_disk_that_is_in_use_or_gone_is_not_looked_into() {
    let image = disk("ext4", false);
    let mut disks = source::open_all(&Disks::from_sysfs(), std::slice::from_ref(&image.path)).unwrap();
    let force = Request { force_mounted: true, ..request() };
    disks[0].busy = vec![(ramet_wire::ByteRange::between(START, START + 512), "mounted at /mnt".to_owned())];
    let facts_now = facts(&plan::plan(&force, &disks).unwrap());
    assert!(facts_now.unread[0].contains("is in use and so was not looked into: mounted at /mnt"), "{facts_now:?}");
    disks[0].busy.clear();
    disks[0].path = "/nowhere/disk".to_owned();
    let facts_now = facts(&plan::plan(&request(), &disks).unwrap());
    assert!(facts_now.unread[0].contains("opening /nowhere/disk"), "{facts_now:?}");
}

#[test]
fn programs_of_an_efi_system_partition_are_read_without_mounting_it() {
    let image = Image::with_sgdisk(128 << 20, &["-n1:2048:+64M", "-t1:ef00", "-n2:0:0"]);
    let esp = tempfile::NamedTempFile::new().unwrap();
    esp.as_file().set_len(64 << 20).unwrap();
    let at = esp.path().to_str().unwrap();
    run("mkfs.vfat", &["-F", "32", at]);
    let programs = [
        ("/usr/lib/shim/shimx64.efi.signed", "shimx64.efi", true, true),
        ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grubx64.efi", true, false),
        ("/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "systemd-bootx64.efi", false, false),
    ];
    run("mmd", &["-i", at, "::/EFI", "::/EFI/debian"]);
    for (from, name, ..) in programs {
        run("mcopy", &["-i", at, from, &format!("::/EFI/debian/{name}")]);
    }
    run("mcopy", &["-i", at, "/etc/hostname", "::/EFI/debian/text.efi"]);
    image.write(1 << 20, &std::fs::read(esp.path()).unwrap());
    let facts = facts_of(&image);
    let found: Vec<_> = facts
        .programs
        .iter()
        .map(|program| (program.loader.path.as_str(), program.signed, program.shim, program.loader.partition))
        .collect();
    let wanted = [
        (r"\EFI\debian\shimx64.efi", true, true, 1),
        (r"\EFI\debian\grubx64.efi", true, false, 1),
        (r"\EFI\debian\systemd-bootx64.efi", false, false, 1),
    ];
    assert_eq!(found, wanted);
    assert!(facts.unread.iter().any(|why| why.contains(r"\EFI\debian\text.efi")), "{:?}", facts.unread);
}

#[test]
fn names_of_loop_devices_are_left_out_of_reasons() {
    assert_eq!(without_loops("mounting /dev/loop17 as ext4: bad"), "mounting its partition as ext4: bad");
    assert_eq!(without_loops("/dev/loop3"), "its partition");
    assert_eq!(without_loops("nothing"), "nothing");
}

#[test]
fn tools_that_make_these_disks_are_there() {
    for tool in ["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mmd", "cpio"] {
        assert!(Command::new("sh").args(["-c", &format!("command -v {tool}")]).status().unwrap().success(), "{tool}");
    }
}
