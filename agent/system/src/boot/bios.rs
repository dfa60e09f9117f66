//! What a BIOS finds at the start of a disk.
//!
//! In: a disk's bytes. Out: whose boot code lies in its first sector, and whether what GRUB's loads next is there.
//! Promise: reads two sectors, both inside the disk.

use ramet_wire::boot::Code;
use std::io;

/// Boot code ends where the disk signature begins (UEFI specification 2.10, table 5-1).
const CODE: usize = 440;
/// Where GRUB's `boot.img` keeps the sector that it loads (grub: include/grub/i386/pc/boot.h,
/// `GRUB_BOOT_MACHINE_KERNEL_SECTOR`).
const NEXT_AT: usize = 0x5c;
/// A BIOS counts in these, whatever the disk's sectors are.
const SECTOR: usize = 512;

/// Looks at a disk of `size` bytes through `read`, which fills a buffer from an offset.
///
/// # Errors
/// Those of `read`.
pub fn look(size: u64, read: &dyn Fn(&mut [u8], u64) -> io::Result<()>) -> io::Result<(Code, bool)> {
    let mut first = [0_u8; SECTOR];
    if size < SECTOR as u64 {
        return Ok((Code::None, true));
    }
    read(&mut first, 0)?;
    if first[..CODE].iter().all(|byte| *byte == 0) || first[510..] != [0x55, 0xaa] {
        return Ok((Code::None, true));
    }
    if !first[..CODE].windows(5).any(|window| window == b"GRUB ") {
        return Ok((Code::Other, true));
    }
    let next = u64::from_le_bytes(*first[NEXT_AT..].first_chunk().unwrap_or(&[0; 8]));
    let Some(at) = next.checked_mul(SECTOR as u64).filter(|at| *at > 0 && *at <= size - SECTOR as u64) else {
        return Ok((Code::Grub, false));
    };
    let mut second = [0_u8; SECTOR];
    read(&mut second, at)?;
    Ok((Code::Grub, second.iter().any(|byte| *byte != 0)))
}
