//! F2FS written by a kernel. Not every kernel can, so these were made once, by Linux 6.1 in a virtual machine.
//!
//! In: three images of 100 MiB: mkfs.f2fs 1.15, then what is told at each. Out: what is believed of them and what not.
//! Promise: nothing was changed in them since, but for the random bytes of a file in `rolled`, which are zeros.

use super::f2fs::agrees;
use super::images::{Image, extents, run};
use std::path::Path;

const MIB: u64 = 1 << 20;

fn image(name: &str) -> Image {
    let image = Image::empty(0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/extent/tests/f2fs_kernel/{name}.zst"));
    run("zstd", &["-qdf", path.to_str().unwrap(), "-o", image.name()]);
    assert_eq!(image.source().size(), 100 * MIB);
    image
}

fn is_whole(image: &Image, warning: &str) {
    let map = image.map();
    assert!(map.whole && map.warnings.len() == 1 && map.warnings[0].contains(warning), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("dirty"));
    let all = extents(&map, 100 * MIB);
    assert!(image.clone_of(&all).bytes() == image.bytes());
}

/// What the guest wrote into the file `f<number>`: 4096 bytes at a time, of its name and the place in it.
fn content(number: usize) -> Vec<u8> {
    let len = 3000 + number * 1700;
    let pieces = (0..len).step_by(4096).map(|at| {
        let line = format!("f{number} {at:08}|");
        line.into_bytes().into_iter().cycle().take(4096.min(len - at)).collect::<Vec<u8>>()
    });
    pieces.flatten().collect()
}

/// 120 files, a sync, every second one deleted, a sync; ten files that grew in turns with an fsync now and then; 300
/// small files in a folder, every third one deleted; a file of 3 MiB that was only promised its blocks; then unmounted.
/// Its last checkpoint has compact summaries, a SIT journal of four entries, and more valid blocks than the SIT.
#[test]
fn agrees_with_partclone_on_a_file_system_that_a_kernel_aged() {
    let image = image("aged");
    let contents: Vec<Vec<u8>> = (1..120).step_by(2).map(content).collect();
    let map = agrees(&image, &contents);
    assert!(map.used_bytes < 26 * MIB, "{}", map.used_bytes);
    assert_eq!(map.content.state.as_deref(), Some("clean"));
}

/// Unmounted cleanly by sload.f2fs; then mounted, three files written and synced each, and the plug pulled. The last
/// checkpoint still says that it is of an unmount.
///
/// The same kernel mounted two disks that held this and had an older image restored onto them, of before the three
/// files. Where metadata and valid blocks were restored, as partclone does, it rolled forward and the three files were
/// back. Where the next block of the log of warm nodes was restored, too, they were not.
#[test]
fn a_file_system_that_was_used_after_its_clean_unmount_is_copied_whole() {
    let image = image("rolled");
    let flags = image.read(512 * 4096 + 132, 1)[0];
    assert_eq!(flags & 1, 1, "of an unmount");
    is_whole(&image, "block 8192 was written after the last checkpoint");
}

/// A file, a sync, two files more with an fsync each, and the plug pulled.
#[test]
fn a_file_system_that_was_not_unmounted_is_copied_whole() {
    is_whole(&image("synced"), "the file system is dirty (flags 0xc4): the last checkpoint is of no unmount");
}
