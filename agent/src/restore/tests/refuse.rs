//! Refusals: each with no byte written.

use super::*;
use ramet_wire::api::ImageState;
use ramet_wire::segment::{Record, RecordKind};

fn shelf() -> (Vec<u8>, Shelf, Arc<Ram>) {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let disk = Ram::new(noise(source.len(), 99));
    (source, shelf, disk)
}

#[test]
fn refuses_a_wrong_number_of_targets() {
    let (_, shelf, disk) = shelf();
    let text = refusal(&shelf, &request(), &[&disk, &disk]);
    assert!(text.contains("has 1 disks; 2 targets and 0 pairs"), "{text}");
}

#[test]
fn refuses_targets_and_pairs_together() {
    let (_, shelf, disk) = shelf();
    let request = Request { targets: vec!["/a".into()], pairs: vec![(0, "/a".into())], ..request() };
    refusal(&shelf, &request, &[&disk]);
}

#[test]
fn refuses_a_pair_for_a_disk_that_the_image_has_not() {
    let (_, shelf, disk) = shelf();
    let request = Request { targets: Vec::new(), pairs: vec![(1, "/a".into())], ..request() };
    let text = refusal(&shelf, &request, &[&disk]);
    assert!(text.contains("image disk 0"), "{text}");
}

#[test]
fn refuses_a_disk_whose_serial_number_belongs_to_another_ordinal() {
    let source = gpt_disk();
    let named = |serial: &str| Captured { serial: Some(serial.to_owned()), ..captured(&source) };
    let shelf = Shelf::of(&[named("AAA"), named("BBB")]);
    let disks = [Ram::new(noise(source.len(), 1)), Ram::new(noise(source.len(), 2))];
    let open = |serials: [&str; 2]| {
        let disks = disks.clone();
        let serials = serials.map(str::to_owned);
        move |_: &[(&DiskImage, PathBuf)]| {
            let with = |(disk, serial): (&Arc<Ram>, &String)| Opened { serial: Some(serial.clone()), ..opened(disk) };
            Ok(disks.iter().zip(&serials).map(with).collect())
        }
    };
    let request = Request { targets: vec!["/a".into(), "/b".into()], ..request() };
    for serials in [["BBB", "AAA"], ["BBB", "CCC"], ["CCC", "AAA"]] {
        let error = restore_onto(&shelf, &request, &Viewer::yes(), &open(serials)).unwrap_err();
        assert!(error.chain().contains("is the captured disk"), "{}", error.chain());
        assert!(disks.iter().all(|disk| disk.ops().is_empty()));
    }
    assert!(restore_onto(&shelf, &request, &Viewer::yes(), &open(["AAA", "CCC"])).is_ok());
}

#[test]
fn refuses_another_sector_size_with_the_reason() {
    let (source, shelf, _) = shelf();
    let disk = Arc::new(Ram { sector: 4096, direct: Some(4096), ..Ram::plain(noise(source.len(), 9)) });
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("512-byte sectors") && text.contains("has 4096"), "{text}");
}

#[test]
fn refuses_an_image_that_is_not_complete() {
    let (_, shelf, disk) = shelf();
    *shelf.state.lock().unwrap() = ImageState::Damaged;
    assert!(refusal(&shelf, &request(), &[&disk]).contains("Damaged"));
}

#[test]
fn refuses_a_manifest_of_another_name_or_id_than_asked_for() {
    let (_, shelf, disk) = shelf();
    refusal(&shelf, &Request { image: "db".parse().unwrap(), ..request() }, &[&disk]);
    shelf.failures.lock().unwrap().clear();
    refusal(&shelf, &Request { image: "web@0123456789abcdef".parse().unwrap(), ..request() }, &[&disk]);
    let exact = format!("web@{}", shelf.id());
    onto(&shelf, &Request { image: exact.parse().unwrap(), ..request() }, &[&disk]).unwrap();
}

#[test]
fn refuses_a_manifest_that_breaks_a_rule() {
    let (_, shelf, disk) = shelf();
    shelf.edit(|manifest| manifest.features.push("holograms".to_owned()));
    assert!(refusal(&shelf, &request(), &[&disk]).contains("holograms"));
}

#[test]
fn refuses_a_damaged_or_missing_segment() {
    let (_, shelf, disk) = shelf();
    let id = shelf.manifest_value().disks[0].partitions[1].stored.segments[0].id;
    shelf.damage(id);
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains(&id.to_string()) && text.contains("damaged"), "{text}");
    assert!(shelf.damaged.lock().unwrap().contains(&id));
    shelf.failures.lock().unwrap().clear();
    shelf.map.lock().unwrap().remove(&id);
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("does not have it"), "{text}");
}

#[test]
fn refuses_a_segment_that_is_none() {
    let (_, shelf, disk) = shelf();
    let id = shelf.add(b"no segment at all");
    shelf.edit(|manifest| {
        let stored = &mut manifest.disks[0].partitions[0].stored;
        stored.segments[0].id = id;
        stored.digest = ramet_wire::manifest::Stored::digest_of(&stored.segments);
    });
    assert!(refusal(&shelf, &request(), &[&disk]).contains("segment has 17 bytes"));
}

#[test]
fn refuses_records_whose_sums_are_not_the_manifests() {
    let (_, shelf, disk) = shelf();
    shelf.edit(|manifest| manifest.disks[0].partitions[0].stored.data_bytes -= 4096);
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("bytes of data, the manifest says"), "{text}");
}

#[test]
fn refuses_gap_records_inside_a_partition() {
    let (_, shelf, disk) = shelf();
    let id = shelf.add(&[1; 4096]);
    let record = Record { offset: 2 * MIB, len: 4096, kind: RecordKind::Data(id) };
    let stored = shelf.add_records(&[record]);
    shelf.edit(|manifest| manifest.disks[0].gaps = stored);
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("reaches into partition 1"), "{text}");
}

#[test]
fn refuses_a_table_that_is_not_the_one_its_bytes_give() {
    let (_, shelf, disk) = shelf();
    shelf.edit(|manifest| manifest.disks[0].table.entries[0].name = Some("other".to_owned()));
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("differ") && text.contains("partition 1"), "{text}");
}

#[test]
fn refuses_disk_smaller_than_image_with_both_numbers() {
    let (_, shelf, _) = shelf();
    let disk = Ram::new(noise(7 << 20, 1));
    let text = refusal(&shelf, &request(), &[&disk]);
    assert!(text.contains("partition 14 ends at 8388608") && text.contains("7340032"), "{text}");
}

#[test]
fn a_dry_run_and_a_no_write_nothing() {
    let (_, shelf, disk) = shelf();
    let open = |_: &[(&DiskImage, PathBuf)]| Ok(vec![opened(&disk)]);
    let dry = Request { dry_run: true, ..request() };
    let ending = restore_onto(&shelf, &dry, &Viewer::yes(), &open).unwrap();
    let Ending::Planned(plan) = ending else { panic!("a dry run restored") };
    assert_eq!(plan.disks[0].path, "/dev/ram");
    let no = Viewer { answer: false, plan: Mutex::new(None) };
    let error = restore_onto(&shelf, &request(), &no, &open).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert_eq!(no.plan.into_inner().unwrap().unwrap(), plan);
    assert_eq!(disk.ops(), []);
}

#[test]
fn only_an_empty_disk_is_written_where_that_is_asked_for() {
    let (source, shelf, _) = shelf();
    let blank = Request { blank_only: true, ..request() };
    let old = Ram::new(Image::with_sgdisk(source.len() as u64, &["-n3:2048:+4M"]).bytes());
    let text = refusal(&shelf, &blank, &[&old]);
    assert!(text.contains("is not empty: gpt table with 1 partitions"), "{text}");
    let empty = Ram::new(vec![0; source.len()]);
    onto(&shelf, &blank, &[&empty]).unwrap();
    // What it holds now is not empty.
    let error = onto(&shelf, &blank, &[&empty]).unwrap_err();
    assert_eq!(error.exit_status(), 2);
}

#[test]
fn the_plan_names_what_will_be_erased() {
    let (source, shelf, _) = shelf();
    let mut old = Image::with_sgdisk(source.len() as u64, &["-n3:2048:+4M", "-c3:precious"]).bytes();
    old[(1 << 20) + 536..(1 << 20) + 538].copy_from_slice(b"xx");
    old[1 << 20..(1 << 20) + 4].copy_from_slice(b"XFSB");
    let disk = Ram::new(old);
    let open = |_: &[(&DiskImage, PathBuf)]| Ok(vec![opened(&disk)]);
    let dry = Request { dry_run: true, ..request() };
    let Ending::Planned(plan) = restore_onto(&shelf, &dry, &Viewer::yes(), &open).unwrap() else { panic!() };
    let holds = plan.disks[0].holds.join("\n");
    assert!(holds.contains("gpt table with 1 partitions"), "{holds}");
    assert!(holds.contains("partition 3 \"precious\"") && holds.contains("xfs"), "{holds}");
    let text = plan.to_string();
    assert!(text.contains("erases  partition 3") && text.contains("web@"), "{text}");
    assert!(serde_json::to_string(&plan).unwrap().contains("\"data_bytes\""));
}

/// An image whose only kernel has no driver for a controller of LSI.
fn does_not_boot(manifest: &mut Manifest) {
    use ramet_wire::boot::{Driver, Drivers, Facts, Initramfs, Kernel, Place, Root, System};
    let ext4 = Driver { place: Place::BuiltIn, name: "ext4".to_owned(), aliases: Vec::new() };
    let kernel = Kernel {
        release: "6.1".to_owned(),
        path: "/boot/vmlinuz-6.1".to_owned(),
        initramfs: Some(Initramfs { path: "/boot/initrd.img-6.1".to_owned(), unread: None }),
        drivers: Some(Drivers::pack(vec![ext4]).unwrap()),
        builtin: true,
        opaque: Vec::new(),
    };
    let system = System {
        disk: 0,
        partition: manifest.disks[0].partitions[0].number,
        id: "debian".to_owned(),
        like: String::new(),
        name: "Debian 12".to_owned(),
        architecture: String::new(),
        root: Root { filesystem: "ext4".to_owned(), ..Root::default() },
        kernels: vec![kernel],
    };
    manifest.features = vec!["boot".to_owned()];
    manifest.boot = Some(Facts { systems: vec![system], ..Facts::default() });
}

#[test]
fn refuses_an_image_that_would_not_boot_and_restores_it_when_that_is_overruled() {
    let (source, shelf, disk) = shelf();
    shelf.edit(does_not_boot);
    let lsi = "pci:v00001000d00000054sv00001000sd00008000bc01sc00i00";
    let open = |_: &[(&DiskImage, PathBuf)]| Ok(vec![Opened { controllers: vec![lsi.to_owned()], ..opened(&disk) }]);
    let error = restore_onto(&shelf, &request(), &Viewer::yes(), &open).unwrap_err();
    let words = format!("kernel 6.1 has no driver for {lsi}");
    assert!(error.chain().contains(&words) && error.chain().contains("--ignore boot-check"), "{}", error.chain());
    assert!(disk.ops().is_empty());
    let viewer = Viewer::yes();
    let overruled = Request { ignore_boot_check: true, ..request() };
    restore_onto(&shelf, &overruled, &viewer, &open).unwrap();
    assert_eq!(disk.content()[..512], source[..512]);
    let plan = viewer.plan.lock().unwrap().clone().unwrap().to_string();
    assert!(plan.contains("WARNING   it will not boot here") && plan.contains(&words), "{plan}");
}

#[test]
fn an_image_without_facts_leaves_it_open_and_is_restored() {
    let (_, shelf, disk) = shelf();
    let viewer = Viewer::yes();
    let open = |_: &[(&DiskImage, PathBuf)]| Ok(vec![opened(&disk)]);
    restore_onto(&shelf, &request(), &viewer, &open).unwrap();
    let plan = viewer.plan.lock().unwrap().clone().unwrap().to_string();
    assert!(plan.contains("boot      unknown") && plan.contains("its capture did not look into them"), "{plan}");
}
