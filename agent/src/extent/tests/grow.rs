//! Physical volumes on larger partitions: what we write, LVM's own commands read, and go on with.

use super::super::{growth, growth_of, volumes_of};
use super::images::Image;
use super::lvm::{ext4, swap};
use super::volumes::{MIB, Rig};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// The only disk of `rig` with `mib` MiB.
fn larger(rig: &Rig, mib: u64) -> Rig {
    let old = &rig.disks[0];
    let image = Image::garbage(mib * MIB);
    for at in (0..old.source().size()).step_by(1 << 20) {
        image.write(at, &old.read(at, 1 << 20));
    }
    Rig::on(vec![image])
}

fn device(rig: &Rig) -> Arc<dyn ReadAt> {
    Arc::new(rig.disks[0].source())
}

#[test]
fn the_last_volume_that_can_grow_takes_all_and_lvm_agrees() {
    // Root last: its segment becomes longer. Swap last: root gets a second one.
    for (names, segments) in [(["swap", "root"], 1), (["root", "swap"], 2)] {
        let rig = Rig::new(&[100]);
        for name in names {
            rig.create(name, if name == "root" { "-l 60 vg0" } else { "-l 20 vg0" });
        }
        // As large as the disk: no extent is free.
        rig.lvm("lvextend", &format!("-l +100%FREE vg0/{}", names[1]));
        rig.fill("root", &ext4(50 * MIB));
        rig.fill("swap", &swap(16 * MIB));
        let (root, other) = (rig.size("root"), rig.size("swap"));
        let grown = larger(&rig, 170);
        growth_of(&device(&rig), 0).unwrap();
        let plan = growth(&device(&grown)).unwrap().unwrap();
        assert_eq!(plan.volume, Some(("vg0".to_owned(), "root".to_owned())));
        for (at, bytes) in &plan.writes {
            grown.disks[0].write(*at, bytes);
        }
        grown.lvm("pvck", grown.device(0));
        grown.lvm("vgck", "vg0");
        assert_eq!((grown.size("root"), grown.size("swap")), (root + plan.more, other));
        assert_eq!(grown.segments("root").len(), segments, "{:?}", grown.segments("root"));
        let free = grown.lvm("vgs", "--noheadings -o vg_free_count vg0");
        assert_eq!(free.trim(), "0");
        let size = grown.lvm("pvs", "--noheadings --nosuffix --units b -o dev_size,pv_size");
        assert!(size.trim().starts_with(&(170 * MIB).to_string()), "{size}");
        // What we read is what LVM says.
        let volumes = volumes_of(&vec![device(&grown)].into()).unwrap();
        let found = volumes.iter().find(|volume| volume.name == "root").unwrap();
        let wanted: Vec<_> = grown.segments("root").iter().map(|one| (one.start, one.len, one.areas.clone())).collect();
        let rows = found.stretches.iter().map(|row| (row.range.start(), row.range.len(), row.areas.clone()));
        assert_eq!(rows.collect::<Vec<_>>(), wanted);
        // LVM goes on with it, more often than its area has room for texts.
        for n in 0..20 {
            grown.lvm("vgchange", &format!("--addtag again{n} vg0"));
        }
        grown.lvm("lvreduce", "-f -y -l -3 vg0/root");
        // Nothing more to take.
        assert_eq!(growth(&device(&grown)).unwrap(), None);
    }
}

#[test]
fn a_text_goes_round_the_end_of_its_area() {
    let rig = Rig::on(vec![Image::garbage(24 * MIB)]);
    rig.group("--metadatasize 32k --dataalignment 32k", "-s 1M");
    rig.create("root", "-l 10 vg0");
    rig.fill("root", &ext4(10 * MIB));
    let mut places = Vec::new();
    for n in 0..40 {
        rig.lvm("vgchange", &format!("--addtag a{n} vg0"));
        let grown = larger(&rig, 26 + n);
        let plan = growth(&device(&grown)).unwrap().unwrap();
        places.push(plan.writes[0].0);
        for (at, bytes) in &plan.writes {
            grown.disks[0].write(*at, bytes);
        }
        grown.lvm("vgck", "vg0");
        assert_eq!(grown.size("root"), 10 * MIB + plan.more);
    }
    assert!(places.windows(2).any(|pair| pair[0] > pair[1]), "{places:?}");
}

#[test]
fn refuses_groups_that_are_more_than_one_disk_or_hold_more_than_volumes() {
    let two = Rig::new(&[40, 40]);
    two.create("root", "-l 60 vg0");
    let error = growth_of(&device(&two), 0).unwrap_err().to_string();
    assert!(error.contains("2 physical volumes, 1 expected"), "{error}");
    let empty = Rig::on(vec![Image::garbage(40 * MIB)]);
    empty.lvm("pvcreate", &format!("-ff -y {}", empty.device(0)));
    let error = growth_of(&device(&empty), 0).unwrap_err().to_string();
    assert!(error.contains("not in use"), "{error}");
    let behind = Rig::on(vec![Image::garbage(40 * MIB)]);
    behind.group("--pvmetadatacopies 2", "-s 1M");
    let error = growth_of(&device(&behind), 0).unwrap_err().to_string();
    assert!(error.contains("metadata behind its extents"), "{error}");
}
