//! The structured form of a partition table.
//!
//! In: what the agent derives from the byte-exact table. Out: numbers, ranges, types, names, as the manifest holds them.
//! Promise: two tables with the same meaning are equal; deriving it again from the same bytes gives the same value.

use crate::range::ByteRange;
use serde::{Deserialize, Serialize};

/// Most partitions of one disk.
pub const PARTITIONS_MAX: usize = 1024;

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table (UEFI 2.10, chapter 5), with a protective or hybrid MBR before it.
    Gpt,
    /// MBR, with or without logical partitions in EBRs.
    Mbr,
    /// None: the whole disk is partition 0.
    None,
}

impl std::fmt::Display for TableKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
            Self::None => "none",
        })
    }
}

/// A table in structured form. Ranges in bytes from the start of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Which kind.
    pub kind: TableKind,
    /// GPT: disk GUID, lower case. MBR: disk signature, `0x` and 8 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// GPT: the bytes that partitions may use, `FirstUsableLBA` to the end of `LastUsableLBA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable: Option<ByteRange>,
    /// The GPT's MBR holds entries beside 0xEE.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hybrid: bool,
    /// Used entries, ascending by number. Empty for `none`.
    pub entries: Vec<Entry>,
}

/// One used entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As Linux counts: GPT index + 1; MBR primaries 1–4, logical from 5.
    pub number: u32,
    /// First byte and length.
    pub range: ByteRange,
    /// GPT: type GUID, lower case. MBR: type byte as `0x83`.
    pub r#type: String,
    /// GPT: unique GUID, lower case. MBR: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// GPT: name, if not empty; invalid UTF-16 is shown with replacement characters (the bytes lie in the gaps).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// GPT: attribute bits. MBR: 0x80 when bootable.
    #[serde(default)]
    pub attributes: u64,
    /// Logical partitions: the sector of the disk with its EBR, as a byte offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebr: Option<u64>,
    /// An extended partition: a frame for logical ones, with no content of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended: bool,
}
