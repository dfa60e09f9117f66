//! The index against kmod's own `modprobe`, over Debian's kernel.

use super::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// An unpacked kernel package with its index: root and version. It is fetched and unpacked once, below `target/`.
fn kernel() -> &'static (PathBuf, String) {
    static KERNEL: OnceLock<(PathBuf, String)> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let script = r#"
            set -e
            mkdir -p "$1"; cd "$1"
            exec 9>.lock; flock 9
            deb=$(ls linux-image-*-amd64_*.deb 2>/dev/null | sort -V | tail -1)
            if [ -z "$deb" ]; then
              name=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | tail -1)
              apt-get -qq download "$name" >&2
              deb=$(ls linux-image-*-amd64_*.deb | sort -V | tail -1)
            fi
            tree=${deb%.deb}.tree
            if [ ! -d "$tree" ]; then
              rm -rf "$tree.new"; dpkg -x "$deb" "$tree.new"
              /sbin/depmod -b "$tree.new" "$(ls "$tree.new/lib/modules")"
              mv "$tree.new" "$tree"
            fi
            echo "$PWD/$tree $(ls "$tree/lib/modules")""#;
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels");
        let output = Command::new("bash").args(["-c", script, "-"]).arg(&target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let words = String::from_utf8(output.stdout).unwrap();
        let (root, version) = words.trim().split_once(' ').unwrap();
        (PathBuf::from(root), version.to_owned())
    })
}

/// What modprobe would load for each name, each file once.
fn modprobe(root: &Path, version: &str, names: &[&str]) -> Vec<Vec<PathBuf>> {
    let one = |name: &&str| {
        let mut command = Command::new("/sbin/modprobe");
        command.args(["-q", "--show-depends", "-S", version, "-d"]).arg(root).args(["--", name]);
        let output = command.output().unwrap();
        let mut files: Vec<PathBuf> = Vec::new();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.split_whitespace();
            if let (Some("insmod"), Some(file)) = (words.next(), words.next()) {
                let file = PathBuf::from(file);
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        files
    };
    names.iter().map(one).collect()
}

/// kmod 30 reads only the first `softdep` line of a module (btrfs has four); with several, ours loads more than it does.
fn agrees(names: &[&str]) {
    let (root, version) = kernel();
    let folder = root.join("lib/modules").join(version);
    let index = Index::read(&folder).unwrap();
    let text = std::fs::read_to_string(folder.join("modules.softdep")).unwrap();
    let of = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().replace('-', "_");
    let several = |name: &str| text.lines().filter(|line| of(line) == name).count() > 1;
    for (name, wanted) in names.iter().zip(modprobe(root, version, names)) {
        let plan = index.plan(name);
        let files: Vec<PathBuf> = plan.iter().map(|file| file.path.clone()).collect();
        if plan.iter().any(|file| several(&file.name)) {
            let both: Vec<PathBuf> = files.into_iter().filter(|file| wanted.contains(file)).collect();
            assert_eq!(both, wanted, "{name}");
        } else {
            assert_eq!(files, wanted, "{name}");
        }
    }
}

#[test]
fn modules_are_loaded_in_modprobes_order() {
    agrees(&[
        "ext4",
        "xfs",
        "btrfs",
        "f2fs",
        "vfat",
        "nvme",
        "sd_mod",
        "ahci",
        "megaraid_sas",
        "mpt3sas",
        "usb-storage",
        "uas",
        "virtio_net",
        "virtio_scsi",
        "e1000e",
        "igb",
        "ixgbe",
        "mlx5_core",
        "mlx4_en",
        "bnxt_en",
        "bnx2x",
        "tg3",
        "r8169",
        "dm_crypt",
        "dm_raid",
        "raid456",
        "8021q",
        "bonding",
        "nvme_tcp",
        "ipmi_si",
        "i6300esb",
        "iTCO_wdt",
        "hid_generic",
        "snd_hda_intel",
        "ceph",
        "nfsd",
        "cxgb4",
        "qede",
        "ice",
        "i40e",
        "sfc",
        "be2net",
        "hv_netvsc",
    ]);
}

#[test]
fn aliases_mean_what_modprobe_takes_them_for() {
    agrees(&[
        "fs-ext4",
        "fs-vfat",
        "fs-iso9660",
        "nls_cp437",
        "nls-cp437",
        "crypto-sha512",
        "rtnl-link-vlan",
        "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00",
        "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
        "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
        "virtio:d00000002v00001AF4",
        "virtio:d00000001v00001AF4",
        "usb:v0BDAp8152d3000dc00dsc00dp00icFFiscFFip00in00",
        "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
        "scsi:t-0x00",
        "scsi:t-0x05",
        "hid:b0003g0001v00000627p00000001",
        "acpi:IPI0001:",
        "no_such_module",
        "fs-no_such_fs",
        "pci:v0000FFFFd0000FFFFsv00000000sd00000000bc00sc00i00",
    ]);
}

#[test]
fn an_alias_of_several_modules_loads_them_all() {
    let (root, version) = kernel();
    let index = Index::read(&root.join("lib/modules").join(version)).unwrap();
    let names = |name: &str| index.plan(name).into_iter().map(|file| file.name).collect::<BTreeSet<_>>();
    assert!(names("crypto-crc32c").contains("crc32c_generic"));
    let both = modprobe(root, version, &["crypto-crc32c"]).remove(0);
    assert_eq!(names("crypto-crc32c").len(), both.len());
}

#[test]
fn every_module_of_the_kernel_is_loaded_after_what_it_needs() {
    let (root, version) = kernel();
    let index = Index::read(&root.join("lib/modules").join(version)).unwrap();
    assert!(index.modules.len() > 3000, "{}", index.modules.len());
    for (name, module) in &index.modules {
        let plan = index.plan(name);
        let at = |name: &str| plan.iter().position(|file| file.name == name);
        let own = at(name).unwrap();
        assert!(module.needs.iter().all(|need| at(need).is_some_and(|at| at < own)), "{name}");
    }
}

#[test]
fn what_is_built_in_needs_no_file() {
    let (root, version) = kernel();
    let index = Index::read(&root.join("lib/modules").join(version)).unwrap();
    assert!(index.is_builtin("unix") && index.plan("unix").is_empty());
    assert!(!index.is_builtin("ext4"));
}

#[test]
fn circles_of_soft_dependencies_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("modules.dep"), "a.ko: b.ko\nb.ko:\nc-d.ko:\n").unwrap();
    std::fs::write(folder.path().join("modules.softdep"), "softdep a pre: c-d\nsoftdep c_d pre: a post: b\n").unwrap();
    std::fs::write(folder.path().join("modules.alias"), "alias x:* c_d\nalias x:1* gone\n").unwrap();
    let index = Index::read(folder.path()).unwrap();
    let names = |name: &str| index.plan(name).into_iter().map(|file| file.name).collect::<Vec<_>>();
    assert_eq!(names("a"), ["b", "c_d", "a"]);
    assert_eq!(names("x:1"), ["b", "a", "c_d"]);
    assert_eq!(names("c-d"), names("c_d"));
}

#[test]
fn a_folder_without_an_index_has_no_modules() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Index::read(folder.path()).unwrap().names().count(), 0);
}
