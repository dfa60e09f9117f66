//! Physical volumes that are damaged, odd, or of a kind that is not looked into: all of them are copied whole.

use super::super::Map;
use super::fixtures::{fixture, mend_area, mend_label, text, write_sparse, write_text};
use super::images::{Image, random};
use super::volumes::{MIB, Rig, alone, maps};

/// Copies of `disks`, to be damaged: there is nothing behind the first MiB, nor in the last one but text.
fn copies(disks: &[Image]) -> Vec<Image> {
    let copy = |disk: &Image| {
        let copy = Image::empty(24 * MIB);
        for at in [0, 23 * MIB] {
            write_sparse(&copy, at, &disk.read(at, 1 << 20));
        }
        copy
    };
    disks.iter().map(copy).collect()
}

fn is_whole(map: &Map, reason: &str) {
    assert_eq!(map.content.kind, "LVM2_member", "{reason}");
    assert!(map.whole && map.inside.is_empty() && map.warnings.len() == 1, "{reason}: {map:?}");
    let warning = &map.warnings[0];
    assert!(warning.starts_with("copied whole: ") && warning.contains(reason), "{warning}: {reason}");
}

/// Two disks of 24 MiB with a linear and a striped volume.
fn rig() -> Rig {
    let rig = Rig::on(vec![Image::empty(24 * MIB), Image::empty(24 * MIB)]);
    rig.group("", "-s 1M");
    rig.create("root", &format!("-l 5 vg0 {}", rig.device(0)));
    rig.create("data", "-i 2 -I 64k -l 8 vg0");
    rig
}

#[test]
fn volumes_of_other_kinds_are_named_as_the_reason() {
    for (name, reason) in [
        ("lvm-raid1", "logical volume vr1/lv is of type raid1;"),
        ("lvm-thin", "logical volume vth/pool is of type thin-pool"),
        ("lvm-snapshot", "is of type snapshot;"),
        ("lvm-cache", "is of type cache"),
        ("lvm-writecache", "is of type writecache"),
        ("lvm-pvmove", "logical volume vmv/lv has the flag LOCKED"),
        ("lvm-mirror", "is of type mirror"),
        ("lvm-raid0", "is of type raid0"),
        ("lvm-exported", "volume group vex has the flag EXPORTED"),
    ] {
        is_whole(&fixture(name).map(), reason);
    }
}

#[test]
fn a_text_that_is_odd_makes_all_of_it_the_extent() {
    let rig = rig();
    let cases: &[(&str, &str, &str)] = &[
        ("type = \"striped\"\nstripe_count = 1", "type = \"vdo-pool\"\nstripe_count = 1", "is of type vdo-pool"),
        ("type = \"striped\"\nstripe_count = 1", "stripe_count = 1", "lacks type"),
        (
            "status = [\"READ\", \"WRITE\", \"VISIBLE\"]",
            "status = [\"READ\", \"LOCKED\"]",
            "vg0/root has the flag LOCKED",
        ),
        ("status = [\"READ\", \"WRITE\", \"VISIBLE\"]", "status = [\"READ\", 7]", "has a flag that is a number"),
        ("\nflags = []\ncreation", "\nflags = [\"NEWS\"]\ncreation", "vg0/root has the flag NEWS"),
        ("status = [\"RESIZEABLE\", ", "status = [\"CLUSTERED\", ", "vg0 has the flag CLUSTERED"),
        (
            "status = [\"ALLOCATABLE\"]\nflags = []",
            "status = [\"ALLOCATABLE\"]\nflags = [\"MISSING\"]",
            "pv0 has the flag MISSING",
        ),
        ("max_lv = 0", "max_lv = 0\nlock_type = \"sanlock\"", "vg0 is shared with other machines by sanlock"),
        ("max_lv = 0", "max_lv = 0\nnews = 1", "vg0 has the unknown field news"),
        ("max_lv = 0", "max_lv = 0\nnews {\n}", "vg0 has the unknown field news"),
        ("max_lv = 0", "max_lv = 0\nmax_lv = 1", "has max_lv twice"),
        ("format = \"lvm2\"", "format = \"lvm3\"", "has the format lvm3"),
        ("segment_count = 1", "segment_count = 2", "has 1 segments, its text says 2"),
        ("segment_count = 1", "segment_count = 1\nnews = 1", "vg0/root has the unknown field news"),
        (
            "stripe_count = 1",
            "stripe_count = 1\nnews = 1",
            "segment of logical volume vg0/root has the unknown field news",
        ),
        ("pe_count", "news = 1\npe_count", "pv0 has the unknown field news"),
        ("start_extent = 0", "start_extent = 3", "starts at byte 3145728, the last one ends at 0"),
        ("extent_count = 5", "extent_count = 0", "at extent 0 has no extents"),
        ("extent_count = 5", "extent_count = 24", "has 25165824 bytes at 0 of pv0, which has 24117248"),
        ("extent_count = 5", "extent_count = 6", "overlap"),
        ("extent_count = 5", "extent_count = 9223372036854775807", "9223372036854775807 extents of 1048576 bytes"),
        ("extent_count = 5", "extent_count = -5", "has extent_count = -5"),
        ("\"pv0\", 0", "\"pv0\", -1", "starts at extent -1"),
        ("\"pv0\", 0", "\"pv0\", 5", "overlap"),
        ("\"pv0\", 0", "\"pv7\", 0", "lies on pv7, no physical volume"),
        ("\"pv0\", 0", "\"data\", 0", "lies on data, no physical volume"),
        ("\"pv0\", 0", "0, \"pv0\"", "has a stripe that is no place"),
        ("\"pv0\", 0", "\"pv0\", 0, \"pv1\", 0", "has 1 stripes for 5 extents in a list of 4"),
        ("stripe_count = 2", "stripe_count = 3", "has 3 stripes for 8 extents in a list of 4"),
        ("stripe_count = 2", "stripe_count = 0", "has 0 stripes"),
        ("stripe_size = 128", "stripe_size = 0", "has stripes of 0 bytes in extents of 1048576"),
        ("stripe_size = 128", "stripe_size = 96", "has stripes of 49152 bytes"),
        ("stripe_size = 128", "stripe_size = 9223372036854775807", "has stripes of 18446744073709551615 bytes"),
        ("extent_size = 2048", "extent_size = 0", "has extents of 0 sectors"),
        ("extent_size = 2048", "extent_size = 4294967297", "has extents of 4294967297 sectors"),
        ("extent_size = 2048", "extent_size = 4096", "end at byte"),
        (
            "pe_start = 2048",
            "pe_start = 2056",
            "label says that extents start at byte 1048576, volume group vg0 at 1052672",
        ),
        ("pe_start = 2048", "pe_start = 9223372036854775807", "starts at sector 9223372036854775807"),
        ("pe_count = 23", "pe_count = 24", "end at byte 26214400, it has 25165824"),
        ("contents = \"Text Format", "contents = \"Text Forma", "is of another kind"),
        ("version = 1\n", "version = 2\n", "has version 2, 1 expected"),
        ("vg0 {", "vg1 {\n}\nvg0 {", "text has 2 volume groups"),
        ("logical_volumes {", "logical_volumes = [", "no value at byte"),
    ];
    for (from, to, reason) in cases {
        let disks = copies(&rig.disks);
        for disk in &disks {
            let text = text(disk).replace('\t', "");
            assert!(text.contains(from), "{from} in {text}");
            write_text(disk, &text.replacen(from, to, 1));
        }
        is_whole(&maps(&disks)[0], reason);
    }
    // The group without this volume, and two volumes with one UUID.
    let disks = copies(&rig.disks);
    let uuids: Vec<String> =
        text(&disks[0]).split("id = \"").skip(2).take(2).map(|rest| rest[..38].to_owned()).collect();
    for disk in &disks {
        write_text(disk, &text(disk).replacen(&uuids[0], "000000-0000-0000-0000-0000-0000-000000", 1));
    }
    is_whole(&maps(&disks)[0], "volume group vg0 does not know this physical volume");
    for (disk, source) in disks.iter().zip(&rig.disks) {
        write_text(disk, &text(source).replacen(&uuids[1], &uuids[0], 1));
    }
    is_whole(&maps(&disks)[0], "pv1 has the UUID of another one");
}

#[test]
fn damaged_labels_and_areas_make_all_of_it_the_extent() {
    let rig = rig();
    let le = |value: u64| value.to_le_bytes().to_vec();
    type Mend = fn(&Image);
    let label: Mend = |disk| mend_label(disk, 1);
    let area: Mend = mend_area;
    let none: Mend = |_| {};
    let cases: &[(u64, Vec<u8>, Mend, &str)] = &[
        (512 + 16, vec![0], none, "label has checksum"),
        (512 + 64, vec![1], none, "label has checksum"),
        (512 + 8, le(2), label, "label says that it lies in sector 2, it lies in 1"),
        (512 + 20, vec![31], label, "at 31, 32 to 472 expected"),
        (512 + 20, vec![255, 255], label, "at 65535, 32 to 472 expected"),
        (512 + 32, vec![0], label, "UUID of the physical volume is no text"),
        (512 + 64, le(24 * MIB + 1), label, "has 25165825 bytes, the partition 25165824"),
        (512 + 72, le(0), label, "0 data areas, 1 expected"),
        (512 + 72, le(2 * MIB), label, "label says that extents start at byte 2097152, volume group vg0 at 1048576"),
        (512 + 72, le(25 * MIB), label, "area at 26214400+0"),
        (512 + 104, le(1024), label, "area at 1024+1044480"),
        (512 + 104, le(u64::MAX), label, "area: range at 18446744073709551615"),
        (512 + 112, le(512), label, "is shorter than two sectors"),
        (512 + 112, le(24 * MIB), label, "area at 4096+25165824"),
        (512 + 112, le(2 * MIB), label, "metadata area at 4096+2097152 says that it is at 4096+1044480"),
        (
            512 + 120,
            [le(8192), le(4096), le(0), le(0)].concat(),
            label,
            "area at 8192+4096 overlaps that at 4096+1044480",
        ),
        (512 + 136, le(3), label, "extension has version"),
        (512 + 140, vec![3], label, "extension has flags 0x3"),
        (1024, b"LABELONE".to_vec(), none, "2 labels of physical volumes"),
        (4096, vec![0], none, "has checksum"),
        (4100, vec![0], area, "has another magic"),
        (4116, vec![2], area, "has version 2, 1 expected"),
        (4120, le(8192), area, "says that it is at 8192+1044480"),
        (4128, le(4096), area, "says that it is at 4096+4096"),
        (4136, le(511), area, "text at 511 of a metadata area"),
        (4136, le(1_044_480), area, "text at 1044480 of a metadata area"),
        (4144, le(0), area, "text of 0 bytes"),
        (4144, le(1_044_480), area, "text of 1044480 bytes in a metadata area, 1 to 1043968 expected"),
        (4144, le(u64::MAX), area, "text of 18446744073709551615 bytes"),
        (4152, le(0), area, "text of a volume group has checksum"),
        (4156, vec![2], area, "has flags 0x2"),
        (4160, le(4096), area, "has a change that was begun and not ended, at 4096"),
    ];
    for (at, bytes, mend, reason) in cases {
        let disks = copies(&rig.disks);
        disks[0].write(*at, bytes);
        mend(&disks[0]);
        is_whole(&maps(&disks)[0], reason);
    }
    // The bytes of the text themselves; its length is right, so the checksum is all that tells.
    let disks = copies(&rig.disks);
    let offset = u64::from_le_bytes(disks[0].read(4136, 8).try_into().unwrap());
    disks[0].write(4096 + offset + 100, b"#");
    is_whole(&maps(&disks)[0], "text of a volume group has checksum");
    // Damage at the neighbour: what it says of the group cannot be compared.
    is_whole(&maps(&disks)[1], "text of a volume group has checksum");
    // A neighbour that is in another group by now.
    let disks = copies(&rig.disks);
    disks[1].write(4136, &le(0));
    mend_area(&disks[1]);
    is_whole(&maps(&disks)[0], "of volume group vg0 has no text of it");
    is_whole(&maps(&disks)[1], "1 metadata areas are empty on a physical volume of volume group vg0");
}

#[test]
fn two_areas_of_one_device_that_disagree_make_all_of_it_the_extent() {
    let rig = Rig::on(vec![Image::empty(24 * MIB)]);
    rig.group("--metadatacopies 2", "-s 1M");
    rig.create("root", "-l 5 vg0");
    assert!(!alone(&rig.disks[0]).whole);
    let disk = &copies(&rig.disks)[0];
    write_text(disk, &text(disk).replacen("seqno = 2", "seqno = 9", 1));
    is_whole(
        &alone(disk),
        "the text of volume group vg0 has number 9, its copy on another area of the same device number 2",
    );
    disk.write(4136, &[0; 8]);
    mend_area(disk);
    is_whole(&alone(disk), "1 metadata areas are empty on a physical volume of volume group vg0");
}

#[test]
fn a_hidden_volume_is_copied_as_it_lies() {
    let rig = rig();
    for disk in &rig.disks {
        write_text(disk, &text(disk).replacen("\"VISIBLE\"", "\"WRITE\"", 1));
    }
    let map = &rig.maps()[0];
    assert!(!map.whole && map.inside[0].whole, "{map:?}");
    assert!(map.warnings[0].contains("vg0/root: copied whole: it is hidden"), "{:?}", map.warnings);
}

#[test]
fn bytes_changed_at_random_are_never_a_panic_and_never_believed_unless_nothing_reads_them() {
    let rig = rig();
    let believed: Vec<u64> = rig.maps().iter().map(|map| map.used_bytes).collect();
    let disks = copies(&rig.disks);
    let text_at = 4096 + u64::from_le_bytes(disks[0].read(4136, 8).try_into().unwrap());
    let mut seed = 5;
    for round in 0..400 {
        let at = match round % 3 {
            0 => 512 + random(&mut seed) % 160,
            1 => 4096 + random(&mut seed) % 80,
            _ => text_at + random(&mut seed) % text(&rig.disks[0]).len() as u64,
        };
        let (old, new) = (disks[0].read(at, 1), random(&mut seed).to_le_bytes()[0]);
        disks[0].write(at, &[new]);
        let map = maps(&disks).remove(0);
        assert!(map.whole || (map.used_bytes == believed[0] && old == [new]), "byte {at}: {old:?} to {new}: {map:?}");
        disks[0].write(at, &old);
    }
}
