//! Contents that are known by name only; they are copied whole until a reader for them exists.
//!
//! In: the few bytes by which a content is recognised. Out: its name, and UUID and label where they lie at fixed places.
//! Promise: names and values are those of `blkid`.

use super::ExtentError;
use super::bytes::{Fields, clean};
use super::map::Content;
use super::peek::Peek;

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

/// Version 1.x superblocks lie at the start, 4 KiB behind it or 8 KiB before the end; version 0.90 in the last 64 KiB.
pub(super) fn linux_raid_member(peek: &Peek<'_>) -> Found {
    const MAGIC: u32 = 0xa92b_4efc;
    let before_end = (peek.size() / 512).checked_sub(16).map(|sectors| sectors / 8 * 8 * 512);
    for (minor, at) in [("1.1", Some(0)), ("1.2", Some(4096)), ("1.0", before_end)] {
        let Some(raw) = at.map(|at| peek.bytes(at, 64)).transpose()?.flatten() else { continue };
        let fields = Fields(&raw);
        if fields.le32(0) == MAGIC && fields.le32(4) == 1 {
            let version = Some(minor.to_owned());
            let (uuid, label) = (fields.uuid(16), fields.text(32, 32));
            return Ok(Some(Content { uuid, label, version, ..Content::of("linux_raid_member") }));
        }
    }
    let Some(at) = (peek.size() / 65536).checked_sub(1).map(|blocks| blocks * 65536) else { return Ok(None) };
    let Some(raw) = peek.bytes(at, 64)? else { return Ok(None) };
    let fields = Fields(&raw);
    let little = fields.le32(0) == MAGIC && fields.le32(4) == 0;
    let big = fields.be32(0) == MAGIC && fields.be32(4) == 0;
    let version = Some("0.90".to_owned());
    Ok((little || big).then(|| Content { version, ..Content::of("linux_raid_member") }))
}

/// The label may lie in any of the first four sectors.
pub(super) fn lvm2_member(peek: &Peek<'_>) -> Found {
    for sector in 0..4 {
        let Some(raw) = peek.bytes(sector * 512, 64)? else { continue };
        let fields = Fields(&raw);
        if fields.bytes(0, 8) == b"LABELONE" && fields.bytes(24, 8) == b"LVM2 001" {
            let id = fields.text(32, 32).unwrap_or_default();
            let mut uuid = String::new();
            for (at, letter) in id.chars().enumerate() {
                if [6, 10, 14, 18, 22, 26].contains(&at) {
                    uuid.push('-');
                }
                uuid.push(letter);
            }
            let version = Some("LVM2 001".to_owned());
            return Ok(Some(Content { uuid: clean(&uuid), version, ..Content::of("LVM2_member") }));
        }
    }
    Ok(None)
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
    const RING: usize = 128 << 10;
    const MAGIC: u64 = 0x00ba_b10c;
    let Some(last) = (peek.size() / LABEL).checked_sub(1) else { return Ok(None) };
    for place in [0, 1, last.saturating_sub(1), last] {
        let at = place * LABEL;
        if !peek.has(at + LIST, b"\x01\x01\0\0")? && !peek.has(at + LIST, b"\x01\0\0\0")? {
            continue;
        }
        let ring = peek.bytes(at + LABEL / 2, RING)?.unwrap_or_default();
        let mut magics = ring.chunks_exact(1024).map(|slot| Fields(slot).le64(0));
        if magics.any(|magic| magic == MAGIC || magic == MAGIC.swap_bytes()) {
            return Ok(Some(Content::of("zfs_member")));
        }
    }
    Ok(None)
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
    let found = peek.has(512 + 4, MAGIC)? || peek.has(9 * 512 + 4, MAGIC)?;
    Ok(found.then(|| Content::of("stratis")))
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

pub(super) fn hfsplus(peek: &Peek<'_>) -> Found {
    let Some(raw) = peek.bytes(1024, 512)? else { return Ok(None) };
    let fields = Fields(&raw);
    let found = [&b"H+\0\x04"[..], b"HX\0\x05"].contains(&fields.bytes(0, 4));
    let block = fields.be32(40);
    Ok((found && block >= 512 && block.is_power_of_two()).then(|| Content::of("hfsplus")))
}

pub(super) fn apfs(peek: &Peek<'_>) -> Found {
    Signature { kind: "apfs", at: 0, magic_at: 32, magic: b"NXSB", uuid_at: Some(72), label_at: None }.find(peek)
}
