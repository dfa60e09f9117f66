//! Partitions that are frames: what lies in them is divided once more, by someone who is not read here.
//!
//! In: the type that a partition table gives a partition. Out: what its volumes belong to.
//! Promise: whatever a superblock at its start says, such a partition is not for one file system.

/// Types of MBR (as `0x42`) and GPT (lower case), and who divides them.
const FRAMES: [(&str, &str); 8] = [
    ("0x42", "a dynamic disk of Windows"),
    ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "a dynamic disk of Windows"),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", "a dynamic disk of Windows"),
    ("e75caf8f-f680-4cee-afa3-b001e56efc2d", "Storage Spaces"),
    ("0xa5", "a disk label of FreeBSD"),
    ("0xa6", "a disk label of OpenBSD"),
    ("0xa9", "a disk label of NetBSD"),
    ("0xbf", "a disk label of Solaris"),
];

/// To what the volumes in a partition of this type belong.
///
/// Source: Windows' documentation of `PARTITION_INFORMATION_GPT`; the kernel's block/partitions/msdos.c and ldm.c.
#[must_use]
pub fn frame(kind: &str) -> Option<&'static str> {
    FRAMES.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known)).map(|(_, what)| *what)
}
