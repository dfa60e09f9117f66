//! Damaged and hostile content: never a panic, never an error, always the whole partition and a reason.

use super::super::{ExtentError, map};
use super::images::{Group, Image, dumpe2fs, extents, run};
use crate::disk::source::ReadAt;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const MIB: u64 = 1 << 20;

fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn is_whole(bytes: Vec<u8>, warning: &str, case: &str) {
    let size = bytes.len() as u64;
    let map = map(Arc::new(bytes)).unwrap();
    assert!(map.whole, "{case}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{case}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}

/// Several groups in 20 MiB; with and without checksums.
struct Sample {
    bytes: Vec<u8>,
    groups: Vec<Group>,
}

fn sample(options: &str) -> Sample {
    let image = Image::ext(20 * MIB, options);
    Sample { bytes: image.bytes(), groups: dumpe2fs(&image) }
}

static SUMMED: LazyLock<Sample> = LazyLock::new(|| sample("-t ext4 -b 1024 -N 4096"));
static UNINIT_BG: LazyLock<Sample> =
    LazyLock::new(|| sample("-t ext4 -b 1024 -N 4096 -O ^metadata_csum,^64bit,uninit_bg"));
static PLAIN: LazyLock<Sample> = LazyLock::new(|| sample("-t ext2 -b 1024 -N 4096"));
/// With blocks of 1 KiB the descriptors follow the superblock in block 1.
const DESCRIPTORS: u64 = 2048;

#[test]
fn any_flipped_byte_of_a_summed_superblock_makes_it_whole() {
    for at in [0x00, 0x04, 0x68, 0x78, 0x175, 0x24c, 0x270, 0x3f0, 0x3fc] {
        let mut bytes = SUMMED.bytes.clone();
        bytes[1024 + at] ^= 0x10;
        is_whole(bytes, "checksum", &format!("superblock byte {at:#x}"));
    }
}

#[test]
fn any_flipped_byte_of_a_summed_descriptor_makes_it_whole() {
    for (sample, size) in [(&SUMMED, 64), (&UNINIT_BG, 32)] {
        for group in [0, 1, 2] {
            for at in (0..size).step_by(3) {
                let mut bytes = sample.bytes.clone();
                bytes[usize::try_from(DESCRIPTORS + group * size + at).unwrap()] ^= 0x04;
                is_whole(bytes, &format!("checksum of descriptor {group}"), &format!("byte {at} of {size}"));
            }
        }
    }
}

#[test]
fn a_flipped_bit_of_a_summed_bitmap_makes_it_whole() {
    let group = &SUMMED.groups[0];
    for (bitmap, name) in [(group.block_bitmap, "block bitmap"), (group.inode_bitmap, "inode bitmap")] {
        let mut bytes = SUMMED.bytes.clone();
        bytes[usize::try_from(bitmap.start()).unwrap() + 5] ^= 0x20;
        is_whole(bytes, &format!("checksum of the {name} of group 0"), name);
    }
}

#[test]
fn a_bitmap_without_checksum_that_disagrees_with_its_descriptor_makes_it_whole() {
    for sample in [&PLAIN, &UNINIT_BG] {
        let group = &sample.groups[0];
        for (bitmap, name) in [(group.block_bitmap, "block bitmap"), (group.inode_bitmap, "inode bitmap")] {
            let mut bytes = sample.bytes.clone();
            bytes[usize::try_from(bitmap.start()).unwrap() + 5] ^= 0x20;
            is_whole(bytes, &format!("{name} of group 0 has"), name);
        }
    }
}

#[test]
fn a_bitmap_that_calls_known_metadata_free_makes_it_whole() {
    let group = &PLAIN.groups[0];
    let (bitmap, inode_bitmap) = (group.block_bitmap.start(), group.inode_bitmap.start());
    // One bit moves from a metadata block to a free one, so that the count stays right.
    for (block, name) in
        [(1, "superblock"), (2, "descriptors"), (bitmap / 1024, "block bitmap"), (inode_bitmap / 1024, "inode bitmap")]
    {
        let mut bytes = PLAIN.bytes.clone();
        let start = usize::try_from(bitmap).unwrap();
        let bit = usize::try_from(block - 1).unwrap();
        bytes[start + bit / 8] ^= 1 << (bit % 8);
        bytes[start + 1023] ^= 0x80;
        is_whole(bytes, &format!("calls block {block} free"), name);
    }
}

#[test]
fn a_used_inode_in_the_unused_tail_makes_it_whole() {
    let mut bytes = UNINIT_BG.bytes.clone();
    let group = &UNINIT_BG.groups[0];
    let start = usize::try_from(group.inode_bitmap.start()).unwrap();
    // Inode 11 (lost+found) is free instead of inode 100: the count stays right.
    bytes[start + 1] ^= 0x04;
    bytes[start + 12] ^= 0x08;
    is_whole(bytes, "uses inode 100", "inode bitmap");
}

#[test]
fn a_superblock_that_contradicts_itself_makes_it_whole() {
    let cases: &[(u64, &[u8], &str)] = &[
        (0x00, &[1, 0, 0, 0], "inodes, "),
        (0x04, &[0, 0, 0, 0], "file system has 0 blocks"),
        (0x04, &[0, 0, 0, 1], "the partition has"),
        (0x14, &[0, 0, 0, 0], "first data block is 0, 1 expected"),
        (0x14, &[0xff, 0xff, 0xff, 0xff], "first data block is 4294967295"),
        (0x18, &[3, 0, 0, 0], "1024 << 3"),
        (0x18, &[0xff, 0xff, 0xff, 0xff], "1024 << 4294967295"),
        (0x1c, &[1, 0, 0, 0], "clusters of 1024 << 1"),
        (0x20, &[0, 0, 0, 0], "0 clusters per group"),
        (0x20, &[4, 0, 0, 0], "4 clusters per group"),
        (0x20, &[0, 0, 1, 0], "65536 clusters per group"),
        (0x28, &[0, 0, 0, 0], "0 inodes per group"),
        (0x28, &[7, 0, 0, 0], "7 inodes per group"),
        (0x28, &[0, 0, 1, 0], "65536 inodes per group"),
        (0x4c, &[2, 0, 0, 0], "revision 2"),
        (0x4c, &[0, 0, 0, 0], "revision 0 has feature flags"),
        (0x58, &[0, 0], "inodes of 0 bytes"),
        (0x58, &[0xc8, 0], "inodes of 200 bytes"),
        (0x58, &[0, 8], "inodes of 2048 bytes"),
        (0x5a, &[1, 0], "the copy of group 1"),
        (0x150, &[1, 0, 0, 0], "but no 64bit"),
        (0xce, &[0xff, 0xff], "descriptors of group 0 end at block"),
        (0x64, &[0x13, 4, 0, 0], "checksum"),
    ];
    for (at, value, warning) in cases {
        let mut bytes = PLAIN.bytes.clone();
        put(&mut bytes, 1024 + at, value);
        is_whole(bytes, warning, &format!("{value:x?} at {at:#x}"));
    }
}

type Changes<'a> = &'a [(u64, &'a [u8])];

/// Fields set and the superblock summed again, so that the doubt is about the fields.
fn summed(changes: Changes<'_>) -> Vec<u8> {
    let mut bytes = SUMMED.bytes.clone();
    for (at, value) in changes {
        put(&mut bytes, 1024 + at, value);
    }
    let sum = !crc32c::crc32c(&bytes[1024..2044]);
    put(&mut bytes, 2044, &sum.to_le_bytes());
    bytes
}

#[test]
fn fields_that_only_ext4_has_are_bounded() {
    let flags = |at: usize| u32::from_le_bytes(SUMMED.bytes[1024 + at..1028 + at].try_into().unwrap());
    let meta_bg = (flags(0x60) | 0x10).to_le_bytes();
    let mmp = (flags(0x60) | 0x100).to_le_bytes();
    let both = (flags(0x64) | 0x10).to_le_bytes();
    let bigalloc = (flags(0x64) | 0x200).to_le_bytes();
    let cases: &[(Changes<'_>, &str)] = &[
        (&[(0xe0, &[0xff, 0xff, 0, 0])], "journal is inode 65535, the last one is"),
        (&[(0xe0, &[2, 0, 0, 0])], "journal superblock in block"),
        (&[(0xfe, &[32, 0])], "group descriptors of 32 bytes"),
        (&[(0xfe, &[96, 0])], "group descriptors of 96 bytes"),
        (&[(0xfe, &[0, 8])], "group descriptors of 2048 bytes"),
        (&[(0x175, &[2])], "checksum type 2"),
        (&[(0x60, &meta_bg), (0x104, &[0xff, 0xff, 0, 0])], "first meta_bg is 65535"),
        (&[(0x60, &mmp), (0x168, &[0; 8])], "MMP block is 0"),
        (&[(0x60, &mmp), (0x168, &[0xff; 8])], "MMP block is 18446744073709551615"),
        (&[(0x60, &mmp), (0x168, &[1, 1, 0, 0, 0, 0, 0, 0])], "MMP block 257 has magic"),
        (&[(0x64, &both)], "both metadata_csum and uninit_bg"),
        (&[(0x64, &bigalloc), (0x1c, &[40, 0, 0, 0])], "clusters of 1024 << 40"),
        (&[(0x64, &bigalloc), (0x1c, &[3, 0, 0, 0])], "clusters of 8 blocks"),
        (&[(0x270, &[1, 2, 3, 4]), (0x60, &(flags(0x60) | 0x2000).to_le_bytes())], "checksum of descriptor 0"),
    ];
    for (changes, warning) in cases {
        is_whole(summed(changes), warning, warning);
    }
}

#[test]
fn pointers_outside_of_the_file_system_make_it_whole() {
    for (at, name) in [(0, "block bitmap"), (4, "inode bitmap"), (8, "inode table")] {
        for block in [0_u32, 20 << 10, u32::MAX] {
            let mut bytes = PLAIN.bytes.clone();
            put(&mut bytes, DESCRIPTORS + 32 + at, &block.to_le_bytes());
            is_whole(bytes, &format!("{name} of group 1 is at block {block}"), name);
        }
    }
}

#[test]
fn metadata_that_overlaps_makes_it_whole() {
    let mut bytes = PLAIN.bytes.clone();
    bytes.copy_within(2048..2052, 2052);
    is_whole(bytes, "overlaps metadata", "inode bitmap on the block bitmap");
}

#[test]
fn a_file_system_larger_than_its_partition_is_copied_whole() {
    let mut bytes = SUMMED.bytes.clone();
    bytes.truncate(bytes.len() - 1024);
    is_whole(bytes, "file system has 20480 blocks of 1024 bytes, the partition has 20970496 bytes", "truncated");
}

#[test]
fn blocks_above_4_kib_are_copied_whole() {
    let image = Image::empty(64 * MIB);
    image.mke2fs("-t ext4 -b 65536");
    let map = image.map();
    assert!(map.whole && map.warnings[0].contains("1024 << 6"), "{map:?}");
    assert_eq!(map.content.kind, "ext4");
}

#[test]
fn two_signatures_on_one_partition_are_copied_whole() {
    let mut bytes = SUMMED.bytes.clone();
    put(&mut bytes, 0, b"LUKS\xba\xbe\0\x01");
    is_whole(bytes, "crypto_LUKS and ext4", "a LUKS header before old ext4");
    let mut bytes = SUMMED.bytes.clone();
    let end = bytes.len() as u64;
    put(&mut bytes, 4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    put(&mut bytes, 4096 + 144, &[8]);
    is_whole(bytes, "linux_raid_member and ext4", "a RAID superblock in ext4");
    let mut bytes = SUMMED.bytes.clone();
    put(&mut bytes, end - 8192, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    put(&mut bytes, end - 8192 + 144, &((end - 8192) / 512).to_le_bytes());
    is_whole(bytes, "superblock of mdraid has checksum", "a RAID superblock behind ext4");
}

/// A device with one bad sector.
struct Bad {
    bytes: Vec<u8>,
    at: u64,
}

impl ReadAt for Bad {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset <= self.at && self.at < offset + buf.len() as u64 {
            return Err(std::io::Error::other("bad sector"));
        }
        self.bytes.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.bytes.size()
    }
}

#[test]
fn a_bad_sector_in_a_map_is_an_error_with_its_place_and_elsewhere_it_is_none() {
    let bitmap = SUMMED.groups[0].block_bitmap.start();
    let error = map(Arc::new(Bad { bytes: SUMMED.bytes.clone(), at: bitmap })).unwrap_err();
    assert!(matches!(&error, ExtentError::Read { offset, .. } if *offset == bitmap), "{error}");
    assert_eq!(error.to_string(), format!("reading block bitmap at byte {bitmap}"));
    let last = map(Arc::new(Bad { bytes: SUMMED.bytes.clone(), at: 10 * MIB + 100_000 })).unwrap();
    assert!(!last.whole);
}

fn bases() -> Vec<(Vec<u8>, bool)> {
    let fat = |size: u64, options: &[&str]| {
        let image = Image::empty(size);
        run("mkfs.vfat", &[options, &[image.name()]].concat());
        image.bytes()
    };
    let swap = Image::empty(MIB);
    run("mkswap", &[swap.name()]);
    let ext = |options: &str| {
        let image = Image::empty(3 * MIB);
        image.mke2fs(options);
        image.bytes()
    };
    vec![
        (ext("-t ext4 -b 1024 -g 1024 -O ^has_journal"), true),
        (ext("-t ext2 -b 1024 -g 512"), false),
        (ext("-t ext4 -b 1024 -g 512 -O ^has_journal,^metadata_csum,^uninit_bg,meta_bg,^resize_inode"), false),
        (ext("-t ext4 -b 1024 -O ^has_journal,^metadata_csum,^uninit_bg,bigalloc -C 4096"), false),
        (fat(MIB, &["-F", "12"]), false),
        (fat(3 * MIB, &["-F", "16", "-s", "1"]), false),
        (fat(3 * MIB, &["-F", "32", "-s", "1"]), false),
        (swap.bytes(), false),
    ]
}

static BASES: LazyLock<Vec<(Vec<u8>, bool)>> = LazyLock::new(bases);

/// Where the structures are: the first 4 KiB most of all.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1024_usize..1536, 3 => 0_usize..512, 3 => 2048_usize..4096, 2 => 4096_usize..300_000, 1 => 0_usize..1_000_000]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        Just(vec![0; 4]),
        Just(vec![0xff; 4]),
        Just(vec![0xff; 2]),
        any::<u32>().prop_map(|word| word.to_le_bytes().to_vec()),
        (0_u32..70_000).prop_map(|word| word.to_le_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn mutated_content_never_panics_and_extents_stay_ascending_disjoint_aligned_and_inside(
        base in 0_usize..8,
        changes in proptest::collection::vec((place(), value()), 1..4),
        cut in prop_oneof![6 => Just(0_usize), 1 => 0_usize..3_000_000],
    ) {
        let (base, summed) = &BASES[base];
        let mut bytes = base.clone();
        for (at, value) in &changes {
            if at + value.len() <= bytes.len() {
                bytes[*at..at + value.len()].copy_from_slice(value);
            }
        }
        if *summed {
            let sum = !crc32c::crc32c(&bytes[1024..2044]);
            bytes[2044..2048].copy_from_slice(&sum.to_le_bytes());
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let size = bytes.len() as u64;
        let map = map(Arc::new(bytes)).unwrap();
        let all = extents(&map, size);
        prop_assert!(!map.whole || map.used_bytes == size);
        prop_assert!(size == 0 || all.first().is_some_and(|extent| extent.range.start() == 0));
    }
}
