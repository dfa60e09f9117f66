//! Debian's kernel with what mkinitramfs and dracut make for it.

use super::super::index::module_name;
use super::super::{initramfs, kernels};
use crate::root::Root;
use crate::testing::{plant, run};
use ramet_wire::agents::DiskSeen;
use ramet_wire::boot::{Answer, BiosCode, Code, Driver, Facts, Place, System, Target, judge};
use ramet_wire::hardware::Hardware;
use ramet_wire::manifest::Manifest;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Debian's kernel with the tables that depmod makes when it is installed, and archives made for it.
struct Kernel {
    root: PathBuf,
    release: String,
}

/// Makes `folder` once for all tests, which are processes of their own; `make` works in an empty one.
fn once(folder: &Path, make: impl FnOnce(&Path)) {
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.is_dir() {
        let half = folder.with_extension("half");
        let _ = fs::remove_dir_all(&half);
        fs::create_dir_all(&half).unwrap();
        make(&half);
        fs::rename(half, folder).unwrap();
    }
}

fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");
        let package = PathBuf::from(run("bash", &["-c", &format!(". {scripts}/lib.sh; kernel_package")]).trim());
        let root = package.with_extension("installed");
        once(&root, |half| {
            run("dpkg-deb", &["-x", package.to_str().unwrap(), half.to_str().unwrap()]);
            run("depmod", &["-b", half.to_str().unwrap(), &release_below(half)]);
        });
        let release = release_below(&root);
        Kernel { root, release }
    })
}

fn release_below(root: &Path) -> String {
    let names = fs::read_dir(root.join("lib/modules")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).next().unwrap()
}

impl Kernel {
    fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// An archive made by `script`, which sees this kernel as installed and writes to `$1/initrd`; made once.
    fn archive(&self, name: &str, script: &str) -> PathBuf {
        let folder = self.root.with_extension(format!("{name}.d"));
        once(&folder, |half| {
            // A namespace of its own: the machine of the test need not have a kernel, and keeps its folders.
            let script = format!(
                "set -e; R={}; K={}; mount --make-rprivate /; mkdir -p $1/top $1/work; \
                 mount -t overlay -o lowerdir=/usr/lib,upperdir=$1/top,workdir=$1/work overlay /usr/lib 2>/dev/null || \
                 {{ test -d /lib/modules || {{ mkdir /lib/modules; made=1; }}; }}; mkdir -p /usr/lib/modules; \
                 mount --bind $R/lib/modules /usr/lib/modules; mount --bind $R/boot /boot; \
                 ({script}) >$1/log 2>&1 || {{ cat $1/log >&2; exit 1; }}; umount /usr/lib/modules; \
                 test -z \"$made\" || rmdir /lib/modules; rm -rf $1/top $1/work",
                self.root.display(),
                self.release
            );
            run("unshare", &["-m", "bash", "-c", &script, "sh", half.to_str().unwrap()]);
        });
        folder.join("initrd")
    }

    fn mkinitramfs(&self, modules: &str) -> PathBuf {
        let script = format!(
            "cp -r /etc/initramfs-tools $1/conf; cd $1/conf; \
             sed -i 's/^MODULES=.*/MODULES={modules}/; s/^COMPRESS=.*/COMPRESS=zstd/' initramfs.conf; \
             printf 'virtio_blk\\nvirtio_pci\\next4\\n' >modules; mkinitramfs -d $1/conf -o $1/initrd $K"
        );
        self.archive(modules, &script)
    }

    fn dracut(&self) -> PathBuf {
        let script = "dracut --no-hostonly --no-hostonly-cmdline --add-drivers 'virtio_blk virtio_pci ahci sd_mod' \
            --modules 'base kernel-modules' --drivers 'virtio_blk virtio_pci ahci sd_mod ext4' --early-microcode \
            --gzip --no-compress --kver $K --force $1/initrd; xz --check=crc32 -1 -c $1/initrd >$1/i; mv $1/i $1/initrd";
        self.archive("dracut", script)
    }

    /// A Debian's tree with this kernel: its tables, and `initrd` as its initramfs.
    fn tree(&self, initrd: &Path) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        let fstab = "UUID=1f 123 / ext4 defaults 0 1\n";
        plant(
            tree.path(),
            &[("etc/os-release", 0o644, release), ("etc/fstab", 0o644, fstab), ("lib", 0, "-> usr/lib")],
        );
        let folder = tree.path().join("usr/lib/modules").join(&self.release);
        fs::create_dir_all(&folder).unwrap();
        for name in ["modules.dep", "modules.alias", "modules.builtin", "modules.builtin.modinfo"] {
            fs::copy(self.modules().join(name), folder.join(name)).unwrap();
        }
        fs::create_dir_all(tree.path().join("boot")).unwrap();
        for name in ["vmlinuz", "config"] {
            let name = format!("{name}-{}", self.release);
            fs::copy(self.root.join("boot").join(&name), tree.path().join("boot").join(&name)).unwrap();
        }
        fs::copy(initrd, tree.path().join(format!("boot/initrd.img-{}", self.release))).unwrap();
        tree
    }
}

/// Names of modules in an initramfs, by lsinitramfs.
fn listed(initrd: &Path) -> BTreeSet<String> {
    let list = run("lsinitramfs", &[initrd.to_str().unwrap()]);
    list.lines().filter(|line| line.contains("lib/modules/")).filter_map(module_name).collect()
}

/// The image of a Debian with these facts, on a disk that a BIOS starts.
fn verdict(system: System, pci: &[&str], disk: &[&str]) -> ramet_wire::boot::Verdict {
    let mut manifest =
        Manifest::read(include_bytes!("../../../../../server/wire/golden/v1/valid/manifest-boot")).unwrap();
    let facts = Facts {
        systems: vec![system],
        bios: vec![BiosCode { disk: 0, code: Code::Grub, next: true }],
        ..Facts::default()
    };
    facts.check(&manifest.disks).unwrap();
    manifest.boot = Some(facts);
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let hardware = Hardware { pci: texts(pci), ..Hardware::default() };
    let seen = DiskSeen { name: "sda".into(), sector: 512, controllers: texts(disk), ..DiskSeen::default() };
    let target = Target { firmware: Some("bios"), hardware: Some(&hardware), disks: &[seen] };
    judge(manifest.boot.as_ref(), &manifest, &target)
}

fn system(root: &Root) -> System {
    System {
        disk: 0,
        partition: 1,
        id: "debian".to_owned(),
        like: String::new(),
        name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        architecture: String::new(),
        root: ramet_wire::boot::Root { filesystem: "ext4".to_owned(), ..Default::default() },
        kernels: kernels(root).unwrap(),
    }
}

const VIRTIO_BLK: &str = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00";
const AHCI: &str = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
const MEGASAS: &str = "pci:v00001000d00000060sv00001000sd00001000bc01sc04i00";
const E1000E: &str = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00";

#[test]
fn a_debian_initramfs_with_most_modules_boots_on_controllers_that_one_with_few_does_not() {
    let kernel = kernel();
    // MODULES=dep asks the running machine which modules it needs; MODULES=list is told: both leave the rest ashore.
    let rows = [
        ("most", MEGASAS, Answer::Yes),
        ("list", MEGASAS, Answer::No),
        ("list", AHCI, Answer::No),
        ("list", VIRTIO_BLK, Answer::Yes),
    ];
    for (modules, controller, wanted) in rows {
        let tree = kernel.tree(&kernel.mkinitramfs(modules));
        let verdict = verdict(system(&Root::open(tree.path()).unwrap()), &[controller, E1000E], &[]);
        assert_eq!(verdict.answer, wanted, "{modules} {controller}: {verdict}");
        let ashore = format!("is on the root file system and not in /boot/initrd.img-{}", kernel.release);
        assert_eq!(verdict.to_string().contains(&ashore), wanted == Answer::No, "{verdict}");
        assert!(!verdict.to_string().contains("network"), "e1000e is on the root file system: {verdict}");
    }
}

#[test]
fn modules_of_a_debian_initramfs_are_those_that_lsinitramfs_lists() {
    let kernel = kernel();
    for archive in [kernel.mkinitramfs("list"), kernel.mkinitramfs("most"), kernel.dracut()] {
        let found = initramfs::read(File::open(&archive).unwrap(), &kernel.release).unwrap();
        let names: BTreeSet<String> = found.modules.iter().filter_map(|path| module_name(path)).collect();
        assert!(names.contains("virtio_blk") && names.contains("ext4"), "{names:?}");
        assert_eq!(names, listed(&archive), "{}", archive.display());
        assert!(found.others.is_empty() && found.tables.dep.is_some());
    }
}

#[test]
fn patterns_are_those_that_modinfo_prints_and_fit_a_manifest() {
    let kernel = kernel();
    let tree = kernel.tree(&kernel.mkinitramfs("list"));
    let found = kernels(&Root::open(tree.path()).unwrap()).unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.release.as_str(), one.builtin, one.opaque.len()), (kernel.release.as_str(), true, 0));
    assert!(one.initramfs.as_ref().unwrap().unread.is_none());
    let packed = one.drivers.as_ref().unwrap();
    assert!(packed.len() < 96 << 10, "{} bytes in the manifest", packed.len());
    let drivers = packed.read().unwrap();
    let by_name = |name: &str| drivers.iter().find(|driver| driver.name == name).unwrap_or_else(|| panic!("no {name}"));
    for (name, place) in [
        ("virtio_blk", Place::Initramfs),
        ("ext4", Place::Initramfs),
        ("ahci", Place::Root),
        ("megaraid_sas", Place::Root),
        ("nvme", Place::Root),
        ("e1000e", Place::Root),
        ("hv_storvsc", Place::Root),
        ("usb_storage", Place::Root),
        ("sd_mod", Place::Root),
        ("xhci_pci", Place::Root),
    ] {
        let Driver { place: found, aliases, .. } = by_name(name);
        assert_eq!(*found, place, "{name}");
        let paths =
            run("find", &[kernel.modules().to_str().unwrap(), "-name", &format!("{}.ko", name.replace('_', "[-_]"))]);
        let printed = run("modinfo", &["-F", "alias", paths.trim()]);
        let buses = ["pci:", "virtio:", "usb:", "scsi:", "vmbus:", "xen:"];
        let mut wanted: Vec<&str> =
            printed.lines().filter(|line| buses.iter().any(|bus| line.starts_with(bus))).collect();
        wanted.sort_unstable();
        wanted.dedup();
        assert_eq!(aliases.iter().map(String::as_str).collect::<Vec<_>>(), wanted, "{name}");
    }
    assert!(drivers.iter().all(|driver| driver.name != "snd_hda_intel" && driver.name != "i915"));
}

#[test]
fn what_is_known_of_built_in_drivers_is_what_the_modules_say() {
    let kernel = kernel();
    for (name, patterns) in super::super::index::KNOWN {
        let paths =
            run("find", &[kernel.modules().to_str().unwrap(), "-name", &format!("{}.ko", name.replace('_', "[-_]"))]);
        if paths.trim().is_empty() {
            continue;
        }
        let printed = run("modinfo", &["-F", "alias", paths.trim()]);
        for pattern in *patterns {
            assert!(printed.lines().any(|line| line == *pattern), "{name}: {pattern} is not in\n{printed}");
        }
    }
}

#[test]
fn an_initramfs_that_cannot_be_read_leaves_it_open_and_so_does_a_kernel_without_tables() {
    let kernel = kernel();
    let archive = kernel.mkinitramfs("list");
    let tree = kernel.tree(&archive);
    let initrd = tree.path().join(format!("boot/initrd.img-{}", kernel.release));
    let open = |what: &str, words: &str| {
        let verdict = verdict(system(&Root::open(tree.path()).unwrap()), &[MEGASAS], &[]);
        assert_eq!(verdict.answer, Answer::Unknown, "{what}: {verdict}");
        assert!(verdict.to_string().contains(words), "{what}: {verdict}");
    };
    let bytes = fs::read(&archive).unwrap();
    fs::write(&initrd, &bytes[..bytes.len() / 2]).unwrap();
    open("cut short", "cut short");
    fs::write(&initrd, b"not an archive at all").unwrap();
    open("no archive", "neither an archive nor anything packed");
    fs::remove_file(&initrd).unwrap();
    run("mkfifo", &[initrd.to_str().unwrap()]);
    open("a FIFO", "FIFO");
    fs::remove_file(&initrd).unwrap();
    open("none", "no initramfs of kernel");
    fs::write(&initrd, &bytes).unwrap();
    fs::remove_dir_all(tree.path().join("usr/lib/modules")).unwrap();
    // The initramfs has tables of its own, and knows nothing of what is not in it; what is built in it knows.
    let verdict = verdict(system(&Root::open(tree.path()).unwrap()), &[VIRTIO_BLK], &[]);
    assert_eq!(verdict.answer, Answer::Yes, "{verdict}");
}
