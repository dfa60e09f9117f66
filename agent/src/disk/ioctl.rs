//! What block devices and files are asked and told through system calls that Rust's standard library has not.
//!
//! In: an open file. Out: numbers, or the device's refusal.
//! Promise: the only unsafe code of the agent; each block says why it is sound, and no pointer outlives its call.

#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use ramet_wire::ByteRange;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The ioctls of `linux/fs.h`.
mod ffi {
    use nix::libc::{c_int, c_uint};
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), c_uint);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), c_int);
    nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
    nix::ioctl_none_bad!(blkflsbuf, nix::request_code_none!(0x12, 97));
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));
}

/// Size of a block device in bytes (`BLKGETSIZE64`).
///
/// # Errors
/// `ENOTTY` when it is no block device.
pub fn device_size(device: &File) -> io::Result<u64> {
    let mut size = 0;
    // SAFETY: the kernel writes one u64 to the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::blkgetsize64(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Logical sector size of a block device in bytes (`BLKSSZGET`).
///
/// # Errors
/// `ENOTTY` when it is no block device; `InvalidData` for a size below zero.
pub fn logical_sector_size(device: &File) -> io::Result<u32> {
    let mut size = 0;
    // SAFETY: the kernel writes one int to the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::blksszget(device.as_raw_fd(), &raw mut size) }?;
    u32::try_from(size).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Physical sector size of a block device in bytes (`BLKPBSZGET`).
///
/// # Errors
/// `ENOTTY` when it is no block device.
pub fn physical_sector_size(device: &File) -> io::Result<u32> {
    let mut size = 0;
    // SAFETY: the kernel writes one unsigned int to the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::blkpbszget(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// The kernel lets nobody write to this block device (`BLKROGET`). Opening it for writing may succeed all the same.
///
/// # Errors
/// `ENOTTY` when it is no block device.
pub fn is_read_only(device: &File) -> io::Result<bool> {
    let mut flag = 0;
    // SAFETY: the kernel writes one int to the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Makes `range` of a block device read as zeros (`BLKZEROOUT`), by whatever the device does fastest. Both ends must be
/// multiples of the logical sector size. Does not flush.
///
/// # Errors
/// `EINVAL` for a range off the sector grid, `EOPNOTSUPP` and others from the device: then zeros must be written.
pub fn zero_out(device: &File, range: ByteRange) -> io::Result<()> {
    let pair = [range.start(), range.len()];
    // SAFETY: the kernel reads two u64 from the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::blkzeroout(device.as_raw_fd(), &raw const pair) }?;
    Ok(())
}

/// Writes dirty pages of a block device back and drops its clean ones (`BLKFLSBUF`).
///
/// # Errors
/// `ENOTTY` when it is no block device; `EACCES` without privilege.
pub fn flush_buffers(device: &File) -> io::Result<()> {
    // SAFETY: no pointer is passed; the descriptor is open.
    unsafe { ffi::blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// Lets the kernel read the partition table anew (`BLKRRPART`).
///
/// # Errors
/// `EBUSY` when a partition is in use, `EINVAL` when the device can have none (loop devices without partition scan).
pub fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: no pointer is passed; the descriptor is open.
    unsafe { ffi::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

/// Alignment of memory and of offsets that `O_DIRECT` wants, in bytes (`STATX_DIOALIGN`, Linux 6.1). `None` where the
/// kernel does not say, and where it says that the file refuses `O_DIRECT`.
#[must_use]
pub fn direct_alignment(file: &File) -> DirectAlignment {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // By number, because not every libc that we link has the function.
    // SAFETY: the path is an empty string that ends in NUL, AT_EMPTY_PATH makes the call about the open descriptor, and
    // the kernel writes one struct statx to a buffer of that type.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        return DirectAlignment::Unknown;
    }
    // SAFETY: the buffer was zeroed, and all-zero bytes are a valid struct statx: it holds integers only.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_DIOALIGN == 0 {
        return DirectAlignment::Unknown;
    }
    match (found.stx_dio_mem_align, found.stx_dio_offset_align) {
        (_, 0) => DirectAlignment::Refused,
        (memory, offset) => DirectAlignment::Needs { memory: memory.max(1), offset },
    }
}

/// What a file says about `O_DIRECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectAlignment {
    /// Nothing: an old kernel, or a file system that does not know.
    Unknown,
    /// That it can not.
    Refused,
    /// That it can, with these alignments in bytes.
    Needs {
        /// Of buffers in memory.
        memory: u32,
        /// Of offsets and lengths.
        offset: u32,
    },
}

/// Makes `range` of a regular file a hole, which reads as zeros, and keeps the file's length.
///
/// # Errors
/// `EOPNOTSUPP` where the file system can not: then zeros must be written.
pub fn punch_hole(file: &File, range: ByteRange) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, flags, offset(range.start())?, offset(range.len())?)?;
    Ok(())
}

/// Drops clean pages of `range` from the page cache, so that the next read asks the disk (`POSIX_FADV_DONTNEED`). Dirty
/// pages stay: sync first.
///
/// # Errors
/// Whatever the kernel answers.
pub fn drop_cache(file: &File, range: ByteRange) -> io::Result<()> {
    let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    posix_fadvise(file, offset(range.start())?, offset(range.len())?, advice)?;
    Ok(())
}

/// Tells the kernel that `range` will be read from front to back, soon.
///
/// # Errors
/// Whatever the kernel answers; it is only advice.
pub fn advise_sequential(file: &File, range: ByteRange) -> io::Result<()> {
    let advice = PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL;
    posix_fadvise(file, offset(range.start())?, offset(range.len())?, advice)?;
    Ok(())
}

fn offset(bytes: u64) -> Result<libc::off_t, Errno> {
    libc::off_t::try_from(bytes).map_err(|_| Errno::EFBIG)
}
