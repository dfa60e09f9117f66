//! Damaged and hostile NTFS volumes: never a panic, never an error, always the whole partition and a reason.

use super::super::map;
use super::images::{Image, extents, is_whole, partclone, run, total};
use super::ntfs_volumes::{MIB, made, mount, number, places, record};
use std::fs;
use std::sync::{Arc, LazyLock};

struct Sample {
    image: Image,
    bytes: Vec<u8>,
}

/// Clusters of 512 bytes, 80 of them for $Bitmap, and a root directory in several blocks.
static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let image = made(20 * MIB, "-c 512");
    {
        let mount = mount(&image, "rw");
        for number in 0..300 {
            fs::write(mount.dir.join(format!("file number {number}")), b"content").unwrap();
        }
    }
    let bytes = image.bytes();
    Sample { image, bytes }
});

#[test]
fn the_sample_is_believed() {
    assert!(!SAMPLE.image.map().whole);
}

#[test]
fn a_boot_sector_that_contradicts_itself_makes_it_whole() {
    let max = [0xff; 8];
    let cases: &[(usize, &[u8], &str)] = &[
        (11, &[0, 0], "0 bytes per sector"),
        (11, &[1, 2], "513 bytes per sector"),
        (11, &[0, 0x20], "8192 bytes per sector"),
        (13, &[0], "clusters of 0 sectors"),
        (13, &[3], "clusters of 3 sectors"),
        (13, &[0xf3], "clusters of 8192 sectors (4194304 bytes)"),
        (13, &[0x81], "clusters of 0 sectors"),
        (14, &[1], "boot sector has 1 in a field of FAT"),
        (16, &[2], "boot sector has 2 in a field of FAT"),
        (32, &[3], "boot sector has 3 in a field of FAT"),
        (40, &max, "the partition has 20971520 bytes"),
        (40, &[0; 8], "puts $MFT at cluster"),
        (48, &[0; 8], "puts $MFT at cluster 0"),
        (48, &max, "puts $MFT at cluster 18446744073709551615"),
        (56, &[0; 8], "puts $MFTMirr at cluster 0"),
        (56, &max, "puts $MFTMirr at cluster"),
        (64, &[0], "MFT records of 0 bytes"),
        (64, &[0x80], "MFT records of 0 bytes"),
        (64, &[3], "MFT records of 1536 bytes"),
        (64, &[0xe1], "MFT records of 2147483648 bytes"),
        (64, &[0xf8], "MFT records of 256 bytes"),
        (64, &[0xf4], "MFT record 0 has an update sequence of 6 bytes for 4096 bytes"),
    ];
    for (at, value, warning) in cases {
        let mut bytes = SAMPLE.bytes.clone();
        bytes[*at..at + value.len()].copy_from_slice(value);
        is_whole(bytes, warning);
    }
    let mut bytes = SAMPLE.bytes.clone();
    bytes.copy_within(48..56, 56);
    is_whole(bytes, "puts $MFT and $MFTMirr both at cluster");
    // The MFT at the end of the volume: its second record lies outside.
    let mut bytes = SAMPLE.bytes.clone();
    let last = places(&bytes).clusters - 1;
    bytes[48..56].copy_from_slice(&last.to_le_bytes());
    is_whole(bytes, "MFT record 0 ends at byte");
}

/// A change of the record's bytes as they are meant, and what must be said then.
type Change = fn(&mut [u8]);

fn put(record: &mut [u8], at: usize, value: &[u8]) {
    record[at..at + value.len()].copy_from_slice(value);
}

fn changed(number: u64, cases: &[(Change, &str)]) {
    for (change, warning) in cases {
        let mut bytes = SAMPLE.bytes.clone();
        record::change_in(&mut bytes, number, change);
        is_whole(bytes, warning);
    }
}

#[test]
fn a_torn_or_foreign_record_makes_it_whole() {
    for (number, offset, value, warning) in [
        (0, 510, 0xaa, "MFT record 0 was torn: sector 0"),
        (6, 1022, 0xaa, "MFT record 6 was torn: sector 1"),
        (6, 0, b'B', "MFT record 6 starts with BILE, FILE expected"),
        (6, 6, 9, "MFT record 6 has an update sequence of 18 bytes for 1024 bytes"),
        (6, 4, 3, "MFT record 6 has its update sequence of 6 bytes at byte 3"),
        (6, 5, 3, "MFT record 6 has its update sequence of 6 bytes at byte"),
        (3, 0, b'B', "MFT record 3 starts with BILE"),
        (5, 1, b'A', "MFT record 5 starts with FALE"),
    ] {
        let mut bytes = SAMPLE.bytes.clone();
        let at = record::at(&bytes, number) + offset;
        bytes[at] = value;
        is_whole(bytes, warning);
    }
}

#[test]
fn a_record_that_contradicts_itself_makes_it_whole() {
    changed(
        6,
        &[
            (|r| r[22] = 0, "MFT record 6 is not in use"),
            (|r| r[20] = 8, "MFT record 6 uses bytes 8 to"),
            (|r| r[20] = 57, "MFT record 6 uses bytes 57 to"),
            (|r| r[21] = 8, "MFT record 6 uses bytes"),
            (|r| r[24..28].fill(0xff), "MFT record 6 uses bytes 56 to 4294967295 of 1024"),
            (|r| r[24..28].copy_from_slice(&[60, 0, 0, 0]), "attribute 0x10 of MFT record 6 has 0 bytes, 4 are left"),
            (|r| r[28] = 1, "MFT record 6 says 1025 bytes, the boot sector 1024"),
            (|r| r[32] = 5, "MFT record 6 belongs to record 5"),
            (|r| r[56 + 4] = 0, "attribute 0x10 of MFT record 6 has 0 bytes"),
            (|r| r[56 + 4] = 73, "attribute 0x10 of MFT record 6 has 73 bytes"),
            (|r| r[56 + 5] = 4, "attribute 0x10 of MFT record 6 has 1120 bytes"),
            (|r| r[56 + 16] = 200, "has its value of 200 bytes at 24 of 96"),
            (|r| r[56 + 19] = 255, "has its value of"),
            (|r| r[56 + 9] = 60, "has its name of 120 bytes at"),
            (|r| r[record::attribute(r, 0x80) + 33] = 9, "has its mapping pairs of 0 bytes at"),
            (|r| r[record::attribute(r, 0x80) + 16] = 1, "goes on at virtual cluster 1, 0 expected"),
            (|r| put(r, record::attribute(r, 0x80) + 24, &[0x7f; 8]), "has runs up to virtual cluster 10"),
            (|r| r[record::attribute(r, 0x80) + 24] = 3, "its attribute ends at 4"),
            (|r| r[record::attribute(r, 0x80) + 31] = 0x80, "has runs up to virtual cluster"),
            (|r| r[record::attribute(r, 0x80)] = 0x81, "MFT record 6 has no plain data"),
            (|r| r[record::attribute(r, 0x80) + 12] = 1, "MFT record 6 has no plain data"),
            (|r| r[record::attribute(r, 0x80) + 13] = 0x80, "MFT record 6 has no plain data"),
            (|r| put(r, record::attribute(r, 0x80) + 48, &[0; 8]), "has 0 bytes, 5120 of them written"),
            (|r| r[record::attribute(r, 0x80) + 50] = 1, "a stream of"),
            (|r| r[record::attribute(r, 0x80) + 57] = 1, "$Bitmap has 256 bytes, 5120 are needed"),
            // The first mapping pair without a place: a hole.
            (
                |r| {
                    let at = record::attribute(r, 0x80) + number(r, record::attribute(r, 0x80) + 32, 2);
                    let (length, place) = (usize::from(r[at] & 15), usize::from(r[at] >> 4));
                    r[at] &= 15;
                    r[at + 1 + length..at + 1 + length + place].fill(0);
                },
                "MFT record 6 has no plain data",
            ),
            // No end mark, and the same attribute twice.
            (
                |r| {
                    let end = number(r, 24, 4) - 8;
                    r[24..28].copy_from_slice(&u32::try_from(end).unwrap().to_le_bytes());
                },
                "without an end mark",
            ),
            (|r| r[56] = 0x80, "has attribute 0x80 2 times"),
        ],
    );
}

#[test]
fn the_volume_s_own_record_is_checked_too() {
    changed(
        3,
        &[
            (|r| r[record::attribute(r, 0x70)] = 0x71, "$Volume has 0 bytes of information"),
            (|r| r[record::resident(r, 0x70) + 8] = 4, "NTFS 4.1"),
            (|r| r[record::resident(r, 0x70) + 9] = 7, "NTFS 3.7"),
            (|r| r[record::attribute(r, 0x70) + 16] = 8, "$Volume has 8 bytes of information"),
        ],
    );
}

#[test]
fn a_table_that_differs_from_its_mirror_makes_it_whole() {
    for number in 0..4 {
        let mut bytes = SAMPLE.bytes.clone();
        let (at, len) = (record::at(&bytes, number), places(&bytes).record);
        record::edit(&mut bytes[at..at + len], |r| r[16] ^= 1);
        is_whole(bytes, &format!("MFT record {number} differs between $MFT and $MFTMirr"));
    }
    // Another update sequence number says nothing.
    let mut bytes = SAMPLE.bytes.clone();
    let (at, len) = (record::at(&bytes, 1), places(&bytes).record);
    record::edit(&mut bytes[at..at + len], |r| {
        let at = number(r, 4, 2);
        r[at] ^= 0x55;
    });
    assert!(!map(Arc::new(bytes)).unwrap().whole);
    // And the table has to lie where the boot sector says: here it is at its mirror.
    let mut bytes = SAMPLE.bytes.clone();
    bytes[48..64].rotate_left(8);
    is_whole(bytes, "$MFT starts at cluster");
}

#[test]
fn metadata_that_the_bitmap_calls_free_makes_it_whole() {
    let bytes = &SAMPLE.bytes;
    let cluster = places(bytes).cluster;
    let bitmap = record::runs(&SAMPLE.image, 6)[0].0;
    for (number, owner) in [(0, "$MFT"), (1, "$MFTMirr"), (2, "$LogFile"), (6, "$Bitmap")] {
        let runs = record::runs(&SAMPLE.image, number);
        let (first, last) = (runs[0].0, runs.last().unwrap());
        for at in [first, last.0 + last.1 - 1] {
            let free = usize::try_from(at).unwrap() / cluster;
            let mut bytes = bytes.clone();
            bytes[usize::try_from(bitmap).unwrap() + free / 8] &= !(1 << (free % 8));
            is_whole(bytes, &format!("$Bitmap calls cluster {free} free, it belongs to {owner}"));
        }
    }
    let mut bytes = bytes.clone();
    bytes[usize::try_from(bitmap).unwrap()] &= 0xfe;
    is_whole(bytes, "$Bitmap calls cluster 0 free, it belongs to $Boot");
}

#[test]
fn metadata_that_shares_a_cluster_makes_it_whole() {
    // The bitmap's place is a signed difference in the first mapping pair: it becomes that of the log.
    let mut bytes = SAMPLE.bytes.clone();
    let cluster = places(&bytes).cluster as u64;
    let log = record::runs(&SAMPLE.image, 2)[0].0 / cluster;
    record::change_in(&mut bytes, 6, |r| {
        let at = record::attribute(r, 0x80) + number(r, record::attribute(r, 0x80) + 32, 2);
        let (length, place) = (usize::from(r[at] & 15), usize::from(r[at] >> 4));
        r[at + 1 + length..][..place].copy_from_slice(&log.to_le_bytes()[..place]);
    });
    is_whole(bytes, &format!("cluster {log} belongs to both"));
}

#[test]
fn a_root_directory_that_contradicts_itself_makes_it_whole() {
    fn root(r: &[u8]) -> usize {
        record::resident(r, 0x90)
    }
    changed(
        5,
        &[
            (|r| r[22] = 1, "MFT record 5 is no directory"),
            (|r| r[record::attribute(r, 0x90)] = 0x91, "MFT record 5 has no index root"),
            (|r| r[root(r)] = 0x31, "has keys of type 0x31"),
            (|r| r[root(r) + 9] = 0x11, "blocks of 4352 bytes"),
            (|r| put(r, root(r) + 8, &[0, 0, 2, 0]), "blocks of 131072 bytes"),
            (|r| r[root(r) + 9] = 1, "blocks of 256 bytes"),
            (|r| r[root(r) + 16] = 8, "index root of MFT record 5 has entries from 8 to"),
            (|r| r[root(r) + 22] = 1, "index root of MFT record 5 has entries from 16 to"),
            (|r| r[root(r) + 16 + 16 + 8] = 0, "index root of MFT record 5 has an entry of 0 bytes at 16"),
            (|r| r[root(r) + 16 + 16 + 9] = 9, "index root of MFT record 5 has an entry of"),
            (|r| r[record::attribute(r, 0xa0)] = 0xa1, "has a large index without blocks or bitmap"),
            (|r| r[record::attribute(r, 0xb0)] = 0xb1, "has a large index without blocks or bitmap"),
            (|r| r[record::attribute(r, 0xb0) + 16] = 0, "of bitmap"),
            (|r| r[record::attribute(r, 0xa0) + 52] = 1, "a stream of"),
        ],
    );
}

#[test]
fn an_index_block_that_contradicts_itself_makes_it_whole() {
    let blocks = usize::try_from(record::runs_of(&SAMPLE.image, 5, 0xa0)[0].0).unwrap();
    let cases: &[(Change, &str)] = &[
        (|b| b[16] = 1, "index block 0 of MFT record 5 says it is at 1, it is at 0"),
        (|b| b[24] = 8, "index block 0 of MFT record 5 has entries from 8"),
        (|b| b[24 + 5] = 0xff, "index block 0 of MFT record 5 has entries from"),
        (|b| b[24 + number(b, 24, 4) + 8] = 15, "has an entry of 15 bytes"),
        (|b| b[24 + number(b, 24, 4) + 8 + 1] = 0x7f, "has an entry of"),
        (|b| b[24 + number(b, 24, 4) + 16 + 64] = 200, "has a name of 400 bytes"),
    ];
    for (change, warning) in cases {
        let mut bytes = SAMPLE.bytes.clone();
        record::edit(&mut bytes[blocks..blocks + 4096], change);
        is_whole(bytes, warning);
    }
    for (offset, value, warning) in [(0, b'X', "starts with XNDX, INDX expected"), (1022, 0x77, "was torn: sector 1")] {
        let mut bytes = SAMPLE.bytes.clone();
        bytes[blocks + offset] = value;
        is_whole(bytes, warning);
    }
}

/// A real one: a thousand pieces of a full disk, in four records.
#[test]
fn an_mft_with_an_attribute_list_is_followed_and_checked() {
    let image = made(8 * MIB, "-c 512");
    {
        let mount = mount(&image, "rw");
        let mut count = 0;
        while fs::write(mount.dir.join(format!("f{count}")), [9; 800]).is_ok() {
            count += 1;
        }
        for number in (0..count).step_by(2) {
            fs::remove_file(mount.dir.join(format!("f{number}"))).unwrap();
        }
        for number in 0..count {
            if fs::write(mount.dir.join(format!("e{number}")), b"").is_err() {
                break;
            }
        }
    }
    let said = run("ntfsinfo", &["-f", "-i", "0", image.name()]);
    assert!(said.contains("$ATTRIBUTE_LIST") && said.matches("$DATA").count() >= 2, "{said}");
    let map = image.map();
    assert!(!map.whole, "{map:?}");
    let used = partclone("partclone.ntfs", &image);
    let clone = image.clone_of(&extents(&map, 8 * MIB));
    super::ntfs_volumes::same_files(&image, &clone);
    println!("{} bytes, partclone has {}", map.used_bytes, total(&used));
    list_damage(&image.bytes());
}

fn list_damage(bytes: &[u8]) {
    let places = places(bytes);
    let mut base = bytes[record::at(bytes, 0)..][..places.record].to_vec();
    record::unprotect(&mut base);
    let list = record::attribute(&base, 0x20);
    assert_eq!(base[list + 8], 1, "the list lies in a cluster of its own");
    let pairs = list + number(&base, list + 32, 2);
    let (length, place) = (usize::from(base[pairs] & 15), usize::from(base[pairs] >> 4));
    let entries = number(&base, pairs + 1 + length, place) * places.cluster;
    let len = number(&base, list + 48, 8);
    // The second part of $DATA.
    let mut at = entries;
    let mut parts = 0;
    while at < entries + len && parts < 2 {
        parts += usize::from(number(bytes, at, 4) == 0x80);
        at += if parts < 2 { number(bytes, at + 4, 2) } else { 0 };
    }
    assert_eq!(parts, 2);
    let holder = number(bytes, at + 16, 6) as u64;
    let cases: &[(usize, &[u8], &str)] = &[
        (4, &[0, 0], "has an entry of 0 bytes"),
        (4, &[0xff, 0xff], "has an entry of 65535 bytes"),
        (6, &[100], "with a name up to"),
        (8, &[0xff; 8], "lacks attribute 0x80 of record 0 from virtual cluster 18446744073709551615"),
        (8, &[0; 8], "lacks attribute 0x80 of record 0 from virtual cluster 0"),
        (16, &[6, 0, 0, 0, 0, 0], "the attribute list of record 0 wants use"),
        (16, &[0xff; 6], "MFT record 281474976710655 was wanted, there are"),
        (22, &[0x77, 0x77], "the attribute list of record 0 wants use 30583"),
        // Its own record: a second first part.
        (16, &[0, 0, 0, 0, 0, 0, 1, 0], "lacks attribute 0x80 of record 0 from virtual cluster"),
    ];
    for (offset, value, warning) in cases {
        let mut bytes = bytes.to_vec();
        bytes[at + offset..][..value.len()].copy_from_slice(value);
        is_whole(bytes, warning);
    }
    // The list itself not written to its end, and too long: 600 clusters, a hole.
    let mut unwritten = bytes.to_vec();
    record::change_in(&mut unwritten, 0, |r| put(r, list + 56, &1_u64.to_le_bytes()));
    is_whole(unwritten, "attribute list of MFT record 0 has");
    let mut long = bytes.to_vec();
    record::change_in(&mut long, 0, |r| {
        put(r, list + 24, &599_u64.to_le_bytes());
        put(r, list + 48, &[307_200_u64.to_le_bytes(), 307_200_u64.to_le_bytes()].concat());
        put(r, pairs, &[2, 0x58, 2, 0]);
    });
    is_whole(long, "attribute list of MFT record 0 has 307200 bytes");
    // The part of another file, and a part that does not begin where the one before ended.
    let mut foreign = bytes.to_vec();
    record::change_in(&mut foreign, holder, |r| r[32] = 9);
    is_whole(foreign, "belongs to record 9");
    let mut early = bytes.to_vec();
    let first = number(&early, at + 8, 8) - 1;
    early[at + 8..at + 16].copy_from_slice(&first.to_le_bytes());
    record::change_in(&mut early, holder, |r| {
        let at = record::attribute(r, 0x80) + 16;
        r[at..at + 8].copy_from_slice(&first.to_le_bytes());
    });
    is_whole(early, "goes on at virtual cluster");
}
