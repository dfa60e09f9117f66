//! Regular files and loop devices, through the guard.

use super::*;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

fn go(shelf: &Shelf, target: &Path, read_back: bool) -> Result<Box<Outcome>, RestoreError> {
    let request = Request { targets: vec![target.to_owned()], read_back, ..request() };
    match restore(shelf, &request, &Viewer::yes())? {
        Ending::Restored(outcome) => Ok(outcome),
        Ending::Planned(_) => panic!("nobody asked for a plan"),
    }
}

/// A loop device; detached when dropped.
struct Loop(String);

impl Loop {
    fn over(path: &Path, args: &[&str]) -> Self {
        let output = Command::new("losetup").args(["--show", "-f"]).args(args).arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

fn file_of(bytes: &[u8]) -> Image {
    let image = Image::new(0);
    std::fs::write(&image.path, bytes).unwrap();
    image
}

#[test]
fn a_regular_file_is_restored_and_proven_as_a_file() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let target = file_of(&before);
    let outcome = go(&shelf, &target.path, true).unwrap();
    assert_restored(&target.bytes(), &source, &before);
    assert_eq!(outcome.receipt.proof(), Proof::File);
    let again = go(&shelf, &target.path, true).unwrap();
    assert_eq!(again.written_bytes, 0);
    assert!(again.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn zeros_of_a_file_become_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let mut source = Image::with_sgdisk(64 << 20, &["-n1:2048:+60M"]).bytes();
    source[30 << 20..31 << 20].copy_from_slice(&noise(1 << 20, 1));
    let shelf = Shelf::of(&[Captured::of(&source)]);
    let target = file_of(&noise(source.len(), 2));
    go(&shelf, &target.path, true).unwrap();
    assert!(target.bytes()[..61 << 20] == source[..61 << 20]);
    let blocks = std::fs::metadata(&target.path).unwrap().blocks() * 512;
    assert!(blocks < 10 << 20, "{blocks} bytes allocated");
}

#[test]
fn loop_devices_of_both_sector_sizes_are_restored() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let before = noise(source.len(), 99);
    let backing = file_of(&before);
    let device = Loop::over(&backing.path, &[]);
    let outcome = go(&shelf, Path::new(&device.0), true).unwrap();
    assert_eq!(outcome.receipt.proof(), Proof::File);
    drop(device);
    assert_restored(&backing.bytes(), &source, &before);
    let device = Loop::over(&backing.path, &["-b", "4096"]);
    let error = go(&shelf, Path::new(&device.0), true).unwrap_err();
    assert!(error.chain().contains("has 4096"), "{}", error.chain());
}

#[test]
fn refuses_a_file_behind_an_active_loop_device_and_one_that_is_not_there() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let backing = file_of(&noise(source.len(), 9));
    let before = backing.bytes();
    let device = Loop::over(&backing.path, &[]);
    let error = go(&shelf, &backing.path, true).unwrap_err();
    assert_eq!(error.exit_status(), 2, "{}", error.chain());
    assert!(error.chain().contains("loop"), "{}", error.chain());
    drop(device);
    assert!(backing.bytes() == before);
    let error = go(&shelf, &backing.path.with_extension("none"), true).unwrap_err();
    assert_eq!(error.exit_status(), 2);
    assert!(!backing.path.with_extension("none").exists());
}

#[test]
fn records_beyond_the_first_gib_go_to_their_place() {
    // 5 GiB with a few chunks in each GiB, as a sparse file.
    let image = Image::with_sgdisk(5 << 30, &["-n1:2048:+4900M"]);
    let mut captured_extents = Vec::new();
    for gib in 0..4_u64 {
        let at = (gib << 30) + (700 << 20);
        image.write(MIB + at, &noise(600 << 10, gib + 1));
        captured_extents.push(range(at, at + (600 << 10)));
    }
    let disk = image.source();
    let mut captured = Captured::of(&disk);
    captured.extents.insert(1, captured_extents);
    let shelf = Shelf::of(&[captured]);
    assert!(shelf.manifest_value().disks[0].partitions[0].stored.segments.len() >= 4);
    let target = Image::new(5 << 30);
    let outcome = go(&shelf, &target.path, true).unwrap();
    for gib in 0..4_u64 {
        let at = MIB + (gib << 30) + (700 << 20);
        assert!(target.read(at, 600 << 10) == noise(600 << 10, gib + 1), "GiB {gib}");
    }
    assert!(outcome.receipt.check(&shelf.manifest_value(), shelf.id(), &[]).is_ok());
}

#[test]
fn a_file_system_that_is_full_ends_the_restore_with_its_reason() {
    let source = gpt_disk();
    let shelf = Shelf::of(&[captured(&source)]);
    let folder = tempfile::tempdir().unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(folder.path()).status().unwrap();
    assert!(mount.success());
    let target = folder.path().join("sparse.img");
    let file = std::fs::File::create(&target).unwrap();
    file.set_len(source.len() as u64).unwrap();
    let error = go(&shelf, &target, true);
    let mut first = [0; 512];
    std::fs::File::open(&target).unwrap().read_exact_at(&mut first, 0).unwrap();
    drop(file);
    let _ = Command::new("umount").arg(folder.path()).status();
    let error = error.unwrap_err();
    assert!(error.chain().contains("No space left"), "{}", error.chain());
    assert_eq!(error.exit_status(), 1);
    assert_eq!(first, [0; 512]);
}
