//! How an ext file system is divided: blocks, clusters, groups, and where superblock copies and descriptors lie.
//!
//! In: a superblock and the length of the partition. Out: numbers of which each one was bounded.
//! Promise: everything lies inside the partition, so arithmetic on blocks of a `Geometry` cannot wrap.

use super::super::ExtentError;
use super::super::error::believe;
use super::checksum::crc16;
use super::superblock::{Superblock, compat, incompat, ro_compat};

/// Which groups carry a copy of the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Backups {
    Everywhere,
    /// 0, 1 and the powers of 3, 5 and 7.
    Sparse,
    /// 0 and these; 0 stands for none.
    Two([u64; 2]),
}

/// How descriptors and bitmaps are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    None,
    /// `uninit_bg`: descriptors only; the CRC-16 of the UUID.
    Crc16(u16),
    /// `metadata_csum`: the seed.
    Crc32c(u32),
}

/// A checked geometry. Block numbers count from the start of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes per block.
    pub block: u64,
    pub blocks: u64,
    pub first_block: u64,
    /// Blocks per cluster; 1 without bigalloc.
    pub ratio: u64,
    pub blocks_per_group: u64,
    pub groups: u64,
    pub inodes_per_group: u64,
    /// Bytes per inode.
    pub inode_size: u64,
    /// Bytes per group descriptor.
    pub descriptor: u64,
    /// Metadata may lie in other groups than its own.
    pub flex_bg: bool,
    pub sums: Sums,
    /// The first metagroup whose descriptors lie inside it (meta_bg).
    pub first_meta_bg: u64,
    reserved: u64,
    /// The reserved blocks are those of the resize inode.
    resizable: bool,
    backups: Backups,
}

/// The metadata at the start of a group, in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub start: u64,
    pub end: u64,
    /// From here on nothing was written yet: blocks beside a superblock copy that are reserved for descriptors of
    /// groups to come. Whoever grows the file system writes them whole before anybody reads them; only those of
    /// group 0 hold something, the places of all the others.
    pub unwritten: u64,
}

impl Geometry {
    /// `size` is the partition's length in bytes.
    pub fn new(superblock: &Superblock, size: u64) -> Result<Self, ExtentError> {
        let fields = superblock.fields();
        let log = fields.le32(0x18);
        believe!(log <= 2, "superblock has blocks of 1024 << {log} bytes, at most 4096 bytes are known");
        let block = 1024 << log;
        let blocks = blocks(superblock)?;
        believe!(
            blocks <= size / block,
            "file system has {blocks} blocks of {block} bytes, the partition has {size} bytes"
        );
        let (ratio, blocks_per_group) = clusters(superblock, log, block)?;
        let first_block = u64::from(fields.le32(0x14));
        let expected = u64::from(block == 1024 && ratio == 1);
        believe!(first_block == expected, "first data block is {first_block}, {expected} expected");
        believe!(blocks > first_block + 1, "file system has {blocks} blocks, more than {} expected", first_block + 1);
        let groups = (blocks - first_block).div_ceil(blocks_per_group);
        let (inodes_per_group, inode_size) = inodes(superblock, block, groups)?;
        let mut geometry = Self {
            block,
            blocks,
            first_block,
            ratio,
            blocks_per_group,
            groups,
            inodes_per_group,
            inode_size,
            descriptor: descriptor(superblock)?,
            flex_bg: superblock.incompat(incompat::FLEX_BG),
            sums: sums(superblock),
            first_meta_bg: u64::MAX,
            reserved: u64::from(fields.le16(0xce)),
            resizable: superblock.compat(compat::RESIZE_INODE),
            backups: backups(superblock),
        };
        if superblock.incompat(incompat::META_BG) {
            geometry.first_meta_bg = u64::from(fields.le32(0x104));
            let (first, all) = (geometry.first_meta_bg, geometry.descriptor_blocks());
            believe!(first <= all, "first meta_bg is {first}, there are {all} descriptor blocks");
        }
        Ok(geometry)
    }

    pub const fn descriptors_per_block(&self) -> u64 {
        self.block / self.descriptor
    }

    /// Blocks of the whole table of group descriptors.
    pub const fn descriptor_blocks(&self) -> u64 {
        self.groups.div_ceil(self.descriptors_per_block())
    }

    pub const fn clusters_per_group(&self) -> u64 {
        self.blocks_per_group / self.ratio
    }

    pub const fn group_start(&self, group: u64) -> u64 {
        self.first_block + group * self.blocks_per_group
    }

    /// Blocks of a group: the last one may be shorter.
    pub fn group_blocks(&self, group: u64) -> u64 {
        self.blocks_per_group.min(self.blocks - self.group_start(group))
    }

    pub fn table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_size).div_ceil(self.block)
    }

    pub fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        group == 0
            || match self.backups {
                Backups::Everywhere => true,
                Backups::Sparse => group == 1 || power_of(3) || power_of(5) || power_of(7),
                Backups::Two(groups) => groups.contains(&group),
            }
    }

    /// The block of a group's superblock. With clusters of blocks of 1 KiB, block 0 belongs to group 0 but holds none.
    pub fn superblock_at(&self, group: u64) -> u64 {
        let boot = group == 0 && self.block == 1024 && self.first_block == 0;
        self.group_start(group) + u64::from(boot)
    }

    /// A group's superblock, descriptors and blocks reserved for more of them.
    pub fn base_metadata(&self, group: u64) -> Result<Base, ExtentError> {
        let copy = self.has_superblock(group);
        let per_block = self.descriptors_per_block();
        let mut reserved = 0;
        let mut count = u64::from(copy);
        if group / per_block >= self.first_meta_bg {
            count += u64::from([0, 1, per_block - 1].contains(&(group % per_block)));
        } else if copy && self.first_meta_bg == u64::MAX {
            reserved = self.reserved;
            count += self.descriptor_blocks() + reserved;
        } else if copy {
            count += self.first_meta_bg;
        }
        let start = self.superblock_at(group);
        let (end, limit) = (start + count, self.group_start(group) + self.group_blocks(group));
        believe!(end <= limit, "descriptors of group {group} end at block {end}, the group at {limit}");
        let unwritten = if group > 0 && self.resizable { end - reserved } else { end };
        Ok(Base { start, end, unwritten })
    }

    /// Where block `index` of the descriptor table lies, and how many blocks of the table follow from there.
    pub fn descriptor_block(&self, index: u64) -> (u64, u64) {
        if index >= self.first_meta_bg {
            let group = index * self.descriptors_per_block();
            return (self.superblock_at(group) + u64::from(self.has_superblock(group)), 1);
        }
        let end = self.descriptor_blocks().min(self.first_meta_bg);
        (self.superblock_at(0) + 1 + index, end - index)
    }
}

fn blocks(superblock: &Superblock) -> Result<u64, ExtentError> {
    let fields = superblock.fields();
    let high = u64::from(fields.le32(0x150));
    believe!(high == 0 || superblock.incompat(incompat::BITS_64), "superblock has {high} x 2^32 blocks, but no 64bit");
    Ok(high << 32 | u64::from(fields.le32(0x04)))
}

/// Blocks per cluster and blocks per group.
fn clusters(superblock: &Superblock, log: u32, block: u64) -> Result<(u64, u64), ExtentError> {
    let fields = superblock.fields();
    let cluster_log = fields.le32(0x1c);
    let (per_group, in_clusters) = (u64::from(fields.le32(0x20)), u64::from(fields.le32(0x24)));
    let bigalloc = superblock.ro_compat(ro_compat::BIGALLOC);
    believe!(
        bigalloc || cluster_log == log,
        "superblock has clusters of 1024 << {cluster_log} bytes, blocks of {block}"
    );
    believe!(
        (log..=20).contains(&cluster_log),
        "superblock has clusters of 1024 << {cluster_log} bytes, blocks of {block}"
    );
    let ratio = 1 << (cluster_log - log);
    let most = block * 8;
    let clusters = if bigalloc { in_clusters } else { per_group };
    let fits = clusters > 0 && clusters <= most && clusters.is_multiple_of(8);
    believe!(fits, "superblock has {clusters} clusters per group, a multiple of 8 up to {most} expected");
    believe!(
        per_group == clusters * ratio,
        "superblock has {per_group} blocks per group, {clusters} clusters of {ratio} blocks"
    );
    Ok((ratio, per_group))
}

/// Inodes per group, and bytes per inode.
fn inodes(superblock: &Superblock, block: u64, groups: u64) -> Result<(u64, u64), ExtentError> {
    let fields = superblock.fields();
    let size = if fields.le32(0x4c) == 0 { 128 } else { u64::from(fields.le16(0x58)) };
    let fits = size.is_power_of_two() && (128..=block).contains(&size);
    believe!(fits, "superblock has inodes of {size} bytes, a power of two from 128 to {block} expected");
    let per_group = u64::from(fields.le32(0x28));
    let most = block * 8;
    let fits = per_group > 0 && per_group <= most && per_group.is_multiple_of(8);
    believe!(fits, "superblock has {per_group} inodes per group, a multiple of 8 up to {most} expected");
    let all = u64::from(fields.le32(0));
    believe!(groups.checked_mul(per_group) == Some(all), "superblock has {all} inodes, {groups} groups of {per_group}");
    Ok((per_group, size))
}

/// Bytes per group descriptor.
fn descriptor(superblock: &Superblock) -> Result<u64, ExtentError> {
    if !superblock.incompat(incompat::BITS_64) {
        return Ok(32);
    }
    let size = u64::from(superblock.fields().le16(0xfe));
    let fits = size.is_power_of_two() && (64..=1024).contains(&size);
    believe!(fits, "superblock has group descriptors of {size} bytes, a power of two from 64 to 1024 expected");
    Ok(size)
}

fn sums(superblock: &Superblock) -> Sums {
    if superblock.ro_compat(ro_compat::METADATA_CSUM) {
        Sums::Crc32c(superblock.checksum_seed())
    } else if superblock.ro_compat(ro_compat::GDT_CSUM) {
        Sums::Crc16(crc16(!0, superblock.uuid_bytes()))
    } else {
        Sums::None
    }
}

fn backups(superblock: &Superblock) -> Backups {
    let fields = superblock.fields();
    if superblock.compat(compat::SPARSE_SUPER2) {
        Backups::Two([u64::from(fields.le32(0x24c)), u64::from(fields.le32(0x250))])
    } else if superblock.ro_compat(ro_compat::SPARSE_SUPER) {
        Backups::Sparse
    } else {
        Backups::Everywhere
    }
}
