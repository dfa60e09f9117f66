//! Contents that are known by name only; they are copied whole until a reader for them exists.
//!
//! In: the few bytes by which a content is recognised. Out: its name, and UUID and label where they lie at fixed places.
//! Promise: a name that `blkid` has too is the same, and so is each value that is given.

use super::ExtentError;
use super::bytes::Fields;
use super::map::Content;
use super::peek::Peek;
use crate::disk::source::ReadAt;
use uuid::Uuid;

type Found = Result<Option<Content>, ExtentError>;

/// A content with a magic at a fixed offset, and a UUID and label at fixed offsets from there.
struct Signature {
    kind: &'static str,
    /// Where the structure starts, and where the magic lies in it.
    at: u64,
    magic_at: usize,
    magic: &'static [u8],
    uuid_at: Option<usize>,
    /// Offset and length in bytes.
    label_at: Option<(usize, usize)>,
}

impl Signature {
    fn find(&self, peek: &Peek<'_>) -> Found {
        let fields_end = [
            self.magic_at + self.magic.len(),
            self.uuid_at.map_or(0, |at| at + 16),
            self.label_at.map_or(0, |(at, len)| at + len),
        ];
        let len = fields_end.into_iter().max().unwrap_or(0);
        let Some(raw) = peek.bytes(self.at, len)? else {
            return Ok(None);
        };
        let fields = Fields(&raw);
        if fields.bytes(self.magic_at, self.magic.len()) != self.magic {
            return Ok(None);
        }
        Ok(Some(Content {
            uuid: self.uuid_at.and_then(|at| fields.uuid(at)),
            label: self.label_at.and_then(|(at, len)| fields.text(at, len)),
            ..Content::of(self.kind)
        }))
    }
}

const fn plain(kind: &'static str, at: u64, magic: &'static [u8]) -> Signature {
    Signature { kind, at, magic_at: 0, magic, uuid_at: None, label_at: None }
}

pub(super) fn crypto_luks(peek: &Peek<'_>) -> Found {
    let Some(raw) = peek.bytes(0, 208)? else { return Ok(None) };
    let fields = Fields(&raw);
    if fields.bytes(0, 6) != b"LUKS\xba\xbe" {
        return Ok(None);
    }
    let version = u16::from_be_bytes([fields.u8(6), fields.u8(7)]);
    Ok(Some(Content {
        uuid: fields.text(168, 40),
        label: if version == 2 { fields.text(24, 48) } else { None },
        version: Some(version.to_string()),
        ..Content::of("crypto_LUKS")
    }))
}

/// A volume of its own, or "to go": a small FAT32 in front of hidden ciphertext, known by a GUID in its boot sector.
pub(super) fn bitlocker(peek: &Peek<'_>) -> Found {
    const TO_GO: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
    let found = peek.has(3, b"-FVE-FS-")? || (peek.has(3, b"MSWIN4.1")? && peek.has(424, TO_GO)?);
    Ok(found.then(|| Content::of("BitLocker")))
}

/// Four labels, two at each end; each one holds a list of names and values behind 16 KiB, of which the first bytes say
/// how it is encoded, and a ring of uberblocks in its second half. Any one label is enough to import a pool.
pub(super) fn zfs_member(peek: &Peek<'_>) -> Found {
    const LABEL: u64 = 256 << 10;
    const LIST: u64 = 16 << 10;
    const LIST_LEN: usize = 112 << 10;
    const RING: usize = 128 << 10;
    const MAGIC: u64 = 0x00ba_b10c;
    let Some(last) = (peek.size() / LABEL).checked_sub(1) else { return Ok(None) };
    for place in [0, 1, last.saturating_sub(1), last] {
        let at = place * LABEL;
        if !peek.has(at + LIST, b"\x01\x01\0\0")? && !peek.has(at + LIST, b"\x01\0\0\0")? {
            continue;
        }
        let ring = peek.bytes(at + LABEL / 2, RING)?.unwrap_or_default();
        let uberblock =
            ring.chunks_exact(1024).map(Fields).find(|slot| [MAGIC, MAGIC.swap_bytes()].contains(&slot.le64(0)));
        let Some(uberblock) = uberblock else { continue };
        let version = if uberblock.le64(0) == MAGIC { uberblock.le64(8) } else { uberblock.le64(8).swap_bytes() };
        let list = peek.bytes(at + LIST, LIST_LEN)?.unwrap_or_default();
        let (label, uuid) = zfs_names(&list);
        let version = Some(version.to_string());
        return Ok(Some(Content { label, uuid, version, ..Content::of("zfs_member") }));
    }
    Ok(None)
}

/// The pool's name and GUID out of a list in XDR: behind 12 bytes each entry has its length, one more number, its name
/// (with its length, padded to 4), its type, the number of values, and the values; a text has its length before it.
fn zfs_names(list: &[u8]) -> (Option<String>, Option<String>) {
    const NUMBER: u32 = 8;
    const TEXT: u32 = 9;
    let (mut label, mut guid) = (None, None);
    let mut at = 12;
    while let Some(rest) = list.get(at..) {
        let entry = Fields(rest);
        let (len, name_len) = (entry.be32(0) as usize, entry.be32(8) as usize);
        if !(24..=rest.len()).contains(&len) || name_len > len - 20 {
            break;
        }
        let value = Fields(entry.bytes(12 + name_len.next_multiple_of(4), len));
        match (entry.bytes(12, name_len), value.be32(0)) {
            (b"name", TEXT) => label = value.text(12, value.be32(8) as usize),
            (b"pool_guid", NUMBER) => {
                let number = u64::from(value.be32(8)) << 32 | u64::from(value.be32(12));
                guid = Some(number.to_string());
            }
            _ => {}
        }
        at += len;
    }
    (label, guid)
}

/// `kvdo` and the kernel's `dm-vdo`: a geometry block at the start.
pub(super) fn vdo(peek: &Peek<'_>) -> Found {
    Signature { uuid_at: Some(40), ..plain("vdo", 0, b"dmvdo001") }.find(peek)
}

/// A storage daemon's device: a line of text, then the daemon's UUID as a text.
pub(super) fn ceph_bluestore(peek: &Peek<'_>) -> Found {
    const MAGIC: &[u8] = b"bluestore block device\n";
    let Some(raw) = peek.bytes(0, 64)? else { return Ok(None) };
    let fields = Fields(&raw);
    let uuid = fields.text(MAGIC.len(), 36).filter(|text| Uuid::try_parse(text).is_ok());
    let found = fields.bytes(0, MAGIC.len() - 1) == &MAGIC[..MAGIC.len() - 1];
    Ok(found.then(|| Content { uuid, ..Content::of("ceph_bluestore") }))
}

/// Internal metadata lies in the last 4 KiB, behind a file system that knows nothing of it.
pub(super) fn drbd(peek: &Peek<'_>) -> Found {
    let Some(at) = (peek.size() / 4096).checked_sub(1).map(|blocks| blocks * 4096) else { return Ok(None) };
    let Some(raw) = peek.bytes(at, 64)? else { return Ok(None) };
    let magic = Fields(&raw).be32(60);
    Ok((0x8374_026b..=0x8374_026d).contains(&magic).then(|| Content::of("drbd")))
}

pub(super) fn bcache(peek: &Peek<'_>) -> Found {
    let magic = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    let (uuid_at, label_at) = (Some(40), Some((72, 32)));
    Signature { kind: "bcache", at: 4096, magic_at: 24, magic, uuid_at, label_at }.find(peek)
}

pub(super) fn stratis(peek: &Peek<'_>) -> Found {
    const MAGIC: &[u8] = b"!Stra0tis\x86\xff\x02^\x41rh";
    for at in [512, 9 * 512] {
        let raw = peek.bytes(at, 96)?.unwrap_or_default();
        let fields = Fields(&raw);
        if fields.bytes(4, MAGIC.len()) == MAGIC {
            // The device's, in 32 digits; the pool's lies before it.
            let uuid = fields.text(64, 32).and_then(|digits| Uuid::try_parse(&digits).ok());
            let uuid = uuid.map(|uuid| uuid.hyphenated().to_string());
            return Ok(Some(Content { uuid, ..Content::of("stratis") }));
        }
    }
    Ok(None)
}

pub(super) fn dm_integrity(peek: &Peek<'_>) -> Found {
    plain("DM_integrity", 0, b"integrt\0").find(peek)
}

pub(super) fn dm_verity(peek: &Peek<'_>) -> Found {
    Signature { uuid_at: Some(16), ..plain("DM_verity_hash", 0, b"verity\0\0") }.find(peek)
}

pub(super) fn erofs(peek: &Peek<'_>) -> Found {
    let signature = plain("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]);
    Signature { uuid_at: Some(48), label_at: Some((64, 16)), ..signature }.find(peek)
}

pub(super) fn squashfs(peek: &Peek<'_>) -> Found {
    let Some(raw) = peek.bytes(0, 32)? else { return Ok(None) };
    let fields = Fields(&raw);
    let version = Some(format!("{}.{}", fields.le16(28), fields.le16(30)));
    Ok((fields.bytes(0, 4) == b"hsqs").then(|| Content { version, ..Content::of("squashfs") }))
}

pub(super) fn iso9660(peek: &Peek<'_>) -> Found {
    let Some(raw) = peek.bytes(32768, 847)? else { return Ok(None) };
    let fields = Fields(&raw);
    if fields.bytes(1, 5) != b"CD001" {
        return Ok(None);
    }
    // Sixteen digits, year to hundredths; the time of the last change where there is one, else that of creation.
    let date = [830, 813].map(|at| fields.bytes(at, 16)).into_iter().find(|d| d.iter().any(|&b| b != b'0' && b != 0));
    let uuid = date.and_then(|digits| {
        let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        let parts = [(0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 16)].map(|(from, to)| &text[from..to]);
        Some(parts.join("-"))
    });
    Ok(Some(Content { uuid, label: fields.text(40, 32), ..Content::of("iso9660") }))
}

pub(super) fn jfs(peek: &Peek<'_>) -> Found {
    let signature = plain("jfs", 32768, b"JFS1");
    Signature { uuid_at: Some(136), label_at: Some((152, 16)), ..signature }.find(peek)
}

/// Two bytes of magic alone would be found in one ext4 of 65536; revision and header length are fixed as well.
pub(super) fn nilfs2(peek: &Peek<'_>) -> Found {
    let Some(raw) = peek.bytes(1024, 1024)? else { return Ok(None) };
    let fields = Fields(&raw);
    let found = fields.le16(6) == 0x3434 && fields.le32(0) == 2 && (16..=1024).contains(&fields.le16(8));
    Ok(found.then(|| Content { uuid: fields.uuid(0x98), label: fields.text(0xa8, 80), ..Content::of("nilfs2") }))
}

pub(super) fn reiserfs(peek: &Peek<'_>) -> Found {
    for magic in [&b"ReIsErFs"[..], b"ReIsEr2Fs", b"ReIsEr3Fs"] {
        let (uuid_at, label_at) = (Some(84), Some((100, 16)));
        let signature = Signature { kind: "reiserfs", at: 64 << 10, magic_at: 52, magic, uuid_at, label_at };
        if let Some(content) = signature.find(peek)? {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

pub(super) fn apfs(peek: &Peek<'_>) -> Found {
    Signature { kind: "apfs", at: 0, magic_at: 32, magic: b"NXSB", uuid_at: Some(72), label_at: None }.find(peek)
}

/// Known by name only: what may lie over an older content that has a reader.
pub(super) fn of_other_systems(peek: &Peek<'_>) -> Found {
    const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    let mut places: Vec<(&'static str, u64, &'static [u8])> = vec![
        ("ReFS", 0, b"\0\0\0ReFS\0"),
        ("bcachefs", 4096 + 24, BCACHEFS),
        ("gfs2", 64 << 10, b"\x01\x16\x19\x70\0\0\0\x01"),
        ("VMFS_volume_member", 1 << 20, b"\x0d\xd0\x01\xc0"),
        ("VMFS", 2 << 20, b"\x5e\xf1\xab\x2f"),
    ];
    places.extend([1024, 2048, 4096, 8192].map(|block| ("ocfs2", 2 * block, &b"OCFSV2"[..])));
    for at in [0, 8 << 10, 64 << 10, 256 << 10].map(|start| start + 0x55c) {
        places.extend([("ufs", at, &[0x19, 0x01, 0x54, 0x19][..]), ("ufs", at, &[0x54, 0x19, 0x01, 0x00])]);
    }
    // Behind the descriptors of ISO 9660, if there are any; then that gives the name.
    let iso9660 = peek.has(32769, b"CD001")?;
    for slot in (0..16_u64).filter(|_| !iso9660) {
        places.extend([("udf", 32769 + slot * 2048, &b"NSR02"[..]), ("udf", 32769 + slot * 2048, b"NSR03")]);
    }
    for (kind, at, magic) in places {
        if peek.has(at, magic)? {
            return Ok(Some(Content::of(kind)));
        }
    }
    Ok(None)
}

/// Superblocks of firmware RAID at a fixed distance from a disk's end: name, sectors of 512 bytes from the end, offset
/// there, magic. Offsets as `util-linux` has them (libblkid/src/superblocks).
const AT_END: [(&str, u64, u64, &[u8]); 8] = [
    ("ddf_raid_member", 1, 0, b"\xde\x11\xde\x11"),
    ("ddf_raid_member", 257, 0, b"\xde\x11\xde\x11"),
    ("isw_raid_member", 2, 0, b"Intel Raid ISM Cfg Sig. "),
    ("lsi_mega_raid_member", 1, 0, b"$XIDE$"),
    ("nvidia_raid_member", 2, 0, b"NVIDIA"),
    ("promise_fasttrack_raid_member", 63, 0, b"Promise Technology, Inc."),
    ("adaptec_raid_member", 1, 0, b"DPTM"),
    ("hpt45x_raid_member", 11, 32, b"\xf3\x16\x78\x5a"),
];

/// The array of a mainboard or controller that says by its superblock where the end of `disk` is.
///
/// # Errors
/// [`ExtentError::Read`] from the disk.
pub fn firmware_raid_at_end(disk: &dyn ReadAt) -> Result<Option<&'static str>, ExtentError> {
    named_at_end(&Peek::new(disk)?)
}

fn named_at_end(peek: &Peek<'_>) -> Result<Option<&'static str>, ExtentError> {
    const SECTOR: u64 = 512;
    for (kind, sectors, at, magic) in AT_END {
        let sector = (peek.size() / SECTOR).checked_sub(sectors);
        if let Some(sector) = sector
            && peek.has(sector * SECTOR + at, magic)?
        {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Members of arrays that a mainboard or a controller made.
pub(super) fn firmware_raid(peek: &Peek<'_>) -> Found {
    if let Some(kind) = named_at_end(peek)? {
        return Ok(Some(Content::of(kind)));
    }
    plain("hpt37x_raid_member", 9 * 512 + 32, b"\xf0\x16\x78\x5a").find(peek)
}
