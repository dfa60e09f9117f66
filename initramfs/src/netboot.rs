//! What `ramet boot install` offers to firmware: Debian's signed shim and GRUB, and iPXE.
//!
//! In: files of Debian's packages, as installed here. Out: the same files, by the names under which firmware asks.
//! Promise: not a byte is changed: their signatures hold.

use crate::error::Result;
use crate::tool::installed;
use std::path::Path;

/// Name, where Debian has it, in which package.
const FILES: [(&str, &str, &str); 6] = [
    ("shimx64.efi", "/usr/lib/shim/shimx64.efi.signed", "shim-signed"),
    ("mmx64.efi", "/usr/lib/shim/mmx64.efi.signed", "shim-helpers-amd64-signed"),
    ("grubx64.efi", "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grub-efi-amd64-signed"),
    ("undionly.kpxe", "/usr/lib/ipxe/undionly.kpxe", "ipxe"),
    ("snponly.efi", "/usr/lib/ipxe/snponly.efi", "ipxe"),
    ("ipxe.efi", "/usr/lib/ipxe/ipxe.efi", "ipxe"),
];

/// The files, by name.
///
/// # Errors
/// When a package is not installed.
pub fn files() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let read =
        |(name, path, package)| Ok((name, installed("taking the loaders of netboot", Path::new(path), package)?));
    FILES.into_iter().map(read).collect()
}
