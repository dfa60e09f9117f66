//! Whole trees that follow.
//!
//! In: trees of Debian, Fedora and others. Out: nothing.
//! Promise: as in the folder above.

use super::*;
use crate::testing::{listing, run};

/// What a GRUB menu of Debian 12 looks like.
const MENU: &str = "\
if [ x$feature_platform_search_hint = xy ]; then
  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2  0a1b2c3d-1111-4aaa-8bbb-00112233aabb
else
  search --no-floppy --fs-uuid --set=root 0a1b2c3d-1111-4aaa-8bbb-00112233aabb
fi
menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple-0a1b2c3d-1111-4aaa-8bbb-00112233aabb' {
\tlinux\t/boot/vmlinuz-6.1.0-1-amd64 root=UUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb ro quiet
}
";

/// Every file that follows; a blank stands for nothing special about it.
const FILES: [(&str, u32, &str); 22] = [
    (
        "/etc/fstab",
        0o644,
        "# /dev/sda2\nUUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb / ext4 errors=remount-ro 0 1\nUUID=1A2B-3C4D /boot/efi vfat umask=0077 0 1\nUUID=12121212-3434-4565-8787-909090909090 none swap sw 0 0\nLABEL=data /srv ext4 defaults 0 2\n",
    ),
    ("/etc/crypttab", 0o600, "swap PARTUUID=5e1f5e1f-0001-4002-8003-000400050006 /dev/urandom swap\n"),
    ("/etc/default/grub", 0o644, "GRUB_CMDLINE_LINUX=\"resume=UUID=12121212-3434-4565-8787-909090909090\"\n"),
    ("/etc/default/grub.d/50-own.cfg", 0o644, "GRUB_FORCE_PARTUUID=5e1f5e1f-0001-4002-8003-000400050006\n"),
    ("/etc/grub.d/40_custom", 0o755, "#!/bin/sh\nexec tail -n +3 $0\nsearch --fs-uuid 1A2B-3C4D\n"),
    ("/etc/kernel/cmdline", 0o644, "root=UUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb ro"),
    ("/etc/initramfs-tools/conf.d/resume", 0o644, "RESUME=UUID=12121212-3434-4565-8787-909090909090\n"),
    (
        "/etc/dracut.conf.d/resume.conf",
        0o644,
        "add_device=\"/dev/disk/by-uuid/12121212-3434-4565-8787-909090909090\"\n",
    ),
    ("/etc/udev/rules.d/99-own.rules", 0o644, "ENV{ID_FS_UUID}==\"1A2B-3C4D\", SYMLINK+=\"esp\"\n"),
    ("/boot/grub/grub.cfg", 0o600, MENU),
    (
        "/boot/grub/grubenv",
        0o644,
        "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-0a1b2c3d-1111-4aaa-8bbb-00112233aabb\n####",
    ),
    ("/boot/grub2/custom.cfg", 0o644, "set root=0a1b2c3d-1111-4aaa-8bbb-00112233aabb\n"),
    ("/boot/loader/entries/abc-6.1.conf", 0o644, "options root=UUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb ro\n"),
    (
        "/boot/efi/EFI/debian/grub.cfg",
        0o700,
        "search.fs_uuid 0a1b2c3d-1111-4aaa-8bbb-00112233aabb root hd0,gpt2 \nset prefix=($root)'/boot/grub'\n",
    ),
    ("/boot/efi/loader/entries/arch.conf", 0o644, "options root=PARTUUID=5e1f5e1f-0001-4002-8003-000400050006 rw\n"),
    ("/boot/extlinux/extlinux.conf", 0o644, "append root=PARTUUID=0a1b2c3d-02 ro\n"),
    ("/boot/refind_linux.conf", 0o644, "\"Boot\" \"ro root=UUID=0a1b2c3d-1111-4aaa-8bbb-00112233aabb\"\n"),
    ("/boot/firmware/cmdline.txt", 0o644, "root=PARTUUID=0a1b2c3d-02 rootwait"),
    ("/etc/mdadm/mdadm.conf", 0o644, "DEVICE /dev/disk/by-partuuid/5e1f5e1f-0001-4002-8003-000400050006\n"),
    ("/etc/systemd/system/srv.mount", 0o644, "[Mount]\nWhat=/dev/disk/by-uuid/01D9A1B2C3D4E5F6\nWhere=/srv\n"),
    (
        "/etc/systemd/system/dev-disk-by\\x2duuid-12121212\\x2d3434\\x2d4565\\x2d8787\\x2d909090909090.swap",
        0o644,
        "[Swap]\nWhat=/dev/disk/by-uuid/12121212-3434-4565-8787-909090909090\n",
    ),
    ("/etc/systemd/system/dev-disk-by\\x2duuid-1A2B\\x2d3C4D.device.d/wait.conf", 0o644, "[Unit]\nJobTimeoutSec=9\n"),
];

#[test]
fn every_file_names_the_new_ids_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), &FILES);
    plant(
        folder.path(),
        &[("/etc/hostname", 0o644, "web01\n"), ("/etc/machine-id", 0o444, "0a1b2c3d11114aaa8bbb00112233aabb\n")],
    );
    let mut root = opened(folder.path());
    assert_eq!(follow(&mut root, &renamed()).unwrap(), []);
    let changes = root.commit().unwrap();
    for (path, mode, before) in FILES {
        let path = replaced(path);
        assert_eq!(read(folder.path(), &path), replaced(before), "{path}");
        assert!(
            changes.iter().any(|change| change.what == path || before.contains("JobTimeoutSec")),
            "{path}: {changes:?}"
        );
        let found = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.path().join(&path[1..])).unwrap());
        assert!(found & 0o777 == mode || path.ends_with("wait.conf"), "{path}: {found:o}");
    }
    let old = ["0a1b2c3d-", "12121212-3434", "12121212\\x2d3434", "1A2B", "01D9A1", "5e1f5e1f"];
    for (path, bytes) in listing(folder.path()) {
        let text = format!("{} {}", path.display(), String::from_utf8_lossy(&bytes));
        assert!(!old.iter().any(|old| text.contains(old)), "{text}");
    }
    assert_eq!(read(folder.path(), "/etc/machine-id"), "0a1b2c3d11114aaa8bbb00112233aabb\n");
    // Again: nothing is left to do.
    follow(&mut root, &renamed()).unwrap();
    assert_eq!(root.commit().unwrap(), []);
}

#[test]
fn units_named_after_a_uuid_are_renamed_with_their_links() {
    let folder = tempfile::tempdir().unwrap();
    let unit = |id: &str, end: &str| format!("dev-disk-by\\x2duuid-{}.{end}", id.replace('-', "\\x2d"));
    let (old, new) = (unit(SWAP.0, "swap"), unit(SWAP.1, "swap"));
    let units = folder.path().join("etc/systemd/system");
    std::fs::create_dir_all(units.join("swap.target.wants")).unwrap();
    std::fs::write(units.join(&old), "[Swap]\n").unwrap();
    std::os::unix::fs::symlink(format!("../{old}"), units.join("swap.target.wants").join(&old)).unwrap();
    std::os::unix::fs::symlink("/dev/null", units.join("tmp.mount")).unwrap();
    let mut root = opened(folder.path());
    follow(&mut root, &renamed()).unwrap();
    root.commit().unwrap();
    assert!(units.join(&new).exists() && !units.join(&old).exists());
    let wants = units.join("swap.target.wants");
    assert_eq!(std::fs::read_link(wants.join(&new)).unwrap(), Path::new(&format!("../{new}")));
    assert!(std::fs::symlink_metadata(wants.join(&old)).is_err());
    assert_eq!(std::fs::read_link(units.join("tmp.mount")).unwrap(), Path::new("/dev/null"));
}

#[test]
fn what_is_not_known_to_be_read_at_boot_is_named_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("disk {}\n", ROOT.0);
    plant(folder.path(), &[("/etc/monitor/agent.ini", 0o644, &text), ("/etc/issue", 0o644, "hello\n")]);
    let mut root = opened(folder.path());
    let left = follow(&mut root, &renamed()).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].path.as_str(), &left[0].names[..]),
        ("/etc/monitor/agent.ini", &["disk 0 partition 2".to_owned()][..])
    );
    root.commit().unwrap();
    assert_eq!(read(folder.path(), "/etc/monitor/agent.ini"), text);
}

#[test]
fn traps_in_the_place_of_files_are_errors_and_nothing_is_written() {
    for trap in ["fifo", "link", "large"] {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path(), &[("/etc/default/grub", 0o644, &format!("x {}\n", ROOT.0))]);
        let fstab = folder.path().join("etc/fstab");
        match trap {
            "fifo" => drop(run("mkfifo", &[fstab.to_str().unwrap()])),
            "link" => std::os::unix::fs::symlink("fstab", &fstab).unwrap(),
            _ => std::fs::File::create(&fstab).unwrap().set_len(10 << 30).unwrap(),
        }
        let mut root = opened(folder.path());
        assert!(follow(&mut root, &renamed()).is_err(), "{trap}");
        assert!(read(folder.path(), "/etc/default/grub").contains(ROOT.0));
    }
}

#[test]
fn a_link_out_of_the_tree_leads_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), format!("UUID={}\n", ROOT.0)).unwrap();
    std::fs::create_dir_all(folder.path().join("etc")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("etc/fstab")).unwrap();
    let mut root = opened(folder.path());
    follow(&mut root, &renamed()).unwrap();
    root.commit().unwrap();
    assert!(std::fs::read_to_string(outside.path()).unwrap().contains(ROOT.0));
}

/// `grub-mkconfig` in a root of its own: an ext4 with another UUID, and a menu that followed; it writes the same again.
#[test]
fn a_menu_that_followed_is_the_one_that_grub_mkconfig_writes() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("mkconfig.sh");
    std::fs::write(&script, include_str!("mkconfig.sh")).unwrap();
    let (image, at) = (folder.path().join("root.img"), folder.path().join("root"));
    let args = |step, uuid| [script.to_str().unwrap(), step, image.to_str().unwrap(), at.to_str().unwrap(), uuid];
    let before = run("bash", &args("make", ROOT.0));
    assert!(before.matches(ROOT.0).count() >= 6, "{before}");
    let after = run("bash", &args("again", ROOT.1));
    assert_eq!(renamed().rewrite(before.as_bytes()).map(|text| String::from_utf8(text).unwrap()), Some(after));
}
