//! Partition tables with new ids, as sgdisk and sfdisk see them.
//!
//! In: tables from both tools. Out: nothing.
//! Promise: nothing but ids changes, and at every moment one copy of a GPT can be read.

use super::*;
use crate::disk::source::ReadAt;
use crate::partition::testing::{complaints, dump};
use crate::uuid::{What, WriteAt};
use std::io;
use std::sync::Mutex;

const CLOUD: [&str; 9] = ["-n", "14:2048:+4M", "-t", "14:ef02", "-n", "15:10240:+20M", "-n", "1:262144:+40M", "-c"];

fn cloud() -> Image {
    let args: Vec<&str> = CLOUD.into_iter().chain(["1:root ä", "-A", "1:set:2"]).collect();
    let image = Image::with_sgdisk(300 * MIB, &args);
    image.write(0, &[0xc3; 440]);
    image
}

/// Lines of `sfdisk -d` without the ids.
fn without_ids(path: &Path) -> Vec<String> {
    let field = |line: &String| {
        let kept = line.split(", ").filter(|field| !field.trim().starts_with("uuid="));
        kept.collect::<Vec<_>>().join(", ")
    };
    dump(path).iter().filter(|line| !line.starts_with("label-id")).map(field).collect()
}

#[test]
fn a_gpt_gets_ids_for_the_disk_and_every_partition() {
    let image = cloud();
    let (before, lines) = (described(&image.path, 0), without_ids(&image.path));
    let plan = renew(&[&image.path], 1);
    assert_eq!(complaints(&image.path), None);
    assert_eq!(without_ids(&image.path), lines);
    assert_eq!(image.read(0, 440), [0xc3; 440]);
    let after = described(&image.path, 0);
    assert_eq!(plan.ids.len(), 4);
    assert_eq!(blkid(&image.path, "PTUUID"), plan.ids[0].new);
    for (old, new) in before.table.entries.iter().zip(&after.table.entries) {
        assert_ne!(old.guid, new.guid);
        assert!(plan.ids.iter().any(|id| Some(&id.old) == old.guid.as_ref() && Some(&id.new) == new.guid.as_ref()));
    }
}

#[test]
fn the_firmwares_entry_is_made_from_the_new_ids() {
    let image = cloud();
    let said = described(&image.path, 0);
    let plan = renew(&[&image.path], 1);
    let manifest = serde_json::json!({
        "format": 1, "features": [], "name": "a", "created": "", "agent": "", "source": {}, "inconsistent": false,
        "cutting": ramet_wire::cutting::CUTTING, "warnings": [], "disks": [said],
    });
    let manifest: ramet_wire::manifest::Manifest = serde_json::from_value(manifest).unwrap();
    assert_eq!(plan.manifest(&manifest).disks[0].table, described(&image.path, 0).table);
}

#[test]
fn an_mbr_gets_a_signature_and_its_partitions_follow() {
    let script = "label: dos\nlabel-id: 0x0a1b2c3d\n2048,20480,83,*\n22528,40960,5\n24576,8192,82\n";
    let image = Image::with_sfdisk(64 * MIB, script);
    let lines = without_ids(&image.path);
    let before = image.bytes();
    let plan = renew(&[&image.path], 1);
    assert_eq!(without_ids(&image.path), lines);
    let after = image.bytes();
    let changed: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
    assert!(changed.iter().all(|at| (440..444).contains(at)), "{changed:?}");
    let signature = blkid(&image.path, "PTUUID");
    let pairs: Vec<(String, String)> = plan.ids.iter().map(|id| (id.old.clone(), id.new.clone())).collect();
    assert_eq!(pairs[0], ("0x0a1b2c3d".to_owned(), format!("0x{signature}")));
    assert_eq!(pairs[3], ("0a1b2c3d-05".to_owned(), format!("{signature}-05")));
    // In files only partitions are looked for: eight digits alone are any number.
    assert_eq!(plan.renamed().ids().len(), plan.ids.len() - 1);
}

#[test]
fn a_partition_that_must_keep_its_id_keeps_it_and_an_mbr_keeps_all() {
    let image = cloud();
    let said = described(&image.path, 0);
    let mut plan = planned(&[&image.path], std::slice::from_ref(&said), 1);
    let guid = said.table.entries[0].guid.clone().unwrap();
    plan.keep(&guid, "a program names it");
    written(&plan, &[&image.path]);
    let after = described(&image.path, 0).table;
    assert_eq!(after.entries[0].guid.as_ref(), Some(&guid));
    assert_ne!(after.entries[1].guid, said.table.entries[1].guid);
    assert_eq!(complaints(&image.path), None);
    assert!(plan.changes().iter().any(|change| change.how == "keeps its partition id: a program names it"));

    let image = Image::with_sfdisk(64 * MIB, "label: dos\nlabel-id: 0x0a1b2c3d\n2048,20480,83\n");
    let before = image.bytes();
    let mut plan = planned(&[&image.path], &[described(&image.path, 0)], 1);
    plan.keep("0a1b2c3d-01", "a program names it");
    assert!(plan.ids.is_empty());
    written(&plan, &[&image.path]);
    assert!(image.bytes() == before);
}

#[test]
fn disks_of_windows_keep_what_its_boot_configuration_names() {
    let gpt = Image::with_sgdisk(64 * MIB, &["-n", "1:2048:+16M", "-t", "1:0c01", "-n", "2:0:0", "-t", "2:0700"]);
    let mbr = Image::with_sfdisk(64 * MIB, "label: dos\n2048,20480,7,*\n22528,,7\n");
    for image in [gpt, mbr] {
        keeps(&image, &described(&image.path, 0), "Windows");
    }
}

#[test]
fn a_gpt_of_which_one_copy_is_damaged_keeps_its_ids() {
    let image = cloud();
    let said = described(&image.path, 0);
    image.write(300 * MIB - 512 + 60, &[1; 4]);
    keeps(&image, &said, "backup");
}

/// A disk that dies after some writes.
struct Dying {
    bytes: Mutex<Vec<u8>>,
    left: Mutex<usize>,
}

impl ReadAt for Dying {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }
}

impl WriteAt for Dying {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        let start = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_dies_between_two_writes_still_has_a_table() {
    let image = cloud();
    let said = described(&image.path, 0);
    let plan = planned(&[&image.path], std::slice::from_ref(&said), 1);
    let guid = |table: &ramet_wire::Table| table.entries[0].guid.clone().unwrap();
    let new = plan.ids.iter().find(|id| id.what == What::Partition(1)).unwrap().new.clone();
    let old = guid(&said.table);
    for writes in 0..=4 {
        let disk = Dying { bytes: Mutex::new(image.bytes()), left: Mutex::new(writes) };
        let done = write(&plan, &[Device::Disk(0, &disk)]);
        assert_eq!(done.is_ok(), writes == 4);
        let found = crate::partition::read(&disk, 512).unwrap().table;
        assert_eq!(guid(&found), if writes >= 3 { new.clone() } else { old.clone() }, "{writes} writes");
    }
    assert!(matches!(write(&plan, &[]), Err(crate::uuid::UuidError::Missing(_))));
}
