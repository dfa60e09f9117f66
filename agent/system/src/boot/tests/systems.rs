//! Layouts of other distributions, boot code and EFI programs.

use super::super::bios::look;
use super::super::kernels::{Where, find};
use super::super::pe::{Efi, is_shim};
use crate::boot::{architecture, kernels};
use crate::root::Root;
use crate::testing::{plant, run};
use ramet_wire::boot::Code;
use std::fs;

/// A kernel for PCs as far as its header goes.
fn bzimage(release: &str) -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
    let text = format!("{release} (builder@host) #1 SMP\0");
    image[0x800..0x800 + text.len()].copy_from_slice(text.as_bytes());
    image
}

#[test]
fn kernels_are_found_where_each_distribution_puts_them() {
    let token = "0123456789abcdef0123456789abcdef";
    let tree = tempfile::tempdir().unwrap();
    plant(
        tree.path(),
        &[
            ("boot/initramfs-linux.img", 0o644, "x"),
            ("boot/initramfs-linux-fallback.img", 0o644, "x"),
            ("boot/initramfs-5.14.0-427.el9.x86_64.img", 0o644, "x"),
            ("boot/vmlinuz-5.14.0-427.el9.x86_64", 0o644, "no header: the name counts"),
            (&format!("boot/initramfs-0-rescue-{token}.img"), 0o644, "x"),
            ("boot/initrd-6.4.0-150600.21-default", 0o644, "x"),
            ("boot/vmlinuz-6.4.0-150600.21-default", 0o644, "x"),
            (&format!("efi/{token}/6.10.3/initrd"), 0o644, "x"),
            ("boot/vmlinuz", 0, "-> vmlinuz-6.4.0-150600.21-default"),
            ("boot/vmlinuz-9.9.9.old", 0o644, "x"),
            ("boot/config-6.4.0", 0o644, "x"),
            ("boot/vmlinuz-folder/", 0o755, ""),
            ("boot/vmlinuz-gone", 0, "-> /nowhere"),
            ("boot/vmlinuz-loop", 0, "-> vmlinuz-loop"),
        ],
    );
    let file = |name: &str, bytes: Vec<u8>| fs::write(tree.path().join(name), bytes).unwrap();
    file("boot/vmlinuz-linux", bzimage("6.12.1-arch1-1"));
    file(&format!("boot/vmlinuz-0-rescue-{token}"), bzimage("7.0.0"));
    file(&format!("efi/{token}/6.10.3/linux"), bzimage("6.10.3"));
    // A loop of links is an error of that path only.
    fs::remove_file(tree.path().join("boot/vmlinuz-loop")).unwrap();
    let found = find(&Root::open(tree.path()).unwrap()).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|image| {
            let initramfs = image.initramfs.as_ref().map_or("-", Where::path);
            format!("{} {} {initramfs}", image.release, image.path)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "6.12.1-arch1-1 /boot/vmlinuz-linux /boot/initramfs-linux.img".to_owned(),
            format!("6.10.3 /efi/{token}/6.10.3/linux /efi/{token}/6.10.3/initrd"),
            "6.4.0-150600.21-default /boot/vmlinuz-6.4.0-150600.21-default /boot/initrd-6.4.0-150600.21-default"
                .to_owned(),
            "5.14.0-427.el9.x86_64 /boot/vmlinuz-5.14.0-427.el9.x86_64 /boot/initramfs-5.14.0-427.el9.x86_64.img"
                .to_owned(),
            format!("7.0.0 /boot/vmlinuz-0-rescue-{token} /boot/initramfs-0-rescue-{token}.img"),
        ]
    );
}

#[test]
fn a_kernel_and_its_initramfs_in_one_program_are_found() {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("efi/EFI/Linux")).unwrap();
    fs::write(at("linux"), bzimage("6.9.9-uki")).unwrap();
    fs::create_dir_all(at("lib/modules/6.9.9-uki/kernel/drivers/block")).unwrap();
    fs::write(at("lib/modules/6.9.9-uki/kernel/drivers/block/virtio_blk.ko"), "x").unwrap();
    run(
        "sh",
        &["-c", &format!("cd {} && find lib | cpio --quiet -o -H newc | zstd -q >initrd", tree.path().display())],
    );
    let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let section = |name: &str, vma: &str| {
        format!("--add-section=.{name}={} --change-section-vma=.{name}={vma}", at(name).display())
    };
    let script = format!(
        "objcopy {} {} {stub} {}",
        section("linux", "0x2000000"),
        section("initrd", "0x3000000"),
        at("efi/EFI/Linux/debian.efi").display()
    );
    run("sh", &["-c", &script]);
    let found = kernels(&Root::open(tree.path()).unwrap()).unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.release.as_str(), one.path.as_str()), ("6.9.9-uki", "/efi/EFI/Linux/debian.efi"));
    assert_eq!(one.initramfs.as_ref().unwrap().unread, None);
    // Nobody ran depmod: there are names and no patterns, and so what is built in is not known either.
    let drivers = one.drivers.as_ref().unwrap().read().unwrap();
    assert!(drivers.iter().any(|driver| driver.name == "virtio_blk") && !one.builtin, "{drivers:?}");
}

#[test]
fn signed_programs_are_told_from_unsigned_ones_and_shim_from_others() {
    let rows = [
        ("/usr/lib/shim/shimx64.efi.signed", true, true),
        ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", true, false),
        ("/usr/lib/systemd/boot/efi/systemd-bootx64.efi", false, false),
        ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", false, false),
    ];
    for (path, signed, shim) in rows {
        let bytes = fs::read(path).unwrap();
        let efi = Efi::of(&bytes[..4096]).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(efi.signed, signed, "{path}");
        let sbat = efi.section(".sbat").map(|(at, len)| {
            let at = usize::try_from(at).unwrap();
            bytes[at..at + usize::try_from(len).unwrap()].to_vec()
        });
        assert_eq!(sbat.is_some_and(|text| is_shim(&text)), shim, "{path}");
        for cut in [0, 1, 0x3c, 0x40, 200, 300] {
            let _ = Efi::of(&bytes[..cut]);
        }
    }
    assert_eq!(Efi::of(b"MZ"), None);
    assert_eq!(Efi::of(&bzimage("6.1")), None);
}

#[test]
fn boot_code_is_grubs_anothers_or_none_and_grubs_must_lead_somewhere() {
    let boot = fs::read("/usr/lib/grub/i386-pc/boot.img").unwrap();
    let disk = |first: &[u8], second: u8| {
        let mut disk = vec![0_u8; 64 << 10];
        disk[..first.len()].copy_from_slice(first);
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[512..1024].fill(second);
        let read = |buf: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buf.copy_from_slice(&disk[at..at + buf.len()]);
            Ok(())
        };
        look(disk.len() as u64, &read).unwrap()
    };
    assert_eq!(disk(&boot, 1), (Code::Grub, true));
    assert_eq!(disk(&boot, 0), (Code::Grub, false));
    let mut far = boot;
    far[0x5c..0x64].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(disk(&far, 1), (Code::Grub, false), "a sector outside of the disk");
    assert_eq!(disk(&[0xfa, 0x31, 0xc0], 1), (Code::Other, true));
    assert_eq!(disk(&[], 1), (Code::None, true));
    assert_eq!(look(100, &|_, _| panic!("nothing to read")).unwrap(), (Code::None, true));
}

#[test]
fn the_architecture_is_that_of_its_programs() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("bin")).unwrap();
    let of = |bytes: &[u8]| {
        fs::write(tree.path().join("bin/sh"), bytes).unwrap();
        architecture(&Root::open(tree.path()).unwrap())
    };
    assert_eq!(of(&fs::read("/bin/sh").unwrap()), run("uname", &["-m"]).trim());
    assert_eq!(of(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"), "aarch64");
    assert_eq!(of(b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16"), "s390x");
    assert_eq!(of(b"#!/bin/sh"), "");
}
