//! The EFI programs of a FAT volume: what firmware can start.
//!
//! In: a partition and its checked boot sector. Out: paths below `\EFI`, two folders deep.
//! Promise: looks at no more than 256 clusters of any folder and 64 folders in all, and finds no more programs than a manifest keeps.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::peek::Peek;
use super::boot::{Boot, Width};
use ramet_wire::firmware::LIST_MAX;

const CLUSTERS_MAX: usize = 256;
const FOLDERS_MAX: usize = 64;
/// Of a file: 32 MiB with the smallest clusters.
const FILE_CLUSTERS_MAX: usize = 64 << 10;
/// Longest folder that is read, in bytes: 32,768 entries.
const FOLDER_MAX: usize = 1 << 20;
const ENTRY: usize = 32;
const FOLDER: u8 = 0x10;
const LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;

/// A file or folder.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    folder: bool,
    cluster: u64,
}

/// `\EFI\…\*.efi`, in the folder's order.
pub(super) fn loaders(peek: &Peek<'_>, boot: &Boot) -> Result<Vec<String>, ExtentError> {
    let mut found = Vec::new();
    let root = list(peek, boot, None)?;
    // A volume has one folder of a name; one that claims more is not walked into further.
    let Some(efi) = root.into_iter().find(|entry| entry.folder && entry.name.eq_ignore_ascii_case("EFI")) else {
        return Ok(found);
    };
    let vendors = list(peek, boot, Some(efi.cluster))?;
    for vendor in vendors.into_iter().filter(|one| one.folder && !one.name.starts_with('.')).take(FOLDERS_MAX) {
        for file in list(peek, boot, Some(vendor.cluster))? {
            if !file.folder && file.name.to_ascii_lowercase().ends_with(".efi") && found.len() < LIST_MAX {
                found.push(format!(r"\{}\{}\{}", efi.name, vendor.name, file.name));
            }
        }
    }
    Ok(found)
}

/// `len` bytes at `from` in the file at `path`, three names deep as [`loaders`] spells it; none where there is no such
/// file. What lies behind the file's end in its last cluster counts as the file.
pub(super) fn file(
    peek: &Peek<'_>,
    boot: &Boot,
    path: &str,
    from: u64,
    len: usize,
) -> Result<Option<Vec<u8>>, ExtentError> {
    let mut cluster = None;
    for name in path.split('\\').filter(|name| !name.is_empty()) {
        let found = list(peek, boot, cluster)?.into_iter().find(|entry| entry.name == name);
        let Some(found) = found else { return Ok(None) };
        cluster = Some(found.cluster);
    }
    let (mut cluster, mut at, mut bytes) = (cluster.unwrap_or(0), 0_u64, Vec::new());
    let end = from.saturating_add(len.min(FOLDER_MAX) as u64);
    for _ in 0..FILE_CLUSTERS_MAX {
        if at >= end || !(2..boot.clusters + 2).contains(&cluster) {
            break;
        }
        if at + boot.cluster_len > from {
            let whole = read(peek, boot.data_start + (cluster - 2) * boot.cluster_len, boot.cluster_len)?;
            let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX).min(whole.len());
            bytes.extend(&whole[skip..]);
        }
        at += boot.cluster_len;
        cluster = next(peek, boot, cluster)?;
    }
    bytes.truncate(len);
    Ok(Some(bytes))
}

/// A folder's entries; the root without a cluster.
fn list(peek: &Peek<'_>, boot: &Boot, cluster: Option<u64>) -> Result<Vec<Found>, ExtentError> {
    let raw = match cluster {
        None if boot.width != Width::ThirtyTwo => read(peek, boot.root_start, boot.root_len)?,
        // A folder's `..` that means the root has cluster 0.
        _ => chain(peek, boot, cluster.filter(|cluster| *cluster != 0).unwrap_or(boot.root_cluster))?,
    };
    Ok(entries(&raw))
}

fn chain(peek: &Peek<'_>, boot: &Boot, first: u64) -> Result<Vec<u8>, ExtentError> {
    let (mut raw, mut cluster) = (Vec::new(), first);
    for _ in 0..CLUSTERS_MAX {
        if !(2..boot.clusters + 2).contains(&cluster) || raw.len() >= FOLDER_MAX {
            break;
        }
        raw.extend(read(peek, boot.data_start + (cluster - 2) * boot.cluster_len, boot.cluster_len)?);
        cluster = next(peek, boot, cluster)?;
    }
    Ok(raw)
}

/// What the allocation table says behind `cluster`; 0 where it can not be read.
fn next(peek: &Peek<'_>, boot: &Boot, cluster: u64) -> Result<u64, ExtentError> {
    let (at, len) = match boot.width {
        Width::Twelve => (cluster + cluster / 2, 2),
        Width::Sixteen => (cluster * 2, 2),
        Width::ThirtyTwo => (cluster * 4, 4),
    };
    let raw = peek.bytes(boot.table_start + at, len)?.unwrap_or_default();
    let fields = Fields(&raw);
    Ok(match boot.width {
        Width::Twelve if cluster % 2 == 1 => u64::from(fields.le16(0) >> 4),
        Width::Twelve => u64::from(fields.le16(0) & 0xfff),
        Width::Sixteen => u64::from(fields.le16(0)),
        Width::ThirtyTwo => u64::from(fields.le32(0) & 0x0fff_ffff),
    })
}

fn read(peek: &Peek<'_>, at: u64, len: u64) -> Result<Vec<u8>, ExtentError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(FOLDER_MAX);
    Ok(peek.bytes(at, len)?.unwrap_or_default())
}

/// Short entries with the long names that stand before them (Microsoft's FAT specification, "Long Directory Entries").
fn entries(raw: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let (mut long, mut sum): (Vec<u16>, Option<u8>) = (Vec::new(), None);
    for entry in raw.as_chunks::<ENTRY>().0 {
        let (first, attributes, fields) = (entry[0], entry[11] & 0x3f, Fields(entry));
        if first == 0 {
            break;
        }
        if first == 0xe5 {
            (long, sum) = (Vec::new(), None);
        } else if attributes == LONG_NAME {
            // Pieces stand last one first; bit 6 marks the one that begins the row.
            if first & 0x40 != 0 || sum != Some(entry[13]) {
                (long, sum) = (Vec::new(), Some(entry[13]));
            }
            let units = |at, len| fields.bytes(at, len).as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
            let piece: Vec<u16> = units(1, 10).chain(units(14, 12)).chain(units(28, 4)).collect();
            long.splice(0..0, piece);
        } else {
            let long = (std::mem::take(&mut long), sum.take());
            if attributes & LABEL == 0 {
                let name = if long.1 == Some(checksum(&entry[..11])) { spelled(&long.0) } else { short(entry) };
                let cluster = u64::from(fields.le16(20)) << 16 | u64::from(fields.le16(26));
                found.push(Found { name, folder: attributes & FOLDER != 0, cluster });
            }
        }
    }
    found
}

fn spelled(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// `NAME.EXT`, in lower case where Windows NT's bits 3 and 4 of byte 12 say so.
fn short(entry: &[u8; ENTRY]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if lower { text.to_ascii_lowercase() } else { text }
    };
    let (name, extension) = (part(&entry[..8], entry[12] & 8 != 0), part(&entry[8..11], entry[12] & 16 != 0));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

fn checksum(name: &[u8]) -> u8 {
    name.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}
