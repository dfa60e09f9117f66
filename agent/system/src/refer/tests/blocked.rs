//! Ids that had better stay.
//!
//! In: trees with an initramfs, programs and modules of GRUB, kernels, a Windows. Out: nothing.
//! Promise: what would not start afterwards is named, and what would is not.

use super::*;
use crate::root::RootError;
use crate::testing::run;

/// A cpio with these files, packed by `pack` (a program that filters), behind an archive that is not packed.
fn initramfs(files: &[(&str, &str)], pack: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "early/kernel/x86/microcode/GenuineIntel.bin", b"microcode");
    for (path, text) in files {
        write(folder.path(), &format!("main/{path}"), text.as_bytes());
    }
    let script = format!(
        "cd early && find . | cpio -o -H newc --quiet >../image && cd ../main && find . | cpio -o -H newc --quiet | {pack} >>../image"
    );
    run("sh", &["-c", &format!("cd {} && {script}", folder.path().display())]);
    std::fs::read(folder.path().join("image")).unwrap()
}

/// Old ids and reasons.
fn blocked(files: &[(&str, u32, &str)]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), files);
    let found = blockers(&opened(folder.path()), &renamed()).unwrap();
    found.into_iter().map(|blocker| (blocker.old, blocker.why)).collect()
}

fn only(found: &[(String, String)], old: &str, why: &str) {
    assert!(found.len() == 1 && found[0].0 == old && found[0].1.contains(why), "{found:?}");
}

/// A program for UEFI firmware, signed or not, around `text`.
fn program(signed: bool, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes[64..68].copy_from_slice(b"PE\0\0");
    bytes[88..90].copy_from_slice(&[0x0b, 0x02]);
    bytes[196] = 16;
    if signed {
        bytes[232..240].copy_from_slice(&[0, 2, 0, 0, 8, 0, 0, 0]);
    }
    bytes.extend_from_slice(text);
    bytes
}

fn write(folder: &Path, path: &str, bytes: &[u8]) {
    let at = folder.join(path);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(at, bytes).unwrap();
}

const MENU: &str = "search --no-floppy --fs-uuid --set=root 0a1b2c3d-1111-4aaa-8bbb-00112233aabb\n";

#[test]
fn a_system_whose_files_all_follow_blocks_nothing() {
    assert_eq!(
        blocked(&[("/etc/fstab", 0o644, &format!("UUID={} / ext4\n", ROOT.0)), ("/boot/grub/grub.cfg", 0o600, "")]),
        []
    );
}

/// Blockers of a tree with one file of bytes.
fn with(path: &str, bytes: &[u8]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), path, bytes);
    let found = blockers(&opened(folder.path()), &renamed()).unwrap();
    found.into_iter().map(|blocker| (blocker.old, blocker.why)).collect()
}

#[test]
fn an_id_in_settings_of_an_initramfs_follows_as_the_kernel_unpacks_it() {
    let text = format!("RESUME=UUID={}\n", SWAP.0);
    for pack in ["cat", "gzip", "xz --check=crc32", "zstd -q"] {
        let image = initramfs(&[("conf/conf.d/resume", &text), ("conf/other", "x"), ("init", "#!/bin/sh\n")], pack);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "boot/initrd.img-6.1", &image);
        let mut root = opened(folder.path());
        assert_eq!(blockers(&root, &renamed()).unwrap(), [], "{pack}");
        follow(&mut root, &renamed()).unwrap();
        let changes = root.commit().unwrap();
        assert_eq!(changes.len(), 1, "{pack}");
        let grown = std::fs::read(folder.path().join("boot/initrd.img-6.1")).unwrap();
        assert!(grown.starts_with(&image) && grown.len().is_multiple_of(4));
        // cpio, as the kernel, lets the last one win.
        let behind = folder.path().join("behind");
        std::fs::write(&behind, &grown[image.len().next_multiple_of(4)..]).unwrap();
        let shown = run("sh", &["-c", &format!("cpio -i --to-stdout --quiet <{}", behind.display())]);
        assert_eq!(shown, format!("RESUME=UUID={}\n", SWAP.1), "{pack}");
        // Again: the old one does not count any more.
        follow(&mut root, &renamed()).unwrap();
        assert_eq!(root.commit().unwrap(), [], "{pack}");
    }
}

#[test]
fn an_id_in_names_or_programs_of_an_initramfs_stays() {
    // dracut waits for a device by the name of a file.
    let hook = format!("usr/lib/dracut/hooks/initqueue/finished/devexists-uuid-{}.sh", ROOT.0);
    let image = initramfs(&[(&hook, "")], "zstd -q");
    only(&with("efi/0123456789abcdef0123456789abcdef/6.1/initrd", &image), ROOT.0, "names it");
    let image = initramfs(&[("scripts/local-top/own", &format!("mount UUID={}\n", ROOT.0))], "gzip");
    only(&with("boot/initramfs-6.1.img", &image), ROOT.0, "names it");
    // Kernels would not find what is put behind LZ4.
    let mut image = initramfs(&[("conf/conf.d/resume", &format!("RESUME=UUID={}\n", SWAP.0))], "cat");
    assert_eq!(with("boot/initrd.img", &image), []);
    let lz4 = initramfs(&[("conf/other", "x")], "lz4 -lq");
    image.extend_from_slice(&lz4);
    only(&with("boot/initrd.img", &image), SWAP.0, "names it");
    let image = initramfs(&[("conf/conf.d/arch.conf", "DPKG_ARCH=amd64\n")], "gzip");
    assert_eq!(with("boot/initrd.img-6.1", &image), []);
}

#[test]
fn an_id_in_the_initramfs_of_a_unified_kernel_image_stays() {
    let text = format!("RESUME=UUID={}\n", SWAP.0);
    let inside = initramfs(&[("conf/conf.d/resume", &text)], "gzip");
    let folder = tempfile::tempdir().unwrap();
    let section = folder.path().join("initrd");
    std::fs::write(&section, &inside).unwrap();
    let uki = folder.path().join("boot/efi/EFI/Linux/linux.efi");
    std::fs::create_dir_all(uki.parent().unwrap()).unwrap();
    let add = format!(".initrd={}", section.display());
    let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    run("objcopy", &["--add-section", &add, "--change-section-vma", ".initrd=0x3000000", stub, uki.to_str().unwrap()]);
    let found = blockers(&opened(folder.path()), &renamed()).unwrap();
    assert!(found.len() == 1 && found[0].old == SWAP.0 && found[0].why.contains("linux.efi"), "{found:?}");
}

#[test]
fn with_an_initramfs_that_cannot_be_read_all_ids_stay() {
    for bytes in [&b"?"[..], b"\x89LZO\0\r\n", b"070701"] {
        let found = with("boot/initrd.img-6.1", bytes);
        assert_eq!(found.len(), renamed().ids().len());
        assert!(found.iter().all(|(_, why)| why.contains("could not be looked into")), "{found:?}");
    }
}

#[test]
fn an_id_in_grubs_core_image_stays() {
    let load = format!("search.fs_uuid {} root hd0,msdos1\n", ROOT.0);
    only(&blocked(&[("/boot/grub/i386-pc/load.cfg", 0o644, &load)]), ROOT.0, "core image");
    // On UEFI the program is looked into, and follows.
    assert_eq!(blocked(&[("/boot/grub/x86_64-efi/load.cfg", 0o644, &load)]), []);
}

#[test]
fn an_id_in_a_signed_program_stays_and_an_unsigned_one_follows() {
    let text = format!("search.fs_uuid {} root\0", ROOT.0);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "boot/efi/EFI/own/boot.efi", &program(true, text.as_bytes()));
    let found = blockers(&opened(folder.path()), &renamed()).unwrap();
    assert!(found.len() == 1 && found[0].why.contains("signed"), "{found:?}");
    let mut root = opened(folder.path());
    follow(&mut root, &renamed()).unwrap();
    assert_eq!(root.commit().unwrap(), []);

    write(folder.path(), "boot/efi/EFI/own/boot.efi", &program(false, text.as_bytes()));
    assert_eq!(blockers(&opened(folder.path()), &renamed()).unwrap(), []);
    follow(&mut root, &renamed()).unwrap();
    root.commit().unwrap();
    let after = std::fs::read(folder.path().join("boot/efi/EFI/own/boot.efi")).unwrap();
    assert_eq!(after, program(false, replaced(&text).as_bytes()));
}

#[test]
fn an_ext4_that_grub_could_no_longer_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "boot/grub/grub.cfg", MENU.as_bytes());
    let module = "boot/grub/x86_64-efi/ext2.mod";
    let found = |folder: &Path| blockers(&opened(folder), &renamed()).unwrap();
    // GRUB 2.06 as it was released.
    write(folder.path(), module, &[b"\x7fELF...", &(!0x0001_03d6_u32).to_le_bytes()[..]].concat());
    assert!(
        found(folder.path()).iter().any(|blocker| blocker.old == ROOT.0 && blocker.why.contains("metadata_csum_seed"))
    );
    // Debian's, as it lies on this machine.
    write(folder.path(), module, &std::fs::read("/usr/lib/grub/x86_64-efi/ext2.mod").unwrap());
    assert_eq!(found(folder.path()), []);
    let signed = std::fs::read("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed").unwrap();
    write(folder.path(), "boot/efi/EFI/debian/grubx64.efi", &signed);
    assert_eq!(found(folder.path()), []);
    // A menu that does not search for it: GRUB does not read it.
    write(folder.path(), module, b"old");
    write(folder.path(), "boot/grub/grub.cfg", format!("search --fs-uuid {}\n", ESP.0).as_bytes());
    assert_eq!(found(folder.path()), []);
}

#[test]
fn a_file_system_that_a_kernel_could_no_longer_mount_stays() {
    only(&blocked(&[("/lib/modules/3.10.0-1160.el7.x86_64/modules.dep", 0o644, "")]), ROOT.0, "3.10.0-1160");
    assert_eq!(
        blocked(&[("/usr/lib/modules/6.1.0-1-amd64/modules.dep", 0o644, ""), ("/lib/modules/extra/x", 0o644, "")]),
        []
    );
}

#[test]
fn partitions_of_a_windows_stay() {
    let found = blocked(&[("/boot/efi/EFI/Microsoft/Boot/BCD", 0o644, "regf")]);
    let olds: Vec<&str> = found.iter().map(|(old, _)| old.as_str()).collect();
    assert_eq!(olds, [PART.0, MBR.0]);
}

#[test]
fn traps_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "boot/grub/grub.cfg", b"");
    std::fs::File::create(folder.path().join("boot/grub/grub.cfg")).unwrap().set_len(10 << 30).unwrap();
    write(folder.path(), "boot/grub/x86_64-efi/ext2.mod", b"");
    let found = blockers(&opened(folder.path()), &renamed());
    assert!(matches!(found, Err(RootError::Size { .. })), "{found:?}");
}
