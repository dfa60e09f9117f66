//! Variables in a folder, held against efibootmgr.

use super::*;
use crate::nvram::option::build;
use ramet_wire::manifest::{Content, PartitionImage, Source, Stored};
use ramet_wire::{ByteRange, Table, TableKind};

const GUID: &str = "8f3b3a53-4f0e-4f0a-9c5e-0123456789ab";

/// A manifest of one disk with an ESP as partition 15.
fn manifest(entries: &[(&str, &str)], loaders: &[&str]) -> Manifest {
    let loader = |path: &str| Loader { disk: 0, partition: 15, path: path.to_owned() };
    let mut manifest = sample();
    let entry = |(label, path): &(&str, &str)| BootEntry { label: (*label).to_owned(), loader: loader(path) };
    let firmware = Firmware {
        entries: entries.iter().map(entry).collect(),
        loaders: loaders.iter().map(|path| loader(path)).collect(),
    };
    manifest.features = vec!["firmware".to_owned()];
    manifest.firmware = Some(firmware);
    manifest
}

/// One GPT disk of 64 MiB; nothing of it is ever read.
fn sample() -> Manifest {
    let stored = || Stored { data_bytes: 0, zero_bytes: 0, segments: Vec::new(), digest: Stored::digest_of(&[]) };
    let range = ByteRange::between(1 << 20, 33 << 20);
    let entry = ramet_wire::Entry {
        number: 15,
        range,
        r#type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned(),
        guid: Some(GUID.to_owned()),
        name: None,
        attributes: 0,
        ebr: None,
        extended: false,
    };
    let content = Content::of("vfat");
    let esp = PartitionImage { number: 15, range, content, whole: false, used_bytes: 0, stored: stored() };
    let table = Table { kind: TableKind::Gpt, id: None, usable: None, hybrid: false, entries: vec![entry] };
    let disk = DiskImage {
        ordinal: 0,
        size: 64 << 20,
        logical_sector: 512,
        physical_sector: 512,
        model: None,
        serial: None,
        wwn: None,
        table,
        partitions: vec![esp],
        gaps: stored(),
    };
    Manifest {
        format: 1,
        features: Vec::new(),
        name: "web".parse().unwrap(),
        created: String::new(),
        agent: String::new(),
        source: Source::default(),
        cutting: ramet_wire::cutting::CUTTING,
        inconsistent: false,
        warnings: Vec::new(),
        firmware: None,
        boot: None,
        disks: vec![disk],
    }
}

fn variable(folder: &Path, name: &str, value: &[u8]) {
    fs::write(folder.join(format!("{name}-{GLOBAL}")), [&ATTRIBUTES[..], value].concat()).unwrap();
}

fn target(guid: [u8; 16], path: &str) -> Target {
    Target { number: 15, range: ByteRange::between(1 << 20, 2 << 20), sector: 512, guid, path: path.to_owned() }
}

/// Setup in the firmware, a network card, a shell: as OVMF lists them.
fn ovmf() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let network = [&[1, 0, 0, 0, 41, 0, b'n', 0, 0, 0, 3, 11, 37, 0][..], &[0; 33], &[0x7f, 0xff, 4, 0]].concat();
    let other = [1, 0, 0, 0, 4, 0, b's', 0, 0, 0, 0x7f, 0xff, 4, 0];
    variable(folder.path(), "Boot0000", &other);
    variable(folder.path(), "Boot0001", &network);
    variable(folder.path(), "Boot0002", &other);
    variable(folder.path(), "BootOrder", &[0, 0, 1, 0, 2, 0]);
    folder
}

#[test]
fn adds_one_entry_behind_the_networks_and_removes_nothing() {
    let folder = ovmf();
    let nvram = Nvram::at(folder.path());
    let manifest = manifest(&[("debian", r"\EFI\debian\shimx64.efi")], &[r"\EFI\debian\shimx64.efi"]);
    let added = nvram.add(&manifest).unwrap();
    let path = r"\EFI\debian\shimx64.efi".to_owned();
    assert_eq!(added, Added::New { name: "Boot0003".to_owned(), label: "debian".to_owned(), path });
    assert_eq!(nvram.order().unwrap(), [0, 1, 3, 2]);
    assert_eq!(nvram.add(&manifest).unwrap(), Added::There("Boot0003".to_owned()), "a second restore adds nothing");
    assert_eq!(nvram.options().unwrap().len(), 4);
}

#[test]
fn without_an_entry_of_the_source_the_best_loader_is_started_under_the_images_name() {
    let folder = ovmf();
    let manifest = manifest(&[], &[r"\EFI\debian\grubx64.efi", r"\EFI\debian\mmx64.efi", r"\EFI\debian\SHIMX64.EFI"]);
    let added = Nvram::at(folder.path()).add(&manifest).unwrap();
    let (label, path) = (manifest.name.to_string(), r"\EFI\debian\SHIMX64.EFI".to_owned());
    assert_eq!(added, Added::New { name: "Boot0003".to_owned(), label, path });
}

#[test]
fn an_image_with_a_fallback_loader_or_with_none_at_all_needs_no_entry() {
    let folder = ovmf();
    let nvram = Nvram::at(folder.path());
    let fallback = manifest(&[("debian", r"\EFI\debian\shimx64.efi")], &[r"\EFI\BOOT\BOOTX64.EFI"]);
    assert!(matches!(nvram.add(&fallback).unwrap(), Added::Needless(_)));
    assert!(matches!(nvram.add(&manifest(&[], &[])).unwrap(), Added::Needless(_)));
    assert_eq!(nvram.order().unwrap(), [0, 1, 2]);
}

#[test]
fn a_capture_finds_the_entries_that_point_into_the_image_in_their_order() {
    let folder = ovmf();
    let guid = guid_bytes(GUID).unwrap();
    variable(folder.path(), "Boot000A", &build("second", &target(guid, r"\EFI\b.efi")));
    variable(folder.path(), "Boot0004", &build("first", &target(guid, r"\EFI\a.efi")));
    variable(folder.path(), "Boot0005", &build("elsewhere", &target([9; 16], r"\EFI\c.efi")));
    variable(folder.path(), "Boot0003", &build("not listed", &target(guid, r"\EFI\d.efi")));
    variable(folder.path(), "BootOrder", &[4, 0, 1, 0, 5, 0, 10, 0]);
    let manifest = manifest(&[], &[]);
    let entries = Nvram::at(folder.path()).entries_of(&manifest.disks).unwrap();
    let labels: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
    assert_eq!(labels, ["first", "second", "not listed"]);
    assert_eq!(entries[0].loader, Loader { disk: 0, partition: 15, path: r"\EFI\a.efi".to_owned() });
}

#[test]
fn a_refused_write_is_an_error_that_names_the_variable_and_leaves_the_order_alone() {
    let folder = ovmf();
    let nvram = Nvram::at(folder.path());
    let gone = Nvram::at(&folder.path().join("gone"));
    let manifest = manifest(&[("debian", r"\EFI\a.efi")], &[]);
    assert!(matches!(gone.add(&manifest), Err(NvramError::Read { .. })));
    assert!(nvram.write("no/such", &[]).unwrap_err().to_string().contains("no/such"));
    assert_eq!(nvram.order().unwrap(), [0, 1, 2]);
}

/// efibootmgr on a folder instead of efivarfs.
fn efibootmgr(folder: &Path, args: &[&str]) -> String {
    let mut command = std::process::Command::new("efibootmgr");
    command.env("LIBEFIVAR_OPS", "efivarfs").env("EFIVARFS_PATH", format!("{}/", folder.display()));
    let output = command.args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn efibootmgr_reads_the_entry_as_it_was_meant() {
    let folder = ovmf();
    let manifest = manifest(&[("debian", r"\EFI\debian\shimx64.efi")], &[]);
    Nvram::at(folder.path()).add(&manifest).unwrap();
    let text = efibootmgr(folder.path(), &["-v"]);
    assert!(text.contains("BootOrder: 0000,0001,0003,0002"), "{text}");
    let partition = &manifest.disks[0].table.entries[0];
    let (start, len) = (partition.range.start() / 512, partition.range.len() / 512);
    let line = format!(r"Boot0003* debian\tHD(15,GPT,{GUID},{start:#x},{len:#x})/File(\EFI\debian\shimx64.efi)");
    assert!(text.contains(&line.replace(r"\t", "\t")), "{text}");
}

#[test]
fn an_entry_that_efibootmgr_wrote_is_read() {
    let folder = ovmf();
    let disk = folder.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let run = |program: &str, args: &[&str]| std::process::Command::new(program).args(args).output().unwrap();
    let guid = format!("15:{GUID}");
    run("sgdisk", &["-n", "15:2048:+32M", "-t", "15:ef00", "-u", &guid, disk.to_str().unwrap()]);
    let device = String::from_utf8(run("losetup", &["-f", "--show", disk.to_str().unwrap()]).stdout).unwrap();
    let wanted = [r"\EFI\debian\shimx64.efi", "debian"];
    efibootmgr(folder.path(), &["-c", "-d", device.trim(), "-p", "15", "-l", wanted[0], "-L", wanted[1]]);
    run("losetup", &["-d", device.trim()]);
    let nvram = Nvram::at(folder.path());
    let entries = nvram.entries_of(&manifest(&[], &[]).disks).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!([entries[0].loader.path.as_str(), &entries[0].label], wanted);
}

#[test]
fn the_bytes_are_those_of_another_implementation() {
    // virt-firmware's BootEntry with the same fields.
    let wanted = "010000006200640065006200690061006e00000004012a000f00000000080000000000000000010000000000533a3b8f0e4f0a4f\
        9c5e0123456789ab0202040434005c004500460049005c00640065006200690061006e005c007300680069006d007800360034002e006500\
        6600690000007fff0400";
    let guid = guid_bytes(GUID).unwrap();
    let range = ByteRange::between(1 << 20, 33 << 20);
    let path = r"\EFI\debian\shimx64.efi".to_owned();
    let built = build("debian", &Target { number: 15, range, sector: 512, guid, path });
    assert_eq!(built.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), wanted);
}
