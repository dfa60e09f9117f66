//! How a disk is divided: GPT, MBR with logical partitions, or not at all.
//!
//! In: the bytes of a disk and its logical sector size. Out: the structured table, the gaps between partitions that an
//! image must hold, and the table's final bytes for a disk of another size.
//! Promise: nothing is guessed. Two readings of the same bytes are equal; what contradicts itself is an error with both
//! numbers; where a table is doubtful, the whole disk counts as one partition with number 0.

mod error;
mod gaps;
mod gpt;
mod mbr;
mod old;
mod resize;
mod retarget;
mod scan;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use error::PartitionError;
pub(crate) use mbr::announces_table;
pub use old::old_tables;
pub use resize::resize;
pub use retarget::{Layout, Piece, retarget};
pub use scan::{Scan, read, sector_size_of_file};

/// Types of an EFI system partition, as GPT and as MBR have them.
pub const EFI_SYSTEM: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];

/// GPT type of a BIOS boot partition: GRUB's core image lies in it, which knows its own place by sectors of the disk.
pub const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

/// The first sector of a GPT header ("EFI PART", UEFI 2.10 table 5.5).
const GPT_SIGNATURE: &[u8; 8] = b"EFI PART";

/// Logical sector sizes that disks have.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// A little-endian `u16`; zero past the end.
fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// A little-endian `u32`; zero past the end.
fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A little-endian `u64`; zero past the end.
fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
