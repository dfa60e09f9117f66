//! The chosen modules, judged by kmod: depmod and modprobe of this machine.
//!
//! In: Debian's kernel. Out: passed or failed tests.
//! Promise: what modprobe would load for a module is aboard, and our tables say what depmod says.

use crate::common::{Yard, arg, kernel, run, scratch};
use ramet_initramfs::modules::{Modules, Set, choose};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Lines `a: b c` of a modules.dep.
fn dependencies(path: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, rest)| (name.to_owned(), rest.split_whitespace().map(str::to_owned).collect())).collect()
}

fn sorted(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What modprobe would load for `name`, in its order, by the tables that depmod made.
fn shown(root: &Path, version: &str, name: &str) -> Vec<String> {
    let args = ["-d", arg(root), "-C", "/dev/null", "-S", version, "--show-depends", name];
    let text = run("modprobe", &args);
    let prefix = format!("{}/lib/modules/{version}/", root.display());
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next()?.strip_prefix(&prefix));
    lines.map(str::to_owned).collect()
}

#[test]
fn all_that_modprobe_would_load_is_aboard_and_stands_in_an_order_that_loads() {
    let kernel = kernel();
    let root = scratch();
    fs::create_dir_all(root.path().join("lib/modules")).unwrap();
    run("cp", &["-r", arg(&kernel.modules()), arg(&root.path().join("lib/modules"))]);
    run("depmod", &["-b", arg(root.path()), &kernel.version]);
    let oracle = dependencies(&root.path().join("lib/modules").join(&kernel.version).join("modules.dep"));

    let all = Modules::open(&kernel.modules(), &kernel.version).unwrap();
    assert_eq!(all.by_name.len(), oracle.len());
    for set in [Set::All, Set::Vm] {
        let chosen = choose(&all, set, &[]).unwrap();
        let aboard: BTreeSet<&str> = chosen.modules.values().map(|(module, _)| module.path.as_str()).collect();
        assert!(aboard.len() > if set == Set::All { 500 } else { 80 }, "{} modules", aboard.len());
        for (name, (module, order)) in &chosen.modules {
            let paths: Vec<&str> = order.iter().map(|name| all.by_name[*name].path.as_str()).collect();
            let wanted: BTreeSet<&str> = oracle[&module.path].iter().map(String::as_str).collect();
            assert_eq!(paths.iter().copied().collect::<BTreeSet<_>>(), wanted, "{name}");
            for (at, path) in paths.iter().enumerate() {
                let late = oracle[*path].iter().find(|needed| !paths[..at].contains(&needed.as_str()));
                assert_eq!(late, None, "{name}: {path} stands too early");
            }
        }
        // modprobe also follows softdeps; it is slow enough to be asked only for what has some, or is often needed.
        let soft = chosen.modules.iter().filter(|(_, (module, _))| !module.info.softdeps.is_empty());
        let names: Vec<&str> =
            soft.map(|(name, _)| *name).chain(["vfat", "nvme", "usb_storage", "virtio_net"]).collect();
        assert!(names.contains(&"ext4"));
        for name in names {
            for path in shown(root.path(), &kernel.version, name) {
                assert!(aboard.contains(path.as_str()), "modprobe {name} loads {path}, which is not aboard");
            }
        }
    }
}

#[test]
fn the_tables_in_the_initramfs_are_those_that_depmod_makes_of_it() {
    let yard = Yard::new();
    let out = yard.built("out", &["--only", "initramfs"]);
    let root = yard.unpack(&out);
    let folder = root.join("lib/modules").join(&kernel().version);
    let ours = yard.path("ours");
    fs::create_dir(&ours).unwrap();
    for name in ["modules.dep", "modules.alias", "modules.softdep", "modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(folder.join(name), ours.join(name)).unwrap();
    }
    run("depmod", &["-b", arg(&root), &kernel().version]);
    let (dep, theirs) = (dependencies(&ours.join("modules.dep")), dependencies(&folder.join("modules.dep")));
    assert_eq!(dep.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, needed) in &dep {
        let set = |list: &Vec<String>| list.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(set(needed), set(&theirs[name]), "{name}");
    }
    for name in ["modules.alias", "modules.softdep"] {
        assert_eq!(sorted(&ours.join(name)), sorted(&folder.join(name)), "{name}");
    }
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        let wanted = fs::read(kernel().modules().join(name)).unwrap();
        assert!(fs::read(ours.join(name)).unwrap() == wanted, "{name}");
    }
}

#[test]
fn checksums_come_with_ext4_and_code_pages_with_vfat() {
    let all = Modules::open(&kernel().modules(), &kernel().version).unwrap();
    for set in [Set::All, Set::Vm] {
        let chosen = choose(&all, set, &[]).unwrap();
        let wanted = "crc32c_generic crc32c_intel crct10dif_pclmul nls_cp437 nls_ascii efivarfs virtio_rng ipmi_devintf softdog i6300esb \
            iTCO_wdt 8021q isofs udf xhci_pci usbhid hid_generic uas nvme";
        for name in wanted.split_whitespace() {
            assert!(chosen.modules.contains_key(name), "{name} is not in set {}", set.name());
        }
        for name in ["virtio_balloon", "hv_balloon", "nvme_rdma", "mlxsw_core"] {
            assert!(!chosen.modules.contains_key(name), "{name} is in set {}", set.name());
        }
    }
}

#[test]
fn compressed_modules_are_unpacked() {
    let kernel = kernel();
    let dir = scratch();
    let root = dir.path().join(&kernel.version);
    run("cp", &["-r", arg(&kernel.modules()), arg(&root)]);
    let plain = fs::read(root.join("kernel/fs/ext4/ext4.ko")).unwrap();
    run("xz", &["--check=crc32", arg(&root.join("kernel/fs/ext4/ext4.ko"))]);
    run("zstd", &["-q", "--rm", arg(&root.join("kernel/fs/fat/vfat.ko"))]);
    let all = Modules::open(&root, &kernel.version).unwrap();
    let chosen = choose(&all, Set::Vm, &[]).unwrap();
    let (ext4, needed) = &chosen.modules["ext4"];
    assert_eq!((ext4.path.as_str(), needed.contains(&"jbd2")), ("kernel/fs/ext4/ext4.ko", true));
    assert!(ext4.bytes().unwrap() == plain);
    assert_eq!(chosen.modules["vfat"].0.path, "kernel/fs/fat/vfat.ko");

    let cut = &fs::read(root.join("kernel/fs/ext4/ext4.ko.xz")).unwrap()[..1000];
    fs::write(root.join("kernel/fs/ext4/ext4.ko.xz"), cut).unwrap();
    let error = Modules::open(&root, &kernel.version).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("kernel/fs/ext4/ext4.ko"), "{error}");
}
