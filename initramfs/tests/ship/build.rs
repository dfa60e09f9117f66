//! Builds as an operator makes them.
//!
//! In: Debian's kernel, a small agent. Out: passed or failed tests.
//! Promise: the same input gives the same bytes; in the initramfs is what the agent reads, and nothing else.

use crate::common::{EPOCH, Yard, arg, kernel, run};
use std::fs;
use std::path::Path;

/// File names of the libraries that `ldd` lists, ascending.
fn needed_by(programs: &[&str]) -> Vec<String> {
    let mut all = std::collections::BTreeSet::new();
    for program in programs {
        let said = std::process::Command::new("ldd").arg(format!("/usr/sbin/{program}")).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        let paths = text.split_whitespace().filter(|word| word.starts_with("/lib"));
        all.extend(paths.map(|path| path.rsplit('/').next().unwrap().to_owned()));
    }
    all.into_iter().collect()
}

#[test]
fn two_builds_are_equal_byte_for_byte_whatever_the_clock_the_threads_and_the_folder() {
    let yard = Yard::new();
    let one = yard.built("one", &["--threads", "1"]);
    // Another folder, another time of the agent's file, another number of threads, another umask.
    let copy = yard.path("copy");
    fs::copy(&yard.agent, &copy).unwrap();
    run("touch", &["-d", "2001-02-03", arg(&copy)]);
    let two = yard.built("deep/er/two", &["--threads", "3", "--agent", arg(&copy)]);
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let wanted = "build.json grubx64.efi initramfs.zst ipxe.efi mmx64.efi ramet.efi ramet.iso shimx64.efi snponly.efi \
        undionly.kpxe vmlinuz";
    assert_eq!(names(&one), wanted.split_whitespace().collect::<Vec<_>>());
    assert_eq!(names(&one), names(&two));
    for name in names(&one) {
        assert!(fs::read(one.join(&name)).unwrap() == fs::read(two.join(&name)).unwrap(), "{name:?} differs");
    }
}

#[test]
fn a_package_and_its_unpacked_files_give_the_same_initramfs() {
    let yard = Yard::new();
    let unpacked = yard.built("unpacked-kernel", &["--only", "initramfs"]);
    let args = ["--kernel", arg(&kernel().package), "--set", "vm", "--level", "1", "--only", "initramfs"];
    let output = yard.run("package", &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["initramfs.zst", "vmlinuz", "build.json"] {
        assert!(fs::read(unpacked.join(name)).unwrap() == fs::read(yard.path("package").join(name)).unwrap(), "{name}");
    }
    let kernel = fs::read(kernel().vmlinuz()).unwrap();
    assert!(fs::read(unpacked.join("vmlinuz")).unwrap() == kernel);
}

#[test]
fn the_initramfs_holds_the_agent_its_modules_and_its_settings_and_nothing_else() {
    let yard = Yard::new();
    let key = format!("sha256:{}", "ab".repeat(32));
    let conf = yard.file("conf", "clone.then=poweroff\n");
    let out = yard.built(
        "out",
        &["--only", "initramfs", "--key", &key, "--server", "https://10.0.0.1:8443", "--conf", arg(&conf)],
    );
    let initramfs = out.join("initramfs.zst");
    run("zstd", &["-tq", arg(&initramfs)]);
    let list = run("bash", &["-ec", "zstd -dcq \"$1\" | cpio -tv --quiet", "list", arg(&initramfs)]);
    let modules = format!("lib/modules/{}/", kernel().version);
    let mut fixed = Vec::new();
    for line in list.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(&fields[2..4], ["root", "root"], "{line}");
        assert!(line.contains("Feb  3 00:00") || line.contains("Feb  3  2026"), "{line}");
        let name = line.rsplit(' ').find(|word| !word.starts_with('/')).unwrap();
        let name = if line.contains(" -> ") { fields[fields.len() - 3] } else { name };
        match name.strip_prefix(&modules) {
            Some(rest) if rest.starts_with("kernel") => {
                assert!(rest.ends_with(".ko") || line.starts_with('d'), "{line}")
            }
            Some(rest) => assert!(rest.starts_with("modules."), "{line}"),
            None => fixed.push(format!("{} {name}", fields[0])),
        }
    }
    let wanted = [
        "drwxr-xr-x dev",
        "crw------- dev/console",
        "crw-rw-rw- dev/null",
        "drwxr-xr-x etc",
        "drwxr-xr-x etc/ramet",
        "-rw-r--r-- etc/ramet/build.json",
        "-rw-r--r-- etc/ramet/missing-firmware",
        "-rw-r--r-- etc/ramet/ramet.conf",
        "-rwxr-xr-x init",
        "drwxr-xr-x lib",
        "drwxr-xr-x lib/modules",
        &format!("drwxr-xr-x {}", modules.trim_end_matches('/')),
        "drwxr-xr-x proc",
        "drwxr-xr-x run",
        "drwxr-xr-x sbin",
        "lrwxrwxrwx sbin/modprobe",
        "drwxr-xr-x sys",
        "drwxr-xr-x tmp",
    ];
    // The programs, and what ldd says that they need.
    let is_library = |line: &String| line.contains(" lib64") || line.contains(" lib/x86_64-linux-gnu");
    let (libraries, fixed): (Vec<String>, Vec<String>) = fixed.into_iter().partition(is_library);
    let mut aboard: Vec<&str> =
        libraries.iter().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name).collect();
    aboard.retain(|name| name.contains(".so"));
    aboard.sort_unstable();
    assert_eq!(aboard, needed_by(&["e2fsck", "ntfsresize", "resize2fs"]));
    let programs = ["-rwxr-xr-x sbin/e2fsck", "-rwxr-xr-x sbin/ntfsresize", "-rwxr-xr-x sbin/resize2fs"];
    let (found, fixed): (Vec<String>, Vec<String>) =
        fixed.into_iter().partition(|line| line.starts_with('-') && line.contains(" sbin/"));
    assert_eq!(found, programs);
    assert_eq!(fixed, wanted);
    let console = list.lines().find(|line| line.ends_with("dev/console")).unwrap();
    assert!(console.contains(" 5,   1 "), "{console}");

    let root = yard.unpack(&out);
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert!(fs::read(root.join("init")).unwrap() == fs::read(&yard.agent).unwrap());
    assert_eq!(fs::read_link(root.join("sbin/modprobe")).unwrap(), Path::new("/init"));
    let settings = format!("clone.key={key}\nclone.server=https://10.0.0.1:8443\nclone.then=poweroff\n");
    assert_eq!(read("etc/ramet/ramet.conf"), settings);
    let build: serde_json::Value = serde_json::from_str(&read("etc/ramet/build.json")).unwrap();
    let wanted = serde_json::json!({"version": "9.8.7-test", "built": EPOCH.parse::<i64>().unwrap(), "kernel": kernel().version});
    assert_eq!(build, wanted);
    for module in ["ext4/ext4.ko", "fat/vfat.ko"] {
        let name = format!("kernel/fs/{module}");
        let aboard = fs::read(root.join(&modules).join(&name)).unwrap();
        assert!(aboard == fs::read(kernel().modules().join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn the_report_has_the_hash_of_every_file_and_an_older_build_is_replaced() {
    let yard = Yard::new();
    let out = yard.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("ramet.iso"), "an older one").unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let output = yard.build("out", &["--only", "uki", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&fs::read(out.join("build.json")).unwrap()).unwrap(),
        report
    );
    let files = report["files"].as_object().unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["initramfs.zst", "ramet.efi", "vmlinuz"]);
    for (name, made) in files {
        let path = out.join(name);
        let sum = run("sha256sum", &[arg(&path)]);
        assert_eq!(made["sha256"].as_str().unwrap(), sum.split(' ').next().unwrap(), "{name}");
        assert_eq!(made["size"].as_u64().unwrap(), fs::metadata(&path).unwrap().len(), "{name}");
    }
    assert!(!out.join("ramet.iso").exists() && out.join("notes.txt").exists());
    assert_eq!((&report["token"], &report["set"]), (&false.into(), &"vm".into()));
    assert!(report["modules"].as_u64().unwrap() > 80);
}
