//! Images × machines: which of them boot.
//!
//! In: facts as a capture of a Debian makes them, and inventories of real and virtual machines. Out: verdicts with reasons.
//! Promise: every rule of the judge has a row that fires it and one that does not.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use ramet_wire::agents::DiskSeen;
use ramet_wire::boot::{
    Answer, BiosCode, Code, Driver, Drivers, Facts, Initramfs, Kernel, Layer, Place, Program, Root, System, Target,
    judge,
};
use ramet_wire::firmware::{Firmware, Loader};
use ramet_wire::hardware::{Hardware, SecureBoot};
use ramet_wire::manifest::Manifest;

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

const VIRTIO_BLK: &str = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00";
const AHCI: &str = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
const MPT: &str = "pci:v00001000d00000054sv00001000sd00008000bc01sc00i00";
const IDE: &str = "pci:v00008086d00007010sv00001AF4sd00001100bc01sc01i80";
const NVME: &str = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02";
const E1000: &str = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
const BRIDGE: &str = "pci:v00008086d0000A330sv00000000sd00000000bc06sc04i00";

fn driver(place: Place, name: &str, aliases: &[&str]) -> Driver {
    Driver { place, name: name.to_owned(), aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect() }
}

/// A Debian that knows virtio, AHCI and SCSI disks in its initramfs, and mptsas and e1000 on its root file system only.
fn drivers() -> Vec<Driver> {
    use Place::{Initramfs, Root};
    vec![
        driver(Initramfs, "ext4", &[]),
        driver(Initramfs, "virtio_pci", &["pci:v00001AF4d*sv*sd*bc*sc*i*"]),
        driver(Initramfs, "virtio_blk", &["virtio:d00000002v*"]),
        driver(Initramfs, "ahci", &["pci:v*d*sv*sd*bc01sc06i01*"]),
        driver(Initramfs, "sd_mod", &["scsi:t-0x00*"]),
        driver(Initramfs, "ata_generic", &["pci:v*d*sv*sd*bc01sc01i*"]),
        driver(Root, "mptsas", &["pci:v00001000d00000054sv*sd*bc*sc*i*"]),
        driver(Root, "e1000", &["pci:v00008086d0000100Esv*sd*bc*sc*i*"]),
    ]
}

fn kernel(release: &str, drivers: Vec<Driver>) -> Kernel {
    Kernel {
        release: release.to_owned(),
        path: format!("/boot/vmlinuz-{release}"),
        initramfs: Some(Initramfs { path: format!("/boot/initrd.img-{release}"), unread: None }),
        drivers: Some(Drivers::pack(drivers).unwrap()),
        builtin: true,
        opaque: Vec::new(),
    }
}

fn loader(path: &str) -> Loader {
    Loader { disk: 0, partition: 15, path: path.to_owned() }
}

/// A GPT disk with an ESP, a root file system, and a first sector with GRUB's code: it starts by both.
fn image() -> Manifest {
    let mut manifest = Manifest::read(include_bytes!("../golden/v1/valid/manifest-boot")).unwrap();
    for (index, kind) in [LINUX, ESP].into_iter().enumerate() {
        manifest.disks[0].table.entries[index].r#type = kind.to_owned();
    }
    let content = &mut manifest.disks[0].partitions[1].content;
    content.kind = "vfat".to_owned();
    content.state = Some("clean".to_owned());
    let loaders = vec![loader(r"\EFI\BOOT\BOOTX64.EFI"), loader(r"\EFI\debian\shimx64.efi")];
    manifest.features.push("firmware".to_owned());
    manifest.firmware = Some(Firmware { entries: Vec::new(), loaders });
    let program = |path, signed| Program { loader: loader(path), signed, shim: signed };
    let system = System {
        disk: 0,
        partition: 1,
        id: "debian".to_owned(),
        like: String::new(),
        name: "Debian 12".to_owned(),
        architecture: "x86_64".to_owned(),
        root: Root { filesystem: "ext4".to_owned(), ..Root::default() },
        kernels: vec![kernel("6.1", drivers())],
    };
    manifest.boot = Some(Facts {
        systems: vec![system],
        programs: vec![program(r"\EFI\BOOT\BOOTX64.EFI", true), program(r"\EFI\debian\shimx64.efi", true)],
        bios: vec![BiosCode { disk: 0, code: Code::Grub, next: true }],
        unread: Vec::new(),
    });
    manifest
}

/// What a row changes in image and machine.
struct Row {
    what: &'static str,
    image: fn(&mut Manifest),
    firmware: &'static str,
    pci: &'static [&'static str],
    disk: &'static [&'static str],
    wanted: Answer,
    words: &'static str,
}

fn check(rows: &[Row]) {
    for row in rows {
        let Row { what, firmware, pci, disk, wanted, words, .. } = row;
        let mut manifest = image();
        (row.image)(&mut manifest);
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let secure_boot = firmware.ends_with("secure").then_some(SecureBoot::On);
        let hardware = Hardware { pci: texts(pci), secure_boot, ..Hardware::default() };
        let seen = DiskSeen { name: "sda".to_owned(), sector: 512, controllers: texts(disk), ..DiskSeen::default() };
        let target = Target {
            firmware: firmware.split(' ').next().filter(|word| !word.is_empty()),
            hardware: Some(&hardware),
            disks: &[seen],
        };
        let verdict = judge(manifest.boot.as_ref(), &manifest, &target);
        assert_eq!(verdict.answer, *wanted, "{what}: {verdict}");
        assert!(verdict.to_string().contains(words), "{what}: {words:?} is not in: {verdict}");
    }
}

fn facts(manifest: &mut Manifest) -> &mut Facts {
    manifest.boot.as_mut().unwrap()
}

fn first_kernel(manifest: &mut Manifest) -> &mut Kernel {
    &mut facts(manifest).systems[0].kernels[0]
}

const fn same(_: &mut Manifest) {}

fn no_esp_no_code(manifest: &mut Manifest) {
    manifest.disks[0].table.entries[1].r#type = LINUX.to_owned();
    manifest.firmware = None;
    facts(manifest).bios[0].code = Code::None;
}

/// A disk of data, of a machine that starts by BIOS.
fn data_alone(manifest: &mut Manifest) {
    no_esp_no_code(manifest);
    facts(manifest).systems.clear();
    manifest.source.firmware = Some("bios".to_owned());
}

const fn row(
    what: &'static str,
    image: fn(&mut Manifest),
    firmware: &'static str,
    pci: &'static [&'static str],
    disk: &'static [&'static str],
    wanted: Answer,
    words: &'static str,
) -> Row {
    Row { what, image, firmware, pci, disk, wanted, words }
}

#[test]
fn a_controller_must_have_its_driver_in_kernel_or_initramfs() {
    use Answer::{No, Unknown, Yes};
    let mptsas = "module mptsas for pci:v00001000d00000054sv00001000sd00008000bc01sc00i00 is on the root file system \
        and not in /boot/initrd.img-6.1";
    check(&[
        row("one controller", same, "bios", &[AHCI], &[], Yes, "ahci for pci:"),
        row("virtio", same, "bios", &[VIRTIO_BLK], &[], Yes, "virtio_blk for virtio:d00000002v00001AF4"),
        row("the way to the disk", same, "bios", &[MPT], &[BRIDGE, AHCI, "scsi:t-0x00"], Yes, "sd_mod for scsi"),
        row("only on the root", same, "bios", &[MPT], &[], No, mptsas),
        row("known disk, lacking", same, "bios", &[AHCI, MPT], &[MPT, "scsi:t-0x00"], No, "mptsas"),
        row("several, one lacking", same, "bios", &[AHCI, MPT], &[], Unknown, "which of 2 controllers"),
        row("several, all held", same, "bios", &[AHCI, VIRTIO_BLK], &[], Yes, ""),
        row("several, none held", same, "bios", &[NVME, MPT], &[], No, "kernel 6.1 has no driver for pci:v00001B36"),
        row("no controller known", same, "bios", &[E1000], &[], Unknown, "which controller carries"),
        row("a driver that may refuse", same, "bios", &[IDE], &[], Unknown, "ata_generic may or may not take"),
        row(
            "opaque built-in drivers",
            |m| first_kernel(m).opaque = vec!["hpsa".to_owned(), "aacraid".to_owned()],
            "bios",
            &[NVME],
            &[],
            Unknown,
            "no module takes pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02; hpsa and 1 more",
        ),
        row(
            "opaque, but a module",
            |m| first_kernel(m).opaque = vec!["hpsa".into()],
            "bios",
            &[MPT],
            &[],
            No,
            "mptsas",
        ),
        row(
            "built-in unknown",
            |m| first_kernel(m).builtin = false,
            "bios",
            &[NVME],
            &[],
            Unknown,
            "built in is not known",
        ),
        row(
            "initramfs unread",
            |m| {
                first_kernel(m).initramfs.as_mut().unwrap().unread = Some("it is cut short".to_owned());
                first_kernel(m).drivers = Some(Drivers::pack(vec![]).unwrap());
            },
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "it is cut short",
        ),
        row(
            "no initramfs",
            |m| first_kernel(m).initramfs = None,
            "bios",
            &[MPT],
            &[],
            Unknown,
            "no initramfs of kernel",
        ),
    ]);
}

#[test]
fn network_cards_without_a_driver_are_worth_a_word_and_no_more() {
    use Answer::Yes;
    let card = "pci:v000015B3d00001017sv000015B3sd00000006bc02sc00i00";
    let verdict = |pci: &[&str]| {
        let hardware = Hardware { pci: pci.iter().map(|text| (*text).to_owned()).collect(), ..Hardware::default() };
        let image = image();
        judge(image.boot.as_ref(), &image, &Target { firmware: Some("bios"), hardware: Some(&hardware), disks: &[] })
    };
    let with = verdict(&[AHCI, card]);
    assert_eq!(with.answer, Yes);
    assert!(with.to_string().contains(&format!("boots without network on {card}")), "{with}");
    assert!(!verdict(&[AHCI, E1000]).to_string().contains("network"), "its driver is on the root file system");
}

#[test]
fn firmware_must_find_a_loader_of_its_kind() {
    use Answer::{No, Unknown, Yes};
    let no_code: fn(&mut Manifest) = |m| facts(m).bios[0].code = Code::None;
    let no_esp: fn(&mut Manifest) = |m| {
        m.disks[0].table.entries[1].r#type = BIOS_BOOT.to_owned();
        m.firmware = None;
    };
    check(&[
        row("both", same, "uefi", &[AHCI], &[], Yes, ""),
        row("BIOS without code", no_code, "bios", &[AHCI], &[], No, "switch its firmware to UEFI"),
        row("BIOS without code is no matter to UEFI", no_code, "uefi", &[AHCI], &[], Yes, ""),
        row("UEFI without an ESP", no_esp, "uefi", &[AHCI], &[], No, "switch its firmware to BIOS"),
        row("BIOS without an ESP", no_esp, "bios", &[AHCI], &[], Yes, ""),
        row("an empty ESP", |m| m.firmware = None, "uefi", &[AHCI], &[], No, "holds no EFI program"),
        row(
            "a dirty ESP",
            |m| {
                m.firmware = None;
                m.disks[0].partitions[1].content.state = Some("dirty".to_owned());
            },
            "uefi",
            &[AHCI],
            &[],
            Unknown,
            "no EFI program is known",
        ),
        row("BIOS, nothing that starts", data_alone, "bios", &[AHCI], &[], Unknown, "nothing that starts"),
        row(
            "BIOS, an empty ESP and no system",
            |m| {
                m.firmware = None;
                facts(m).bios[0].code = Code::None;
                facts(m).systems.clear();
            },
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "nothing that starts",
        ),
        row("UEFI, nothing that starts", data_alone, "uefi", &[AHCI], &[], Unknown, "nothing that starts"),
        row(
            "UEFI, a system of a BIOS machine",
            |m| {
                no_esp_no_code(m);
                m.source.firmware = Some("bios".to_owned());
            },
            "uefi",
            &[AHCI],
            &[],
            No,
            "switch its firmware to BIOS",
        ),
        row("BIOS, a system without code", no_esp_no_code, "bios", &[AHCI], &[], No, "no boot code for a BIOS"),
        row("GRUB without its core", |m| facts(m).bios[0].next = false, "bios", &[AHCI], &[], No, "holds nothing"),
        row(
            "strange code on GPT",
            |m| facts(m).bios[0].code = Code::Other,
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "not GRUB's",
        ),
        row("code not looked at", |m| facts(m).bios.clear(), "bios", &[AHCI], &[], No, "starts by UEFI"),
        row("firmware unknown", same, "", &[AHCI], &[], Unknown, "UEFI or by BIOS"),
    ]);
}

#[test]
fn secure_boot_wants_a_signed_loader() {
    use Answer::{No, Unknown, Yes};
    let unsigned: fn(&mut Manifest) = |m| facts(m).programs.iter_mut().for_each(|program| program.signed = false);
    check(&[
        row("signed", same, "uefi secure", &[AHCI], &[], Yes, ""),
        row("not signed", unsigned, "uefi secure", &[AHCI], &[], No, r"\EFI\BOOT\BOOTX64.EFI is not signed"),
        row("not signed, not enforced", unsigned, "uefi", &[AHCI], &[], Yes, ""),
        row(
            "another is",
            |m| facts(m).programs[0].signed = false,
            "uefi secure",
            &[AHCI],
            &[],
            Unknown,
            "shimx64.efi is",
        ),
        row("unread", |m| facts(m).programs.clear(), "uefi secure", &[AHCI], &[], Unknown, "not known whether"),
    ]);
}

#[test]
fn sectors_file_systems_layers_and_names_count() {
    use Answer::{No, Unknown, Yes};
    check(&[
        row("4K image", |m| m.disks[0].logical_sector = 4096, "bios", &[AHCI], &[], No, "sda has 512"),
        row(
            "root's driver ashore",
            |m| {
                let mut list = drivers();
                list[0].place = Place::Root;
                first_kernel(m).drivers = Some(Drivers::pack(list).unwrap());
            },
            "bios",
            &[AHCI],
            &[],
            No,
            "module ext4 is on the root file system",
        ),
        row(
            "no driver",
            |m| facts(m).systems[0].root.filesystem = "xfs".into(),
            "bios",
            &[AHCI],
            &[],
            No,
            "no module xfs",
        ),
        row(
            "LVM without dm",
            |m| facts(m).systems[0].root.stack = vec![Layer::Lvm],
            "bios",
            &[AHCI],
            &[],
            No,
            "dm_mod",
        ),
        row(
            "odd file system",
            |m| facts(m).systems[0].root.filesystem = "bcachefs".into(),
            "bios",
            &[AHCI],
            &[],
            Yes,
            "",
        ),
        row("same name", |m| facts(m).systems[0].root.named = Some("/dev/sda1".into()), "bios", &[AHCI], &[], Yes, ""),
        row("UUID", |m| facts(m).systems[0].root.named = Some("UUID=1".into()), "bios", &[AHCI], &[], Yes, ""),
        row(
            "another name",
            |m| facts(m).systems[0].root.named = Some("/dev/nvme0n1p2".into()),
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "/dev/nvme0n1p2, and the target's disk is sda",
        ),
    ]);
}

#[test]
fn several_kernels_and_systems_answer_together() {
    use Answer::{No, Unknown, Yes};
    check(&[
        row(
            "an older kernel would",
            |m| facts(m).systems[0].kernels.insert(0, kernel("6.9", vec![driver(Place::Initramfs, "ext4", &[])])),
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "its older kernel 6.1 would start",
        ),
        row(
            "the newest does",
            |m| facts(m).systems[0].kernels.push(kernel("5.10", Vec::new())),
            "bios",
            &[AHCI],
            &[],
            Yes,
            "kernel 6.1",
        ),
        row("no kernel", |m| facts(m).systems[0].kernels.clear(), "bios", &[AHCI], &[], Unknown, "no kernel was found"),
        row(
            "no kernel, because of a part that is missing",
            |m| {
                facts(m).systems[0].kernels.clear();
                facts(m).unread = vec!["/boot (UUID=1): this kernel has no driver".to_owned()];
            },
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "/boot (UUID=1): this kernel has no driver",
        ),
        row(
            "two systems, one lacks",
            |m| {
                let mut other = facts(m).systems[0].clone();
                other.name = "Other 1".to_owned();
                other.kernels = vec![kernel("6.9", Vec::new())];
                facts(m).systems.push(other);
            },
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "Other 1: ",
        ),
        row(
            "two systems, both lack",
            |m| {
                let other = facts(m).systems[0].clone();
                facts(m).systems.push(other);
            },
            "bios",
            &[MPT],
            &[],
            No,
            "mptsas",
        ),
        row(
            "no system",
            |m| {
                facts(m).systems.clear();
                facts(m).unread = vec!["partition 1: ntfs is not looked into".to_owned()];
            },
            "bios",
            &[AHCI],
            &[],
            Unknown,
            "ntfs is not looked into",
        ),
    ]);
}

#[test]
fn without_facts_the_tables_still_say_no_to_the_wrong_firmware_and_else_it_is_unknown() {
    for (firmware, wanted, words) in
        [("bios", Answer::No, "starts by UEFI"), ("uefi", Answer::Unknown, "did not look into them")]
    {
        let image = image();
        let verdict = judge(None, &image, &Target { firmware: Some(firmware), hardware: None, disks: &[] });
        assert_eq!(verdict.answer, wanted);
        assert!(verdict.to_string().contains(words), "{verdict}");
    }
}

#[test]
fn a_verdict_is_bounded_whatever_the_inventory() {
    let pci: Vec<String> = (0..256).map(|at| format!("pci:v{at:08X}d{}bc02sc00i00", "0".repeat(4000))).collect();
    let hardware = Hardware { pci, ..Hardware::default() };
    let image = image();
    let target = Target { firmware: Some("bios"), hardware: Some(&hardware), disks: &[] };
    let verdict = judge(image.boot.as_ref(), &image, &target);
    assert!(verdict.reasons.len() <= 32 && verdict.reasons.iter().all(|reason| reason.chars().count() <= 400));
}
