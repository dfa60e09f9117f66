//! Real XFS images with some bytes changed, and the checksums mended where a test wants to get behind them.

use super::super::map;
use super::images::{Image, extents};
use super::xfs::{MIB, fragment, fragmented_v4, number, xfs};
use crate::disk::source::ReadAt;
use std::sync::{Arc, LazyLock};

/// An image with some bytes changed.
pub(super) struct Changed {
    pub base: Arc<Vec<u8>>,
    pub changes: Vec<(usize, Vec<u8>)>,
}

impl ReadAt for Changed {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.base.read_exact_at(buf, offset)?;
        let offset = usize::try_from(offset).unwrap();
        for (at, bytes) in &self.changes {
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(place) = (at + index).checked_sub(offset).and_then(|index| buf.get_mut(index)) {
                    *place = *byte;
                }
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.base.len() as u64
    }
}

/// Two AGs of 16 MiB, of which the first has trees of several levels.
pub(super) struct Sample {
    pub bytes: Arc<Vec<u8>>,
    pub block: usize,
    pub ag: usize,
    pub log: usize,
    pub log_len: usize,
    /// Version 5: structures have checksums.
    pub summed: bool,
}

impl Sample {
    pub fn of(image: &Image) -> Self {
        let get = |name: &str| usize::try_from(number(image, "sb 0", name)).unwrap();
        let (block, blocks, start, bits) = (get("blocksize"), get("agblocks"), get("logstart"), get("agblklog"));
        let log = ((start >> bits) * blocks + (start & ((1 << bits) - 1))) * block;
        let log_len = get("logblocks") * block;
        let bytes = Arc::new(image.bytes());
        let summed = bytes[101] & 0xf == 5;
        Self { bytes, block, ag: blocks * block, log, log_len, summed }
    }

    pub fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    pub fn be16(&self, at: usize) -> usize {
        usize::from(u16::from_be_bytes(self.bytes[at..at + 2].try_into().unwrap()))
    }

    /// The root of the tree by place (0) or by length (1) in the first AG, in bytes.
    pub fn root(&self, tree: usize) -> usize {
        usize::try_from(self.be32(512 + 16 + 4 * tree)).unwrap() * self.block
    }

    pub const fn header(&self) -> usize {
        if self.summed { 56 } else { 16 }
    }

    /// The block of child `index` of the node at `node`, in bytes.
    pub fn child(&self, node: usize, index: usize) -> usize {
        let at = node + self.header() + (self.block - self.header()) / 12 * 8 + index * 4;
        usize::try_from(self.be32(at)).unwrap() * self.block
    }

    /// The first leaf of the tree by place, in bytes.
    pub fn leaf(&self) -> usize {
        let mut node = self.root(0);
        while self.be16(node + 4) > 0 {
            node = self.child(node, 0);
        }
        node
    }

    /// The image with `changes`, and the sum of the structure of `len` bytes at `at` made right.
    pub fn mended(&self, changes: &[(usize, &[u8])], at: usize, len: usize, sum_at: usize) -> Changed {
        let mut changes: Vec<(usize, Vec<u8>)> = changes.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        if self.summed {
            changes.push((at + sum_at, vec![0; 4]));
            let mut raw = vec![0; len];
            self.changed(changes.clone()).read_exact_at(&mut raw, at as u64).unwrap();
            changes.push((at + sum_at, crc32c::crc32c(&raw).to_le_bytes().to_vec()));
        }
        self.changed(changes)
    }

    pub fn changed(&self, changes: Vec<(usize, Vec<u8>)>) -> Changed {
        Changed { base: Arc::clone(&self.bytes), changes }
    }

    pub fn superblock(&self, changes: &[(usize, &[u8])]) -> Changed {
        self.mended(changes, 0, 512, 224)
    }

    pub fn agf(&self, at: usize, bytes: &[u8]) -> Changed {
        self.mended(&[(512 + at, bytes)], 512, 512, 216)
    }

    pub fn agfl(&self, at: usize, bytes: &[u8]) -> Changed {
        self.mended(&[(1536 + at, bytes)], 1536, 512, 32)
    }

    /// A change of the tree block at `block` (bytes).
    pub fn tree(&self, block: usize, at: usize, bytes: &[u8]) -> Changed {
        self.mended(&[(block + at, bytes)], block, self.block, 52)
    }

    /// A change of the log's last record, whose sum is left out.
    pub fn record(&self, changes: &[(usize, &[u8])]) -> Changed {
        let at = self.last_record();
        let mut all: Vec<(usize, Vec<u8>)> =
            changes.iter().map(|(offset, bytes)| (at + offset, bytes.to_vec())).collect();
        all.push((at + 32, vec![0; 4]));
        self.changed(all)
    }

    /// The record with the highest LSN, in bytes.
    pub fn last_record(&self) -> usize {
        let blocks = (self.log..self.log + self.log_len).step_by(512);
        let records = blocks.filter(|&at| self.be32(at) == 0xfeed_babe);
        records.max_by_key(|&at| (self.be32(at + 16), self.be32(at + 20))).unwrap()
    }
}

pub(super) static V5: LazyLock<Sample> = LazyLock::new(|| {
    let image = xfs(32 * MIB, "-d agcount=2 -b size=1024");
    {
        let mount = image.mount("nouuid");
        fragment(&mount.0, 2400);
    }
    Sample::of(&image)
});
pub(super) static V4: LazyLock<Sample> = LazyLock::new(|| Sample::of(&fragmented_v4(32 * MIB, "-d agcount=2", 3000)));

pub(super) fn is_whole(image: Changed, warning: &str, case: &str) {
    let size = image.size();
    let map = map(Arc::new(image)).unwrap();
    assert!(map.whole, "{case}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{case}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}
