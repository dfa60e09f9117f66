//! Will it boot? The check says so, and booting proves it.
//!
//! In: a disk with GRUB, Debian's kernel, an initramfs that knows virtio only; machines with that disk on two buses.
//! Out: the check's answer for what each machine has, and what each machine did.
//! Promise: the inventory that is judged is the one that such a machine tells of itself.

use super::site::*;
use ramet_tests::agent::Agent;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Firmware, Machine};
use ramet_tests::tool::{arg, run, scratch};
use ramet_wire::agents::DiskSeen;
use ramet_wire::boot::{Answer, Target, Verdict, judge};
use ramet_wire::hardware::Hardware;
use ramet_wire::manifest::Manifest;
use std::path::Path;

/// The first program: loads the modules, tells what the machine has, looks for its root.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "$module"; done </order
$b sleep 3
for alias in /sys/bus/pci/devices/*/modalias; do echo "PCI $($b cat $alias)"; done
for disk in /sys/class/block/vda /sys/class/block/sda; do
  at=$($b readlink -f $disk)
  while [ -e "$at" ] && [ "$at" != / ]; do
    [ ! -e "$at/modalias" ] || echo "WAY $($b cat $at/modalias)"
    at=${at%/*}
  done
done
$b mount -t ext4 -o ro /dev/vda1 /root || $b mount -t ext4 -o ro /dev/sda1 /root || echo "NO ROOT FOUND"
[ ! -x /root/sbin/init ] || exec $b switch_root /root /sbin/init
$b poweroff -f
"#;

/// The system's first program.
const SYSTEM: &str = "#!/bin/busybox sh\necho THE SYSTEM IS UP\n/bin/busybox poweroff -f\n";

/// Makes the tree of the system in `$1` of the kernel that is unpacked in `$2`: busybox, kernel, tables, initramfs, GRUB's
/// core in `$3`.
const MAKE: &str = r#"
set -e
tree=$1 kernel=$2 core=$3
release=$(ls $kernel/lib/modules)
depmod -b $kernel $release
mkdir -p $tree/{etc,boot/grub,bin,sbin,lib/modules/$release,proc,sys,dev} $tree.rd/{bin,dev,proc,sys,root}
printf 'ID=tiny\nPRETTY_NAME="Tiny 1"\n' >$tree/etc/os-release
cp /bin/busybox $tree/bin/; cp /bin/busybox $tree.rd/bin/
install -m 755 $tree/../system $tree/sbin/init; install -m 755 $tree/../init $tree.rd/init
cp $kernel/boot/vmlinuz-$release $tree/boot/
cp $kernel/lib/modules/$release/modules.{dep,alias,builtin,builtin.modinfo} $tree/lib/modules/$release/
for module in virtio_pci virtio_blk ext4 crc32c_generic; do
  modprobe -d $kernel -S $release --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r path; do
  inside=${path#"$kernel"}
  mkdir -p "$tree.rd$(dirname "$inside")"; cp "$path" "$tree.rd$inside"; echo "$inside" >>$tree.rd/order
done
(cd $tree.rd && find . | cpio -o -H newc --quiet | gzip -n) >$tree/boot/initrd.img-$release
cat >$tree/boot/grub/grub.cfg <<END
set root=(hd0,msdos1)
linux /boot/vmlinuz-$release console=ttyS0 quiet panic=-1
initrd /boot/initrd.img-$release
boot
END
grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o $core biosdisk part_msdos ext2 linux normal configfile
"#;

/// A disk that a BIOS starts, with a system whose initramfs has virtio's drivers and no others.
fn disk() -> Disk {
    let (work, disk) = (scratch(), Disk::with_sfdisk(192 * MIB, "label: dos\nstart=2048, type=83, bootable\n"));
    let at = |name: &str| work.path().join(name);
    let package = run("bash", &["-c", &format!(". {}/../scripts/lib.sh; kernel_package", env!("CARGO_MANIFEST_DIR"))]);
    run("dpkg-deb", &["-x", package.trim(), arg(&at("kernel"))]);
    std::fs::write(at("init"), INIT).unwrap();
    std::fs::write(at("system"), SYSTEM).unwrap();
    run("bash", &["-c", MAKE, "make", arg(&at("tree")), arg(&at("kernel")), arg(&at("core"))]);
    let image = arg(&disk.path);
    run("mke2fs", &["-q", "-t", "ext4", "-d", arg(&at("tree")), "-E", "offset=1048576", image, "190M"]);
    // GRUB's own layout on an MBR: boot code before the table, the core right behind it.
    let boot = "/usr/lib/grub/i386-pc/boot.img";
    run("dd", &[&format!("if={boot}"), &format!("of={image}"), "bs=440", "count=1", "conv=notrunc", "status=none"]);
    let core = format!("if={}", arg(&at("core")));
    run("dd", &[&core, &format!("of={image}"), "bs=512", "seek=1", "conv=notrunc", "status=none"]);
    disk
}

/// The manifest that a capture of `disk` makes.
fn manifest(disk: &Path) -> Manifest {
    let store = scratch();
    Agent::on_folder(store.path()).capture(&[disk], "tiny", &[]).done();
    let found = run("find", &[arg(store.path()), "-name", "manifest.json"]);
    Manifest::read(&std::fs::read(found.trim()).unwrap()).unwrap()
}

/// Starts the disk on `bus`: what came up, and what the check says of a machine like this.
fn boots(disk: &Disk, bus: Bus, manifest: &Manifest) -> (bool, Verdict) {
    let copy = disk.copy();
    let mut machine = Machine::new(Firmware::Bios).disk(bus, &copy.path).start();
    machine.goes_off(LIMIT);
    let console = machine.console();
    let lines = |mark: &str| {
        let of = |line: &str| Some(line.split_once(mark)?.1.trim().to_owned());
        console.lines().filter_map(of).collect::<Vec<String>>()
    };
    let (pci, mut way) = (lines("PCI "), lines("WAY "));
    assert!(!pci.is_empty(), "the kernel did not start: {console}");
    way.reverse();
    let hardware = Hardware { pci, ..Hardware::default() };
    let seen = DiskSeen { name: "vda".to_owned(), sector: 512, controllers: way, ..DiskSeen::default() };
    let target = Target { firmware: Some("bios"), hardware: Some(&hardware), disks: &[seen] };
    let up = console.contains("THE SYSTEM IS UP");
    assert!(up || console.contains("NO ROOT FOUND"), "{console}");
    (up, judge(manifest.boot.as_ref(), manifest, &target))
}

#[test]
fn a_controller_that_the_initramfs_lacks_gets_a_no_and_booting_it_proves_it() {
    let disk = disk();
    let manifest = manifest(&disk.path);
    let (up, verdict) = boots(&disk, Bus::Virtio, &manifest);
    assert_eq!((up, verdict.answer), (true, Answer::Yes), "{verdict}");
    let (up, verdict) = boots(&disk, Bus::Sata, &manifest);
    assert_eq!((up, verdict.answer), (false, Answer::No), "{verdict}");
    assert!(verdict.to_string().contains("module ahci"), "{verdict}");
}

/// The harness itself: a machine whose processors stand still before the first process is started once more.
#[test]
fn an_emulator_that_stands_still_is_started_anew() {
    let mut machine = direct("clone.mode=restore").start();
    let _ = machine.waits_for("] ", LIMIT);
    machine.monitor("stop");
    let line = machine.waits_for("RAMET: ", LIMIT);
    says(&line, &["clone.server"]);
    assert!(machine.restarted());
}
