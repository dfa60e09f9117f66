//! The boot files of one build: what the builder makes, the server installs, and machines fetch.
//!
//! In: names. Out: the names that a build may have, and what it says of each file.
//! Promise: no other name is made, taken or served.

use serde::{Deserialize, Serialize};

/// Says what a build consists of.
pub const BUILD: &str = "build.json";

/// All files that a build may have.
pub const NAMES: &[&str] = &[
    "vmlinuz",
    "initramfs.zst",
    "ramet.efi",
    "ramet.iso",
    "shimx64.efi",
    "grubx64.efi",
    "mmx64.efi",
    "undionly.kpxe",
    "snponly.efi",
    "ipxe.efi",
];

/// One file of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Bytes.
    pub size: u64,
    /// 64 hex digits, lower case.
    pub sha256: String,
}
