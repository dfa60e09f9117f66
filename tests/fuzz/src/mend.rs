//! Right checksums and copies for what a fuzzer changed.
//!
//! In: a volume in memory. Out: the same with each structure's sum, and what the format repeats made like the original.
//! Promise: nothing happens to what is no such volume; mutations reach what checks of sums and copies keep them from.

use super::images::Blocks;

/// Puts the right checksums into the primary GPT, if there is something like one.
pub fn gpt(bytes: &mut [u8], sector: usize) {
    let le32 = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    if bytes.len() < sector + 92 {
        return;
    }
    let (lba, count, each) = (le32(sector + 72), le32(sector + 80), le32(sector + 84));
    let entries = lba.checked_mul(sector).zip(count.checked_mul(each)).and_then(|(at, len)| {
        let end = at.checked_add(len).filter(|_| len <= 1 << 20)?;
        bytes.get(at..end)
    });
    if let Some(entries) = entries {
        let crc = crc32fast::hash(entries).to_le_bytes();
        bytes[sector + 88..sector + 92].copy_from_slice(&crc);
    }
    bytes[sector + 16..sector + 20].fill(0);
    let crc = crc32fast::hash(&bytes[sector..sector + 92]).to_le_bytes();
    bytes[sector + 16..sector + 20].copy_from_slice(&crc);
}

/// Puts the right checksums into the first AG of an XFS of version 5: its headers, and every block that looks like one
/// of a free-space tree.
pub fn xfs(bytes: &mut [u8]) {
    if bytes.len() < 512 {
        return;
    }
    let block = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    let sector = usize::from(u16::from_be_bytes([bytes[102], bytes[103]]));
    if !sector.is_power_of_two() || sector < 512 || !block.is_power_of_two() || block < sector {
        return;
    }
    let trees = (0..bytes.len() / block).filter(|index| bytes[index * block..].starts_with(b"AB3"));
    let trees: Vec<_> = trees.map(|index| (index * block, block, 52)).collect();
    let headers = [(0, sector, 224), (sector, sector, 216), (3 * sector, sector, 32)];
    for (at, len, sum_at) in headers.into_iter().chain(trees) {
        if let Some(raw) = bytes.get_mut(at..at + len) {
            raw[sum_at..sum_at + 4].fill(0);
            let sum = crc32c::crc32c(raw).to_le_bytes();
            raw[sum_at..sum_at + 4].copy_from_slice(&sum);
        }
    }
}

/// `data` is the first byte of the target's input and the image behind it.
pub fn ntfs(data: &mut Vec<u8>) {
    const FURTHEST: usize = 2 << 20;
    let Some(image) = data.get(1..513) else { return };
    let le = |at: usize, len: usize| {
        image[at..at + len].iter().rev().fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
    };
    let cluster = le(11, 2) * le(13, 1);
    let (mft, mirror) = (le(48, 4) * cluster + 1, le(56, 4) * cluster + 1);
    let record = if le(64, 1) > 0xf0 { 1 << (256 - le(64, 1)) } else { le(64, 1) * cluster };
    for at in (1..data.len()).step_by(512) {
        let len = match data.get(at..at + 4) {
            Some(b"FILE") => record,
            Some(b"INDX" | b"RSTR") => 4096,
            _ => continue,
        };
        if let Some(bytes) = data.get_mut(at..at + len) {
            mend_ends(bytes);
        }
    }
    let len = 4 * record;
    if mft + len > data.len() || mirror > FURTHEST || len > FURTHEST || record == 0 {
        return;
    }
    let end = data.len().max(mirror + len.max(cluster));
    data.resize(end, 0);
    data.copy_within(mft..mft + len, mirror);
    data.resize(end + (64 << 10), 0xff);
}

/// The update sequence number of a record at the end of each of its sectors.
fn mend_ends(record: &mut [u8]) {
    let [_, _, _, _, low, high, ..] = &*record else { return };
    let at = usize::from(*low) | usize::from(*high) << 8;
    if let Some([low, high]) = record.get(at..at + 2).map(|number| [number[0], number[1]]) {
        record.chunks_exact_mut(512).for_each(|sector| sector[510..].copy_from_slice(&[low, high]));
    }
}

/// Makes the backup boot region of an exFAT volume like the main one, and puts the right checksums into both.
pub fn exfat(bytes: &mut [u8]) {
    let sector = 1_usize << bytes.get(108).map_or(9, |shift| (*shift).clamp(9, 12));
    let (summed, region) = (11 * sector, 12 * sector);
    if bytes.len() < 2 * region {
        return;
    }
    let counted = bytes[..summed].iter().enumerate().filter(|(at, _)| ![106, 107, 112].contains(at));
    let sum = counted.fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    for place in bytes[summed..region].as_chunks_mut::<4>().0 {
        *place = sum.to_le_bytes();
    }
    bytes.copy_within(..region, region);
}

/// Puts the right checksums into LVM's label, the first metadata area and its text, if they are where LVM puts them.
pub fn lvm(bytes: &mut [u8]) {
    const LABEL: usize = 512;
    const AREA: usize = 4096;
    let crc = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
        hasher.update(bytes);
        (!hasher.finalize()).to_le_bytes()
    };
    if bytes.len() < AREA + 512 || !bytes[LABEL..].starts_with(b"LABELONE") {
        return;
    }
    let sum = crc(&bytes[LABEL + 20..LABEL + 512]);
    bytes[LABEL + 16..LABEL + 20].copy_from_slice(&sum);
    let word = |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (start, len) = (word(AREA + 40), word(AREA + 48));
    let range = usize::try_from(start).ok().zip(usize::try_from(len).ok()).and_then(|(start, len)| {
        let start = start.checked_add(AREA)?;
        Some(start..start.checked_add(len)?)
    });
    if let Some(text) = range.and_then(|range| bytes.get(range)) {
        let sum = crc(text);
        bytes[AREA + 56..AREA + 60].copy_from_slice(&sum);
    }
    let sum = crc(&bytes[AREA + 4..AREA + 512]);
    bytes[AREA..AREA + 4].copy_from_slice(&sum);
}

/// Puts the right checksum into a superblock of mdraid 1.1 or 1.2; those at the end lie in no fuzzed bytes.
pub fn md(bytes: &mut [u8]) {
    const MAGIC: &[u8] = b"\xfc\x4e\x2b\xa9\x01\0\0\0";
    for at in [0, 4096] {
        let Some(block) = bytes.get_mut(at..at + 4096).filter(|block| block.starts_with(MAGIC)) else { continue };
        block[216..220].fill(0);
        let roles = u32::from_le_bytes([block[220], block[221], block[222], block[223]]) as usize;
        let Some(summed) = roles.checked_mul(2).and_then(|len| block.get(..len.checked_add(256)?)) else { continue };
        let word = |word: &[u8]| word.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let sum: u64 = summed.chunks(4).map(word).sum();
        let folded = (sum & 0xffff_ffff) + (sum >> 32);
        block[216..220].copy_from_slice(&folded.to_le_bytes()[..4]);
    }
}

/// Makes the copy of the superblock and the tails of both checkpoints like what they repeat, with right checksums.
pub fn f2fs(blocks: &mut Blocks) {
    let sum = |bytes: &[u8]| {
        let mut sum = crc32fast::Hasher::new_with_initial(!0xf2f5_2010);
        sum.update(bytes);
        (!sum.finalize()).to_le_bytes()
    };
    let Some(superblock) = blocks.get_mut(&0) else { return };
    let crc = sum(&superblock[1024..1024 + 3068]);
    superblock[4092..].copy_from_slice(&crc);
    let superblock = superblock.clone();
    let first = u64::from(u32::from_le_bytes(superblock[1100..1104].try_into().expect("four bytes")));
    blocks.insert(1, superblock);
    for start in [first, first + 512] {
        let Some(head) = blocks.get_mut(&start) else { continue };
        head[164..168].copy_from_slice(&4092_u32.to_le_bytes());
        let crc = sum(&head[..4092]);
        head[4092..].copy_from_slice(&crc);
        let (head, total) = (head.clone(), u32::from_le_bytes(head[136..140].try_into().expect("four bytes")));
        blocks.insert((start + u64::from(total)).saturating_sub(1), head);
    }
}

/// The sum that a node or superblock of btrfs has.
pub fn btrfs(block: &mut [u8]) {
    let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
    block[..4].copy_from_slice(&sum);
}
