//! Firmware: found, unpacked, or listed as missing.
//!
//! In: Debian's kernel, whose modules ask for firmware. Out: passed or failed tests.
//! Promise: `modinfo -F firmware` of this machine's kmod says what is asked for.

use crate::common::{Yard, arg, kernel, run};
use std::fs;

#[test]
fn what_modules_ask_for_goes_aboard_and_what_nobody_has_is_listed() {
    let yard = Yard::new();
    let asked = |module: &str| {
        let path = kernel().modules().join(module);
        run("modinfo", &["-F", "firmware", arg(&path)]).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let tg3 = asked("kernel/drivers/net/ethernet/broadcom/tg3.ko");
    let e100 = asked("kernel/drivers/net/ethernet/intel/e100.ko");
    assert!(tg3.len() >= 3 && e100.len() >= 3, "{tg3:?} {e100:?}");
    let put = |root: &str, name: &str, bytes: &str| {
        let path = yard.path(root).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    };
    // A folder like /lib/firmware with one file plain and one compressed, and a package with a third.
    put("folder", &tg3[0], "plain");
    run("xz", &["--check=crc32", arg(&put("folder", &tg3[1], "compressed"))]);
    put("folder", "nobody/asks.bin", "nobody asks");
    put("package/lib/firmware", &e100[0], "packaged");
    put(
        "package",
        "DEBIAN/control",
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n",
    );
    let package = yard.path("firmware-x.deb");
    run("dpkg-deb", &["-b", arg(&yard.path("package")), arg(&package)]);

    let folder = yard.path("folder");
    let out = yard.built(
        "out",
        &[
            "--only",
            "initramfs",
            "--module",
            "tg3",
            "--module",
            "e100",
            "--firmware",
            arg(&folder),
            "--firmware",
            arg(&package),
        ],
    );
    let root = yard.unpack(&out);
    let read = |name: &str| fs::read_to_string(root.join("lib/firmware").join(name)).unwrap();
    assert_eq!(
        (read(&tg3[0]), read(&tg3[1]), read(&e100[0])),
        ("plain".into(), "compressed".into(), "packaged".into())
    );
    assert!(!root.join("lib/firmware/nobody").exists());
    let missing = fs::read_to_string(root.join("etc/ramet/missing-firmware")).unwrap();
    let lines: Vec<&str> = missing.lines().collect();
    assert!(lines.contains(&format!("tg3 {}", tg3[2]).as_str()), "{missing}");
    assert!(lines.contains(&format!("e100 {}", e100[1]).as_str()), "{missing}");
    assert!(!missing.contains(&format!("tg3 {}\n", tg3[0])), "{missing}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(out.join("build.json")).unwrap()).unwrap();
    let told: usize =
        report["missing_firmware"].as_object().unwrap().values().map(|files| files.as_array().unwrap().len()).sum();
    assert_eq!(told, lines.len());
}
