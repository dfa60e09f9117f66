//! What keeps its UUID, and why.
//!
//! In: volumes that are dirty, damaged, of another kind, or of a kind whose UUID is not changed. Out: nothing.
//! Promise: not one byte of them changes.

use super::*;
use ramet_wire::manifest::Content;

fn debugfs(image: &Image, command: &str) {
    run("debugfs", &["-w", "-R", command, image.path.to_str().unwrap()]);
}

fn ext4() -> Image {
    made(32 * MIB, "mke2fs", "-q -F -t ext4 -b 4096 -O metadata_csum,^metadata_csum_seed")
}

#[test]
fn a_dirty_ext4_keeps_its_uuid() {
    for (command, reason) in [
        ("ssv state 0", "not cleanly unmounted"),
        ("ssv state 3", "found errors"),
        ("ssv last_orphan 12", "orphaned inodes"),
    ] {
        let image = ext4();
        debugfs(&image, command);
        keeps(&image, &described(&image.path, 0), reason);
    }
}

#[test]
fn a_damaged_ext4_keeps_its_uuid() {
    let image = ext4();
    let said = described(&image.path, 0);
    image.write(1024 + 0x78, b"x");
    keeps(&image, &said, "superblock's checksum");
    // A descriptor: its file system is not believed, and so not changed.
    let image = ext4();
    image.write(4096 + 0x0c, &[0xff]);
    keeps(&image, &described(&image.path, 0), "descriptor 0");
}

#[test]
fn encrypted_files_whose_keys_know_the_uuid_keep_it() {
    let image = made(32 * MIB, "mke2fs", "-q -F -t ext4 -O encrypt,stable_inodes");
    keeps(&image, &described(&image.path, 0), "stable_inodes");
    let image = made(128 * MIB, "mkfs.f2fs", "-q -O extra_attr,inode_checksum");
    keeps(&image, &described(&image.path, 0), "inode_checksum");
}

#[test]
fn another_content_than_the_images_keeps_its_uuid() {
    let image = ext4();
    let mut said = described(&image.path, 0);
    said.partitions[0].content = Content { uuid: Some("1234-5678".to_owned()), ..Content::of("vfat") };
    keeps(&image, &said, "it holds ext4, the image says vfat");
    said.partitions[0].content = Content { uuid: Some(uuid::Uuid::nil().to_string()), ..Content::of("ext4") };
    keeps(&image, &said, "the image says 00000000-");
}

#[test]
fn dirty_volumes_of_other_kinds_keep_their_ids() {
    let fat = made(64 * MIB, "mkfs.vfat", "-F 32 -s 1");
    fat.write(65, &[1]);
    let exfat = made(64 * MIB, "mkfs.exfat", "");
    exfat.write(106, &[2]);
    let damaged = made(64 * MIB, "mkfs.exfat", "");
    damaged.write(600, &[7]);
    let ntfs = made(64 * MIB, "mkntfs", "-q -F -Q");
    let ntfs_said = described(&ntfs.path, 0);
    run("ntfsfix", &[ntfs.path.to_str().unwrap()]);
    let swap = made(16 * MIB, "mkswap", "-q");
    swap.write(4086, b"S1SUSPEND\0");
    for (image, reason) in [(&fat, ""), (&exfat, ""), (&damaged, "checksum"), (&swap, "")] {
        keeps(image, &described(&image.path, 0), reason);
    }
    keeps(&ntfs, &ntfs_said, "");
}

#[test]
fn an_xfs_whose_log_waits_keeps_its_uuid() {
    let image = made(320 * MIB, "mkfs.xfs", "-q");
    let device = crate::disk::testing::Loop::new(&image.path, &[]);
    let mounted = crate::disk::testing::Mounted::new(&device.path);
    for number in 0..200 {
        std::fs::write(Path::new(mounted.at()).join(number.to_string()), b"x").unwrap();
    }
    run("sync", &["-f", mounted.at()]);
    let copy = Image::new(320 * MIB);
    run("cp", &["--sparse=always", image.path.to_str().unwrap(), copy.path.to_str().unwrap()]);
    drop(mounted);
    drop(device);
    keeps(&copy, &described(&copy.path, 0), "");
}

#[test]
fn a_btrfs_whose_copies_differ_keeps_its_uuid() {
    let image = made(300 * MIB, "mkfs.btrfs", "-q");
    let said = described(&image.path, 0);
    image.write((64 << 20) + 0x12b, b"x");
    keeps(&image, &said, "superblock copy at 67108864");
}

#[test]
fn containers_and_unknown_contents_keep_their_uuids() {
    let luks = Image::new(32 * MIB);
    let key = luks.path.with_extension("key");
    std::fs::write(&key, b"secret").unwrap();
    let (path, key) = (luks.path.to_str().unwrap(), key.to_str().unwrap());
    run("cryptsetup", &["luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path, key]);
    keeps(&luks, &described(&luks.path, 0), "what names it may lie inside it");
    let bcache = Image::new(8 * MIB);
    bcache.write(4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81");
    bcache.write(4096 + 40, &[5; 16]);
    keeps(&bcache, &described(&bcache.path, 0), "not known here");
}

#[test]
fn two_contents_with_the_same_uuid_keep_it() {
    let one = ext4();
    let other = Image::new(32 * MIB);
    other.write(0, &one.bytes());
    let said = [described(&one.path, 0), described(&other.path, 1)];
    let paths: [&Path; 2] = [&one.path, &other.path];
    let plan = planned(&paths, &said, 1);
    assert!(plan.ids.is_empty() && plan.kept.len() == 2, "{plan:?}");
    assert!(plan.kept.iter().all(|kept| kept.how.contains("2 contents of the image have it")), "{plan:?}");
}

#[test]
fn what_must_stay_is_taken_out_of_the_plan() {
    let image = ext4();
    let before = image.bytes();
    let mut plan = planned(&[&image.path], &[described(&image.path, 0)], 1);
    let old = plan.ids[0].old.clone();
    plan.keep(&old, "the initramfs names it");
    assert!(plan.ids.is_empty() && plan.renamed().is_empty());
    assert_eq!(plan.changes()[0].how, "keeps its UUID: the initramfs names it");
    written(&plan, &[&image.path]);
    assert!(image.bytes() == before);
}

#[test]
fn a_volume_that_gives_back_other_bytes_is_an_error() {
    struct Liar(FileBytes);
    impl crate::disk::source::ReadAt for Liar {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.read_exact_at(buf, offset)
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
    }
    impl crate::uuid::WriteAt for Liar {
        fn write_all_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let image = ext4();
    let plan = planned(&[&image.path], &[described(&image.path, 0)], 1);
    let liar = Liar(bytes(&image.path));
    assert!(matches!(write(&plan, &[Device::Disk(0, &liar)]), Err(crate::uuid::UuidError::Differs { .. })));
}
