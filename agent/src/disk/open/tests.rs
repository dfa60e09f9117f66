//! Opening real files and loop devices.

use super::super::testing::Loop;
use super::*;
use crate::partition::testing::Image;
use ramet_wire::{ByteRange, MIB};
use std::os::unix::fs::FileExt as _;

#[test]
fn a_file_is_a_disk_of_its_length() {
    let image = Image::new(3 * MIB + 100);
    let source = DiskInfo::open_source(&image.path).unwrap();
    assert_eq!((source.info.size, source.info.sector_size, source.size()), (3 * MIB + 100, 512, 3 * MIB + 100));
    assert!(source.info.is_file());
    let mut last = [1];
    source.read_exact_at(&mut last, 3 * MIB + 99).unwrap();
    assert!(source.read_exact_at(&mut last, 3 * MIB + 100).is_err());
}

#[test]
fn a_files_sector_size_is_where_its_gpt_lies() {
    let image = Image::new(MIB);
    for at in [4096, 512] {
        image.write(at, b"EFI PART");
        assert_eq!(u64::from(DiskInfo::open_source(&image.path).unwrap().info.sector_size), at);
    }
    let mut target = Target::open(&image.path).unwrap();
    target.take_sector_size(4096);
    assert_eq!(target.info.sector_size, 4096);
}

#[test]
fn a_device_says_its_own_sector_size() {
    let image = Image::new(MIB);
    image.write(512, b"EFI PART");
    for sector_size in [512, 4096] {
        let device = Loop::new(&image.path, &["-b", &sector_size.to_string()]);
        let info = DiskInfo::open_source(&device.path).unwrap().info;
        assert_eq!((info.size, info.sector_size, info.is_file()), (MIB, sector_size, false));
        let mut target = Target::open(&device.path).unwrap();
        target.take_sector_size(1024);
        assert_eq!(target.info.sector_size, sector_size);
    }
}

#[test]
fn what_is_no_disk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let empty = folder.path().join("empty");
    let pipe = folder.path().join("pipe");
    std::fs::write(&empty, b"").unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let both = |path: &Path| {
        let source = DiskInfo::open_source(path).unwrap_err().to_string();
        assert_eq!(source, Target::open(path).unwrap_err().to_string());
        source
    };
    assert_eq!(both(&missing), format!("opening {}", missing.display()));
    assert!(!missing.exists());
    assert_eq!(both(&empty), format!("{} has 0 bytes", empty.display()));
    assert!(both(folder.path()).contains("is a folder"));
    assert!(both(&pipe).contains("is a pipe"));
    assert!(both(Path::new("/dev/null")).contains("is a character device"));
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(both(&socket).contains("is a socket"));
}

#[test]
fn a_target_is_held_until_it_is_dropped() {
    let image = Image::new(MIB);
    let target = Target::open(&image.path).unwrap();
    assert!(Target::open(&image.path).unwrap_err().to_string().contains("another process holds its lock"));
    drop(target);
    let device = Loop::new(&image.path, &[]);
    let target = Target::open(&device.path).unwrap();
    assert!(Target::open(&device.path).unwrap_err().to_string().contains("in use"));
    let mut buf = [0; 512];
    DiskInfo::open_source(&device.path).unwrap().read_exact_at(&mut buf, 0).unwrap();
    drop(target);
    Target::open(&device.path).unwrap();
}

#[test]
fn a_read_only_device_is_no_target() {
    let image = Image::new(MIB);
    let device = Loop::new(&image.path, &["-r"]);
    assert!(DiskInfo::open_source(&device.path).is_ok());
    assert!(Target::open(&device.path).unwrap_err().to_string().ends_with("is read-only"));
}

#[test]
fn opening_a_target_changes_nothing() {
    let image = Image::new(MIB);
    image.write(0, &[0xAB; 8192]);
    let before = (image.bytes(), std::fs::metadata(&image.path).unwrap().modified().unwrap());
    drop(Target::open(&image.path).unwrap());
    assert!(before == (image.bytes(), std::fs::metadata(&image.path).unwrap().modified().unwrap()));
}

/// A buffer of `len` bytes at a multiple of `align`.
fn aligned(storage: &mut Vec<u8>, len: usize, align: usize) -> &mut [u8] {
    storage.resize(len + align, 0);
    let skip = storage.as_ptr().align_offset(align);
    &mut storage[skip..skip + len]
}

#[test]
fn direct_reads_see_what_direct_writes_wrote() {
    let image = Image::new(MIB);
    for sector_size in [0, 512, 4096] {
        let device = (sector_size > 0).then(|| Loop::new(&image.path, &["-b", &sector_size.to_string()]));
        let path = device.as_ref().map_or(&image.path, |device| &device.path);
        let target = Target::open(path).unwrap();
        let Some(direct) = &target.direct else {
            assert!(device.is_none(), "a loop device takes O_DIRECT");
            continue;
        };
        assert!(direct.offset_align.is_power_of_two() && direct.memory_align.is_power_of_two());
        if sector_size > 0 {
            assert_eq!(direct.offset_align, sector_size);
        }
        let step = usize::try_from(direct.offset_align).unwrap();
        let memory = usize::try_from(direct.memory_align).unwrap();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let out = aligned(&mut a, step * 4, memory);
        out.fill(0x5C);
        direct.file.write_all_at(out, u64::from(direct.offset_align)).unwrap();
        let back = aligned(&mut b, step * 4, memory);
        direct.file.read_exact_at(back, u64::from(direct.offset_align)).unwrap();
        assert!(back.iter().all(|&byte| byte == 0x5C));
    }
}

#[test]
fn a_file_system_without_direct_io_gives_no_direct_descriptor_or_a_working_one() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = folder.path().join("disk.img");
    std::fs::write(&path, vec![7; 1 << 16]).unwrap();
    let target = Target::open(&path).unwrap();
    if let Some(direct) = &target.direct {
        let mut storage = Vec::new();
        let buf = aligned(&mut storage, 8192, 4096);
        direct.file.read_exact_at(buf, 0).unwrap();
    }
}

#[test]
fn zeroing_a_range_of_a_device_touches_nothing_else() {
    let image = Image::new(MIB);
    image.write(0, &vec![0xEE; 1 << 20]);
    let device = Loop::new(&image.path, &[]);
    let target = Target::open(&device.path).unwrap();
    ioctl::zero_out(&target.buffered, ByteRange::between(4096, 12_288)).unwrap();
    target.buffered.sync_all().unwrap();
    ioctl::flush_buffers(&target.buffered).unwrap();
    let bytes = image.bytes();
    assert!(bytes[4096..12_288].iter().all(|&byte| byte == 0));
    assert!(bytes[..4096].iter().chain(&bytes[12_288..]).all(|&byte| byte == 0xEE));
    assert!(ioctl::zero_out(&target.buffered, ByteRange::between(1, 4097)).is_err());
}

#[test]
fn a_hole_reads_as_zeros_and_keeps_the_length() {
    let image = Image::new(MIB);
    image.write(0, &vec![0xEE; 1 << 20]);
    let target = Target::open(&image.path).unwrap();
    ioctl::punch_hole(&target.buffered, ByteRange::between(4096, 12_288)).unwrap();
    ioctl::drop_cache(&target.buffered, ByteRange::between(0, MIB)).unwrap();
    ioctl::advise_sequential(&target.buffered, ByteRange::between(0, MIB)).unwrap();
    let bytes = image.bytes();
    assert_eq!(bytes.len() as u64, MIB);
    assert!(bytes[4096..12_288].iter().all(|&byte| byte == 0) && bytes[4095] == 0xEE && bytes[12_288] == 0xEE);
    assert!(ioctl::punch_hole(&target.buffered, ByteRange::between(u64::MAX - 1, u64::MAX)).is_err());
}

#[test]
fn block_device_questions_to_a_file_are_errors() {
    let image = Image::new(MIB);
    let file = File::open(&image.path).unwrap();
    assert!(ioctl::device_size(&file).is_err() && ioctl::logical_sector_size(&file).is_err());
    assert!(ioctl::physical_sector_size(&file).is_err() && ioctl::reread_partitions(&file).is_err());
    assert!(ioctl::is_read_only(&file).is_err());
    assert!(ioctl::flush_buffers(&file).is_err() && ioctl::zero_out(&file, ByteRange::between(0, 512)).is_err());
}

#[test]
fn a_lock_that_is_given_back_soon_is_waited_for() {
    let image = Image::new(MIB);
    let udev = File::open(&image.path).unwrap();
    udev.lock_shared().unwrap();
    let looking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(udev);
    });
    Target::open(&image.path).unwrap();
    looking.join().unwrap();
}

#[test]
fn a_partition_is_a_source_but_no_target() {
    let image = Image::new(8 * MIB);
    let device = Loop::new(&image.path, &[]);
    let Some(partition) = device.partition(3, 2048, 4096) else { return };
    let source = DiskInfo::open_source(&partition.path).unwrap();
    assert_eq!(source.info.size, 4096 * 512);
    let text = Target::open(&partition.path).unwrap_err().to_string();
    assert!(text.ends_with("is partition 3 of a disk; name the disk"), "{text}");
}
