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

/// The ioctls of `linux/fs.h`, `linux/loop.h`, `linux/dm-ioctl.h`, and those by which file systems change their size.
mod ffi {
    use nix::libc::{c_int, c_uint};
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), c_uint);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), c_int);
    nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
    nix::ioctl_none_bad!(blkflsbuf, nix::request_code_none!(0x12, 97));
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4c82);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4c01);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4c0a, super::LoopConfig);
    nix::ioctl_write_ptr!(ext4_resize_fs, b'f', 16, u64);
    nix::ioctl_read!(xfs_geometry, b'X', 100, super::XfsGeometry);
    nix::ioctl_write_ptr!(xfs_growfs_data, b'X', 110, super::XfsGrow);
    nix::ioctl_write_ptr!(btrfs_resize, 0x94, 3, super::BtrfsName);
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

/// `struct loop_config` with the `struct loop_info64` inside it (`linux/loop.h`, Linux 5.8).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: [u64; 3],
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// The number of a loop device that nobody uses (`LOOP_CTL_GET_FREE`); it is made if there is none.
///
/// # Errors
/// The driver's.
pub fn loop_free(control: &File) -> io::Result<u32> {
    // SAFETY: no pointer is passed; the descriptor is open.
    let number = unsafe { ffi::loop_ctl_get_free(control.as_raw_fd()) }?;
    u32::try_from(number).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Lets a loop device show `part` of `backing` (`LOOP_CONFIGURE`). It goes by itself when nobody has it open any more.
///
/// # Errors
/// `EBUSY` when somebody else took it first; `EINVAL` for a sector size that is none.
pub fn loop_configure(device: &File, backing: &File, part: ByteRange, sector: u32, read_only: bool) -> io::Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).map_err(|_| Errno::EBADF)?,
        block_size: sector,
        device: [0; 3],
        offset: part.start(),
        size_limit: part.len(),
        number: 0,
        encryption: [0; 2],
        flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one whole struct loop_config from the pointer, which is valid for the call; both
    // descriptors are open, and the kernel takes a reference of its own to the backing file.
    unsafe { ffi::loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Detaches a loop device from what it shows (`LOOP_CLR_FD`), at the latest when the last user closes it.
///
/// # Errors
/// `ENXIO` when it shows nothing.
pub fn loop_clear(device: &File) -> io::Result<()> {
    // SAFETY: no pointer is passed; the descriptor is open.
    unsafe { ffi::loop_clr_fd(device.as_raw_fd()) }?;
    Ok(())
}

/// Length of `struct dm_ioctl`, in bytes.
pub const DM_HEADER: usize = 312;

/// One command to the device mapper. `buffer` starts with a `struct dm_ioctl` whose `data_size` this function sets.
///
/// # Errors
/// `EINVAL` for a buffer shorter than its header; the driver's otherwise.
pub fn device_mapper(control: &File, command: u8, buffer: &mut [u64]) -> io::Result<()> {
    let len = size_of_val(buffer);
    let len32 = u32::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len < DM_HEADER {
        return Err(Errno::EINVAL.into());
    }
    // Bytes 8 to 16 are the version's last number and `data_size`.
    buffer[1] = (buffer[1] & 0xffff_ffff) | (u64::from(len32) << 32);
    let request = nix::request_code_readwrite!(0xfd, command, DM_HEADER);
    // SAFETY: the pointer leads to `data_size` bytes, aligned for the struct, of which the kernel reads and writes no
    // more; they live until the call is over. The descriptor is open.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request, buffer.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(())
}

/// Grows a mounted ext4 to `blocks` of its own blocks (`EXT4_IOC_RESIZE_FS`). `root` is any file or folder in it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_RESOURCE`; `EINVAL` past the device's end; those of the driver.
pub fn ext4_resize(root: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64 from the pointer, which is valid for the call; the descriptor is open.
    unsafe { ffi::ext4_resize_fs(root.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// The start of `struct xfs_fsop_geom_v1` (`xfs_fs.h`), with room for all of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct XfsGeometry {
    /// Bytes per block.
    pub block: u32,
    unused: [u32; 6],
    /// Most percent of the space for inodes.
    pub inode_percent: u32,
    /// Blocks of the data section.
    pub blocks: u64,
    rest: [u64; 9],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
}

/// What a mounted XFS is like (`XFS_IOC_FSGEOMETRY_V1`). `root` is any file or folder in it.
///
/// # Errors
/// `ENOTTY` when it is no XFS.
pub fn xfs_geometry(root: &File) -> io::Result<XfsGeometry> {
    let mut geometry = XfsGeometry::default();
    // SAFETY: the kernel writes one struct xfs_fsop_geom_v1 of 112 bytes to a buffer of that length; every bit pattern is
    // a valid value of its integers. The descriptor is open.
    unsafe { ffi::xfs_geometry(root.as_raw_fd(), &raw mut geometry) }?;
    Ok(geometry)
}

/// Grows a mounted XFS to `blocks` of its own blocks (`XFS_IOC_FSGROWFSDATA`).
///
/// # Errors
/// `EINVAL` for fewer than it has; those of the driver.
pub fn xfs_grow(root: &File, blocks: u64, inode_percent: u32) -> io::Result<()> {
    let order = XfsGrow { blocks, inode_percent };
    // SAFETY: the kernel reads one struct xfs_growfs_data of 16 bytes from the pointer, which is valid for the call; the
    // descriptor is open.
    unsafe { ffi::xfs_growfs_data(root.as_raw_fd(), &raw const order) }?;
    Ok(())
}

/// `struct btrfs_ioctl_vol_args` (`linux/btrfs.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BtrfsName {
    fd: i64,
    name: [u8; 4088],
}

/// Grows or shrinks device `id` of a mounted btrfs to `bytes` (`BTRFS_IOC_RESIZE`); shrinking moves what lies behind.
///
/// # Errors
/// `ENOSPC` when what lies behind has no room before; `EINVAL` below 256 MiB; those of the driver.
pub fn btrfs_resize(root: &File, id: u64, bytes: u64) -> io::Result<()> {
    let mut order = BtrfsName { fd: 0, name: [0; 4088] };
    let text = format!("{id}:{bytes}");
    order.name[..text.len()].copy_from_slice(text.as_bytes());
    // SAFETY: the kernel reads one struct btrfs_ioctl_vol_args of 4096 bytes from the pointer, which is valid for the
    // call; its name ends in NUL because two numbers of 64 bits are shorter. The descriptor is open.
    unsafe { ffi::btrfs_resize(root.as_raw_fd(), &raw const order) }?;
    Ok(())
}
