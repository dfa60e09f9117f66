//! The volume label of a FAT volume: an entry in its root directory.
//!
//! In: a partition and its checked boot sector. Out: the label as `blkid` prints it.
//! Promise: looks at no more than 64 clusters of the root directory, however its chain runs.

use super::super::ExtentError;
use super::super::bytes::{Fields, clean};
use super::super::peek::Peek;
use super::boot::{Boot, Width};

const CHAIN_LIMIT: usize = 64;
const ENTRY: usize = 32;
const PIECE: u64 = 64 << 10;

pub(super) fn volume_label(peek: &Peek<'_>, boot: &Boot) -> Result<Option<String>, ExtentError> {
    if boot.width != Width::ThirtyTwo {
        return Ok(in_entries(peek, boot.root_start, boot.root_len)?.flatten());
    }
    let mut cluster = boot.root_cluster;
    for _ in 0..CHAIN_LIMIT {
        if !(2..boot.clusters + 2).contains(&cluster) {
            break;
        }
        let start = boot.data_start + (cluster - 2) * boot.cluster_len;
        if let Some(end) = in_entries(peek, start, boot.cluster_len)? {
            return Ok(end);
        }
        let Some(entry) = peek.bytes(boot.table_start + cluster * 4, 4)? else { break };
        cluster = u64::from(Fields(&entry).le32(0) & 0x0fff_ffff);
    }
    Ok(None)
}

/// `Some` when the search is over: with the label, or because the directory ends here.
fn in_entries(peek: &Peek<'_>, start: u64, len: u64) -> Result<Option<Option<String>>, ExtentError> {
    let mut at = 0;
    while at < len {
        let piece = usize::try_from((len - at).min(PIECE)).unwrap_or(0);
        let Some(raw) = peek.bytes(start + at, piece)? else { return Ok(None) };
        for entry in raw.chunks_exact(ENTRY) {
            let (first, attributes) = (entry[0], entry[11]);
            if first == 0 {
                return Ok(Some(None));
            }
            let starts_a_file = Fields(entry).le16(20) != 0 || Fields(entry).le16(26) != 0;
            if first != 0xe5 && attributes & 0x3f != 0x0f && attributes & 0x18 == 0x08 && !starts_a_file {
                // 0x05 stands for a first letter 0xe5, which would mean "deleted".
                let mut name = entry[..11].to_vec();
                if first == 0x05 {
                    name[0] = 0xe5;
                }
                return Ok(Some(clean(&String::from_utf8_lossy(&name)).filter(|name| name != "NO NAME")));
            }
        }
        at += PIECE;
    }
    Ok(None)
}
