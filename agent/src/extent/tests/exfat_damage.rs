//! Damaged and hostile exFAT volumes: never a panic, never an error, always the whole partition and a reason.

use super::super::{Map, map};
use super::exfat::{made, mount};
use super::images::extents;
use std::fs;
use std::sync::{Arc, LazyLock};

const MIB: u64 = 1 << 20;

/// Clusters of 512 bytes, and a root directory of many of them.
static SAMPLE: LazyLock<Volume> = LazyLock::new(|| {
    let image = made(4 * MIB, "-b 512 -c 512 -L label");
    {
        let mount = mount(&image, "rw");
        for number in 0..30 {
            fs::write(mount.0.join(format!("a file in the root {number}")), vec![1; 3000]).unwrap();
        }
    }
    Volume(image.bytes())
});

#[derive(Clone)]
struct Volume(Vec<u8>);

impl Volume {
    fn number(&self, at: usize, len: usize) -> usize {
        self.0[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }

    fn table(&self) -> usize {
        self.number(80, 4) * 512
    }

    fn clusters(&self) -> usize {
        self.number(92, 4)
    }

    fn root(&self) -> usize {
        self.number(96, 4)
    }

    fn place(&self, cluster: usize) -> usize {
        self.number(88, 4) * 512 + (cluster - 2) * 512
    }

    /// The root's entry of a type.
    fn entry(&self, kind: u8) -> usize {
        let root = self.place(self.root());
        (root..root + 512).step_by(32).find(|&at| self.0[at] == kind).unwrap()
    }

    fn first(&self, kind: u8) -> usize {
        self.number(self.entry(kind) + 20, 4)
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    fn chain(&mut self, cluster: usize, next: usize) {
        let at = self.table() + 4 * cluster;
        self.put(at, &u32::try_from(next).unwrap().to_le_bytes());
    }

    fn free(&mut self, cluster: usize) {
        let bitmap = self.place(self.first(0x81));
        self.0[bitmap + (cluster - 2) / 8] &= !(1 << ((cluster - 2) % 8));
    }

    /// Both boot regions, as the first sector of the main one is now.
    fn mend(&mut self) {
        let boot = self.0[..512].to_vec();
        self.put(12 * 512, &boot);
        for region in [0, 12 * 512] {
            let mut sum = 0_u32;
            for (at, byte) in self.0[region..region + 11 * 512].iter().enumerate() {
                if ![106, 107, 112].contains(&at) {
                    sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
                }
            }
            let sums: Vec<u8> = (0..128).flat_map(|_| sum.to_le_bytes()).collect();
            self.put(region + 11 * 512, &sums);
        }
    }

    fn map(self) -> Map {
        map(Arc::new(self.0)).unwrap()
    }
}

fn is_whole(volume: Volume, warning: &str, case: &str) {
    let size = volume.0.len() as u64;
    let map = volume.map();
    assert_eq!(map.content.kind, "exfat");
    assert!(map.whole, "{case}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{case}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}

#[test]
fn the_sample_is_believed_and_mending_changes_nothing() {
    let mut mended = SAMPLE.clone();
    mended.mend();
    assert!(!mended.map().whole);
    let map = SAMPLE.clone().map();
    assert!(!map.whole && map.content.label.as_deref() == Some("label"), "{map:?}");
    // The root lies in many clusters.
    assert!(SAMPLE.number(SAMPLE.table() + 4 * SAMPLE.root(), 4) < 0xffff_fff7);
}

#[test]
fn any_flipped_byte_of_a_boot_region_makes_it_whole() {
    for region in [0, 12 * 512] {
        let name = if region == 0 { "checksum of the main boot" } else { "checksum of the backup boot" };
        for at in [120, 300, 509, 512, 1022, 5000, 5631, 5632, 5900, 6143] {
            let mut volume = SAMPLE.clone();
            volume.0[region + at] ^= 0x10;
            assert_eq!(volume.clone().map().content.state.as_deref(), Some("damaged"));
            is_whole(volume, name, &format!("byte {at} of region {region}"));
        }
    }
}

#[test]
fn flags_make_it_whole_and_the_percentage_does_not() {
    for (flags, warning, state) in [
        (2, "the volume is dirty", "dirty"),
        (3, "the volume is dirty", "dirty"),
        (4, "media failures", "dirty"),
        (1, "second table", "clean"),
        (0x4000, "flags 0x4000", "clean"),
    ] {
        let mut volume = SAMPLE.clone();
        volume.put(106, &u16::to_le_bytes(flags));
        assert_eq!(volume.clone().map().content.state.as_deref(), Some(state));
        is_whole(volume, warning, &format!("flags {flags}"));
    }
    for (at, value) in [(112, 77), (106, 8)] {
        let mut volume = SAMPLE.clone();
        volume.put(at, &[value]);
        assert!(!volume.map().whole);
    }
}

#[test]
fn a_boot_sector_that_contradicts_itself_makes_it_whole() {
    let cases: &[(usize, &[u8], &str)] = &[
        (510, &[0], "boot sector ends in"),
        (11, &[1], "fields of FAT"),
        (63, &[1], "fields of FAT"),
        (72, &[0xff; 8], "the partition has 4194304 bytes"),
        (72, &[0x01, 0x20, 0, 0, 0, 0, 0, 0], "boot sector has 8193 sectors"),
        (72, &[1, 0, 0, 0, 0, 0, 0, 0], "clusters end at sector"),
        (80, &[23, 0, 0, 0], "allocation table starts at sector 23"),
        (80, &[0xff; 4], "allocation table ends at sector"),
        (84, &[1, 0, 0, 0], "the allocation table has 512 bytes"),
        (84, &[0xff; 4], "allocation table ends at sector"),
        (88, &[1, 0, 0, 0], "the clusters start at 1"),
        (88, &[0xff; 4], "clusters end at sector"),
        (92, &[0; 4], "boot sector has 0 clusters"),
        (92, &[0xff; 4], "boot sector has 4294967295 clusters"),
        (96, &[1, 0, 0, 0], "root directory starts at cluster 1"),
        (96, &[0xff; 4], "root directory starts at cluster 4294967295"),
        (104, &[1, 1], "exFAT has revision 0x101"),
        (105, &[2], "exFAT has revision 0x200"),
        (108, &[8], "sectors of 1 << 8"),
        (108, &[13], "sectors of 1 << 13"),
        (108, &[0xff], "sectors of 1 << 255"),
        (109, &[17], "clusters of 1 << 26"),
        (109, &[0xff], "clusters of 1 << 264"),
        (110, &[0], "boot sector has 0 allocation tables"),
        (110, &[2], "boot sector has 2 allocation tables (2 is TexFAT)"),
    ];
    for (at, value, warning) in cases {
        let mut volume = SAMPLE.clone();
        volume.put(*at, value);
        volume.mend();
        is_whole(volume, warning, &format!("{value:x?} at {at}"));
    }
}

#[test]
fn boot_sectors_that_differ_make_it_whole() {
    let mut volume = SAMPLE.clone();
    let main = volume.0[..12 * 512].to_vec();
    volume.put(96, &[9, 0, 0, 0]);
    volume.mend();
    volume.put(0, &main);
    is_whole(volume, "differ at byte 96", "root");
}

#[test]
fn chains_that_lead_nowhere_make_it_whole() {
    let root = SAMPLE.root();
    let (bitmap, upcase) = (SAMPLE.first(0x81), SAMPLE.first(0x82));
    let clusters = SAMPLE.clusters();
    let cases: [(usize, usize, &str); 12] = [
        (0, 0xffff_fff0, "allocation table starts with 0xfffffff0"),
        (root, root, "root directory goes on at cluster"),
        (root, 0, "root directory goes on at cluster 0x0"),
        (root, 1, "root directory goes on at cluster 0x1"),
        (root, clusters + 2, "root directory goes on at cluster"),
        (root, 0xffff_fff7, "root directory goes on at cluster 0xfffffff7"),
        (bitmap, bitmap, "allocation bitmap goes on at cluster"),
        (bitmap, 0xffff_ffff, "allocation bitmap has 1 clusters"),
        (bitmap, bitmap + 2, "allocation bitmap goes on at cluster"),
        (bitmap + 1, bitmap, "allocation bitmap goes on at cluster"),
        (upcase, upcase, "up-case table goes on at cluster"),
        (upcase, 0xffff_ffff, "up-case table has 1 clusters"),
    ];
    for (cluster, next, warning) in cases {
        let mut volume = SAMPLE.clone();
        volume.chain(cluster, next);
        is_whole(volume, warning, &format!("{cluster} goes on at {next}"));
    }
}

#[test]
fn a_root_directory_that_contradicts_itself_makes_it_whole() {
    let (bitmap, upcase, label) = (SAMPLE.entry(0x81), SAMPLE.entry(0x82), SAMPLE.entry(0x83));
    let cases: &[(usize, &[u8], &str)] = &[
        (bitmap, &[0x01], "0 allocation bitmaps"),
        (bitmap + 1, &[1], "allocation bitmap has flags 0x1"),
        (bitmap + 20, &[1, 0, 0, 0], "allocation bitmap goes on at cluster 0x1"),
        (bitmap + 20, &[0xff; 4], "allocation bitmap goes on at cluster 0xffffffff"),
        (bitmap + 24, &[0; 8], "allocation bitmap has 0 bytes"),
        (bitmap + 24, &[0xff; 8], "allocation bitmap has 18446744073709551615 bytes"),
        (upcase, &[0x02], "0 up-case tables"),
        (upcase + 4, &[0xff], "checksum of the up-case table"),
        (upcase + 20, &[0; 4], "up-case table goes on at cluster 0x0"),
        (upcase + 24, &[0; 8], "up-case table has 0 bytes"),
        (upcase + 24, &[0xff; 8], "up-case table has 18446744073709551615 bytes"),
        (label, &[0x84], "a critical entry of type 0x84"),
        (label, &[0x9f], "a critical entry of type 0x9f"),
        (label, &[0x81], "allocation bitmap has flags"),
        (label, &[0x82], "root directory has 2 up-case tables"),
        (label, &[0x00], "0 allocation bitmaps"),
    ];
    for (at, value, warning) in cases {
        let mut volume = SAMPLE.clone();
        volume.put(*at, value);
        is_whole(volume, warning, &format!("{value:x?} at {at}"));
    }
    let mut volume = SAMPLE.clone();
    volume.put(label, &[0x81, 0]);
    is_whole(volume, "root directory has 2 allocation bitmaps", "two bitmaps");
    // Benign entries, and those of files, are nobody's business here.
    for kind in [0x03, 0xa0, 0xa1, 0xc0, 0xe0] {
        let mut volume = SAMPLE.clone();
        volume.put(label, &[kind]);
        assert!(!volume.map().whole, "{kind:#x}");
    }
}

#[test]
fn a_flipped_byte_of_the_up_case_table_makes_it_whole() {
    let mut volume = SAMPLE.clone();
    let at = volume.place(volume.first(0x82));
    volume.0[at + 4000] ^= 1;
    is_whole(volume, "checksum of the up-case table", "table");
}

#[test]
fn a_bitmap_that_calls_known_clusters_free_makes_it_whole() {
    let second_of_root = SAMPLE.number(SAMPLE.table() + 4 * SAMPLE.root(), 4);
    for (cluster, warning) in [
        (SAMPLE.root(), "which holds the root directory"),
        (second_of_root, "which holds the root directory"),
        (SAMPLE.first(0x81), "which holds the allocation bitmap"),
        (SAMPLE.first(0x81) + 1, "which holds the allocation bitmap"),
        (SAMPLE.first(0x82) + 3, "which holds the up-case table"),
    ] {
        let mut volume = SAMPLE.clone();
        volume.free(cluster);
        is_whole(volume, warning, &format!("cluster {cluster}"));
    }
}

#[test]
fn a_bitmap_in_two_pieces_makes_it_whole() {
    let mut volume = SAMPLE.clone();
    let (bitmap, last) = (volume.first(0x81), volume.clusters() + 1);
    let end = volume.number(volume.table() + 4 * (bitmap + 1), 4);
    assert_eq!(end, 0xffff_ffff, "two clusters");
    let (from, to) = (volume.place(bitmap + 1), volume.place(last));
    volume.0.copy_within(from..from + 512, to);
    volume.chain(bitmap, last);
    volume.chain(last, end);
    is_whole(volume, "allocation bitmap lies in 2 pieces", "two pieces");
}

#[test]
fn a_truncated_volume_makes_it_whole() {
    for len in [512, 4096, 6144, 100_000, 4 * 1_048_576 - 1] {
        let mut volume = SAMPLE.clone();
        volume.0.truncate(len);
        is_whole(volume, "the partition has", &format!("{len} bytes"));
    }
}
