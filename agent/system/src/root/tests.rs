//! Traps on real file systems; what is read back is read by the standard library.

use super::{How, Kind, Links, Root, RootError, TEXT_MAX};
use crate::testing::{Mounted, listing, plant, run};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn tree(files: &[(&str, u32, &str)]) -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), files);
    let root = Root::open(folder.path()).unwrap();
    (folder, root)
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap()
}

#[test]
fn links_out_of_the_tree_lead_into_it() {
    let (folder, mut root) = tree(&[
        ("etc/absolute", 0, "-> /outside"),
        ("etc/upwards", 0, "-> ../../../../../../outside"),
        ("etc/folder", 0, "-> ../../../../../tmp"),
        ("outside", 0o644, "inside"),
    ]);
    for path in ["/etc/absolute", "etc/upwards", "/../../outside", "/etc/../../outside"] {
        assert_eq!(root.text(path).unwrap().as_deref(), Some("inside"), "{path}");
        assert_eq!(root.real(path).unwrap(), Path::new("/outside"), "{path}");
    }
    let name = format!("ramet-trap-{}", std::process::id());
    root.write(format!("/etc/folder/{name}"), b"x", &How::default()).unwrap();
    root.commit().unwrap();
    assert!(!Path::new("/tmp").join(&name).exists());
    assert_eq!(read(folder.path(), &format!("tmp/{name}")), "x");
}

#[test]
fn a_link_to_a_device_of_this_machine_is_replaced_and_the_device_untouched() {
    let device = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(device.path(), "disk").unwrap();
    let up = format!("-> ../../../../../..{}", device.path().display());
    let (folder, mut root) = tree(&[("etc/hostname", 0, up.as_str())]);
    assert!(root.write("/etc/hostname", b"web02\n", &How::default()).unwrap());
    root.commit().unwrap();
    assert_eq!(std::fs::read_to_string(device.path()).unwrap(), "disk");
    assert_eq!(read(folder.path(), "etc/hostname"), "web02\n");
    assert!(std::fs::symlink_metadata(folder.path().join("etc/hostname")).unwrap().is_file());
}

#[test]
fn refuses_what_is_no_regular_file() {
    let (folder, mut root) = tree(&[("etc/folder/", 0o755, "")]);
    let at = |name: &str| folder.path().join("etc").join(name);
    run("mkfifo", &[at("fifo").to_str().unwrap()]);
    run("mknod", &[at("block").to_str().unwrap(), "b", "7", "0"]);
    run("mknod", &[at("char").to_str().unwrap(), "c", "1", "5"]);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("char", at("link")).unwrap();
    for name in ["fifo", "block", "char", "socket", "folder", "link"] {
        let path = format!("/etc/{name}");
        let before = listing(folder.path());
        let found = root.read(&path, 10).unwrap_err();
        assert!(matches!(found, RootError::Kind { .. }), "{name}: {found}");
        let found = root.write(&path, b"x", &How::default()).unwrap_err();
        assert!(matches!(found, RootError::Kind { .. }), "{name}: {found}");
        assert!(root.is_unchanged());
        assert_eq!(listing(folder.path()), before);
    }
    assert!(matches!(root.list("/etc/fifo"), Err(RootError::Kind { .. })));
    assert!(matches!(root.write("/etc/char/x", b"", &How::default()), Err(RootError::Kind { .. })));
}

#[test]
fn refuses_to_follow_the_kernels_own_links() {
    // With the tree at `/` there is a /proc, and its links are no paths: they lead anywhere.
    let root = Root::open(Path::new("/")).unwrap();
    let pid = std::process::id();
    let file = tempfile::tempfile().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    assert_eq!(root.read(format!("/proc/{pid}/fd/{fd}"), 10).unwrap(), None);
}

#[test]
fn refuses_loops_long_paths_and_large_files_with_both_numbers() {
    let (folder, root) = tree(&[("a", 0, "-> b"), ("b", 0, "-> a"), ("etc/os-release", 0o644, "")]);
    assert!(matches!(root.read("/a", 10), Err(RootError::Loop { limit: 40, .. })));
    assert!(matches!(root.read("/x".repeat(3000), 10), Err(RootError::Long { bytes: 6000, limit: 4096 })));
    let file = std::fs::File::options().write(true).open(folder.path().join("etc/os-release")).unwrap();
    file.set_len(10 << 30).unwrap();
    let found = root.text("/etc/os-release").unwrap_err();
    assert_eq!(found.to_string(), format!("/etc/os-release has {} bytes, {TEXT_MAX} are read at most", 10_u64 << 30));
    std::fs::write(folder.path().join("latin"), [0xe9]).unwrap();
    assert!(matches!(root.text("/latin"), Err(RootError::Text { .. })));
}

#[test]
fn nothing_is_written_before_the_commit_and_all_of_it_reads_as_if() {
    let (folder, mut root) = tree(&[
        ("etc/a", 0o644, "old\n"),
        ("etc/hidden", 0o640, "HIDDEN\n"),
        ("etc/gone/x/y", 0o644, "1"),
        ("etc/here", 0, "-> a"),
    ]);
    let before = listing(folder.path());
    root.write("/etc/here", b"new\n", &How::say("renamed")).unwrap();
    root.write("/etc/deep/er/file", b"1\n", &How::default()).unwrap();
    root.link("/etc/link", "deep/er/file", "linked").unwrap();
    root.remove("/etc/hidden", "removed").unwrap();
    root.remove("/etc/gone", "removed").unwrap();
    root.write("/etc/key", b"PRIVATE\n", &How { secret: true, mode: Some(0o600), ..How::default() }).unwrap();
    assert_eq!(root.text("/etc/a").unwrap().as_deref(), Some("new\n"));
    assert_eq!(root.text("/etc/link").unwrap().as_deref(), Some("1\n"));
    assert_eq!(root.list("/etc").unwrap(), ["a", "deep", "here", "key", "link"]);
    assert_eq!(root.stat("/etc/gone/x/y").unwrap(), None);
    let diff = root.diff().unwrap();
    for part in [
        "--- a/etc/a\n+++ b/etc/a\n@@ -1,1 +1,1 @@\n-old\n+new\n",
        "# link to deep/er/file",
        "--- a/etc/gone/x/y\n+++ /dev/null",
    ] {
        assert!(diff.contains(part), "{part} in {diff}");
    }
    assert!(!diff.contains("HIDDEN") && diff.contains("a file goes, not shown"), "{diff}");
    assert!(!diff.contains("PRIVATE") && diff.contains("not shown"), "{diff}");
    assert_eq!(listing(folder.path()), before);

    let changes = root.commit().unwrap();
    let what: Vec<&str> = changes.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "/etc/a",
            "/etc/deep",
            "/etc/deep/er",
            "/etc/deep/er/file",
            "/etc/link",
            "/etc/hidden",
            "/etc/gone",
            "/etc/key"
        ]
    );
    assert_eq!(changes[0].how, "renamed");
    assert_eq!(read(folder.path(), "etc/a"), "new\n");
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("etc/a"), mode("etc/key"), mode("etc/deep/er/file")), (0o644, 0o600, 0o644));
    assert!(!folder.path().join("etc/gone").exists());
    assert!(listing(folder.path()).iter().all(|(path, _)| !path.to_string_lossy().contains("ramet")));
}

#[test]
fn what_is_there_already_is_no_change() {
    let (_folder, mut root) = tree(&[("etc/a", 0o640, "same"), ("etc/l", 0, "-> a")]);
    assert!(!root.write("/etc/a", b"same", &How::default()).unwrap());
    assert!(!root.link("/etc/l", "a", "").unwrap());
    assert!(!root.remove("/etc/none", "").unwrap());
    assert!(!root.mkdir("/etc", 0o755, (0, 0)).unwrap());
    assert!(root.write("/etc/a", b"same", &How { mode: Some(0o600), ..How::default() }).unwrap());
    assert!(root.write("/etc/a", b"same", &How { mode: Some(0o640), ..How::default() }).unwrap());
    assert!(root.is_unchanged(), "staged and staged back");
    root.remove("/etc/l", "").unwrap();
    root.link("/etc/l", "a", "").unwrap();
    assert!(root.is_unchanged());
}

#[test]
fn a_folder_that_goes_and_comes_again_holds_only_what_is_new() {
    let (folder, mut root) = tree(&[("var/cloud/old", 0o644, "1"), ("var/cloud/in/er", 0o644, "1")]);
    root.remove("/var/cloud", "cleared").unwrap();
    root.write("/var/cloud/seed/new", b"2", &How::default()).unwrap();
    root.commit().unwrap();
    let names: Vec<_> = listing(folder.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["var", "var/cloud", "var/cloud/seed", "var/cloud/seed/new"].map(std::path::PathBuf::from));
}

#[test]
fn refuses_a_file_in_the_place_of_a_folder_that_goes() {
    let (folder, mut root) = tree(&[("etc/a/b", 0o644, "1")]);
    root.remove("/etc/a", "removed").unwrap();
    assert!(matches!(root.write("/etc/a", b"file", &How::default()), Err(RootError::Kind { .. })));
    assert!(matches!(root.link("/etc/a", "x", ""), Err(RootError::Kind { .. })));
    root.commit().unwrap();
    assert!(!folder.path().join("etc/a").exists());
    root.write("/etc/a", b"file", &How::default()).unwrap();
    root.commit().unwrap();
    assert_eq!(read(folder.path(), "etc/a"), "file");
}

#[test]
fn the_other_name_of_a_hard_linked_file_keeps_its_contents() {
    let (folder, mut root) = tree(&[("etc/a", 0o644, "old")]);
    std::fs::hard_link(folder.path().join("etc/a"), folder.path().join("etc/b")).unwrap();
    assert_eq!(root.stat("/etc/a").unwrap().unwrap().links, 2);
    root.write("/etc/a", b"new", &How::default()).unwrap();
    root.commit().unwrap();
    assert_eq!((read(folder.path(), "etc/a").as_str(), read(folder.path(), "etc/b").as_str()), ("new", "old"));
}

#[test]
fn links_are_replaced_when_the_caller_says_so() {
    let (folder, mut root) = tree(&[("etc/a", 0o644, "old"), ("etc/l", 0, "-> a")]);
    root.write("/etc/l", b"own", &How { links: Links::Replace, ..How::default() }).unwrap();
    root.commit().unwrap();
    assert_eq!((read(folder.path(), "etc/a").as_str(), read(folder.path(), "etc/l").as_str()), ("old", "own"));
    assert_eq!(root.lstat("/etc/l").unwrap().unwrap().kind, Kind::File);
}

/// On each kind of file system that this kernel writes.
fn on_each(body: impl Fn(&str, &Mounted)) {
    for (kind, size) in [("ext4", 64 << 20), ("xfs", 320 << 20), ("btrfs", 128 << 20)] {
        body(kind, &Mounted::new(kind, size));
    }
}

#[test]
fn labels_owners_and_attributes_follow() {
    on_each(|kind, fs| {
        plant(fs.path(), &[("etc/hostname", 0o640, "old\n"), ("etc/only/", 0o755, "")]);
        let at = |path: &str| fs.path().join(path).to_str().unwrap().to_owned();
        let set = |path: &str, name: &str, value: &str| {
            run("setfattr", &["-n", name, "-v", value, &at(path)]);
        };
        set("etc", "security.selinux", "system_u:object_r:etc_t:s0");
        set("etc/only", "security.selinux", "system_u:object_r:only_t:s0");
        set("etc/hostname", "security.selinux", "system_u:object_r:hostname_etc_t:s0");
        set("etc/hostname", "user.note", "kept");
        run("chown", &["12:34", &at("etc/hostname")]);
        let mut root = Root::open(fs.path()).unwrap();
        for path in ["/etc/hostname", "/etc/beside", "/etc/only/one", "/etc/new/one"] {
            root.write(path, b"web02\n", &How::default()).unwrap();
        }
        root.link("/etc/link", "hostname", "").unwrap();
        root.commit().unwrap();
        let get = |path: &str, name: &str| run("getfattr", &["-h", "--only-values", "-n", name, &at(path)]);
        let label = |path: &str| get(path, "security.selinux").split(':').nth(2).unwrap().to_owned();
        assert_eq!(label("etc/hostname"), "hostname_etc_t", "{kind}");
        assert_eq!(label("etc/beside"), "hostname_etc_t", "{kind}: as its neighbour");
        assert_eq!(label("etc/only/one"), "only_t", "{kind}: as its folder");
        assert_eq!((label("etc/new"), label("etc/new/one")), ("etc_t".into(), "etc_t".into()), "{kind}");
        assert_eq!(label("etc/link"), "hostname_etc_t", "{kind}");
        assert_eq!(get("etc/hostname", "user.note"), "kept", "{kind}");
        let meta = std::fs::metadata(at("etc/hostname")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12, 34, 0o640), "{kind}");
    });
}

#[test]
fn refuses_a_read_only_file_system_before_anything() {
    on_each(|kind, fs| {
        plant(fs.path(), &[("etc/hostname", 0o644, "old")]);
        fs.read_only();
        let mut root = Root::open(fs.path()).unwrap();
        root.write("/etc/hostname", b"new", &How::default()).unwrap();
        let found = root.commit().unwrap_err();
        assert!(
            matches!(found, RootError::Locked { .. }) && found.to_string().contains("read-only"),
            "{kind}: {found}"
        );
    });
}

#[test]
fn refuses_immutable_files_and_folders_before_anything() {
    let fs = Mounted::new("ext4", 64 << 20);
    plant(fs.path(), &[("etc/first", 0o644, "old"), ("etc/hostname", 0o644, "old"), ("still/x", 0o644, "old")]);
    let at = |path: &str| fs.path().join(path).to_str().unwrap().to_owned();
    run("chattr", &["+i", &at("etc/hostname"), &at("still")]);
    let before = listing(fs.path());
    for path in ["/etc/hostname", "/still/x", "/still/new"] {
        let mut root = Root::open(fs.path()).unwrap();
        root.write("/etc/first", b"new", &How::default()).unwrap();
        root.write(path, b"new", &How::default()).unwrap();
        let found = root.commit().unwrap_err();
        assert!(matches!(found, RootError::Locked { .. }) && found.to_string().contains("immutable"), "{found}");
        assert_eq!(listing(fs.path()), before);
    }
    run("chattr", &["-i", &at("etc/hostname"), &at("still")]);
}

#[test]
fn refuses_a_full_file_system_and_leaves_no_trace() {
    on_each(|kind, fs| {
        plant(fs.path(), &[("etc/hostname", 0o644, "old")]);
        // Root's reserve and what the file system keeps for itself are left: both ways of finding out are met.
        let mut filler = std::fs::File::create(fs.path().join("filler")).unwrap();
        let _ = std::io::copy(&mut std::io::repeat(7), &mut filler);
        drop(filler);
        let before = listing(fs.path());
        let mut root = Root::open(fs.path()).unwrap();
        root.write("/etc/hostname", b"new", &How::default()).unwrap();
        let large = vec![7; 48 << 20];
        root.write("/etc/new/large", &large, &How::default()).unwrap();
        let found = root.commit().unwrap_err();
        assert!(matches!(found, RootError::Space { .. } | RootError::Io { .. }), "{kind}: {found}");
        assert_eq!(listing(fs.path()), before, "{kind}");
    });
}

#[test]
fn a_mount_point_is_never_removed() {
    let (folder, mut root) = tree(&[("var/lib/cloud/", 0o755, "")]);
    let at = folder.path().join("var/lib/cloud");
    run("mount", &["-t", "tmpfs", "none", at.to_str().unwrap()]);
    let found = root.remove("/var/lib", "removed").unwrap_err();
    run("umount", &[at.to_str().unwrap()]);
    assert!(matches!(found, RootError::Locked { .. }), "{found}");
    assert!(root.is_unchanged());
    assert!(root.remove("/var/lib", "removed").unwrap());
}

#[test]
fn file_systems_stay_clean() {
    on_each(|kind, fs| {
        plant(fs.path(), &[("etc/a", 0o644, "old"), ("var/x/y", 0o644, "1")]);
        let mut root = Root::open(fs.path()).unwrap();
        root.write("/etc/a", b"new", &How::default()).unwrap();
        root.remove("/var/x", "").unwrap();
        root.commit().unwrap();
        drop(root);
        let file = fs.unmounted();
        let file = file.to_str().unwrap();
        match kind {
            "ext4" => run("e2fsck", &["-fn", file]),
            "xfs" => run("xfs_repair", &["-n", "-f", file]),
            _ => run("btrfs", &["check", "--readonly", file]),
        };
    });
}
