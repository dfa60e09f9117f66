//! HFS+ by name; it is copied whole.
//!
//! In: a partition with a volume header of HFS+ or HFSX. Out: its name, UUID and label as `blkid` gives them.
//! Promise: a label that does not lie in the first piece of the catalog is none.
//!
//! | offset | field of the header (big-endian), at byte 1024 |
//! |---|---|
//! | 0 | `H+` and version 4, or `HX` and 5 |
//! | 40 | bytes of a block |
//! | 104 | 8 bytes that Mac OS makes the volume's UUID of |
//! | 288, 292 | first block and number of blocks of the catalog's first piece |
//!
//! The catalog is a tree of nodes; its first one has the number of the first leaf at 24 and the bytes of a node at 32.
//! The first record of that leaf has the key (1, volume's name): parent at 16, length at 20, UTF-16 at 22.
//! Source: Apple's Technical Note TN1150.

use super::ExtentError;
use super::bytes::Fields;
use super::map::Content;
use super::peek::Peek;
use uuid::Uuid;

const AT: u64 = 1024;
const NAME_MAX: usize = 255;
const ROOT_PARENT: u32 = 1;
/// In which Mac OS hashes those 8 bytes.
const NAMESPACE: Uuid = Uuid::from_u128(0xb3e2_0f39_f292_11d6_97a4_0030_6543_ecac);

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(AT, 512)? else { return Ok(None) };
    let fields = Fields(&raw);
    let block = fields.be32(40);
    let found = [&b"H+\0\x04"[..], b"HX\0\x05"].contains(&fields.bytes(0, 4));
    if !found || block < 512 || !block.is_power_of_two() {
        return Ok(None);
    }
    let id = fields.bytes(104, 8);
    let uuid = id.iter().any(|byte| *byte != 0).then(|| Uuid::new_v3(&NAMESPACE, id).hyphenated().to_string());
    let label = label(peek, u64::from(block), u64::from(fields.be32(288)), u64::from(fields.be32(292)))?;
    Ok(Some(Content { uuid, label, ..Content::of("hfsplus") }))
}

fn label(peek: &Peek<'_>, block: u64, first: u64, count: u64) -> Result<Option<String>, ExtentError> {
    let catalog = first * block;
    let head = peek.bytes(catalog, 34)?.unwrap_or_default();
    let (leaf, node) = (u64::from(Fields(&head).be32(24)), u64::from(Fields(&head).be16(32)));
    if node == 0 || (leaf + 1) * node > count * block {
        return Ok(None);
    }
    let raw = peek.bytes(catalog + leaf * node, 22 + 2 * NAME_MAX)?.unwrap_or_default();
    let (fields, len) = (Fields(&raw), usize::from(Fields(&raw).be16(20)));
    if fields.be32(16) != ROOT_PARENT || len > NAME_MAX {
        return Ok(None);
    }
    let units = fields.bytes(22, 2 * len).as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
    let name: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Ok((!name.is_empty()).then_some(name))
}
